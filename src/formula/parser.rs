//! Tokens → tree, by precedence climbing.
//!
//! The brackets are known to be balanced, so after an error the parser goes on behind the next
//! comma of the same bracket, or behind the bracket. Recursion is bounded by [`NESTING_LIMIT`].

mod complaints;

use std::ops::Range;

use smol_str::{SmolStr, SmolStrBuilder};

use super::lexer::{Bracket, Token, TokenKind, resolve_escape, short};
use super::operators::{BinaryOperator, UnaryOperator, precedence};
use super::tree::{Argument, Expression, NodeId, NodeKind};
use super::{ERROR_LIMIT, FormulaError, NESTING_LIMIT};
use crate::source::Span;

/// Reads all tokens as one expression.
///
/// # Errors
/// What the grammar does not allow, in the order of the text.
pub(super) fn expression(
    text: &str,
    tokens: &[Token],
    map: &dyn Fn(Range<usize>) -> Span,
) -> Result<Expression, Vec<FormulaError>> {
    let mut parser = Parser {
        text,
        tokens,
        at: 0,
        depth: 0,
        tree: Expression::with_capacity(tokens.len()),
        pending: Vec::new(),
        arguments: Vec::new(),
        errors: Vec::new(),
        map,
    };
    if parser.kind() == TokenKind::End {
        let message = "the formula is empty".to_owned();
        return Err(vec![FormulaError::new(message, map(0..text.len()))]);
    }
    if parser.expression(precedence::CONDITIONAL).is_ok() && parser.kind() != TokenKind::End {
        parser.surplus();
    }
    if parser.errors.is_empty() {
        return Ok(parser.tree);
    }
    // Those of a call's arguments come when the call is complete.
    parser.errors.sort_by_key(|error| error.span.start);
    Err(parser.errors)
}

/// An error was reported; the place that can go on does.
struct Reported;

type Parsed<T> = Result<T, Reported>;

/// A sub-expression with its place in the text, parentheses included.
#[derive(Clone, Copy)]
struct Operand {
    node: NodeId,
    start: u32,
    end: u32,
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    tree: Expression,
    /// Entries of the lists that are being read; one stack serves all of them.
    pending: Vec<NodeId>,
    /// Arguments of the calls that are being read.
    arguments: Vec<Argument>,
    errors: Vec<FormulaError>,
    map: &'a dyn Fn(Range<usize>) -> Span,
}

