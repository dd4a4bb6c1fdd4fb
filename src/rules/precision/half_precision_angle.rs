//! `precision/half-precision-angle`: see its page.

use crate::diag::{Confidence, Level};
use crate::quantity::figure;
use crate::rules::precision::shared_policy::{narrow, shown};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/half-precision-angle",
    summary: "An angle is so large that its type cannot tell where on the circle it lies.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/half-precision-angle.md"),
};

/// The spacing of angles, in radians, from which on their sines are worthless: rounding moves them
/// by up to half of it.
const LOST: f64 = 1.0;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    for id in context.facts.index().calls_of(&["sin", "cos", "tan"]) {
        let node = graph.node(id);
        let dtype = context.facts.dtypes().operand(graph, node, 0);
        let Some(format) = narrow(dtype) else {
            continue;
        };
        let known = context.facts.ranges().known(node.arguments[0]);
        let most = known.assuming_finite().magnitude();
        let spacing = (most.log2().floor() - f64::from(format.precision) + 1.0).exp2();
        if !known.declared || known.tainted || !most.is_finite() || spacing < LOST {
            continue;
        }
        // An angle nearly as large as can be, and what is left of it.
        let exact = most - 0.4 * spacing;
        let function: fn(f64) -> f64 = match node.op.name {
            "sin" => f64::sin,
            "cos" => f64::cos,
            _ => f64::tan,
        };
        let message = format!(
            "angles of up to {} are rounded to multiples of {} radians in {dtype}: {}({}) is {}, and \
             after rounding {}",
            figure(most),
            shown(spacing),
            node.op.name,
            exact,
            figure(function(exact)),
            figure(function(format.round(exact)))
        );
        reporter
            .at(context.model.node_place(context.spec, id), message)
            .confidence(Confidence::Proved)
            .help("compute the angle in float32, and cast the result");
    }
}
