//! Formulas: Python's expression syntax over tensors and sizes, from text to a tree with spans.
//!
//! [`parse`] reads a text, [`Expression`] is the tree, its `Display` writes it back, and
//! [`arithmetic`] computes the value of those that are about plain numbers.
//!
//! This module knows the syntax only. Which names exist, which functions are ops, what shapes
//! come out and where the text was written (TOML, a command line) is the business of others.

pub mod arithmetic;
mod error;
mod lexer;
mod operators;
mod parser;
mod render;
#[cfg(test)]
mod tests;
mod tree;

pub use error::FormulaError;
pub(crate) use operators::precedence;
pub use operators::{BinaryOperator, UnaryOperator};
pub use render::Rendered;
pub use tree::{Argument, Expression, List, Node, NodeId, NodeKind};

use std::ops::Range;

use crate::source::{FileId, Span};

/// The longest text that is read, in bytes.
pub const LENGTH_LIMIT: usize = 1 << 16;

/// How deep brackets, prefix operators, powers and conditionals may be nested.
///
/// Chains such as `a + b + c` are not nested: they may be as long as the text.
pub const NESTING_LIMIT: usize = 200;

/// The most errors that are reported of one text.
const ERROR_LIMIT: usize = 16;

/// Reads `text` as one expression. `O(length)`.
///
/// `map` says where a byte range of `text` stands in the source; the two differ where the text
/// was written with escapes, as in a TOML string. All ranges handed to it lie inside the text, on
/// character boundaries.
///
/// # Errors
/// Everything that is wrong with the text, as far as it can be told without guessing, in the
/// order of the text: at least one error and at most sixteen. Faulty characters and brackets are
/// reported together; only where both are sound is the grammar looked at.
pub fn parse(
    text: &str,
    map: &dyn Fn(Range<usize>) -> Span,
) -> Result<Expression, Vec<FormulaError>> {
    if text.len() > LENGTH_LIMIT {
        let end = text.floor_char_boundary(LENGTH_LIMIT);
        let message = format!(
            "the formula is {} bytes long; at most {LENGTH_LIMIT} are read",
            text.len()
        );
        return Err(vec![
            FormulaError::new(message, map(end..end))
                .help("split it into several formulas, each with a name"),
        ]);
    }
    let tokens = lexer::tokens(text, map)?;
    parser::expression(text, &tokens, map)
}

/// Reads `text`, which stands verbatim in `file` from the byte `start` on; see [`parse`].
///
/// # Errors
/// Those of [`parse`].
pub fn parse_at(text: &str, file: FileId, start: usize) -> Result<Expression, Vec<FormulaError>> {
    parse(text, &|range| {
        Span::new(
            file,
            start.saturating_add(range.start),
            start.saturating_add(range.end),
        )
    })
}
