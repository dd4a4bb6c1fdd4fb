//! The way back after an error: what is left out, and where reading goes on.
//!
//! Nothing here runs on a valid document.

use toml_parser::lexer::TokenKind;

use super::{Frame, FrameKind, MAX_REREADS, Parser};
use crate::spec::document::SyntaxError;
use crate::spec::document::lexer::Token;
use crate::spec::document::recovery::{self, LineStart};

impl Parser<'_> {
    /// Leaves the line, after an error.
    pub(super) fn skip_line(&mut self) {
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
    pub(super) fn skip_multi_line(&mut self) {
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

    /// Leaves a bracket that lies too deep, and all within. The brackets are only counted.
    pub(super) fn skip_brackets(&mut self) {
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

    /// Leaves one wrong token in brackets.
    pub(super) fn skip_in_brackets(&mut self) {
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

    /// Reports an error inside a value, unless the line it stands on shows that a bracket above
    /// was never closed. `true` in that case: the statement was left.
    pub(super) fn report_inside(&mut self, error: SyntaxError) -> bool {
        if !self.frames.is_empty() && self.is_way_back() {
            self.never_closed(Some(self.line_start));
            return true;
        }
        self.report(error);
        false
    }

    /// Whether the current line, seen after an error, begins a new statement. `O(1)` but for the
    /// first time on each line.
    pub(super) fn is_way_back(&mut self) -> bool {
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
    pub(super) fn never_closed(&mut self, line: Option<usize>) {
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

    pub(super) fn unclosed_error(&self, frame: Frame) -> SyntaxError {
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
    pub(super) fn abandon(&mut self, end: usize) {
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
    pub(super) fn wrong_bracket(&mut self) {
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
}
