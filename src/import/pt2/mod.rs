//! Programs that PyTorch exported: `torch.export.save(torch.export.export(model, inputs), "m.pt2")`.
//!
//! The archive holds the ATen graph with the type of every tensor, so no weights are needed: a
//! program that was exported on the `meta` device is as good as any other. Nothing is executed
//! and nothing is unpickled.

mod archive;
mod arguments;
mod aten;
mod flatten;
mod layers;
mod lower;
mod schema;
mod special;
mod structure;
mod tied;

use std::io::{Read, Seek};

use super::{ImportError, Imported};
use crate::spec::Spec;

/// Reads an exported program.
///
/// # Errors
/// Where the archive or its program is damaged, past a limit, or of a shape that is not known.
pub fn import(file: impl Read + Seek, spec: &Spec) -> Result<Imported, ImportError> {
    let archive = archive::Archive::read(file)?;
    let program = archive.program()?;
    lower::lower(&program, &archive.weights(), spec)
}
