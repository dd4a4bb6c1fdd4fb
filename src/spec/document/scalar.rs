//! Scalars and keys: the decoding of one token, and what is said about one that is wrong.
//!
//! The common forms are read here; everything unusual, and everything wrong, goes through
//! `toml_parser`, which thereby decides what is valid.

use std::borrow::Cow;

use toml_parser::decoder::{Encoding, ScalarKind};
use toml_parser::{Expected, ParseError, Raw};

use super::strings::{Strings, Text};
use super::{SyntaxError, Value};
use crate::source::{FileId, Span};

/// Whether a byte may stand unescaped in a one-line basic string.
pub(super) const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = byte == 0x09 || (byte >= 0x20 && byte != 0x7f);
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain
};

/// Whether a byte may stand in a key without quotes.
pub(super) const BARE: [bool; 256] = {
    let mut bare = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        bare[byte] = (byte as u8).is_ascii_alphanumeric() || byte == 0x2d || byte == 0x5f;
        byte += 1;
    }
    bare
};

/// The bytes `start..end` of the source.
pub(super) fn source_text(start: usize, end: usize) -> Text {
    Text {
        source: 0,
        start: start as u32,
        end: end as u32,
    }
}

/// What lies between the quotes of the one-line string `start..end`.
pub(super) fn inside(start: usize, end: usize) -> Text {
    source_text(start + 1, end - 1)
}

/// The source text with its file, to cut spans and tokens from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) file: FileId,
}

impl<'a> Source<'a> {
    pub(super) fn span(self, start: usize, end: usize) -> Span {
        Span::new(self.file, start, end)
    }

    pub(super) fn slice(self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or("")
    }

