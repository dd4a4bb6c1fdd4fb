//! A sequence of allocations and frees run through the allocator.

use rustc_hash::FxHashMap;

use super::{Allocator, Block, Config, OutOfMemory, Statistics};

/// An allocation or a free of what goes by that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// So many bytes are needed under that number.
    Alloc {
        /// The number.
        id: u32,
        /// Bytes.
        bytes: u64,
    },
    /// What goes by that number is not needed any more.
    Free {
        /// The number.
        id: u32,
    },
}

/// Why a replay ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device has too little memory for the event of that number.
    OutOfMemory {
        /// Which event.
        event: usize,
        /// What was asked for and what there was.
        state: OutOfMemory,
    },
    /// The event of that number allocates what is there, or frees what is not.
    Unbalanced {
        /// Which event.
        event: usize,
    },
}

/// What a replay came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// The counters at its end, with their peaks.
    pub statistics: Statistics,
    /// Why it ended early, if it did.
    pub fault: Option<Fault>,
}

/// Runs the events `times` times, as the steps of a training loop do, on one stream. What a round
/// does not free is freed at its end unless it is below `resident`: parameters and optimizer state
/// are allocated by the first round alone. `O(events · log blocks)`.
pub fn replay(
    config: Config,
    capacity: u64,
    events: &[Event],
    resident: impl Fn(u32) -> bool,
    times: usize,
) -> Replay {
    let mut allocator = Allocator::new(config, capacity);
    let mut blocks: FxHashMap<u32, Block> = FxHashMap::default();
    let mut fault = None;
    'rounds: for _ in 0..times {
        for (number, &event) in events.iter().enumerate() {
            match event {
                Event::Alloc { id, .. } if blocks.contains_key(&id) => {
                    if !resident(id) {
                        fault = Some(Fault::Unbalanced { event: number });
                        break 'rounds;
                    }
                }
                Event::Alloc { id, bytes } => match allocator.malloc(bytes, 0) {
                    Ok(block) => {
                        blocks.insert(id, block);
                    }
                    Err(state) => {
                        fault = Some(Fault::OutOfMemory {
                            event: number,
                            state,
                        });
                        break 'rounds;
                    }
                },
                Event::Free { id } => match blocks.remove(&id) {
                    Some(block) => allocator.free(block),
                    None => {
                        fault = Some(Fault::Unbalanced { event: number });
                        break 'rounds;
                    }
                },
            }
        }
        let mut left: Vec<u32> = blocks.keys().copied().filter(|&id| !resident(id)).collect();
        left.sort_unstable();
        for id in left {
            if let Some(block) = blocks.remove(&id) {
                allocator.free(block);
            }
        }
    }
    Replay {
        statistics: *allocator.statistics(),
        fault,
    }
}
