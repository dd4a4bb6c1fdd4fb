//! ALBERT: narrow embeddings, and layers that share their weights by groups.

use super::config::Config;
use super::heads::{self, Positions};
use super::parts::{self, Activation, Attention, Kind, dropout, embedding, layer_norm, linear};
use super::text::{Block, SpecText, Tensor, formula, real};
use super::{Choice, ModelType, Task, decoder, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "albert",
    tasks: &[
        Task::MaskedLm,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::QuestionAnswering,
        Task::Base,
    ],
    write,
}];

/// The most layers that differ in their weights: each is written out.
const MAX_GROUPS: u64 = 256;

/// What a configuration says of layers.
struct Albert {
    vocab: u64,
    layers: u64,
    groups: u64,
    /// Layers of a group, which have weights of their own.
    inner: u64,
    dropout: f64,
    std: f64,
    eps: f64,
    activation: Activation,
}

fn write(config: &mut Config, choice: &Choice) -> SpecText {
    let width = config.size(&["hidden_size"], 4096);
    let narrow = config.size(&["embedding_size"], 128);
    let heads = config.size(&["num_attention_heads"], 64);
    let hidden = config.size(&["intermediate_size"], 16384);
    let positions = config.size(&["max_position_embeddings"], 512);
    let types = config.size(&["type_vocab_size"], 2);
    let attention_dropout = config.dropout(&["attention_probs_dropout_prob"], 0.0);
    let padding = config.token(&["pad_token_id"], Some(0));
    let mut model = Albert {
        vocab: config.size(&["vocab_size"], 30000),
        layers: config.layers(&["num_hidden_layers"], 12),
        groups: config.layers(&["num_hidden_groups"], 1),
        inner: config.layers(&["inner_group_num"], 1),
        dropout: config.dropout(&["hidden_dropout_prob"], 0.0),
        std: config.not_negative(&["initializer_range"], 0.02),
        eps: config.not_negative(&["layer_norm_eps"], 1e-12),
        activation: Activation::read(config, &["hidden_act"], "gelu_new"),
    };
    config.divides(("hidden_size", width), ("num_attention_heads", heads));
    if model.groups > model.layers {
        config.fault(format!(
            "`num_hidden_groups` is {}, more than the {} layers of `num_hidden_layers`",
            model.groups, model.layers
        ));
    }
    if model.groups * model.inner > MAX_GROUPS {
        config.fault(format!(
            "`num_hidden_groups` · `inner_group_num` = {} layers of their own weights are more than \
             the {MAX_GROUPS} that are written",
            model.groups * model.inner
        ));
        (model.groups, model.inner) = (1, 1);
    }

    let mut spec = SpecText::new(head_comment(choice), config.name("albert"));
    let seq = heads::sizes(&mut spec, config, choice, Positions::Table(positions));
    spec.dim("positions", positions);
    spec.dim("vocab", model.vocab);
    spec.dim("types", types);
    spec.dim("narrow", narrow);
    spec.dim("width", width);
    spec.dim("hidden", hidden);
    spec.dim("heads", heads);
    spec.dim("head", "width / heads");
    heads::tokens(&mut spec, model.vocab);

    let last = i64::try_from(positions).unwrap_or(i64::MAX) - 1;
    for (name, most) in [("position_ids", last), ("token_type_ids", 0)] {
        spec.buffer(Tensor::integers(name, &["1", "positions"], 0, most));
    }
    let words = embedding("word_embeddings", "vocab", "narrow", model.std).reads(&["tokens"]);
    spec.layer(decoder::padded(words, padding, model.vocab));
    spec.layer(formula("places", "position_ids[:, :seq]"));
    spec.layer(formula(
        "types_of_places",
        "token_type_ids.gather(1, places).expand(batch, seq)",
    ));
    spec.layer(
        embedding("token_type_embeddings", "types", "narrow", model.std)
            .reads(&["types_of_places"]),
    );
    spec.layer(
        embedding("position_embeddings", "positions", "narrow", model.std).reads(&["places"]),
    );
    spec.layer(formula(
        "sum",
        "word_embeddings + token_type_embeddings + position_embeddings",
    ));
    spec.layer(layer_norm("embeddings_norm", model.eps));
    spec.layer(dropout("embeddings", model.dropout));
    spec.layer(linear("embeddings_project", "width", true, model.std));
    let call = Attention {
        mask: None,
        causal: false,
        dropout: attention_dropout,
        scale: None,
    };
    model.encode(&mut spec, &call);
    model.finish(&mut spec, config, choice, seq);
    spec
}

