//! Models that other programs wrote: from their files to a [`Model`].
//!
//! An importer knows one format and the graph; it judges and costs nothing, and opens no file:
//! it is handed something to read from. What the run is like stands in a spec beside it.

pub mod pt2;

use std::fmt;
use std::io::{Read, Seek};

use crate::lower::Model;
use crate::spec::Spec;

/// A format that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What `torch.export.save` writes: `*.pt2`.
    ExportedProgram,
}

impl Format {
    /// The format that a file of that name has, if it is one that can be imported.
    pub fn of(name: &str) -> Option<Format> {
        let (_, extension) = name.rsplit_once('.')?;
        extension
            .eq_ignore_ascii_case("pt2")
            .then_some(Format::ExportedProgram)
    }

    /// Reads a model. The spec gives what the file does not say: mode and kernel of attention.
    ///
    /// # Errors
    /// Where the file is not of the format, damaged, or past a limit.
    pub fn import(self, file: impl Read + Seek, spec: &Spec) -> Result<Imported, ImportError> {
        match self {
            Format::ExportedProgram => pt2::import(file, spec),
        }
    }
}

/// A model that was imported.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// The model.
    pub model: Model,
    /// How the file's own types agree with ours.
    pub agreement: Agreement,
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
