//! The two passes: moments forward, gradients backward.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::{Gradient, Norm, Signal, WeightSignal};
use crate::graph::{Graph, LayerKind, Node, NodeId, Parameter, TensorId, TensorKind};
use crate::spec::Spec;
use crate::tensor::Moments;

/// How far moments may lie apart, relative to the spread, for two calls to count as equal. Deep
/// nets repeat themselves; without this each of a thousand GELUs would be integrated again.
const TOLERANCE: f64 = 1e-9;

type Operands = SmallVec<[Option<Moments>; 4]>;

struct Pass<'a> {
    graph: &'a Graph,
    moments: Vec<Option<Moments>>,
    /// For each node, the earlier one that is equal to it in all that matters, or itself.
    alike: Vec<NodeId>,
}

/// How far a weight that started at 0 is taken to have moved: any number but 0 will do.
const MOVED: Moments = Moments {
    mean: 0.0,
    variance: 1e-6,
};

/// Both passes, where the parameters in `moved` are no longer as they were initialised.
pub(super) fn propagate(spec: &Spec, graph: &Graph, moved: &FxHashSet<TensorId>) -> Signal {
    let mut pass = Pass {
        graph,
        moments: leaves(spec, graph, moved),
        alike: Vec::with_capacity(graph.dag.node_count()),
    };
    pass.forward();
    let gradients = pass.backward();
    let (weights, norms) = pass.weights(&gradients);
    Signal {
        moments: pass.moments,
        gradients,
        weights,
        norms,
    }
}

/// Moments of what no node makes.
fn leaves(spec: &Spec, graph: &Graph, moved: &FxHashSet<TensorId>) -> Vec<Option<Moments>> {
    let leaf = |(index, tensor): (usize, &crate::graph::Tensor)| match tensor.kind {
        _ if !tensor.known => None,
        TensorKind::Constant(value) => Some(Moments::constant(value)),
        TensorKind::Parameter(number) => {
            let parameter = graph.parameters.get(number as usize)?;
            if moved.contains(&parameter.tensor) {
                return Some(MOVED);
            }
            match is_told(spec, graph, parameter) {
                true => parameter.init.moments(&graph.types[index].shape),
                false => None,
            }
        }
        TensorKind::Input(number) => {
            let input = graph.inputs.get(number as usize);
            let declared = input.and_then(|(name, _)| spec.input(name));
            match declared.and_then(|definition| definition.range) {
                Some(range) => Some(Moments::uniform(range.low, range.high)),
                None => graph.types[index]
                    .dtype
                    .is_float()
                    .then_some(Moments::STANDARD),
            }
        }
        TensorKind::Output(_) => None,
    };
    graph.tensors.iter().enumerate().map(leaf).collect()
}

/// Whether the spec says how a parameter is initialised. The layers of ops have PyTorch's ways; the
/// spec's own parameters and buffers have none unless it is written.
fn is_told(spec: &Spec, graph: &Graph, parameter: &Parameter) -> bool {
    let (params, buffers) = match parameter.layer.map(|layer| &graph.layer(layer).kind) {
        None => (&spec.params, &spec.buffers),
        Some(LayerKind::Block(name)) => match spec.blocks.iter().find(|b| b.name == *name) {
            Some(block) => (&block.params, &block.buffers),
            None => return true,
        },
        Some(_) => return true,
    };
    params
        .iter()
        .chain(buffers)
        .find(|definition| definition.name == parameter.name)
        .is_none_or(|definition| definition.init.is_some())
}

fn is_near(a: Option<Moments>, b: Option<Moments>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            let scale = TOLERANCE * (a.square() + b.square());
            (a.variance - b.variance).abs() <= scale && (a.mean - b.mean).powi(2) <= scale * scale
                || a == b
        }
        (None, None) => true,
        _ => false,
    }
}

