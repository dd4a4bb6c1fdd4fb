//! Whisper: sound as frames of a mel spectrogram, behind two convolutions, to text.

use super::config::Config;
use super::heads;
use super::parts::{self, dropout, embedding, linear};
use super::seq2seq::{Defaults, Seq2Seq};
use super::text::{SpecText, Tensor, formula, op};
use super::{Choice, ModelType, Task, decoder, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "whisper",
    tasks: &[Task::SeqToSeqLm, Task::Base],
    write,
}];

fn write(config: &mut Config, choice: &Choice) -> SpecText {
    let defaults = Defaults {
        width: 384,
        layers: 4,
        heads: 6,
        hidden: 1536,
        dropout: 0.0,
    };
    let mut body = Seq2Seq::read(config, &defaults, "heard");
    body.norm_before = true;
    body.key_bias = false;
    body.scaled_query = true;
    let vocab = config.size(&["vocab_size"], 51865);
    let mels = config.size(&["num_mel_bins"], 80);
    let heard = config.size(&["max_source_positions"], 1500);
    let positions = config.size(&["max_target_positions"], 448);
    let start = config.token(&["decoder_start_token_id"], Some(50257));
    let start = heads::inside(start, vocab, 50257);
    let padding = config.token(&["pad_token_id"], Some(50256));
    let filler = heads::inside(padding, vocab, 50256);
    let tied = config.flag(&["tie_word_embeddings"], true);
    // Which frames and bins are blanked is drawn anew in each step, and is done to the input.
    config.flag(&["apply_spec_augment"], false);
    if !body.width.is_multiple_of(2) {
        config.fault(format!(
            "`d_model` is {}, but the sinusoids of the encoder's positions come in pairs",
            body.width
        ));
    }
    let std = body.std;

    let mut spec = SpecText::new(head_comment(choice), config.name("whisper"));
    heads::sizes(
        &mut spec,
        config,
        choice,
        heads::Positions::Table(positions),
    );
    spec.dim("mels", mels);
    spec.dim("heard", heard);
    spec.dim("frames", "2 * heard");
    spec.dim("positions", positions);
    spec.dim("vocab", vocab);
    body.dims(&mut spec);
    spec.input(
        Tensor::new("features", &["batch", "mels", "frames"])
            .note("Mel bins of frames of 10 ms; all sounds are padded or cut to the same length."),
    );
    body.blocks(&mut spec);

    let conv = |name: &str| {
        op(name, "conv1d")
            .set("out_channels", "width")
            .set("kernel_size", 3u64)
    };
    spec.layer(conv("conv1").reads(&["features"]).set("padding", 1u64));
    spec.layer(formula("conv1_act", "gelu(conv1)"));
    spec.layer(conv("conv2").set("stride", 2u64).set("padding", 1u64));
    spec.layer(formula("conv2_act", "gelu(conv2)"));
    spec.layer(formula("places_heard", "arange(heard)"));
    spec.layer(
        embedding("encoder_positions", "heard", "width", std)
            .set("frozen", true)
            .note("Sinusoids, which are not trained."),
    );
    spec.layer(formula(
        "encoder_sum",
        "conv2_act.permute(0, 2, 1) + encoder_positions",
    ));
    spec.layer(dropout("encoder_input", body.dropout));
    body.encode(&mut spec, "encoder_input");

    let last = heads::last(vocab);
    match choice.task {
        Task::SeqToSeqLm => {
            spec.input(Tensor::integers("labels", &["batch", "seq"], -100, last));
            spec.layer(
                formula(
                    "tokens",
                    format!(
                        "where(pad(labels[:, :-1], [1, 0], value={start}) == -100, {filler}, \
                         pad(labels[:, :-1], [1, 0], value={start}))"
                    ),
                )
                .note("The decoder reads the labels one place later; -100 reads as padding."),
            );
        }
        _ => heads::tokens(&mut spec, vocab),
    }
    let words = embedding("embed_tokens", "vocab", "width", std).reads(&["tokens"]);
    spec.layer(decoder::padded(words, padding, vocab));
    spec.param(Tensor::new("decoder_positions", &["positions", "width"]).set("init", "normal"));
    spec.layer(formula("places", "arange(seq)[None].repeat(batch, 1)"));
    spec.layer(formula(
        "decoder_sum",
        "embed_tokens + decoder_positions[places]",
    ));
    spec.layer(dropout("decoder_input", body.dropout));
    body.decode(&mut spec, "decoder_input", "encoder");
    match choice.task {
        Task::SeqToSeqLm => {
            spec.layer(match tied {
                true => parts::tied("logits", "embed_tokens.weight"),
                false => linear("logits", "vocab", false, std),
            });
            spec.layer(op("loss", "cross_entropy").reads(&["logits", "labels"]));
        }
        _ => spec.outputs(&["decoder", "encoder"]),
    }
    spec
}
