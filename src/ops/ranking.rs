//! Ops along one axis that keep or shorten it: running sums, sorting, the k greatest.

use smallvec::smallvec;

use super::conversion::converted;
use super::definition::{Default, Infer, attribute, operand, unit_gain};
use super::extreme::{ONE_DIM, refuse_empty, save_indices, value_and_index};
use super::gradient;
use super::pointwise::{LIBRARY_ERROR, operand_moments, range, refuse};
use super::reduce::{KEEPDIM, operations, reduction, save_both};
use super::reduction_gradient::running_product;
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Outputs, Work};
use crate::tensor::{Dtype, Interval, TensorType};

const LAST_DIM: Attribute = attribute(
    "dim",
    AttributeKind::Integer,
    Default::Integer(-1),
    "the axis",
)
.or(&["axis"]);

const DESCENDING: Attribute = attribute(
    "descending",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether the greatest comes first",
);

const STABLE: Attribute = attribute(
    "stable",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether equal elements keep their order",
);

const RUNNING: &[Attribute] = &[
    ONE_DIM,
    attribute(
        "dtype",
        AttributeKind::Dtype,
        Default::None,
        "the element type to compute in and to give",
    ),
];

/// The entries of this family. A sort of `n` elements counts `n·⌈log₂ n⌉` comparisons.
pub static OPS: &[Op] = &[
    Op {
        attributes: RUNNING,
        autocast: Autocast::Float32,
        interval: |call, ranges| {
            let (x, length) = (converted(call, ranges), length(call));
            Interval::new(x.low.min(x.low * length), x.high.max(x.high * length))
                .widened(length * LIBRARY_ERROR)
        },
        // Each element takes the gradients of all behind it: half of them on average.
        gradient_gain: |call, position, _| (position == 0).then(|| (length(call) + 1.0) / 2.0),
        gradient: gradient::after_of_input::<2>,
        ..reduction("cumsum", "running sums; of integers in int64", running)
    },
    Op {
        attributes: RUNNING,
        autocast: Autocast::Float32Result,
        saved: save_both,
        interval: |call, ranges| {
            let (x, length) = (converted(call, ranges), length(call));
            let most = x.magnitude().max(x.magnitude().powf(length));
            let low = if x.low >= 0.0 {
                x.low.min(x.low.powf(length))
            } else {
                -most
            };
            Interval::new(low, most).widened(length * LIBRARY_ERROR)
        },
        gradient: running_product,
        ..reduction("cumprod", "running products; of integers in int64", running)
    },
    Op {
        attributes: &[
            attribute("k", AttributeKind::Size, Default::Required, "how many"),
            LAST_DIM,
            attribute(
                "largest",
                AttributeKind::Boolean,
                Default::Boolean(true),
                "false for the least",
            ),
            attribute(
                "sorted",
                AttributeKind::Boolean,
                Default::Boolean(true),
                "whether in order",
            ),
        ],
        gradient_gain: |call, position, _| {
            let share = call.output_elements() as f64 / call.elements(0).max(1) as f64;
            (position == 0).then_some(share)
        },
        ..selection(
            "topk",
            "the k greatest along an axis, and where they are",
            topk,
        )
    },
    Op {
        attributes: &[LAST_DIM, DESCENDING, STABLE],
        moments: |call, moments| operand_moments(call, moments, 0),
        gradient_gain: unit_gain,
        work: sorting,
        ..selection("sort", "in order along an axis, and where they were", sort)
    },
    Op {
        attributes: &[LAST_DIM, DESCENDING, STABLE],
        differentiable: false,
        work: sorting,
        interval: |call, _| Interval::new(0.0, (length(call) - 1.0).max(0.0)),
        ..reduction("argsort", "the indices that sort an axis", |call| {
            axis(call)?;
            Ok(smallvec![TensorType {
                shape: call.shape(0)?.clone(),
                dtype: Dtype::Int64,
            }])
        })
    },
    Op {
        attributes: &[
            attribute(
                "dim",
                AttributeKind::Integer,
                Default::None,
                "the axis; of the flattened tensor, and without index, if left out",
            )
            .or(&["axis"]),
            KEEPDIM,
        ],
        work: sorting,
        saved: |call, saved| {
            if call.is_given("dim") {
                save_indices(call, saved);
            } else {
                save_both(call, saved);
            }
        },
        ..selection(
            "median",
            "the median (the lower of two), and where it is",
            |call| {
                refuse(call, [0], "bool tensors", |dtype| dtype == Dtype::Bool)?;
                if call.is_given("dim") {
                    value_and_index(call)
                } else {
                    Ok(smallvec![TensorType::new([], call.dtype(0)?)])
                }
            },
        )
    },
    Op {
        attributes: &[
            attribute(
                "k",
                AttributeKind::Size,
                Default::Required,
                "which, counted from 1",
            ),
            LAST_DIM,
            KEEPDIM,
        ],
        work: sorting,
        ..selection(
            "kthvalue",
            "the k-th least along an axis, and where it is",
            |call| {
                refuse_empty(call)?;
                let (k, size) = (call.size("k")?, length(call) as u64);
                if k == 0 || k > size {
                    return Err(too_many(call, k, size)?);
                }
                value_and_index(call)
            },
        )
    },
    Op {
        operands: &[operand("input"), operand("q")],
        attributes: &[
            attribute(
                "dim",
                AttributeKind::Integer,
                Default::None,
                "the axis; the flattened tensor if left out",
            )
            .or(&["axis"]),
            KEEPDIM,
            attribute(
                "interpolation",
                AttributeKind::Choice(&["linear", "lower", "higher", "midpoint", "nearest"]),
                Default::Text("linear"),
                "what to give between two elements",
            )
            .or(&["method"]),
        ],
        work: sorting,
        // The indices of the sort, those of the two neighbours, and the weight between them.
        saved: |call, saved| {
            let (all, few) = (call.elements(0), call.output_elements());
            saved.extra("indices", all, Dtype::Int64);
            saved.extra("rank below", few, Dtype::Int64);
            let between = call.text("interpolation");
            if matches!(between.as_deref(), Some("linear" | "midpoint")) {
                saved.extra("rank above", few, Dtype::Int64);
                saved.extra("weight", few, call.dtype(0).unwrap_or_default());
            }
        },
        ..selection(
            "quantile",
            "the elements below which the shares q of all lie, interpolated",
            quantile,
        )
    },
];

