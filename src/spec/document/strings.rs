//! The strings of a document, and the way back from a decoded string to the source.

use std::ops::Range;
use std::sync::Arc;

use toml_parser::decoder::StringBuilder;

use super::NONE;
use crate::source::{FileId, Span};

/// A string: a byte range of a source text or of the decoded strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text {
    /// Number of the source text, or [`NONE`] for the decoded strings.
    pub(super) source: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Text {
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// From here to the next piece, decoded bytes come from the source bytes at `source_start`.
#[derive(Debug, Clone, Copy)]
struct Piece {
    decoded_start: u32,
    source_start: u32,
    /// Number of the source text.
    source: u32,
    /// Whether the bytes stand in the source as they are; else the piece is one escape sequence.
    verbatim: bool,
}

/// Source texts, and the strings that had to be decoded.
#[derive(Debug, Clone)]
pub(super) struct Strings {
    sources: Vec<(FileId, Arc<str>)>,
    /// All decoded strings one after another, each followed by a line feed, so that the end of
    /// one is not the start of the next.
    decoded: String,
    /// The pieces of all decoded strings in order. The last piece of each is empty and stands at
    /// the line feed: the end of the string.
    pieces: Vec<Piece>,
}

impl Strings {
    pub(super) fn new(text: Arc<str>, file: FileId) -> Strings {
        Strings {
            sources: vec![(file, text)],
            decoded: String::new(),
            pieces: Vec::new(),
        }
    }

    pub(super) fn get(&self, text: Text) -> &str {
        let buffer: &str = match self.sources.get(text.source as usize) {
            Some((_, source)) => source,
            None => &self.decoded,
        };
        buffer
            .get(text.start as usize..text.end as usize)
            .unwrap_or("")
    }

    pub(super) fn file_text(&self, file: FileId) -> &str {
        self.sources
            .iter()
            .find(|(other, _)| *other == file)
            .map_or("", |(_, text)| text)
    }

    /// The source text that a span covers; empty for a foreign span.
    pub(super) fn source_text(&self, span: Span) -> &str {
        self.sources
            .iter()
            .find(|(file, _)| *file == span.file)
            .and_then(|(_, text)| text.get(span.range()))
            .unwrap_or("")
    }

    /// Where the bytes `range` of the string were written. Empty ranges stand before the byte.
    pub(super) fn position(&self, text: Text, range: Range<usize>) -> Span {
        let clamp = |offset: usize| text.start + offset.min(text.len()) as u32;
        let (start, end) = (clamp(range.start), clamp(range.end.max(range.start)));
        if let Some(&(file, _)) = self.sources.get(text.source as usize) {
            return Span::new(file, start as usize, end as usize);
        }
        let (file, from) = self.source_of(start, false);
        let to = if end > start {
            self.source_of(end - 1, true).1
        } else {
            from
        };
        Span::new(file, from, to)
    }

    /// The source offset of the decoded byte, or that one past it.
    fn source_of(&self, decoded: u32, past: bool) -> (FileId, usize) {
        let next = self
            .pieces
            .partition_point(|piece| piece.decoded_start <= decoded);
        let Some(piece) = next.checked_sub(1).and_then(|at| self.pieces.get(at)) else {
            return (FileId::default(), 0);
        };
        let file = self
            .sources
            .get(piece.source as usize)
            .map_or(FileId::default(), |(file, _)| *file);
        let offset = if piece.verbatim {
            piece.source_start + (decoded - piece.decoded_start) + u32::from(past)
        } else if past {
            self.pieces
                .get(next)
                .map_or(piece.source_start, |following| following.source_start)
        } else {
            piece.source_start
        };
        (file, offset as usize)
    }

    /// Starts a string of the first source; `text` is that source, whole.
    pub(super) fn decoder<'a>(&mut self, text: &'a str) -> Decoder<'a, '_> {
        Decoder {
            text,
            begin: self.decoded.len() as u32,
            first_piece: self.pieces.len(),
            cursor: 0,
            strings: self,
        }
    }

    /// Number of decoded bytes.
    pub(super) fn decoded_len(&self) -> usize {
        self.decoded.len()
    }

    /// Takes over the strings of another document; returns what its [`Text`]s must be shifted by.
    pub(super) fn absorb(&mut self, other: Strings) -> TextShift {
        let shift = TextShift {
            sources: self.sources.len() as u32,
            decoded: self.decoded.len() as u32,
        };
        self.sources.extend(other.sources);
        self.decoded.push_str(&other.decoded);
        self.pieces
            .extend(other.pieces.into_iter().map(|piece| Piece {
                decoded_start: piece.decoded_start + shift.decoded,
                source: piece.source + shift.sources,
                ..piece
            }));
        shift
    }
}

