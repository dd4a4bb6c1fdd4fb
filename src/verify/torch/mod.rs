//! The claims of a model held against PyTorch: what to ask of it, and what its answers say.
//!
//! Nothing is run here: whoever may start processes hands [`ENGINE`] the request and brings back
//! what it writes.

mod step;
mod team;
#[cfg(test)]
mod tests;
mod trial;

use serde::{Deserialize, Serialize};

pub use step::Run;
pub use team::{Plan, Replicas};
pub use trial::Trial;

use super::experiment::{Experiment, short};
use super::{Claim, Outcome, Verification};
use crate::facts::Facts;
use crate::facts::memory::Saved;
use crate::facts::throughput::recomputed;
use crate::graph::Graph;
use crate::lower::Model;
use crate::ops::gradient::Kernels;
use crate::spec::{Attention, Spec};

/// The program that measures, in Python.
pub const ENGINE: &str = include_str!("engine.py");

/// The version of requests and answers.
const VERSION: u32 = 1;

/// Ops that PyTorch runs by one attention kernel.
const ATTENTION: [&str; 3] = [
    "attention",
    "scaled_dot_product_attention",
    "multi_head_attention",
];

/// Ops that a GPU runs by one kernel over all steps.
const RECURRENT: [&str; 3] = ["rnn", "lstm", "gru"];

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    source: &'a str,
    training: bool,
    attention: &'static str,
    has_attention: bool,
    recurrent: bool,
    /// Whether `torch.utils.checkpoint` recomputes layers.
    recomputed: bool,
    /// The type of `torch.autocast`.
    autocast: Option<&'static str>,
    /// The type that parameters and inputs are converted to.
    cast: Option<&'static str>,
    optimizer: Option<step::Chosen>,
    /// A step that is run with values.
    step: Option<step::AskedStep>,
    /// Several processes that share a batch.
    team: Option<team::Team<'a>>,
    /// An experiment that needs no model.
    experiment: Option<trial::AskedTrial>,
}

/// A line that the engine writes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    version: Option<u32>,
    torch: Option<String>,
    error: Option<String>,
    done: bool,
    claim: Option<String>,
    unchecked: Option<String>,
    parameters: Option<u64>,
    trainable: Option<u64>,
    buffers: Option<u64>,
    outputs: Option<Vec<(Vec<u64>, String)>>,
    flops: Option<u128>,
    bytes: Option<u64>,
    /// Whether formulas were taken apart that a device has a kernel for.
    apart: bool,
    peak: Option<u64>,
    seconds: Option<f64>,
    device: Option<String>,
    allocated: Option<u64>,
    trial: Option<trial::Found>,
    #[serde(flatten)]
    team: team::Found,
}

/// What is asked of the engine, in JSON; `export` writes a model as a PyTorch module.
pub fn request(
    spec: &Spec,
    facts: &Facts<'_>,
    run: &Run,
    plan: Option<&Plan>,
    export: &dyn Fn(&Model) -> String,
) -> String {
    let source = &export(facts.model);
    let policy = facts.policy();
    let calls = |names: &[&str]| facts.index().calls_of(names).next().is_some();
    let params = policy.params.value;
    let request = Request {
        version: VERSION,
        source,
        training: facts.graph().training,
        attention: match spec.model.attention.get() {
            Some(Attention::Math) => "math",
            Some(Attention::Fused) | None => "fused",
        },
        has_attention: calls(&ATTENTION),
        recurrent: calls(&RECURRENT),
        recomputed: !facts.saved().recomputed.is_empty(),
        autocast: policy.autocast.map(|dtype| dtype.name()),
        cast: (params != facts.model.dtype).then(|| params.name()),
        // Where there is none, the answer about the peak is not taken.
        optimizer: step::optimizer(&spec.run.train.optimizer).ok().flatten(),
        step: run.asked(facts.model, export),
        team: plan.map(|plan| plan.team(spec, export)),
        experiment: run.trial.as_ref().map(Trial::asked),
    };
    // Only maps whose keys are no strings fail, and there are none.
    serde_json::to_string(&request).unwrap_or_default()
}

/// Holds what is claimed to what the engine wrote; an experiment, if the plan has one.
///
/// # Errors
/// Where the engine wrote something else than answers, said that it cannot work, or stopped short.
pub fn verification(
    spec: &Spec,
    facts: &Facts<'_>,
    run: &Run,
    plan: Option<&Plan>,
    written: &str,
) -> Result<(Verification, Option<Experiment>), String> {
    let mut answers = Vec::new();
    for (number, line) in written.lines().enumerate() {
        let answer: Answer = serde_json::from_str(line).map_err(|error| {
            let shown: String = line.chars().take(80).collect();
            format!(
                "line {} of the answer is no answer: {error}: {shown:?}",
                number + 1
            )
        })?;
        if let Some(error) = answer.error {
            return Err(error);
        }
        answers.push(answer);
    }
    let first = answers.first().ok_or("nothing was answered")?;
    if first.version != Some(VERSION) {
        return Err(format!("the answer is not of version {VERSION}"));
    }
    if !answers.last().is_some_and(|last| last.done) {
        return Err("the answer stops before its end".to_owned());
    }
    let name = spec.model.name.value.clone().unwrap_or_default();
    let version = first.torch.clone().unwrap_or_default();
    let mut result = Verification {
        name: name.to_string(),
        calls: facts.graph().dag.node_count(),
        notes: vec![format!(
            "Checked by PyTorch {version}, at full size, without weights."
        )],
        ..Verification::default()
    };
    if is_truncated(facts.graph()) {
        answers.iter_mut().for_each(leave_backward);
    }
    for answer in &answers {
        hold(&mut result, facts, answer);
        match (step::optimizer(&spec.run.train.optimizer), answer.peak) {
            (Err(why), Some(_)) => result.say("", Claim::Peak, Outcome::Unchecked(why)),
            _ => step::hold(&mut result, facts, run, answer),
        }
    }
    let mut experiment = None;
    if let Some(plan) = plan {
        experiment = team::held(&mut result, spec, plan, &answers)?;
    }
    if let Some(trial) = &run.trial {
        experiment = trial.held(&mut result, &answers);
    }
    for claim in [Claim::Parameters, Claim::Shape, Claim::Flops] {
        if !result.tallies.iter().any(|(other, _)| *other == claim) {
            let why = "the engine said nothing of it".to_owned();
            result.say("", claim, Outcome::Unchecked(why));
        }
    }
    result.tallies.sort_by_key(|(claim, _)| *claim);
    Ok((result, experiment))
}

