//! The blocks of all segments: a list by address in each segment, and the free ones by size.

use std::collections::BTreeSet;
use std::ops::{Index as Indexed, IndexMut};

use super::{Request, SMALL_LIMIT};

/// The number of a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Index(u32);

/// A pool of free blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    Small,
    Large,
}

impl Pool {
    pub(super) const ALL: [Pool; 2] = [Pool::Small, Pool::Large];

    pub(super) fn of(size: u64) -> Pool {
        match size <= SMALL_LIMIT {
            true => Pool::Small,
            false => Pool::Large,
        }
    }
}

/// A part of a segment.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub address: u64,
    pub size: u64,
    /// What was asked for, where it is in use.
    pub requested: u64,
    pub stream: u32,
    pub pool: Pool,
    /// The neighbours in the segment.
    pub previous: Option<Index>,
    pub next: Option<Index>,
    pub allocated: bool,
    /// Whether there is memory behind the addresses; always, but in expandable segments.
    pub mapped: bool,
    /// Where the expandable segment begins that it lies in.
    pub segment: Option<u64>,
    /// The pool's searches when it was last put there.
    pub since: u64,
}

/// The free blocks of a pool.
#[derive(Debug, Clone, Default)]
pub(super) struct Free {
    /// By stream, size and address.
    pub mapped: BTreeSet<(u32, u64, u64, Index)>,
    /// Addresses without memory, by stream and address.
    pub unmapped: BTreeSet<(u32, u64, Index)>,
    /// Searches so far; the age of blocks is counted in them.
    pub searches: u64,
}

/// All blocks.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    parts: Vec<Part>,
    /// Numbers that are free to be used again.
    spare: Vec<Index>,
    pub pools: [Free; 2],
    next_address: u64,
}

impl Indexed<Index> for Blocks {
    type Output = Part;

    fn index(&self, index: Index) -> &Part {
        &self.parts[index.0 as usize]
    }
}

impl IndexMut<Index> for Blocks {
    fn index_mut(&mut self, index: Index) -> &mut Part {
        &mut self.parts[index.0 as usize]
    }
}

impl Blocks {
    fn add(&mut self, part: Part) -> Index {
        match self.spare.pop() {
            Some(index) => {
                self[index] = part;
                index
            }
            None => {
                self.parts.push(part);
                Index((self.parts.len() - 1) as u32)
            }
        }
    }

    /// A range of addresses that nothing else has. They only ever rise.
    pub fn addresses(&mut self, bytes: u64) -> u64 {
        let address = self.next_address;
        self.next_address = address.saturating_add(bytes);
        address
    }

    /// A whole segment, in no pool yet.
    pub fn new_segment(&mut self, bytes: u64, request: Request) -> Index {
        let address = self.addresses(bytes);
        self.add(Part {
            address,
            size: bytes,
            requested: 0,
            stream: request.stream,
            pool: request.pool,
            previous: None,
            next: None,
            allocated: false,
            mapped: true,
            segment: None,
            since: 0,
        })
    }

    /// Whether the block is only a part of its segment.
    pub fn is_split(&self, index: Index) -> bool {
        self[index].previous.is_some() || self[index].next.is_some()
    }

    /// The free blocks of at least the request's size in its pool and stream, the smallest first.
    pub fn free_from(&self, request: Request) -> impl Iterator<Item = Index> + '_ {
        let least = (request.stream, request.size, 0, Index(0));
        self.pools[request.pool as usize]
            .mapped
            .range(least..)
            .take_while(move |(stream, ..)| *stream == request.stream)
            .map(|&(.., index)| index)
    }

    /// Puts a block into its pool, among those with memory or those without.
    pub fn insert_free(&mut self, index: Index) {
        let part = &self[index];
        let (stream, size, address) = (part.stream, part.size, part.address);
        let (pool, mapped) = (part.pool as usize, part.mapped);
        match mapped {
            true => {
                self[index].since = self.pools[pool].searches;
                let key = (stream, size, address, index);
                self.pools[pool].mapped.insert(key);
            }
            false => {
                self.pools[pool].unmapped.insert((stream, address, index));
            }
        }
    }

    /// Takes a block out of its pool.
    pub fn remove_free(&mut self, index: Index) {
        let part = &self[index];
        let (stream, size, address) = (part.stream, part.size, part.address);
        let (pool, mapped) = (part.pool as usize, part.mapped);
        match mapped {
            true => {
                let key = (stream, size, address, index);
                self.pools[pool].mapped.remove(&key);
            }
            false => {
                self.pools[pool].unmapped.remove(&(stream, address, index));
            }
        }
    }

    /// Forgets a block that is in no pool and has no neighbours.
    pub fn forget(&mut self, index: Index) {
        self.spare.push(index);
    }

    /// Cuts a block that is in no pool in two. The front part stays in no pool and is returned,
    /// the rest keeps the number and goes into the pool.
    pub fn split(&mut self, index: Index, size: u64) -> Index {
        let mut front = self[index].clone();
        front.size = size;
        front.next = Some(index);
        let before = front.previous;
        let front = self.add(front);
        if let Some(before) = before {
            self[before].next = Some(front);
        }
        let rest = &mut self[index];
        rest.previous = Some(front);
        rest.address += size;
        rest.size -= size;
        self.insert_free(index);
        front
    }

    /// Cuts the end off a block that is in no pool. The front keeps the number; the end is
    /// returned and is in no pool.
    pub fn cut_end(&mut self, index: Index, size: u64) -> Index {
        let mut end = self[index].clone();
        end.address += size;
        end.size -= size;
        end.previous = Some(index);
        let after = end.next;
        let end = self.add(end);
        if let Some(after) = after {
            self[after].previous = Some(end);
        }
        let front = &mut self[index];
        front.size = size;
        front.next = Some(end);
        end
    }

    /// Lets a block that is in no pool take in its neighbour, if that is free and alike in having
    /// memory. Gives the bytes taken in.
    pub fn join(&mut self, index: Index, neighbour: Option<Index>) -> u64 {
        let Some(neighbour) = neighbour else { return 0 };
        let other = &self[neighbour];
        if other.allocated || other.mapped != self[index].mapped {
            return 0;
        }
        let (size, address) = (other.size, other.address);
        let (previous, next) = (other.previous, other.next);
        self.remove_free(neighbour);
        if self[index].previous == Some(neighbour) {
            self[index].previous = previous;
            self[index].address = address;
            if let Some(previous) = previous {
                self[previous].next = Some(index);
            }
        } else {
            self[index].next = next;
            if let Some(next) = next {
                self[next].previous = Some(index);
            }
        }
        self[index].size += size;
        self.forget(neighbour);
        size
    }

    /// The blocks, in no order.
    #[cfg(test)]
    pub fn all(&self) -> impl Iterator<Item = (Index, &Part)> {
        self.parts
            .iter()
            .enumerate()
            .map(|(number, part)| (Index(number as u32), part))
            .filter(|(index, _)| !self.spare.contains(index))
    }
}
