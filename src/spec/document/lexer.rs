//! Text → tokens, exactly those of `toml_parser::lexer`, at several times its speed.
//!
//! A test holds the two against each other. Like that lexer, this one knows no errors: an
//! unclosed string ends at the end of its line or of the text.

use toml_parser::lexer::TokenKind;

use super::scalar::PLAIN;

/// A token and the bytes that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// A closed one-line basic string of which every byte means itself.
    pub(super) plain: bool,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Whether a byte ends a run of other characters. Quotes do not: an opening one may be missing.
const ENDS_ATOM: [bool; 256] = {
    let mut ends = [false; 256];
    let mut at = 0;
    let all = b".=,[]{} \t#\r\n";
    while at < all.len() {
        ends[all[at] as usize] = true;
        at += 1;
    }
    ends
};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Gives the tokens of a text one after another; at its end, [`TokenKind::Eof`] for ever.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        let bytes = text.as_bytes();
        let at = match bytes.starts_with(BYTE_ORDER_MARK) {
            true => BYTE_ORDER_MARK.len(),
            false => 0,
        };
        Lexer { bytes, at }
    }

    /// Goes on at `offset`, which lies between two characters.
    pub(super) fn seek(&mut self, offset: usize) {
        self.at = offset;
    }

    #[inline]
    pub(super) fn next(&mut self) -> Token {
        let start = self.at;
        let mut plain = false;
        let (kind, end) = match self.byte(start) {
            None => (TokenKind::Eof, start),
            Some(b'.') => (TokenKind::Dot, start + 1),
            Some(b'=') => (TokenKind::Equals, start + 1),
            Some(b',') => (TokenKind::Comma, start + 1),
            Some(b'[') => (TokenKind::LeftSquareBracket, start + 1),
            Some(b']') => (TokenKind::RightSquareBracket, start + 1),
            Some(b'{') => (TokenKind::LeftCurlyBracket, start + 1),
            Some(b'}') => (TokenKind::RightCurlyBracket, start + 1),
            Some(b'\n') => (TokenKind::Newline, start + 1),
            Some(b'\r') => {
                let pair = self.byte(start + 1) == Some(b'\n');
                (TokenKind::Newline, start + 1 + usize::from(pair))
            }
            Some(b' ' | b'\t') => {
                let end = self.skip_while(start + 1, |byte| matches!(byte, b' ' | b'\t'));
                (TokenKind::Whitespace, end)
            }
            Some(b'#') => {
                let end = self.skip_while(start + 1, |byte| !matches!(byte, b'\n' | b'\r'));
                (TokenKind::Comment, end)
            }
            Some(b'"') => {
                let end = self.skip_while(start + 1, |byte| PLAIN[byte as usize]);
                if self.byte(end) == Some(b'"') && (end > start + 1 || !self.triple(start)) {
                    plain = true;
                    (TokenKind::BasicString, end + 1)
                } else {
                    self.basic_string(start)
                }
            }
            Some(b'\'') => self.literal_string(start),
            Some(_) => {
                let end = self.skip_while(start + 1, |byte| !ENDS_ATOM[byte as usize]);
                (TokenKind::Atom, end)
            }
        };
        self.at = end;
        Token {
            kind,
            plain,
            start,
            end,
        }
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    #[inline]
    fn skip_while(&self, from: usize, keep: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(from..).unwrap_or(&[]);
        let length = rest.iter().position(|&byte| !keep(byte));
        from + length.unwrap_or(rest.len())
    }

    /// Whether three of the byte at `at` stand there.
    fn triple(&self, at: usize) -> bool {
        matches!(self.bytes.get(at..at + 3), Some([a, b, c]) if a == b && b == c)
    }

    fn basic_string(&self, start: usize) -> (TokenKind, usize) {
        let multi_line = self.triple(start);
        let mut at = start + if multi_line { 3 } else { 1 };
        loop {
            at = self.skip_while(at, |byte| match byte {
                b'"' | b'\\' => false,
                b'\n' => multi_line,
                _ => true,
            });
            match self.byte(at) {
                Some(b'\\') => {
                    let pair = matches!(self.byte(at + 1), Some(b'\\' | b'"'));
                    at += 1 + usize::from(pair);
                }
                Some(b'"') if !multi_line => return (TokenKind::BasicString, at + 1),
                Some(b'"') if self.triple(at) => {
                    return (TokenKind::MlBasicString, self.after_delimiter(at, b'"'));
                }
                Some(b'"') => at += 1,
                _ if multi_line => return (TokenKind::MlBasicString, at),
                _ => return (TokenKind::BasicString, at),
            }
        }
    }

    fn literal_string(&self, start: usize) -> (TokenKind, usize) {
        if !self.triple(start) {
            let end = self.skip_while(start + 1, |byte| !matches!(byte, b'\'' | b'\n'));
            let closed = self.byte(end) == Some(b'\'');
            return (TokenKind::LiteralString, end + usize::from(closed));
        }
        let mut at = start + 3;
        loop {
            at = self.skip_while(at, |byte| byte != b'\'');
            match self.byte(at) {
                None => return (TokenKind::MlLiteralString, at),
                Some(_) if self.triple(at) => {
                    return (TokenKind::MlLiteralString, self.after_delimiter(at, b'\''));
                }
                Some(_) => at += 1,
            }
        }
    }

    /// The end of a closing delimiter; up to two quotes before it belong to the string.
    fn after_delimiter(&self, at: usize, quote: u8) -> usize {
        let mut end = at + 3;
        while end < at + 5 && self.byte(end) == Some(quote) {
            end += 1;
        }
        end
    }
}
