//! How the ops of ONNX are mapped, by domain and name.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use super::call::{Call, Results, all, one};
use super::{
    attention, control, convolution, data, elementwise, indexing, layout, loss, normalisation,
    pooling, product, quantization, recurrent, reduction, resizing, sequence, signal,
};

/// Maps a call; `None` where it is not understood.
pub(super) type Map = fn(&mut Call<'_, '_>) -> Option<Results>;

/// How the calls of an op are mapped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mapping {
    /// To one op of one operand, without attributes.
    Unary(&'static str),
    /// To one op of two operands that are broadcast together.
    Binary(&'static str),
    /// By a function.
    Special(Map),
    /// To nothing: its results are what it was given.
    Alias(Map),
}

/// An op of the standard, or of a domain, and its mapping.
pub(super) type Entry = (&'static str, Mapping);

/// The domain of what ONNX Runtime adds.
pub(super) const MICROSOFT: &str = "com.microsoft";

const STANDARD: &[&[Entry]] = &[
    attention::OPS,
    control::OPS,
    convolution::OPS,
    data::OPS,
    elementwise::OPS,
    indexing::OPS,
    layout::OPS,
    loss::OPS,
    normalisation::OPS,
    pooling::OPS,
    product::OPS,
    quantization::OPS,
    recurrent::OPS,
    reduction::OPS,
    resizing::OPS,
    sequence::OPS,
    signal::OPS,
];

/// The mapping of an op. `O(1)`.
pub(super) fn find(domain: &str, name: &str) -> Option<&'static Mapping> {
    static BY_NAME: OnceLock<FxHashMap<(&'static str, &'static str), &'static Mapping>> =
        OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| {
        let standard = STANDARD.iter().copied().flatten();
        let standard = standard.map(|(name, mapping)| (("", *name), mapping));
        let contributed = [attention::MICROSOFT_OPS, product::MICROSOFT_OPS];
        let contributed = contributed.into_iter().flatten();
        let contributed = contributed.map(|(name, mapping)| ((MICROSOFT, *name), mapping));
        standard.chain(contributed).collect()
    });
    by_name.get(&(domain, name)).copied()
}

impl Mapping {
    /// The results of a call.
    pub(super) fn apply(&self, call: &mut Call<'_, '_>) -> Option<Results> {
        match self {
            Mapping::Unary(op) => {
                let input = call.tensor(0)?;
                call.apply(op, &[input], &[]).map(all)
            }
            Mapping::Binary(op) => elementwise::broadcast(call, op).map(one),
            Mapping::Special(map) | Mapping::Alias(map) => map(call),
        }
    }
}
