//! How a parallel plan divides memory among devices.

use crate::graph::{Graph, NodeId, TensorId, TensorKind};
use crate::spec::run::{PipelineSchedule, Run};

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
    /// Ways in which experts are spread over the ranks that see different samples.
    pub expert: u64,
    /// Ways in which the matrices of an expert are split.
    pub expert_tensor: u64,
    /// Micro-batches of a step.
    pub micro_batches: u64,
    /// The order of the passes in a pipeline.
    pub schedule: PipelineSchedule,
    /// Chunks of layers on each stage, where the schedule takes several.
    pub virtual_stages: u64,
}

/// More pipeline stages and chunks than any model has layers.
const MOST_STAGES: u64 = 1 << 16;

impl Degrees {
    /// The degrees of a run whose batch is spread over that many ranks.
    pub fn of(run: &Run, data_ranks: u64) -> Degrees {
        let parallel = &run.parallel;
        let fsdp = parallel.fsdp.or(1).max(1);
        let virtual_stages = parallel.virtual_stages.or(1).clamp(1, MOST_STAGES);
        let schedule = match virtual_stages {
            1 => PipelineSchedule::OneForwardOneBackward,
            _ => PipelineSchedule::Interleaved,
        };
        Degrees {
            data: (data_ranks / fsdp).max(1),
            fsdp,
            zero: parallel.zero.or(0),
            tensor: parallel.tensor.or(1).max(1),
            sequence: parallel.sequence.or(false),
            pipeline: parallel.pipeline.or(1).clamp(1, MOST_STAGES),
            context: parallel.context.or(1).max(1),
            expert: parallel.expert.or(1).max(1),
            expert_tensor: parallel.expert_tensor.or(1).max(1),
            micro_batches: run.train.grad_accumulation.or(1).max(1),
            schedule: parallel.schedule.or(schedule),
            virtual_stages,
        }
    }

    /// The degrees of one device, with nothing split.
    pub fn one() -> Degrees {
        Degrees::of(&Run::default(), 1)
    }

    /// Shards of what ZeRO divides from that stage on: 1 for optimizer state, 2 for gradients, 3
    /// for parameters. FSDP divides all three.
    pub fn shards(&self, stage: u64) -> u64 {
        match self.zero >= stage {
            true => self.fsdp.saturating_mul(self.data),
            false => self.fsdp,
        }
    }

    /// Whether each device runs the whole model and holds all of its state.
    pub fn is_whole(&self) -> bool {
        let degrees = [self.tensor, self.pipeline, self.context, self.expert];
        degrees.iter().all(|&degree| degree == 1) && self.shards(1) == 1 && self.shards(3) == 1
    }

    /// Whether `DistributedDataParallel` runs: replicas that are not sharded.
    pub fn has_buckets(&self) -> bool {
        self.data > 1 && self.fsdp == 1 && self.zero == 0
    }
}

/// The parameters that are one matrix for each expert, and what is dispatched to them.
///
/// They are told by how they are used: a stack of matrices that a batched product takes as a
/// factor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Experts {
    parameters: Vec<bool>,
    /// The most tokens that one product takes, in elements of the other factor.
    pub dispatched: Option<TensorId>,
}

impl Experts {
    /// The stacks whose length the degree divides; none at a degree of 1. `O(operands)`.
    pub fn of(graph: &Graph, degree: u64) -> Experts {
        let mut experts = Experts::default();
        if degree <= 1 {
            return experts;
        }
        experts.parameters = vec![false; graph.parameters.len()];
        let size = |id: TensorId| graph.ty(id).shape.elements();
        for (_, node) in graph.nodes() {
            if !matches!(node.op.name, "matmul" | "bmm" | "baddbmm" | "einsum") {
                continue;
            }
            for &argument in node.arguments.iter().filter(|id| id.is_present()) {
                let TensorKind::Parameter(number) = graph.tensor(argument).kind else {
                    continue;
                };
                let shape = &graph.ty(argument).shape;
                let stack = shape.size(0).filter(|_| shape.rank() == 3).unwrap_or(0);
                if stack == 0 || !stack.is_multiple_of(degree) {
                    continue;
                }
                experts.parameters[number as usize] = true;
                let tokens = node.arguments.iter().copied().filter(|&id| {
                    id.is_present() && matches!(graph.tensor(id).kind, TensorKind::Output(_))
                });
                experts.dispatched = tokens.chain(experts.dispatched).max_by_key(|&id| size(id));
            }
        }
        experts
    }

    /// Whether the parameter of that number holds matrices of experts.
    pub fn parameter(&self, number: usize) -> bool {
        self.parameters.get(number).copied().unwrap_or(false)
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
