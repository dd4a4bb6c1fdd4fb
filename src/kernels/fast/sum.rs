//! The sum of float32 numbers, compensated, in parallel, nearly as fast as they can be read.
//!
//! Numbers are dealt to lanes, each of which adds up its own by error-free additions (Knuth's
//! two-sum) and keeps what rounding lost. Nothing in a lane depends on its neighbours, so that lanes
//! are vectors of whatever width the machine has. Blocks of numbers go to cores; their sums are put
//! together in order, so that the result does not depend on how many cores there are. A block is read
//! along several streams, which all go into the same lanes.

use pulp::{Arch, Simd, WithSimd, bytemuck};
use rayon::prelude::*;

use super::ahead::{self, LANES};

/// Streams that a block is read along: as many as a processor follows with ease.
const STREAMS: usize = 5;
/// Rows of a stream: an odd number, for streams a power of two apart contend for the same places of
/// caches and memory.
const ROWS: usize = 409;
/// Numbers of a block: half a MiB, so that streams are long and handing out blocks costs nothing, and
/// few enough for a lane that what its correction loses is less than one rounding.
const BLOCK: usize = STREAMS * ROWS * LANES;
/// Below so many numbers, waking other threads costs more than they save.
const PARALLEL: usize = 1 << 18;

/// The unit roundoff of float32 and of float64.
const U: f64 = 0.5 * f32::EPSILON as f64;
const U_WIDE: f64 = 0.5 * f64::EPSILON;

/// The sum of all numbers, off by no more than [`bound`] says; 0 of none, −0 of nothing but −0.
/// Infinities and NaN come out as one by one, but a sum that is only infinite on the way is not.
///
/// Reads each number once: O(n) time, O(n / BLOCK) bytes.
pub fn compensated(numbers: &[f32]) -> f32 {
    let arch = Arch::new();
    let one = |block: &[f32]| arch.dispatch(Block(block));
    let sums: Vec<f64> = match numbers.len() {
        0 => return 0.0,
        1..PARALLEL => numbers.chunks(BLOCK).map(one).collect(),
        _ => numbers.par_chunks(BLOCK).map(one).collect(),
    };
    joined(sums) as f32
}

/// How far [`compensated`] may be off, from the exact sum and the exact sum of magnitudes.
///
/// One rounding to float32, and what the corrections of a lane of n numbers lose, γₙ² of the
/// magnitudes (Ogita, Rump and Oishi, *Accurate sum and dot product*, 2005, theorem 4.5), and what
/// float64 loses where lanes are put together. None of it grows with the number of blocks.
pub fn bound(sum: f64, magnitudes: f64) -> f64 {
    let length = (BLOCK / LANES) as f64;
    let gamma = length * U / (1.0 - length * U);
    // A block adds up two numbers for each lane and the few that fill no row of all streams; joining
    // adds the errors of Neumaier's sum, of first order in float64 as well.
    let wide = ((2 + STREAMS) * LANES + 4) as f64 * U_WIDE;
    let rounding = U * sum.abs().max(f64::from(f32::MIN_POSITIVE));
    (rounding + (gamma * gamma + wide) * magnitudes) * (1.0 + 4.0 * U)
}

/// A block of the numbers, to be summed in float64.
struct Block<'a>(&'a [f32]);

impl WithSimd for Block<'_> {
    type Output = f64;

    /// A row has as many lanes on every machine, in fewer or more vectors.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        match S::F32_LANES {
            16 => self.sum::<S, { LANES / 16 }>(simd),
            8 => self.sum::<S, { LANES / 8 }>(simd),
            4 => self.sum::<S, { LANES / 4 }>(simd),
            _ => self.sum::<S, LANES>(simd),
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn sum<S: Simd, const VECTORS: usize>(self, simd: S) -> f64 {
        let mut lanes = Lanes {
            simd,
            sums: [simd.splat_f32s(-0.0); VECTORS],
            lost: [simd.splat_f32s(0.0); VECTORS],
        };
        let (streams, rest) = ahead::streams::<STREAMS>(self.0);
        let rows = streams[0].len();
        let early = rows.saturating_sub(ahead::DISTANCE);
        for at in 0..early {
            for stream in streams {
                lanes.add::<true>(stream, at);
            }
        }
        for at in early..rows {
            for stream in streams {
                lanes.add::<false>(stream, at);
            }
        }
        // Copies are what is pointed at from here on, so that the loop keeps its own in registers.
        let (sums, lost) = (lanes.sums, lanes.lost);
        let (sums, lost) = (bytemuck::cast_slice(&sums), bytemuck::cast_slice(&lost));
        let total = together(sums, lost, rest);
        match total.is_finite() {
            true => total,
            // A number is infinite or NaN, or a lane ran over on the way, which float64 never does.
            false => joined(self.0.iter().map(|&number| f64::from(number))),
        }
    }
}

