//! Decoders with rotary positions and gated feed-forward layers, as Llama was the first of: what
//! Llama, Mistral, Qwen, Gemma and others have in common.

use super::config::Config;
use super::heads::{self, Positions};
use super::parts::{self, Activation, Attention, embedding, linear};
use super::rope::{self, Rope};
use super::text::{Block, Layer, SpecText, formula, op, real};
use super::{Choice, Task};

/// What such decoders are for.
pub(super) const TASKS: &[Task] = &[
    Task::CausalLm,
    Task::SequenceClassification,
    Task::TokenClassification,
    Task::QuestionAnswering,
    Task::Base,
];

/// How a decoder differs from Llama.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    /// Elements of a token.
    pub width: u64,
    /// Elements between the two layers of a feed-forward layer.
    pub hidden: u64,
    /// Heads of queries.
    pub heads: u64,
    /// Heads of keys and values.
    pub kv_heads: u64,
    /// Elements of a head.
    pub head: u64,
    /// Layers.
    pub layers: u64,
    /// Tokens that there are.
    pub vocab: u64,
    /// Positions that the model was made for.
    pub positions: u64,
    /// Standard deviation of initial weights.
    pub std: f64,
    /// What norms add to the mean square.
    pub eps: f64,
    /// Rotary positions.
    pub rope: Rope,
    /// The activation of the gate.
    pub activation: Activation,
    /// Whether the projections to queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether the projection back has one.
    pub out_bias: bool,
    /// Whether the feed-forward layers have one.
    pub mlp_bias: bool,
    /// The probability of dropping a weight of attention.
    pub attention_dropout: f64,
    /// Whether queries and keys are normed before they are turned.
    pub query_key_norm: bool,
    /// Whether the logits are made by the embedding.
    pub tied: bool,
    /// The number of the padding token.
    pub padding: Option<i64>,
    /// The probability of dropping elements before a token's class is told.
    pub classifier_dropout: f64,
}

impl Decoder {
    /// Reads the keys that all share, with Llama's defaults where nothing is said.
    pub fn read(config: &mut Config, defaults: &Defaults) -> Decoder {
        Decoder::read_turned(config, defaults, 1.0)
    }

    /// The same where a part of each head is turned unless something else is said.
    pub fn read_turned(config: &mut Config, defaults: &Defaults, part: f64) -> Decoder {
        let positions = config.size(&["max_position_embeddings"], defaults.positions);
        let mut rope = Rope::read(config, defaults.theta, positions);
        rope.partial = rope.partial.or(Some(part));
        Decoder::read_beside(config, defaults, rope)
    }

    /// The same beside rotary positions that were read already.
    pub fn read_beside(config: &mut Config, defaults: &Defaults, rope: Rope) -> Decoder {
        let width = config.size(&["hidden_size"], defaults.width);
        let heads = config.size(&["num_attention_heads"], defaults.heads);
        let kv_heads = config
            .optional_size(&["num_key_value_heads"])
            .unwrap_or(defaults.kv_heads.unwrap_or(heads));
        config.divides(
            ("num_attention_heads", heads),
            ("num_key_value_heads", kv_heads),
        );
        let head = match config.optional_size(&["head_dim"]).or(defaults.head) {
            Some(head) => head,
            None => {
                config.divides(("hidden_size", width), ("num_attention_heads", heads));
                (width / heads).max(1)
            }
        };
        let positions = config.size(&["max_position_embeddings"], defaults.positions);
        let decoder = Decoder {
            width,
            hidden: config.size(&["intermediate_size"], defaults.hidden),
            heads,
            kv_heads,
            head,
            layers: config.layers(&["num_hidden_layers"], defaults.layers),
            vocab: config.size(&["vocab_size"], defaults.vocab),
            positions,
            std: config.not_negative(&["initializer_range"], 0.02),
            eps: config.not_negative(&["rms_norm_eps"], defaults.eps),
            rope,
            activation: Activation::read(config, &["hidden_act"], "silu"),
            qkv_bias: false,
            out_bias: false,
            mlp_bias: false,
            attention_dropout: config.dropout(&["attention_dropout"], 0.0),
            query_key_norm: false,
            tied: config.flag(&["tie_word_embeddings"], defaults.tied),
            padding: config.token(&["pad_token_id"], defaults.padding),
            classifier_dropout: 0.1,
        };
        let usual = config.dropout(&["hidden_dropout"], 0.1);
        let classifier_dropout = config.dropout(&["classifier_dropout"], usual);
        decoder.rope.turned(config, head);
        Decoder {
            classifier_dropout,
            ..decoder
        }
    }

