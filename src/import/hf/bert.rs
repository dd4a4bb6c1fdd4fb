//! BERT and what differs from it in embeddings and heads: RoBERTa, XLM-RoBERTa, ELECTRA.

use super::config::Config;
use super::decoder;
use super::heads::{self, Positions};
use super::parts::{self, Activation, Attention, Kind, dropout, embedding, layer_norm, linear};
use super::text::{Block, SpecText, Tensor, formula};
use super::{Choice, ModelType, Task, head_comment};

const TASKS: &[Task] = &[
    Task::MaskedLm,
    Task::SequenceClassification,
    Task::TokenClassification,
    Task::QuestionAnswering,
    Task::Base,
];

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[
    ModelType {
        name: "bert",
        tasks: TASKS,
        write: |config, choice| write(config, choice, Kin::Bert),
    },
    ModelType {
        name: "roberta",
        tasks: TASKS,
        write: |config, choice| write(config, choice, Kin::Roberta),
    },
    ModelType {
        name: "xlm-roberta",
        tasks: TASKS,
        write: |config, choice| write(config, choice, Kin::Roberta),
    },
    ModelType {
        name: "electra",
        tasks: TASKS,
        write: |config, choice| write(config, choice, Kin::Electra),
    },
];

/// Which of them a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kin {
    Bert,
    Roberta,
    Electra,
}

/// What a configuration says.
struct Bert {
    vocab: u64,
    types: u64,
    positions: u64,
    /// Elements of an embedding.
    narrow: u64,
    width: u64,
    dropout: f64,
    std: f64,
    eps: f64,
    padding: Option<i64>,
    tied: bool,
    classifier_dropout: f64,
}

fn write(config: &mut Config, choice: &Choice, kin: Kin) -> SpecText {
    let (vocab, width, heads, hidden) = match kin {
        Kin::Bert => (30522, 768, 12, 3072),
        Kin::Roberta => (50265, 768, 12, 3072),
        Kin::Electra => (30522, 256, 4, 1024),
    };
    let width = config.size(&["hidden_size"], width);
    let dropout = config.dropout(&["hidden_dropout_prob"], 0.1);
    let padding = match kin {
        Kin::Roberta => 1,
        Kin::Bert | Kin::Electra => 0,
    };
    let model = Bert {
        vocab: config.size(&["vocab_size"], vocab),
        types: config.size(&["type_vocab_size"], 2),
        positions: config.size(&["max_position_embeddings"], 512),
        narrow: match kin {
            Kin::Electra => config.size(&["embedding_size"], 128),
            Kin::Bert | Kin::Roberta => width,
        },
        width,
        dropout,
        std: config.not_negative(&["initializer_range"], 0.02),
        eps: config.not_negative(&["layer_norm_eps"], 1e-12),
        padding: config.token(&["pad_token_id"], Some(padding)),
        tied: config.flag(&["tie_word_embeddings"], true),
        classifier_dropout: config.dropout(&["classifier_dropout"], dropout),
    };
    let heads = config.size(&["num_attention_heads"], heads);
    let hidden = config.size(&["intermediate_size"], hidden);
    let layers = config.layers(&["num_hidden_layers"], 12);
    let activation = Activation::read(config, &["hidden_act"], "gelu");
    let attention_dropout = config.dropout(&["attention_probs_dropout_prob"], 0.1);
    for key in ["is_decoder", "add_cross_attention"] {
        if config.flag(&[key], false) {
            config.unsupported(key, "true");
        }
    }
    config.divides(("hidden_size", width), ("num_attention_heads", heads));

    let mut spec = SpecText::new(head_comment(choice), config.name(choice.model_type));
    // RoBERTa's positions begin behind the padding token's number.
    let first = match kin {
        Kin::Roberta => model.padding.unwrap_or(0).max(0) as u64 + 1,
        Kin::Bert | Kin::Electra => 0,
    };
    let most = Positions::Table(model.positions.saturating_sub(first).max(1));
    let seq = heads::sizes(&mut spec, config, choice, most);
    spec.dim("positions", model.positions);
    spec.dim("vocab", model.vocab);
    spec.dim("types", model.types);
    spec.dim("width", width);
    if model.narrow != width {
        spec.dim("narrow", model.narrow);
    }
    spec.dim("hidden", hidden);
    spec.dim("heads", heads);
    spec.dim("head", "width / heads");
    heads::tokens(&mut spec, model.vocab);

    let call = Attention {
        mask: None,
        causal: false,
        dropout: attention_dropout,
        scale: None,
    };
    spec.block(parts::split_heads());
    let act = activation.of(&mut spec, "intermediate");
    spec.block(post_norm_layer(&model, &call).layers([
        linear("intermediate", "hidden", true, model.std),
        formula("act", act),
        linear("output", "width", true, model.std),
        parts::dropout("drop_2", dropout),
        formula("sum_2", "drop_2 + norm_1"),
        layer_norm("norm_2", model.eps),
    ]));

    embed(&mut spec, &model, kin);
    let kind = Kind {
        block: "encoder_layer",
        reads: &[],
    };
    let input = match model.narrow == width {
        true => "embeddings",
        false => {
            spec.layer(linear("embeddings_project", "width", true, model.std));
            "embeddings_project"
        }
    };
    parts::stack(&mut spec, "layer", &vec![kind; layers as usize], input);
    finish(&mut spec, config, choice, &model, kin, activation, seq);
    spec
}

