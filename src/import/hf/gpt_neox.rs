//! GPT-NeoX and Pythia: rotary positions over a part of each head, attention and feed-forward layer
//! side by side.

use super::config::Config;
use super::decoder;
use super::heads::{self, Positions};
use super::parts::{self, Activation, Attention, Kind, dropout, embedding, layer_norm, linear};
use super::rope::{self, Rope};
use super::text::{Block, SpecText, formula, op};
use super::{Choice, ModelType, Task, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "gpt_neox",
    tasks: &[
        Task::CausalLm,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::QuestionAnswering,
        Task::Base,
    ],
    write,
}];

fn write(config: &mut Config, choice: &Choice) -> SpecText {
    let vocab = config.size(&["vocab_size"], 50432);
    let width = config.size(&["hidden_size"], 6144);
    let layers = config.layers(&["num_hidden_layers"], 44);
    let heads = config.size(&["num_attention_heads"], 64);
    let hidden = config.size(&["intermediate_size"], 24576);
    let activation = Activation::read(config, &["hidden_act"], "gelu");
    let attention_dropout = config.dropout(&["attention_dropout"], 0.0);
    let hidden_dropout = config.dropout(&["hidden_dropout"], 0.0);
    let classifier_dropout = config.dropout(&["classifier_dropout"], 0.1);
    let positions = config.size(&["max_position_embeddings"], 2048);
    let std = config.not_negative(&["initializer_range"], 0.02);
    let eps = config.not_negative(&["layer_norm_eps"], 1e-5);
    let tied = config.flag(&["tie_word_embeddings"], false);
    let parallel = config.flag(&["use_parallel_residual"], true);
    let bias = config.flag(&["attention_bias"], true);
    let mut rope = Rope::read(config, 10000.0, positions);
    rope.partial = rope.partial.or(Some(0.25));
    config.divides(("hidden_size", width), ("num_attention_heads", heads));
    let head = (width / heads).max(1);
    let turned = rope.turned(config, head);

    let mut spec = SpecText::new(head_comment(choice), config.name("gpt_neox"));
    let seq = heads::sizes(&mut spec, config, choice, Positions::Computed(positions));
    spec.dim("vocab", vocab);
    spec.dim("width", width);
    spec.dim("hidden", hidden);
    spec.dim("heads", heads);
    spec.dim("head", "width / heads");
    spec.dim("turned", turned);
    heads::tokens(&mut spec, vocab);

    spec.block(rope::rotate("turned"));
    spec.block(rope::rotate_part("turned"));
    let call = Attention {
        mask: Some("mask".into()),
        causal: false,
        dropout: attention_dropout,
        scale: None,
    };
    let qkv = "query_key_value.reshape(batch, seq, heads, 3 * head).transpose(1, 2)";
    spec.block(
        Block::new("self_attention", &["x", "cos", "sin", "mask"])
            .layer(linear("query_key_value", "3 * width", bias, std).reads(&["x"]))
            .layer(formula("qkv", qkv))
            .layer(formula("q", "rotate_part(qkv[..., :head], cos, sin)"))
            .layer(formula(
                "k",
                "rotate_part(qkv[..., head:2 * head], cos, sin)",
            ))
            .layer(formula("attn", call.of("q", "k", "qkv[..., 2 * head:]")))
            .layer(formula("joined", parts::JOINED))
            .layer(linear("dense", "width", bias, std)),
    );
    let act = activation.of(&mut spec, "dense_h_to_4h");
    spec.block(
        Block::new("feed_forward", &["x"])
            .layer(linear("dense_h_to_4h", "hidden", true, std))
            .layer(formula("act", act))
            .layer(linear("dense_4h_to_h", "width", true, std)),
    );
    let inputs = ["x", "cos", "sin", "mask"];
    let reads = ["input_layernorm", "cos", "sin", "mask"];
    let block = Block::new("decoder", &inputs)
        .layer(layer_norm("input_layernorm", eps).reads(&["x"]))
        .layer(op("attention", "self_attention").reads(&reads))
        .layer(dropout("post_attention_dropout", hidden_dropout));
    spec.block(match parallel {
        true => block
            .layer(layer_norm("post_attention_layernorm", eps).reads(&["x"]))
            .layer(op("mlp", "feed_forward"))
            .layer(dropout("post_mlp_dropout", hidden_dropout))
            .layer(formula("", "post_mlp_dropout + post_attention_dropout + x")),
        false => block
            .layer(formula("h", "post_attention_dropout + x"))
            .layer(layer_norm("post_attention_layernorm", eps))
            .layer(op("mlp", "feed_forward"))
            .layer(dropout("post_mlp_dropout", hidden_dropout))
            .layer(formula("", "post_mlp_dropout + h")),
    });

    spec.layer(embedding("embed_in", "vocab", "width", std).reads(&["tokens"]));
    spec.layer(dropout("emb_dropout", hidden_dropout));
    rope.tables(&mut spec, "", ("turned", turned), "embed_in");
    spec.layer(parts::causal_mask("mask", None));
    let kind = Kind {
        block: "decoder",
        reads: &["cosine", "sine", "mask"],
    };
    parts::stack(
        &mut spec,
        "layers",
        &vec![kind; layers as usize],
        "emb_dropout",
    );
    spec.layer(layer_norm("final_layer_norm", eps));
    let head = decoder::Head {
        tied: tied.then_some("embed_in.weight"),
        vocab,
        seq,
        std,
        classifier_dropout,
    };
    decoder::task_head(&mut spec, config, choice, head);
    spec
}
