//! BART and mBART: an encoder and a decoder over one table of tokens, positions learned behind an
//! offset.

use super::config::Config;
use super::heads::{self, Positions};
use super::parts::{self, dropout, embedding, layer_norm, linear};
use super::seq2seq::{Defaults, Seq2Seq};
use super::text::{Layer, SpecText, Tensor, formula, op, real};
use super::{Choice, ModelType, Task, decoder, head_comment};

const TASKS: &[Task] = &[
    Task::SeqToSeqLm,
    Task::SequenceClassification,
    Task::QuestionAnswering,
    Task::Base,
];

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[
    ModelType {
        name: "bart",
        tasks: TASKS,
        write: |config, choice| write(config, choice, Kin::Bart),
    },
    ModelType {
        name: "mbart",
        tasks: TASKS,
        write: |config, choice| write(config, choice, Kin::Mbart),
    },
];

/// Which of them a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kin {
    /// Norms behind each part, a fixed first token of the decoder.
    Bart,
    /// Norms before each part; the decoder begins with the last token of its text, the language.
    Mbart,
}

/// What a configuration says besides what all such models have in common.
struct Bart {
    body: Seq2Seq,
    vocab: u64,
    padding: i64,
    start: i64,
    /// What embeddings are multiplied by.
    scale: Option<f64>,
    tied: bool,
    kin: Kin,
}

fn write(config: &mut Config, choice: &Choice, kin: Kin) -> SpecText {
    let defaults = Defaults {
        width: 1024,
        layers: 12,
        heads: 16,
        hidden: 4096,
        dropout: 0.1,
    };
    let mut body = Seq2Seq::read(config, &defaults, "seq");
    body.norm_before = kin == Kin::Mbart;
    let scaled = config.flag(&["scale_embedding"], false);
    let vocab = config.size(&["vocab_size"], 50265);
    let positions = config.size(&["max_position_embeddings"], 1024);
    let model = Bart {
        scale: scaled.then_some((body.width as f64).sqrt()),
        body,
        vocab,
        padding: heads::inside(config.token(&["pad_token_id"], Some(1)), vocab, 1),
        start: heads::inside(config.token(&["decoder_start_token_id"], Some(2)), vocab, 2),
        tied: config.flag(&["tie_word_embeddings"], true),
        kin,
    };

    let mut spec = SpecText::new(head_comment(choice), config.name(choice.model_type));
    let seq = heads::sizes(&mut spec, config, choice, Positions::Table(positions));
    spec.dim("positions", positions);
    spec.dim("vocab", vocab);
    model.body.dims(&mut spec);
    heads::tokens(&mut spec, vocab);
    model.body.blocks(&mut spec);

    if !model.tied {
        let shared = Tensor::new("shared", &["vocab", "width"]).set("init", "normal");
        let reason = "the class keeps a third table, that neither half reads";
        spec.param(parts::unread(shared, reason));
    }
    spec.layer(
        formula("places", "arange(seq).expand(batch, seq) + 2")
            .note("The first two rows of a table of positions stand for no position."),
    );
    model.embed(&mut spec, "encoder", "tokens");
    model.body.encode(&mut spec, "encoder_input");
    model.target(&mut spec, choice.task);
    model.embed(&mut spec, "decoder", "decoder_tokens");
    model.body.decode(&mut spec, "decoder_input", "encoder");
    model.finish(&mut spec, config, choice, seq);
    spec
}

impl Bart {
    /// The layer that looks tokens up: in the encoder's table, which all share where they are tied.
    fn table(&self, half: &str, tokens: &str) -> Layer {
        let name = format!("{half}_tokens_embedded");
        let layer = match half == "decoder" && self.tied {
            true => op(&name, "embedding")
                .set("num_embeddings", "vocab")
                .set("embedding_dim", "width")
                .set("weight", "encoder_tokens_embedded.weight"),
            false => embedding(&name, "vocab", "width", self.body.std),
        };
        decoder::padded(layer.reads(&[tokens]), Some(self.padding), self.vocab)
    }

