//! From words to a product or an einsum. Iterative throughout: parentheses nest as deep as they
//! like.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::lexer::{Token, tokens};
use super::product::{Factor, MatrixProduct};
use super::{EinsumCall, ExpressionError, OrderProblem};
use crate::facts::order::Parenthesisation;
use crate::facts::order::einsum::{Network, parse_equation};

/// Longest expression that is read, in bytes.
pub const MAX_LENGTH: usize = 1 << 18;
/// Most dimensions of an operand, as in PyTorch.
pub const MAX_RANK: usize = 64;

/// Reads a product of matrices or a call of `einsum`.
///
/// An operand is a name and, where it is first mentioned, its shape. O(length), except that an
/// einsum is limited to [`MAX_OPERANDS`](super::super::einsum::MAX_OPERANDS).
///
/// # Errors
/// With the bytes at fault: what is no expression, a shape that is missing, changes or has more
/// than [`MAX_RANK`] dimensions, shapes that do not fit each other, a vector between other factors,
/// a text longer than [`MAX_LENGTH`].
pub fn parse_expression(text: &str) -> Result<OrderProblem, ExpressionError> {
    if text.len() > MAX_LENGTH {
        let message = format!("{} bytes; at most {MAX_LENGTH} are read", text.len());
        return Err(ExpressionError::new(0..0, message));
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        shapes: FxHashMap::default(),
    };
    let is_call = |name: &str| name == "einsum" || name.ends_with(".einsum");
    match parser.tokens[..] {
        [(Token::Name(name), _), (Token::Symbol('('), _), ..] if is_call(name) => {
            parser.at = 2;
            parser.einsum().map(OrderProblem::Einsum)
        }
        _ => parser.product().map(OrderProblem::Product),
    }
}

/// Part of a product. Children stand before their parents.
enum Node {
    Operand(Operand),
    Product(usize, usize),
    Transpose(usize, Transposition),
}

struct Operand {
    name: String,
    shape: Vec<u64>,
    span: Range<usize>,
}

#[derive(Debug, Clone)]
struct Transposition {
    /// Whether it is `.mT`, which leaves batch dimensions alone.
    batched: bool,
    span: Range<usize>,
}

struct Parser<'a> {
    tokens: Vec<(Token<'a>, Range<usize>)>,
    at: usize,
    /// Shapes of the names mentioned so far.
    shapes: FxHashMap<&'a str, Vec<u64>>,
}

impl<'a> Parser<'a> {
    /// The next word, which stays the last one when there are no more.
    fn peek(&self) -> (Token<'a>, Range<usize>) {
        match self.tokens.get(self.at).or(self.tokens.last()) {
            Some((token, span)) => (*token, span.clone()),
            None => (Token::End, 0..0),
        }
    }

    fn next(&mut self) -> (Token<'a>, Range<usize>) {
        let word = self.peek();
        self.at += 1;
        word
    }

    fn takes(&mut self, symbol: char) -> bool {
        let taken = self.peek().0 == Token::Symbol(symbol);
        self.at += usize::from(taken);
        taken
    }

    fn expected<T>(&self, what: &str) -> Result<T, ExpressionError> {
        let (token, span) = self.peek();
        Err(ExpressionError::new(
            span,
            format!("expected {what}, found {token}"),
        ))
    }

    /// A name with its shape.
    fn operand(&mut self) -> Result<Operand, ExpressionError> {
        let (Token::Name(name), start) = self.peek() else {
            return self.expected("an operand");
        };
        self.at += 1;
        if self.peek().0 == Token::Symbol('(') {
            let span = start.start..self.peek().1.end;
            let error = ExpressionError::new(span, format!("a call of `{name}` is no operand"));
            return Err(error.help("order the factors on either side of it by themselves"));
        }
        if !self.takes('[') {
            return match self.shapes.get(name) {
                Some(shape) => Ok(Operand {
                    name: name.to_owned(),
                    shape: shape.clone(),
                    span: start,
                }),
                None => {
                    let error = ExpressionError::new(start, format!("`{name}` has no shape"));
                    Err(error.help(format!("write its sizes behind it: `{name}[100, 5]`")))
                }
            };
        }
        let mut shape = Vec::new();
        while !self.takes(']') {
            match self.next() {
                (Token::Number(size), _) => shape.push(size),
                (Token::Name(size), span) => {
                    let message = format!("`{size}` is no size: sizes are whole numbers");
                    return Err(ExpressionError::new(span, message));
                }
                _ => {
                    self.at -= 1;
                    return self.expected("a size or `]`");
                }
            }
            if !self.takes(',') && self.peek().0 != Token::Symbol(']') {
                return self.expected("`,` or `]`");
            }
        }
        let span = start.start..self.tokens[self.at - 1].1.end;
        if shape.len() > MAX_RANK {
            let message = format!(
                "{} dimensions; a tensor has at most {MAX_RANK}",
                shape.len()
            );
            return Err(ExpressionError::new(span, message));
        }
        match self.shapes.get(name) {
            Some(known) if *known != shape => Err(ExpressionError::new(
                span,
                format!("`{name}` was {known:?} before and is {shape:?} here"),
            )),
            _ => {
                self.shapes.insert(name, shape.clone());
                Ok(Operand {
                    name: name.to_owned(),
                    shape,
                    span,
                })
            }
        }
    }

    fn transposition(&mut self) -> Option<Transposition> {
        let (Token::Transpose(word), span) = self.peek() else {
            return None;
        };
        self.at += 1;
        Some(Transposition {
            batched: word == ".mT",
            span,
        })
    }

