//! Small terms that keep an operation away from its pole: missing, too small for the type, in the
//! wrong place.

mod missing_in_division;
mod missing_in_log;
mod missing_in_norm;
mod missing_in_rsqrt;
mod missing_in_sqrt;
mod outside_square_root;
mod vanishing;
mod zero;

use super::Rule;

/// The rules of the group, sorted by name.
pub static RULES: &[&Rule] = &[
    &missing_in_division::RULE,
    &missing_in_log::RULE,
    &missing_in_norm::RULE,
    &missing_in_rsqrt::RULE,
    &missing_in_sqrt::RULE,
    &outside_square_root::RULE,
    &vanishing::RULE,
    &zero::RULE,
];