/// What lanes have added up, and what was lost on the way.
struct Lanes<S: Simd, const VECTORS: usize> {
    simd: S,
    sums: [S::f32s; VECTORS],
    lost: [S::f32s; VECTORS],
}

impl<S: Simd, const VECTORS: usize> Lanes<S, VECTORS> {
    /// Adds a row of a stream to the lanes, and asks for one that is needed soon.
    #[inline(always)]
    fn add<const EARLY: bool>(&mut self, stream: &[ahead::Row], at: usize) {
        let simd = self.simd;
        let (row, _) = S::as_simd_f32s(&stream[at]);
        let lanes = self.sums.iter_mut().zip(&mut self.lost);
        for (vector, (&number, (sum, lost))) in row.iter().zip(lanes).enumerate() {
            // There are as many vectors as lines, or a multiple.
            let line = vector * ahead::LINES / VECTORS;
            if EARLY && line * VECTORS == vector * ahead::LINES {
                ahead::fetch(&stream[at + ahead::DISTANCE], line);
            }
            let next = simd.add_f32s(*sum, number);
            let added = simd.sub_f32s(next, *sum);
            let of_sum = simd.sub_f32s(*sum, simd.sub_f32s(next, added));
            let of_number = simd.sub_f32s(number, added);
            *lost = simd.add_f32s(*lost, simd.add_f32s(of_sum, of_number));
            *sum = next;
        }
    }
}

/// The sum of lanes, of what they lost and of the numbers that filled no row. Kept apart, so that
/// what is done once a block does not decide how the loop over the block is compiled.
#[inline(never)]
fn together(sums: &[f32], lost: &[f32], rest: &[f32]) -> f64 {
    let plain = sums.iter().chain(rest);
    let sum = joined(plain.map(|&number| f64::from(number)));
    let lost: f64 = lost.iter().map(|&lost| f64::from(lost)).sum();
    // The corrections of nothing but −0 are +0.
    if lost == 0.0 { sum } else { sum + lost }
}

