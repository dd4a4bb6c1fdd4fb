//! What a device sends to others, and to the host and back, over an optimizer step.
//!
//! Rings are assumed, in which each of N ranks sends (N − 1)/N of what is gathered or scattered, and
//! twice that of what is reduced for all. Left out: a pipeline's activations, which are few, and
//! experts, whose tokens follow the routing.

use super::Facts;
use super::memory::Split;
use crate::graph::Graph;
use crate::quantity::Bytes;
use crate::spec::run::Offload;

/// What a device sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// To other devices.
    pub devices: Bytes,
    /// To the host and from it.
    pub host: Bytes,
}

impl Traffic {
    /// Of an optimizer step of the plan. `O(nodes + parameters)`.
    pub fn of(facts: &Facts<'_>) -> Traffic {
        let (graph, run, policy) = (facts.graph(), facts.run(), facts.policy());
        if !graph.training {
            return Traffic::default();
        }
        let degrees = facts.memory().degrees;
        let passes = degrees.micro_batches as f64;
        let (mut parameters, mut gradients) = (0.0, 0.0);
        for parameter in graph
            .parameters
            .iter()
            .filter(|parameter| !parameter.buffer)
        {
            let ty = graph.ty(parameter.tensor);
            parameters += ty.bytes() as f64;
            if parameter.trainable {
                gradients += policy.reduce.value.bytes_for(ty.shape.elements()) as f64;
            }
        }
        let ways = (degrees.tensor * degrees.pipeline) as f64;
        let (parameters, gradients) = (parameters / ways, gradients / ways);
        let part = |ranks: u64| (ranks - 1) as f64 / ranks as f64;
        let mut sent = 0.0;
        // Gathered forwards, and backwards where they were freed; gradients scattered each time.
        let gathered =
            |again: bool| (if again { 2.0 } else { 1.0 } * parameters + gradients) * passes;
        let reshard = run.parallel.reshard_after_forward.or(true);
        match (degrees.fsdp, degrees.zero) {
            (1, 0) => sent += 2.0 * part(degrees.data) * gradients,
            (1, 1) => sent += part(degrees.data) * (gradients + parameters),
            (1, 2) => sent += part(degrees.data) * (gradients * passes + parameters),
            (1, _) => sent += part(degrees.data) * gathered(true),
            (shards, _) => {
                sent += part(shards) * gathered(reshard);
                let shard = gradients / shards as f64;
                sent += 2.0 * part(degrees.data) * shard * passes;
            }
        }
        sent += 2.0 * part(degrees.tensor) * split_products(graph, degrees.tensor) * passes
            / degrees.context as f64;
        Traffic {
            devices: Bytes(sent as u64),
            host: Bytes(to_host(facts, parameters, gradients) as u64),
        }
    }
}

/// Bytes of what products of split matrices reduce, forwards and backwards: whole outputs of those
/// split by rows, gradients of whole inputs of those split by columns.
fn split_products(graph: &Graph, degree: u64) -> f64 {
    if degree <= 1 {
        return 0.0;
    }
    let split = Split::of(graph, degree);
    let products = graph.nodes().filter(|(_, node)| node.op.name == "linear");
    products
        .map(
            |(_, node)| match (split.tensor(node.first_output), node.arguments.first()) {
                (true, Some(&input)) if input.is_present() => graph.ty(input).bytes() as f64,
                (true, _) => 0.0,
                (false, _) => graph.ty(node.first_output).bytes() as f64,
            },
        )
        .sum()
}

/// Bytes that cross the bus to the host and back.
fn to_host(facts: &Facts<'_>, parameters: f64, gradients: f64) -> f64 {
    let (train, degrees) = (&facts.run().train, facts.memory().degrees);
    let passes = degrees.micro_batches as f64;
    let mut bytes = 0.0;
    if train.offloads(Offload::Optimizer) {
        bytes += (gradients + parameters) / degrees.shards(1) as f64;
    }
    if train.offloads(Offload::Parameters) {
        bytes += 2.0 * passes * parameters / degrees.shards(3) as f64;
    }
    if train.offloads(Offload::Activations) {
        bytes += 2.0 * passes * facts.saved().total() as f64
            / (degrees.tensor * degrees.context * degrees.pipeline) as f64;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;

    /// 4,096 parameters of four bytes.
    fn of(parallel: &str, train: &str) -> (u64, u64) {
        let text = format!(
            "spec = 1\n[inputs]\nx = [8, 64]\n[[layers]]\nop = \"linear\"\nout_features = 64\n\
             bias = false\n[train]\noptimizer = \"adam\"\n{train}\n[cluster]\ndevices_per_node = 4\n\
             [parallel]\n{parallel}\n"
        );
        let (spec, model) = lowered(&text);
        let traffic = Traffic::of(&Facts::new(&spec, &model));
        (traffic.devices.0, traffic.host.0)
    }

    /// Guards the volumes of the ZeRO paper: stages 1 and 2 send what replicas send, stage 3 half as
    /// much again.
    #[test]
    fn plans_send_what_their_papers_say() {
        let whole = 4 * 4096;
        let replicas = 2 * whole * 3 / 4;
        assert_eq!(of("data = 4", "").0, replicas);
        assert_eq!(of("data = 4\nzero = 1", "").0, replicas);
        assert_eq!(of("data = 4\nzero = 2", "").0, replicas);
        assert_eq!(of("data = 4\nzero = 3", "").0, replicas * 3 / 2);
        assert_eq!(of("fsdp = 4", "").0, replicas * 3 / 2);
        assert_eq!(
            of("fsdp = 4\nreshard_after_forward = false", "").0,
            replicas
        );
        // Stages that reduce in each micro-batch do so each time.
        assert_eq!(of("data = 4", "grad_accumulation = 2").0, replicas);
        assert_eq!(of("fsdp = 4", "grad_accumulation = 2").0, replicas * 3);
    }

    /// Guards the bus: gradients go to the host and parameters come back.
    #[test]
    fn what_is_offloaded_crosses_the_bus() {
        assert_eq!(of("data = 4", "").1, 0);
        assert_eq!(of("data = 4", "offload = [\"optimizer\"]").1, 2 * 4 * 4096);
        assert_eq!(
            of("fsdp = 4", "offload = [\"optimizer\", \"parameters\"]").1,
            4 * 4096
        );
    }
}
