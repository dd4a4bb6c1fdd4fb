//! What sharding and replication add while they work: layers that are whole for a moment, and
//! buckets of gradients.

use super::plan::Degrees;
use super::stages::repeated;
use super::sum::Sum;
use rustc_hash::FxHashSet;

use crate::facts::precision::Policy;
use crate::graph::{Graph, LayerId, Parameter};
use crate::spec::run::Run;

/// MiB of the first bucket of `DistributedDataParallel`.
const FIRST_BUCKET: u64 = 1 << 20;
/// MiB of the other ones, unless set.
const BUCKET_MIB: u64 = 25;

/// Elements of a bucket of DeepSpeed, unless set.
pub const REDUCE_BUCKET: u64 = 500_000_000;

/// The buckets into which `DistributedDataParallel` puts gradients of those sizes, given in the
/// order of the parameters: from the last one on, each bucket is closed by the gradient with which
/// it reaches its limit, 1 MiB for the first one. `O(gradients)`.
pub fn ddp_buckets(gradients: &[u64], cap: u64) -> Vec<u64> {
    let mut buckets = Vec::new();
    let mut limit = FIRST_BUCKET.min(cap);
    let mut bucket = 0u64;
    for &bytes in gradients.iter().rev().filter(|&&bytes| bytes > 0) {
        bucket = bucket.saturating_add(bytes);
        if bucket >= limit {
            buckets.push(std::mem::take(&mut bucket));
            limit = cap;
        }
    }
    if bucket > 0 {
        buckets.push(bucket);
    }
    buckets
}

/// The limit of a bucket that a run sets, in bytes.
pub(in crate::facts) fn bucket_cap(run: &Run) -> u64 {
    run.parallel
        .bucket_cap_mb
        .or(BUCKET_MIB)
        .saturating_mul(1 << 20)
}

/// Bytes of a bucket in which ZeRO reduces gradients, and how many there are: two where stages 1 and
/// 2 reduce while the backward pass runs. Stage 3 has one.
pub(in crate::facts) fn reduce_bucket(run: &Run, policy: &Policy, stage: u64) -> (u64, u64) {
    let elements = run.parallel.reduce_bucket_size.or(REDUCE_BUCKET);
    let twice = stage < 3 && run.parallel.overlap_comm.or(false);
    let bytes = policy.reduce.value.bytes_for(elements);
    (bytes, if twice { 2 } else { 1 })
}

/// What is whole for a while where parameters are sharded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gathered {
    pub bytes: u64,
    pub how: &'static str,
}

/// Bytes of a unit that is gathered as one.
#[derive(Debug, Clone, Copy, Default)]
struct Unit {
    parameters: u64,
    gradients: u64,
    reduced: u64,
}