    /// Declares dims, tokens and the tables of rotary positions.
    pub fn begin(&self, config: &mut Config, choice: &Choice, spec: &mut SpecText) -> u64 {
        let seq = heads::sizes(spec, config, choice, Positions::Computed(self.positions));
        spec.dim("vocab", self.vocab);
        spec.dim("width", self.width);
        spec.dim("hidden", self.hidden);
        spec.dim("heads", self.heads);
        if self.kv_heads != self.heads {
            spec.dim("kv_heads", self.kv_heads);
        }
        match self.head.checked_mul(self.heads) == Some(self.width) {
            true => spec.dim("head", "width / heads"),
            false => spec.dim("head", self.head),
        }
        if self.turned().1 != self.head {
            spec.dim("turned", self.turned().1);
        }
        heads::tokens(spec, self.vocab);
        spec.block(rope::rotate(self.turned().0));
        if self.turned().1 != self.head {
            spec.block(rope::rotate_part(self.turned().0));
        }
        seq
    }

    /// The dim of the elements of a head that are turned, and how many they are.
    pub fn turned(&self) -> (&'static str, u64) {
        match self.rope.width(self.head) {
            all if all == self.head => ("head", all),
            part => ("turned", part),
        }
    }

    /// The dim of the heads of keys and values.
    pub fn kv(&self) -> &'static str {
        match self.kv_heads == self.heads {
            true => "heads",
            false => "kv_heads",
        }
    }

    /// The embedding of the tokens.
    pub fn embedding(&self) -> Layer {
        padded(
            embedding("embed_tokens", "vocab", "width", self.std).reads(&["tokens"]),
            self.padding,
            self.vocab,
        )
    }

    /// The block of self-attention over `x`, with the tables and masks that `inputs` names besides.
    pub fn attention(&self, name: &str, inputs: &[&str], call: &Attention) -> Block {
        let (key, value) = self.shared("k", "v");
        self.finished(
            self.projected(name, inputs)
                .layer(formula("attn", call.of("q", key, value))),
        )
    }

    /// The same step by step, with the input `mask` added to the scores, and the scores bounded.
    pub fn capped_attention(&self, name: &str, inputs: &[&str], scale: f64, cap: f64) -> Block {
        let (key, value) = self.shared("k", "v");
        let (scale, cap) = (real(scale), real(cap));
        self.finished(self.projected(name, inputs).layers([
            formula("scores", format!("q @ {key}.transpose(2, 3) * {scale}")),
            formula("capped", format!("tanh(scores / {cap}) * {cap}")),
            formula("weights", "softmax(capped + mask, dim=-1).to(q.dtype)"),
            parts::dropout("attn_dropout", self.attention_dropout),
            formula("attn", format!("attn_dropout @ {value}")),
        ]))
    }

    /// What turns elements of a head: the block for all of them, or that for the first.
    pub fn rotate(&self) -> &'static str {
        match self.turned().1 == self.head {
            true => "rotate",
            false => "rotate_part",
        }
    }

    /// Formulas of keys and values with a copy for each head of queries.
    pub fn shared(&self, key: &'static str, value: &'static str) -> (&'static str, &'static str) {
        match (self.kv_heads == self.heads, key, value) {
            (false, "k", "v") => ("share(k)", "share(v)"),
            _ => (key, value),
        }
    }

    /// What follows the heads of `attn`.
    fn finished(&self, block: Block) -> Block {
        block.layer(formula("joined", parts::JOINED)).layer(linear(
            "o_proj",
            "width",
            self.out_bias,
            self.std,
        ))
    }

    /// Queries, keys and values, turned by their positions: `q`, `k` and `v`.
    fn projected(&self, name: &str, inputs: &[&str]) -> Block {
        let rotate = self.rotate();
        let wide = "heads * head";
        let narrow = format!("{} * head", self.kv());
        let mut block = Block::new(name, inputs)
            .layer(linear("q_proj", wide, self.qkv_bias, self.std).reads(&["x"]))
            .layer(linear("k_proj", &narrow, self.qkv_bias, self.std).reads(&["x"]))
            .layer(linear("v_proj", &narrow, self.qkv_bias, self.std).reads(&["x"]));
        for (tensor, count) in [("q", "heads"), ("k", self.kv()), ("v", self.kv())] {
            let split = format!("{tensor}_proj.reshape(batch, seq, {count}, head)");
            block = match (tensor, self.query_key_norm) {
                ("v", _) => block.layer(formula("v", format!("{split}.transpose(1, 2)"))),
                (_, false) => block.layer(formula(
                    tensor,
                    format!("{rotate}({split}.transpose(1, 2), cos, sin)"),
                )),
                (_, true) => block
                    .layer(formula(&format!("{tensor}_heads"), split))
                    .layer(op(&format!("{tensor}_norm"), "head_norm"))
                    .layer(formula(
                        tensor,
                        format!("{rotate}({tensor}_norm.transpose(1, 2), cos, sin)"),
                    )),
            };
        }
        block
    }

    /// The block of the gated feed-forward layer.
    pub fn gated(&self, spec: &mut SpecText, name: &str, hidden: &str) -> Block {
        let gate = self.activation.of(spec, "gate_proj");
        Block::new(name, &["x"])
            .layer(linear("gate_proj", hidden, self.mlp_bias, self.std))
            .layer(linear("up_proj", hidden, self.mlp_bias, self.std).reads(&["x"]))
            .layer(formula("gated", format!("{gate} * up_proj")))
            .layer(linear("down_proj", "width", self.mlp_bias, self.std))
    }

    /// Declares the blocks that layers of Llama's kind are made of: `norm`, `share`, `self_attn`.
    pub fn shared_blocks(&self, spec: &mut SpecText) {
        spec.block(parts::root_norm("norm", "width", self.eps));
        if self.query_key_norm {
            spec.block(parts::root_norm("head_norm", "head", self.eps));
        }
        if self.kv_heads != self.heads {
            spec.block(parts::share());
        }
    }

    /// The call of attention with the input `mask`.
    pub fn masked(&self) -> Attention {
        Attention {
            mask: Some("mask".into()),
            causal: false,
            dropout: self.attention_dropout,
            scale: None,
        }
    }

    /// What follows the last norm: the head of the task and its loss. `cap` bounds the logits.
    pub fn finish(
        &self,
        spec: &mut SpecText,
        config: &mut Config,
        choice: &Choice,
        cap: Option<f64>,
    ) {
        let seq = choice.seq.unwrap_or(self.positions.min(super::DEFAULT_SEQ));
        match choice.task {
            Task::CausalLm => {
                let name = match cap {
                    Some(_) => "lm_head",
                    None => "logits",
                };
                spec.layer(head(name, self.tied, self.std));
                if let Some(cap) = cap {
                    spec.layer(formula("lowered", format!("lm_head / {}", real(cap))));
                    spec.layer(formula("logits", format!("tanh(lowered) * {}", real(cap))));
                }
                heads::next_token_loss(spec, self.vocab);
            }
            Task::SequenceClassification => {
                last_token_class(spec, config, choice, self.padding, self.std);
            }
            Task::TokenClassification => {
                heads::token_classes(spec, config, self.classifier_dropout, self.std);
            }
            Task::QuestionAnswering => heads::spans(spec, seq, self.std),
            _ => {}
        }
    }
}

