//! GPT-Neo: layers that see the whole text take turns with layers that see a window of it.

use super::config::Config;
use super::decoder;
use super::heads::{self, Positions};
use super::parts::{self, Activation, Kind, dropout, embedding, layer_norm, linear};
use super::text::{Block, SpecText, Tensor, formula, op};
use super::{Choice, ModelType, Task, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "gpt_neo",
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
    let positions = config.size(&["max_position_embeddings"], 2048);
    let width = config.size(&["hidden_size"], 2048);
    let layers = config.layers(&["num_layers", "num_hidden_layers"], 24);
    let heads = config.size(&["num_heads", "num_attention_heads"], 16);
    let hidden = config.optional_size(&["intermediate_size"]);
    let window = config.size(&["window_size"], 256);
    let activation = Activation::read(config, &["activation_function"], "gelu_new");
    let p = config.dropout(&["resid_dropout"], 0.0);
    let embedding_dropout = config.dropout(&["embed_dropout"], 0.0);
    let attention_dropout = config.dropout(&["attention_dropout"], 0.0);
    let classifier_dropout = config.dropout(&["classifier_dropout"], 0.1);
    let eps = config.not_negative(&["layer_norm_epsilon"], 1e-5);
    let std = config.not_negative(&["initializer_range"], 0.02);
    let tied = config.flag(&["tie_word_embeddings"], true);
    let local = config.attention_types("attention_types", layers);
    config.divides(("hidden_size", width), ("num_heads", heads));

    let mut spec = SpecText::new(head_comment(choice), config.name("gpt_neo"));
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
    spec.dim("window", window);
    heads::tokens(&mut spec, vocab);

    spec.block(parts::split_heads());
    let split = |x: &str| format!("split_heads({x}, length=seq, count=heads, size=head)");
    let act = activation.of(&mut spec, "c_fc");
    spec.block(Block::new("feed_forward", &["x"]).layers([
        linear("c_fc", "hidden", true, std),
        formula("act", act),
        linear("c_proj", "width", true, std),
        dropout("dropout", p),
    ]));
    for (kind, is_local) in [("global", false), ("local", true)] {
        if !local.contains(&is_local) {
            continue;
        }
        let attention = format!("{kind}_attention");
        // Each layer keeps what it sees as a buffer.
        let seen = Tensor::new("bias", &["1", "1", "positions", "positions"]).set("dtype", "bool");
        spec.block(
            Block::new(&attention, &["x", "mask"])
                .note(match is_local {
                    true => "`bias` says what a place sees: itself and the window before it.",
                    false => "`bias` says what a place sees: itself and what stands before it.",
                })
                .buffer(seen)
                .layers([
                    linear("q_proj", "width", false, std).reads(&["x"]),
                    linear("k_proj", "width", false, std).reads(&["x"]),
                    linear("v_proj", "width", false, std).reads(&["x"]),
                    formula("q", split("q_proj")),
                    formula("k", split("k_proj")),
                    formula("v", split("v_proj")),
                    formula("scores", "q.float() @ k.float().transpose(-1, -2)"),
                    formula(
                        "seen",
                        "where(bias[:, :, :seq, :seq], scores, -3.4028234663852886e+38)",
                    ),
                    formula("weights", "softmax(seen + mask, dim=-1).to(v.dtype)"),
                    dropout("attn_dropout", attention_dropout),
                    formula("attn", "attn_dropout @ v"),
                    formula("joined", parts::JOINED),
                    linear("out_proj", "width", true, std),
                    dropout("resid_dropout", p),
                ]),
        );
        spec.block(
            Block::new(&format!("{kind}_layer"), &["x", "mask"]).layers([
                layer_norm("ln_1", eps).reads(&["x"]),
                op("attn", &attention).reads(&["ln_1", "mask"]),
                formula("h", "attn + x"),
                layer_norm("ln_2", eps),
                op("mlp", "feed_forward"),
                formula("", "h + mlp"),
            ]),
        );
    }

    spec.layer(parts::added_mask("mask", None));
    spec.layer(embedding("wte", "vocab", "width", std).reads(&["tokens"]));
    spec.layer(formula("places", "arange(seq)[None]"));
    spec.layer(embedding("wpe", "positions", "width", std));
    spec.layer(formula("embedded", "wte + wpe"));
    spec.layer(dropout("drop", embedding_dropout));
    let kinds: Vec<Kind<'_>> = local
        .iter()
        .map(|&local| Kind {
            block: match local {
                true => "local_layer",
                false => "global_layer",
            },
            reads: &["mask"],
        })
        .collect();
    parts::stack(&mut spec, "h", &kinds, "drop");
    spec.layer(layer_norm("ln_f", eps));
    let head = decoder::Head {
        tied: tied.then_some("wte.weight"),
        vocab,
        seq,
        std,
        classifier_dropout,
    };
    decoder::task_head(&mut spec, config, choice, head);
    spec
}
