//! What the models of several families are made of: activations, norms, heads of attention, runs of
//! layers.

use super::config::Config;
use super::text::{Block, Layer, SpecText, Tensor, formula, op, real};

/// An activation, as a function of formulas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Activation(&'static str);

/// The activations of Transformers, and what each is in a formula of `x`.
const ACTIVATIONS: [(&str, &str); 17] = [
    ("gelu", "gelu(x)"),
    ("gelu_new", "gelu_new(x)"),
    ("gelu_fast", "gelu_fast(x)"),
    ("gelu_python", "x * 0.5 * (1.0 + erf(x / sqrt(2.0)))"),
    ("gelu_pytorch_tanh", "gelu(x, approximate=\"tanh\")"),
    ("quick_gelu", "quick_gelu(x)"),
    ("relu", "relu(x)"),
    ("relu2", "square(relu(x))"),
    ("relu6", "relu6(x)"),
    ("silu", "silu(x)"),
    ("swish", "silu(x)"),
    ("tanh", "tanh(x)"),
    ("sigmoid", "sigmoid(x)"),
    ("mish", "mish(x)"),
    ("hardswish", "hardswish(x)"),
    ("leaky_relu", "leaky_relu(x)"),
    ("linear", "x"),
];

impl Activation {
    /// Reads the name of an activation.
    pub fn read(config: &mut Config, keys: &[&str], default: &'static str) -> Activation {
        let known = ACTIVATIONS.map(|(name, _)| name);
        let name = config.choice(keys, &known, default);
        Activation::named(name)
    }

    /// The activation of that name, if there is one.
    pub fn known(name: &str) -> Option<Activation> {
        let found = ACTIVATIONS.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| Activation(text))
    }

    /// The activation of that name; the identity for one that there is not.
    pub fn named(name: &str) -> Activation {
        Activation::known(name).unwrap_or(Activation("x"))
    }

    /// The formula of it on a tensor of that name. Declares the block that it may need.
    pub fn of(self, spec: &mut SpecText, tensor: &str) -> String {
        match self.0.split('(').next() {
            Some("gelu_new") => spec.block(gelu_new()),
            Some("gelu_fast") => spec.block(gelu_fast()),
            Some("quick_gelu") => spec.block(quick_gelu()),
            _ => {}
        }
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let mut text = String::new();
        let chars: Vec<char> = self.0.chars().collect();
        for (at, &c) in chars.iter().enumerate() {
            let before = at.checked_sub(1).map(|at| chars[at]);
            let alone = !is_part(before) && !is_part(chars.get(at + 1).copied());
            match c == 'x' && alone {
                true => text.push_str(tensor),
                false => text.push(c),
            }
        }
        text
    }
}

fn gelu_new() -> Block {
    Block::new("gelu_new", &["x"])
        .note("GELU by a tanh, step by step as Transformers computes it.")
        .layer(formula(
            "",
            "0.5 * x * (1.0 + tanh(sqrt(2.0 / pi) * (x + 0.044715 * pow(x, 3.0))))",
        ))
}

fn gelu_fast() -> Block {
    Block::new("gelu_fast", &["x"])
        .note("GELU by a tanh, step by step as Transformers computes it.")
        .layer(formula(
            "",
            "0.5 * x * (1.0 + tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))",
        ))
}

fn quick_gelu() -> Block {
    Block::new("quick_gelu", &["x"]).layer(formula("", "x * sigmoid(1.702 * x)"))
}

/// The block `norm`: root-mean-square norm of the last axis, of that many elements, computed in
/// float32 step by step.
pub(super) fn root_norm(name: &str, width: &str, eps: f64) -> Block {
    Block::new(name, &["x"])
        .note("RMSNorm, in float32 whatever comes in.")
        .param(Tensor::new("weight", &[width]).set("init", "ones"))
        .layer(formula("wide", "x.float()"))
        .layer(formula("mean_square", "wide.pow(2).mean(-1, keepdim=True)"))
        .layer(formula(
            "normed",
            format!("wide * rsqrt(mean_square + {})", real(eps)),
        ))
        .layer(formula("", "weight * normed.to(x.dtype)"))
}

