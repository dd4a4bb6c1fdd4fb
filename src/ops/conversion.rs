//! Choosing, bounding and converting elements: `where`, `masked_fill`, `clamp`, `to`, `detach`.

use smallvec::smallvec;

use super::definition::{
    BASE, Default, attribute, no_work, operand, same_interval, same_moments, save_input, unit_gain,
    unknown_gain,
};
use super::gradient;
use super::layout::{self, is_contiguous};
use super::pointwise::{function, increasing_exactly, keep, range, refuse};
use super::{AttributeKind, Call, Op, OpError};
use crate::tensor::{Dtype, Interval, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "where",
        summary: "input where condition holds, else other",
        operands: &[operand("condition"), operand("input"), operand("other")],
        infer: |call| {
            refuse(call, [0], "conditions that are not bool", |dtype| {
                dtype != Dtype::Bool
            })?;
            Ok(smallvec![TensorType {
                shape: call.broadcast()?,
                dtype: call.promoted_dtype_of([1, 2]),
            }])
        },
        layout: layout::preserved,
        element: Some(|_, x| if x[0] != 0.0 { x[1] } else { x[2] }),
        saved: |call, saved| keep(call, saved, 0),
        interval: |_, ranges| {
            let condition = range(ranges, 0);
            if condition.low > 0.0 {
                range(ranges, 1)
            } else if condition.high == 0.0 && condition.low == 0.0 {
                range(ranges, 2)
            } else {
                range(ranges, 1).union(range(ranges, 2))
            }
        },
        ..BASE
    },
    Op {
        name: "masked_fill",
        summary: "value where mask holds, else input",
        operands: &[operand("input"), operand("mask")],
        attributes: &[attribute(
            "value",
            AttributeKind::Float,
            Default::Required,
            "what is filled in",
        )],
        infer: |call| {
            refuse(call, [1], "masks that are not bool", |dtype| {
                dtype != Dtype::Bool
            })?;
            Ok(smallvec![TensorType {
                shape: call.broadcast()?,
                dtype: call.dtype(0)?,
            }])
        },
        layout: layout::preserved,
        element: Some(|call, x| if x[1] != 0.0 { fill(call) } else { x[0] }),
        saved: |call, saved| keep(call, saved, 1),
        interval: |call, ranges| {
            let mask = range(ranges, 1);
            let value = fill(call);
            if mask.high == 0.0 && mask.low == 0.0 {
                range(ranges, 0)
            } else if value.is_finite() {
                range(ranges, 0).union(Interval::point(value))
            } else {
                range(ranges, 0).or_non_finite(true)
            }
        },
        ..BASE
    },
    Op {
        aliases: &["clip"],
        attributes: &[
            attribute("min", AttributeKind::Float, Default::None, "least value"),
            attribute("max", AttributeKind::Float, Default::None, "greatest value"),
        ],
        infer: |call| {
            if !call.is_given("min") && !call.is_given("max") {
                let message = "`clamp` needs `min` or `max`";
                return Err(OpError::new(message).attribute("min"));
            }
            let input = call.ty(0)?;
            let whole = |name| call.float(name).is_none_or(|bound| bound.fract() == 0.0);
            let dtype = if input.dtype.is_float() || (whole("min") && whole("max")) {
                input.dtype
            } else {
                Dtype::Float32
            };
            Ok(smallvec![TensorType {
                shape: input.shape.clone(),
                dtype,
            }])
        },
        // One comparison for each bound.
        work: |call| {
            let bounds = ["min", "max"]
                .iter()
                .filter(|name| call.is_given(name))
                .count();
            super::pointwise::operations(call, bounds as u128)
        },
        saved: save_input,
        gradient: gradient::bounded,
        interval: increasing_exactly,
        ..function("clamp", "input bounded by min and max", |call, x| {
            let x = call.float("min").map_or(x[0], |low| x[0].max(low));
            call.float("max").map_or(x, |high| x.min(high))
        })
    },
    Op {
        name: "nan_to_num",
        summary: "NaN and infinities replaced by numbers",
        layout: layout::preserved,
        attributes: &[
            attribute("nan", AttributeKind::Float, Default::Float(0.0), "for NaN"),
            attribute(
                "posinf",
                AttributeKind::Float,
                Default::None,
                "for infinity; the type's greatest value if left out",
            ),
            attribute(
                "neginf",
                AttributeKind::Float,
                Default::None,
                "for -infinity; the type's least value if left out",
            ),
        ],
        saved: save_input,
        // g · isfinite(x): the magnitude, and masks of what is a number and what is not infinite.
        gradient: |call, gradient| {
            if call.requires_grad(0) {
                let mask = call.elements(0);
                gradient.moment(&[gradient.operand_bytes(0), mask, mask, mask]);
                gradient.scratch(mask);
            }
            gradient.make(0);
        },
        interval: same_interval,
        moments: same_moments,
        gradient_gain: unit_gain,
        ..BASE
    },
    Op {
        name: "to",
        aliases: &["cast", "astype", "type"],
        summary: "input in another element type",
        attributes: &[attribute(
            "dtype",
            AttributeKind::Dtype,
            Default::Required,
            "the element type",
        )],
        infer: |call| {
            let dtype = call
                .dtype_attribute("dtype")
                .ok_or_else(|| OpError::new("`to` needs `dtype`").attribute("dtype"))?;
            Ok(smallvec![TensorType {
                shape: call.shape(0)?.clone(),
                dtype,
            }])
        },
        // A conversion to the type that the input has is no conversion.
        layout: |call, strides| match (call.dtype(0), call.output()) {
            (Ok(from), Some(to)) if from == to.dtype => layout::same(call, strides),
            _ => layout::preserved(call, strides),
        },
        work: no_work,
        gradient: gradient::terms,
        interval: converted,
        moments: |call, moments| {
            let dtype = call.output()?.dtype;
            dtype.is_float().then_some(())?;
            moments.first().copied().flatten()
        },
        gradient_gain: unit_gain,
        ..BASE
    },
    Op {
        aliases: &["copy"],
        layout: layout::preserved,
        ..identity("clone", "a copy")
    },
    Op {
        layout: |call, strides| {
            let sizes = call.output().map_or(&[][..], |ty| ty.shape.sizes());
            match strides.first() {
                Some(own) if is_contiguous(sizes, own) => layout::same(call, strides),
                _ => layout::contiguous(call, strides),
            }
        },
        ..identity(
            "contiguous",
            "a row-major copy, unless the input is row-major already",
        )
    },
    Op {
        differentiable: false,
        view: true,
        layout: layout::same,
        gradient_gain: unknown_gain,
        ..identity("detach", "input, without a gradient")
    },
    Op {
        aliases: &["positive"],
        view: true,
        layout: layout::same,
        ..identity("identity", "input")
    },
];

