//! TOML text → a compact tree that keeps the order of keys and knows where everything was written.
//!
//! The tokens are those of `toml_parser`, which also decodes the scalars, so a document is valid here
//! exactly when it is for the `toml` crate; the tree is built straight from the tokens, without
//! recursion and without an allocation per key or scalar. Strings without escapes are ranges of
//! the source text. All errors are collected, one per statement, and the rest of the tree stays
//! usable.
//!
//! A tree may hold parts of several files: [`Document::merge`] lays one document over another, for
//! `extends`, `--set` and the like. Every span names its file.
//!
//! What keys mean, which there are and what types they take is not known here.

mod assignment;
mod error;
mod index;
mod lexer;
mod merge;
mod parser;
mod reader;
mod recovery;
mod scalar;
mod strings;
mod tables;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use assignment::parse_assignment;
pub use error::SyntaxError;
pub use reader::{ArrayRef, EntryRef, NodeRef, TableRef, ValueRef};

use crate::source::{FileId, Span};
use index::KeyIndex;
use strings::{Strings, Text};

/// The largest text that is read, in bytes: 256 MiB.
pub const MAX_TEXT_BYTES: usize = 256 << 20;

/// The deepest nesting that is read: key parts and brackets together.
///
/// A reader may recurse over the tree: it is at most twice as deep, since an array of tables
/// counts once for its key but makes an array and a table.
pub const MAX_DEPTH: usize = 128;

/// Marks 'none' where an index stands.
const NONE: u32 = u32::MAX;

/// The table of the whole document is always the first.
const ROOT: TableId = TableId(0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NodeId(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TableId(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EntryId(u32);

/// A value and where it stands.
#[derive(Debug, Clone, Copy)]
struct Node {
    value: Value,
    /// For a table, [`Table::span`] holds instead: a later header may define an implicit table.
    span: Span,
}

#[derive(Debug, Clone, Copy)]
enum Value {
    String(Text),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// Its text is what the span covers.
    Datetime,
    /// `len` elements of [`Document::elements`] from `start`. While the parser runs, an array of
    /// tables has the length [`NONE`] and `start` counts the parser's growing arrays.
    Array {
        start: u32,
        len: u32,
    },
    Table(TableId),
}

/// A table: a list of entries, linked in the order in which they were written.
#[derive(Debug, Clone, Copy)]
struct Table {
    first: u32,
    last: u32,
    len: u32,
    /// Number of the [`KeyIndex`], once there are too many keys to scan; else [`NONE`].
    index: u32,
    span: Span,
    /// Created on the way to another table, not by a header or braces of its own.
    implicit: bool,
    /// Created or extended by a dotted key.
    dotted: bool,
    /// Lies in braces.
    inline: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Text,
    key_span: Span,
    value: NodeId,
    next: u32,
}

/// A TOML document as a tree, or several laid over one another.
///
/// Dropping it frees a handful of vectors, whatever its depth.
#[derive(Debug, Clone)]
pub struct Document {
    strings: Strings,
    nodes: Vec<Node>,
    tables: Vec<Table>,
    entries: Vec<Entry>,
    elements: Vec<NodeId>,
    indexes: Vec<KeyIndex>,
    comments: Vec<Span>,
}

impl Document {
    /// Reads `text`, the whole of `file`. `O(length)`.
    ///
    /// The errors come in the order of the text, at most one per statement. The tree holds what
    /// could be understood: without errors, all of the text.
    pub fn parse(text: &Arc<str>, file: FileId) -> (Document, Vec<SyntaxError>) {
        if text.len() > MAX_TEXT_BYTES {
            let error = SyntaxError::new(
                Span::new(file, 0, 0),
                format!(
                    "the file has {} bytes; at most {MAX_TEXT_BYTES} (256 MiB) are read",
                    text.len()
                ),
            );
            return (Document::empty(Arc::from(""), file), vec![error]);
        }
        parser::parse(text, file)
    }

    /// A document without any key.
    fn empty(text: Arc<str>, file: FileId) -> Document {
        let length = text.len();
        let mut document = Document {
            strings: Strings::new(text, file),
            nodes: Vec::new(),
            tables: Vec::new(),
            entries: Vec::new(),
            elements: Vec::new(),
            indexes: Vec::new(),
            comments: Vec::new(),
        };
        document.new_table(Span::new(file, 0, length));
        document
    }

    /// The table of the whole document.
    pub fn root(&self) -> TableRef<'_> {
        TableRef::new(self, ROOT)
    }

    /// All comments, from `#` to the end of the line, in the order of the text; those of files
    /// that were laid over this one follow.
    pub fn comments(&self) -> &[Span] {
        &self.comments
    }

    /// The source text that a span of this document covers; empty for a foreign span.
    pub fn source_text(&self, span: Span) -> &str {
        self.strings.source_text(span)
    }

    /// The whole text of a file that this document was read from; empty for a foreign file.
    pub fn file_text(&self, file: FileId) -> &str {
        self.strings.file_text(file)
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn table(&self, id: TableId) -> &Table {
        &self.tables[id.0 as usize]
    }

    fn entry(&self, id: EntryId) -> &Entry {
        &self.entries[id.0 as usize]
    }
}
