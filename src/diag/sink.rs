//! Where findings are collected, and the builder that rules use.

use super::{Confidence, Edit, Finding, Fix, Label, Level, Safety};
use crate::source::Span;

/// Collects findings in the order in which they are made.
#[derive(Debug, Default)]
pub struct Sink {
    findings: Vec<Finding>,
}

impl Sink {
    /// An empty sink.
    pub fn new() -> Sink {
        Sink::default()
    }

    /// Starts a finding; it is collected when the builder is dropped.
    ///
    /// `span` and `path` are the same place, once in bytes and once in symbols.
    pub fn report(
        &mut self,
        rule: &'static str,
        level: Level,
        span: Option<Span>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> FindingBuilder<'_> {
        FindingBuilder {
            sink: self,
            finding: Some(Finding {
                rule,
                level,
                confidence: Confidence::Certain,
                message: message.into(),
                help: None,
                span,
                label: String::new(),
                labels: Vec::new(),
                path: path.into(),
                instances: 1,
                fix: None,
                fingerprint: 0,
                suppressed: None,
            }),
        }
    }

    /// Adds a finding made elsewhere.
    pub fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Number of findings so far.
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// Whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether an error was found so far.
    pub fn has_errors(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.level == Level::Error)
    }

    /// The findings so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// All findings.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

/// Fills in a finding; dropping it hands the finding to the sink.
#[derive(Debug)]
pub struct FindingBuilder<'a> {
    sink: &'a mut Sink,
    finding: Option<Finding>,
}

impl FindingBuilder<'_> {
    fn with(mut self, change: impl FnOnce(&mut Finding)) -> Self {
        if let Some(finding) = &mut self.finding {
            change(finding);
        }
        self
    }

    /// What to do about it.
    pub fn help(self, help: impl Into<String>) -> Self {
        self.with(|finding| finding.help = Some(help.into()))
    }

    /// What to do about it, where there is anything to say.
    pub fn maybe_help(self, help: Option<String>) -> Self {
        self.with(|finding| finding.help = help)
    }

    /// How sure; [`Confidence::Certain`] unless said otherwise.
    pub fn confidence(self, confidence: Confidence) -> Self {
        self.with(|finding| finding.confidence = confidence)
    }

    /// How bad, where that depends on the case.
    pub fn level(self, level: Level) -> Self {
        self.with(|finding| finding.level = level)
    }

    /// The text at the primary range.
    pub fn label(self, text: impl Into<String>) -> Self {
        self.with(|finding| finding.label = text.into())
    }

    /// A further place; ignored where there is no span.
    pub fn also(self, span: Option<Span>, text: impl Into<String>) -> Self {
        self.with(|finding| {
            if let Some(span) = span {
                finding.labels.push(Label {
                    span,
                    text: text.into(),
                });
            }
        })
    }

    /// An edit of one range; ignored where there is no span.
    pub fn fix(
        self,
        title: impl Into<String>,
        safety: Safety,
        span: Option<Span>,
        replacement: impl Into<String>,
    ) -> Self {
        self.with(|finding| {
            if let Some(span) = span {
                let edits = vec![Edit {
                    span,
                    replacement: replacement.into(),
                }];
                finding.fix = Some(Fix {
                    title: title.into(),
                    safety,
                    edits,
                });
            }
        })
    }

    /// A fix of several edits; ignored where there is none.
    pub fn fix_edits(self, title: impl Into<String>, safety: Safety, edits: Vec<Edit>) -> Self {
        self.with(|finding| {
            if !edits.is_empty() {
                finding.fix = Some(Fix {
                    title: title.into(),
                    safety,
                    edits,
                });
            }
        })
    }
}

impl Drop for FindingBuilder<'_> {
    fn drop(&mut self) {
        if let Some(finding) = self.finding.take() {
            self.sink.push(finding);
        }
    }
}
