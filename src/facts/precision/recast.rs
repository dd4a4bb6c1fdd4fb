//! An imported model whose parameters are to have another type, as if `model.to(dtype)` had been
//! exported.

use rustc_hash::FxHashMap;

use super::unaltered::give_back;
use super::unstated::unstated;
use super::{NodeDtypes, Policy};
use crate::graph::{Graph, TensorId, TensorKind, followed};
use crate::lower::Model;
use crate::ops::AttributeValue;
use crate::spec::run::Run;
use crate::tensor::Dtype;

/// Gives the parameters and buffers of a model, and its inputs, where they are real numbers, the
/// type that the run states, and lets the types of everything else follow. Nothing happens if the
/// run states none. `O(nodes + operands)`.
///
/// Conversions to a written type stay, but for those back to the type of an earlier tensor. What else
/// was of another type in the exported program is found by what PyTorch would refuse; see
/// [`unstated`](super::unstated).
pub fn recast(model: &mut Model, run: &Run) {
    let precision = &run.train.precision;
    let to = Policy::of(run, model.dtype).params.value;
    let stated = precision.preset.is_given() || precision.params.is_given();
    if !stated || to == model.dtype || !model.dtype.is_float() {
        return;
    }
    let graph = &mut model.graph;
    give_back(graph);
    let inputs = graph.inputs.iter().map(|&(_, tensor)| tensor);
    let owned = graph.parameters.iter().map(|parameter| parameter.tensor);
    let given: Vec<TensorId> = inputs.chain(owned).collect();
    let mut dtypes = NodeDtypes::stated(graph);
    for id in given {
        let dtype = graph.ty(id).dtype;
        if dtype.is_float() && !dtype.is_complex() {
            dtypes.set(id, to);
        }
    }
    let unstated = unstated(graph, &mut dtypes, to);
    restate(graph, &dtypes, &unstated);
    model.dtype = to;
}

/// Writes the types down in the graph, and in the conversions and makers that state them.
fn restate(graph: &mut Graph, dtypes: &NodeDtypes, unstated: &FxHashMap<TensorId, Dtype>) {
    let followed = followed(graph).into_iter();
    let mut stated: Vec<(TensorId, Dtype)> = followed
        .map(|(output, source)| (output, dtypes.tensor(graph, source)))
        .chain(unstated.iter().map(|(&output, &dtype)| (output, dtype)))
        .collect();
    stated.sort_unstable_by_key(|&(output, _)| output);
    for (output, dtype) in stated {
        let TensorKind::Output(node) = graph.tensor(output).kind else {
            continue;
        };
        let Some(node) = graph.dag.node_weight_mut(node.0.into()) else {
            continue;
        };
        if let Some(position) = node.op.attribute_position("dtype")
            && node.attributes.get(position).is_some()
        {
            node.attributes.set(position, AttributeValue::Dtype(dtype));
        }
    }
    for number in 0..graph.types.len() {
        let dtype = dtypes.tensor(graph, TensorId(number as u32));
        graph.types[number].dtype = dtype;
    }
}
