//! Products of matrices and vectors: `matmul` and what it comes down to.
//!
//! Product FLOPs are counted as PyTorch's `FlopCounterMode` does, which sees `mm`, `addmm`, `bmm`
//! and `baddbmm`, but neither `mv` nor `dot`: a product with a vector that runs as one of these is
//! counted with the other arithmetic.

use smallvec::smallvec;

use super::contraction::merges;
use super::definition::{BASE, Default, attribute, operand};
use super::layout::{Strides, viewed};
use super::{
    Attribute, AttributeKind, Autocast, Call, Op, OpError, Outputs, Saved, Work, multilinear,
};
use crate::tensor::{Interval, Moments, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "matmul",
        summary: "product of matrices, over broadcast leading axes, or of vectors",
        operands: &[operand("input"), operand("other")],
        infer: |call| {
            let dtype = multilinear::dtype(call, [0, 1])?;
            Ok(smallvec![TensorType {
                shape: matmul_shape(call)?,
                dtype
            }])
        },
        work: |call| work_of(call, 0, !is_vector_product(call)),
        backward: |call| {
            if is_vector_product(call) {
                0
            } else {
                backward_of(call, 0)
            }
        },
        saved: matmul_saved,
        ..FACTORS
    },
    Op {
        name: "mm",
        summary: "product of two matrices",
        operands: &[operand("input"), operand("mat2")],
        infer: |call| strict(call, [0, 1], 2),
        ..FACTORS
    },
    Op {
        name: "bmm",
        aliases: &["batch_matmul"],
        summary: "products of two batches of matrices",
        operands: &[operand("input"), operand("mat2")],
        infer: |call| strict(call, [0, 1], 3),
        ..FACTORS
    },
    Op {
        name: "addmm",
        summary: "beta · input + alpha · mat1 @ mat2",
        operands: &[operand("input"), operand("mat1"), operand("mat2")],
        infer: |call| added(call, 2),
        ..ADDED
    },
    Op {
        name: "baddbmm",
        summary: "beta · input + alpha · batch1 @ batch2, over a batch",
        operands: &[operand("input"), operand("batch1"), operand("batch2")],
        infer: |call| added(call, 3),
        ..ADDED
    },
    Op {
        name: "mv",
        summary: "product of a matrix and a vector",
        operands: &[operand("input"), operand("vec")],
        infer: |call| {
            let dtype = multilinear::dtype(call, [0, 1])?;
            let (matrix, vector) = (ranked(call, 0, 2)?, ranked(call, 1, 1)?);
            if matrix.sizes()[1] != vector.sizes()[0] {
                return Err(clash(
                    matrix,
                    vector,
                    matrix.sizes()[1],
                    vector.sizes()[0],
                    [0, 1],
                ));
            }
            Ok(smallvec![TensorType::new([matrix.sizes()[0]], dtype)])
        },
        work: |call| work_of(call, 0, false),
        backward: |_| 0,
        ..FACTORS
    },
    Op {
        name: "dot",
        aliases: &["vdot"],
        summary: "product of two vectors: the sum of their elementwise products",
        operands: &[operand("input"), operand("tensor")],
        infer: |call| {
            let dtype = multilinear::dtype(call, [0, 1])?;
            let (left, right) = (ranked(call, 0, 1)?, ranked(call, 1, 1)?);
            if left != right {
                return Err(clash(
                    left,
                    right,
                    left.sizes()[0],
                    right.sizes()[0],
                    [0, 1],
                ));
            }
            Ok(smallvec![TensorType::new(Shape::scalar(), dtype)])
        },
        autocast: Autocast::Promote,
        work: |call| work_of(call, 0, false),
        backward: |_| 0,
        ..FACTORS
    },
    Op {
        name: "outer",
        aliases: &["ger"],
        summary: "outer product of two vectors: a matrix of all products",
        operands: &[operand("input"), operand("vec2")],
        infer: |call| {
            let dtype = call.promoted_dtype();
            let (left, right) = (ranked(call, 0, 1)?, ranked(call, 1, 1)?);
            Ok(smallvec![TensorType::new(
                [left.sizes()[0], right.sizes()[0]],
                dtype
            )])
        },
        autocast: Autocast::Keep,
        work: |call| Work::other(u128::from(call.output_elements())),
        backward: |_| 0,
        interval: |_, ranges| ranges[0] * ranges[1],
        moments: |_, moments| multilinear::moments(moments[..2].iter().copied(), 1.0),
        gradient_gain: |call, position, moments| {
            multilinear::gain(call, position, [*moments.get(1 - position.min(1))?], 1.0)
        },
        ..FACTORS
    },
];

