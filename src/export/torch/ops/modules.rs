//! Ops as modules of `torch.nn`: the class, the arguments of its constructor, and the call.

use super::Site;
use super::functional::normalized_shape;
use crate::export::torch::code::{self, Code, function, slot};
use crate::tensor::Dtype;

/// A module of `torch.nn` that stands for a layer.
#[derive(Debug, Clone)]
pub struct Module {
    /// The expression that makes it: `nn.Linear(3, 4)`.
    pub constructor: String,
    /// What it is called with.
    pub arguments: Vec<String>,
    /// How its result is taken apart, with `{}` for each output; empty for a plain tuple.
    pub pattern: &'static str,
}

/// The layer as a module; `None` where PyTorch has none for it.
pub fn module(site: &Site) -> Option<Module> {
    let plain = |constructor: Code| Module {
        constructor: constructor.text,
        arguments: vec![site.tensor(0)],
        pattern: "",
    };
    Some(match site.call.op.name {
        "linear" => plain(linear(site)?),
        "bilinear" => Module {
            arguments: vec![site.tensor(0), site.tensor(1)],
            ..plain(bilinear(site)?)
        },
        "conv1d" | "conv2d" | "conv3d" => plain(convolution(site, false)?),
        "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d" => {
            plain(convolution(site, true)?)
        }
        "batch_norm" | "instance_norm" => plain(batch_norm(site)?),
        "layer_norm" | "rms_norm" => plain(shaped_norm(site)?),
        "group_norm" => plain(group_norm(site)?),
        "embedding" => plain(embedding(site)?),
        "embedding_bag" => embedding_bag(site)?,
        "prelu" => {
            let slopes = size(site, 1, 0, "num_parameters")?;
            plain(made(
                site,
                "nn.PReLU",
                [Some(slopes), site.unless("init", 0.25)],
            ))
        }
        "rnn" | "lstm" | "gru" => recurrent(site)?,
        "rnn_cell" | "lstm_cell" | "gru_cell" => cell(site)?,
        "dropout" => plain(dropout(site, "nn.Dropout")),
        "dropout1d" => plain(dropout(site, "nn.Dropout1d")),
        "dropout2d" => plain(dropout(site, "nn.Dropout2d")),
        "dropout3d" => plain(dropout(site, "nn.Dropout3d")),
        "alpha_dropout" => plain(dropout(site, "nn.AlphaDropout")),
        "feature_alpha_dropout" => plain(dropout(site, "nn.FeatureAlphaDropout")),
        _ => return None,
    })
}

/// `nn.MultiheadAttention` for a layer of that op, which stands in the graph as the ops that it is
/// made of. `embed`, `key` and `value` are the widths of what it reads, `dtype` the element type
/// of its weights.
pub fn attention_module(
    site: &Site,
    [embed, key, value]: [u64; 3],
    biased: bool,
    dtype: Dtype,
) -> String {
    let other = |name: &str, size: u64| {
        (size != embed).then(|| format!("{name}={}", slot(name, &size.to_string())))
    };
    let parts = [
        Some(slot("embed_dim", &embed.to_string())),
        site.value("num_heads"),
        site.unless("dropout", 0.0),
        (!biased).then(|| "bias=False".to_owned()),
        other("kdim", key),
        other("vdim", value),
        site.unless("batch_first", false),
        (dtype != Dtype::Float32).then(|| format!("dtype={}", code::dtype(dtype))),
    ];
    function("nn.MultiheadAttention", parts.into_iter().flatten()).text
}

/// The constructor's call, with the element type of the parameters where it is not the default.
fn made(site: &Site, class: &str, arguments: impl IntoIterator<Item = Option<String>>) -> Code {
    let own = |argument: &&crate::ops::Argument<'_>| argument.is_parameter;
    let floats = |argument: &&crate::ops::Argument<'_>| argument.ty.dtype.is_float();
    let parameters = site.call.arguments.iter().flatten().filter(own);
    let dtype = parameters
        .filter(floats)
        .map(|argument| argument.ty.dtype)
        .next()
        .filter(|&dtype| dtype != Dtype::Float32)
        .map(|dtype| format!("dtype={}", code::dtype(dtype)));
    function(class, arguments.into_iter().flatten().chain(dtype))
}

/// A size of an operand, as a slot.
fn size(site: &Site, position: usize, axis: i64, name: &str) -> Option<String> {
    let size = site.call.shape(position).ok()?.size(axis)?;
    Some(slot(name, &size.to_string()))
}

/// `bias=False` where the operand is left out.
fn without_bias(site: &Site, position: usize) -> Option<String> {
    (!site.has(position)).then(|| "bias=False".to_owned())
}

