//! `range/sigmoid-then-binary-cross-entropy`: see its page.

use crate::diag::{Confidence, Edit, Level, Safety};
use crate::facts::idiom::Idioms;
use crate::graph::{Node, NodeId, TensorId};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::tensor::FloatFormat;

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/sigmoid-then-binary-cross-entropy",
    summary: "A logarithm is taken of a sigmoid, or of what it leaves to 1.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/sigmoid-then-binary-cross-entropy.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    if context.facts.index().calls("sigmoid").is_empty() {
        return;
    }
    for &id in context.facts.index().calls("binary_cross_entropy") {
        check_loss(context, id, reporter);
    }
    for &id in context.facts.index().calls("log") {
        check_log(context, id, reporter);
    }
}

fn sigmoid<'a>(idioms: &Idioms<'a>, id: TensorId) -> Option<&'a Node> {
    idioms.call(idioms.content(id), "sigmoid")
}

/// From where on sigmoid(z) is 1 in a format: 1 - sigmoid(z) ≈ e⁻ᶻ is half of the distance to the
/// number below 1 there.
fn saturation(format: &FloatFormat) -> f64 {
    std::f64::consts::LN_2 * f64::from(format.precision + 1)
}

fn check_loss(context: &Context<'_>, id: NodeId, reporter: &mut Reporter<'_>) {
    let idioms = context.facts.idioms();
    let input = context.graph.node(id).arguments[0];
    let Some(sigmoid) = sigmoid(&idioms, input) else {
        return;
    };
    let dtype = context
        .facts
        .dtypes()
        .tensor(context.graph, sigmoid.first_output);
    let Some(format) = dtype.float_format() else {
        return;
    };
    let z = context
        .facts
        .ranges()
        .known(sigmoid.arguments[0])
        .assuming_finite();
    if z.magnitude() < saturation(format) {
        return;
    }
    let message = format!(
        "sigmoid(z) is exactly 1 in {dtype} from z = {} on: log(1 - p) is cut off at -100 there \
         and has no gradient, so that confident mistakes are never learned; the loss of logits \
         has neither limit",
        number(saturation(format))
    );
    let place = context.model.node_place(context.spec, id);
    let finding = reporter
        .at(place, message)
        .help("call binary_cross_entropy_with_logits with what the sigmoid is of")
        .label("takes probabilities")
        .confidence(Confidence::Likely);
    let edit = Part::of(context, id).and_then(|part| {
        let probability = part.operand(0)?;
        let logits = probability.operand(0)?;
        let direct = idioms.values.same(input, sigmoid.first_output);
        let text = part.text();
        let (name, old) = ("binary_cross_entropy(", probability.text());
        let once = text.matches(name).count() == 1 && text.matches(&old).count() == 1;
        let text = text
            .replacen(name, "binary_cross_entropy_with_logits(", 1)
            .replacen(&old, &logits.text(), 1);
        (direct && once).then(|| part.replace(text)).flatten()
    });
    if let Some(edit) = edit {
        finding.fix_edits("take logits", Safety::Safe, vec![edit]);
    }
}

fn check_log(context: &Context<'_>, id: NodeId, reporter: &mut Reporter<'_>) {
    let idioms = context.facts.idioms();
    let operand = idioms.bare(context.graph.node(id).arguments[0]);
    let rest = idioms.one_minus(operand);
    if sigmoid(&idioms, rest.unwrap_or(operand)).is_none() {
        return;
    }
    let range = context.facts.ranges().known(operand).assuming_finite();
    let Some((dtype, format)) = float_of(context, id) else {
        return;
    };
    if range.low > 0.0 {
        return;
    }
    let message = match rest {
        Some(_) => format!(
            "sigmoid(z) is exactly 1 in {dtype} from z = {} on, and log(1 - sigmoid(z)) -∞; \
             logsigmoid(-z) is the same function and about -z there",
            number(saturation(format))
        ),
        None => format!(
            "sigmoid(z) is 0 in {dtype} below z = {}, and its logarithm -∞; logsigmoid(z) is \
             about z there",
            // 1 / (1 + exp(-z)), whose exponential overflows first where the range is wide.
            number((format.min_subnormal / 2.0).ln().max(-format.overflow.ln()))
        ),
    };
    let place = context.model.node_place(context.spec, id);
    let finding = reporter
        .at(place, message)
        .help("call logsigmoid, or a loss that takes logits")
        .label("the logarithm of a sigmoid")
        .confidence(Confidence::Likely);
    if let Some(edit) = log_edit(context, id, rest.is_some()) {
        finding.fix_edits("call logsigmoid", Safety::Safe, vec![edit]);
    }
}

fn log_edit(context: &Context<'_>, id: NodeId, rest: bool) -> Option<Edit> {
    let graph = context.graph;
    let part = Part::of(context, id)?;
    let (mut inner, mut tensor) = (part.operand(0)?, graph.node(id).arguments[0]);
    if rest {
        inner = inner.operand(1)?;
        tensor = *graph.node(graph.producer(tensor)?).arguments.get(1)?;
    }
    // The sigmoid must stand in this formula, not behind a name.
    let node = graph.producer(tensor)?;
    let written = Part::of(context, node)?;
    let here = graph.node(node).op.name == "sigmoid" && written.range() == inner.range();
    let z = written.operand(0)?.text();
    let call = match rest {
        true => format!("logsigmoid(-({z}))"),
        false => format!("logsigmoid({z})"),
    };
    here.then(|| part.replace(call)).flatten()
}
