//! Products by `@` with the shapes of their factors: what orders of them cost, and which is best.

use std::ops::Range;

use super::{Candidate, ExpressionError, OrderAnswer};
use crate::facts::order::chain::{
    ChainOrder, Extreme, INTERVAL_LIMIT, count_orders, interval_order, optimal_order,
};
use crate::facts::order::einsum::Cost;
use crate::facts::order::{OrderError, Orders, Parenthesisation, Product};

/// Most factors for which every order is listed: 429 of them.
const LISTED: usize = 8;

/// One factor of a product, as it enters it.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    /// Its name, `.T` or `.mT` included.
    name: String,
    /// Its shape, transposed where it is.
    shape: Vec<u64>,
    span: Range<usize>,
}

impl Factor {
    /// A factor with its shape as declared, before transposition.
    pub fn new(
        name: &str,
        shape: &[u64],
        transposed: bool,
        span: Range<usize>,
    ) -> Result<Factor, ExpressionError> {
        let mut factor = Factor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            span,
        };
        match *shape {
            [] => {
                let message = format!("`{name}` is a scalar, which `@` does not multiply");
                return Err(ExpressionError::new(factor.span, message).help("leave it out"));
            }
            [.., _, _] if transposed => {
                let rank = shape.len();
                factor.shape.swap(rank - 2, rank - 1);
                factor.name += if rank == 2 { ".T" } else { ".mT" };
            }
            _ => {}
        }
        Ok(factor)
    }

    fn batch(&self) -> &[u64] {
        &self.shape[..self.shape.len().saturating_sub(2)]
    }
}

/// A product of matrices, in the order in which they stand.
#[derive(Debug, Clone)]
pub struct MatrixProduct {
    factors: Vec<Factor>,
    written: Parenthesisation,
    /// Factor `i` is a matrix of `dims[i]` × `dims[i + 1]`, a vector having one row or column.
    dims: Vec<u64>,
    batch: Batch,
}

/// How many matrices a product of several factors multiplies.
#[derive(Debug, Clone)]
enum Batch {
    /// As many, whichever factors they are.
    Same(u128),
    /// Those of factors `start..end` at `[start * (n + 1) + end]`.
    ByInterval(Vec<u128>),
    /// Neither, and too many factors for a table.
    TooLong,
}

impl MatrixProduct {
    pub(super) fn new(
        factors: Vec<Factor>,
        written: Parenthesisation,
    ) -> Result<MatrixProduct, ExpressionError> {
        let last = factors.len() - 1;
        let mut dims = Vec::with_capacity(factors.len() + 1);
        for (place, factor) in factors.iter().enumerate() {
            let (rows, columns) = match factor.shape[..] {
                [size] if place == 0 => (1, size),
                [size] if place == last => (size, 1),
                [.., rows, columns] => (rows, columns),
                _ => {
                    let message = format!("the vector `{}` stands between factors", factor.name);
                    let error = ExpressionError::new(factor.span.clone(), message);
                    return Err(error.help(
                        "`@` takes it for a row or a column depending on the grouping, so the \
                         order is part of the meaning; give it two dimensions",
                    ));
                }
            };
            if place == 0 {
                dims.push(rows);
            } else if dims[place] != rows {
                let reason = format!("{} ≠ {rows}", dims[place]);
                return Err(mismatch(&factors[place - 1], factor, &reason));
            }
            dims.push(columns);
        }
        let batch = Batch::new(&factors)?;
        Ok(MatrixProduct {
            factors,
            written,
            dims,
            batch,
        })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.factors
            .iter()
            .map(|factor| factor.name.clone())
            .collect()
    }

    pub(super) fn answer(&self) -> Result<OrderAnswer, OrderError> {
        let names = self.names();
        let count = names.len();
        let candidate = |tree: &Parenthesisation| -> Result<Candidate, OrderError> {
            Ok(Candidate {
                text: tree.render(&names),
                cost: self.cost(tree)?,
            })
        };
        let written = candidate(&self.written)?;
        let best = self.best()?;
        let mut best_candidate = candidate(&best.tree)?;
        if written.cost <= best_candidate.cost {
            best_candidate = written.clone();
        }
        let worst = self
            .extreme(Extreme::Most)
            .and_then(|worst| candidate(&worst.tree))
            .ok();
        let mut orders = Vec::new();
        if count <= LISTED {
            orders = Orders::of(count)
                .map(|tree| candidate(&tree))
                .collect::<Result<_, _>>()?;
            orders.sort_by_key(|order: &Candidate| order.cost);
        }
        Ok(OrderAnswer {
            left_to_right: candidate(&Parenthesisation::left_to_right(count))?,
            written,
            best: best_candidate,
            proved: best.proved,
            worst,
            orders,
            order_count: count_orders(count),
            at_once: None,
            path: None,
        })
    }

