//! ATen ops that are written here in terms of others: transposes, cells, chains of products,
//! look-ups in bags, draws.

use super::arguments::Value;
use super::special::{Context, Special};
use crate::graph::{Made, TensorId};
use crate::ops::AttributeValue;
use crate::tensor::Shape;

/// The function for the name of a target, if it stands here.
pub(super) fn find_rewritten(name: &str) -> Option<Special> {
    Some(match name {
        "broadcast_tensors" => broadcast_tensors,
        "numpy_T" | "matrix_H" | "mH" | "adjoint" | "H" => reversed,
        "lstm_cell" | "gru_cell" | "rnn_tanh_cell" | "rnn_relu_cell" => cell,
        "_weight_norm" | "_weight_norm_interface" => weight_norm,
        "addmv" => product_and_sum,
        "vdot" => inner,
        "linalg_multi_dot" | "chain_matmul" => chain,
        "linalg_matrix_power" | "matrix_power" => power,
        "embedding_bag" | "_embedding_bag" | "_embedding_bag_forward_only" => bag,
        "exponential" | "cauchy" | "geometric" | "log_normal" => draw,
        "pairwise_distance" => pairwise_distance,
        "scatter_reduce" => scatter_reduce,
        "fft_fftn" | "fft_ifftn" | "fft_rfftn" | "fft_irfftn" => transform,
        "_grouped_mm" | "grouped_mm" | "grouped_mm_fallback" => grouped,
        _ => return None,
    })
}

/// Every operand in the shape of all together.
fn broadcast_tensors(context: &mut Context<'_, '_>) -> Option<Made> {
    let tensors = context.arguments.tensors("tensors").to_vec();
    let mut made = Made::new();
    for (id, ty) in tensors.into_iter().zip(context.stated) {
        let size: Vec<i64> = sizes(&ty.shape)?;
        let size = ("size", AttributeValue::from(size));
        made.push(*context.apply("expand", &[id], &[size])?.first()?);
    }
    Some(made)
}

fn sizes(shape: &Shape) -> Option<Vec<i64>> {
    let sizes = shape.sizes().iter();
    sizes.map(|&size| i64::try_from(size).ok()).collect()
}

/// The axes in reverse; of a batch of matrices those of the matrices.
fn reversed(context: &mut Context<'_, '_>) -> Option<Made> {
    let this = context.this()?;
    let rank = context.builder.graph().ty(this).shape.rank() as i64;
    let dims: Vec<i64> = match context.target.name {
        "numpy_T" => (0..rank).rev().collect(),
        _ if rank < 2 => return None,
        _ => (0..rank - 2).chain([rank - 1, rank - 2]).collect(),
    };
    context.apply("permute", &[this], &[("dims", AttributeValue::from(dims))])
}

/// One step of a recurrent network.
fn cell(context: &mut Context<'_, '_>) -> Option<Made> {
    let name = context.target.name;
    let mut operands = vec![context.arguments.tensor("input")?];
    operands.extend(context.arguments.tensors("hx"));
    for weight in ["w_ih", "w_hh", "b_ih", "b_hh"] {
        operands.push(context.operand(weight));
    }
    let op = match name {
        "lstm_cell" | "gru_cell" => name,
        _ => "rnn_cell",
    };
    let mut attributes = Vec::new();
    if name == "rnn_relu_cell" {
        attributes.push(("nonlinearity", "relu".into()));
    }
    context.apply(op, &operands, &attributes)
}

/// `v · g / ‖v‖`, the norm of all axes but one; the second output is the norm.
fn weight_norm(context: &mut Context<'_, '_>) -> Option<Made> {
    let (v, g) = (
        context.arguments.tensor("v")?,
        context.arguments.tensor("g")?,
    );
    let kept = context.arguments.integer("dim").unwrap_or(0);
    let mut made = context.apply("weight_norm", &[v, g], &[("dim", kept.into())])?;
    if context.stated.len() > 1 {
        let rank = context.builder.graph().ty(v).shape.rank() as i64;
        let kept = if kept < 0 { kept + rank } else { kept };
        let axes: Vec<i64> = (0..rank).filter(|&axis| axis != kept).collect();
        let over = [("dim", axes.into()), ("keepdim", true.into())];
        made.extend(context.apply("norm", &[v], &over)?);
    }
    Some(made)
}

