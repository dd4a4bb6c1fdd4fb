//! Tensors from nothing: constants, ranges, grids, random numbers; and those shaped like another.
//!
//! They have no gradient and hardly any arithmetic.

use smallvec::smallvec;

use super::definition::{BASE, Default, Infer, attribute, no_work, variadic};
use super::grid::{grid_layout, grid_range, meshgrid};
use super::pointwise::refuse;
use super::shape::list;
use super::{Attribute, AttributeKind, Call, Op, OpError, Outputs};
use crate::tensor::{Dtype, Interval, Moments, Shape, TensorType};

const SIZE: Attribute = attribute(
    "size",
    AttributeKind::Integers,
    Default::Required,
    "the sizes",
)
.or(&["shape"]);

const DTYPE: Attribute = attribute(
    "dtype",
    AttributeKind::Dtype,
    Default::None,
    "the element type",
);

const FILL: Attribute = attribute(
    "fill_value",
    AttributeKind::Float,
    Default::Required,
    "the value of every element",
);

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        attributes: &[SIZE, DTYPE],
        ..constant("zeros", "zeros", sized)
    },
    Op {
        attributes: &[SIZE, DTYPE],
        ..constant("ones", "ones", sized)
    },
    Op {
        attributes: &[SIZE, FILL, DTYPE],
        ..constant(
            "full",
            "one value everywhere; float32 unless `dtype` says otherwise",
            sized,
        )
    },
    Op {
        operands: BASE.operands,
        attributes: &[DTYPE],
        ..constant("zeros_like", "zeros in the shape of input", like)
    },
    Op {
        operands: BASE.operands,
        attributes: &[DTYPE],
        ..constant("ones_like", "ones in the shape of input", like)
    },
    Op {
        operands: BASE.operands,
        attributes: &[FILL, DTYPE],
        ..constant(
            "full_like",
            "one value everywhere, in the shape of input",
            like,
        )
    },
    Op {
        attributes: &[SIZE, DTYPE],
        ..source("empty", "memory as it is found", sized)
    },
    Op {
        operands: BASE.operands,
        attributes: &[DTYPE],
        ..source(
            "empty_like",
            "memory as it is found, in the shape of input",
            like,
        )
    },
    Op {
        attributes: &[SIZE, DTYPE],
        interval: |_, _| Interval::new(0.0, 1.0),
        moments: |_, _| Some(Moments::uniform(0.0, 1.0)),
        ..random("rand", "evenly spread over [0, 1)", sized)
    },
    Op {
        operands: BASE.operands,
        attributes: &[DTYPE],
        interval: |_, _| Interval::new(0.0, 1.0),
        moments: |_, _| Some(Moments::uniform(0.0, 1.0)),
        ..random(
            "rand_like",
            "evenly spread over [0, 1), in the shape of input",
            like,
        )
    },
    Op {
        attributes: &[SIZE, DTYPE],
        interval: |_, _| Interval::REAL,
        moments: |_, _| Some(Moments::STANDARD),
        ..random("randn", "standard normal", sized)
    },
    Op {
        operands: BASE.operands,
        attributes: &[DTYPE],
        interval: |_, _| Interval::REAL,
        moments: |_, _| Some(Moments::STANDARD),
        ..random("randn_like", "standard normal, in the shape of input", like)
    },
    Op {
        attributes: &[
            attribute("low", AttributeKind::Integer, Default::Integer(0), "least"),
            attribute(
                "high",
                AttributeKind::Integer,
                Default::Required,
                "one above the greatest",
            ),
            SIZE,
            DTYPE,
        ],
        interval: |call, _| {
            let (low, high) = integer_bounds(call);
            Interval::new(low as f64, high as f64 - 1.0)
        },
        ..random(
            "randint",
            "whole numbers from low to high - 1",
            random_integers,
        )
    },
    Op {
        attributes: &[
            attribute("n", AttributeKind::Size, Default::Required, "how many"),
            DTYPE,
        ],
        interval: |call, _| Interval::new(0.0, (call.output_elements() as f64 - 1.0).max(0.0)),
        ..random(
            "randperm",
            "the numbers 0 to n - 1 in random order",
            |call| typed(call, [call.size("n")?].into(), Dtype::Int64),
        )
    },
    Op {
        operands: BASE.operands,
        infer: |call| {
            refuse(call, [0], "integers", |dtype| !dtype.is_float())?;
            Ok(smallvec![call.ty(0)?.clone()])
        },
        interval: |_, _| Interval::new(0.0, 1.0),
        moments: |_, moments| {
            let mean = moments.first().copied().flatten()?.mean;
            (0.0..=1.0)
                .contains(&mean)
                .then(|| Moments::new(mean, mean * (1.0 - mean)))
        },
        ..random(
            "bernoulli",
            "1 with the probability that input says, else 0",
            like,
        )
    },
    Op {
        attributes: &[
            attribute(
                "start",
                AttributeKind::Float,
                Default::None,
                "first; 0 if left out",
            ),
            attribute(
                "end",
                AttributeKind::Float,
                Default::None,
                "bound, not reached",
            )
            .or(&["stop"]),
            attribute(
                "step",
                AttributeKind::Float,
                Default::Float(1.0),
                "distance",
            ),
            DTYPE,
        ],
        interval: |call, _| match bounds(call) {
            Ok((start, _, step)) => {
                let steps = (call.output_elements() as f64 - 1.0).max(0.0);
                Interval::new(start, start + steps * step)
            }
            Err(_) => Interval::REAL,
        },
        moments: |call, _| {
            let (start, _, step) = bounds(call).ok()?;
            Some(evenly_spaced(start, step, call.output_elements() as f64))
        },
        ..source("arange", "start, start + step, … below end", arange)
    },
    Op {
        attributes: &[
            attribute("start", AttributeKind::Float, Default::Required, "first"),
            attribute("end", AttributeKind::Float, Default::Required, "last").or(&["stop"]),
            attribute(
                "steps",
                AttributeKind::Size,
                Default::Integer(50),
                "how many",
            )
            .or(&["num"]),
            DTYPE,
        ],
        interval: |call, _| {
            let end = |name| call.float(name).unwrap_or(0.0);
            Interval::new(end("start"), end("end"))
        },
        moments: |call, _| {
            let (start, end) = (call.float("start")?, call.float("end")?);
            let count = call.output_elements() as f64;
            Some(evenly_spaced(
                start,
                (end - start) / (count - 1.0).max(1.0),
                count,
            ))
        },
        ..source(
            "linspace",
            "evenly spaced from start to end, both included",
            |call| typed(call, [call.size("steps")?].into(), Dtype::Float32),
        )
    },
    Op {
        attributes: &[
            attribute("n", AttributeKind::Size, Default::Required, "rows").or(&["N"]),
            attribute(
                "m",
                AttributeKind::Size,
                Default::None,
                "columns; as many if left out",
            )
            .or(&["M"]),
            DTYPE,
        ],
        interval: |_, _| Interval::new(0.0, 1.0),
        moments: |call, _| {
            let shape = &call.output()?.shape;
            let ones = shape.sizes().iter().copied().min()? as f64;
            let share = ones / shape.elements().max(1) as f64;
            Some(Moments::new(share, share * (1.0 - share)))
        },
        ..source("eye", "ones on the diagonal, zeros elsewhere", |call| {
            let rows = call.size("n")?;
            let columns = if call.is_given("m") {
                call.size("m")?
            } else {
                rows
            };
            typed(call, [rows, columns].into(), Dtype::Float32)
        })
    },
    Op {
        attributes: &[attribute(
            "dimensions",
            AttributeKind::Sizes,
            Default::Required,
            "the sizes of the grid",
        )],
        interval: |call, _| {
            let most = call
                .integers("dimensions")
                .unwrap_or_default()
                .into_iter()
                .max();
            Interval::new(0.0, (most.unwrap_or(0) - 1).max(0) as f64)
        },
        ..source(
            "indices",
            "the index of every point of a grid along each axis (numpy.indices)",
            |call| {
                let sizes = nonnegative(call, "dimensions")?;
                let axes = sizes.len() as u64;
                let shape = [axes].into_iter().chain(sizes).collect();
                Ok(smallvec![TensorType {
                    shape,
                    dtype: Dtype::Int64
                }])
            },
        )
    },
    Op {
        name: "meshgrid",
        summary: "vectors spread over the grid that they span",
        operands: &[variadic("tensors")],
        attributes: &[attribute(
            "indexing",
            AttributeKind::Choice(&["ij", "xy"]),
            Default::Text("ij"),
            "matrix order, or Cartesian: the first two axes exchanged",
        )],
        infer: meshgrid,
        view: true,
        layout: grid_layout,
        work: no_work,
        interval: grid_range,
        moments: |_, moments| match moments {
            [one] => *one,
            _ => None,
        },
        gradient_gain: |call, position, _| {
            let own = call.elements(position).max(1) as f64;
            Some(call.output_elements() as f64 / own)
        },
        ..BASE
    },
    Op {
        name: "one_hot",
        // All classes, and where they are the input, before that becomes numbers.
        temporaries: |call, _| {
            let classes = call.size("num_classes").unwrap_or(0);
            Dtype::Int64
                .bytes_for(classes)
                .saturating_add(call.output_elements())
        },
        summary: "1 at the index that input gives, 0 elsewhere, along a new last axis",
        attributes: &[attribute(
            "num_classes",
            AttributeKind::Size,
            Default::Required,
            "size of the new axis",
        )],
        infer: |call| {
            refuse(call, [0], "indices that are not int64", |dtype| {
                dtype != Dtype::Int64
            })?;
            let mut ty = call.ty(0)?.clone();
            ty.shape.push(call.size("num_classes")?);
            Ok(smallvec![ty])
        },
        differentiable: false,
        work: no_work,
        interval: |_, _| Interval::new(0.0, 1.0),
        moments: |call, _| {
            let share = 1.0 / call.size("num_classes").ok()?.max(1) as f64;
            Some(Moments::new(share, share * (1.0 - share)))
        },
        ..BASE
    },
];

