//! The order in which a product of many factors is best carried out.
//!
//! These are algorithms on sizes alone: they know nothing of graphs, dtypes or devices. Costs are
//! scalar multiplications, counted exactly in 128 bits; what does not fit is an error, never a
//! wrapped number.
//!
//! - [`chain`]: matrix chains, solved exactly up to millions of matrices.
//! - [`einsum`]: contraction of several operands, solved exactly up to fourteen of them.
//! - [`expression`]: a product as a person types it, for the command line.

pub mod chain;
pub mod einsum;
pub mod expression;
mod hu_shing;
mod tree;

pub use chain::{ChainOrder, OrderError};
pub use tree::{Orders, Parenthesisation, Product, Products};

#[cfg(test)]
mod chain_tests;
