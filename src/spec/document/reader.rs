//! Read access to a document: cheap references to tables, values and arrays.

use std::ops::Range;

use super::{Document, Entry, EntryId, NodeId, TableId, Value};
use crate::source::Span;

/// A table of a document.
#[derive(Debug, Clone, Copy)]
pub struct TableRef<'a> {
    document: &'a Document,
    id: TableId,
}

/// One `key = value` of a table.
#[derive(Debug, Clone, Copy)]
pub struct EntryRef<'a> {
    document: &'a Document,
    entry: &'a Entry,
}

/// A value of a document.
#[derive(Debug, Clone, Copy)]
pub struct NodeRef<'a> {
    document: &'a Document,
    id: NodeId,
}

/// An array of a document; arrays of tables included.
#[derive(Debug, Clone, Copy)]
pub struct ArrayRef<'a> {
    document: &'a Document,
    elements: &'a [NodeId],
}

/// A value, to match on.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string, decoded.
    String(&'a str),
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date, a time or both, as written.
    Datetime(&'a str),
    /// An array, or an array of tables.
    Array(ArrayRef<'a>),
    /// A table.
    Table(TableRef<'a>),
}

impl<'a> TableRef<'a> {
    pub(super) fn new(document: &'a Document, id: TableId) -> TableRef<'a> {
        TableRef { document, id }
    }

    pub(super) fn id(self) -> TableId {
        self.id
    }

    /// The value of `key`. `O(1)`: few keys are scanned, many are hashed.
    pub fn get(self, key: &str) -> Option<NodeRef<'a>> {
        self.entry(key).map(EntryRef::value)
    }

    /// The entry of `key`.
    pub fn entry(self, key: &str) -> Option<EntryRef<'a>> {
        let document = self.document;
        document.find(self.id, key).map(|id| EntryRef {
            document,
            entry: document.entry(id),
        })
    }

    /// Where `key` was written; for a table, in the header that defined it.
    pub fn key_span(self, key: &str) -> Option<Span> {
        self.entry(key).map(EntryRef::key_span)
    }

    /// All entries, in the order of the text.
    pub fn entries(self) -> impl Iterator<Item = EntryRef<'a>> + Clone {
        let document = self.document;
        let mut next = EntryId(document.table(self.id).first);
        std::iter::from_fn(move || {
            let entry = document.entries.get(next.0 as usize)?;
            next = EntryId(entry.next);
            Some(EntryRef { document, entry })
        })
    }

    /// All keys, in the order of the text.
    pub fn keys(self) -> impl Iterator<Item = &'a str> + Clone {
        self.entries().map(EntryRef::key)
    }

    /// Number of keys.
    pub fn len(self) -> usize {
        self.document.table(self.id).len as usize
    }

    /// Whether there is no key.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The header of `[a.b]` and `[[a.b]]`, the braces and all between of `{ … }`, the key of a
    /// table that is only implied, and the whole text for the root.
    pub fn span(self) -> Span {
        self.document.table(self.id).span
    }

    /// The document that the table is part of.
    pub fn document(self) -> &'a Document {
        self.document
    }
}

impl<'a> EntryRef<'a> {
    /// The key, decoded.
    pub fn key(self) -> &'a str {
        self.document.strings.get(self.entry.key)
    }

    /// Where the key was written, its quotes included.
    pub fn key_span(self) -> Span {
        self.entry.key_span
    }

    /// The value.
    pub fn value(self) -> NodeRef<'a> {
        NodeRef {
            document: self.document,
            id: self.entry.value,
        }
    }
}

