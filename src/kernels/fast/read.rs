//! Reading numbers and doing next to nothing with them: what the machine's memory gives at best, to
//! hold the speed of other kernels against.

use pulp::Arch;
use rayon::prelude::*;

use super::ahead::{self, LANES};

/// A way to read every number once, in parallel. What it gives depends on each of them, so that no
/// compiler may leave one out.
pub type Way = (&'static str, fn(&[f32]) -> u32);

/// Several ways, since none is the fastest on every machine; bandwidth is that of the best.
pub static WAYS: [Way; 6] = [
    ("exclusive or, small blocks", |numbers| {
        read(numbers, 1 << 15, exclusive_or)
    }),
    ("exclusive or, a block a thread", |numbers| {
        read(numbers, share(numbers), exclusive_or)
    }),
    ("exclusive or, small blocks, asked for early", |numbers| {
        read(numbers, 1 << 15, exclusive_or_early)
    }),
    (
        "exclusive or, a block a thread, asked for early",
        |numbers| read(numbers, share(numbers), exclusive_or_early),
    ),
    ("additions, small blocks", |numbers| {
        read(numbers, 1 << 15, additions)
    }),
    ("additions, a block a thread", |numbers| {
        read(numbers, share(numbers), additions)
    }),
];

fn share(numbers: &[f32]) -> usize {
    numbers.len().div_ceil(rayon::current_num_threads()).max(1)
}

fn read(numbers: &[f32], block: usize, one: fn(&[f32]) -> u32) -> u32 {
    let blocks: Vec<u32> = numbers.par_chunks(block).map(one).collect();
    blocks.into_iter().fold(0, |all, block| all ^ block)
}

fn exclusive_or(block: &[f32]) -> u32 {
    Arch::new().dispatch(
        #[inline(always)]
        || exclusive_or_of(block, &[]),
    )
}

fn exclusive_or_early(block: &[f32]) -> u32 {
    Arch::new().dispatch(
        #[inline(always)]
        || exclusive_or_of(block, ahead::of(block, 0)),
    )
}

#[inline(always)]
fn exclusive_or_of(block: &[f32], ahead: &[[f32; LANES]]) -> u32 {
    let mut all = [0u32; LANES];
    let (whole, rest) = block.as_chunks::<LANES>();
    for (at, numbers) in whole.iter().enumerate() {
        ahead::fetch(ahead.get(at));
        for lane in 0..LANES {
            all[lane] ^= numbers[lane].to_bits();
        }
    }
    let rest = rest.iter().map(|number| number.to_bits());
    all.into_iter().chain(rest).fold(0, |all, bits| all ^ bits)
}

fn additions(block: &[f32]) -> u32 {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut sums = [0.0f32; LANES];
            let (whole, rest) = block.as_chunks::<LANES>();
            for numbers in whole {
                for lane in 0..LANES {
                    sums[lane] += numbers[lane];
                }
            }
            sums.iter().chain(rest).sum::<f32>().to_bits()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that every number is read: changing one changes what comes out.
    #[test]
    fn every_number_is_read() {
        for count in [1, LANES - 1, LANES, 5 * LANES + 3, 70_000] {
            let mut numbers = vec![1.0f32; count];
            for (name, way) in WAYS {
                let before = way(&numbers);
                for at in [0, count / 3, count - 1] {
                    numbers[at] = 1024.0;
                    assert_ne!(way(&numbers), before, "{name}: {at} of {count}");
                    numbers[at] = 1.0;
                }
            }
        }
        for (_, way) in WAYS {
            way(&[]);
        }
    }
}
