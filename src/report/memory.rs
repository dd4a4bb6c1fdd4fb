//! The report's part about memory: what one device holds, whose activations those are, and
//! whether the device of the cluster holds it.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::change::{self, EstimateRow, Interval, LargestRow, LeverRow, ReservedPart};
use super::peak::{PeakPart, SampleRow};
use crate::device::{Catalogue, Device};
use crate::facts::Facts;
use crate::facts::memory::{LEFT_OUT, Part, Saved};
use crate::graph::{DefinitionId, LayerId};
use crate::quantity::Bytes;

/// Layers that are named as owners of activations.
pub(super) const OWNERS: usize = 10;

/// What one device holds.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryPart {
    /// Whether it trains, rather than serves.
    pub training: bool,
    /// The sum of the parts.
    pub held: Bytes,
    /// What the device must have: the tensors and what is estimated beside them.
    pub total: Interval,
    /// What the allocator reserves.
    pub reserved: ReservedPart,
    /// What is estimated beside the tensors.
    pub estimates: Vec<EstimateRow>,
    /// What would bring it down, each change alone, the one that saves most first.
    pub levers: Vec<LeverRow>,
    /// The largest sizes that fit into the budget, or into the device.
    pub largest: Vec<LargestRow>,
    /// The parts, those of nothing left out.
    pub parts: Vec<MemoryRow>,
    /// What lies in the memory of the host, for each device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPart>,
    /// What autograd keeps of the forward pass.
    pub saved_for_backward: SavedPart,
    /// The layers that keep most for the backward pass, the largest first.
    pub owners: Vec<OwnerRow>,
    /// The moment of a step at which the most lives on the rank that holds most.
    pub peak: PeakPart,
    /// What lives after each call, if it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Vec<SampleRow>>,
    /// What the sum leaves out.
    pub leaves_out: &'static str,
    /// Where a pipeline's stages hold different amounts: what each rank holds. The figures are those
    /// of the first that holds most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<RankPart>,
    /// The device that is to hold it, if the spec names one that is known.
    pub device: Option<DevicePart>,
}

/// What is offloaded to the host.
#[derive(Debug, Clone, Serialize)]
pub struct HostPart {
    /// All of it, for each device.
    pub bytes: Bytes,
    /// The parts.
    pub parts: Vec<MemoryRow>,
}

/// The ranks of a pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct RankPart {
    /// The rank whose figures are given.
    pub rank: u64,
    /// What each rank holds.
    pub totals: Vec<Bytes>,
}

/// What autograd keeps of the forward pass of one micro-batch, on a device that has the whole
/// model: PyTorch's `saved_tensors_hooks`, each storage once. Parameters and buffers are left out,
/// the copies that autocast makes of them and kept inputs are not. Of a recomputed layer it is what
/// is kept throughout.
#[derive(Debug, Clone, Serialize)]
pub struct SavedPart {
    /// Their bytes.
    pub bytes: Bytes,
    /// Distinct storages, those of no bytes included.
    pub tensors: usize,
    /// The bytes by element type.
    pub by_dtype: BTreeMap<&'static str, Bytes>,
}

impl SavedPart {
    fn of(saved: &Saved) -> SavedPart {
        let by_dtype = saved.by_dtype().into_iter();
        SavedPart {
            bytes: Bytes(saved.total()),
            tensors: saved.kept.len(),
            by_dtype: by_dtype
                .map(|(dtype, bytes)| (dtype.name(), Bytes(bytes)))
                .collect(),
        }
    }
}

/// A part of the sum.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryRow {
    /// What for: `optimizer state`.
    pub kind: &'static str,
    /// How much on one device.
    pub bytes: Bytes,
    /// How it comes about.
    pub how: String,
}

/// The activations of a layer, all its repetitions together.
#[derive(Debug, Clone, Serialize)]
pub struct OwnerRow {
    /// The path of the first instance.
    pub path: String,
    /// Instances that keep something.
    pub instances: u64,
    /// Bytes that they are the first to keep, for one micro-batch.
    pub bytes: Bytes,
}

/// How the device of the cluster compares.
#[derive(Debug, Clone, Serialize)]
pub struct DevicePart {
    /// The name in the catalogue.
    pub name: String,
    /// Devices of the cluster.
    pub count: u64,
    /// What a framework sees of its memory.
    pub usable: Bytes,
    /// The total as a share of that.
    pub share: f64,
    /// Whether the total is within it.
    pub fits: bool,
}

impl MemoryPart {
    pub(super) fn of(facts: &Facts<'_>) -> MemoryPart {
        let (graph, memory) = (facts.graph(), facts.memory());
        let row = |part: &Part| MemoryRow {
            kind: part.kind.name(),
            bytes: part.bytes,
            how: part.how.clone(),
        };
        let parts = memory.parts.iter().map(row);
        let footprint = facts.footprint();
        MemoryPart {
            training: graph.training,
            held: memory.total,
            total: Interval {
                bytes: footprint.total,
                low: footprint.low,
                high: footprint.high,
            },
            reserved: ReservedPart::from(&footprint.reserved),
            estimates: change::estimate_rows(&footprint.estimates),
            levers: change::levers(facts),
            largest: change::largest_sizes(facts, &footprint.estimates),
            parts: parts.collect(),
            host: (!memory.host.is_empty()).then(|| HostPart {
                bytes: memory.host.iter().map(|part| part.bytes).sum(),
                parts: memory.host.iter().map(row).collect(),
            }),
            saved_for_backward: SavedPart::of(facts.saved()),
            owners: owners(facts),
            peak: PeakPart::of(facts),
            timeline: None,
            leaves_out: LEFT_OUT,
            ranks: (memory.ranks.len() > 1).then(|| RankPart {
                rank: memory.rank,
                totals: memory.ranks.clone(),
            }),
            device: device(facts, footprint.total),
        }
    }
}

fn owners(facts: &Facts<'_>) -> Vec<OwnerRow> {
    let graph = facts.graph();
    let mut sums: FxHashMap<DefinitionId, (LayerId, u64, Bytes)> = FxHashMap::default();
    for owner in &facts.memory().owners {
        let definition = graph.layer(owner.layer).definition;
        let (first, instances, bytes) =
            sums.entry(definition)
                .or_insert((owner.layer, 0, Bytes::ZERO));
        *first = (*first).min(owner.layer);
        *instances += 1;
        *bytes += owner.bytes;
    }
    let mut sums: Vec<_> = sums.into_values().collect();
    sums.sort_by_key(|&(first, _, bytes)| (std::cmp::Reverse(bytes), first));
    sums.into_iter()
        .take(OWNERS)
        .map(|(first, instances, bytes)| OwnerRow {
            path: graph.layer_path(first),
            instances,
            bytes,
        })
        .collect()
}

fn device(facts: &Facts<'_>, total: Bytes) -> Option<DevicePart> {
    let cluster = &facts.run().cluster;
    let device = find_device(facts)?;
    let usable = device.memory_usable();
    Some(DevicePart {
        name: device.id.clone(),
        count: cluster.devices(),
        usable,
        share: total.as_f64() / usable.as_f64(),
        fits: total <= usable,
    })
}

/// The device of the cluster, if the spec names one that is known.
pub(super) fn find_device(facts: &Facts<'_>) -> Option<&'static Device> {
    // An unknown name was reported when the spec was read.
    let name = facts.run().cluster.device.value.as_ref()?;
    Catalogue::embedded().find(name).ok()
}
