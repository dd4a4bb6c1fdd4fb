//! Which element types a spec asks the device for.

use crate::device::{Device, Support};
use crate::rules::Context;
use crate::source::Span;
use crate::tensor::Dtype;

/// An element type that is asked for, and where.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// PyTorch's name, or `tf32`.
    pub name: &'static str,
    /// The setting.
    pub path: &'static str,
    /// Where it is written.
    pub span: Option<Span>,
}

/// The types in which the device is to multiply, each once. float32 is left out: everything has it.
pub fn asked(context: &Context<'_>) -> Vec<Asked> {
    let policy = context.facts.policy();
    let mut asked: Vec<Asked> = Vec::new();
    let mut add = |dtype: Dtype, path, span| {
        let name = dtype.name();
        let integer = matches!(dtype, Dtype::Int8 | Dtype::Uint8 | Dtype::Int4);
        let wanted = (dtype.is_float() || integer) && dtype != Dtype::Float32;
        if wanted && asked.iter().all(|other| other.name != name) {
            asked.push(Asked { name, path, span });
        }
    };
    let model = &context.spec.model.dtype;
    if context.run.train.precision.span.is_some() {
        let compute = policy.compute;
        add(compute.value, "train.precision.compute", compute.span);
    } else if let Some(dtype) = model.get() {
        add(dtype, "model.dtype", model.span);
    }
    let quantized = &context.run.quantization.dtype;
    // Of weights alone only the storage is narrow; they are multiplied in the type of activations.
    let weights_only = context.run.quantization.scheme.get()
        == Some(crate::spec::run::QuantizationScheme::WeightOnly);
    if let Some(dtype) = quantized.get().filter(|_| !weights_only) {
        add(dtype, "quantization.dtype", quantized.span);
    }
    if policy.tf32.value && policy.tf32.given {
        asked.push(Asked {
            name: "tf32",
            path: "train.precision.tf32",
            span: policy.tf32.span,
        });
    }
    asked
}

/// The types that a device multiplies, in words.
pub fn units(device: &Device) -> String {
    const TYPES: [&str; 8] = [
        "float64", "float32", "tf32", "bfloat16", "float16", "float8", "int8", "int4",
    ];
    let native = TYPES
        .into_iter()
        .filter(|dtype| device.supports(dtype) == Support::Native);
    native.collect::<Vec<_>>().join(", ")
}
