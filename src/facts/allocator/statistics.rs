//! What the allocator counts: `torch.cuda.memory_stats`, as far as it is simulated.

/// A quantity and the most that it ever was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Now.
    pub current: u64,
    /// At most.
    pub peak: u64,
}

impl Gauge {
    pub(super) fn add(&mut self, amount: u64) {
        self.current = self.current.saturating_add(amount);
        self.peak = self.peak.max(self.current);
    }

    pub(super) fn sub(&mut self, amount: u64) {
        self.current = self.current.saturating_sub(amount);
    }

    pub(super) fn change(&mut self, amount: i128) {
        let size = u64::try_from(amount.unsigned_abs()).unwrap_or(u64::MAX);
        match amount >= 0 {
            true => self.add(size),
            false => self.sub(size),
        }
    }
}

/// The allocator's counters, in bytes unless said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Blocks in use: `torch.cuda.memory_allocated`.
    pub allocated: Gauge,
    /// What was asked for of them: `requested_bytes`.
    pub requested: Gauge,
    /// Taken from the device: `torch.cuda.memory_reserved`.
    pub reserved: Gauge,
    /// Free parts of segments that are in use elsewhere, so that they cannot be given back:
    /// `inactive_split_bytes`. Expandable segments do not count.
    pub inactive_split: Gauge,
    /// Segments, a count.
    pub segments: Gauge,
    /// Times that everything cached had to be given back: `num_alloc_retries`.
    pub retries: u64,
}
