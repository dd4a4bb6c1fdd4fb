//! BLOOM: positions as a slope on the scores, a norm behind the embedding.

use super::config::Config;
use super::decoder;
use super::heads::{self, Positions};
use super::parts::{self, Kind, dropout, embedding, layer_norm, linear};
use super::text::{Block, SpecText, formula, op, real};
use super::{Choice, ModelType, Task, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "bloom",
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
    let vocab = config.size(&["vocab_size"], 250_880);
    let width = config.size(&["hidden_size", "n_embed"], 64);
    let layers = config.layers(&["n_layer", "num_hidden_layers"], 2);
    let heads = config.size(&["n_head", "num_attention_heads"], 8);
    let eps = config.not_negative(&["layer_norm_epsilon"], 1e-5);
    let std = config.not_negative(&["initializer_range"], 0.02);
    let behind = config.flag(&["apply_residual_connection_post_layernorm"], false);
    let p = config.dropout(&["hidden_dropout"], 0.0);
    let attention_dropout = config.dropout(&["attention_dropout"], 0.0);
    let tied = config.flag(&["tie_word_embeddings"], true);
    if config.flag(&["slow_but_exact"], false) && config.size(&["pretraining_tp"], 1) > 1 {
        config.unsupported("slow_but_exact", "true");
    }
    config.divides(("hidden_size", width), ("n_head", heads));

    let mut spec = SpecText::new(head_comment(choice), config.name("bloom"));
    let positions = config.size(&["seq_length"], 2048);
    let seq = heads::sizes(&mut spec, config, choice, Positions::Computed(positions));
    spec.dim("vocab", vocab);
    spec.dim("width", width);
    spec.dim("heads", heads);
    spec.dim("head", "width / heads");
    heads::tokens(&mut spec, vocab);

    let scale = real((width as f64 / heads as f64).powf(-0.5));
    let part =
        |at: u64| format!("qkv[..., {at}, :].transpose(1, 2).reshape(batch * heads, seq, head)");
    spec.block(
        Block::new("self_attention", &["x", "residual", "alibi", "mask"]).layers([
            linear("query_key_value", "3 * width", true, std).reads(&["x"]),
            formula("qkv", "query_key_value.reshape(batch, seq, heads, 3, head)"),
            formula("q", part(0)),
            formula("k", format!("{}.transpose(-1, -2)", part(1))),
            formula("v", part(2)),
            formula("scores", format!("baddbmm(alibi, q, k, alpha={scale})")),
            formula(
                "weights",
                "softmax(scores.reshape(batch, heads, seq, seq) + mask, dim=-1)",
            ),
            dropout("attention_dropout", attention_dropout),
            formula(
                "context",
                "bmm(attention_dropout.reshape(batch * heads, seq, seq), v)",
            ),
            formula(
                "joined",
                "context.reshape(batch, heads, seq, head).permute(0, 2, 1, 3).reshape(batch, seq, width)",
            ),
            linear("dense", "width", true, std),
            dropout("drop", p),
            formula("", "residual + drop"),
        ]),
    );
    spec.block(Block::new("feed_forward", &["x", "residual"]).layers([
        linear("dense_h_to_4h", "4 * width", true, std).reads(&["x"]),
        op("act", "gelu").set("approximate", "tanh"),
        linear("dense_4h_to_h", "width", true, std),
        dropout("drop", p),
        formula("", "residual + drop"),
    ]));
    let (first, second) = match behind {
        true => ("input_layernorm", "post_attention_layernorm"),
        false => ("x", "self_attention"),
    };
    spec.block(Block::new("decoder", &["x", "alibi", "mask"]).layers([
        layer_norm("input_layernorm", eps).reads(&["x"]),
        op("self_attention", "self_attention").reads(&["input_layernorm", first, "alibi", "mask"]),
        layer_norm("post_attention_layernorm", eps).reads(&["self_attention"]),
        op("mlp", "feed_forward").reads(&["post_attention_layernorm", second]),
    ]));

    spec.layer(embedding("word_embeddings", "vocab", "width", std).reads(&["tokens"]));
    spec.layer(layer_norm("word_embeddings_layernorm", eps));
    spec.layer(
        formula("slopes", slopes(heads)).note("Each head has its own slope over the positions."),
    );
    spec.layer(formula(
        "alibi",
        "(slopes[:, None, None] * arange(seq)).repeat(batch, 1, 1)",
    ));
    spec.layer(parts::added_mask("mask", None));
    let kind = Kind {
        block: "decoder",
        reads: &["alibi", "mask"],
    };
    let kinds = vec![kind; layers as usize];
    parts::stack(&mut spec, "h", &kinds, "word_embeddings_layernorm");
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

/// The slopes of that many heads as a formula: powers of one base for the greatest power of two in
/// the number of heads, and every other power of its root for the rest.
pub(super) fn slopes(heads: u64) -> String {
    let power = 1u64 << (63 - heads.max(1).leading_zeros());
    let base = real(2f64.powf(-8.0 / power as f64));
    let whole = format!("pow({base}, arange(1, {} + 1))", power);
    if power >= heads {
        return whole;
    }
    let root = real(2f64.powf(-4.0 / power as f64));
    let rest = heads - power;
    format!("cat([{whole}, pow({root}, arange(1, 2 * {rest} + 1, 2))])")
}
