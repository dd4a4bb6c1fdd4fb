//! Source text and positions in it: files, spans, lines and columns.
//!
//! This module knows nothing of TOML, formulas or findings; it only answers *where*.
//! It does no I/O: the text is handed in.

mod file;
mod span;
pub mod suggest;

pub use file::{LineColumn, SourceFile, Sources};
pub use span::{FileId, Span, Spanned};
