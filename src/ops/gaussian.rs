//! Expectations under a normal distribution, and the error function that the standard library
//! lacks.
//!
//! The propagation of moments takes what enters a pointwise function to be normal, as in the
//! mean-field literature. This file integrates; which function to integrate is the ops' matter.

use std::f64::consts::PI;
use std::sync::OnceLock;

use crate::tensor::Moments;

/// Nodes of the one-dimensional rule. The midpoint rule converges exponentially for smooth
/// functions under a Gaussian weight, and a kink costs it about `(16/256)²/12 = 3e-4` deviations.
const NODES: usize = 256;
/// Nodes per axis of the two-dimensional rule.
const PLANE_NODES: usize = 64;
/// Deviations to each side of the mean that the rules cover.
const REACH: f64 = 8.0;

/// Nodes in standard deviations, and their weights, which sum to 1.
fn rule(nodes: usize) -> Vec<(f64, f64)> {
    let step = 2.0 * REACH / nodes as f64;
    let mut rule: Vec<(f64, f64)> = (0..nodes)
        .map(|i| {
            let z = -REACH + (i as f64 + 0.5) * step;
            (z, (-z * z / 2.0).exp())
        })
        .collect();
    let total: f64 = rule.iter().map(|(_, weight)| weight).sum();
    for (_, weight) in &mut rule {
        *weight /= total;
    }
    rule
}

fn line() -> &'static [(f64, f64)] {
    static LINE: OnceLock<Vec<(f64, f64)>> = OnceLock::new();
    LINE.get_or_init(|| rule(NODES))
}

fn plane() -> &'static [(f64, f64)] {
    static PLANE: OnceLock<Vec<(f64, f64)>> = OnceLock::new();
    PLANE.get_or_init(|| rule(PLANE_NODES))
}

/// `E[f(x)]` for normal `x`; not finite where `f` is not on the nodes.
pub fn expectation(x: Moments, f: impl Fn(f64) -> f64) -> f64 {
    if x.variance == 0.0 {
        return f(x.mean);
    }
    let deviation = x.variance.sqrt();
    line()
        .iter()
        .map(|&(z, weight)| weight * f(x.mean + deviation * z))
        .sum()
}

/// `E[f(x, y)]` for independent normal `x` and `y`.
pub fn expectation_of_two(x: Moments, y: Moments, f: impl Fn(f64, f64) -> f64) -> f64 {
    if x.variance == 0.0 {
        return expectation(y, |y| f(x.mean, y));
    }
    if y.variance == 0.0 {
        return expectation(x, |x| f(x, y.mean));
    }
    let (deviation_x, deviation_y) = (x.variance.sqrt(), y.variance.sqrt());
    plane()
        .iter()
        .map(|&(zx, weight)| {
            let x = x.mean + deviation_x * zx;
            let inner: f64 = plane()
                .iter()
                .map(|&(zy, weight)| weight * f(x, y.mean + deviation_y * zy))
                .sum();
            weight * inner
        })
        .sum()
}

/// Mean and variance from `E[f]` and `E[f²]`; `None` where either is not finite.
pub fn moments_from(mean: f64, square: f64) -> Option<Moments> {
    (mean.is_finite() && square.is_finite()).then(|| Moments::new(mean, square - mean * mean))
}

/// Moments of `f(x)` for normal `x`; `None` where they are not finite.
pub fn moments(x: Moments, f: impl Fn(f64) -> f64) -> Option<Moments> {
    moments_from(expectation(x, &f), expectation(x, |x| f(x).powi(2)))
}

/// A step for central differences that suits the scale of `x`.
pub fn difference_step(x: Moments) -> f64 {
    1e-6 * x.square().sqrt().max(f64::MIN_POSITIVE / 1e-12)
}

/// `E[f'(x)²]` for normal `x`, by central differences; `None` where it is not finite.
pub fn gain(x: Moments, f: impl Fn(f64) -> f64) -> Option<f64> {
    let step = difference_step(x);
    let slope = |x: f64| (f(x + step) - f(x - step)) / (2.0 * step);
    let gain = expectation(x, |x| slope(x).powi(2));
    gain.is_finite().then_some(gain)
}

/// The density of the standard normal distribution.
pub fn density(z: f64) -> f64 {
    (-z * z / 2.0).exp() / (2.0 * PI).sqrt()
}

