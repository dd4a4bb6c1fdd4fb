//! The report's part about what lies beside the tensors, what would bring the memory down, and what
//! would still fit.

use serde::Serialize;

use super::memory::find_device;
use crate::facts::Facts;
use crate::facts::fit::largest;
use crate::facts::overhead::Estimate;
use crate::facts::reserved::Reserved;
use crate::quantity::Bytes;

/// An amount between bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Interval {
    /// What is to be expected.
    pub bytes: Bytes,
    /// The least.
    pub low: Bytes,
    /// The most.
    pub high: Bytes,
}

/// What is estimated beside the tensors.
#[derive(Debug, Clone, Serialize)]
pub struct EstimateRow {
    /// What for.
    pub name: &'static str,
    /// How much.
    #[serde(flatten)]
    pub amount: Interval,
    /// How it comes about.
    pub how: String,
    /// Where the figures come from.
    pub source: &'static str,
}

/// A change that brings the memory down.
#[derive(Debug, Clone, Serialize)]
pub struct LeverRow {
    /// The change, as it is written.
    pub change: String,
    /// What a device holds less.
    pub saves: Bytes,
    /// The least that it holds less, and the most: buffers of communication and the place of the peak
    /// are estimates.
    pub saves_between: [Bytes; 2],
    /// What it holds then.
    pub after: Bytes,
    /// Arithmetic of a step that comes on top, as a share.
    pub arithmetic: f64,
    /// What a device sends to others more over a step.
    pub sends: Bytes,
    /// What crosses the bus to the host and back more.
    pub sends_host: Bytes,
    /// What else it costs; empty where nothing is known.
    pub costs: &'static str,
}

/// The largest size of a dim that fits.
#[derive(Debug, Clone, Serialize)]
pub struct LargestRow {
    /// The dim.
    pub dim: String,
    /// Its size in the spec.
    pub size: i64,
    /// The largest size for which the tensors fit.
    pub most: i64,
    /// The largest size for which they fit beside the most that the rest is estimated at.
    pub sure: i64,
}

/// What PyTorch's caching allocator reserves over a step.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ReservedPart {
    /// What it takes of the device: `torch.cuda.max_memory_reserved`.
    pub bytes: Bytes,
    /// The blocks that are in use at most: `torch.cuda.max_memory_allocated`.
    pub allocated: Bytes,
    /// What is asked for of them.
    pub requested: Bytes,
    /// What is reserved and not in use then.
    pub fragmentation: Bytes,
    /// The most that lies idle in segments that are in use elsewhere.
    pub inactive_split: Bytes,
    /// Times that everything cached had to be given back.
    pub retries: u64,
    /// Whether the device has enough.
    pub enough: bool,
}

impl From<&Reserved> for ReservedPart {
    fn from(reserved: &Reserved) -> ReservedPart {
        ReservedPart {
            bytes: reserved.reserved,
            allocated: reserved.allocated,
            requested: reserved.requested,
            fragmentation: reserved.fragmentation(),
            inactive_split: reserved.split,
            retries: reserved.retries,
            enough: reserved.enough,
        }
    }
}

pub(super) fn estimate_rows(estimates: &[Estimate]) -> Vec<EstimateRow> {
    let row = |estimate: &Estimate| EstimateRow {
        name: estimate.name,
        amount: Interval {
            bytes: estimate.bytes,
            low: estimate.low,
            high: estimate.high,
        },
        how: estimate.how.clone(),
        source: estimate.source,
    };
    estimates.iter().map(row).collect()
}

pub(super) fn levers(facts: &Facts<'_>) -> Vec<LeverRow> {
    let row = |lever: &crate::facts::levers::Lever| LeverRow {
        change: lever.change.clone(),
        saves: lever.saves,
        saves_between: [lever.least, lever.most],
        sends: lever.sends.devices,
        sends_host: lever.sends.host,
        after: lever.after,
        arithmetic: lever.arithmetic,
        costs: lever.costs,
    };
    facts.levers().iter().map(row).collect()
}

/// What still fits into the budget, or into the device where there is none.
pub(super) fn largest_sizes(facts: &Facts<'_>, estimates: &[Estimate]) -> Vec<LargestRow> {
    let budget = facts.run().budget.memory.get();
    let device = || find_device(facts).map(|device| device.memory_usable());
    let Some(limit) = budget.or_else(device) else {
        return Vec::new();
    };
    largest(facts, limit, estimates)
        .into_iter()
        .map(|found| LargestRow {
            dim: found.dim.to_string(),
            size: found.size,
            most: found.most,
            sure: found.sure,
        })
        .collect()
}
