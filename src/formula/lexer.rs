//! Text → tokens, with everything that can be said of characters and brackets alone.
//!
//! The grammar is the parser's; it is asked only where there is no error here.

mod brackets;
mod numbers;

use std::ops::Range;

use super::operators::BinaryOperator;
use super::{ERROR_LIMIT, FormulaError};
use crate::source::Span;

/// The smallest piece of a formula.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub start: u32,
    pub end: u32,
}

impl Token {
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What a token is. `+` and `-` are binary here; the parser knows where they are signs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TokenKind {
    Integer(i64),
    Real(f64),
    Boolean(bool),
    None,
    String,
    Name,
    /// What follows a dot: a name or a number.
    Attribute,
    Operator(BinaryOperator),
    Tilde,
    Not,
    If,
    Else,
    Dot,
    Comma,
    Colon,
    Ellipsis,
    /// A single `=`.
    Assign,
    Open(Bracket),
    Close(Bracket),
    /// Something faulty that was reported.
    Faulty,
    /// Behind the last token.
    End,
}

impl TokenKind {
    /// Whether an operand ends with this token, so that a dot behind it starts an attribute.
    fn ends_operand(self) -> bool {
        use TokenKind as T;
        matches!(
            self,
            T::Boolean(_) | T::None | T::String | T::Name | T::Attribute | T::Close(_) | T::Faulty
        )
    }

    /// Whether an operand may begin with this token and no operator does.
    pub fn begins_operand(self) -> bool {
        use TokenKind as T;
        matches!(
            self,
            T::Integer(_)
                | T::Real(_)
                | T::Boolean(_)
                | T::None
                | T::String
                | T::Name
                | T::Ellipsis
                | T::Open(_)
        )
    }
}

/// A kind of bracket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bracket {
    Round,
    Square,
    Curly,
}

impl Bracket {
    pub fn open(self) -> char {
        match self {
            Bracket::Round => '(',
            Bracket::Square => '[',
            Bracket::Curly => '{',
        }
    }

    pub fn close(self) -> char {
        match self {
            Bracket::Round => ')',
            Bracket::Square => ']',
            Bracket::Curly => '}',
        }
    }
}

