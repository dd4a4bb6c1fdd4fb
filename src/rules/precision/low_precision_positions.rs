//! `precision/low-precision-positions`: see its page.

use super::shared_integers::{distinct, first_missing, narrowed};
use crate::diag::{Confidence, Level};
use crate::quantity::group;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use rustc_hash::FxHashSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/low-precision-positions",
    summary: "Positions collapse into each other in a narrow type.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/low-precision-positions.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let mut reported = FxHashSet::default();
    for place in narrowed(context).into_iter().filter(|place| place.counted) {
        let node = context.graph.node(place.node);
        let definition = context.graph.layer(node.layer).definition;
        if reported.contains(&(definition, place.source)) {
            continue;
        }
        reported.insert((definition, place.source));
        let all = place.most as u128 + 1;
        let missing = first_missing(place.format);
        let message = format!(
            "{} positions become {} different numbers in {}: {missing} is {} already",
            group(all),
            group(distinct(place.format, place.most).into()),
            place.dtype,
            place.format.round(missing)
        );
        let cast = context
            .facts
            .dtypes()
            .autocast()
            .is_some_and(|lower| lower == place.dtype && node.op.name != "arange");
        let help = match cast {
            true => {
                "autocast casts the operands of products: compute angles and tables with `*` and not `@`, or outside of autocast; cast only the sines"
            }
            false => {
                "count in int64 and compute angles in float32; cast the sines and cosines, or the embedding, at the end"
            }
        };
        reporter
            .at(context.model.node_place(context.spec, place.node), message)
            .confidence(Confidence::Proved)
            .help(help);
    }
}
