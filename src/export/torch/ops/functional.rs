//! Convolutions, attention, recurrence, normalisation and losses as functions: the forms for
//! weights that no layer owns.

use super::Site;
use super::special::arguments;
use crate::export::torch::code::{self, Code, function, method, slot};
use crate::ops::AttributeValue;

/// A convolution pads with zeros; anything else is padded before.
pub fn convolution(site: &Site) -> Code {
    let rank = site.rank(1).saturating_sub(2);
    let mode = site.call.text("padding_mode").unwrap_or_default();
    let mut input = site.tensor(0);
    let mut padding = site.unless("padding", 0);
    if mode != "zeros"
        && let Ok(sizes) = site.call.sizes("padding", rank)
    {
        // `F.pad` begins with the last axis.
        let pads = sizes.iter().rev().flat_map(|&size| [size, size]);
        let pads = slot("padding", &code::tuple(pads));
        input = format!("F.pad({input}, {pads}, mode={})", code::string(&mode));
        padding = None;
    }
    let bias = site.has(2).then(|| site.tensor(2));
    let parts = [
        Some(input),
        Some(site.tensor(1)),
        bias,
        site.unless("stride", 1),
        padding,
        site.unless("dilation", 1),
        site.unless("groups", 1),
    ];
    function(&format!("F.{}", site.call.op.name), arguments(parts))
}

/// Dropout of attention is a number that the function applies in any mode.
pub fn attention(site: &Site) -> Code {
    let dropout = site.unless("dropout_p", 0.0).map(|dropout| {
        let training = site.training();
        format!("{dropout} if {training} else 0.0")
    });
    let mask = site.has(3).then(|| format!("attn_mask={}", site.tensor(3)));
    let mut parts: Vec<String> = (0..3).map(|at| site.tensor(at)).collect();
    parts.extend(arguments([
        mask,
        dropout,
        site.unless("is_causal", false),
        site.keyword("scale"),
        site.unless("enable_gqa", false),
    ]));
    function("F.scaled_dot_product_attention", parts)
}

pub fn rotary(site: &Site) -> Code {
    let mut parts = site.tensors(0);
    if !(site.has(1) && site.has(2)) {
        parts.truncate(1);
        parts.push(format!("base={}", site.needed("base")));
    }
    function("rotary_embedding", parts)
}

/// The functional forms of recurrent layers, for weights that no layer owns.
pub fn recurrent(site: &Site) -> Code {
    let name = match (site.call.op.name, site.call.text("nonlinearity").as_deref()) {
        ("rnn", Some("relu")) => "torch.rnn_relu",
        ("rnn", _) => "torch.rnn_tanh",
        ("lstm", _) => "torch.lstm",
        _ => "torch.gru",
    };
    let lstm = site.call.op.name == "lstm";
    let first_weight = if lstm { 3 } else { 2 };
    let input = site.code(0);
    let batch_first = site.call.boolean("batch_first");
    let batch_axis = usize::from(!batch_first);
    let directions = 1 + usize::from(site.call.boolean("bidirectional"));
    let layers = site.call.integer("num_layers").unwrap_or(1) as usize * directions;
    let hidden = site.call.integer("hidden_size").unwrap_or(0);
    let batch = site
        .call
        .shape(0)
        .ok()
        .and_then(|shape| shape.size(batch_axis as i64));
    let state = |position: usize, size: i64| match site.has(position) {
        true => site.tensor(position),
        false => {
            let shape = code::tuple([layers as i64, batch.unwrap_or(1) as i64, size]);
            method(&input, "new_zeros", [slot("state", &shape)]).text
        }
    };
    let projected = site.call.integer("proj_size").filter(|&size| size > 0);
    let states = match lstm {
        true => format!(
            "({}, {})",
            state(1, projected.unwrap_or(hidden)),
            state(2, hidden)
        ),
        false => state(1, hidden),
    };
    let training = site.training();
    let flag = |name: &str| code::boolean(site.call.boolean(name)).to_owned();
    let parts = vec![
        input.text.clone(),
        states,
        site.list(first_weight),
        flag("bias"),
        site.needed("num_layers"),
        site.needed("dropout"),
        training,
        flag("bidirectional"),
        flag("batch_first"),
    ];
    function(name, parts)
}

