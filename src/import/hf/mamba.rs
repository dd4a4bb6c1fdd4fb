//! Mamba: layers of a selective state space, and no attention.
//!
//! The recurrence runs step by step in the class where no kernel for it is there; here it is one op,
//! which has the same products and keeps the same tensors.

use super::config::Config;
use super::heads;
use super::parts::{self, Activation, Kind, embedding, linear};
use super::text::{Block, SpecText, Tensor, formula, formulas, op};
use super::{Choice, DEFAULT_SEQ, ModelType, Task, head_comment};

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[ModelType {
    name: "mamba",
    tasks: &[Task::CausalLm, Task::Base],
    write,
}];

fn write(config: &mut Config, choice: &Choice) -> SpecText {
    let vocab = config.size(&["vocab_size"], 50280);
    let width = config.size(&["hidden_size"], 768);
    let state = config.size(&["state_size"], 16);
    let layers = config.layers(&["num_hidden_layers"], 32);
    let eps = config.not_negative(&["layer_norm_epsilon"], 1e-5);
    let expand = config.size(&["expand"], 2);
    let kernel = config.size(&["conv_kernel"], 4);
    let bias = config.flag(&["use_bias"], false);
    let conv_bias = config.flag(&["use_conv_bias"], true);
    let activation = Activation::read(config, &["hidden_act"], "silu");
    let std = config.not_negative(&["initializer_range"], 0.1);
    let wide_residual = config.flag(&["residual_in_fp32"], true);
    let rank = config
        .size_or_auto(&["time_step_rank"])
        .unwrap_or(width.div_ceil(16));
    let tied = config.flag(&["tie_word_embeddings"], true);

    let mut spec = SpecText::new(head_comment(choice), config.name("mamba"));
    spec.dim("batch", choice.batch);
    // What came before is in the state: no length is the model's own.
    spec.dim("seq", choice.seq.unwrap_or(DEFAULT_SEQ));
    spec.dim("vocab", vocab);
    spec.dim("width", width);
    spec.dim("inner", format!("{expand} * width"));
    spec.dim("state", state);
    spec.dim("rank", rank);
    spec.dim("kernel", kernel);
    heads::tokens(&mut spec, vocab);

    spec.block(parts::root_norm("norm", "width", eps));
    let act = activation.of(&mut spec, "causal");
    spec.block(
        Block::new("mixer", &["x"])
            .note(
                "A selective state space: how fast each channel forgets, and what it takes in and\n\
                 gives out, depend on the token.",
            )
            .param(Tensor::new("A_log", &["inner", "state"]).set("init", "zeros"))
            .param(Tensor::new("D", &["inner"]).set("init", "ones"))
            .layers([
                linear("in_proj", "2 * inner", bias, std),
                formulas(
                    &["hidden", "gate"],
                    "chunk(in_proj.transpose(1, 2), 2, dim=1)",
                ),
                op("conv1d", "conv1d")
                    .reads(&["hidden"])
                    .set("out_channels", "inner")
                    .set("kernel_size", "kernel")
                    .set("groups", "inner")
                    .set("padding", "kernel - 1")
                    .set_if(!conv_bias, "bias", false),
                formula("causal", "conv1d[:, :, :seq]")
                    .note("Padded on both sides and cut: each place sees what stands before it."),
                formula("u", format!("({act}).transpose(1, 2)")),
                linear("x_proj", "rank + 2 * state", false, std),
                formulas(
                    &["step", "B", "C"],
                    "split(x_proj, [rank, state, state], dim=-1)",
                ),
                linear("dt_proj", "inner", true, std).reads(&["step"]),
                formula("dt", "softplus(dt_proj)"),
                formula("decay", "exp(-exp(A_log.float()) * dt[:, :, :, None])"),
                formula("taken", "dt[:, :, :, None] * B[:, :, None, :].float()"),
                formula(
                    "states",
                    "linear_recurrence(decay, taken * u[:, :, :, None].float(), dim=1)",
                ),
                formula(
                    "given",
                    "(states.to(x.dtype) @ C[:, :, :, None]).squeeze(-1)",
                ),
                formula("y", "given + u * D.float()"),
                formula("gated", "(y * silu(gate.transpose(1, 2))).to(x.dtype)"),
                linear("out_proj", "width", bias, std),
            ]),
    );
    let kept = match wide_residual {
        true => "x.float() + mixer",
        false => "x + mixer",
    };
    spec.block(Block::new("layer", &["x"]).layers([
        op("norm", "norm"),
        op("mixer", "mixer"),
        formula("", kept),
    ]));

    spec.layer(embedding("embeddings", "vocab", "width", std).reads(&["tokens"]));
    let kind = Kind {
        block: "layer",
        reads: &[],
    };
    parts::stack(
        &mut spec,
        "layers",
        &vec![kind; layers as usize],
        "embeddings",
    );
    spec.layer(op("norm_f", "norm"));
    if choice.task == Task::CausalLm {
        spec.layer(match tied {
            true => parts::tied("logits", "embeddings.weight"),
            false => linear("logits", "vocab", false, std),
        });
        heads::next_token_loss(&mut spec, vocab);
    }
    spec
}
