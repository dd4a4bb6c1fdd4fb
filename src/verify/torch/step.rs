//! A training step as a whole: what PyTorch is to run, and what its peak says of ours.

use serde::Serialize;

use super::Answer;
use crate::facts::Facts;
use crate::facts::memory::MemoryKind;
use crate::facts::timeline::{Inputs, Peak, Update};
use crate::lower::Model;
use crate::ops::gradient::Kernels;
use crate::quantity::Bytes;
use crate::spec::Spec;
use crate::spec::run::{Optimizer, OptimizerKind, Precision};
use crate::verify::experiment::short;
use crate::verify::model::Limits;
use crate::verify::scale::{Scaled, Size, along_dims};
use crate::verify::{Claim, Outcome, Verification};

/// How far a peak may be from the tracker's, which never adds up gradients in place, as a share.
const TRACKED: f64 = 0.01;

/// Below this many bytes, what the tracker's own kernels make for a moment decides.
const SMALLEST: u64 = 1 << 20;

/// How far it may be from what a device's allocator hands out, in blocks and with workspaces.
const ALLOCATED: f64 = 0.03;

/// An optimizer of `torch.optim`, with its arguments.
#[derive(Debug, Serialize)]
pub(super) struct Chosen {
    name: &'static str,
    arguments: serde_json::Map<String, serde_json::Value>,
}

/// The class of `torch.optim`; `None` where it has none.
fn class(kind: OptimizerKind) -> Option<&'static str> {
    Some(match kind {
        OptimizerKind::Sgd => "SGD",
        OptimizerKind::Adam => "Adam",
        OptimizerKind::AdamW => "AdamW",
        OptimizerKind::Adamax => "Adamax",
        OptimizerKind::NAdam => "NAdam",
        OptimizerKind::RAdam => "RAdam",
        OptimizerKind::Adagrad => "Adagrad",
        OptimizerKind::Adadelta => "Adadelta",
        OptimizerKind::RmsProp => "RMSprop",
        OptimizerKind::Rprop => "Rprop",
        OptimizerKind::Asgd => "ASGD",
        OptimizerKind::Adafactor => "Adafactor",
        _ => return None,
    })
}

/// The optimizer of a spec as PyTorch is to make it; `None` where none is named.
///
/// # Errors
/// Where `torch.optim` has none of that name.
pub(super) fn optimizer(of: &Optimizer) -> Result<Option<Chosen>, String> {
    let Some(kind) = of.name.get() else {
        return Ok(None);
    };
    let name = class(kind).ok_or_else(|| format!("`torch.optim` has no `{}`", kind.name()))?;
    let mut arguments = serde_json::Map::new();
    let numbers = [
        ("lr", of.lr.get()),
        (
            "eps",
            of.eps.get().filter(|_| kind != OptimizerKind::Adafactor),
        ),
        ("weight_decay", of.weight_decay.get()),
        ("momentum", of.momentum.get()),
        ("alpha", of.alpha.get()),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            arguments.insert(name.to_owned(), value.into());
        }
    }
    let switches = [
        ("nesterov", of.nesterov.get()),
        ("centered", of.centered.get()),
        ("amsgrad", of.amsgrad.get()),
        ("fused", of.fused.get().filter(|fused| *fused)),
    ];
    for (name, value) in switches {
        if let Some(value) = value {
            arguments.insert(name.to_owned(), value.into());
        }
    }
    if let Some(betas) = of.betas.value.as_ref() {
        arguments.insert("betas".to_owned(), betas.clone().into());
    }
    // What PyTorch takes by default depends on the device; a GPU is meant.
    if !of.fused.or(false) && kind != OptimizerKind::Adafactor {
        arguments.insert("foreach".to_owned(), Update::of(of).listwise.into());
    }
    Ok(Some(Chosen { name, arguments }))
}

/// What is run with values.
pub struct Run {
    /// On a CUDA device, at full size, or on the CPU.
    pub cuda: bool,
    /// An experiment that needs no model.
    pub trial: Option<super::Trial>,
    /// The model made small enough for a CPU, if it is to run there.
    small: Option<(Model, Vec<Scaled>)>,
}

impl Run {
    /// A step of the model on a CUDA device, or of one made smaller on the CPU.
    pub fn of(spec: &Spec, model: &Model, cuda: bool) -> Run {
        let small = match cuda {
            true => None,
            false => small(spec, model),
        };
        Run {
            cuda,
            trial: None,
            small,
        }
    }

