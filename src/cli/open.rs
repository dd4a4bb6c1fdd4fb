//! What a path leads to, in whatever format: the one way in for every command.

use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use super::read;
use super::specs::STDIN;
use super::status::Complaint;
use crate::engine::{self, Fetch, Loaded, Overlay};
use crate::import::hf::Options;
use crate::import::{Format, ImportError, Opened};
use crate::source::{FileId, SourceFile, Sources};

/// What was read from a file or from standard input.
#[derive(Debug, Clone)]
pub(super) enum Contents {
    /// The text of a spec.
    Text(Arc<str>),
    /// A model of another program, or why the file is none.
    Import(Result<Opened, ImportError>),
}

/// Reads the file. Its name says what it is; one with a name that says nothing is a spec.
pub(super) fn file(path: &Path, options: &Options) -> Result<Contents, Complaint> {
    let format = Format::of(&path.to_string_lossy()).filter(|_| !path.is_dir());
    Ok(match format {
        Some(format) => Contents::Import(format.read(&mut read::open(path)?, options)),
        None => Contents::Text(read::file(path)?.into()),
    })
}

/// Reads standard input, which goes by that name. Where the name does not say what it is, what it
/// begins with does.
pub(super) fn stream(
    input: &mut dyn Read,
    name: &str,
    options: &Options,
) -> Result<Contents, Complaint> {
    let bytes = read::bytes(input, name)?;
    let named = match name == STDIN {
        true => Format::of_content(&bytes),
        false => Format::of(name),
    };
    Ok(match named {
        Some(format) => Contents::Import(format.read(&mut Cursor::new(bytes), options)),
        None => Contents::Text(read::text(bytes, name)?.into()),
    })
}

/// Whether a file that was found in a folder is a model of another program.
pub(super) fn is_import(path: &Path) -> bool {
    let Some(format) = Format::of(&path.to_string_lossy()) else {
        return false;
    };
    match (format.holds_model, read::open(path)) {
        (Some(holds_model), Ok(mut opened)) => holds_model(&mut opened),
        // What cannot be opened is taken, so that reading it tells why.
        _ => true,
    }
}

impl Contents {
    /// The text, if it is a spec.
    pub fn text(&self) -> Option<&Arc<str>> {
        match self {
            Contents::Text(text) => Some(text),
            Contents::Import(_) => None,
        }
    }

    /// Adds the text that stands for the model.
    pub fn add(&self, name: &str, sources: &mut Sources) -> FileId {
        match self {
            Contents::Text(text) => sources.add(SourceFile::new(name, Arc::clone(text))),
            Contents::Import(opened) => engine::add_import(name, opened.as_ref(), sources),
        }
    }

    /// Lays the overlay over the model, whose text was added as `file`.
    pub fn load(
        &self,
        file: FileId,
        sources: &mut Sources,
        overlay: &Overlay,
        fetch: &mut Fetch<'_>,
    ) -> Loaded {
        match self {
            Contents::Text(_) => engine::load(file, sources, overlay, fetch),
            Contents::Import(opened) => {
                engine::load_import(file, opened.as_ref(), sources, overlay, fetch)
            }
        }
    }
}
