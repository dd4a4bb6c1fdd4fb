//! What is wrong with a formula.

use std::fmt;

use crate::source::Span;

/// Something that is wrong with a formula, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormulaError {
    /// What is wrong, without the place.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to do about it.
    pub help: Option<String>,
    /// A second place that explains the first, and what is to be seen there: the bracket that
    /// was opened, the first use of a name.
    pub related: Option<(Span, String)>,
}

impl FormulaError {
    /// An error at `span`, without help.
    pub fn new(message: impl Into<String>, span: Span) -> FormulaError {
        FormulaError {
            message: message.into(),
            span,
            help: None,
            related: None,
        }
    }

    /// The same error with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> FormulaError {
        self.help = Some(help.into());
        self
    }

    /// The same error with a second place.
    #[must_use]
    pub fn related(mut self, span: Span, text: impl Into<String>) -> FormulaError {
        self.related = Some((span, text.into()));
        self
    }
}

impl fmt::Display for FormulaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FormulaError {}
