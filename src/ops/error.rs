//! Why an op cannot be applied.

use std::fmt;

/// Why an op cannot be applied to its operands: what is wrong, who is to blame and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpError {
    /// What is wrong, with the shapes or numbers in it.
    pub message: String,
    /// Positions of the operands to blame; the reader is shown which layers made them.
    pub operands: Vec<usize>,
    /// The attribute to blame.
    pub attribute: Option<&'static str>,
    /// What to do.
    pub help: Option<String>,
}

impl OpError {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> OpError {
        OpError {
            message: message.into(),
            operands: Vec::new(),
            attribute: None,
            help: None,
        }
    }

    /// Blames these operands.
    pub fn operands(mut self, operands: impl IntoIterator<Item = usize>) -> OpError {
        self.operands.extend(operands);
        self
    }

    /// Blames an attribute.
    pub fn attribute(mut self, name: &'static str) -> OpError {
        self.attribute = Some(name);
        self
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> OpError {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for OpError {}
