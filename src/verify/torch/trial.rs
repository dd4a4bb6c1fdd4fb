//! Experiments that PyTorch runs: what is asked of it, and its answers held to what is predicted.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, same};
use crate::lower::Model;
use crate::quantity::group;
use crate::spec::run::ExperimentKind;
use crate::tensor::Dtype;
use crate::verify::experiment::order::{Orders, Ran};
use crate::verify::experiment::summation::Measured;
use crate::verify::experiment::{Experiment, epsilon, order, short, summation};
use crate::verify::{Claim, Outcome, Verification};

/// The program that runs them, in Python.
const PROGRAM: &str = include_str!("experiments.py");

/// More numbers than this are not handed over.
const MOST_NUMBERS: usize = 1_000_000;

/// An experiment that PyTorch runs.
pub struct Trial {
    question: Question,
    seed: u64,
    cuda: bool,
}

enum Question {
    Order(Orders),
    /// The numbers, the ways to sum them, and how many numbers are left out.
    Summation(Vec<f64>, Vec<Way>, usize),
    Epsilon(Vec<epsilon::Case>),
}

/// A function of PyTorch that sums numbers of a type.
struct Way {
    name: &'static str,
    method: &'static str,
    dtype: Dtype,
    /// The type of the result.
    result: Dtype,
}

/// What is asked.
#[derive(Serialize)]
pub(super) struct AskedTrial {
    program: &'static str,
    name: &'static str,
    device: &'static str,
    asked: Value,
}

/// What was found of a case.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    flops: u128,
    seconds: f64,
    error: f64,
    magnitude: f64,
    value: Option<f64>,
    finite: [Vec<bool>; 2],
}

impl Trial {
    /// The experiment, if it is one of those that PyTorch runs by itself.
    ///
    /// # Errors
    /// Where the model does not serve.
    pub fn of(
        kind: ExperimentKind,
        model: &Model,
        seed: u64,
        cuda: bool,
    ) -> Result<Option<Trial>, String> {
        let question = match kind {
            ExperimentKind::Order => Question::Order(Orders::of(model)?),
            ExperimentKind::Summation => {
                let mut drawn = summation::drawn(model, seed)?;
                let left_out = drawn.len().saturating_sub(MOST_NUMBERS);
                drawn.truncate(MOST_NUMBERS);
                // PyTorch makes a half of a float64 by way of float32, which must not round twice.
                let numbers = drawn.iter().map(|&x| f64::from(x as f32)).collect();
                Question::Summation(numbers, ways(), left_out)
            }
            ExperimentKind::Epsilon => Question::Epsilon(epsilon::Case::all()),
            _ => return Ok(None),
        };
        Ok(Some(Trial {
            question,
            seed,
            cuda,
        }))
    }

    /// The request.
    pub(super) fn asked(&self) -> AskedTrial {
        let (name, asked) = match &self.question {
            Question::Order(orders) => (
                "order",
                json!({"seed": self.seed, "sizes": orders.sizes, "trees": orders.trees}),
            ),
            Question::Summation(numbers, ways, _) => {
                let cases = ways.iter().map(|way| {
                    json!({
                        "dtype": way.dtype.name(),
                        "method": way.method,
                        "result": way.result.name(),
                    })
                });
                let cases: Vec<Value> = cases.collect();
                ("summation", json!({"numbers": numbers, "cases": cases}))
            }
            Question::Epsilon(cases) => {
                let cases = cases.iter().map(|case| {
                    json!({
                        "dtype": case.dtype.name(),
                        "place": case.place,
                        "eps": case.eps,
                        "candidates": case.candidates,
                    })
                });
                let cases: Vec<Value> = cases.collect();
                ("epsilon", json!({"cases": cases}))
            }
        };
        AskedTrial {
            program: PROGRAM,
            name,
            device: if self.cuda { "cuda" } else { "cpu" },
            asked,
        }
    }

    /// Holds what is predicted to the answers; the table, where every case was answered.
    pub(super) fn held(&self, result: &mut Verification, answers: &[Answer]) -> Option<Experiment> {
        let found: Vec<&Found> = answers
            .iter()
            .filter_map(|answer| answer.trial.as_ref())
            .collect();
        let cases = match &self.question {
            Question::Order(orders) => orders.trees.len(),
            Question::Summation(_, ways, _) => ways.len(),
            Question::Epsilon(cases) => cases.len(),
        };
        if found.len() != cases {
            let mut told = answers
                .iter()
                .filter(|answer| answer.claim.as_deref() == Some("experiment"));
            let why = told.find_map(|answer| answer.unchecked.clone());
            let why = why.unwrap_or_else(|| format!("{} of {cases} cases came back", found.len()));
            result.say("", Claim::Experiment, Outcome::Unchecked(why));
            return None;
        }
        Some(match &self.question {
            Question::Order(orders) => held_order(result, orders, &found),
            Question::Summation(numbers, ways, left_out) => {
                if *left_out > 0 {
                    result.notes.push(format!(
                        "PyTorch was handed the first {} numbers; {} further ones were left out.",
                        group(numbers.len() as u128),
                        group(*left_out as u128)
                    ));
                }
                held_sums(result, numbers, ways, &found)
            }
            Question::Epsilon(cases) => held_epsilon(result, cases, &found),
        })
    }
}

/// Confirmed where an error keeps to its bound.
fn within(error: f64, bound: f64) -> Outcome {
    match error <= bound {
        true => Outcome::Confirmed,
        false => Outcome::Contradicted {
            claimed: format!("an error of at most {}", short(bound)),
            found: short(error),
        },
    }
}

