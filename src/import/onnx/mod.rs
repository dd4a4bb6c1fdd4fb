//! ONNX models: `*.onnx`, of opset 7 and later.
//!
//! Only the graph is read. Weights may stand in the file, beside it or nowhere: their shapes
//! suffice, and what is longer than a shape needs is passed over. Small integers are computed
//! with, for the shapes of a graph depend on them; nothing else is executed.

mod apply;
mod arithmetic;
mod attention;
mod attributes;
mod call;
mod constant;
mod control;
mod convolution;
mod data;
mod dims;
mod elementwise;
mod fold;
mod indexing;
mod layers;
mod layout;
mod loss;
mod lower;
mod names;
mod normalisation;
mod order;
mod pooling;
mod product;
mod quantization;
mod recurrent;
mod reduction;
mod registry;
mod resizing;
mod schema;
mod sequence;
mod signal;
mod slot;
mod stated;
mod wire;

use std::sync::Arc;

use prost::Message;

use super::{Format, ImportError, Imported, Input, OpenDim, Opened, Program, has_extension};
use crate::spec::Spec;
use crate::spec::dims::DimValues;
use dims::Dims;
use schema::ModelProto;
use wire::{Fault, MAX_STRUCTURE, Window};

/// The least version of the standard's ops that is read: before it, broadcasting was another.
const MIN_OPSET: i64 = 7;

/// What `torch.onnx.export`, `tf2onnx` and others write.
pub static FORMAT: Format = Format {
    name: "onnx",
    files: "*.onnx",
    is_named: |name| has_extension(name, "onnx"),
    // The tag of `ir_version`, which is written first; a text has no such character.
    begins: |bytes| bytes.first() == Some(&0x08),
    holds_model: None,
    open: |input| Ok(Opened::Program(Arc::new(open(input)?))),
};

/// A decoded model.
#[derive(Debug)]
struct Decoded(ModelProto);

/// Decodes a model.
///
/// # Errors
/// Where the file is damaged or past a limit.
fn open(input: &mut dyn Input) -> Result<Decoded, ImportError> {
    let unreadable = |text: String| ImportError::new(format!("it cannot be read: {text}"));
    let (window, fault) = Window::new(input).map_err(|error| unreadable(error.to_string()))?;
    let decoded = ModelProto::decode(window);
    match fault.take() {
        Some(Fault::Io(text)) => return Err(unreadable(text)),
        Some(Fault::TooLarge) => {
            let message = format!(
                "its graph takes more than {} MiB without the weights",
                MAX_STRUCTURE >> 20
            );
            return Err(ImportError::new(message));
        }
        None => {}
    }
    let decoded = decoded.map_err(|error| {
        ImportError::new(format!("it is no ONNX model, or damaged: {error}"))
            .help("`onnx.checker.check_model` tells more about a damaged file")
    })?;
    Ok(Decoded(decoded))
}

impl Program for Decoded {
    fn dims(&self) -> Vec<OpenDim> {
        dims::open(&self.0)
    }

    fn build(&self, spec: &Spec, dims: &DimValues) -> Result<Imported, ImportError> {
        lower::lower(&self.0, spec, Dims::new(dims))
    }
}