pub fn cell(site: &Site) -> Code {
    let (name, lstm) = match site.call.op.name {
        "lstm_cell" => ("torch.lstm_cell", true),
        "gru_cell" => ("torch.gru_cell", false),
        _ if site.call.text("nonlinearity").as_deref() == Some("relu") => {
            ("torch.rnn_relu_cell", false)
        }
        _ => ("torch.rnn_tanh_cell", false),
    };
    let state = |position: usize, output: usize| match site.has(position) {
        true => site.tensor(position),
        false => {
            let shape = site
                .call
                .outputs
                .get(output)
                .map(|ty| code::shape(&ty.shape));
            let shape = slot("state", &shape.unwrap_or_default());
            method(&site.code(0), "new_zeros", [shape]).text
        }
    };
    let (states, weights) = match lstm {
        true => (format!("({}, {})", state(1, 0), state(2, 1)), 3),
        false => (state(1, 0), 2),
    };
    let mut parts = vec![site.tensor(0), states];
    parts.extend(site.tensors(weights));
    function(name, parts)
}

pub fn batch_norm(site: &Site) -> Code {
    let tracked = site.has(3) && site.has(4);
    let training = match tracked {
        true => site.training(),
        false => "True".to_owned(),
    };
    let parts = [
        Some(site.tensor(0)),
        Some(site.argument(3)),
        Some(site.argument(4)),
        Some(site.argument(1)),
        Some(site.argument(2)),
        Some(format!("training={training}")),
        site.unless("momentum", 0.1),
        site.unless("eps", 1e-5),
    ];
    function("F.batch_norm", arguments(parts))
}

pub fn instance_norm(site: &Site) -> Code {
    let named = |name: &str, position: usize| {
        site.has(position)
            .then(|| format!("{name}={}", site.tensor(position)))
    };
    let parts = [
        Some(site.tensor(0)),
        named("running_mean", 3),
        named("running_var", 4),
        named("weight", 1),
        named("bias", 2),
        site.unless("momentum", 0.1),
        site.unless("eps", 1e-5),
    ];
    function("F.instance_norm", arguments(parts))
}

/// The sizes over which a layer or RMS norm runs.
pub fn normalized_shape(site: &Site) -> String {
    let given = site.call.integers("normalized_shape");
    let last = || site.call.shape(0).ok()?.size(-1);
    let sizes = given.unwrap_or_else(|| last().into_iter().map(|size| size as i64).collect());
    let text = match sizes.as_slice() {
        [one] => one.to_string(),
        many => code::tuple(many),
    };
    slot("normalized_shape", &text)
}

pub fn shaped_norm(site: &Site) -> Code {
    let shape = match normalized_shape(site) {
        shape
            if site
                .call
                .integers("normalized_shape")
                .is_some_and(|sizes| sizes.len() != 1) =>
        {
            shape
        }
        one => format!("({one},)"),
    };
    let named = |name: &str, position: usize| {
        site.has(position)
            .then(|| format!("{name}={}", site.tensor(position)))
    };
    let layer = site.call.op.name == "layer_norm";
    let bias = if layer { named("bias", 2) } else { None };
    let eps = match layer {
        true => site.unless("eps", 1e-5),
        false => site.keyword("eps"),
    };
    let parts = [
        Some(site.tensor(0)),
        Some(shape),
        named("weight", 1),
        bias,
        eps,
    ];
    function(&format!("F.{}", site.call.op.name), arguments(parts))
}

