//! Attention layers, made of simpler ops: `attention`, which splits heads, and
//! `multi_head_attention`, which projects too.

use smallvec::{SmallVec, smallvec};

use super::attention::{DROPOUT_P, IS_CAUSAL, SCALE};
use super::definition::{BASE, Default, attribute, operand, optional};
use super::{
    AttributeKind, AttributeValue, Call, Expander, Init, Op, OpError, ParameterDefinition,
    TensorHandle,
};
use crate::tensor::{Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "attention",
        summary: "attention over heads that lie side by side in the last axis",
        operands: &[
            operand("query"),
            operand("key"),
            operand("value"),
            optional("attn_mask"),
        ],
        attributes: &[
            attribute(
                "heads",
                AttributeKind::Size,
                Default::Required,
                "heads of the query",
            )
            .or(&["num_heads"]),
            attribute(
                "kv_heads",
                AttributeKind::Size,
                Default::None,
                "heads of key and value, each shared by a group of heads of the query; as many as \
                 those where not given",
            )
            .or(&["num_kv_heads"]),
            IS_CAUSAL,
            DROPOUT_P,
            SCALE,
        ],
        infer: |call| {
            let heads = Heads::of(call)?;
            let query = call.ty(0)?;
            let mut shape = query.shape.clone();
            shape.set(
                shape.rank() - 1,
                heads.query.saturating_mul(heads.value_width),
            );
            Ok(smallvec![TensorType {
                shape,
                dtype: query.dtype
            }])
        },
        expand: Some(|call, expander| {
            let heads = Heads::of(call)?;
            let arguments: SmallVec<[_; 4]> = SmallVec::from_slice(expander.arguments());
            let given = |position: usize| {
                let missing = || OpError::new("`attention` needs query, key and value");
                arguments
                    .get(position)
                    .copied()
                    .flatten()
                    .ok_or_else(missing)
            };
            let query = split_heads(expander, given(0)?, heads.query, heads.width)?;
            let mut key = split_heads(expander, given(1)?, heads.key, heads.width)?;
            let mut value = split_heads(expander, given(2)?, heads.key, heads.value_width)?;
            if heads.key != heads.query {
                let repeats = [
                    ("repeats", ((heads.query / heads.key) as i64).into()),
                    ("dim", (-3).into()),
                ];
                key = one(expander, "repeat_interleave", &[key], &repeats)?;
                value = one(expander, "repeat_interleave", &[value], &repeats)?;
            }
            let mask = arguments.get(3).copied().flatten();
            let attended = attend(call, expander, [query, key, value], mask, "dropout_p")?;
            Ok(smallvec![join_heads(expander, attended)?])
        }),
        ..BASE
    },
    Op {
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
    },
];

/// How the last axes of query, key and value divide into heads.
struct Heads {
    query: u64,
    key: u64,
    width: u64,
    value_width: u64,
}

impl Heads {
    fn of(call: &Call) -> Result<Heads, OpError> {
        let query = call.size("heads")?;
        let key = match call.is_given("kv_heads") {
            true => call.size("kv_heads")?,
            false => query,
        };
        for (name, count) in [("heads", query), ("kv_heads", key)] {
            if count == 0 {
                return Err(OpError::new(format!("`{name}` must be at least 1")).attribute(name));
            }
        }
        if query % key != 0 {
            let message = format!("{query} heads do not divide into groups for {key} `kv_heads`");
            return Err(OpError::new(message).attribute("kv_heads"));
        }
        let width = |position: usize, heads: u64, name| {
            let shape = call.shape(position)?;
            let wrong = |what: String| OpError::new(what).operands([position]).attribute(name);
            let last = match shape.rank() {
                0 | 1 => {
                    return Err(wrong(format!(
                        "`{}` of `attention` must be [batch, positions, width], but is {shape}",
                        call.op.operand_name(position)
                    )));
                }
                rank => shape.sizes()[rank - 1],
            };
            match last % heads {
                0 => Ok(last / heads),
                rest => Err(wrong(format!(
                    "the width {last} of `{}` does not divide into {heads} heads: {last} = \
                     {heads} · {} + {rest}",
                    call.op.operand_name(position),
                    last / heads
                ))),
            }
        };
        let name = if call.is_given("kv_heads") {
            "kv_heads"
        } else {
            "heads"
        };
        let heads = Heads {
            query,
            key,
            width: width(0, query, "heads")?,
            value_width: width(2, key, name)?,
        };
        let key_width = width(1, key, name)?;
        if key_width != heads.width {
            let message = format!(
                "a head of the query has {} = {} / {query} elements, but one of the key {key_width} \
                 = {} / {key}",
                heads.width,
                heads.width * query,
                key_width * key
            );
            return Err(OpError::new(message).operands([0, 1]).attribute(name));
        }
        Ok(heads)
    }
}

