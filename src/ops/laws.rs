//! Laws that ops are held to. Of every op with an element function, the range contains what the
//! function gives, and moments and gradient gain agree with samples. No op panics, whatever the
//! operands and attributes are.

use super::cases::Random;
use super::layout::{Placement, Strides, contiguous_strides};
use super::{Argument, AttributeKind, AttributeValue, Attributes, Call, Op, OpError, Saved, all};
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

/// One of the values.
fn pick<T: Copy>(random: &mut Random, values: &[T]) -> T {
    values[(random.bits() % values.len() as u64) as usize]
}

fn any_shape(random: &mut Random) -> Shape {
    let sizes: &[u64] = match random.bits() % 4 {
        0 => &[0, 1, 3, 1 << 31, (1 << 62) + 1, u64::MAX],
        _ => &[1, 2, 3, 4, 6],
    };
    (0..random.bits() % 5)
        .map(|_| pick(random, sizes))
        .collect()
}

fn any_attribute(random: &mut Random, kind: AttributeKind) -> AttributeValue {
    const INTEGERS: &[i64] = &[-2, -1, 0, 1, 2, 3, 4, 6, i64::MIN, i64::MAX, 1 << 40];
    const FLOATS: &[f64] = &[0.0, 0.5, 1.0, 2.0, -1.0, 1e300, f64::INFINITY, f64::NAN];
    let integers = match random.bits() % 3 {
        0 => INTEGERS,
        _ => &INTEGERS[..7],
    };
    // As the reader of specs does, which refuses sizes below 0.
    let sizes = &integers[2..];
    let list = |random: &mut Random, all: &[i64]| -> AttributeValue {
        let count = random.bits() % 4;
        let list: Vec<i64> = (0..count).map(|_| pick(random, all)).collect();
        list.into()
    };
    let single = random.chance(2);
    match kind {
        AttributeKind::Size => pick(random, sizes).into(),
        AttributeKind::Integer => pick(random, integers).into(),
        AttributeKind::SizesOr(words) if random.chance(3) => pick(random, words).into(),
        AttributeKind::Sizes | AttributeKind::SizesOr(_) if single => pick(random, sizes).into(),
        AttributeKind::Sizes | AttributeKind::SizesOr(_) => list(random, sizes),
        AttributeKind::Integers if single => pick(random, integers).into(),
        AttributeKind::Integers => list(random, integers),
        AttributeKind::Float => pick(random, FLOATS).into(),
        AttributeKind::Boolean | AttributeKind::Parameter => single.into(),
        AttributeKind::Choice(words) => pick(random, words).into(),
        AttributeKind::Text => pick(random, &["", "ij,jk->ik", "...i,i", "x", "é->"]).into(),
        AttributeKind::Dtype => pick(random, &Dtype::ALL).into(),
    }
}

fn any_operands(op: &Op, random: &mut Random) -> Vec<Option<TensorType>> {
    let count = op.operands.len() + if op.is_variadic() { 2 } else { 0 };
    let shared = any_shape(random);
    (0..count)
        .map(|at| {
            let optional = op.operands.get(at).is_none_or(|operand| operand.optional);
            if optional && random.chance(2) {
                return None;
            }
            let shape = match random.bits() % 2 {
                0 => shared.clone(),
                _ => any_shape(random),
            };
            // Operands come from a graph, which refuses larger ones.
            shape.checked_elements()?;
            let dtypes = [Dtype::Int64, Dtype::Bool, Dtype::Float16, Dtype::Float64];
            let dtype = match random.bits() % 2 {
                0 => Dtype::Float32,
                _ => pick(random, &dtypes),
            };
            Some(TensorType { shape, dtype })
        })
        .collect()
}

