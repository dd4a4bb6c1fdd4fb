//! The smallest variance at which a guarded division by a standard deviation gives finite outputs
//! and gradients.

use super::{Experiment, Picture, short};
use crate::kernels::round;
use crate::tensor::Dtype;

/// Where an ε stands.
const PLACES: [&str; 4] = [INSIDE, "√v + ε", "max(√v, ε)", NONE];
const INSIDE: &str = "√(v + ε)";
const NONE: &str = "no ε";
const EPSILONS: [f64; 3] = [1e-5, 1e-8, 1e-12];

/// The factor `1 / (…)`, and its derivative by the variance, each step rounded.
fn factor(dtype: Dtype, place: &str, eps: f64, v: f64) -> (f64, f64) {
    let r = |x: f64| round(dtype, x);
    let eps = r(eps);
    let (divisor, slope) = match place {
        INSIDE => {
            let root = r(r(v + eps).sqrt());
            (root, r(0.5 / root))
        }
        "√v + ε" => {
            let root = r(v.sqrt());
            (r(root + eps), r(0.5 / root))
        }
        "max(√v, ε)" => {
            let root = r(v.sqrt());
            match root >= eps {
                true => (root, r(0.5 / root)),
                // Below the bound the gradient is cut, but that of the root is multiplied by 0.
                false => (eps, r(0.5 / root) * 0.0),
            }
        }
        _ => {
            let root = r(v.sqrt());
            (root, r(0.5 / root))
        }
    };
    let factor = r(1.0 / divisor);
    (factor, r(r(-factor * factor) * slope))
}

/// A type, where an ε stands in it, and how large it is.
pub struct Case {
    /// The type of every step.
    pub dtype: Dtype,
    /// The divisor, as it is written: one of [`PLACES`].
    pub place: &'static str,
    /// The ε, as it is written.
    pub eps: f64,
    /// Variances: 0, and the powers of two from the least positive number of the type up to 1.
    pub candidates: Vec<f64>,
}

impl Case {
    /// All that are asked of.
    pub fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        for dtype in [Dtype::Float16, Dtype::Bfloat16, Dtype::Float32] {
            let Some(format) = dtype.float_format() else {
                continue;
            };
            let powers = std::iter::successors(Some(format.min_subnormal), |v| Some(2.0 * v));
            let powers = powers.take_while(|v| *v < 1.0);
            let candidates: Vec<f64> = std::iter::once(0.0).chain(powers).collect();
            for place in PLACES {
                for eps in EPSILONS {
                    if place != NONE || eps == EPSILONS[0] {
                        cases.push(Case {
                            dtype,
                            place,
                            eps,
                            candidates: candidates.clone(),
                        });
                    }
                }
            }
        }
        cases
    }

    /// Down to which variance the output and the gradient hold, by steps that are rounded.
    pub fn predicted(&self) -> [f64; 2] {
        let values = self.candidates.iter();
        let values = values.map(|&v| factor(self.dtype, self.place, self.eps, v));
        let (factors, slopes): (Vec<f64>, Vec<f64>) = values.unzip();
        [factors, slopes]
            .map(|values| self.least(&values.iter().map(|x| x.is_finite()).collect::<Vec<_>>()))
    }

    /// The least variance from which on all values are finite; infinite where the largest one's is
    /// not.
    pub fn least(&self, finite: &[bool]) -> f64 {
        let both = self.candidates.iter().zip(finite).rev();
        let held = both.take_while(|(_, finite)| **finite);
        held.last().map_or(f64::INFINITY, |(v, _)| *v)
    }

    /// What it is called.
    pub fn text(&self) -> String {
        match self.place {
            NONE => format!("{}, {NONE}", self.dtype),
            place => format!("{}, {place}, ε = {}", self.dtype, short(self.eps)),
        }
    }
}

/// A variance, as a table shows it.
pub fn cell(v: f64) -> String {
    match v {
        0.0 => "0 itself".to_owned(),
        v if v.is_infinite() => "never".to_owned(),
        v => short(v),
    }
}

pub(super) fn run() -> Experiment {
    let cases = Case::all();
    let held: Vec<[f64; 2]> = cases.iter().map(Case::predicted).collect();
    concluded(&cases, &held)
}

/// What the variances show down to which outputs and gradients hold, case by case.
pub fn concluded(cases: &[Case], held: &[[f64; 2]]) -> Experiment {
    let mut experiment = Experiment::new(
        "Down to which variance does a normalisation hold?",
        &[
            "type",
            "placement",
            "ε",
            "ε stored",
            "output holds to",
            "gradient holds to",
        ],
    );
    let mut inside_holds = true;
    let mut values = Vec::new();
    for (case, &[output, gradient]) in cases.iter().zip(held) {
        let stored = round(case.dtype, case.eps);
        if case.place == INSIDE && stored > 0.0 {
            inside_holds &= output == 0.0;
        }
        // A logarithmic scale has no 0.
        let least = case.candidates.get(1).copied().unwrap_or(0.0);
        values.push(gradient.max(least));
        let shown = |eps: f64| match case.place {
            NONE => "-".to_owned(),
            _ => short(eps),
        };
        experiment.rows.push(vec![
            case.dtype.to_string(),
            case.place.to_owned(),
            shown(case.eps),
            shown(stored),
            cell(output),
            cell(gradient),
        ]);
    }
    experiment.expect(
        inside_holds,
        "inside of the root, an ε that is not 0 in the type keeps outputs finite down to a variance of 0",
    );
    experiment.conclusions.push(
        "behind the root it guards outputs only: the gradient of the root itself is infinite at 0"
            .to_owned(),
    );
    experiment.picture = Some(Picture {
        title: "least variance with a finite gradient".to_owned(),
        values,
    });
    experiment
}
