//! Settings as data: typed values with their places, and tables of them.

use smol_str::SmolStr;

use super::document::NodeRef;
use super::names;
use super::reader::Reader;
use crate::quantity::Bytes;
use crate::source::Span;
use crate::tensor::Dtype;

/// A setting: its value where it was given and could be read, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<T> {
    /// The value.
    pub value: Option<T>,
    /// Where the value was written.
    pub span: Option<Span>,
    /// Where the whole entry `key = value` was written.
    pub entry: Option<Span>,
}

impl<T> Default for Field<T> {
    fn default() -> Field<T> {
        Field {
            value: None,
            span: None,
            entry: None,
        }
    }
}

impl<T: Clone> Field<T> {
    /// The value, if given.
    pub fn get(&self) -> Option<T> {
        self.value.clone()
    }

    /// The value, or this where it was not given.
    pub fn or(&self, default: T) -> T {
        self.value.clone().unwrap_or(default)
    }

    /// Whether the setting was given.
    pub fn is_given(&self) -> bool {
        self.value.is_some()
    }
}

/// Something that an entry of a table is read into.
pub(crate) trait Read {
    /// Reads the value of an entry; reports what is wrong with it.
    fn read(&mut self, key_span: Span, node: NodeRef<'_>, reader: &mut Reader<'_>);
}

/// A value that can be read from a node of a document.
pub(crate) trait FromNode: Sized {
    /// Reads the value; reports what is wrong with it and gives `None` then.
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Self>;
}

impl<T: FromNode> Read for Field<T> {
    fn read(&mut self, key_span: Span, node: NodeRef<'_>, reader: &mut Reader<'_>) {
        self.span = Some(node.span());
        self.entry = Some(key_span.to(node.span()));
        self.value = T::from_node(node, reader);
    }
}

impl FromNode for bool {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<bool> {
        node.as_bool()
            .or_else(|| reader.expected(node, "true or false"))
    }
}

impl FromNode for SmolStr {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<SmolStr> {
        node.as_str()
            .map(SmolStr::from)
            .or_else(|| reader.expected(node, "a string"))
    }
}

impl FromNode for i64 {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<i64> {
        reader.integer(node)
    }
}

impl FromNode for u64 {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<u64> {
        let value = reader.integer(node)?;
        u64::try_from(value).ok().or_else(|| {
            reader
                .report(
                    names::INVALID_VALUE,
                    node.span(),
                    format!("{value} is below 0"),
                )
                .help("give a whole number of 0 or more");
            None
        })
    }
}

impl FromNode for f64 {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<f64> {
        reader.real(node)
    }
}

/// A number above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Positive(pub f64);

impl FromNode for Positive {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Positive> {
        let value = reader.real(node)?;
        if value > 0.0 && value.is_finite() {
            return Some(Positive(value));
        }
        reader
            .report(
                names::INVALID_VALUE,
                node.span(),
                format!("{value} is not above 0"),
            )
            .help("write a number such as 1.5");
        None
    }
}

impl FromNode for Dtype {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Dtype> {
        let Some(text) = node.as_str() else {
            return reader.expected(node, "an element type such as \"float32\"");
        };
        Dtype::parse(text).or_else(|| {
            let names: Vec<&str> = Dtype::ALL.iter().map(|dtype| dtype.name()).collect();
            reader.unknown_word(node, "element type", text, &names);
            None
        })
    }
}

impl FromNode for Bytes {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Bytes> {
        if let Some(count) = node.as_integer() {
            return u64::try_from(count)
                .ok()
                .map(Bytes)
                .or_else(|| reader.expected(node, "a number of bytes of 0 or more"));
        }
        let Some(text) = node.as_str() else {
            return reader.expected(node, "an amount such as \"72 GiB\"");
        };
        match text.parse::<Bytes>() {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                reader
                    .report(names::INVALID_VALUE, node.span(), error.to_string())
                    .help("write an amount such as \"72 GiB\", \"80 GB\" or a number of bytes");
                None
            }
        }
    }
}

/// A pair `[low, high]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The least value.
    pub low: f64,
    /// The greatest value.
    pub high: f64,
}

impl FromNode for Range {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Range> {
        let ends = Vec::<f64>::from_node(node, reader)?;
        match ends[..] {
            [low, high] if low <= high => Some(Range { low, high }),
            [low, high] => {
                let message = format!("the range [{low}, {high}] is empty: {low} > {high}");
                reader
                    .report(names::INVALID_VALUE, node.span(), message)
                    .help("swap the ends");
                None
            }
            _ => reader.expected(node, "a range [low, high]"),
        }
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Vec<T>> {
        let Some(array) = node.as_array() else {
            return reader.expected(node, "an array");
        };
        let mut values = Vec::with_capacity(array.len());
        let mut complete = true;
        for item in array.iter() {
            match T::from_node(item, reader) {
                Some(value) => values.push(value),
                None => complete = false,
            }
        }
        complete.then_some(values)
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T: FromNode> FromNode for OneOrMany<T> {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<OneOrMany<T>> {
        if node.as_array().is_some() {
            return Vec::from_node(node, reader).map(OneOrMany);
        }
        T::from_node(node, reader).map(|value| OneOrMany(vec![value]))
    }
}

/// Defines a table of settings: a struct, the list of its keys, and how it is read.
///
/// `shorthand key;` lets a plain string stand for a table with that key alone.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$doc:meta])+ $field:ident : $ty:ty, )*
        }
        $(shorthand $short:ident;)?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        pub struct $name {
            /// Where the table was written; `None` where it was not.
            pub span: Option<$crate::source::Span>,
            $( $(#[$doc])+ pub $field: $ty, )*
        }

        impl $name {
            /// The keys that the table takes.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        impl $crate::spec::setting::Read for $name {
            fn read(
                &mut self,
                _key_span: $crate::source::Span,
                node: $crate::spec::document::NodeRef<'_>,
                reader: &mut $crate::spec::reader::Reader<'_>,
            ) {
                self.span = Some(node.span());
                $(
                    if node.as_str().is_some() {
                        reader.within(stringify!($short), |reader| {
                            self.$short.read(node.span(), node, reader);
                        });
                        return;
                    }
                )?
                let Some(table) = node.as_table() else {
                    let _: Option<()> = reader.expected(node, "a table");
                    return;
                };
                for entry in table.entries() {
                    let (key, key_span) = (entry.key(), entry.key_span());
                    match key {
                        $( stringify!($field) => reader.within(key, |reader| {
                            self.$field.read(key_span, entry.value(), reader);
                        }), )*
                        _ => reader.unknown_key(key, key_span, Self::KEYS),
                    }
                }
            }
        }
    };
}

/// Defines a choice among words.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident ($what:literal) {
            $( $(#[$doc:meta])+ $variant:ident = $word:literal $(| $alias:literal)*, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$doc])+ $variant, )*
        }

        impl $name {
            /// The words, in order.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word for the choice.
            pub fn name(self) -> &'static str {
                match self {
                    $( $name::$variant => $word, )*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $crate::spec::setting::FromNode for $name {
            fn from_node(
                node: $crate::spec::document::NodeRef<'_>,
                reader: &mut $crate::spec::reader::Reader<'_>,
            ) -> Option<$name> {
                match node.as_str() {
                    $( Some($word $(| $alias)*) => Some($name::$variant), )*
                    Some(other) => {
                        reader.unknown_word(node, $what, other, Self::WORDS);
                        None
                    }
                    None => reader.expected(node, concat!("a ", $what)),
                }
            }
        }
    };
}

pub(crate) use {choice, settings};
