//! Falcon: one projection to queries and shared keys and values, attention and feed-forward layer
//! side by side.

use super::bloom;
use super::config::Config;
use super::decoder;
use super::heads::{self, Positions};
use super::parts::{self, Activation, Attention, Kind, dropout, embedding, layer_norm, linear};
use super::rope::{self, Rope};
use super::text::{Block, SpecText, formula, op};
use super::{Choice, ModelType, Task, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "falcon",
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
    let vocab = config.size(&["vocab_size"], 65024);
    let width = config.size(&["n_embed", "hidden_size"], 4544);
    let layers = config.layers(&["num_hidden_layers"], 32);
    let heads = config.size(&["num_attention_heads"], 71);
    let norms = config.optional_size(&["num_ln_in_parallel_attn"]);
    let eps = config.not_negative(&["layer_norm_epsilon"], 1e-5);
    let std = config.not_negative(&["initializer_range"], 0.02);
    let p = config.dropout(&["hidden_dropout"], 0.0);
    let attention_dropout = config.dropout(&["attention_dropout"], 0.0);
    let given = config.optional_size(&["num_kv_heads"]).unwrap_or(heads);
    let alibi = config.flag(&["alibi"], false);
    let new = config.flag(&["new_decoder_architecture"], false);
    let multi_query = config.flag(&["multi_query"], true);
    let parallel = config.flag(&["parallel_attn"], true);
    let bias = config.flag(&["bias"], false);
    let positions = config.size(&["max_position_embeddings"], 2048);
    let hidden = config.optional_size(&["ffn_hidden_size"]);
    let activation = Activation::read(config, &["activation"], "gelu");
    let tied = config.flag(&["tie_word_embeddings"], true);
    let rope = Rope::read(config, 10000.0, positions);
    config.divides(("hidden_size", width), ("num_attention_heads", heads));
    let head = (width / heads).max(1);
    rope.turned(config, head);
    let kv_heads = match (new, multi_query) {
        (true, _) => given,
        (false, true) => 1,
        (false, false) => heads,
    };
    // The class reads both keys in ways that hold together for some configurations only.
    if parallel && !new && norms == Some(2) {
        config.unsupported(
            "num_ln_in_parallel_attn",
            "2 without `new_decoder_architecture`",
        );
    }
    if !new && !multi_query && given != heads {
        config.unsupported("num_kv_heads", "less than all heads without `multi_query`");
    }
    if new {
        config.divides(("num_attention_heads", heads), ("num_kv_heads", kv_heads));
        if !parallel {
            config.unsupported("parallel_attn", "false");
        }
    }

    let mut spec = SpecText::new(head_comment(choice), config.name("falcon"));
    let seq = heads::sizes(&mut spec, config, choice, Positions::Computed(positions));
    spec.dim("vocab", vocab);
    spec.dim("width", width);
    match hidden {
        Some(hidden) => spec.dim("hidden", hidden),
        None => spec.dim("hidden", "4 * width"),
    }
    spec.dim("heads", heads);
    spec.dim("kv_heads", kv_heads);
    spec.dim("head", "width / heads");
    heads::tokens(&mut spec, vocab);

    if !alibi {
        spec.block(rope::rotate("head"));
    }
    let call = Attention {
        mask: Some("mask".into()),
        causal: false,
        dropout: if alibi { attention_dropout } else { 0.0 },
        scale: None,
    };
    spec.block(attention(&call, (new, multi_query, alibi), bias, std));
    let act = activation.of(&mut spec, "dense_h_to_4h");
    spec.block(Block::new("feed_forward", &["x"]).layers([
        linear("dense_h_to_4h", "hidden", bias, std),
        formula("act", act),
        linear("dense_4h_to_h", "width", bias, std),
    ]));
    let two = new && norms.unwrap_or(2) == 2;
    let tables: &[&str] = match alibi {
        true => &["mask"],
        false => &["cos", "sin", "mask"],
    };
    let with = |first: &'static str| [&[first], tables].concat();
    let (inputs, reads) = (with("x"), with);
    let block = Block::new("decoder", &inputs);
    spec.block(match (two, parallel) {
        (true, _) => block.layers([
            layer_norm("ln_attn", eps).reads(&["x"]),
            layer_norm("ln_mlp", eps).reads(&["x"]),
            op("self_attention", "attention").reads(&reads("ln_attn")),
            op("mlp", "feed_forward").reads(&["ln_mlp"]),
            formula("both", "mlp + self_attention"),
            dropout("drop", p),
            formula("", "x + drop"),
        ]),
        (false, true) => block.layers([
            layer_norm("input_layernorm", eps).reads(&["x"]),
            op("self_attention", "attention").reads(&reads("input_layernorm")),
            op("mlp", "feed_forward").reads(&["input_layernorm"]),
            formula("both", "mlp + self_attention"),
            dropout("drop", p),
            formula("", "x + drop"),
        ]),
        (false, false) => block.layers([
            layer_norm("input_layernorm", eps).reads(&["x"]),
            op("self_attention", "attention").reads(&reads("input_layernorm")),
            dropout("drop_1", attention_dropout),
            formula("h", "x + drop_1"),
            layer_norm("post_attention_layernorm", eps),
            op("mlp", "feed_forward"),
            dropout("drop_2", p),
            formula("", "h + drop_2"),
        ]),
    });

    spec.layer(embedding("word_embeddings", "vocab", "width", std).reads(&["tokens"]));
    match alibi {
        false => {
            rope.tables(&mut spec, "", ("head", head), "word_embeddings");
            spec.layer(parts::causal_mask("mask", None));
        }
        true => {
            // It is there, though nothing reads it.
            rope.buffers(&mut spec, "", ("head", head));
            spec.layer(formula("slopes", bloom::slopes(heads)));
            let seen = "arange(seq)[None, :] <= arange(seq)[:, None]";
            spec.layer(
                formula(
                    "mask",
                    format!(
                        "where({seen}, slopes[None, :, None, None] * arange(seq) / sqrt(head), \
                         -3.4028234663852886e+38).expand(batch, heads, seq, seq).contiguous()"
                    ),
                )
                .note(
                    "Each head has its own slope over the positions; what comes later is hidden.",
                ),
            );
        }
    }
    let kind = Kind {
        block: "decoder",
        reads: match alibi {
            true => &["mask"],
            false => &["cosine", "sine", "mask"],
        },
    };
    parts::stack(
        &mut spec,
        "h",
        &vec![kind; layers as usize],
        "word_embeddings",
    );
    spec.layer(layer_norm("ln_f", eps));
    let classifier_dropout = config.dropout(&["classifier_dropout"], p);
    let head = decoder::Head {
        tied: tied.then_some("word_embeddings.weight"),
        vocab,
        seq,
        std,
        classifier_dropout,
    };
    decoder::task_head(&mut spec, config, choice, head);
    spec
}

