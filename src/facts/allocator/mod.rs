//! PyTorch's caching allocator for CUDA, simulated: what of a device's memory a sequence of
//! allocations reserves.
//!
//! The rules are those of `c10/cuda/CUDACachingAllocator.cpp` (PyTorch 2.x): sizes are rounded,
//! small and large blocks live in pools of their own for each stream, the smallest block that fits
//! is taken and split, neighbours that are free are joined, and only when nothing fits is memory
//! asked of the device. Each malloc and free takes `O(log blocks)`, but for those that give memory
//! back to the device.
//!
//! Not simulated: private pools of CUDA graphs, `record_stream` (so that what is active is what is
//! allocated), the backend `cudaMallocAsync`. Addresses that the device gives are taken to rise,
//! which decides between blocks of one size only.

mod blocks;
mod config;
mod expandable;
mod release;
mod replay;
mod statistics;
#[cfg(test)]
mod tests;

pub use config::{Config, reserved_for, rounded};
pub use replay::{Event, Fault, Replay, replay};
pub use statistics::{Gauge, Statistics};

use blocks::{Blocks, Index, Pool};

/// Blocks are multiples of this, and none is smaller.
pub const SMALLEST_BLOCK: u64 = 512;
/// Blocks up to this come from the pool of small ones; the remainder of a larger one must be
/// larger than this to be split off.
pub const SMALL_LIMIT: u64 = 1 << 20;
/// What is asked of the device for a small block.
pub const SMALL_SEGMENT: u64 = 2 << 20;
/// What is asked of the device for a large block below [`OWN_SEGMENT`].
pub const LARGE_SEGMENT: u64 = 20 << 20;
/// Blocks from this on get a segment of their own, rounded up to [`SEGMENT_STEP`].
pub const OWN_SEGMENT: u64 = 10 << 20;
/// To what segments of their own are rounded up.
pub const SEGMENT_STEP: u64 = 2 << 20;

/// More than any device has; larger capacities count as this, so that addresses do not overflow.
const MOST: u64 = 1 << 46;

/// A block that was handed out. It is given back by [`Allocator::free`], once.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Block(Option<Index>);

/// An allocation that fails after everything that is cached and whole was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// What was asked for, in bytes.
    pub requested: u64,
    /// What of the device the allocator held then, in bytes.
    pub reserved: u64,
    /// What of that was in use, in bytes.
    pub allocated: u64,
}

/// The allocator of one device.
#[derive(Debug, Clone)]
pub struct Allocator {
    config: Config,
    capacity: u64,
    /// The most that may be reserved, where a fraction is set.
    limit: Option<u64>,
    blocks: Blocks,
    statistics: Statistics,
}

impl Allocator {
    /// An allocator that has reserved nothing yet, on a device that has `capacity` bytes for it:
    /// its memory without the context and whatever else lies there.
    pub fn new(config: Config, capacity: u64) -> Allocator {
        let capacity = capacity.min(MOST);
        let limit = config
            .memory_fraction
            .map(|fraction| (fraction.clamp(0.0, 1.0) * capacity as f64) as u64);
        Allocator {
            config,
            capacity,
            limit,
            blocks: Blocks::default(),
            statistics: Statistics::default(),
        }
    }

    /// What is and what at most was in use.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The size of a block that was handed out, in bytes; 0 for an empty one.
    pub fn size(&self, block: &Block) -> u64 {
        block.0.map_or(0, |index| self.blocks[index].size)
    }

    /// Hands out a block for so many bytes on a stream. Nothing is no block.
    ///
    /// # Errors
    /// Where the device has no room left, not even after what is cached was given back.
    pub fn malloc(&mut self, bytes: u64, stream: u32) -> Result<Block, OutOfMemory> {
        if bytes == 0 {
            return Ok(Block(None));
        }
        if bytes > MOST {
            return Err(self.out_of_memory(bytes));
        }
        let size = rounded(&self.config, bytes);
        let request = Request {
            size,
            stream,
            pool: Pool::of(size),
        };
        if let Some(found) = self.cached(request) {
            return Ok(self.hand_out(found, request, bytes));
        }
        if self.collects() {
            self.collect_garbage();
        }
        let mut found = self.reserve(request);
        if found.is_none() && self.release_oversized(request) {
            found = self.reserve(request);
        }
        if found.is_none() {
            self.release_cached();
            self.statistics.retries += 1;
            found = self.reserve(request);
        }
        match found {
            Some(found) => Ok(self.hand_out(found, request, bytes)),
            None => Err(self.out_of_memory(bytes)),
        }
    }

