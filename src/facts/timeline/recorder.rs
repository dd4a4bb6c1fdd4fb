//! What is made of the events of a step: the peak, what lives at it, or the events themselves.

use rustc_hash::FxHashMap;

use super::heap::{Allocation, Moment, Phase, Recorder};
use crate::facts::memory::MemoryKind;

/// The bytes that live of each kind.
pub type Parts = [u64; MemoryKind::COUNT];

/// Follows the sum of what lives and remembers its maximum.
#[derive(Debug, Clone)]
pub struct Highest {
    now: Parts,
    total: u64,
    /// The greatest sum so far.
    pub bytes: u64,
    /// What it was made of.
    pub parts: Parts,
    /// The block whose allocation reached it.
    pub reached: Option<Allocation>,
    /// The greatest sum in each phase.
    pub phases: [u64; 4],
}

impl Default for Highest {
    fn default() -> Highest {
        Highest {
            now: [0; MemoryKind::COUNT],
            total: 0,
            bytes: 0,
            parts: [0; MemoryKind::COUNT],
            reached: None,
            phases: [0; 4],
        }
    }
}

impl Highest {
    /// What lives now.
    pub fn living(&self) -> u64 {
        self.total
    }
}

/// Moves a block's bytes from one kind to another.
fn moved(parts: &mut Parts, block: &Allocation, kind: MemoryKind) {
    let old = &mut parts[block.kind as usize];
    *old = old.saturating_sub(block.bytes);
    let new = &mut parts[kind as usize];
    *new = new.saturating_add(block.bytes);
}

impl Recorder for Highest {
    fn allocated(&mut self, block: &Allocation) {
        let part = &mut self.now[block.kind as usize];
        *part = part.saturating_add(block.bytes);
        self.total = self.total.saturating_add(block.bytes);
        let phase = &mut self.phases[block.moment.phase as usize];
        *phase = self.total.max(*phase);
        if self.total > self.bytes {
            self.bytes = self.total;
            self.parts = self.now;
            self.reached = Some(*block);
        }
    }

    fn freed(&mut self, block: &Allocation, _: Moment) {
        let part = &mut self.now[block.kind as usize];
        *part = part.saturating_sub(block.bytes);
        self.total = self.total.saturating_sub(block.bytes);
    }

    fn became(&mut self, block: &Allocation, kind: MemoryKind, _: Moment) {
        moved(&mut self.now, block, kind);
    }
}

/// What lives when the block of a given number is allocated.
#[derive(Debug, Clone, Default)]
pub struct Living {
    until: u64,
    over: bool,
    blocks: FxHashMap<u64, Allocation>,
}

impl Living {
    /// Stops at the block of that number.
    pub fn until(number: u64) -> Living {
        Living {
            until: number,
            ..Living::default()
        }
    }

    /// The blocks, the largest first.
    pub fn into_blocks(self) -> Vec<Allocation> {
        let mut blocks: Vec<_> = self.blocks.into_values().collect();
        blocks.sort_by_key(|block| (std::cmp::Reverse(block.bytes), block.number));
        blocks
    }
}

impl Recorder for Living {
    fn allocated(&mut self, block: &Allocation) {
        if !self.over {
            self.blocks.insert(block.number, *block);
            self.over = block.number == self.until;
        }
    }

    fn freed(&mut self, block: &Allocation, _: Moment) {
        if !self.over {
            self.blocks.remove(&block.number);
        }
    }

    fn became(&mut self, block: &Allocation, kind: MemoryKind, _: Moment) {
        if !self.over
            && let Some(block) = self.blocks.get_mut(&block.number)
        {
            block.kind = kind;
        }
    }
}

/// One thing that happens to a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The block.
    pub block: Allocation,
    /// Whether it is allocated, rather than freed.
    pub allocates: bool,
    /// When.
    pub moment: Moment,
}

/// Everything that happens, in order.
#[derive(Debug, Clone, Default)]
pub struct Events(pub Vec<Event>);

impl Recorder for Events {
    fn allocated(&mut self, block: &Allocation) {
        self.0.push(Event {
            block: *block,
            allocates: true,
            moment: block.moment,
        });
    }

    fn freed(&mut self, block: &Allocation, now: Moment) {
        self.0.push(Event {
            block: *block,
            allocates: false,
            moment: now,
        });
    }

    fn became(&mut self, _: &Allocation, _: MemoryKind, _: Moment) {}
}

/// What lives around one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The moment.
    pub moment: Moment,
    /// The most that lives at it.
    pub most: u64,
    /// What that is made of.
    pub parts: Parts,
    /// What lives at its end.
    pub left: u64,
}

/// Follows the sum of what lives, moment by moment.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    total: u64,
    now: Parts,
    samples: Vec<Sample>,
}

impl Samples {
    /// The samples, in order: one for the start, one for each call in each direction, one for each
    /// parameter that is updated.
    pub fn into_samples(self) -> Vec<Sample> {
        self.samples
    }

    fn sample(&mut self, moment: Moment) {
        let same = |last: &Sample| {
            // All that is there before the step counts as one.
            let when = |moment: Moment| (moment.phase, moment.node, moment.parameter);
            when(last.moment) == when(moment)
                || (last.moment.phase, moment.phase) == (Phase::Start, Phase::Start)
        };
        match self.samples.last_mut().filter(|last| same(last)) {
            Some(last) => {
                if self.total > last.most {
                    last.most = self.total;
                    last.parts = self.now;
                }
                last.left = self.total;
            }
            None => self.samples.push(Sample {
                moment,
                most: self.total,
                parts: self.now,
                left: self.total,
            }),
        }
    }
}

impl Recorder for Samples {
    fn allocated(&mut self, block: &Allocation) {
        let part = &mut self.now[block.kind as usize];
        *part = part.saturating_add(block.bytes);
        self.total = self.total.saturating_add(block.bytes);
        self.sample(block.moment);
    }

    fn freed(&mut self, block: &Allocation, now: Moment) {
        let part = &mut self.now[block.kind as usize];
        *part = part.saturating_sub(block.bytes);
        self.total = self.total.saturating_sub(block.bytes);
        self.sample(now);
    }

    fn became(&mut self, block: &Allocation, kind: MemoryKind, _: Moment) {
        moved(&mut self.now, block, kind);
    }
}

/// The phases, in order.
pub const PHASES: [Phase; 4] = [
    Phase::Start,
    Phase::Forward,
    Phase::Backward,
    Phase::Optimizer,
];
