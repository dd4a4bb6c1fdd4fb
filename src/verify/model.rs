//! The claims of a whole model, and those of its calls.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use rustc_hash::{FxHashMap, FxHashSet};

use super::call::verify_call;
use super::memory::step;
use super::result::Verification;
use super::rounding::{Both, Types, retyped};
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
use crate::kernels::{self, Array, Count, Setting};
use crate::lower::Model;
use crate::ops::gradient::Kernels;
use crate::ops::{AttributeValue, Call};
use crate::quantity::group;
use crate::spec::Spec;
use crate::spec::run::LossScale;

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
/// against what happens; ranges and hazards in other types than the spec's, where these are given.
/// Values are drawn from `seed`. `progress` hears of steps that are done, of how many.
///
/// Autocast's casts are left out: they are the engine's, and the claims are checked in the types of
/// the graph.
pub fn verify(
    spec: &Spec,
    model: Model,
    findings: &[Finding],
    limits: Limits,
    (types, seed): (Types, u64),
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
    if facts.policy().autocast.is_some() {
        result.notes.push(
            "Values are those of the types in the graph; what is kept and what lives is counted with the copies that autocast makes.".to_owned(),
        );
    }
    let graph = &model.graph;
    let ready = Ready::new(&facts, spec, seed);
    let plan = ready.plan(&facts);
    let whole = Whole {
        spec,
        model: &model,
        plan,
        drawn: &ready.drawn,
        seed,
    };
    let steps = &mut Steps {
        tell: progress,
        done: 0,
        total: whole.passes() * graph.node_ids().filter(|&id| plan.runs(id)).count(),
    };
    whole.calls(&mut result, steps);
    in_types(&whole, &mut result, (types, findings), steps);
    // The scaled loss is not run here.
    let mut policy = facts.policy().clone();
    policy.loss_scale.value = LossScale::None;
    let inputs = timeline::Inputs {
        policy: &policy,
        // What a run writes over is not told apart here from what it makes.
        kernels: Kernels::Device,
        rank: None,
        ..facts.timeline()
    };
    whole.memory(&mut result, facts.saved(), inputs, steps);
    whole.directions(&mut result, steps);
    result.tallies.sort_by_key(|(claim, _)| *claim);
    result
}

/// What it takes to run a model in the types of its graph, without autocast.
struct Ready {
    dtypes: NodeDtypes,
    storages: Storages,
    ranges: Ranges,
    drawn: Sources,
}

impl Ready {
    fn new(facts: &Facts, spec: &Spec, seed: u64) -> Ready {
        let (graph, model) = (facts.graph(), facts.model());
        let mut policy = facts.policy().clone();
        policy.autocast = None;
        let dtypes = NodeDtypes::of(graph, &policy);
        let storages = Storages::of(graph, &dtypes);
        let ranges = Ranges::of(spec, model, facts.values(), &dtypes);
        let drawn = sources(graph, &ranges, seed);
        Ready {
            dtypes,
            storages,
            ranges,
            drawn,
        }
    }

    fn plan<'a>(&'a self, facts: &'a Facts) -> Plan<'a> {
        Plan {
            graph: facts.graph(),
            liveness: facts.liveness(),
            dtypes: &self.dtypes,
            storages: &self.storages,
        }
    }
}

/// What is claimed of values in the types in which they are stored: ranges and hazards; and how far
/// other types than the spec's are from float64.
fn in_types(
    whole: &Whole,
    result: &mut Verification,
    (types, findings): (Types, &[Finding]),
    steps: &mut Steps<'_>,
) {
    let (spec, seed) = (whole.spec, whole.seed);
    let model = retyped(whole.model, types);
    let facts = Facts::new(spec, &model);
    let ready = Ready::new(&facts, spec, seed);
    let (plan, ranges) = (ready.plan(&facts), &ready.ranges);
    let typed = Whole {
        model: &model,
        plan,
        drawn: &ready.drawn,
        ..*whole
    };
    let setting = types.setting(seed);
    typed.ranges(result, ranges, setting, steps);
    for (place, verdict) in hazards(spec, &model, plan, ranges, findings, setting) {
        result.add(&place, verdict);
    }
    if types.is_given() {
        let both = Both {
            stated: whole.plan,
            other: plan,
            types,
            drawn: whole.drawn,
            seed,
            place: &|id| match whole.plan.graph.layer_path(whole.plan.graph.node(id).layer) {
                path if path.is_empty() => whole.place(id),
                path => path,
            },
        };
        result.rounding = Some(both.compare());
    }
}

/// The calls of a run whose indices lie outside of what they choose among.
fn outside(spec: &Spec, model: &Model, seed: u64) -> Vec<NodeId> {
    let facts = Facts::new(spec, model);
    let ready = Ready::new(&facts, spec, seed);
    let (plan, drawn) = (ready.plan(&facts), &ready.drawn);
    let pass = plan.forward(drawn, Setting::exact(seed), &mut |_| {});
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
pub(super) struct Steps<'a> {
    tell: &'a mut dyn FnMut(usize, usize),
    done: usize,
    total: usize,
}

impl Steps<'_> {
    pub(super) fn step(&mut self) {
        self.done = (self.done + 1).min(self.total);
        (self.tell)(self.done, self.total);
    }
}

