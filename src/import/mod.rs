//! Models that other programs wrote: from their files to a [`Model`], or to the text of a spec.
//!
//! An importer knows one format and what it makes of it; it judges and costs nothing, and opens no
//! file: it is handed something to read from. What the run is like stands in a spec beside it.

pub mod hf;
pub mod onnx;
pub mod pt2;

use std::fmt;
use std::io::{Read, Seek};
use std::sync::Arc;

use smol_str::SmolStr;

use crate::diag::{Level, Sink};
use crate::lower::{Blueprint, Model, mark_checkpoints};
use crate::source::Span;
use crate::spec::dims::DimValues;
use crate::spec::{Spec, names};

/// Something to read a file from.
pub trait Input: Read + Seek {}

impl<T: Read + Seek> Input for T {}

/// A format that can be imported.
#[derive(Debug)]
pub struct Format {
    /// Its name: `pt2`.
    pub name: &'static str,
    /// How its files are called, for people: `*.pt2`.
    pub files: &'static str,
    /// Whether a file of that name, without its folder, is of the format.
    pub is_named: fn(&str) -> bool,
    /// Whether a file that begins so is of the format, whatever it is called: no text of a spec
    /// begins so, and no file of another format.
    pub begins: fn(&[u8]) -> bool,
    /// Whether a file of such a name really is a model, where the name alone does not tell. Asked
    /// of files that are found in a folder; those that a user names are believed.
    pub holds_model: Option<fn(&mut dyn Input) -> bool>,
    /// Reads a file of the format.
    pub open: fn(&mut dyn Input) -> Result<Opened, ImportError>,
}

/// All formats. To add one is to add its entry.
pub static FORMATS: &[&Format] = &[&hf::FORMAT, &onnx::FORMAT, &pt2::FORMAT];

impl Format {
    /// The format that a file of that name has, if it is one that can be imported.
    pub fn of(name: &str) -> Option<&'static Format> {
        let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
        FORMATS
            .iter()
            .copied()
            .find(|format| (format.is_named)(last))
    }

    /// The format of what begins so, if it is one that can be imported.
    pub fn of_content(bytes: &[u8]) -> Option<&'static Format> {
        let mut formats = FORMATS.iter().copied();
        formats.find(|format| (format.begins)(bytes))
    }
}

impl Format {
    /// Reads a file of the format, with what is said of what the file leaves open: a configuration
    /// names neither batch nor length. Other formats state all of it, or leave it to dims.
    ///
    /// # Errors
    /// As `open`, and where a task is asked for that the format knows nothing of.
    pub fn read(
        &self,
        input: &mut dyn Input,
        options: &hf::Options,
    ) -> Result<Opened, ImportError> {
        if self.name == hf::FORMAT.name {
            return hf::open(input, options);
        }
        match options.task {
            Some(task) => Err(ImportError::new(format!(
                "a `{}` file is a model with its task; {} cannot be asked of it",
                self.name,
                task.name()
            ))),
            None => (self.open)(input),
        }
    }
}

/// Whether a file's name ends with a dot and that extension, in any case.
pub fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, end)| end.eq_ignore_ascii_case(extension))
}

/// What was read from a file.
#[derive(Debug, Clone)]
pub enum Opened {
    /// A program, whose graph is the model.
    Program(Arc<dyn Program>),
    /// The text of a spec that describes the same model.
    Text(Arc<str>),
}

/// A program that was read, from which the model is built at any sizes that it allows.
pub trait Program: fmt::Debug + Send + Sync {
    /// The sizes that the program leaves open.
    fn dims(&self) -> Vec<OpenDim> {
        Vec::new()
    }

    /// Builds the model. The spec gives what the file does not say: mode and kernel of attention.
    ///
    /// # Errors
    /// Where the program makes no sense, or is past a limit.
    fn build(&self, spec: &Spec, dims: &DimValues) -> Result<Imported, ImportError>;
}

/// A size that a program leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDim {
    /// Its name: an identifier.
    pub name: SmolStr,
    /// The size at which the program was written.
    pub size: i64,
    /// The least and the greatest size that the program allows.
    pub range: (i64, i64),
}

impl Blueprint for Arc<dyn Program> {
    fn lower(&self, spec: &Spec, overrides: &[(SmolStr, i64)], sink: &mut Sink) -> Model {
        let dims = spec.dims.evaluate(overrides, |_, _| {});
        match self.build(spec, &dims) {
            Ok(mut imported) => {
                mark_checkpoints(&mut imported.model.graph, spec, &[], sink);
                Model {
                    dims,
                    blueprint: Some(Arc::new(Arc::clone(self))),
                    notes: [crate::lower::notes(spec), imported.notes].concat(),
                    ..imported.model
                }
            }
            Err(error) => {
                error.report(spec.document.root().span(), sink);
                Model::default()
            }
        }
    }

    fn dims(&self) -> Vec<SmolStr> {
        let dims = Program::dims(self.as_ref()).into_iter();
        dims.map(|dim| dim.name).collect()
    }
}

/// A model that was imported.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// The model.
    pub model: Model,
    /// How the file's own types agree with ours.
    pub agreement: Agreement,
    /// What there is to tell about the import: assumptions, and what is not counted.
    pub notes: Vec<String>,
}

/// How the types that a file states agree with those that the ops infer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Calls whose shapes and element types are the file's.
    pub same: usize,
    /// Calls whose shapes are the file's, but not their element types. The file's are used.
    pub other_dtype: usize,
    /// Calls that were not understood, or whose shapes are not the file's: they became `opaque`.
    pub opaque: usize,
}

/// Why a file cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl ImportError {
    /// An error with that message.
    pub fn new(message: impl Into<String>) -> ImportError {
        ImportError {
            message: message.into(),
            help: None,
        }
    }

    /// Reports the error at the start of a text that stands for the file.
    pub fn report(self, file: Span, sink: &mut Sink) {
        let place = file.start_only();
        let message = format!("the file cannot be imported: {}", self.message);
        sink.report(names::IMPORT, Level::Error, Some(place), "", message)
            .maybe_help(self.help);
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> ImportError {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ImportError {}