fn linear(site: &Site) -> Option<Code> {
    let inputs = size(site, 1, 1, "in_features")?;
    let outputs = size(site, 1, 0, "out_features")?;
    let parts = [Some(inputs), Some(outputs), without_bias(site, 2)];
    Some(made(site, "nn.Linear", parts))
}

fn bilinear(site: &Site) -> Option<Code> {
    let parts = [
        Some(size(site, 2, 1, "in1_features")?),
        Some(size(site, 2, 2, "in2_features")?),
        Some(size(site, 2, 0, "out_features")?),
        without_bias(site, 3),
    ];
    Some(made(site, "nn.Bilinear", parts))
}

/// Sizes that are all the same are one number.
fn collapsed(name: &str, sizes: &[u64]) -> Option<String> {
    let first = sizes.first()?;
    Some(match sizes.iter().all(|size| size == first) {
        true => slot(name, &first.to_string()),
        false => slot(name, &code::tuple(sizes)),
    })
}

/// `name=sizes` where they are not all the default.
fn sizes(site: &Site, name: &'static str, axes: usize, default: u64) -> Option<String> {
    let sizes = site.call.sizes(name, axes).ok()?;
    let differs = sizes.iter().any(|&size| size != default);
    (differs)
        .then(|| Some(format!("{name}={}", collapsed(name, &sizes)?)))
        .flatten()
}

fn convolution(site: &Site, transposed: bool) -> Option<Code> {
    let weight = site.call.shape(1).ok()?.sizes();
    let axes = weight
        .len()
        .checked_sub(2)
        .filter(|axes| (1..=3).contains(axes))?;
    let groups = site.call.integer("groups").unwrap_or(1).max(1) as u64;
    let (inputs, outputs) = match transposed {
        true => (weight[0], weight[1].saturating_mul(groups)),
        false => (weight[1].saturating_mul(groups), weight[0]),
    };
    let padding = match site.call.text("padding") {
        Some(word) if word == "valid" => None,
        Some(word) => Some(format!("padding={}", slot("padding", &code::string(&word)))),
        None => sizes(site, "padding", axes, 0),
    };
    let other_mode = match transposed {
        true => sizes(site, "output_padding", axes, 0),
        false => site.unless("padding_mode", "zeros"),
    };
    let class = match transposed {
        true => format!("nn.ConvTranspose{axes}d"),
        false => format!("nn.Conv{axes}d"),
    };
    let parts = [
        Some(slot("in_channels", &inputs.to_string())),
        Some(slot("out_channels", &outputs.to_string())),
        collapsed("kernel_size", &weight[2..]),
        sizes(site, "stride", axes, 1),
        padding,
        sizes(site, "dilation", axes, 1),
        site.unless("groups", 1),
        without_bias(site, 2),
        other_mode,
    ];
    Some(made(site, &class, parts))
}

fn batch_norm(site: &Site) -> Option<Code> {
    let axes = match site.rank(0) {
        2 | 3 => 1,
        4 => 2,
        5 => 3,
        _ => return None,
    };
    let batch = site.call.op.name == "batch_norm";
    let (affine, tracked) = (site.has(1), site.has(3));
    // PyTorch's module has both or none.
    if affine != site.has(2) || tracked != site.has(4) {
        return None;
    }
    let class = match batch {
        true if site.call.boolean("sync") => "nn.SyncBatchNorm".to_owned(),
        true => format!("nn.BatchNorm{axes}d"),
        false => format!("nn.InstanceNorm{axes}d"),
    };
    let stated = |name: &str, value: bool| {
        (value != batch).then(|| format!("{name}={}", code::boolean(value)))
    };
    let parts = [
        Some(size(site, 0, 1, "num_features")?),
        site.unless("eps", 1e-5),
        site.unless("momentum", 0.1),
        stated("affine", affine),
        stated("track_running_stats", tracked),
    ];
    Some(made(site, &class, parts))
}

fn shaped_norm(site: &Site) -> Option<Code> {
    let layer = site.call.op.name == "layer_norm";
    let affine = site.has(1).then_some(()).map_or_else(
        || Some("elementwise_affine=False".to_owned()),
        |()| layer.then(|| without_bias(site, 2)).flatten(),
    );
    // A bias without a weight is no module's.
    if !site.has(1) && site.has(2) {
        return None;
    }
    let (class, eps) = match layer {
        true => ("nn.LayerNorm", site.unless("eps", 1e-5)),
        false => ("nn.RMSNorm", site.keyword("eps")),
    };
    Some(made(
        site,
        class,
        [Some(normalized_shape(site)), eps, affine],
    ))
}

