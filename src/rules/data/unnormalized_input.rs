//! `data/unnormalized-input`: see its page.

use crate::diag::{Confidence, Level};
use crate::graph::{NodeId, TensorId};
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::setting::Range;
use crate::tensor::Moments;
use rustc_hash::{FxHashMap, FxHashSet};

/// The rule.
pub static RULE: Rule = Rule {
    name: "data/unnormalized-input",
    summary: "Raw values of large scale go straight into a weight.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/data/unnormalized-input.md"),
};

/// From which root mean square on an input counts as raw. Standardised data has 1, pixels scaled
/// to 0…1 have 0.6, pixels as they are 147.
const LARGE: f64 = 10.0;

/// Ops that hand on what they get.
const PASSING: [&str; 9] = [
    "to",
    "reshape",
    "flatten",
    "transpose",
    "permute",
    "pad",
    "contiguous",
    "unsqueeze",
    "squeeze",
];
/// Ops that multiply their first operand with a weight.
const WEIGHTED: [&str; 7] = ["linear", "conv1d", "conv2d", "conv3d", "rnn", "lstm", "gru"];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    if context.run.data.normalized.or(false) || !graph.training {
        return;
    }
    // What each tensor is but for its shape and type: the number of an input.
    let mut raw: FxHashMap<TensorId, usize> = FxHashMap::default();
    for (number, &(ref name, tensor)) in graph.inputs.iter().enumerate() {
        let declared = context.spec.input(name);
        let large = declared
            .and_then(|definition| definition.range)
            .is_some_and(|range| scale(range).square().sqrt() >= LARGE);
        if large && graph.tensor(tensor).known {
            raw.insert(tensor, number);
        }
    }
    if raw.is_empty() {
        return;
    }
    let mut reported: FxHashSet<usize> = FxHashSet::default();
    for (id, node) in graph.nodes() {
        let first = node.arguments.first();
        let Some(&number) = first.and_then(|tensor| raw.get(tensor)) else {
            continue;
        };
        if WEIGHTED.contains(&node.op.name) {
            if reported.insert(number) {
                report(context, reporter, number, id);
            }
        } else if PASSING.contains(&node.op.name) {
            raw.insert(node.first_output, number);
        }
    }
}

/// The moments of values spread evenly over a range.
fn scale(range: Range) -> Moments {
    Moments::uniform(range.low, range.high)
}

fn report(context: &Context<'_>, reporter: &mut Reporter<'_>, number: usize, id: NodeId) {
    let (name, _) = &context.graph.inputs[number];
    let declared = context.spec.input(name);
    let Some((definition, range)) = declared.and_then(|one| Some((one, one.range?))) else {
        return;
    };
    let moments = scale(range);
    let mean = match moments.mean.abs() > moments.variance.sqrt() {
        true => format!(" and a mean of {}", figure(moments.mean)),
        false => String::new(),
    };
    let message = format!(
        "`{name}` runs from {} to {}, with a root mean square of about {scale}{mean}, straight into \
         `{}`: its outputs, and the gradients of its weights, are {scale}× those that the \
         initialisation is made for",
        figure(range.low),
        figure(range.high),
        context.graph.layer_path(context.graph.node(id).layer),
        scale = figure(moments.square().sqrt()),
    );
    reporter
        .setting(
            &format!("inputs.{name}.range"),
            definition.range_span,
            message,
        )
        .confidence(Confidence::Likely)
        .also(
            context.model.node_place(context.spec, id).span,
            "the first weight",
        )
        .help("standardise the data, (x - mean) / std, in the loader or as the first layer; if that is done already, give the range behind it, or set [data] normalized = true");
}
