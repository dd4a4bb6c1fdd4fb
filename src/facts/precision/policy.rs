//! `[train.precision]` with its preset and defaults filled in.

use crate::source::Span;
use crate::spec::run::{LossScale, PrecisionPreset, Run};
use crate::spec::setting::Field;
use crate::tensor::Dtype;

/// A setting of the policy, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen<T> {
    /// The value.
    pub value: T,
    /// Where it was written: the key itself, or the preset that implies it. `None` for a default.
    pub span: Option<Span>,
    /// Whether the key itself is written.
    pub given: bool,
}

/// The precision policy of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The named policy that the others are laid over.
    pub preset: Option<PrecisionPreset>,
    /// Of the parameters as the forward pass sees them.
    pub params: Chosen<Dtype>,
    /// Of matrix products, convolutions and attention.
    pub compute: Chosen<Dtype>,
    /// Of the gradients.
    pub grads: Chosen<Dtype>,
    /// In which gradients are reduced across devices.
    pub reduce: Chosen<Dtype>,
    /// Of a separate master copy of the trained parameters, if there is one.
    pub master: Chosen<Option<Dtype>>,
    /// Of the optimizer's state.
    pub optimizer: Chosen<Dtype>,
    /// In which the gradients of micro-batches are accumulated.
    pub accumulate: Chosen<Dtype>,
    /// Of an exponential moving average of the weights, if there is one.
    pub ema: Chosen<Option<Dtype>>,
    /// Loss scaling.
    pub loss_scale: Chosen<LossScale>,
    /// The type of `torch.autocast`, where the run is under it.
    pub autocast: Option<Dtype>,
    /// Whether float32 products may run in TensorFloat-32.
    pub tf32: Chosen<bool>,
    /// Whether updates are rounded stochastically, or compensated.
    pub stochastic_rounding: Chosen<bool>,
}

/// What a preset says.
struct Preset {
    params: Dtype,
    compute: Dtype,
    master: Option<Dtype>,
    optimizer: Dtype,
    loss_scale: LossScale,
}

impl Preset {
    fn of(preset: PrecisionPreset) -> Preset {
        let all = |dtype| Preset {
            params: dtype,
            compute: dtype,
            master: None,
            optimizer: dtype,
            loss_scale: LossScale::None,
        };
        match preset {
            PrecisionPreset::Float32 => all(Dtype::Float32),
            PrecisionPreset::Bfloat16 => all(Dtype::Bfloat16),
            PrecisionPreset::Float16 => all(Dtype::Float16),
            PrecisionPreset::AmpBfloat16 => Preset {
                compute: Dtype::Bfloat16,
                ..all(Dtype::Float32)
            },
            // Whoever uses `torch.autocast(dtype=torch.float16)` uses a `GradScaler`.
            PrecisionPreset::AmpFloat16 => Preset {
                compute: Dtype::Float16,
                loss_scale: LossScale::Dynamic,
                ..all(Dtype::Float32)
            },
            PrecisionPreset::Float8 => Preset {
                compute: Dtype::Float8E4m3fn,
                master: Some(Dtype::Float32),
                optimizer: Dtype::Float32,
                ..all(Dtype::Bfloat16)
            },
        }
    }
}

