//! What the parser says of texts that the grammar does not allow.
//!
//! These are the words only; where to go on is the parser's.

use super::super::FormulaError;
use super::super::lexer::{Bracket, TokenKind, short};
use super::super::operators::BinaryOperator;
use super::{Operand, Parsed, Parser, Reported};

impl Parser<'_> {
    /// A single `=` where none may stand.
    pub(super) fn assignment(&mut self) -> Reported {
        let message = "a formula assigns nothing".to_owned();
        let help = "write `==` to compare; `name=value` passes an argument, inside of a call only";
        self.error_with_help(self.token(), message, help)
    }

    /// There is no operand here: says what it is missing from.
    pub(super) fn operand_missing(&mut self) -> Reported {
        use TokenKind as T;
        let here = self.token();
        let shown = self.shown(here);
        let before = self.previous().filter(|token| {
            !matches!(token.kind, T::Comma | T::Open(_)) && !token.kind.begins_operand()
        });
        match (before, here.kind) {
            (None, T::Assign) => self.assignment(),
            (Some(before), T::End | T::Close(_) | T::Comma) => {
                let message = match before.kind {
                    T::Colon => "an expression is missing after `:`".to_owned(),
                    T::Assign => "a value is missing after `=`".to_owned(),
                    _ => format!("`{}` has no right operand", self.shown(before)),
                };
                self.error(before, message)
            }
            (Some(before), _) => {
                let message = format!(
                    "an operand is missing between `{}` and `{shown}`",
                    self.shown(before)
                );
                let span = self.span(before.start, here.end);
                let error = FormulaError::new(message, span);
                let pair = (before.kind, here.kind);
                self.report(match pair {
                    (T::Operator(BinaryOperator::Equal), T::Assign) => error.help("write `==`"),
                    (T::Operator(_), T::Assign) => {
                        error.help("a formula assigns nothing; write the sum or product in full")
                    }
                    _ => error,
                })
            }
            (None, T::Comma) => self.error(here, "there is nothing before this comma"),
            (None, T::End | T::Close(_)) => self.error(here, "an expression is missing here"),
            (None, T::Operator(BinaryOperator::Multiply | BinaryOperator::Power))
                if self.previous().is_some() =>
            {
                let message = format!("`{shown}` has no left operand");
                let help = "arguments cannot be unpacked; write each of them";
                self.error_with_help(here, message, help)
            }
            (None, T::Operator(_) | T::Dot) => {
                self.error(here, format!("`{shown}` has no left operand"))
            }
            (None, T::Colon) => self.error(here, "`:` makes a slice, inside of `x[…]` only"),
            (None, _) => self.error(here, format!("`{shown}` cannot begin an expression")),
        }
    }

    /// An expression is complete, and something follows that cannot.
    pub(super) fn surplus(&mut self) -> Reported {
        use TokenKind as T;
        let here = self.token();
        let shown = self.shown(here);
        match here.kind {
            T::Assign => self.assignment(),
            T::Comma => {
                let message = "a formula is one expression, and a comma ends it".to_owned();
                self.error_with_help(here, message, "write `(a, b)` for a tuple")
            }
            T::Colon => self.error(here, "`:` makes a slice, inside of `x[…]` only"),
            T::Else => self.error(here, "`else` has no `if` before it"),
            T::Tilde => self.error(here, "`~` stands before an operand, not behind it"),
            T::Not => {
                let message = "`not` stands before an operand, not behind it".to_owned();
                self.error_with_help(here, message, "write `and not`, or `!=` to compare")
            }
            _ => {
                let Some(before) = self.previous() else {
                    return self.error(here, format!("`{shown}` cannot stand here"));
                };
                let span = self.span(before.start, here.end);
                let before = self.shown(before);
                let reserved = [&before, &shown].into_iter().find(|it| is_reserved(it));
                let error = match reserved {
                    Some(word) => {
                        let message = format!("formulas do not have Python's `{word}`");
                        FormulaError::new(message, span)
                    }
                    None => {
                        let message =
                            format!("an operator is missing between `{before}` and `{shown}`");
                        let error = FormulaError::new(message, span);
                        match here.kind {
                            T::Open(Bracket::Round) => {
                                error.help(format!("write `{before} * (…)` to multiply"))
                            }
                            _ => error,
                        }
                    }
                };
                self.report(error)
            }
        }
    }

    /// Reports `a < b < c`, of which `a < b` was read.
    pub(super) fn refuse_chain(&mut self, left: Operand, right: Operand) -> Parsed<()> {
        let token = self.token();
        if !matches!(token.kind, TokenKind::Operator(operator) if operator.is_comparison()) {
            return Ok(());
        }
        let compared = short(&self.text[left.start as usize..right.end as usize]);
        let middle = short(&self.text[right.start as usize..right.end as usize]);
        let next = self.written(token);
        let help = format!(
            "write `{compared} and {middle} {next} …`; for tensors `({compared}) & ({middle} \
             {next} …)`"
        );
        let message = "comparisons cannot be chained".to_owned();
        Err(self.error_with_help(token, message, &help))
    }

    /// Reports arguments that are given twice, and positional ones behind named ones.
    pub(super) fn check_arguments(&mut self, first: usize) {
        let mut errors = Vec::new();
        let arguments = &self.arguments[first..];
        let first_named = arguments.iter().find_map(|argument| argument.name.as_ref());
        let mut named_before = false;
        for (index, argument) in arguments.iter().enumerate() {
            match (&argument.name, first_named) {
                (None, Some((name, span))) if named_before => {
                    let place = self.tree.node(argument.value).outer;
                    let message = "a positional argument stands behind a named one";
                    let error = FormulaError::new(message, place)
                        .help("put it first, or give it its name")
                        .related(*span, format!("`{name}` is named"));
                    errors.push(error);
                    // The others that follow are wrong for the same reason.
                    break;
                }
                (Some((name, span)), _) => {
                    named_before = true;
                    // Names are few; a set would cost more than it saves. A long list is cut
                    // off, lest a hostile text make this quadratic.
                    let earlier = &arguments[..index.min(64)];
                    let mut earlier = earlier.iter().filter_map(|it| it.name.as_ref());
                    if let Some((_, twin)) = earlier.find(|(other, _)| other == name) {
                        let error = FormulaError::new(format!("`{name}` is given twice"), *span)
                            .related(*twin, "first given here");
                        errors.push(error);
                    }
                }
                _ => {}
            }
        }
        for error in errors {
            self.report(error);
        }
    }
}

/// Whether Python reserves the word and formulas give it no meaning.
fn is_reserved(word: &str) -> bool {
    matches!(
        word,
        "as" | "assert"
            | "async"
            | "await"
            | "def"
            | "del"
            | "for"
            | "from"
            | "import"
            | "in"
            | "is"
            | "lambda"
            | "return"
            | "while"
            | "with"
            | "yield"
    )
}
