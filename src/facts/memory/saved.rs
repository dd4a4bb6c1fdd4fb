//! What autograd keeps of the forward pass for the backward pass.
//!
//! Each op says what it keeps (`Op::saved`, PyTorch's own formulas); here it is counted by storage,
//! each once, in the type in which it lies under the precision policy. Parameters and buffers are
//! there anyway and do not count, but the copies that autocast makes of them do. Of a layer that
//! is recomputed (`torch.utils.checkpoint`) only the inputs are kept.

use std::ops::Range;

use rustc_hash::FxHashSet;

use crate::facts::liveness::Liveness;
use crate::facts::precision::NodeDtypes;
use crate::facts::storage::Storages;
use crate::graph::{Graph, LayerId, NodeId, TensorId, TensorKind};
use crate::ops::Saved as Asked;
use crate::ops::gradient::Kernels;
use crate::tensor::Dtype;

/// What a kept storage holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeptKind {
    /// A tensor that an op made, a copy of one, or something besides such as a mask.
    Activation,
    /// The copy of a parameter that autocast made, one for all its uses.
    WeightCast,
    /// An input of the model.
    Input,
}

/// A storage that lives until the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The first call that keeps it; for the input of a recomputed layer the first that reads it.
    pub node: NodeId,
    /// What it holds.
    pub kind: KeptKind,
    /// The tensor that it holds or is a copy of; `None` for something besides.
    pub tensor: Option<TensorId>,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its size.
    pub bytes: u64,
}

/// A layer whose activations are recomputed in the backward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Recomputed {
    /// The layer.
    pub layer: LayerId,
    /// What lives while its backward pass runs, besides its inputs.
    pub kept: Vec<Kept>,
}

impl Recomputed {
    /// Bytes while its backward pass runs.
    pub fn bytes(&self) -> u64 {
        bytes(&self.kept, |_| true)
    }
}

/// Everything that lives until the backward pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    /// What is kept throughout, in the order of the forward pass.
    pub kept: Vec<Kept>,
    /// The recomputed layers, in order.
    pub recomputed: Vec<Recomputed>,
}

fn bytes(kept: &[Kept], wanted: impl Fn(&Kept) -> bool) -> u64 {
    kept.iter()
        .filter(|one| wanted(one))
        .fold(0, |sum, one| sum.saturating_add(one.bytes))
}

impl Saved {
    /// Counts what a model keeps; nothing outside of training. `O(nodes + operands)`.
    pub fn of(
        graph: &Graph,
        liveness: &Liveness,
        dtypes: &NodeDtypes,
        storages: &Storages,
    ) -> Saved {
        Saved::by(Kernels::Device, graph, liveness, dtypes, storages)
    }

    /// The same by other kernels: formulas that are taken apart keep what their steps need.
    pub fn by(
        kernels: Kernels,
        graph: &Graph,
        liveness: &Liveness,
        dtypes: &NodeDtypes,
        storages: &Storages,
    ) -> Saved {
        let mut saved = Saved::default();
        if !graph.training {
            return saved;
        }
        let mut walk = Walk {
            kernels,
            graph,
            dtypes,
            storages,
            tensors: FxHashSet::default(),
            weights: FxHashSet::default(),
        };
        let mut regions = graph.recomputed_layers().into_iter().peekable();
        let mut at = 0;
        while at < graph.dag.node_count() as u32 {
            let starts = |layer: &LayerId| graph.layer(*layer).first_node == at;
            let Some(layer) = regions.next_if(starts) else {
                if liveness.is_live(NodeId(at)) {
                    walk.node(NodeId(at), &mut saved.kept);
                }
                at += 1;
                continue;
            };
            let range = graph.layer_nodes(layer);
            let live: Vec<NodeId> = range
                .clone()
                .map(NodeId)
                .filter(|&node| liveness.is_live(node))
                .collect();
            at = range.end;
            // Without a gradient there is nothing to recompute.
            if live.iter().any(|&node| walk.has_gradient(node)) {
                walk.inputs(&live, &range, &mut saved.kept);
                let kept = walk.region(&live, &range);
                saved.recomputed.push(Recomputed { layer, kept });
            }
        }
        if let Some(runs) = graph.runs() {
            let recomputed = saved.recomputed.iter_mut().map(|layer| &mut layer.kept);
            for kept in recomputed.chain([&mut saved.kept]) {
                repeat(kept, &runs);
            }
        }
        saved
    }

    /// Bytes of that kind that live throughout.
    pub fn bytes(&self, kind: KeptKind) -> u64 {
        bytes(&self.kept, |one| one.kind == kind)
    }

    /// Bytes that live throughout, inputs included.
    pub fn total(&self) -> u64 {
        bytes(&self.kept, |_| true)
    }

    /// Bytes that live throughout by element type, inputs included; types in PyTorch's order.
    pub fn by_dtype(&self) -> Vec<(Dtype, u64)> {
        let mut sums = Vec::new();
        for dtype in Dtype::ALL {
            if self.kept.iter().any(|one| one.dtype == dtype) {
                sums.push((dtype, bytes(&self.kept, |one| one.dtype == dtype)));
            }
        }
        sums
    }

