//! The functions of plain arithmetic.

use smallvec::SmallVec;

use super::super::FormulaError;
use super::super::lexer::short;
use super::super::operators::BinaryOperator;
use super::super::tree::{Expression, NodeId, NodeKind};
use super::operations::{binary, division_by_zero, finite};
use super::{Fault, Number};
use crate::source::suggest::did_you_mean;

/// A function, by its name in Python where it has one there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Min,
    Max,
    Sum,
    Prod,
    Ceil,
    Floor,
    Round,
    Int,
    Float,
    Abs,
    Sqrt,
    Log,
    Log2,
    Exp,
    CeilDiv,
}

const FUNCTIONS: [(&str, Function); 15] = [
    ("min", Function::Min),
    ("max", Function::Max),
    ("sum", Function::Sum),
    ("prod", Function::Prod),
    ("ceil", Function::Ceil),
    ("floor", Function::Floor),
    ("round", Function::Round),
    ("int", Function::Int),
    ("float", Function::Float),
    ("abs", Function::Abs),
    ("sqrt", Function::Sqrt),
    ("log", Function::Log),
    ("log2", Function::Log2),
    ("exp", Function::Exp),
    ("ceil_div", Function::CeilDiv),
];

impl Function {
    /// The function that the expression names, with or without the module it comes from.
    fn resolve(tree: &Expression, node: NodeId) -> Result<Function, FormulaError> {
        let span = tree.node(node).span;
        let Some(name) = tree.dotted_name(node) else {
            return Err(FormulaError::new("only functions can be called here", span));
        };
        let plain = ["math.", "np.", "numpy.", "torch."]
            .iter()
            .find_map(|module| name.strip_prefix(module))
            .unwrap_or(&name);
        let found = FUNCTIONS.iter().find(|(known, _)| *known == plain);
        found.map(|&(_, function)| function).ok_or_else(|| {
            let message = format!("`{}` is not a function of plain numbers", short(&name));
            let mut error = FormulaError::new(message, span);
            error.help = did_you_mean(plain, &FUNCTIONS.map(|(known, _)| known));
            error
        })
    }

    /// The least and the greatest number of operands.
    fn arity(self) -> (usize, usize) {
        match self {
            Function::Min | Function::Max => (1, usize::MAX),
            Function::Sum | Function::Prod => (0, usize::MAX),
            Function::CeilDiv => (2, 2),
            _ => (1, 1),
        }
    }
}

/// The operands of a call: its arguments, and where one is a list, the entries of that.
pub(super) fn operands(
    tree: &Expression,
    call: NodeId,
) -> Result<SmallVec<[NodeId; 4]>, FormulaError> {
    let mut operands = SmallVec::new();
    let NodeKind::Call {
        function,
        arguments,
    } = *tree.kind(call)
    else {
        return Ok(operands);
    };
    let resolved = Function::resolve(tree, function)?;
    let (least, most) = resolved.arity();
    for argument in tree.arguments(arguments) {
        if let Some((name, span)) = &argument.name {
            let message = format!("plain arithmetic has no argument named `{}`", short(name));
            return Err(FormulaError::new(message, *span));
        }
        match *tree.kind(argument.value) {
            NodeKind::List(list) | NodeKind::Tuple(list) if most > 2 => {
                operands.extend_from_slice(tree.items(list));
            }
            _ => operands.push(argument.value),
        }
    }
    if (least..=most).contains(&operands.len()) {
        return Ok(operands);
    }
    let wanted = match (least, most) {
        (1, 1) => "one number".to_owned(),
        (_, usize::MAX) => "at least one number".to_owned(),
        _ => format!("{least} numbers"),
    };
    let name = tree.display(function);
    let message = format!("`{name}` takes {wanted}, and is given {}", operands.len());
    Err(FormulaError::new(message, tree.node(call).span))
}

