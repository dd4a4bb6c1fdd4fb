//! What one rank of a parallel plan holds of a step: its share of each tensor and of each
//! parameter, and how it talks to the ranks that see other samples.
//!
//! A plan that splits nothing and has one rank has no [`Rank`]: its step is the plain one.

use super::collectives::Exchange;
use super::fsdp::Units;
use super::pipeline::Stage;
use super::recorder::Highest;
use super::replicas::Replicas;
use super::step::{Inputs, run};
use super::zero::Zero;
use crate::facts::memory::{Degrees, Experts, Split, Stages};
use crate::facts::precision::Policy;
use crate::graph::{Graph, NodeId, TensorId, TensorKind};
use crate::quantity::Bytes;
use crate::spec::run::Run;
use crate::tensor::{Dtype, Shape};

/// Stages of a pipeline that are looked at from each end.
const MOST_STAGES: u64 = 64;

/// A rank of a plan.
#[derive(Debug, Clone)]
pub struct Rank {
    /// The degrees of the plan.
    pub degrees: Degrees,
    /// The stage of the pipeline.
    pub stage: u64,
    /// Among how many ranks each tensor is divided.
    tensors: Vec<u64>,
    /// Among how many ranks that which a call makes besides its outputs is divided.
    nodes: Vec<u64>,
    /// Which tensors and parameters are split with the matrices.
    pub(super) split: Split,
    /// Which parameters are matrices of experts.
    experts: Experts,
    /// What each call exchanges while it runs.
    pub(super) exchanges: Vec<Exchange>,
    /// What of the model lies on the stage; all of it where there is no pipeline.
    pub(super) pipeline: Option<Stage>,
    /// What is gathered and reduced as one (FSDP2).
    pub(super) units: Option<Units>,
    /// The buckets of gradients (`DistributedDataParallel`).
    pub(super) replicas: Option<Replicas>,
    /// What is partitioned (ZeRO).
    pub(super) zero: Option<Zero>,
}

impl Rank {
    /// A rank of a plan, on that stage of a pipeline; `None` where there is one rank that holds
    /// everything. `O(operands)`.
    pub fn of(
        graph: &Graph,
        run: &Run,
        policy: &Policy,
        degrees: Degrees,
        stage: u64,
    ) -> Option<Rank> {
        if degrees.is_whole() && !degrees.has_buckets() {
            return None;
        }
        let split = Split::of(graph, degrees.tensor);
        let experts = Experts::of(graph, degrees.expert);
        let tensors =
            (0..graph.types.len() as u32)
                .map(TensorId)
                .map(|id| match graph.tensor(id).kind {
                    TensorKind::Parameter(number) if experts.parameter(number as usize) => {
                        degrees.expert.saturating_mul(degrees.expert_tensor)
                    }
                    TensorKind::Parameter(number) if split.parameter(number as usize) => {
                        degrees.tensor
                    }
                    TensorKind::Parameter(_) => 1,
                    _ if degrees.sequence || split.tensor(id) => {
                        degrees.context.saturating_mul(degrees.tensor)
                    }
                    _ => degrees.context,
                });
        let nodes = graph
            .node_ids()
            .map(|id| match degrees.sequence || split.node(graph, id) {
                true => degrees.context.saturating_mul(degrees.tensor),
                false => degrees.context,
            });
        let mut rank = Rank {
            degrees,
            stage,
            tensors: tensors.collect(),
            nodes: nodes.collect(),
            split,
            experts,
            exchanges: Vec::new(),
            pipeline: None,
            units: None,
            replicas: None,
            zero: None,
        };
        if degrees.pipeline > 1 {
            let stages = Stages::of(graph, degrees.chunks());
            rank.pipeline = Some(Stage::of(graph, &stages, &degrees, stage));
        }
        let exchanging = [degrees.tensor, degrees.context, degrees.expert];
        if exchanging.iter().any(|&degree| degree > 1) {
            rank.exchanges = Exchange::all(graph, run, &rank);
        }
        if degrees.fsdp > 1 {
            rank.units = Some(Units::of(graph, run, policy, &rank));
        }
        if graph.training && degrees.has_buckets() {
            rank.replicas = Some(Replicas::of(graph, run, policy, &rank));
        }
        if degrees.fsdp == 1 && degrees.zero > 0 && degrees.data > 1 {
            rank.zero = Some(Zero::of(graph, run, policy, &rank));
        }
        Some(rank)
    }

    /// The rank on that stage of a pipeline which holds most, and the peaks of all stages; of a very
    /// long pipeline those of the first and the last ones. `O(stages · operands)`.
    pub fn worst(of: Inputs<'_>, degrees: Degrees) -> (Option<Rank>, Vec<Bytes>) {
        let rank = |stage| Rank::of(of.graph, of.run, of.policy, degrees, stage);
        let last = degrees.pipeline;
        if last <= 1 {
            return (rank(0), Vec::new());
        }
        let stages = (0..last).filter(|&stage| stage < MOST_STAGES || stage + MOST_STAGES >= last);
        let (mut worst, mut most, mut peaks) = (None, 0, Vec::new());
        for rank in stages.filter_map(rank) {
            let of = Inputs {
                rank: Some(&rank),
                ..of
            };
            let peak = run(of, Highest::default()).bytes;
            peaks.push(Bytes(peak));
            if worst.is_none() || peak > most {
                (worst, most) = (Some(rank), peak);
            }
        }
        (worst, peaks)
    }

