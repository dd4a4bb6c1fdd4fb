//! GPT-J: rotary positions of neighbouring elements, attention and feed-forward layer side by side.

use super::config::Config;
use super::decoder;
use super::heads::{self, Positions};
use super::parts::{self, Activation, Attention, Kind, dropout, embedding, layer_norm, linear};
use super::text::{Block, SpecText, Tensor, formula, op};
use super::{Choice, ModelType, Task, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "gptj",
    tasks: &[
        Task::CausalLm,
        Task::SequenceClassification,
        Task::QuestionAnswering,
        Task::Base,
    ],
    write,
}];

fn write(config: &mut Config, choice: &Choice) -> SpecText {
    let vocab = config.size(&["vocab_size"], 50400);
    let positions = config.size(&["n_positions", "max_position_embeddings"], 2048);
    let width = config.size(&["n_embd", "hidden_size"], 4096);
    let layers = config.layers(&["n_layer", "num_hidden_layers"], 28);
    let heads = config.size(&["n_head", "num_attention_heads"], 16);
    let turned = config.size(&["rotary_dim"], 64);
    let hidden = config.optional_size(&["n_inner"]);
    let activation = Activation::read(config, &["activation_function"], "gelu_new");
    let p = config.dropout(&["resid_pdrop"], 0.0);
    let embedding_dropout = config.dropout(&["embd_pdrop"], 0.0);
    let attention_dropout = config.dropout(&["attn_pdrop"], 0.0);
    let eps = config.not_negative(&["layer_norm_epsilon"], 1e-5);
    let std = config.not_negative(&["initializer_range"], 0.02);
    let tied = config.flag(&["tie_word_embeddings"], false);
    config.divides(("n_embd", width), ("n_head", heads));
    let head = width / heads;
    if turned > head || !turned.is_multiple_of(2) {
        config.fault(format!(
            "`rotary_dim` must be even and at most the {head} elements of a head, not {turned}"
        ));
    }

    let mut spec = SpecText::new(head_comment(choice), config.name("gptj"));
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
    spec.dim("turned", turned);
    heads::tokens(&mut spec, vocab);

    spec.block(
        Block::new("rotate", &["x", "cos", "sin"])
            .note("Turns each pair of neighbouring elements by its angle.")
            .layer(formula(
                "",
                "x * repeat_interleave(cos[:, :, None], 2, dim=3) + stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2) * repeat_interleave(sin[:, :, None], 2, dim=3)",
            )),
    );
    let part =
        "cat([rotate(x[..., :turned], cos, sin), x[..., turned:]], dim=-1).permute(0, 2, 1, 3)";
    spec.block(
        Block::new("rotate_part", &["x", "cos", "sin"])
            .note("Turns the first elements of each head, and leaves the others.")
            .layer(formula("", part)),
    );
    let call = Attention {
        mask: Some("mask".into()),
        causal: false,
        dropout: attention_dropout,
        scale: None,
    };
    let split = |x: &str| format!("{x}.reshape(batch, seq, heads, head)");
    spec.block(
        Block::new("self_attention", &["x", "cos", "sin", "mask"]).layers([
            linear("q_proj", "width", false, std).reads(&["x"]),
            linear("k_proj", "width", false, std).reads(&["x"]),
            linear("v_proj", "width", false, std).reads(&["x"]),
            formula("k", format!("rotate_part({}, cos, sin)", split("k_proj"))),
            formula("q", format!("rotate_part({}, cos, sin)", split("q_proj"))),
            formula("v", format!("{}.permute(0, 2, 1, 3)", split("v_proj"))),
            formula("attn", call.of("q", "k", "v")),
            formula("joined", parts::JOINED),
            linear("out_proj", "width", false, std),
            dropout("resid_dropout", p),
        ]),
    );
    let act = activation.of(&mut spec, "fc_in");
    spec.block(Block::new("feed_forward", &["x"]).layers([
        linear("fc_in", "hidden", true, std),
        formula("act", act),
        linear("fc_out", "width", true, std),
        dropout("dropout", p),
    ]));
    spec.block(Block::new("decoder", &["x", "cos", "sin", "mask"]).layers([
        layer_norm("ln_1", eps).reads(&["x"]),
        op("attn", "self_attention").reads(&["ln_1", "cos", "sin", "mask"]),
        op("mlp", "feed_forward").reads(&["ln_1"]),
        formula("", "attn + mlp + x"),
    ]));

    spec.buffer(Tensor::new("embed_positions", &["positions", "turned"]).set("range", [-1.0, 1.0]));
    spec.layer(formula("places", "arange(seq)[None]"));
    spec.layer(formula("sine_cosine", "embed_positions[places]"));
    spec.layer(formula("sine", "sine_cosine[..., :turned // 2]"));
    spec.layer(formula("cosine", "sine_cosine[..., turned // 2:]"));
    spec.layer(parts::causal_mask("mask", None));
    spec.layer(embedding("wte", "vocab", "width", std).reads(&["tokens"]));
    spec.layer(dropout("drop", embedding_dropout));
    let kind = Kind {
        block: "decoder",
        reads: &["cosine", "sine", "mask"],
    };
    parts::stack(&mut spec, "h", &vec![kind; layers as usize], "drop");
    spec.layer(layer_norm("ln_f", eps));
    match choice.task {
        Task::CausalLm => {
            spec.layer(match tied {
                true => op("logits", "linear")
                    .set("out_features", "vocab")
                    .set("weight", "wte.weight"),
                false => linear("logits", "vocab", true, std),
            });
            heads::next_token_loss(&mut spec, vocab);
        }
        Task::SequenceClassification => {
            let padding = config.token(&["pad_token_id"], None);
            decoder::last_token_class(&mut spec, config, choice, padding, std);
        }
        Task::QuestionAnswering => heads::spans(&mut spec, seq, std),
        _ => {}
    }
    spec
}
