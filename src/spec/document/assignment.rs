//! One assignment from a command line: `--set train.optimizer.lr=1e-4`.

use std::sync::Arc;

use super::parser::Parser;
use super::scalar;
use super::tables::Path;
use super::{Document, MAX_DEPTH, MAX_TEXT_BYTES, ROOT, SyntaxError, Value};
use crate::source::{FileId, Span};

/// Reads `key.key.key=value`, to be laid over a document by [`Document::merge`].
///
/// The value is TOML; what is no number, boolean, date, quoted string, array or table is taken as
/// a string, so `--set budget.memory="72 GiB"` needs no second pair of quotes for the shell. Key
/// parts with other characters than letters, digits, `_` and `-` go into quotes.
pub fn parse_assignment(text: &Arc<str>, file: FileId) -> (Document, Vec<SyntaxError>) {
    if text.len() > MAX_TEXT_BYTES {
        let error = SyntaxError::new(Span::new(file, 0, 0), "the assignment is too long");
        return (Document::empty(Arc::from(""), file), vec![error]);
    }
    let mut parser = Parser::new(text, file);
    if !parser.key(MAX_DEPTH) || !parser.equals() {
        return parser.finish();
    }
    let slot = parser.resolve(ROOT, Path::Dotted);
    let depth = parser.parts.len();
    // The parser stands on the token behind `=`; a string may begin before the next token that
    // TOML knows, but not before this one.
    let rest = text.get(parser.token.start..).unwrap_or("");
    let start = parser.token.start + (rest.len() - rest.trim_start().len());
    let value = rest.trim();
    if value.is_empty() {
        let key = parser.parts.iter().map(|part| part.span).reduce(Span::to);
        let error = SyntaxError::new(key.unwrap_or_default(), "the assignment has no value");
        parser.report(error.help("an empty string is written `\"\"`"));
        return parser.finish();
    }
    let whole = matches!(value.as_bytes().first(), Some(b'"' | b'\'' | b'[' | b'{'));
    if whole {
        parser.value(slot, depth);
        parser.end();
        return parser.finish();
    }
    let end = start + value.len();
    let string = Value::String(scalar::source_text(start, end));
    let value = parser.source.unquoted(start, end).unwrap_or(string);
    let node = parser.document.new_node(value, Span::new(file, start, end));
    parser.store(slot, node);
    parser.finish()
}
