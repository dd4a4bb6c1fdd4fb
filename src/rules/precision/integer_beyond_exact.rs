//! `precision/integer-beyond-exact`: see its page.

use super::shared_integers::{first_missing, narrowed};
use crate::diag::Level;
use crate::quantity::group;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use rustc_hash::FxHashSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/integer-beyond-exact",
    summary: "Whole numbers are given to a float that does not have them all.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/integer-beyond-exact.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let mut reported = FxHashSet::default();
    for place in narrowed(context).into_iter().filter(|place| !place.counted) {
        if reported.contains(&place.source) {
            continue;
        }
        reported.insert(place.source);
        let missing = first_missing(place.format);
        let name = context.graph.tensor_name(place.source);
        let message = format!(
            "`{name}` holds whole numbers up to {}, but {} has all of them only up to {}: {missing} \
             becomes {}",
            group(place.most as u128),
            place.dtype,
            group(missing as u128 - 1),
            place.format.round(missing)
        );
        let declared = context
            .spec
            .inputs
            .iter()
            .find(|input| input.name == name)
            .and_then(|input| input.range_span);
        reporter
            .at(context.model.node_place(context.spec, place.node), message)
            .also(declared, "the range")
            .help("keep identifiers, labels and steps in int64; use float32 where they enter arithmetic");
    }
}
