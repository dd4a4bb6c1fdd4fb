//! `epsilon/missing-in-norm`: see its page.

use crate::diag::{Confidence, Edit, Level, Safety};
use crate::facts::idiom::{Idioms, Norm};
use crate::graph::{NodeId, TensorId};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{Evidence, epsilon, float_of};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "epsilon/missing-in-norm",
    summary: "A vector is divided by its norm, which is 0 where the vector is.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/epsilon/missing-in-norm.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for &id in context.facts.index().calls("div") {
        let divisor = context.graph.node(id).arguments[1];
        let (idioms, ranges) = (context.facts.idioms(), context.facts.ranges());
        let Some(norm) = idioms.norm(divisor) else {
            continue;
        };
        let content = idioms.content(norm.of);
        // No trained weight is exactly 0 in all elements.
        let positive = !ranges.known(divisor).assuming_finite().contains(0.0);
        if positive || context.graph.parameter(content).is_some() {
            continue;
        }
        let Some((dtype, _)) = float_of(context, id) else {
            continue;
        };
        let of = context.graph.tensor_name(content);
        let evidence = Evidence::of(context, id, divisor, |operands, _| operands[1] == 0.0);
        let message = format!(
            "the norm is 0 where `{of}` is 0 in all elements, as in padding, and 0 / 0 is NaN{}",
            evidence.sentence(context)
        );
        let help = format!(
            "add a small number ({} in {dtype}), or call normalize(x, dim=…), which bounds the \
             norm from below",
            epsilon(dtype)
        );
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .help(help)
            .label("0 / 0 for a vector of zeros")
            .confidence(Confidence::Likely);
        let finding = match is_generic(&idioms, content) && evidence == Evidence::Assumed {
            true => finding.level(Level::Info),
            false => finding,
        };
        let finding = match edit(context, &idioms, &norm, id, epsilon(dtype)) {
            Some(edit) => finding.fix_edits("keep the norm from 0", Safety::Unsafe, vec![edit]),
            None => finding,
        };
        evidence.grade(finding);
    }
}

/// Whether a tensor comes out of a layer with trained weights, where a vector of zeros takes a
/// coincidence: CLIP divides its projections by their norms, and trains.
fn is_generic(idioms: &Idioms<'_>, tensor: TensorId) -> bool {
    const LAYERS: [&str; 10] = [
        "linear",
        "matmul",
        "bmm",
        "conv1d",
        "conv2d",
        "conv3d",
        "layer_norm",
        "rms_norm",
        "batch_norm",
        "group_norm",
    ];
    idioms.any_call(tensor, &LAYERS).is_some()
}

fn edit(
    context: &Context<'_>,
    idioms: &Idioms<'_>,
    norm: &Norm,
    id: NodeId,
    epsilon: &str,
) -> Option<Edit> {
    // Under a root of one's own the small number belongs inside, where the gradient needs it too.
    if !norm.is_op
        && idioms
            .root(context.graph.node(norm.node).first_output)
            .is_some()
    {
        let part = Part::of(context, norm.node)?.operand(0)?;
        return part.replace(format!("{} + {epsilon}", part.term()));
    }
    let part = Part::of(context, id)?.operand(1)?;
    part.replace(format!("({} + {epsilon})", part.term()))
}
