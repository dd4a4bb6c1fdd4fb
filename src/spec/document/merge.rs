//! One tree laid over another: tables merge, everything else is replaced.

use super::index::KeyIndex;
use super::strings::TextShift;
use super::tables::KeyPart;
use super::{Document, Entry, NONE, Node, NodeId, ROOT, SyntaxError, Table, TableId, Value};
use crate::source::Span;
use crate::source::suggest;

/// What becomes of a value when another is laid over it.
enum Meeting {
    /// Both are tables.
    Merge(TableId, TableId),
    /// The lower is an array, and the keys of the upper name entries of it.
    Address {
        start: u32,
        len: u32,
        keys: TableId,
    },
    Replace,
    /// The upper adds keys to what has none.
    Refuse,
}

impl Document {
    /// Lays `overlay` over this document.
    ///
    /// Tables merge key by key; arrays and scalars are replaced, and a scalar may be replaced by
    /// an inline table. A table laid over an *array* addresses its entries, by `name` or by index
    /// from 0: `layers.fc.bias = false` sets `bias` in the `[[layers]]` entry that is named `fc`.
    ///
    /// Errors are overlays that fit nowhere, with both places; the rest is laid over
    /// nevertheless. Spans and comments of both files stay what they are. `O(overlay)`, and
    /// `O(array)` for each address.
    pub fn merge(&mut self, overlay: Document) -> Vec<SyntaxError> {
        let together = [
            self.nodes.len() + overlay.nodes.len(),
            self.entries.len() + overlay.entries.len(),
            self.elements.len() + overlay.elements.len(),
            self.strings.decoded_len() + overlay.strings.decoded_len(),
        ];
        if together
            .into_iter()
            .any(|length| length > NONE as usize / 2)
        {
            let span = overlay.root().span();
            return vec![SyntaxError::new(span, "the files are too large together")];
        }
        let root = self.absorb(overlay);
        self.lay(ROOT, root)
    }

    /// Lays the table `variants.NAME` of this document over all of it, by the same rules.
    ///
    /// An unknown name is an error at `[variants]`, or at the whole text where there is none.
    pub fn apply_variant(&mut self, name: &str) -> Vec<SyntaxError> {
        let known: Vec<&str> = self.variants().collect();
        let variants = self.root().entry("variants");
        let found = variants.and_then(|entry| entry.value().as_table()?.get(name)?.as_table());
        let Some(variant) = found else {
            let place = variants.map_or(self.root().span(), |entry| entry.key_span());
            let error = SyntaxError::new(place, format!("there is no variant `{name}`"));
            return vec![error.maybe_help(suggest::did_you_mean(name, &known))];
        };
        if let Some(inner) = variant.entry("variants") {
            let error = SyntaxError::new(inner.key_span(), "a variant cannot change the variants");
            return vec![error.help("move it out of the variant")];
        }
        let id = variant.id();
        self.lay(ROOT, id)
    }

    /// The names of all variants, in the order of the text.
    pub fn variants(&self) -> impl Iterator<Item = &str> {
        let table = self.root().get("variants").and_then(|node| node.as_table());
        table.into_iter().flat_map(|table| table.keys())
    }

    /// Takes over all parts of another document; returns its root.
    fn absorb(&mut self, other: Document) -> TableId {
        let text = self.strings.absorb(other.strings);
        let by = Shift {
            nodes: self.nodes.len() as u32,
            tables: self.tables.len() as u32,
            entries: self.entries.len() as u32,
            elements: self.elements.len() as u32,
            indexes: self.indexes.len() as u32,
            text,
        };
        self.nodes
            .extend(other.nodes.into_iter().map(|node| by.node(node)));
        self.tables
            .extend(other.tables.into_iter().map(|table| by.table(table)));
        self.entries
            .extend(other.entries.into_iter().map(|entry| by.entry(entry)));
        let elements = other.elements.into_iter();
        self.elements
            .extend(elements.map(|NodeId(id)| NodeId(id + by.nodes)));
        let shifted = other.indexes.into_iter().map(|mut keys: KeyIndex| {
            keys.shift(by.entries);
            keys
        });
        self.indexes.extend(shifted);
        self.comments.extend(other.comments);
        TableId(ROOT.0 + by.tables)
    }