/// Applies an op of one output.
fn one(
    expander: &mut dyn Expander,
    op: &str,
    arguments: &[TensorHandle],
    attributes: &[(&'static str, AttributeValue)],
) -> Result<TensorHandle, OpError> {
    let arguments: SmallVec<[_; 4]> = arguments.iter().copied().map(Some).collect();
    let made = expander.apply(op, &arguments, attributes)?;
    made.first()
        .copied()
        .ok_or_else(|| OpError::new(format!("`{op}` gave nothing")))
}

fn reshape(
    expander: &mut dyn Expander,
    tensor: TensorHandle,
    shape: &Shape,
) -> Result<TensorHandle, OpError> {
    let sizes: Vec<i64> = shape.sizes().iter().map(|&size| size as i64).collect();
    one(expander, "reshape", &[tensor], &[("shape", sizes.into())])
}

fn transpose(
    expander: &mut dyn Expander,
    tensor: TensorHandle,
    dim0: i64,
    dim1: i64,
) -> Result<TensorHandle, OpError> {
    let dims = [("dim0", dim0.into()), ("dim1", dim1.into())];
    one(expander, "transpose", &[tensor], &dims)
}

/// `[…, positions, heads · width]` → `[…, heads, positions, width]`.
fn split_heads(
    expander: &mut dyn Expander,
    tensor: TensorHandle,
    heads: u64,
    width: u64,
) -> Result<TensorHandle, OpError> {
    let mut shape = expander.ty(tensor).shape;
    shape.set(shape.rank() - 1, heads);
    shape.push(width);
    let split = reshape(expander, tensor, &shape)?;
    transpose(expander, split, -3, -2)
}

/// `[…, heads, positions, width]` → `[…, positions, heads · width]`.
fn join_heads(expander: &mut dyn Expander, tensor: TensorHandle) -> Result<TensorHandle, OpError> {
    let back = transpose(expander, tensor, -3, -2)?;
    let mut shape = expander.ty(back).shape;
    let width = shape.remove(shape.rank() - 1);
    let heads = shape.remove(shape.rank() - 1);
    shape.push(heads.saturating_mul(width));
    reshape(expander, back, &shape)
}

fn attend(
    call: &Call,
    expander: &mut dyn Expander,
    [query, key, value]: [TensorHandle; 3],
    mask: Option<TensorHandle>,
    dropout: &str,
) -> Result<TensorHandle, OpError> {
    let mut attributes: SmallVec<[(&'static str, AttributeValue); 3]> = smallvec![
        ("is_causal", call.boolean("is_causal").into()),
        ("dropout_p", call.float(dropout).unwrap_or(0.0).into()),
    ];
    if let Some(scale) = call
        .op
        .attribute_position("scale")
        .and_then(|_| call.float("scale"))
    {
        attributes.push(("scale", scale.into()));
    }
    let arguments = [Some(query), Some(key), Some(value), mask];
    let made = expander.apply("scaled_dot_product_attention", &arguments, &attributes)?;
    made.first()
        .copied()
        .ok_or_else(|| OpError::new("attention gave nothing"))
}

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
    use super::super::cases::{check, check_parameters, with};
    use super::super::{Argument, Attributes, find};
    use super::*;

    /// Applies ops and writes down what it did.
    #[derive(Default)]
    struct Record {
        types: Vec<TensorType>,
        arguments: Vec<Option<TensorHandle>>,
        lines: Vec<String>,
    }

    impl Expander for Record {
        fn apply(
            &mut self,
            op: &str,
            arguments: &[Option<TensorHandle>],
            attributes: &[(&'static str, AttributeValue)],
        ) -> Result<SmallVec<[TensorHandle; 1]>, OpError> {
            let op = find(op).unwrap();
            let list: Attributes = op.attribute_list(attributes);
            let shown: Vec<Option<Argument>> = arguments
                .iter()
                .map(|handle| {
                    handle.map(|handle| Argument {
                        ty: &self.types[handle.0 as usize],
                        constant: None,
                        requires_grad: true,
                        is_parameter: false,
                        strides: None,
                    })
                })
                .collect();
            let call = Call {
                op,
                attributes: &list,
                arguments: &shown,
                outputs: &[],
                training: true,
                fused_attention: false,
                autocast: false,
            };
            let outputs = (op.infer)(&call)?;
            let shapes: Vec<String> = outputs.iter().map(|ty| ty.shape.to_string()).collect();
            self.lines
                .push(format!("{} → {}", op.name, shapes.join(", ")));
            let first = self.types.len() as u32;
            self.types.extend(outputs);
            Ok((first..self.types.len() as u32).map(TensorHandle).collect())
        }

        fn arguments(&self) -> &[Option<TensorHandle>] {
            &self.arguments
        }

        fn constant(&mut self, _: f64) -> TensorHandle {
            unreachable!("attention uses no numbers")
        }

        fn ty(&self, tensor: TensorHandle) -> TensorType {
            self.types[tensor.0 as usize].clone()
        }
    }

    fn expansion(text: &str) -> String {
        with(text, |call| {
            let mut record = Record::default();
            for argument in call.arguments {
                let handle = argument.map(|argument| {
                    record.types.push(argument.ty.clone());
                    TensorHandle(record.types.len() as u32 - 1)
                });
                record.arguments.push(handle);
            }
            match (call.op.expand.unwrap())(call, &mut record) {
                Ok(_) => record.lines.join("\n"),
                Err(error) => format!("error: {error}"),
            }
        })
        .unwrap_or_else(|error| format!("error: {error}"))
    }

    #[test]
    fn attention_splits_and_joins_heads() {
        insta::assert_snapshot!(
            expansion("attention([2, 5, 12], [2, 6, 6], [2, 6, 6], heads=4, kv_heads=2)"),
            @r"
        reshape → [2, 5, 4, 3]
        transpose → [2, 4, 5, 3]
        reshape → [2, 6, 2, 3]
        transpose → [2, 2, 6, 3]
        reshape → [2, 6, 2, 3]
        transpose → [2, 2, 6, 3]
        repeat_interleave → [2, 4, 6, 3]
        repeat_interleave → [2, 4, 6, 3]
        scaled_dot_product_attention → [2, 4, 5, 3]
        transpose → [2, 5, 4, 3]
        reshape → [2, 5, 12]
        "
        );
        check(&[
            (
                "attention([2, 5, 12], [2, 6, 12], [2, 6, 8], heads=4)",
                "float32 [2, 5, 8]",
            ),
            (
                "attention([2, 5, 13], [2, 6, 12], [2, 6, 8], heads=4)",
                "error: the width 13 of `query` does not divide into 4 heads: 13 = 4 · 3 + 1",
            ),
            (
                "attention([2, 5, 12], [2, 6, 8], [2, 6, 8], heads=4)",
                "error: a head of the query has 3 = 12 / 4 elements, but one of the key 2 = 8 / 4",
            ),
            (
                "attention([2, 5, 12], [2, 6, 8], [2, 6, 8], heads=4, kv_heads=3)",
                "error: 4 heads do not divide into groups for 3 `kv_heads`",
            ),
            (
                "attention([2, 5, 12], [2, 6, 8], [2, 6, 8], heads=0)",
                "error: `heads` must be at least 1",
            ),
            (
                "attention([5], [2, 6, 8], [2, 6, 8], heads=1)",
                "error: `query` of `attention` must be [batch, positions, width], but is [5]",
            ),
        ]);
    }

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
