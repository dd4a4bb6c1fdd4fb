//! Makes a model small enough to be run here: along its dims, and where these are not enough, along
//! the sizes of its inputs and the widths of its parameters; so that its structure stays.

use smol_str::{SmolStr, format_smolstr};

use super::narrow::{self, Becomes, Source};

use crate::diag::Sink;
use crate::facts::Facts;
use crate::formula::arithmetic::Number;
use crate::graph::{Dims, NodeId};
use crate::lower::Model;
use crate::spec::Spec;

/// A dim that was made smaller, or a size that has no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaled {
    /// The dim, or what sizes they are.
    pub dim: SmolStr,
    /// Its size in the spec.
    pub from: i64,
    /// Its size here.
    pub to: i64,
}

/// What running a model takes: arithmetic of the forward pass, and elements that lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// FLOPs of all kinds.
    pub flops: u128,
    /// Elements of parameters, and of all that calls make.
    pub elements: u128,
}

/// How many calls have no type, because something before them does not come out.
fn unknown(spec: &Spec, model: &Model) -> usize {
    Facts::new(spec, model).cost().unknown
}

impl Size {
    /// The size of a model.
    pub fn of(spec: &Spec, model: &Model) -> Size {
        let cost = Facts::new(spec, model);
        let cost = cost.cost();
        let elements = model.graph.types.iter();
        Size {
            flops: cost.forward.0 + cost.other_forward.0,
            elements: elements.map(|ty| u128::from(ty.shape.elements())).sum(),
        }
    }

    fn fits(&self, limit: Size) -> bool {
        self.flops <= limit.flops && self.elements <= limit.elements
    }

    /// How far above the limit, as a factor.
    fn excess(&self, limit: Size) -> f64 {
        let ratio = |size: u128, limit: u128| size as f64 / limit.max(1) as f64;
        ratio(self.flops, limit.flops).max(ratio(self.elements, limit.elements))
    }
}

/// The smallest divisor above 1.
fn divisor(size: i64) -> i64 {
    (2..=size)
        .take_while(|d| d * d <= size)
        .find(|d| size % d == 0)
        .unwrap_or(size)
}

/// The dims that can be set, with their sizes.
pub(super) fn free_dims(spec: &Spec, model: &Model) -> Vec<(SmolStr, i64)> {
    let names: Vec<SmolStr> = match &model.blueprint {
        Some(blueprint) => blueprint.dims().into_iter().collect(),
        None => {
            let free = spec.dims.entries.iter().filter(|dim| dim.is_free());
            free.map(|dim| dim.name.clone()).collect()
        }
    };
    let sizes = names.into_iter();
    let sizes = sizes.filter_map(|name| match model.dims.get(&name) {
        Some(Number::Integer(value)) => Some((name, value)),
        _ => None,
    });
    sizes.collect()
}

/// How often sizes are put back that computed indices need.
const RETRIES: usize = 4;

/// The model made smaller until it fits the limit, or cannot be made smaller. `outside` runs one,
/// unless it is too large for that, and gives the calls whose indices lie outside of what they
/// choose among: rows of a table that computed numbers choose are left as they are.
pub fn scaled(
    spec: &Spec,
    model: Model,
    limit: Size,
    outside: &dyn Fn(&Model, Size) -> Vec<NodeId>,
) -> (Model, Vec<Scaled>, Size) {
    let (model, mut scaled, size) = along_dims(spec, model, limit);
    if size.fits(limit) {
        return (model, scaled, size);
    }
    let (model, along_inputs, size) = along_inputs(spec, model, limit);
    scaled.extend(along_inputs);
    if size.fits(limit) {
        return (model, scaled, size);
    }
    let mut kept: Vec<u64> = Vec::new();
    for retries in 0.. {
        let (smaller, others, its) = along_sizes(spec, &model, limit, (size, &kept));
        let known = kept.len();
        for id in outside(&smaller, its) {
            let arguments = model.graph.node(id).arguments.iter();
            let (before, after) = (&model.graph.types, &smaller.graph.types);
            for id in arguments.filter(|id| id.is_present()) {
                let at = id.0 as usize;
                let sizes = before[at].shape.sizes().iter().zip(after[at].shape.sizes());
                kept.extend(sizes.filter(|(a, b)| a != b).map(|(&a, _)| a));
            }
        }
        if kept.len() == known || retries == RETRIES {
            return (smaller, [scaled, others].concat(), its);
        }
    }
    (model, scaled, size)
}

