//! `spec/inconsistent-dim`: see its page.

use crate::diag::Level;
use crate::rules::{Check, FixKind, Rule};
use crate::spec::names;

/// The rule.
pub static RULE: Rule = Rule {
    name: names::INCONSISTENT_DIM,
    summary: "Arithmetic over dims does not come out.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Reading,
    page: include_str!("../../../specs/rules/spec/inconsistent-dim.md"),
};
