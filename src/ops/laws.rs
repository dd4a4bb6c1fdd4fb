//! Laws that every op with an element function is held to: its range contains what the function
//! gives, and its moments and gradient gain agree with samples.

use super::cases::Random;
use super::{Argument, AttributeKind, Attributes, Call, Op, OpError, all};
use crate::ops::definition::Default;
use crate::tensor::{Dtype, Interval, Moments, Shape, TensorType};

/// Shows a call of the op on vectors of 4 elements to `f`, in the first element types that the
/// op takes.
fn with_call(op: &'static Op, f: impl FnOnce(&Call)) {
    use Dtype::{Bool, Float32, Int64};
    let mut attributes = Attributes::new();
    for (position, attribute) in op.attributes.iter().enumerate() {
        if let (Default::Required | Default::None, AttributeKind::Float) =
            (attribute.default, attribute.kind)
        {
            attributes.set(position, 0.5.into());
        }
    }
    let patterns = [
        [Float32; 3],
        [Bool, Float32, Float32],
        [Float32, Bool, Float32],
        [Int64; 3],
    ];
    let mut last_error = OpError::new("no pattern");
    for pattern in patterns {
        let types = pattern.map(|dtype| TensorType::new(Shape::from([4]), dtype));
        let arguments: Vec<Option<Argument>> = types[..op.operands.len()]
            .iter()
            .map(|ty| {
                Some(Argument {
                    ty,
                    constant: None,
                    requires_grad: ty.dtype.is_float(),
                    is_parameter: false,
                    strides: None,
                })
            })
            .collect();
        let mut call = Call {
            op,
            attributes: &attributes,
            arguments: &arguments,
            outputs: &[],
            training: false,
            fused_attention: false,
            autocast: false,
        };
        match (op.infer)(&call) {
            Ok(outputs) => {
                call.outputs = &outputs;
                f(&call);
                return;
            }
            Err(error) => last_error = error,
        }
    }
    panic!("{}: {last_error}", op.name);
}

fn pointwise() -> impl Iterator<Item = (&'static Op, super::definition::Element)> {
    all().filter_map(|op| Some((op, op.element?)))
}

#[test]
fn ranges_contain_every_value() {
    let mut random = Random(7);
    for (op, element) in pointwise() {
        with_call(op, |call| {
            for round in 0..400 {
                // Small enough that nothing overflows float64, which is the caller's matter.
                let scale = [0.1, 1.0, 3.0, 30.0, 100.0][round % 5];
                let ranges: Vec<Interval> = call
                    .arguments
                    .iter()
                    .map(|argument| {
                        let mut end = || random.uniform(-scale, scale);
                        let (a, b) = match round % 4 {
                            0 => (end(), end()),
                            1 => (end().abs(), end().abs()),
                            2 => (0.0, end()),
                            _ => {
                                let at = (end() * 2.0).round() / 2.0;
                                (at, at)
                            }
                        };
                        match argument.map(|argument| argument.ty.dtype) {
                            Some(Dtype::Bool) => Interval::new(a.signum().max(0.0), 1.0),
                            Some(Dtype::Int64) => Interval::new(a.round(), b.round()),
                            _ => Interval::new(a, b),
                        }
                    })
                    .collect();
                let image = (op.interval)(call, &ranges);
                for _ in 0..20 {
                    let values: Vec<f64> = ranges
                        .iter()
                        .zip(call.arguments)
                        .map(|(range, argument)| {
                            let value = match random.bits() % 5 {
                                0 => range.low,
                                1 => range.high,
                                _ => random.uniform(range.low, range.high),
                            };
                            if argument.is_some_and(|argument| argument.ty.dtype.is_float()) {
                                value
                            } else {
                                value.round()
                            }
                        })
                        .collect();
                    let value = element(call, &values);
                    assert!(
                        image.contains(value),
                        "{}{values:?} = {value:e} is outside {image:?}, from {ranges:?}",
                        op.name
                    );
                }
            }
        });
    }
}

/// Loose tolerances: 40,000 samples, and some of the functions have heavy tails.
#[test]
fn moments_and_gains_agree_with_samples() {
    const SAMPLES: usize = 40_000;
    let close = |actual: f64, expected: f64, scale: f64| {
        (actual - expected).abs() <= 0.2 * expected.abs() + 0.02 * scale + 1e-9
    };
    let mut random = Random(11);
    for (op, element) in pointwise() {
        with_call(op, |call| {
            for (mean, variance) in [(0.0, 1.0), (0.5, 0.3), (-0.4, 0.5), (3.0, 0.01)] {
                let given = vec![Some(Moments::new(mean, variance)); call.arguments.len()];
                let step = 1e-5;
                let mut values = Vec::with_capacity(SAMPLES);
                let mut slopes = vec![0.0; call.arguments.len()];
                for _ in 0..SAMPLES {
                    let x: Vec<f64> = call
                        .arguments
                        .iter()
                        .map(|_| mean + variance.sqrt() * random.normal())
                        .collect();
                    values.push(element(call, &x));
                    for (position, slope) in slopes.iter_mut().enumerate() {
                        let at = |sign: f64| {
                            let mut x = x.clone();
                            x[position] += sign * step;
                            element(call, &x)
                        };
                        // Autograd does not see jumps, as of `floor`.
                        let rise = at(1.0) - at(-1.0);
                        if rise.abs() < 1e-2 {
                            *slope += (rise / (2.0 * step)).powi(2);
                        }
                    }
                }
                if let Some(claimed) = (op.moments)(call, &given) {
                    let average = values.iter().sum::<f64>() / SAMPLES as f64;
                    let spread =
                        values.iter().map(|v| (v - average).powi(2)).sum::<f64>() / SAMPLES as f64;
                    assert!(
                        (claimed.mean - average).abs() <= 0.03 * spread.sqrt() + 1e-6,
                        "{}: mean {average}, claimed {claimed:?} at {mean}, {variance}",
                        op.name
                    );
                    assert!(
                        close(claimed.variance, spread, spread.max(variance)),
                        "{}: variance {spread}, claimed {claimed:?} at {mean}, {variance}",
                        op.name
                    );
                }
                for (position, slope) in slopes.iter().enumerate() {
                    let sampled = slope / SAMPLES as f64;
                    if let Some(claimed) = (op.gradient_gain)(call, position, &given) {
                        assert!(
                            close(claimed, sampled, sampled),
                            "{}: gain {sampled} to operand {position}, claimed {claimed} at \
                             {mean}, {variance}",
                            op.name
                        );
                    }
                }
            }
        });
    }
}
