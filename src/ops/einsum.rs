//! Contractions over axes that are named: `einsum`, `tensordot`, `kron`, `bilinear`.

use smallvec::smallvec;

use super::contraction::{Cost, cost};
use super::definition::{BASE, Default, attribute, operand, optional, variadic};
use super::equation::{Contraction, parse_equation};
use super::layout::contiguous;
use super::{
    AttributeKind, Autocast, Call, Init, Op, OpError, ParameterDefinition, Work, multilinear,
};
use crate::tensor::{Moments, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "einsum",
        summary: "sums of products over the axes that an equation names",
        operands: &[variadic("operands")],
        attributes: &[attribute(
            "equation",
            AttributeKind::Text,
            Default::Required,
            "subscripts of each operand and of the result: bhqd,bhkd->bhqk",
        )],
        autocast: Autocast::Lower,
        ..CONTRACTED
    },
    Op {
        name: "tensordot",
        summary: "sums of products over the last axes of one tensor and the first of another",
        operands: &[operand("a"), operand("b")],
        attributes: &[
            attribute(
                "dims",
                AttributeKind::Size,
                Default::Integer(2),
                "how many of the last axes of `a` meet the first of `b`",
            ),
            attribute(
                "dims_self",
                AttributeKind::Integers,
                Default::None,
                "the axes of `a` to sum over, instead of `dims`",
            )
            .or(&["dims_a"]),
            attribute(
                "dims_other",
                AttributeKind::Integers,
                Default::None,
                "the axes of `b` that these meet",
            )
            .or(&["dims_b"]),
        ],
        autocast: Autocast::Promote,
        ..CONTRACTED
    },
    Op {
        name: "kron",
        summary: "Kronecker product: every element of the first times the whole second",
        operands: &[operand("input"), operand("other")],
        infer: |call| {
            let (a, b) = (call.shape(0)?, call.shape(1)?);
            let rank = a.rank().max(b.rank());
            let size = |shape: &Shape, axis: usize| {
                (axis + shape.rank())
                    .checked_sub(rank)
                    .map_or(1, |at| shape.sizes()[at])
            };
            let shape = (0..rank)
                .map(|axis| {
                    let (x, y) = (size(a, axis), size(b, axis));
                    x.checked_mul(y).ok_or_else(|| {
                        OpError::new(format!("{x} · {y} is beyond 64 bits")).operands([0, 1])
                    })
                })
                .collect::<Result<Shape, OpError>>()?;
            Ok(smallvec![TensorType {
                shape,
                dtype: call.promoted_dtype()
            }])
        },
        saved: |call, saved| {
            for (kept, other) in [(0, 1), (1, 0)] {
                if call.requires_grad(other) {
                    saved.argument(call, kept);
                }
            }
        },
        interval: |_, ranges| ranges[0] * ranges[1],
        moments: |_, moments| multilinear::moments(moments[..2].iter().copied(), 1.0),
        gradient_gain: |call, position, moments| {
            multilinear::gain(call, position, [*moments.get(1 - position.min(1))?], 1.0)
        },
        ..BASE
    },
    Op {
        name: "bilinear",
        summary: "input1 @ weight[o] @ input2 + bias for each output feature o",
        operands: &[
            operand("input1"),
            operand("input2"),
            operand("weight"),
            optional("bias"),
        ],
        attributes: &[
            attribute(
                "out_features",
                AttributeKind::Size,
                Default::None,
                "size of the last axis",
            ),
            attribute(
                "in1_features",
                AttributeKind::Size,
                Default::None,
                "checked if given",
            ),
            attribute(
                "in2_features",
                AttributeKind::Size,
                Default::None,
                "checked if given",
            ),
            attribute(
                "weight",
                AttributeKind::Parameter,
                Default::None,
                "a weight to share",
            ),
            attribute(
                "bias",
                AttributeKind::Parameter,
                Default::Boolean(true),
                "whether to add one",
            ),
        ],
        parameters: Some(|call| {
            let [in1, in2] = bilinear_features(call)?;
            let outputs = match call.argument(2) {
                Some(weight) => weight.ty.shape.size(0).unwrap_or(0),
                None => call.size("out_features")?,
            };
            Ok(smallvec![
                ParameterDefinition::new(2, "weight", [outputs, in1, in2], Init::FanIn(in1)),
                ParameterDefinition::new(3, "bias", [outputs], Init::FanIn(in1)),
            ])
        }),
        infer: bilinear_infer,
        autocast: Autocast::Promote,
        // PyTorch runs it as a `_trilinear`: two multiplications and an addition for each of the
        // terms, and no matrix product.
        work: |call| {
            let terms = u128::from(bilinear_terms(call));
            let outputs = u128::from(call.output_elements());
            Work::other(outputs * (3 * terms + u128::from(call.has(3))))
        },
        saved: |call, saved| {
            for position in 0..3 {
                if (0..3).any(|other| other != position && call.requires_grad(other)) {
                    saved.argument(call, position);
                }
            }
        },
        interval: |call, ranges| {
            let sum = multilinear::interval(ranges[..3].iter().copied(), bilinear_terms(call));
            if call.has(3) { sum + ranges[3] } else { sum }
        },
        moments: |call, moments| {
            let terms = bilinear_terms(call) as f64;
            let sum = multilinear::moments(moments.get(..3)?.iter().copied(), terms)?;
            let bias = moments
                .get(3)
                .copied()
                .flatten()
                .unwrap_or(Moments::constant(0.0));
            Some(Moments::new(
                sum.mean + bias.mean,
                sum.variance + bias.variance,
            ))
        },
        gradient_gain: |call, position, moments| {
            if position > 2 {
                return None;
            }
            let others = (0..3)
                .filter(|&other| other != position)
                .map(|other| moments.get(other).copied().flatten());
            multilinear::gain(call, position, others, bilinear_terms(call) as f64)
        },
        ..BASE
    },
];