/// Whether a recurrent layer's gradient stops before it has gone through all steps.
fn is_truncated(graph: &Graph) -> bool {
    let mut calls = graph
        .nodes()
        .filter(|(_, node)| RECURRENT.contains(&node.op.name));
    calls.any(|(_, node)| graph.with_call(node, |call| call.integer("bptt")) > Some(0))
}

/// Leaves out what an answer says of the backward pass, which is another one than the spec's.
fn leave_backward(answer: &mut Answer) {
    answer.allocated = None;
    if let Some("backward" | "kept" | "peak") = answer.claim.as_deref() {
        *answer = Answer {
            claim: answer.claim.take(),
            unchecked: Some(
                "the module that is written goes back through all steps: a training loop \
                 truncates, by detaching the states"
                    .to_owned(),
            ),
            ..Answer::default()
        };
    }
}

/// Confirmed where both are the same.
fn same<T: PartialEq + std::fmt::Display>(claimed: T, found: T, unit: &str) -> Outcome {
    match claimed == found {
        true => Outcome::Confirmed,
        false => Outcome::Contradicted {
            claimed: format!("{claimed} {unit}"),
            found: format!("{found} {unit}"),
        },
    }
}

/// One answer.
fn hold(result: &mut Verification, facts: &Facts<'_>, answer: &Answer) {
    let Some(name) = answer.claim.as_deref() else {
        return;
    };
    let claims: &[Claim] = match name {
        "parameters" => &[Claim::Parameters],
        "outputs" => &[Claim::Shape],
        "forward" => &[Claim::Flops],
        "backward" => &[Claim::BackwardFlops],
        "kept" => &[Claim::Kept],
        "peak" => &[Claim::Peak],
        // All that is counted at once, when the module does not run; some may have been answered.
        "counts" => &[
            Claim::Parameters,
            Claim::Shape,
            Claim::Flops,
            Claim::BackwardFlops,
        ],
        _ => &[],
    };
    if let Some(why) = &answer.unchecked {
        for claim in claims {
            if !result.tallies.iter().any(|(other, _)| other == claim) {
                result.say("", *claim, Outcome::Unchecked(why.clone()));
            }
        }
        return;
    }
    let cost = facts.cost();
    let unknown = match cost.unknown {
        0 => None,
        calls => Some(format!("{calls} calls have no known type or cost")),
    };
    let mut say = |claim, outcome: Outcome| {
        let outcome = match &unknown {
            Some(why) => Outcome::Unchecked(why.clone()),
            None => outcome,
        };
        result.say("", claim, outcome);
    };
    let counts = [
        (cost.parameters.0, answer.parameters, "parameters"),
        (cost.trainable.0, answer.trainable, "trained parameters"),
        (cost.buffer_bytes.0, answer.buffers, "bytes of buffers"),
    ];
    for (claimed, found, unit) in counts {
        if let Some(found) = found {
            say(Claim::Parameters, same(claimed, found, unit));
        }
    }
    if let Some(found) = &answer.outputs {
        say(Claim::Shape, shapes(facts.graph(), found));
    }
    match (name, answer.flops) {
        ("forward", Some(found)) => say(Claim::Flops, same(cost.forward.0, found, "FLOPs")),
        ("backward", Some(found)) => {
            // What `torch.utils.checkpoint` repeats of the forward pass runs in the backward pass.
            let claimed = cost.backward.0 + recomputed(facts).0;
            say(Claim::BackwardFlops, same(claimed, found, "FLOPs"));
        }
        _ => {}
    }
    if let Some(found) = answer.bytes {
        let claimed = match answer.apart {
            true => taken_apart(facts),
            false => facts.saved().total(),
        };
        say(Claim::Kept, same(claimed, found, "bytes"));
        if answer.apart {
            result.notes.push(
                "Recurrent layers were held with their steps taken apart, as PyTorch runs them \
                 without a device; the reserve of a GPU's fused kernel was not."
                    .to_owned(),
            );
        }
    }
}

/// Bytes that are kept where recurrent layers are taken apart.
fn taken_apart(facts: &Facts<'_>) -> u64 {
    Saved::by(
        Kernels::Traced,
        facts.graph(),
        facts.liveness(),
        facts.dtypes(),
        facts.storages(),
    )
    .total()
}

/// The outputs that are stated, against those that are handed on.
fn shapes(graph: &Graph, found: &[(Vec<u64>, String)]) -> Outcome {
    let claimed: Vec<String> = graph
        .outputs
        .iter()
        .filter(|id| id.is_present())
        .map(|id| graph.ty(*id).to_string())
        .collect();
    let found: Vec<String> = found
        .iter()
        .map(|(sizes, dtype)| {
            let sizes: Vec<String> = sizes.iter().map(u64::to_string).collect();
            format!("{dtype} [{}]", sizes.join(", "))
        })
        .collect();
    same(claimed.join("; "), found.join("; "), "")
}
