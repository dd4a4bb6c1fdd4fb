//! ATen ops that are several ops here, or that need more than names to be mapped.

use super::arguments::{Arguments, Value};
use super::aten::{Entry, Target, bind};
use super::rewritten::find_rewritten;
use crate::graph::{Builder, Made, TensorId};
use crate::ops::{AttributeValue, find};
use crate::tensor::{Dtype, TensorType};

/// A call that is being mapped.
pub(super) struct Context<'a, 'b> {
    /// The graph.
    pub builder: &'b mut Builder,
    /// The target.
    pub target: Target<'a>,
    /// What the call is given.
    pub arguments: &'b Arguments<'a>,
    /// The types that the program states for the outputs.
    pub stated: &'b [TensorType],
}

/// Maps a call; `None` where it is not understood.
pub(super) type Special = fn(&mut Context<'_, '_>) -> Option<Made>;

/// The function for a target, if it needs one.
pub(super) fn find_special(target: Target<'_>) -> Option<Special> {
    Some(match (target.name, target.overload) {
        ("convolution" | "_convolution", _) => convolution,
        ("dropout" | "native_dropout" | "feature_dropout" | "alpha_dropout", _)
        | ("feature_alpha_dropout", _) => dropout,
        ("rsub", _) => reversed_subtraction,
        ("bernoulli", "float" | "p" | "Tensor") => bernoulli,
        ("fill", _) => fill,
        ("copy", _) => copy,
        ("diff", _) => difference,
        ("var_mean" | "std_mean", _) => with_mean,
        ("to", "dtype_layout") => moved,
        ("to", "other") | ("type_as", _) | ("_to_copy", _) => to_stated,
        ("lstm", "input") => lstm,
        ("gru", "input") => gru,
        ("rnn_tanh", "input") => rnn_tanh,
        ("rnn_relu", "input") => rnn_relu,
        ("grid_sampler" | "grid_sampler_2d" | "grid_sampler_3d", _) => grid_sampler,
        ("masked_fill", "Tensor") => masked_fill,
        ("numpy_T", _) => reversed_axes,
        ("scalar_tensor", _) => scalar_tensor,
        ("slice_scatter" | "select_scatter" | "diagonal_scatter", _) => overwritten,
        ("index_put" | "_index_put_impl" | "_unsafe_index_put" | "masked_scatter", _) => {
            overwritten
        }
        (name, _) if name.contains("upsample_") => interpolate,
        (name, _) if name.starts_with("reflection_pad") || name.starts_with("replication_pad") => {
            pad
        }
        _ => return find_rewritten(target.name),
    })
}

