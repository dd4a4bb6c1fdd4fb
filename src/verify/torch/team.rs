//! Several processes that share a batch: what they are asked, and what their answers say of
//! synchronised BatchNorm, of gradients and of the learning rate.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::step::{small, told};
use super::{Answer, short};
use crate::diag::Sink;
use crate::facts::Facts;
use crate::lower::Model;
use crate::spec::Spec;
use crate::verify::experiment::Experiment;
use crate::verify::experiment::batch_norm::{Batch, EPS, Normalised, Way, conclude};
use crate::verify::scale::{Scaled, free_dims};
use crate::verify::{Claim, Outcome, Verification};

/// The program of one process, in Python.
const PROGRAM: &str = include_str!("ranks.py");

/// What rounding in float64 may add, as a share; a wrong factor is far above it.
const TOLERANCE: f64 = 1e-6;

/// The learning rate of a spec that names none.
const RATE: f64 = 0.1;

/// The ways to combine statistics that PyTorch is asked of. What sums in float32 lose depends on
/// their order, so no digits of it can be predicted.
pub(super) const WAYS: [Way; 5] = [
    Way::Own,
    Way::Merged,
    Way::ForwardOnly,
    Way::BySize,
    Way::Plain,
];

/// The claims that only several processes can check.
const CLAIMS: [Claim; 5] = [
    Claim::Averaging,
    Claim::Reduction,
    Claim::LearningRate,
    Claim::Statistics,
    Claim::Synchronised,
];

/// A model that replicas run, each with a share of the batch, and the same with the whole batch.
pub struct Replicas {
    /// One replica's.
    pub share: Model,
    /// The model that has the batches of all.
    pub whole: Model,
    /// One replica's with half as many samples again, and with that many less, where the model
    /// comes out so.
    uneven: [Option<Model>; 2],
    /// The dims that were made smaller.
    pub scaled: Vec<Scaled>,
    /// Samples of one replica.
    pub(super) batch: u64,
}

impl Replicas {
    /// The model made small enough to be run, and the same with `processes` times its batch.
    ///
    /// # Errors
    /// Where several replicas cannot be held to one: what is drawn at random differs, nothing is
    /// trained, or no dim is the batch.
    pub fn of(spec: &Spec, model: &Model, processes: u64) -> Result<Replicas, String> {
        if !model.graph.training {
            return Err("nothing is trained".to_owned());
        }
        // Dropout is left out when it is run.
        let drawn = model.graph.nodes().find(|(_, node)| {
            node.op.random && !node.op.name.contains("dropout") && node.op.name != "opaque"
        });
        if let Some((_, node)) = drawn {
            return Err(format!(
                "`{}` draws numbers that one process draws otherwise",
                node.op.name
            ));
        }
        let Some((share, scaled)) = small(spec, model) else {
            return Err("it cannot be made small enough along its dims".to_owned());
        };
        let smaller: Vec<(SmolStr, i64)> =
            scaled.iter().map(|dim| (dim.dim.clone(), dim.to)).collect();
        for (dim, size) in free_dims(spec, &share) {
            let Some(all) = size.checked_mul(processes as i64) else {
                continue;
            };
            let resized = |size: i64| {
                let mut overrides = smaller.clone();
                overrides.retain(|(name, _)| *name != dim);
                overrides.push((dim.clone(), size));
                let mut sink = Sink::new();
                let model = share.resized(spec, &overrides, &mut sink);
                (!sink.has_errors()).then_some(model)
            };
            if let Some(whole) = resized(all)
                && let Some(batch) = shared(&share, &whole, processes)
            {
                let moved = (batch / 2) as i64;
                let uneven = [moved, -moved].map(|more| {
                    let samples = size.checked_mul(batch as i64 + more)?;
                    let exact = samples % batch as i64 == 0;
                    exact.then(|| resized(samples / batch as i64)).flatten()
                });
                return Ok(Replicas {
                    uneven,
                    share,
                    whole,
                    scaled,
                    batch,
                });
            }
        }
        Err("no dim is the first axis of every input, and nothing else".to_owned())
    }
}