/// Along its dims. `O(dims · log size)` lowerings.
pub(super) fn along_dims(spec: &Spec, model: Model, limit: Size) -> (Model, Vec<Scaled>, Size) {
    let imported = model.blueprint.is_some();
    let calls = model.graph.dag.node_count();
    let dims = free_dims(spec, &model);
    let resized = |model: &Model, overrides: &[(SmolStr, i64)]| {
        // What does not come out is told where the spec is read, and only there.
        let mut comes_out = true;
        spec.dims.evaluate(overrides, |_, _| comes_out = false);
        if !comes_out && !imported {
            return None;
        }
        let mut sink = Sink::new();
        let smaller = model.resized(spec, overrides, &mut sink);
        let broken = smaller.graph.dag.node_count() == 0 && calls > 0;
        (!sink.has_errors() && !broken).then_some(smaller)
    };
    divided(spec, model, limit, dims, &resized)
}

/// Along sizes of its inputs that have no names, as the batch of a program that was traced with one.
/// `O(dims · log size)` walks of the graph.
fn along_inputs(spec: &Spec, model: Model, limit: Size) -> (Model, Vec<Scaled>, Size) {
    let found = Dims::of(&model.graph, &[]);
    let dims = found.dims.iter().filter_map(|dim| {
        let size = i64::try_from(dim.value).ok()?;
        Some((dim.name.clone(), size))
    });
    let original = model.graph.clone();
    let resized = |model: &Model, sizes: &[(SmolStr, i64)]| {
        let sizes: Vec<u64> = sizes.iter().map(|(_, size)| size.unsigned_abs()).collect();
        let graph = found.resized(&original, &sizes)?;
        Some(Model {
            graph,
            ..model.clone()
        })
    };
    divided(spec, model, limit, dims.collect(), &resized)
}

/// Builds a model at other sizes of its dims; `None` where it does not come out.
type Resized<'a> = dyn Fn(&Model, &[(SmolStr, i64)]) -> Option<Model> + 'a;

/// The largest dim that brings something is divided by its smallest divisor, as long as the model
/// comes out without a fault: what is left should be neither flat nor thin, for statistics over two
/// elements say nothing.
fn divided(
    spec: &Spec,
    model: Model,
    limit: Size,
    dims: Vec<(SmolStr, i64)>,
    resized: &Resized,
) -> (Model, Vec<Scaled>, Size) {
    let mut size = Size::of(spec, &model);
    let without_type = unknown(spec, &model);
    let mut best = model;
    let mut chosen = dims.clone();
    while !size.fits(limit) {
        let mut found: Option<(usize, i64, Model, Size)> = None;
        for at in 0..chosen.len() {
            let to = chosen[at].1 / divisor(chosen[at].1.max(1)).max(1);
            // One of anything hides what goes wrong among several.
            if to < 2 || to == chosen[at].1 {
                continue;
            }
            let mut sizes = chosen.clone();
            sizes[at].1 = to;
            let Some(smaller) = resized(&best, &sizes) else {
                continue;
            };
            if unknown(spec, &smaller) > without_type {
                continue;
            }
            let its = Size::of(spec, &smaller);
            let larger = found
                .as_ref()
                .is_none_or(|(other, ..)| chosen[at].1 > chosen[*other].1);
            if its.excess(limit) < 0.95 * size.excess(limit) && larger {
                found = Some((at, to, smaller, its));
            }
        }
        let Some((at, to, smaller, its)) = found else {
            break;
        };
        chosen[at].1 = to;
        (best, size) = (smaller, its);
    }
    let scaled = dims
        .into_iter()
        .zip(&chosen)
        .filter(|((_, from), (_, to))| from != to)
        .map(|((dim, from), &(_, to))| Scaled { dim, from, to })
        .collect();
    (best, scaled, size)
}

/// What is halved at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Halved {
    /// A size of inputs.
    Input(u64),
    /// All sizes of parameters.
    Widths,
}

/// Sizes are not halved to less.
const NARROWEST: u64 = 8;

/// Odd sizes are halved, rounded down, from here on.
const VOCABULARY: u64 = 1000;