/// Multiplications as predicted; errors within `γₖ |A| |B| …`, which holds of every order (Higham,
/// *Accuracy and Stability of Numerical Algorithms*, section 3.5), `k` the sum of inner sizes.
fn held_order(result: &mut Verification, orders: &Orders, found: &[&Found]) -> Experiment {
    let inner = &orders.sizes[1..orders.sizes.len() - 1];
    let steps = inner.iter().sum::<usize>() as f64 * f64::from(f32::EPSILON) / 2.0;
    let mut measured = Vec::new();
    for (tree, found) in orders.trees.iter().zip(found) {
        let (text, predicted) = (tree.text(), tree.predicted(&orders.sizes).1);
        let counted = found.flops / 2;
        let outcome = same(predicted, counted, "multiplications");
        result.say(&text, Claim::Experiment, outcome);
        let bound = steps / (1.0 - steps) * found.magnitude;
        result.say(&text, Claim::Experiment, within(found.error, bound));
        measured.push(Ran {
            text,
            predicted,
            counted,
            seconds: found.seconds,
            error: found.error,
        });
    }
    order::concluded(orders, measured)
}

/// Sums and means in each type, the sums in wider ones too.
fn ways() -> Vec<Way> {
    let (half, single, double) = (Dtype::Float16, Dtype::Float32, Dtype::Float64);
    let mut ways = Vec::new();
    for dtype in [half, Dtype::Bfloat16, single] {
        for (name, method, result) in [
            ("torch.sum", "sum", dtype),
            ("torch.mean", "mean", dtype),
            ("torch.sum, dtype=float32", "sum", single),
            ("torch.sum, dtype=float64", "sum", double),
        ] {
            if !(dtype == single && result == single && name.contains("dtype")) {
                ways.push(Way {
                    name,
                    method,
                    dtype,
                    result,
                });
            }
        }
    }
    ways
}

/// How many additions one of `count` numbers goes through at most in PyTorch's cascade of four
/// levels (`aten/src/ATen/native/cpu/SumKernel.cpp`), and then across lanes, rows and threads.
fn depth(count: usize) -> f64 {
    const ACROSS: f64 = 128.0;
    let bits = (count as f64).log2().ceil();
    let power = (bits / 4.0).floor().max(4.0);
    let step = power.exp2();
    3.0 * step + (count as f64 / step.powi(3)).ceil() + ACROSS
}

/// The bound of a way's relative error for numbers of one sign: additions in float32 or wider, a
/// division for a mean, and the result rounded.
fn bound(way: &Way, count: usize) -> f64 {
    let roundoff = |dtype: Dtype| {
        dtype
            .float_format()
            .map_or(0.0, |format| format.unit_roundoff())
    };
    let wide = roundoff(way.result).min(roundoff(Dtype::Float32));
    (depth(count) + 2.0) * wide + roundoff(way.result)
}

fn held_sums(
    result: &mut Verification,
    numbers: &[f64],
    ways: &[Way],
    found: &[&Found],
) -> Experiment {
    let count = numbers.len();
    let mut measured = Vec::new();
    for (way, found) in ways.iter().zip(found) {
        let exact = summation::held(way.dtype, numbers).1;
        let (scale, exact) = match way.method {
            "mean" => (1.0, exact / count as f64),
            _ => (count as f64, exact),
        };
        let overflow = way
            .result
            .float_format()
            .map_or(f64::INFINITY, |f| f.overflow);
        let bound = bound(way, count);
        let error = found
            .value
            .map_or(f64::INFINITY, |value| (value - exact).abs() / exact);
        let outcome = match exact < overflow {
            true => within(error, bound),
            false => same(
                "overflow",
                if found.value.is_none() {
                    "overflow"
                } else {
                    "finite"
                },
                "",
            ),
        };
        let place = format!("{} of {}", way.name, way.dtype);
        result.say(&place, Claim::Experiment, outcome);
        measured.push(Measured {
            dtype: way.dtype,
            name: way.name,
            mean: found.value.unwrap_or(f64::INFINITY) / scale,
            error,
            bound,
            seconds: found.seconds,
        });
    }
    let bytes = |dtype: Dtype| (count * if dtype == Dtype::Float32 { 4 } else { 2 }) as f64;
    let rows = measured.iter().map(|way| (way, Some(bytes(way.dtype))));
    let mut experiment = summation::tabled(rows);
    let of = |name: &str| {
        let mut ways = measured.iter();
        ways.find(|way| way.dtype == Dtype::Float16 && way.name == name)
    };
    if let (Some(sum), Some(mean)) = (of("torch.sum"), of("torch.mean"))
        && !sum.mean.is_finite()
        && mean.mean.is_finite()
    {
        experiment.conclusions.push(
            "the sum overflows float16, and the mean does not: it is rounded after it is divided"
                .to_owned(),
        );
    }
    experiment.expect(
        measured.iter().all(Measured::within),
        "no error exceeds its bound: PyTorch adds halves up in float32, and rounds the result",
    );
    experiment
}

fn held_epsilon(
    result: &mut Verification,
    cases: &[epsilon::Case],
    found: &[&Found],
) -> Experiment {
    let mut held = Vec::new();
    for (case, found) in cases.iter().zip(found) {
        let least = [0, 1].map(|at| case.least(&found.finite[at]));
        for (predicted, found) in case.predicted().into_iter().zip(least) {
            let shown = [predicted, found].map(epsilon::cell);
            let outcome = match predicted == found {
                true => Outcome::Confirmed,
                false => same(
                    format!("down to {}", shown[0]),
                    format!("down to {}", shown[1]),
                    "",
                ),
            };
            result.say(&case.text(), Claim::Experiment, outcome);
        }
        held.push(least);
    }
    epsilon::concluded(cases, &held)
}
