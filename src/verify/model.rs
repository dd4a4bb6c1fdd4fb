//! The claims of a whole model, and those of its calls.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::call::verify_call;
use super::memory::{Ends, kept, timeline};
use super::result::Verification;
use super::run::{Pass, Plan, Seen, Sources, Stopped, sources};
use super::scale::{Size, scaled};
use super::{Claim, Outcome, hazards::hazards};
use crate::diag::Finding;
use crate::facts::Facts;
use crate::facts::memory::Saved;
use crate::facts::precision::NodeDtypes;
use crate::facts::ranges::Ranges;
use crate::facts::storage::Storages;
use crate::facts::timeline;
use crate::graph::{Graph, NodeId, TensorId};
use crate::kernels::{Array, Setting};
use crate::lower::Model;
use crate::ops::gradient::Kernels;
use crate::ops::{AttributeValue, Call};
use crate::spec::Spec;

/// How much may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// To what size a model is made smaller, if it can be.
    pub wanted: Size,
    /// Up to what size it is run at all.
    pub most: Size,
}

impl Limits {
    /// What takes seconds.
    pub const SMALL: Limits = Limits {
        wanted: Size {
            flops: 200_000_000,
            elements: 4_000_000,
        },
        most: Size {
            flops: 20_000_000_000,
            elements: 120_000_000,
        },
    };

    /// What fits a machine, however long it takes.
    pub const FULL: Limits = Limits {
        wanted: Size {
            flops: u128::MAX,
            elements: 1_000_000_000,
        },
        most: Size {
            flops: u128::MAX,
            elements: 1_000_000_000,
        },
    };
}

/// Runs a model, made smaller along its dims if it is large, and holds what is claimed of it
/// against what happens. `progress` hears of steps that are done, of how many.
///
/// Autocast's casts are left out: they are the engine's, and the claims are checked in the types of
/// the graph.
pub fn verify(
    spec: &Spec,
    model: Model,
    findings: &[Finding],
    limits: Limits,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Verification {
    let within =
        |size: Size| size.flops <= limits.most.flops && size.elements <= limits.most.elements;
    let outside = |model: &Model, size: Size| match within(size) {
        true => outside(spec, model, seed),
        false => Vec::new(),
    };
    let (model, scaled, size) = scaled(spec, model, limits.wanted, &outside);
    let mut result = Verification {
        name: spec
            .model
            .name
            .value
            .clone()
            .unwrap_or_default()
            .to_string(),
        scaled,
        ..Verification::default()
    };
    if !within(size) {
        result.notes.push(format!(
            "The model takes {} FLOPs and {} elements, which is more than is run without `--full`: nothing was checked.",
            size.flops, size.elements
        ));
        for claim in Claim::ALL {
            let why = "the model cannot be made small enough along its dims".to_owned();
            result.say("", claim, Outcome::Unchecked(why));
        }
        return result;
    }
    let facts = Facts::new(spec, &model);
    let mut policy = facts.policy().clone();
    if policy.autocast.take().is_some() {
        result.notes.push(
            "Checked in the types of the graph: the copies that autocast makes are PyTorch's, and `--engine torch` checks them.".to_owned(),
        );
    }
    let graph = &model.graph;
    let dtypes = NodeDtypes::of(graph, &policy);
    let storages = Storages::of(graph, &dtypes);
    let plan = Plan {
        graph,
        liveness: facts.liveness(),
        dtypes: &dtypes,
        storages: &storages,
    };
    let ranges = Ranges::of(spec, &model, facts.values(), &dtypes);
    let drawn = sources(graph, &ranges, seed);
    let whole = Whole {
        spec,
        model: &model,
        plan,
        drawn: &drawn,
        seed,
    };
    let steps = &mut Steps {
        tell: progress,
        done: 0,
        total: whole.passes() * graph.node_ids().filter(|&id| plan.runs(id)).count(),
    };
    whole.calls(&mut result, steps);
    whole.ranges(&mut result, &ranges, steps);
    let saved = Saved::of(graph, facts.liveness(), &dtypes, &storages);
    // One micro-batch is run here, without the gradients of earlier ones.
    let mut run = spec.run.clone();
    run.train.grad_accumulation.value = None;
    let inputs = timeline::Inputs {
        run: &run,
        policy: &policy,
        dtypes: &dtypes,
        storages: &storages,
        // What a run writes over is not told apart here from what it makes.
        kernels: Kernels::Device,
        rank: None,
        ..facts.timeline()
    };
    whole.memory(&mut result, &saved, inputs, steps);
    whole.directions(&mut result, steps);
    for (place, verdict) in hazards(spec, &model, plan, &ranges, findings, seed) {
        result.add(&place, verdict);
    }
    result.tallies.sort_by_key(|(claim, _)| *claim);
    result
}

/// The calls of a run whose indices lie outside of what they choose among.
fn outside(spec: &Spec, model: &Model, seed: u64) -> Vec<NodeId> {
    let facts = Facts::new(spec, model);
    let mut policy = facts.policy().clone();
    policy.autocast = None;
    let dtypes = NodeDtypes::of(&model.graph, &policy);
    let storages = Storages::of(&model.graph, &dtypes);
    let plan = Plan {
        graph: &model.graph,
        liveness: facts.liveness(),
        dtypes: &dtypes,
        storages: &storages,
    };
    let ranges = Ranges::of(spec, model, facts.values(), &dtypes);
    let drawn = sources(&model.graph, &ranges, seed);
    let pass = plan.forward(&drawn, Setting::exact(seed), &mut |_| {});
    let calls = pass.drawn.iter().filter(|stopped| stopped.outside);
    calls.map(|stopped| stopped.node).collect()
}

/// The gradients that a backward pass begins with: 1 for a loss, or where no output is a single
/// number, one drawn for each element.
pub(super) fn loss_seeds(
    graph: &Graph,
    pass: &Pass<'_>,
    random: &mut fastrand::Rng,
) -> Vec<(TensorId, Array)> {
    let mut begins: Vec<TensorId> = Vec::new();
    for &id in graph.outputs.iter().filter(|id| id.is_present()) {
        if graph.training && graph.tensor(id).requires_grad && !begins.contains(&id) {
            begins.push(id);
        }
    }
    let single = |id: &TensorId| graph.ty(*id).shape.elements() == 1;
    if begins.iter().any(single) {
        begins.retain(single);
    }
    begins
        .into_iter()
        .filter_map(|id| {
            let sizes = pass.output(id)?.raw_dim();
            let seed = match single(&id) {
                true => Array::ones(sizes),
                false => Array::zeros(sizes).mapv(|_: f64| random.f64() * 2.0 - 1.0),
            };
            Some((id, seed))
        })
        .collect()
}

/// How far all passes have come, call by call.
struct Steps<'a> {
    tell: &'a mut dyn FnMut(usize, usize),
    done: usize,
    total: usize,
}

