//! ViT and DeiT: an image as a sequence of patches, told by its first token.

use super::config::Config;
use super::heads;
use super::parts::{self, Activation, Attention, Kind, dropout, layer_norm, linear};
use super::text::{Block, SpecText, Tensor, formula, op};
use super::{Choice, ModelType, Task, head_comment};

const TASKS: &[Task] = &[Task::ImageClassification, Task::Base];

/// The types of this family.
pub(super) const TYPES: &[ModelType] = &[
    ModelType {
        name: "vit",
        tasks: TASKS,
        write: |config, choice| write(config, choice, 1),
    },
    ModelType {
        name: "deit",
        tasks: TASKS,
        write: |config, choice| write(config, choice, 2),
    },
];

/// Writes the model. `extra` is the number of tokens in front of the patches: for the class, and in
/// DeiT for the distillation.
fn write(config: &mut Config, choice: &Choice, extra: u64) -> SpecText {
    let width = config.size(&["hidden_size"], 768);
    let layers = config.layers(&["num_hidden_layers"], 12);
    let heads = config.size(&["num_attention_heads"], 12);
    let hidden = config.size(&["intermediate_size"], 3072);
    let activation = Activation::read(config, &["hidden_act"], "gelu");
    let p = config.dropout(&["hidden_dropout_prob"], 0.0);
    let attention_dropout = config.dropout(&["attention_probs_dropout_prob"], 0.0);
    let std = config.not_negative(&["initializer_range"], 0.02);
    let eps = config.not_negative(&["layer_norm_eps"], 1e-12);
    let (height, across) = config.pair(&["image_size"], 224);
    let (patch, patch_across) = config.pair(&["patch_size"], 16);
    let channels = config.size(&["num_channels"], 3);
    let bias = config.flag(&["qkv_bias"], true);
    let pooled = config
        .optional_size(&["pooler_output_size"])
        .unwrap_or(width);
    let pooler = Activation::read(config, &["pooler_act"], "tanh");
    config.divides(("hidden_size", width), ("num_attention_heads", heads));
    if height < patch || across < patch_across {
        config.fault(format!(
            "an image of {height} × {across} pixels has no patch of {patch} × {patch_across}"
        ));
    }
    if choice.seq.is_some() {
        config.fault("an image has no length: leave the sequence out");
    }

    let mut spec = SpecText::new(head_comment(choice), config.name(choice.model_type));
    spec.dim("batch", choice.batch);
    spec.dim("channels", channels);
    spec.dim("height", height);
    spec.dim("across", across);
    spec.dim("patch", patch);
    if patch_across != patch {
        spec.dim("patch_across", patch_across);
    }
    let step = match patch_across == patch {
        true => "patch",
        false => "patch_across",
    };
    spec.dim("patches", format!("(height // patch) * (across // {step})"));
    spec.dim("seq", format!("patches + {extra}"));
    spec.dim("width", width);
    spec.dim("hidden", hidden);
    spec.dim("heads", heads);
    spec.dim("head", "width / heads");
    spec.input(Tensor::new(
        "pixels",
        &["batch", "channels", "height", "across"],
    ));
    let token = |name: &str| Tensor::new(name, &["1", "1", "width"]).set("init", "normal");
    spec.param(token("cls_token"));
    if extra == 2 {
        spec.param(token("distillation_token"));
    }
    spec.param(Tensor::new("position_embeddings", &["1", "seq", "width"]).set("init", "normal"));

    spec.block(parts::split_heads());
    let split = |x: &str| format!("split_heads({x}, length=seq, count=heads, size=head)");
    let call = Attention {
        mask: None,
        causal: false,
        dropout: attention_dropout,
        scale: None,
    };
    let act = activation.of(&mut spec, "fc1");
    spec.block(Block::new("encoder_layer", &["x"]).layers([
        layer_norm("layernorm_before", eps).reads(&["x"]),
        linear("q_proj", "width", bias, std).reads(&["layernorm_before"]),
        linear("k_proj", "width", bias, std).reads(&["layernorm_before"]),
        linear("v_proj", "width", bias, std).reads(&["layernorm_before"]),
        formula(
            "attn",
            call.of(&split("q_proj"), &split("k_proj"), &split("v_proj")),
        ),
        formula("joined", parts::JOINED),
        linear("o_proj", "width", true, std),
        dropout("drop_1", p),
        formula("h", "drop_1 + x"),
        layer_norm("layernorm_after", eps),
        linear("fc1", "hidden", true, std),
        formula("act", act),
        linear("fc2", "width", true, std),
        dropout("drop_2", p),
        formula("", "drop_2 + h"),
    ]));

    let kernel: super::text::Value = match patch_across == patch {
        true => "patch".into(),
        false => ["patch", "patch_across"].into(),
    };
    spec.layer(
        op("projection", "conv2d")
            .reads(&["pixels"])
            .set("out_channels", "width")
            .set("kernel_size", kernel.clone())
            .set("stride", kernel),
    );
    spec.layer(formula(
        "patch_embeddings",
        "projection.flatten(2).transpose(1, 2)",
    ));
    spec.layer(formula(
        "embeddings",
        match extra {
            2 => "cat([cls_token.expand(batch, -1, -1), distillation_token.expand(batch, -1, -1), patch_embeddings], dim=1) + position_embeddings",
            _ => "cat([cls_token.expand(batch, -1, -1), patch_embeddings], dim=1) + position_embeddings",
        },
    ));
    spec.layer(dropout("dropped", p));
    let kind = Kind {
        block: "encoder_layer",
        reads: &[],
    };
    parts::stack(&mut spec, "layers", &vec![kind; layers as usize], "dropped");
    spec.layer(layer_norm("layernorm", eps));
    match choice.task {
        Task::ImageClassification => {
            let classes = heads::classes(config);
            spec.dim("classes", classes);
            spec.layer(formula("first", "layernorm[:, 0]"));
            spec.layer(linear("logits", "classes", true, std));
            heads::class_loss(&mut spec, config, classes);
        }
        _ => {
            spec.dim("pooled", pooled);
            spec.layer(formula("first", "layernorm[:, 0]"));
            spec.layer(linear("pooler", "pooled", true, std));
            let act = pooler.of(&mut spec, "pooler");
            spec.layer(formula("pooler_output", act));
            spec.outputs(&["layernorm", "pooler_output"]);
        }
    }
    spec
}
