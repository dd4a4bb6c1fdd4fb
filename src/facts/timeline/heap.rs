//! Counted blocks of memory, and who listens to what happens to them.
//!
//! A block lives as long as something refers to it, as PyTorch's storages do. The heap keeps only
//! the blocks that live; what becomes of the events is for its [`Recorder`].

use crate::facts::memory::MemoryKind;
use crate::graph::NodeId;

/// A part of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Before the step: parameters, buffers, optimizer state, inputs.
    Start,
    /// The forward pass.
    Forward,
    /// The backward pass; what is recomputed for it included.
    Backward,
    /// The optimizer's step.
    Optimizer,
}

impl Phase {
    /// The name in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Start => "start",
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Optimizer => "optimizer",
        }
    }
}

/// When something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The part of the step.
    pub phase: Phase,
    /// The call that runs, forwards or backwards.
    pub node: Option<NodeId>,
    /// The call whose backward pass waits for this one, which is run forward once more.
    pub waiting: Option<NodeId>,
    /// The parameter that is updated, or that the block belongs to, by its number.
    pub parameter: Option<u32>,
}

/// A block as it is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// Its number: blocks are counted from 0 in the order in which they are allocated.
    pub number: u64,
    /// Its size.
    pub bytes: u64,
    /// What it is for.
    pub kind: MemoryKind,
    /// When it was allocated, and for whom.
    pub moment: Moment,
}

/// Listens to a heap.
pub trait Recorder {
    /// A block comes to live.
    fn allocated(&mut self, block: &Allocation);
    /// A block goes; `now` is when.
    fn freed(&mut self, block: &Allocation, now: Moment);
    /// A block that lives is for something else from now on: a gradient on its way has become a
    /// parameter's. `block` still has the old kind.
    fn became(&mut self, block: &Allocation, kind: MemoryKind, now: Moment);
}

/// A reference to a block that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle(u32);

/// The blocks that live.
#[derive(Debug)]
pub struct Heap<R> {
    blocks: Vec<(Allocation, u32)>,
    vacant: Vec<u32>,
    allocations: u64,
    /// The current moment.
    pub now: Moment,
    /// Who listens.
    pub recorder: R,
}

impl<R: Recorder> Heap<R> {
    /// Nothing lives.
    pub fn new(recorder: R) -> Heap<R> {
        Heap {
            blocks: Vec::new(),
            vacant: Vec::new(),
            allocations: 0,
            now: Moment {
                phase: Phase::Start,
                node: None,
                waiting: None,
                parameter: None,
            },
            recorder,
        }
    }

    /// A new block with one reference. `O(1)`.
    pub fn allocate(&mut self, bytes: u64, kind: MemoryKind) -> Handle {
        let block = Allocation {
            number: self.allocations,
            bytes,
            kind,
            moment: self.now,
        };
        self.allocations += 1;
        self.recorder.allocated(&block);
        match self.vacant.pop() {
            Some(place) => {
                self.blocks[place as usize] = (block, 1);
                Handle(place)
            }
            None => {
                self.blocks.push((block, 1));
                Handle(self.blocks.len() as u32 - 1)
            }
        }
    }

    /// One more reference.
    pub fn retain(&mut self, handle: Handle) -> Handle {
        self.blocks[handle.0 as usize].1 += 1;
        handle
    }

    /// One reference less; the last one frees the block. `O(1)`.
    pub fn release(&mut self, handle: Handle) {
        let (block, references) = &mut self.blocks[handle.0 as usize];
        debug_assert!(*references > 0, "a block was freed twice: {block:?}");
        *references = references.saturating_sub(1);
        if *references == 0 {
            let block = *block;
            self.vacant.push(handle.0);
            self.recorder.freed(&block, self.now);
        }
    }

    /// Says that a block is for something else from now on. `O(1)`.
    pub fn relabel(&mut self, handle: Handle, kind: MemoryKind) {
        let (block, _) = &mut self.blocks[handle.0 as usize];
        if block.kind != kind {
            self.recorder.became(block, kind, self.now);
            block.kind = kind;
        }
    }

    /// The bytes of a block.
    pub fn bytes(&self, handle: Handle) -> u64 {
        self.blocks[handle.0 as usize].0.bytes
    }

    /// Whether this is the only reference.
    pub fn is_sole(&self, handle: Handle) -> bool {
        self.blocks[handle.0 as usize].1 == 1
    }

    /// How many blocks live.
    pub fn living(&self) -> usize {
        self.blocks.len() - self.vacant.len()
    }
}