    /// Tokens and positions of one half: the layer `HALF_input`.
    fn embed(&self, spec: &mut SpecText, half: &str, tokens: &str) {
        let name = |what: &str| format!("{half}_{what}");
        spec.layer(self.table(half, tokens));
        let std = self.body.std;
        spec.layer(embedding(&name("positions"), "positions + 2", "width", std).reads(&["places"]));
        let embedded = match self.scale {
            Some(scale) => format!("{half}_tokens_embedded * {}", real(scale)),
            None => name("tokens_embedded"),
        };
        spec.layer(formula(
            &name("sum"),
            format!("{embedded} + {half}_positions"),
        ));
        spec.layer(layer_norm(&name("layernorm_embedding"), 1e-5));
        spec.layer(dropout(&name("input"), self.body.dropout));
    }

    /// What the decoder reads: the labels, or else the tokens, one place later.
    fn target(&self, spec: &mut SpecText, task: Task) {
        let (text, range) = match task {
            Task::SeqToSeqLm => ("labels", -100),
            _ => ("tokens", 0),
        };
        if task == Task::SeqToSeqLm {
            let labels =
                Tensor::integers("labels", &["batch", "seq"], range, heads::last(self.vocab));
            spec.input(labels);
        }
        let Bart { padding, start, .. } = *self;
        match self.kin {
            Kin::Bart => spec.layer(
                formula(
                    "decoder_tokens",
                    format!(
                        "where(pad({text}[:, :-1], [1, 0], value={start}) == -100, {padding}, \
                         pad({text}[:, :-1], [1, 0], value={start}))"
                    ),
                )
                .note(format!(
                    "The decoder reads the {text} one place later; -100 reads as padding."
                )),
            ),
            Kin::Mbart => {
                spec.layer(formula(
                    "target",
                    format!("where({text} == -100, {padding}, {text})"),
                ));
                spec.layer(
                    formula(
                        "language",
                        format!("target.gather(1, ((target != {padding}).long().sum(dim=1) - 1).clamp(0, seq - 1)[:, None])"),
                    )
                    .note("The last token that is no padding names the language: it comes first."),
                );
                spec.layer(formula(
                    "decoder_tokens",
                    "cat([language, target[:, :-1]], dim=1)",
                ));
            }
        }
    }

    /// The head of the task, and its loss.
    fn finish(&self, spec: &mut SpecText, config: &mut Config, choice: &Choice, seq: u64) {
        let std = self.body.std;
        match choice.task {
            Task::SeqToSeqLm => {
                spec.buffer(Tensor::new("final_logits_bias", &["1", "vocab"]));
                spec.layer(match self.tied {
                    true => parts::tied("lm_head", "encoder_tokens_embedded.weight"),
                    false => linear("lm_head", "vocab", false, std),
                });
                spec.layer(formula("logits", "lm_head + final_logits_bias"));
                spec.layer(op("loss", "cross_entropy").reads(&["logits", "labels"]));
            }
            Task::SequenceClassification => {
                let p = config.dropout(&["classifier_dropout"], 0.0);
                let usual = match self.kin {
                    Kin::Bart => 3,
                    Kin::Mbart => 2,
                };
                let classes = heads::classes_or(config, usual);
                let end = config.token(&["eos_token_id"], Some(2));
                let end = heads::inside(end, self.vocab, 2);
                spec.dim("classes", classes);
                spec.layer(
                    formula(
                        "last",
                        format!("argmax(arange(seq) * (tokens == {end}).long(), -1)"),
                    )
                    .note("The token that ends the text stands for all of it."),
                );
                spec.layer(formula(
                    "ending",
                    "decoder.gather(1, last[:, None, None].expand(batch, 1, width)).squeeze(1)",
                ));
                spec.layer(dropout("drop_1", p));
                spec.layer(linear("dense", "width", true, std));
                spec.layer(formula("dense_act", "tanh(dense)"));
                spec.layer(dropout("drop_2", p));
                spec.layer(linear("logits", "classes", true, std));
                heads::class_loss(spec, config, classes);
            }
            Task::QuestionAnswering => heads::spans(spec, seq, std),
            _ => spec.outputs(&["decoder", "encoder"]),
        }
    }
}