fn group_norm(site: &Site) -> Option<Code> {
    if site.has(1) != site.has(2) {
        return None;
    }
    let parts = [
        site.value("num_groups"),
        Some(size(site, 0, 1, "num_channels")?),
        site.unless("eps", 1e-5),
        (!site.has(1)).then(|| "affine=False".to_owned()),
    ];
    Some(made(site, "nn.GroupNorm", parts))
}

/// What both embeddings take, after the sizes of the table.
fn table(site: &Site) -> Option<[Option<String>; 4]> {
    Some([
        Some(size(site, 1, 0, "num_embeddings")?),
        Some(size(site, 1, 1, "embedding_dim")?),
        // What exporting programs write for 'none'.
        site.keyword("padding_idx")
            .filter(|_| site.call.integer("padding_idx") != Some(-1)),
        site.keyword("max_norm"),
    ])
}

fn embedding(site: &Site) -> Option<Code> {
    let more = [
        site.unless("scale_grad_by_freq", false),
        site.unless("sparse", false),
    ];
    let parts = table(site)?.into_iter().chain(more);
    Some(made(site, "nn.Embedding", parts))
}

fn embedding_bag(site: &Site) -> Option<Module> {
    let more = [
        site.unless("mode", "mean"),
        site.unless("sparse", false),
        site.unless("include_last_offset", false),
    ];
    let parts = table(site)?.into_iter().chain(more);
    let weights = site
        .has(3)
        .then(|| format!("per_sample_weights={}", site.tensor(3)));
    let offsets = site.has(2).then(|| site.tensor(2));
    let arguments = [Some(site.tensor(0)), offsets, weights];
    Some(Module {
        constructor: made(site, "nn.EmbeddingBag", parts).text,
        arguments: arguments.into_iter().flatten().collect(),
        pattern: "",
    })
}

fn dropout(site: &Site, class: &str) -> Code {
    function(
        class,
        [site.value("p"), site.unless("inplace", false)]
            .into_iter()
            .flatten(),
    )
}

fn recurrent(site: &Site) -> Option<Module> {
    let class = format!("nn.{}", site.call.op.name.to_uppercase());
    let bias = site.call.boolean("bias");
    let lstm = site.call.op.name == "lstm";
    let projection = if lstm {
        site.unless("proj_size", 0)
    } else {
        None
    };
    let activation = match site.call.op.name {
        "rnn" => site.unless("nonlinearity", "tanh"),
        _ => None,
    };
    let parts = [
        Some(size(site, 0, -1, "input_size")?),
        site.value("hidden_size"),
        site.unless("num_layers", 1),
        activation,
        (!bias).then(|| "bias=False".to_owned()),
        site.unless("batch_first", false),
        site.unless("dropout", 0.0),
        site.unless("bidirectional", false),
        projection,
    ];
    let mut arguments = vec![site.tensor(0)];
    match (lstm, site.has(1), site.has(2)) {
        (false, true, _) => arguments.push(site.tensor(1)),
        (true, true, true) => arguments.push(format!("({}, {})", site.tensor(1), site.tensor(2))),
        (true, false, false) | (false, false, _) => {}
        // The module takes both states or none.
        (true, ..) => return None,
    }
    Some(Module {
        constructor: made(site, &class, parts).text,
        arguments,
        pattern: if lstm { "{}, ({}, {})" } else { "" },
    })
}

fn cell(site: &Site) -> Option<Module> {
    let lstm = site.call.op.name == "lstm_cell";
    let class = match site.call.op.name {
        "lstm_cell" => "nn.LSTMCell",
        "gru_cell" => "nn.GRUCell",
        _ => "nn.RNNCell",
    };
    let (input_weight, recurrent_weight) = if lstm { (3, 4) } else { (2, 3) };
    let activation = match site.call.op.name {
        "rnn_cell" => site.unless("nonlinearity", "tanh"),
        _ => None,
    };
    let parts = [
        Some(size(site, input_weight, 1, "input_size")?),
        Some(size(site, recurrent_weight, 1, "hidden_size")?),
        without_bias(site, recurrent_weight + 1),
        activation,
    ];
    let mut arguments = vec![site.tensor(0)];
    match (lstm, site.has(1), site.has(2)) {
        (true, true, true) => arguments.push(format!("({}, {})", site.tensor(1), site.tensor(2))),
        (true, false, false) | (false, false, _) => {}
        (true, ..) => return None,
        (false, true, _) => arguments.push(site.tensor(1)),
    }
    Some(Module {
        constructor: made(site, class, parts).text,
        arguments,
        pattern: "",
    })
}
