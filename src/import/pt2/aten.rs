//! What an ATen op is here: which op, and which of its arguments are which operands and
//! attributes.
//!
//! ATen and the op table both follow PyTorch's names, so most ops need no entry: the target's
//! name is looked up, and each argument goes to the operand or attribute of the same name. The
//! table lists what differs. Whether a mapping is right is checked call by call against the
//! shapes that the program states.

use smallvec::SmallVec;

use super::arguments::{Arguments, Value};
use super::special::{self, Special};
use crate::graph::{Builder, TensorId};
use crate::ops::{Attributes, Op, find};
use crate::tensor::TensorType;

/// Arguments that say how a kernel runs, or where: not what is computed.
const IGNORED: &[&str] = &[
    "pin_memory",
    "device",
    "layout",
    "memory_format",
    "generator",
    "cudnn_enabled",
    "cudnn_enable",
    "non_blocking",
    "copy",
    "implicit",
    "benchmark",
    "deterministic",
    "allow_tf32",
    "path",
    "sparse_grad",
    "half_to_float",
    // Where the result is written, which is no operand.
    "out",
    "compute_log_sumexp",
    "compute_logsumexp",
    "return_debug_mask",
    // The modes of layers that the model's mode stands for.
    "train",
    "training",
    "use_input_stats",
];

/// How the calls of an ATen op are mapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// The op.
    pub op: &'static str,
    /// ATen's names of arguments and ours; an empty one says that the argument is of no use.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Values that ATen takes where nothing is given, and our op does not.
    pub defaults: &'static [(&'static str, i64)],
}

/// How a target is mapped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mapping {
    /// By names.
    Named(Entry),
    /// By a function.
    Special(Special),
}

/// A target without `torch.ops.`, overload and in-place mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// `add`
    pub name: &'a str,
    /// `Tensor`
    pub overload: &'a str,
    /// Whether it writes to its first argument: `add_`.
    pub in_place: bool,
}

impl<'a> Target<'a> {
    /// Takes a target such as `torch.ops.aten.add_.Tensor` apart; `None` where it is not ATen's.
    pub(super) fn parse(target: &'a str) -> Option<Target<'a>> {
        let rest = target
            .strip_prefix("torch.ops.aten.")
            .or_else(|| target.strip_prefix("aten."))
            .or_else(|| target.strip_prefix("torch.ops.transformers."))?;
        let (name, overload) = rest.split_once('.').unwrap_or((rest, "default"));
        let trimmed = name.strip_suffix('_').filter(|name| !name.ends_with('_'));
        Some(Target {
            name: trimmed.unwrap_or(name),
            overload,
            in_place: trimmed.is_some(),
        })
    }

    /// How its calls are mapped, if they are known.
    pub(super) fn mapping(self) -> Option<Mapping> {
        if let Some(special) = special::find_special(self) {
            return Some(Mapping::Special(special));
        }
        let entry = match self.by_overload() {
            Some(op) => entry(op, &[]),
            None => match RENAMED.iter().find(|(name, _)| *name == self.name) {
                Some((_, entry)) => *entry,
                None => entry(
                    find(self.name)
                        .or_else(|| find(self.name.strip_prefix('_')?))?
                        .name,
                    &[],
                ),
            },
        };
        Some(Mapping::Named(entry))
    }

    /// The op where the overload decides.
    fn by_overload(self) -> Option<&'static str> {
        Some(match (self.name, self.overload) {
            ("max", "default") => "amax",
            ("min", "default") => "amin",
            ("max", "dim") => "max_dim",
            ("min", "dim") => "min_dim",
            ("max", "other") => "maximum",
            ("min", "other") => "minimum",
            _ => return None,
        })
    }
}

const fn entry(op: &'static str, renamed: &'static [(&'static str, &'static str)]) -> Entry {
    Entry {
        op,
        renamed,
        defaults: &[],
    }
}

