//! The allocator's settings, and how sizes are rounded under them.
//!
//! The settings are those of `PYTORCH_ALLOC_CONF` that change what is reserved.

use super::{LARGE_SEGMENT, OWN_SEGMENT, SEGMENT_STEP, SMALL_LIMIT, SMALL_SEGMENT, SMALLEST_BLOCK};
use crate::quantity::Bytes;
use crate::spec::run::{Allocator as Settings, Divisions};

/// The allocator's settings; PyTorch's defaults unless set.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Whether segments grow page by page in a reserved range of addresses.
    pub expandable_segments: bool,
    /// Blocks of this size or more are not split; `None` for no limit.
    pub max_split_size: Option<u64>,
    /// How much larger than a request of `max_split_size` or more its block may be.
    pub max_non_split_rounding: u64,
    /// Into how many steps each power of two is divided to round sizes up; 0 and 1 for not at all.
    pub divisions: Divisions,
    /// The share of the limit above which blocks that were long unused are given back; 0 for never.
    /// Without `memory_fraction` there is no limit.
    pub garbage_collection_threshold: f64,
    /// The share of the device's memory that may be reserved.
    pub memory_fraction: Option<f64>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            expandable_segments: false,
            max_split_size: None,
            max_non_split_rounding: LARGE_SEGMENT,
            divisions: Divisions::default(),
            garbage_collection_threshold: 0.0,
            memory_fraction: None,
        }
    }
}

impl Config {
    /// The settings of a run.
    pub fn of(settings: &Settings) -> Config {
        let mebibytes = |count: u64| count.saturating_mul(1 << 20);
        let split = settings.max_split_size_mb.get();
        let rounding = settings.max_non_split_rounding_mb.get();
        Config {
            expandable_segments: settings.expandable_segments.or(false),
            max_split_size: split.map(|size| mebibytes(size.0)),
            max_non_split_rounding: rounding.map_or(LARGE_SEGMENT, |size| mebibytes(size.0)),
            divisions: settings.roundup_power2_divisions.or(Divisions::default()),
            garbage_collection_threshold: settings
                .garbage_collection_threshold
                .get()
                .map_or(0.0, |share| share.0),
            memory_fraction: settings.memory_fraction.get().map(|share| share.0),
        }
    }
}

/// The size of the block for a request, which is not empty: a multiple of 512 bytes, or of a
/// division of the power of two below.
pub fn rounded(config: &Config, bytes: u64) -> u64 {
    if bytes < SMALLEST_BLOCK {
        return SMALLEST_BLOCK;
    }
    let divisions = config.divisions.at(Bytes(bytes));
    match divisions > 1 && bytes > SMALLEST_BLOCK.saturating_mul(divisions) {
        true => next_division(bytes, divisions),
        false => bytes.saturating_add(SMALLEST_BLOCK - 1) / SMALLEST_BLOCK * SMALLEST_BLOCK,
    }
}

/// The least of the steps of `2ᵏ / divisions` between two powers of two that holds `bytes`.
pub(super) fn next_division(bytes: u64, divisions: u64) -> u64 {
    if bytes.is_power_of_two() {
        return bytes;
    }
    let power = 1u64 << bytes.ilog2();
    match power >> divisions.ilog2() {
        0 => power.saturating_mul(2),
        step => bytes.div_ceil(step).saturating_mul(step),
    }
}

/// What is asked of the device for a block of that size.
pub fn reserved_for(size: u64) -> u64 {
    if size <= SMALL_LIMIT {
        SMALL_SEGMENT
    } else if size < OWN_SEGMENT {
        LARGE_SEGMENT
    } else {
        size.div_ceil(SEGMENT_STEP).saturating_mul(SEGMENT_STEP)
    }
}