/// Asks everything that an entry knows of an inferred call.
fn ask_everything(call: &Call, random: &mut Random) {
    let op = call.op;
    (op.work)(call);
    (op.backward)(call);
    (op.saved)(call, &mut Saved::default());
    let strides: Vec<Strides> = (0..call.arguments.len())
        .map(|at| {
            call.shape(at)
                .map_or(Strides::new(), |shape| contiguous_strides(shape.sizes()))
        })
        .collect();
    let (Placement::Own(strides) | Placement::Shared(strides)) = (op.layout)(call, &strides);
    let rank = call.output().map_or(0, |ty| ty.shape.rank());
    assert_eq!(strides.len(), rank, "{} {call:?}", op.name);
    let bounds = [f64::INFINITY, -2.0, 0.0, 0.5, 1.0, 1e300];
    let ranges: Vec<Interval> = call
        .arguments
        .iter()
        .map(|_| match (pick(random, &bounds), pick(random, &bounds)) {
            (f64::INFINITY, f64::INFINITY) => Interval::REAL,
            (f64::INFINITY, high) => Interval::new(f64::NEG_INFINITY, high),
            (low, high) => Interval::new(low, high),
        })
        .collect();
    let range = (op.interval)(call, &ranges);
    assert!(range.low <= range.high, "{range:?} {ranges:?} {call:?}");
    let moments: Vec<Option<Moments>> = call
        .arguments
        .iter()
        .map(|_| {
            let mean = pick(random, &[0.0, 1.0, -3.0, 1e200]);
            let variance = pick(random, &[0.0, 1.0, 1e-300, 1e200]);
            (!random.chance(4)).then(|| Moments::new(mean, variance))
        })
        .collect();
    (op.moments)(call, &moments);
    for position in 0..call.arguments.len() {
        (op.gradient_gain)(call, position, &moments);
    }
}

/// Makes random calls of the op, sensible and absurd ones; how many could be inferred.
fn try_calls(op: &'static Op, random: &mut Random) -> usize {
    let mut inferred = 0;
    for _ in 0..400 {
        let mut attributes = Attributes::new();
        for (position, attribute) in op.attributes.iter().enumerate() {
            let required = matches!(attribute.default, Default::Required);
            if required || random.chance(3) {
                attributes.set(position, any_attribute(random, attribute.kind));
            }
        }
        let types = any_operands(op, random);
        let argument = |ty| Argument {
            ty,
            constant: None,
            requires_grad: ty.dtype.is_float(),
            is_parameter: false,
            strides: None,
        };
        let arguments: Vec<Option<Argument>> =
            types.iter().map(|ty| ty.as_ref().map(argument)).collect();
        let mut call = Call {
            op,
            attributes: &attributes,
            arguments: &arguments,
            outputs: &[],
            training: random.chance(2),
            fused_attention: random.chance(2),
            autocast: random.chance(2),
        };
        if let Some(parameters) = op.parameters {
            let _ = parameters(&call);
        }
        // The graph refuses calls without an operand that is not optional, and outputs of more
        // elements than 63 bits count.
        let mut operands = op.operands.iter().enumerate();
        if op.expand.is_none()
            && operands.all(|(at, operand)| operand.optional || call.has(at))
            && let Ok(outputs) = (op.infer)(&call)
            && outputs
                .iter()
                .all(|ty| ty.shape.checked_elements().is_some())
        {
            inferred += 1;
            call.outputs = &outputs;
            ask_everything(&call, random);
        }
    }
    inferred
}

/// Guards against overflow, indices outside and empty ranges, in whatever op comes next, too.
#[test]
fn nothing_panics() {
    let mut inferred = 0;
    let mut failed = Vec::new();
    for op in all() {
        let calls = || try_calls(op, &mut Random(41));
        match std::panic::catch_unwind(calls) {
            Ok(count) => inferred += count,
            Err(_) => failed.push(op.name),
        }
    }
    assert!(failed.is_empty(), "these ops panic: {failed:?}");
    assert!(
        inferred > 20 * all().count(),
        "only {inferred} calls were sensible"
    );
}
