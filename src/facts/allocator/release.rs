//! How cached memory is given back to the device: by age, the oversized blocks, and in need all.

use super::blocks::{Index, Pool};
use super::{Allocator, Request};

impl Allocator {
    /// Gives a free block that is a whole segment back.
    fn release(&mut self, index: Index) {
        self.blocks.remove_free(index);
        self.statistics.reserved.sub(self.blocks[index].size);
        self.statistics.segments.sub(1);
        self.blocks.forget(index);
    }

    /// The free blocks that are whole segments, smallest first in each stream.
    fn whole(&self, pool: Pool) -> Vec<Index> {
        let free = self.blocks.pools[pool as usize].mapped.iter();
        free.map(|&(.., index)| index)
            .filter(|&index| self.blocks[index].segment.is_none() && !self.blocks.is_split(index))
            .collect()
    }

    /// Gives back large blocks that were not used for longer than the average, until the reserved
    /// memory is below the threshold or nothing is left.
    pub(super) fn collect_garbage(&mut self) {
        let limit = self.limit.unwrap_or(u64::MAX);
        let threshold = (self.config.garbage_collection_threshold * limit as f64) as u64;
        let reserved = self.statistics.reserved.current;
        if reserved <= threshold {
            return;
        }
        let target = reserved - threshold;
        let searches = self.blocks.pools[Pool::Large as usize].searches;
        let mut left: Vec<(Index, u64)> = self
            .whole(Pool::Large)
            .into_iter()
            .map(|index| (index, searches - self.blocks[index].since))
            .collect();
        let mut total: u64 = left.iter().map(|&(_, age)| age).sum();
        let (mut reclaimed, mut freed) = (0u64, true);
        while reclaimed < target && freed && !left.is_empty() {
            let average = total as f64 / left.len() as f64;
            freed = false;
            let (old, young): (Vec<_>, Vec<_>) =
                left.iter().partition(|&&(_, age)| age as f64 >= average);
            for (index, age) in old {
                freed = true;
                reclaimed += self.blocks[index].size;
                total -= age;
                self.release(index);
            }
            left = young;
        }
    }

    /// Where splitting has a limit: gives back the oversized block that fits best, or the largest
    /// ones until they are enough. Says whether that is enough.
    pub(super) fn release_oversized(&mut self, request: Request) -> bool {
        let Some(most) = self.config.max_split_size else {
            return false;
        };
        let wanted = Request {
            size: request.size.max(most),
            ..request
        };
        let best = self.blocks.free_from(wanted).next();
        if let Some(index) = best {
            if self.blocks[index].segment.is_none() && !self.blocks.is_split(index) {
                self.release(index);
            }
            return true;
        }
        let pool = self.blocks.pools[request.pool as usize].mapped.iter();
        let oversized: Vec<Index> = pool
            .rev()
            .filter(|(stream, size, ..)| *stream == request.stream && *size >= most)
            .map(|&(.., index)| index)
            .filter(|&index| self.blocks[index].segment.is_none())
            .collect();
        let mut released = 0u64;
        for index in oversized {
            if released >= wanted.size {
                break;
            }
            released += self.blocks[index].size;
            self.release(index);
        }
        released >= wanted.size
    }

    /// Gives back every free block that is a whole segment, and every whole page of the expandable
    /// ones.
    pub(super) fn release_cached(&mut self) {
        for pool in Pool::ALL {
            for index in self.whole(pool) {
                self.release(index);
            }
            let growing: Vec<Index> = self.blocks.pools[pool as usize]
                .mapped
                .iter()
                .map(|&(.., index)| index)
                .filter(|&index| self.blocks[index].segment.is_some())
                .collect();
            for index in growing {
                self.unmap(index);
            }
        }
    }
}