/// The block `encoder_layer` up to the norm behind its attention.
fn post_norm_layer(model: &Bert, call: &Attention) -> Block {
    let split = |x: &str| format!("split_heads({x}, length=seq, count=heads, size=head)");
    Block::new("encoder_layer", &["x"]).layers([
        linear("query", "width", true, model.std).reads(&["x"]),
        linear("key", "width", true, model.std).reads(&["x"]),
        linear("value", "width", true, model.std).reads(&["x"]),
        formula(
            "attn",
            call.of(&split("query"), &split("key"), &split("value")),
        ),
        formula("joined", parts::JOINED),
        linear("dense", "width", true, model.std),
        parts::dropout("drop_1", model.dropout),
        formula("sum_1", "drop_1 + x"),
        layer_norm("norm_1", model.eps),
    ])
}

/// Words, types and positions.
fn embed(spec: &mut SpecText, model: &Bert, kin: Kin) {
    let last = i64::try_from(model.positions).unwrap_or(i64::MAX) - 1;
    spec.buffer(Tensor::integers(
        "position_ids",
        &["1", "positions"],
        0,
        last,
    ));
    spec.buffer(Tensor::integers(
        "token_type_ids",
        &["1", "positions"],
        0,
        0,
    ));
    let narrow = match model.narrow == model.width {
        true => "width",
        false => "narrow",
    };
    spec.layer(decoder::padded(
        embedding("word_embeddings", "vocab", narrow, model.std).reads(&["tokens"]),
        model.padding,
        model.vocab,
    ));
    let positions =
        embedding("position_embeddings", "positions", narrow, model.std).reads(&["places"]);
    let positions = match (kin, model.padding) {
        (Kin::Roberta, Some(padding)) => {
            let seen = format!("(tokens != {padding}).int()");
            spec.layer(
                formula("seen", seen).note("Positions count the tokens that are no padding."),
            );
            let places = format!("(cumsum(seen, 1).int() * seen).long() + {padding}");
            spec.layer(formula("places", places));
            spec.layer(formula(
                "types_of_places",
                "token_type_ids.expand(batch, positions).gather(1, places)",
            ));
            decoder::padded(positions, model.padding, model.positions)
        }
        _ => {
            spec.layer(formula("places", "position_ids[:, :seq]"));
            spec.layer(formula(
                "types_of_places",
                "token_type_ids.gather(1, places).expand(batch, seq)",
            ));
            positions
        }
    };
    spec.layer(
        embedding("token_type_embeddings", "types", narrow, model.std).reads(&["types_of_places"]),
    );
    spec.layer(positions);
    spec.layer(formula(
        "sum",
        "word_embeddings + token_type_embeddings + position_embeddings",
    ));
    spec.layer(layer_norm("embeddings_norm", model.eps));
    spec.layer(dropout("embeddings", model.dropout));
}

/// The head of the task, and its loss.
fn finish(
    spec: &mut SpecText,
    config: &mut Config,
    choice: &Choice,
    model: &Bert,
    kin: Kin,
    activation: Activation,
    seq: u64,
) {
    let Bert { std, eps, .. } = *model;
    let p = model.classifier_dropout;
    match choice.task {
        Task::MaskedLm => {
            let (narrow, act) = match kin {
                Kin::Bert => ("width", activation.of(spec, "transform")),
                Kin::Roberta => ("width", "gelu(transform)".into()),
                Kin::Electra if model.narrow == model.width => ("width", "gelu(transform)".into()),
                Kin::Electra => ("narrow", "gelu(transform)".into()),
            };
            spec.layer(linear("transform", narrow, true, std));
            spec.layer(formula("transform_act", act));
            spec.layer(layer_norm("transform_norm", eps));
            heads::masked_logits(spec, model.tied, std, kin != Kin::Electra);
            heads::token_loss(spec, model.vocab);
        }
        Task::SequenceClassification => {
            let classes = heads::classes(config);
            spec.dim("classes", classes);
            spec.layer(formula("first", "layer[:, 0]"));
            match kin {
                Kin::Bert => {
                    spec.layer(linear("pooler", "width", true, std));
                    spec.layer(formula("pooled", "tanh(pooler)"));
                }
                Kin::Roberta | Kin::Electra => {
                    spec.layer(dropout("classifier_dropout", p));
                    spec.layer(linear("dense", "width", true, std));
                    spec.layer(formula(
                        "pooled",
                        match kin {
                            Kin::Electra => "gelu(dense)",
                            _ => "tanh(dense)",
                        },
                    ));
                }
            }
            spec.layer(dropout("dropout", p));
            spec.layer(linear("logits", "classes", true, std));
            heads::class_loss(spec, config, classes);
        }
        Task::TokenClassification => heads::token_classes(spec, config, p, std),
        Task::QuestionAnswering => heads::spans(spec, seq, std),
        _ if kin == Kin::Electra => {}
        _ => {
            spec.layer(formula("first", "layer[:, 0]"));
            spec.layer(linear("pooler", "width", true, std));
            spec.layer(formula("pooled", "tanh(pooler)"));
            spec.outputs(&["layer", "pooled"]);
        }
    }
}
