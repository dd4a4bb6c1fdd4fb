//! Linear algebra that loses more digits than it must: squared conditions, explicit inverses,
//! determinants of large matrices.

mod determinant_of_large_matrix;
mod distance_by_gram;
mod explicit_inverse;
mod half_precision_solve;
mod undamped_gram_inverse;

use super::Rule;

/// The rules of the group, sorted by name.
pub static RULES: &[&Rule] = &[
    &determinant_of_large_matrix::RULE,
    &distance_by_gram::RULE,
    &explicit_inverse::RULE,
    &half_precision_solve::RULE,
    &undamped_gram_inverse::RULE,
];
