//! The report's rows: one for each layer that does something itself.

use serde::Serialize;

use crate::facts::Facts;
use crate::graph::{Graph, LayerId, NodeId, TensorId};
use crate::quantity::{Elements, Flops};

/// A layer's share of the model.
#[derive(Debug, Clone, Serialize)]
pub struct LayerRow {
    /// The path: `h.3.attn`.
    pub path: String,
    /// The op, `formula`, or the block where a block owns parameters itself.
    pub op: String,
    /// The first output.
    pub output: OutputType,
    /// Elements of the parameters that the layer owns; a shared one counts where it was made.
    pub parameters: Elements,
    /// Product FLOPs of the forward pass.
    pub flops: Flops,
    /// The number of the definition: rows of one repeated definition share it.
    #[serde(skip)]
    pub definition: u32,
}

/// Shape and element type of a tensor, as other programs read them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OutputType {
    /// The sizes; `None` where they are unknown.
    pub shape: Option<Vec<u64>>,
    /// The element type's name.
    pub dtype: Option<&'static str>,
}

impl OutputType {
    /// The type of a tensor of the graph.
    pub fn of(graph: &Graph, id: TensorId) -> OutputType {
        if !id.is_present() || !graph.tensor(id).known {
            return OutputType::default();
        }
        let ty = graph.ty(id);
        OutputType {
            shape: Some(ty.shape.sizes().to_vec()),
            dtype: Some(ty.dtype.name()),
        }
    }
}

impl std::fmt::Display for OutputType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.shape, self.dtype) {
            (Some(shape), Some(dtype)) => write!(f, "{dtype} {shape:?}"),
            _ => f.write_str("unknown"),
        }
    }
}

/// The rows, in the order of the model: layers without layers inside, blocks with parameters of
/// their own, and the model's own parameters first.
pub(super) fn rows(facts: &Facts<'_>) -> Vec<LayerRow> {
    let (graph, cost) = (facts.graph(), facts.cost());
    let mut has_children = vec![false; graph.layers.len()];
    for layer in &graph.layers {
        if let Some(parent) = layer.parent {
            has_children[parent.0 as usize] = true;
        }
    }
    let mut owned = vec![Elements(0); graph.layers.len()];
    let mut rows = Vec::new();
    for parameter in graph
        .parameters
        .iter()
        .filter(|parameter| !parameter.buffer)
    {
        let elements = Elements(graph.ty(parameter.tensor).shape.elements());
        match parameter.layer {
            Some(layer) => owned[layer.0 as usize] += elements,
            None => rows.push(LayerRow {
                path: parameter.name.to_string(),
                op: "parameter".to_owned(),
                output: OutputType::of(graph, parameter.tensor),
                parameters: elements,
                flops: Flops(0),
                definition: u32::MAX,
            }),
        }
    }
    for (index, layer) in graph.layers.iter().enumerate() {
        if has_children[index] && owned[index] == Elements(0) {
            continue;
        }
        let id = LayerId(index as u32);
        let flops = if has_children[index] {
            0
        } else {
            graph
                .layer_nodes(id)
                .map(|node| cost.node(NodeId(node)).forward)
                .sum()
        };
        rows.push(LayerRow {
            path: graph.layer_path(id),
            op: layer.kind.name().to_owned(),
            output: layer
                .outputs
                .first()
                .map_or_else(OutputType::default, |&output| OutputType::of(graph, output)),
            parameters: owned[index],
            flops: Flops(flops),
            definition: layer.definition.0,
        });
    }
    rows
}