    /// Takes a block back, and joins it with its free neighbours in the same segment.
    pub fn free(&mut self, block: Block) {
        let Some(index) = block.0 else { return };
        let (size, requested) = {
            let block = &mut self.blocks[index];
            block.allocated = false;
            (block.size, block.requested)
        };
        let mut change = 0i128;
        for neighbour in [self.blocks[index].previous, self.blocks[index].next] {
            let subsumed = self.blocks.join(index, neighbour);
            change -= i128::from(subsumed);
        }
        self.blocks.insert_free(index);
        if self.blocks.is_split(index) {
            change += i128::from(self.blocks[index].size);
        }
        if self.blocks[index].segment.is_none() {
            self.statistics.inactive_split.change(change);
        }
        self.statistics.allocated.sub(size);
        self.statistics.requested.sub(requested);
    }

    /// Whether cached blocks are given back before the limit is reached.
    fn collects(&self) -> bool {
        self.limit.is_some() && self.config.garbage_collection_threshold > 0.0
    }

    /// The best cached block for a request, taken out of its pool.
    fn cached(&mut self, request: Request) -> Option<Index> {
        if self.collects() {
            self.blocks.pools[request.pool as usize].searches += 1;
        }
        let found = self.best_fit(request)?;
        let size = self.blocks[found].size;
        let most = self.config.max_split_size.unwrap_or(u64::MAX);
        // An oversized block is left to oversized requests, and to those of about its size.
        if request.size < most && size >= most {
            return None;
        }
        let rounding = self.config.max_non_split_rounding;
        if request.size >= most && size >= request.size.saturating_add(rounding) {
            return None;
        }
        self.blocks.remove_free(found);
        Some(found)
    }

    /// The smallest free block of at least that size; of blocks that can grow, the one that would
    /// be smallest then.
    fn best_fit(&self, request: Request) -> Option<Index> {
        let mut candidates = self.blocks.free_from(request);
        let mut best = candidates.next()?;
        let room = |index: Index| {
            let block = &self.blocks[index];
            let next = block.next.map(|next| &self.blocks[next]);
            block.size + next.filter(|next| !next.mapped).map_or(0, |next| next.size)
        };
        if self.blocks[best].segment.is_some() {
            for next in candidates {
                if room(next) >= room(best) {
                    break;
                }
                best = next;
            }
        }
        Some(best)
    }

    /// A block from new memory of the device.
    fn reserve(&mut self, request: Request) -> Option<Index> {
        let bytes = reserved_for(request.size);
        let reserved = self.statistics.reserved.current;
        if self.limit.is_some_and(|limit| reserved + bytes > limit) {
            return None;
        }
        if self.config.expandable_segments {
            return self.reserve_expandable(request);
        }
        if reserved + bytes > self.capacity {
            return None;
        }
        self.statistics.reserved.add(bytes);
        self.statistics.segments.add(1);
        Some(self.blocks.new_segment(bytes, request))
    }

    /// Makes a free block one that is in use, the rest of it split off where the rules say so.
    fn hand_out(&mut self, index: Index, request: Request, requested: u64) -> Block {
        let (whole, growing) = {
            let block = &self.blocks[index];
            (block.size, block.segment.is_some())
        };
        let was_split = self.blocks.is_split(index);
        let rest = whole - request.size;
        let most = self.config.max_split_size.unwrap_or(u64::MAX);
        let split = match request.pool == Pool::Small || self.config.expandable_segments {
            true => rest >= SMALLEST_BLOCK,
            false => request.size < most && rest > SMALL_LIMIT,
        };
        let index = match split {
            true => self.blocks.split(index, request.size),
            false => index,
        };
        if !growing {
            let inactive = &mut self.statistics.inactive_split;
            match (split, was_split) {
                (true, true) => inactive.sub(request.size),
                (true, false) => inactive.add(rest),
                (false, true) => inactive.sub(whole),
                (false, false) => {}
            }
        }
        let block = &mut self.blocks[index];
        block.allocated = true;
        block.requested = requested;
        self.statistics.allocated.add(block.size);
        self.statistics.requested.add(requested);
        Block(Some(index))
    }

    fn out_of_memory(&self, requested: u64) -> OutOfMemory {
        OutOfMemory {
            requested,
            reserved: self.statistics.reserved.current,
            allocated: self.statistics.allocated.current,
        }
    }
}

/// A block that is wanted.
#[derive(Debug, Clone, Copy)]
struct Request {
    /// Its size, rounded.
    size: u64,
    stream: u32,
    pool: Pool,
}
