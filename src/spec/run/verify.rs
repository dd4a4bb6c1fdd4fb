//! `[verify]`: what `plimsoll verify` shows besides the claims of the model.

use crate::spec::setting::{Field, choice, settings};

settings! {
    /// `[verify]`: the experiment that the spec is written for.
    pub struct Verify {
        /// Which experiment.
        experiment: Field<ExperimentKind>,
    }
    shorthand experiment;
}

choice! {
    /// A question that is answered by running it.
    pub enum ExperimentKind ("experiment") {
        /// Every order of a product of matrices.
        Order = "order",
        /// The sum of many numbers, by method and element type.
        Summation = "summation",
        /// BatchNorm over the shards of one batch.
        BatchNorm = "batch-norm",
        /// The smallest variance that a guarded normalisation bears.
        Epsilon = "epsilon",
        /// Time and memory of backpropagation through time.
        BackpropagationThroughTime = "backpropagation-through-time",
        /// The ways to mark a ball in a volume.
        Mask = "mask",
        /// What outputs lose in each element type.
        Precision = "precision",
    }
}