/// Defaults of a configuration's class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub width: u64,
    pub hidden: u64,
    pub layers: u64,
    pub heads: u64,
    pub kv_heads: Option<u64>,
    pub head: Option<u64>,
    pub vocab: u64,
    pub positions: u64,
    pub eps: f64,
    pub theta: f64,
    pub tied: bool,
    pub padding: Option<i64>,
}

/// The layer of the logits.
pub(super) fn head(name: &str, tied: bool, std: f64) -> Layer {
    match tied {
        true => parts::tied(name, "embed_tokens.weight"),
        false => linear(name, "vocab", false, std),
    }
}

/// Names the padding token of an embedding, whose row has no gradient.
pub(super) fn padded(layer: Layer, padding: Option<i64>, vocab: u64) -> Layer {
    let inside = padding.filter(|&token| (0..=heads::last(vocab)).contains(&token));
    match inside {
        Some(token) => layer.set("padding_idx", token),
        None => layer,
    }
}

/// What stands on the last hidden states of a decoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// The table of tokens whose weight makes the logits; `None` where they have their own.
    pub tied: Option<&'static str>,
    /// Tokens that there are.
    pub vocab: u64,
    /// Tokens of a sequence.
    pub seq: u64,
    /// The standard deviation of new weights.
    pub std: f64,
    /// The probability of dropping elements before the classes of tokens.
    pub classifier_dropout: f64,
}

/// The head of the task and its loss; nothing for the hidden states alone.
pub(super) fn task_head(spec: &mut SpecText, config: &mut Config, choice: &Choice, head: Head) {
    match choice.task {
        Task::CausalLm => {
            spec.layer(match head.tied {
                Some(weight) => parts::tied("logits", weight),
                None => linear("logits", "vocab", false, head.std),
            });
            heads::next_token_loss(spec, head.vocab);
        }
        Task::SequenceClassification => {
            let padding = config.token(&["pad_token_id"], None);
            last_token_class(spec, config, choice, padding, head.std);
        }
        Task::TokenClassification => {
            heads::token_classes(spec, config, head.classifier_dropout, head.std);
        }
        Task::QuestionAnswering => heads::spans(spec, head.seq, head.std),
        _ => {}
    }
}

/// The class of a text, told by its last token that is no padding.
pub(super) fn last_token_class(
    spec: &mut SpecText,
    config: &mut Config,
    choice: &Choice,
    padding: Option<i64>,
    std: f64,
) {
    let classes = heads::classes(config);
    spec.dim("classes", classes);
    spec.layer(linear("score", "classes", false, std));
    match padding {
        None if choice.batch != 1 => config.fault(
            "`pad_token_id` is missing, without which no batch of more than 1 can be classified"
                .to_owned(),
        ),
        None => spec.layer(formula("logits", "score[:, -1]")),
        Some(padding) => {
            spec.layer(
                formula(
                    "last",
                    format!("argmax(arange(seq) * (tokens != {padding}).long(), -1)"),
                )
                .note("The last token that is no padding."),
            );
            spec.layer(formula(
                "logits",
                "score.gather(1, last[:, None, None].expand(batch, 1, classes)).squeeze(1)",
            ));
        }
    }
    heads::class_loss(spec, config, classes);
}
