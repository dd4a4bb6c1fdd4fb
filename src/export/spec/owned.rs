//! Which calls own which parameters: a layer of an op makes its own where the op's table says the
//! same of them as the graph does.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::graph::{Graph, Node, NodeId, TensorId, TensorKind};
use crate::ops::{Attributes, Op, ParameterDefinition};
use crate::tensor::{Dtype, Shape};

/// Attributes that say that there is no parameter.
const SWITCHES: [&str; 4] = [
    "bias",
    "elementwise_affine",
    "affine",
    "track_running_stats",
];

/// What a layer owns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Owned {
    /// The parameters by number, each with its name within the layer.
    pub parameters: Vec<(u32, SmolStr)>,
    /// The positions of operands that the layer makes itself.
    pub positions: SmallVec<[usize; 4]>,
    /// The attributes, those that follow from the parameters included.
    pub attributes: Attributes,
    /// Whether the parameters are frozen.
    pub frozen: bool,
    /// Their element type, if it is not the model's.
    pub dtype: Option<Dtype>,
}

/// Who owns the parameters of a graph.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// By node; `None` where the call's parameters are written elsewhere.
    pub layers: Vec<Option<Owned>>,
    /// The owner of each parameter, by number.
    pub owners: FxHashMap<u32, NodeId>,
    /// Calls that only count what the layer that owns the counter counts itself.
    pub dropped: FxHashSet<NodeId>,
}

impl Ownership {
    /// Finds the owners. `O(nodes + operands)`.
    pub fn of(graph: &Graph, model: Dtype) -> Ownership {
        let paths = graph
            .parameters
            .iter()
            .enumerate()
            .map(|(at, parameter)| (graph.parameter_path(parameter), at as u32))
            .collect();
        let mut readers: FxHashMap<u32, Vec<NodeId>> = FxHashMap::default();
        for (id, node) in graph.nodes() {
            for number in node.arguments.iter().filter_map(|&id| parameter(graph, id)) {
                readers.entry(number).or_default().push(id);
            }
        }
        let outputs: FxHashSet<TensorId> = graph.outputs.iter().copied().collect();
        let search = Search {
            graph,
            model,
            paths,
            readers,
            outputs,
        };
        let mut ownership = Ownership::default();
        for (id, node) in graph.nodes() {
            let owned = node
                .op
                .parameters
                .is_some()
                .then(|| search.owned(id, node, &mut ownership));
            ownership.layers.push(owned.flatten());
        }
        ownership
    }
}

/// The number of the parameter that a tensor is.
pub(super) fn parameter(graph: &Graph, id: TensorId) -> Option<u32> {
    match id.is_present().then(|| graph.tensor(id).kind)? {
        TensorKind::Parameter(number) => Some(number),
        _ => None,
    }
}

struct Search<'a> {
    graph: &'a Graph,
    model: Dtype,
    paths: FxHashMap<String, u32>,
    readers: FxHashMap<u32, Vec<NodeId>>,
    outputs: FxHashSet<TensorId>,
}