const fn source(name: &'static str, summary: &'static str, infer: Infer) -> Op {
    Op {
        name,
        summary,
        operands: &[],
        infer,
        differentiable: false,
        work: no_work,
        ..BASE
    }
}

const fn constant(name: &'static str, summary: &'static str, infer: Infer) -> Op {
    Op {
        interval: |call, _| {
            let value = value(call);
            Interval::point(value).or_non_finite(!value.is_finite())
        },
        moments: |call, _| Some(Moments::constant(value(call))),
        ..source(name, summary, infer)
    }
}

const fn random(name: &'static str, summary: &'static str, infer: Infer) -> Op {
    Op {
        random: true,
        ..source(name, summary, infer)
    }
}

/// What `zeros`, `ones`, `full` and the like fill in.
fn value(call: &Call) -> f64 {
    match call.op.name {
        "zeros" | "zeros_like" => 0.0,
        "ones" | "ones_like" => 1.0,
        _ => call.float("fill_value").unwrap_or(0.0),
    }
}

/// A tensor of that shape, of the element type that the call gives, or else of this one.
fn typed(call: &Call, shape: Shape, otherwise: Dtype) -> Result<Outputs, OpError> {
    let dtype = call.dtype_attribute("dtype").unwrap_or(otherwise);
    Ok(smallvec![TensorType { shape, dtype }])
}

