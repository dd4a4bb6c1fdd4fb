//! `[train.precision]`: which element type stands where.

use super::super::document::NodeRef;
use super::super::reader::Reader;
use crate::spec::setting::{Field, FromNode, choice, settings};
use crate::tensor::Dtype;

settings! {
    /// `[train.precision]`
    pub struct Precision {
        /// A named policy, over which the other keys are laid.
        preset: Field<PrecisionPreset>,
        /// Of the parameters as the forward pass sees them.
        params: Field<Dtype>,
        /// Of matrix products and convolutions.
        compute: Field<Dtype>,
        /// Of the gradients.
        grads: Field<Dtype>,
        /// In which gradients are reduced across devices.
        reduce: Field<Dtype>,
        /// Of a separate master copy of the weights; without this key there is none.
        master: Field<Dtype>,
        /// Of the optimizer's state.
        optimizer: Field<Dtype>,
        /// In which micro-batches' gradients are accumulated.
        accumulate: Field<Dtype>,
        /// Of an exponential moving average of the weights.
        ema: Field<Dtype>,
        /// Loss scaling: "none", "dynamic", or a number.
        loss_scale: Field<LossScale>,
        /// Whether float32 products may run in TensorFloat-32.
        tf32: Field<bool>,
        /// Whether updates are rounded stochastically, or compensated.
        stochastic_rounding: Field<bool>,
    }
    shorthand preset;
}

choice! {
    /// A named policy.
    pub enum PrecisionPreset ("precision preset") {
        /// Everything in float32.
        Float32 = "float32" | "fp32" | "f32",
        /// Everything in bfloat16, optimizer state and weights included.
        Bfloat16 = "bf16" | "bfloat16",
        /// Everything in float16, optimizer state and weights included.
        Float16 = "f16" | "fp16" | "float16",
        /// float32 weights under `torch.autocast(dtype=torch.bfloat16)`.
        AmpBfloat16 = "amp-bf16" | "amp_bf16" | "bf16-mixed",
        /// float32 weights under `torch.autocast(dtype=torch.float16)`.
        AmpFloat16 = "amp-f16" | "amp-fp16" | "amp_fp16" | "16-mixed",
        /// float8 products over bfloat16 weights with float32 masters.
        Float8 = "fp8" | "float8",
    }
}

/// Loss scaling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LossScale {
    /// None.
    None,
    /// Adapted to overflows, as `torch.amp.GradScaler` does.
    Dynamic,
    /// A fixed factor.
    Static(f64),
}

impl FromNode for LossScale {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<LossScale> {
        match node.as_str() {
            Some("none") => Some(LossScale::None),
            Some("dynamic") => Some(LossScale::Dynamic),
            Some(word) if word.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                reader.unknown_word(node, "loss scale", word, &["none", "dynamic"]);
                None
            }
            _ if node.as_bool() == Some(false) => Some(LossScale::None),
            _ => reader.real(node).map(LossScale::Static),
        }
    }
}