impl Albert {
    /// All layers. Their weights are the model's own, and each layer of a group reads the same.
    fn encode(&self, spec: &mut SpecText, call: &Attention) {
        spec.block(parts::split_heads());
        let mut blocks = Vec::new();
        for group in 0..self.groups {
            for inner in 0..self.inner {
                let end = match (self.groups, self.inner) {
                    (1, 1) => String::new(),
                    (_, 1) => format!("_{group}"),
                    _ => format!("_{group}_{inner}"),
                };
                self.weights(spec, &end);
                let block = self.layer(spec, call, &end);
                spec.block(block);
                blocks.push(format!("layer{end}"));
            }
        }
        let mut kinds = Vec::new();
        for at in 0..self.layers {
            // As the class computes it, in floating point.
            let share = self.layers as f64 / self.groups as f64;
            let group = ((at as f64 / share) as u64).min(self.groups - 1);
            let first = (group * self.inner) as usize;
            let own = &blocks[first..first + self.inner as usize];
            kinds.extend(own.iter().map(|block| Kind { block, reads: &[] }));
        }
        parts::stack(spec, "layers", &kinds, "embeddings_project");
    }

    /// Declares the weights of one layer.
    fn weights(&self, spec: &mut SpecText, end: &str) {
        let layers = [
            ("query", "width", "width"),
            ("key", "width", "width"),
            ("value", "width", "width"),
            ("dense", "width", "width"),
            ("ffn", "hidden", "width"),
            ("ffn_output", "width", "hidden"),
        ];
        for (name, outputs, inputs) in layers {
            let weight = Tensor::new(&format!("{name}_weight{end}"), &[outputs, inputs])
                .set("init", "normal");
            spec.param(match name {
                "query" => weight.note("The layers share these weights."),
                _ => weight,
            });
            spec.param(Tensor::new(&format!("{name}_bias{end}"), &[outputs]).set("init", "zeros"));
        }
        for name in ["attention_norm", "full_layer_norm"] {
            for (what, init) in [("weight", "ones"), ("bias", "zeros")] {
                let tensor = Tensor::new(&format!("{name}_{what}{end}"), &["width"]);
                spec.param(tensor.set("init", init));
            }
        }
    }

    /// The block of one layer.
    fn layer(&self, spec: &mut SpecText, call: &Attention, end: &str) -> Block {
        let act = self.activation.of(spec, "ffn");
        let dense = |name: &str, input: &str| {
            formula(
                name,
                format!("linear({input}, {name}_weight{end}, {name}_bias{end})"),
            )
        };
        let eps = real(self.eps);
        let norm = |name: &str, input: &str| {
            format!("layer_norm({input}, {name}_weight{end}, {name}_bias{end}, eps={eps})")
        };
        let split = |x: &str| format!("split_heads({x}, length=seq, count=heads, size=head)");
        Block::new(&format!("layer{end}"), &["x"]).layers([
            dense("query", "x"),
            dense("key", "x"),
            dense("value", "x"),
            formula(
                "attn",
                call.of(&split("query"), &split("key"), &split("value")),
            ),
            formula("joined", parts::JOINED),
            dense("dense", "joined"),
            dropout("drop", self.dropout),
            formula("sum", "x + drop"),
            formula("attended", norm("attention_norm", "sum")),
            dense("ffn", "attended"),
            formula("act", act),
            dense("ffn_output", "act"),
            formula("added", "ffn_output + attended"),
            formula("", norm("full_layer_norm", "added")),
        ])
    }

    /// The head of the task, and its loss.
    fn finish(&self, spec: &mut SpecText, config: &mut Config, choice: &Choice, seq: u64) {
        let Albert { std, eps, .. } = *self;
        let p = config.dropout(&["classifier_dropout_prob"], 0.1);
        match choice.task {
            Task::MaskedLm => {
                spec.layer(linear("dense", "narrow", true, std));
                let act = self.activation.of(spec, "dense");
                spec.layer(formula("dense_act", act));
                spec.layer(layer_norm("dense_norm", eps));
                let tied = config.flag(&["tie_word_embeddings"], true);
                heads::masked_logits(spec, tied, std, true);
                heads::token_loss(spec, self.vocab);
            }
            Task::SequenceClassification => {
                let classes = heads::classes(config);
                spec.dim("classes", classes);
                pool(spec, std);
                spec.layer(dropout("dropout", p));
                spec.layer(linear("logits", "classes", true, std));
                heads::class_loss(spec, config, classes);
            }
            Task::TokenClassification => heads::token_classes(spec, config, p, std),
            Task::QuestionAnswering => heads::spans(spec, seq, std),
            _ => {
                pool(spec, std);
                spec.outputs(&["layers", "pooled"]);
            }
        }
    }
}

/// What stands for the whole text: its first token, behind a layer of its own.
fn pool(spec: &mut SpecText, std: f64) {
    spec.layer(formula("first", "layers[:, 0]"));
    spec.layer(linear("pooler", "width", true, std));
    spec.layer(formula("pooled", "tanh(pooler)"));
}
