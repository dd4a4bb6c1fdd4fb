//! `conditioning/determinant-of-large-matrix`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::graph::NodeId;
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "conditioning/determinant-of-large-matrix",
    summary: "The determinant of a matrix so large that it overflows or vanishes.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/conditioning/determinant-of-large-matrix.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for &id in context.facts.index().calls("det") {
        let node = context.graph.node(id);
        let shape = &context.graph.ty(node.arguments[0]).shape;
        let (Some(&n), Some((dtype, format))) = (shape.sizes().last(), float_of(context, id))
        else {
            continue;
        };
        // E[det²] = n! for independent entries of mean 0 and variance 1.
        let logarithm = 0.5 * log_factorial(n);
        if logarithm < format.overflow.ln() {
            continue;
        }
        let exponent = (logarithm / std::f64::consts::LN_10).floor();
        let message = format!(
            "the determinant of {n}×{n} entries of unit variance is about √({n}!) = 1e{exponent}, \
             past the end of {dtype}, {}; of smaller entries it is 0 as easily",
            number(format.max)
        );
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .help("call slogdet, which gives its sign and logarithm")
            .label("overflows or vanishes")
            .confidence(Confidence::Likely);
        if let Some(edit) = logarithm_of(context, id).and_then(|log| {
            let matrix = Part::of(context, id)?.operand(0)?.text();
            Part::of(context, log)?.replace(format!("logdet({matrix})"))
        }) {
            finding.fix_edits("call logdet", Safety::Safe, vec![edit]);
        }
    }
}

/// The logarithm that is taken of the determinant, and nothing else.
fn logarithm_of(context: &Context<'_>, id: NodeId) -> Option<NodeId> {
    let user = context.graph.only_user(id)?;
    (context.graph.node(user).op.name == "log").then_some(user)
}

/// log n!; by Stirling's series past 256, whose error there is below 1e-12.
fn log_factorial(n: u64) -> f64 {
    if n <= 256 {
        return (2..=n).map(|k| (k as f64).ln()).sum();
    }
    let n = n as f64;
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + 1.0 / (12.0 * n)
}

#[cfg(test)]
mod tests {
    use super::log_factorial;

    #[test]
    fn factorials() {
        assert!((log_factorial(10) - 3_628_800f64.ln()).abs() < 1e-12);
        let (summed, series) = (log_factorial(256) + 257f64.ln(), log_factorial(257));
        assert!((summed - series).abs() < 1e-9, "{summed} {series}");
    }
}
