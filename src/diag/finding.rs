//! One finding.

use super::{Confidence, Fix, Level};
use crate::source::Span;

/// A place that explains the primary one: what it conflicts with, where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is to be seen there; may be empty.
    pub text: String,
}

/// Why a finding is not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The reason that the user gave; may be empty.
    pub reason: String,
}

/// Something that the program has to say about a spec: what, why and what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The rule's full name, `group/name`; it reads well after 'allow'.
    pub rule: &'static str,
    /// How bad.
    pub level: Level,
    /// How sure.
    pub confidence: Confidence,
    /// What is wrong and why, with the arithmetic and units; one sentence or two.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where: the range that is underlined first. `None` where the finding has no place in a text.
    pub span: Option<Span>,
    /// The text at the primary range; may be empty.
    pub label: String,
    /// Further places.
    pub labels: Vec<Label>,
    /// The symbolic place, `layers.decoder.ln_1.eps`; it survives moved lines.
    pub path: String,
    /// How many instances of the same place were affected (a repeated block counts each repeat).
    pub instances: usize,
    /// The edit that would mend it.
    pub fix: Option<Fix>,
    /// A number that is the same from run to run for the same rule, file, symbolic place and
    /// occurrence. Filled in by the engine.
    pub fingerprint: u64,
    /// Set by the engine where the user allowed the finding.
    pub suppressed: Option<Suppression>,
}
