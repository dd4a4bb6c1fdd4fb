//! Values: scalars, and arrays and inline tables by an explicit stack of open brackets.

use toml_parser::decoder::Encoding;
use toml_parser::lexer::TokenKind;

use super::{Expect, Frame, FrameKind, Parser, Slot, too_deep};
use crate::spec::document::lexer::Token;
use crate::spec::document::tables::Path;
use crate::spec::document::{MAX_DEPTH, NodeId, SyntaxError, TableId, Value, scalar};

impl Parser<'_> {
    /// A value behind `=`, with all that lies in its brackets.
    pub(in crate::spec::document) fn value(&mut self, slot: Slot, depth: usize) {
        self.value_start(slot, depth);
        while let Some(frame) = self.frames.last().copied() {
            match frame.kind {
                FrameKind::Array { .. } => self.array_step(frame),
                FrameKind::Table {
                    table,
                    inside,
                    key_depth,
                } => self.table_step(frame, table, inside, key_depth),
            }
        }
    }

    /// A scalar, or the opening bracket of an array or table.
    fn value_start(&mut self, slot: Slot, depth: usize) {
        self.skip_whitespace();
        let Token {
            kind, start, end, ..
        } = self.token;
        let encoding = match kind {
            TokenKind::BasicString if self.token.plain => {
                let string = Value::String(scalar::inside(start, end));
                let node = self.document.new_node(string, self.span(start, end));
                self.store(slot, node);
                return self.advance();
            }
            TokenKind::BasicString => Encoding::BasicString,
            TokenKind::LiteralString => Encoding::LiteralString,
            TokenKind::MlBasicString => Encoding::MlBasicString,
            TokenKind::MlLiteralString => Encoding::MlLiteralString,
            TokenKind::Atom | TokenKind::Dot => return self.unquoted(slot),
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                return self.open(slot, depth);
            }
            TokenKind::Equals => {
                let error = SyntaxError::new(self.token_span(), "there is one `=` too many");
                self.report(error.help("remove it"));
                self.advance();
                return self.value_start_again(slot, depth);
            }
            _ => {
                let found = self.token_words();
                let error = SyntaxError::new(
                    self.token_span(),
                    format!("expected a value, found {found}"),
                );
                self.report_inside(error);
                return;
            }
        };
        let strings = &mut self.document.strings;
        let (text, error) = self.source.string(strings, encoding, start, end);
        let node = self
            .document
            .new_node(Value::String(text), self.span(start, end));
        self.store(slot, node);
        let Some(error) = error else {
            return self.advance();
        };
        self.report(error);
        if matches!(kind, TokenKind::MlBasicString | TokenKind::MlLiteralString) {
            self.skip_multi_line();
            if self.resumed {
                self.abandon(end);
            }
        } else {
            self.advance();
        }
    }

    /// After surplus `=`: skips all of them, then reads the value.
    fn value_start_again(&mut self, slot: Slot, depth: usize) {
        while matches!(self.token.kind, TokenKind::Equals | TokenKind::Whitespace) {
            self.advance();
        }
        self.value_start(slot, depth);
    }

    /// A number, boolean or date: tokens up to the next separator.
    fn unquoted(&mut self, slot: Slot) {
        let Token { start, mut end, .. } = self.token;
        self.advance();
        loop {
            match self.token.kind {
                TokenKind::Atom | TokenKind::Dot => {
                    end = self.token.end;
                    self.advance();
                }
                TokenKind::Whitespace => {
                    self.advance();
                    // A date and a time may be joined by a space.
                    if self.token.kind != TokenKind::Atom {
                        break;
                    }
                }
                _ => break,
            }
        }
        match self.source.unquoted(start, end) {
            Ok(value) => {
                let node = self.document.new_node(value, self.span(start, end));
                self.store(slot, node);
            }
            Err(error) => {
                self.report_inside(error);
            }
        }
    }

    fn open(&mut self, slot: Slot, depth: usize) {
        let Token {
            kind, start, end, ..
        } = self.token;
        if depth >= MAX_DEPTH {
            self.report(too_deep(self.span(start, end)));
            self.skip_brackets();
            return;
        }
        self.advance();
        let (kind, expect) = if kind == TokenKind::LeftSquareBracket {
            let first = self.pending.len();
            (FrameKind::Array { first }, Expect::Element)
        } else {
            let table = self.document.new_table(self.span(start, end));
            self.document.table_mut(table).inline = true;
            let table = FrameKind::Table {
                table,
                inside: Slot::Nowhere,
                key_depth: 0,
            };
            (table, Expect::Key)
        };
        self.frames.push(Frame {
            open: start,
            expect,
            depth: depth + 1,
            slot,
            kind,
        });
    }

    pub(in crate::spec::document) fn store(&mut self, slot: Slot, node: NodeId) {
        match slot {
            Slot::Entry(table, key) => self.document.push_entry(table, key, node),
            Slot::Element => self.pending.push(node),
            Slot::Nowhere => {}
        }
    }

    fn expect(&mut self, expect: Expect) {
        if let Some(frame) = self.frames.last_mut() {
            frame.expect = expect;
        }
    }

    fn array_step(&mut self, frame: Frame) {
        match self.token.kind {
            TokenKind::Whitespace => self.advance(),
            TokenKind::Newline => self.newline(),
            TokenKind::Comment => self.comment(),
            TokenKind::Eof => self.never_closed(None),
            TokenKind::RightSquareBracket => self.close(),
            TokenKind::RightCurlyBracket => self.wrong_bracket(),
            TokenKind::Comma if frame.expect == Expect::Comma => {
                self.expect(Expect::Element);
                self.advance();
            }
            TokenKind::Comma => self.unexpected("expected an element of the array, found `,`"),
            TokenKind::Equals => self.unexpected("`=` stands in an array"),
            _ => {
                if frame.expect == Expect::Comma && self.missing_comma("elements") {
                    return;
                }
                self.expect(Expect::Comma);
                self.value_start(Slot::Element, frame.depth);
            }
        }
    }

    fn table_step(&mut self, frame: Frame, table: TableId, inside: Slot, key_depth: usize) {
        match (self.token.kind, frame.expect) {
            (TokenKind::Whitespace, _) => self.advance(),
            (TokenKind::Newline, _) => self.newline(),
            (TokenKind::Comment, _) => self.comment(),
            (TokenKind::Eof, _) => self.never_closed(None),
            (TokenKind::RightSquareBracket, _) => self.wrong_bracket(),
            (TokenKind::RightCurlyBracket, expect) => {
                if matches!(expect, Expect::Equals | Expect::Value) {
                    let error = SyntaxError::new(self.token_span(), "the last key has no value");
                    self.report(error.help("write `key = value`"));
                }
                self.close();
            }
            (TokenKind::Comma, Expect::Comma) => {
                self.expect(Expect::Key);
                self.advance();
            }
            (TokenKind::Comma, Expect::Key) => {
                self.unexpected("expected a key, found `,`");
            }
            (TokenKind::Comma, _) => {
                self.unexpected("expected a value, found `,`");
                self.expect(Expect::Key);
            }
            (TokenKind::Equals, Expect::Equals) => {
                self.expect(Expect::Value);
                self.advance();
            }
            (TokenKind::Equals, _) => self.unexpected("expected a key, found `=`"),
            (TokenKind::LeftCurlyBracket, Expect::Key | Expect::Comma) if self.in_array() => {
                let error = self.unclosed_error(frame);
                self.report(error.also(self.token_span(), "another table begins here"));
                self.close_at(self.token.start);
                self.expect(Expect::Element);
            }
            (_, Expect::Value) => {
                self.expect(Expect::Comma);
                self.value_start(inside, key_depth);
            }
            (_, Expect::Equals) => self.unexpected("expected `=`"),
            (_, Expect::Comma) => {
                if !self.missing_comma("entries") {
                    self.expect(Expect::Key);
                }
            }
            (_, _) => {
                let before = self.token.start;
                if self.token.kind == TokenKind::LeftSquareBracket && self.is_way_back() {
                    self.never_closed(Some(self.line_start));
                    return;
                }
                let readable = self.key(MAX_DEPTH - frame.depth);
                let depth = frame.depth + self.parts.len();
                let slot = if readable {
                    self.resolve(table, Path::Inline)
                } else {
                    Slot::Nowhere
                };
                if let Some(Frame {
                    expect,
                    kind:
                        FrameKind::Table {
                            inside, key_depth, ..
                        },
                    ..
                }) = self.frames.last_mut()
                {
                    *inside = slot;
                    *key_depth = depth;
                    *expect = if readable {
                        Expect::Equals
                    } else {
                        Expect::Key
                    };
                }
                // An unreadable key must not be read for ever.
                if !readable && self.token.start == before {
                    self.skip_in_brackets();
                }
            }
        }
    }

    /// Whether the innermost bracket lies directly in an array.
    fn in_array(&self) -> bool {
        let outer = self.frames.iter().rev().nth(1);
        outer.is_some_and(|frame| matches!(frame.kind, FrameKind::Array { .. }))
    }

    /// A token that cannot stand here: reported and left out.
    fn unexpected(&mut self, message: &str) {
        let error = SyntaxError::new(self.token_span(), message);
        if !self.report_inside(error) {
            self.skip_in_brackets();
        }
    }

    /// `true` where it was not a comma but a closing bracket that is missing.
    fn missing_comma(&mut self, between: &str) -> bool {
        let at = self.span(self.token.start, self.token.start);
        let mut error = SyntaxError::new(at, format!("a comma is missing between the {between}"));
        if self.follows_quote() {
            error.message = format!("expected a comma, found {}", self.token_words());
            error.span = self.token_span();
            error.help =
                Some("the string ends before it; is one of its quotes missing?".to_owned());
        }
        self.report_inside(error)
    }

    /// The innermost bracket is closed by the current token.
    pub(super) fn close(&mut self) {
        self.close_at(self.token.end);
        self.advance();
    }

    pub(super) fn close_at(&mut self, end: usize) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let span = self.span(frame.open, end);
        let value = match frame.kind {
            FrameKind::Array { first } => {
                let start = self.document.elements.len() as u32;
                self.document.elements.extend(self.pending.drain(first..));
                let len = self.document.elements.len() as u32 - start;
                Value::Array { start, len }
            }
            FrameKind::Table { table, .. } => {
                self.document.table_mut(table).span = span;
                Value::Table(table)
            }
        };
        let node = self.document.new_node(value, span);
        self.store(frame.slot, node);
    }
}
