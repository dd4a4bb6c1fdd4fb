//! How far a run in other element types is from float64: layer by layer, forward and backward, and
//! where infinities and NaN come up first.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::experiment::{Experiment, Picture, short};
use super::model::loss_seeds;
use super::run::{Plan, Sources};
use crate::graph::{Graph, NodeId, TensorId, TensorKind};
use crate::kernels::{Array, Setting, round};
use crate::lower::Model;
use crate::tensor::Dtype;

/// At most so many layers are shown, evenly over the depth.
const MOST_LAYERS: usize = 12;

/// Types that take the place of those of a spec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Types {
    /// The type that every op's floating point results are rounded to and stored in.
    pub stored: Option<Dtype>,
    /// The type in which sums and products of matrices add up.
    pub accumulate: Option<Dtype>,
}

impl Types {
    /// Whether any type is another one.
    pub fn is_given(&self) -> bool {
        self.stored.is_some() || self.accumulate.is_some()
    }

    /// How calls are run in these types.
    pub(super) fn setting(&self, seed: u64) -> Setting {
        Setting {
            accumulate: self.accumulate,
            ..Setting::stated(seed)
        }
    }
}

/// The same model with its floating point tensors in the type that takes the place of theirs.
/// Complex tensors and numbers in formulas keep theirs.
pub fn retyped(model: &Model, types: Types) -> Model {
    let mut model = model.clone();
    let Some(dtype) = types.stored else {
        return model;
    };
    let graph = &mut model.graph;
    for (ty, tensor) in graph.types.iter_mut().zip(&graph.tensors) {
        let constant = matches!(tensor.kind, TensorKind::Constant(_));
        if ty.dtype.is_float() && !ty.dtype.is_complex() && !constant {
            ty.dtype = dtype;
        }
    }
    model.dtype = dtype;
    model
}

/// The calls with weights that make floating point tensors: what is called a layer here.
pub(super) fn layers(plan: Plan<'_>) -> Vec<NodeId> {
    let graph = plan.graph;
    let ids = graph.node_ids().filter(|&id| plan.runs(id));
    let weighted = ids.filter(|&id| {
        let node = graph.node(id);
        let mut arguments = node.arguments.iter();
        let float = graph.ty(node.first_output).dtype.is_float();
        float && !node.op.view && arguments.any(|&id| graph.parameter(id).is_some())
    });
    weighted.collect()
}

/// At most so many of them, evenly spread, the last one among them.
pub(super) fn evenly(layers: &[NodeId]) -> Vec<NodeId> {
    let step = layers.len().div_ceil(MOST_LAYERS).max(1);
    let numbered = layers.iter().copied().enumerate();
    let shown = numbered.filter(|(at, _)| at % step == 0 || at + 1 == layers.len());
    shown.map(|(_, id)| id).collect()
}

/// What a model reads, rounded to the types that its graph states.
fn rounded(graph: &Graph, sources: &Sources) -> Sources {
    let round_one = |(&id, array): (&TensorId, &Rc<Array>)| {
        let dtype = graph.ty(id).dtype;
        let constant = matches!(graph.tensor(id).kind, TensorKind::Constant(_));
        match dtype.is_float() && !constant {
            true => (id, Rc::new(array.mapv(|x| round(dtype, x)))),
            false => (id, Rc::clone(array)),
        }
    };
    sources.iter().map(round_one).collect()
}

/// The length of the difference as a share of the length of what is exact.
pub(super) fn relative_error(exact: &Array, found: &Array) -> f64 {
    let size: f64 = exact.iter().map(|x| x * x).sum();
    let pairs = exact.iter().zip(found.iter());
    let difference: f64 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
    match (size, difference) {
        (_, 0.0) => 0.0,
        (size, difference) => (difference / size.max(f64::MIN_POSITIVE)).sqrt(),
    }
}

/// What became of the results of one call.
struct Lost {
    node: NodeId,
    error: f64,
    /// The greatest magnitude in float64.
    greatest: f64,
    infinite: usize,
    not_numbers: usize,
}

/// What became of finite elements: how many are infinite, and how many NaN.
fn lost(exact: &Array, found: &Array) -> (usize, usize) {
    let pairs = exact.iter().zip(found.iter());
    let gone = pairs.filter(|(a, b)| a.is_finite() && !b.is_finite());
    gone.fold((0, 0), |(infinite, nan), (_, b)| match b.is_nan() {
        true => (infinite, nan + 1),
        false => (infinite + 1, nan),
    })
}

fn magnitude(array: &Array) -> f64 {
    let finite = array.iter().filter(|x| x.is_finite());
    finite.fold(0.0, |most, x| most.max(x.abs()))
}

