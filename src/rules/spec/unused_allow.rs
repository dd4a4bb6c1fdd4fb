//! `spec/unused-allow`: see its page.

use crate::diag::Level;
use crate::rules::{Check, FixKind, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "spec/unused-allow",
    summary: "An allowance covers no finding.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Suppression,
    page: include_str!("../../../specs/rules/spec/unused-allow.md"),
};
