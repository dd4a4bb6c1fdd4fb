//! The graph's data: nodes, tensors and parameters.

use std::ops::Range;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::{Layer, LayerId};
use crate::ops::{Argument, Attributes, Call, Init, Op, Outputs};
use crate::source::Span;
use crate::tensor::TensorType;

/// The number of a tensor in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub u32);

impl TensorId {
    /// Stands for an optional operand that is left out.
    pub const ABSENT: TensorId = TensorId(u32::MAX);

    /// Whether this is a tensor and not a gap.
    pub fn is_present(self) -> bool {
        self != TensorId::ABSENT
    }
}

/// The number of a node in its graph; nodes are numbered in topological order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// One call of an op.
#[derive(Debug, Clone)]
pub struct Node {
    /// The op.
    pub op: &'static Op,
    /// Its operands by position; [`TensorId::ABSENT`] where an optional one is left out.
    pub arguments: SmallVec<[TensorId; 4]>,
    /// The attributes given.
    pub attributes: Attributes,
    /// The number of the first output tensor; outputs are contiguous.
    pub first_output: TensorId,
    /// How many outputs.
    pub output_count: u32,
    /// The layer that the call belongs to.
    pub layer: LayerId,
    /// The expression in a formula that the call stands for.
    pub span: Option<Span>,
}

impl Node {
    /// The output tensors.
    pub fn outputs(&self) -> impl Iterator<Item = TensorId> + use<> {
        let first = self.first_output.0;
        (first..first + self.output_count).map(TensorId)
    }
}

/// An edge: a tensor of one node is an operand of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The tensor.
    pub tensor: TensorId,
    /// The operand position at the user.
    pub position: u32,
}

/// Where a tensor comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TensorKind {
    /// An input of the model, by number.
    Input(u32),
    /// A parameter or buffer, by number in [`Graph::parameters`].
    Parameter(u32),
    /// A number written in the spec.
    Constant(f64),
    /// An output of a node.
    Output(NodeId),
}

/// What is known of a tensor besides its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tensor {
    /// Where it comes from.
    pub kind: TensorKind,
    /// Whether its type is known. An unknown type is the trace of an error already reported; what
    /// follows from it is unknown too, and silent.
    pub known: bool,
    /// Whether a gradient flows to it.
    pub requires_grad: bool,
}

/// A parameter or buffer of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name within its layer: `weight`.
    pub name: SmolStr,
    /// The layer that owns it; `None` for one of the spec's `[params]` or `[buffers]`.
    pub layer: Option<LayerId>,
    /// The tensor that stands for it.
    pub tensor: TensorId,
    /// How it is initialised.
    pub init: Init,
    /// Whether it is a buffer.
    pub buffer: bool,
    /// Whether it is trained; false for buffers and frozen parameters.
    pub trainable: bool,
    /// How many calls use it.
    pub uses: u32,
    /// Its place in the order in which the module lists its parameters, and optimizers take them.
    pub place: u32,
}

/// A model as a graph of calls.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The calls and the uses of tensors among them.
    pub dag: DiGraph<Node, Use>,
    /// The types of all tensors, by [`TensorId`].
    pub types: Vec<TensorType>,
    /// What else is known of all tensors, by [`TensorId`].
    pub tensors: Vec<Tensor>,
    /// The parameters and buffers; a shared one stands here once.
    pub parameters: Vec<Parameter>,
    /// The model's inputs: name and tensor.
    pub inputs: Vec<(SmolStr, TensorId)>,
    /// The model's outputs.
    pub outputs: Vec<TensorId>,
    /// The layers, parents before their children.
    pub layers: Vec<Layer>,
    /// Calls that a run of the model makes more or less often than once.
    pub regions: Vec<Region>,
    /// Calls that write their first result into a tensor that was there, whose element type it
    /// keeps, and that tensor.
    pub written: FxHashMap<NodeId, TensorId>,
    /// Whether the model is in training mode.
    pub training: bool,
    /// Whether attention runs as one fused kernel.
    pub fused_attention: bool,
}

/// Calls that stand in a loop or in one of two branches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The numbers of the nodes.
    pub nodes: std::ops::Range<u32>,
    /// How often they are called.
    pub runs: Runs,
}

/// How often the calls of a region are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// So many times.
    Times(u64),
    /// As often as the values say: a loop, of which one pass is counted.
    Loop,
    /// Depending on the values: the dearer of two branches, which is counted.
    Branch,
    /// Depending on the values: the cheaper branch, which is not.
    OtherBranch,
}

impl Runs {
    /// How often the calls are counted.
    pub fn counted(self) -> u64 {
        match self {
            Runs::Times(times) => times,
            Runs::Loop | Runs::Branch => 1,
            Runs::OtherBranch => 0,
        }
    }
}