pub fn group_norm(site: &Site) -> Code {
    let mut parts = vec![site.tensor(0), site.needed("num_groups")];
    parts.extend(site.tensors(1));
    parts.extend(site.unless("eps", 1e-5));
    function("F.group_norm", parts)
}

pub fn dropout(site: &Site) -> Code {
    let training = site.training();
    let parts = [
        Some(site.tensor(0)),
        site.unless("p", 0.5),
        Some(format!("training={training}")),
        site.unless("inplace", false),
    ];
    function(&format!("F.{}", site.call.op.name), arguments(parts))
}

pub fn rrelu(site: &Site) -> Code {
    let training = site.training();
    let (lower, upper) = (site.needed("lower"), site.needed("upper"));
    let parts = [site.tensor(0), lower, upper, format!("training={training}")];
    function("F.rrelu", parts)
}

/// PyTorch's classes lie on the second axis; where they lie on the last, the leading axes are
/// joined.
pub fn class_loss(site: &Site) -> Code {
    let (input, target) = (site.code(0), site.code(1));
    let shapes = (site.call.shape(0), site.call.shape(1));
    let indices = site.call.dtype(1).is_ok_and(|dtype| !dtype.is_float());
    let last = match shapes {
        (Ok(input), Ok(target)) if indices && input.rank() > 2 => {
            let without = |axis: usize| {
                let sizes = input.sizes().iter().enumerate();
                let rest = sizes
                    .filter(move |&(at, _)| at != axis)
                    .map(|(_, &size)| size);
                rest.eq(target.sizes().iter().copied())
            };
            !without(1) && without(input.rank() - 1)
        }
        _ => false,
    };
    let none = site.call.text("reduction").as_deref() == Some("none");
    let (first, second) = match last {
        true => (
            method(&input, "flatten", ["0".into(), "-2".into()]).text,
            method(&target, "flatten", []).text,
        ),
        false => (input.text.clone(), target.text.clone()),
    };
    let weight = site.has(2).then(|| format!("weight={}", site.tensor(2)));
    let smoothing = match site.call.op.name {
        "cross_entropy" => site.unless("label_smoothing", 0.0),
        _ => None,
    };
    let parts = [
        Some(first),
        Some(second),
        weight,
        site.unless("ignore_index", -100),
        site.unless("reduction", "mean"),
        smoothing,
    ];
    let loss = function(&format!("F.{}", site.call.op.name), arguments(parts));
    match last && none {
        true => method(&loss, "reshape_as", [target.text]),
        false => loss,
    }
}

pub fn logits_loss(site: &Site) -> Code {
    let named = |name: &str, position: usize| {
        site.has(position)
            .then(|| format!("{name}={}", site.tensor(position)))
    };
    let parts = [
        Some(site.tensor(0)),
        Some(site.tensor(1)),
        named("weight", 2),
        named("pos_weight", 3),
        site.unless("reduction", "mean"),
    ];
    function("F.binary_cross_entropy_with_logits", arguments(parts))
}

pub fn embedding_bag(site: &Site) -> Code {
    let named = |name: &str, position: usize| {
        site.has(position)
            .then(|| format!("{name}={}", site.tensor(position)))
    };
    let parts = [
        Some(site.tensor(0)),
        Some(site.tensor(1)),
        named("offsets", 2),
        site.unless("max_norm", AttributeValue::Boolean(false)),
        site.unless("mode", "mean"),
        site.unless("sparse", false),
        named("per_sample_weights", 3),
        site.unless("include_last_offset", false),
        site.keyword("padding_idx"),
    ];
    function("F.embedding_bag", arguments(parts))
}

pub fn quantile(site: &Site) -> Code {
    let parts = [
        Some(site.tensor(0)),
        Some(site.argument(1)),
        site.keyword("dim"),
        site.unless("keepdim", false),
        site.unless("interpolation", "linear"),
    ];
    function("torch.quantile", arguments(parts))
}
