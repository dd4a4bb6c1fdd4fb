//! The order in which the operands of an einsum are best contracted, two at a time.
//!
//! An [`Equation`] is the text, understood; a [`Network`] is an equation with sizes, and answers
//! what an order costs and which order is best. The rules are those of `torch.einsum`: letters of
//! the Latin alphabet, an ellipsis for batch dimensions that broadcast, sizes of one that
//! broadcast too, diagonals by a letter repeated within an operand. Not for the sublist form.
//!
//! # How a contraction is counted
//!
//! Two operands are contracted over every index that neither the output nor another operand still
//! needs. That takes one multiplication for each element of the joint index space, and, where an
//! index is summed, one addition each: `flops` are twice the multiplications, or once for products
//! in which nothing is summed. An index that stands in one operand only and is summed is summed
//! before that operand is used, as PyTorch does: additions, no multiplications.

mod equation;
mod network;
mod path;
mod search;
mod tree;

pub use equation::{EinsumError, Equation, Subscript, Term, parse_equation};
pub use network::{Cost, MAX_INDICES, MAX_OPERANDS, Network};
pub use path::ContractionPath;
pub use search::EXACT_OPERANDS;

#[cfg(test)]
mod tests;
