//! How a parallel plan divides memory among devices.

use crate::graph::{Graph, NodeId, TensorId, TensorKind};
use crate::spec::run::Run;

/// The degrees by which memory is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Degrees {
    /// Replicas with their own share of the batch.
    pub data: u64,
    /// Shards of fully sharded data parallelism.
    pub fsdp: u64,
    /// ZeRO stage over the replicas.
    pub zero: u64,
    /// Ways in which matrices are split.
    pub tensor: u64,
    /// Whether activations outside of matrices are split as well.
    pub sequence: bool,
    /// Pipeline stages.
    pub pipeline: u64,
    /// Ways in which the sequence is split throughout.
    pub context: u64,
    /// Micro-batches of a step.
    pub micro_batches: u64,
}

impl Degrees {
    /// The degrees of a run whose batch is spread over that many ranks.
    pub fn of(run: &Run, data_ranks: u64) -> Degrees {
        let parallel = &run.parallel;
        let fsdp = parallel.fsdp.or(1).max(1);
        Degrees {
            data: (data_ranks / fsdp).max(1),
            fsdp,
            zero: parallel.zero.or(0),
            tensor: parallel.tensor.or(1).max(1),
            sequence: parallel.sequence.or(false),
            pipeline: parallel.pipeline.or(1).max(1),
            context: parallel.context.or(1).max(1),
            micro_batches: run.train.grad_accumulation.or(1).max(1),
        }
    }

    /// Shards of what ZeRO divides from that stage on: 1 for optimizer state, 2 for gradients, 3
    /// for parameters. FSDP divides all three.
    pub fn shards(&self, stage: u64) -> u64 {
        match self.zero >= stage {
            true => self.fsdp.saturating_mul(self.data),
            false => self.fsdp,
        }
    }

    /// Micro-batches whose activations the first pipeline stage holds at once (one forward, one
    /// backward): as many as there are stages, if there are so many.
    pub fn in_flight(&self) -> u64 {
        self.micro_batches.min(self.pipeline)
    }

    /// Whether `DistributedDataParallel` runs: replicas that are not sharded.
    pub fn has_buckets(&self) -> bool {
        self.data > 1 && self.fsdp == 1 && self.zero == 0
    }
}

/// Which tensors and parameters tensor parallelism splits, after Megatron-LM: a `linear` of a
/// whole input is split by columns and gives split outputs, one of a split input by rows and gives
/// whole outputs (after an all-reduce); embeddings are split by rows; what is computed from
/// something split is split.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    tensors: Vec<bool>,
    parameters: Vec<bool>,
}

impl Split {
    /// Follows the splits through a graph; nothing is split at a degree of 1. `O(operands)`.
    pub fn of(graph: &Graph, degree: u64) -> Split {
        if degree <= 1 {
            return Split::default();
        }
        let mut split = Split {
            tensors: vec![false; graph.types.len()],
            parameters: vec![false; graph.parameters.len()],
        };
        for (_, node) in graph.nodes() {
            let input = node.arguments.first().copied().unwrap_or(TensorId::ABSENT);
            let operands = match node.op.name {
                "linear" => {
                    let by_columns = !split.tensor(input);
                    split.mark(graph, node.arguments.get(1));
                    if by_columns {
                        split.mark(graph, node.arguments.get(2));
                    }
                    by_columns
                }
                "embedding" => {
                    for argument in &node.arguments {
                        split.mark(graph, Some(argument));
                    }
                    false
                }
                _ => node.arguments.iter().any(|&id| split.tensor(id)),
            };
            for output in node.outputs() {
                split.tensors[output.0 as usize] = operands;
            }
        }
        split
    }

    fn mark(&mut self, graph: &Graph, argument: Option<&TensorId>) {
        if let Some(&id) = argument
            && id.is_present()
            && let TensorKind::Parameter(number) = graph.tensor(id).kind
        {
            self.parameters[number as usize] = true;
        }
    }

    /// Whether each device holds a part of the tensor only.
    pub fn tensor(&self, id: TensorId) -> bool {
        self.tensors.get(id.0 as usize).copied().unwrap_or(false)
    }

    /// Whether each device holds a part of the parameter of that number only.
    pub fn parameter(&self, number: usize) -> bool {
        self.parameters.get(number).copied().unwrap_or(false)
    }

    /// Whether what a call computes is split.
    pub fn node(&self, graph: &Graph, id: NodeId) -> bool {
        self.tensor(graph.node(id).first_output)
    }
}
