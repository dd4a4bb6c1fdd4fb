//! Which rules speak, and how loud: defaults, the spec's `[lint] level`, and the command line.

use crate::diag::{Finding, Level};
use crate::rules::{Rule, covers, find};
use crate::spec::Spec;

/// A level set for a rule or group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelOverride {
    /// The rule or group.
    pub rule: String,
    /// The level; `None` for off.
    pub level: Option<Level>,
}

/// What the command line says of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    /// Where not empty, only these rules and groups speak.
    pub select: Vec<String>,
    /// These rules and groups do not.
    pub ignore: Vec<String>,
    /// Levels, later ones over earlier ones.
    pub levels: Vec<LevelOverride>,
}

impl Levels {
    /// The level of a rule's findings; `None` where it is off.
    ///
    /// The more specific setting wins: a rule's over its group's, and at the same width the
    /// command line's over the spec's. A rule that [always speaks](crate::rules::Rule::always_speaks)
    /// is never off.
    pub fn of(&self, spec: &Spec, rule: &str, default: Level) -> Option<Level> {
        let named = |list: &[String]| list.iter().any(|name| name == "all" || covers(name, rule));
        let always = find(rule).is_some_and(Rule::always_speaks);
        let excluded = named(&self.ignore) || (!self.select.is_empty() && !named(&self.select));
        if excluded && !always {
            return None;
        }
        let written = spec
            .lint
            .levels
            .iter()
            .map(|set| (set.rule.as_str(), set.level));
        let given = self.levels.iter().map(|set| (set.rule.as_str(), set.level));
        let mut best: (u8, Option<Level>) = (0, Some(default));
        for (name, level) in written.chain(given) {
            let width = match name {
                _ if name == rule => 3,
                "all" => 1,
                _ if covers(name, rule) => 2,
                _ => continue,
            };
            if width >= best.0 && (level.is_some() || !always) {
                best = (width, level);
            }
        }
        best.1
    }

    /// Sets the levels of findings and drops those that are off.
    pub(super) fn apply(&self, spec: &Spec, findings: &mut Vec<Finding>) {
        findings.retain_mut(|finding| match self.of(spec, finding.rule, finding.level) {
            Some(level) => {
                finding.level = level;
                true
            }
            None => false,
        });
    }
}