impl Graph {
    /// How often each call is counted; `None` where all are once. `O(nodes of all regions)`.
    pub fn runs(&self) -> Option<Vec<u64>> {
        if self.regions.is_empty() {
            return None;
        }
        let mut runs = vec![1u64; self.dag.node_count()];
        for region in &self.regions {
            let nodes = region.nodes.start as usize..region.nodes.end as usize;
            for times in runs.get_mut(nodes).unwrap_or_default() {
                *times = times.saturating_mul(region.runs.counted());
            }
        }
        Some(runs)
    }

    /// The outermost layers that are recomputed in the backward pass (`torch.utils.checkpoint`) and
    /// have calls, in order. `O(layers)`.
    pub fn recomputed_layers(&self) -> Vec<LayerId> {
        let mut found = Vec::new();
        let mut end = 0;
        for (number, layer) in self.layers.iter().enumerate() {
            let inside = layer.first_node < end;
            if self.training && layer.checkpointed && !inside && layer.first_node < layer.end_node {
                found.push(LayerId(number as u32));
                end = layer.end_node;
            }
        }
        found
    }

    /// All node numbers, in topological order.
    pub fn node_ids(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (0..self.dag.node_count() as u32).map(NodeId)
    }

    /// Lets a call read another tensor at a position, which must be made before the call.
    pub fn read_instead(&mut self, id: NodeId, position: usize, tensor: TensorId) {
        let index = NodeIndex::new(id.0 as usize);
        let mut edges = self.dag.edges_directed(index, Direction::Incoming);
        let old = edges.find(|edge| edge.weight().position as usize == position);
        if let Some(edge) = old.map(|edge| edge.id()) {
            self.dag.remove_edge(edge);
        }
        if let Some(place) = self
            .dag
            .node_weight_mut(index)
            .and_then(|node| node.arguments.get_mut(position))
        {
            *place = tensor;
        }
        match self.tensor(tensor).kind {
            TensorKind::Output(producer) => {
                let weight = Use {
                    tensor,
                    position: position as u32,
                };
                let producer = NodeIndex::new(producer.0 as usize);
                self.dag.add_edge(producer, index, weight);
            }
            TensorKind::Parameter(number) => self.parameters[number as usize].uses += 1,
            TensorKind::Input(_) | TensorKind::Constant(_) => {}
        }
    }

