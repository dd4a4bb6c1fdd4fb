//! The questions that are answered by running them, each in a file of its own: a small table, what
//! it says, and which column is worth a picture.
//!
//! Time comes from a clock that is handed in: the core knows none.

mod backpropagation;
pub mod batch_norm;
pub mod epsilon;
mod mask;
pub mod order;
mod precision;
pub mod summation;

use serde::Serialize;

use crate::lower::Model;
use crate::spec::Spec;
use crate::spec::run::ExperimentKind;

/// Seconds since some moment.
pub type Clock<'c> = dyn Fn() -> f64 + 'c;

/// What an experiment showed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Experiment {
    /// The question.
    pub question: String,
    /// The heads of the columns.
    pub columns: Vec<String>,
    /// The cells, row by row.
    pub rows: Vec<Vec<String>>,
    /// A number for each row that a picture can show: what it is, and the numbers.
    pub picture: Option<Picture>,
    /// What the table says.
    pub conclusions: Vec<String>,
    /// What was expected and did not happen.
    pub contradictions: Vec<String>,
}

/// A number for each row, on a logarithmic scale.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Picture {
    /// What the numbers are.
    pub title: String,
    /// One for each row.
    pub values: Vec<f64>,
}

impl Experiment {
    /// An experiment without rows.
    pub fn new(question: &str, columns: &[&str]) -> Experiment {
        Experiment {
            question: question.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            ..Experiment::default()
        }
    }

    /// Says something that should hold, and remembers where it does not.
    pub fn expect(&mut self, holds: bool, what: impl Into<String>) {
        match holds {
            true => self.conclusions.push(what.into()),
            false => self.contradictions.push(what.into()),
        }
    }
}

/// Runs the experiment that a spec is written for. `Err` says why its model does not serve.
pub fn run(
    kind: ExperimentKind,
    spec: &Spec,
    model: &Model,
    seed: u64,
    clock: &Clock<'_>,
) -> Result<Experiment, String> {
    match kind {
        ExperimentKind::Order => order::run(model, seed, clock),
        ExperimentKind::Summation => summation::run(model, seed, clock),
        ExperimentKind::BatchNorm => batch_norm::run(spec, model, seed),
        ExperimentKind::Epsilon => Ok(epsilon::run()),
        ExperimentKind::BackpropagationThroughTime => {
            backpropagation::run(spec, model, seed, clock)
        }
        ExperimentKind::Mask => mask::run(model, clock),
        ExperimentKind::Precision => precision::run(spec, model, seed),
    }
}

/// A number with three digits that mean something.
pub fn short(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        number if (1e-3..1e5).contains(&number.abs()) => {
            let digits = (2 - number.abs().log10().floor() as i32).clamp(0, 6) as usize;
            format!("{number:.digits$}")
        }
        number => format!("{number:.2e}"),
    }
}

/// The slope of a line through the logarithms of points: how fast `y` grows with `x`.
fn growth(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points
        .iter()
        .map(|&(x, y)| (x.ln(), y.max(1e-12).ln()))
        .collect();
    let count = logs.len() as f64;
    let mean = |f: fn(&(f64, f64)) -> f64| logs.iter().map(f).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let above: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let below: f64 = logs.iter().map(|p| (p.0 - x).powi(2)).sum();
    above / below
}
