//! What the rules about too little memory say of it: the sum in a line, and what changes would
//! bring it to.

use crate::facts::fit::needed;
use crate::facts::memory::{MemoryKind, REDUCE_BUCKET};
use crate::quantity::Bytes;
use crate::rules::Context;
use crate::spec::setting::Field;

/// The least share of the sum that a part must have to be named.
const NAMED: f64 = 0.02;

/// Whether the device may hold more than `limit`, told from bounds that cost little: nothing is
/// kept that is not read or written, extras are at most eight bytes for an element that is
/// written, and all that is kept of a parameter is at most 64 bytes for each (L-BFGS aside).
pub fn may_exceed(context: &Context<'_>, limit: Bytes) -> bool {
    let cost = context.facts.cost();
    let states = cost.parameters.bytes(64) + cost.parameter_bytes + cost.buffer_bytes;
    let moved = (cost.read + cost.written) * 8;
    let lbfgs =
        context.run.train.optimizer.name.get() == Some(crate::spec::run::OptimizerKind::Lbfgs);
    // In flight are at most all micro-batches; GPipe and zero-bubble schedules hold more than as
    // many as there are stages.
    let stages = context.run.parallel.pipeline.or(1);
    let in_flight = match stages {
        0 | 1 => 1,
        _ => context.run.train.grad_accumulation.or(1).max(stages),
    };
    // Buckets of communication are as large as they are said to be, whatever the model.
    let parallel = &context.run.parallel;
    let bucket = |size: &Field<u64>| Bytes(size.or(REDUCE_BUCKET).saturating_mul(16));
    let buckets = match parallel.zero.or(0) {
        0 => Bytes::ZERO,
        _ => bucket(&parallel.reduce_bucket_size) + bucket(&parallel.allgather_bucket_size),
    };
    lbfgs || states + buckets + moved * in_flight > limit
}

/// What a device must hold, and that in a line: `activations 40.1 GiB + optimizer state 24 GiB + …`,
/// the largest part first.
pub fn held(context: &Context<'_>) -> (Bytes, String) {
    let memory = context.facts.memory();
    let total = needed(context.facts);
    let mut parts: Vec<(MemoryKind, Bytes)> = match total == memory.total {
        false => context.facts.peak().parts.clone(),
        true => memory
            .parts
            .iter()
            .map(|part| (part.kind, part.bytes))
            .collect(),
    };
    parts.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
    let least = NAMED * total.as_f64();
    let named = parts
        .iter()
        .take_while(|(_, bytes)| bytes.as_f64() >= least)
        .count();
    let mut texts: Vec<String> = parts[..named]
        .iter()
        .map(|(kind, bytes)| format!("{kind} {bytes}"))
        .collect();
    let shown: Bytes = parts[..named].iter().map(|&(_, bytes)| bytes).sum();
    let rest = total - shown;
    if rest > Bytes::ZERO {
        texts.push(format!("others {rest}"));
    }
    (total, texts.join(" + "))
}

/// What the sum would come to with one change each; only changes that bring it down by a tenth, and
/// no more than a few.
pub fn advice(context: &Context<'_>) -> Option<String> {
    const MOST: usize = 5;
    let total = needed(context.facts);
    let texts: Vec<String> = context
        .facts
        .levers()
        .iter()
        .filter(|lever| lever.after.as_f64() < 0.9 * total.as_f64())
        .take(MOST)
        .map(|lever| {
            let mut costs = Vec::new();
            if lever.arithmetic >= 0.005 {
                costs.push(format!("{:.0} % more FLOPs", 100.0 * lever.arithmetic));
            }
            if !lever.costs.is_empty() {
                costs.push(lever.costs.to_owned());
            }
            match costs.is_empty() {
                true => format!("{}: {}", lever.change, lever.after),
                false => format!("{}: {} ({})", lever.change, lever.after, costs.join(", ")),
            }
        })
        .collect();
    (!texts.is_empty()).then(|| format!("what it would take with — {}", texts.join("; ")))
}
