//! Einsums of three or more operands.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::Budget;
use super::formula::{self, Formulas, Rewrite};
use crate::facts::order::einsum::{ContractionPath, EXACT_OPERANDS, Network, parse_equation};
use crate::graph::{Graph, NodeId, TensorId};
use crate::quantity::{Bytes, Flops};
use crate::spec::Spec;
use crate::tensor::{Dtype, Shape};

/// What the search costs beyond the operands that can be ordered exactly.
const SEARCH_STEPS: u64 = 20_000_000;

/// An einsum of at least three operands.
#[derive(Debug, Clone)]
pub struct Contraction {
    /// The call.
    pub node: NodeId,
    /// The equation in normal form: no spaces, and always with an output.
    pub equation: SmolStr,
    /// The operands.
    pub operands: SmallVec<[TensorId; 4]>,
    /// Contracting the operands as they are listed, as PyTorch does without `opt_einsum`.
    pub written: ContractionPath,
    /// The best path; the one as written if none is better.
    pub best: ContractionPath,
    /// The best path as nested einsums of two operands each, over `{0}`, `{1}`, ….
    nested: SmolStr,
    /// The element type of the result.
    pub dtype: Dtype,
}

type Solved = Option<(SmolStr, ContractionPath, ContractionPath, SmolStr)>;

/// All einsums of at least three operands. Equal ones are ordered once.
pub(super) fn all(graph: &Graph, budget: &mut Budget) -> Vec<Contraction> {
    let mut solved: FxHashMap<(SmolStr, Vec<Shape>), Solved> = FxHashMap::default();
    let mut found = Vec::new();
    for (id, node) in graph.nodes() {
        if node.op.name != "einsum" || node.arguments.len() < 3 || !graph.is_known(node) {
            continue;
        }
        let Some(text) = graph.with_call(node, |call| call.text("equation")) else {
            continue;
        };
        let shape = |&id: &TensorId| graph.ty(id).shape.clone();
        let shapes: Vec<Shape> = node.arguments.iter().map(shape).collect();
        let answer = solved
            .entry((text, shapes))
            .or_insert_with_key(|(text, shapes)| solve(text, shapes, budget));
        if let Some((equation, written, best, nested)) = answer.clone() {
            found.push(Contraction {
                node: id,
                equation,
                operands: node.arguments.iter().copied().collect(),
                written,
                best,
                nested,
                dtype: graph.ty(node.first_output).dtype,
            });
        }
    }
    found
}

fn solve(text: &str, shapes: &[Shape], budget: &mut Budget) -> Solved {
    let equation = parse_equation(text).ok()?;
    let sizes: Vec<&[u64]> = shapes.iter().map(Shape::sizes).collect();
    let network = Network::new(&equation, &sizes).ok()?;
    let written = network.left_to_right().ok()?;
    let steps = match shapes.len() {
        count if count <= EXACT_OPERANDS => 3u64.pow(count as u32) / 2,
        _ => SEARCH_STEPS,
    };
    let best = match budget.take(steps) {
        true => network.optimal().ok()?,
        false => written.clone(),
    };
    let places: Vec<String> = (0..shapes.len()).map(|at| format!("{{{at}}}")).collect();
    let nested = network.render(&best, &places);
    Some((equation.to_string().into(), written, best, nested.into()))
}

impl Contraction {
    /// What the operands are called; layers of the same block go without its path. `O(size of the formulas)`.
    pub fn names(&self, spec: &Spec, graph: &Graph) -> Vec<String> {
        let mut formulas = Formulas::new(spec, graph, self.node);
        let operands = self.operands.iter();
        operands.map(|&id| formulas.tensor(id).0).collect()
    }

    /// The best path as nested calls of `function`, with these texts for operands and this quote
    /// around the equations. `O(length)`.
    pub fn nested<S: AsRef<str>>(&self, function: &str, operands: &[S], quote: &str) -> String {
        let mut text = String::new();
        let template = self.nested.replace("einsum(", &format!("{function}("));
        let mut rest = template.as_str();
        while let Some(at) = rest.find(['{', '"']) {
            text.push_str(&rest[..at]);
            let digits = match rest[at..].strip_prefix('{') {
                None => {
                    text.push_str(quote);
                    rest = &rest[at + 1..];
                    continue;
                }
                Some(digits) => digits,
            };
            let end = digits.find('}').unwrap_or(digits.len());
            let operand = digits[..end].parse::<usize>().ok();
            let operand = operand.and_then(|operand| operands.get(operand));
            text.push_str(operand.map_or("?", AsRef::as_ref));
            rest = digits.get(end + 1..).unwrap_or("");
        }
        text + rest
    }

    /// The call with its operands contracted in the best order; `None` where it does not stand in
    /// a formula, or the edit is not certain.
    pub fn rewrite(&self, spec: &Spec, graph: &Graph) -> Option<Rewrite> {
        formula::rewrite_einsum(self, spec, graph)
    }

    /// Multiplications and additions of a path.
    pub fn flops(&self, path: &ContractionPath) -> Flops {
        Flops(path.flops)
    }

    /// Bytes of the largest result of a step of a path, the output included.
    pub fn largest(&self, path: &ContractionPath) -> Bytes {
        let elements = u64::try_from(path.largest_intermediate).unwrap_or(u64::MAX);
        Bytes(self.dtype.bytes_for(elements))
    }

    /// Whether no order was found that takes fewer FLOPs than the one as written.
    pub fn is_best(&self) -> bool {
        self.written.flops <= self.best.flops
    }

    /// How many times more the path as written takes.
    pub fn ratio(&self) -> f64 {
        match self.written.flops == self.best.flops {
            true => 1.0,
            false => self.written.flops as f64 / self.best.flops as f64,
        }
    }
}