/// The samples of one replica, if the whole differs in its batch alone.
fn shared(share: &Model, whole: &Model, processes: u64) -> Option<u64> {
    let (one, all) = (&share.graph, &whole.graph);
    let same = one.parameters.len() == all.parameters.len()
        && one.inputs.len() == all.inputs.len()
        && one.dag.node_count() == all.dag.node_count();
    let parameters = one.parameters.iter().zip(&all.parameters);
    if !same || !{ parameters }.all(|(a, b)| one.ty(a.tensor) == all.ty(b.tensor)) {
        return None;
    }
    let mut batch = None;
    for (&(_, a), &(_, b)) in one.inputs.iter().zip(&all.inputs) {
        let (a, b) = (one.ty(a).shape.sizes(), all.ty(b).shape.sizes());
        let (&first, rest) = a.split_first()?;
        let (&many, others) = b.split_first()?;
        if first * processes != many || rest != others || batch.is_some_and(|n| n != first) {
            return None;
        }
        batch = Some(first);
    }
    batch
}

/// What the processes are asked.
#[derive(Serialize)]
pub(super) struct Team<'a> {
    nproc: u64,
    device: &'static str,
    seconds: u64,
    program: &'static str,
    shards: Option<AskedShards<'a>>,
    replicas: Option<AskedReplicas>,
}

#[derive(Serialize)]
struct AskedShards<'a> {
    x: &'a [f64],
    w: &'a [f64],
    dealt: &'a [(&'static str, Vec<usize>)],
    ways: [&'static str; 5],
    eps: f64,
}

#[derive(Serialize)]
struct AskedReplicas {
    source: String,
    whole: String,
    uneven: [Option<String>; 2],
    batch: u64,
    norms: bool,
    /// Whether the loss adds up what it says of samples.
    sums: bool,
    seed: u64,
    lr: f64,
}

/// What a run of several processes is about.
pub struct Plan {
    /// How many.
    pub processes: u64,
    /// Whether they have a CUDA device each.
    pub cuda: bool,
    /// How long they may take.
    pub seconds: u64,
    /// What their random values begin with.
    pub seed: u64,
    /// The batch that the experiment deals to them.
    pub batch: Option<Batch>,
    /// The model, or why it is not run.
    pub replicas: Result<Replicas, String>,
}

impl Plan {
    /// The request; `export` writes a model as a PyTorch module.
    pub(super) fn team(&self, spec: &Spec, export: &dyn Fn(&Model) -> String) -> Team<'_> {
        Team {
            nproc: self.processes,
            device: if self.cuda { "cuda" } else { "cpu" },
            seconds: self.seconds,
            program: PROGRAM,
            shards: self.batch.as_ref().map(|batch| AskedShards {
                x: &batch.x,
                w: &batch.w,
                dealt: &batch.dealt,
                ways: WAYS.map(Way::name),
                eps: EPS,
            }),
            replicas: self.replicas.as_ref().ok().map(|replicas| AskedReplicas {
                source: export(&replicas.share),
                whole: export(&replicas.whole),
                uneven: [0, 1].map(|at| replicas.uneven[at].as_ref().map(export)),
                batch: replicas.batch,
                norms: !Facts::new(spec, &replicas.share).batch().norms.is_empty(),
                sums: sums(&replicas.share),
                seed: self.seed,
                lr: spec.run.train.optimizer.lr.or(RATE),
            }),
        }
    }
}

/// Whether a loss of the model adds up over samples.
fn sums(model: &Model) -> bool {
    let graph = &model.graph;
    graph.nodes().any(|(_, node)| {
        node.op.attribute_position("reduction").is_some()
            && graph
                .with_call(node, |call| call.text("reduction"))
                .as_deref()
                == Some("sum")
    })
}

/// What the processes found, one kind of answer a line; differences are shares of the largest
/// value.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    dealt: Option<String>,
    way: Option<String>,
    found: Option<Normalised>,
    difference: Option<f64>,
    ratio: Option<f64>,
    merged: Option<f64>,
    own: Option<f64>,
    plain: Option<f64>,
    weighed: Option<f64>,
    norms: u64,
    sizes: Vec<u64>,
}

