//! The value of an expression over plain numbers: sizes, and the settings of a run.
//!
//! Integers stay exact: a division that does not come out, or a value that does not fit, is an
//! error that shows the arithmetic. Tensors are none of this module's business.

mod functions;
mod number;
mod operations;
#[cfg(test)]
mod tests;

pub use number::Number;

use super::FormulaError;
use super::lexer::short;
use super::operators::BinaryOperator;
use super::tree::{Expression, NodeId, NodeKind};
use crate::source::Span;

/// Computes an expression. `lookup` gives the value of a name, dotted ones such as `cluster.nodes`
/// included, and is asked once for each time that the name is needed; the branch of a conditional
/// that is not taken is not looked at.
///
/// The semantics are Python's, with four differences that serve sizes:
/// `/` between integers gives an integer, and is an error where it does not come out;
/// `sqrt` and `log2` of an integer give an integer where one is the exact result;
/// `^` is for truth only, because it is meant as a power otherwise;
/// integers have 64 bits and their overflow is an error, as is that of reals.
///
/// `True` and `False` are 1 and 0, and comparisons give those. There is `min`, `max`, `sum`,
/// `prod` (of arguments or of one list), `ceil`, `floor`, `round` (half to even), `int` (towards
/// zero), `float`, `abs`, `sqrt`, `log`, `log2`, `exp` and `ceil_div(a, b)`; a prefix `math.`,
/// `np.`, `numpy.` or `torch.` is allowed.
///
/// # Errors
/// The first thing that has no value: a name that `lookup` does not know, a division by zero or
/// with a remainder, an overflow, a string, a list outside of a call, an unknown function.
pub fn evaluate(
    expression: &Expression,
    lookup: &mut dyn FnMut(&str, Span) -> Option<Number>,
) -> Result<Number, FormulaError> {
    evaluate_node(expression, expression.root(), lookup)
}

/// Computes a sub-expression; see [`evaluate`].
///
/// # Errors
/// Those of [`evaluate`].
pub fn evaluate_node(
    expression: &Expression,
    node: NodeId,
    lookup: &mut dyn FnMut(&str, Span) -> Option<Number>,
) -> Result<Number, FormulaError> {
    let mut evaluator = Evaluator {
        tree: expression,
        tasks: vec![Task::Value(node)],
        values: Vec::new(),
        lookup,
    };
    while let Some(task) = evaluator.tasks.pop() {
        evaluator.step(task)?;
    }
    evaluator.pop(node)
}

/// What is still to be done. A stack instead of recursion: a long sum is a tree as deep as it is
/// long.
enum Task {
    /// Compute the node.
    Value(NodeId),
    /// Its operands are computed; combine that many of them.
    Combine(NodeId, usize),
    /// The first operand of a conditional, of `and` or of `or` is computed and decides.
    Decide(NodeId),
}

struct Evaluator<'a, 'b> {
    tree: &'a Expression,
    tasks: Vec<Task>,
    values: Vec<Number>,
    lookup: &'b mut dyn FnMut(&str, Span) -> Option<Number>,
}

impl Evaluator<'_, '_> {
    fn step(&mut self, task: Task) -> Result<(), FormulaError> {
        match task {
            Task::Value(node) => self.visit(node),
            Task::Decide(node) => self.decide(node),
            Task::Combine(node, count) => {
                let start = self.values.len().saturating_sub(count);
                let value = combine(self.tree, node, &self.values[start..])?;
                self.values.truncate(start);
                self.values.push(value);
                Ok(())
            }
        }
    }

    fn pop(&mut self, node: NodeId) -> Result<Number, FormulaError> {
        // Every task leaves exactly one value, so this is never empty.
        let missing = || FormulaError::new("this has no value", self.tree.node(node).span);
        self.values.pop().ok_or_else(missing)
    }