    /// The recomputed layer that needs most while its backward pass runs.
    pub fn largest_recomputed(&self) -> Option<&Recomputed> {
        self.recomputed.iter().max_by_key(|layer| layer.bytes())
    }
}

/// Every pass of a loop keeps its own, and the branch that is not counted keeps nothing.
fn repeat(kept: &mut Vec<Kept>, runs: &[u64]) {
    for one in kept.iter_mut() {
        let times = runs.get(one.node.0 as usize).copied().unwrap_or(1);
        one.bytes = one.bytes.saturating_mul(times);
    }
    kept.retain(|one| one.bytes > 0);
}

struct Walk<'a> {
    kernels: Kernels,
    graph: &'a Graph,
    dtypes: &'a NodeDtypes,
    storages: &'a Storages,
    /// The tensors whose storages are counted.
    tensors: FxHashSet<TensorId>,
    /// The parameters whose casts are counted.
    weights: FxHashSet<u32>,
}

impl Walk<'_> {
    fn has_gradient(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        node.outputs()
            .any(|output| self.graph.tensor(output).requires_grad)
    }

    /// Adds what a call keeps.
    fn node(&mut self, id: NodeId, kept: &mut Vec<Kept>) {
        let (graph, dtypes, storages) = (self.graph, self.dtypes, self.storages);
        let node = graph.node(id);
        if !graph.is_known(node) || !self.has_gradient(id) {
            return;
        }
        let mut asked = Asked::by(self.kernels);
        let strides = |tensor| storages.strides(tensor);
        dtypes.with_call(graph, node, strides, |call| {
            (node.op.saved)(call, &mut asked);
        });
        for &position in &asked.arguments {
            let Some(&tensor) = node.arguments.get(position).filter(|id| id.is_present()) else {
                continue;
            };
            if dtypes.is_cast(graph, node, position) {
                let dtype = dtypes.operand(graph, node, position);
                self.cast(id, tensor, dtype, kept);
            } else {
                self.tensor(id, tensor, kept);
            }
        }
        for &position in &asked.outputs {
            if let Some(output) = node.outputs().nth(position) {
                self.tensor(id, output, kept);
            }
        }
        for &(_, elements, dtype) in &asked.extra {
            kept.push(Kept {
                node: id,
                kind: KeptKind::Activation,
                tensor: None,
                dtype,
                bytes: dtype.bytes_for(elements),
            });
        }
    }

    /// Adds the storage that a tensor lies in.
    fn tensor(&mut self, node: NodeId, tensor: TensorId, kept: &mut Vec<Kept>) {
        let root = self.storages.root(tensor);
        let kind = match self.graph.tensor(root).kind {
            TensorKind::Output(_) => KeptKind::Activation,
            TensorKind::Input(_) => KeptKind::Input,
            TensorKind::Parameter(_) | TensorKind::Constant(_) => return,
        };
        if self.tensors.insert(root) {
            kept.push(Kept {
                node,
                kind,
                tensor: Some(root),
                dtype: self.dtypes.tensor(self.graph, root),
                bytes: self.dtypes.bytes(self.graph, root),
            });
        }
    }

    /// Adds the copy that autocast hands a call. Copies of trained float32 parameters into the
    /// lower type serve all their uses; copies of other tensors serve one.
    fn cast(&mut self, node: NodeId, tensor: TensorId, dtype: Dtype, kept: &mut Vec<Kept>) {
        let mut kind = KeptKind::Activation;
        if let TensorKind::Parameter(number) = self.graph.tensor(tensor).kind
            && self.graph.tensor(tensor).requires_grad
            && self.dtypes.tensor(self.graph, tensor) == Dtype::Float32
            && self.dtypes.autocast() == Some(dtype)
        {
            if !self.weights.insert(number) {
                return;
            }
            kind = KeptKind::WeightCast;
        }
        kept.push(Kept {
            node,
            kind,
            tensor: Some(tensor),
            dtype,
            bytes: dtype.bytes_for(self.graph.ty(tensor).shape.elements()),
        });
    }

    fn is_inside(&self, tensor: TensorId, range: &Range<u32>) -> bool {
        let producer = self.graph.producer(tensor);
        producer.is_some_and(|producer| range.contains(&producer.0))
    }

    /// Adds what a recomputed layer reads from outside.
    fn inputs(&mut self, nodes: &[NodeId], range: &Range<u32>, kept: &mut Vec<Kept>) {
        let graph = self.graph;
        for &id in nodes {
            for &tensor in &graph.node(id).arguments {
                if tensor.is_present() && !self.is_inside(tensor, range) {
                    self.tensor(id, tensor, kept);
                }
            }
        }
    }

    /// What lives while a recomputed layer's backward pass runs, besides what is kept throughout.
    fn region(&mut self, nodes: &[NodeId], range: &Range<u32>) -> Vec<Kept> {
        // The copies of the weights are made anew.
        let weights = std::mem::take(&mut self.weights);
        let mut kept = Vec::new();
        for &id in nodes {
            self.node(id, &mut kept);
        }
        self.weights = weights;
        // Its tensors are made anew: what a later layer keeps of them is another storage.
        for tensor in kept.iter().filter_map(|one| one.tensor) {
            if self.is_inside(tensor, range) {
                self.tensors.remove(&tensor);
            }
        }
        kept
    }
}