impl Context<'_, '_> {
    pub(super) fn apply(
        &mut self,
        op: &str,
        operands: &[TensorId],
        attributes: &[(&'static str, AttributeValue)],
    ) -> Option<Made> {
        let op = find(op)?;
        let attributes = op.attribute_list(attributes);
        self.builder.apply(op, operands, attributes, None, 1).ok()
    }

    pub(super) fn operand(&mut self, name: &str) -> TensorId {
        let value = self.arguments.get(name);
        value.operand(self.builder).unwrap_or(TensorId::ABSENT)
    }

    /// Applies another op to the same arguments, without those named.
    fn renamed(&mut self, op: &'static str, without: &[&str]) -> Option<Made> {
        let kept = self
            .arguments
            .0
            .iter()
            .filter(|(name, _)| !without.contains(name));
        let arguments = Arguments(kept.cloned().collect());
        let entry = Entry {
            op,
            renamed: &[],
            defaults: &[],
        };
        let (builder, in_place) = (&mut *self.builder, self.target.in_place);
        let (op, operands, attributes) =
            bind(entry, in_place, &arguments, self.stated.first(), builder)?;
        builder.apply(op, &operands, attributes, None, 1).ok()
    }

    /// The tensor that a method is called on.
    pub(super) fn this(&self) -> Option<TensorId> {
        self.arguments
            .tensor("self")
            .or_else(|| self.arguments.tensor("input"))
    }
}

fn integers(values: &[i64]) -> AttributeValue {
    AttributeValue::from(values.to_vec())
}

/// The convolution that all others are decomposed to.
fn convolution(context: &mut Context<'_, '_>) -> Option<Made> {
    let arguments = context.arguments;
    let stride = arguments.integers("stride")?;
    let transposed = arguments.boolean("transposed")?;
    let name = match (transposed, stride.len()) {
        (false, 1) => "conv1d",
        (false, 2) => "conv2d",
        (false, 3) => "conv3d",
        (true, 1) => "conv_transpose1d",
        (true, 2) => "conv_transpose2d",
        (true, 3) => "conv_transpose3d",
        _ => return None,
    };
    let mut without = vec!["transposed", "deterministic", "benchmark"];
    if !transposed {
        without.push("output_padding");
    }
    context.renamed(name, &without)
}

/// Dropout, which does nothing where a layer is in evaluation mode.
fn dropout(context: &mut Context<'_, '_>) -> Option<Made> {
    if context.arguments.boolean("train") == Some(false) {
        let this = context.this()?;
        return context.apply("identity", &[this], &[]);
    }
    let name = match context.target.name {
        "feature_dropout" => "dropout2d",
        "alpha_dropout" => "alpha_dropout",
        "feature_alpha_dropout" => "feature_alpha_dropout",
        _ => "dropout",
    };
    context.renamed(name, &["train"])
}

fn reversed_subtraction(context: &mut Context<'_, '_>) -> Option<Made> {
    let (this, other) = (context.this()?, context.operand("other"));
    match context.arguments.number("alpha") {
        None | Some(1.0) => context.apply("sub", &[other, this], &[]),
        Some(alpha) => {
            let scale = context.builder.constant(alpha);
            let scaled = *context.apply("mul", &[this, scale], &[])?.first()?;
            context.apply("sub", &[other, scaled], &[])
        }
    }
}

/// Draws for a probability that is not the tensor's own.
fn bernoulli(context: &mut Context<'_, '_>) -> Option<Made> {
    let probabilities = match context.arguments.tensor("p") {
        Some(probabilities) => probabilities,
        None => {
            let p = context.arguments.number("p").unwrap_or(0.5);
            let this = context.this()?;
            *context
                .apply("full_like", &[this], &[("fill_value", p.into())])?
                .first()?
        }
    };
    context.apply("bernoulli", &[probabilities], &[])
}

fn fill(context: &mut Context<'_, '_>) -> Option<Made> {
    let this = context.this()?;
    match context.arguments.number("value") {
        Some(value) => context.apply("full_like", &[this], &[("fill_value", value.into())]),
        None => {
            let value = context.arguments.tensor("value")?;
            context.apply("expand_as", &[value, this], &[])
        }
    }
}

/// `copy_`: the source in the type and shape of the target.
fn copy(context: &mut Context<'_, '_>) -> Option<Made> {
    let (this, source) = (context.this()?, context.arguments.tensor("src")?);
    let dtype = context.builder.graph().ty(this).dtype;
    let shape = context.builder.graph().ty(this).shape.clone();
    let mut made = source;
    if context.builder.graph().ty(made).shape != shape {
        made = *context.apply("expand_as", &[made, this], &[])?.first()?;
    }
    match context.builder.graph().ty(made).dtype == dtype {
        true => context.apply("clone", &[made], &[]),
        false => context.apply("to", &[made], &[("dtype", dtype.into())]),
    }
}

/// `torch.diff` of first order.
fn difference(context: &mut Context<'_, '_>) -> Option<Made> {
    let arguments = context.arguments;
    if !matches!(arguments.integer("n"), None | Some(1)) {
        return None;
    }
    let dim = arguments.integer("dim").unwrap_or(-1);
    let parts: Vec<TensorId> = ["prepend", "self", "append"]
        .iter()
        .filter_map(|name| arguments.tensor(name))
        .collect();
    let whole = match parts[..] {
        [one] => one,
        _ => *context
            .apply("cat", &parts, &[("dim", dim.into())])?
            .first()?,
    };
    let later = [("dim", dim.into()), ("start", 1.into())];
    let earlier = [("dim", dim.into()), ("end", (-1).into())];
    let later = *context.apply("slice", &[whole], &later)?.first()?;
    let earlier = *context.apply("slice", &[whole], &earlier)?.first()?;
    let is_bool = context.builder.graph().ty(whole).dtype == Dtype::Bool;
    let name = if is_bool { "logical_xor" } else { "sub" };
    context.apply(name, &[later, earlier], &[])
}

/// `var_mean`, `std_mean`: two results of one pass.
fn with_mean(context: &mut Context<'_, '_>) -> Option<Made> {
    let spread = match context.target.name {
        "var_mean" => "var",
        _ => "std",
    };
    let mut made = context.renamed(spread, &[])?;
    made.extend(context.renamed("mean", &["correction", "unbiased"])?);
    Some(made)
}

/// A conversion to the type that the program states: that of another tensor, or its own.
fn to_stated(context: &mut Context<'_, '_>) -> Option<Made> {
    let (this, dtype) = (context.this()?, context.stated.first()?.dtype);
    context.apply("to", &[this], &[("dtype", dtype.into())])
}

/// `x.to(device)`, of which tracing states the element type that it leaves as it is.
fn moved(context: &mut Context<'_, '_>) -> Option<Made> {
    let this = context.this()?;
    match context.builder.graph().ty(this).dtype == context.stated.first()?.dtype {
        true => context.apply("identity", &[this], &[]),
        false => to_stated(context),
    }
}

fn lstm(context: &mut Context<'_, '_>) -> Option<Made> {
    recurrent(context, "lstm", 4, &[])
}

fn gru(context: &mut Context<'_, '_>) -> Option<Made> {
    recurrent(context, "gru", 3, &[])
}

fn rnn_tanh(context: &mut Context<'_, '_>) -> Option<Made> {
    recurrent(context, "rnn", 1, &[("nonlinearity", "tanh".into())])
}

fn rnn_relu(context: &mut Context<'_, '_>) -> Option<Made> {
    recurrent(context, "rnn", 1, &[("nonlinearity", "relu".into())])
}

/// A recurrent network, whose sizes are those of its first weights.
fn recurrent(
    context: &mut Context<'_, '_>,
    op: &str,
    gates: u64,
    more: &[(&'static str, AttributeValue)],
) -> Option<Made> {
    let arguments = context.arguments;
    let weights = arguments.tensors("params");
    let graph = context.builder.graph();
    let size = |at: usize, axis: i64| graph.ty(*weights.get(at)?).shape.size(axis);
    let hidden = size(0, 0)? / gates;
    let output = size(1, 1)?;
    let mut attributes = more.to_vec();
    let mut set = |name: &'static str, value: Option<AttributeValue>| {
        attributes.extend(value.map(|value| (name, value)));
    };
    set("hidden_size", i64::try_from(hidden).ok().map(Into::into));
    set(
        "num_layers",
        arguments.integer("num_layers").map(Into::into),
    );
    set("bias", arguments.boolean("has_biases").map(Into::into));
    set("dropout", arguments.number("dropout").map(Into::into));
    set(
        "bidirectional",
        arguments.boolean("bidirectional").map(Into::into),
    );
    set(
        "batch_first",
        arguments.boolean("batch_first").map(Into::into),
    );
    if output != hidden {
        set("proj_size", i64::try_from(output).ok().map(Into::into));
    }
    let mut operands = vec![arguments.tensor("input")?];
    operands.extend(arguments.tensors("hx"));
    operands.extend(weights);
    context.apply(op, &operands, &attributes)
}

fn grid_sampler(context: &mut Context<'_, '_>) -> Option<Made> {
    let arguments = context.arguments;
    let word = |name: &str, words: [&'static str; 3]| {
        let number = usize::try_from(arguments.integer(name)?).ok()?;
        words.get(number).copied()
    };
    let mode = word("interpolation_mode", ["bilinear", "nearest", "bicubic"])?;
    let padding = word("padding_mode", ["zeros", "border", "reflection"])?;
    let align = arguments.boolean("align_corners").unwrap_or(false);
    let operands = [arguments.tensor("input")?, arguments.tensor("grid")?];
    let attributes = [
        ("mode", mode.into()),
        ("padding_mode", padding.into()),
        ("align_corners", align.into()),
    ];
    context.apply("grid_sample", &operands, &attributes)
}

/// Filling with a number that is a tensor.
fn masked_fill(context: &mut Context<'_, '_>) -> Option<Made> {
    let (this, mask) = (context.this()?, context.arguments.tensor("mask")?);
    let value = context.operand("value");
    context.apply("where", &[mask, value, this], &[])
}

/// `x.T`: all axes in the opposite order.
fn reversed_axes(context: &mut Context<'_, '_>) -> Option<Made> {
    let this = context.this()?;
    let rank = context.builder.graph().ty(this).shape.rank() as i64;
    let dims: Vec<i64> = (0..rank).rev().collect();
    context.apply("permute", &[this], &[("dims", integers(&dims))])
}

fn scalar_tensor(context: &mut Context<'_, '_>) -> Option<Made> {
    let value = context.arguments.number("s")?;
    let dtype = context.stated.first()?.dtype;
    let attributes = [
        ("size", integers(&[])),
        ("fill_value", value.into()),
        ("dtype", dtype.into()),
    ];
    context.apply("full", &[], &attributes)
}

/// A tensor with a part of it replaced.
fn overwritten(context: &mut Context<'_, '_>) -> Option<Made> {
    let this = context.this()?;
    let value = ["src", "values", "source"]
        .iter()
        .find_map(|name| context.arguments.tensor(name))?;
    context.apply("overwritten", &[this, value], &[])
}

/// Resizing, to the size that the program states.
fn interpolate(context: &mut Context<'_, '_>) -> Option<Made> {
    let name = context.target.name;
    let mode = [
        ("nearest_exact", "nearest-exact"),
        ("nearest", "nearest"),
        ("trilinear", "trilinear"),
        ("bilinear", "bilinear"),
        ("linear", "linear"),
        ("bicubic", "bicubic"),
    ]
    .into_iter()
    .find_map(|(part, mode)| name.contains(part).then_some(mode))?;
    let this = context.this()?;
    let spatial = context.stated.first()?.shape.sizes().get(2..)?;
    let size: Option<Vec<i64>> = spatial.iter().map(|&n| i64::try_from(n).ok()).collect();
    let mut attributes = vec![("size", integers(&size?)), ("mode", mode.into())];
    if let Some(align) = context.arguments.boolean("align_corners") {
        attributes.push(("align_corners", align.into()));
    }
    if name.ends_with("_aa") {
        attributes.push(("antialias", true.into()));
    }
    context.apply("interpolate", &[this], &attributes)
}

fn pad(context: &mut Context<'_, '_>) -> Option<Made> {
    let mode = match context.target.name.starts_with("reflection") {
        true => "reflect",
        false => "replicate",
    };
    let this = context.this()?;
    let Value::Integers(padding) = context.arguments.get("padding") else {
        return None;
    };
    let attributes = [("pad", integers(padding)), ("mode", mode.into())];
    context.apply("pad", &[this], &attributes)
}