    fn best(&self) -> Result<ChainOrder, OrderError> {
        match self.batch {
            // A common factor changes no comparison.
            Batch::Same(_) => optimal_order(&self.dims),
            _ => self.extreme(Extreme::Least),
        }
    }

    fn extreme(&self, extreme: Extreme) -> Result<ChainOrder, OrderError> {
        interval_order(self.factors.len(), extreme, |start, middle, end| {
            self.product_cost(Product { start, middle, end })
        })
    }

    fn cost(&self, tree: &Parenthesisation) -> Result<Cost, OrderError> {
        if matches!(self.batch, Batch::TooLong) {
            return Err(OrderError::TooLong {
                operands: self.factors.len(),
                limit: INTERVAL_LIMIT,
            });
        }
        let multiplications = tree.products().fold(0u128, |sum, product| {
            sum.saturating_add(self.product_cost(product))
        });
        match multiplications.checked_mul(2) {
            Some(flops) => Ok(Cost {
                multiplications,
                flops,
            }),
            None => Err(OrderError::Overflow),
        }
    }

    /// Multiplications of one product; `u128::MAX` if that many or more.
    fn product_cost(&self, product: Product) -> u128 {
        let Product { start, middle, end } = product;
        let matrices = match &self.batch {
            Batch::Same(matrices) => *matrices,
            Batch::ByInterval(table) => table[start * (self.factors.len() + 1) + end],
            Batch::TooLong => u128::MAX,
        };
        let sizes = [start, middle, end].map(|vertex| u128::from(self.dims[vertex]));
        if matrices == 0 || sizes.contains(&0) {
            return 0;
        }
        sizes
            .iter()
            .fold(matrices, |product, &size| product.saturating_mul(size))
    }
}

impl Batch {
    fn new(factors: &[Factor]) -> Result<Batch, ExpressionError> {
        let mut whole: Vec<u64> = Vec::new();
        for (place, factor) in factors.iter().enumerate() {
            whole = match broadcast(&whole, factor.batch()) {
                Ok(wider) => wider,
                Err((known, size)) => {
                    // The factor that brought the size which does not fit comes before.
                    let clash = |other: &&Factor| broadcast(other.batch(), factor.batch()).is_err();
                    let other = factors[..place].iter().find(clash).unwrap_or(factor);
                    let reason = format!("batches of {known} and {size} do not broadcast");
                    return Err(mismatch(other, factor, &reason));
                }
            };
        }
        let matrices = |batch: &[u64]| {
            batch
                .iter()
                .fold(1u128, |product, &size| product.saturating_mul(size.into()))
        };
        let same = factors.windows(2).all(|pair| {
            broadcast(pair[0].batch(), pair[1].batch())
                .is_ok_and(|joint| matrices(&joint) == matrices(&whole))
        });
        if same {
            return Ok(Batch::Same(matrices(&whole)));
        }
        if factors.len() > INTERVAL_LIMIT {
            return Ok(Batch::TooLong);
        }
        let width = factors.len() + 1;
        let mut table = vec![1u128; width * width];
        for start in 0..factors.len() {
            let mut joint = Vec::new();
            for end in start + 1..width {
                // That all of them broadcast has been seen above.
                joint = broadcast(&joint, factors[end - 1].batch()).unwrap_or(joint);
                table[start * width + end] = matrices(&joint);
            }
        }
        Ok(Batch::ByInterval(table))
    }
}

/// The shape that two broadcast to, aligned on the right, or the two sizes that do not.
fn broadcast(a: &[u64], b: &[u64]) -> Result<Vec<u64>, (u64, u64)> {
    let rank = a.len().max(b.len());
    let size = |shape: &[u64], place: usize| {
        (place + shape.len())
            .checked_sub(rank)
            .map_or(1, |index| shape[index])
    };
    let joint = (0..rank).map(|place| match (size(a, place), size(b, place)) {
        (1, other) | (other, 1) => Ok(other),
        (one, other) if one == other => Ok(one),
        clash => Err(clash),
    });
    joint.collect()
}

/// Two factors that do not fit each other: both shapes, and why.
fn mismatch(left: &Factor, right: &Factor, reason: &str) -> ExpressionError {
    let span = left.span.start.min(right.span.start)..left.span.end.max(right.span.end);
    let message = format!(
        "{} is {:?}, {} is {:?}: {reason}",
        left.name, left.shape, right.name, right.shape
    );
    ExpressionError::new(span, message)
}
