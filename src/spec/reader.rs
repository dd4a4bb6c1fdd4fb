//! Reading typed values from a document, with every fault reported where it stands.

use smol_str::SmolStr;

use super::dims::DimValues;
use super::document::NodeRef;
use super::names;
use crate::diag::{FindingBuilder, Level, Sink};
use crate::formula::arithmetic::Number;
use crate::formula::{self, Expression, FormulaError, arithmetic};
use crate::source::Span;
use crate::source::suggest;

/// Reads values; knows the dims, and where in the document it is.
pub(crate) struct Reader<'a> {
    pub sink: &'a mut Sink,
    pub dims: &'a DimValues,
    /// Whether the document stands beside a model that was imported.
    pub beside: bool,
    path: Vec<SmolStr>,
}

impl<'a> Reader<'a> {
    /// A reader at the root.
    pub fn new(sink: &'a mut Sink, dims: &'a DimValues) -> Reader<'a> {
        Reader {
            sink,
            dims,
            beside: false,
            path: Vec::new(),
        }
    }

    /// Reads what lies under `key`.
    pub fn within<R>(&mut self, key: &str, read: impl FnOnce(&mut Reader<'a>) -> R) -> R {
        self.path.push(key.into());
        let result = read(self);
        self.path.pop();
        result
    }

    /// The symbolic place: `train.optimizer`.
    pub fn path(&self) -> String {
        self.path.join(".")
    }

    /// Reports an error at a place.
    pub fn report(
        &mut self,
        rule: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> FindingBuilder<'_> {
        let path = self.path();
        self.sink
            .report(rule, Level::Error, Some(span), path, message)
    }

    /// Reports a value of the wrong kind; always `None`, to end a read with.
    pub fn expected<T>(&mut self, node: NodeRef<'_>, what: &str) -> Option<T> {
        let key = self.path.last().cloned().unwrap_or_default();
        let message = format!("`{key}` must be {what}, not {}", node.kind_name());
        self.report(names::INVALID_VALUE, node.span(), message);
        None
    }

    /// Reports a key that there is not.
    pub fn unknown_key(&mut self, key: &str, span: Span, known: &[&str]) {
        let place = match self.path().as_str() {
            "" => "at the top of a spec".to_owned(),
            path => format!("in `{path}`"),
        };
        let help = suggest::did_you_mean(key, known);
        self.report(
            names::UNKNOWN_KEY,
            span,
            format!("there is no key `{key}` {place}"),
        )
        .maybe_help(help);
    }

    /// Reports a word that is none of the known ones.
    pub fn unknown_word(&mut self, node: NodeRef<'_>, what: &str, word: &str, known: &[&str]) {
        let help = suggest::did_you_mean(word, known);
        self.report(
            names::INVALID_VALUE,
            node.span(),
            format!("there is no {what} `{word}`"),
        )
        .maybe_help(help);
    }

    /// Reports what is wrong with a formula or a dim expression.
    pub fn formula_errors(&mut self, rule: &'static str, errors: Vec<FormulaError>) {
        for error in errors {
            let unknown = error.message.starts_with("unknown dim");
            let rule = if unknown { names::UNKNOWN_DIM } else { rule };
            let related = error.related;
            let mut builder = self
                .report(rule, error.span, error.message)
                .maybe_help(error.help);
            if let Some((span, text)) = related {
                builder = builder.also(Some(span), text);
            }
            drop(builder);
        }
    }

    /// The expression that a string holds; reports what is wrong with it.
    pub fn expression(&mut self, node: NodeRef<'_>, rule: &'static str) -> Option<Expression> {
        let text = node.as_str()?;
        match formula::parse(text, &|range| node.string_position(range)) {
            Ok(expression) => Some(expression),
            Err(errors) => {
                self.formula_errors(rule, errors);
                None
            }
        }
    }

    /// The number that an expression over dims comes to; reports what is wrong with it.
    pub fn evaluate(&mut self, expression: &Expression) -> Option<Number> {
        match evaluate(expression, &mut |name| self.dims.get(name)) {
            Ok(number) => Some(number),
            Err(mut error) => {
                if error.help.is_none() {
                    let names = self.dims.names();
                    let name = self.sink_text(&error);
                    error.help = name.and_then(|name| suggest::did_you_mean(&name, &names));
                }
                self.formula_errors(names::INCONSISTENT_DIM, vec![error]);
                None
            }
        }
    }

    fn sink_text(&self, error: &FormulaError) -> Option<String> {
        error
            .message
            .strip_prefix("unknown dim `")?
            .strip_suffix('`')
            .map(str::to_owned)
    }

    /// A number, written as one or as an expression over dims.
    pub fn number(&mut self, node: NodeRef<'_>) -> Option<Number> {
        if let Some(value) = node.as_integer() {
            return Some(Number::Integer(value));
        }
        if let Some(value) = node.as_float() {
            return Some(Number::Real(value));
        }
        if node.as_str().is_some() {
            let expression = self.expression(node, names::INCONSISTENT_DIM)?;
            return self.evaluate(&expression);
        }
        self.expected(node, "a number or an expression over dims")
    }

    /// An integer, written as one or as an expression over dims.
    pub fn integer(&mut self, node: NodeRef<'_>) -> Option<i64> {
        match self.number(node)? {
            Number::Integer(value) => Some(value),
            Number::Real(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => {
                Some(value as i64)
            }
            Number::Real(value) => {
                let message = format!("{value} is not a whole number");
                self.report(names::INVALID_VALUE, node.span(), message);
                None
            }
        }
    }

    /// A real number, written as one or as an expression over dims.
    pub fn real(&mut self, node: NodeRef<'_>) -> Option<f64> {
        match self.number(node)? {
            Number::Integer(value) => Some(value as f64),
            Number::Real(value) => Some(value),
        }
    }
}

/// Evaluates an expression over named numbers.
///
/// # Errors
/// An unknown name, or arithmetic that does not come out.
pub(crate) fn evaluate(
    expression: &Expression,
    lookup: &mut dyn FnMut(&str) -> Option<Number>,
) -> Result<Number, FormulaError> {
    let mut missing = None;
    let result = arithmetic::evaluate(expression, &mut |name, span| {
        let value = lookup(name);
        if value.is_none() && missing.is_none() {
            missing = Some((name.to_owned(), span));
        }
        value
    });
    match (result, missing) {
        (Err(_), Some((name, span))) => {
            Err(FormulaError::new(format!("unknown dim `{name}`"), span))
        }
        (result, _) => result,
    }
}
