//! Words of an expression.

use std::fmt;
use std::ops::Range;

use super::ExpressionError;

/// One word, without its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name, perhaps dotted. `.T` and `.mT` at its end are words of their own.
    Name(&'a str),
    Number(u64),
    /// What stands between quotes.
    Text(&'a str),
    /// `.T` or `.mT`.
    Transpose(&'a str),
    /// One of `[ ] ( ) , @`.
    Symbol(char),
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Name(text) | Token::Transpose(text) => write!(f, "`{text}`"),
            Token::Number(number) => write!(f, "`{number}`"),
            Token::Text(_) => f.write_str("a string"),
            Token::Symbol(symbol) => write!(f, "`{symbol}`"),
            Token::End => f.write_str("the end"),
        }
    }
}

/// Splits a text into words, each with its bytes; the last is [`Token::End`]. O(length).
pub(super) fn tokens(text: &str) -> Result<Vec<(Token<'_>, Range<usize>)>, ExpressionError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let run = |accepts: fn(char) -> bool| rest.find(|c| !accepts(c)).unwrap_or(rest.len());
        let (token, length) = match first {
            _ if first.is_whitespace() => {
                at += first.len_utf8();
                continue;
            }
            '[' | ']' | '(' | ')' | ',' | '@' => (Token::Symbol(first), 1),
            '0'..='9' => {
                let length = run(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
                (number(&rest[..length], at)?, length)
            }
            '"' | '\'' => match rest[1..].find(first) {
                Some(length) => (Token::Text(&rest[1..1 + length]), length + 2),
                None => {
                    let message = format!("the string is not closed by `{first}`");
                    return Err(ExpressionError::new(at..text.len(), message));
                }
            },
            '.' => {
                let length = 1 + rest[1..]
                    .find(|c: char| !is_word(c))
                    .unwrap_or(rest.len() - 1);
                match &rest[..length] {
                    word @ (".T" | ".mT") => (Token::Transpose(word), length),
                    word => {
                        let message = format!("`{word}` is not known here");
                        let error = ExpressionError::new(at..at + length, message);
                        return Err(error.help("`.T` and `.mT` transpose"));
                    }
                }
            }
            _ if first.is_alphabetic() || first == '_' => {
                let length = name_length(rest);
                (Token::Name(&rest[..length]), length)
            }
            other => {
                let span = at..at + other.len_utf8();
                let message = format!("`{}` has no meaning here", other.escape_debug());
                let error = ExpressionError::new(span, message);
                return Err(match other {
                    '*' => error.help(
                        "`@` multiplies matrices; `*` works element by element, \
                                       which has no order to choose",
                    ),
                    '+' | '-' | '/' => error.help("only products are ordered: `@` and `einsum`"),
                    _ => error,
                });
            }
        };
        found.push((token, at..at + length));
        at += length;
    }
    found.push((Token::End, at..at));
    Ok(found)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Length of the name at the start: words joined by dots, up to `.T`, `.mT` or a stray dot.
fn name_length(text: &str) -> usize {
    let word = |from: usize| {
        text[from..]
            .find(|c| !is_word(c))
            .map_or(text.len(), |length| from + length)
    };
    let mut end = word(0);
    while text[end..].starts_with('.') {
        let next = word(end + 1);
        if matches!(&text[end + 1..next], "" | "T" | "mT") {
            break;
        }
        end = next;
    }
    end
}

fn number(text: &str, at: usize) -> Result<Token<'_>, ExpressionError> {
    let digits: String = text.chars().filter(|&c| c != '_').collect();
    match digits.parse() {
        Ok(number) => Ok(Token::Number(number)),
        Err(_) => {
            let message = if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                "a size of 2⁶⁴ or more cannot be dealt with".to_owned()
            } else {
                format!("`{text}` is no size: sizes are whole numbers")
            };
            Err(ExpressionError::new(at..at + text.len(), message))
        }
    }
}
