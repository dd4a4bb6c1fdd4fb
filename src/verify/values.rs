//! What a model is run on: values for its inputs and parameters.

use ndarray::IxDyn;

use crate::facts::ranges::Ranges;
use crate::graph::{Graph, TensorId, TensorKind};
use crate::kernels::{Array, held_sizes, store};
use crate::ops::Init;
use crate::tensor::{Dtype, Interval};

/// How many calls are followed from an input of integers to what it indexes.
const FOLLOWED: usize = 64;

/// The values of an input or a parameter: within its declared range, by its initialisation, or as
/// far as they go within what they index.
pub fn values(graph: &Graph, ranges: &Ranges, id: TensorId, random: &mut fastrand::Rng) -> Array {
    let ty = graph.ty(id);
    let sizes = held_sizes(ty);
    let dtype = ty.dtype;
    let known = ranges.known(id);
    let declared = known
        .declared
        .then(|| known.interval())
        .filter(Interval::is_bounded);
    if dtype == Dtype::Bool {
        return fill(&sizes, || f64::from(u8::from(random.f64() < 0.75)));
    }
    if !dtype.is_float() {
        let bound = index_bound(graph, id).unwrap_or(2).max(1) as f64;
        let (low, high) = declared.map_or((0.0, bound - 1.0), |range| {
            (
                range.low.max(0.0).min(bound - 1.0),
                range.high.min(bound - 1.0),
            )
        });
        return fill(&sizes, || {
            (low + (high - low + 1.0) * random.f64()).floor().min(high)
        });
    }
    let normal = |random: &mut fastrand::Rng| {
        let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * random.f64()).cos()
    };
    let array = match (declared, graph.tensor(id).kind) {
        (Some(range), _) => fill(&sizes, || {
            range.low + (range.high - range.low) * random.f64()
        }),
        (None, TensorKind::Parameter(number)) => {
            let init = graph.parameters[number as usize].init;
            match (init, init.moments(&ty.shape)) {
                (Init::Constant(value), _) => fill(&sizes, || value),
                (_, Some(moments)) => {
                    let deviation = moments.variance.sqrt();
                    fill(&sizes, || moments.mean + deviation * normal(random))
                }
                // Vectors are scales, offsets and statistics: all of them may be about 1. Matrices
                // keep the size of what they multiply.
                (_, None) if ty.shape.rank() < 2 => fill(&sizes, || 0.5 + random.f64()),
                (_, None) => {
                    let fan: f64 = ty.shape.sizes()[1..]
                        .iter()
                        .map(|&size| size as f64)
                        .product();
                    fill(&sizes, || normal(random) / fan.max(1.0).sqrt())
                }
            }
        }
        (None, _) => fill(&sizes, || normal(random)),
    };
    store(dtype, array)
}

fn fill(sizes: &[usize], draw: impl FnMut() -> f64) -> Array {
    Array::from_shape_simple_fn(IxDyn(sizes), draw)
}

/// How many entries the integers of a tensor choose among, by the calls that take them for indices;
/// `None` where nothing does.
fn index_bound(graph: &Graph, id: TensorId) -> Option<u64> {
    let mut ahead = vec![id];
    let mut next = 0;
    let mut bound: Option<u64> = None;
    while let Some(&tensor) = ahead.get(next) {
        next += 1;
        if next > FOLLOWED {
            break;
        }
        for (_, node) in graph.nodes() {
            for (position, _) in node
                .arguments
                .iter()
                .enumerate()
                .filter(|(_, argument)| **argument == tensor)
            {
                let found = graph.with_call(node, |call| {
                    let axis = |name| {
                        let shape = call.shape(0).ok()?;
                        Some(shape.sizes()[call.axis(name, shape).ok()?])
                    };
                    match (call.op.name, call.op.operand_name(position)) {
                        ("embedding" | "embedding_bag", "input") => {
                            Some(call.shape(1).ok()?.sizes()[0])
                        }
                        ("cross_entropy" | "nll_loss", "target") => {
                            let sizes = call.shape(0).ok()?.sizes();
                            sizes.get(1).or(sizes.first()).copied()
                        }
                        (_, "index" | "indices") => axis("dim"),
                        ("one_hot", _) => call.integer("num_classes")?.try_into().ok(),
                        _ => None,
                    }
                });
                match found {
                    Some(size) => bound = Some(bound.map_or(size, |least| least.min(size))),
                    None => ahead.extend(
                        node.outputs()
                            .filter(|&output| !graph.ty(output).dtype.is_float()),
                    ),
                }
            }
        }
    }
    bound
}
