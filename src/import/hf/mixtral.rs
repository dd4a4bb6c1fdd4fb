//! Decoders of Llama's kind with mixtures of experts: Mixtral, Qwen 2 and 3 MoE.

use super::config::Config;
use super::decoder::{self, Decoder, Defaults};
use super::llama::{Windows, layer_types, write_sparse};
use super::moe::Experts;
use super::text::SpecText;
use super::{Choice, ModelType, Task};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[
    ModelType {
        name: "mixtral",
        tasks: decoder::TASKS,
        write: mixtral,
    },
    ModelType {
        name: "qwen2_moe",
        tasks: decoder::TASKS,
        write: qwen2,
    },
    ModelType {
        name: "qwen3_moe",
        tasks: decoder::TASKS,
        write: qwen3,
    },
];

const MIXTRAL: Defaults = Defaults {
    width: 4096,
    hidden: 14336,
    layers: 32,
    heads: 32,
    kv_heads: Some(8),
    head: None,
    vocab: 32000,
    positions: 4096 * 32,
    eps: 1e-5,
    theta: 1e6,
    tied: false,
    padding: None,
};

const QWEN_2: Defaults = Defaults {
    width: 2048,
    hidden: 5632,
    layers: 24,
    heads: 16,
    kv_heads: Some(16),
    vocab: 151_936,
    positions: 32768,
    eps: 1e-6,
    theta: 1e4,
    ..MIXTRAL
};

fn mixtral(config: &mut Config, choice: &Choice) -> SpecText {
    let model = Decoder::read(config, &MIXTRAL);
    let experts = Experts {
        count: config.size(&["num_local_experts", "num_experts"], 8),
        chosen: config.size(&["num_experts_per_tok"], 2),
        hidden: model.hidden,
        normed: true,
        shared: None,
        layers: vec![true; model.layers as usize],
    };
    let windows = match config.optional_size(&["sliding_window"]) {
        Some(window) => Windows::All(window),
        None => Windows::None,
    };
    finish(config, choice, &model, &windows, &experts)
}

fn qwen2(config: &mut Config, choice: &Choice) -> SpecText {
    let mut model = Decoder::read(config, &QWEN_2);
    model.qkv_bias = config.flag(&["qkv_bias"], true);
    let shared = config.size(&["shared_expert_intermediate_size"], 5632);
    let experts = qwen_experts(config, &model, (60, 4, 1408), Some(shared));
    let (used, window) = window(config);
    let first = config.count(&["max_window_layers"], 28);
    let usual = |at: u64| used && at.is_multiple_of(2) && at < first;
    let windows = match layer_types(config, model.layers, usual) {
        layers if used && layers.contains(&true) => Windows::Some(window, layers),
        _ => Windows::None,
    };
    finish(config, choice, &model, &windows, &experts)
}

fn qwen3(config: &mut Config, choice: &Choice) -> SpecText {
    let mut model = Decoder::read(
        config,
        &Defaults {
            hidden: 6144,
            heads: 32,
            kv_heads: Some(4),
            ..QWEN_2
        },
    );
    model.qkv_bias = config.flag(&["attention_bias"], false);
    model.out_bias = model.qkv_bias;
    model.query_key_norm = true;
    let experts = qwen_experts(config, &model, (128, 8, 768), None);
    let (used, window) = window(config);
    let windows = match used {
        true => Windows::All(window),
        false => Windows::None,
    };
    finish(config, choice, &model, &windows, &experts)
}

/// Whether layers see a window of the text, and how far. Where none does, the class says 0.
fn window(config: &mut Config) -> (bool, u64) {
    match config.flag(&["use_sliding_window"], false) {
        true => (true, config.size(&["sliding_window"], 4096)),
        false => (false, 0),
    }
}

fn qwen_experts(
    config: &mut Config,
    model: &Decoder,
    (count, chosen, hidden): (u64, u64, u64),
    shared: Option<u64>,
) -> Experts {
    let step = config.size(&["decoder_sparse_step"], 1);
    let dense = config.counts(&["mlp_only_layers"], &[]);
    let count = config.count(&["num_experts", "num_local_experts"], count);
    let sparse = |at: u64| !dense.contains(&at) && count > 0 && (at + 1).is_multiple_of(step);
    Experts {
        count,
        chosen: config.size(&["num_experts_per_tok"], chosen),
        hidden: config.size(&["moe_intermediate_size"], hidden),
        normed: config.flag(&["norm_topk_prob"], false),
        shared,
        layers: (0..model.layers).map(sparse).collect(),
    }
}

fn finish(
    config: &mut Config,
    choice: &Choice,
    model: &Decoder,
    windows: &Windows,
    experts: &Experts,
) -> SpecText {
    if experts.chosen > experts.count.max(1) {
        config.fault(format!(
            "`num_experts_per_tok` is {}, more than there are experts: {}",
            experts.chosen, experts.count
        ));
    }
    // The loss of balance is added to that of the next token, and to no other.
    if config.flag(&["output_router_logits"], false) && choice.task == Task::CausalLm {
        config.unsupported("output_router_logits", "true");
    }
    write_sparse(config, choice, model, windows, Some(experts))
}