impl Steps<'_> {
    fn step(&mut self) {
        self.done = (self.done + 1).min(self.total);
        (self.tell)(self.done, self.total);
    }
}

struct Whole<'a> {
    spec: &'a Spec,
    model: &'a Model,
    plan: Plan<'a>,
    drawn: &'a Sources,
    seed: u64,
}

/// What distinguishes calls.
fn signature(call: &Call) -> String {
    use std::fmt::Write;
    let mut text = call.op.name.to_owned();
    for (position, value) in call.attributes.iter() {
        let _ = match value {
            AttributeValue::Integers(list) if list.len() > 64 => write!(text, ";{position}…"),
            value => write!(text, ";{position}={value:?}"),
        };
    }
    for argument in call.arguments {
        let _ = match argument {
            None => write!(text, "|-"),
            Some(argument) => write!(
                text,
                "|{}{:?}{}",
                argument.ty, argument.constant, argument.requires_grad
            ),
        };
    }
    text
}

impl Whole<'_> {
    fn place(&self, id: NodeId) -> String {
        let place = self.model.node_place(self.spec, id).path;
        match place.is_empty() {
            true => self.plan.graph.node(id).op.name.to_owned(),
            false => place,
        }
    }

    fn stopped(&self, stopped: &Stopped) -> String {
        let op = self.plan.graph.node(stopped.node).op.name;
        format!("no gradient passes `{op}`: {}", stopped.message)
    }

    /// The claims of each distinct call, on the operands that it has in a run.
    fn calls(&self, result: &mut Verification, steps: &mut Steps<'_>) {
        let mut seen: FxHashMap<String, ()> = FxHashMap::default();
        let mut verdicts = Vec::new();
        let mut calls = 0;
        let mut watch = |one: &Seen| {
            calls += 1;
            steps.step();
            if seen.insert(signature(one.call), ()).is_none() {
                for verdict in verify_call(one.call, one.operands, self.seed) {
                    verdicts.push((one.node, verdict));
                }
            }
        };
        self.plan
            .forward(self.drawn, Setting::exact(self.seed), &mut watch);
        for (node, verdict) in verdicts {
            result.add(&self.place(node), verdict);
        }
        result.calls = calls;
        result.distinct = seen.len();
    }

    /// The ranges of all tensors, in the types in which they are stated.
    fn ranges(&self, result: &mut Verification, ranges: &Ranges, steps: &mut Steps<'_>) {
        let graph = self.plan.graph;
        let mut verdicts = Vec::new();
        let mut watch = |one: &Seen| {
            steps.step();
            for (output, array) in graph.node(one.node).outputs().zip(one.outputs) {
                let claimed = ranges.known(output).interval();
                let found = super::call::observed(array);
                if array.is_empty() {
                    continue;
                }
                let inside = found.low >= claimed.low
                    && found.high <= claimed.high
                    && (claimed.non_finite || !found.non_finite);
                let outcome = match inside {
                    true => Outcome::Confirmed,
                    false => Outcome::Contradicted {
                        claimed: claimed.to_string(),
                        found: found.to_string(),
                    },
                };
                verdicts.push((one.node, outcome));
            }
        };
        let setting = Setting::stated(self.seed);
        let pass = self.plan.forward(self.drawn, setting, &mut watch);
        let behind = self.behind(&pass.drawn);
        for (node, outcome) in verdicts {
            let outcome = match behind[node.0 as usize] {
                false => outcome,
                true => {
                    Outcome::Unchecked("the values follow from a call that is not run".to_owned())
                }
            };
            result.say(&self.place(node), Claim::Range, outcome);
        }
    }

    /// Which calls were not run, or read what such a call made.
    fn behind(&self, drawn: &[Stopped]) -> Vec<bool> {
        let graph = self.plan.graph;
        let mut behind = vec![false; graph.dag.node_count()];
        for stopped in drawn {
            behind[stopped.node.0 as usize] = true;
        }
        for (id, node) in graph.nodes() {
            let mut sources = node.arguments.iter().filter_map(|&id| graph.producer(id));
            if sources.any(|source| behind[source.0 as usize]) {
                behind[id.0 as usize] = true;
            }
        }
        behind
    }

    /// What is kept, and what lives when.
    fn memory(
        &self,
        result: &mut Verification,
        saved: &Saved,
        inputs: timeline::Inputs<'_>,
        steps: &mut Steps<'_>,
    ) {
        let graph = self.plan.graph;
        if !graph.training {
            return;
        }
        let refuse = |result: &mut Verification, why: &str| {
            for claim in [Claim::Kept, Claim::Timeline] {
                result.say("", claim, Outcome::Unchecked(why.to_owned()));
            }
        };
        if graph.layers.iter().any(|layer| layer.checkpointed) {
            return refuse(result, "layers that are recomputed are not run so here");
        }
        if !graph.regions.is_empty() {
            return refuse(result, "loops and branches are run once here");
        }
        let setting = Setting::exact(self.seed);
        let pass = self
            .plan
            .forward(self.drawn, setting, &mut |_| steps.step());
        let (agreed, outcome) = kept(graph, &saved.kept, &pass.kept());
        self.tally(result, Claim::Kept, agreed, outcome);
        let seeds = loss_seeds(graph, &pass, &mut fastrand::Rng::with_seed(self.seed));
        let mut levels = pass.levels.clone();
        levels.extend(pass.backward(seeds, &mut |_, _| steps.step()).levels);
        let ends = timeline::run(inputs, Ends::default());
        let (agreed, outcome) = timeline(&ends, &levels, |id| self.place(id));
        self.tally(result, Claim::Timeline, agreed, outcome);
    }

    fn tally(&self, result: &mut Verification, claim: Claim, agreed: usize, outcome: Outcome) {
        for _ in 0..agreed {
            result.say("", claim, Outcome::Confirmed);
        }
        if outcome != Outcome::Confirmed {
            result.say("", claim, outcome);
        }
    }

    /// The first call through which values pass and gradients do not: `detach`, `no_grad`.
    fn stops(&self) -> Option<NodeId> {
        let graph = self.plan.graph;
        let found = graph.nodes().find(|&(id, node)| {
            let wants = |id: &TensorId| id.is_present() && graph.tensor(*id).requires_grad;
            let mut outputs = node.outputs();
            self.plan.runs(id)
                && node.arguments.iter().any(wants)
                && graph.ty(node.first_output).dtype.is_float()
                && outputs.all(|id| !graph.tensor(id).requires_grad)
        });
        found.map(|(id, _)| id)
    }

    /// A few trained parameters, one by one, and all of them: along these directions are drawn.
    fn groups(&self) -> Vec<Vec<TensorId>> {
        let graph = self.plan.graph;
        let trained: Vec<TensorId> = graph
            .parameters
            .iter()
            .filter(|parameter| parameter.trainable && parameter.uses > 0)
            .map(|parameter| parameter.tensor)
            .collect();
        if !graph.training || trained.is_empty() {
            return Vec::new();
        }
        // Each direction runs the model at least twice.
        let elements: usize = self.drawn.values().map(|array| array.len()).sum();
        let few = if elements > 5_000_000 { 1 } else { 4 };
        let step = trained.len().div_ceil(few).max(1);
        let mut groups: Vec<Vec<TensorId>> =
            trained.iter().step_by(step).map(|&id| vec![id]).collect();
        groups.push(trained);
        groups
    }

    /// How often the graph is walked, if all goes well: for the calls and for the ranges, and in
    /// training both ways for what lives when and for the gradients, and twice for each direction.
    fn passes(&self) -> usize {
        match self.plan.graph.training {
            true => 6 + 2 * self.groups().len(),
            false => 2,
        }
    }

    /// The gradient of the loss by all parameters and by a few of them, along random directions.
    fn directions(&self, result: &mut Verification, steps: &mut Steps<'_>) {
        let graph = self.plan.graph;
        let groups = self.groups();
        if groups.is_empty() {
            return;
        }
        let setting = Setting::exact(self.seed);
        let pass = self
            .plan
            .forward(self.drawn, setting, &mut |_| steps.step());
        if let Some(stopped) = pass.drawn.first() {
            return result.say(
                "",
                Claim::Gradient,
                Outcome::Unchecked(self.stopped(stopped)),
            );
        }
        if let Some(id) = self.stops() {
            let why = format!(
                "the gradient stops at `{}` by intent, and differences do not",
                graph.node(id).op.name
            );
            return result.say("", Claim::Gradient, Outcome::Unchecked(why));
        }
        let mut random = fastrand::Rng::with_seed(self.seed);
        let seeds = loss_seeds(graph, &pass, &mut random);
        let returned = pass.backward(seeds.clone(), &mut |_, _| steps.step());
        for group in groups {
            let outcome = self.along(&group, &seeds, &returned.gradients, &mut random, steps);
            let place = match group.as_slice() {
                [one] => graph.tensor_name(*one),
                _ => "all parameters".to_owned(),
            };
            result.say(&place, Claim::Gradient, outcome);
        }
    }

    /// The derivative along one random direction in some parameters, against central differences.
    fn along(
        &self,
        group: &[TensorId],
        seeds: &[(TensorId, Array)],
        gradients: &FxHashMap<TensorId, Array>,
        random: &mut fastrand::Rng,
        steps: &mut Steps<'_>,
    ) -> Outcome {
        let mut directions: Vec<(TensorId, Array)> = Vec::new();
        let mut claimed = 0.0;
        for &id in group {
            let Some(values) = self.drawn.get(&id) else {
                continue;
            };
            let size = 1.0 / (values.len() as f64).sqrt().max(1.0);
            let direction = values.mapv(|_| (random.f64() * 2.0 - 1.0) * size);
            if let Some(gradient) = gradients.get(&id) {
                claimed += (gradient * &direction).sum();
            }
            directions.push((id, direction));
        }
        let mut loss = |by: f64| -> f64 {
            let mut moved = self.drawn.clone();
            for (id, direction) in &directions {
                if let Some(values) = moved.get(id) {
                    let values = &**values + &(direction * by);
                    moved.insert(*id, Rc::new(values));
                }
            }
            let setting = Setting::exact(self.seed);
            let pass = self.plan.forward(&moved, setting, &mut |_| steps.step());
            seeds.iter().fold(0.0, |sum, (id, seed)| {
                sum + pass
                    .output(*id)
                    .map_or(0.0, |output| (&**output * seed).sum())
            })
        };
        let mut differences = |step: f64| (loss(step) - loss(-step)) / (2.0 * step);
        // Differences at smaller and smaller steps come to rest before rounding takes over. Where
        // they do not, there is a kink or a cliff, and nothing can be said.
        let mut last: Option<f64> = None;
        let mut best: Option<(f64, f64)> = None;
        for step in [1e-3, 1e-4, 1e-5, 1e-6, 1e-7] {
            let found = differences(step);
            let scale = claimed.abs().max(found.abs()).max(1e-6);
            if (found - claimed).abs() <= 1e-5 * scale || (found.is_nan() && claimed.is_nan()) {
                return Outcome::Confirmed;
            }
            if let Some(last) = last {
                let change = (found - last).abs() / scale;
                if best.is_none_or(|(least, _)| change < least) {
                    best = Some((change, found));
                }
            }
            last = Some(found);
        }
        match best {
            Some((change, found)) if change < 1e-3 => {
                let scale = claimed.abs().max(found.abs());
                if (found - claimed).abs() <= 10.0 * change.max(1e-5) * scale + 1e-9 {
                    return Outcome::Confirmed;
                }
                Outcome::Contradicted {
                    claimed: format!("{claimed} along a direction"),
                    found: format!("{found} by differences"),
                }
            }
            _ => Outcome::Unchecked(
                "differences of the loss do not come to rest as steps get smaller".to_owned(),
            ),
        }
    }
}