/// Applies the function that `function` names.
pub(super) fn call(
    tree: &Expression,
    function: NodeId,
    operands: &[Number],
) -> Result<Number, Fault> {
    let resolved = Function::resolve(tree, function).map_err(|error| Fault::new(error.message))?;
    let shown = || {
        let operands: Vec<String> = operands.iter().map(Number::to_string).collect();
        format!("{}({})", tree.display(function), operands.join(", "))
    };
    let fold = |start: i64, operator| {
        operands
            .iter()
            .try_fold(Number::Integer(start), |total, &next| {
                binary(operator, total, next)
            })
    };
    match (resolved, operands) {
        (Function::Sum, _) => fold(0, BinaryOperator::Add),
        (Function::Prod, _) => fold(1, BinaryOperator::Multiply),
        (Function::Min, &[first, ref rest @ ..]) => {
            let smaller = |a: Number, b: Number| {
                if b.compare(a).is_some_and(|it| it.is_lt()) {
                    b
                } else {
                    a
                }
            };
            Ok(rest.iter().copied().fold(first, smaller))
        }
        (Function::Max, &[first, ref rest @ ..]) => {
            let larger = |a: Number, b: Number| {
                if b.compare(a).is_some_and(|it| it.is_gt()) {
                    b
                } else {
                    a
                }
            };
            Ok(rest.iter().copied().fold(first, larger))
        }
        (Function::CeilDiv, &[Number::Integer(_), Number::Integer(0)]) => {
            Err(division_by_zero(&shown()))
        }
        (Function::CeilDiv, &[Number::Integer(a), Number::Integer(b)]) => {
            // -floor(-a / b), in 128 bits so that no negation overflows.
            let (a, b) = (i128::from(a), i128::from(b));
            let quotient = a / b + i128::from(a % b != 0 && (a < 0) == (b < 0));
            match i64::try_from(quotient) {
                Ok(quotient) => Ok(Number::Integer(quotient)),
                Err(_) => Err(Fault::too_large(&shown())),
            }
        }
        (Function::CeilDiv, &[a, b]) => round_with(
            binary(BinaryOperator::Divide, a.as_f64().into(), b)?,
            f64::ceil,
            &shown(),
        ),
        (Function::Ceil, &[value]) => round_with(value, f64::ceil, &shown()),
        (Function::Floor, &[value]) => round_with(value, f64::floor, &shown()),
        (Function::Round, &[value]) => round_with(value, f64::round_ties_even, &shown()),
        (Function::Int, &[value]) => round_with(value, f64::trunc, &shown()),
        (Function::Float, &[value]) => Ok(Number::Real(value.as_f64())),
        (Function::Abs, &[Number::Integer(value)]) => match value.checked_abs() {
            Some(value) => Ok(Number::Integer(value)),
            None => Err(Fault::too_large(&shown())),
        },
        (Function::Abs, &[Number::Real(value)]) => Ok(Number::Real(value.abs())),
        (Function::Sqrt, &[value]) if value.as_f64() < 0.0 => {
            Err(Fault::new(format!("{} is not a real number", shown())))
        }
        (Function::Sqrt, &[value]) => Ok(exact_root(value)),
        (Function::Log | Function::Log2, &[value]) if value.as_f64() <= 0.0 => {
            Err(Fault::new(format!("{} is not a real number", shown())))
        }
        (Function::Log, &[value]) => Ok(Number::Real(value.as_f64().ln())),
        (Function::Log2, &[Number::Integer(value)]) if value.count_ones() == 1 => {
            Ok(Number::Integer(value.trailing_zeros().into()))
        }
        (Function::Log2, &[value]) => Ok(Number::Real(value.as_f64().log2())),
        (Function::Exp, &[value]) => finite(value.as_f64().exp(), &shown()),
        // The number of operands was checked before they were computed.
        _ => Err(Fault::new(format!(
            "{} has the wrong number of arguments",
            shown()
        ))),
    }
}

/// Rounds to an integer, which must fit.
fn round_with(value: Number, round: fn(f64) -> f64, shown: &str) -> Result<Number, Fault> {
    let rounded = match value {
        Number::Integer(value) => Some(value),
        Number::Real(value) => Number::Real(round(value)).whole(),
    };
    rounded
        .map(Number::Integer)
        .ok_or_else(|| Fault::too_large(shown))
}

/// The square root of a number that is not negative; an integer for a square integer.
fn exact_root(value: Number) -> Number {
    match value {
        Number::Integer(square) if square >= 0 && square.isqrt().pow(2) == square => {
            Number::Integer(square.isqrt())
        }
        _ => Number::Real(value.as_f64().sqrt()),
    }
}
