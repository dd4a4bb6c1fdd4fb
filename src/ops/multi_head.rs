//! `multi_head_attention`: projections, attention over heads, and the projection of the result.

use smallvec::{SmallVec, smallvec};

use super::attention::IS_CAUSAL;
use super::definition::{BASE, Default, attribute, operand, optional};
use super::heads::{attend, one, reshape, transpose};
use super::{AttributeKind, Call, Expander, Init, Op, OpError, ParameterDefinition, TensorHandle};

/// The entries of this family.
pub static OPS: &[Op] = &[Op {
    name: "multi_head_attention",
    aliases: &["multihead_attention", "mha"],
    summary: "projects query, key and value, attends over heads, and projects the result",
    operands: &[
        operand("query"),
        optional("key"),
        optional("value"),
        optional("attn_mask"),
        optional("in_proj_weight"),
        optional("in_proj_bias"),
        optional("out_proj_weight"),
        optional("out_proj_bias"),
        optional("q_proj_weight"),
        optional("k_proj_weight"),
        optional("v_proj_weight"),
    ],
    attributes: &[
        attribute(
            "num_heads",
            AttributeKind::Size,
            Default::Required,
            "number of heads",
        )
        .or(&["heads"]),
        attribute(
            "bias",
            AttributeKind::Boolean,
            Default::Boolean(true),
            "whether the projections add biases",
        ),
        attribute(
            "dropout",
            AttributeKind::Float,
            Default::Float(0.0),
            "probability of dropping a weight, in training",
        )
        .or(&["dropout_p"]),
        IS_CAUSAL,
        attribute(
            "batch_first",
            AttributeKind::Boolean,
            Default::Boolean(true),
            "whether the input is [batch, positions, width]; PyTorch's default is false",
        ),
        attribute(
            "embed_dim",
            AttributeKind::Size,
            Default::None,
            "checked if given",
        ),
    ],
    parameters: Some(|call| {
        let widths = Widths::of(call)?;
        let Widths { embed, key, value } = widths;
        let weight = |position, name: &'static str, shape: [u64; 2], init| {
            ParameterDefinition::new(position, name, shape, init)
        };
        let bias = |position, name: &'static str, size: u64| {
            let zeros = Init::Constant(0.0);
            call.boolean("bias")
                .then(|| ParameterDefinition::new(position, name, [size], zeros))
        };
        let thrice = embed.saturating_mul(3);
        let mut parameters = SmallVec::new();
        if widths.packed() {
            parameters.push(weight(4, "in_proj_weight", [thrice, embed], Init::Xavier));
        } else {
            parameters.push(weight(8, "q_proj_weight", [embed, embed], Init::Xavier));
            parameters.push(weight(9, "k_proj_weight", [embed, key], Init::Xavier));
            parameters.push(weight(10, "v_proj_weight", [embed, value], Init::Xavier));
        }
        parameters.extend(bias(5, "in_proj_bias", thrice));
        parameters.push(weight(
            6,
            "out_proj.weight",
            [embed, embed],
            Init::FanIn(embed),
        ));
        parameters.extend(bias(7, "out_proj.bias", embed));
        Ok(parameters)
    }),
    infer: |call| {
        Widths::of(call)?;
        Ok(smallvec![call.ty(0)?.clone()])
    },
    expand: Some(multi_head),
    ..BASE
}];

/// The widths of a multi-head attention.
struct Widths {
    embed: u64,
    key: u64,
    value: u64,
}