/// The formula that puts the heads of `attn` side by side again.
pub(super) const JOINED: &str =
    "attn.transpose(1, 2).contiguous().reshape(batch, seq, heads * head)";

/// A layer of logits whose weights are another layer's.
pub(super) fn tied(name: &str, weight: &str) -> Layer {
    op(name, "linear").set("weight", weight).set("bias", false)
}

/// A fully connected layer of Transformers: weights of a normal distribution, bias of zeros.
pub(super) fn linear(name: &str, outputs: &str, bias: bool, std: f64) -> Layer {
    op(name, "linear")
        .set("out_features", outputs)
        .set_if(!bias, "bias", false)
        .set("init_std", std)
}

/// A parameter that a class of Transformers has and reads in no case, for that reason.
pub(super) fn unread(tensor: Tensor, reason: &str) -> Tensor {
    tensor.note(format!("plimsoll: allow(spec/unused-parameter) {reason}"))
}

/// A layer norm.
pub(super) fn layer_norm(name: &str, eps: f64) -> Layer {
    op(name, "layer_norm").set("eps", eps)
}

/// Dropout. PyTorch hands on what comes in where its probability is 0.
pub(super) fn dropout(name: &str, p: f64) -> Layer {
    match p > 0.0 {
        true => op(name, "dropout").set("p", p),
        false => op(name, "identity"),
    }
}

/// An embedding of `count` rows.
pub(super) fn embedding(name: &str, count: &str, width: &str, std: f64) -> Layer {
    op(name, "embedding")
        .set("num_embeddings", count)
        .set("embedding_dim", width)
        .set("init_std", std)
}

/// The text of a call of attention.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    /// The mask or bias that is added to the scores.
    pub mask: Option<String>,
    /// Whether what comes later is hidden.
    pub causal: bool,
    /// The probability of dropping a weight.
    pub dropout: f64,
    /// What the scores are multiplied by; `None` for one over the root of a head's width.
    pub scale: Option<f64>,
}

impl Attention {
    /// The formula over these queries, keys and values.
    pub fn of(&self, query: &str, key: &str, value: &str) -> String {
        let mut text = format!("scaled_dot_product_attention({query}, {key}, {value}");
        if let Some(mask) = &self.mask {
            text.push_str(", ");
            text.push_str(mask);
        }
        if self.dropout > 0.0 {
            text.push_str(&format!(", dropout_p={}", real(self.dropout)));
        }
        if self.causal {
            text.push_str(", is_causal=True");
        }
        if let Some(scale) = self.scale {
            text.push_str(&format!(", scale={}", real(scale)));
        }
        text.push(')');
        text
    }
}

/// The block `split_heads`: `[batch, length, count * size]` → `[batch, count, length, size]`.
pub(super) fn split_heads() -> Block {
    Block::new("split_heads", &["x"])
        .arguments(&["length", "count", "size"])
        .note("[batch, length, count * size] → [batch, count, length, size]")
        .layer(formula(
            "",
            "x.reshape(batch, length, count, size).transpose(1, 2)",
        ))
}

/// The block `share`: where several query heads share a head of keys or values, each gets a copy.
pub(super) fn share() -> Block {
    Block::new("share", &["x"])
        .note("Several query heads share a head of keys and values: each gets a copy.")
        .layer(formula("", "x.repeat_interleave(heads // kv_heads, dim=1)"))
}

/// One layer of a stack: a block, and the tensors that it reads besides the layer before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kind<'a> {
    /// The block.
    pub block: &'a str,
    /// The tensors.
    pub reads: &'a [&'a str],
}