impl Pass<'_> {
    fn operands(&self, node: &Node) -> Operands {
        node.arguments
            .iter()
            .map(|id| *self.moments.get(id.0 as usize)?)
            .collect()
    }

    /// Whether two calls are the same but for the numbers of their tensors.
    fn are_alike(&self, node: &Node, other: &Node) -> bool {
        let graph = self.graph;
        node.arguments.len() == other.arguments.len()
            && node.arguments.iter().zip(&other.arguments).all(|(&a, &b)| {
                match (a.is_present(), b.is_present()) {
                    (true, true) => {
                        is_near(self.moments[a.0 as usize], self.moments[b.0 as usize])
                            && graph.ty(a) == graph.ty(b)
                            && graph.constant(a).is_some() == graph.constant(b).is_some()
                    }
                    (a, b) => a == b,
                }
            })
            && node.output_count == other.output_count
            && node.attributes == other.attributes
    }

    fn forward(&mut self) {
        let graph = self.graph;
        // The latest calls of each op that were worked out.
        let mut latest: FxHashMap<usize, NodeId> = FxHashMap::default();
        for (id, node) in graph.nodes() {
            let op = std::ptr::from_ref(node.op).addr();
            let before = latest
                .get(&op)
                .copied()
                .filter(|&before| self.are_alike(node, graph.node(before)));
            self.alike.push(before.unwrap_or(id));
            if let Some(before) = before {
                for (own, theirs) in node.outputs().zip(graph.node(before).outputs()) {
                    self.moments[own.0 as usize] = self.moments[theirs.0 as usize];
                }
                continue;
            }
            latest.insert(op, id);
            if !graph.is_known(node) {
                continue;
            }
            let operands = self.operands(node);
            let moments = graph
                .with_call(node, |call| (call.op.moments)(call, &operands))
                .filter(|moments| moments.mean.is_finite() && moments.variance.is_finite());
            // What is said of the first output holds for the parts that an axis is cut into, but
            // not for what else an op may give (positions, states).
            for output in node.outputs() {
                if output == node.first_output || node.op.view {
                    self.moments[output.0 as usize] = moments;
                }
            }
        }
    }

    fn backward(&self) -> Vec<Gradient> {
        let graph = self.graph;
        let mut gradients = vec![Gradient::ZERO; graph.tensors.len()];
        for parameter in &graph.parameters {
            gradients[parameter.tensor.0 as usize] = Gradient::UNKNOWN;
        }
        let begin = Gradient {
            log2: 0.0,
            complete: true,
        };
        let trained = |&id: &TensorId| id.is_present() && graph.tensor(id).requires_grad;
        let mut outputs: FxHashSet<TensorId> =
            graph.outputs.iter().copied().filter(trained).collect();
        // The backward pass begins at a number; what a model gives besides is not trained on.
        let is_loss = |id: &TensorId| graph.ty(*id).shape.elements() == 1;
        if outputs.iter().any(is_loss) {
            outputs.retain(is_loss);
        }
        for output in &graph.outputs {
            if outputs.contains(output) {
                gradients[output.0 as usize] = begin;
            }
        }
        let mut gains: FxHashMap<(NodeId, usize), Option<f64>> = FxHashMap::default();
        for index in (0..graph.dag.node_count() as u32).rev() {
            let id = NodeId(index);
            let node = graph.node(id);
            let result = self.result_gradient(node, &gradients);
            if result == Gradient::ZERO || !node.op.differentiable {
                continue;
            }
            let mut operands: Option<Operands> = None;
            for (position, &argument) in node.arguments.iter().enumerate() {
                if !argument.is_present() {
                    continue;
                }
                let tensor = graph.tensor(argument);
                let is_output = matches!(tensor.kind, TensorKind::Output(_));
                if !tensor.requires_grad || !is_output {
                    continue;
                }
                let gain = *gains
                    .entry((self.alike[index as usize], position))
                    .or_insert_with(|| {
                        let operands = operands.get_or_insert_with(|| self.operands(node));
                        graph.with_call(node, |call| {
                            (call.op.gradient_gain)(call, position, operands)
                        })
                    });
                // All that counts is how a gradient changes on its way, so one that the loss itself
                // is silent about begins behind the loss.
                let is_loss = outputs.contains(&node.first_output);
                let gain = gain.or(is_loss.then_some(1.0));
                let slot = &mut gradients[argument.0 as usize];
                *slot = slot.plus(result.scaled(gain));
            }
        }
        gradients
    }

    /// The gradient of what a node gives, as a share of the elements of what it takes.
    fn result_gradient(&self, node: &Node, gradients: &[Gradient]) -> Gradient {
        let graph = self.graph;
        let of = |output: TensorId| gradients[output.0 as usize];
        let taken = node
            .arguments
            .first()
            .filter(|id| id.is_present())
            .map_or(0, |&id| graph.ty(id).shape.elements());
        // Parts cut out of a tensor: the elements of which no part was taken get no gradient.
        let share = |output: TensorId| {
            let elements = graph.ty(output).shape.elements();
            match node.op.view && elements < taken {
                true => elements as f64 / taken as f64,
                false => 1.0,
            }
        };
        if node.op.view {
            return node.outputs().fold(Gradient::ZERO, |sum, output| {
                sum.plus(of(output).scaled(Some(share(output))))
            });
        }
        // The last state of a recurrent layer is a part of its output, so the largest counts.
        node.outputs()
            .map(of)
            .reduce(|a, b| Gradient {
                log2: a.log2.max(b.log2),
                complete: a.complete && b.complete,
            })
            .unwrap_or(Gradient::ZERO)
    }

    /// The calls that multiply with a trained weight. Each element of the weight takes part in as
    /// many products as there are multiply-adds for each of its elements, and its gradient is the
    /// sum of the results' gradients times the other factors.
    fn weights(&self, gradients: &[Gradient]) -> (Vec<WeightSignal>, Vec<Norm>) {
        let graph = self.graph;
        let mut norms: Vec<Norm> = Vec::new();
        let mut depths = vec![0u32; graph.tensors.len()];
        let mut weights = Vec::new();
        for (id, node) in graph.nodes() {
            let before = node
                .arguments
                .iter()
                .filter(|id| id.is_present())
                .map(|id| depths[id.0 as usize])
                .max()
                .unwrap_or(0);
            let weight = trained_factor(graph, node);
            let depth = before.saturating_add(u32::from(weight.is_some()));
            let nothing = Norm {
                log10: f64::NEG_INFINITY,
                complete: true,
            };
            if norms.len() <= depth as usize {
                norms.resize(depth as usize + 1, nothing);
            }
            let largest = &mut norms[depth as usize];
            for output in node.outputs() {
                depths[output.0 as usize] = depth;
                if graph.tensor(output).requires_grad {
                    let gradient = gradients[output.0 as usize];
                    largest.log10 = largest.log10.max(norm(graph, output, gradient));
                    largest.complete &= gradient.complete;
                }
            }
            let Some(position) = weight else { continue };
            let products = graph.with_call(node, |call| (call.op.work)(call).products);
            if products == 0 {
                continue;
            }
            let weight = node.arguments[position];
            let elements = graph.ty(weight).shape.elements().max(1) as f64;
            let other = node
                .arguments
                .get(1 - position)
                .and_then(|id| *self.moments.get(id.0 as usize)?);
            let factor = other.map(|other| products as f64 / 2.0 / elements * other.square());
            let gradient = gradients[node.first_output.0 as usize];
            weights.push(WeightSignal {
                node: id,
                weight,
                gradient: gradient.scaled(factor),
                norm: norm(graph, node.first_output, gradient),
                output: self.moments[node.first_output.0 as usize],
                depth,
            });
        }
        (weights, norms)
    }
}

/// The logarithm to base 10 of the norm of a tensor's whole gradient.
fn norm(graph: &Graph, tensor: TensorId, gradient: Gradient) -> f64 {
    let elements = graph.ty(tensor).shape.elements().max(1) as f64;
    (gradient.log2 + elements.log2()) / 2.0 * std::f64::consts::LOG10_2
}

/// Which of the first two operands is a trained parameter of at least two axes.
fn trained_factor(graph: &Graph, node: &Node) -> Option<usize> {
    if node.arguments.len() < 2 || !graph.is_known(node) {
        return None;
    }
    [1, 0].into_iter().find(|&position| {
        let id = node.arguments[position];
        graph
            .parameter(id)
            .is_some_and(|parameter| parameter.trainable && graph.ty(id).shape.rank() >= 2)
    })
}