/// Confirmed where a difference is but rounding.
fn equal(what: &str, difference: f64) -> Outcome {
    match difference < TOLERANCE {
        true => Outcome::Confirmed,
        false => Outcome::Contradicted {
            claimed: format!("{what}: the same"),
            found: format!("they differ by {} of the largest value", short(difference)),
        },
    }
}

/// Confirmed where a difference is more than rounding.
fn different(what: &str, difference: f64) -> Outcome {
    match difference > TOLERANCE {
        true => Outcome::Confirmed,
        false => Outcome::Contradicted {
            claimed: format!("{what}: different"),
            found: format!("they differ by {} of the largest value", short(difference)),
        },
    }
}

/// Confirmed where gradients are a multiple of others.
fn times(what: &str, expected: f64, ratio: f64, difference: f64) -> Outcome {
    match ((ratio / expected) - 1.0).abs() < TOLERANCE && difference < TOLERANCE {
        true => Outcome::Confirmed,
        false => Outcome::Contradicted {
            claimed: format!("{what}: {} of the gradient", short(expected)),
            found: format!("{} of it", short(ratio)),
        },
    }
}

/// Holds the plan's claims to all answers of the processes, and the experiment's table.
///
/// # Errors
/// Where an answer of the experiment is missing.
pub(super) fn held(
    result: &mut Verification,
    spec: &Spec,
    plan: &Plan,
    answers: &[Answer],
) -> Result<Option<Experiment>, String> {
    let mut unchecked = Vec::new();
    for answer in answers {
        let Some(name) = answer.claim.as_deref() else {
            continue;
        };
        match &answer.unchecked {
            Some(why) => unchecked.push((name, why.as_str())),
            None => hold(result, plan, name, &answer.team),
        }
    }
    conclude_claims(result, spec, plan, &unchecked);
    let Some(batch) = &plan.batch else {
        return Ok(None);
    };
    experiment(batch, plan, answers)
        .map(Some)
        .map_err(|missing| {
            let told = unchecked
                .iter()
                .find(|(name, _)| ["shards", "team"].contains(name));
            told.map_or(missing, |(_, why)| (*why).to_owned())
        })
}

/// One answer of the processes.
fn hold(result: &mut Verification, plan: &Plan, name: &str, found: &Found) {
    let count = plan.processes as f64;
    if let Some(difference) = found.difference {
        let mut say = |claim, outcome| result.say("", claim, outcome);
        match name {
            "averaged" => {
                let what = "gradients of replicas and the mean of their shares'";
                say(Claim::Averaging, equal(what, difference));
            }
            "whole" if found.norms == 0 => {
                let what = "gradients of replicas and of one batch";
                say(Claim::Averaging, equal(what, difference));
            }
            "whole" => {
                let what = "gradients with joint statistics and of one batch";
                say(Claim::Synchronised, equal(what, difference));
            }
            "own" => {
                let what = "gradients with own statistics and of one batch";
                say(Claim::Statistics, different(what, difference));
                result.notes.push(format!(
                    "With BatchNorm over each replica's own share, gradients differ from those of \
                     one batch by {} of the largest.",
                    short(difference)
                ));
            }
            "step" => {
                let what = "a step of SGD over equal shares and over one batch";
                say(Claim::LearningRate, equal(what, difference));
            }
            _ => {}
        }
    }
    if let (Some(ratio), Some(difference)) = (found.ratio, found.difference) {
        let outcome = match name {
            "sum" => {
                let what = "a summed loss, averaged over replicas";
                times(what, 1.0 / count, ratio, difference)
            }
            _ => {
                let what = "a mean loss, added up over replicas";
                times(what, count, ratio, difference)
            }
        };
        result.say("", Claim::Reduction, outcome);
    }
    if let (Some(merged), Some(own)) = (found.merged, found.own) {
        let what = "the mean of variances plus the variance of means, and the batch's variance";
        result.say("", Claim::Statistics, equal(what, merged));
        result.notes.push(format!(
            "The variance that a replica's first BatchNorm finds differs from the batch's by up \
             to {} of the largest.",
            short(own)
        ));
    }
    if let (Some(plain), Some(weighed)) = (found.plain, found.weighed) {
        let what = "a plain average over unequal shares and one batch";
        result.say("", Claim::LearningRate, different(what, plain));
        let what = "unequal shares weighed by their sizes and one batch";
        result.say("", Claim::LearningRate, equal(what, weighed));
        let sizes: Vec<String> = found.sizes.iter().map(u64::to_string).collect();
        result.notes.push(format!(
            "Over shares of {} samples, gradients averaged plainly differ from those of one batch \
             by {} of the largest; weighed by size they do not.",
            sizes.join(", "),
            short(plain)
        ));
    }
}

