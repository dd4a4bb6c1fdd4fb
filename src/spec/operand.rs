//! `in` and `stated`: what a layer reads, and the types that it is said to give.

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::document::NodeRef;
use super::names;
use super::reader::Reader;
use super::tensors::TensorDefinition;
use crate::source::Span;

/// One of the things that a layer reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A tensor, or the path of a parameter.
    Name(SmolStr),
    /// A whole number.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// A truth value.
    Boolean(bool),
    /// `"None"`: the operand is left out, and the layer owns no parameter in its place.
    Absent,
}

/// The word for an operand that is left out.
pub const ABSENT: &str = "None";

/// What a layer reads, each with its place.
pub type Sources = SmallVec<[(Source, Span); 1]>;

/// Reads `in`: a name, or a list of names and numbers.
pub(crate) fn read_sources(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Sources> {
    let Some(array) = node.as_array() else {
        let one = source(node);
        return match one {
            Some(one) => Some(smallvec::smallvec![(one, node.span())]),
            None => reader.expected(node, "a name or a list of names"),
        };
    };
    let mut sources = Sources::new();
    for item in array.iter() {
        match source(item) {
            Some(one) => sources.push((one, item.span())),
            None => {
                let _: Option<()> = reader.expected(item, "a name or a number");
            }
        }
    }
    Some(sources)
}

fn source(node: NodeRef<'_>) -> Option<Source> {
    if let Some(name) = node.as_str() {
        return Some(match name {
            ABSENT => Source::Absent,
            name => Source::Name(name.into()),
        });
    }
    node.as_integer()
        .map(Source::Integer)
        .or_else(|| node.as_float().map(Source::Real))
        .or_else(|| node.as_bool().map(Source::Boolean))
}

/// Reads `stated`: a shape or a table with one for each output.
pub(crate) fn read_stated(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Vec<TensorDefinition> {
    let Some(array) = node.as_array().filter(|array| !array.is_empty()) else {
        reader
            .report(
                names::INVALID_VALUE,
                node.span(),
                "`stated` must be a list with the type of each output",
            )
            .help("write stated = [{ shape = [\"batch\", 10], dtype = \"int64\" }]");
        return Vec::new();
    };
    array
        .iter()
        .enumerate()
        .map(|(number, item)| {
            let name = super::number_name(number);
            TensorDefinition::read_node(name, item.span(), item, reader)
        })
        .collect()
}