    /// The node of that number.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.dag[NodeIndex::new(id.0 as usize)]
    }

    /// All nodes with their numbers, in topological order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.dag
            .node_weights()
            .enumerate()
            .map(|(index, node)| (NodeId(index as u32), node))
    }

    /// The type of a tensor.
    pub fn ty(&self, id: TensorId) -> &TensorType {
        &self.types[id.0 as usize]
    }

    /// What else is known of a tensor.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }

    /// The node that makes a tensor, if one does.
    pub fn producer(&self, id: TensorId) -> Option<NodeId> {
        if !id.is_present() {
            return None;
        }
        match self.tensor(id).kind {
            TensorKind::Output(node) => Some(node),
            _ => None,
        }
    }

    /// The number that a tensor stands for, if it is a constant of the spec.
    pub fn constant(&self, id: TensorId) -> Option<f64> {
        if !id.is_present() {
            return None;
        }
        match self.tensor(id).kind {
            TensorKind::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// The numbers of the parameters and buffers in the order in which the module lists them.
    /// `O(n log n)`, and `O(n)` where that is the order of their numbers.
    pub fn listed_parameters(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.parameters.len()).collect();
        order.sort_by_key(|&number| self.parameters[number].place);
        order
    }

    /// The numbers of the parameters and buffers in the order in which calls first use them, and of
    /// those that one call uses first in the order in which the module lists them.
    /// `O(nodes + n log n)`.
    pub fn parameters_by_use(&self) -> Vec<usize> {
        let first = self.first_uses();
        let mut order = self.listed_parameters();
        order.sort_by_key(|&number| first[number]);
        order
    }

    /// The number of the first call that each parameter is an operand of; the greatest number, if
    /// there is none.
    pub fn first_uses(&self) -> Vec<u32> {
        let mut first = vec![u32::MAX; self.parameters.len()];
        for (id, node) in self.nodes() {
            for &operand in node.arguments.iter().filter(|id| id.is_present()) {
                if let TensorKind::Parameter(number) = self.tensor(operand).kind {
                    let first = &mut first[number as usize];
                    *first = (*first).min(id.0);
                }
            }
        }
        first
    }

    /// The parameter that a tensor is, if it is one.
    pub fn parameter(&self, id: TensorId) -> Option<&Parameter> {
        if !id.is_present() {
            return None;
        }
        match self.tensor(id).kind {
            TensorKind::Parameter(index) => self.parameters.get(index as usize),
            _ => None,
        }
    }

    /// The layer of that number.
    pub fn layer(&self, id: LayerId) -> &Layer {
        &self.layers[id.0 as usize]
    }

    /// The users of a node's outputs, each with the operand position at which it uses which
    /// tensor.
    pub fn uses_of(&self, id: NodeId) -> impl Iterator<Item = (NodeId, Use)> + '_ {
        use petgraph::visit::EdgeRef;
        self.dag
            .edges(NodeIndex::new(id.0 as usize))
            .map(|edge| (NodeId(edge.target().index() as u32), *edge.weight()))
    }

    /// The only user of a node's first output; `None` where there are none or several.
    pub fn only_user(&self, id: NodeId) -> Option<NodeId> {
        let mut users = self.uses_of(id);
        match (users.next(), users.next()) {
            (Some((user, _)), None) => Some(user),
            _ => None,
        }
    }

    /// The nodes of a layer, those of nested layers included.
    pub fn layer_nodes(&self, id: LayerId) -> Range<u32> {
        let layer = self.layer(id);
        layer.first_node..layer.end_node
    }

    /// The path of a layer as people write it: `h.3.attn`. `O(depth)`.
    pub fn layer_path(&self, id: LayerId) -> String {
        let mut parts: SmallVec<[LayerId; 8]> = SmallVec::new();
        let mut at = Some(id);
        while let Some(id) = at {
            parts.push(id);
            at = self.layer(id).parent;
        }
        let mut path = String::new();
        for id in parts.into_iter().rev() {
            let layer = self.layer(id);
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&layer.name);
            if let Some(index) = layer.index {
                path.push('.');
                path.push_str(&index.to_string());
            }
        }
        path
    }

    /// The path of a parameter: `h.3.attn.weight`.
    pub fn parameter_path(&self, parameter: &Parameter) -> String {
        match parameter.layer {
            Some(layer) => format!("{}.{}", self.layer_path(layer), parameter.name),
            None => parameter.name.to_string(),
        }
    }

    /// What to call a tensor in a message: the layer, parameter or input that it comes from.
    pub fn tensor_name(&self, id: TensorId) -> String {
        if !id.is_present() {
            return String::new();
        }
        match self.tensor(id).kind {
            TensorKind::Input(index) => self
                .inputs
                .get(index as usize)
                .map_or_else(String::new, |(name, _)| name.to_string()),
            TensorKind::Parameter(index) => self
                .parameters
                .get(index as usize)
                .map_or_else(String::new, |parameter| self.parameter_path(parameter)),
            TensorKind::Constant(value) => format!("{value}"),
            TensorKind::Output(node) => self.layer_path(self.node(node).layer),
        }
    }

    /// Shows a node's call to `f`: operands, attributes and output types together.
    pub fn with_call<R>(&self, node: &Node, f: impl FnOnce(&Call) -> R) -> R {
        let arguments: SmallVec<[Option<Argument>; 6]> =
            node.arguments.iter().map(|&id| self.argument(id)).collect();
        let first = node.first_output.0 as usize;
        f(&Call {
            op: node.op,
            attributes: &node.attributes,
            arguments: &arguments,
            outputs: &self.types[first..first + node.output_count as usize],
            training: self.training,
            fused_attention: self.fused_attention,
            autocast: false,
        })
    }

    /// The types that a node's op makes with other attributes, of tensors of other types: one type
    /// for each tensor of the graph. `None` where they do not fit the op.
    pub fn inferred(
        &self,
        node: &Node,
        attributes: &Attributes,
        types: &[TensorType],
    ) -> Option<Outputs> {
        let arguments: SmallVec<[Option<Argument>; 6]> = node
            .arguments
            .iter()
            .map(|&id| {
                let argument = self.argument(id)?;
                let ty = &types[id.0 as usize];
                Some(Argument { ty, ..argument })
            })
            .collect();
        let call = Call {
            op: node.op,
            attributes,
            arguments: &arguments,
            outputs: &[],
            training: self.training,
            fused_attention: self.fused_attention,
            autocast: false,
        };
        (node.op.infer)(&call).ok()
    }

    /// A tensor as an op sees it.
    pub fn argument(&self, id: TensorId) -> Option<Argument<'_>> {
        if !id.is_present() {
            return None;
        }
        let tensor = self.tensor(id);
        Some(Argument {
            ty: self.ty(id),
            constant: match tensor.kind {
                TensorKind::Constant(value) => Some(value),
                _ => None,
            },
            requires_grad: tensor.requires_grad,
            is_parameter: matches!(tensor.kind, TensorKind::Parameter(_)),
            strides: None,
        })
    }

    /// Whether all operands and outputs of a node have known types.
    pub fn is_known(&self, node: &Node) -> bool {
        self.tensor(node.first_output).known
    }
}