/// Splits `text` into tokens; the last is [`TokenKind::End`] and brackets are balanced.
///
/// # Errors
/// All faulty characters, numbers, strings and brackets, in the order of the text.
pub(super) fn tokens(
    text: &str,
    map: &dyn Fn(Range<usize>) -> Span,
) -> Result<Vec<Token>, Vec<FormulaError>> {
    let mut lexer = Lexer {
        text,
        at: 0,
        tokens: Vec::with_capacity(text.len() / 2 + 2),
        errors: Vec::new(),
        brackets_unsure: false,
        map,
    };
    lexer.run();
    if !lexer.brackets_unsure {
        lexer.check_brackets();
    }
    let Lexer {
        tokens, mut errors, ..
    } = lexer;
    if errors.is_empty() {
        return Ok(tokens);
    }
    errors.sort_by_key(|&(start, _)| start);
    Err(errors
        .into_iter()
        .map(|(_, error)| error)
        .take(ERROR_LIMIT)
        .collect())
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
    /// Errors with the offset at which they start.
    errors: Vec<(usize, FormulaError)>,
    /// Whether an error swallowed text that may hold brackets.
    brackets_unsure: bool,
    map: &'a dyn Fn(Range<usize>) -> Span,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Goes past all characters that `take` accepts.
    fn skip_while(&mut self, take: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(take).len();
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        self.tokens.push(Token {
            kind,
            start: start as u32,
            end: self.at as u32,
        });
    }

    fn last(&self) -> Option<TokenKind> {
        self.tokens.last().map(|token| token.kind)
    }

    /// Reports what stands from `start` to here, and leaves a token in its place.
    fn fault(&mut self, start: usize, message: String, help: Option<String>) {
        if self.errors.len() < ERROR_LIMIT {
            let mut error = FormulaError::new(message, (self.map)(start..self.at));
            error.help = help;
            self.errors.push((start, error));
        }
        self.push(TokenKind::Faulty, start);
    }

    fn run(&mut self) {
        while let Some(first) = self.peek() {
            let start = self.at;
            match first {
                _ if first.is_whitespace() => self.skip_while(char::is_whitespace),
                '#' => self.skip_while(|c| c != '\n'),
                '\\' if self.rest()[1..].starts_with(['\n', '\r']) => self.at += 1,
                _ if self.last() == Some(TokenKind::Dot) && continues_name(first) => {
                    self.skip_while(continues_name);
                    self.push(TokenKind::Attribute, start);
                }
                '0'..='9' => self.number(start),
                '.' => self.dot(start),
                '\'' | '"' => self.string(start, first),
                _ if continues_name(first) => self.name(start),
                _ => self.symbol(start, first),
            }
        }
        self.push(TokenKind::End, self.text.len());
    }

    fn name(&mut self, start: usize) {
        self.skip_while(continues_name);
        let kind = match &self.text[start..self.at] {
            "True" | "true" => TokenKind::Boolean(true),
            "False" | "false" => TokenKind::Boolean(false),
            "None" => TokenKind::None,
            "and" => TokenKind::Operator(BinaryOperator::And),
            "or" => TokenKind::Operator(BinaryOperator::Or),
            "not" => TokenKind::Not,
            "if" => TokenKind::If,
            "else" => TokenKind::Else,
            _ => TokenKind::Name,
        };
        self.push(kind, start);
    }

    fn dot(&mut self, start: usize) {
        let bytes = self.rest().as_bytes();
        let operand_before = self.last().is_some_and(TokenKind::ends_operand);
        if !operand_before && bytes.get(1).is_some_and(u8::is_ascii_digit) {
            return self.number(start);
        }
        if bytes.starts_with(b"...") {
            self.at += 3;
            return self.push(TokenKind::Ellipsis, start);
        }
        self.at += 1;
        self.push(TokenKind::Dot, start);
    }

    fn string(&mut self, start: usize, quote: char) {
        self.at += 1;
        let mut bad_escape = None;
        loop {
            match self.peek() {
                Some(c) if c == quote => break,
                None | Some('\n') => {
                    // Where the string was meant to end is unknown, and brackets may be inside.
                    self.brackets_unsure = true;
                    let message = format!("the string has no closing `{quote}`");
                    let help = format!("add `{quote}` where the string ends");
                    return self.fault(start, message, Some(help));
                }
                Some('\\') => {
                    let escape = self.at;
                    self.at += 1;
                    if let Some(escaped) = self.peek() {
                        self.at += escaped.len_utf8();
                        if resolve_escape(escaped).is_none() {
                            bad_escape.get_or_insert(escape..self.at);
                        }
                    }
                }
                Some(c) => self.at += c.len_utf8(),
            }
        }
        self.at += 1;
        match bad_escape {
            None => self.push(TokenKind::String, start),
            Some(range) => {
                let end = std::mem::replace(&mut self.at, range.end);
                let escape = visible(&self.text[range.clone()]);
                let message = format!("`{escape}` is not an escape of strings");
                let help = r"there is \\, \', \n, \r and \t, and \ before a double quote";
                self.fault(range.start, message, Some(help.to_owned()));
                self.at = end;
            }
        }
    }

    fn symbol(&mut self, start: usize, first: char) {
        use BinaryOperator as B;
        use TokenKind as T;
        let rest = self.rest();
        for (text, help) in FOREIGN {
            if rest.starts_with(text) {
                self.at += text.len();
                let message = format!("`{text}` is not an operator of formulas");
                return self.fault(start, message, Some((*help).to_owned()));
            }
        }
        let second = rest.as_bytes().get(1).copied();
        let (kind, length) = match (first, second) {
            ('*', Some(b'*')) => (T::Operator(B::Power), 2),
            ('/', Some(b'/')) => (T::Operator(B::FloorDivide), 2),
            ('<', Some(b'=')) => (T::Operator(B::LessEqual), 2),
            ('>', Some(b'=')) => (T::Operator(B::GreaterEqual), 2),
            ('=', Some(b'=')) => (T::Operator(B::Equal), 2),
            ('!', Some(b'=')) => (T::Operator(B::NotEqual), 2),
            ('*', _) => (T::Operator(B::Multiply), 1),
            ('/', _) => (T::Operator(B::Divide), 1),
            ('<', _) => (T::Operator(B::Less), 1),
            ('>', _) => (T::Operator(B::Greater), 1),
            ('=', _) => (T::Assign, 1),
            ('+', _) => (T::Operator(B::Add), 1),
            ('-', _) => (T::Operator(B::Subtract), 1),
            ('%', _) => (T::Operator(B::Remainder), 1),
            ('@', _) => (T::Operator(B::MatrixMultiply), 1),
            ('|', _) => (T::Operator(B::BitwiseOr), 1),
            ('^', _) => (T::Operator(B::BitwiseXor), 1),
            ('&', _) => (T::Operator(B::BitwiseAnd), 1),
            ('~', _) => (T::Tilde, 1),
            (',', _) => (T::Comma, 1),
            (':', _) => (T::Colon, 1),
            ('(', _) => (T::Open(Bracket::Round), 1),
            ('[', _) => (T::Open(Bracket::Square), 1),
            ('{', _) => (T::Open(Bracket::Curly), 1),
            (')', _) => (T::Close(Bracket::Round), 1),
            (']', _) => (T::Close(Bracket::Square), 1),
            ('}', _) => (T::Close(Bracket::Curly), 1),
            _ => return self.unknown(start, first),
        };
        self.at += length;
        self.push(kind, start);
    }

    /// Reports a character that no token begins with.
    fn unknown(&mut self, start: usize, first: char) {
        if let '‘' | '’' | '“' | '”' | '«' | '»' | '„' = first {
            // Up to the next such quote it was meant as a string; reading its inside as a
            // formula would give errors that only follow from this one.
            self.at += first.len_utf8();
            let closing = |c| matches!(c, '‘' | '’' | '“' | '”' | '«' | '»');
            if let Some(length) = self.rest().find(closing) {
                self.at += length;
                self.at += self.peek().map_or(0, char::len_utf8);
            }
            let message = format!("`{first}` is a typographic quotation mark");
            let help = "write strings between plain quotes, ' or \"";
            return self.fault(start, message, Some(help.to_owned()));
        }
        self.skip_while(|c| c == first);
        let named = visible(first.encode_utf8(&mut [0; 4]));
        let message = if first.is_ascii_graphic() {
            format!("`{first}` has no meaning in a formula")
        } else {
            let code = u32::from(first);
            format!("`{named}` (U+{code:04X}) has no meaning in a formula")
        };
        let help = LOOKALIKES
            .iter()
            .find(|(characters, _)| characters.contains(first))
            .map(|(_, instead)| format!("write `{instead}`"));
        self.fault(start, message, help);
    }
}