/// Elements of the input with their indices.
const fn selection(name: &'static str, summary: &'static str, infer: Infer) -> Op {
    Op {
        saved: save_indices,
        gradient: gradient::scattered,
        interval: |_, ranges| range(ranges, 0),
        ..reduction(name, summary, infer)
    }
}

/// The axis that `dim` names; 0 for a scalar.
fn axis(call: &Call) -> Result<usize, OpError> {
    let shape = call.shape(0)?;
    match call.integer("dim") {
        Some(0 | -1) | None if shape.rank() == 0 => Ok(0),
        _ => call.axis("dim", shape),
    }
}

/// The number of elements along the axis; of all where none is named.
fn length(call: &Call) -> f64 {
    let Ok(shape) = call.shape(0) else { return 0.0 };
    if call.integer("dim").is_none() {
        return shape.elements() as f64;
    }
    let size = axis(call).ok().and_then(|axis| shape.sizes().get(axis));
    size.map_or(1.0, |&size| size as f64)
}

fn sorting(call: &Call) -> Work {
    operations(call, length(call).max(1.0).log2().ceil() as u128)
}

fn running(call: &Call) -> Result<Outputs, OpError> {
    axis(call)?;
    let own = call.dtype(0)?;
    let otherwise = if own.is_float() { own } else { Dtype::Int64 };
    Ok(smallvec![TensorType {
        shape: call.shape(0)?.clone(),
        dtype: call.dtype_attribute("dtype").unwrap_or(otherwise),
    }])
}

fn too_many(call: &Call, k: u64, size: u64) -> Result<OpError, OpError> {
    let message = format!(
        "`k` is {k}, but axis {} of {} has {size} elements",
        axis(call)?,
        call.shape(0)?
    );
    Ok(OpError::new(message).attribute("k").operands([0]))
}

fn topk(call: &Call) -> Result<Outputs, OpError> {
    let (axis, k) = (axis(call)?, call.size("k")?);
    let size = length(call) as u64;
    if k > size {
        return Err(too_many(call, k, size)?);
    }
    let mut values = call.ty(0)?.clone();
    if values.shape.rank() > 0 {
        values.shape.set(axis, k);
    }
    Ok(with_indices(values))
}

fn sort(call: &Call) -> Result<Outputs, OpError> {
    axis(call)?;
    Ok(with_indices(call.ty(0)?.clone()))
}

fn quantile(call: &Call) -> Result<Outputs, OpError> {
    refuse(call, [0], "types other than float32 and float64", |dtype| {
        !matches!(dtype, Dtype::Float32 | Dtype::Float64)
    })?;
    refuse_empty(call)?;
    let (input, shares) = (call.ty(0)?, call.ty(1)?);
    if shares.shape.rank() > 1 {
        let message = format!("`q` is a number or a vector, but is {}", shares.shape);
        return Err(OpError::new(message).operands([1]));
    }
    if let Some(share) = call.constant(1)
        && !(0.0..=1.0).contains(&share)
    {
        let message = format!("`q` is {share}, not between 0 and 1");
        return Err(OpError::new(message).operands([1]));
    }
    let keep = call.boolean("keepdim");
    let mut shape = shares.shape.clone();
    let along = match call.is_given("dim") {
        true => Some(axis(call)?),
        false => None,
    };
    for (at, &size) in input.shape.sizes().iter().enumerate() {
        match (along.is_none_or(|axis| axis == at), keep) {
            (true, true) => shape.push(1),
            (true, false) => {}
            (false, _) => shape.push(size),
        }
    }
    Ok(smallvec![TensorType::new(shape, input.dtype)])
}

