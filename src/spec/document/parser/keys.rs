//! Keys: their parts, their characters, and the `=` behind them.

use toml_parser::decoder::Encoding;
use toml_parser::lexer::TokenKind;

use super::{Parser, too_deep};
use crate::spec::document::SyntaxError;
use crate::spec::document::lexer::Token;
use crate::spec::document::scalar;
use crate::spec::document::tables::KeyPart;

impl Parser<'_> {
    /// The `=` behind a key.
    pub(in crate::spec::document) fn equals(&mut self) -> bool {
        if self.token.kind == TokenKind::Equals {
            self.advance();
            return true;
        }
        let key = self
            .parts
            .last()
            .map_or(self.token_span(), |part| part.span);
        let name = scalar::shorten(self.source.slice(key.range().start, key.range().end));
        let error = match self.token.kind {
            TokenKind::Newline | TokenKind::Comment | TokenKind::Eof => {
                SyntaxError::new(key, format!("the key `{name}` has no value"))
            }
            _ => SyntaxError::new(
                self.token_span(),
                format!(
                    "expected `=` after the key `{name}`, found {}",
                    self.token_words()
                ),
            ),
        };
        self.report(error.help(format!("write `{name} = …`")));
        false
    }

    /// Reads `key . key . key` into `parts`, and the spaces behind. At most `limit` parts.
    ///
    /// `false` where there is no key, or none that could be used.
    pub(in crate::spec::document) fn key(&mut self, limit: usize) -> bool {
        self.parts.clear();
        loop {
            self.skip_whitespace();
            let Token {
                kind, start, end, ..
            } = self.token;
            let span = self.span(start, end);
            let text = match kind {
                TokenKind::Atom => {
                    if !self.bare_key(start, end) {
                        return false;
                    }
                    scalar::source_text(start, end)
                }
                TokenKind::BasicString if self.token.plain => scalar::inside(start, end),
                TokenKind::BasicString | TokenKind::LiteralString => {
                    let encoding = match kind {
                        TokenKind::BasicString => Encoding::BasicString,
                        _ => Encoding::LiteralString,
                    };
                    let strings = &mut self.document.strings;
                    let (text, error) = self.source.string(strings, encoding, start, end);
                    if let Some(error) = error {
                        self.report(error);
                        return false;
                    }
                    text
                }
                TokenKind::MlBasicString | TokenKind::MlLiteralString => {
                    let span = self.span(start, start + 3);
                    let error = SyntaxError::new(span, "a key cannot be a multi-line string");
                    self.report(error.help("use one pair of quotes"));
                    return false;
                }
                _ => {
                    let found = self.token_words();
                    self.report(SyntaxError::new(
                        self.token_span(),
                        format!("expected a key, found {found}"),
                    ));
                    return false;
                }
            };
            if self.parts.len() >= limit {
                self.report(too_deep(span));
                return false;
            }
            self.parts.push(KeyPart { text, span });
            self.advance();
            self.skip_whitespace();
            if self.token.kind != TokenKind::Dot {
                return true;
            }
            self.advance();
        }
    }

    /// Checks the characters of a key without quotes.
    fn bare_key(&mut self, start: usize, end: usize) -> bool {
        let key = self.source.slice(start, end);
        if key.bytes().all(|byte| scalar::BARE[byte as usize]) {
            return true;
        }
        let name = scalar::shorten(key);
        let error = match key.strip_suffix(':') {
            Some(name) => SyntaxError::new(
                self.span(end - 1, end),
                "TOML writes `=` between a key and its value, not `:`",
            )
            .help(format!("write `{} = …`", scalar::shorten(name))),
            None => SyntaxError::new(self.span(start, end), format!("`{name}` is not a key")).help(
                "a key without quotes holds only letters a to z, digits, `_` and `-`; put others \
                 into quotes",
            ),
        };
        self.report(error);
        false
    }
}
