//! What encoders and decoders of BART's kind have in common: attention to oneself and to what was
//! encoded, and norms before or behind each part of a layer.

use super::config::Config;
use super::parts::{self, Activation, Attention, Kind, dropout, layer_norm, linear};
use super::text::{Block, Layer, SpecText, formula, op, real};

/// What `nn.LayerNorm` adds where nothing is said.
const EPS: f64 = 1e-5;

/// An encoder and a decoder.
#[derive(Debug, Clone)]
pub(super) struct Seq2Seq {
    /// Elements of a token.
    pub width: u64,
    /// The half that reads.
    pub encoder: Half,
    /// The half that writes.
    pub decoder: Half,
    /// The standard deviation of initial weights.
    pub std: f64,
    /// The probability of dropping an element of what is added.
    pub dropout: f64,
    /// The same of a weight of attention.
    pub attention_dropout: f64,
    /// The same of an element inside of a feed-forward layer.
    pub activation_dropout: f64,
    /// The activation of the feed-forward layers.
    pub activation: Activation,
    /// Whether norms stand before each part of a layer, and one behind the last layer; else behind
    /// each part.
    pub norm_before: bool,
    /// Whether the projection to keys has a bias.
    pub key_bias: bool,
    /// Whether queries are scaled before attention, and not their scores in it.
    pub scaled_query: bool,
}

/// One half of it.
#[derive(Debug, Clone)]
pub(super) struct Half {
    /// What it is called.
    name: &'static str,
    /// The dim of its length.
    length: &'static str,
    /// Its layers.
    layers: u64,
    /// Its heads.
    heads: u64,
    /// Elements between the two layers of its feed-forward layers.
    hidden: u64,
}

/// Defaults of a configuration's class: of layers, heads and elements between the two layers of a
/// feed-forward layer, for each half; of the width, of the activation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub width: u64,
    pub layers: u64,
    pub heads: u64,
    pub hidden: u64,
    pub dropout: f64,
}

impl Seq2Seq {
    /// Reads the keys that all share. The encoder's length is the dim `source`, the decoder's `seq`.
    pub fn read(config: &mut Config, defaults: &Defaults, source: &'static str) -> Seq2Seq {
        let width = config.size(&["d_model", "hidden_size"], defaults.width);
        let layers = config.layers(&["encoder_layers", "num_hidden_layers"], defaults.layers);
        let heads = config.size(
            &["encoder_attention_heads", "num_attention_heads"],
            defaults.heads,
        );
        let encoder = Half {
            name: "encoder",
            length: source,
            layers,
            heads,
            hidden: config.size(&["encoder_ffn_dim"], defaults.hidden),
        };
        let decoder = Half {
            name: "decoder",
            length: "seq",
            layers: config.layers(&["decoder_layers"], defaults.layers),
            heads: config.size(&["decoder_attention_heads"], defaults.heads),
            hidden: config.size(&["decoder_ffn_dim"], defaults.hidden),
        };
        for half in [&encoder, &decoder] {
            let key = format!("{}_attention_heads", half.name);
            config.divides(("d_model", width), (&key, half.heads));
            // Which layers are left out is drawn anew in each step; all are counted.
            config.dropout(&[&format!("{}_layerdrop", half.name)], 0.0);
        }
        Seq2Seq {
            width,
            encoder,
            decoder,
            std: config.not_negative(&["init_std"], 0.02),
            dropout: config.dropout(&["dropout"], defaults.dropout),
            attention_dropout: config.dropout(&["attention_dropout"], 0.0),
            activation_dropout: config.dropout(&["activation_dropout"], 0.0),
            activation: Activation::read(config, &["activation_function"], "gelu"),
            norm_before: false,
            key_bias: true,
            scaled_query: false,
        }
    }

    /// Declares the sizes of both halves.
    pub fn dims(&self, spec: &mut SpecText) {
        spec.dim("width", self.width);
        for half in [&self.encoder, &self.decoder] {
            spec.dim(&half.dim("hidden"), half.hidden);
            spec.dim(&half.dim("heads"), half.heads);
        }
    }

    /// Declares the blocks `encoder_layer` and `decoder_layer`, and those that they are made of.
    pub fn blocks(&self, spec: &mut SpecText) {
        spec.block(parts::split_heads());
        for half in [&self.encoder, &self.decoder] {
            spec.block(self.self_attention(half));
            if half.name == "decoder" {
                spec.block(self.cross_attention());
            }
            let block = self.feed_forward(spec, half);
            spec.block(block);
            spec.block(self.layer(half));
        }
    }

    /// Adds the layers of the encoder behind the layer `input`; the last is called `encoder`.
    pub fn encode(&self, spec: &mut SpecText, input: &str) {
        self.stack(spec, &self.encoder, &[], input);
    }

    /// Adds the layers of the decoder behind the layer `input`, which attend to `memory`; the last
    /// is called `decoder`.
    pub fn decode(&self, spec: &mut SpecText, input: &str, memory: &str) {
        self.stack(spec, &self.decoder, &[memory], input);
    }

