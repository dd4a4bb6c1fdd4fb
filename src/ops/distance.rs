//! Directions and distances of vectors: `normalize`, `weight_norm`, `cosine_similarity`, `cdist`.

use smallvec::smallvec;

use super::definition::{BASE, Default, attribute, operand};
use super::distance_gradient::{cosine, direction, distances as distances_gradient};
use super::pointwise::{
    LIBRARY_ERROR, float_of, keep, operand_moments, operations, range, refuse, save_operands,
};
use super::reduce::{DIM, norm_range};
use super::{AttributeKind, Autocast, Call, Op, OpError, Operand, Outputs, Saved, Work};
use crate::tensor::{Interval, Moments, Shape, TensorType};

/// Along the first or the last axis one kernel, `_weight_norm_interface`, which keeps the norms;
/// else separate ops on the slices as rows, which keep the rows in a copy, the norms, and the
/// factors `g / norm`.
fn weight_norm_saved(call: &Call, saved: &mut Saved) {
    let (Ok(v), Ok(dtype)) = (call.shape(0), call.dtype(0)) else {
        return;
    };
    let norms = call.elements(1);
    keep(call, saved, 0);
    keep(call, saved, 1);
    saved.extra("norm", norms, dtype);
    let inner = call
        .axis("dim", v)
        .is_ok_and(|axis| axis > 0 && axis + 1 < v.rank());
    if inner {
        saved.extra("rows", call.elements(0), dtype);
        saved.extra("factor", norms, dtype);
    }
}

