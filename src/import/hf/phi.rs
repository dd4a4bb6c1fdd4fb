//! Phi and Phi-3: Phi's layers go side by side under one layer norm, Phi-3's are Llama's with
//! joined projections.

use super::config::Config;
use super::decoder::{Decoder, Defaults};
use super::heads;
use super::parts::{self, Activation, Kind, dropout, layer_norm, linear};
use super::text::{Block, SpecText, formula, op};
use super::{Choice, ModelType, Task, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[
    ModelType {
        name: "phi",
        tasks: TASKS,
        write: phi,
    },
    ModelType {
        name: "phi3",
        tasks: TASKS,
        write: phi3,
    },
];

const TASKS: &[Task] = &[
    Task::CausalLm,
    Task::SequenceClassification,
    Task::TokenClassification,
    Task::Base,
];

const PHI: Defaults = Defaults {
    width: 2048,
    hidden: 8192,
    layers: 24,
    heads: 32,
    kv_heads: None,
    head: None,
    vocab: 51200,
    positions: 2048,
    eps: 1e-5,
    theta: 10000.0,
    tied: false,
    padding: None,
};

const INPUTS: [&str; 4] = ["x", "cos", "sin", "mask"];
const READS: [&str; 4] = ["input_layernorm", "cos", "sin", "mask"];

fn phi(config: &mut Config, choice: &Choice) -> SpecText {
    let mut model = Decoder::read_turned(config, &PHI, 0.5);
    model.qkv_bias = true;
    model.out_bias = true;
    model.activation = Activation::read(config, &["hidden_act"], "gelu_new");
    let eps = config.not_negative(&["layer_norm_eps"], 1e-5);
    let p = config.dropout(&["resid_pdrop"], 0.0);
    let embedding_dropout = config.dropout(&["embd_pdrop"], 0.0);
    if config.flag(&["qk_layernorm"], false) {
        model.query_key_norm = true;
    }

    let mut spec = SpecText::new(head_comment(choice), config.name("phi"));
    model.begin(config, choice, &mut spec);
    if model.kv_heads != model.heads {
        spec.block(parts::share());
    }
    if model.query_key_norm {
        spec.block(Block::new("head_norm", &["x"]).layer(layer_norm("norm", eps)));
    }
    spec.block(model.attention("attention", &INPUTS, &model.masked()));
    let act = model.activation.of(&mut spec, "fc1");
    spec.block(Block::new("feed_forward", &["x"]).layers([
        linear("fc1", "hidden", true, model.std),
        formula("act", act),
        linear("fc2", "width", true, model.std),
    ]));
    spec.block(Block::new("decoder", &INPUTS).layers([
        layer_norm("input_layernorm", eps).reads(&["x"]),
        op("self_attn", "attention").reads(&READS),
        dropout("attn_dropout", p),
        op("mlp", "feed_forward").reads(&["input_layernorm"]),
        dropout("mlp_dropout", p),
        formula("", "attn_dropout + mlp_dropout + x"),
    ]));
    spec.layer(model.embedding());
    spec.layer(dropout("embed_dropout", embedding_dropout));
    model
        .rope
        .tables(&mut spec, "", model.turned(), "embed_tokens");
    spec.layer(parts::causal_mask("mask", None));
    let kind = Kind {
        block: "decoder",
        reads: &["cosine", "sine", "mask"],
    };
    parts::stack(
        &mut spec,
        "layers",
        &vec![kind; model.layers as usize],
        "embed_dropout",
    );
    spec.layer(layer_norm("final_layernorm", eps));
    match choice.task {
        Task::CausalLm => {
            spec.layer(match model.tied {
                true => op("logits", "linear")
                    .set("out_features", "vocab")
                    .set("weight", "embed_tokens.weight"),
                false => linear("logits", "vocab", true, model.std),
            });
            heads::next_token_loss(&mut spec, model.vocab);
        }
        _ => model.finish(&mut spec, config, choice, None),
    }
    spec
}

fn phi3(config: &mut Config, choice: &Choice) -> SpecText {
    let defaults = Defaults {
        width: 3072,
        layers: 32,
        vocab: 32064,
        positions: 4096,
        padding: Some(32000),
        ..PHI
    };
    let model = Decoder::read(config, &defaults);
    let p = config.dropout(&["resid_pdrop"], 0.0);
    let window = config.optional_size(&["sliding_window"]);

    let mut spec = SpecText::new(head_comment(choice), config.name("phi3"));
    model.begin(config, choice, &mut spec);
    model.shared_blocks(&mut spec);
    let rotate = model.rotate();
    let kv = model.kv();
    let (key, value) = model.shared("k", "v");
    let part = |from: &str, to: &str, count: &str| {
        format!("qkv_proj[..., {from}:{to}].reshape(batch, seq, {count}, head).transpose(1, 2)")
    };
    let (first, second) = ("heads * head", format!("(heads + {kv}) * head"));
    spec.block(
        Block::new("attention", &INPUTS).layers([
            linear(
                "qkv_proj",
                &format!("(heads + 2 * {kv}) * head"),
                false,
                model.std,
            )
            .reads(&["x"]),
            formula(
                "q",
                format!("{rotate}({}, cos, sin)", part("", first, "heads")),
            ),
            formula(
                "k",
                format!("{rotate}({}, cos, sin)", part(first, &second, kv)),
            ),
            formula("v", part(&second, "", kv)),
            formula("attn", model.masked().of("q", key, value)),
            formula("joined", parts::JOINED),
            linear("o_proj", "width", false, model.std),
        ]),
    );
    let act = model.activation.of(&mut spec, "gate");
    spec.block(
        Block::new("feed_forward", &["x"]).layers([
            linear("gate_up_proj", "2 * hidden", false, model.std)
                .names(&["gate", "up"])
                .set("split", 2u64),
            formula("gated", format!("up * {act}")),
            linear("down_proj", "width", false, model.std),
        ]),
    );
    spec.block(Block::new("decoder", &INPUTS).layers([
        op("input_layernorm", "norm").reads(&["x"]),
        op("self_attn", "attention").reads(&READS),
        dropout("resid_attn_dropout", p),
        formula("h", "x + resid_attn_dropout"),
        op("post_attention_layernorm", "norm"),
        op("mlp", "feed_forward"),
        dropout("resid_mlp_dropout", p),
        formula("", "h + resid_mlp_dropout"),
    ]));
    spec.layer(model.embedding());
    model
        .rope
        .tables(&mut spec, "", model.turned(), "embed_tokens");
    spec.layer(parts::causal_mask("mask", window));
    let kind = Kind {
        block: "decoder",
        reads: &["cosine", "sine", "mask"],
    };
    parts::stack(
        &mut spec,
        "layers",
        &vec![kind; model.layers as usize],
        "embed_tokens",
    );
    spec.layer(op("norm", "norm"));
    model.finish(&mut spec, config, choice, None);
    spec
}
