//! Attention layers, made of simpler ops: `attention`, which splits heads.
//!
//! `multi_head_attention`, which projects too, stands in `multi_head`.

use smallvec::{SmallVec, smallvec};

use super::attention::{DROPOUT_P, IS_CAUSAL, SCALE};
use super::definition::{BASE, Default, attribute, operand, optional};
use super::{AttributeKind, AttributeValue, Call, Expander, Op, OpError, TensorHandle};
use crate::tensor::{Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[Op {
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
}];

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
pub(super) fn one(
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

pub(super) fn reshape(
    expander: &mut dyn Expander,
    tensor: TensorHandle,
    shape: &Shape,
) -> Result<TensorHandle, OpError> {
    let sizes: Vec<i64> = shape.sizes().iter().map(|&size| size as i64).collect();
    one(expander, "reshape", &[tensor], &[("shape", sizes.into())])
}

pub(super) fn transpose(
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

pub(super) fn attend(
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

#[cfg(test)]
mod tests {
    use super::super::cases::{check, expansion};

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
}