    fn visit(&mut self, node: NodeId) -> Result<(), FormulaError> {
        let tree = self.tree;
        match tree.kind(node) {
            NodeKind::Integer(value) => self.values.push(Number::Integer(*value)),
            NodeKind::Real(value) => self.values.push(Number::Real(*value)),
            NodeKind::Boolean(value) => self.values.push(Number::Integer((*value).into())),
            NodeKind::Name(_) | NodeKind::Attribute { .. } => self.name(node)?,
            NodeKind::Unary { operand, .. } => self.later(node, [*operand]),
            NodeKind::Binary {
                operator,
                left,
                right,
            } => match operator {
                BinaryOperator::And | BinaryOperator::Or => {
                    self.tasks.extend([Task::Decide(node), Task::Value(*left)]);
                }
                _ => self.later(node, [*left, *right]),
            },
            NodeKind::Conditional { condition, .. } => {
                self.tasks
                    .extend([Task::Decide(node), Task::Value(*condition)]);
            }
            NodeKind::Call { .. } => {
                let operands = functions::operands(tree, node)?;
                self.later(node, operands);
            }
            NodeKind::None
            | NodeKind::Ellipsis
            | NodeKind::String(_)
            | NodeKind::Index { .. }
            | NodeKind::Slice { .. }
            | NodeKind::Tuple(_)
            | NodeKind::List(_) => return Err(not_a_number(tree, node)),
        }
        Ok(())
    }

    /// Computes the operands, the first of them first, and then the node.
    fn later<I>(&mut self, node: NodeId, operands: I)
    where
        I: IntoIterator<Item = NodeId, IntoIter: DoubleEndedIterator + ExactSizeIterator>,
    {
        let operands = operands.into_iter();
        self.tasks.push(Task::Combine(node, operands.len()));
        self.tasks.extend(operands.rev().map(Task::Value));
    }

    fn decide(&mut self, node: NodeId) -> Result<(), FormulaError> {
        let first = self.pop(node)?;
        match *self.tree.kind(node) {
            NodeKind::Conditional {
                value, otherwise, ..
            } => {
                let taken = if first.is_true() { value } else { otherwise };
                self.tasks.push(Task::Value(taken));
            }
            // As in Python, the operand that decides is the value.
            NodeKind::Binary {
                operator, right, ..
            } if first.is_true() == (operator == BinaryOperator::And) => {
                self.tasks.push(Task::Value(right));
            }
            _ => self.values.push(first),
        }
        Ok(())
    }

    fn name(&mut self, node: NodeId) -> Result<(), FormulaError> {
        let span = self.tree.node(node).span;
        let Some(name) = self.tree.dotted_name(node) else {
            return Err(not_a_number(self.tree, node));
        };
        match (self.lookup)(&name, span) {
            Some(value) => self.values.push(value),
            None => {
                let message = format!("`{}` has no value", short(&name));
                return Err(FormulaError::new(message, span));
            }
        }
        Ok(())
    }
}

fn not_a_number(tree: &Expression, node: NodeId) -> FormulaError {
    let what = match tree.kind(node) {
        NodeKind::String(_) => "a string",
        NodeKind::None => "`None`",
        NodeKind::Ellipsis => "`...`",
        NodeKind::Tuple(_) => "a tuple",
        NodeKind::List(_) => "a list",
        NodeKind::Index { .. } => "an index",
        NodeKind::Attribute { .. } => "an attribute",
        _ => "this",
    };
    let message = format!("{what} is not a number, and this is plain arithmetic");
    FormulaError::new(message, tree.node(node).span)
}

/// Applies the node's operator or function to its operands.
fn combine(tree: &Expression, node: NodeId, operands: &[Number]) -> Result<Number, FormulaError> {
    let result = match (tree.kind(node), operands) {
        (NodeKind::Unary { operator, .. }, &[operand]) => operations::unary(*operator, operand),
        (NodeKind::Binary { operator, .. }, &[left, right]) => {
            operations::binary(*operator, left, right)
        }
        (NodeKind::Call { function, .. }, operands) => functions::call(tree, *function, operands),
        _ => return Err(not_a_number(tree, node)),
    };
    result.map_err(|fault| {
        // `width / heads` says more than `768 / 7` alone; both are shown where they differ.
        let written = tree.display(node).to_string();
        let message = match fault.message.strip_prefix(&written) {
            Some(_) => fault.message,
            None if written.chars().count() > 40 => fault.message,
            None => format!("`{written}`: {}", fault.message),
        };
        let mut error = FormulaError::new(message, tree.node(node).span);
        error.help = fault.help;
        error
    })
}

/// What is wrong with an operation, its place left aside.
struct Fault {
    message: String,
    help: Option<String>,
}

impl Fault {
    fn new(message: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    /// The result of `arithmetic` is out of range.
    fn too_large(arithmetic: &str) -> Fault {
        Fault::new(format!("{arithmetic} does not fit into 64 bits"))
    }
}
