//! One call in the syntax of formulas.

use super::call::constant;
use super::fold::Fold;
use super::text::{Number, Piece};
use crate::formula::{BinaryOperator, precedence};
use crate::graph::{NodeId, TensorId};
use crate::ops::{AttributeValue, Attributes};

/// Tighter than any operator: what a dot may follow.
const OBJECT: u8 = precedence::ATOM + 1;

/// Ops that are written as operators.
const OPERATORS: &[(&str, BinaryOperator)] = &[
    ("add", BinaryOperator::Add),
    ("sub", BinaryOperator::Subtract),
    ("mul", BinaryOperator::Multiply),
    ("div", BinaryOperator::Divide),
    ("floor_divide", BinaryOperator::FloorDivide),
    ("remainder", BinaryOperator::Remainder),
    ("matmul", BinaryOperator::MatrixMultiply),
    ("pow", BinaryOperator::Power),
    ("eq", BinaryOperator::Equal),
    ("ne", BinaryOperator::NotEqual),
    ("lt", BinaryOperator::Less),
    ("le", BinaryOperator::LessEqual),
    ("gt", BinaryOperator::Greater),
    ("ge", BinaryOperator::GreaterEqual),
    ("bitwise_and", BinaryOperator::BitwiseAnd),
    ("bitwise_or", BinaryOperator::BitwiseOr),
    ("bitwise_xor", BinaryOperator::BitwiseXor),
];

/// Ops that are written as methods, with the attributes whose values they take without a name.
const METHODS: &[(&str, &[&str])] = &[
    ("reshape", &["shape"]),
    ("transpose", &["dim0", "dim1"]),
    ("permute", &["dims"]),
    ("expand", &["size"]),
    ("unsqueeze", &["dim"]),
    ("squeeze", &["dim"]),
    ("contiguous", &[]),
    ("to", &["dtype"]),
];

/// Ops that are written as functions where they stand in a larger formula.
const FUNCTIONS: &[&str] = &[
    "abs",
    "amax",
    "amin",
    "arange",
    "cat",
    "clamp",
    "cos",
    "cumsum",
    "einsum",
    "erf",
    "exp",
    "expand_as",
    "floor",
    "full",
    "full_like",
    "log",
    "log1p",
    "logical_and",
    "logical_not",
    "logical_or",
    "maximum",
    "mean",
    "minimum",
    "neg",
    "ones",
    "ones_like",
    "reciprocal",
    "relu",
    "roll",
    "round",
    "rsqrt",
    "select",
    "sigmoid",
    "sign",
    "sin",
    "slice",
    "softmax",
    "sqrt",
    "square",
    "stack",
    "sum",
    "tanh",
    "tril",
    "triu",
    "var",
    "where",
    "zeros",
    "zeros_like",
];

/// A call as a formula.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    pub pieces: Vec<Piece>,
    /// How tightly the outermost operator binds.
    pub precedence: u8,
    /// Whether it is the call of a function.
    pub is_call: bool,
}

impl Expression {
    fn atom(piece: Piece) -> Expression {
        Expression {
            pieces: vec![piece],
            precedence: OBJECT,
            is_call: false,
        }
    }

    /// The pieces, in parentheses where it binds looser than that.
    fn at_least(self, least: u8) -> Vec<Piece> {
        if self.precedence >= least {
            return self.pieces;
        }
        let mut pieces = vec![text("(")];
        pieces.extend(self.pieces);
        pieces.push(text(")"));
        pieces
    }
}

/// Writes calls as expressions.
pub(super) struct Writer<'f, 'a> {
    pub fold: &'f Fold<'a>,
}

/// Gives the expression of an operand that the formula computes itself.
type Inner<'i> = &'i mut dyn FnMut(TensorId) -> Option<Expression>;

