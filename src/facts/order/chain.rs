//! The best order of a matrix chain, `A @ B @ C @ …`, for the pure cost of rows × inner × columns.
//!
//! Short chains are solved by the O(n³) dynamic programme, which among equally good orders keeps
//! to the left-to-right one wherever it can; longer ones by Hu and Shing's O(n log n) algorithm,
//! whose order is costed again from scratch before it is called optimal. Not for costs that depend
//! on anything but three sizes: those take [`interval_order`].

use std::fmt;

use super::hu_shing;
use super::tree::{Parenthesisation, product_cost};

/// Longest chain, in matrices, that the dynamic programme is used for on its own account.
const SHORT: usize = 64;
/// Longest chain, in matrices, for [`interval_order`]: 300³ / 6 steps are some milliseconds.
pub const INTERVAL_LIMIT: usize = 300;

/// An order and what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainOrder {
    /// Scalar multiplications of `tree`.
    pub cost: u128,
    /// The order itself.
    pub tree: Parenthesisation,
    /// Whether an exact algorithm found it, and its own account of the cost agrees with the tree.
    pub proved: bool,
}

/// Why no order is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderError {
    /// A chain has at least one matrix, and so at least two sizes.
    TooFewDims(usize),
    /// The cost does not fit in 128 bits.
    Overflow,
    /// The chain is longer than what the algorithm is meant for.
    TooLong {
        /// Number of matrices.
        operands: usize,
        /// The longest chain allowed.
        limit: usize,
    },
    /// A tree was asked about a chain of another length.
    OperandCount {
        /// Number of sizes, one more than the matrices.
        dims: usize,
        /// Number of operands of the tree.
        operands: usize,
    },
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderError::TooFewDims(given) => {
                write!(f, "a matrix chain needs at least 2 sizes; {given} given")
            }
            OrderError::Overflow => {
                f.write_str("the number of multiplications does not fit in 128 bits")
            }
            OrderError::TooLong { operands, limit } => write!(
                f,
                "{operands} operands are more than the {limit} that this is computed for"
            ),
            OrderError::OperandCount { dims, operands } => write!(
                f,
                "an order of {operands} operands takes {} sizes; {dims} given",
                operands + 1
            ),
        }
    }
}

impl std::error::Error for OrderError {}

/// The cheapest order of the chain whose matrix `i` is `dims[i]` × `dims[i + 1]`.
///
/// O(n log n) time and O(n) memory; a million matrices take about 0.1 s. A size of zero is legal:
/// everything next to it is empty, and such a chain costs nothing.
///
/// Source: T. C. Hu and M. T. Shing, *Computation of matrix chain products* I and II, SIAM J.
/// Comput. 11(2), 1982 and 13(2), 1984; the proof as corrected by O. Schwartz and E. Weiss,
/// *Revisiting "Computation of matrix chain products"*, SIAM J. Comput. 48(5), 2019.
///
/// # Errors
/// If there are fewer than two sizes or more than 2³¹, or no order's cost can be counted in 128
/// bits. For a long chain the latter is already said when the products of neighbouring sizes add
/// up to 2¹²⁸, at which point even the best order takes at least 2¹²⁷ multiplications.
pub fn optimal_order(dims: &[u64]) -> Result<ChainOrder, OrderError> {
    let operands = operands(dims)?;
    if let Some(zero) = dims.iter().position(|&size| size == 0) {
        // All diagonals from the empty side: each product then has that side and is empty.
        return Ok(ChainOrder {
            cost: 0,
            tree: fan(operands, zero),
            proved: true,
        });
    }
    if operands <= SHORT {
        return dynamic_programme(dims);
    }
    let (cost, tree) = hu_shing::solve(dims).ok_or(OrderError::Overflow)?;
    let recomputed = tree.cost(dims)?;
    Ok(ChainOrder {
        cost: recomputed,
        tree,
        proved: recomputed == cost,
    })
}

/// The cheapest order by the O(n³) dynamic programme; the oracle that [`optimal_order`] is held
/// against. Among equally cheap orders it multiplies from the left.
///
/// # Errors
/// As [`optimal_order`], and for more than [`INTERVAL_LIMIT`] matrices.
pub fn dynamic_programme(dims: &[u64]) -> Result<ChainOrder, OrderError> {
    interval_order(operands(dims)?, Extreme::Least, |start, middle, end| {
        product_cost(dims, start, middle, end)
    })
}

/// The dearest order, to say what is at stake: `O(n³)`.
///
/// # Errors
/// As [`dynamic_programme`].
pub fn worst_order(dims: &[u64]) -> Result<ChainOrder, OrderError> {
    interval_order(operands(dims)?, Extreme::Most, |start, middle, end| {
        product_cost(dims, start, middle, end)
    })
}

/// The order that `@` has without parentheses, and its cost. O(n).
///
/// # Errors
/// If there are fewer than two sizes or the cost does not fit in 128 bits.
pub fn left_to_right(dims: &[u64]) -> Result<ChainOrder, OrderError> {
    costed(Parenthesisation::left_to_right(operands(dims)?), dims)
}

