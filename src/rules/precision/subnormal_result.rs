//! `precision/subnormal-result`: see its page.

use crate::diag::Level;
use crate::quantity::group;
use crate::rules::precision::shared_policy::shown;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::tensor::Dtype;

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/subnormal-result",
    summary: "Values are scaled into the subnormal numbers of float16.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/subnormal-result.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    let Some(format) = Dtype::Float16.float_format() else {
        return;
    };
    let float16 = |tensor| context.facts.dtypes().tensor(graph, tensor) == Dtype::Float16;
    for id in context.facts.index().calls_of(&["div", "mul", "square"]) {
        let node = graph.node(id);
        if !float16(node.first_output) {
            continue;
        }
        let ranges = context.facts.ranges();
        let known = ranges.known(node.first_output);
        let most = known.assuming_finite().magnitude();
        // Only the call that makes them small is at fault.
        let small = |tensor| {
            let range = ranges.known(tensor).assuming_finite();
            graph.constant(tensor).is_none() && range.magnitude() < format.min_normal
        };
        let inherited = node.arguments.iter().any(|&argument| small(argument));
        if !known.declared || known.tainted || inherited || most <= 0.0 || most >= format.min_normal
        {
            continue;
        }
        let values = (most / format.min_subnormal).floor();
        let message = format!(
            "the result is at most {}, among the subnormal numbers of float16, which are multiples \
             of 6e-8: {} values are left of what were 11 bits each, and below 3e-8 everything is 0",
            shown(most),
            group(values as u128 + 1)
        );
        reporter
            .at(context.model.node_place(context.spec, id), message)
            .help(
                "compute this in float32 (x.float()); mean() sums and divides in float32 by itself",
            );
    }
}