impl Writer<'_, '_> {
    /// Whether a formula can say the call, and make nothing else of it.
    pub fn is_sayable(&self, id: NodeId) -> bool {
        let graph = self.fold.graph();
        let node = graph.node(id);
        let name = node.op.name;
        let known = OPERATORS.iter().any(|(op, _)| *op == name)
            || METHODS.iter().any(|(op, _)| *op == name)
            || FUNCTIONS.contains(&name);
        let operands = node.arguments.iter().enumerate();
        let plain = |(at, &operand): (usize, &TensorId)| {
            let number = graph.constant(operand).is_some();
            let foreign = super::owned::parameter(graph, operand)
                .is_some_and(|number| self.fold.calls.ownership.owners.contains_key(&number));
            // Numbers fill only operands that must be there.
            let optional = node.op.operands.get(at).is_none_or(|one| one.optional);
            operand.is_present() && !foreign && !(number && optional)
        };
        known
            && node.output_count == 1
            && operands.clone().all(plain)
            && operands
                .clone()
                .any(|(_, &id)| graph.constant(id).is_none())
                != node.op.operands.is_empty()
            && !self.fold.calls.is_stated(node, &node.attributes)
            && self.fold.calls.attributes(id).iter().all(|(_, value)| {
                let simple = |c: char| c.is_ascii_alphanumeric() || " _-.,>".contains(c);
                match value {
                    AttributeValue::Text(text) => text.chars().all(simple),
                    _ => true,
                }
            })
            && (node.op.operands.is_empty()
                || graph.constant(node.arguments[0]).is_none()
                || OPERATORS.iter().any(|(op, _)| *op == name)
                || name == "where")
    }

    /// The call as an expression.
    pub fn expression(&self, id: NodeId, inner: Inner<'_>) -> Expression {
        let graph = self.fold.graph();
        let node = graph.node(id);
        let attributes = self.fold.calls.attributes(id);
        let name = node.op.name;
        let operator = OPERATORS.iter().find(|(op, _)| *op == name);
        if let (Some((_, operator)), None, &[left, right]) =
            (operator, attributes.iter().next(), &node.arguments[..])
        {
            return self.binary(*operator, left, right, inner);
        }
        if let (true, [operand]) = (name == "neg", &node.arguments[..]) {
            let mut pieces = vec![text("-")];
            pieces.extend(self.operand(*operand, inner).at_least(precedence::UNARY));
            return Expression {
                pieces,
                precedence: precedence::UNARY,
                is_call: false,
            };
        }
        if let Some(indexed) = self.indexed(id, &attributes, inner) {
            return indexed;
        }
        if let Some((_, positional)) = METHODS.iter().find(|(op, _)| *op == name)
            && let Some(method) = self.method(id, positional, &attributes, inner)
        {
            return method;
        }
        self.call(id, &attributes, inner)
    }

