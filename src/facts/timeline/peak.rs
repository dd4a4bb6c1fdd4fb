//! The moment at which the most lives.

use rustc_hash::FxHashMap;

use super::heap::{Moment, Phase};
use super::recorder::{Highest, Living, PHASES};
use super::step::{Inputs, run};
use crate::facts::memory::MemoryKind;
use crate::graph::LayerId;
use crate::quantity::Bytes;

/// Who holds memory at the peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeakOwner {
    /// The layer whose call or parameter it is.
    pub layer: Option<LayerId>,
    /// What for.
    pub kind: MemoryKind,
    /// How much.
    pub bytes: Bytes,
}

/// The moment of a step at which the most lives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Peak {
    /// How much.
    pub bytes: Bytes,
    /// When.
    pub moment: Option<Moment>,
    /// What it is made of, in the order of [`MemoryKind::ALL`], without what is nothing.
    pub parts: Vec<(MemoryKind, Bytes)>,
    /// Who holds it, the largest first.
    pub owners: Vec<PeakOwner>,
    /// The most in each phase that there is.
    pub phases: Vec<(Phase, Bytes)>,
}

impl Peak {
    /// Runs the step twice: to find the peak, and to see who holds what at it. `O(nodes +
    /// operands)`.
    pub fn of(inputs: Inputs<'_>) -> Peak {
        let highest = run(inputs, Highest::default());
        let Some(reached) = highest.reached else {
            return Peak::default();
        };
        let blocks = run(inputs, Living::until(reached.number)).into_blocks();
        let graph = inputs.graph;
        let mut sums: FxHashMap<(Option<LayerId>, MemoryKind), u64> = FxHashMap::default();
        for block in &blocks {
            let parameter = block.moment.parameter;
            let layer = match (block.moment.node, parameter) {
                (Some(node), _) => Some(graph.node(node).layer),
                (None, Some(number)) => graph.parameters[number as usize].layer,
                (None, None) => None,
            };
            let sum = sums.entry((layer, block.kind)).or_default();
            *sum = sum.saturating_add(block.bytes);
        }
        let mut owners: Vec<PeakOwner> = sums
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|((layer, kind), bytes)| PeakOwner {
                layer,
                kind,
                bytes: Bytes(bytes),
            })
            .collect();
        owners.sort_by_key(|owner| (std::cmp::Reverse(owner.bytes), owner.layer, owner.kind));
        Peak {
            bytes: Bytes(highest.bytes),
            moment: Some(reached.moment),
            parts: MemoryKind::ALL
                .into_iter()
                .map(|kind| (kind, Bytes(highest.parts[kind as usize])))
                .filter(|(_, bytes)| *bytes > Bytes::ZERO)
                .collect(),
            owners,
            phases: PHASES
                .into_iter()
                .map(|phase| (phase, Bytes(highest.phases[phase as usize])))
                .filter(|(phase, bytes)| *phase != Phase::Start && *bytes > Bytes::ZERO)
                .collect(),
        }
    }

    /// How much of it is of that kind.
    pub fn part(&self, kind: MemoryKind) -> Bytes {
        let found = self.parts.iter().find(|(part, _)| *part == kind);
        found.map_or(Bytes::ZERO, |(_, bytes)| *bytes)
    }
}