/// A model that is run, and what it is run on.
pub(super) struct Whole<'a> {
    pub(super) spec: &'a Spec,
    pub(super) model: &'a Model,
    pub(super) plan: Plan<'a>,
    pub(super) drawn: &'a Sources,
    pub(super) seed: u64,
}

/// What the kernels did in a pass, as they counted it.
pub(super) fn counted(pass: &str, count: Count) -> String {
    format!(
        "Counted {pass}: {} multiply-adds of products, {} other multiplications, {} additions, {} comparisons and functions of an element; {} bytes read and written by the steps of the kernels.",
        group(count.products),
        group(count.multiplications),
        group(count.additions),
        group(count.functions),
        group(count.bytes),
    )
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

    pub(super) fn stopped(&self, stopped: &Stopped) -> String {
        let op = self.plan.graph.node(stopped.node).op.name;
        format!("no gradient passes `{op}`: {}", stopped.message)
    }

    /// The claims of each distinct call, on the operands that it has in a run.
    fn calls(&self, result: &mut Verification, steps: &mut Steps<'_>) {
        let mut seen: FxHashMap<String, ()> = FxHashMap::default();
        let mut verdicts = Vec::new();
        let mut calls = 0;
        let mut members: BTreeMap<(&str, &str), (usize, BTreeSet<SmolStr>)> = BTreeMap::new();
        let mut watch = |one: &Seen| {
            calls += 1;
            steps.step();
            let op = one.call.op.name;
            if let Some(member) = kernels::find(op).and_then(|kernel| kernel.member) {
                let (times, targets) = members.entry((op, member)).or_default();
                *times += 1;
                targets.extend(one.call.text("target"));
            }
            if seen.insert(signature(one.call), ()).is_none() {
                for verdict in verify_call(one.call, one.operands, self.seed) {
                    verdicts.push((one.node, verdict));
                }
            }
        };
        let pass = self
            .plan
            .forward(self.drawn, Setting::exact(self.seed), &mut watch);
        result.notes.push(counted("forward", pass.count));
        for (node, verdict) in verdicts {
            result.add(&self.place(node), verdict);
        }
        for ((op, member), (times, targets)) in members {
            let targets: Vec<SmolStr> = targets.into_iter().collect();
            let names = match targets.as_slice() {
                [] => String::new(),
                targets => format!(" ({})", targets.join(", ")),
            };
            result.notes.push(format!(
                "`{op}` stands for functions that are not told apart{names}. Run here as {member} ({times} {}), to which the claims of the class are held; values that follow from it are not the model's.",
                if times == 1 { "call" } else { "calls" },
            ));
        }
        result.calls = calls;
        result.distinct = seen.len();
    }

    /// The ranges of all tensors, in the types in which they are stated.
    fn ranges(
        &self,
        result: &mut Verification,
        ranges: &Ranges,
        setting: Setting,
        steps: &mut Steps<'_>,
    ) {
        let graph = self.plan.graph;
        let mut verdicts = Vec::new();
        // A range without an end is taken not to overflow (`facts::ranges`); where it does, what
        // follows from it has no range either.
        let mut overflowed: FxHashSet<TensorId> = FxHashSet::default();
        let mut watch = |one: &Seen| {
            steps.step();
            let node = graph.node(one.node);
            let behind = node.arguments.iter().any(|id| overflowed.contains(id));
            for (output, array) in node.outputs().zip(one.outputs) {
                let claimed = ranges.known(output).interval();
                let found = super::call::observed(array);
                if array.is_empty() {
                    continue;
                }
                let inside = super::call::holds(claimed, array, 0.0);
                let assumed = found.non_finite && (behind || !claimed.is_bounded());
                let outcome = match (inside, assumed) {
                    (true, _) => Outcome::Confirmed,
                    (false, true) => {
                        overflowed.insert(output);
                        Outcome::Unchecked(
                            "a range without an end is taken not to overflow, and it does"
                                .to_owned(),
                        )
                    }
                    (false, false) => Outcome::Contradicted {
                        claimed: claimed.to_string(),
                        found: match found.non_finite {
                            true => format!("{found}, and infinities or NaN"),
                            false => found.to_string(),
                        },
                    },
                };
                verdicts.push((one.node, outcome));
            }
        };
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
        if !graph.regions.is_empty() {
            return refuse(result, "loops and branches are run once here");
        }
        let plan = Plan {
            dtypes: inputs.dtypes,
            storages: inputs.storages,
            ..self.plan
        };
        let ran = (plan, self.drawn, self.seed);
        let watch = &mut || steps.step();
        for (claim, agreed, outcome) in step((saved, inputs), ran, watch, |id| self.place(id)) {
            self.tally(result, claim, agreed, outcome);
        }
    }

    fn tally(&self, result: &mut Verification, claim: Claim, agreed: usize, outcome: Outcome) {
        for _ in 0..agreed {
            result.say("", claim, Outcome::Confirmed);
        }
        if outcome != Outcome::Confirmed {
            result.say("", claim, outcome);
        }
    }

    /// How often the graph is walked, if all goes well: for the calls and for the ranges, and in
    /// training both ways for what lives when and for the gradients, and twice for each direction.
    fn passes(&self) -> usize {
        match self.plan.graph.training {
            true => 6 + 2 * self.groups().len(),
            false => 2,
        }
    }
}
