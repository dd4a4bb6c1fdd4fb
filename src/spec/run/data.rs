//! `[data]` and `[quantization]`.

use crate::spec::setting::{Field, Range, choice, settings};
use crate::tensor::Dtype;

settings! {
    /// `[data]`: what is known of the data set.
    pub struct Data {
        /// Samples.
        samples: Field<u64>,
        /// Number of classes of the labels.
        classes: Field<u64>,
        /// Least and greatest label.
        labels: Field<Range>,
        /// Whether inputs are standardised before they reach the model.
        normalized: Field<bool>,
        /// How samples are dealt to the devices.
        sampler: Field<Sampler>,
        /// Whether the order is shuffled each epoch.
        shuffle: Field<bool>,
        /// Whether a last, smaller batch is dropped.
        drop_last: Field<bool>,
        /// Worker processes per device.
        workers: Field<u64>,
        /// Whether each worker and rank seeds its augmentation differently.
        seed_per_worker: Field<bool>,
    }
}

choice! {
    /// How samples are dealt to the devices.
    pub enum Sampler ("sampler") {
        /// Each device draws from its own share (`DistributedSampler`).
        Distributed = "distributed",
        /// Each device sees all samples in the same order.
        Replicated = "replicated" | "none",
        /// Each device draws from all samples at random.
        Random = "random",
    }
}

settings! {
    /// `[quantization]`: post-training quantisation.
    pub struct Quantization {
        /// The element type of quantised weights, and of activations unless the scheme says
        /// otherwise.
        dtype: Field<Dtype>,
        /// What is quantised, and when ranges are measured.
        scheme: Field<QuantizationScheme>,
        /// Samples over which the ranges of activations are measured.
        calibration_samples: Field<u64>,
        /// Whether each output channel has its own scale.
        per_channel: Field<bool>,
        /// Elements that share a scale.
        group_size: Field<u64>,
    }
}

choice! {
    /// What is quantised, and when ranges are measured.
    pub enum QuantizationScheme ("quantisation scheme") {
        /// Weights and activations, with ranges measured beforehand.
        Static = "static",
        /// Weights beforehand, activations at run time.
        Dynamic = "dynamic",
        /// Weights only.
        WeightOnly = "weight_only" | "weight-only",
        /// Fake quantisation while training.
        TrainingAware = "training_aware" | "qat",
    }
}
