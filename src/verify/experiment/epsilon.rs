//! The smallest variance at which a guarded division by a standard deviation gives finite outputs
//! and gradients.

use super::{Experiment, Picture, short};
use crate::kernels::round;
use crate::tensor::Dtype;

const PLACES: [&str; 4] = ["√(v + ε)", "√v + ε", "max(√v, ε)", "no ε"];
const EPSILONS: [f64; 3] = [1e-5, 1e-8, 1e-12];

/// The factor `1 / (…)`, and its derivative by the variance, each step rounded.
fn factor(dtype: Dtype, place: &str, eps: f64, v: f64) -> (f64, f64) {
    let r = |x: f64| round(dtype, x);
    let eps = r(eps);
    let (divisor, slope) = match place {
        "√(v + ε)" => {
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

pub(super) fn run() -> Experiment {
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
    let mut values = Vec::new();
    let mut inside_holds = true;
    for dtype in [Dtype::Float16, Dtype::Bfloat16, Dtype::Float32] {
        let Some(format) = dtype.float_format() else {
            continue;
        };
        for place in PLACES {
            for eps in EPSILONS {
                if place == "no ε" && eps != EPSILONS[0] {
                    continue;
                }
                // The powers of two from the least positive number up, and 0 itself.
                let mut least = [f64::INFINITY; 2];
                let mut candidates = vec![0.0];
                let mut v = format.min_subnormal;
                while v < 1.0 {
                    candidates.push(v);
                    v *= 2.0;
                }
                for &v in candidates.iter().rev() {
                    let (factor, slope) = factor(dtype, place, eps, v);
                    for (slot, value) in least.iter_mut().zip([factor, slope]) {
                        let unbroken = *slot == f64::INFINITY
                            || *slot <= 2.0 * v.max(format.min_subnormal) * 1.01;
                        if value.is_finite() && unbroken {
                            *slot = v;
                        }
                    }
                }
                let guarded = round(dtype, eps) > 0.0;
                if place == "√(v + ε)" && guarded {
                    inside_holds &= least[0] == 0.0;
                }
                values.push(least[1].max(format.min_subnormal));
                let cell = |v: f64| match v {
                    0.0 => "0 itself".to_owned(),
                    v if v.is_infinite() => "never".to_owned(),
                    v => short(v),
                };
                experiment.rows.push(vec![
                    dtype.to_string(),
                    place.to_owned(),
                    if place == "no ε" {
                        "-".to_owned()
                    } else {
                        short(eps)
                    },
                    if place == "no ε" {
                        "-".to_owned()
                    } else {
                        short(round(dtype, eps))
                    },
                    cell(least[0]),
                    cell(least[1]),
                ]);
            }
        }
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
