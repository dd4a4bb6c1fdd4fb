//! `spec/extends`: see its page.

use crate::diag::Level;
use crate::rules::{Check, FixKind, Rule};
use crate::spec::names;

/// The rule.
pub static RULE: Rule = Rule {
    name: names::EXTENDS,
    summary: "The file that `extends` names cannot be laid under this one.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Reading,
    page: include_str!("../../../specs/rules/spec/extends.md"),
};