    /// The request, where anything can be run; `export` writes a model as a PyTorch module.
    pub(super) fn asked(
        &self,
        model: &Model,
        export: &dyn Fn(&Model) -> String,
    ) -> Option<AskedStep> {
        let source = match (&self.small, self.cuda) {
            (_, true) => export(model),
            (Some((small, _)), false) => export(small),
            (None, false) => return None,
        };
        let device = if self.cuda { "cuda" } else { "cpu" };
        Some(AskedStep { device, source })
    }
}

/// The model made small along its dims; `None` where it does not come to what a CPU runs.
pub(super) fn small(spec: &Spec, model: &Model) -> Option<(Model, Vec<Scaled>)> {
    let own = model.resized(spec, &[], &mut crate::diag::Sink::new());
    let (small, dims, size) = along_dims(spec, own, Limits::SMALL.wanted);
    let Size { flops, elements } = Limits::SMALL.most;
    (size.flops <= flops && size.elements <= elements).then_some((small, dims))
}

/// The dims of a smaller model, as they are told.
pub(super) fn told(dims: &[Scaled]) -> String {
    let dims: Vec<String> = dims
        .iter()
        .map(|dim| format!("{} {} → {}", dim.dim, dim.from, dim.to))
        .collect();
    match dims.is_empty() {
        true => String::new(),
        false => format!(", made smaller ({})", dims.join(", ")),
    }
}

#[derive(Serialize)]
pub(super) struct AskedStep {
    device: &'static str,
    source: String,
}

/// Confirmed where a peak is that of PyTorch, within a share.
fn near(claimed: u64, found: u64, share: f64) -> Outcome {
    let apart = claimed as f64 / found.max(1) as f64 - 1.0;
    match apart.abs() <= share {
        true => Outcome::Confirmed,
        false => Outcome::Contradicted {
            claimed: format!("{} ({claimed} bytes)", Bytes(claimed)),
            found: format!(
                "{} ({found} bytes), {:+.2} % away",
                Bytes(found),
                100.0 * apart
            ),
        },
    }
}

/// The peak by the steps that a tracker sees, without autocast and whatever else it is not shown:
/// averages of weights, and several micro-batches.
fn plain_peak(facts: &Facts<'_>) -> u64 {
    let mut spec = facts.spec.clone();
    let policy = facts.policy();
    if policy.autocast.is_some() || policy.master.value.is_some() {
        spec.run.train.precision = Precision::default();
    }
    spec.run.train.grad_accumulation = Default::default();
    spec.run.train.ema_decay = Default::default();
    let facts = Facts::new(&spec, facts.model);
    let peak = Peak::of(Inputs {
        kernels: Kernels::Traced,
        rank: None,
        ..facts.timeline()
    });
    peak.bytes.0 - peak.part(MemoryKind::Average).0
}

/// What an answer about a step says.
pub(super) fn hold(result: &mut Verification, facts: &Facts<'_>, run: &Run, answer: &Answer) {
    if let Some(found) = answer.peak {
        let outcome = match facts.cost().unknown {
            0 if found < SMALLEST => Outcome::Unchecked(format!(
                "of {}, what PyTorch makes for a moment without a device is a part that counts",
                Bytes(found)
            )),
            0 => near(plain_peak(facts), found, TRACKED),
            calls => Outcome::Unchecked(format!("{calls} calls have no known type or cost")),
        };
        result.say("", Claim::Peak, outcome);
        if facts.policy().autocast.is_some() {
            result.notes.push(
                "The peak was held without autocast, which runs on a device only.".to_owned(),
            );
        }
    }
    if let (Some("step"), Some(why)) = (answer.claim.as_deref(), &answer.unchecked) {
        result.notes.push(format!("No step could be timed: {why}"));
    }
    let (Some(seconds), Some(device)) = (answer.seconds, &answer.device) else {
        return;
    };
    if let Some(found) = answer.allocated {
        let peak = Peak::of(Inputs {
            kernels: Kernels::Device,
            rank: None,
            ..facts.timeline()
        });
        let claimed = peak.bytes.0 - peak.part(MemoryKind::Average).0;
        result.say("", Claim::Peak, near(claimed, found, ALLOCATED));
    }
    let dims = run.small.as_ref().map_or(&[][..], |(_, dims)| dims);
    let model = match facts.graph().training {
        true => "A step of the model",
        false => "A forward pass of the model",
    };
    let milliseconds = short(1e3 * seconds);
    result.notes.push(format!(
        "{model}{} took {milliseconds} ms on {device}, the least of three; nothing is claimed of \
         that.",
        told(dims)
    ));
}