impl Widths {
    fn of(call: &Call) -> Result<Widths, OpError> {
        let query = call.shape(0)?;
        let unfit = |position: usize| -> Result<OpError, OpError> {
            let message = format!(
                "`{}` of `multi_head_attention` must be [batch, positions, width] or [positions, \
                 width], but is {}",
                call.op.operand_name(position),
                call.shape(position)?
            );
            Ok(OpError::new(message).operands([position]))
        };
        if !(2..=3).contains(&query.rank()) {
            return Err(unfit(0)?);
        }
        let width = |position: usize, default: u64| match call.argument(position) {
            None => Ok(default),
            Some(argument) if argument.ty.shape.rank() != query.rank() => Err(unfit(position)?),
            Some(argument) => Ok(argument.ty.shape.size(-1).unwrap_or(default)),
        };
        let embed = query.size(-1).unwrap_or(0);
        let key = width(1, embed)?;
        let widths = Widths {
            embed,
            key,
            value: width(2, key)?,
        };
        if let Some(given) = call.integer("embed_dim")
            && given != embed as i64
        {
            let message = format!("`embed_dim` is {given}, but the query {query} has {embed}");
            return Err(OpError::new(message).operands([0]).attribute("embed_dim"));
        }
        let heads = call.size("num_heads")?;
        if heads == 0 || embed % heads != 0 {
            let message = format!("the width {embed} does not divide into {heads} heads");
            return Err(OpError::new(message).operands([0]).attribute("num_heads"));
        }
        Ok(widths)
    }

    /// Whether one weight projects query, key and value.
    fn packed(&self) -> bool {
        self.key == self.embed && self.value == self.embed
    }
}

/// As `torch.nn.functional.multi_head_attention_forward`: one projection of what is the same
/// tensor, `scaled_dot_product_attention` (as with `need_weights=False`), and the projection of
/// the result.
fn multi_head(
    call: &Call,
    expander: &mut dyn Expander,
) -> Result<SmallVec<[TensorHandle; 1]>, OpError> {
    let widths = Widths::of(call)?;
    let arguments: SmallVec<[Option<TensorHandle>; 12]> =
        SmallVec::from_slice(expander.arguments());
    let given = |position: usize| arguments.get(position).copied().flatten();
    let needed = |position: usize| {
        given(position).ok_or_else(|| {
            let name = call.op.operand_name(position);
            OpError::new(format!("`multi_head_attention` needs its operand `{name}`"))
        })
    };
    let query = needed(0)?;
    let key = given(1).unwrap_or(query);
    let value = given(2).unwrap_or(key);
    let rank = call.shape(0)?.rank();
    let turned = rank == 3 && call.boolean("batch_first");
    // To [positions, batch, width], each tensor once.
    let mut inputs = [query, key, value];
    for index in 0..3 {
        let earlier = [query, key, value][..index]
            .iter()
            .position(|&other| other == inputs[index]);
        inputs[index] = match earlier {
            Some(earlier) => inputs[earlier],
            None if rank == 2 => one(
                expander,
                "unsqueeze",
                &[inputs[index]],
                &[("dim", 1.into())],
            )?,
            None if turned => transpose(expander, inputs[index], 0, 1)?,
            None => inputs[index],
        };
    }
    let mut projected = match widths.packed() {
        true => packed_projections(expander, inputs, needed(4)?, given(5))?,
        false => {
            let biases = parts(expander, given(5), 3)?;
            for (index, tensor) in inputs.iter_mut().enumerate() {
                let bias = biases.get(index).copied().flatten();
                *tensor = linear(expander, *tensor, needed(8 + index)?, bias)?;
            }
            inputs
        }
    };
    let heads = call.size("num_heads")?;
    let width = widths.embed / heads.max(1);
    for tensor in &mut projected {
        *tensor = heads_first(expander, *tensor, heads, width)?;
    }
    let attended = attend(call, expander, projected, given(3), "dropout")?;
    let order = [("dims", vec![2, 0, 1, 3].into())];
    let back = one(expander, "permute", &[attended], &order)?;
    let back = one(expander, "contiguous", &[back], &[])?;
    let [positions, batch, _, _] = *expander.ty(back).shape.sizes() else {
        return Err(OpError::new("attention gave no heads"));
    };
    let embed = widths.embed;
    let rows = reshape(
        expander,
        back,
        &[positions.saturating_mul(batch), embed].into(),
    )?;
    let output = linear(expander, rows, needed(6)?, given(7))?;
    let output = match rank {
        2 => reshape(expander, output, &[positions, embed].into())?,
        _ => reshape(expander, output, &[positions, batch, embed].into())?,
    };
    Ok(smallvec![match turned {
        true => transpose(expander, output, 0, 1)?,
        false => output,
    }])
}

