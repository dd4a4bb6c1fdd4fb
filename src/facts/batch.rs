//! The batch in one normal form: samples per device, per step, per BatchNorm, and against the
//! baseline.
//!
//! Tensor, pipeline and context ranks work on the same samples, so they do not multiply the batch;
//! only data-parallel and FSDP ranks do. Accumulation multiplies the batch of a step, but not the
//! batch that a BatchNorm sees.

use crate::graph::{Graph, NodeId};
use crate::spec::Spec;
use crate::spec::run::Run;

/// The batch of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Samples per device and forward pass: `[train] micro_batch`, or the first axis of the
    /// model's first input.
    pub micro: Option<u64>,
    /// Forward passes per optimizer step.
    pub accumulation: u64,
    /// Ranks that see different samples.
    pub data_ranks: u64,
    /// Devices of the cluster.
    pub devices: u64,
    /// Samples per optimizer step: `micro · accumulation · data ranks`.
    pub global: Option<u64>,
    /// `global` against the baseline's, `k`.
    pub growth: Option<f64>,
    /// Every BatchNorm that takes the batch's statistics.
    pub norms: Vec<NormBatch>,
}

/// What one BatchNorm normalises over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormBatch {
    /// The call.
    pub node: NodeId,
    /// Samples on one device.
    pub samples: u64,
    /// Positions of each sample: the product of the spatial axes.
    pub positions: u64,
    /// Whether statistics are joined over the data ranks.
    pub synchronised: bool,
}

impl Batch {
    /// Works out the batch. `O(nodes)`.
    pub fn of(spec: &Spec, graph: &Graph) -> Batch {
        let run = &spec.run;
        let first_input = graph.inputs.first().map(|&(_, id)| id);
        let first_axis = first_input
            .filter(|&id| graph.tensor(id).known)
            .and_then(|id| graph.ty(id).shape.size(0));
        let micro = run.train.micro_batch.get().or(first_axis);
        let accumulation = run.train.grad_accumulation.or(1).max(1);
        let devices = run.cluster.devices();
        let data_ranks = data_ranks(run);
        let global = micro
            .and_then(|micro| micro.checked_mul(accumulation))
            .and_then(|batch| batch.checked_mul(data_ranks));
        let growth = match (global, run.baseline.global_batch.get()) {
            (Some(global), Some(reference)) if global > 0 && reference > 0 => {
                Some(global as f64 / reference as f64)
            }
            _ => None,
        };
        let norms = norms(spec, graph);
        Batch {
            micro,
            accumulation,
            data_ranks,
            devices,
            global,
            growth,
            norms,
        }
    }

    /// Samples over which that BatchNorm's statistics are taken.
    pub fn samples_normalised(&self, norm: &NormBatch) -> u64 {
        let ranks = if norm.synchronised {
            self.data_ranks
        } else {
            1
        };
        norm.samples.saturating_mul(ranks)
    }

    /// The BatchNorm with the fewest samples.
    pub fn smallest_norm(&self) -> Option<&NormBatch> {
        self.norms
            .iter()
            .min_by_key(|norm| self.samples_normalised(norm))
    }
}

/// Ranks that see different samples. Without `[parallel]`, every device of the cluster is one.
fn data_ranks(run: &Run) -> u64 {
    if run.parallel.span.is_some() {
        run.parallel.data_ranks()
    } else {
        run.cluster.devices().max(1)
    }
}

fn norms(spec: &Spec, graph: &Graph) -> Vec<NormBatch> {
    if !graph.training {
        return Vec::new();
    }
    let Some(batch_norm) = crate::ops::find("batch_norm") else {
        return Vec::new();
    };
    let everywhere = spec.run.train.sync_batch_norm.or(false);
    graph
        .nodes()
        .filter(|(_, node)| std::ptr::eq(node.op, batch_norm) && graph.is_known(node))
        .filter_map(|(id, node)| {
            let input = graph.ty(*node.arguments.first()?);
            let weight = node.arguments.get(1).copied().filter(|id| id.is_present());
            // A frozen BatchNorm keeps the statistics that it was trained with.
            if weight.is_some_and(|weight| !graph.tensor(weight).requires_grad) {
                return None;
            }
            let sync = graph.with_call(node, |call| call.boolean("sync"));
            let positions = input.shape.sizes().iter().skip(2).product();
            let samples = input.shape.size(0)?;
            Some(NormBatch {
                node: id,
                samples,
                positions,
                synchronised: sync || everywhere,
            })
        })
        .collect()
}

/// The standard error of the mean of `samples` independent values, in standard deviations:
/// `1/√n`.
pub fn standard_error(samples: u64) -> f64 {
    1.0 / (samples.max(1) as f64).sqrt()
}
