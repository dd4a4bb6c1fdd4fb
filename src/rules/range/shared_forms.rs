//! Forms of exponentials and logarithms that have better ones, as several rules ask for them.

use crate::facts::idiom::Reduction;
use crate::graph::{NodeId, TensorId};
use crate::lower::Place;
use crate::rules::Context;
use crate::rules::shared_numeric::{Evidence, trains};
use crate::tensor::{FloatFormat, Interval};

/// A sum of exponentials of something from which no maximum was taken.
pub struct Exponentials {
    /// The sum.
    pub sum: Reduction,
    /// What the exponentials are of.
    pub exponent: TensorId,
}

impl Exponentials {
    /// Whether every term and their sum stay finite and above 0 in that format.
    pub fn are_safe(&self, context: &Context<'_>, format: &FloatFormat) -> bool {
        let range = context
            .facts
            .ranges()
            .known(self.exponent)
            .assuming_finite();
        let most = format.overflow.ln() - (self.sum.count.max(1) as f64).ln();
        range.high < most && range.low > format.min_normal.ln()
    }

    /// The call that makes the exponentials.
    pub fn exponential(&self, context: &Context<'_>) -> Option<NodeId> {
        context.graph.producer(self.sum.input)
    }

    /// Runs the exponential for an overflow.
    pub fn evidence(&self, context: &Context<'_>) -> Evidence {
        match self.exponential(context) {
            Some(node) => {
                Evidence::of(context, node, self.exponent, |_, value| value.is_infinite())
            }
            None => Evidence::Assumed,
        }
    }

    /// The axes as an argument: `dim=-1`.
    pub fn dim(&self, context: &Context<'_>) -> String {
        dim(&self.sum, context)
    }
}

/// The axes of a reduction as an argument: `dim=-1`, `dim=(1, 2)`.
pub fn dim(reduction: &Reduction, context: &Context<'_>) -> String {
    let rank = context.graph.ty(reduction.input).shape.rank();
    let axis = |axis: usize| match axis + 1 == rank {
        true => "-1".to_owned(),
        false => axis.to_string(),
    };
    match reduction.axes[..] {
        [one] => format!("dim={}", axis(one)),
        _ => {
            let axes: Vec<String> = reduction.axes.iter().map(|&a| axis(a)).collect();
            format!("dim=({})", axes.join(", "))
        }
    }
}