    /// Lays the table `upper` over `lower`; both are in this document already.
    ///
    /// Where `lower` lacks a key it gets the very node of `upper`, so the two trees share it.
    fn lay(&mut self, lower: TableId, upper: TableId) -> Vec<SyntaxError> {
        let mut errors = Vec::new();
        let mut work = vec![(lower, upper)];
        while let Some((lower, upper)) = work.pop() {
            for over in self.entries_of(upper) {
                let Some(id) = self.find(lower, self.strings.get(over.key)) else {
                    let key = KeyPart {
                        text: over.key,
                        span: over.key_span,
                    };
                    self.push_entry(lower, key, over.value);
                    continue;
                };
                let under = *self.entry(id);
                match self.meeting(under.value, over.value) {
                    Meeting::Merge(lower, upper) => work.push((lower, upper)),
                    Meeting::Address { start, len, keys } => {
                        self.address(&over, start, len, keys, &mut work, &mut errors);
                    }
                    Meeting::Replace => {
                        let entry = &mut self.entries[id.0 as usize];
                        entry.key_span = over.key_span;
                        entry.value = over.value;
                    }
                    Meeting::Refuse => {
                        let error = self.refusal(&over, under.value, under.key_span);
                        let name = self.strings.get(over.key);
                        let help = format!("to replace it by a table, write `{name} = {{ … }}`");
                        errors.push(error.help(help));
                    }
                }
            }
        }
        errors
    }

