//! Data that does not fit the model: its scale, its labels, its order.

mod classes_mismatch;
mod cross_entropy_over_one_class;
mod labels_beyond_classes;
mod shared_targets;
mod unnormalized_input;
mod unshuffled;

use super::Rule;

/// The rules of this group, sorted by name.
pub static RULES: &[&Rule] = &[
    &classes_mismatch::RULE,
    &cross_entropy_over_one_class::RULE,
    &labels_beyond_classes::RULE,
    &unnormalized_input::RULE,
    &unshuffled::RULE,
];
