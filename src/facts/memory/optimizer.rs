//! The state that an optimizer keeps of each parameter.
//!
//! Counts follow `torch.optim` 2.x; `Lamb`, `Lars` and `Lion` their papers, `Adam8bit`
//! bitsandbytes, `Shampoo` and `Soap` their authors' own code. The step counters, a float32 for
//! each parameter tensor, lie in the host's memory unless the update is fused or to be captured.

use crate::spec::run::{LossScale, Optimizer, OptimizerKind};
use crate::tensor::{Dtype, Shape};

/// Elements that share a scale in the states of bitsandbytes' optimizers.
const BLOCK: u64 = 256;
/// Tensors below this many elements keep 32-bit states in bitsandbytes' optimizers.
const SMALLEST_8BIT: u64 = 4096;
/// The longest axis that Shampoo and SOAP precondition; a longer one is left as it is.
const LONGEST_PRECONDITIONED: u64 = 10_000;
/// Directions that L-BFGS remembers (`history_size`).
const HISTORY: u64 = 100;

/// Bytes of the state of one parameter tensor, the state lying in `dtype`. Saturates.
pub fn state_bytes(optimizer: &Optimizer, shape: &Shape, dtype: Dtype) -> u64 {
    let elements = shape.elements();
    let copies = |count: u64| dtype.bytes_for(elements.saturating_mul(count));
    let Some(kind) = optimizer.name.get() else {
        return 0;
    };
    let momentum = u64::from(optimizer.momentum.or(0.0) != 0.0);
    let amsgrad = u64::from(optimizer.amsgrad.or(false));
    let moments = match kind {
        OptimizerKind::Sgd => copies(momentum),
        // LARS is SGD with momentum, 0.9 in its paper and in all implementations.
        OptimizerKind::Lars => copies(u64::from(optimizer.momentum.or(0.9) != 0.0)),
        OptimizerKind::Lion | OptimizerKind::Adagrad | OptimizerKind::Asgd => copies(1),
        OptimizerKind::RmsProp => copies(1 + momentum + u64::from(optimizer.centered.or(false))),
        OptimizerKind::Adam | OptimizerKind::AdamW => copies(2 + amsgrad),
        OptimizerKind::Adamax
        | OptimizerKind::NAdam
        | OptimizerKind::RAdam
        | OptimizerKind::Adadelta
        | OptimizerKind::Lamb
        | OptimizerKind::Rprop => copies(2),
        OptimizerKind::Adafactor => {
            // `beta1` of the paper: a first moment besides, which is not kept by default.
            let first = optimizer
                .betas
                .get()
                .and_then(|betas| betas.first().copied());
            let first = copies(u64::from(first.unwrap_or(0.0) != 0.0).max(momentum));
            let second = match shape.sizes() {
                // One mean for each row and one for each column of the last two axes.
                [stack @ .., rows, columns] => {
                    let stack: u64 = stack.iter().product();
                    dtype.bytes_for(stack.saturating_mul(rows.saturating_add(*columns)))
                }
                _ => copies(1),
            };
            first.saturating_add(second)
        }
        // The momentum, and for each axis of a matrix a preconditioner and its root.
        OptimizerKind::Shampoo => copies(1).saturating_add(preconditioners(shape, dtype)),
        // Two moments, and for each axis of a matrix a preconditioner and its eigenvectors.
        OptimizerKind::Soap => copies(2).saturating_add(preconditioners(shape, dtype)),
        // Muon takes matrices; everything else goes to the AdamW that runs beside it.
        OptimizerKind::Muon => copies(if shape.rank() == 2 { 1 } else { 2 }),
        OptimizerKind::Adam8bit if elements < SMALLEST_8BIT => {
            Dtype::Float32.bytes_for(2 * elements)
        }
        OptimizerKind::Adam8bit => {
            let scales = Dtype::Float32.bytes_for(elements.div_ceil(BLOCK));
            elements.saturating_add(scales).saturating_mul(2)
        }
        // Steps and differences of gradients, the last direction and the last gradient.
        OptimizerKind::Lbfgs => copies(2 * HISTORY + 2),
    };
    let counters = Dtype::Float32.bytes_for(counters_on_device(optimizer, kind));
    moments.saturating_add(counters)
}

/// Numbers besides that lie on the device for each parameter tensor: the step, and of NAdam the
/// product of its momenta.
fn counters_on_device(optimizer: &Optimizer, kind: OptimizerKind) -> u64 {
    let captured = optimizer.capturable.or(false);
    match kind {
        OptimizerKind::Adam | OptimizerKind::AdamW => {
            u64::from(captured || optimizer.fused.or(false))
        }
        OptimizerKind::NAdam => 2 * u64::from(captured),
        OptimizerKind::Adamax
        | OptimizerKind::RAdam
        | OptimizerKind::Adadelta
        | OptimizerKind::RmsProp
        | OptimizerKind::Rprop => u64::from(captured),
        _ => 0,
    }
}

/// What `torch.amp.GradScaler` keeps on the device: the scale, and how many steps it has stood.
pub fn scaler_bytes(scale: LossScale) -> u64 {
    match scale {
        LossScale::Dynamic => Dtype::Float32.bytes_for(1) + Dtype::Int32.bytes_for(1),
        LossScale::None | LossScale::Static(_) => 0,
    }
}