/// `[positions, batch, heads · width]` → `[batch, heads, positions, width]`, all by views.
fn heads_first(
    expander: &mut dyn Expander,
    tensor: TensorHandle,
    heads: u64,
    width: u64,
) -> Result<TensorHandle, OpError> {
    let [positions, batch, _] = *expander.ty(tensor).shape.sizes() else {
        return Err(OpError::new("a projection gave no batch"));
    };
    let rows = batch.saturating_mul(heads);
    let split = reshape(expander, tensor, &[positions, rows, width].into())?;
    let turned = transpose(expander, split, 0, 1)?;
    reshape(expander, turned, &[batch, heads, positions, width].into())
}

fn linear(
    expander: &mut dyn Expander,
    input: TensorHandle,
    weight: TensorHandle,
    bias: Option<TensorHandle>,
) -> Result<TensorHandle, OpError> {
    let made = expander.apply("linear", &[Some(input), Some(weight), bias], &[])?;
    made.first()
        .copied()
        .ok_or_else(|| OpError::new("`linear` gave nothing"))
}

/// A tensor cut into `count` equal parts of its first axis; as many times nothing for nothing.
fn parts(
    expander: &mut dyn Expander,
    tensor: Option<TensorHandle>,
    count: i64,
) -> Result<SmallVec<[Option<TensorHandle>; 3]>, OpError> {
    let Some(tensor) = tensor else {
        return Ok(SmallVec::from_elem(None, count as usize));
    };
    let attributes = [("chunks", count.into()), ("dim", 0.into())];
    let made = expander.apply("chunk", &[Some(tensor)], &attributes)?;
    Ok(made.into_iter().map(Some).collect())
}

/// Query, key and value projected by one weight: those that are one tensor together, into one
/// storage.
fn packed_projections(
    expander: &mut dyn Expander,
    [query, key, value]: [TensorHandle; 3],
    weight: TensorHandle,
    bias: Option<TensorHandle>,
) -> Result<[TensorHandle; 3], OpError> {
    let missing = || OpError::new("`chunk` gave too few parts");
    if query == key && key == value {
        let all = linear(expander, query, weight, bias)?;
        let [query, key, value] = unpack(expander, all)?;
        return Ok([query, key, value]);
    }
    let embed = expander.ty(query).shape.size(-1).unwrap_or(0) as i64;
    if key == value {
        let sections = [
            ("split_size", vec![embed, 2 * embed].into()),
            ("dim", 0.into()),
        ];
        let weights = expander.apply("split", &[Some(weight)], &sections)?;
        let biases = match bias {
            Some(bias) => expander.apply("split", &[Some(bias)], &sections)?,
            None => SmallVec::new(),
        };
        let (first, rest) = (weights.first().copied(), weights.get(1).copied());
        let both = first.zip(rest).ok_or_else(missing)?;
        let query = linear(expander, query, both.0, biases.first().copied())?;
        let packed = linear(expander, key, both.1, biases.get(1).copied())?;
        let [key, value] = unpack(expander, packed)?;
        return Ok([query, key, value]);
    }
    let weights = parts(expander, Some(weight), 3)?;
    let biases = parts(expander, bias, 3)?;
    let mut projected = [query, key, value];
    for (index, tensor) in projected.iter_mut().enumerate() {
        let weight = weights.get(index).copied().flatten().ok_or_else(missing)?;
        let bias = biases.get(index).copied().flatten();
        *tensor = linear(expander, *tensor, weight, bias)?;
    }
    Ok(projected)
}

