//! Edits that a finding proposes.

use serde::Serialize;

use crate::source::Span;

/// Whether an edit keeps the meaning of the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Safety {
    /// The model computes the same mathematical function; applied by `--fix`.
    Safe,
    /// The edit changes what is computed or trained; applied by `--unsafe-fixes` only.
    Unsafe,
}

/// One replacement of a byte range by a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The range to replace; empty to insert.
    pub span: Span,
    /// The text to put there.
    pub replacement: String,
}

/// A set of edits that belong together: all are applied, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What the edits do, as an imperative: `write A @ (B @ C)`.
    pub title: String,
    /// Whether the meaning is kept.
    pub safety: Safety,
    /// The edits; they do not overlap.
    pub edits: Vec<Edit>,
}
