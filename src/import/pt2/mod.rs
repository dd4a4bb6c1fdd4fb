//! Programs that PyTorch exported: `torch.export.save(torch.export.export(model, inputs), "m.pt2")`.
//!
//! The archive holds the ATen graph with the type of every tensor, so no weights are needed: a
//! program that was exported on the `meta` device is as good as any other. Nothing is executed
//! and nothing is unpickled.

mod archive;
mod arguments;
mod aten;
mod autocast;
mod constants;
mod flatten;
mod layers;
mod lower;
mod masks;
mod regions;
mod rewritten;
mod schema;
mod special;
mod stated;
mod structure;
mod symbols;
mod sympy;
mod tied;
mod tracer;
mod types;
mod unaliased;
mod writes;

use std::sync::Arc;

use super::{Format, ImportError, Imported, Input, OpenDim, Opened, Program, has_extension};
use crate::spec::Spec;
use crate::spec::dims::DimValues;
use schema::{ExportedProgram, WeightsConfig};
use symbols::Symbols;

/// What `torch.export.save` writes.
pub static FORMAT: Format = Format {
    name: "pt2",
    files: "*.pt2",
    is_named: |name| has_extension(name, "pt2"),
    // Of a zip archive.
    begins: |bytes| bytes.starts_with(b"PK\x03\x04"),
    holds_model: None,
    open: |input| Ok(Opened::Program(Arc::new(open(input)?))),
};

/// An exported program.
#[derive(Debug)]
struct Exported {
    program: ExportedProgram,
    weights: WeightsConfig,
}

/// Reads an exported program.
///
/// # Errors
/// Where the archive or its program is damaged, past a limit, or of a shape that is not known.
fn open(input: &mut dyn Input) -> Result<Exported, ImportError> {
    let archive = archive::Archive::read(input)?;
    Ok(Exported {
        program: archive.program()?,
        weights: archive.weights(),
    })
}

impl Program for Exported {
    fn dims(&self) -> Vec<OpenDim> {
        symbols::open_dims(&self.program)
    }

    fn build(&self, spec: &Spec, dims: &DimValues) -> Result<Imported, ImportError> {
        let symbols = Symbols::new(&self.program, dims)?;
        lower::lower(&self.program, &self.weights, spec, symbols)
    }
}
