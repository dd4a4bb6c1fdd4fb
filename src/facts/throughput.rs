//! The arithmetic of an optimizer step on all devices together, and how fast it is done: utilisation
//! where a time is stated, time where a speed is.
//!
//! Left out: any model of how fast a device is. What is not stated of the run is not guessed.

use super::Facts;
use crate::device::Catalogue;
use crate::graph::NodeId;
use crate::quantity::{Flops, Seconds};
use crate::tensor::Dtype;

/// Where the time of a step comes from, the first that the spec gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// `[train] step_seconds`.
    StepSeconds,
    /// `[cluster] flops_per_device`.
    FlopsPerDevice,
    /// `[cluster] utilization`.
    Utilization,
}

impl Basis {
    /// The key of the spec.
    pub fn key(self) -> &'static str {
        match self {
            Basis::StepSeconds => "train.step_seconds",
            Basis::FlopsPerDevice => "cluster.flops_per_device",
            Basis::Utilization => "cluster.utilization",
        }
    }
}

/// The work of a step, and its speed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// Product FLOPs of the forward and backward passes of all samples of an optimizer step: the
    /// model's own, whatever is recomputed (Chowdhery et al. 2022, appendix B).
    pub model: Flops,
    /// The same and what is computed again for the backward pass (`[train] checkpoint`).
    pub hardware: Flops,
    /// Devices that share the work.
    pub devices: u64,
    /// The element type of the products.
    pub dtype: Dtype,
    /// Product FLOPs that a device can do in a second in that type, dense; `None` for an unknown
    /// device.
    pub peak: Option<f64>,
    /// The time of a step, and where it comes from.
    pub step: Option<(Seconds, Basis)>,
    /// Elements of the first input, over all samples of a step.
    pub tokens: Option<u64>,
    /// Steps of the run.
    pub steps: Option<f64>,
}

impl Throughput {
    /// Works it out. `O(nodes)` beside the costs.
    pub fn of(facts: &Facts<'_>) -> Throughput {
        let (graph, run, batch) = (facts.graph(), facts.run(), facts.batch());
        let cost = facts.cost();
        let passes = u128::from(batch.accumulation) * u128::from(batch.data_ranks);
        let once = cost.forward + cost.backward;
        let (model, hardware) = (once * passes, (once + recomputed(facts)) * passes);
        let cluster = &run.cluster;
        let devices = match cluster.nodes.is_given() || cluster.devices_per_node.is_given() {
            true => cluster.devices(),
            false => run.parallel.product(),
        };
        let policy = facts.policy();
        let dtype = policy.autocast.unwrap_or(policy.compute.value);
        let name = match dtype == Dtype::Float32 && policy.tf32.value {
            true => "tf32",
            false => dtype.name(),
        };
        let device = cluster.device.value.as_ref();
        let device = device.and_then(|name| Catalogue::embedded().find(name).ok());
        let peak = device.and_then(|device| device.peak_flops(name));
        let all = devices.max(1) as f64;
        let seconds = run.train.step_seconds.get().map(|given| Seconds(given.0));
        let by_rate = || {
            let rate = cluster.flops_per_device.get()?.0;
            Some(Seconds::at_rate(hardware.as_f64(), rate * all))
        };
        let by_share = || {
            let rate = cluster.utilization.get()?.0 * peak?;
            Some(Seconds::at_rate(model.as_f64(), rate * all))
        };
        let step = None
            .or_else(|| Some((seconds?, Basis::StepSeconds)))
            .or_else(|| Some((by_rate()?, Basis::FlopsPerDevice)))
            .or_else(|| Some((by_share()?, Basis::Utilization)));
        let first = graph.inputs.first().map(|&(_, id)| id);
        let elements = first
            .filter(|&id| graph.tensor(id).known)
            .map(|id| graph.ty(id).shape.elements());
        let tokens = elements
            .and_then(|elements| elements.checked_mul(u64::try_from(passes).ok()?))
            .filter(|&tokens| tokens > 0);
        let steps = match (run.train.steps.get(), run.train.tokens.get(), tokens) {
            (Some(steps), ..) => Some(steps as f64),
            (None, Some(all), Some(tokens)) => Some(all.0 / tokens as f64),
            _ => None,
        };
        Throughput {
            model,
            hardware,
            devices,
            dtype,
            peak,
            step,
            tokens,
            steps,
        }
    }

    /// What a device does in a second: product FLOPs, recomputation included.
    pub fn rate(&self) -> Option<f64> {
        self.each(self.hardware)
    }

    /// Model FLOPs utilisation: the model's own products of a second, as a share of the peak.
    pub fn model_utilization(&self) -> Option<f64> {
        Some(self.each(self.model)? / self.peak?)
    }

    /// Hardware FLOPs utilisation: the same with what is recomputed.
    pub fn hardware_utilization(&self) -> Option<f64> {
        Some(self.each(self.hardware)? / self.peak?)
    }

    /// The time of the whole run.
    pub fn run(&self) -> Option<Seconds> {
        Some(self.step?.0 * self.steps?)
    }

    fn each(&self, flops: Flops) -> Option<f64> {
        let (seconds, _) = self.step?;
        Some(flops.as_f64() / seconds.get() / self.devices.max(1) as f64)
    }
}

/// Product FLOPs of the layers whose forward pass runs once more in the backward pass of a
/// micro-batch. `O(nodes)`.
pub fn recomputed(facts: &Facts<'_>) -> Flops {
    let (graph, cost) = (facts.graph(), facts.cost());
    facts
        .saved()
        .recomputed
        .iter()
        .flat_map(|layer| graph.layer_nodes(layer.layer))
        .map(|node| Flops(cost.node(NodeId(node)).forward))
        .sum()
}
