//! Expandable segments: a range of addresses of more than the device's memory for each pool and
//! stream, to which memory is given page by page where it is needed.

use super::blocks::{Index, Pool};
use super::{Allocator, LARGE_SEGMENT, Request, SMALL_SEGMENT};

/// The size of the pages of a pool.
fn page(pool: Pool) -> u64 {
    match pool {
        Pool::Small => SMALL_SEGMENT,
        Pool::Large => LARGE_SEGMENT,
    }
}

impl Allocator {
    /// A free block of at least the request's size, with memory mapped to its end where it takes
    /// more; it is in no pool. `None` where the device has too little left.
    pub(super) fn reserve_expandable(&mut self, request: Request) -> Option<Index> {
        let mut candidate = self.room(request);
        if !self.blocks[candidate].mapped {
            let bytes = self.blocks[candidate].size.min(request.size);
            candidate = self.map(candidate, bytes)?;
        }
        // A free block, and addresses without memory behind it.
        while self.blocks[candidate].size < request.size {
            let missing = request.size - self.blocks[candidate].size;
            let next = self.blocks[candidate].next?;
            let bytes = self.blocks[next].size.min(missing);
            candidate = self.map(next, bytes)?;
        }
        self.blocks.remove_free(candidate);
        Some(candidate)
    }

    /// Where a request can go: the lowest addresses without memory, with the free block before
    /// them, behind which there is enough that is free; else a new segment.
    fn room(&mut self, request: Request) -> Index {
        let found = {
            let free = &self.blocks.pools[request.pool as usize];
            let of_stream = free
                .unmapped
                .range((request.stream, 0, Index::default())..)
                .take_while(|(stream, ..)| *stream == request.stream);
            of_stream
                .map(|&(.., index)| {
                    let before = self.blocks[index].previous;
                    before
                        .filter(|&before| !self.blocks[before].allocated)
                        .unwrap_or(index)
                })
                .find(|&index| self.has_room(index, request.size))
        };
        found.unwrap_or_else(|| self.new_expandable(request))
    }

    fn has_room(&self, first: Index, size: u64) -> bool {
        let (mut at, mut room) = (Some(first), 0u64);
        while let Some(index) = at
            && room < size
            && !self.blocks[index].allocated
        {
            room = room.saturating_add(self.blocks[index].size);
            at = self.blocks[index].next;
        }
        room >= size
    }

    /// A range of addresses of 9/8 of the device's memory.
    fn new_expandable(&mut self, request: Request) -> Index {
        let page = page(request.pool);
        let bytes = (self.capacity + self.capacity / 8).max(request.size);
        let bytes = bytes.div_ceil(page).max(1) * page;
        let index = self.blocks.new_segment(bytes, request);
        let address = self.blocks[index].address;
        let block = &mut self.blocks[index];
        block.mapped = false;
        block.segment = Some(address);
        self.blocks.insert_free(index);
        self.statistics.segments.add(1);
        index
    }

    /// Gives memory to the first bytes of addresses that have none, in whole pages, and joins them
    /// with what is free around. `None` where the device has too little left.
    fn map(&mut self, index: Index, bytes: u64) -> Option<Index> {
        let page = page(self.blocks[index].pool);
        let bytes = bytes.div_ceil(page) * page;
        if self.statistics.reserved.current + bytes > self.capacity {
            return None;
        }
        self.blocks.remove_free(index);
        if bytes < self.blocks[index].size {
            let rest = self.blocks.cut_end(index, bytes);
            self.blocks.insert_free(rest);
        }
        self.blocks[index].mapped = true;
        let (before, after) = (self.blocks[index].previous, self.blocks[index].next);
        self.blocks.join(index, before);
        self.blocks.join(index, after);
        self.blocks.insert_free(index);
        self.statistics.reserved.add(bytes);
        Some(index)
    }

    /// Gives the whole pages within a free block back to the device.
    pub(super) fn unmap(&mut self, index: Index) {
        let block = &self.blocks[index];
        let (page, start) = (page(block.pool), block.segment.unwrap_or(0));
        let (from, to) = (block.address - start, block.address - start + block.size);
        let (first, end) = (from.div_ceil(page) * page, to / page * page);
        if first >= end {
            return;
        }
        self.blocks.remove_free(index);
        let mut index = index;
        if first > from {
            let rest = self.blocks.cut_end(index, first - from);
            self.blocks.insert_free(index);
            index = rest;
        }
        if to > end {
            let rest = self.blocks.cut_end(index, end - first);
            self.blocks.insert_free(rest);
        }
        self.blocks[index].mapped = false;
        let (before, after) = (self.blocks[index].previous, self.blocks[index].next);
        self.blocks.join(index, before);
        self.blocks.join(index, after);
        self.statistics.reserved.sub(end - first);
        if self.blocks.is_split(index) {
            self.blocks.insert_free(index);
        } else {
            self.blocks.forget(index);
            self.statistics.segments.sub(1);
        }
    }
}