impl Policy {
    /// Resolves the policy of a run whose parameters have the type `params` unless the policy says
    /// otherwise.
    ///
    /// Without a preset, what is not said follows: products, gradients and optimizer state have
    /// the type of the parameters (the state that of the master copy, if there is one), as they
    /// have in PyTorch; gradients are reduced and accumulated in their own type.
    pub fn of(run: &Run, params: Dtype) -> Policy {
        let precision = &run.train.precision;
        let preset = precision.preset.get();
        let from = preset.map(Preset::of);
        let preset_span = precision.preset.span;

        /// The key, else what the preset says, else the default.
        fn choose<T: Clone>(
            field: &Field<T>,
            preset: Option<T>,
            span: Option<Span>,
            default: T,
        ) -> Chosen<T> {
            match (field.get(), preset) {
                (Some(value), _) => Chosen {
                    value,
                    span: field.span,
                    given: true,
                },
                (None, Some(value)) => Chosen {
                    value,
                    span,
                    given: false,
                },
                (None, None) => Chosen {
                    value: default,
                    span: None,
                    given: false,
                },
            }
        }
        let named = |f: fn(&Preset) -> Dtype| from.as_ref().map(f);
        let dtype = |field: &Field<Dtype>, preset: Option<Dtype>, default: Dtype| {
            choose(field, preset, preset_span, default)
        };
        let optional = |field: &Field<Dtype>, preset: Option<Dtype>| match field.get() {
            None => Chosen {
                value: preset,
                span: preset.and(preset_span),
                given: false,
            },
            given => Chosen {
                value: given,
                span: field.span,
                given: true,
            },
        };
        let params = dtype(&precision.params, named(|p| p.params), params);
        let compute = dtype(&precision.compute, named(|p| p.compute), params.value);
        let grads = dtype(&precision.grads, named(|p| p.params), params.value);
        let master = optional(&precision.master, from.as_ref().and_then(|p| p.master));
        let state = master.value.unwrap_or(params.value);
        let averaged = run.train.ema_decay.is_given().then_some(params.value);
        let mut ema = optional(&precision.ema, None);
        if !ema.given && averaged.is_some() {
            (ema.value, ema.span) = (averaged, run.train.ema_decay.span);
        }
        let lower = params.value == Dtype::Float32 && compute.value.is_half();
        Policy {
            preset,
            reduce: dtype(&precision.reduce, None, grads.value),
            accumulate: dtype(&precision.accumulate, None, grads.value),
            optimizer: dtype(&precision.optimizer, named(|p| p.optimizer), state),
            loss_scale: choose(
                &precision.loss_scale,
                from.as_ref().map(|p| p.loss_scale),
                preset_span,
                LossScale::None,
            ),
            tf32: choose(&precision.tf32, None, None, false),
            stochastic_rounding: choose(&precision.stochastic_rounding, None, None, false),
            autocast: lower.then_some(compute.value),
            params,
            compute,
            grads,
            master,
            ema,
        }
    }

    /// The type in which a trained parameter is updated: the master copy's, or its own.
    pub fn updated(&self) -> Dtype {
        self.master.value.unwrap_or(self.params.value)
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::fixture::lowered;
    use crate::facts::precision::Policy;

    /// The policy in a line: what differs from the parameters' type stands behind it.
    fn shown(precision: &str) -> String {
        let text = format!(
            "spec = 1\n[inputs]\nx = [2, 4]\n[[layers]]\nop = \"relu\"\n[train]\n{precision}\n"
        );
        let (spec, model) = lowered(&text);
        let policy = Policy::of(&spec.run, model.dtype);
        let mut line = policy.params.value.name().to_owned();
        let mut add = |name: &str, value: Option<crate::tensor::Dtype>| {
            if let Some(value) = value.filter(|&value| value != policy.params.value) {
                line += &format!(" {name} {value}");
            }
        };
        add("compute", Some(policy.compute.value));
        add("grads", Some(policy.grads.value));
        add("reduce", Some(policy.reduce.value));
        add("accumulate", Some(policy.accumulate.value));
        add("master", policy.master.value);
        add("optimizer", Some(policy.optimizer.value));
        add("autocast", policy.autocast);
        format!("{line}, loss scale {:?}", policy.loss_scale.value)
    }

    #[test]
    fn presets_and_keys_fill_the_policy() {
        for (precision, expected) in [
            ("", "float32, loss scale None"),
            ("precision = \"float32\"", "float32, loss scale None"),
            ("precision = \"bf16\"", "bfloat16, loss scale None"),
            ("precision = \"f16\"", "float16, loss scale None"),
            (
                "precision = \"amp-bf16\"",
                "float32 compute bfloat16 autocast bfloat16, loss scale None",
            ),
            (
                "precision = \"amp-f16\"",
                "float32 compute float16 autocast float16, loss scale Dynamic",
            ),
            (
                "precision = \"fp8\"",
                "bfloat16 compute float8_e4m3fn master float32 optimizer float32, loss scale None",
            ),
            (
                "precision = { params = \"bf16\", grads = \"float32\", master = \"float32\" }",
                "bfloat16 grads float32 reduce float32 accumulate float32 master float32 \
                 optimizer float32, loss scale None",
            ),
            (
                "precision = { preset = \"amp-f16\", loss_scale = 1024 }",
                "float32 compute float16 autocast float16, loss scale Static(1024.0)",
            ),
            (
                "precision = { compute = \"bf16\" }",
                "float32 compute bfloat16 autocast bfloat16, loss scale None",
            ),
        ] {
            assert_eq!(shown(precision), expected, "{precision}");
        }
    }
}