impl Search<'_> {
    fn owned(&self, id: NodeId, node: &Node, ownership: &mut Ownership) -> Option<Owned> {
        let graph = self.graph;
        let claimed: SmallVec<[(usize, u32); 4]> = node
            .arguments
            .iter()
            .enumerate()
            .filter_map(|(position, &tensor)| {
                let number = parameter(graph, tensor)?;
                let first = self.readers.get(&number)?.first() == Some(&id);
                let once = node.arguments.iter().filter(|&&one| one == tensor).count() == 1;
                let free = !ownership.owners.contains_key(&number);
                (first && once && free && !self.outputs.contains(&tensor))
                    .then_some((position, number))
            })
            .collect();
        let &(front, _) = claimed.first()?;
        // What is computed and stands behind a parameter can only be said in a full list of operands,
        // which a parameter of the layer's own has no place in.
        let mut behind = node.arguments.iter().skip(front);
        if behind.any(|&tensor| tensor.is_present() && parameter(graph, tensor).is_none()) {
            return None;
        }
        let switches: SmallVec<[usize; 4]> = SWITCHES
            .iter()
            .filter_map(|name| node.op.attribute_position(name))
            .collect();
        let attributes = derived(graph, node);
        for off in 0..1u32 << switches.len() {
            let mut attributes = attributes.clone();
            for (bit, &position) in switches.iter().enumerate() {
                if off >> bit & 1 == 1 {
                    attributes.set(position, false.into());
                }
            }
            if let Some((owned, dropped)) = self.fit(node, &claimed, attributes) {
                for (number, _) in &owned.parameters {
                    ownership.owners.insert(*number, id);
                }
                ownership.dropped.extend(dropped);
                return Some(owned);
            }
        }
        None
    }

    /// Whether a layer with these attributes owns exactly what the call reads.
    fn fit(
        &self,
        node: &Node,
        claimed: &[(usize, u32)],
        attributes: Attributes,
    ) -> Option<(Owned, Vec<NodeId>)> {
        let graph = self.graph;
        let wanted = wanted(graph, node, claimed, &attributes)?;
        let mut owned = Owned::default();
        let mut dropped = Vec::new();
        let mut dtypes: SmallVec<[Dtype; 2]> = SmallVec::new();
        let mut frozen: SmallVec<[bool; 4]> = SmallVec::new();
        for parameter in &wanted {
            let position = parameter.position;
            let number = match claimed.iter().find(|(at, _)| *at == position) {
                Some((_, number)) => *number,
                None if node
                    .arguments
                    .get(position)
                    .is_some_and(|id| id.is_present()) =>
                {
                    continue;
                }
                None if switched_off(node.op, &attributes, position) => continue,
                None => {
                    let beside = graph.parameters.get(claimed.first()?.1 as usize)?;
                    let path = graph.parameter_path(beside);
                    let path = match path.rsplit_once('.') {
                        Some((owner, _)) => format!("{owner}.{}", parameter.name),
                        None => parameter.name.to_string(),
                    };
                    let number = *self.paths.get(&path)?;
                    dropped.extend(self.counting(number)?);
                    number
                }
            };
            let own = graph.parameters.get(number as usize)?;
            let ty = graph.ty(own.tensor);
            if ty.shape != parameter.shape || own.buffer != parameter.buffer {
                return None;
            }
            match parameter.dtype {
                Some(dtype) if dtype != ty.dtype => return None,
                Some(_) => {}
                None => dtypes.push(ty.dtype),
            }
            if !own.buffer && ty.dtype.is_float() {
                frozen.push(!own.trainable);
            }
            owned.positions.push(position);
            owned.parameters.push((number, parameter.name.clone()));
        }
        let all_wanted = claimed.iter().all(|(at, _)| owned.positions.contains(at));
        let agree = dtypes.windows(2).all(|pair| pair[0] == pair[1])
            && frozen.windows(2).all(|pair| pair[0] == pair[1]);
        owned.dtype = dtypes.first().copied().filter(|&dtype| dtype != self.model);
        owned.frozen = frozen.first().copied().unwrap_or(false);
        owned.attributes = attributes;
        (all_wanted && agree && !owned.positions.is_empty()).then_some((owned, dropped))
    }

    /// The calls that count in a buffer, if it is read by nothing else: their results are of no
    /// use to anything.
    fn counting(&self, number: u32) -> Option<Vec<NodeId>> {
        let graph = self.graph;
        let parameter = graph.parameters.get(number as usize)?;
        let readers = self.readers.get(&number).cloned().unwrap_or_default();
        let idle = |id: &NodeId| {
            let node = graph.node(*id);
            let alone = node
                .arguments
                .iter()
                .all(|&id| id == parameter.tensor || graph.constant(id).is_some());
            let useless = graph.uses_of(*id).next().is_none()
                && node.outputs().all(|id| !self.outputs.contains(&id));
            alone && useless
        };
        let taken = self.outputs.contains(&parameter.tensor);
        (parameter.buffer && !taken && readers.iter().all(idle)).then_some(readers)
    }
}

/// The parameters that the op's table wants of a layer whose claimed operands are not given.
fn wanted(
    graph: &Graph,
    node: &Node,
    claimed: &[(usize, u32)],
    attributes: &Attributes,
) -> Option<SmallVec<[ParameterDefinition; 2]>> {
    let mut call = node.clone();
    call.attributes = attributes.clone();
    for (position, _) in claimed {
        call.arguments[*position] = TensorId::ABSENT;
    }
    let parameters = node.op.parameters?;
    graph.with_call(&call, parameters).ok()
}

/// Whether an attribute such as `bias = false` says that the operand is not there.
fn switched_off(op: &Op, attributes: &Attributes, position: usize) -> bool {
    op.attribute_position(op.operand_name(position))
        .and_then(|at| attributes.get(at))
        .is_some_and(|value| *value == false.into())
}

/// The attributes of a call, and those that a layer needs where its weight does not exist yet.
pub(super) fn derived(graph: &Graph, node: &Node) -> Attributes {
    let mut attributes = node.attributes.clone();
    let weight = node.op.operand_position("weight").and_then(|position| {
        let id = *node.arguments.get(position)?;
        id.is_present().then(|| graph.ty(id).shape.clone())
    });
    let Some(weight) = weight else {
        return attributes;
    };
    let transposed = node.op.name.starts_with("conv_transpose");
    let groups = graph
        .with_call(node, |call| call.integer("groups"))
        .unwrap_or(1);
    for (position, attribute) in node.op.attributes.iter().enumerate() {
        if attributes.get(position).is_some() {
            continue;
        }
        let size = |axis: i64| weight.size(axis).and_then(|size| i64::try_from(size).ok());
        let value = match attribute.name {
            "out_features" | "num_embeddings" | "num_parameters" => size(0).map(Into::into),
            "out_channels" if transposed => size(1)
                .and_then(|size| size.checked_mul(groups))
                .map(Into::into),
            "out_channels" => size(0).map(Into::into),
            "embedding_dim" => size(1).map(Into::into),
            "kernel_size" if node.op.name.starts_with("conv") => spatial(&weight),
            _ => None,
        };
        if let Some(value) = value {
            attributes.set(position, value);
        }
    }
    attributes
}

fn spatial(weight: &Shape) -> Option<crate::ops::AttributeValue> {
    let sizes = weight.sizes().get(2..)?;
    let sizes: Option<Vec<i64>> = sizes.iter().map(|&n| i64::try_from(n).ok()).collect();
    sizes.map(Into::into)
}
