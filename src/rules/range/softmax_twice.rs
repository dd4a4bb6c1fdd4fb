//! `range/softmax-twice`: see its page.

use crate::diag::{Edit, Level, Safety};
use crate::graph::{Node, NodeId};
use crate::rules::shared_edit::Part;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/softmax-twice",
    summary: "Probabilities are taken for logits, or logits for logarithms of probabilities.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/softmax-twice.md"),
};

/// The ops that take logits, and what must not come before each.
const TAKERS: [(&str, &[&str]); 6] = [
    ("cross_entropy", &["softmax", "sigmoid"]),
    ("softmax", &["softmax"]),
    ("log_softmax", &["softmax"]),
    ("binary_cross_entropy_with_logits", &["sigmoid"]),
    ("nll_loss", &["softmax", "linear"]),
    ("binary_cross_entropy", &["linear"]),
];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for (taker, refused) in TAKERS {
        for &id in context.facts.index().calls(taker) {
            let idioms = context.facts.idioms();
            let node = context.graph.node(id);
            let input = idioms.content(node.arguments[0]);
            let Some(giver) = idioms.any_call(input, refused) else {
                continue;
            };
            // Along another axis it is another function: Sinkhorn's iteration alternates.
            if taker.ends_with("softmax") && axis(context, giver) != axis(context, node) {
                continue;
            }
            let giver_id = context.graph.producer(giver.first_output);
            let (what, help) = describe(taker, giver.op.name);
            let place = context.model.node_place(context.spec, id);
            let other = giver_id.and_then(|id| context.model.node_place(context.spec, id).span);
            let finding = reporter
                .at(place, what)
                .help(help)
                .label(format!("takes {}", takes(taker)))
                .also(other, format!("gives {}", gives(giver.op.name)));
            let direct = idioms.values.same(node.arguments[0], giver.first_output);
            let edit = giver_id
                .filter(|_| direct && gives(giver.op.name) != "logits" && taker != "nll_loss")
                .and_then(|giver| edit(context, id, giver));
            if let Some(edit) = edit {
                let title = format!("leave out the {}", giver.op.name);
                finding.fix_edits(title, Safety::Unsafe, vec![edit]);
            }
        }
    }
}

fn takes(op: &str) -> &'static str {
    match op {
        "nll_loss" => "logarithms of probabilities",
        "binary_cross_entropy" => "probabilities",
        _ => "logits",
    }
}

fn gives(op: &str) -> &'static str {
    match op {
        "linear" => "logits",
        _ => "probabilities",
    }
}

fn describe(taker: &str, giver: &str) -> (String, String) {
    if taker == "nll_loss" {
        return (
            format!(
                "`nll_loss` takes logarithms of probabilities, but `{giver}` gives {}: the loss \
                 has no lower bound or none that means anything",
                gives(giver)
            ),
            "call log_softmax before it, or cross_entropy with the logits".to_owned(),
        );
    }
    if taker == "binary_cross_entropy" {
        return (
            format!(
                "`{taker}` takes probabilities, but `{giver}` gives logits: outside of [0, 1] \
                 PyTorch refuses them"
            ),
            "call binary_cross_entropy_with_logits".to_owned(),
        );
    }
    let flat = match giver {
        "sigmoid" => "it squashes them a second time",
        _ => "their softmax is nearly uniform: of two classes none gets more than 73 %",
    };
    (
        format!(
            "`{taker}` takes logits, but `{giver}` gives probabilities, all between 0 and 1, and \
             {flat}; the gradient is small and the loss cannot come near 0"
        ),
        format!("hand `{taker}` what `{giver}` is of"),
    )
}

fn axis(context: &Context<'_>, node: &Node) -> Option<usize> {
    let shape = &context.graph.ty(node.arguments[0]).shape;
    context
        .graph
        .with_call(node, |call| call.axis("dim", shape).ok())
}

fn edit(context: &Context<'_>, taker: NodeId, giver: NodeId) -> Option<Edit> {
    let operand = Part::of(context, taker)?.operand(0)?;
    let written = Part::of(context, giver)?;
    let here = operand.id == written.id && operand.range() == written.range();
    here.then(|| operand.replace(written.operand(0)?.text()))
        .flatten()
}
