//! Memory that a device does not have, or that need not be taken.

mod checkpoint_without_effect;
mod does_not_fit_device;
mod float64_mask;
mod full_index_grid;
mod over_budget;
mod over_parameter_budget;
mod repeated_casts;
mod shared_advice;

use super::Rule;

/// The rules of the group, sorted.
pub static RULES: &[&Rule] = &[
    &checkpoint_without_effect::RULE,
    &does_not_fit_device::RULE,
    &float64_mask::RULE,
    &full_index_grid::RULE,
    &over_budget::RULE,
    &over_parameter_budget::RULE,
    &repeated_casts::RULE,
];
