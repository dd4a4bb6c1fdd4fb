//! Tables while they are built: look-up, insertion, and TOML's rules on defining things twice.

use super::index::{self, KeyIndex, MAX_SCANNED};
use super::strings::Text;
use super::{Document, Entry, EntryId, NONE, Node, NodeId, SyntaxError, Table, TableId, Value};
use crate::source::Span;

/// One part of a dotted key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyPart {
    pub(super) text: Text,
    pub(super) span: Span,
}

/// The arrays of tables that may still grow, with the node of each.
pub(super) type Growing = Vec<(NodeId, Vec<NodeId>)>;

/// How the path to a table was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// `[a.b.c]`.
    Header,
    /// `a.b.c = …`.
    Dotted,
    /// `{ a.b.c = … }`.
    Inline,
}

impl Document {
    pub(super) fn new_node(&mut self, value: Value, span: Span) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { value, span });
        id
    }

    /// An empty table with a header or braces of its own.
    pub(super) fn new_table(&mut self, span: Span) -> TableId {
        let id = TableId(self.tables.len() as u32);
        self.tables.push(Table {
            first: NONE,
            last: NONE,
            len: 0,
            index: NONE,
            span,
            implicit: false,
            dotted: false,
            inline: false,
        });
        id
    }

    pub(super) fn table_mut(&mut self, id: TableId) -> &mut Table {
        &mut self.tables[id.0 as usize]
    }

    /// The entry of that key. At most [`MAX_SCANNED`] keys are compared; beyond, it is hashed.
    pub(super) fn find(&self, table: TableId, key: &str) -> Option<EntryId> {
        let table = self.table(table);
        if let Some(keys) = self.indexes.get(table.index as usize) {
            let is_key = |id: EntryId| self.strings.get(self.entry(id).key) == key;
            return keys.find(index::hash(key), is_key);
        }
        let mut next = table.first;
        while let Some(entry) = self.entries.get(next as usize) {
            if entry.key.len() == key.len() && self.strings.get(entry.key) == key {
                return Some(EntryId(next));
            }
            next = entry.next;
        }
        None
    }

    /// Appends an entry whose key is not in the table.
    pub(super) fn push_entry(&mut self, table: TableId, key: KeyPart, value: NodeId) {
        let id = self.entries.len() as u32;
        self.entries.push(Entry {
            key: key.text,
            key_span: key.span,
            value,
            next: NONE,
        });
        let table = &mut self.tables[table.0 as usize];
        match self.entries.get_mut(table.last as usize) {
            Some(last) if table.last != NONE => last.next = id,
            _ => table.first = id,
        }
        table.last = id;
        table.len += 1;
        if table.len > MAX_SCANNED {
            let (strings, entries) = (&self.strings, &self.entries);
            let hash_of = |id: EntryId| index::hash(strings.get(entries[id.0 as usize].key));
            if table.index == NONE {
                table.index = self.indexes.len() as u32;
                let mut keys = KeyIndex::default();
                let mut next = table.first;
                while let Some(entry) = entries.get(next as usize) {
                    keys.insert(EntryId(next), hash_of);
                    next = entry.next;
                }
                self.indexes.push(keys);
            } else if let Some(keys) = self.indexes.get_mut(table.index as usize) {
                keys.insert(EntryId(id), hash_of);
            }
        }
    }

    /// The table that `parts` leads to from `table`; tables on the way are created.
    pub(super) fn descend(
        &mut self,
        growing: &Growing,
        mut table: TableId,
        parts: &[KeyPart],
        path: Path,
    ) -> Result<TableId, SyntaxError> {
        for part in parts {
            let found = self.find(table, self.strings.get(part.text));
            let Some(entry) = found.map(|id| *self.entry(id)) else {
                let created = self.new_table(part.span);
                let value = self.new_node(Value::Table(created), part.span);
                let new = self.table_mut(created);
                new.implicit = true;
                new.dotted = path != Path::Header;
                new.inline = path == Path::Inline;
                self.push_entry(table, *part, value);
                table = created;
                continue;
            };
            table = match self.node(entry.value).value {
                Value::Table(child) => {
                    let flags = *self.table(child);
                    if flags.inline && path != Path::Inline {
                        return Err(self.complete(part, entry.key_span));
                    }
                    if path != Path::Header {
                        if !flags.implicit {
                            return Err(self.has_own_definition(part, flags.span));
                        }
                        self.table_mut(child).dotted = true;
                    }
                    child
                }
                Value::Array { start, len: NONE } => {
                    let last = growing
                        .get(start as usize)
                        .and_then(|(_, elements)| elements.last())
                        .map(|&element| self.node(element).value);
                    match last {
                        Some(Value::Table(last)) => last,
                        _ => return Err(self.not_a_table(part, &entry)),
                    }
                }
                _ => return Err(self.not_a_table(part, &entry)),
            };
        }
        // The last element of an array of tables has a header of its own.
        if !parts.is_empty()
            && path == Path::Dotted
            && !self.table(table).implicit
            && let Some(part) = parts.last()
        {
            return Err(self.has_own_definition(part, self.table(table).span));
        }
        Ok(table)
    }

    /// Where `key` may be set in `table`, unless it is there already.
    pub(super) fn check_new(&self, table: TableId, key: &KeyPart) -> Result<(), SyntaxError> {
        let name = self.strings.get(key.text);
        match self.find(table, name) {
            None => Ok(()),
            Some(first) => Err(SyntaxError::new(key.span, format!("`{name}` is set twice"))
                .also(self.entry(first).key_span, "first set here")
                .help("keep one of the two")),
        }
    }

    /// Opens the table of the header `[parts]` or `[[parts]]`, which covers `span`.
    pub(super) fn enter(
        &mut self,
        growing: &mut Growing,
        parts: &[KeyPart],
        is_array: bool,
        span: Span,
    ) -> Result<TableId, SyntaxError> {
        let Some((last, parents)) = parts.split_last() else {
            return Ok(self.new_table(span));
        };
        let parent = self.descend(growing, super::ROOT, parents, Path::Header)?;
        let existing = self.find(parent, self.strings.get(last.text));
        let existing = existing.map(|id| (id, *self.entry(id)));
        if is_array {
            let array = match existing {
                None => {
                    let start = growing.len() as u32;
                    let array = self.new_node(Value::Array { start, len: NONE }, span);
                    growing.push((array, Vec::new()));
                    self.push_entry(parent, *last, array);
                    start
                }
                Some((_, entry)) => match self.node(entry.value).value {
                    Value::Array { start, len: NONE } => start,
                    _ => return Err(self.not_an_array_of_tables(last, &entry)),
                },
            };
            let table = self.new_table(span);
            let element = self.new_node(Value::Table(table), span);
            if let Some((_, elements)) = growing.get_mut(array as usize) {
                elements.push(element);
            }
            return Ok(table);
        }
        let Some((id, entry)) = existing else {
            let table = self.new_table(span);
            let value = self.new_node(Value::Table(table), span);
            self.push_entry(parent, *last, value);
            return Ok(table);
        };
        match self.node(entry.value).value {
            Value::Table(table) if self.table(table).implicit && !self.table(table).dotted => {
                let defined = self.table_mut(table);
                defined.implicit = false;
                defined.span = span;
                self.entries[id.0 as usize].key_span = last.span;
                Ok(table)
            }
            _ => Err(self.table_defined_twice(last, &entry)),
        }
    }

    fn complete(&self, part: &KeyPart, first: Span) -> SyntaxError {
        let name = self.strings.get(part.text);
        SyntaxError::new(
            part.span,
            format!("`{name}` is an inline table, and nothing can be added to one"),
        )
        .also(first, "the inline table")
        .help("write the key inside its braces")
    }

    fn has_own_definition(&self, part: &KeyPart, first: Span) -> SyntaxError {
        let name = self.strings.get(part.text);
        SyntaxError::new(
            part.span,
            format!("`{name}` is defined elsewhere, and a dotted key cannot add to it"),
        )
        .also(first, "defined here")
        .help("write the key where the table is defined")
    }

    fn not_a_table(&self, part: &KeyPart, entry: &Entry) -> SyntaxError {
        let name = self.strings.get(part.text);
        let kind = self.describe(entry.value);
        SyntaxError::new(
            part.span,
            format!("`{name}` is {kind}, so no key can be set in it"),
        )
        .also(entry.key_span, format!("{kind} here"))
    }

    fn not_an_array_of_tables(&self, part: &KeyPart, entry: &Entry) -> SyntaxError {
        let name = self.strings.get(part.text);
        let kind = self.describe(entry.value);
        let error = SyntaxError::new(
            part.span,
            format!("`[[{name}]]` adds to an array of tables, but `{name}` is {kind}"),
        )
        .also(entry.key_span, format!("{kind} here"));
        match self.node(entry.value).value {
            Value::Table(_) => error.help(format!("write `[[{name}]]` in both places")),
            _ => error.help("write all of it in one form: only headers, or only one array"),
        }
    }

    fn table_defined_twice(&self, part: &KeyPart, entry: &Entry) -> SyntaxError {
        let name = self.strings.get(part.text);
        match self.node(entry.value).value {
            Value::Table(_) => {
                SyntaxError::new(part.span, format!("the table `{name}` is defined twice"))
                    .also(entry.key_span, "first defined here")
                    .help("write all its keys in one place")
            }
            Value::Array { len: NONE, .. } => SyntaxError::new(
                part.span,
                format!("`{name}` is an array of tables, and `[{name}]` defines a table"),
            )
            .also(entry.key_span, "an array of tables here")
            .help(format!("write `[[{name}]]` in both places")),
            _ => SyntaxError::new(part.span, format!("`{name}` is set twice"))
                .also(entry.key_span, "first set here")
                .help("keep one of the two"),
        }
    }
}
