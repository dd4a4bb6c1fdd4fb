//! Tokens → tree, statement by statement, with an explicit stack for brackets.
//!
//! The grammar is that of `toml_parser::parser`. That parser is not used, because it recurses,
//! reports several errors for one fault and lets an unclosed bracket swallow the rest of the text.

mod keys;
mod values;
mod way_back;

use std::sync::Arc;

use toml_parser::lexer::TokenKind;

use super::lexer::{Lexer, Token};
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
    /// `=`, for the key in [`FrameKind::Table`].
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
}

fn too_deep(span: Span) -> SyntaxError {
    SyntaxError::new(
        span,
        format!("this is nested deeper than {MAX_DEPTH} levels"),
    )
    .help("flatten it")
}
