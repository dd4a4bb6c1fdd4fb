//! Memory that a device does not have, or that need not be taken.

mod autocast_raises_memory;
mod checkpoint_without_effect;
mod does_not_fit_device;
mod dropout_masks;
mod float64_mask;
mod full_index_grid;
mod function_in_pieces;
mod loss_head_at_peak;
mod over_budget;
mod over_parameter_budget;
mod repeated_casts;
mod shared_advice;

use super::Rule;

/// The rules of the group, sorted.
pub static RULES: &[&Rule] = &[
    &autocast_raises_memory::RULE,
    &checkpoint_without_effect::RULE,
    &does_not_fit_device::RULE,
    &dropout_masks::RULE,
    &float64_mask::RULE,
    &full_index_grid::RULE,
    &function_in_pieces::RULE,
    &loss_head_at_peak::RULE,
    &over_budget::RULE,
    &over_parameter_budget::RULE,
    &repeated_casts::RULE,
];