impl Parser<'_> {
    // Tokens

    fn token(&self) -> Token {
        // The last token is `End`, and nothing advances past it.
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn kind(&self) -> TokenKind {
        self.token().kind
    }

    fn next_kind(&self) -> TokenKind {
        self.tokens
            .get(self.at + 1)
            .map_or(TokenKind::End, |token| token.kind)
    }

    fn previous(&self) -> Option<Token> {
        self.at.checked_sub(1).map(|index| self.tokens[index])
    }

    fn advance(&mut self) -> Token {
        let token = self.token();
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    fn written(&self, token: Token) -> &str {
        &self.text[token.range()]
    }

    /// The token as messages show it.
    fn shown(&self, token: Token) -> String {
        short(self.written(token))
    }

    /// Goes to the next comma or closing bracket of the bracket that is being read, or the end.
    fn skip(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.kind() {
                TokenKind::End => return,
                TokenKind::Comma | TokenKind::Close(_) if depth == 0 => return,
                TokenKind::Open(_) => depth += 1,
                TokenKind::Close(_) => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
    }

    // Nodes

    fn span(&self, start: u32, end: u32) -> Span {
        (self.map)(start as usize..end as usize)
    }

    fn operand(&mut self, kind: NodeKind, start: u32, end: u32, token: Token) -> Operand {
        let span = self.span(start, end);
        let token = self.span(token.start, token.end);
        let node = self.tree.push_with_token(kind, span, token);
        Operand { node, start, end }
    }

    fn leaf(&mut self, kind: NodeKind) -> Operand {
        let token = self.advance();
        let span = self.span(token.start, token.end);
        let node = self.tree.push(kind, span);
        Operand {
            node,
            start: token.start,
            end: token.end,
        }
    }

    // Errors

    fn report(&mut self, error: FormulaError) -> Reported {
        if self.errors.len() < ERROR_LIMIT {
            self.errors.push(error);
        }
        Reported
    }

    fn error(&mut self, token: Token, message: impl Into<String>) -> Reported {
        let span = self.span(token.start, token.end);
        self.report(FormulaError::new(message, span))
    }

    fn error_with_help(&mut self, token: Token, message: String, help: &str) -> Reported {
        let span = self.span(token.start, token.end);
        self.report(FormulaError::new(message, span).help(help))
    }

    // Grammar

    /// Reads an expression whose operators bind at least as tightly as `least`.
    fn expression(&mut self, least: u8) -> Parsed<Operand> {
        if self.depth >= NESTING_LIMIT {
            let message = format!("the formula is nested more than {NESTING_LIMIT} deep");
            let help = "give its inner parts names, as formulas of their own";
            return Err(self.error_with_help(self.token(), message, help));
        }
        self.depth += 1;
        let result = self.operators(least);
        self.depth -= 1;
        result
    }

    fn operators(&mut self, least: u8) -> Parsed<Operand> {
        let mut left = self.prefix(least)?;
        loop {
            let token = self.token();
            match token.kind {
                TokenKind::Operator(operator) if operator.precedence() >= least => {
                    self.advance();
                    let (_, right_least) = operator.operand_precedences();
                    let right = self.expression(right_least)?;
                    let kind = NodeKind::Binary {
                        operator,
                        left: left.node,
                        right: right.node,
                    };
                    let compared = left;
                    left = self.operand(kind, left.start, right.end, token);
                    if operator.is_comparison() {
                        self.refuse_chain(compared, right)?;
                    }
                }
                TokenKind::If if least == precedence::CONDITIONAL => {
                    left = self.conditional(left)?;
                }
                _ => return Ok(left),
            }
        }
    }

    fn conditional(&mut self, value: Operand) -> Parsed<Operand> {
        let token = self.advance();
        let condition = self.expression(precedence::OR)?;
        if self.kind() != TokenKind::Else {
            let message = "`if` has no `else`".to_owned();
            let help = "write `a if condition else b`";
            return Err(self.error_with_help(token, message, help));
        }
        self.advance();
        let otherwise = self.expression(precedence::CONDITIONAL)?;
        let kind = NodeKind::Conditional {
            value: value.node,
            condition: condition.node,
            otherwise: otherwise.node,
        };
        Ok(self.operand(kind, value.start, otherwise.end, token))
    }

    /// Reads signs and `not`, or an operand with all that follows it.
    fn prefix(&mut self, least: u8) -> Parsed<Operand> {
        let token = self.token();
        let operator = match token.kind {
            TokenKind::Operator(BinaryOperator::Subtract) => UnaryOperator::Negative,
            TokenKind::Operator(BinaryOperator::Add) => UnaryOperator::Positive,
            TokenKind::Tilde => UnaryOperator::Invert,
            TokenKind::Not => UnaryOperator::Not,
            _ => {
                let atom = self.atom()?;
                return self.postfix(atom);
            }
        };
        if operator.precedence() < least {
            let message = "`not` binds looser than the operator before it".to_owned();
            return Err(self.error_with_help(token, message, "write `(not …)`"));
        }
        self.advance();
        let operand = self.expression(operator.precedence())?;
        let kind = NodeKind::Unary {
            operator,
            operand: operand.node,
        };
        Ok(self.operand(kind, token.start, operand.end, token))
    }

    fn atom(&mut self) -> Parsed<Operand> {
        let token = self.token();
        let kind = match token.kind {
            TokenKind::Integer(value) => NodeKind::Integer(value),
            TokenKind::Real(value) => NodeKind::Real(value),
            TokenKind::Boolean(value) => NodeKind::Boolean(value),
            TokenKind::None => NodeKind::None,
            TokenKind::Ellipsis => NodeKind::Ellipsis,
            TokenKind::Name => NodeKind::Name(SmolStr::new(self.written(token))),
            TokenKind::String => NodeKind::String(string_value(self.written(token))),
            TokenKind::Open(Bracket::Round) => return self.parenthesised(),
            TokenKind::Open(Bracket::Square) => {
                let first = self.pending.len();
                let (_, close) = self.items(Parser::item);
                let list = self.tree.push_items(self.pending.drain(first..));
                let span = self.span(token.start, close.end);
                let node = self.tree.push(NodeKind::List(list), span);
                return Ok(Operand {
                    node,
                    start: token.start,
                    end: close.end,
                });
            }
            TokenKind::Open(Bracket::Curly) => {
                let message = "formulas do not have dictionaries and sets".to_owned();
                let help = "write `[…]` for a list";
                return Err(self.error_with_help(token, message, help));
            }
            _ => return Err(self.operand_missing()),
        };
        Ok(self.leaf(kind))
    }

    /// Reads `(a)`, which is `a`, or a tuple.
    fn parenthesised(&mut self) -> Parsed<Operand> {
        let open = self.token();
        let first = self.pending.len();
        let errors_before = self.errors.len();
        let (ends_with_comma, close) = self.items(Parser::item);
        let span = self.span(open.start, close.end);
        let node = match self.pending[first..] {
            [node] if !ends_with_comma => {
                self.pending.truncate(first);
                self.tree.set_outer(node, span);
                node
            }
            // What was in here is unknown; a tuple stands for it and nobody will see it.
            _ if self.errors.len() > errors_before => {
                self.pending.truncate(first);
                self.tree.push(NodeKind::None, span)
            }
            _ => {
                let list = self.tree.push_items(self.pending.drain(first..));
                self.tree.push(NodeKind::Tuple(list), span)
            }
        };
        Ok(Operand {
            node,
            start: open.start,
            end: close.end,
        })
    }

    /// Reads what stands between two brackets, both included, as entries with commas between.
    /// Returns whether a comma stands behind the last entry, and the closing bracket.
    ///
    /// Goes on behind an entry with an error, so it does not fail itself.
    fn items(&mut self, item: fn(&mut Self) -> Parsed<()>) -> (bool, Token) {
        self.advance();
        let mut ends_with_comma = false;
        while !matches!(self.kind(), TokenKind::Close(_) | TokenKind::End) {
            let result = match self.kind() {
                TokenKind::Comma => {
                    Err(self.error(self.token(), "there is nothing before this comma"))
                }
                _ => item(self),
            };
            let ends = matches!(
                self.kind(),
                TokenKind::Comma | TokenKind::Close(_) | TokenKind::End
            );
            if result.is_ok() && !ends {
                self.surplus();
            }
            if result.is_err() || !ends {
                self.skip();
            }
            ends_with_comma = self.kind() == TokenKind::Comma;
            if ends_with_comma {
                self.advance();
            }
        }
        (ends_with_comma, self.advance())
    }

    fn item(&mut self) -> Parsed<()> {
        let operand = self.expression(precedence::CONDITIONAL)?;
        self.pending.push(operand.node);
        Ok(())
    }

    /// Reads attributes, calls and indices behind an operand.
    fn postfix(&mut self, mut operand: Operand) -> Parsed<Operand> {
        loop {
            let token = self.token();
            // `2(x + 1)` is meant as a product, and no number can be called or indexed.
            let number = matches!(
                self.tree.kind(operand.node),
                NodeKind::Integer(_) | NodeKind::Real(_)
            );
            operand = match token.kind {
                TokenKind::Open(_) if number => return Ok(operand),
                TokenKind::Dot => {
                    self.advance();
                    let name = self.token();
                    if name.kind != TokenKind::Attribute {
                        return Err(self.error(token, "an attribute's name is missing after `.`"));
                    }
                    self.advance();
                    let kind = NodeKind::Attribute {
                        object: operand.node,
                        name: SmolStr::new(self.written(name)),
                    };
                    self.operand(kind, operand.start, name.end, name)
                }
                TokenKind::Open(Bracket::Round) => {
                    let first = self.arguments.len();
                    let (_, close) = self.items(Parser::argument);
                    self.check_arguments(first);
                    let arguments = self.tree.push_arguments(self.arguments.drain(first..));
                    let kind = NodeKind::Call {
                        function: operand.node,
                        arguments,
                    };
                    self.operand(kind, operand.start, close.end, token)
                }
                TokenKind::Open(Bracket::Square) => {
                    let first = self.pending.len();
                    let errors_before = self.errors.len();
                    let (_, close) = self.items(Parser::index);
                    if self.pending.len() == first && self.errors.len() == errors_before {
                        let span = self.span(token.start, close.end);
                        let error = FormulaError::new("an index is missing here", span);
                        self.report(error.help("write `x[:]` for all of `x`"));
                    }
                    let indices = self.tree.push_items(self.pending.drain(first..));
                    let kind = NodeKind::Index {
                        object: operand.node,
                        indices,
                    };
                    self.operand(kind, operand.start, close.end, token)
                }
                _ => return Ok(operand),
            };
        }
    }

    fn argument(&mut self) -> Parsed<()> {
        let token = self.token();
        let named = self.next_kind() == TokenKind::Assign;
        let name = match token.kind {
            TokenKind::Name if named => {
                let name = SmolStr::new(self.written(token));
                let span = self.span(token.start, token.end);
                self.at += 2;
                Some((name, span))
            }
            _ => None,
        };
        let value = self.expression(precedence::CONDITIONAL)?;
        if name.is_none() && self.kind() == TokenKind::Assign {
            let message = "an argument's name must be a plain name".to_owned();
            let span = self.span(value.start, value.end);
            let error = FormulaError::new(message, span);
            return Err(self.report(error.help("write `==` to compare")));
        }
        let value = value.node;
        self.arguments.push(Argument { name, value });
        Ok(())
    }

    /// Reads one index: an expression or a slice.
    fn index(&mut self) -> Parsed<()> {
        let start = self.token().start;
        let mut parts = [None; 3];
        let mut colons = 0;
        let mut colon = self.token();
        let mut end = start;
        loop {
            if !matches!(
                self.kind(),
                TokenKind::Colon | TokenKind::Comma | TokenKind::Close(_)
            ) {
                let part = self.expression(precedence::CONDITIONAL)?;
                parts[colons] = Some(part.node);
                end = part.end;
            }
            if self.kind() != TokenKind::Colon {
                break;
            }
            if colons == 2 {
                let message = "a slice has at most two colons".to_owned();
                let help = "it is `start:stop:step`";
                return Err(self.error_with_help(self.token(), message, help));
            }
            let token = self.advance();
            if colons == 0 {
                colon = token;
            }
            colons += 1;
            end = token.end;
        }
        let [start_part, stop, step] = parts;
        let node = match (colons, start_part) {
            (0, Some(node)) => node,
            _ => {
                let kind = NodeKind::Slice {
                    start: start_part,
                    stop,
                    step,
                };
                self.operand(kind, start, end, colon).node
            }
        };
        self.pending.push(node);
        Ok(())
    }
}

/// The value of a string token, which was checked when it was read.
fn string_value(written: &str) -> SmolStr {
    let inside = &written[1..written.len() - 1];
    if !inside.contains('\\') {
        return SmolStr::new(inside);
    }
    let mut value = SmolStrBuilder::new();
    let mut characters = inside.chars();
    while let Some(c) = characters.next() {
        let resolved = match c {
            '\\' => characters.next().and_then(resolve_escape),
            _ => Some(c),
        };
        if let Some(resolved) = resolved {
            value.push(resolved);
        }
    }
    value.finish()
}
