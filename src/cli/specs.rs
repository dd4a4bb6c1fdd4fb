//! A spec as a command line names it: a path, a variant, assignments.

use std::path::PathBuf;

use super::console::Console;
use super::read;
use super::status::{Complaint, Status, Stop};
use crate::diag::{Finding, Sink, fingerprint, order};
use crate::engine::{self, Overlay};
use crate::import::Format;
use crate::lower::Model;
use crate::render::{Output, Report};
use crate::source::{SourceFile, Sources};
use crate::spec::Spec;

/// What standard input is called where nothing else is said.
pub(super) const STDIN: &str = "<stdin>";

/// The document that stands beside an imported model: nothing is said of its run.
const EMPTY: &str = "spec = 1\n";

/// What is laid over each spec.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct OverlayArguments {
    /// Lay this variant over the spec
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Set a value: `dims.batch=64`, `train.optimizer.lr=3e-4`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// One spec.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SpecArguments {
    /// The spec, or a `.pt2` file of `torch.export.save`; `-` is standard input
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
    pub fn overlay(&self) -> Overlay {
        Overlay {
            variant: self.variant.clone(),
            assignments: self.set.clone(),
        }
    }
}

impl SpecArguments {
    /// Reads the spec. `Err` is the status to end with where there are errors in it; they have
    /// been told on standard error.
    pub fn read(&self, console: &mut Console<'_>) -> Result<Result<Read, Status>, Stop> {
        let name = self.path.display().to_string();
        let mut sources = Sources::default();
        let overlay = self.overlay.overlay();
        let mut sink = Sink::new();
        let format = Format::of(&name).filter(|_| !self.path.is_dir());
        let (spec, model) = if let Some(format) = format {
            let opened = read::open(&self.path)?;
            let file = sources.add(SourceFile::new(name.as_str(), EMPTY));
            let loaded = engine::load(file, &mut sources, &overlay, &mut read::base);
            let imported = engine::import(loaded, format, opened, &mut sink);
            let (mut spec, model) = imported.map_err(|error| Complaint {
                message: format!("`{name}` cannot be imported: {error}"),
                help: error.help,
            })?;
            let stem = self.path.file_stem().map(|stem| stem.to_string_lossy());
            let unnamed = &mut spec.model.name.value;
            *unnamed = unnamed.take().or(stem.map(Into::into));
            (spec, model)
        } else {
            let (name, text) = self.text(console)?;
            let file = sources.add(SourceFile::new(name, text));
            let loaded = engine::load(file, &mut sources, &overlay, &mut read::base);
            engine::read(loaded, &mut sink)
        };
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

    /// The name and the text of a spec.
    fn text(&self, console: &mut Console<'_>) -> Result<(String, String), Stop> {
        Ok(match self.path.as_os_str() == "-" {
            true => (STDIN.to_owned(), read::stream(console.input, STDIN)?),
            false if self.path.is_dir() => {
                let message = format!("`{}` is a folder; name one spec", self.path.display());
                return Err(Complaint::new(message).into());
            }
            false => (self.path.display().to_string(), read::file(&self.path)?),
        })
    }
}