impl Sum<'_> {
    /// While a sharded layer runs, it and the next one are whole, and in the backward pass so are
    /// its gradients. ZeRO-3 gathers layer by layer. FSDP2 (`fully_shard` of each repeated layer
    /// and of the model around them) keeps what stands outside of the repeated layers whole for
    /// the whole step, and what the layer before handed to the reduction until that is done.
    pub(super) fn gathered(&self, numbers: &[u32]) -> Gathered {
        let graph = self.graph;
        let fsdp = self.degrees.fsdp > 1;
        let blocks: Option<FxHashSet<LayerId>> = repeated(graph)
            .filter(|_| fsdp)
            .map(|group| group.into_iter().collect());
        let mut units = vec![Unit::default(); graph.layers.len() + 1];
        let root = graph.layers.len();
        for &number in numbers {
            let parameter = &graph.parameters[number as usize];
            if parameter.buffer {
                continue;
            }
            let at = unit_of(graph, parameter, blocks.as_ref()).unwrap_or(root);
            let unit = &mut units[at];
            let add = |sum: &mut u64, bytes: u64| *sum = sum.saturating_add(bytes);
            add(&mut unit.parameters, self.own_bytes(parameter));
            if graph.training {
                add(&mut unit.gradients, self.gradient_bytes(parameter));
                if parameter.trainable {
                    add(&mut unit.reduced, self.reduced_bytes(parameter));
                }
            }
        }
        let whole = |bytes: u64| bytes.div_ceil(self.degrees.tensor);
        if !fsdp {
            let of = |unit: &Unit| (2 * unit.parameters.min(u64::MAX / 4)) + unit.gradients;
            let how = match graph.training {
                true => "parameters of two layers, gradients of one, while they are whole",
                false => "parameters of two layers, while they are whole",
            };
            return Gathered {
                bytes: whole(units.iter().map(of).max().unwrap_or(0)),
                how,
            };
        }
        let outside = match blocks.is_some() {
            true => std::mem::take(&mut units[root]),
            false => Unit::default(),
        };
        let reshard = self.run.parallel.reshard_after_forward.or(true);
        let all = units
            .iter()
            .fold(0u64, |sum, unit| sum.saturating_add(unit.parameters));
        let most = units
            .iter()
            .map(|unit| {
                let parameters = match reshard {
                    true => unit.parameters.saturating_mul(2),
                    false => all,
                };
                parameters
                    .saturating_add(unit.gradients)
                    .saturating_add(unit.reduced)
            })
            .max()
            .unwrap_or(0);
        let bytes = most
            .saturating_add(outside.parameters)
            .saturating_add(outside.gradients);
        Gathered {
            bytes: whole(bytes),
            how: match (graph.training, reshard) {
                (false, _) => "parameters of two layers and of what does not repeat",
                (true, true) => {
                    "parameters of two layers, gradients of one, one in reduction, and what does \
                     not repeat"
                }
                (true, false) => {
                    "parameters of all layers, gradients of one, one in reduction, and what does \
                     not repeat"
                }
            },
        }
    }

    /// Buffers of communication that the settings or the degrees imply.
    pub(super) fn communication(&self) -> Vec<(u64, String)> {
        let (run, policy, degrees) = (self.run, self.policy, &self.degrees);
        let mut buffers = Vec::new();
        if self.graph.training && degrees.zero > 0 && degrees.data > 1 {
            let (bytes, count) = reduce_bucket(run, policy, degrees.zero);
            let elements = run.parallel.reduce_bucket_size.or(REDUCE_BUCKET);
            buffers.push((
                bytes.saturating_mul(count),
                format!("{count} × {elements} gradients in reduction"),
            ));
            if let Some(elements) = run.parallel.allgather_bucket_size.get() {
                let bytes = policy.params.value.bytes_for(elements);
                buffers.push((bytes, format!("{elements} parameters being gathered")));
            }
        }
        if degrees.context > 1 {
            let ring = self.largest_attention().div_ceil(degrees.context);
            let bytes = ring.saturating_mul(4).div_ceil(degrees.tensor);
            buffers.push((
                bytes,
                "keys and values on their way round the ring".to_owned(),
            ));
        }
        if let Some(tokens) = self.experts.dispatched {
            let factor = run.parallel.capacity_factor.or(1.0).clamp(0.0, 1e6);
            let bytes = 2.0 * self.graph.ty(tokens).bytes() as f64 * factor;
            let bytes = (bytes as u64).div_ceil(degrees.tensor);
            buffers.push((bytes, "tokens on their way to and from experts".to_owned()));
        }
        buffers
    }

    /// Bytes of keys and values of the attention that has most.
    fn largest_attention(&self) -> u64 {
        let graph = self.graph;
        let calls = graph
            .nodes()
            .filter(|(_, node)| node.op.name == "scaled_dot_product_attention");
        let bytes = calls.map(|(_, node)| {
            let operands = node.arguments.iter().skip(1).take(2);
            operands
                .filter(|id| id.is_present())
                .fold(0u64, |sum, &id| sum.saturating_add(graph.ty(id).bytes()))
        });
        bytes.max().unwrap_or(0)
    }
}

/// The layer with which a parameter is gathered: the repeated one around it, or without repeated
/// ones the outermost one.
fn unit_of(
    graph: &Graph,
    parameter: &Parameter,
    blocks: Option<&FxHashSet<LayerId>>,
) -> Option<usize> {
    let mut at = parameter.layer;
    let mut unit = None;
    while let Some(layer) = at {
        match blocks {
            Some(blocks) if blocks.contains(&layer) => return Some(layer.0 as usize),
            Some(_) => {}
            None => unit = Some(layer.0 as usize),
        }
        at = graph.layer(layer).parent;
    }
    unit
}

impl Degrees {
    /// Whether parameters are sharded row by row, so that each is padded by itself.
    pub(super) fn shards_rows(&self) -> bool {
        self.fsdp > 1
    }
}