/// The order that multiplies from the right, and its cost. O(n).
///
/// # Errors
/// If there are fewer than two sizes or the cost does not fit in 128 bits.
pub fn right_to_left(dims: &[u64]) -> Result<ChainOrder, OrderError> {
    costed(Parenthesisation::right_to_left(operands(dims)?), dims)
}

/// A given order with its cost; it counts as proved only where there is no other order.
fn costed(tree: Parenthesisation, dims: &[u64]) -> Result<ChainOrder, OrderError> {
    Ok(ChainOrder {
        cost: tree.cost(dims)?,
        proved: tree.operands() <= 2,
        tree,
    })
}

/// Which end of the range of costs is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extreme {
    /// The cheapest order.
    Least,
    /// The dearest order.
    Most,
}

/// The cheapest or dearest order of `operands` operands where the product of `start..middle` with
/// `middle..end` costs `cost(start, middle, end)`, whatever that depends on. O(n³) time, O(n²)
/// memory. Ties go to the order that multiplies from the left.
///
/// A cost of `u128::MAX` stands for one that does not fit.
///
/// # Errors
/// For no operand or more than [`INTERVAL_LIMIT`], and if the cost found does not fit in 128 bits.
pub fn interval_order(
    operands: usize,
    extreme: Extreme,
    cost: impl Fn(usize, usize, usize) -> u128,
) -> Result<ChainOrder, OrderError> {
    if operands == 0 {
        return Err(OrderError::TooFewDims(0));
    }
    if operands > INTERVAL_LIMIT {
        return Err(OrderError::TooLong {
            operands,
            limit: INTERVAL_LIMIT,
        });
    }
    let width = operands + 1;
    // best[start * width + end] is the cost and the split of operands start..end.
    let mut best = vec![(0u128, 0usize); width * width];
    for length in 2..=operands {
        for start in 0..=operands - length {
            let end = start + length;
            let candidates = (start + 1..end).rev().map(|middle| {
                let factors = best[start * width + middle]
                    .0
                    .saturating_add(best[middle * width + end].0);
                (factors.saturating_add(cost(start, middle, end)), middle)
            });
            // Both keep the first of equals, hence the later split.
            let chosen = match extreme {
                Extreme::Least => candidates.reduce(|a, b| if b.0 < a.0 { b } else { a }),
                Extreme::Most => candidates.reduce(|a, b| if b.0 > a.0 { b } else { a }),
            };
            best[start * width + end] = chosen.unwrap_or_default();
        }
    }
    let mut closes = vec![0u32; operands];
    let mut pending = vec![(0, operands)];
    while let Some((start, end)) = pending.pop() {
        if end - start > 1 {
            closes[end - 1] += 1;
            let middle = best[start * width + end].1;
            pending.extend([(start, middle), (middle, end)]);
        }
    }
    match (best[operands].0, Parenthesisation::from_closes(closes)) {
        (u128::MAX, _) | (_, None) => Err(OrderError::Overflow),
        (cost, Some(tree)) => Ok(ChainOrder {
            cost,
            tree,
            proved: true,
        }),
    }
}

/// In how many orders `operands` operands can be multiplied: the Catalan number of one less;
/// `u128::MAX` if that many or more.
pub fn count_orders(operands: usize) -> u128 {
    let mut count = 1u128;
    for k in 1..operands as u128 {
        // C(k) = C(k - 1) · 2(2k - 1) / (k + 1), reduced first so that nothing is lost early.
        let (times, over) = (2 * (2 * k - 1), k + 1);
        let common = gcd(times, over);
        match (count / (over / common)).checked_mul(times / common) {
            Some(next) => count = next,
            None => return u128::MAX,
        }
    }
    count
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Number of matrices of a chain with these sizes.
fn operands(dims: &[u64]) -> Result<usize, OrderError> {
    const LIMIT: usize = 1 << 31;
    match dims.len() {
        0 | 1 => Err(OrderError::TooFewDims(dims.len())),
        length if length > LIMIT => Err(OrderError::TooLong {
            operands: length - 1,
            limit: LIMIT - 1,
        }),
        length => Ok(length - 1),
    }
}

/// The order all of whose products have size `vertex` among their three: what is left of it is
/// multiplied from the right, what is right of it from the left, and the two halves last.
fn fan(operands: usize, vertex: usize) -> Parenthesisation {
    let mut closes = vec![1u32; operands];
    closes[..vertex].fill(0);
    if vertex > 0 {
        closes[vertex - 1] = u32::try_from(vertex - 1).unwrap_or(u32::MAX);
    }
    if vertex < operands {
        closes[vertex] = 0;
        if vertex > 0 {
            closes[operands - 1] += 1;
        }
    }
    // The counts above are a tree for every vertex of the chain; there is no other.
    Parenthesisation::from_closes(closes)
        .unwrap_or_else(|| Parenthesisation::left_to_right(operands))
}