    /// Lays the entries of `keys` over the elements of an array that they address. `array` is the
    /// entry that holds `keys`.
    fn address(
        &mut self,
        array: &Entry,
        start: u32,
        len: u32,
        keys: TableId,
        work: &mut Vec<(TableId, TableId)>,
        errors: &mut Vec<SyntaxError>,
    ) {
        for over in self.entries_of(keys) {
            let index = match self.element_at(array, start, len, &over) {
                Ok(index) => index,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let element = self.elements[index as usize];
            match self.meeting(element, over.value) {
                Meeting::Merge(lower, upper) => work.push((lower, upper)),
                Meeting::Replace => self.elements[index as usize] = over.value,
                // An array in an array would need an address of its own: nothing has that shape.
                Meeting::Address { .. } | Meeting::Refuse => {
                    let place = self.span_of(element);
                    errors.push(self.refusal(&over, element, place));
                }
            }
        }
    }

    /// The place in [`Document::elements`] of the array element that the key of `over` addresses.
    fn element_at(
        &self,
        array: &Entry,
        start: u32,
        len: u32,
        over: &Entry,
    ) -> Result<u32, SyntaxError> {
        let key = self.strings.get(over.key);
        let list = self.strings.get(array.key);
        let mut named = (start..start + len).filter(|&at| self.names(at).any(|name| name == key));
        match (named.next(), named.next()) {
            (Some(index), None) => return Ok(index),
            (Some(first), Some(second)) => {
                let error = SyntaxError::new(
                    over.key_span,
                    format!("`{list}` has several entries named `{key}`"),
                );
                let place = |at: u32| self.span_of(self.elements[at as usize]);
                return Err(error
                    .also(place(first), "the first")
                    .also(place(second), "the second")
                    .help(format!(
                        "address it by its number: `{list}.{}`",
                        first - start
                    )));
            }
            (None, _) => {}
        }
        if key.bytes().all(|byte| byte.is_ascii_digit()) && !key.is_empty() {
            return match key.parse::<u32>() {
                Ok(index) if index < len => Ok(start + index),
                _ => Err(SyntaxError::new(
                    over.key_span,
                    format!("`{list}` has {len} entries, numbered from 0; there is no {key}"),
                )),
            };
        }
        let names: Vec<&str> = (start..start + len).flat_map(|at| self.names(at)).collect();
        let error = SyntaxError::new(
            over.key_span,
            format!("`{list}` has no entry named `{key}`"),
        );
        Err(error.maybe_help(suggest::did_you_mean(key, &names)))
    }

    /// The name of an element, or its names where `name` is an array.
    fn names(&self, at: u32) -> impl Iterator<Item = &str> {
        let element = self
            .elements
            .get(at as usize)
            .map(|&id| self.node(id).value);
        let name = match element {
            Some(Value::Table(table)) => self.find(table, "name").map(|id| self.entry(id).value),
            _ => None,
        };
        let names = match name.map(|id| self.node(id).value) {
            Some(Value::Array { start, len }) => self
                .elements
                .get(start as usize..start as usize + len as usize),
            _ => None,
        };
        let all = name.into_iter().chain(names.unwrap_or(&[]).iter().copied());
        all.filter_map(|id| match self.node(id).value {
            Value::String(text) => Some(self.strings.get(text)),
            _ => None,
        })
    }

    fn meeting(&self, lower: NodeId, upper: NodeId) -> Meeting {
        match (self.node(lower).value, self.node(upper).value) {
            (Value::Table(lower), Value::Table(upper)) => Meeting::Merge(lower, upper),
            (Value::Array { start, len }, Value::Table(keys)) => {
                Meeting::Address { start, len, keys }
            }
            // `{ … }` is a whole value; a header or a dotted key reaches into one.
            (_, Value::Table(upper)) => match self.table(upper) {
                table if table.inline && !table.implicit => Meeting::Replace,
                _ => Meeting::Refuse,
            },
            _ => Meeting::Replace,
        }
    }

    fn refusal(&self, over: &Entry, lower: NodeId, place: Span) -> SyntaxError {
        let name = self.strings.get(over.key);
        let kind = self.describe(lower);
        SyntaxError::new(
            over.key_span,
            format!("`{name}` is {kind}, so no key can be set in it"),
        )
        .also(place, format!("{kind} here"))
    }

    fn entries_of(&self, table: TableId) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.table(table).len as usize);
        let mut next = self.table(table).first;
        while let Some(entry) = self.entries.get(next as usize) {
            entries.push(*entry);
            next = entry.next;
        }
        entries
    }

    fn span_of(&self, id: NodeId) -> Span {
        match self.node(id).value {
            Value::Table(table) => self.table(table).span,
            _ => self.node(id).span,
        }
    }
}

/// By how much the numbers of an absorbed document grow.
struct Shift {
    nodes: u32,
    tables: u32,
    entries: u32,
    elements: u32,
    indexes: u32,
    text: TextShift,
}

impl Shift {
    fn node(&self, node: Node) -> Node {
        let value = match node.value {
            Value::String(text) => Value::String(self.text.apply(text)),
            Value::Array { start, len } => Value::Array {
                start: start + self.elements,
                len,
            },
            Value::Table(TableId(id)) => Value::Table(TableId(id + self.tables)),
            scalar
            @ (Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime) => scalar,
        };
        Node { value, ..node }
    }

    fn table(&self, table: Table) -> Table {
        Table {
            first: shifted(table.first, self.entries),
            last: shifted(table.last, self.entries),
            index: shifted(table.index, self.indexes),
            ..table
        }
    }

    fn entry(&self, entry: Entry) -> Entry {
        Entry {
            key: self.text.apply(entry.key),
            value: NodeId(entry.value.0 + self.nodes),
            next: shifted(entry.next, self.entries),
            ..entry
        }
    }
}

fn shifted(number: u32, by: u32) -> u32 {
    if number == NONE { NONE } else { number + by }
}
