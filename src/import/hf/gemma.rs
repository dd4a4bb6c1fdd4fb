//! Gemma 1, 2 and 3: scaled embeddings, norms around each half of a layer, windows and capped
//! scores.

use super::config::Config;
use super::decoder::{Decoder, Defaults};
use super::llama::layer_types;
use super::parts::{self, Activation, Kind};
use super::rope::Rope;
use super::text::{Block, SpecText, Tensor, formula, op, real};
use super::{Choice, ModelType, Task, head_comment};

/// No version has a class for answers, and the third none for the classes of tokens.
const TASKS: [&[Task]; 2] = [
    &[
        Task::CausalLm,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::Base,
    ],
    &[Task::CausalLm, Task::SequenceClassification, Task::Base],
];

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[
    ModelType {
        name: "gemma",
        tasks: TASKS[0],
        write: |config, choice| write(config, choice, 1),
    },
    ModelType {
        name: "gemma2",
        tasks: TASKS[0],
        write: |config, choice| write(config, choice, 2),
    },
    ModelType {
        name: "gemma3_text",
        tasks: TASKS[1],
        write: |config, choice| write(config, choice, 3),
    },
];

const GEMMA: Defaults = Defaults {
    width: 3072,
    hidden: 24576,
    layers: 28,
    heads: 16,
    kv_heads: Some(16),
    head: Some(256),
    vocab: 256_000,
    positions: 8192,
    eps: 1e-6,
    theta: 10000.0,
    tied: true,
    padding: Some(0),
};

const GEMMA_2: Defaults = Defaults {
    width: 2304,
    hidden: 9216,
    layers: 26,
    heads: 8,
    kv_heads: Some(4),
    ..GEMMA
};

