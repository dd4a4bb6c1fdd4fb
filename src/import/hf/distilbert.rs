//! DistilBERT: BERT without types of tokens and without a pooler.

use super::config::Config;
use super::decoder;
use super::heads::{self, Positions};
use super::parts::{self, Activation, Attention, Kind, dropout, embedding, layer_norm, linear};
use super::text::{Block, SpecText, Tensor, formula};
use super::{Choice, ModelType, Task, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "distilbert",
    tasks: &[
        Task::MaskedLm,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::QuestionAnswering,
        Task::Base,
    ],
    write,
}];

/// What its norms add to the variance, whatever the configuration says.
const EPS: f64 = 1e-12;

fn write(config: &mut Config, choice: &Choice) -> SpecText {
    let vocab = config.size(&["vocab_size"], 30522);
    let positions = config.size(&["max_position_embeddings"], 512);
    let layers = config.layers(&["n_layers", "num_hidden_layers"], 6);
    let heads = config.size(&["n_heads", "num_attention_heads"], 12);
    let width = config.size(&["dim", "hidden_size"], 768);
    let hidden = config.size(&["hidden_dim"], 3072);
    let p = config.dropout(&["dropout"], 0.1);
    let attention_dropout = config.dropout(&["attention_dropout"], 0.1);
    let activation = Activation::read(config, &["activation"], "gelu");
    let std = config.not_negative(&["initializer_range"], 0.02);
    let answer_dropout = config.dropout(&["qa_dropout"], 0.1);
    let class_dropout = config.dropout(&["seq_classif_dropout"], 0.2);
    let padding = config.token(&["pad_token_id"], Some(0));
    let tied = config.flag(&["tie_word_embeddings"], true);
    config.divides(("dim", width), ("n_heads", heads));

    let mut spec = SpecText::new(head_comment(choice), config.name("distilbert"));
    let seq = heads::sizes(&mut spec, config, choice, Positions::Table(positions));
    spec.dim("positions", positions);
    spec.dim("vocab", vocab);
    spec.dim("width", width);
    spec.dim("hidden", hidden);
    spec.dim("heads", heads);
    spec.dim("head", "width / heads");
    heads::tokens(&mut spec, vocab);
    let last = i64::try_from(positions).unwrap_or(i64::MAX) - 1;
    spec.buffer(Tensor::integers(
        "position_ids",
        &["1", "positions"],
        0,
        last,
    ));

    let call = Attention {
        mask: None,
        causal: false,
        dropout: attention_dropout,
        scale: None,
    };
    spec.block(parts::split_heads());
    let split = |x: &str| format!("split_heads({x}, length=seq, count=heads, size=head)");
    let act = activation.of(&mut spec, "lin1");
    spec.block(Block::new("transformer_block", &["x"]).layers([
        linear("q_lin", "width", true, std).reads(&["x"]),
        linear("k_lin", "width", true, std).reads(&["x"]),
        linear("v_lin", "width", true, std).reads(&["x"]),
        formula(
            "attn",
            call.of(&split("q_lin"), &split("k_lin"), &split("v_lin")),
        ),
        formula("joined", parts::JOINED),
        linear("out_lin", "width", true, std),
        formula("sum_1", "out_lin + x"),
        layer_norm("sa_layer_norm", EPS),
        linear("lin1", "hidden", true, std),
        formula("act", act),
        linear("lin2", "width", true, std),
        dropout("drop", p),
        formula("sum_2", "drop + sa_layer_norm"),
        layer_norm("output_layer_norm", EPS),
    ]));

    spec.layer(decoder::padded(
        embedding("word_embeddings", "vocab", "width", std).reads(&["tokens"]),
        padding,
        vocab,
    ));
    spec.layer(formula("places", "position_ids[:, :seq]"));
    spec.layer(embedding("position_embeddings", "positions", "width", std));
    spec.layer(formula("sum", "word_embeddings + position_embeddings"));
    spec.layer(layer_norm("norm", EPS));
    spec.layer(dropout("embeddings", p));
    let kind = Kind {
        block: "transformer_block",
        reads: &[],
    };
    parts::stack(
        &mut spec,
        "layer",
        &vec![kind; layers as usize],
        "embeddings",
    );
    match choice.task {
        Task::MaskedLm => {
            spec.layer(linear("vocab_transform", "width", true, std));
            let act = activation.of(&mut spec, "vocab_transform");
            spec.layer(formula("vocab_act", act));
            spec.layer(layer_norm("vocab_layer_norm", EPS));
            heads::masked_logits(&mut spec, tied, std, false);
            heads::token_loss(&mut spec, vocab);
        }
        Task::SequenceClassification => {
            let classes = heads::classes(config);
            spec.dim("classes", classes);
            spec.layer(formula("first", "layer[:, 0]"));
            spec.layer(linear("pre_classifier", "width", true, std));
            spec.layer(formula("pooled", "relu(pre_classifier)"));
            spec.layer(dropout("dropout", class_dropout));
            spec.layer(linear("logits", "classes", true, std));
            heads::class_loss(&mut spec, config, classes);
        }
        Task::TokenClassification => heads::token_classes(&mut spec, config, p, std),
        Task::QuestionAnswering => {
            spec.layer(dropout("dropout", answer_dropout));
            heads::spans(&mut spec, seq, std);
        }
        _ => {}
    }
    spec
}