    /// Whether a parameter is a matrix of experts.
    pub(super) fn is_expert(&self, number: usize) -> bool {
        self.experts.parameter(number)
    }

    /// Whether a parameter lies on the rank's stage.
    pub(super) fn holds(&self, number: usize) -> bool {
        let stage = self.pipeline.as_ref();
        stage.is_none_or(|stage| stage.has_parameter(number))
    }

    /// Whether the timeline is PyTorch's own; what it does of tensor, pipeline, context and expert
    /// parallelism, and of ZeRO, is a model of several libraries.
    pub fn is_exact(&self) -> bool {
        let degrees = &self.degrees;
        let others = [
            degrees.tensor,
            degrees.pipeline,
            degrees.context,
            degrees.expert,
        ];
        others.iter().all(|&degree| degree == 1) && self.zero.is_none()
    }

    /// What divides the model, and among how many ranks.
    pub fn describe(&self) -> String {
        let degrees = &self.degrees;
        let mut parts = Vec::new();
        let mut add = |degree: u64, text: &dyn Fn(u64) -> String| {
            if degree > 1 {
                parts.push(text(degree));
            }
        };
        add(degrees.fsdp, &|n| format!("FSDP over {n}"));
        add(degrees.data, &|n| match (degrees.zero, degrees.fsdp) {
            (0, 1) => format!("{n} replicas"),
            (0, _) => format!("{n} replicas of the shards"),
            (stage, _) => format!("ZeRO-{stage} over {n}"),
        });
        add(degrees.tensor, &|n| match degrees.sequence {
            true => format!("tensors and sequences over {n}"),
            false => format!("tensors over {n}"),
        });
        add(degrees.context, &|n| format!("context over {n}"));
        add(degrees.expert, &|n| format!("experts over {n}"));
        add(degrees.pipeline, &|n| {
            format!("{n} stages ({})", degrees.schedule.name())
        });
        parts.join(", ")
    }

    /// What of a tensor of that many bytes lies on the rank.
    pub(super) fn tensor(&self, id: TensorId, bytes: u64) -> u64 {
        bytes.div_ceil(self.tensors[id.0 as usize])
    }

    /// What the rank needs of that which a call makes beside its outputs.
    pub(super) fn node(&self, id: NodeId, bytes: u64) -> u64 {
        bytes.div_ceil(self.nodes[id.0 as usize])
    }

    /// The shape of a parameter on each of the ranks that split matrices and experts: the first
    /// axis is divided, be it the one that is split or not.
    pub(super) fn local(&self, graph: &Graph, number: usize) -> Shape {
        let tensor = graph.parameters[number].tensor;
        let shape = &graph.ty(tensor).shape;
        divided(shape, self.tensors[tensor.0 as usize])
    }

    /// Among how many ranks that see other samples a parameter is sharded from that ZeRO stage on.
    fn shards(&self, number: usize, stage: u64) -> u64 {
        let shards = self.degrees.shards(stage);
        match self.experts.parameter(number) {
            // Experts lie over the ranks that would shard the rest of the model.
            true => (shards / self.degrees.expert).max(1),
            false => shards,
        }
    }

    /// The largest shard of a parameter: some of its rows (FSDP2), or of its elements (ZeRO).
    pub(super) fn shard(&self, graph: &Graph, number: usize, stage: u64) -> Shape {
        let (local, shards) = (self.local(graph, number), self.shards(number, stage));
        match self.degrees.fsdp {
            1 if shards > 1 => Shape::from([local.elements().div_ceil(shards)]),
            _ => divided(&local, shards),
        }
    }

    /// Elements of a parameter whose rows are filled up to a multiple of the shards.
    pub(super) fn padded(&self, graph: &Graph, number: usize) -> u64 {
        let shard = self.shard(graph, number, 3).elements();
        shard.saturating_mul(self.shards(number, 3))
    }
}

/// A shape whose first axis is divided, rounded up.
fn divided(shape: &Shape, ways: u64) -> Shape {
    let mut sizes = shape.sizes().to_vec();
    if let Some(first) = sizes.first_mut() {
        *first = first.div_ceil(ways);
    }
    sizes.into_iter().collect()
}

/// A type of the policy for a parameter: its own, where the policy has none but that of the
/// parameters in general.
pub(super) fn dtype_of(graph: &Graph, policy: &Policy, number: usize, chosen: Dtype) -> Dtype {
    match chosen == policy.params.value {
        true => graph.ty(graph.parameters[number].tensor).dtype,
        false => chosen,
    }
}