    fn operand(&self, id: TensorId, inner: Inner<'_>) -> Expression {
        let graph = self.fold.graph();
        if let Some(value) = graph.constant(id) {
            let written = match constant(value, graph.ty(id).dtype).as_str() {
                "true" => "True".to_owned(),
                "false" => "False".to_owned(),
                number => number.to_owned(),
            };
            let negative = written.starts_with('-');
            // Blocks that differ in a number take it as an argument.
            let piece = match written.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
                true => Piece::Number(Number::new(written, "value")),
                false => Piece::Text(written),
            };
            return Expression {
                pieces: vec![piece],
                precedence: if negative {
                    precedence::UNARY
                } else {
                    precedence::ATOM
                },
                is_call: false,
            };
        }
        inner(id).unwrap_or_else(|| Expression::atom(Piece::Tensor(id)))
    }

    fn binary(
        &self,
        operator: BinaryOperator,
        left: TensorId,
        right: TensorId,
        inner: Inner<'_>,
    ) -> Expression {
        let (left_least, right_least) = operator.operand_precedences();
        let mut pieces = self.operand(left, inner).at_least(left_least);
        pieces.push(Piece::Text(format!(" {} ", operator.symbol())));
        pieces.extend(self.operand(right, inner).at_least(right_least));
        Expression {
            pieces,
            precedence: operator.precedence(),
            is_call: false,
        }
    }

    /// `x[:, 0]` for `select`, `x[..., 1:]` for `slice`.
    fn indexed(&self, id: NodeId, attributes: &Attributes, inner: Inner<'_>) -> Option<Expression> {
        let graph = self.fold.graph();
        let node = graph.node(id);
        let whole = |name: &str| match attributes.get(node.op.attribute_position(name)?) {
            Some(AttributeValue::Integer(value)) => Some(*value),
            _ => None,
        };
        let operand = *node.arguments.first()?;
        let rank = graph.ty(operand).shape.rank() as i64;
        let dim = whole("dim").unwrap_or(0);
        let number = |value: i64, name: &str| {
            let position = node.op.attribute_position(name).unwrap_or(0);
            Piece::Number(self.fold.calls.number(id, position, &value.into()))
        };
        let index = match node.op.name {
            "select" => vec![number(whole("index")?, "index")],
            "slice" => {
                let start = whole("start").filter(|&start| start != 0);
                let end = whole("end").filter(|&end| end != i64::MAX);
                let step = whole("step").filter(|&step| step != 1);
                if start.is_none() && end.is_none() && step.is_none() {
                    return None;
                }
                let mut index = Vec::new();
                index.extend(start.map(|start| number(start, "start")));
                index.push(text(":"));
                index.extend(end.map(|end| number(end, "end")));
                if let Some(step) = step {
                    index.extend([text(":"), number(step, "step")]);
                }
                index
            }
            _ => return None,
        };
        let before = match dim {
            dim if dim == -1 || dim > 1 && dim == rank - 1 => "..., ".to_owned(),
            dim if (0..3).contains(&dim) => ":, ".repeat(dim as usize),
            dim if dim >= -rank && dim < 0 => ":, ".repeat((dim + rank) as usize),
            _ => return None,
        };
        let mut pieces = self.operand(operand, inner).at_least(OBJECT);
        pieces.push(Piece::Text(format!("[{before}")));
        pieces.extend(index);
        pieces.push(text("]"));
        Some(Expression {
            pieces,
            precedence: OBJECT,
            is_call: false,
        })
    }

    /// `x.transpose(1, 2)`, if the attributes are those that the method takes in order.
    fn method(
        &self,
        id: NodeId,
        positional: &[&str],
        attributes: &Attributes,
        inner: Inner<'_>,
    ) -> Option<Expression> {
        let node = self.fold.graph().node(id);
        let [operand] = node.arguments[..] else {
            return None;
        };
        let mut values = Vec::new();
        for name in positional {
            let position = node.op.attribute_position(name)?;
            match attributes.get(position) {
                Some(AttributeValue::Integers(many)) if !many.is_empty() => {
                    let numbers = self.fold.calls.numbers(id, position, many);
                    values.extend(numbers.into_iter().map(|one| vec![Piece::Number(one)]));
                }
                Some(value) => values.push(self.written(id, position, value)),
                None => break,
            }
        }
        let given = attributes.iter().count();
        let named = positional
            .iter()
            .filter_map(|name| attributes.get(node.op.attribute_position(name)?))
            .count();
        if given != named {
            return None;
        }
        let mut pieces = self.operand(operand, inner).at_least(OBJECT);
        pieces.push(Piece::Text(format!(".{}(", node.op.name)));
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                pieces.push(text(", "));
            }
            pieces.extend(value);
        }
        pieces.push(text(")"));
        Some(Expression {
            pieces,
            precedence: OBJECT,
            is_call: false,
        })
    }

    /// `softmax(x, dim=-1)`.
    fn call(&self, id: NodeId, attributes: &Attributes, inner: Inner<'_>) -> Expression {
        let node = self.fold.graph().node(id);
        let mut pieces = vec![Piece::Text(format!("{}(", node.op.name))];
        let mut separate = "";
        let list = node.op.is_variadic();
        if list {
            pieces.push(text("["));
        }
        for &operand in &node.arguments {
            pieces.push(text(separate));
            pieces.extend(self.operand(operand, inner).pieces);
            separate = ", ";
        }
        if list {
            pieces.push(text("]"));
        }
        let mut sorted: Vec<(usize, &AttributeValue)> = attributes.iter().collect();
        sorted.sort_by_key(|(position, _)| *position);
        for (position, value) in sorted {
            let name = node.op.attributes[position].name;
            pieces.push(Piece::Text(format!("{separate}{name}=")));
            pieces.extend(self.written(id, position, value));
            separate = ", ";
        }
        pieces.push(text(")"));
        Expression {
            pieces,
            precedence: OBJECT,
            is_call: true,
        }
    }

    /// The value of an attribute as Python writes it.
    fn written(&self, id: NodeId, position: usize, value: &AttributeValue) -> Vec<Piece> {
        let calls = self.fold.calls;
        match value {
            AttributeValue::Integer(_) | AttributeValue::Float(_) => {
                vec![Piece::Number(calls.number(id, position, value))]
            }
            AttributeValue::Integers(values) => {
                let mut pieces = vec![text("[")];
                for (at, number) in calls.numbers(id, position, values).into_iter().enumerate() {
                    if at > 0 {
                        pieces.push(text(", "));
                    }
                    pieces.push(Piece::Number(number));
                }
                pieces.push(text("]"));
                pieces
            }
            AttributeValue::Boolean(true) => vec![text("True")],
            AttributeValue::Boolean(false) => vec![text("False")],
            AttributeValue::Text(word) => vec![Piece::Text(format!("'{word}'"))],
            AttributeValue::Dtype(dtype) => vec![text(dtype.name())],
        }
    }
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}
