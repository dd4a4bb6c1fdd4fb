//! Asking for numbers before they are needed.
//!
//! A processor looks some hundreds of instructions ahead. A loop that does several operations a
//! number fills that window with few cache lines, and waits for memory that could have been on its
//! way; one that asks for lines early keeps as many under way as one that only reads.

/// Lanes of the loops that read ahead, and numbers that are asked for at once.
pub const LANES: usize = 128;

/// How far ahead, in numbers: 8 KiB, which takes a core longer to work through than memory to
/// answer, and is a quarter of the smallest first-level caches.
const DISTANCE: usize = 2048;

/// What is to be asked for while the numbers from `start` on are worked through, a row a row.
#[inline(always)]
pub fn of(numbers: &[f32], start: usize) -> &[[f32; LANES]] {
    let from = numbers.len().min(start.saturating_add(DISTANCE));
    numbers[from..].as_chunks().0
}

/// Asks for the cache lines of a row, if there is one. Changes nothing but the time it takes.
#[inline(always)]
pub fn fetch(row: Option<&[f32; LANES]>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(row) = row {
        // Lines have 64 bytes.
        for line in 0..LANES / 16 {
            safe_arch::prefetch_t0(&row[16 * line]);
        }
    }
    // Elsewhere the processor's own foresight has to do: no safe function asks for a line.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}