/// How the strings of an absorbed document moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextShift {
    sources: u32,
    decoded: u32,
}

impl TextShift {
    pub(super) fn apply(self, text: Text) -> Text {
        if text.source == NONE {
            return Text {
                source: NONE,
                start: text.start + self.decoded,
                end: text.end + self.decoded,
            };
        }
        Text {
            source: text.source + self.sources,
            ..text
        }
    }
}

/// Receives a string piece by piece from `toml_parser` and notes where each piece came from.
///
/// Unescaped runs arrive as slices of the source, also empty ones after every escape: their
/// address tells the offset.
pub(super) struct Decoder<'a, 's> {
    text: &'a str,
    begin: u32,
    first_piece: usize,
    /// Source offset one past what was received.
    cursor: u32,
    strings: &'s mut Strings,
}

impl Decoder<'_, '_> {
    /// The string; `close` is the source offset of the closing quote.
    pub(super) fn finish(self, close: usize) -> Text {
        let strings = self.strings;
        let end = strings.decoded.len() as u32;
        let pieces = strings.pieces.get(self.first_piece..).unwrap_or(&[]);
        // One unbroken run needs no copy, and neither does an empty string.
        if let [] | [Piece { verbatim: true, .. }] = pieces {
            let start = pieces.first().map_or(close as u32, |run| run.source_start);
            strings.pieces.truncate(self.first_piece);
            strings.decoded.truncate(self.begin as usize);
            return Text {
                source: 0,
                start,
                end: start + (end - self.begin),
            };
        }
        strings.pieces.push(Piece {
            decoded_start: end,
            source_start: close as u32,
            source: 0,
            verbatim: true,
        });
        strings.decoded.push('\n');
        Text {
            source: NONE,
            start: self.begin,
            end,
        }
    }

    fn piece(&mut self, source_start: u32, verbatim: bool) {
        self.strings.pieces.push(Piece {
            decoded_start: self.strings.decoded.len() as u32,
            source_start,
            source: 0,
            verbatim,
        });
    }
}

impl<'a> StringBuilder<'a> for Decoder<'a, '_> {
    fn clear(&mut self) {
        self.strings.decoded.truncate(self.begin as usize);
        self.strings.pieces.truncate(self.first_piece);
    }

    fn push_str(&mut self, run: &'a str) -> bool {
        let offset = (run.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        if offset <= self.text.len() {
            self.cursor = offset as u32;
        }
        let decoded_end = self.strings.decoded.len() as u32;
        let own_pieces = self.strings.pieces.get(self.first_piece..).unwrap_or(&[]);
        let joins = match own_pieces.last() {
            // A run in two halves is one piece; an empty run tells where an escape ended.
            Some(last) if last.verbatim => {
                run.is_empty()
                    || last.source_start + (decoded_end - last.decoded_start) == self.cursor
            }
            Some(_) => false,
            None => run.is_empty(),
        };
        if !joins {
            self.piece(self.cursor, true);
        }
        self.strings.decoded.push_str(run);
        self.cursor += run.len() as u32;
        true
    }

    fn push_char(&mut self, escaped: char) -> bool {
        self.piece(self.cursor, false);
        self.strings.decoded.push(escaped);
        true
    }
}
