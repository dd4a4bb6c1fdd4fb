//! Products that cost less in another order, for the same result up to rounding.

mod adjacent_linear;
mod einsum_path;
mod left_to_right;
mod quadratic_attention;
mod shared_saving;

use super::Rule;

/// The rules of the group, sorted.
pub static RULES: &[&Rule] = &[
    &adjacent_linear::RULE,
    &einsum_path::RULE,
    &left_to_right::RULE,
    &quadratic_attention::RULE,
];
