//! `spec/unknown-rule`: see its page.

use crate::diag::Level;
use crate::rules::{Check, FixKind, Rule};
use crate::spec::names;

/// The rule.
pub static RULE: Rule = Rule {
    name: names::UNKNOWN_RULE,
    summary: "An allowance or level names a rule that there is not.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Reading,
    page: include_str!("../../../specs/rules/spec/unknown-rule.md"),
};