fn product_and_sum(context: &mut Context<'_, '_>) -> Option<Made> {
    let arguments = context.arguments;
    if arguments.number("beta").is_some_and(|beta| beta != 1.0)
        || arguments.number("alpha").is_some_and(|alpha| alpha != 1.0)
    {
        return None;
    }
    let operands = [arguments.tensor("mat")?, arguments.tensor("vec")?];
    let product = *context.apply("mv", &operands, &[])?.first()?;
    let this = context.this()?;
    context.apply("add", &[this, product], &[])
}

fn inner(context: &mut Context<'_, '_>) -> Option<Made> {
    let (this, other) = (context.this()?, context.arguments.tensor("other")?);
    context.apply("dot", &[this, other], &[])
}

/// The longest product whose order is looked for.
const MAX_CHAIN: usize = 64;

/// A product of several matrices, in the order that takes the fewest multiplications, which is the
/// one that PyTorch takes. `O(n³)`.
fn chain(context: &mut Context<'_, '_>) -> Option<Made> {
    let name = match context.target.name {
        "chain_matmul" => "matrices",
        _ => "tensors",
    };
    let factors = context.arguments.tensors(name).to_vec();
    let count = factors.len();
    if !(2..=MAX_CHAIN).contains(&count) {
        return None;
    }
    let graph = context.builder.graph();
    let mut sizes: Vec<u128> = Vec::with_capacity(count + 1);
    for (at, &id) in factors.iter().enumerate() {
        let &[rows, columns] = graph.ty(id).shape.sizes() else {
            return None;
        };
        if at == 0 {
            sizes.push(rows.into());
        }
        sizes.push(columns.into());
    }
    // cost[i][j] and the best split of the factors i..=j.
    let mut cost = vec![vec![0u128; count]; count];
    let mut split = vec![vec![0usize; count]; count];
    for length in 1..count {
        for i in 0..count - length {
            let j = i + length;
            let each = |k: usize| {
                let product = sizes[i]
                    .saturating_mul(sizes[k + 1])
                    .saturating_mul(sizes[j + 1]);
                cost[i][k]
                    .saturating_add(cost[k + 1][j])
                    .saturating_add(product)
            };
            let best = (i..j).min_by_key(|&k| each(k))?;
            let least = each(best);
            cost[i][j] = least;
            split[i][j] = best;
        }
    }
    // As deep as the product is long, which is bounded.
    fn product(
        context: &mut Context<'_, '_>,
        factors: &[TensorId],
        split: &[Vec<usize>],
        (i, j): (usize, usize),
    ) -> Option<TensorId> {
        if i == j {
            return factors.get(i).copied();
        }
        let k = split[i][j];
        let left = product(context, factors, split, (i, k))?;
        let right = product(context, factors, split, (k + 1, j))?;
        context.apply("mm", &[left, right], &[])?.first().copied()
    }
    let made = product(context, &factors, &split, (0, count - 1))?;
    Some(Made::from_elem(made, 1))
}

/// A power of square matrices by squaring.
fn power(context: &mut Context<'_, '_>) -> Option<Made> {
    let n = u32::try_from(context.arguments.integer("n")?).ok()?;
    let base = context.this().or_else(|| context.arguments.tensor("A"))?;
    if n == 0 {
        return context.apply("zeros_like", &[base], &[]);
    }
    let mut square = base;
    let mut made: Option<TensorId> = None;
    for bit in 0..u32::BITS - n.leading_zeros() {
        if bit > 0 {
            square = *context.apply("matmul", &[square, square], &[])?.first()?;
        }
        if n >> bit & 1 == 1 {
            made = Some(match made {
                Some(made) => *context.apply("matmul", &[made, square], &[])?.first()?,
                None => square,
            });
        }
    }
    match made? {
        one if one == base => context.apply("clone", &[base], &[]),
        made => Some(Made::from_elem(made, 1)),
    }
}

