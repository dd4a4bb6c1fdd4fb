//! Reading numbers and doing next to nothing with them: what the machine's memory gives at best, to
//! hold the speed of other kernels against.

use pulp::{Arch, Simd, WithSimd, bytemuck};
use rayon::prelude::*;

use super::ahead::{self, LANES};

/// A way to read every number once, in parallel. What it gives depends on each of them, so that no
/// compiler may leave one out.
pub type Way = (&'static str, fn(&[f32]) -> u32);

/// Several ways, since none is the fastest on every machine; bandwidth is that of the best.
pub static WAYS: [Way; 6] = [
    ("exclusive or, small blocks", |numbers| {
        read(numbers, BLOCK, exclusive_or::<1>)
    }),
    ("exclusive or, a block a thread", |numbers| {
        read(numbers, share(numbers), exclusive_or::<1>)
    }),
    ("exclusive or, four streams", |numbers| {
        read(numbers, BLOCK, exclusive_or::<4>)
    }),
    ("exclusive or, eight streams", |numbers| {
        read(numbers, BLOCK, exclusive_or::<8>)
    }),
    ("additions, small blocks", |numbers| {
        read(numbers, BLOCK, additions)
    }),
    ("additions, a block a thread", |numbers| {
        read(numbers, share(numbers), additions)
    }),
];

/// Numbers of a small block.
const BLOCK: usize = 1 << 17;

fn share(numbers: &[f32]) -> usize {
    numbers.len().div_ceil(rayon::current_num_threads()).max(1)
}

fn read(numbers: &[f32], block: usize, one: fn(&[f32]) -> u32) -> u32 {
    let blocks: Vec<u32> = numbers.par_chunks(block).map(one).collect();
    blocks.into_iter().fold(0, |all, block| all ^ block)
}

fn exclusive_or<const STREAMS: usize>(block: &[f32]) -> u32 {
    Arch::new().dispatch(ExclusiveOr::<STREAMS>(block))
}

/// The exclusive or of the bits of all numbers of a block, read along so many streams.
struct ExclusiveOr<'a, const STREAMS: usize>(&'a [f32]);

impl<const STREAMS: usize> WithSimd for ExclusiveOr<'_, STREAMS> {
    type Output = u32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u32 {
        let mut all = [simd.splat_u32s(0); 4];
        let (streams, rest) = ahead::streams::<STREAMS>(self.0);
        for at in 0..streams[0].len() {
            for stream in streams {
                let row: &[u32; LANES] = bytemuck::cast_ref(&stream[at]);
                for (at, &vector) in S::as_simd_u32s(row).0.iter().enumerate() {
                    all[at % 4] = simd.xor_u32s(all[at % 4], vector);
                }
            }
        }
        let all = all;
        let lanes: &[u32] = bytemuck::cast_slice(&all);
        let rest = rest.iter().map(|number| number.to_bits());
        lanes
            .iter()
            .copied()
            .chain(rest)
            .fold(0, |all, bits| all ^ bits)
    }
}

fn additions(block: &[f32]) -> u32 {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut sums = [0.0f32; 2 * LANES];
            let (whole, rest) = block.as_chunks::<{ 2 * LANES }>();
            for numbers in whole {
                for (sum, number) in sums.iter_mut().zip(numbers) {
                    *sum += number;
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