    fn product(mut self) -> Result<MatrixProduct, ExpressionError> {
        let mut nodes: Vec<Node> = Vec::new();
        // What stands to the left of the present place, for each parenthesis that is open.
        let mut left: Option<usize> = None;
        let mut open: Vec<(Option<usize>, Range<usize>)> = Vec::new();
        loop {
            let (token, span) = self.peek();
            if token == Token::Symbol('(') {
                self.at += 1;
                open.push((left.take(), span));
                continue;
            }
            nodes.push(Node::Operand(self.operand()?));
            let mut value = nodes.len() - 1;
            loop {
                while let Some(transposition) = self.transposition() {
                    nodes.push(Node::Transpose(value, transposition));
                    value = nodes.len() - 1;
                }
                if let Some(factor) = left.take() {
                    nodes.push(Node::Product(factor, value));
                    value = nodes.len() - 1;
                }
                if self.peek().0 != Token::Symbol(')') {
                    break;
                }
                let Some((before, _)) = open.pop() else {
                    return Err(ExpressionError::new(
                        self.peek().1,
                        "nothing opens this `)`",
                    ));
                };
                self.at += 1;
                left = before;
            }
            if self.takes('@') {
                left = Some(value);
                continue;
            }
            if self.peek().0 != Token::End {
                return self.expected("`@`");
            }
            return match open.pop() {
                Some((_, span)) => Err(ExpressionError::new(span, "this `(` is not closed")),
                None => flatten(&nodes, value),
            };
        }
    }

    /// The rest of a call of `einsum`, from its first argument on.
    fn einsum(mut self) -> Result<EinsumCall, ExpressionError> {
        let (Token::Text(text), quoted) = self.next() else {
            self.at -= 1;
            return self.expected("the equation in quotes");
        };
        let offset = quoted.start + 1;
        let within = |error: crate::facts::order::einsum::EinsumError| {
            let span = error.span.start + offset..error.span.end + offset;
            ExpressionError::new(span, error.message)
        };
        let equation = parse_equation(text).map_err(within)?;
        let mut operands = Vec::new();
        while self.takes(',') && self.peek().0 != Token::Symbol(')') {
            let mut operand = self.operand()?;
            while let Some(transposition) = self.transposition() {
                transposition.check(&operand)?;
                let rank = operand.shape.len();
                operand.shape.swap(rank - 2, rank - 1);
                operand.name = match operand.name.strip_suffix(transposition.word()) {
                    Some(plain) => plain.to_owned(),
                    None => operand.name + transposition.word(),
                };
            }
            operands.push(operand);
        }
        if !self.takes(')') {
            return self.expected("`,` or `)`");
        }
        if self.peek().0 != Token::End {
            let error: Result<EinsumCall, _> = self.expected("the end after `einsum(…)`");
            return error.map_err(|error| error.help("order each einsum by itself"));
        }
        let shapes: Vec<&[u64]> = operands.iter().map(|operand| &operand.shape[..]).collect();
        Ok(EinsumCall {
            equation: equation.to_string(),
            network: Network::new(&equation, &shapes).map_err(within)?,
            names: operands.into_iter().map(|operand| operand.name).collect(),
        })
    }
}

impl Transposition {
    fn word(&self) -> &'static str {
        if self.batched { ".mT" } else { ".T" }
    }

    /// Refuses what PyTorch has deprecated or never had: transposing anything but a matrix.
    fn check(&self, operand: &Operand) -> Result<(), ExpressionError> {
        let Operand { name, shape, .. } = operand;
        let message = format!(
            "`{}` transposes matrices; `{name}` is {shape:?}",
            self.word()
        );
        match shape.len() {
            2 => Ok(()),
            0 | 1 => Err(ExpressionError::new(self.span.clone(), message)),
            _ if self.batched => Ok(()),
            _ => {
                let error = ExpressionError::new(self.span.clone(), message);
                Err(error.help("`.mT` transposes each matrix of a batch"))
            }
        }
    }
}

/// The factors from left to right, and how they are parenthesised. A transposed product is the
/// product of its transposed factors in reverse.
fn flatten(nodes: &[Node], root: usize) -> Result<MatrixProduct, ExpressionError> {
    enum Step {
        Enter {
            node: usize,
            transposed: bool,
            by: Option<Transposition>,
        },
        Close,
    }
    let mut factors = Vec::new();
    let mut closes: Vec<u32> = Vec::new();
    let mut pending = vec![Step::Enter {
        node: root,
        transposed: false,
        by: None,
    }];
    while let Some(step) = pending.pop() {
        let Step::Enter {
            node,
            transposed,
            by,
        } = step
        else {
            if let Some(last) = closes.last_mut() {
                *last += 1;
            }
            continue;
        };
        match &nodes[node] {
            Node::Operand(operand) => {
                if let Some(by) = &by {
                    by.check(operand)?;
                }
                closes.push(0);
                factors.push(Factor::new(
                    &operand.name,
                    &operand.shape,
                    transposed,
                    operand.span.clone(),
                )?);
            }
            Node::Product(left, right) => {
                let (first, second) = if transposed {
                    (right, left)
                } else {
                    (left, right)
                };
                let enter = |node: usize| Step::Enter {
                    node,
                    transposed,
                    by: by.clone(),
                };
                pending.extend([Step::Close, enter(*second), enter(*first)]);
            }
            Node::Transpose(inner, transposition) => {
                // `.T` is the stricter of the two, so it is the one to be answered for.
                let by = by
                    .filter(|outer| !outer.batched)
                    .or(Some(transposition.clone()));
                pending.push(Step::Enter {
                    node: *inner,
                    transposed: !transposed,
                    by,
                });
            }
        }
    }
    let count = factors.len();
    let written = Parenthesisation::from_closes(closes)
        .unwrap_or_else(|| Parenthesisation::left_to_right(count));
    MatrixProduct::new(factors, written)
}
