//! A spec as a command line names it: a path, further tables, a variant, assignments.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;

use super::console::Console;
use super::open::{self, Contents};
use super::read;
use super::status::{Complaint, Status, Stop};
use crate::diag::{Finding, Sink, fingerprint, order};
use crate::engine::{self, Layer, Overlay};
use crate::import::hf::{Options, Task};
use crate::lower::Model;
use crate::render::{Output, Report};
use crate::source::Sources;
use crate::spec::Spec;

/// What standard input is called where nothing else is said.
pub(super) const STDIN: &str = "<stdin>";

/// What is laid over each spec.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct OverlayArguments {
    /// Lay the tables of this file over the spec or the imported model: `[train]`, `[cluster]` …
    #[arg(long, value_name = "FILE")]
    pub with: Vec<PathBuf>,
    /// Lay this variant over the spec
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Sequences or images of one step on one device: `dims.batch`
    #[arg(long, value_name = "N")]
    pub batch: Option<u64>,
    /// Tokens of a sequence: `dims.seq`
    #[arg(long, value_name = "N")]
    pub seq: Option<u64>,
    /// What the model of a `config.json` is for, where it is not what its class is for
    #[arg(long, value_name = "TASK", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(Task::ALL.map(Task::name)))]
    pub task: Option<String>,
    /// Set a value: `dims.batch=64`, `train.optimizer.lr=3e-4`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// One spec.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SpecArguments {
    /// The spec, or a model to import: `*.pt2` of `torch.export.save`, `*.onnx`, or `config.json` of Hugging Face; `-` is standard input
    #[arg(value_name = "SPEC")]
    pub path: PathBuf,
    #[command(flatten)]
    pub overlay: OverlayArguments,
}

/// A spec that was read without fault, and its model.
#[derive(Debug)]
pub(super) struct Read {
    /// The spec.
    pub spec: Spec,
    /// The model that it describes.
    pub model: Model,
}

impl OverlayArguments {
    /// Whether anything is laid over.
    pub fn is_empty(&self) -> bool {
        self.with.is_empty()
            && self.variant.is_none()
            && self.set.is_empty()
            && self.batch.is_none()
            && self.seq.is_none()
            && self.task.is_none()
    }

    /// What is said of what the file of a model leaves open.
    pub fn options(&self) -> Options {
        Options {
            batch: self.batch,
            seq: self.seq,
            task: self.task.as_deref().and_then(Task::named),
        }
    }

    /// Reads what is laid over.
    pub fn overlay(&self) -> Result<Overlay, Complaint> {
        let layer = |path: &PathBuf| {
            Ok(Layer {
                name: path.display().to_string(),
                text: read::file(path)?.into(),
            })
        };
        let mut assignments = Vec::new();
        for (dim, size) in [("batch", self.batch), ("seq", self.seq)] {
            assignments.extend(size.map(|size| format!("dims.{dim}={size}")));
        }
        assignments.extend(self.set.iter().cloned());
        Ok(Overlay {
            with: self.with.iter().map(layer).collect::<Result<_, _>>()?,
            variant: self.variant.clone(),
            assignments,
        })
    }
}

impl SpecArguments {
    /// Reads the spec. `Err` is the status to end with where there are errors in it; they have
    /// been told on standard error.
    pub fn read(&self, console: &mut Console<'_>) -> Result<Result<Read, Status>, Stop> {
        let (name, contents) = self.open(console)?;
        self.read_opened(&name, &contents, console)
    }

    /// What the path leads to, and what it is called.
    pub fn open(&self, console: &mut Console<'_>) -> Result<(String, Contents), Stop> {
        contents(&self.path, &self.overlay.options(), console)
    }

    /// The same as [`SpecArguments::read`], of what was opened.
    pub fn read_opened(
        &self,
        name: &str,
        contents: &Contents,
        console: &mut Console<'_>,
    ) -> Result<Result<Read, Status>, Stop> {
        let overlay = self.overlay.overlay()?;
        let mut sources = Sources::default();
        let mut sink = Sink::new();
        let file = contents.add(name, &mut sources);
        let loaded = contents.load(file, &mut sources, &overlay, &mut read::base);
        let (spec, model) = engine::read(loaded, &mut sink);
        if !sink.has_errors() {
            return Ok(Ok(Read { spec, model }));
        }
        let mut findings: Vec<Finding> = sink.into_findings();
        order::sort(&mut findings, &sources);
        fingerprint::assign(&mut findings, &sources);
        let report = Report::new(&findings, &sources, 1);
        let text = Output::default()
            .format
            .to_text(&report, console.error_layout);
        console.print_error(&text);
        Ok(Err(Status::Findings))
    }
}

impl SpecArguments {
    /// The same as [`SpecArguments::read`], with what the rules say of the model.
    pub fn check(
        &self,
        console: &mut Console<'_>,
    ) -> Result<Result<(Read, Vec<Finding>), Status>, Stop> {
        Ok(self.read(console)?.map(|read| {
            let findings = engine::judge(&read.spec, &read.model);
            (read, findings)
        }))
    }
}

/// The name and the contents of what a path names.
fn contents(
    path: &Path,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(String, Contents), Stop> {
    Ok(match path.as_os_str() == "-" {
        true => (
            STDIN.to_owned(),
            open::stream(console.input, STDIN, options)?,
        ),
        false if path.is_dir() => {
            let message = format!("`{}` is a folder; name one spec", path.display());
            return Err(Complaint::new(message).into());
        }
        false => (path.display().to_string(), open::file(path, options)?),
    })
}