const PAIR: &[Operand] = &[operand("x1"), operand("x2")];

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "normalize",
        summary: "input / max(norm(input), eps) along an axis",
        attributes: &[
            attribute(
                "p",
                AttributeKind::Float,
                Default::Float(2.0),
                "order of the norm",
            ),
            attribute(
                "dim",
                AttributeKind::Integers,
                Default::Integer(1),
                "the axis",
            )
            .or(&["axis"]),
            attribute(
                "eps",
                AttributeKind::Float,
                Default::Float(1e-12),
                "least divisor",
            ),
        ],
        infer: |call| {
            refuse(call, [0], "integers", |dtype| !dtype.is_float())?;
            call.axes("dim", call.shape(0)?)?;
            Ok(smallvec![call.ty(0)?.clone()])
        },
        // The norm is float32 under autocast, and so is the quotient.
        autocast: Autocast::Float32Result,
        // A power, a sum, a quotient.
        work: |call| operations(call, 3),
        // The norm, of whose gradient the bound by eps is a part, and the bounded norm.
        saved: |call, saved| {
            saved.argument(call, 0);
            if let Some(output) = call.output() {
                let norms = output.shape.elements() / (length(call) as u64).max(1);
                saved.extra("norm", norms, output.dtype);
                saved.extra("divisor", norms, output.dtype);
            }
        },
        gradient: |call, gradient| {
            let norms = call.elements(0) / (length(call) as u64).max(1);
            direction(call, gradient, norms);
        },
        // No element is greater than the norm of its vector, for any p above 0.
        interval: |call, ranges| {
            if call.float("p").unwrap_or(2.0) <= 0.0 {
                return Interval::REAL;
            }
            let (x, eps) = (range(ranges, 0), call.float("eps").unwrap_or(1e-12));
            let end = |end: f64| match eps > 0.0 {
                true => (end / eps).clamp(-1.0, 1.0),
                false => end.signum(),
            };
            let low = if x.low < 0.0 { end(x.low) } else { 0.0 };
            let high = if x.high > 0.0 { end(x.high) } else { 0.0 };
            Interval::new(low, high)
                .widened(4.0 * LIBRARY_ERROR)
                .or_non_finite(eps <= 0.0 && x.contains(0.0))
        },
        // With p = 2 the squares of a vector sum to 1.
        moments: |call, moments| {
            let x = operand_moments(call, moments, 0)?;
            (call.float("p") == Some(2.0) && x.square() > 0.0).then_some(())?;
            let mean = x.mean / (length(call) * x.square()).sqrt();
            Some(Moments::new(mean, 1.0 / length(call) - mean * mean))
        },
        gradient_gain: |call, position, moments| {
            let x = operand_moments(call, moments, 0)?;
            (position == 0 && call.float("p") == Some(2.0) && x.square() > 0.0).then_some(())?;
            Some(1.0 / (length(call) * x.square()))
        },
        ..BASE
    },
    Op {
        name: "weight_norm",
        summary: "v · g / norm(v), the norm over all axes but one",
        operands: &[operand("v"), operand("g")],
        attributes: &[attribute(
            "dim",
            AttributeKind::Integer,
            Default::Integer(0),
            "the axis whose slices have a norm each",
        )
        .or(&["axis"])],
        infer: |call| {
            let (v, g) = (call.ty(0)?, call.shape(1)?);
            let axis = call.axis("dim", &v.shape)?;
            let sizes = v.shape.sizes().iter().enumerate();
            let norms: Shape = sizes
                .map(|(at, &size)| if at == axis { size } else { 1 })
                .collect();
            if *g != norms {
                let message = format!("`g` is {g}, but there is a norm {norms} of {}", v.shape);
                return Err(OpError::new(message).operands([1, 0]));
            }
            Ok(smallvec![v.clone()])
        },
        // A square, a sum, a product.
        work: |call| operations(call, 3),
        saved: weight_norm_saved,
        // No element is greater than the norm of its slice; that may be 0.
        interval: |call, ranges| {
            let reach = range(ranges, 1).magnitude();
            Interval::new(-reach, reach)
                .widened(4.0 * LIBRARY_ERROR)
                .or_non_finite(call.elements(0) > 0 && range(ranges, 0).contains(0.0))
        },
        moments: |call, moments| {
            let (v, g) = (
                operand_moments(call, moments, 0)?,
                operand_moments(call, moments, 1)?,
            );
            let length = call.elements(0) as f64 / call.elements(1).max(1) as f64;
            (v.square() > 0.0).then_some(())?;
            let mean = g.mean * v.mean / (length * v.square()).sqrt();
            Some(Moments::new(mean, g.square() / length - mean * mean))
        },
        ..BASE
    },
    Op {
        name: "cosine_similarity",
        summary: "the cosine of the angle between vectors along an axis",
        operands: PAIR,
        attributes: &[
            attribute(
                "dim",
                AttributeKind::Integer,
                Default::Integer(1),
                "the axis",
            )
            .or(&["axis"]),
            attribute(
                "eps",
                AttributeKind::Float,
                Default::Float(1e-8),
                "least norm",
            ),
        ],
        infer: |call| {
            let mut shape = call.broadcast()?;
            shape.remove(call.axis("dim", &shape)?);
            Ok(smallvec![TensorType {
                shape,
                dtype: float_of(call.promoted_dtype()),
            }])
        },
        autocast: Autocast::Float32,
        // Of each pair: two squares, two sums, two quotients, a product, a sum.
        work: |call| Work::other(8 * u128::from(pairs(call))),
        // After broadcasting: norms as they come and bounded by eps, and the vectors divided by
        // them.
        saved: |call, saved| {
            let Some(output) = call.output() else { return };
            let (norms, pairs) = (output.shape.elements(), pairs(call));
            for position in 0..2 {
                keep(call, saved, position);
                saved.extra("norm", norms, output.dtype);
                saved.extra("divisor", norms, output.dtype);
                saved.extra("direction", pairs, output.dtype);
            }
        },
        // The products, before they are summed.
        temporaries: |call, _| {
            call.output()
                .map_or(0, |output| output.dtype.bytes_for(pairs(call)))
        },
        gradient: cosine,
        interval: |_, _| Interval::new(-1.0, 1.0),
        ..BASE
    },
    Op {
        name: "cdist",
        summary: "the distance of every row of x1 from every row of x2",
        operands: PAIR,
        attributes: &[attribute(
            "p",
            AttributeKind::Float,
            Default::Float(2.0),
            "order of the norm",
        )],
        infer: distances,
        autocast: Autocast::Float32,
        work: |call| Work::other(distance_work(call)),
        backward: |call| {
            let (_, _, features) = sizes(call).unwrap_or_default();
            let factors = u128::from(call.requires_grad(0)) + u128::from(call.requires_grad(1));
            let product = 2 * u128::from(call.output_elements()) * u128::from(features);
            if is_product(call) {
                factors * product
            } else {
                0
            }
        },
        saved: |call, saved| {
            save_operands(call, saved);
            saved.output(0);
        },
        gradient: distances_gradient,
        interval: |call, ranges| {
            let order = call.float("p").unwrap_or(2.0);
            let difference = range(ranges, 0) - range(ranges, 1);
            let features = call.shape(0).ok().and_then(|shape| shape.size(-1));
            norm_range(order, features.unwrap_or(0) as f64, difference).widened(4.0 * LIBRARY_ERROR)
        },
        ..BASE
    },
];

/// Elements of the vectors along the axis.
fn length(call: &Call) -> f64 {
    let Ok(shape) = call.shape(0) else { return 1.0 };
    let axes = call.axes(DIM.name, shape).unwrap_or_default();
    let sizes = axes.into_iter().map(|axis| shape.sizes()[axis] as f64);
    sizes.product::<f64>().max(1.0)
}

pub(super) fn pairs(call: &Call) -> u64 {
    call.broadcast().map_or(0, |shape| shape.elements())
}

