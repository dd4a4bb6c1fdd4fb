//! How each op is written in PyTorch: as an expression of its operands, and, where a layer owns
//! what it works with, as a module of `torch.nn`.
//!
//! One row of a table per op; a test finds what is missing. Nothing here knows of graphs.

mod elsewhere;
mod functional;
mod modules;
mod special;
mod table;

use std::cell::Cell;
use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use super::code::{self, Code, function, method, slot};
use crate::ops::{AttributeKind, AttributeValue, Call};
use crate::tensor::Dtype;

pub use modules::{attention_module, module};

/// How an op is written.
#[derive(Clone, Copy)]
pub enum Write {
    /// Between two operands, with that precedence.
    Infix(&'static str, u8),
    /// Before an operand.
    Prefix(&'static str),
    /// A function of the operands and, by keyword, the attributes that differ from the defaults.
    Function(&'static str),
    /// The same as a method of the first operand.
    Method(&'static str),
    /// Some other way.
    With(fn(&Site) -> Code),
}

/// A row of the table.
pub struct Row {
    /// The name of the op.
    pub op: &'static str,
    /// How it is written.
    pub write: Write,
    /// Attributes that are written even where they have the default, which is not PyTorch's.
    pub always: &'static [&'static str],
    /// Attributes that PyTorch's function does not take.
    pub without: &'static [&'static str],
}

/// An operand of a call as it is written.
#[derive(Debug, Clone)]
pub struct Operand {
    /// The expression.
    pub code: Code,
    /// Whether it is a plain number, which not every function takes.
    pub number: bool,
}

/// A call that is to be written.
pub struct Site<'a> {
    /// The call.
    pub call: &'a Call<'a>,
    /// Its operands; `None` where one is left out.
    pub operands: &'a [Option<Operand>],
    /// A tensor in scope whose element type the output has, whatever that is when it is run.
    pub follows: Option<&'a str>,
    /// Whether what was written asks the module for its mode.
    pub asks_mode: Cell<bool>,
}

/// The row of an op. `O(1)`.
pub fn row(op: &str) -> Option<&'static Row> {
    static BY_NAME: OnceLock<FxHashMap<&'static str, &'static Row>> = OnceLock::new();
    BY_NAME
        .get_or_init(|| table::ROWS.iter().map(|row| (row.op, row)).collect())
        .get(op)
        .copied()
}

/// Writes a call; `None` for an op that the table does not have.
pub fn expression(site: &Site) -> Option<Code> {
    let row = row(site.call.op.name)?;
    Some(match row.write {
        Write::Infix(operator, binding) => {
            // A comparison of comparisons chains in Python, and `**` binds to the right.
            let left = match binding {
                code::binding::COMPARISON | code::binding::POWER => binding + 1,
                binding => binding,
            };
            let right = match binding {
                code::binding::POWER => code::binding::UNARY,
                binding => binding + 1,
            };
            let (left, right) = (site.code(0).at_least(left), site.code(1).at_least(right));
            Code::new(format!("{left} {operator} {right}"), binding)
        }
        Write::Prefix(operator) => {
            let operand = site.code(0).at_least(code::binding::UNARY);
            Code::new(format!("{operator}{operand}"), code::binding::UNARY)
        }
        Write::Function(name) => {
            let mut arguments = site.tensors(0);
            arguments.extend(site.keywords(row));
            function(name, arguments)
        }
        Write::Method(name) => {
            let mut arguments = site.tensors(1);
            arguments.extend(site.keywords(row));
            method(&site.code(0), name, arguments)
        }
        Write::With(write) => write(site),
    })
}

