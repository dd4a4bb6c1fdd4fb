//! Tokens → tree, statement by statement, with an explicit stack for brackets.
//!
//! The grammar is that of `toml_parser::parser`, which recurses, reports several errors for one
//! fault and cannot be told where a new statement begins; only its tokens are used.

use std::sync::Arc;

use toml_parser::decoder::Encoding;
use toml_parser::lexer::TokenKind;

use super::lexer::{Lexer, Token};
use super::recovery::{self, LineStart};
use super::scalar::{self, Source};
use super::tables::{Growing, KeyPart, Path};
use super::{Document, MAX_DEPTH, NodeId, ROOT, SyntaxError, TableId, Value};
use crate::source::{FileId, Span};

/// More errors than this are counted, not shown.
const MAX_ERRORS: usize = 100;

/// After more multi-line strings without an end than this, the rest of the text is not read.
const MAX_REREADS: usize = 16;

/// See [`Document::parse`].
pub(super) fn parse(text: &Arc<str>, file: FileId) -> (Document, Vec<SyntaxError>) {
    let mut parser = Parser::new(text, file);
    parser.statements();
    parser.finish()
}

/// Where a finished value goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    Entry(TableId, KeyPart),
    Element,
    /// Its key was refused.
    Nowhere,
}

/// What an open bracket waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// An element or `]`.
    Element,
    /// A key or `}`.
    Key,
    /// `=`, for the key in [`Frame::slot_inside`].
    Equals,
    /// The value behind `=`.
    Value,
    /// `,` or the closing bracket.
    Comma,
}

/// An open bracket.
#[derive(Debug, Clone, Copy)]
struct Frame {
    open: usize,
    expect: Expect,
    depth: usize,
    /// Where the array or table goes when it is closed.
    slot: Slot,
    kind: FrameKind,
}

#[derive(Debug, Clone, Copy)]
enum FrameKind {
    /// The elements so far are [`Parser::pending`] from here.
    Array { first: usize },
    /// `inside` is where the value of the current key goes, `key_depth` its depth.
    Table {
        table: TableId,
        inside: Slot,
        key_depth: usize,
    },
}

