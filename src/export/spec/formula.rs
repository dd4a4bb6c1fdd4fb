//! Calls as formulas: `h + attn`, `x.transpose(1, 2)`.
//!
//! A call whose only reader is another formula is written into that one, if the formula then
//! computes everything in the order in which the graph does. What waits for its reader stands on a
//! stack: a formula takes from its top exactly the operands that it computes itself.

use rustc_hash::FxHashSet;

use super::expression::{Expression, Writer};
use super::fold::Fold;
use super::text::{Body, Line, Piece};
use crate::graph::{NodeId, TensorId};

/// Longest formula that takes another one in, in characters.
const LONGEST: usize = 72;

/// An expression that waits for its reader.
struct Pending {
    expression: Expression,
    output: TensorId,
    hint: String,
    nodes: std::ops::Range<u32>,
}

/// Gathers calls to formulas.
pub(super) struct Formulas<'f, 'a> {
    fold: &'f Fold<'a>,
    writer: Writer<'f, 'a>,
    /// The calls of the region that may be said by formulas.
    sayable: FxHashSet<NodeId>,
    pending: Vec<Pending>,
}

impl<'f, 'a> Formulas<'f, 'a> {
    /// For the calls of a region.
    pub fn new(fold: &'f Fold<'a>, calls: impl Iterator<Item = NodeId>) -> Formulas<'f, 'a> {
        let writer = Writer { fold };
        Formulas {
            fold,
            sayable: calls.filter(|&id| writer.is_sayable(id)).collect(),
            writer,
            pending: Vec::new(),
        }
    }

    /// Takes a call, if it can be said by a formula. What must be computed before it and is not part
    /// of it becomes lines.
    pub fn take(&mut self, id: NodeId, hint: &str, lines: &mut Vec<Line>) -> bool {
        if !self.sayable.contains(&id) {
            return false;
        }
        let node = self.fold.graph().node(id);
        let waits = |tensor: &TensorId| self.pending.iter().any(|one| one.output == *tensor);
        let wanted: Vec<TensorId> = node.arguments.iter().copied().filter(waits).collect();
        let from = self.pending.len().saturating_sub(wanted.len());
        let top = self.pending[from..].iter().map(|one| one.output);
        let length: usize = self.pending[from..]
            .iter()
            .map(|one| one.expression.length())
            .sum();
        let fits = top.eq(wanted.iter().copied()) && length <= LONGEST;
        let inner = match fits {
            true => self.pending.split_off(from),
            false => {
                self.flush(lines);
                Vec::new()
            }
        };
        let start = inner.first().map_or(id.0, |one| one.nodes.start);
        let mut operands = inner.into_iter();
        let expression = self
            .writer
            .expression(id, &mut |tensor| match wanted.contains(&tensor) {
                true => operands.next().map(|one| one.expression),
                false => None,
            });
        let output = node.first_output;
        let pending = Pending {
            expression,
            output,
            hint: hint.to_owned(),
            nodes: start..id.0 + 1,
        };
        self.pending.push(pending);
        let at = output.0 as usize;
        let reader = NodeId(self.fold.last_use[at]);
        if self.fold.uses[at] != 1 || !self.sayable.contains(&reader) {
            self.flush(lines);
        }
        true
    }

    /// Writes down what waits.
    pub fn flush(&mut self, lines: &mut Vec<Line>) {
        for one in self.pending.drain(..) {
            // A function that stands alone reads better as a layer.
            if one.nodes.len() == 1 && one.expression.is_call {
                lines.push(self.fold.calls.line(NodeId(one.nodes.start), &one.hint));
                continue;
            }
            lines.push(Line {
                hint: one.hint.clone(),
                longer: one.hint,
                outputs: vec![one.output],
                body: Body::Formula(one.expression.pieces),
                inputs: Vec::new(),
                reads: false,
                attributes: Vec::new(),
                repeat: 1,
                nodes: one.nodes,
                instances: Vec::new(),
            });
        }
    }
}

impl Expression {
    /// About how long it is when tensors have names.
    fn length(&self) -> usize {
        let length = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Number(number) => number.text.len(),
            Piece::Tensor(_) => 6,
        };
        self.pieces.iter().map(length).sum()
    }
}