fn distances(call: &Call) -> Result<Outputs, OpError> {
    refuse(call, 0..2, "integers", |dtype| !dtype.is_float())?;
    let (left, right) = (call.shape(0)?, call.shape(1)?);
    let rows = |shape: &Shape| match shape.sizes() {
        [batch @ .., rows, features] => Some((Shape::from(batch), *rows, *features)),
        _ => None,
    };
    let (Some(a), Some(b)) = (rows(left), rows(right)) else {
        let message =
            format!("`cdist` needs 2 axes or more, but its operands are {left} and {right}");
        return Err(OpError::new(message).operands([0, 1]));
    };
    if a.2 != b.2 {
        let message = format!(
            "the rows of {left} have {} elements, but those of {right} have {}",
            a.2, b.2
        );
        return Err(OpError::new(message).operands([0, 1]));
    }
    let Some(mut shape) = a.0.broadcast(&b.0) else {
        let message = format!("the batches of {left} and {right} do not broadcast");
        return Err(OpError::new(message).operands([0, 1]));
    };
    shape.push(a.1);
    shape.push(b.1);
    Ok(smallvec![TensorType {
        shape,
        dtype: call.promoted_dtype(),
    }])
}

/// Rows of both and features.
fn sizes(call: &Call) -> Option<(u64, u64, u64)> {
    let (left, right) = (call.shape(0).ok()?, call.shape(1).ok()?);
    Some((left.size(-2)?, right.size(-2)?, left.size(-1)?))
}

/// PyTorch computes Euclidean distances of more than 25 rows by a matrix product. Its counter of
/// FLOPs does not see that one, for it runs inside the op, but those of the backward pass.
pub(super) fn is_product(call: &Call) -> bool {
    let (left, right, _) = sizes(call).unwrap_or_default();
    call.float("p") == Some(2.0) && left.max(right) > 25
}

/// A difference, a power and a sum for each feature; in the product a multiplication and a sum,
/// with the squared norms of both rows as two further features.
fn distance_work(call: &Call) -> u128 {
    let (_, _, features) = sizes(call).unwrap_or_default();
    let each = match is_product(call) {
        true => 2 * (u128::from(features) + 2),
        false => 3 * u128::from(features),
    };
    u128::from(call.output_elements()).saturating_mul(each)
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{Random, check, check_intervals, check_products, check_saved, with};
    use crate::tensor::{Interval, Moments};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("normalize([2, 3])", "float32 [2, 3]"),
            (
                "normalize([3])",
                "error: `dim` names axis 1, but [3] has 1 axes",
            ),
            ("cosine_similarity([2, 3], [2, 3])", "float32 [2]"),
            (
                "cosine_similarity([4, 1, 3], [5, 3], dim=-1)",
                "float32 [4, 5]",
            ),
            ("cdist([2, 5, 3], [4, 3])", "float32 [2, 5, 4]"),
            (
                "cdist([5, 3], [4, 2])",
                "error: the rows of [5, 3] have 3 elements, but those of [4, 2] have 2",
            ),
        ]);
    }

    #[test]
    fn costs() {
        check_saved(&[
            (
                "normalize([2, 3])",
                "input, norm: 2 float32, divisor: 2 float32",
            ),
            (
                "cosine_similarity([2, 3], [1, 3])",
                "x1, x2, norm: 2 float32, divisor: 2 float32, direction: 6 float32, norm: 2 \
                 float32, divisor: 2 float32, direction: 6 float32",
            ),
            ("cdist([5, 3], [4, 3])", "x1, x2, output"),
        ]);
        check_products(&[
            ("cdist([5, 3], [4, 3])", (0, 0)),
            ("cdist([30, 3], [4, 3])", (0, 2 * 2 * 30 * 4 * 3)),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            ("normalize([2, 3])", &[(-1.0, 2.0)], "[-1, 1]"),
            ("normalize([2, 3])", &[(1.0, 2.0)], "[0, 1]"),
            ("normalize([2, 3], eps=10)", &[(-1.0, 2.0)], "[-0.1, 0.2]"),
            ("normalize([2, 3], eps=0)", &[(-1.0, 2.0)], "[-1, 1]?"),
            ("cdist([2, 4], [2, 4])", &[(0.0, 1.0), (2.0, 3.0)], "[2, 6]"),
        ]);
        let mut random = Random(31);
        for _ in 0..300 {
            let (a, b) = (random.uniform(-2.0, 2.0), random.uniform(-2.0, 2.0));
            let given = Interval::new(a, b);
            let image = with("normalize([1, 4], eps=0.5)", |call| {
                (call.op.interval)(call, &[given])
            })
            .unwrap();
            let x: Vec<f64> = (0..4)
                .map(|_| random.uniform(given.low, given.high))
                .collect();
            let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt().max(0.5);
            assert!(
                x.iter().all(|x| image.contains(x / norm)),
                "{x:?} {image:?}"
            );
        }
    }

    #[test]
    fn a_normalised_vector_has_length_one() {
        let given = [Some(Moments::new(1.0, 3.0))];
        let claimed = with("normalize([2, 8])", |call| (call.op.moments)(call, &given));
        let square = claimed.unwrap().unwrap().square();
        assert!((square - 1.0 / 8.0).abs() < 1e-12);
    }
}