fn nonnegative(call: &Call, name: &'static str) -> Result<Vec<u64>, OpError> {
    list(call, name)?
        .into_iter()
        .map(|size| {
            u64::try_from(size)
                .map_err(|_| OpError::new(format!("`{name}` has {size}, below 0")).attribute(name))
        })
        .collect()
}

fn sized(call: &Call) -> Result<Outputs, OpError> {
    typed(
        call,
        nonnegative(call, "size")?.into_iter().collect(),
        Dtype::Float32,
    )
}

fn like(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    typed(call, input.shape.clone(), input.dtype)
}

fn integer_bounds(call: &Call) -> (i64, i64) {
    (
        call.integer("low").unwrap_or(0),
        call.integer("high").unwrap_or(1),
    )
}

fn random_integers(call: &Call) -> Result<Outputs, OpError> {
    let (low, high) = integer_bounds(call);
    if low >= high {
        let message = format!("`low` is {low}, which is not below `high`, {high}");
        return Err(OpError::new(message).attribute("high"));
    }
    typed(
        call,
        nonnegative(call, "size")?.into_iter().collect(),
        Dtype::Int64,
    )
}

/// Start, end and step; with one bound only it is the end, as in `arange(5)`.
fn bounds(call: &Call) -> Result<(f64, f64, f64), OpError> {
    let (start, end) = match (call.float("start"), call.float("end")) {
        (Some(start), Some(end)) => (start, end),
        (Some(end), None) | (None, Some(end)) => (0.0, end),
        (None, None) => return Err(OpError::new("`arange` needs `end`").attribute("end")),
    };
    Ok((start, end, call.float("step").unwrap_or(1.0)))
}

/// `⌈(end − start)/step⌉` numbers: int64 where all three are whole, else float32.
fn arange(call: &Call) -> Result<Outputs, OpError> {
    let (start, end, step) = bounds(call)?;
    let count = ((end - start) / step).ceil();
    if step == 0.0 || !(0.0..9.0e18).contains(&count) {
        let message = format!("no steps of {step} lead from {start} to {end}");
        return Err(OpError::new(message).attribute("step"));
    }
    let whole = [start, end, step]
        .iter()
        .all(|number| number.fract() == 0.0);
    let dtype = if whole { Dtype::Int64 } else { Dtype::Float32 };
    typed(call, [count as u64].into(), dtype)
}

