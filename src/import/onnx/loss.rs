//! Losses over classes.

use super::call::{Call, Output, Results, one};
use super::registry::{Entry, Mapping::*};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("NegativeLogLikelihoodLoss", Special(likelihood)),
    ("SoftmaxCrossEntropyLoss", Special(cross_entropy)),
];

fn loss(call: &mut Call<'_, '_>, op: &str) -> Option<Results> {
    let operands = [call.tensor(0)?, call.tensor(1)?, call.optional(2)?];
    let reduction = call.attributes.text("reduction").unwrap_or("mean");
    let mut given = vec![("reduction", reduction.into())];
    if let Some(ignored) = call.attributes.integer("ignore_index") {
        given.push(("ignore_index", ignored.into()));
    }
    call.first(op, &operands, &given).map(one)
}

fn likelihood(call: &mut Call<'_, '_>) -> Option<Results> {
    loss(call, "nll_loss")
}

fn cross_entropy(call: &mut Call<'_, '_>) -> Option<Results> {
    let mut results = loss(call, "cross_entropy")?;
    if call.wants(1) {
        let scores = call.tensor(0)?;
        let logarithms = call.first("log_softmax", &[scores], &[("dim", 1.into())])?;
        results.push(Output::Tensor(logarithms));
    }
    Some(results)
}
