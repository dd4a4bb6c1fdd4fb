//! The sizes that a program leaves open: their names, and the numbers that are put in for them.

use std::cell::RefCell;

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::flatten;
use super::schema::{ExportedProgram, Size};
use super::sympy;
use crate::formula::arithmetic::{Number, evaluate};
use crate::formula::parse_at;
use crate::import::{ImportError, OpenDim};
use crate::source::FileId;
use crate::spec::dims::DimValues;

/// Numbers for the open sizes of a program.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// Those that differ from what they were when the program was exported; where there are none,
    /// every expression is worth what it was then.
    changed: FxHashMap<SmolStr, i64>,
    all: FxHashMap<SmolStr, i64>,
    /// What expressions came to.
    known: RefCell<FxHashMap<String, Option<i64>>>,
}

impl Symbols {
    /// Takes the numbers from the dims of those names.
    ///
    /// # Errors
    /// Where one is out of the range that the program allows.
    pub(super) fn new(program: &ExportedProgram, dims: &DimValues) -> Result<Symbols, ImportError> {
        let mut symbols = Symbols::default();
        for dim in open_dims(program) {
            let value = match dims.get(&dim.name) {
                Some(Number::Integer(value)) => value,
                _ => dim.size,
            };
            let (low, high) = dim.range;
            // The program itself may have been written at a size that it does not allow.
            if value != dim.size && !(low..=high).contains(&value) {
                let range = match high {
                    i64::MAX => format!("at least {low}"),
                    high => format!("{low} to {high}"),
                };
                let message = format!(
                    "`{}` is {value}, and the program was exported for {range}",
                    dim.name
                );
                return Err(ImportError::new(message));
            }
            if value != dim.size {
                symbols.changed.insert(dim.name.clone(), value);
            }
            symbols.all.insert(dim.name, value);
        }
        Ok(symbols)
    }

    /// The number that a size comes to, if it does.
    pub(super) fn value(&self, size: &Size) -> Option<i64> {
        let Some(expression) = size.expression().filter(|_| !self.changed.is_empty()) else {
            return size.hint();
        };
        if let Some(&value) = self.known.borrow().get(expression) {
            return value;
        }
        let value = self.evaluate(expression);
        let mut known = self.known.borrow_mut();
        known.insert(expression.to_owned(), value);
        value
    }

    fn evaluate(&self, expression: &str) -> Option<i64> {
        let named = |name: &str| self.all.get(name).copied();
        let value = sympy::evaluate(expression, &named);
        if let Some(value) = value.or_else(|| named(expression)) {
            return Some(value);
        }
        // Older programs write the expression as Python does, but for these.
        let text = expression.replace("Max(", "max(").replace("Min(", "min(");
        let tree = parse_at(&text, FileId::default(), 0).ok()?;
        let mut lookup = |name: &str, _| self.all.get(name).map(|&value| Number::Integer(value));
        match evaluate(&tree, &mut lookup).ok()? {
            Number::Integer(value) => Some(value),
            Number::Real(_) => None,
        }
    }
}

/// The symbols among the sizes of the program's inputs, in the order in which they come.
pub(super) fn open_dims(program: &ExportedProgram) -> Vec<OpenDim> {
    let graph = &program.graph_module.graph;
    let inputs = program.graph_module.signature.input_specs.iter();
    let names = inputs
        .filter_map(|spec| spec.user_input.as_ref())
        .flat_map(|input| flatten::names(&input.arg));
    let sizes = names
        .filter_map(|name| graph.tensor_values.get(&name.name))
        .flat_map(|meta| &meta.sizes);
    let mut dims: Vec<OpenDim> = Vec::new();
    for size in sizes {
        let symbol = size.expression().and_then(sympy::symbol);
        let (Some(name), Some(value)) = (symbol, size.hint()) else {
            continue;
        };
        if dims.iter().any(|dim| dim.name == name) {
            continue;
        }
        let range = program.range_constraints.get(name).copied();
        let range = range.unwrap_or_default();
        dims.push(OpenDim {
            name: name.into(),
            size: value,
            range: (
                range.min_val.unwrap_or(0),
                range.max_val.unwrap_or(i64::MAX),
            ),
        });
    }
    dims
}
