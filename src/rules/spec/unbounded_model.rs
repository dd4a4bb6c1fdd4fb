//! `spec/unbounded-model`: see its page.

use crate::diag::Level;
use crate::rules::{Check, FixKind, Rule};
use crate::spec::names;

/// The rule.
pub static RULE: Rule = Rule {
    name: names::UNBOUNDED_MODEL,
    summary: "A block contains itself, or the model is larger than can be examined.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Reading,
    page: include_str!("../../../specs/rules/spec/unbounded-model.md"),
};
