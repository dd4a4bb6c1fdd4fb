//! What is wrong with a text as TOML.

use crate::diag::Label;
use crate::source::Span;

/// An error in the text: what is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The place to underline.
    pub span: Span,
    /// What is wrong; one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Further places: what the error conflicts with.
    pub related: Vec<Label>,
}

impl SyntaxError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> SyntaxError {
        SyntaxError {
            span,
            message: message.into(),
            help: None,
            related: Vec::new(),
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> SyntaxError {
        self.help = Some(help.into());
        self
    }

    pub(super) fn maybe_help(mut self, help: Option<String>) -> SyntaxError {
        self.help = help;
        self
    }

    pub(super) fn also(mut self, span: Span, text: impl Into<String>) -> SyntaxError {
        self.related.push(Label {
            span,
            text: text.into(),
        });
        self
    }
}