fn with_indices(values: TensorType) -> Outputs {
    let indices = TensorType {
        shape: values.shape.clone(),
        dtype: Dtype::Int64,
    };
    [values, indices].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{Random, check, check_intervals, check_saved, with};
    use crate::tensor::Interval;

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("cumsum(int32 [2, 3], dim=1)", "int64 [2, 3]"),
            ("cumsum([], dim=0)", "float32 []"),
            ("cumprod(float16 [2], dim=0, dtype=float32)", "float32 [2]"),
            ("topk([2, 5], k=3)", "float32 [2, 3]; int64 [2, 3]"),
            (
                "topk([2, 5], k=2, dim=0, largest=false)",
                "float32 [2, 5]; int64 [2, 5]",
            ),
            (
                "topk([2, 5], k=6)",
                "error: `k` is 6, but axis 1 of [2, 5] has 5 elements",
            ),
            ("sort(int64 [2, 3], dim=0)", "int64 [2, 3]; int64 [2, 3]"),
            ("argsort([2, 3])", "int64 [2, 3]"),
            ("median([2, 3])", "float32 []"),
            ("median([2, 3], dim=1)", "float32 [2]; int64 [2]"),
            (
                "kthvalue([2, 3], k=2, keepdim=true)",
                "float32 [2, 1]; int64 [2, 1]",
            ),
            ("quantile([2, 3], 0.5)", "float32 []"),
            ("quantile([2, 3], [4], dim=1)", "float32 [4, 2]"),
            (
                "quantile([2, 3], 0.5, dim=0, keepdim=true)",
                "float32 [1, 3]",
            ),
            ("quantile([2, 3], 0.5, keepdim=true)", "float32 [1, 1]"),
            (
                "quantile([2, 3], 1.5)",
                "error: `q` is 1.5, not between 0 and 1",
            ),
            (
                "quantile(float16 [2, 3], 0.5)",
                "error: `quantile` does not take types other than float32 and float64, but \
                 `input` is float16 [2, 3]",
            ),
            (
                "kthvalue([2, 3], k=0)",
                "error: `k` is 0, but axis 1 of [2, 3] has 3 elements",
            ),
        ]);
        check_saved(&[
            ("cumsum([2], dim=0)", ""),
            ("cumprod([2], dim=0)", "input, output"),
            ("topk([2], k=1)", "output1"),
            ("sort([2])", "output1"),
            ("median([2])", "input, output"),
            ("median([2], dim=0)", "output1"),
            (
                "quantile([2, 3], [4], dim=1)",
                "indices: 6 int64, rank below: 8 int64, rank above: 8 int64, weight: 8 float32",
            ),
            (
                "quantile([6], 0.5, interpolation=lower)",
                "indices: 6 int64, rank below: 1 int64",
            ),
        ]);
        check_intervals(&[
            // Guards that numbers are whole before they are added up, not after.
            (
                "cumsum([4], dim=0, dtype=int64)",
                &[(3.625, 3.625)],
                "[3, 12]",
            ),
            ("cumsum([4], dim=0)", &[(-1.0, 2.0)], "[-4, 8]"),
            ("cumsum([4], dim=0)", &[(1.0, 2.0)], "[1, 8]"),
            ("cumprod([3], dim=0)", &[(0.5, 2.0)], "[0.125, 8]"),
            ("argsort([4])", &[(1.0, 2.0)], "[0, 3]"),
        ]);
    }

    /// Holds running sums and products to their definition.
    #[test]
    fn ranges_contain_every_value() {
        let mut random = Random(29);
        for round in 0..600 {
            let scale = [0.5, 1.5, 5.0][round % 3];
            let (a, b) = (random.uniform(-scale, scale), random.uniform(-scale, scale));
            let given = match round % 4 {
                0 => Interval::new(a.abs(), b.abs()),
                1 => Interval::new(-a.abs(), -b.abs()),
                _ => Interval::new(a, b),
            };
            let image = |text: &str| with(text, |call| (call.op.interval)(call, &[given])).unwrap();
            let (sums, products) = (image("cumsum([5], dim=0)"), image("cumprod([5], dim=0)"));
            let (mut sum, mut product) = (0.0, 1.0);
            for _ in 0..5 {
                let x = match random.bits() % 3 {
                    0 => given.low,
                    1 => given.high,
                    _ => random.uniform(given.low, given.high),
                };
                sum += x;
                product *= x;
                assert!(sums.contains(sum), "{sum} {sums:?} {given:?}");
                assert!(
                    products.contains(product),
                    "{product} {products:?} {given:?}"
                );
            }
        }
    }
}