const fn identity(name: &'static str, summary: &'static str) -> Op {
    Op {
        name,
        summary,
        element: Some(|_, x| x[0]),
        work: no_work,
        gradient: gradient::terms,
        interval: same_interval,
        moments: same_moments,
        gradient_gain: unit_gain,
        ..BASE
    }
}

fn fill(call: &Call) -> f64 {
    call.float("value").unwrap_or(0.0)
}

/// Conversion to integers cuts the fraction off; what does not fit may become anything.
/// Sums in a type of integers convert what they add up in this way first.
pub fn converted(call: &Call, ranges: &[Interval]) -> Interval {
    let input = range(ranges, 0);
    let Some(dtype) = call.output().map(|ty| ty.dtype) else {
        return Interval::ANYTHING;
    };
    if dtype == Dtype::Bool {
        return match input {
            input if input.low == 0.0 && input.high == 0.0 => Interval::point(0.0),
            input if !input.contains(0.0) => Interval::point(1.0),
            _ => Interval::new(0.0, 1.0),
        };
    }
    if dtype.is_float() {
        return input;
    }
    let whole = input.map_increasing(f64::trunc);
    let all = Interval::of_dtype(dtype);
    if whole.low >= all.low && whole.high <= all.high {
        whole
    } else {
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, check_saved};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("where(bool [2, 1], float16 [3], 0.0)", "float16 [2, 3]"),
            ("where(bool [], int64 [2], [2])", "float32 [2]"),
            (
                "where([2], [2], [2])",
                "error: `where` does not take conditions that are not bool, but `condition` is \
                 float32 [2]",
            ),
            (
                "masked_fill([2, 3], bool [3], value=-inf)",
                "float32 [2, 3]",
            ),
            ("clamp(int64 [2], min=0)", "int64 [2]"),
            ("clamp(int64 [2], min=0.5)", "float32 [2]"),
            ("clamp([2])", "error: `clamp` needs `min` or `max`"),
            ("to(float32 [2], dtype=bfloat16)", "bfloat16 [2]"),
            ("detach([2])", "float32 [2]"),
        ]);
    }

    #[test]
    fn what_autograd_keeps() {
        check_saved(&[
            ("where(bool [2], [2], [2])", "condition"),
            ("masked_fill([2], bool [2], value=0)", "mask"),
            ("clamp([2], min=0)", "input"),
            ("to([2], dtype=float16)", ""),
            ("clone([2])", ""),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            (
                "where(bool [2], [2], [2])",
                &[(0.0, 1.0), (0.0, 1.0), (5.0, 6.0)],
                "[0, 6]",
            ),
            (
                "where(bool [2], [2], [2])",
                &[(1.0, 1.0), (0.0, 1.0), (5.0, 6.0)],
                "[0, 1]",
            ),
            (
                "masked_fill([2], bool [2], value=-inf)",
                &[(0.0, 1.0), (0.0, 1.0)],
                "[0, 1]?",
            ),
            (
                "masked_fill([2], bool [2], value=-9)",
                &[(0.0, 1.0), (0.0, 1.0)],
                "[-9, 1]",
            ),
            ("clamp([2], min=0, max=6)", &[(-3.0, 9.0)], "[0, 6]"),
            ("to([2], dtype=int8)", &[(-3.7, 9.2)], "[-3, 9]"),
            ("to([2], dtype=int8)", &[(-3.7, 900.0)], "[-128, 127]"),
            ("to([2], dtype=bool)", &[(1.0, 2.0)], "[1, 1]"),
        ]);
    }
}
