//! `[dims]`: named sizes, and expressions over them.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::document::TableRef;
use super::names;
use super::reader::{Reader, evaluate};
use crate::formula::arithmetic::Number;
use crate::formula::{Expression, NodeKind};
use crate::source::Span;

/// The values of all dims.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DimValues(FxHashMap<SmolStr, Number>);

impl DimValues {
    /// The value of a dim.
    pub fn get(&self, name: &str) -> Option<Number> {
        self.0.get(name).copied()
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.keys().map(SmolStr::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Sets a value.
    pub fn set(&mut self, name: impl Into<SmolStr>, value: Number) {
        self.0.insert(name.into(), value);
    }
}

/// One entry of `[dims]`.
#[derive(Debug, Clone)]
pub struct Dim {
    /// The name.
    pub name: SmolStr,
    /// Where the name stands.
    pub key_span: Span,
    /// Where the value stands.
    pub span: Span,
    value: DimValue,
}

#[derive(Debug, Clone)]
enum DimValue {
    Number(Number),
    Expression(Box<Expression>),
    Faulty,
}

impl Dim {
    /// Whether the dim is a plain number, one that can be varied by itself.
    pub fn is_free(&self) -> bool {
        matches!(self.value, DimValue::Number(_))
    }
}

/// All entries of `[dims]`.
#[derive(Debug, Clone, Default)]
pub struct Dims {
    /// The entries, in the order of the text.
    pub entries: Vec<Dim>,
}

impl Dims {
    /// The free dims that the value of a dim rests on, itself if it is free; sorted, each once.
    /// `O(dims + uses)`.
    pub fn free_dims(&self, name: &str) -> Vec<&SmolStr> {
        let index: FxHashMap<&str, usize> = self
            .entries
            .iter()
            .enumerate()
            .map(|(i, dim)| (dim.name.as_str(), i))
            .collect();
        let mut seen = vec![false; self.entries.len()];
        let mut open: Vec<usize> = index.get(name).copied().into_iter().collect();
        let mut found = Vec::new();
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            match &self.entries[at].value {
                DimValue::Number(_) => found.push(&self.entries[at].name),
                DimValue::Expression(expression) => {
                    let names = expression
                        .nodes()
                        .iter()
                        .filter_map(|node| match &node.kind {
                            NodeKind::Name(name) => index.get(name.as_str()).copied(),
                            _ => None,
                        });
                    open.extend(names);
                }
                DimValue::Faulty => {}
            }
        }
        found.sort_unstable();
        found
    }

    /// Reads the table; values are evaluated later.
    pub(crate) fn read(table: TableRef<'_>, reader: &mut Reader<'_>) -> Dims {
        let mut entries = Vec::new();
        for entry in table.entries() {
            let node = entry.value();
            let value = reader.within(entry.key(), |reader| {
                if let Some(value) = node.as_integer() {
                    DimValue::Number(Number::Integer(value))
                } else if let Some(value) = node.as_float() {
                    DimValue::Number(Number::Real(value))
                } else if node.as_str().is_some() {
                    match reader.expression(node, names::INCONSISTENT_DIM) {
                        Some(expression) => DimValue::Expression(Box::new(expression)),
                        None => DimValue::Faulty,
                    }
                } else {
                    let _: Option<()> = reader.expected(node, "a number or an expression");
                    DimValue::Faulty
                }
            });
            let name = entry.key().into();
            entries.push(Dim {
                name,
                key_span: entry.key_span(),
                span: node.span(),
                value,
            });
        }
        Dims { entries }
    }

    /// The values of all dims, with some of the free ones set to other numbers. A dim whose value
    /// cannot be told stays out; `faults` is told why. `O(dims + uses)`.
    pub(crate) fn evaluate(
        &self,
        overrides: &[(SmolStr, i64)],
        mut faults: impl FnMut(&Dim, crate::formula::FormulaError),
    ) -> DimValues {
        let index: FxHashMap<&str, usize> = self
            .entries
            .iter()
            .enumerate()
            .map(|(i, dim)| (dim.name.as_str(), i))
            .collect();
        // Kahn's algorithm: a dim is computed once all that it names have been.
        let mut waiting = vec![0usize; self.entries.len()];
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); self.entries.len()];
        for (user, dim) in self.entries.iter().enumerate() {
            let DimValue::Expression(expression) = &dim.value else {
                continue;
            };
            for node in expression.nodes() {
                if let NodeKind::Name(name) = &node.kind
                    && let Some(&used) = index.get(name.as_str())
                {
                    waiting[user] += 1;
                    users[used].push(user);
                }
            }
        }
        let mut ready: Vec<usize> = (0..self.entries.len())
            .rev()
            .filter(|&i| waiting[i] == 0)
            .collect();
        let mut done = vec![false; self.entries.len()];
        let mut values = DimValues::default();
        while let Some(at) = ready.pop() {
            done[at] = true;
            let dim = &self.entries[at];
            let fixed = overrides.iter().find(|(name, _)| *name == dim.name);
            let value = match (&dim.value, fixed) {
                (DimValue::Number(_), Some((_, value))) => Some(Number::Integer(*value)),
                (DimValue::Number(value), None) => Some(*value),
                (DimValue::Expression(expression), _) => {
                    match evaluate(expression, &mut |name| values.get(name)) {
                        Ok(value) => Some(value),
                        // What a faulty dim makes unknown has been reported with that dim.
                        Err(error) => {
                            let follows = error
                                .message
                                .strip_prefix("unknown dim `")
                                .and_then(|rest| rest.strip_suffix('`'))
                                .is_some_and(|name| index.contains_key(name));
                            if !follows {
                                faults(dim, error);
                            }
                            None
                        }
                    }
                }
                (DimValue::Faulty, _) => None,
            };
            if let Some(value) = value {
                values.set(dim.name.clone(), value);
            }
            for &user in &users[at] {
                waiting[user] -= 1;
                if waiting[user] == 0 {
                    ready.push(user);
                }
            }
        }
        if let Some(at) = (0..done.len()).find(|&i| !done[i]) {
            let dim = &self.entries[at];
            let others: Vec<&str> = (0..done.len())
                .filter(|&i| !done[i])
                .take(8)
                .map(|i| self.entries[i].name.as_str())
                .collect();
            let message = format!(
                "these dims are defined by each other: {}",
                others.join(", ")
            );
            faults(dim, crate::formula::FormulaError::new(message, dim.span));
        }
        values
    }
}