/// Sums of products over indices, run as batched matrix products from left to right.
const CONTRACTED: Op = Op {
    infer: |call| {
        let contraction = contraction(call)?;
        let dtype = multilinear::dtype(call, 0..call.arguments.len())?;
        Ok(smallvec![TensorType {
            shape: contraction.shape(),
            dtype
        }])
    },
    work: |call| cost_of(call).work,
    backward: |call| cost_of(call).backward,
    saved: |call, saved| *saved = cost_of(call).saved,
    layout: |call, strides| {
        cost_of(call)
            .placement
            .unwrap_or_else(|| contiguous(call, strides))
    },
    interval: |call, ranges| {
        let terms = contraction(call).map_or(1, |contraction| contraction.terms());
        multilinear::interval(ranges.iter().copied(), terms)
    },
    moments: |call, moments| {
        let terms = contraction(call).ok()?.terms() as f64;
        multilinear::moments(moments.iter().copied(), terms)
    },
    gradient_gain: |call, position, moments| {
        let terms = contraction(call).ok()?.terms() as f64;
        let others = moments
            .iter()
            .enumerate()
            .filter(|&(other, _)| other != position)
            .map(|(_, &other)| other);
        multilinear::gain(call, position, others, terms)
    },
    ..BASE
};

fn cost_of(call: &Call) -> Cost {
    contraction(call).map_or_else(
        |_| Cost::default(),
        |contraction| cost(call, &contraction, 0),
    )
}

/// The indices of an `einsum` or a `tensordot`.
fn contraction(call: &Call) -> Result<Contraction, OpError> {
    if call.op.name == "tensordot" {
        return tensordot(call);
    }
    let text = call
        .text("equation")
        .ok_or_else(|| OpError::new("`einsum` needs `equation`").attribute("equation"))?;
    let shapes = (0..call.arguments.len())
        .map(|position| call.shape(position))
        .collect::<Result<Vec<_>, _>>()?;
    let shown = |message: String, range: std::ops::Range<usize>| {
        let part = text.get(range).map_or("", str::trim);
        OpError::new(format!("einsum(\"{text}\"): {message}, at `{part}`")).attribute("equation")
    };
    parse_equation(&text)
        .map_err(|error| shown(error.message, error.range))?
        .bind(&shapes)
        .map_err(|(error, position)| shown(error.message, error.range).operands([position]))
}

