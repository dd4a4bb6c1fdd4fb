//! The report's part about time: when in a step the most memory lives, what it is, and whose; and
//! the timeline itself.

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::change::Interval;
use super::memory::OWNERS;
use crate::facts::Facts;
use crate::facts::memory::MemoryKind;
use crate::facts::timeline::{Moment, Peak, Sample, Samples, run};
use crate::graph::{DefinitionId, Graph, LayerId};
use crate::quantity::Bytes;

/// The moment of a step at which the most lives on one device.
#[derive(Debug, Clone, Serialize)]
pub struct PeakPart {
    /// How much.
    pub bytes: Bytes,
    /// The layer or parameter that the step is at.
    pub at: String,
    /// The op of the call that runs.
    pub op: &'static str,
    /// The part of the step.
    pub phase: &'static str,
    /// Whose kernels run: those of the `device` that is named, or, where none is, the `traced`
    /// ones, whose formulas PyTorch takes apart before a tracker.
    pub kernels: &'static str,
    /// The plan of whose ranks it is one; none where one device does everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanPart>,
    /// What it is made of.
    pub parts: Vec<PeakRow>,
    /// Who holds most of it, the largest first.
    pub owners: Vec<PeakOwnerRow>,
    /// The most in each phase.
    pub phases: Vec<PhaseRow>,
}

/// The plan of a rank.
#[derive(Debug, Clone, Serialize)]
pub struct PlanPart {
    /// What divides the model, and among how many: `FSDP over 8, 2 stages (1f1b)`.
    pub how: String,
    /// The stage of a pipeline that holds most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<u64>,
    /// The peaks of all stages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Bytes>,
    /// Between which bounds the peak is, where it depends on how a library handles its buffers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Interval>,
}

impl PlanPart {
    fn of(facts: &Facts<'_>) -> Option<PlanPart> {
        let rank = facts.rank()?;
        let (bytes, doubt) = (facts.peak().bytes, facts.doubt());
        let stages = facts.stage_peaks();
        Some(PlanPart {
            how: rank.describe(),
            stage: (stages.len() > 1).then_some(rank.stage),
            stages: if stages.len() > 1 {
                stages.to_vec()
            } else {
                Vec::new()
            },
            bounds: (doubt > Bytes::ZERO).then(|| Interval {
                bytes,
                low: bytes - doubt,
                high: bytes + doubt,
            }),
        })
    }
}

/// A part of the peak.
#[derive(Debug, Clone, Serialize)]
pub struct PeakRow {
    /// What for.
    pub kind: &'static str,
    /// How much.
    pub bytes: Bytes,
}

/// A holder of memory at the peak: a layer, all its repetitions together.
#[derive(Debug, Clone, Serialize)]
pub struct PeakOwnerRow {
    /// The path of the first instance, or `the model` for what belongs to no layer.
    pub path: String,
    /// Instances that hold something.
    pub instances: u64,
    /// What for.
    pub kind: &'static str,
    /// How much.
    pub bytes: Bytes,
}

/// The most that lives in a phase.
#[derive(Debug, Clone, Serialize)]
pub struct PhaseRow {
    /// The phase.
    pub phase: &'static str,
    /// How much.
    pub bytes: Bytes,
}

/// What lives around one call of the step.
#[derive(Debug, Clone, Serialize)]
pub struct SampleRow {
    /// The part of the step.
    pub phase: &'static str,
    /// The layer or parameter.
    pub at: String,
    /// The op of the call.
    pub op: &'static str,
    /// The most that lives while it runs.
    pub most: Bytes,
    /// What that is made of, those kinds left out of which nothing lives.
    pub parts: Vec<PeakRow>,
    /// What is left after it.
    pub left: Bytes,
}

/// The timeline of a step, call by call.
pub(super) fn timeline(facts: &Facts<'_>) -> Vec<SampleRow> {
    let graph = facts.graph();
    let samples = run(facts.timeline(), Samples::default()).into_samples();
    let row = |sample: Sample| {
        let (at, op) = place(graph, sample.moment);
        SampleRow {
            phase: sample.moment.phase.name(),
            at,
            op,
            most: Bytes(sample.most),
            parts: parts(&sample),
            left: Bytes(sample.left),
        }
    };
    samples.into_iter().map(row).collect()
}

fn parts(sample: &Sample) -> Vec<PeakRow> {
    let row = |&kind: &MemoryKind| PeakRow {
        kind: kind.name(),
        bytes: Bytes(sample.parts[kind as usize]),
    };
    MemoryKind::ALL
        .iter()
        .map(row)
        .filter(|row| row.bytes > Bytes::ZERO)
        .collect()
}

/// The layer or parameter that a step is at, and the op of its call.
fn place(graph: &Graph, moment: Moment) -> (String, &'static str) {
    match (moment.node, moment.parameter) {
        (Some(node), _) => {
            let node = graph.node(node);
            (graph.layer_path(node.layer), node.op.name)
        }
        (None, Some(number)) => {
            let parameter = &graph.parameters[number as usize];
            (graph.parameter_path(parameter), "")
        }
        (None, None) => (String::new(), ""),
    }
}

impl PeakPart {
    pub(super) fn of(facts: &Facts<'_>) -> PeakPart {
        let (graph, peak) = (facts.graph(), facts.peak());
        let (at, op) = peak
            .moment
            .map_or((String::new(), ""), |moment| place(graph, moment));
        PeakPart {
            bytes: peak.bytes,
            at,
            op,
            phase: peak.moment.map_or("", |moment| moment.phase.name()),
            kernels: facts.timeline().kernels.name(),
            plan: PlanPart::of(facts),
            parts: peak
                .parts
                .iter()
                .map(|&(kind, bytes)| PeakRow {
                    kind: kind.name(),
                    bytes,
                })
                .collect(),
            owners: owners(graph, peak),
            phases: peak
                .phases
                .iter()
                .map(|&(phase, bytes)| PhaseRow {
                    phase: phase.name(),
                    bytes,
                })
                .collect(),
        }
    }
}

/// The largest holders, repetitions of a layer together.
fn owners(graph: &Graph, peak: &Peak) -> Vec<PeakOwnerRow> {
    type Sum = (Option<LayerId>, u64, Bytes);
    let mut sums: FxHashMap<(Option<DefinitionId>, MemoryKind), Sum> = FxHashMap::default();
    for owner in &peak.owners {
        let definition = owner.layer.map(|layer| graph.layer(layer).definition);
        let (first, instances, bytes) =
            sums.entry((definition, owner.kind))
                .or_insert((owner.layer, 0, Bytes::ZERO));
        *first = (*first).min(owner.layer);
        *instances += 1;
        *bytes += owner.bytes;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|&((_, kind), (first, _, bytes))| (std::cmp::Reverse(bytes), first, kind));
    sums.into_iter()
        .take(OWNERS)
        .map(|((_, kind), (first, instances, bytes))| PeakOwnerRow {
            path: first.map_or_else(|| "the model".to_owned(), |layer| graph.layer_path(layer)),
            instances,
            kind: kind.name(),
            bytes,
        })
        .collect()
}
