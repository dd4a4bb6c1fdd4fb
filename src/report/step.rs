//! The report's part about an optimizer step: its arithmetic, and how fast it is done.

use serde::Serialize;

use crate::facts::Facts;
use crate::quantity::{Flops, Seconds};

/// An optimizer step on all devices together.
#[derive(Debug, Clone, Serialize)]
pub struct StepPart {
    /// Product FLOPs of the forward and backward passes of all its samples.
    pub model_flops: Flops,
    /// The same with what is recomputed.
    pub hardware_flops: Flops,
    /// Devices that share the work.
    pub devices: u64,
    /// The element type of the products.
    pub dtype: &'static str,
    /// Product FLOPs that a device can do in a second in that type.
    pub peak_flops: Option<f64>,
    /// How fast it is, where the spec says.
    pub speed: Option<SpeedPart>,
}

/// How fast a step is.
#[derive(Debug, Clone, Serialize)]
pub struct SpeedPart {
    /// The time of a step.
    pub seconds: Seconds,
    /// The key of the spec that it follows from.
    pub from: &'static str,
    /// Product FLOPs that a device does in a second, recomputation included.
    pub flops_per_device: f64,
    /// The model's own products as a share of the peak (MFU).
    pub model_utilization: Option<f64>,
    /// The same with what is recomputed (HFU).
    pub hardware_utilization: Option<f64>,
    /// Elements of the first input in a second, over all devices.
    pub tokens_per_second: Option<f64>,
    /// Steps of the run.
    pub steps: Option<f64>,
    /// The time of the run.
    pub run_seconds: Option<Seconds>,
}

impl StepPart {
    /// The part; `None` where nothing is trained.
    pub(super) fn of(facts: &Facts<'_>) -> Option<StepPart> {
        if !facts.graph().training {
            return None;
        }
        let step = facts.throughput();
        let speed = step.step.map(|(seconds, basis)| SpeedPart {
            seconds,
            from: basis.key(),
            flops_per_device: step.rate().unwrap_or(0.0),
            model_utilization: step.model_utilization(),
            hardware_utilization: step.hardware_utilization(),
            tokens_per_second: step.tokens.map(|tokens| tokens as f64 / seconds.get()),
            steps: step.steps,
            run_seconds: step.run(),
        });
        Some(StepPart {
            model_flops: step.model,
            hardware_flops: step.hardware,
            devices: step.devices,
            dtype: step.dtype.name(),
            peak_flops: step.peak,
            speed,
        })
    }
}