impl Site<'_> {
    /// The operand at `position`; `None` in Python where it is left out.
    pub fn code(&self, position: usize) -> Code {
        match self.operands.get(position).and_then(Option::as_ref) {
            Some(operand) => operand.code.clone(),
            None => Code::atom("None"),
        }
    }

    /// Whether the operand is given.
    pub fn has(&self, position: usize) -> bool {
        self.operands.get(position).is_some_and(Option::is_some)
    }

    /// Whether the operand is a plain number.
    pub fn is_number(&self, position: usize) -> bool {
        let operand = self.operands.get(position).and_then(Option::as_ref);
        operand.is_some_and(|operand| operand.number)
    }

    /// The operand as an argument of a function.
    pub fn argument(&self, position: usize) -> String {
        self.code(position).text
    }

    /// The operand as a tensor: a number is made one.
    pub fn tensor(&self, position: usize) -> String {
        match self.is_number(position) {
            true => format!("torch.tensor({})", self.argument(position)),
            false => self.argument(position),
        }
    }

    /// The operands from `first` on, those that are left out at the end left out here too.
    pub fn tensors(&self, first: usize) -> Vec<String> {
        let given = self.operands.iter().rposition(Option::is_some);
        let end = given.map_or(0, |last| last + 1);
        (first..end.max(first)).map(|at| self.tensor(at)).collect()
    }

    /// The operands from `first` on as a list.
    pub fn list(&self, first: usize) -> String {
        format!("[{}]", self.tensors(first).join(", "))
    }

    /// The value of an attribute, given or by default, as a slot.
    pub fn value(&self, name: &str) -> Option<String> {
        let value = self.call.attribute(name)?;
        Some(slot(name, &code::attribute(&value)))
    }

    /// The value of an attribute that is there.
    pub fn needed(&self, name: &str) -> String {
        self.value(name).unwrap_or_else(|| "None".to_owned())
    }

    /// A list of integers, as a slot.
    pub fn integers(&self, name: &str) -> String {
        let values = self.call.integers(name).unwrap_or_default();
        slot(name, &code::tuple(values))
    }

    /// `name=value` for an attribute, where it is given or has a default.
    pub fn keyword(&self, name: &str) -> Option<String> {
        Some(format!("{name}={}", self.value(name)?))
    }

    /// `name=value` where the attribute has another value than PyTorch's default.
    pub fn unless(&self, name: &str, default: impl Into<AttributeValue>) -> Option<String> {
        let default = default.into();
        (self.call.attribute(name)? != default)
            .then(|| self.keyword(name))
            .flatten()
    }

    /// The attributes that differ from their defaults, by keyword.
    pub fn keywords(&self, row: &Row) -> Vec<String> {
        let attributes = self.call.op.attributes.iter().enumerate();
        attributes
            .filter(|(_, attribute)| {
                attribute.kind != AttributeKind::Parameter && !row.without.contains(&attribute.name)
            })
            .filter_map(|(position, attribute)| {
                let given = self.call.attributes.get(position);
                let differs = given.is_some() && given != attribute.default_value().as_ref();
                (differs || row.always.contains(&attribute.name))
                    .then(|| self.keyword(attribute.name))
                    .flatten()
            })
            .collect()
    }

    /// `self.training`.
    pub fn training(&self) -> String {
        self.asks_mode.set(true);
        "self.training".to_owned()
    }

    /// `dtype=…` for the element type of the output, where that is not what PyTorch makes by
    /// itself.
    pub fn output_dtype(&self, by_itself: Dtype) -> Option<String> {
        if let Some(other) = self.follows {
            return Some(format!("dtype={other}.dtype"));
        }
        let dtype = self.call.output()?.dtype;
        (dtype != by_itself).then(|| format!("dtype={}", slot("dtype", &code::dtype(dtype))))
    }

    /// The number of axes of the operand at `position`.
    pub fn rank(&self, position: usize) -> usize {
        self.call.shape(position).map_or(0, |shape| shape.rank())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Guards the table: every op can be written, and no row stands for an op that there is not.
    /// An op that is made of others is written as those.
    #[test]
    fn every_op_is_written() {
        let written: HashSet<&str> = table::ROWS.iter().map(|row| row.op).collect();
        assert_eq!(written.len(), table::ROWS.len(), "an op has two rows");
        let missing: Vec<&str> = crate::ops::all()
            .filter(|op| op.expand.is_none() && !written.contains(op.name))
            .map(|op| op.name)
            .collect();
        assert!(missing.is_empty(), "add to the table: {missing:?}");
        for row in table::ROWS {
            let op = crate::ops::find(row.op).unwrap();
            assert_eq!(op.name, row.op, "the row names an alias");
            for name in row.always.iter().chain(row.without) {
                let known = op
                    .attributes
                    .iter()
                    .any(|attribute| attribute.name == *name);
                assert!(known, "`{}` has no attribute `{name}`", row.op);
            }
        }
    }
}
