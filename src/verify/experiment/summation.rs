//! The sum of many numbers: naive, in pairs, in blocks, compensated, in a wider type, and by the
//! kernel that is meant for use.

use super::{Clock, Experiment, Picture, short};
use crate::kernels::fast::{read, sum};
use crate::kernels::round;
use crate::lower::Model;
use crate::tensor::Dtype;

/// The kernel of `kernels::fast`.
const PARALLEL: &str = "compensated, in lanes and threads";

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

/// What a way to sum came to.
pub struct Measured {
    /// The type of the numbers.
    pub dtype: Dtype,
    /// The way.
    pub name: &'static str,
    /// The mean, and its relative error and what bounds it.
    pub mean: f64,
    /// The relative error; infinite where the sum overflows.
    pub error: f64,
    /// What bounds it; infinite where nothing is promised.
    pub bound: f64,
    /// How long it took.
    pub seconds: f64,
}

impl Measured {
    /// A row of the table; with the bytes that were read, how fast.
    fn row(&self, read: Option<f64>) -> Vec<String> {
        let finite = |number: f64, otherwise: &str| match number.is_finite() {
            true => short(number),
            false => otherwise.to_owned(),
        };
        vec![
            self.dtype.to_string(),
            self.name.to_owned(),
            short(self.mean),
            finite(self.error, "overflow"),
            finite(self.bound, "none"),
            short(self.seconds * 1e3),
            read.map_or_else(String::new, |bytes| short(bytes / self.seconds / 1e9)),
        ]
    }

    /// Whether the error keeps to its bound; one above 1 says nothing, and what overflows has left it
    /// behind.
    pub fn within(&self) -> bool {
        !self.mean.is_finite() || self.bound >= 1.0 || self.error <= self.bound * 1.01
    }
}

/// The shortest of so many runs, in seconds, and what the last one gave.
fn shortest<T>(repeats: usize, clock: &Clock<'_>, run: impl Fn() -> T) -> (f64, T) {
    let once = || {
        let begun = clock();
        let result = run();
        (clock() - begun, result)
    };
    (1..repeats).fold(once(), |(best, _), _| {
        let (seconds, result) = once();
        (best.min(seconds), result)
    })
}

/// The numbers that are summed: as many as the model's input has, between 0 and 1.
///
/// # Errors
/// Where the model has no input.
pub fn drawn(model: &Model, seed: u64) -> Result<Vec<f64>, String> {
    let graph = &model.graph;
    let Some(&(_, input)) = graph.inputs.first() else {
        return Err("the model has no input to sum".to_owned());
    };
    let count = graph.ty(input).shape.elements().min(10_000_000) as usize;
    let mut random = fastrand::Rng::with_seed(seed);
    Ok((0..count).map(|_| random.f64()).collect())
}

/// The numbers as a type holds them, and their sum: few bits between 0 and 1, of which float64 adds a
/// million all but exactly.
pub fn held(dtype: Dtype, drawn: &[f64]) -> (Vec<f64>, f64) {
    let numbers: Vec<f64> = drawn.iter().map(|&x| round(dtype, x)).collect();
    let exact = neumaier(Dtype::Float64, &numbers);
    (numbers, exact)
}

/// The table; with the bytes that a way read, if how fast it read them is worth telling.
pub fn tabled<'m>(rows: impl IntoIterator<Item = (&'m Measured, Option<f64>)>) -> Experiment {
    let mut experiment = Experiment::new(
        "How far off is the mean of many numbers?",
        &[
            "element type",
            "method",
            "mean",
            "error",
            "bound",
            "milliseconds",
            "GB/s",
        ],
    );
    let mut values = Vec::new();
    for (way, read) in rows {
        experiment.rows.push(way.row(read));
        values.push(match way.error.is_finite() {
            true => way.error,
            false => 1.0,
        });
    }
    experiment.picture = Some(Picture {
        title: "relative error".to_owned(),
        values,
    });
    experiment
}

pub(super) fn run(model: &Model, seed: u64, clock: &Clock<'_>) -> Result<Experiment, String> {
    let drawn = drawn(model, seed)?;
    let count = drawn.len();
    let mut measured = Vec::new();
    let measure = |dtype, name, sum: f64, exact: f64, bound, seconds| Measured {
        dtype,
        name,
        mean: sum / count as f64,
        error: (sum - exact).abs() / exact,
        bound,
        seconds,
    };
    for dtype in [Dtype::Float16, Dtype::Bfloat16, Dtype::Float32] {
        let Some(format) = dtype.float_format() else {
            continue;
        };
        let (numbers, exact) = held(dtype, &drawn);
        for (name, method) in METHODS {
            let (seconds, sum) = shortest(1, clock, || method(dtype, &numbers));
            let bound = bound(name, format.unit_roundoff(), count as f64);
            measured.push(measure(dtype, name, sum, exact, bound, seconds));
        }
    }
    // The methods above round each result in float64; this one computes in float32 itself.
    let numbers: Vec<f32> = drawn.iter().map(|&x| x as f32).collect();
    let wide: Vec<f64> = numbers.iter().map(|&x| x.into()).collect();
    let exact = neumaier(Dtype::Float64, &wide);
    let (seconds, sum) = shortest(9, clock, || sum::compensated(&numbers));
    let bound = sum::bound(exact, exact) / exact;
    let parallel = measure(Dtype::Float32, PARALLEL, sum.into(), exact, bound, seconds);
    let bytes = (count * size_of::<f32>()) as f64;
    let reading = read::WAYS
        .iter()
        .map(|(_, way)| shortest(9, clock, || way(&numbers)).0)
        .fold(f64::INFINITY, f64::min);
    let ways = measured.iter().map(|way| (way, None));
    let mut experiment = tabled(ways.chain([(&parallel, Some(bytes))]));
    experiment.expect(
        measured.iter().chain([&parallel]).all(Measured::within),
        "no error exceeds its bound, where the bound says anything",
    );
    let of = |name: &str| {
        let found = measured
            .iter()
            .rfind(|way| way.dtype == Dtype::Float32 && way.name == name);
        found.map_or(f64::NAN, |way| way.error)
    };
    experiment.expect(
        [of("in pairs"), of("Neumaier"), parallel.error]
            .iter()
            .all(|&error| error <= of("one by one")),
        "in float32, pairs and compensation beat adding one by one",
    );
    experiment.conclusions.push(format!(
        "in lanes and threads, compensation reads {} GB/s, {:.0} % of the {} GB/s at which the same \
         numbers can be read at all",
        short(bytes / seconds / 1e9),
        100.0 * reading / seconds,
        short(bytes / reading / 1e9),
    ));
    Ok(experiment)
}
