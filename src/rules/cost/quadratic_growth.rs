//! `cost/quadratic-growth`: see its page.

use crate::diag::{Confidence, Level};
use crate::facts::growth::{Curve, DimGrowth, Growth};
use crate::quantity::{Bytes, Flops};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::tensors::TensorDefinition;

/// The rule.
pub static RULE: Rule = Rule {
    name: "cost/quadratic-growth",
    summary: "Most of the cost grows with the square of the sequence.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/cost/quadratic-growth.md"),
};

/// The share of the cost from which on a term is most of it.
const MOST: f64 = 0.5;

/// Ops that can grow faster than a sequence: those that multiply activations with each other, and
/// what is done to their results.
const SUSPECTS: [&str; 8] = [
    "scaled_dot_product_attention",
    "matmul",
    "bmm",
    "baddbmm",
    "einsum",
    "softmax",
    "cdist",
    "outer",
];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let Some(dim) = sequence(context) else { return };
    if !is_suspect(context) {
        return;
    }
    let Some(growth) = Growth::with(context.facts, &dim) else {
        return;
    };
    let mut parts = Vec::new();
    let flops = |value: f64| Flops(value.max(0.0) as u128).to_string();
    let bytes = |value: f64| Bytes(value.max(0.0) as u64).to_string();
    say(&mut parts, "arithmetic", &growth.arithmetic, flops);
    say(&mut parts, "memory", &growth.memory, bytes);
    let Some(layer) = growth.layers.first().filter(|_| !parts.is_empty()) else {
        return;
    };
    let message = format!(
        "most of the cost grows with the square of `{dim}` or faster: at {} that is {}",
        growth.size,
        parts.join(", and ")
    );
    let place = context.model.layer_place(context.spec, layer.layer);
    reporter
        .at(place, message)
        .label(twice(&growth))
        .confidence(Confidence::Likely)
        .help(
            "attention as one fused kernel (`attention = \"fused\"`) keeps no scores; windows, \
             chunks or linear attention bring down the arithmetic as well",
        );
}

/// The sequence: the dim of the second axis of an input of whole numbers, or of one of vectors.
fn sequence(context: &Context<'_>) -> Option<smol_str::SmolStr> {
    let is_sequence = |input: &&TensorDefinition| match input.axes.len() {
        2 => input.dtype.is_some_and(|dtype| !dtype.is_float()),
        rank => rank == 3,
    };
    let input = context.spec.inputs.iter().find(is_sequence)?;
    let name = input.axes.get(1)?.as_ref()?;
    let dims = &context.spec.dims.entries;
    let free = dims.iter().any(|dim| dim.name == *name && dim.is_free());
    // A dim that stands twice in a shape is a side of a square.
    let once = input
        .axes
        .iter()
        .flatten()
        .filter(|axis| *axis == name)
        .count()
        == 1;
    (free && once).then(|| name.clone())
}

/// Whether ops that can grow faster than a sequence do or write most of it: only then is it worth
/// lowering the model again.
fn is_suspect(context: &Context<'_>) -> bool {
    let (facts, graph) = (context.facts, context.graph);
    let calls: Vec<_> = facts.index().calls_of(&SUSPECTS).collect();
    if calls.is_empty() {
        return false;
    }
    let cost = facts.cost();
    let (mut work, mut written) = (0.0, 0.0);
    for id in calls {
        let one = cost.node(id);
        let node = graph.node(id);
        let math = node.op.name == "scaled_dot_product_attention" && !graph.fused_attention;
        work += one.forward as f64 + one.other as f64;
        // Separate kernels write scores that are no output: one for each 2·width FLOPs.
        let width = graph.ty(node.arguments[0]).shape.size(-1).unwrap_or(1);
        let scores = if math {
            2.0 * one.forward as f64 / width.max(1) as f64
        } else {
            0.0
        };
        written += one.written as f64 + scores;
    }
    let all = cost.forward.as_f64() + cost.other_forward.as_f64();
    work > MOST * all || written > 0.5 * MOST * cost.written.as_f64()
}

fn say(parts: &mut Vec<String>, what: &str, curve: &Curve, show: impl Fn(f64) -> String) {
    let share = curve.share_from(2).min(1.0);
    if share > MOST {
        let whole = curve.at(1.0);
        parts.push(format!(
            "{:.0} % of {} of {what}",
            100.0 * share,
            show(whole)
        ));
    }
}

fn twice(growth: &DimGrowth) -> String {
    let times = |curve: &Curve| curve.at(2.0) / curve.at(1.0);
    format!(
        "twice the `{}`: {:.1} times the arithmetic, {:.1} times the memory",
        growth.dim,
        times(&growth.arithmetic),
        times(&growth.memory)
    )
}