/// The block of attention for the three ways in which queries, keys and values lie in one projection.
fn attention(
    call: &Attention,
    (new, multi_query, alibi): (bool, bool, bool),
    bias: bool,
    std: f64,
) -> Block {
    let outputs = match (new, multi_query) {
        (true, _) => "(heads + 2 * kv_heads) * head",
        (false, true) => "width + 2 * head",
        (false, false) => "3 * width",
    };
    let inputs: &[&str] = match alibi {
        true => &["x", "mask"],
        false => &["x", "cos", "sin", "mask"],
    };
    let block = Block::new("attention", inputs)
        .layer(linear("query_key_value", outputs, bias, std).reads(&["x"]));
    let block = match (new, multi_query) {
        (true, _) => block.layers([
            formula(
                "qkv",
                "query_key_value.reshape(batch, seq, kv_heads, heads // kv_heads + 2, head)",
            ),
            formula("q_all", "qkv[:, :, :, :heads // kv_heads].flatten(2, 3)"),
            formula(
                "k_all",
                "qkv[:, :, :, heads // kv_heads:heads // kv_heads + 1].expand(batch, seq, kv_heads, heads // kv_heads, head).flatten(2, 3)",
            ),
            formula(
                "v_all",
                "qkv[:, :, :, heads // kv_heads + 1:].expand(batch, seq, kv_heads, heads // kv_heads, head).flatten(2, 3)",
            ),
        ]),
        (false, true) => block.layers([
            formula("qkv", "query_key_value.reshape(batch, seq, heads + 2, head)"),
            formula("q_all", "qkv[:, :, :heads]"),
            formula("k_all", "qkv[:, :, heads:heads + 1]"),
            formula("v_all", "qkv[:, :, heads + 1:]"),
        ]),
        (false, false) => block.layers([
            formula("qkv", "query_key_value.reshape(batch, seq, heads, 3, head)"),
            formula("q_all", "qkv[..., 0, :]"),
            formula("k_all", "qkv[..., 1, :]"),
            formula("v_all", "qkv[..., 2, :]"),
        ]),
    };
    let shared = match (new, multi_query) {
        (true, _) | (false, false) => "heads",
        (false, true) => "kv_heads",
    };
    let split =
        |x: &str, count: &str| format!("{x}.transpose(1, 2).reshape(batch, {count}, seq, head)");
    let turned = |x: String| match alibi {
        true => x,
        false => format!("rotate({x}, cos, sin)"),
    };
    block.layers([
        formula("q", turned(split("q_all", "heads"))),
        formula("k", turned(split("k_all", shared))),
        formula("v", split("v_all", shared)),
        formula("attn", call.of("q", "k", "v")),
        formula(
            "joined",
            "attn.permute(0, 2, 1, 3).reshape(batch, seq, heads * head)",
        ),
        linear("dense", "width", bias, std),
    ])
}
