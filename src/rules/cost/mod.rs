//! What takes more than it has to, or more than can be told.

mod intractable_order;
mod over_flops_budget;
mod quadratic_growth;
mod unknown_cost;

use super::Rule;

/// The rules of the group, sorted.
pub static RULES: &[&Rule] = &[
    &intractable_order::RULE,
    &over_flops_budget::RULE,
    &quadratic_growth::RULE,
    &unknown_cost::RULE,
];