/// What is left to say: of what the processes did not speak, and how they were run.
fn conclude_claims(
    result: &mut Verification,
    spec: &Spec,
    plan: &Plan,
    unchecked: &[(&str, &str)],
) {
    let why_not = |names: &[&str]| {
        let told = unchecked.iter().find(|(name, _)| names.contains(name));
        told.map(|(_, why)| (*why).to_owned())
    };
    let norms = plan
        .replicas
        .as_ref()
        .is_ok_and(|replicas| !Facts::new(spec, &replicas.share).batch().norms.is_empty());
    for claim in CLAIMS {
        let said = result.tallies.iter().any(|(other, _)| *other == claim);
        let of_norms = matches!(claim, Claim::Statistics | Claim::Synchronised);
        if said || (of_norms && !norms) {
            continue;
        }
        let why = match &plan.replicas {
            Err(why) => why.clone(),
            Ok(_) => why_not(&["replicas", "team"])
                .unwrap_or_else(|| "the processes said nothing of it".to_owned()),
        };
        result.say("", claim, Outcome::Unchecked(why));
    }
    if let Some(why) = why_not(&["unequal"]) {
        result.say("", Claim::LearningRate, Outcome::Unchecked(why));
    }
    let Ok(replicas) = &plan.replicas else { return };
    let smaller = told(&replicas.scaled);
    let (device, backend) = match plan.cuda {
        true => ("a CUDA device each", "NCCL"),
        false => ("the CPU", "gloo"),
    };
    result.notes.push(format!(
        "{} processes on {device}, over {backend}, ran the model{smaller} in float64, without \
         dropout, with {} samples each.",
        plan.processes, replicas.batch
    ));
    if norms && !plan.cuda {
        result.notes.push(
            "`nn.SyncBatchNorm` refuses to run on a CPU: statistics were joined by a \
             differentiable all-reduce instead."
                .to_owned(),
        );
    }
}

/// The experiment, as the processes found it.
///
/// # Errors
/// Where an answer is missing.
fn experiment(batch: &Batch, plan: &Plan, answers: &[Answer]) -> Result<Experiment, String> {
    let mut experiment = Experiment::new(
        "How far off is BatchNorm when one batch lies on several processes?",
        &[
            "shards",
            "statistics",
            "mean",
            "variance",
            "outputs",
            "gradients",
            "from prediction",
        ],
    );
    let whole = batch.whole();
    let mut all = Vec::new();
    for (name, ends) in &batch.dealt {
        for way in WAYS {
            let mut answers = answers.iter().map(|answer| &answer.team);
            let answer = answers.find(|answer| {
                answer.dealt.as_deref() == Some(*name) && answer.way.as_deref() == Some(way.name())
            });
            let found = answer
                .and_then(|answer| answer.found.as_ref())
                .ok_or_else(|| format!("nothing was said of {name} shards, {}", way.name()))?;
            let distance = found.distance(&whole);
            let apart = found.distance(&batch.normalised(ends, way)).most();
            let mut row = vec![(*name).to_owned(), way.name().to_owned()];
            row.extend(distance.cells());
            row.push(short(apart));
            experiment.rows.push(row);
            if apart > TOLERANCE {
                experiment.contradictions.push(format!(
                    "{name} shards, {}: what PyTorch finds differs from what is predicted by {}",
                    way.name(),
                    short(apart)
                ));
            }
            all.push((way, distance));
        }
    }
    if experiment.contradictions.is_empty() {
        experiment.conclusions.push(format!(
            "statistics, outputs and gradients of {} processes are those that are predicted",
            plan.processes
        ));
    }
    conclude(&mut experiment, &all);
    Ok(experiment)
}
