//! What a rule is, and what it sees.

use crate::device::Device;
use crate::diag::{FindingBuilder, Level, Sink};
use crate::facts::Facts;
use crate::graph::Graph;
use crate::lower::{Model, Place};
use crate::source::Span;
use crate::spec::Spec;
use crate::spec::run::Run;

/// Whether a rule's findings carry an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FixKind {
    /// Never.
    None,
    /// An edit that keeps the meaning, where it is certain.
    Safe,
    /// An edit that changes what is computed or trained.
    Unsafe,
}

impl FixKind {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            FixKind::None => "none",
            FixKind::Safe => "safe",
            FixKind::Unsafe => "unsafe",
        }
    }
}

/// Where the findings of a rule are made.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// While the spec is read and lowered; the rule only names, explains and levels them.
    Reading,
    /// Once suppressions have been counted.
    Suppression,
    /// By this function, from the facts.
    Facts(fn(&Context<'_>, &mut Reporter<'_>)),
}

/// A rule: static data, and a free function.
#[derive(Debug)]
pub struct Rule {
    /// `group/name`; reads well after 'allow'.
    pub name: &'static str,
    /// One sentence: what is wrong where the rule finds something.
    pub summary: &'static str,
    /// The level of its findings, unless the user sets another.
    pub level: Level,
    /// The version that brought it.
    pub since: &'static str,
    /// Whether its findings carry an edit.
    pub fix: FixKind,
    /// Where its findings are made.
    pub check: Check,
    /// The Markdown page: what `explain` prints, and an executed test.
    pub page: &'static str,
}

impl Rule {
    /// The part of the name before the slash.
    pub fn group(&self) -> &'static str {
        self.name.split('/').next().unwrap_or(self.name)
    }

    /// Whether it cannot be turned off: it tells that a spec could not be understood, and such a
    /// spec never counts as clean. Its level can be set.
    pub fn always_speaks(&self) -> bool {
        matches!(self.check, Check::Reading) && self.level == Level::Error
    }
}

/// Everything that a rule may read. A rule computes nothing a second time.
pub struct Context<'a> {
    /// The spec as it is written.
    pub spec: &'a Spec,
    /// The lowered model.
    pub model: &'a Model,
    /// The model's graph.
    pub graph: &'a Graph,
    /// What was computed from it.
    pub facts: &'a Facts<'a>,
    /// The planned run.
    pub run: &'a Run,
    /// The device of `[cluster]`, if it names one that is known.
    pub device: Option<&'static Device>,
}

/// Makes the findings of one rule.
pub struct Reporter<'a> {
    rule: &'static Rule,
    sink: &'a mut Sink,
}

impl<'a> Reporter<'a> {
    /// A reporter for that rule.
    pub fn new(rule: &'static Rule, sink: &'a mut Sink) -> Reporter<'a> {
        Reporter { rule, sink }
    }

    /// Starts a finding at a place.
    pub fn at(&mut self, place: Place, message: impl Into<String>) -> FindingBuilder<'_> {
        self.sink.report(
            self.rule.name,
            self.rule.level,
            place.span,
            place.path,
            message,
        )
    }

    /// Starts a finding at a setting: `train.optimizer.lr`.
    pub fn setting(
        &mut self,
        path: &str,
        span: Option<Span>,
        message: impl Into<String>,
    ) -> FindingBuilder<'_> {
        self.sink
            .report(self.rule.name, self.rule.level, span, path, message)
    }
}