/// Along the sizes of inputs and the widths of parameters: what is largest and brings something is
/// halved, wherever it stands in the graph. `O(sizes · log size)` walks of the graph, each with a
/// bounded number of further ones.
fn along_sizes(
    spec: &Spec,
    model: &Model,
    limit: Size,
    (mut size, kept): (Size, &[u64]),
) -> (Model, Vec<Scaled>, Size) {
    let without_type = unknown(spec, model);
    let dims = Dims::of(&model.graph, &model.whole_dims());
    let source = Source {
        graph: &model.graph,
        dims: &dims,
    };
    let (inputs, widths) = narrow::found(&model.graph);
    let mut moves: Vec<Halved> = inputs.iter().map(|&size| Halved::Input(size)).collect();
    moves.push(Halved::Widths);
    let mut becomes = Becomes::new();
    // What has to stay as it is for the graph to fit together.
    let mut kept = kept.to_vec();
    let mut best = model.clone();
    while !size.fits(limit) {
        let now = |of: u64| becomes.get(&of).copied().unwrap_or(of);
        let sizes = |halved: Halved| -> Vec<u64> {
            let all = match halved {
                Halved::Input(size) => vec![size],
                Halved::Widths => widths.clone(),
            };
            // An odd number that is large is a vocabulary, not a product of others.
            let halves = |size: u64| size.is_multiple_of(2) || size >= VOCABULARY;
            let can =
                |&of: &u64| !kept.contains(&of) && halves(now(of)) && now(of) / 2 >= NARROWEST;
            all.into_iter().filter(can).collect()
        };
        moves.retain(|&halved| !sizes(halved).is_empty());
        let largest = |&halved: &Halved| sizes(halved).into_iter().map(now).max();
        let Some(halved) = moves.iter().copied().max_by_key(largest) else {
            break;
        };
        let attempt = |halved: &[Halved]| {
            let mut wanted = becomes.clone();
            let sizes = halved.iter().flat_map(|&halved| sizes(halved));
            wanted.extend(sizes.map(|of| (of, now(of) / 2)));
            let (graph, settled) = narrow::narrowed(source, &wanted)?;
            let smaller = Model {
                graph,
                ..model.clone()
            };
            let its = Size::of(spec, &smaller);
            let helps = its.excess(limit) < 0.95 * size.excess(limit);
            let left: Vec<u64> = wanted
                .into_keys()
                .filter(|of| !settled.contains_key(of))
                .collect();
            (helps && unknown(spec, &smaller) <= without_type)
                .then_some((smaller, settled, its, left))
        };
        // A batch that happens to be as large as a head is halved with it.
        let found = attempt(&[halved]).or_else(|| attempt(&[halved, Halved::Widths]));
        match found {
            Some((smaller, settled, its, left)) => {
                kept.extend(left);
                (best, becomes, size) = (smaller, settled, its);
            }
            None => moves.retain(|&other| other != halved),
        }
    }
    let scaled = becomes
        .into_iter()
        .filter_map(|(from, to)| {
            Some(Scaled {
                dim: format_smolstr!("every {from}"),
                from: from.try_into().ok()?,
                to: to.try_into().ok()?,
            })
        })
        .collect();
    (best, scaled, size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;

    /// As a program is traced: no size has a name, and the batch is as large as a head.
    const TRACED: &str = r#"
spec = 1
[model]
name = "traced"
[inputs]
x = [32, 10, 96]
[[layers]]
name = "q"
op = "linear"
in = "x"
out_features = 96
[[layers]]
name = "heads"
formula = "q.reshape(32, 10, 3, 32).transpose(1, 2)"
[[layers]]
name = "scores"
formula = "(heads @ heads.transpose(-2, -1)).reshape(96, 10, 10)"
[[layers]]
name = "out"
formula = "scores.reshape(32, 3, 10, 10) @ heads"
"#;

    /// Guards that numbers which follow from the batch go with it, the product of batch and heads
    /// among them, and that what is only as large stays.
    #[test]
    fn a_batch_as_large_as_a_head_goes_alone() {
        let (spec, model) = lowered(TRACED);
        let limit = Size {
            flops: 60_000,
            elements: u128::MAX,
        };
        let (model, scaled, _) = along_inputs(&spec, model, limit);
        let batch = Scaled {
            dim: "batch".into(),
            from: 32,
            to: 2,
        };
        assert_eq!(scaled.first(), Some(&batch));
        let shapes = model.graph.nodes().map(|(_, node)| {
            let shape = &model.graph.ty(node.first_output).shape;
            shape.sizes().to_vec()
        });
        let shapes: Vec<Vec<u64>> = shapes.collect();
        let seq = shapes[0][1];
        assert_eq!(shapes[1], [2, seq, 3, 32]);
        assert!(shapes.contains(&vec![6, seq, seq]), "{shapes:?}");
        assert_eq!(shapes.last(), Some(&vec![2, 3, seq, 32]));
    }
}