/// Ops whose name or whose arguments' names differ.
static RENAMED: &[(&str, Entry)] = &[
    ("__and__", entry("bitwise_and", &[])),
    ("__or__", entry("bitwise_or", &[])),
    ("__xor__", entry("bitwise_xor", &[])),
    ("_adaptive_avg_pool2d", entry("adaptive_avg_pool2d", &[])),
    ("_adaptive_avg_pool3d", entry("adaptive_avg_pool3d", &[])),
    ("_log_softmax", entry("log_softmax", &[])),
    ("_scaled_dot_product_attention_math", ATTENTION),
    ("_scaled_dot_product_cudnn_attention", ATTENTION),
    ("_scaled_dot_product_efficient_attention", ATTENTION),
    ("_scaled_dot_product_flash_attention", ATTENTION),
    ("_scaled_dot_product_flash_attention_for_cpu", ATTENTION),
    (
        "_scaled_dot_product_fused_attention_overrideable",
        ATTENTION,
    ),
    ("_batch_norm_with_update", entry("batch_norm", &[])),
    ("_fused_rms_norm", entry("rms_norm", &[])),
    ("_native_batch_norm_legit", entry("batch_norm", &[])),
    (
        "_native_batch_norm_legit_functional",
        entry("batch_norm", &[]),
    ),
    (
        "_native_batch_norm_legit_no_training",
        entry("batch_norm", &[]),
    ),
    ("_softmax", entry("softmax", &[])),
    ("_unsafe_index", entry("index", &[])),
    ("_unsafe_view", entry("reshape", &[])),
    ("affine_grid_generator", entry("affine_grid", &[])),
    ("alias", entry("identity", &[])),
    ("clamp_max", entry("clamp", &[])),
    ("clamp_min", entry("clamp", &[])),
    ("concat", entry("cat", &[])),
    ("constant_pad_nd", entry("pad", &[])),
    (
        "elu",
        entry(
            "elu",
            &[("scale", "must be 1"), ("input_scale", "must be 1")],
        ),
    ),
    ("embedding", entry("embedding", &[("indices", "input")])),
    ("empty_permuted", entry("empty", &[("physical_layout", "")])),
    ("empty_strided", entry("empty", &[("stride", "")])),
    ("einsum", entry("einsum", &[("tensors", "operands")])),
    (
        "flatten",
        Entry {
            op: "flatten",
            renamed: &[],
            defaults: &[("start_dim", 0)],
        },
    ),
    ("lift_fresh_copy", entry("clone", &[])),
    ("lift_fresh", entry("identity", &[])),
    ("max_pool2d_with_indices", entry("max_pool2d", &[])),
    ("max_pool3d_with_indices", entry("max_pool3d", &[])),
    ("native_batch_norm", entry("batch_norm", &[])),
    (
        "native_group_norm",
        entry(
            "group_norm",
            &[("N", ""), ("C", ""), ("HxW", ""), ("group", "num_groups")],
        ),
    ),
    ("native_layer_norm", entry("layer_norm", &[])),
    ("new_empty", entry("empty", &[("self", "")])),
    (
        "new_empty_strided",
        entry("empty", &[("self", ""), ("stride", "")]),
    ),
    ("new_full", entry("full", &[("self", "")])),
    ("new_ones", entry("ones", &[("self", "")])),
    ("new_zeros", entry("zeros", &[("self", "")])),
    ("nll_loss2d", entry("nll_loss", &[])),
    ("nll_loss2d_forward", entry("nll_loss", &[])),
    ("nll_loss_forward", entry("nll_loss", &[])),
    ("nll_loss_nd", entry("nll_loss", &[])),
    (
        "repeat_interleave",
        entry("repeat_interleave", &[("output_size", "")]),
    ),
    ("scatter", entry("scatter", &[("value", "src")])),
    ("special_expit", entry("sigmoid", &[])),
    ("special_softmax", entry("softmax", &[])),
    ("special_log_softmax", entry("log_softmax", &[])),
    (
        "split_with_sizes",
        entry("split", &[("split_sizes", "split_size")]),
    ),
    (
        "tensordot",
        entry("tensordot", &[("self", "a"), ("other", "b")]),
    ),
    ("unfold", entry("tensor_unfold", &[])),
    ("unsafe_chunk", entry("chunk", &[])),
    ("unsafe_split", entry("split", &[])),
    (
        "unsafe_split_with_sizes",
        entry("split", &[("split_sizes", "split_size")]),
    ),
    ("zero", entry("zeros_like", &[])),
];

const ATTENTION: Entry = entry(
    "scaled_dot_product_attention",
    &[("attn_bias", "attn_mask"), ("dropout_mask", "")],
);

/// A call by names: the op, its operands and its attributes.
pub(super) type Bound = (&'static Op, SmallVec<[TensorId; 4]>, Attributes);

/// Hands the arguments to operands and attributes of the same name. `None` where one of them has
/// no place, for then the call may mean something else.
pub(super) fn bind(
    entry: Entry,
    in_place: bool,
    arguments: &Arguments<'_>,
    stated: Option<&TensorType>,
    builder: &mut Builder,
) -> Option<Bound> {
    let op = find(entry.op)?;
    let mut operands: SmallVec<[TensorId; 4]> = SmallVec::new();
    let mut attributes = Attributes::new();
    for (given, value) in &arguments.0 {
        let renamed = entry.renamed.iter().find(|(from, _)| from == given);
        let name = match renamed {
            Some((_, "")) => continue,
            Some((_, "must be 1"))
                if *value == Value::Integer(1) || *value == Value::Float(1.0) =>
            {
                continue;
            }
            Some((_, to)) => to,
            None => *given,
        };
        if let Some(position) = operand_position(op, name) {
            match value {
                Value::Tensors(ids) if op.operands[position].variadic => {
                    operands.resize(position, TensorId::ABSENT);
                    operands.extend(ids.iter().copied());
                    continue;
                }
                value => {
                    if let Some(id) = value.operand(builder) {
                        if operands.len() <= position {
                            operands.resize(position + 1, TensorId::ABSENT);
                        }
                        operands[position] = id;
                        continue;
                    }
                }
            }
        }
        match op.attribute_position(name) {
            Some(position) => {
                if let Some(value) = value.attribute(op, position).ok()? {
                    attributes.set(position, value);
                }
            }
            None if matches!(value, Value::Absent | Value::Other | Value::Dtype(_)) => {}
            None if IGNORED.contains(&name) => {}
            None => return None,
        }
    }
    for &(name, value) in entry.defaults {
        let position = op.attribute_position(name)?;
        if attributes.get(position).is_none() {
            attributes.set(position, value.into());
        }
    }
    // Element types that ATen takes from elsewhere are in what the program states.
    if let (Some(position), Some(ty)) = (op.attribute_position("dtype"), stated)
        && attributes.get(position).is_none()
        && (op.name == "to" || op.operands.is_empty())
    {
        attributes.set(position, ty.dtype.into());
    }
    if let (Some(position), true) = (op.attribute_position("inplace"), in_place) {
        attributes.set(position, true.into());
    }
    Some((op, operands, attributes))
}

/// The operand of that name; `self` is the tensor that a method is called on.
fn operand_position(op: &Op, name: &str) -> Option<usize> {
    op.operand_position(name).or_else(|| {
        if name != "self" && name != "input" && name != "A" {
            return None;
        }
        let first = op.operand_position("input").unwrap_or(0);
        (!op.operands.is_empty()).then_some(first)
    })
}