/// Two factors, of which the first has the summed axis last.
const FACTORS: Op = Op {
    autocast: Autocast::Lower,
    work: |call| work_of(call, 0, true),
    backward: |call| backward_of(call, 0),
    saved: |call, saved| save_factors(call, saved, 0),
    interval: |call, ranges| multilinear::interval(ranges[..2].iter().copied(), terms(call, 0)),
    moments: |call, moments| {
        multilinear::moments(moments[..2].iter().copied(), terms(call, 0) as f64)
    },
    gradient_gain: |call, position, moments| {
        let other = *moments.get(1 - position.min(1))?;
        multilinear::gain(call, position, [other], terms(call, 0) as f64)
    },
    ..BASE
};

/// A summand and two factors, with `beta` and `alpha`.
const ADDED: Op = Op {
    attributes: SCALES,
    autocast: Autocast::Lower,
    work: |call| {
        let scaled = ["beta", "alpha"]
            .iter()
            .filter(|name| call.float(name) != Some(1.0))
            .count();
        let mut work = work_of(call, 1, true);
        work.other = u128::from(call.output_elements()) * (1 + scaled as u128);
        work
    },
    backward: |call| backward_of(call, 1),
    saved: |call, saved| save_factors(call, saved, 1),
    interval: |call, ranges| {
        let (beta, alpha) = scales(call);
        let product = multilinear::interval(ranges[1..3].iter().copied(), terms(call, 1));
        // PyTorch leaves the summand alone where `beta` is 0.
        ranges[0] * Interval::point(beta) + product * Interval::point(alpha)
    },
    moments: |call, moments| {
        let (beta, alpha) = scales(call);
        let factors = moments.get(1..3)?.iter().copied();
        let product = multilinear::moments(factors, terms(call, 1) as f64)?;
        let summand = moments[0]?;
        Some(Moments::new(
            beta * summand.mean + alpha * product.mean,
            beta * beta * summand.variance + alpha * alpha * product.variance,
        ))
    },
    gradient_gain: |call, position, moments| {
        let (beta, alpha) = scales(call);
        if position == 0 {
            let repeats = call.output_elements() as f64 / call.elements(0).max(1) as f64;
            return Some(beta * beta * repeats);
        }
        let other = *moments.get(3 - position.min(2))?;
        let gain = multilinear::gain(call, position, [other], terms(call, 1) as f64)?;
        Some(alpha * alpha * gain)
    },
    ..BASE
};

const SCALES: &[Attribute] = &[
    attribute(
        "beta",
        AttributeKind::Float,
        Default::Float(1.0),
        "factor of the summand",
    ),
    attribute(
        "alpha",
        AttributeKind::Float,
        Default::Float(1.0),
        "factor of the product",
    ),
];

fn scales(call: &Call) -> (f64, f64) {
    (
        call.float("beta").unwrap_or(1.0),
        call.float("alpha").unwrap_or(1.0),
    )
}

/// The number of products in a sum: the last size of the operand at `left`.
fn terms(call: &Call, left: usize) -> u64 {
    call.shape(left)
        .ok()
        .and_then(|shape| shape.size(-1))
        .unwrap_or(1)
}

/// Two for each product of the sums.
fn flops(call: &Call, left: usize) -> u128 {
    multilinear::flops([call.output_elements(), terms(call, left)])
}

fn work_of(call: &Call, left: usize, counted: bool) -> Work {
    if counted {
        Work::products(flops(call, left))
    } else {
        Work::other(flops(call, left))
    }
}

/// The gradient of each factor is a product of the same size.
fn backward_of(call: &Call, left: usize) -> u128 {
    let factors = [left, left + 1]
        .into_iter()
        .filter(|&factor| call.requires_grad(factor))
        .count();
    flops(call, left).saturating_mul(factors as u128)
}

/// Keeps each factor if the other one needs a gradient.
fn save_factors(call: &Call, saved: &mut Saved, left: usize) {
    if call.requires_grad(left + 1) {
        saved.argument(call, left);
    }
    if call.requires_grad(left) {
        saved.argument(call, left + 1);
    }
}

fn ranked<'a>(call: &Call<'a>, position: usize, rank: usize) -> Result<&'a Shape, OpError> {
    let shape = call.shape(position)?;
    if shape.rank() != rank {
        let message = format!(
            "`{}` takes {rank} axes as `{}`, but it is {shape}",
            call.op.name,
            call.op.operand_name(position)
        );
        return Err(OpError::new(message)
            .operands([position])
            .help("`matmul` takes any number of axes and broadcasts"));
    }
    Ok(shape)
}