/// Adds layers of these kinds, one after the other; the first reads `input`. Equal ones that follow
/// each other repeat, and so does a pattern that runs through all of them.
pub(super) fn stack(spec: &mut SpecText, name: &str, kinds: &[Kind<'_>], input: &str) {
    let runs_through = |period: usize| {
        let pairs = kinds.iter().zip(&kinds[period..]);
        kinds.len().is_multiple_of(period) && pairs.into_iter().all(|(a, b)| a == b)
    };
    let period = (1..=kinds.len() / 2)
        .take(16)
        .find(|&period| runs_through(period));
    if let Some(period @ 2..) = period {
        let group = format!("{name}_group");
        spec.block(pattern(name, &group, &kinds[..period]));
        let reads = all_reads(&kinds[..period]);
        let whole = Kind {
            block: &group,
            reads: &reads,
        };
        spec.layer(repeated(name, &whole, kinds.len() / period, input));
        return;
    }
    let mut before = input.to_owned();
    let mut at = 0;
    while let Some(kind) = kinds.get(at) {
        let same = kinds[at..]
            .iter()
            .take_while(|other| *other == kind)
            .count();
        let own = match at + same == kinds.len() {
            true => name.to_owned(),
            false => format!("{name}_from_{at}"),
        };
        spec.layer(repeated(&own, kind, same, &before));
        at += same;
        before = own;
    }
}

/// The block of a pattern of layers.
fn pattern(name: &str, group: &str, kinds: &[Kind<'_>]) -> Block {
    let mut inputs = vec!["x"];
    inputs.extend(all_reads(kinds));
    let mut block = Block::new(group, &inputs)
        .note(format!("The pattern of layers that runs through `{name}`."));
    let mut before = "x".to_owned();
    for (at, kind) in kinds.iter().enumerate() {
        let own = format!("layer_{at}");
        block = block.layer(op(&own, kind.block).reads(&joined(&before, kind.reads)));
        before = own;
    }
    block
}

/// What these kinds read, each once.
fn all_reads<'a>(kinds: &[Kind<'a>]) -> Vec<&'a str> {
    let mut reads = Vec::new();
    for &read in kinds.iter().flat_map(|kind| kind.reads) {
        if !reads.contains(&read) {
            reads.push(read);
        }
    }
    reads
}

fn joined<'a>(first: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![first];
    all.extend(rest);
    all
}

fn repeated(name: &str, kind: &Kind<'_>, times: usize, input: &str) -> Layer {
    op(name, kind.block)
        .reads(&joined(input, kind.reads))
        .set("repeat", times as u64)
}

/// The layer `mask` of what each place sees: itself and all before it, as far as a window reaches.
pub(super) fn causal_mask(name: &str, window: Option<u64>) -> Layer {
    let before = "arange(seq)[None, :] <= arange(seq)[:, None]";
    let seen = match window {
        None => before.to_owned(),
        Some(window) => {
            format!("({before}) & (arange(seq)[None, :] > arange(seq)[:, None] - {window})")
        }
    };
    let layer = formula(name, format!("({seen}).expand(batch, 1, seq, seq)"));
    match window {
        None => layer.note(
            "Each place sees itself and what stands before it. Transformers hands such a mask on\n\
             wherever sequences may be padded or packed; `is_causal=True` in its place spares it.",
        ),
        Some(_) => layer.note("The same, as far as the window reaches."),
    }
}

/// The same as numbers that are added to the scores: 0 for what is seen, else the least float32.
pub(super) fn added_mask(name: &str, window: Option<u64>) -> Layer {
    let before = "arange(seq)[None, :] <= arange(seq)[:, None]";
    let seen = match window {
        None => before.to_owned(),
        Some(window) => {
            format!("({before}) & (arange(seq)[None, :] > arange(seq)[:, None] - {window})")
        }
    };
    formula(
        name,
        format!("where({seen}, 0.0, -3.4028234663852886e+38).expand(batch, 1, seq, seq)"),
    )
    .note("What is added to the scores: each place sees itself and what stands before it.")
}
