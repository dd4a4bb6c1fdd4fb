//! `range/one-pass-variance`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::facts::idiom::{Idioms, Reduction};
use crate::graph::NodeId;
use crate::rules::range::shared_forms::{dim, keepdim};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/one-pass-variance",
    summary: "A variance is computed as the mean of squares minus the square of the mean.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/one-pass-variance.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for &id in context.facts.index().calls("sub") {
        let idioms = context.facts.idioms();
        let Some(mean) = one_pass(&idioms, id) else {
            continue;
        };
        let Some((dtype, format)) = float_of(context, id) else {
            continue;
        };
        let users: Vec<&str> = context
            .graph
            .uses_of(id)
            .map(|(user, _)| context.graph.node(user).op.name)
            .collect();
        let bounded = ["clamp", "relu", "maximum", "abs"];
        if users.iter().any(|user| bounded.contains(user)) || is_centred(&idioms, &mean) {
            continue;
        }
        let limit = (1.0 / format.unit_roundoff()).sqrt();
        let root = users
            .iter()
            .any(|user| ["sqrt", "rsqrt", "pow"].contains(user));
        let message = format!(
            "E[x²] - E[x]² cancels: where the mean is {} deviations or more, rounding in {dtype} \
             leaves nothing of the variance or makes it negative{}",
            number(limit),
            if root { ", and its root is NaN" } else { "" }
        );
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .help("take the mean off first: var(x, correction=0)")
            .label("a variance in one pass")
            .confidence(Confidence::Likely);
        let edit = Part::of(context, id).and_then(|part| {
            let x = Part::of(context, mean.node)?.operand(0)?.text();
            let (dim, keepdim) = (dim(&mean, context), keepdim(&mean, context));
            part.replace(format!("var({x}, {dim}, correction=0{keepdim})"))
        });
        if let Some(edit) = edit {
            finding.fix_edits("call var", Safety::Safe, vec![edit]);
        }
    }
}

/// The mean of `mean(x²) - mean(x)²`; sums over the number of elements are means.
fn one_pass(idioms: &Idioms<'_>, id: NodeId) -> Option<Reduction> {
    let node = idioms.graph.node(id);
    let [squares, square] = node.arguments[..] else {
        return None;
    };
    let mean_of = |tensor| {
        let (inner, factor) = idioms.unscaled(tensor);
        let reduction = idioms.reduction(inner, &["mean", "sum"])?;
        let is_mean = idioms.graph.node(reduction.node).op.name == "mean";
        let share = if is_mean {
            1.0
        } else {
            1.0 / reduction.count as f64
        };
        (factor == share).then_some(reduction)
    };
    let of_squares = mean_of(squares)?;
    let mean = mean_of(idioms.square(idioms.bare(square))?)?;
    let x = idioms.square(of_squares.input)?;
    let same = idioms.values.same(x, mean.input) && of_squares.axes == mean.axes;
    same.then_some(mean)
}

/// Whether the mean was taken off before: then nothing cancels.
fn is_centred(idioms: &Idioms<'_>, mean: &Reduction) -> bool {
    let centred = idioms
        .call(idioms.bare(mean.input), "sub")
        .is_some_and(|node| {
            idioms
                .reduction(idioms.bare(node.arguments[1]), &["mean"])
                .is_some()
        });
    let norms = ["layer_norm", "batch_norm", "instance_norm", "group_norm"];
    centred || idioms.any_call(idioms.bare(mean.input), &norms).is_some()
}