fn write(config: &mut Config, choice: &Choice, version: u64) -> SpecText {
    let defaults = match version {
        1 => GEMMA,
        2 => GEMMA_2,
        _ => Defaults {
            vocab: 262_208,
            positions: 131_072,
            theta: 1e6,
            ..GEMMA_2
        },
    };
    // Parameters for each kind of layer stand in one table each.
    let mut ropes = config.part("rope_parameters");
    let named = |key: &str, theta: f64, ropes: &mut Config| {
        let mut part = ropes.part(key);
        let rope = Rope::of(&mut part, theta, None, defaults.positions);
        ropes.absorb(part);
        rope
    };
    let nested = ropes.has(&["full_attention", "sliding_attention"]);
    let (full, local) = match (version, nested) {
        (3, true) => (
            Some(named("full_attention", 1e6, &mut ropes)),
            Some(named("sliding_attention", 1e4, &mut ropes)),
        ),
        (3, false) => {
            let theta = config.positive(&["rope_local_base_freq"], 1e4);
            (None, Some(Rope::plain(theta)))
        }
        _ => (None, None),
    };
    config.absorb(ropes);
    let mut model = match full {
        Some(full) => Decoder::read_beside(config, &defaults, full),
        None => Decoder::read(config, &defaults),
    };
    let key: &[&str] = match version {
        1 => &["hidden_act", "hidden_activation"],
        _ => &["hidden_activation"],
    };
    model.activation = Activation::read(config, key, "gelu_pytorch_tanh");
    model.qkv_bias = config.flag(&["attention_bias"], false);
    model.out_bias = model.qkv_bias;
    model.query_key_norm = version == 3;
    if config.flag(&["use_bidirectional_attention"], false) {
        config.unsupported("use_bidirectional_attention", "true");
    }
    let scale = match version {
        1 => None,
        _ => Some(
            config
                .positive(&["query_pre_attn_scalar"], 256.0)
                .powf(-0.5),
        ),
    };
    let cap = |config: &mut Config, key: &str, usual: Option<f64>| match config.is_null(key) {
        true => None,
        false => config.optional_real(&[key]).or(usual),
    };
    let usual = |value: f64| (version == 2).then_some(value);
    let scores_cap = cap(config, "attn_logit_softcapping", usual(50.0)).filter(|_| version == 2);
    let logits_cap = cap(config, "final_logit_softcapping", usual(30.0)).filter(|_| version > 1);
    let window = config.size(&["sliding_window"], 4096);
    let pattern = config.size(
        &["sliding_window_pattern"],
        if version == 2 { 2 } else { 6 },
    );
    let windowed = match version {
        1 => vec![false; model.layers as usize],
        _ => layer_types(config, model.layers, |at| !(at + 1).is_multiple_of(pattern)),
    };

    let mut spec = SpecText::new(head_comment(choice), config.name(choice.model_type));
    model.begin(config, choice, &mut spec);
    spec.buffer(Tensor::new("embed_scale", &[]).set("range", [1.0, 1e6]));
    spec.block(norm("norm", "width", model.eps));
    if model.query_key_norm {
        spec.block(norm("head_norm", "head", model.eps));
    }
    if model.kv_heads != model.heads {
        spec.block(parts::share());
    }
    let inputs = ["x", "cos", "sin", "mask"];
    let mut call = model.masked();
    call.scale = scale;
    spec.block(match scores_cap {
        None => model.attention("attention", &inputs, &call),
        Some(cap) => model.capped_attention("attention", &inputs, scale.unwrap_or(1.0), cap),
    });
    let mlp = model.gated(&mut spec, "feed_forward", "hidden");
    spec.block(mlp);
    let reads = ["input_layernorm", "cos", "sin", "mask"];
    let block = Block::new("decoder", &inputs)
        .layer(op("input_layernorm", "norm").reads(&["x"]))
        .layer(op("self_attn", "attention").reads(&reads));
    spec.block(match version {
        1 => block.layers([
            formula("h", "x + self_attn"),
            op("post_attention_layernorm", "norm"),
            op("mlp", "feed_forward"),
            formula("", "h + mlp"),
        ]),
        _ => block.layers([
            op("post_attention_layernorm", "norm"),
            formula("h", "x + post_attention_layernorm"),
            op("pre_feedforward_layernorm", "norm"),
            op("mlp", "feed_forward"),
            op("post_feedforward_layernorm", "norm"),
            formula("", "h + post_feedforward_layernorm"),
        ]),
    });

    let has = |local: bool| windowed.contains(&local);
    let two = local.is_some();
    spec.layer(model.embedding());
    if has(false) || !two {
        model
            .rope
            .tables(&mut spec, "", model.turned(), "embed_tokens");
    }
    if let Some(local) = local.as_ref().filter(|_| has(true)) {
        local.tables(&mut spec, "local_", model.turned(), "embed_tokens");
    }
    if has(false) || scores_cap.is_some() {
        spec.layer(mask("mask", None, scores_cap.is_some()));
    }
    if has(true) {
        spec.layer(mask("window", Some(window), scores_cap.is_some()));
    }
    spec.layer(formula("scaled", "embed_tokens * embed_scale"));
    let kinds: Vec<Kind<'_>> = windowed
        .iter()
        .map(|&windowed| Kind {
            block: "decoder",
            reads: match (windowed, two) {
                (true, true) => &["local_cosine", "local_sine", "window"],
                (true, false) => &["cosine", "sine", "window"],
                (false, _) => &["cosine", "sine", "mask"],
            },
        })
        .collect();
    parts::stack(&mut spec, "layers", &kinds, "scaled");
    spec.layer(op("norm", "norm"));
    model.finish(&mut spec, config, choice, logits_cap);
    spec
}

fn mask(name: &str, window: Option<u64>, added: bool) -> super::text::Layer {
    match added {
        true => parts::added_mask(name, window),
        false => parts::causal_mask(name, window),
    }
}

/// Gemma's norm: the weight is what is added to 1.
fn norm(name: &str, width: &str, eps: f64) -> Block {
    Block::new(name, &["x"])
        .note("RMSNorm, in float32 whatever comes in; the weight is what is added to 1.")
        .param(Tensor::new("weight", &[width]).set("init", "zeros"))
        .layers([
            formula("wide", "x.float()"),
            formula("mean_square", "wide.pow(2).mean(-1, keepdim=True)"),
            formula(
                "normed",
                format!("wide * rsqrt(mean_square + {})", real(eps)),
            ),
            formula("", "(normed * (1.0 + weight.float())).to(x.dtype)"),
        ])
}
