//! What the rules about gradients share: how signal and gradient change from the first weights to
//! the last, and which activation stands behind a weight.

use crate::facts::signal::WeightSignal;
use crate::graph::{Graph, Node, NodeId};
use crate::ops::Init;
use crate::rules::Context;

/// From how many weights on a net counts as deep.
const DEEP: u32 = 4;

/// Decades by which the norm of the gradient may change between the first third of a net and its
/// last weight. Sound models of torchvision and Hugging Face stay within two.
pub const DECADES: f64 = 4.0;

/// How the gradient changes on its way back through a net.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Of the weights that come first the one with the largest gradient.
    pub first: WeightSignal,
    /// The deepest weight.
    pub last: WeightSignal,
    /// By how many decades the norm of the gradient grows from `last` to `first`.
    pub decades: f64,
    /// The same for the largest gradient of any tensor in the first third of the net. Where that is
    /// large, a gradient arrives, on the residual stream for one; that a branch gets little of it
    /// may be meant.
    pub early: f64,
}

impl Flow {
    /// The flow through a model that is trained; `None` where it is shallow, or not all known.
    pub fn of(context: &Context<'_>) -> Option<Flow> {
        let graph = context.graph;
        let is_weight = |tensor| graph.ty(tensor).shape.rank() >= 2;
        let weights = graph.parameters.iter();
        let many = weights.filter(|parameter| parameter.trainable && is_weight(parameter.tensor));
        if !graph.training || many.count() < DEEP as usize {
            return None;
        }
        let signal = context.facts.signal();
        let last = *signal.weights().iter().max_by_key(|weight| weight.depth)?;
        let front = signal.weights().iter().filter(|weight| weight.depth == 1);
        let first = *front.max_by(|a, b| a.norm.total_cmp(&b.norm))?;
        let third = (last.depth / 3).max(1) as usize;
        let early = signal.norms().get(1..=third)?;
        let complete = early.iter().all(|norm| norm.complete)
            && signal.gradient(graph.node(last.node).first_output).complete;
        let largest = early.iter().map(|norm| norm.log10).max_by(f64::total_cmp)?;
        let decades = first.norm - last.norm;
        let early = largest - last.norm;
        (last.depth >= DEEP && complete && decades.is_finite()).then_some(Flow {
            first,
            last,
            decades,
            early,
        })
    }

    /// The factor of one layer.
    pub fn factor(&self) -> f64 {
        let layers = self.last.depth.saturating_sub(self.first.depth).max(1);
        10f64.powf(self.decades / f64::from(layers))
    }
}

/// Ops that change no value but place, share or scale.
fn passes(name: &str) -> bool {
    const PASSING: [&str; 10] = [
        "dropout",
        "reshape",
        "flatten",
        "transpose",
        "permute",
        "identity",
        "contiguous",
        "to",
        "unsqueeze",
        "squeeze",
    ];
    PASSING.contains(&name) || name.contains("pool")
}

/// The activation that alone takes what a weight's product gives, without a norm between.
pub fn activation(graph: &Graph, weight: NodeId) -> Option<(NodeId, &Node)> {
    let mut at = weight;
    for _ in 0..4 {
        at = graph.only_user(at)?;
        let node = graph.node(at);
        if !passes(node.op.name) {
            return (node.op.element.is_some() && node.op.operands.len() == 1)
                .then_some((at, node));
        }
    }
    None
}

/// Whether an activation is ReLU or nearly so: half of what is normal passes, the rest does not.
pub fn is_rectifier(node: &Node) -> bool {
    matches!(
        node.op.name,
        "relu" | "relu6" | "leaky_relu" | "gelu" | "silu" | "mish" | "elu" | "hardswish"
    )
}

/// Whether an activation saturates on both sides.
pub fn saturates(node: &Node) -> bool {
    matches!(
        node.op.name,
        "sigmoid" | "tanh" | "hardtanh" | "hardsigmoid" | "softsign"
    )
}

/// What to call an initialisation in a message.
pub fn init_name(init: Init) -> String {
    match init {
        Init::FanIn(_) => "PyTorch's default initialisation".to_owned(),
        Init::Kaiming => "Kaiming's initialisation".to_owned(),
        Init::Xavier => "Xavier's initialisation".to_owned(),
        Init::Orthogonal => "the orthogonal initialisation".to_owned(),
        Init::Normal(_, deviation) => format!("a standard deviation of {deviation}"),
        Init::Uniform(low, high) => format!("values between {low} and {high}"),
        Init::Constant(value) => format!("the constant {value}"),
        Init::Unknown => "an unknown initialisation".to_owned(),
    }
}
