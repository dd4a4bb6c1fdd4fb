//! Text → tokens, with everything that can be said of characters and brackets alone.
//!
//! The grammar is the parser's; it is asked only where there is no error here.

use std::ops::Range;

use super::tree::BinaryOperator;
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

    /// Reads a number as Python does: `1_000`, `0xff`, `.5`, `1.`, `1e-5`.
    fn number(&mut self, start: usize) {
        let radix = match self.rest().as_bytes() {
            [b'0', b'x' | b'X', ..] => 16,
            [b'0', b'o' | b'O', ..] => 8,
            [b'0', b'b' | b'B', ..] => 2,
            _ => 10,
        };
        let digit = |c: char| c.is_ascii_digit() || c == '_';
        let mut is_real = false;
        if radix == 10 {
            self.skip_while(digit);
            if self.rest().starts_with('.') && !self.rest().starts_with("...") {
                is_real = true;
                self.at += 1;
                self.skip_while(digit);
            }
            let after = self.rest().as_bytes();
            let exponent = match after {
                [b'e' | b'E', b'+' | b'-', b'0'..=b'9', ..] => 2,
                [b'e' | b'E', b'0'..=b'9', ..] => 1,
                _ => 0,
            };
            if exponent > 0 {
                is_real = true;
                self.at += exponent;
                self.skip_while(digit);
            }
        } else {
            self.at += 2;
            self.skip_while(|c| c.is_digit(radix) || c == '_');
        }
        let written = &self.text[start..self.at];
        let digits = if radix == 10 { written } else { &written[2..] };
        if self.peek().is_some_and(continues_name) {
            return self.number_before_name(start, radix);
        }
        if self.rest().starts_with('.') && !self.rest().starts_with("...") {
            self.skip_while(|c| c == '.' || continues_name(c));
            let message = format!("`{}` is not a number", short(&self.text[start..self.at]));
            return self.fault(start, message, None);
        }
        // Underscores stand between digits only; behind a prefix they may come first.
        let misplaced = digits.ends_with('_')
            || digits.contains("__")
            || ["_.", "._", "_e", "_E"]
                .iter()
                .any(|it| digits.contains(it))
            || digits.is_empty();
        if misplaced {
            let message = format!("`{}` is not a number", short(written));
            let help = if digits.is_empty() {
                "digits must follow the prefix"
            } else {
                "an underscore must stand between two digits"
            };
            return self.fault(start, message, Some(help.to_owned()));
        }
        if radix == 10 && !is_real && written.len() > 1 && written.starts_with('0') {
            let zeros = written.trim_start_matches(['0', '_']);
            if !zeros.is_empty() {
                let message = format!("`{}` has leading zeros", short(written));
                return self.fault(start, message, Some(format!("write `{}`", short(zeros))));
            }
        }
        let plain: std::borrow::Cow<'_, str> = if digits.contains('_') {
            digits.replace('_', "").into()
        } else {
            digits.into()
        };
        if is_real {
            match plain.parse::<f64>() {
                Ok(value) if value.is_finite() => self.push(TokenKind::Real(value), start),
                _ => {
                    let message = format!("{} is too large for a float64", short(written));
                    self.fault(start, message, Some("write `inf` for infinity".to_owned()));
                }
            }
            return;
        }
        match i64::from_str_radix(&plain, radix) {
            Ok(value) => self.push(TokenKind::Integer(value), start),
            Err(_) => {
                let message = format!("{} is too large for a 64-bit integer", short(written));
                let help = "the largest is 9223372036854775807; with a decimal point it is a real";
                self.fault(start, message, Some(help.to_owned()));
            }
        }
    }

    /// Reports `2x`: the number is read up to here and a name follows at once.
    fn number_before_name(&mut self, start: usize, radix: u32) {
        let middle = self.at;
        self.skip_while(continues_name);
        let number = short(&self.text[start..middle]);
        let name = &self.text[middle..self.at];
        let (message, help) = if radix != 10 || name.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("`{}` is not a number", short(&self.text[start..self.at]));
            (message, format!("`{}` is not a digit of it", short(name)))
        } else if matches!(name, "e" | "E") {
            let message = format!("the exponent of `{number}{name}` has no digits");
            (
                message,
                format!("write `{number}e-3`, or `{number} * {name}`"),
            )
        } else if matches!(name, "if" | "else" | "and" | "or" | "not") {
            let message = format!("`{number}` and `{name}` run into each other");
            (message, format!("write `{number} {name}`"))
        } else if matches!(name, "j" | "J") {
            let message =
                format!("`{number}{name}` is a complex number, which formulas do not have");
            return self.fault(start, message, None);
        } else {
            let name = short(name);
            let message = format!("an operator is missing between `{number}` and `{name}`");
            (message, format!("write `{number} * {name}` to multiply"))
        };
        self.fault(start, message, Some(help));
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

    /// Reports brackets that close nothing, close another kind, or are never closed.
    fn check_brackets(&mut self) {
        let mut open: Vec<(Token, Bracket)> = Vec::new();
        let mut errors = Vec::new();
        let map = self.map;
        for &token in &self.tokens {
            match token.kind {
                TokenKind::Open(bracket) => open.push((token, bracket)),
                TokenKind::Close(bracket) => match open.pop() {
                    Some((_, opened)) if opened == bracket => {}
                    Some((opener, opened)) => {
                        let message =
                            format!("`{}` does not match `{}`", bracket.close(), opened.open());
                        let error = FormulaError::new(message, map(token.range()))
                            .help(format!("`{}` closes it", opened.close()))
                            .related(map(opener.range()), "opened here");
                        errors.push((token.start as usize, error));
                        // Which of the two is wrong decides how all later ones pair up.
                        open.clear();
                        break;
                    }
                    None => {
                        let message = format!("`{}` closes nothing", bracket.close());
                        let help = format!("remove it, or add `{}` before it", bracket.open());
                        let error = FormulaError::new(message, map(token.range())).help(help);
                        errors.push((token.start as usize, error));
                        if errors.len() >= ERROR_LIMIT {
                            open.clear();
                            break;
                        }
                    }
                },
                _ => {}
            }
        }
        if let Some(&(opener, bracket)) = open.last() {
            let end = self.text.trim_end().len();
            let message = match open.len() {
                1 => format!("`{}` is never closed", bracket.open()),
                count => format!(
                    "{count} brackets are never closed; the innermost is `{}`",
                    bracket.open()
                ),
            };
            let mut error = FormulaError::new(message, map(opener.range()))
                .related(map(end..end), "the formula ends here");
            if open.len() <= 8 {
                let closers: String = open.iter().rev().map(|(_, it)| it.close()).collect();
                error = error.help(format!("add `{closers}`"));
            }
            errors.push((opener.start as usize, error));
        }
        self.errors.extend(errors);
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
