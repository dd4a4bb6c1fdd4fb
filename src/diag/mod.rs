//! What the program has to say: findings with a place, a reason, a fix and a fingerprint.
//!
//! Findings are made by the parser, the lowering and the rules, and printed by the renderers.
//! Nothing in here decides whether something *is* wrong.

pub mod apply;
mod finding;
pub mod fingerprint;
mod fix;
mod level;
pub mod order;
mod sink;

pub use finding::{Finding, Label, Suppression};
pub use fix::{Edit, Fix, Safety};
pub use level::{Confidence, Level};
pub use sink::{FindingBuilder, Sink};
