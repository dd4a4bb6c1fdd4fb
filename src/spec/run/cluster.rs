//! `[cluster]`, `[parallel]`, `[baseline]` and `[budget]`.

use smol_str::SmolStr;

use super::allocator::Share;
use crate::quantity::Bytes;
use crate::spec::setting::{Field, Positive, choice, settings};

settings! {
    /// `[cluster]`
    pub struct Cluster {
        /// A name of the device catalogue.
        device: Field<SmolStr>,
        /// Machines.
        nodes: Field<u64>,
        /// Devices in each machine.
        devices_per_node: Field<u64>,
        /// Product FLOPs that a device was seen to do in a second of training, recomputation
        /// included.
        flops_per_device: Field<Positive>,
        /// The share of a device's peak that the model's own products are expected to reach (model
        /// FLOPs utilisation).
        utilization: Field<Share>,
    }
}

impl Cluster {
    /// All devices together; 1 where nothing is said.
    pub fn devices(&self) -> u64 {
        self.nodes.or(1).saturating_mul(self.devices_per_node.or(1))
    }
}

settings! {
    /// `[parallel]`: the degree of each kind of parallelism.
    pub struct Parallel {
        /// Replicas, each with its own share of the batch.
        data: Field<u64>,
        /// Shards of parameters, gradients and state over which the batch is split too (FSDP).
        fsdp: Field<u64>,
        /// ZeRO stage over the data-parallel ranks: 0 to 3.
        zero: Field<u64>,
        /// Ways in which matrices are split.
        tensor: Field<u64>,
        /// Whether the sequence is split among the tensor-parallel ranks outside of matrices.
        sequence: Field<bool>,
        /// Pipeline stages.
        pipeline: Field<u64>,
        /// Ways in which the sequence is split throughout.
        context: Field<u64>,
        /// Ways in which experts are spread over the data-parallel ranks.
        expert: Field<u64>,
        /// Ways in which the matrices of each expert are split; 1 where nothing is said.
        expert_tensor: Field<u64>,
        /// Tokens that an expert takes, as a multiple of its even share; also the imbalance of
        /// experts that drop none.
        capacity_factor: Field<f64>,
        /// The order of forward and backward passes in a pipeline.
        schedule: Field<PipelineSchedule>,
        /// Chunks of layers that each pipeline stage holds (interleaved schedule).
        virtual_stages: Field<u64>,
        /// Whether gradients are views of the buckets of `DistributedDataParallel`.
        gradient_as_bucket_view: Field<bool>,
        /// MiB of gradients that are reduced together (`bucket_cap_mb`).
        bucket_cap_mb: Field<u64>,
        /// Elements that ZeRO reduces together (DeepSpeed's `reduce_bucket_size`).
        reduce_bucket_size: Field<u64>,
        /// Elements that ZeRO gathers together (DeepSpeed's `allgather_bucket_size`).
        allgather_bucket_size: Field<u64>,
        /// Elements that ZeRO-3 gathers ahead (DeepSpeed's name, and so are the next ones).
        stage3_prefetch_bucket_size: Field<u64>,
        /// Elements of gathered parameters beyond which ZeRO-3 gathers none ahead.
        stage3_max_live_parameters: Field<u64>,
        /// Elements until its next use within which ZeRO-3 keeps a gathered parameter.
        stage3_max_reuse_distance: Field<u64>,
        /// Elements up to which ZeRO-3 keeps a parameter whole.
        stage3_param_persistence_threshold: Field<u64>,
        /// Whether ZeRO reduces while the backward pass runs, with a second bucket.
        overlap_comm: Field<bool>,
        /// Whether FSDP frees gathered parameters after the forward pass.
        reshard_after_forward: Field<bool>,
    }
}

choice! {
    /// The order of forward and backward passes in a pipeline.
    pub enum PipelineSchedule ("pipeline schedule") {
        /// All forward passes, then all backward passes.
        GPipe = "gpipe",
        /// A forward pass and a backward pass in turn.
        OneForwardOneBackward = "1f1b",
        /// The same, with several chunks of layers on each stage.
        Interleaved = "interleaved" | "interleaved-1f1b",
        /// Zero bubble, with the memory of 1F1B.
        ZbH1 = "zb-h1" | "zb1p",
        /// Zero bubble, with up to twice the memory of 1F1B.
        ZbH2 = "zb-h2" | "zb2p",
        /// Zero bubble in the shape of a V: two chunks on each stage.
        ZbV = "zb-v" | "zbv",
        /// From both ends, with two copies of the parameters.
        DualPipe = "dualpipe",
        /// DualPipe folded to a V.
        DualPipeV = "dualpipe-v" | "dualpipev",
    }
}

impl Parallel {
    /// Ranks that see different samples: `data · fsdp`.
    pub fn data_ranks(&self) -> u64 {
        self.data.or(1).saturating_mul(self.fsdp.or(1)).max(1)
    }

    /// Whether parameters are sharded, and gathered before they are used: FSDP or ZeRO-3.
    pub fn gathers(&self) -> bool {
        self.fsdp.or(1) > 1 || self.zero.or(0) >= 3
    }

    /// The product of all degrees that tile the devices; experts lie over the data ranks.
    pub fn product(&self) -> u64 {
        [&self.tensor, &self.pipeline, &self.context]
            .iter()
            .fold(self.data_ranks(), |product, degree| {
                product.saturating_mul(degree.or(1).max(1))
            })
    }
}

settings! {
    /// `[baseline]`: the recipe that is known to work.
    pub struct Baseline {
        /// Devices that it ran on.
        devices: Field<u64>,
        /// Samples per optimizer step.
        global_batch: Field<u64>,
        /// Learning rate.
        lr: Field<f64>,
        /// Optimizer steps.
        steps: Field<u64>,
        /// Warm-up steps.
        warmup_steps: Field<u64>,
    }
}

settings! {
    /// `[budget]`: what the run may take.
    pub struct Budget {
        /// Memory per device.
        memory: Field<Bytes>,
        /// Trainable and frozen parameters together.
        parameters: Field<u64>,
        /// Product FLOPs of one forward pass.
        forward_flops: Field<f64>,
    }
}