    fn stack(&self, spec: &mut SpecText, half: &Half, reads: &[&str], input: &str) {
        let block = format!("{}_layer", half.name);
        let kind = Kind {
            block: &block,
            reads,
        };
        let name = match self.norm_before {
            true => format!("{}_layers", half.name),
            false => half.name.to_owned(),
        };
        parts::stack(spec, &name, &vec![kind; half.layers as usize], input);
        if self.norm_before {
            spec.layer(layer_norm(half.name, EPS));
        }
    }

    /// A norm where one stands for this kind of model, else nothing.
    fn norm(&self, before: bool, name: &str, input: &str) -> Option<Layer> {
        (self.norm_before == before).then(|| layer_norm(name, EPS).reads(&[input]))
    }

    fn self_attention(&self, half: &Half) -> Block {
        let block = Block::new(&format!("{}_attention", half.name), &["x"]);
        self.attention(block, half, "x", half.length, half.name == "decoder")
    }

    fn cross_attention(&self) -> Block {
        let block = Block::new("cross_attention", &["x", "memory"]);
        self.attention(block, &self.decoder, "memory", self.encoder.length, false)
    }

    /// Attention of `x` of the length of `half` to `source` of another.
    fn attention(
        &self,
        block: Block,
        half: &Half,
        source: &str,
        source_length: &str,
        causal: bool,
    ) -> Block {
        let (length, heads) = (half.length, half.dim("heads"));
        let split = |x: &str, length: &str| {
            format!("split_heads({x}, length={length}, count={heads}, size=width // {heads})")
        };
        let call = Attention {
            mask: None,
            causal,
            dropout: self.attention_dropout,
            scale: self.scaled_query.then_some(1.0),
        };
        let own = |x: String| match self.scaled_query {
            true => format!("{x}.contiguous()"),
            false => x,
        };
        let query = match self.scaled_query {
            true => split("scaled", length),
            false => split("q_proj", length),
        };
        let mut block = block.layer(linear("q_proj", "width", true, self.std).reads(&["x"]));
        if self.scaled_query {
            let scale = (self.width as f64 / half.heads as f64).powf(-0.5);
            block = block.layer(formula("scaled", format!("q_proj * {}", real(scale))));
        }
        block.layers([
            linear("k_proj", "width", self.key_bias, self.std).reads(&[source]),
            linear("v_proj", "width", true, self.std).reads(&[source]),
            formula(
                "attn",
                call.of(
                    &own(query),
                    &own(split("k_proj", source_length)),
                    &own(split("v_proj", source_length)),
                ),
            ),
            formula(
                "joined",
                format!("attn.transpose(1, 2).contiguous().reshape(batch, {length}, width)"),
            ),
            linear("out_proj", "width", true, self.std),
        ])
    }

    fn feed_forward(&self, spec: &mut SpecText, half: &Half) -> Block {
        let act = self.activation.of(spec, "fc1");
        Block::new(&format!("{}_feed_forward", half.name), &["x"]).layers([
            linear("fc1", &half.dim("hidden"), true, self.std),
            formula("act", act),
            dropout("drop", self.activation_dropout),
            linear("fc2", "width", true, self.std),
        ])
    }

    /// The block of a layer: its parts, each of which is added to what comes in.
    fn layer(&self, half: &Half) -> Block {
        let own = format!("{}_attention", half.name);
        let feed_forward = format!("{}_feed_forward", half.name);
        let mut parts = vec![("self_attn", own.as_str(), "self_attn_layer_norm")];
        let mut inputs = vec!["x"];
        if half.name == "decoder" {
            inputs.push("memory");
            parts.push(("encoder_attn", "cross_attention", "encoder_attn_layer_norm"));
        }
        parts.push(("feed_forward", feed_forward.as_str(), "final_layer_norm"));
        let mut block = Block::new(&format!("{}_layer", half.name), &inputs);
        let mut before = "x".to_owned();
        for (at, (name, part, norm)) in parts.into_iter().enumerate() {
            let at = at + 1;
            let (drop, sum) = (format!("drop_{at}"), format!("sum_{at}"));
            block = block.layers(self.norm(true, norm, &before));
            let read = match self.norm_before {
                true => norm,
                false => before.as_str(),
            };
            let mut reads = vec![read];
            if part == "cross_attention" {
                reads.push("memory");
            }
            block = block.layers([
                op(name, part).reads(&reads),
                dropout(&drop, self.dropout),
                formula(&sum, format!("{before} + {drop}")),
            ]);
            block = block.layers(self.norm(false, norm, &sum));
            before = match self.norm_before {
                true => sum,
                false => norm.to_owned(),
            };
        }
        block
    }
}

impl Half {
    /// The dim of that size of this half.
    fn dim(&self, size: &str) -> String {
        format!("{}_{size}", self.name)
    }
}
