//! `order/adjacent-linear`: see its page.

use crate::diag::Level;
use crate::facts::chains::Chain;
use crate::graph::{Graph, NodeId};
use crate::quantity::{Flops, group};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "order/adjacent-linear",
    summary: "Two linear layers with nothing between them are one linear layer.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/order/adjacent-linear.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for chain in &context.facts.chains().products {
        for pair in pairs(context.graph, chain) {
            report(context, reporter, pair);
        }
    }
}

/// Two linear layers of which the second reads the first.
struct Pair {
    first: NodeId,
    second: NodeId,
    /// Sizes of input, middle and output.
    sizes: [u64; 3],
    /// Rows that go through both.
    rows: u128,
    /// Parameters of both.
    parameters: u128,
    /// Parameters of the one that would do.
    enough: u128,
}

fn pairs(graph: &Graph, chain: &Chain) -> impl Iterator<Item = Pair> {
    // The product that is the left factor of a product by a single tensor stands right before it.
    chain
        .nodes
        .windows(2)
        .filter_map(|nodes| pair(graph, nodes[0], nodes[1]))
}

fn pair(graph: &Graph, first: NodeId, second: NodeId) -> Option<Pair> {
    let (one, two) = (graph.node(first), graph.node(second));
    let both = one.op.name == "linear" && two.op.name == "linear";
    if !both || two.arguments.first() != Some(&one.first_output) {
        return None;
    }
    let weights = [
        graph.parameter(one.arguments[1])?,
        graph.parameter(two.arguments[1])?,
    ];
    // A weight that is used elsewhere has to stay, and one that is frozen was trained as it is.
    let plain = weights.iter().all(|weight| weight.uses == 1);
    if !plain || weights[0].trainable != weights[1].trainable {
        return None;
    }
    let [a, b] = weights.map(|weight| graph.ty(weight.tensor).shape.sizes());
    let sizes = [*a.get(1)?, *a.first()?, *b.first()?];
    // A narrow middle limits the rank of the whole, and is meant.
    if sizes[1] < sizes[0].min(sizes[2]) || sizes.contains(&0) {
        return None;
    }
    let bias = |node: &crate::graph::Node| node.arguments.get(2).is_some_and(|id| id.is_present());
    let [input, middle, output] = sizes.map(u128::from);
    let biases = [(bias(one), middle), (bias(two), output)];
    let own: u128 = biases
        .iter()
        .map(|&(has, size)| if has { size } else { 0 })
        .sum();
    Some(Pair {
        first,
        second,
        sizes,
        rows: u128::from(graph.ty(two.first_output).shape.elements()) / output,
        parameters: input * middle + middle * output + own,
        enough: input * output + if own > 0 { output } else { 0 },
    })
}

fn report(context: &Context<'_>, reporter: &mut Reporter<'_>, pair: Pair) {
    let graph = context.graph;
    let name = |node: NodeId| graph.layer_path(graph.node(node).layer);
    let [input, middle, output] = pair.sizes;
    let flops = |size: u128| Flops(pair.rows.saturating_mul(size).saturating_mul(2));
    let (wide, long) = (u128::from(input) + u128::from(output), u128::from(middle));
    let message = format!(
        "`{}` and `{}` have nothing between them: {input} → {middle} → {output} is one linear map \
         of {} parameters, not {}, and takes {} instead of {}",
        name(pair.first),
        name(pair.second),
        group(pair.enough),
        group(pair.parameters),
        flops(u128::from(input) * u128::from(output)),
        flops(wide.saturating_mul(long)),
    );
    let first = context.model.node_place(context.spec, pair.first).span;
    let place = context.model.node_place(context.spec, pair.second);
    // A layer that repeats follows itself.
    let first = first.filter(|&span| place.span != Some(span));
    reporter
        .at(place, message)
        .also(first, "nothing else reads this one")
        .help(
            "put an activation between them, or keep one; a middle narrower than both ends would \
             be a bottleneck, which is left alone",
        );
}