fn tensordot(call: &Call) -> Result<Contraction, OpError> {
    let (a, b) = (call.shape(0)?, call.shape(1)?);
    let (left, right) = match (call.integers("dims_self"), call.integers("dims_other")) {
        (Some(left), Some(right)) => (left, right),
        (None, None) => {
            let dims = call.size("dims")?;
            if dims > a.rank().min(b.rank()) as u64 {
                let message = format!("`dims` is {dims}, but the operands are {a} and {b}");
                return Err(OpError::new(message).attribute("dims").operands([0, 1]));
            }
            let first = a.rank() as i64 - dims as i64;
            (
                (first..a.rank() as i64).collect(),
                (0..dims as i64).collect(),
            )
        }
        _ => {
            let message = "`dims_self` and `dims_other` go together";
            return Err(OpError::new(message).attribute("dims_self"));
        }
    };
    if left.len() != right.len() {
        let message = format!("{} axes of `a` meet {} of `b`", left.len(), right.len());
        return Err(OpError::new(message).attribute("dims_self"));
    }
    let axes = |axes: &[i64], shape: &Shape, name| {
        let mut found = Vec::with_capacity(axes.len());
        for &axis in axes {
            let index = shape.axis(axis).filter(|index| !found.contains(index));
            found.push(index.ok_or_else(|| {
                let message = format!("`{name}` names axis {axis} of {shape} twice or beyond it");
                OpError::new(message).attribute(name)
            })?);
        }
        Ok(found)
    };
    let left = axes(&left, a, "dims_self")?;
    let right = axes(&right, b, "dims_other")?;
    let mut sizes = Vec::new();
    let mut operands = [vec![0; a.rank()], vec![0; b.rank()]];
    for (operand, (shape, summed)) in operands.iter_mut().zip([(a, &left), (b, &right)]) {
        for (axis, &size) in shape.sizes().iter().enumerate() {
            if !summed.contains(&axis) {
                operand[axis] = sizes.len();
                sizes.push(size);
            }
        }
    }
    let outputs = sizes.len();
    for (&i, &j) in left.iter().zip(&right) {
        let (x, y) = (a.sizes()[i], b.sizes()[j]);
        if x != y && x != 1 && y != 1 {
            let message = format!("tensordot of {a} and {b}: axis {i} meets axis {j}: {x} ≠ {y}");
            return Err(OpError::new(message).operands([0, 1]));
        }
        operands[0][i] = sizes.len();
        operands[1][j] = sizes.len();
        sizes.push(if x == 1 { y } else { x });
    }
    Ok(Contraction {
        sizes,
        operands: operands.into(),
        outputs,
    })
}

/// The last sizes of both inputs.
fn bilinear_features(call: &Call) -> Result<[u64; 2], OpError> {
    let mut features = [0; 2];
    for (position, name) in [(0, "in1_features"), (1, "in2_features")] {
        let shape = call.shape(position)?;
        let last = shape.size(-1).ok_or_else(|| {
            let message = "`bilinear` needs at least one axis, but an input is a scalar";
            OpError::new(message).operands([position])
        })?;
        if let Some(given) = call.integer(name)
            && given != last as i64
        {
            let message = format!("`{name}` is {given}, but the input {shape} has {last} features");
            return Err(OpError::new(message).operands([position]).attribute(name));
        }
        features[position] = last;
    }
    Ok(features)
}

fn bilinear_infer(call: &Call) -> Result<super::Outputs, OpError> {
    let dtype = multilinear::dtype(call, [0, 1, 2, 3])?;
    let (a, b, weight) = (call.shape(0)?, call.shape(1)?, call.shape(2)?);
    let features = bilinear_features(call)?;
    let rows = |shape: &Shape| Shape::from(&shape.sizes()[..shape.rank() - 1]);
    if rows(a) != rows(b) {
        let message = format!("the inputs {a} and {b} differ before the last axis");
        return Err(OpError::new(message).operands([0, 1]));
    }
    let [outputs, in1, in2] = *weight.sizes() else {
        let message = format!("the weight of `bilinear` must have 3 axes, but it is {weight}");
        return Err(OpError::new(message).operands([2]));
    };
    if [in1, in2] != features {
        let message = format!(
            "the inputs {a} and {b} have {} and {} features, but the weight {weight} takes {in1} \
             and {in2}",
            features[0], features[1]
        );
        return Err(OpError::new(message).operands([0, 1, 2]));
    }
    if let Some(bias) = call.argument(3)
        && bias.ty.shape.sizes() != [outputs]
    {
        let message = format!(
            "the bias is {}, but the weight {weight} gives {outputs}",
            bias.ty
        );
        return Err(OpError::new(message).operands([3, 2]));
    }
    let mut shape = rows(a);
    shape.push(outputs);
    Ok(smallvec![TensorType { shape, dtype }])
}

fn bilinear_terms(call: &Call) -> u64 {
    let last = |position| {
        call.shape(position)
            .ok()
            .and_then(|shape| shape.size(-1))
            .unwrap_or(1)
    };
    last(0).saturating_mul(last(1))
}

