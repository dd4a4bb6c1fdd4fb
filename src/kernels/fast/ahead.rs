//! Reading memory as fast as it comes: along several streams at once, and asked for early.
//!
//! A processor looks some hundreds of instructions ahead, and its memory unit foresees one line after
//! another within a page. A loop along one stream that does several operations a number fills
//! neither; one along several streams, each in pages of its own, that asks for lines before it needs
//! them, has as many on their way as one that only reads.

/// Numbers of a row: the lanes of the loops, and what is asked for at once.
pub const LANES: usize = 64;

/// A row of numbers.
pub type Row = [f32; LANES];

/// Cache lines of a row: lines have 64 bytes.
pub const LINES: usize = LANES / 16;

/// How many rows ahead a row is asked for: 4 KiB, which takes a core longer to work through than
/// memory to answer.
pub const DISTANCE: usize = 16;

/// Equally many rows for each stream, one stream behind the other, and the numbers that are left.
#[inline(always)]
pub fn streams<const STREAMS: usize>(numbers: &[f32]) -> ([&[Row]; STREAMS], &[f32]) {
    let rows = numbers.len() / LANES / STREAMS;
    let (whole, rest) = numbers.split_at(rows * STREAMS * LANES);
    let (whole, _) = whole.as_chunks::<LANES>();
    (
        std::array::from_fn(|stream| &whole[stream * rows..][..rows]),
        rest,
    )
}

/// Asks for a line of a row. Changes nothing but the time it takes; a line at a time between other
/// work, for a core has room for few requests at once.
#[inline(always)]
pub fn fetch(row: &Row, line: usize) {
    #[cfg(target_arch = "x86_64")]
    safe_arch::prefetch_t0(&row[16 * line]);
    // Elsewhere the processor's own foresight has to do: no safe function asks for a line.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, line);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that every number lies in one stream or in the rest, in order.
    #[test]
    fn streams_hold_all_numbers() {
        for count in [0, 1, 4 * LANES - 1, 4 * LANES, 9 * LANES + 5] {
            let numbers: Vec<f32> = (0..count).map(|number| number as f32).collect();
            let (streams, rest) = streams::<4>(&numbers);
            let rows = streams.iter().flat_map(|stream| stream.iter().flatten());
            assert!(rows.chain(rest).eq(&numbers), "{count}");
            assert!(rest.len() < 4 * LANES);
        }
    }
}
