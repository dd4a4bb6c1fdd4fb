//! What stands on a model for its task: the head's loss and the labels that it reads.

use super::config::Config;
use super::parts;
use super::text::{SpecText, Tensor, formula, op};
use super::{Choice, DEFAULT_SEQ};

/// How a length of sequences is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Positions {
    /// Each position has an entry in a table: there are no more.
    Table(u64),
    /// Positions are computed; the model was made for that many.
    Computed(u64),
}

/// Declares `batch` and `seq`. A sequence longer than a table of positions is noted.
pub(super) fn sizes(
    spec: &mut SpecText,
    config: &mut Config,
    choice: &Choice,
    at: Positions,
) -> u64 {
    let (Positions::Table(most) | Positions::Computed(most)) = at;
    let seq = choice.seq.unwrap_or(most.min(DEFAULT_SEQ));
    if let (Positions::Table(_), true) = (at, seq > most) {
        config.fault(format!(
            "a sequence of {seq} tokens is longer than the {most} positions of the model"
        ));
    }
    spec.dim("batch", choice.batch);
    spec.dim("seq", seq);
    seq
}

/// Declares the input `tokens`, numbers below the dim `vocab`.
pub(super) fn tokens(spec: &mut SpecText, vocab: u64) {
    spec.input(Tensor::integers(
        "tokens",
        &["batch", "seq"],
        0,
        last(vocab),
    ));
}

/// The greatest number of a vocabulary.
pub(super) fn last(vocab: u64) -> i64 {
    i64::try_from(vocab).unwrap_or(i64::MAX) - 1
}

/// The number of a token that a formula needs: as said if it is one of the vocabulary, else the
/// usual one, or the last that there is.
pub(super) fn inside(token: Option<i64>, vocab: u64, usual: i64) -> i64 {
    let known = token.filter(|token| (0..=last(vocab)).contains(token));
    known.unwrap_or(usual.min(last(vocab)))
}

/// The loss of predicting the next token: of the layer `logits`, whose place `i` is held to the
/// label of place `i + 1`.
pub(super) fn next_token_loss(spec: &mut SpecText, vocab: u64) {
    spec.input(Tensor::integers(
        "labels",
        &["batch", "seq"],
        -100,
        last(vocab),
    ));
    spec.layer(
        formula(
            "next",
            "pad(labels, [0, 1], value=-100)[:, 1:].contiguous()",
        )
        .note("Each place is to predict the token behind it; -100 counts for no loss."),
    );
    spec.layer(op("loss", "cross_entropy").reads(&["logits", "next"]));
}

/// The loss of a class for each token, of the layer `logits`.
pub(super) fn token_loss(spec: &mut SpecText, classes: u64) {
    spec.input(Tensor::integers(
        "labels",
        &["batch", "seq"],
        -100,
        last(classes),
    ));
    spec.layer(op("loss", "cross_entropy").reads(&["logits", "labels"]));
}

/// Logits over the vocabulary behind a head of masked tokens, with a bias. Where the embedding's
/// weights are not theirs, some classes keep a second bias.
pub(super) fn masked_logits(spec: &mut SpecText, tied: bool, std: f64, second_bias: bool) {
    if tied {
        spec.layer(
            op("logits", "linear")
                .set("out_features", "vocab")
                .set("weight", "word_embeddings.weight"),
        );
        return;
    }
    if second_bias {
        let bias = Tensor::new("predictions_bias", &["vocab"]).set("init", "zeros");
        let reason = "the class keeps a second bias, which is that of the logits only where \
                      embeddings are tied";
        spec.param(parts::unread(bias, reason));
    }
    spec.layer(parts::linear("logits", "vocab", true, std));
}

/// A class for each token: dropout, a layer of logits, the loss.
pub(super) fn token_classes(spec: &mut SpecText, config: &mut Config, p: f64, std: f64) {
    let classes = classes(config);
    spec.dim("classes", classes);
    spec.layer(parts::dropout("dropout", p));
    spec.layer(parts::linear("logits", "classes", true, std));
    token_loss(spec, classes);
}

/// Where an answer begins and ends: a layer of two logits for each token, the loss.
pub(super) fn spans(spec: &mut SpecText, seq: u64, std: f64) {
    spec.layer(parts::linear("logits", "2", true, std));
    span_loss(spec, seq);
}

/// The number of classes of a configuration.
pub(super) fn classes(config: &mut Config) -> u64 {
    classes_or(config, 2)
}

/// The same where a class of Transformers has another number unless something is said.
pub(super) fn classes_or(config: &mut Config, usual: u64) -> u64 {
    match config.entries("id2label") {
        Some(0) | None => config.size(&["num_labels"], usual),
        Some(classes) => classes,
    }
}

/// The loss of the class of a whole text or image: of the layer `logits` of `[batch, classes]`.
pub(super) fn class_loss(spec: &mut SpecText, config: &mut Config, classes: u64) {
    const KINDS: [&str; 3] = [
        "regression",
        "single_label_classification",
        "multi_label_classification",
    ];
    let usual = match classes {
        1 => KINDS[0],
        _ => KINDS[1],
    };
    match config.choice(&["problem_type"], &KINDS, usual) {
        "regression" if classes == 1 => {
            spec.input(Tensor::new("labels", &["batch"]));
            spec.layer(formula("value", "logits.squeeze(1)"));
            spec.layer(op("loss", "mse_loss").reads(&["value", "labels"]));
        }
        "regression" => {
            spec.input(Tensor::new("labels", &["batch", "classes"]));
            spec.layer(op("loss", "mse_loss").reads(&["logits", "labels"]));
        }
        "multi_label_classification" => {
            spec.input(
                Tensor::new("labels", &["batch", "classes"]).set("range", [0, 1].map(i64::from)),
            );
            let loss = "binary_cross_entropy_with_logits";
            spec.layer(op("loss", loss).reads(&["logits", "labels"]));
        }
        _ => {
            spec.input(Tensor::integers("labels", &["batch"], 0, last(classes)));
            spec.layer(op("loss", "cross_entropy").reads(&["logits", "labels"]));
        }
    }
}

/// The loss of where an answer begins and ends: of the layer `logits` of `[batch, seq, 2]`.
fn span_loss(spec: &mut SpecText, seq: u64) {
    let end = i64::try_from(seq).unwrap_or(i64::MAX);
    for name in ["start", "end"] {
        let positions = format!("{name}_positions");
        spec.input(Tensor::integers(&positions, &["batch"], 0, end));
    }
    for (at, name) in ["start", "end"].into_iter().enumerate() {
        spec.layer(formula(
            &format!("{name}_logits"),
            format!("logits[:, :, {at}].contiguous()"),
        ));
    }
    for name in ["start", "end"] {
        let layer = formula(
            &format!("{name}_loss"),
            format!(
                "cross_entropy({name}_logits, {name}_positions.clamp(0, seq), ignore_index={end})"
            ),
        );
        spec.layer(match name {
            "start" => layer.note("A position behind the text stands for no answer."),
            _ => layer,
        });
    }
    spec.layer(formula("loss", "(start_loss + end_loss) / 2"));
}
