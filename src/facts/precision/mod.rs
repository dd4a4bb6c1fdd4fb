//! Which element type stands where: the precision policy with everything that presets and defaults
//! fill in, and the types at which the ops of a model run under it.
//!
//! What a type can hold is in `tensor::Dtype`; whether the policy is a wise one is for the rules.

mod dtypes;
mod policy;
mod recast;
mod unaltered;
mod unstated;

pub use dtypes::NodeDtypes;
pub use policy::{Chosen, Policy};
pub use recast::recast;
