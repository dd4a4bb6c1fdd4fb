//! `memory/loss-head-at-peak`: see its page.

use crate::diag::Level;
use crate::facts::memory::MemoryKind;
use crate::facts::timeline::Phase;
use crate::graph::NodeId;
use crate::quantity::Bytes;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/loss-head-at-peak",
    summary: "The logits, and what the loss makes of them, set the peak of a step.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/loss-head-at-peak.md"),
};

/// The least share of the peak that is worth a word.
const SHARE: f64 = 0.15;
/// Below this much, nobody cares.
const LEAST: Bytes = Bytes::mib(256);

const LOSSES: [&str; 2] = ["cross_entropy", "nll_loss"];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (facts, graph) = (context.facts, context.graph);
    if !graph.training {
        return;
    }
    let found = facts.index().calls_of(&LOSSES);
    let Some(loss) = found.max_by_key(|&id| logits(context, id)) else {
        return;
    };
    let logits = logits(context, loss);
    if logits < LEAST {
        return;
    }
    let peak = facts.peak();
    let Some(moment) = peak.moment else { return };
    let Some(first) = head(context, loss) else {
        return;
    };
    let in_head = |node: NodeId| node >= first && node <= loss;
    let at = moment.node.filter(|&node| in_head(node));
    let (Some(at), Phase::Forward | Phase::Backward) = (at, moment.phase) else {
        return;
    };
    let layers = first.0..=loss.0;
    let held: Bytes = peak
        .owners
        .iter()
        .filter(|owner| {
            matches!(
                owner.kind,
                MemoryKind::Activations | MemoryKind::Temporaries
            )
        })
        .filter(|owner| {
            let layer = owner.layer.map(|layer| graph.layer(layer));
            layer.is_some_and(|layer| layers.contains(&layer.first_node))
        })
        .map(|owner| owner.bytes)
        .sum();
    if held.as_f64() < SHARE * peak.bytes.as_f64() {
        return;
    }
    let share = 100.0 * held.as_f64() / peak.bytes.as_f64();
    let shape = &graph.ty(graph.node(loss).arguments[0]).shape;
    let message = format!(
        "the peak of a step, {}, is reached at `{}` in the {} pass: the logits {shape} and what \
         the loss makes of them take {held} of it, {share:.0} %",
        peak.bytes,
        graph.node(at).op.name,
        moment.phase.name(),
    );
    let place = context.model.node_place(context.spec, loss);
    reporter.at(place, message).help(format!(
        "compute the loss for a part of the rows at a time (in 8 parts the logits take {}), by a \
         fused linear cross-entropy or by `checkpoint`ing each part",
        Bytes(logits.0 / 8)
    ));
}

/// The bytes of the logits of a loss.
fn logits(context: &Context<'_>, loss: NodeId) -> Bytes {
    let tensor = context.graph.node(loss).arguments[0];
    Bytes(context.facts.dtypes().bytes(context.graph, tensor))
}

/// The call that makes the logits, before what only shows them in another shape or type.
fn head(context: &Context<'_>, loss: NodeId) -> Option<NodeId> {
    let graph = context.graph;
    let mut at = graph.producer(graph.node(loss).arguments[0])?;
    loop {
        let node = graph.node(at);
        let passes = node.op.view || ["to", "contiguous", "log_softmax"].contains(&node.op.name);
        match (passes, node.arguments.first()) {
            (true, Some(&source)) => at = graph.producer(source)?,
            _ => return Some(at),
        }
    }
}
