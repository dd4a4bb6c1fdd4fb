//! What the rules about too little memory say of it: the sum in a line, and what changes would
//! bring it to.

use crate::diag::Sink;
use crate::facts::Facts;
use crate::facts::memory::{Memory, Saved, forward_peak};
use crate::formula::arithmetic::Number;
use crate::graph::{Graph, LayerId, LayerKind};
use crate::quantity::Bytes;
use crate::rules::Context;
use crate::spec::run::Run;

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
    let in_flight = context.run.parallel.pipeline.or(1);
    lbfgs || states + moved * in_flight > limit
}

/// `activations 40.1 GiB + optimizer state 24 GiB + …`, the largest part first.
pub fn sum(memory: &Memory) -> String {
    let mut parts: Vec<_> = memory.parts.iter().collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let least = NAMED * memory.total.as_f64();
    let named = parts
        .iter()
        .take_while(|part| part.bytes.as_f64() >= least)
        .count();
    let mut texts: Vec<String> = parts[..named]
        .iter()
        .map(|part| format!("{} {}", part.kind, part.bytes))
        .collect();
    let rest: Bytes = parts[named..].iter().map(|part| part.bytes).sum();
    if rest > Bytes::ZERO {
        texts.push(format!("others {rest}"));
    }
    texts.join(" + ")
}

/// What the sum would come to with one change each; only changes that bring it down by a tenth.
pub fn advice(context: &Context<'_>) -> Option<String> {
    let total = context.facts.memory().total;
    let mut found: Vec<(String, Bytes)> = [sharded(context), recomputed(context), halved(context)]
        .into_iter()
        .flatten()
        .filter(|(_, after)| after.as_f64() < 0.9 * total.as_f64())
        .collect();
    found.sort_by_key(|&(_, after)| after);
    let texts: Vec<String> = found
        .iter()
        .map(|(change, after)| format!("{change}: {after}"))
        .collect();
    (!texts.is_empty()).then(|| format!("what it would take with — {}", texts.join("; ")))
}

fn memory(facts: &Facts<'_>, graph: &Graph, run: &Run, saved: &Saved) -> Memory {
    let forward = || {
        let (dtypes, storages) = (facts.dtypes(), facts.storages());
        forward_peak(graph, facts.liveness(), dtypes, storages)
    };
    let ranks = facts.batch().data_ranks;
    Memory::of(graph, run, facts.policy(), saved, forward, ranks)
}

/// Optimizer state over the replicas, and all three.
fn sharded(context: &Context<'_>) -> Option<(String, Bytes)> {
    let facts = context.facts;
    let degrees = facts.memory().degrees;
    if degrees.data == 1 || degrees.zero > 0 || !context.graph.training {
        return None;
    }
    let after = |stage| {
        let mut run = context.run.clone();
        run.parallel.zero.value = Some(stage);
        memory(facts, context.graph, &run, facts.saved()).total
    };
    let (first, third) = (after(1), after(3));
    // The first stage costs no further communication.
    match first.as_f64() < 1.2 * third.as_f64() {
        true => Some(("`[parallel] zero = 1`".to_owned(), first)),
        false => Some(("`[parallel] zero = 3`".to_owned(), third)),
    }
}

/// The block recomputed that brings most.
fn recomputed(context: &Context<'_>) -> Option<(String, Bytes)> {
    let facts = context.facts;
    if !context.graph.training || context.run.train.checkpoint.is_given() {
        return None;
    }
    let blocks = context.spec.blocks.iter().filter_map(|block| {
        let mut graph = context.graph.clone();
        let mut instances = 0;
        for number in 0..graph.layers.len() {
            let layer = graph.layer(LayerId(number as u32));
            if matches!(&layer.kind, LayerKind::Block(name) if *name == block.name) {
                graph.layers[number].checkpointed = true;
                instances += 1;
            }
        }
        if instances < 2 {
            return None;
        }
        let (liveness, dtypes) = (facts.liveness(), facts.dtypes());
        let saved = Saved::of(&graph, liveness, dtypes, facts.storages());
        let after = memory(facts, &graph, context.run, &saved).total;
        Some((
            format!("`[train] checkpoint = [\"{}\"]`", block.name),
            after,
        ))
    });
    blocks.min_by_key(|&(_, after)| after)
}

/// Half the micro-batch.
fn halved(context: &Context<'_>) -> Option<(String, Bytes)> {
    let spec = context.spec;
    let dim = spec.inputs.first()?.axes.first()?.clone()?;
    let Number::Integer(size) = context.model.dims.get(&dim)? else {
        return None;
    };
    let half = size / 2;
    let free = spec
        .dims
        .entries
        .iter()
        .any(|d| d.name == dim && d.is_free());
    if half < 1 || !free {
        return None;
    }
    let mut sink = Sink::new();
    let model = context
        .model
        .resized(spec, &[(dim.clone(), half)], &mut sink);
    let after = Facts::new(spec, &model).memory().total;
    let change = format!("`{dim} = {half}` and twice the accumulation");
    (!sink.has_errors()).then_some((change, after))
}
