//! OPT: learned positions behind an offset, embeddings that may be narrower than the model.

use super::config::Config;
use super::decoder;
use super::heads::{self, Positions};
use super::parts::{self, Activation, Attention, Kind, dropout, embedding, linear};
use super::text::{Block, Layer, SpecText, formula, op, real};
use super::{Choice, ModelType, Task, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "opt",
    tasks: &[
        Task::CausalLm,
        Task::SequenceClassification,
        Task::QuestionAnswering,
        Task::Base,
    ],
    write,
}];

fn write(config: &mut Config, choice: &Choice) -> SpecText {
    let vocab = config.size(&["vocab_size"], 50272);
    let width = config.size(&["hidden_size"], 768);
    let layers = config.layers(&["num_hidden_layers"], 12);
    let hidden = config.size(&["ffn_dim"], 3072);
    let positions = config.size(&["max_position_embeddings"], 2048);
    let before = config.flag(&["do_layer_norm_before"], true);
    let no_final = config.flag(&["_remove_final_layer_norm"], false);
    let narrow = config
        .optional_size(&["word_embed_proj_dim"])
        .unwrap_or(width);
    let p = config.dropout(&["dropout"], 0.1);
    let attention_dropout = config.dropout(&["attention_dropout"], 0.0);
    let heads = config.size(&["num_attention_heads"], 12);
    let activation = Activation::read(config, &["activation_function"], "relu");
    let std = config.not_negative(&["init_std"], 0.02);
    let padding = config.token(&["pad_token_id"], Some(1));
    let bias = config.flag(&["enable_bias"], true);
    let affine = config.flag(&["layer_norm_elementwise_affine"], true);
    let tied = config.flag(&["tie_word_embeddings"], true);
    config.divides(("hidden_size", width), ("num_attention_heads", heads));
    // Which layers are left out is drawn anew in each step; all are counted.
    config.dropout(&["layerdrop"], 0.0);

    let mut spec = SpecText::new(head_comment(choice), config.name("opt"));
    let seq = heads::sizes(&mut spec, config, choice, Positions::Table(positions));
    spec.dim("positions", positions);
    spec.dim("vocab", vocab);
    spec.dim("width", width);
    if narrow != width {
        spec.dim("narrow", narrow);
    }
    spec.dim("hidden", hidden);
    spec.dim("heads", heads);
    spec.dim("head", "width / heads");
    heads::tokens(&mut spec, vocab);

    let norm = |name: &str| -> Layer {
        op(name, "layer_norm")
            .set("eps", 1e-5)
            .set_if(!affine, "elementwise_affine", false)
    };
    let call = Attention {
        mask: None,
        causal: true,
        dropout: attention_dropout,
        scale: Some(1.0),
    };
    let scale = real((width as f64 / heads as f64).powf(-0.5));
    spec.block(parts::split_heads());
    let split = |x: &str| format!("split_heads({x}, length=seq, count=heads, size=head)");
    spec.block(
        Block::new("attention", &["x"])
            .layer(linear("q_proj", "width", bias, std).reads(&["x"]))
            .layer(formula("q", format!("q_proj * {scale}")))
            .layer(linear("k_proj", "width", bias, std).reads(&["x"]))
            .layer(linear("v_proj", "width", bias, std).reads(&["x"]))
            .layer(formula(
                "attn",
                call.of(&split("q"), &split("k_proj"), &split("v_proj")),
            ))
            .layer(formula("joined", parts::JOINED))
            .layer(linear("out_proj", "width", bias, std)),
    );
    let act = activation.of(&mut spec, "fc1");
    let mut block = Block::new("decoder", &["x"]);
    block = match before {
        true => block
            .layer(norm("self_attn_layer_norm"))
            .layer(op("self_attn", "attention"))
            .layer(dropout("drop_1", p))
            .layer(formula("h", "x + drop_1"))
            .layer(norm("final_layer_norm")),
        false => block
            .layer(op("self_attn", "attention"))
            .layer(dropout("drop_1", p))
            .layer(formula("sum", "x + drop_1"))
            .layer(norm("self_attn_layer_norm").names(&["h"])),
    };
    block = block
        .layer(linear("fc1", "hidden", bias, std))
        .layer(formula("act", act))
        .layer(linear("fc2", "width", bias, std))
        .layer(dropout("drop_2", p))
        .layer(formula("added", "h + drop_2"));
    if !before {
        block = block.layer(norm("final_layer_norm"));
    }
    spec.block(block);

    spec.layer(
        formula("places", "arange(seq).expand(batch, seq) + 2")
            .note("The first two rows of the table stand for no position."),
    );
    spec.layer(embedding("embed_positions", "positions + 2", "width", std).reads(&["places"]));
    let tokens = match narrow == width {
        true => embedding("embed_tokens", "vocab", "width", std),
        false => embedding("embed_tokens", "vocab", "narrow", std),
    };
    spec.layer(decoder::padded(tokens.reads(&["tokens"]), padding, vocab));
    let embedded = match narrow == width {
        true => "embed_tokens + embed_positions",
        false => {
            spec.layer(linear("project_in", "width", false, std));
            "project_in + embed_positions"
        }
    };
    spec.layer(formula("embedded", embedded));
    let kind = Kind {
        block: "decoder",
        reads: &[],
    };
    parts::stack(
        &mut spec,
        "layers",
        &vec![kind; layers as usize],
        "embedded",
    );
    if before && !no_final {
        spec.layer(norm("final_layer_norm"));
    }
    if narrow != width {
        spec.layer(linear("project_out", "narrow", false, std));
    }
    match choice.task {
        Task::CausalLm => {
            spec.layer(match tied {
                true => parts::tied("logits", "embed_tokens.weight"),
                false => linear("logits", "vocab", false, std),
            });
            heads::next_token_loss(&mut spec, vocab);
        }
        Task::SequenceClassification => {
            decoder::last_token_class(&mut spec, config, choice, padding, std);
        }
        Task::QuestionAnswering => heads::spans(&mut spec, seq, std),
        _ => {}
    }
    spec
}