    fn raw(self, encoding: Option<Encoding>, start: usize, end: usize) -> Raw<'a> {
        let span = toml_parser::Span::new_unchecked(start, end);
        Raw::new_unchecked(self.slice(start, end), encoding, span)
    }

    /// Decodes the string token `start..end`, a value or a quoted key.
    ///
    /// With an error, the text is what could be understood.
    pub(super) fn string(
        self,
        strings: &mut Strings,
        encoding: Encoding,
        start: usize,
        end: usize,
    ) -> (Text, Option<SyntaxError>) {
        let raw = self.slice(start, end);
        let delimiter = match encoding {
            Encoding::BasicString => "\"",
            Encoding::LiteralString => "'",
            Encoding::MlBasicString => "\"\"\"",
            Encoding::MlLiteralString => "'''",
        };
        let mut error = None;
        let mut decoder = strings.decoder(self.text);
        let _ = self
            .raw(Some(encoding), start, end)
            .decode_scalar(&mut decoder, &mut error);
        let closed = raw.len() >= 2 * delimiter.len() && raw.ends_with(delimiter);
        let text = decoder.finish(if closed { end - delimiter.len() } else { end });
        let error = error.map(|error| {
            if closed {
                return self.string_error(&error, start, end);
            }
            let message = match delimiter.len() {
                1 => "this string is never closed",
                _ => "this multi-line string is never closed",
            };
            let end = if delimiter.len() == 1 { end } else { start + 3 };
            SyntaxError::new(self.span(start, end), message)
                .help(format!("end it with `{delimiter}`"))
        });
        (text, error)
    }

    /// Decodes the value `start..end`, which has no quotes: a number, boolean or date.
    pub(super) fn unquoted(self, start: usize, end: usize) -> Result<Value, SyntaxError> {
        let raw = self.slice(start, end);
        match raw {
            "true" => return Ok(Value::Boolean(true)),
            "false" => return Ok(Value::Boolean(false)),
            _ => {}
        }
        if let Some(integer) = small_integer(raw.as_bytes()) {
            return Ok(Value::Integer(integer));
        }
        let mut error = None;
        let mut digits = Cow::Borrowed("");
        let kind = self
            .raw(None, start, end)
            .decode_scalar(&mut digits, &mut error);
        let span = self.span(start, end);
        if let Some(error) = error {
            return Err(self.unquoted_error(&error, span));
        }
        match kind {
            ScalarKind::Boolean(boolean) => Ok(Value::Boolean(boolean)),
            ScalarKind::Integer(radix) => i64::from_str_radix(&digits, radix.value())
                .map(Value::Integer)
                .map_err(|_| {
                    SyntaxError::new(span, format!("the integer {raw} is out of range"))
                        .help("integers lie between -2^63 and 2^63 - 1; write a float such as 1e20")
                }),
            ScalarKind::Float => match digits.parse::<f64>() {
                Ok(float) if float.is_finite() || digits.contains("inf") => Ok(Value::Float(float)),
                Ok(float) if float.is_nan() => Ok(Value::Float(float)),
                _ => Err(
                    SyntaxError::new(span, format!("the float {raw} is out of range"))
                        .help("floats have 64 bits and reach 1.8e308; infinity is `inf`"),
                ),
            },
            ScalarKind::DateTime => match digits.parse::<toml::value::Datetime>() {
                Ok(_) => Ok(Value::Datetime),
                Err(error) => Err(SyntaxError::new(
                    span,
                    format!("`{raw}` is not a date or time: {error}"),
                )
                .help("a date is written 2026-01-31, a string goes into quotes")),
            },
            // Without quotes nothing is a string; the decoder has said so already.
            ScalarKind::String => Err(SyntaxError::new(span, format!("`{raw}` is not a value"))),
        }
    }

    fn unquoted_error(self, error: &ParseError, span: Span) -> SyntaxError {
        let raw = self.slice(span.range().start, span.range().end);
        let lower = raw.to_ascii_lowercase();
        let word = lower.trim_start_matches(['+', '-']);
        let shown = shorten(raw);
        match word {
            "" => return SyntaxError::new(span, "a value is missing here"),
            "true" | "false" | "inf" | "nan" => {
                return SyntaxError::new(span, format!("`{shown}` is not a value"))
                    .help(format!("write it in lower case: `{lower}`"));
            }
            "none" | "null" | "nil" => {
                return SyntaxError::new(span, format!("`{shown}` is not a value"))
                    .help("TOML has no null: leave the key out");
            }
            "infinity" => {
                return SyntaxError::new(span, format!("`{shown}` is not a value"))
                    .help("infinity is written `inf`");
            }
            _ => {}
        }
        let first = word.as_bytes().first().copied().unwrap_or(b' ');
        if matches!(raw.as_bytes().last(), Some(b'"' | b'\'')) {
            return SyntaxError::new(span, format!("the opening quote of `{shown}` is missing"));
        }
        if first.is_ascii_digit() || first == b'.' || first == b'_' {
            let place = error.unexpected().filter(|place| !place.is_empty());
            let place = place.map_or(span, |place| self.span(place.start(), place.end()));
            let help = match error.description() {
                "string values must be quoted" if raw.contains([' ', '\t']) => {
                    Some("a string goes into quotes, and a comma between two values".to_owned())
                }
                "string values must be quoted" => quote_it(raw),
                _ => expectation(error),
            };
            let what = match error.description() {
                "string values must be quoted" => "it is no number and no date",
                other => other,
            };
            return SyntaxError::new(place, format!("`{shown}` is not a value: {what}"))
                .maybe_help(help);
        }
        SyntaxError::new(span, format!("`{shown}` is not a value")).maybe_help(quote_it(raw))
    }

    fn string_error(self, error: &ParseError, start: usize, end: usize) -> SyntaxError {
        let at = error.unexpected().map_or(start..end, |place| {
            place.start().clamp(start, end)..place.end().clamp(start, end)
        });
        match error.description() {
            "missing escaped value" => {
                // The place is right behind the backslash.
                let backslash = at.start.saturating_sub(1).max(start);
                let escaped = self
                    .text
                    .get(at.start..)
                    .and_then(|rest| rest.chars().next());
                let stop = at.start + escaped.map_or(0, char::len_utf8);
                let stop = stop.min(end);
                SyntaxError::new(
                    self.span(backslash, stop),
                    format!(
                        "`{}` is not an escape sequence",
                        self.slice(backslash, stop)
                    ),
                )
                .help("write `\\\\` for a backslash, or put the string into single quotes")
            }
            "too few unicode value digits" | "invalid value" => {
                let before = self.slice(start, at.start);
                let backslash = start + before.rfind('\\').unwrap_or(0);
                let rest = self.slice(backslash, end).get(2..).unwrap_or("");
                let digits = rest
                    .bytes()
                    .take_while(u8::is_ascii_hexdigit)
                    .count()
                    .min(8);
                let stop = backslash + 2 + digits;
                let shown = self.slice(backslash, stop);
                let error = SyntaxError::new(
                    self.span(backslash, stop),
                    format!("`{shown}` is not a Unicode character"),
                );
                error.help("write `\\u` and 4 or `\\U` and 8 hexadecimal digits")
            }
            "carriage return must be followed by newline" => SyntaxError::new(
                self.span(at.start.saturating_sub(1).max(start), at.start),
                "a carriage return stands alone",
            )
            .help("end lines with a line feed, or a carriage return and a line feed"),
            _ => {
                let found = self
                    .text
                    .get(at.start..)
                    .and_then(|rest| rest.chars().next());
                let stop = (at.start + found.map_or(0, char::len_utf8)).min(end);
                let message = match found {
                    Some(c) if c.is_control() => {
                        format!(
                            "the control character U+{:04X} stands in a string",
                            c as u32
                        )
                    }
                    _ => error.description().to_owned(),
                };
                SyntaxError::new(self.span(at.start, stop), message)
                    .help("write it as an escape, `\\u` and 4 hexadecimal digits, in double quotes")
            }
        }
    }
}

/// Plain decimal integers of up to 18 digits, which is nearly all of them.
fn small_integer(raw: &[u8]) -> Option<i64> {
    let (negative, digits) = match raw {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let leading_zero = digits.len() > 1 && digits.first() == Some(&b'0');
    if digits.is_empty() || digits.len() > 18 || leading_zero {
        return None;
    }
    let mut value: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some(if negative { -value } else { value })
}

/// At most 40 characters of a text from the source, in one line.
pub(super) fn shorten(raw: &str) -> String {
    let line = raw.lines().next().unwrap_or("");
    let short: String = line.chars().take(40).collect();
    if short.len() < raw.len() {
        format!("{short}…")
    } else {
        short
    }
}

fn quote_it(raw: &str) -> Option<String> {
    (!raw.contains(['"', '\\']))
        .then(|| format!("a string goes into quotes: `\"{}\"`", shorten(raw)))
}

fn expectation(error: &ParseError) -> Option<String> {
    match error.expected()? {
        [] => None,
        all => {
            let all: Vec<String> = all
                .iter()
                .map(|expected| match expected {
                    Expected::Literal(literal) => format!("`{literal}`"),
                    Expected::Description(words) => (*words).to_owned(),
                    _ => "something else".to_owned(),
                })
                .collect();
            Some(format!("expected {}", all.join(" or ")))
        }
    }
}
