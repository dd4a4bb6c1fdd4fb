//! GPT-2: learned positions, norms before each half of a layer, one projection to queries, keys and
//! values.

use super::config::Config;
use super::heads::{self, Positions};
use super::parts::{self, Activation, Attention, Kind, dropout, embedding, layer_norm, linear};
use super::text::{Block, SpecText, formula, op};
use super::{Choice, ModelType, Task, decoder, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "gpt2",
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
    let vocab = config.size(&["vocab_size"], 50257);
    let positions = config.size(&["n_positions", "max_position_embeddings", "n_ctx"], 1024);
    let width = config.size(&["n_embd", "hidden_size"], 768);
    let layers = config.layers(&["n_layer", "num_hidden_layers"], 12);
    let heads = config.size(&["n_head", "num_attention_heads"], 12);
    let hidden = config.optional_size(&["n_inner"]);
    let activation = Activation::read(config, &["activation_function"], "gelu_new");
    let residual_dropout = config.dropout(&["resid_pdrop"], 0.1);
    let embedding_dropout = config.dropout(&["embd_pdrop"], 0.1);
    let attention_dropout = config.dropout(&["attn_pdrop"], 0.1);
    let eps = config.not_negative(&["layer_norm_epsilon"], 1e-5);
    let std = config.not_negative(&["initializer_range"], 0.02);
    let tied = config.flag(&["tie_word_embeddings"], true);
    let scaled = config.flag(&["scale_attn_weights"], true);
    let by_layer = config.flag(&["scale_attn_by_inverse_layer_idx"], false);
    if config.flag(&["add_cross_attention"], false) {
        config.unsupported("add_cross_attention", "true");
    }
    config.divides(("n_embd", width), ("n_head", heads));

    let mut spec = SpecText::new(head_comment(choice), config.name("gpt2"));
    let seq = heads::sizes(&mut spec, config, choice, Positions::Table(positions));
    spec.dim("positions", positions);
    spec.dim("vocab", vocab);
    spec.dim("width", width);
    match hidden {
        Some(hidden) => spec.dim("hidden", hidden),
        None => spec.dim("hidden", "4 * width"),
    }
    spec.dim("heads", heads);
    spec.dim("head", "width / heads");
    spec.dim("layers", layers);
    heads::tokens(&mut spec, vocab);

    spec.block(parts::split_heads());
    // What is added to the residual stream starts smaller, the more is added to it.
    let last = format!("{} / sqrt(2 * layers)", super::text::real(std));
    let scale = match scaled {
        true => (width as f64 / heads as f64).powf(-0.5),
        false => 1.0,
    };
    // Layers differ only where the scores are divided by the layer's number.
    let kinds: Vec<String> = match by_layer {
        true => (0..layers).map(|at| format!("_{at}")).collect(),
        false => vec![String::new(); layers as usize],
    };
    let act = activation.of(&mut spec, "c_fc");
    spec.block(
        Block::new("feed_forward", &["x"])
            .layer(linear("c_fc", "hidden", true, std))
            .layer(formula("act", act))
            .layer(linear("c_proj", "width", true, std).init_std(&last))
            .layer(dropout("dropout", residual_dropout)),
    );
    for (at, kind) in kinds.iter().enumerate() {
        let call = Attention {
            mask: Some("mask".into()),
            causal: false,
            dropout: attention_dropout,
            scale: match (scaled, by_layer) {
                (true, false) => None,
                (_, false) => Some(scale),
                (_, true) => Some(scale / (at + 1) as f64),
            },
        };
        let split =
            |tensor: &str| format!("split_heads({tensor}, length=seq, count=heads, size=head)");
        spec.block(
            Block::new(&format!("attention{kind}"), &["x", "mask"])
                .layer(
                    linear("c_attn", "3 * width", true, std)
                        .reads(&["x"])
                        .names(&["q", "k", "v"])
                        .set("split", 3u64),
                )
                .layer(formula(
                    "attn",
                    call.of(&split("q"), &split("k"), &split("v")),
                ))
                .layer(formula("joined", parts::JOINED))
                .layer(linear("c_proj", "width", true, std).init_std(&last))
                .layer(dropout("resid_dropout", residual_dropout)),
        );
        spec.block(
            Block::new(&format!("decoder{kind}"), &["x", "mask"])
                .layer(layer_norm("ln_1", eps).reads(&["x"]))
                .layer(op("attn", &format!("attention{kind}")).reads(&["ln_1", "mask"]))
                .layer(formula("h", "attn + x"))
                .layer(layer_norm("ln_2", eps))
                .layer(op("mlp", "feed_forward"))
                .layer(formula("", "h + mlp")),
        );
    }

    spec.layer(parts::causal_mask("mask", None));
    spec.layer(embedding("wte", "vocab", "width", std).reads(&["tokens"]));
    spec.layer(formula("places", "arange(seq)[None]"));
    spec.layer(embedding("wpe", "positions", "width", std));
    spec.layer(formula("embedded", "wte + wpe"));
    spec.layer(dropout("drop", embedding_dropout));
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("decoder{kind}")).collect();
    let reads: &[&str] = &["mask"];
    let kinds: Vec<Kind<'_>> = kinds.iter().map(|block| Kind { block, reads }).collect();
    parts::stack(&mut spec, "h", &kinds, "drop");
    spec.layer(layer_norm("ln_f", eps));
    match choice.task {
        Task::CausalLm => {
            spec.layer(match tied {
                true => parts::tied("logits", "wte.weight"),
                false => linear("logits", "vocab", false, std),
            });
            heads::next_token_loss(&mut spec, vocab);
        }
        Task::SequenceClassification => {
            let padding = config.token(&["pad_token_id"], None);
            decoder::last_token_class(&mut spec, config, choice, padding, std);
        }
        Task::TokenClassification => {
            let usual = config.dropout(&["hidden_dropout"], 0.1);
            let p = config.dropout(&["classifier_dropout"], usual);
            heads::token_classes(&mut spec, config, p, std);
        }
        Task::QuestionAnswering => heads::spans(&mut spec, seq, std),
        _ => {}
    }
    spec
}
