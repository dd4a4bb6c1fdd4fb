//! A product or einsum as a person types it, and the answer to which order is best.
//!
//! ```text
//! A[100, 5] @ B[5, 200] @ C[200, 20]
//! einsum("ij,jk,kl->il", A[100, 5], B[5, 200], C[200, 20])
//! ```
//!
//! Parentheses are kept, so that the order as written has its own cost. `@` is `torch.matmul`:
//! dimensions before the last two are a batch and broadcast, a vector may stand first or last.
//! Not for general formulas, nor for sizes that are not numbers.

mod lexer;
mod parser;
mod product;

use std::fmt;
use std::ops::Range;

use super::OrderError;
use super::einsum::{Cost, Network};
pub use parser::{MAX_LENGTH, MAX_RANK, parse_expression};
pub use product::MatrixProduct;

/// Why an expression has no answer, and which bytes of it are at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// What is wrong, in words.
    pub message: String,
    /// The bytes that it is about.
    pub span: Range<usize>,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl ExpressionError {
    fn new(span: Range<usize>, message: impl Into<String>) -> ExpressionError {
        ExpressionError {
            message: message.into(),
            span,
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> ExpressionError {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExpressionError {}

/// A product whose order is to be chosen.
#[derive(Debug, Clone)]
pub enum OrderProblem {
    /// Factors joined by `@`.
    Product(MatrixProduct),
    /// A call of `einsum`.
    Einsum(EinsumCall),
}

/// A call of `einsum` with the sizes of its operands.
#[derive(Debug, Clone)]
pub struct EinsumCall {
    /// The equation, in normal form.
    pub equation: String,
    /// What the operands are called.
    pub names: Vec<String>,
    /// The equation with its sizes.
    pub network: Network,
}

/// One order, written out, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The expression, ready to be used instead of the one given.
    pub text: String,
    /// What it takes.
    pub cost: Cost,
}

/// The best order of a product or einsum, beside others to compare it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderAnswer {
    /// The expression as given, its parentheses kept and its shapes left out; a transposed product
    /// is written as the product of its transposed factors in reverse. An einsum of more
    /// than two operands is taken to contract them as they are listed, as PyTorch does where
    /// opt_einsum is not installed.
    pub written: Candidate,
    /// The operands multiplied as they are listed.
    pub left_to_right: Candidate,
    /// The best order; the one as written if none is better.
    pub best: Candidate,
    /// Whether no order takes fewer multiplications than `best`.
    pub proved: bool,
    /// The dearest order, where it was computed.
    pub worst: Option<Candidate>,
    /// Every order, the cheapest first; empty where there are too many to list, which is from nine
    /// operands of `@` and six of an einsum on.
    pub orders: Vec<Candidate>,
    /// How many orders there are; `u128::MAX` if that many or more.
    pub order_count: u128,
    /// For an einsum, what it takes with all operands multiplied at once in one nest of loops;
    /// `None` for `@` and where that does not fit in 128 bits.
    pub at_once: Option<Cost>,
    /// For an einsum, the best path in the convention of opt_einsum, NumPy and PyTorch.
    pub path: Option<Vec<(usize, usize)>>,
}

impl OrderProblem {
    /// Finds the best order and what to compare it with.
    ///
    /// # Errors
    /// If the orders asked for cannot be costed in 128 bits, or a chain whose factors have
    /// different batches is too long for the O(n³) programme.
    pub fn answer(&self) -> Result<OrderAnswer, OrderError> {
        match self {
            OrderProblem::Product(product) => product.answer(),
            OrderProblem::Einsum(call) => call.answer(),
        }
    }

    /// Names of the operands in the order in which they are multiplied, `.T` included.
    pub fn names(&self) -> Vec<String> {
        match self {
            OrderProblem::Product(product) => product.names(),
            OrderProblem::Einsum(call) => call.names.clone(),
        }
    }
}

impl EinsumCall {
    /// Most operands for which every order is listed: 105 of them.
    const LISTED: usize = 5;

    fn answer(&self) -> Result<OrderAnswer, OrderError> {
        let best = self.network.optimal()?;
        let listed = self.network.left_to_right()?;
        let candidate = |path: &super::einsum::ContractionPath| Candidate {
            text: self.network.render(path, &self.names),
            cost: Cost {
                multiplications: path.multiplications,
                flops: path.flops,
            },
        };
        let count = self.names.len();
        let orders: Vec<Candidate> = if count <= Self::LISTED {
            self.network.every_path()?.iter().map(candidate).collect()
        } else {
            Vec::new()
        };
        let left_to_right = candidate(&listed);
        // (2n - 3)!!, an odd factor for each operand from the third on.
        let order_count = (3..=count).fold(1u128, |product, operands| {
            product.saturating_mul(2 * operands as u128 - 3)
        });
        Ok(OrderAnswer {
            written: Candidate {
                text: format!("einsum(\"{}\", {})", self.equation, self.names.join(", ")),
                cost: left_to_right.cost,
            },
            left_to_right,
            best: candidate(&best),
            proved: best.proved,
            worst: orders.last().cloned(),
            orders,
            order_count,
            at_once: self.network.at_once().ok(),
            path: Some(best.steps),
        })
    }
}

#[cfg(test)]
mod tests;
