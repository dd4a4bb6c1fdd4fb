//! Faults of the spec itself: what cannot be read, does not fit, or is of no use.

mod duplicate_name;
mod extends;
mod formula;
mod import;
mod inconsistent_dim;
mod invalid_value;
mod missing_key;
mod shape_mismatch;
mod syntax;
mod unbounded_model;
mod unknown_device;
mod unknown_dim;
mod unknown_key;
mod unknown_name;
mod unknown_op;
mod unknown_rule;
mod unused_allow;
mod unused_layer;
mod unused_parameter;

use super::Rule;

/// The rules of this group, sorted by name.
pub static RULES: &[&Rule] = &[
    &duplicate_name::RULE,
    &extends::RULE,
    &formula::RULE,
    &import::RULE,
    &inconsistent_dim::RULE,
    &invalid_value::RULE,
    &missing_key::RULE,
    &shape_mismatch::RULE,
    &syntax::RULE,
    &unbounded_model::RULE,
    &unknown_device::RULE,
    &unknown_dim::RULE,
    &unknown_key::RULE,
    &unknown_name::RULE,
    &unknown_op::RULE,
    &unknown_rule::RULE,
    &unused_allow::RULE,
    &unused_layer::RULE,
    &unused_parameter::RULE,
];