fn clash(left: &Shape, right: &Shape, a: u64, b: u64, operands: [usize; 2]) -> OpError {
    OpError::new(format!("{left} @ {right}: {a} ≠ {b}")).operands(operands)
}

/// `mm` and `bmm`: two factors of exactly that rank, which do not broadcast.
fn strict(call: &Call, [left, right]: [usize; 2], rank: usize) -> Result<Outputs, OpError> {
    let dtype = multilinear::dtype(call, [left, right])?;
    let (a, b) = (ranked(call, left, rank)?, ranked(call, right, rank)?);
    let (x, y) = (a.sizes(), b.sizes());
    for (p, q) in [(x[rank - 1], y[rank - 2])]
        .into_iter()
        .chain((rank == 3).then_some((x[0], y[0])))
    {
        if p != q {
            return Err(clash(a, b, p, q, [left, right]));
        }
    }
    let mut shape = a.clone();
    shape.set(rank - 1, y[rank - 1]);
    Ok(smallvec![TensorType { shape, dtype }])
}

/// `addmm` and `baddbmm`: a product, and a summand that broadcasts to it.
fn added(call: &Call, rank: usize) -> Result<Outputs, OpError> {
    let mut outputs = strict(call, [1, 2], rank)?;
    outputs[0].dtype = multilinear::dtype(call, [0, 1, 2])?;
    let (summand, product) = (call.shape(0)?, &outputs[0].shape);
    if summand.broadcast(product).as_ref() != Some(product) {
        let message = format!("the summand {summand} does not broadcast to the product {product}");
        return Err(OpError::new(message).operands([0]));
    }
    Ok(outputs)
}

/// The shape that `torch.matmul` gives: a vector on the left is a row, one on the right a column,
/// and the axis added for it is taken away again; all axes but the last two broadcast.
fn matmul_shape(call: &Call) -> Result<Shape, OpError> {
    let (a, b) = (call.shape(0)?, call.shape(1)?);
    for (position, shape) in [(0, a), (1, b)] {
        if shape.rank() == 0 {
            let message = format!("{a} @ {b}: a scalar has no axis to sum over");
            return Err(OpError::new(message)
                .operands([position])
                .help("`*` multiplies by a scalar"));
        }
    }
    let (rows, columns) = (a.rank() > 1, b.rank() > 1);
    let inner = |shape: &Shape, axis: i64| shape.size(axis).unwrap_or(1);
    let (p, q) = (inner(a, -1), inner(b, if columns { -2 } else { -1 }));
    if p != q {
        return Err(clash(a, b, p, q, [0, 1]));
    }
    let mut shape = batch(a).broadcast(&batch(b)).ok_or_else(|| {
        let message = format!(
            "{a} @ {b}: the leading axes {} and {} do not broadcast",
            batch(a),
            batch(b)
        );
        OpError::new(message).operands([0, 1])
    })?;
    if rows {
        shape.push(inner(a, -2));
    }
    if columns {
        shape.push(inner(b, -1));
    }
    Ok(shape)
}

/// All axes but the last two.
fn batch(shape: &Shape) -> Shape {
    Shape::from(&shape.sizes()[..shape.rank().saturating_sub(2)])
}

/// How `torch.matmul` runs a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// `dot`, `mv` or `mm` on the operands as they are.
    Plain,
    /// `mv` or `mm` with all axes but the last of the operand at this position folded into one. The
    /// second operand is transposed before.
    Folded(usize),
    /// `bmm` on both operands, expanded to the broadcast leading axes.
    Batched,
}

/// The route, by the rules of `should_fold` in PyTorch's `LinearAlgebra.cpp`.
fn route(call: &Call) -> Route {
    let (Ok(a), Ok(b)) = (call.shape(0), call.shape(1)) else {
        return Route::Plain;
    };
    if a.rank() <= 2 && b.rank() <= 2 {
        return Route::Plain;
    }
    let larger = usize::from(a.rank() < b.rank());
    if a.rank().min(b.rank()) > 2 {
        return Route::Batched;
    }
    // Folding may cost a copy, but spares the backward pass a batch of gradients.
    if call.requires_grad(1 - larger) {
        return Route::Folded(larger);
    }
    if a.rank() == 2 {
        return Route::Batched;
    }
    let (sizes, strides) = foldable(call, larger);
    let follows = |axis: usize| strides[axis] == strides[axis + 1].saturating_mul(sizes[axis + 1]);
    match sizes.contains(&0) || (0..sizes.len() - 2).all(follows) {
        true => Route::Folded(larger),
        false => Route::Batched,
    }
}

