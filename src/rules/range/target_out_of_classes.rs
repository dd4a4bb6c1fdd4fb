//! `range/target-out-of-classes`: see its page.

use crate::diag::Level;
use crate::rules::range::embedding_index_out_of_range::{declared_at, is_reached};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/target-out-of-classes",
    summary: "The declared range of targets goes past the classes of the logits.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/target-out-of-classes.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context
        .facts
        .index()
        .calls_of(&["cross_entropy", "nll_loss"])
    {
        let node = context.graph.node(id);
        let (logits, target) = (node.arguments[0], node.arguments[1]);
        let known = context.facts.ranges().known(target);
        let shapes = [logits, target].map(|tensor| context.graph.ty(tensor).shape.sizes());
        let Some(classes) = classes(shapes[0], shapes[1]) else {
            continue;
        };
        let whole = !context.graph.ty(target).dtype.is_float();
        if !whole || !known.declared || !known.interval().is_bounded() {
            continue;
        }
        let range = known.interval();
        let ignored = context
            .graph
            .with_call(node, |call| call.integer("ignore_index"))
            .unwrap_or(-100) as f64;
        // A range that ends at the number to ignore holds it, and nothing else below 0.
        let low = if range.low == ignored { 0.0 } else { range.low };
        let high = if range.high == ignored {
            range.high - 1.0
        } else {
            range.high
        };
        let past = match (high >= classes as f64, low < 0.0) {
            (true, _) => format!("{high} is past the last class, {}", classes - 1),
            (false, true) => {
                format!("{low} is no class, and what is ignored is {ignored}")
            }
            (false, false) => continue,
        };
        let wrong = |target: f64| target != ignored && !(0.0..classes as f64).contains(&target);
        if !is_reached(context, target, wrong) {
            continue;
        }
        let name = context.graph.tensor_name(target);
        let message = format!(
            "the logits are of {classes} classes, but the targets `{name}` range over {range}: \
             {past}"
        );
        reporter
            .at(context.model.node_place(context.spec, id), message)
            .help("make as many logits as there are classes, or mend the declared range")
            .label(format!("{classes} classes"))
            .also(declared_at(context, target), "the range is declared here");
    }
}

/// The number of classes: the size of the axis that targets do not have, which is axis 1 or the
/// last one.
fn classes(logits: &[u64], target: &[u64]) -> Option<u64> {
    let fits = |axis: usize| {
        let rest = logits.iter().enumerate().filter(|&(at, _)| at != axis);
        rest.map(|(_, &size)| size).eq(target.iter().copied())
    };
    let last = logits.len().checked_sub(1)?;
    [1.min(last), last]
        .into_iter()
        .find(|&axis| fits(axis))
        .map(|axis| logits[axis])
}