/// `[positions, batch, n · width]` → n parts `[positions, batch, width]` of one contiguous tensor.
fn unpack<const N: usize>(
    expander: &mut dyn Expander,
    packed: TensorHandle,
) -> Result<[TensorHandle; N], OpError> {
    let [positions, batch, width] = *expander.ty(packed).shape.sizes() else {
        return Err(OpError::new("a projection gave no batch"));
    };
    let shape = [positions, batch, N as u64, width / N as u64].into();
    let split = reshape(expander, packed, &shape)?;
    let order = [("dims", vec![2, 0, 1, 3].into())];
    let turned = one(expander, "permute", &[split], &order)?;
    let copy = one(expander, "contiguous", &[turned], &[])?;
    let mut parts = [copy; N];
    for (index, part) in parts.iter_mut().enumerate() {
        let place = [("dim", 0.into()), ("index", (index as i64).into())];
        *part = one(expander, "select", &[copy], &place)?;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::super::cases::{check, check_parameters, expansion};

    #[test]
    fn multi_head_attention_is_that_of_torch() {
        insta::assert_snapshot!(
            expansion("multi_head_attention([2, 5, 12], num_heads=4)"),
            @r"
        transpose → [5, 2, 12]
        linear → [5, 2, 36]
        reshape → [5, 2, 3, 12]
        permute → [3, 5, 2, 12]
        contiguous → [3, 5, 2, 12]
        select → [5, 2, 12]
        select → [5, 2, 12]
        select → [5, 2, 12]
        reshape → [5, 8, 3]
        transpose → [8, 5, 3]
        reshape → [2, 4, 5, 3]
        reshape → [5, 8, 3]
        transpose → [8, 5, 3]
        reshape → [2, 4, 5, 3]
        reshape → [5, 8, 3]
        transpose → [8, 5, 3]
        reshape → [2, 4, 5, 3]
        scaled_dot_product_attention → [2, 4, 5, 3]
        permute → [5, 2, 4, 3]
        contiguous → [5, 2, 4, 3]
        reshape → [10, 12]
        linear → [10, 12]
        reshape → [5, 2, 12]
        transpose → [2, 5, 12]
        "
        );
        insta::assert_snapshot!(
            expansion("mha([5, 2, 12], [6, 2, 8], num_heads=4, batch_first=false, bias=false)"),
            @r"
        linear → [5, 2, 12]
        linear → [6, 2, 12]
        linear → [6, 2, 12]
        reshape → [5, 8, 3]
        transpose → [8, 5, 3]
        reshape → [2, 4, 5, 3]
        reshape → [6, 8, 3]
        transpose → [8, 6, 3]
        reshape → [2, 4, 6, 3]
        reshape → [6, 8, 3]
        transpose → [8, 6, 3]
        reshape → [2, 4, 6, 3]
        scaled_dot_product_attention → [2, 4, 5, 3]
        permute → [5, 2, 4, 3]
        contiguous → [5, 2, 4, 3]
        reshape → [10, 12]
        linear → [10, 12]
        reshape → [5, 2, 12]
        "
        );
        insta::assert_snapshot!(
            expansion("mha([5, 12], num_heads=4)").lines().take(3).collect::<Vec<_>>().join("\n"),
            @r"
        unsqueeze → [5, 1, 12]
        linear → [5, 1, 36]
        reshape → [5, 1, 3, 12]
        "
        );
        insta::assert_snapshot!(
            expansion("mha([2, 5, 12], [2, 6, 12], num_heads=4)")
                .lines()
                .take(10)
                .collect::<Vec<_>>()
                .join("\n"),
            @r"
        transpose → [5, 2, 12]
        transpose → [6, 2, 12]
        split → [12, 12], [24, 12]
        split → [12], [24]
        linear → [5, 2, 12]
        linear → [6, 2, 24]
        reshape → [6, 2, 2, 12]
        permute → [2, 6, 2, 12]
        contiguous → [2, 6, 2, 12]
        select → [6, 2, 12]
        "
        );
        check_parameters(&[
            (
                "mha([2, 5, 12], num_heads=4)",
                "in_proj_weight [36, 12], in_proj_bias [36], out_proj.weight [12, 12], out_proj.bias [12]",
            ),
            (
                "mha([2, 5, 12], [2, 6, 8], num_heads=4, bias=false)",
                "q_proj_weight [12, 12], k_proj_weight [12, 8], v_proj_weight [12, 8], out_proj.weight [12, 12]",
            ),
        ]);
        check(&[
            (
                "mha([2, 5, 12], num_heads=5)",
                "error: the width 12 does not divide into 5 heads",
            ),
            (
                "mha([2, 5, 12], num_heads=4, embed_dim=16)",
                "error: `embed_dim` is 16, but the query [2, 5, 12] has 12",
            ),
            (
                "mha([12], num_heads=4)",
                "error: `query` of `multi_head_attention` must be [batch, positions, width] or [positions, width], but is [12]",
            ),
        ]);
    }
}