/// Operators of other languages, with what to write instead.
const FOREIGN: &[(&str, &str)] = &[
    ("&&", "write `and`, or `&` to combine tensors of booleans"),
    ("||", "write `or`, or `|` to combine tensors of booleans"),
    ("<<", "write `* 2 ** n`"),
    (">>", "write `// 2 ** n`"),
    ("<>", "write `!=`"),
    (
        ":=",
        "a formula names nothing; repeat the expression, or make it a formula of its own",
    ),
    (
        "->",
        "a formula has no arrows; einsum takes its equation as a string",
    ),
];

/// Characters that are typed or pasted for others, with what to write instead.
const LOOKALIKES: &[(&str, &str)] = &[
    ("×·⋅∗⊙•", "*"),
    ("÷∕", "/"),
    ("−–—", "-"),
    ("≤", "<="),
    ("≥", ">="),
    ("≠", "!="),
    ("²", "** 2"),
    ("³", "** 3"),
    ("√", "sqrt(x)"),
    ("∞", "inf"),
    ("¬", "not"),
    ("∧", "and"),
    ("∨", "or"),
    ("…", "..."),
    ("（", "("),
    ("）", ")"),
    ("，", ","),
    ("!", "not"),
    ("`", "'"),
];

/// Whether a name may go on with this character; the first may be no digit.
fn continues_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || (!c.is_ascii() && c.is_alphabetic())
}

/// What `\` and this character stand for in a string.
pub(super) fn resolve_escape(escaped: char) -> Option<char> {
    match escaped {
        '\\' | '\'' | '"' => Some(escaped),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        _ => None,
    }
}

/// A text as it may stand in a message: at most 40 characters.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => visible(&text[..end]) + "…",
        None => visible(text),
    }
}

/// A text with the characters that nobody would see escaped.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // The long escapes are those of what cannot be printed, the short ones of quotes.
        match c.is_control() || c.escape_debug().len() > 2 {
            true => out.extend(c.escape_debug()),
            false => out.push(c),
        }
    }
    out
}
