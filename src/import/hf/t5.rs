//! T5 and mT5: an encoder and a decoder that know positions only by a learned bias on the scores.

use super::config::Config;
use super::heads;
use super::parts::{self, Activation, Attention, Kind, dropout, embedding, linear};
use super::text::{Block, SpecText, Tensor, formula, op, real};
use super::{Choice, DEFAULT_SEQ, ModelType, Task, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[
    ModelType {
        name: "t5",
        tasks: &[Task::SeqToSeqLm],
        write: |config, choice| {
            // Version 1.1 says that its logits are not tied, which means that they are not scaled.
            let scaled = config.flag(&["scale_decoder_outputs", "tie_word_embeddings"], true);
            write(config, choice, (32128, 2048, 6, 8), "relu", scaled)
        },
    },
    ModelType {
        name: "mt5",
        tasks: &[Task::SeqToSeqLm],
        write: |config, choice| write(config, choice, (250_112, 1024, 8, 6), "gated-gelu", false),
    },
];

/// What a configuration says.
struct T5 {
    vocab: u64,
    far: u64,
    buckets: u64,
    layers: u64,
    decoder_layers: u64,
    dropout: f64,
    eps: f64,
    factor: f64,
    activation: Activation,
    gated: bool,
    padding: i64,
    scaled: bool,
}

fn write(
    config: &mut Config,
    choice: &Choice,
    (vocab, hidden, layers, heads): (u64, u64, u64, u64),
    feed_forward: &'static str,
    scaled: bool,
) -> SpecText {
    let width = config.size(&["d_model", "hidden_size"], 512);
    let head = config.size(&["d_kv", "head_dim"], 64);
    let hidden = config.size(&["d_ff"], hidden);
    let layers = config.layers(&["num_layers", "num_hidden_layers"], layers);
    let decoder_layers = match config.has(&["num_decoder_layers"]) {
        true => config.layers(&["num_decoder_layers"], layers),
        false => layers,
    };
    let heads = config.size(&["num_heads", "num_attention_heads"], heads);
    let (activation, gated) = feed_forward_of(config, feed_forward);
    let model = T5 {
        vocab: config.size(&["vocab_size"], vocab),
        far: config.size(&["relative_attention_max_distance"], 128),
        buckets: config.size(&["relative_attention_num_buckets"], 32),
        layers,
        decoder_layers,
        dropout: config.dropout(&["dropout_rate"], 0.1),
        eps: config.not_negative(&["layer_norm_epsilon"], 1e-6),
        factor: config.not_negative(&["initializer_factor"], 1.0),
        activation,
        gated,
        padding: config.token(&["pad_token_id"], Some(0)).unwrap_or(0),
        scaled,
    };
    // Half of the encoder's buckets, and of these half again, stand for one distance each.
    if model.buckets < 4 || model.far <= model.buckets / 2 {
        config.fault(format!(
            "`relative_attention_num_buckets` = {} and `relative_attention_max_distance` = {} leave \
             no buckets for far and near",
            model.buckets, model.far
        ));
    }

    let mut spec = SpecText::new(head_comment(choice), config.name(choice.model_type));
    spec.dim("batch", choice.batch);
    // Positions are distances: no length is the model's own.
    spec.dim("seq", choice.seq.unwrap_or(DEFAULT_SEQ / 2));
    spec.dim("vocab", model.vocab);
    spec.dim("width", width);
    spec.dim("hidden", hidden);
    spec.dim("heads", heads);
    spec.dim("head", head);
    spec.dim("buckets", model.buckets);
    spec.dim("far", model.far);
    heads::tokens(&mut spec, model.vocab);
    blocks(&mut spec, &model);
    encoder(&mut spec, &model);
    decoder(&mut spec, &model);
    spec
}

/// The activation between the feed-forward layers, and whether a second projection gates it.
fn feed_forward_of(config: &mut Config, default: &str) -> (Activation, bool) {
    let text = config.text(&["feed_forward_proj"], default);
    let (gate, name) = match text.split_once('-') {
        Some((gate, name)) => (gate, name),
        None => ("", text.as_str()),
    };
    let name = match text.as_str() {
        "gated-gelu" => "gelu_new",
        _ => name,
    };
    match (gate, Activation::known(name)) {
        ("" | "gated", Some(activation)) => (activation, gate == "gated"),
        _ => {
            let shown: String = text.chars().take(40).collect();
            config.unsupported("feed_forward_proj", &format!("{shown:?}"));
            (Activation::named("relu"), false)
        }
    }
}

fn std(model: &T5, over: &str) -> String {
    format!("{} / sqrt({over})", real(model.factor))
}

fn blocks(spec: &mut SpecText, model: &T5) {
    spec.block(
        Block::new("bucket", &["distance"])
            .arguments(&["count"])
            .note(
                "Half of the buckets stand for one distance each, the others grow with the logarithm.\n\
                 `distance` is a whole number of 0 or more, `count` the number of buckets.",
            )
            .layer(formula(
                "growth",
                "log(maximum(distance, 1).float() / (count // 2)) / log(far / (count // 2))",
            ))
            .layer(formula(
                "large",
                "minimum(count // 2 + (growth * (count - count // 2)).long(), count - 1)",
            ))
            .layer(formula("", "where(distance < count // 2, distance, large)")),
    );
    spec.block(
        Block::new("norm", &["x"])
            .note("RMSNorm, the mean square in float32.")
            .param(Tensor::new("weight", &["width"]).set("init", "ones"))
            .layer(formula(
                "mean_square",
                "x.float().pow(2).mean(-1, keepdim=True)",
            ))
            .layer(formula(
                "normed",
                format!("x * rsqrt(mean_square + {})", real(model.eps)),
            ))
            .layer(formula("", "weight * normed")),
    );
    spec.block(parts::split_heads());
    let call = Attention {
        mask: Some("bias".into()),
        causal: false,
        dropout: model.dropout,
        scale: Some(1.0),
    };
    let split = |x: &str| format!("split_heads({x}, length=seq, count=heads, size=head)");
    let attend = call.of(&split("q"), &split("k"), &split("v"));
    let query = std(model, "width * head");
    let key = std(model, "width");
    for (name, source, inputs, note) in [
        (
            "self_attention",
            "norm",
            ["x", "bias"],
            "The scores are not divided by sqrt(head): the initialisation of q does it instead.",
        ),
        ("cross_attention", "memory", ["x", "memory"], ""),
    ] {
        let mut all = inputs.to_vec();
        if name == "cross_attention" {
            all.push("bias");
        }
        let block = Block::new(name, &all).layers([
            op("norm", "norm").reads(&["x"]),
            linear("q", "heads * head", false, 0.0)
                .reads(&["norm"])
                .init_std(&query),
            linear("k", "heads * head", false, 0.0)
                .reads(&[source])
                .init_std(&key),
            linear("v", "heads * head", false, 0.0)
                .reads(&[source])
                .init_std(&key),
            formula("attn", attend.clone()),
            formula("joined", parts::JOINED),
            linear("o", "width", false, 0.0).init_std(&std(model, "heads * head")),
            dropout("drop", model.dropout),
            formula("", "x + drop"),
        ]);
        spec.block(match note.is_empty() {
            true => block,
            false => block.note(note),
        });
    }
    let mut block = Block::new("feed_forward", &["x"]).layer(op("norm", "norm"));
    let act = model
        .activation
        .of(spec, if model.gated { "wi_0" } else { "wi" });
    block = match model.gated {
        true => block.layers([
            linear("wi_0", "hidden", false, 0.0).init_std(&key),
            linear("wi_1", "hidden", false, 0.0)
                .reads(&["norm"])
                .init_std(&key),
            formula("act", format!("{act} * wi_1")),
        ]),
        false => block.layers([
            linear("wi", "hidden", false, 0.0).init_std(&key),
            formula("act", act),
        ]),
    };
    spec.block(block.layers([
        dropout("drop_1", model.dropout),
        linear("wo", "width", false, 0.0).init_std(&std(model, "hidden")),
        dropout("drop_2", model.dropout),
        formula("", "x + drop_2"),
    ]));
    spec.block(Block::new("encoder_layer", &["x", "bias"]).layers([
        formula("own_bias", "bias.contiguous()"),
        op("attention", "self_attention").reads(&["x", "own_bias"]),
        op("feed_forward", "feed_forward"),
    ]));
    spec.block(
        Block::new("decoder_layer", &["x", "bias", "memory", "no_bias"]).layers([
            formula(
                "masked",
                "where(arange(seq)[:, None] >= arange(seq)[None, :], bias, -3.4028234663852886e+38).contiguous()",
            )
            .note("What comes later is hidden."),
            op("attention", "self_attention").reads(&["x", "masked"]),
            op("cross", "cross_attention").reads(&["attention", "memory", "no_bias"]),
            op("feed_forward", "feed_forward"),
        ]),
    );
}

fn encoder(spec: &mut SpecText, model: &T5) {
    spec.layer(
        formula("offset", "arange(seq)[None, :] - arange(seq)[:, None]")
            .note("How far each key stands behind its query."),
    );
    spec.layer(
        formula(
            "encoder_bucket",
            "bucket(abs(offset), count=buckets // 2) + (offset > 0).long() * (buckets // 2)",
        )
        .note("The encoder looks both ways: half of the buckets for each."),
    );
    let relative =
        |name: &str| embedding(name, "buckets", "heads", 0.0).init_std(&std(model, "width"));
    spec.layer(relative("encoder_relative"));
    spec.layer(formula(
        "encoder_bias",
        "encoder_relative.permute(2, 0, 1)[None]",
    ));
    spec.layer(embedding("shared", "vocab", "width", model.factor).reads(&["tokens"]));
    spec.layer(dropout("encoder_input", model.dropout));
    let kind = Kind {
        block: "encoder_layer",
        reads: &["encoder_bias"],
    };
    parts::stack(
        spec,
        "encoder",
        &vec![kind; model.layers as usize],
        "encoder_input",
    );
    spec.layer(op("encoder_norm", "norm"));
    spec.layer(dropout("memory", model.dropout));
    spec.layer(formula(
        "decoder_bucket",
        "bucket(-minimum(offset, 0), count=buckets)",
    ));
    spec.layer(relative("decoder_relative"));
    spec.layer(formula(
        "decoder_bias",
        "decoder_relative.permute(2, 0, 1)[None]",
    ));
    spec.layer(formula("no_bias", "zeros(1, heads, seq, seq)"));
}

fn decoder(spec: &mut SpecText, model: &T5) {
    let last = heads::last(model.vocab);
    spec.input(Tensor::integers("labels", &["batch", "seq"], -100, last));
    let padding = model.padding.clamp(0, last);
    spec.layer(
        formula(
            "decoder_tokens",
            format!(
                "where(pad(labels[:, :-1], [1, 0], value={padding}) == -100, {padding}, \
                 pad(labels[:, :-1], [1, 0], value={padding}))"
            ),
        )
        .note("The decoder reads the labels one place later; -100 reads as padding."),
    );
    spec.layer(
        op("decoder_embedded", "embedding")
            .set("num_embeddings", "vocab")
            .set("embedding_dim", "width")
            .set("weight", "shared.weight"),
    );
    spec.layer(dropout("decoder_input", model.dropout));
    let kind = Kind {
        block: "decoder_layer",
        reads: &["decoder_bias", "memory", "no_bias"],
    };
    parts::stack(
        spec,
        "decoder",
        &vec![kind; model.decoder_layers as usize],
        "decoder_input",
    );
    spec.layer(op("decoder_norm", "norm"));
    spec.layer(dropout("decoded", model.dropout));
    if model.scaled {
        spec.layer(
            formula("scaled", "decoded * width ** -0.5")
                .note("The embedding starts with unit variance: its logits are scaled down."),
        );
    }
    spec.layer(parts::tied("logits", "shared.weight"));
    spec.layer(op("loss", "cross_entropy").reads(&["logits", "labels"]));
}
