//! What takes more than it has to, or more than can be told.

mod intractable_order;

use super::Rule;

/// The rules of the group, sorted.
pub static RULES: &[&Rule] = &[&intractable_order::RULE];