/// `, keepdim=True` where a reduction keeps its axes.
pub fn keepdim(reduction: &Reduction, context: &Context<'_>) -> &'static str {
    let node = context.graph.node(reduction.node);
    match context
        .graph
        .with_call(node, |call| call.boolean("keepdim"))
    {
        true => ", keepdim=True",
        false => "",
    }
}

fn unshifted(context: &Context<'_>, sum: TensorId) -> Option<Exponentials> {
    let idioms = context.facts.idioms();
    let (sum, exponent) = idioms.sum_of_exponentials(sum)?;
    let plain = idioms.shifted(exponent).is_none();
    plain.then_some(Exponentials { sum, exponent })
}

/// `exp(x) / sum(exp(x))`, possibly with something added to the sum.
pub fn softmax_by_hand(context: &Context<'_>, division: NodeId) -> Option<Exponentials> {
    let idioms = context.facts.idioms();
    let node = context.graph.node(division);
    let [dividend, divisor] = node.arguments[..] else {
        return None;
    };
    if node.op.name != "div" {
        return None;
    }
    let (sum, _) = idioms.plus_number(divisor).unwrap_or((divisor, 0.0));
    let form = unshifted(context, sum)?;
    let fits = idioms.values.same(form.sum.input, dividend)
        && idioms.lies_beside(divisor, dividend, &form.sum.axes);
    fits.then_some(form)
}

/// `log(sum(exp(x)))`.
pub fn log_of_sum(context: &Context<'_>, logarithm: NodeId) -> Option<Exponentials> {
    let node = context.graph.node(logarithm);
    (node.op.name == "log").then_some(())?;
    unshifted(context, node.arguments[0])
}

/// Where to speak of a form: at the whole of it where it was written as one, and else at the
/// exponential, which is what runs over.
pub fn place(context: &Context<'_>, whole: NodeId, exponential: Option<NodeId>) -> Place {
    let graph = context.graph;
    let layer = |id: NodeId| graph.node(id).layer;
    let apart = exponential.filter(|&id| layer(id) != layer(whole));
    let at = apart.unwrap_or(whole);
    context.model.node_place(context.spec, at)
}

/// What `log(1 + exp(x))` or `log1p(exp(x))` is of, and the exponential.
pub fn softplus_by_hand(context: &Context<'_>, logarithm: NodeId) -> Option<(TensorId, NodeId)> {
    let idioms = context.facts.idioms();
    let node = context.graph.node(logarithm);
    let power = match node.op.name {
        "log1p" => node.arguments[0],
        "log" => {
            let (power, number) = idioms.plus_number(node.arguments[0])?;
            (number == 1.0).then_some(power)?
        }
        _ => return None,
    };
    let exponential = idioms.call(power, "exp")?;
    Some((
        exponential.arguments[0],
        context.graph.producer(exponential.first_output)?,
    ))
}

/// Whether an exponential is part of a form that another rule speaks of.
pub fn has_better_form(context: &Context<'_>, exponential: NodeId) -> bool {
    let graph = context.graph;
    let value = graph.node(exponential).first_output;
    let mut nodes = vec![exponential];
    // Sums and what is added to them stand between: three steps reach every form.
    for _ in 0..3 {
        let next: Vec<NodeId> = nodes
            .iter()
            .flat_map(|&node| graph.uses_of(node))
            .map(|(user, _)| user)
            .collect();
        let same = |tensor: TensorId| context.facts.values().same(tensor, value);
        for &user in &next {
            let of_this = |form: Option<Exponentials>| form.is_some_and(|f| same(f.sum.input));
            if of_this(softmax_by_hand(context, user))
                || of_this(log_of_sum(context, user))
                || softplus_by_hand(context, user)
                    .is_some_and(|(_, node)| same(graph.node(node).first_output))
            {
                return true;
            }
        }
        nodes = next;
        nodes.truncate(16);
    }
    false
}

/// Whether an infinity ends in a finite number, and no gradient passes it: `1 / (1 + exp(-x))`
/// where nothing is trained, or a branch that `where` does not take.
pub fn is_harmless(context: &Context<'_>, id: NodeId) -> bool {
    let graph = context.graph;
    if trains(context, graph.node(id).first_output) {
        return false;
    }
    let Some(mut user) = graph.only_user(id) else {
        return false;
    };
    let mut value = graph.node(id).first_output;
    if context
        .facts
        .idioms()
        .plus_number(graph.node(user).first_output)
        .is_some()
    {
        value = graph.node(user).first_output;
        match graph.only_user(user) {
            Some(next) => user = next,
            None => return false,
        }
    }
    let node = graph.node(user);
    match node.op.name {
        "where" => true,
        "reciprocal" => true,
        "div" => {
            node.arguments.get(1) == Some(&value) && graph.constant(node.arguments[0]).is_some()
        }
        _ => false,
    }
}

/// The calls of these ops whose result may be the first to be infinite or NaN, with declared
/// ranges alone to blame; with the range of the operand at `position`.
pub fn origins<'a>(
    context: &'a Context<'_>,
    ops: &'a [&'a str],
    position: usize,
) -> impl Iterator<Item = (NodeId, Interval)> + 'a {
    context.facts.index().calls_of(ops).filter_map(move |id| {
        let node = context.graph.node(id);
        let ranges = context.facts.ranges();
        let known = ranges.known(node.first_output);
        let operand = ranges.known(*node.arguments.get(position)?);
        (known.declared && known.is_origin()).then(|| (id, operand.assuming_finite()))
    })
}