/// The distribution function of the standard normal distribution.
pub fn cumulative(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

/// The error function, to about 1e-15 relative.
pub fn erf(x: f64) -> f64 {
    if x.abs() < 2.0 {
        erf_series(x)
    } else {
        (1.0 - erfc_fraction(x.abs())).copysign(x)
    }
}

/// `1 − erf(x)`, to about 1e-14 relative also where it is small.
pub fn erfc(x: f64) -> f64 {
    if x.abs() < 2.0 {
        // Cancellation costs at most 1/erfc(2) = 214 units in the last place.
        1.0 - erf_series(x)
    } else if x > 0.0 {
        erfc_fraction(x)
    } else {
        2.0 - erfc_fraction(-x)
    }
}

/// The number whose error function is `y`, to about 1e-14 relative: ±∞ at ±1, NaN beyond.
///
/// Newton's steps from Winitzki's approximation, on `erf` where that is small and on `erfc` where
/// `erf` is nearly 1.
pub fn erfinv(y: f64) -> f64 {
    let magnitude = y.abs();
    if magnitude > 1.0 || y.is_nan() {
        return f64::NAN;
    }
    if magnitude == 1.0 {
        return f64::INFINITY.copysign(y);
    }
    if magnitude == 0.0 {
        return y;
    }
    let a = 0.147;
    let logarithm = ((1.0 - magnitude) * (1.0 + magnitude)).ln();
    let half = 2.0 / (PI * a) + logarithm / 2.0;
    let mut x = ((half * half - logarithm / a).sqrt() - half)
        .max(0.0)
        .sqrt();
    for _ in 0..4 {
        let error = match magnitude < 0.5 {
            true => erf(x) - magnitude,
            false => (1.0 - magnitude) - erfc(x),
        };
        let slope = 2.0 / PI.sqrt() * (-x * x).exp();
        // Halley's step: the second derivative of erf is −2x times the first.
        let step = error / slope;
        x -= step / (1.0 + x * step);
    }
    x.copysign(y)
}

/// `erf(x) = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!` (Abramowitz & Stegun 7.1.6): all terms
/// have one sign, so nothing cancels.
fn erf_series(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    let mut n = 1.0;
    while term.abs() > sum.abs() * 1e-17 {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// `erfc(x) = e^(−x²)/√π · 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + …))))` (Abramowitz & Stegun
/// 7.1.14) for `x ≥ 2`, from the inside out.
fn erfc_fraction(x: f64) -> f64 {
    if x > 27.3 {
        return 0.0;
    }
    let mut tail = x;
    for n in (1..=120).rev() {
        tail = x + f64::from(n) / 2.0 / tail;
    }
    (-x * x).exp() / PI.sqrt() / tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(actual: f64, expected: f64, relative: f64) {
        let error = (actual - expected).abs();
        assert!(
            error <= relative * expected.abs(),
            "{actual} is not {expected} to {relative:e}"
        );
    }

    /// Guards the inverse in the middle, in the tails and at the ends.
    #[test]
    fn the_inverse_of_the_error_function_undoes_it() {
        for step in -59..=59 {
            let x = f64::from(step) / 10.0;
            if x.abs() < 1.0 {
                near(erfinv(erf(x)), x, 1e-13);
            } else if x.abs() < 5.0 {
                // One unit of erf is many of x there.
                let unit = f64::EPSILON / density(x * std::f64::consts::SQRT_2);
                near(erfinv(erf(x)), x, 1e-13 + unit);
            }
        }
        near(erfinv(0.5), 0.4769362762044699, 1e-14);
        near(erfinv(1e-300), 8.86226925452758e-301, 1e-14);
        assert_eq!(erfinv(1.0), f64::INFINITY);
        assert_eq!(erfinv(-1.0), f64::NEG_INFINITY);
        assert!(erfinv(1.5).is_nan() && erfinv(f64::NAN).is_nan());
        assert_eq!(erfinv(0.0), 0.0);
    }

    /// Values of Python's `math.erf` and `math.erfc`.
    #[test]
    fn error_function_agrees_with_the_c_library() {
        for (x, value) in [
            (1e-10, 1.1283791670955126e-10),
            (0.1, 0.1124629160182849),
            (0.5, 0.5204998778130465),
            (1.0, 0.8427007929497149),
            (1.99, 0.995111413199617),
            (2.01, 0.9955248493552482),
            (3.0, 0.9999779095030014),
        ] {
            near(erf(x), value, 4e-15);
            near(erf(-x), -value, 4e-15);
        }
        for (x, value) in [
            (-1.0, 1.842700792949715),
            (0.5, 0.4795001221869535),
            (1.9, 0.0072095707647425325),
            (2.0, 0.004677734981047266),
            (5.0, 1.5374597944280351e-12),
            (20.0, 5.3958656116079005e-176),
        ] {
            near(erfc(x), value, 1e-13);
        }
        assert_eq!((erf(0.0), erf(40.0), erf(-40.0)), (0.0, 1.0, -1.0));
        assert_eq!((erfc(f64::INFINITY), erfc(f64::NEG_INFINITY)), (0.0, 2.0));
    }

    #[test]
    fn expectations_agree_with_closed_forms() {
        let x = Moments::new(0.3, 2.0);
        near(expectation(x, |x| x), 0.3, 1e-12);
        near(expectation(x, |x| x * x), x.square(), 1e-12);
        near(expectation(x, f64::exp), (0.3f64 + 1.0).exp(), 1e-9);
        near(
            expectation(Moments::STANDARD, |x| x.max(0.0)),
            1.0 / (2.0 * PI).sqrt(),
            1e-3,
        );
        let y = Moments::new(-1.0, 0.5);
        let product = expectation_of_two(x, y, |x, y| (x * y).powi(2));
        near(product, x.square() * y.square(), 1e-9);
        near(gain(x, |x| x * x).unwrap_or(0.0), 4.0 * x.square(), 1e-6);
        assert_eq!(moments(x, f64::sqrt), None);
        near(cumulative(1.0), 0.8413447460685429, 1e-14);
        near(density(1.0), 0.24197072451914337, 1e-14);
    }
}