/// A look-up in bags; the further outputs are bookkeeping.
fn bag(context: &mut Context<'_, '_>) -> Option<Made> {
    let arguments = context.arguments;
    let mode = match arguments.integer("mode").unwrap_or(0) {
        0 => "sum",
        1 => "mean",
        2 => "max",
        _ => return None,
    };
    let mut attributes = vec![("mode", mode.into())];
    if let Some(last) = arguments.boolean("include_last_offset") {
        attributes.push(("include_last_offset", last.into()));
    }
    let operands = [
        arguments.tensor("indices")?,
        arguments.tensor("weight")?,
        context.operand("offsets"),
        context.operand("per_sample_weights"),
    ];
    context.apply("embedding_bag", &operands, &attributes)
}

/// Random numbers in the place of a tensor.
fn draw(context: &mut Context<'_, '_>) -> Option<Made> {
    let this = context.this()?;
    context.apply("rand_like", &[this], &[])
}

fn scatter_reduce(context: &mut Context<'_, '_>) -> Option<Made> {
    let arguments = context.arguments;
    let (this, source) = (context.this()?, arguments.tensor("src")?);
    let Value::Text(reduce) = arguments.get("reduce") else {
        return None;
    };
    let attributes = [
        ("dim", arguments.integer("dim")?.into()),
        ("reduce", AttributeValue::Text(reduce.as_str().into())),
    ];
    let operands = [this, arguments.tensor("index")?, source];
    context.apply("scatter_reduce", &operands, &attributes)
}

/// The norm of `x1 − x2 + eps` along the last axis.
fn pairwise_distance(context: &mut Context<'_, '_>) -> Option<Made> {
    let arguments = context.arguments;
    let operands = [arguments.tensor("x1")?, arguments.tensor("x2")?];
    let difference = *context.apply("sub", &operands, &[])?.first()?;
    let eps = Value::Float(arguments.number("eps").unwrap_or(1e-6));
    let eps = eps.operand(context.builder)?;
    let shifted = *context.apply("add", &[difference, eps], &[])?.first()?;
    let attributes = [
        ("p", arguments.number("p").unwrap_or(2.0).into()),
        ("dim", AttributeValue::from(vec![-1])),
        (
            "keepdim",
            arguments.boolean("keepdim").unwrap_or(false).into(),
        ),
    ];
    context.apply("norm", &[shifted], &attributes)
}

/// A Fourier transform over any axes: all, or as many of the last as lengths are given.
fn transform(context: &mut Context<'_, '_>) -> Option<Made> {
    let arguments = context.arguments;
    let op = match context.target.name {
        "fft_fftn" => "fft2",
        "fft_ifftn" => "ifft2",
        "fft_rfftn" => "rfft2",
        _ => "irfft2",
    };
    let this = context.this()?;
    let rank = context.builder.graph().ty(this).shape.rank();
    let lengths = arguments.integers("s");
    let axes: Vec<i64> = match arguments.integers("dim") {
        Some(axes) => axes.to_vec(),
        None => {
            let count = lengths.map_or(rank, <[i64]>::len) as i64;
            (-count..0).collect()
        }
    };
    let mut attributes = vec![("dim", AttributeValue::from(axes))];
    if let Some(lengths) = lengths {
        attributes.push(("s", lengths.to_vec().into()));
    }
    if let Value::Text(norm) = arguments.get("norm") {
        attributes.push(("norm", AttributeValue::Text(norm.as_str().into())));
    }
    context.apply(op, &[this], &attributes)
}

/// Rows times the matrix of their group.
fn grouped(context: &mut Context<'_, '_>) -> Option<Made> {
    let arguments = context.arguments;
    let first = |names: [&str; 3]| names.iter().find_map(|name| arguments.tensor(name));
    let operands = [
        first(["input", "self", "mat_a"])?,
        first(["weight", "mat2", "mat_b"])?,
        first(["offs", "offsets", "ends"])?,
    ];
    context.apply("grouped_mm", &operands, &[])
}
