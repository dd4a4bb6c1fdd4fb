//! Llama and what differs from it in few settings: Mistral, Qwen 2 and 3.

use super::config::Config;
use super::decoder::{self, Decoder, Defaults};
use super::moe::Experts;
use super::parts::{self, Kind};
use super::text::{Block, SpecText, formula, op};
use super::{Choice, ModelType, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[
    ModelType {
        name: "llama",
        tasks: decoder::TASKS,
        write: llama,
    },
    ModelType {
        name: "mistral",
        tasks: decoder::TASKS,
        write: mistral,
    },
    ModelType {
        name: "qwen2",
        tasks: decoder::TASKS,
        write: qwen2,
    },
    ModelType {
        name: "qwen3",
        tasks: decoder::TASKS,
        write: qwen3,
    },
];

const LLAMA: Defaults = Defaults {
    width: 4096,
    hidden: 11008,
    layers: 32,
    heads: 32,
    kv_heads: None,
    head: None,
    vocab: 32000,
    positions: 2048,
    eps: 1e-6,
    theta: 10000.0,
    tied: false,
    padding: None,
};

fn llama(config: &mut Config, choice: &Choice) -> SpecText {
    let mut model = Decoder::read(config, &LLAMA);
    model.qkv_bias = config.flag(&["attention_bias"], false);
    model.out_bias = model.qkv_bias;
    model.mlp_bias = config.flag(&["mlp_bias"], false);
    write(config, choice, &model, &Windows::None)
}

fn mistral(config: &mut Config, choice: &Choice) -> SpecText {
    let model = Decoder::read(
        config,
        &Defaults {
            hidden: 14336,
            kv_heads: Some(8),
            positions: 4096 * 32,
            ..LLAMA
        },
    );
    let window = match config.is_null("sliding_window") {
        true => None,
        false => Some(config.size(&["sliding_window"], 4096)),
    };
    let windows = window.map_or(Windows::None, Windows::All);
    write(config, choice, &model, &windows)
}

fn qwen2(config: &mut Config, choice: &Choice) -> SpecText {
    let mut model = Decoder::read(
        config,
        &Defaults {
            hidden: 22016,
            kv_heads: Some(32),
            vocab: 151_936,
            positions: 32768,
            ..LLAMA
        },
    );
    model.qkv_bias = true;
    let windows = qwen_windows(config, &model);
    write(config, choice, &model, &windows)
}

fn qwen3(config: &mut Config, choice: &Choice) -> SpecText {
    let mut model = Decoder::read(
        config,
        &Defaults {
            hidden: 22016,
            kv_heads: Some(32),
            head: Some(128),
            vocab: 151_936,
            positions: 32768,
            ..LLAMA
        },
    );
    model.qkv_bias = config.flag(&["attention_bias"], false);
    model.out_bias = model.qkv_bias;
    model.query_key_norm = true;
    let windows = qwen_windows(config, &model);
    write(config, choice, &model, &windows)
}

/// Which layers see a window of the text only.
#[derive(Debug, Clone)]
pub(super) enum Windows {
    /// None.
    None,
    /// All, and how far.
    All(u64),
    /// Some, and how far.
    Some(u64, Vec<bool>),
}

/// Qwen's windows: `layer_types`, else the layers from `max_window_layers` on.
pub(super) fn qwen_windows(config: &mut Config, model: &Decoder) -> Windows {
    let used = config.flag(&["use_sliding_window"], false);
    let window = config.size(&["sliding_window"], 4096);
    let first = config.count(&["max_window_layers"], 28);
    if !used {
        return Windows::None;
    }
    Windows::Some(window, layer_types(config, model.layers, |at| at >= first))
}

/// Which layers are of `sliding_attention`: as `layer_types` says, else as `usual` does.
pub(super) fn layer_types(
    config: &mut Config,
    layers: u64,
    usual: impl Fn(u64) -> bool,
) -> Vec<bool> {
    let listed = config.texts(&["layer_types"]);
    if listed.is_empty() {
        return (0..layers).map(usual).collect();
    }
    if listed.len() as u64 != layers {
        config.fault(format!(
            "`layer_types` lists {} layers, but `num_hidden_layers` is {layers}",
            listed.len()
        ));
    }
    for kind in &listed {
        if !matches!(kind.as_str(), "full_attention" | "sliding_attention") {
            let shown: String = kind.chars().take(40).collect();
            config.unsupported("layer_types", &format!("{shown:?}"));
            break;
        }
    }
    listed
        .iter()
        .map(|kind| kind == "sliding_attention")
        .collect()
}

/// Writes a decoder of Llama's kind.
fn write(config: &mut Config, choice: &Choice, model: &Decoder, windows: &Windows) -> SpecText {
    write_sparse(config, choice, model, windows, None)
}

/// Writes a decoder of Llama's kind, some of whose feed-forward layers are mixtures of experts.
pub(super) fn write_sparse(
    config: &mut Config,
    choice: &Choice,
    model: &Decoder,
    windows: &Windows,
    experts: Option<&Experts>,
) -> SpecText {
    let mut spec = SpecText::new(head_comment(choice), config.name(choice.model_type));
    model.begin(config, choice, &mut spec);
    model.shared_blocks(&mut spec);
    let (window, windowed) = match windows {
        Windows::None => (0, vec![false; model.layers as usize]),
        Windows::All(window) => (*window, vec![true; model.layers as usize]),
        Windows::Some(window, layers) => (*window, layers.clone()),
    };
    let sparse = |at: usize| experts.is_some_and(|experts| experts.layers.get(at) == Some(&true));
    let kinds: Vec<Kind<'_>> = windowed
        .iter()
        .enumerate()
        .map(|(at, &windowed)| Kind {
            block: match sparse(at) {
                true => "sparse_decoder",
                false => "decoder",
            },
            reads: match windowed {
                true => &["cosine", "sine", "window"],
                false => &["cosine", "sine", "mask"],
            },
        })
        .collect();
    let reads = |mask: &str| kinds.iter().any(|kind| kind.reads.contains(&mask));
    let inputs = ["x", "cos", "sin", "mask"];
    spec.block(model.attention("attention", &inputs, &model.masked()));
    for (decoder, mlp) in [("decoder", "feed_forward"), ("sparse_decoder", "sparse")] {
        if !kinds.iter().any(|kind| kind.block == decoder) {
            continue;
        }
        match experts.filter(|_| mlp == "sparse") {
            Some(experts) => experts.declare(&mut spec, model),
            None => {
                let block = model.gated(&mut spec, mlp, "hidden");
                spec.block(block);
            }
        }
        spec.block(Block::new(decoder, &inputs).layers([
            op("input_layernorm", "norm").reads(&["x"]),
            op("self_attn", "attention").reads(&["input_layernorm", "cos", "sin", "mask"]),
            formula("h", "x + self_attn"),
            op("post_attention_layernorm", "norm"),
            op("mlp", mlp),
            formula("", "h + mlp"),
        ]));
    }
    spec.layer(model.embedding());
    model
        .rope
        .tables(&mut spec, "", model.turned(), "embed_tokens");
    if reads("mask") {
        spec.layer(parts::causal_mask("mask", None));
    }
    if reads("window") {
        spec.layer(parts::causal_mask("window", Some(window)));
    }
    parts::stack(&mut spec, "layers", &kinds, "embed_tokens");
    spec.layer(op("norm", "norm"));
    model.finish(&mut spec, config, choice, None);
    spec
}