/// Neumaier's sum, in float64, from −0, which changes no number that is added to it.
fn joined(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (-0.0f64, 0.0f64);
    for number in numbers {
        let next = sum + number;
        lost += match sum.abs() >= number.abs() {
            true => (sum - next) + number,
            false => (number - next) + sum,
        };
        sum = next;
    }
    // What is infinite leaves infinity minus infinity for a correction.
    if lost == 0.0 || !sum.is_finite() {
        sum
    } else {
        sum + lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The exact sum, rounded once: Shewchuk's expansions, as Python's `math.fsum` has them.
    fn exact(numbers: impl IntoIterator<Item = f64>) -> f64 {
        let mut parts: Vec<f64> = Vec::new();
        for mut number in numbers {
            let mut kept = 0;
            for at in 0..parts.len() {
                let mut part = parts[at];
                if number.abs() < part.abs() {
                    std::mem::swap(&mut number, &mut part);
                }
                let high = number + part;
                let low = part - (high - number);
                if low != 0.0 {
                    parts[kept] = low;
                    kept += 1;
                }
                number = high;
            }
            parts.truncate(kept);
            parts.push(number);
        }
        parts.iter().sum()
    }

    fn holds(numbers: &[f32]) {
        let wide = || numbers.iter().map(|&number| f64::from(number));
        let (sum, magnitudes) = (exact(wide()), exact(wide().map(f64::abs)));
        let error = (f64::from(compensated(numbers)) - sum).abs();
        let bound = bound(sum, magnitudes);
        let count = numbers.len();
        assert!(
            error <= bound,
            "{count} numbers: off by {error:e}, bound {bound:e}"
        );
    }

    #[test]
    fn exact_is_exact() {
        assert_eq!(exact([1e100, 1.0, -1e100, 1e-100]), 1.0);
        assert_eq!(exact([0.1; 10]), 1.0);
    }

    #[test]
    fn few_numbers_and_zeros() {
        assert_eq!(compensated(&[]).to_bits(), 0.0f32.to_bits());
        assert_eq!(compensated(&[-0.0]).to_bits(), (-0.0f32).to_bits());
        assert_eq!(compensated(&[-0.0; 1000]).to_bits(), (-0.0f32).to_bits());
        let many = vec![-0.0; PARALLEL + 5];
        assert_eq!(compensated(&many).to_bits(), (-0.0f32).to_bits());
        assert_eq!(compensated(&[-0.0, 0.0]).to_bits(), 0.0f32.to_bits());
        assert_eq!(compensated(&[1.0, -1.0]).to_bits(), 0.0f32.to_bits());
        let least = f32::from_bits(1);
        assert_eq!(compensated(&[least; 300]), f32::from_bits(300));
    }

    /// Guards what is not finite, in a lane, in the rest behind the lanes, and over blocks.
    #[test]
    fn infinities_and_nan() {
        for count in [1, 7, LANES, 11 * LANES + 1, BLOCK + 3, PARALLEL + LANES + 1] {
            for at in [0, count / 2, count - 1] {
                let with = |value: f32| {
                    let mut numbers = vec![1.0f32; count];
                    numbers[at] = value;
                    compensated(&numbers)
                };
                assert_eq!(with(f32::INFINITY), f32::INFINITY, "{count} {at}");
                assert_eq!(with(f32::NEG_INFINITY), f32::NEG_INFINITY);
                assert!(with(f32::NAN).is_nan(), "{count} {at}");
            }
        }
        assert!(compensated(&[f32::INFINITY, f32::NEG_INFINITY]).is_nan());
        assert_eq!(compensated(&[f32::MAX; 2]), f32::INFINITY);
        // One lane runs over on the way, but the sum does not.
        let mut numbers = vec![0.0; 4 * LANES];
        for (row, number) in [f32::MAX, f32::MAX, -f32::MAX, -f32::MAX]
            .into_iter()
            .enumerate()
        {
            numbers[row * LANES] = number;
        }
        numbers[1] = 3.0;
        assert_eq!(compensated(&numbers), 3.0);
    }

    /// Guards compensation itself: one by one, each of these sums is nothing but rounding.
    #[test]
    fn what_is_lost_comes_back() {
        let mut numbers = vec![1e-3f32; 100_000];
        numbers[0] = 1e8;
        let rest = 99_999.0 * f64::from(1e-3f32);
        assert_eq!(compensated(&numbers), (f64::from(1e8f32) + rest) as f32);
        numbers.push(-1e8);
        // What is left of a lane's correction is a rounding of what was lost, not of 1e8.
        let error = f64::from(compensated(&numbers)) - rest;
        assert!(error.abs() < 1e-4, "off by {error:e}");
        let million = vec![0.1f32; 1_000_000];
        assert_eq!(compensated(&million), (1e6 * f64::from(0.1f32)) as f32);
    }

    /// Guards that the number of threads does not show.
    #[test]
    fn threads_do_not_show() {
        let mut random = fastrand::Rng::with_seed(3);
        let numbers: Vec<f32> = (0..3 * PARALLEL + 77)
            .map(|_| (random.f32() - 0.5) * 10f32.powi(random.i32(-6..6)))
            .collect();
        holds(&numbers);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| compensated(&numbers)).to_bits()
        };
        assert_eq!(with(1), with(3));
        assert_eq!(with(1), compensated(&numbers).to_bits());
    }

    fn any_float() -> impl Strategy<Value = f32> {
        use proptest::num::f32::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
        POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO
    }

    proptest! {
        /// Numbers of all magnitudes, overflow on the way included.
        #[test]
        fn within_the_bound(numbers in prop::collection::vec(any_float(), 0..2000)) {
            let sum = exact(numbers.iter().map(|&number| f64::from(number)));
            if (sum as f32).is_finite() {
                holds(&numbers);
            } else {
                prop_assert!(compensated(&numbers).is_infinite());
            }
        }

        /// Sums that cancel to a small part of what they are made of, in any order.
        #[test]
        fn cancellation(
            half in prop::collection::vec(-1e6f32..1e6, 0..3000),
            few in prop::collection::vec(-1e-3f32..1e-3, 0..9),
            seed: u64,
        ) {
            let mut numbers: Vec<f32> = half.iter().flat_map(|&x| [x, -x]).chain(few).collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut numbers);
            holds(&numbers);
        }

        /// Lengths about those of lanes and blocks.
        #[test]
        fn tails(blocks in 0usize..3, lanes in 0usize..9, more in 0usize..5, seed: u64) {
            let mut random = fastrand::Rng::with_seed(seed);
            let count = blocks * BLOCK + lanes * LANES + more;
            let numbers: Vec<f32> = (0..count).map(|_| random.f32() * 3.0 - 1.0).collect();
            holds(&numbers);
        }

        /// What is not finite comes out as one by one.
        #[test]
        fn not_finite(
            mut numbers in prop::collection::vec(-1e3f32..1e3, 1..700),
            odd in prop::collection::vec(prop::sample::select(vec![f32::INFINITY, f32::NEG_INFINITY, f32::NAN]), 1..3),
            seed: u64,
        ) {
            numbers.extend(odd);
            fastrand::Rng::with_seed(seed).shuffle(&mut numbers);
            let (ours, plain) = (compensated(&numbers), numbers.iter().sum::<f32>());
            prop_assert!(ours == plain || (ours.is_nan() && plain.is_nan()));
        }
    }
}
