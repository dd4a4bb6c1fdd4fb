//! Holds what is claimed of a model against what happens when it is run, small, by the reference
//! kernels.
//!
//! A claim is confirmed, contradicted, or cannot be checked here, and why. What the kernels compute
//! is in `kernels`; the claims are those of `ops` and `facts`.

mod call;
#[cfg(test)]
pub mod cases;

pub use call::verify_call;

/// Something that is said of a call or of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// The shapes of outputs.
    Shape,
    /// The value of one element that ranges and moments rest on.
    Element,
    /// FLOPs of products, forward.
    Flops,
    /// FLOPs of products, backward.
    BackwardFlops,
    /// That the gradient can be computed from what is said to be kept.
    Saved,
    /// That the kernel's gradient is that of its function.
    Gradient,
    /// That values lie in the range that is claimed.
    Range,
}

impl Claim {
    /// What it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Claim::Shape => "shapes",
            Claim::Element => "element function",
            Claim::Flops => "forward FLOPs",
            Claim::BackwardFlops => "backward FLOPs",
            Claim::Saved => "kept for backward",
            Claim::Gradient => "gradients",
            Claim::Range => "ranges",
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