#[cfg(test)]
mod tests {
    use super::super::cases::{
        check, check_intervals, check_parameters, check_products, check_saved,
    };

    #[test]
    fn shapes_and_errors() {
        check(&[
            (
                "einsum([2, 3], [3, 4], equation='ij?ik')",
                "error: einsum(\"ij?ik\"): `?` is no index: letters, `...`, `,` and `->` are, at `?`",
            ),
            ("tensordot([2, 3, 4], [3, 4, 5])", "float32 [2, 5]"),
            (
                "tensordot([2, 3, 4], [4, 2, 5], dims_self=[0, 2], dims_other=[1, 0])",
                "float32 [3, 5]",
            ),
            ("tensordot([2], [3], dims=0)", "float32 [2, 3]"),
            (
                "tensordot([2, 3], [4, 5], dims=1)",
                "error: tensordot of [2, 3] and [4, 5]: axis 1 meets axis 0: 3 ≠ 4",
            ),
            (
                "tensordot([2, 3], [4, 5], dims=3)",
                "error: `dims` is 3, but the operands are [2, 3] and [4, 5]",
            ),
            (
                "tensordot([2, 3], [3, 5], dims_self=[1, 1], dims_other=[0, 0])",
                "error: `dims_self` names axis 1 of [2, 3] twice or beyond it",
            ),
            ("kron([2, 3], [4, 5])", "float32 [8, 15]"),
            ("kron([3], [4, 5])", "float32 [4, 15]"),
            ("bilinear([7, 2], [7, 3], out_features=4)", "float32 [7, 4]"),
            (
                "bilinear([7, 2], [6, 3], out_features=4)",
                "error: the inputs [7, 2] and [6, 3] differ before the last axis",
            ),
            (
                "bilinear([7, 2], [7, 3], [4, 2, 5])",
                "error: the inputs [7, 2] and [7, 3] have 2 and 3 features, but the weight [4, 2, 5] takes 2 and 5",
            ),
        ]);
        check_parameters(&[(
            "bilinear([7, 2], [7, 3], out_features=4)",
            "weight [4, 2, 3], bias [4]",
        )]);
    }

    #[test]
    fn einsum_is_contracted_from_left_to_right() {
        let attention = "einsum([2, 4, 5, 8], [2, 4, 6, 8], equation='bhqd,bhkd->bhqk')";
        let headless = "einsum([2, 5, 4, 8], [2, 6, 4, 8], equation='bqhd,bkhd->bhqk')";
        check_products(&[
            (attention, (2 * 2 * 4 * 5 * 6 * 8, 4 * 2 * 4 * 5 * 6 * 8)),
            // Two products, one after the other; the gradients of both factors of each.
            (
                "einsum([2, 3], [3, 4], [4, 5], equation='ij,jk,kl->il')",
                (2 * (2 * 3 * 4 + 2 * 4 * 5), 4 * (2 * 3 * 4 + 2 * 4 * 5)),
            ),
            // Nothing is summed: an elementwise product.
            ("einsum([2, 3], [2, 3], equation='ij,ij->ij')", (0, 0)),
            // `k` occurs once: it is summed before the product.
            ("einsum([2, 3], [3, 4], equation='ij,jk->i')", (12, 24)),
            ("einsum([3, 3], equation='ii->')", (0, 0)),
            ("tensordot([2, 3, 4], [3, 4, 5])", (240, 480)),
        ]);
        check_saved(&[
            (attention, "operands0, operands1"),
            // The batch axes b and h do not merge while q or k lies between them.
            (headless, "factor: 320 float32, factor: 384 float32"),
            (
                "einsum([2, 3], [2, 3], equation='ij,ij->ij')",
                "operands0, operands1",
            ),
            (
                "einsum([2, 3], [3, 4], equation='ij,jk->i')",
                "operands0, factor: 3 float32",
            ),
            ("tensordot([2, 3, 4], [3, 4, 5])", "a, b"),
            (
                "tensordot([2, 3, 4], [4, 2, 5], dims_self=[0, 2], dims_other=[1, 0])",
                "factor: 24 float32, factor: 40 float32",
            ),
        ]);
        check_intervals(&[
            (attention, &[(0.0, 1.0), (-1.0, 2.0)], "[-8, 16]"),
            (
                "einsum([2, 3], equation='ij->')",
                &[(-1.0, 2.0)],
                "[-6, 12]",
            ),
        ]);
    }
}