/// Sizes and strides of the operand to fold, the second one transposed.
fn foldable(call: &Call, position: usize) -> (Strides, Strides) {
    let sizes = call.shape(position).map_or(&[][..], Shape::sizes);
    let (mut sizes, mut strides) = (Strides::from_slice(sizes), call.strides(position));
    if position == 1 && sizes.len() > 1 {
        let last = sizes.len() - 1;
        sizes.swap(last, last - 1);
        strides.swap(last, last - 1);
    }
    (sizes, strides)
}

/// Whether it runs as `dot` or `mv`.
fn is_vector_product(call: &Call) -> bool {
    let vector = |position| {
        call.shape(position)
            .is_ok_and(|shape: &Shape| shape.rank() == 1)
    };
    match route(call) {
        Route::Plain => vector(1),
        Route::Folded(larger) => vector(1 - larger),
        Route::Batched => false,
    }
}

/// Keeps each factor if the other one needs a gradient: itself, or the copy that was made of it.
fn matmul_saved(call: &Call, saved: &mut Saved) {
    let route = route(call);
    for (position, other, name) in [(0, 1, "first factor"), (1, 0, "second factor")] {
        if !call.requires_grad(other) {
            continue;
        }
        match copied(call, position, route) {
            Some(elements) => {
                let dtype = call.dtype(position).unwrap_or(call.promoted_dtype());
                saved.extra(name, elements, dtype);
            }
            None => saved.argument(call, position),
        }
    }
}

