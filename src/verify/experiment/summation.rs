//! The sum of many numbers: naive, in pairs, in blocks, compensated, and in a wider type.

use super::{Clock, Experiment, Picture, short};
use crate::kernels::round;
use crate::lower::Model;
use crate::tensor::Dtype;

type Method = (&'static str, fn(Dtype, &[f64]) -> f64);

const METHODS: [Method; 6] = [
    ("one by one", naive),
    ("in pairs", pairs),
    ("in blocks of 128", blocks),
    ("Kahan", kahan),
    ("Neumaier", neumaier),
    ("wider type", wider),
];

fn naive(dtype: Dtype, x: &[f64]) -> f64 {
    x.iter().fold(0.0, |sum, &x| round(dtype, sum + x))
}

fn pairs(dtype: Dtype, x: &[f64]) -> f64 {
    match x {
        [] => 0.0,
        [one] => *one,
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            round(dtype, pairs(dtype, left) + pairs(dtype, right))
        }
    }
}

fn blocks(dtype: Dtype, x: &[f64]) -> f64 {
    let sums = x.chunks(128).map(|block| naive(dtype, block));
    sums.fold(0.0, |sum, block| round(dtype, sum + block))
}

fn kahan(dtype: Dtype, x: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0, 0.0);
    for &x in x {
        let term = round(dtype, x - lost);
        let next = round(dtype, sum + term);
        lost = round(dtype, round(dtype, next - sum) - term);
        sum = next;
    }
    sum
}

fn neumaier(dtype: Dtype, x: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0);
    for &x in x {
        let next = round(dtype, sum + x);
        let error = match sum.abs() >= x.abs() {
            true => round(dtype, round(dtype, sum - next) + x),
            false => round(dtype, round(dtype, x - next) + sum),
        };
        lost = round(dtype, lost + error);
        sum = next;
    }
    round(dtype, sum + lost)
}

fn wider(dtype: Dtype, x: &[f64]) -> f64 {
    let wide = match dtype {
        Dtype::Float32 => Dtype::Float64,
        _ => Dtype::Float32,
    };
    round(dtype, naive(wide, x))
}

/// The bound of the relative error of a sum of numbers of one sign (Higham, *Accuracy and Stability
/// of Numerical Algorithms*, chapter 4), to first order in the unit roundoff.
fn bound(method: &str, u: f64, n: f64) -> f64 {
    match method {
        "one by one" => (n - 1.0) * u,
        "in pairs" => n.log2().ceil() * u,
        "in blocks of 128" => (127.0 + n / 128.0) * u,
        // Where n·u exceeds 1, the corrections themselves are lost, and nothing is promised.
        "Kahan" | "Neumaier" if n * u > 1.0 => f64::INFINITY,
        "Kahan" | "Neumaier" => 2.0 * u + n * u * u,
        _ => 2.0 * u,
    }
}

pub(super) fn run(model: &Model, seed: u64, clock: &Clock<'_>) -> Result<Experiment, String> {
    let graph = &model.graph;
    let Some(&(_, input)) = graph.inputs.first() else {
        return Err("the model has no input to sum".to_owned());
    };
    let count = graph.ty(input).shape.elements().min(10_000_000) as usize;
    let mut random = fastrand::Rng::with_seed(seed);
    let drawn: Vec<f64> = (0..count).map(|_| random.f64()).collect();
    let mut experiment = Experiment::new(
        "How far off is the mean of many numbers?",
        &[
            "element type",
            "method",
            "mean",
            "error",
            "bound",
            "milliseconds",
        ],
    );
    let mut errors = Vec::new();
    let mut within = true;
    for dtype in [Dtype::Float16, Dtype::Bfloat16, Dtype::Float32] {
        let Some(format) = dtype.float_format() else {
            continue;
        };
        let numbers: Vec<f64> = drawn.iter().map(|&x| round(dtype, x)).collect();
        // Numbers between 0 and 1 of few bits: float64 adds a million of them all but exactly.
        let exact = neumaier(Dtype::Float64, &numbers) / count as f64;
        for (name, method) in METHODS {
            let begun = clock();
            let sum = method(dtype, &numbers);
            let seconds = clock() - begun;
            let mean = sum / count as f64;
            let error = (mean - exact).abs() / exact;
            let bound = bound(name, format.unit_roundoff(), count as f64);
            // A bound above 1 says nothing, and one that overflows has left it behind.
            within &= !sum.is_finite() || bound >= 1.0 || error <= bound * 1.01;
            errors.push(if error.is_finite() { error } else { 1.0 });
            experiment.rows.push(vec![
                dtype.to_string(),
                name.to_owned(),
                short(mean),
                if sum.is_finite() {
                    short(error)
                } else {
                    "overflow".to_owned()
                },
                if bound.is_finite() {
                    short(bound)
                } else {
                    "none".to_owned()
                },
                short(seconds * 1e3),
            ]);
        }
    }
    experiment.expect(
        within,
        "no error exceeds its bound, where the bound says anything",
    );
    let of = |row: usize| errors.get(row).copied().unwrap_or(f64::NAN);
    experiment.expect(
        of(16) <= of(12) && of(13) <= of(12),
        "in float32, pairs and compensation beat adding one by one",
    );
    experiment.picture = Some(Picture {
        title: "relative error".to_owned(),
        values: errors,
    });
    Ok(experiment)
}