/// The gradients of parameters from one run backward, and the first call whose operands' gradients
/// are not finite.
struct Back {
    gradients: FxHashMap<TensorId, Array>,
    first: Option<NodeId>,
}

/// A model, as its spec types it and in the types that take their place.
pub(super) struct Both<'a> {
    /// As the spec types it.
    pub stated: Plan<'a>,
    /// The same calls, in the other types.
    pub other: Plan<'a>,
    /// What the types are.
    pub types: Types,
    /// What is read.
    pub drawn: &'a Sources,
    /// What random ops draw follows from it.
    pub seed: u64,
    /// What a call is called.
    pub place: &'a dyn Fn(NodeId) -> String,
}

impl Both<'_> {
    /// Runs the model in float64 and in the other types, and compares.
    pub fn compare(&self) -> Experiment {
        let graph = self.stated.graph;
        let mut exact: FxHashMap<NodeId, Vec<Rc<Array>>> = FxHashMap::default();
        let setting = Setting::exact(self.seed);
        let pass = self.stated.forward(self.drawn, setting, &mut |seen| {
            exact.insert(seen.node, seen.outputs.to_vec());
        });
        let seeds = loss_seeds(graph, &pass, &mut fastrand::Rng::with_seed(self.seed));
        let backward = |pass: super::run::Pass<'_>| {
            let mut first = None;
            let finite = |array: &Array| array.iter().all(|value| value.is_finite());
            let returned = pass.backward(seeds.clone(), &mut |node, gradients| {
                if first.is_none() && !gradients.iter().flatten().all(finite) {
                    first = Some(node);
                }
            });
            let gradients = returned.gradients;
            Back { gradients, first }
        };
        let outputs: Vec<TensorId> = self.outputs();
        let kept = |pass: &super::run::Pass<'_>| -> Vec<Option<Rc<Array>>> {
            outputs.iter().map(|id| pass.output(*id).cloned()).collect()
        };
        let exact_outputs = kept(&pass);
        let exact_back = backward(pass);
        let mut calls: Vec<Lost> = Vec::new();
        let setting = self.types.setting(self.seed);
        let sources = rounded(self.other.graph, self.drawn);
        let pass = self.other.forward(&sources, setting, &mut |seen| {
            let before = exact.get(&seen.node).map_or(&[][..], Vec::as_slice);
            let pairs: Vec<(&Rc<Array>, &Rc<Array>)> = before.iter().zip(seen.outputs).collect();
            let Some((a, b)) = pairs.first() else { return };
            let counts = pairs.iter().map(|(a, b)| lost(a, b));
            let (infinite, not_numbers) = counts.fold((0, 0), |x, y| (x.0 + y.0, x.1 + y.1));
            calls.push(Lost {
                node: seen.node,
                error: relative_error(a, b),
                greatest: magnitude(a),
                infinite,
                not_numbers,
            });
        });
        let found_outputs = kept(&pass);
        let found_back = backward(pass);
        let mut table = self.table(&calls, (&exact_back, &found_back));
        self.say_outputs(&mut table, &outputs, &exact_outputs, &found_outputs);
        self.say_overflow(&mut table, &calls);
        self.say_gradients(&mut table, &exact_back, &found_back);
        table
    }

    /// The outputs of floating point, each once.
    fn outputs(&self) -> Vec<TensorId> {
        let graph = self.stated.graph;
        let mut outputs: Vec<TensorId> = Vec::new();
        for &id in graph.outputs.iter().filter(|id| id.is_present()) {
            if graph.ty(id).dtype.is_float() && !outputs.contains(&id) {
                outputs.push(id);
            }
        }
        outputs
    }

    /// What the types are called.
    fn named(&self) -> String {
        let stored = match self.types.stored {
            Some(dtype) => dtype.name().to_owned(),
            None => "the types of the spec".to_owned(),
        };
        match self.types.accumulate {
            Some(accumulate) => format!("{stored} with sums in {}", accumulate.name()),
            None => stored,
        }
    }

    /// The layers, and the first call at which something is lost.
    fn table(&self, calls: &[Lost], (exact, found): (&Back, &Back)) -> Experiment {
        let graph = self.stated.graph;
        let mut shown = evenly(&layers(self.stated));
        let gone = |call: &&Lost| call.infinite + call.not_numbers > 0;
        shown.extend(calls.iter().find(gone).map(|call| call.node));
        shown.sort_unstable();
        shown.dedup();
        let trained = !exact.gradients.is_empty();
        let mut columns = vec!["layer", "op", "off by", "greatest", "infinite", "NaN"];
        if trained {
            columns.push("gradient off by");
        }
        let question = format!("How far is it from float64, in {}?", self.named());
        let mut table = Experiment::new(&question, &columns);
        let mut errors = Vec::new();
        for id in shown {
            let Some(call) = calls.iter().find(|call| call.node == id) else {
                continue;
            };
            let node = graph.node(id);
            let mut row = vec![
                (self.place)(id),
                node.op.name.to_owned(),
                short(call.error),
                short(call.greatest),
                call.infinite.to_string(),
                call.not_numbers.to_string(),
            ];
            if trained {
                let weights = node.arguments.iter().filter_map(|id| {
                    let (a, b) = (exact.gradients.get(id)?, found.gradients.get(id)?);
                    Some(relative_error(a, b))
                });
                // The worst of its parameters.
                let worst = weights.reduce(|a, b| if a.is_nan() || a > b { a } else { b });
                row.push(worst.map_or_else(|| "-".to_owned(), short));
            }
            table.rows.push(row);
            errors.push(call.error);
        }
        table.picture = Some(Picture {
            title: format!("relative error in {}", self.named()),
            values: errors,
        });
        table
    }

    fn say_outputs(
        &self,
        table: &mut Experiment,
        outputs: &[TensorId],
        exact: &[Option<Rc<Array>>],
        found: &[Option<Rc<Array>>],
    ) {
        let graph = self.stated.graph;
        for (at, &id) in outputs.iter().enumerate() {
            let (Some(a), Some(b)) = (&exact[at], &found[at]) else {
                continue;
            };
            let name = graph.tensor_name(id);
            let error = short(relative_error(a, b));
            table
                .conclusions
                .push(match (a.len(), a.first(), b.first()) {
                    (1, Some(&a), Some(&b)) => {
                        format!("the output `{name}` is {b:.6} instead of {a:.6}: off by {error}")
                    }
                    _ => format!("the output `{name}` is off by {error}"),
                });
        }
    }

    fn say_overflow(&self, table: &mut Experiment, calls: &[Lost]) {
        let graph = self.other.graph;
        let mut any = false;
        for what in ["infinite", "NaN"] {
            let count = |call: &Lost| match what {
                "NaN" => call.not_numbers,
                _ => call.infinite,
            };
            let mut places = calls.iter().filter(|call| count(call) > 0);
            let Some(first) = places.next() else { continue };
            any = true;
            let op = graph.node(first.node).op.name;
            let dtype = graph.ty(graph.node(first.node).first_output).dtype;
            let most = dtype
                .float_format()
                .map_or(f64::INFINITY, |format| format.max);
            let why = match first.greatest > most {
                true => format!(
                    "; they go up to {} in float64, and {} ends at {}",
                    short(first.greatest),
                    dtype.name(),
                    short(most)
                ),
                false => String::new(),
            };
            table.conclusions.push(format!(
                "finite elements become {what} first in `{}` (`{op}`), {} of them{why}; {} further calls have such elements",
                (self.place)(first.node),
                count(first),
                places.count()
            ));
        }
        if !any {
            let line = "nothing that is finite in float64 becomes infinite or NaN";
            table.conclusions.push(line.to_owned());
        }
    }

    fn say_gradients(&self, table: &mut Experiment, exact: &Back, found: &Back) {
        if exact.gradients.is_empty() {
            return;
        }
        let (mut size, mut difference) = (0.0, 0.0);
        let (mut living, mut gone) = (0u64, 0u64);
        for parameter in &self.stated.graph.parameters {
            let of = |back: &'_ Back| back.gradients.get(&parameter.tensor).cloned();
            let (Some(a), Some(b)) = (of(exact), of(found)) else {
                continue;
            };
            for (a, b) in a.iter().zip(b.iter()) {
                size += a * a;
                difference += (a - b) * (a - b);
                living += u64::from(*a != 0.0);
                gone += u64::from(*a != 0.0 && *b == 0.0);
            }
        }
        let error = (difference / f64::MIN_POSITIVE.max(size)).sqrt();
        table.conclusions.push(format!(
            "the gradients of all parameters together are off by {}",
            short(error)
        ));
        if gone > 0 {
            table.conclusions.push(format!(
                "{gone} of {living} elements of gradients that are not 0 in float64 are 0: they underflow, unless the loss is scaled"
            ));
        }
        if let (Some(id), None) = (found.first, exact.first) {
            let op = self.stated.graph.node(id).op.name;
            table.conclusions.push(format!(
                "backward, the first infinity or NaN comes up in `{}` (`{op}`)",
                (self.place)(id)
            ));
        }
    }
}
