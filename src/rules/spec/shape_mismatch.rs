//! `spec/shape-mismatch`: see its page.

use crate::diag::Level;
use crate::rules::{Check, FixKind, Rule};
use crate::spec::names;

/// The rule.
pub static RULE: Rule = Rule {
    name: names::SHAPE_MISMATCH,
    summary: "Operands have shapes or types that do not fit.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Reading,
    page: include_str!("../../../specs/rules/spec/shape-mismatch.md"),
};