pub(super) struct Parser<'a> {
    pub(super) source: Source<'a>,
    lexer: Lexer<'a>,
    pub(super) token: Token,
    /// Offset of the line that `token` is on.
    line_start: usize,
    /// Offset of the line that the statement began on.
    statement: usize,
    pub(super) document: Document,
    growing: Growing,
    current: TableId,
    current_depth: usize,
    frames: Vec<Frame>,
    pending: Vec<NodeId>,
    pub(super) parts: Vec<KeyPart>,
    pub(super) errors: Vec<SyntaxError>,
    unshown: usize,
    /// The statement has an error already; what follows from it is not said.
    broken: bool,
    /// The last line that was looked at for a way back.
    examined: Option<usize>,
    /// The statement was left for the one that begins at `token`.
    resumed: bool,
    /// How many unclosed multi-line strings were left.
    rereads: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a Arc<str>, file: FileId) -> Parser<'a> {
        let mut document = Document::empty(Arc::clone(text), file);
        // A specification has about one entry in 20 bytes; pages that stay untouched cost nothing.
        document.nodes.reserve(text.len() / 20);
        document.entries.reserve(text.len() / 20);
        let mut lexer = Lexer::new(text);
        let token = lexer.next();
        Parser {
            source: Source { text, file },
            lexer,
            token,
            line_start: 0,
            statement: 0,
            document,
            growing: Vec::new(),
            current: ROOT,
            current_depth: 0,
            frames: Vec::new(),
            pending: Vec::new(),
            parts: Vec::new(),
            errors: Vec::new(),
            unshown: 0,
            broken: false,
            examined: None,
            resumed: false,
            rereads: 0,
        }
    }

    /// Settles the arrays of tables and the errors.
    pub(super) fn finish(mut self) -> (Document, Vec<SyntaxError>) {
        for (node, elements) in self.growing {
            let start = self.document.elements.len() as u32;
            let len = elements.len() as u32;
            self.document.elements.extend(elements);
            if let Some(node) = self.document.nodes.get_mut(node.0 as usize) {
                node.value = Value::Array { start, len };
            }
        }
        if self.unshown > 0
            && let Some(last) = self.errors.last_mut()
        {
            let more = format!("{} further errors are not shown", self.unshown);
            last.help = Some(match last.help.take() {
                Some(help) => format!("{help}; {more}"),
                None => more,
            });
        }
        (self.document, self.errors)
    }

    pub(super) fn advance(&mut self) {
        self.token = self.lexer.next();
    }

    /// Goes on at `offset`, a line start.
    fn resume(&mut self, offset: usize) {
        self.line_start = offset;
        self.lexer.seek(offset);
        self.resumed = true;
        self.advance();
    }

    pub(super) fn skip_whitespace(&mut self) {
        while self.token.kind == TokenKind::Whitespace {
            self.advance();
        }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        self.source.span(start, end)
    }

    fn token_span(&self) -> Span {
        // A newline is not worth underlining; the place before it is.
        match self.token.kind {
            TokenKind::Newline => self.span(self.token.start, self.token.start),
            _ => self.span(self.token.start, self.token.end),
        }
    }

    fn token_text(&self) -> &'a str {
        self.source.slice(self.token.start, self.token.end)
    }

    /// The token for a sentence: 'expected a value, found …'.
    fn token_words(&self) -> String {
        match self.token.kind {
            TokenKind::Eof => "the end of the file".to_owned(),
            TokenKind::Newline => "the end of the line".to_owned(),
            TokenKind::Comment => "a comment".to_owned(),
            _ => format!("`{}`", scalar::shorten(self.token_text())),
        }
    }

    /// Reports an error, unless the statement has one already.
    pub(super) fn report(&mut self, error: SyntaxError) {
        if std::mem::replace(&mut self.broken, true) {
            return;
        }
        self.report_always(error);
    }

    fn report_always(&mut self, error: SyntaxError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        } else {
            self.unshown += 1;
        }
    }

    fn statements(&mut self) {
        loop {
            match self.token.kind {
                TokenKind::Whitespace => self.advance(),
                TokenKind::Newline => self.newline(),
                TokenKind::Comment => self.comment(),
                TokenKind::Eof => return,
                TokenKind::LeftSquareBracket => {
                    self.begin_statement();
                    self.header();
                }
                _ => {
                    self.begin_statement();
                    self.assignment();
                }
            }
        }
    }

    fn begin_statement(&mut self) {
        self.statement = self.line_start;
        self.broken = false;
        self.resumed = false;
    }

    fn newline(&mut self) {
        if self.token_text() == "\r" {
            let error = SyntaxError::new(self.token_span(), "a carriage return stands alone");
            self.report_always(
                error.help("end lines with a line feed, or a carriage return and a line feed"),
            );
        }
        self.line_start = self.token.end;
        self.advance();
    }

    fn comment(&mut self) {
        let Token { start, end, .. } = self.token;
        self.document.comments.push(self.span(start, end));
        let control = |c: char| c.is_ascii_control() && c != '\t';
        if let Some(at) = self.token_text().find(control) {
            let span = self.span(start + at, start + at + 1);
            self.report_always(
                SyntaxError::new(span, "a control character stands in a comment").help("remove it"),
            );
        }
        self.advance();
    }

    /// What may follow a statement on its line: spaces and a comment.
    fn end_of_line(&mut self) {
        if self.resumed {
            return;
        }
        self.skip_whitespace();
        match self.token.kind {
            TokenKind::Newline => self.newline(),
            TokenKind::Comment => self.comment(),
            TokenKind::Eof => {}
            _ => {
                let found = self.token_words();
                let mut error = SyntaxError::new(
                    self.token_span(),
                    format!("expected the end of the line, found {found}"),
                );
                error = match self.token.kind {
                    TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                        error.help("this bracket closes nothing: remove it")
                    }
                    _ if self.follows_quote() => error.help(
                        "the string ends before it; to have a quote in a string, write `\\\"`",
                    ),
                    _ => error.help("write each `key = value` on a line of its own"),
                };
                self.report(error);
                self.skip_line();
            }
        }
    }

    /// What may follow the last statement: nothing but spaces, comments and empty lines.
    pub(super) fn end(&mut self) {
        self.end_of_line();
        while let TokenKind::Whitespace | TokenKind::Newline = self.token.kind {
            self.advance();
        }
        if self.token.kind != TokenKind::Eof {
            let error = SyntaxError::new(self.token_span(), "expected the end of the assignment");
            self.report(error.help("assign one value at a time"));
        }
    }

    /// Whether the token touches the string before it: often that string ended too early.
    fn follows_quote(&self) -> bool {
        let before = self.source.text.get(..self.token.start);
        before.is_some_and(|before| before.ends_with(['"', '\'']))
    }

    /// Leaves the line, after an error.
    fn skip_line(&mut self) {
        while !self.resumed {
            match self.token.kind {
                TokenKind::Newline | TokenKind::Eof => return,
                TokenKind::Comment => self.comment(),
                TokenKind::MlBasicString | TokenKind::MlLiteralString => self.skip_multi_line(),
                _ => self.advance(),
            }
        }
    }

    /// Leaves a multi-line string that is wrong or misplaced. One that is never closed has
    /// swallowed the rest of the text, which is read again from the next header.
    fn skip_multi_line(&mut self) {
        let Token { start, end, .. } = self.token;
        let text = self.token_text();
        let closed = text.len() >= 6 && text.ends_with(text.get(..3).unwrap_or(""));
        if end < self.source.text.len() || closed {
            self.advance();
            return;
        }
        // Each of these may read the rest of the text again, so there are only so many.
        self.rereads += 1;
        match recovery::next_header(self.source.text, start) {
            Some(header) if self.rereads <= MAX_REREADS => self.resume(header),
            _ => self.advance(),
        }
    }

    /// `[key]` or `[[key]]`.
    fn header(&mut self) {
        let open = self.token.start;
        self.advance();
        let is_array = self.token.kind == TokenKind::LeftSquareBracket;
        if is_array {
            self.advance();
        }
        let close = if is_array { "]]" } else { "]" };
        let readable = self.key(MAX_DEPTH);
        let key_end = self.parts.last().map_or(open, |part| part.span.range().end);
        let mut end = key_end;
        let mut closed = false;
        if readable {
            let wanted = close.len();
            let mut found = 0;
            while found < wanted && self.token.kind == TokenKind::RightSquareBracket {
                end = self.token.end;
                found += 1;
                self.advance();
            }
            closed = found == wanted;
            if !closed {
                let error =
                    SyntaxError::new(self.span(open, end), "this table header is never closed");
                self.report(error.help(format!("end it with `{close}`")));
            }
        }
        let parts = std::mem::take(&mut self.parts);
        let span = self.span(open, end);
        let entered = if readable {
            self.document
                .enter(&mut self.growing, &parts, is_array, span)
        } else {
            Ok(self.document.new_table(span))
        };
        self.current_depth = parts.len();
        self.parts = parts;
        self.current = match entered {
            Ok(table) => table,
            Err(error) => {
                self.report(error);
                // Its keys go to a table that nobody sees: they would be duplicates, too.
                self.document.new_table(span)
            }
        };
        if closed {
            self.end_of_line();
        } else {
            self.skip_line();
        }
    }

    /// `key = value`.
    fn assignment(&mut self) {
        let limit = MAX_DEPTH.saturating_sub(self.current_depth);
        if !self.key(limit) || !self.equals() {
            self.skip_line();
            return;
        }
        let slot = self.resolve(self.current, Path::Dotted);
        let depth = self.current_depth + self.parts.len();
        self.value(slot, depth);
        self.end_of_line();
    }

    /// Finds where the value of the key in `parts` goes.
    pub(super) fn resolve(&mut self, table: TableId, path: Path) -> Slot {
        let Some((&last, parents)) = self.parts.split_last() else {
            return Slot::Nowhere;
        };
        let document = &mut self.document;
        let found = if parents.is_empty() {
            Ok(table)
        } else {
            document.descend(&self.growing, table, parents, path)
        };
        let found = found.and_then(|table| document.check_new(table, &last).map(|()| table));
        match found {
            Ok(table) => Slot::Entry(table, last),
            Err(error) => {
                self.report(error);
                Slot::Nowhere
            }
        }
    }

    /// The `=` behind a key.
    pub(super) fn equals(&mut self) -> bool {
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
    pub(super) fn key(&mut self, limit: usize) -> bool {
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

    /// A value behind `=`, with all that lies in its brackets.
    pub(super) fn value(&mut self, slot: Slot, depth: usize) {
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

    /// Leaves a bracket that lies too deep, and all within. The brackets are only counted.
    fn skip_brackets(&mut self) {
        let mut open = 0usize;
        loop {
            match self.token.kind {
                TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => open += 1,
                TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => open -= 1,
                TokenKind::Newline => {
                    self.newline();
                    if recovery::line_start(self.source.text, self.line_start) == LineStart::Header
                    {
                        self.abandon(self.line_start);
                        self.resume(self.line_start);
                        return;
                    }
                    continue;
                }
                TokenKind::Comment => {
                    self.comment();
                    continue;
                }
                TokenKind::Eof => return,
                _ => {}
            }
            self.advance();
            if open == 0 {
                return;
            }
        }
    }

    pub(super) fn store(&mut self, slot: Slot, node: NodeId) {
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

    /// Leaves one wrong token in brackets.
    fn skip_in_brackets(&mut self) {
        match self.token.kind {
            TokenKind::MlBasicString | TokenKind::MlLiteralString => {
                let end = self.token.end;
                self.skip_multi_line();
                if self.resumed {
                    self.abandon(end);
                }
            }
            TokenKind::Eof => {}
            _ => self.advance(),
        }
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

    /// Reports an error inside a value, unless the line it stands on shows that a bracket above
    /// was never closed. `true` in that case: the statement was left.
    fn report_inside(&mut self, error: SyntaxError) -> bool {
        if !self.frames.is_empty() && self.is_way_back() {
            self.never_closed(Some(self.line_start));
            return true;
        }
        self.report(error);
        false
    }

    /// Whether the current line, seen after an error, begins a new statement. `O(1)` but for the
    /// first time on each line.
    fn is_way_back(&mut self) -> bool {
        let line = self.line_start;
        if line <= self.statement || self.examined == Some(line) {
            return false;
        }
        let Some(innermost) = self.frames.iter().rev().find(|frame| frame.open < line) else {
            return false;
        };
        let way_back = match recovery::line_start(self.source.text, line) {
            LineStart::Header => true,
            LineStart::Assignment { indent } => match innermost.kind {
                FrameKind::Array { .. } => true,
                // It may as well be the next key of the table, if it is indented like one.
                FrameKind::Table { .. } => indent <= self.indent(),
            },
            LineStart::Other => false,
        };
        if !way_back {
            self.examined = Some(line);
        }
        way_back
    }

    /// Number of spaces before the statement.
    fn indent(&self) -> usize {
        let line = self.source.text.get(self.statement..).unwrap_or("");
        line.len() - line.trim_start_matches([' ', '\t']).len()
    }

    /// The innermost bracket opened before `line` (or before the end of the text) is never
    /// closed: says so, and goes on with that line.
    fn never_closed(&mut self, line: Option<usize>) {
        let before = line.unwrap_or(self.source.text.len());
        if let Some(frame) = self.frames.iter().rev().find(|frame| frame.open < before) {
            let error = self.unclosed_error(*frame);
            let error = match line {
                Some(line) => {
                    let rest = self.source.text.get(line..).unwrap_or("");
                    let text = rest.lines().next().unwrap_or("").trim_end();
                    let indent = text.len() - text.trim_start().len();
                    error.also(
                        self.span(line + indent, line + text.len()),
                        "something new begins here",
                    )
                }
                None => error,
            };
            self.report(error);
        }
        self.abandon(before);
        if let Some(line) = line {
            self.resume(line);
        }
    }

    fn unclosed_error(&self, frame: Frame) -> SyntaxError {
        let span = self.span(frame.open, frame.open + 1);
        match frame.kind {
            FrameKind::Array { .. } => {
                SyntaxError::new(span, "this array is never closed").help("end it with `]`")
            }
            FrameKind::Table { .. } => {
                SyntaxError::new(span, "this inline table is never closed").help("end it with `}`")
            }
        }
    }

    /// Closes all brackets at `end`; what they hold so far stays in the tree. Brackets behind
    /// `end` were no brackets of a value.
    fn abandon(&mut self, end: usize) {
        while let Some(frame) = self.frames.last().copied() {
            if frame.open < end {
                self.close_at(end);
                continue;
            }
            self.frames.pop();
            if let FrameKind::Array { first } = frame.kind {
                self.pending.truncate(first);
            }
        }
    }

    /// A bracket of the other kind: that which should have come first was forgotten, or this one
    /// is too many.
    fn wrong_bracket(&mut self) {
        let closes_table = self.token.kind == TokenKind::RightCurlyBracket;
        let matches = |frame: &Frame| matches!(frame.kind, FrameKind::Table { .. }) == closes_table;
        if !self.frames.iter().any(matches) {
            let error = SyntaxError::new(
                self.token_span(),
                format!("{} closes nothing", self.token_words()),
            );
            self.report(error.help("remove it"));
            self.advance();
            return;
        }
        while let Some(frame) = self.frames.last().copied().filter(|frame| !matches(frame)) {
            let error = self.unclosed_error(frame).also(
                self.token_span(),
                format!("{} closes what is around it", self.token_words()),
            );
            self.report(error);
            self.close_at(self.token.start);
        }
        self.close();
    }

    /// The innermost bracket is closed by the current token.
    fn close(&mut self) {
        self.close_at(self.token.end);
        self.advance();
    }

    fn close_at(&mut self, end: usize) {
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

fn too_deep(span: Span) -> SyntaxError {
    SyntaxError::new(
        span,
        format!("this is nested deeper than {MAX_DEPTH} levels"),
    )
    .help("flatten it")
}
