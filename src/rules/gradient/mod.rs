//! Gradients that die out, explode or never arrive, and weights that start in a bad place.

mod detached_parameters;
mod exploding;
mod initialisation_of_another_activation;
mod nothing_to_train;
mod recurrent_without_clipping;
mod shared_flow;
mod symmetric_initialisation;
mod vanishing;
mod zero_initialised_weight;

use super::Rule;

/// The rules of this group, sorted by name.
pub static RULES: &[&Rule] = &[
    &detached_parameters::RULE,
    &exploding::RULE,
    &initialisation_of_another_activation::RULE,
    &nothing_to_train::RULE,
    &recurrent_without_clipping::RULE,
    &symmetric_initialisation::RULE,
    &vanishing::RULE,
    &zero_initialised_weight::RULE,
];
