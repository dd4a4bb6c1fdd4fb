//! Holds what is claimed of a model against what happens when it is run, small, by the reference
//! kernels.
//!
//! A claim is confirmed, contradicted, or cannot be checked here, and why. What the kernels compute
//! is in `kernels`; the claims are those of `ops`, of `facts` and of the findings.

mod call;
#[cfg(test)]
pub mod cases;
mod directions;
pub mod experiment;
mod hazards;
mod ledger;
mod memory;
mod model;
mod narrow;
mod result;
mod rounding;
mod run;
mod scale;
#[cfg(test)]
mod tests;
pub mod torch;
mod values;

pub use call::verify_call;
pub use model::{Limits, verify};
pub use result::{Contradiction, Tally, Verification};
pub use rounding::{Types, retyped};
pub use scale::{Scaled, Size};

/// Something that is said of a call or of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// The parameters, those that are trained, and the bytes of buffers.
    Parameters,
    /// The shapes of outputs.
    Shape,
    /// The value of one element that ranges and moments rest on.
    Element,
    /// FLOPs of products, forward.
    Flops,
    /// FLOPs of products, backward.
    BackwardFlops,
    /// That values lie in the range that is claimed.
    Range,
    /// That the gradient can be computed from what is said to be kept.
    Saved,
    /// That gradients are those of the function.
    Gradient,
    /// The bytes that autograd keeps, tensor by tensor.
    Kept,
    /// The bytes that live after each call.
    Timeline,
    /// The most bytes that live in a step.
    Peak,
    /// That what a finding warns of happens.
    Hazard,
    /// That replicas average gradients, and so do as one batch does.
    Averaging,
    /// That a summed loss and summed gradients are wrong by the number of replicas.
    Reduction,
    /// That a step over equal shares is the step over all of them, at the same learning rate.
    LearningRate,
    /// That the statistics of a replica are not those of the batch, and by what.
    Statistics,
    /// That joint statistics give what one batch gives.
    Synchronised,
    /// What an experiment predicts, row by row.
    Experiment,
}

impl Claim {
    /// The claims that the reference kernels check, in the order of tables.
    pub const ALL: [Claim; 10] = [
        Claim::Shape,
        Claim::Element,
        Claim::Flops,
        Claim::BackwardFlops,
        Claim::Range,
        Claim::Saved,
        Claim::Gradient,
        Claim::Kept,
        Claim::Timeline,
        Claim::Hazard,
    ];

    /// What it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Claim::Parameters => "parameters",
            Claim::Shape => "shapes",
            Claim::Element => "element functions",
            Claim::Flops => "forward FLOPs",
            Claim::BackwardFlops => "backward FLOPs",
            Claim::Range => "ranges",
            Claim::Saved => "kept is enough",
            Claim::Gradient => "gradients",
            Claim::Kept => "bytes kept",
            Claim::Timeline => "live bytes",
            Claim::Peak => "peak bytes",
            Claim::Hazard => "hazards",
            Claim::Averaging => "gradient averaging",
            Claim::Reduction => "sum and mean",
            Claim::LearningRate => "learning rate",
            Claim::Statistics => "BatchNorm statistics",
            Claim::Synchronised => "synchronised BatchNorm",
            Claim::Experiment => "experiment",
        }
    }

    /// What is compared with what.
    pub fn summary(self) -> &'static str {
        match self {
            Claim::Parameters => {
                "parameters, trained parameters and bytes of buffers, with those of the module"
            }
            Claim::Shape => "the shape that an op infers, with what its kernel makes",
            Claim::Element => "the function of one element that ranges rest on, with the kernel",
            Claim::Flops => "the FLOPs that are predicted, with the multiply-adds that are counted",
            Claim::BackwardFlops => "the same of the backward pass",
            Claim::Range => "the range that is claimed of a tensor, with its values",
            Claim::Saved => "the gradient from what is said to be kept alone, with that from all",
            Claim::Gradient => "the gradient, with differences of the forward pass",
            Claim::Kept => "the bytes said to be kept, with those of storages that live",
            Claim::Timeline => {
                "the live bytes of the timeline, with those of storages, call by call"
            }
            Claim::Peak => "the most that is said to live in a step, with what PyTorch tracks",
            Claim::Hazard => "what a finding warns of, with what happens",
            Claim::Averaging => "the gradients of replicas, with those of one process",
            Claim::Reduction => {
                "summed losses and summed gradients of replicas, with the gradient of the mean"
            }
            Claim::LearningRate => "a step of replicas, with one of one process",
            Claim::Statistics => "the statistics of a replica, with those of the batch",
            Claim::Synchronised => {
                "gradients with statistics of all replicas, with those of one process"
            }
            Claim::Experiment => "what an experiment predicts, with what PyTorch does",
        }
    }
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds here.
    Confirmed,
    /// It does not: what was claimed, and what was found.
    Contradicted {
        /// What was claimed.
        claimed: String,
        /// What was found.
        found: String,
    },
    /// It cannot be checked here, and why.
    Unchecked(String),
}

/// A claim and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The claim.
    pub claim: Claim,
    /// What came of it.
    pub outcome: Outcome,
}