/// Two square matrices for each axis of a tensor of two axes or more.
fn preconditioners(shape: &Shape, dtype: Dtype) -> u64 {
    if shape.rank() < 2 {
        return 0;
    }
    shape
        .sizes()
        .iter()
        .filter(|&&size| size <= LONGEST_PRECONDITIONED)
        .fold(0u64, |sum, &size| {
            sum.saturating_add(dtype.bytes_for(2 * size * size))
        })
}

/// What the state is, in words: `2 moments`.
pub fn state_name(optimizer: &Optimizer) -> &'static str {
    let momentum = optimizer.momentum.or(0.0) != 0.0;
    match optimizer.name.get() {
        None => "no optimizer is named",
        Some(OptimizerKind::Sgd) if !momentum => "SGD without momentum keeps none",
        Some(OptimizerKind::Sgd | OptimizerKind::Lars | OptimizerKind::Lion) => "momentum",
        Some(OptimizerKind::Adagrad) => "sum of squares",
        Some(OptimizerKind::RmsProp) if momentum => "mean square and momentum",
        Some(OptimizerKind::RmsProp) => "mean square",
        Some(OptimizerKind::Adam | OptimizerKind::AdamW) if optimizer.amsgrad.or(false) => {
            "two moments and the largest second one"
        }
        Some(OptimizerKind::Adafactor) => "means of rows and columns",
        Some(OptimizerKind::Asgd) => "averaged weights",
        Some(OptimizerKind::Shampoo) => "momentum, preconditioners and their roots",
        Some(OptimizerKind::Soap) => "two moments, preconditioners and their eigenvectors",
        Some(OptimizerKind::Muon) => "momentum of matrices, two moments of the rest",
        Some(OptimizerKind::Adam8bit) => "two moments in 8 bits, with their scales",
        Some(OptimizerKind::Lbfgs) => "100 steps and differences of gradients",
        Some(OptimizerKind::Rprop) => "last gradient and step size",
        Some(OptimizerKind::Adadelta) => "two mean squares",
        Some(_) => "two moments",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;

    /// Bytes of the state of a [64, 128] matrix and of a vector of 64 in float32.
    fn states(optimizer: &str) -> (u64, u64) {
        let text = format!(
            "spec = 1\n[inputs]\nx = [2, 4]\n[[layers]]\nop = \"relu\"\n[train]\noptimizer = {optimizer}"
        );
        let (spec, _) = lowered(&text);
        let optimizer = &spec.run.train.optimizer;
        let of = |shape: Shape| state_bytes(optimizer, &shape, Dtype::Float32);
        (of(Shape::from([64, 128])), of(Shape::from([64])))
    }

    #[test]
    fn every_optimizer_keeps_what_it_keeps() {
        let (matrix, vector) = (4 * 64 * 128, 4 * 64);
        for (optimizer, expected) in [
            ("\"sgd\"", (0, 0)),
            ("{ name = \"sgd\", momentum = 0.9 }", (matrix, vector)),
            ("\"adamw\"", (2 * matrix, 2 * vector)),
            (
                "{ name = \"adam\", amsgrad = true }",
                (3 * matrix, 3 * vector),
            ),
            ("\"rmsprop\"", (matrix, vector)),
            (
                "{ name = \"rmsprop\", momentum = 0.9 }",
                (2 * matrix, 2 * vector),
            ),
            (
                "{ name = \"rmsprop\", momentum = 0.9, centered = true }",
                (3 * matrix, 3 * vector),
            ),
            // Counters of updates that are captured lie on the device.
            (
                "{ name = \"nadam\", capturable = true }",
                (2 * matrix + 8, 2 * vector + 8),
            ),
            ("{ name = \"nadam\" }", (2 * matrix, 2 * vector)),
            // The counter of a fused update lies on the device.
            (
                "{ name = \"adamw\", fused = true }",
                (2 * matrix + 4, 2 * vector + 4),
            ),
            (
                "{ name = \"sgd\", momentum = 0.9, nesterov = true }",
                (matrix, vector),
            ),
            ("\"nadam\"", (2 * matrix, 2 * vector)),
            ("\"radam\"", (2 * matrix, 2 * vector)),
            ("\"adadelta\"", (2 * matrix, 2 * vector)),
            ("\"asgd\"", (matrix, vector)),
            (
                "\"shampoo\"",
                (matrix + 4 * 2 * (64 * 64 + 128 * 128), vector),
            ),
            (
                "\"soap\"",
                (2 * matrix + 4 * 2 * (64 * 64 + 128 * 128), 2 * vector),
            ),
            (
                "{ name = \"adafactor\", betas = [0.9, 0.999] }",
                (matrix + 4 * 192, 2 * vector),
            ),
            ("\"adagrad\"", (matrix, vector)),
            ("\"lion\"", (matrix, vector)),
            ("\"lamb\"", (2 * matrix, 2 * vector)),
            ("\"lars\"", (matrix, vector)),
            ("\"muon\"", (matrix, 2 * vector)),
            // (64 + 128) means of a matrix, all 64 of a vector.
            ("\"adafactor\"", (4 * 192, vector)),
            // 8192 elements in 32 blocks; the vector is too small.
            ("\"adam8bit\"", (2 * (8192 + 4 * 32), 2 * vector)),
            ("\"lbfgs\"", (202 * matrix, 202 * vector)),
        ] {
            assert_eq!(states(optimizer), expected, "{optimizer}");
        }
    }
}