/// Moments of `count` numbers from `start` in steps of `step`.
fn evenly_spaced(start: f64, step: f64, count: f64) -> Moments {
    let mean = start + step * (count - 1.0) / 2.0;
    Moments::new(mean, step * step * (count * count - 1.0) / 12.0)
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, with};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("zeros(size=[2, 3])", "float32 [2, 3]"),
            ("zeros(shape=[], dtype=int64)", "int64 []"),
            ("ones(size=[-1])", "error: `size` has -1, below 0"),
            ("full(size=[2], fill_value=3)", "float32 [2]"),
            ("full_like(bfloat16 [2], fill_value=3)", "bfloat16 [2]"),
            ("zeros_like(int64 [2], dtype=bool)", "bool [2]"),
            ("randn(size=[2], dtype=float16)", "float16 [2]"),
            ("randint(high=10, size=[3])", "int64 [3]"),
            (
                "randint(low=5, high=5, size=[3])",
                "error: `low` is 5, which is not below `high`, 5",
            ),
            ("randperm(n=4)", "int64 [4]"),
            ("bernoulli([2])", "float32 [2]"),
            ("arange(end=5)", "int64 [5]"),
            ("arange(start=5)", "int64 [5]"),
            ("arange(start=1, end=10, step=4)", "int64 [3]"),
            ("arange(start=0, end=1, step=0.25)", "float32 [4]"),
            ("arange(start=3, end=0, step=-1)", "int64 [3]"),
            (
                "arange(start=3, end=0)",
                "error: no steps of 1 lead from 3 to 0",
            ),
            ("linspace(start=0, end=1, num=5)", "float32 [5]"),
            ("eye(n=3)", "float32 [3, 3]"),
            ("eye(N=3, M=4, dtype=int64)", "int64 [3, 4]"),
            ("indices(dimensions=[2, 3])", "int64 [2, 2, 3]"),
            ("meshgrid([2], int64 [3])", "float32 [2, 3]; int64 [2, 3]"),
            (
                "meshgrid([2], [3], indexing=xy)",
                "float32 [3, 2]; float32 [3, 2]",
            ),
            (
                "meshgrid([2, 2])",
                "error: `meshgrid` takes vectors, but one is [2, 2]",
            ),
            ("one_hot(int64 [2], num_classes=5)", "int64 [2, 5]"),
            (
                "one_hot([2], num_classes=5)",
                "error: `one_hot` does not take indices that are not int64, but `input` is \
                 float32 [2]",
            ),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            ("full(size=[2], fill_value=-3)", &[], "[-3, -3]"),
            ("full(size=[2], fill_value=-inf)", &[], "[-∞, -∞]?"),
            ("arange(start=1, end=10, step=4)", &[], "[1, 9]"),
            ("arange(start=3, end=0, step=-1)", &[], "[1, 3]"),
            ("linspace(start=3, end=-1)", &[], "[-1, 3]"),
            ("indices(dimensions=[2, 3])", &[], "[0, 2]"),
            // Guards against the range of the first operand for all outputs.
            ("meshgrid([2], [3])", &[(0.0, 1.0), (5.0, 6.0)], "[0, 6]"),
            ("randint(low=2, high=10, size=[3])", &[], "[2, 9]"),
            ("randperm(n=4)", &[], "[0, 3]"),
            ("empty(size=[2])", &[], "[-∞, ∞]?"),
        ]);
    }

    /// Holds the closed form to the numbers themselves.
    #[test]
    fn moments_of_even_spacing() {
        for (text, numbers) in [
            ("arange(start=1, end=10, step=4)", &[1.0, 5.0, 9.0][..]),
            ("linspace(start=0, end=1, steps=3)", &[0.0, 0.5, 1.0]),
            ("linspace(start=2, end=5, steps=1)", &[2.0]),
        ] {
            let count = numbers.len() as f64;
            let mean = numbers.iter().sum::<f64>() / count;
            let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let claimed = with(text, |call| (call.op.moments)(call, &[]))
                .unwrap()
                .unwrap();
            assert!((claimed.mean - mean).abs() < 1e-12, "{text}: {claimed:?}");
            assert!(
                (claimed.variance - variance).abs() < 1e-12,
                "{text}: {claimed:?}"
            );
        }
    }
}
