//! `spec/missing-key`: see its page.

use crate::diag::Level;
use crate::rules::{Check, FixKind, Rule};
use crate::spec::names;

/// The rule.
pub static RULE: Rule = Rule {
    name: names::MISSING_KEY,
    summary: "A key that must be there is not.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Reading,
    page: include_str!("../../../specs/rules/spec/missing-key.md"),
};