/// The size of the copy that the product sees of an operand; `None` where it sees a view.
fn copied(call: &Call, position: usize, route: Route) -> Option<u64> {
    let (a, b) = (call.shape(0).ok()?, call.shape(1).ok()?);
    let own = if position == 0 { a } else { b };
    match route {
        Route::Plain => None,
        Route::Folded(larger) if larger != position => None,
        Route::Folded(_) => {
            let (sizes, strides) = foldable(call, position);
            let rows = sizes[..sizes.len() - 1].iter().product();
            let folded = viewed(&sizes, &strides, &[rows, sizes[sizes.len() - 1]]);
            folded.is_none().then_some(own.elements())
        }
        Route::Batched => {
            let full = batch(a).broadcast(&batch(b))?;
            let strides = call.strides(position);
            let own_batch = own.rank().saturating_sub(2);
            let offset = full.rank() - own_batch;
            // An axis that is expanded has stride 0.
            let axes = full.sizes().iter().enumerate().map(|(axis, &size)| {
                let at = axis.checked_sub(offset);
                let stride = at
                    .filter(|&at| own.sizes()[at] == size)
                    .map_or(0, |at| strides[at]);
                (size, stride)
            });
            let matrix = own.sizes()[own_batch..].iter().product::<u64>();
            (!merges(axes)).then(|| full.elements().saturating_mul(matrix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{check, check_intervals, check_products, check_saved};

    #[test]
    fn shapes_are_those_of_torch_for_every_pair_of_ranks() {
        check(&[
            ("matmul([3], [3])", "float32 []"),
            ("matmul([2, 3], [3])", "float32 [2]"),
            ("matmul([3], [3, 4])", "float32 [4]"),
            ("matmul([2, 3], [3, 4])", "float32 [2, 4]"),
            ("matmul([5, 2, 3], [3])", "float32 [5, 2]"),
            ("matmul([3], [5, 3, 4])", "float32 [5, 4]"),
            ("matmul([5, 2, 3], [3, 4])", "float32 [5, 2, 4]"),
            ("matmul([2, 3], [5, 3, 4])", "float32 [5, 2, 4]"),
            ("matmul([7, 1, 2, 3], [5, 3, 4])", "float32 [7, 5, 2, 4]"),
            ("matmul(float16 [2, 3], bfloat16 [3, 4])", "float32 [2, 4]"),
            ("matmul(int64 [2, 3], int64 [3, 4])", "int64 [2, 4]"),
            ("matmul([2, 3], [4, 5])", "error: [2, 3] @ [4, 5]: 3 ≠ 4"),
            ("matmul([3], [4])", "error: [3] @ [4]: 3 ≠ 4"),
            (
                "matmul([], [3])",
                "error: [] @ [3]: a scalar has no axis to sum over",
            ),
            (
                "matmul([2, 2, 3], [5, 3, 4])",
                "error: [2, 2, 3] @ [5, 3, 4]: the leading axes [2] and [5] do not broadcast",
            ),
            (
                "matmul(int64 [2, 3], [3, 4])",
                "error: `matmul` cannot multiply int64 with float32: `input` and `other` must \
                 both be floating point or both be integers",
            ),
            ("mm([2, 3], [3, 4])", "float32 [2, 4]"),
            (
                "mm([3], [3, 4])",
                "error: `mm` takes 2 axes as `input`, but it is [3]",
            ),
            ("bmm([5, 2, 3], [5, 3, 4])", "float32 [5, 2, 4]"),
            (
                "bmm([5, 2, 3], [1, 3, 4])",
                "error: [5, 2, 3] @ [1, 3, 4]: 5 ≠ 1",
            ),
            ("addmm([4], [2, 3], [3, 4])", "float32 [2, 4]"),
            (
                "addmm([3], [2, 3], [3, 4])",
                "error: the summand [3] does not broadcast to the product [2, 4]",
            ),
            (
                "baddbmm([5, 1, 4], [5, 2, 3], [5, 3, 4])",
                "float32 [5, 2, 4]",
            ),
            ("mv([2, 3], [3])", "float32 [2]"),
            ("mv([2, 3], [2])", "error: [2, 3] @ [2]: 3 ≠ 2"),
            ("dot([3], [3])", "float32 []"),
            ("dot([3], [1])", "error: [3] @ [1]: 3 ≠ 1"),
            ("outer([3], [4])", "float32 [3, 4]"),
        ]);
    }

    #[test]
    fn products_are_those_that_the_flop_counter_sees() {
        check_products(&[
            ("matmul([2, 3], [3, 4])", (48, 96)),
            ("matmul([2, 3]!, [3, 4])", (48, 48)),
            (
                "matmul([7, 1, 2, 3], [5, 3, 4])",
                (7 * 5 * 48, 2 * 7 * 5 * 48),
            ),
            ("matmul([3], [3, 4])", (24, 48)),
            ("matmul([3]!, [5, 3, 4])", (5 * 24, 5 * 24)),
            ("matmul([5, 2, 3], [3])", (0, 0)),
            ("mv([2, 3], [3])", (0, 0)),
            ("addmm([4], [2, 3], [3, 4])", (48, 96)),
            ("baddbmm([5, 1, 4], [5, 2, 3], [5, 3, 4]!)", (240, 240)),
            ("outer([3], [4])", (0, 0)),
        ]);
    }

    #[test]
    fn each_factor_is_kept_for_the_other_and_copies_where_torch_makes_them() {
        check_saved(&[
            ("matmul([2, 3], [3, 4])", "input, other"),
            ("matmul([2, 3]!, [3, 4])", "input"),
            ("matmul([5, 2, 3], [3, 4])", "input, other"),
            (
                "matmul([5, 2, 3] / [3, 15, 1], [3, 4])",
                "other, first factor: 30 float32",
            ),
            ("matmul([5, 2, 3] / [3, 15, 1], [5, 3, 4])", "input, other"),
            (
                "matmul([7, 5, 2, 3] / [30, 3, 15, 1], [7, 5, 3, 4])",
                "other, first factor: 210 float32",
            ),
            ("matmul([5, 2, 3], [5, 3, 4])", "input, other"),
            // Expanding [1] to [5] gives stride 0, which needs no copy; [7, 1] to [7, 5] does.
            ("matmul([5, 2, 3], [1, 3, 4])", "input, other"),
            (
                "matmul([7, 1, 2, 3], [7, 5, 3, 4])",
                "other, first factor: 210 float32",
            ),
            (
                "matmul([2, 3], [5, 3, 4])",
                "input, second factor: 60 float32",
            ),
            ("matmul([2, 3]!, [5, 3, 4])", "input"),
            ("addmm([4], [2, 3], [3, 4]!)", "mat2"),
            ("outer([3], [4])", "input, vec2"),
        ]);
    }

    #[test]
    fn ranges_multiply_by_the_number_of_terms() {
        check_intervals(&[
            (
                "matmul([2, 3], [3, 4])",
                &[(-1.0, 2.0), (0.0, 4.0)],
                "[-12, 24]",
            ),
            (
                "addmm([4], [2, 3], [3, 4], beta=-1, alpha=0.5)",
                &[(0.0, 1.0), (-1.0, 2.0), (0.0, 4.0)],
                "[-7, 12]",
            ),
            ("outer([3], [4])", &[(-1.0, 2.0), (0.0, 4.0)], "[-4, 8]"),
        ]);
    }
}
