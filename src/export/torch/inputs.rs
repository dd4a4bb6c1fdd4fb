//! `example_inputs`: tensors of the shapes, element types and ranges that a model reads.

use super::code;
use super::names::identifier;
use crate::graph::{Graph, TensorId};
use crate::spec::Spec;
use crate::tensor::Dtype;

/// How far an index may have gone through views and casts before it is used.
const MAX_STEPS: usize = 64;

/// The expression that makes each input, by the name of the argument of `forward`.
pub fn examples(spec: &Spec, graph: &Graph, names: &[String]) -> Vec<(String, String)> {
    let inputs = graph.inputs.iter().enumerate();
    inputs
        .map(|(number, (name, tensor))| {
            let argument = names.get(number).cloned();
            let argument = argument.unwrap_or_else(|| identifier(name));
            let range = spec
                .inputs
                .iter()
                .find(|input| input.name == *name)
                .and_then(|input| input.range)
                .map(|range| (range.low, range.high));
            (argument, example(graph, *tensor, range))
        })
        .collect()
}

fn example(graph: &Graph, tensor: TensorId, range: Option<(f64, f64)>) -> String {
    let ty = graph.ty(tensor);
    let shape = code::shape(&ty.shape);
    let dtype = code::dtype(ty.dtype);
    match ty.dtype {
        Dtype::Bool => format!("torch.ones({shape}, dtype=torch.bool, device=device)"),
        kind if kind.is_complex() => format!("torch.randn({shape}, dtype={dtype}, device=device)"),
        kind if kind.is_float() => {
            // Eight-bit formats are only ever converted to.
            let (made, cast) = match kind.bits() < 16 {
                true => (String::new(), format!(".to({dtype})")),
                false if kind == Dtype::Float32 => (String::new(), String::new()),
                false => (format!(", dtype={dtype}"), String::new()),
            };
            match range {
                Some((low, high)) => {
                    let (low, high) = (code::real(low), code::real(high));
                    format!(
                        "torch.empty({shape}{made}, device=device).uniform_({low}, {high}){cast}"
                    )
                }
                None => format!("torch.randn({shape}{made}, device=device){cast}"),
            }
        }
        kind => {
            let (least, most) = kind.integer_range().unwrap_or((0, 1));
            // `randint` draws 64-bit integers.
            let most = most.min(i64::MAX.into());
            let bounded = |value: f64| (value as i128).clamp(least, most - 1);
            let rows = count(graph, tensor).map(|rows| bounded(rows as f64 - 1.0).max(0));
            // A range may be that of the model at another size, or hold a class that is ignored.
            let (low, high) = match (range, rows) {
                (Some((low, high)), None) => (bounded(low.ceil()), bounded(high.floor())),
                (Some((low, high)), Some(rows)) => (
                    bounded(low.ceil()).clamp(0, rows),
                    bounded(high.floor()).clamp(0, rows),
                ),
                (None, rows) => (0, rows.unwrap_or(1)),
            };
            let dtype = match kind {
                Dtype::Int64 => String::new(),
                _ => format!(", dtype={dtype}"),
            };
            let end = high + 1;
            format!("torch.randint({low}, {end}, {shape}{dtype}, device=device)")
        }
    }
}

/// How many values an index may take: as many as the tables that it goes into have rows, the losses
/// classes, the axes places; `None` where nothing says.
fn count(graph: &Graph, tensor: TensorId) -> Option<u64> {
    let mut open = vec![tensor];
    let mut least: Option<u64> = None;
    let mut at = 0;
    while let Some(&tensor) = open.get(at) {
        at += 1;
        if at > MAX_STEPS {
            break;
        }
        for (_, node) in graph.nodes() {
            let Some(position) = node.arguments.iter().position(|&read| read == tensor) else {
                continue;
            };
            let size = |position: usize, axis: i64| {
                let tensor = node.arguments.get(position).filter(|id| id.is_present())?;
                graph.ty(*tensor).shape.size(axis)
            };
            let dim = graph.with_call(node, |call| call.integer("dim").unwrap_or(0));
            let found = match (node.op.name, position) {
                ("embedding" | "embedding_bag", 0) => size(1, 0),
                ("cross_entropy" | "nll_loss", 1) => {
                    let rank = graph.ty(node.arguments[0]).shape.rank();
                    let targets = graph.ty(tensor).shape.rank();
                    // Classes lie on the second axis, or on the last.
                    match (size(0, 1), size(0, -1)) {
                        (Some(second), Some(last)) if rank > 2 && targets + 1 == rank => {
                            Some(second.min(last))
                        }
                        (_, last) => last,
                    }
                }
                ("one_hot", 0) => {
                    let classes = graph.with_call(node, |call| call.integer("num_classes"));
                    classes.and_then(|classes| u64::try_from(classes).ok())
                }
                ("gather" | "index_select" | "take_along_dim" | "scatter", 1) => size(0, dim),
                ("index", position) => size(0, position as i64 - 1),
                _ => None,
            };
            if let Some(found) = found {
                least = Some(least.map_or(found, |least| least.min(found)));
            }
            let passes = node.op.view
                || matches!(
                    node.op.name,
                    "reshape" | "flatten" | "to" | "clone" | "contiguous"
                );
            if passes && position == 0 {
                open.extend(node.outputs());
            }
        }
    }
    least.map(|least| least.max(1))
}