impl<'a> NodeRef<'a> {
    /// The value, to match on.
    pub fn value(self) -> ValueRef<'a> {
        let document = self.document;
        let node = document.node(self.id);
        match node.value {
            Value::String(text) => ValueRef::String(document.strings.get(text)),
            Value::Integer(integer) => ValueRef::Integer(integer),
            Value::Float(float) => ValueRef::Float(float),
            Value::Boolean(boolean) => ValueRef::Boolean(boolean),
            Value::Datetime => ValueRef::Datetime(document.source_text(node.span)),
            Value::Array { start, len } => {
                let range = start as usize..start as usize + len as usize;
                let elements = document.elements.get(range).unwrap_or(&[]);
                ValueRef::Array(ArrayRef { document, elements })
            }
            Value::Table(id) => ValueRef::Table(TableRef { document, id }),
        }
    }

    /// The string, decoded, if it is one.
    pub fn as_str(self) -> Option<&'a str> {
        match self.value() {
            ValueRef::String(string) => Some(string),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn as_integer(self) -> Option<i64> {
        match self.value() {
            ValueRef::Integer(integer) => Some(integer),
            _ => None,
        }
    }

    /// The float, if it is written as one: `1.0`, `1e-5`, `inf`.
    pub fn as_float(self) -> Option<f64> {
        match self.value() {
            ValueRef::Float(float) => Some(float),
            _ => None,
        }
    }

    /// The integer or float as a float. Integers beyond 2^53 are rounded.
    pub fn as_number(self) -> Option<f64> {
        match self.value() {
            ValueRef::Integer(integer) => Some(integer as f64),
            ValueRef::Float(float) => Some(float),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(self) -> Option<bool> {
        match self.value() {
            ValueRef::Boolean(boolean) => Some(boolean),
            _ => None,
        }
    }

    /// The array, if it is one; an array of tables is one too.
    pub fn as_array(self) -> Option<ArrayRef<'a>> {
        match self.value() {
            ValueRef::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The table, if it is one.
    pub fn as_table(self) -> Option<TableRef<'a>> {
        match self.value() {
            ValueRef::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Where the value was written, quotes and brackets included; for tables, see
    /// [`TableRef::span`], for an array of tables its first header.
    pub fn span(self) -> Span {
        let node = self.document.node(self.id);
        match node.value {
            Value::Table(table) => self.document.table(table).span,
            _ => node.span,
        }
    }

    /// Where the bytes `range` of the decoded string were written.
    ///
    /// An escape sequence is covered whole; an empty range stands before its byte. For a value
    /// that is no string, all of it. `O(log escapes)`.
    pub fn string_position(self, range: Range<usize>) -> Span {
        match self.document.node(self.id).value {
            Value::String(text) => self.document.strings.position(text, range),
            _ => self.span(),
        }
    }

    /// What kind of value it is: `string`, `integer`, `float`, `boolean`, `datetime`, `array` or
    /// `table`.
    pub fn kind_name(self) -> &'static str {
        match self.document.node(self.id).value {
            Value::String(_) => "string",
            Value::Integer(_) => "integer",
            Value::Float(_) => "float",
            Value::Boolean(_) => "boolean",
            Value::Datetime => "datetime",
            Value::Array { .. } => "array",
            Value::Table(_) => "table",
        }
    }

    /// The kind with its article, for sentences: `an integer`.
    pub fn describe(self) -> &'static str {
        self.document.describe(self.id)
    }

    /// The document that the value is part of.
    pub fn document(self) -> &'a Document {
        self.document
    }
}

impl Document {
    pub(super) fn describe(&self, id: NodeId) -> &'static str {
        match self.node(id).value {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime => "a datetime",
            Value::Array { .. } => "an array",
            Value::Table(_) => "a table",
        }
    }
}

impl<'a> ArrayRef<'a> {
    /// Number of elements.
    pub fn len(self) -> usize {
        self.elements.len()
    }

    /// Whether there is no element.
    pub fn is_empty(self) -> bool {
        self.elements.is_empty()
    }

    /// The element with that index, from 0.
    pub fn get(self, index: usize) -> Option<NodeRef<'a>> {
        let document = self.document;
        let id = *self.elements.get(index)?;
        Some(NodeRef { document, id })
    }

    /// All elements in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = NodeRef<'a>> + Clone {
        let document = self.document;
        self.elements
            .iter()
            .map(move |&id| NodeRef { document, id })
    }
}
