//! What orders of a chain cost, batches included.

use super::{Budget, Operand, ProductOrder};
use crate::facts::order::chain::{Extreme, INTERVAL_LIMIT, interval_order, optimal_order};
use crate::facts::order::{Parenthesisation, Product};
use crate::tensor::Shape;

/// The sizes of a chain.
pub(super) struct Sizes {
    /// Factor `i` is a matrix of `dims[i]` × `dims[i + 1]`.
    dims: Vec<u64>,
    batch: Batch,
}

/// How many matrices a product of several neighbours multiplies.
enum Batch {
    /// As many, whichever they are.
    Same(u128),
    /// Those of factors `start..end` at `[start * (n + 1) + end]`.
    ByInterval(Vec<u128>),
    /// Neither, and too many factors for a table: the batch of each.
    Each(Vec<Shape>),
}

impl Sizes {
    /// `None` where the factors do not fit one another.
    pub fn new(operands: &[Operand], budget: &mut Budget) -> Option<Sizes> {
        let mut dims = vec![operands.first()?.rows];
        for operand in operands {
            if *dims.last()? != operand.rows {
                return None;
            }
            dims.push(operand.columns);
        }
        let last = operands.len() - 1;
        let has_batch = |operand: &Operand| operand.batch.sizes().iter().any(|&size| size != 1);
        let inside = operands[1..last].iter().any(has_batch);
        let batch = match (has_batch(&operands[0]), has_batch(&operands[last])) {
            _ if inside => Batch::new(operands, budget)?,
            (false, false) => Batch::Same(1),
            // A batch of one end alone is more rows or columns. Their number fits: it divides that
            // of the elements.
            (true, false) => {
                dims[0] = dims[0].checked_mul(operands[0].batch.elements())?;
                Batch::Same(1)
            }
            (false, true) => {
                dims[last + 1] = dims[last + 1].checked_mul(operands[last].batch.elements())?;
                Batch::Same(1)
            }
            (true, true) => Batch::new(operands, budget)?,
        };
        Some(Sizes { dims, batch })
    }

    /// What an order takes; `None` where that does not fit in 127 bits. `O(n)`.
    pub fn order(&self, tree: Parenthesisation) -> Option<ProductOrder> {
        let (mut multiplications, mut largest) = (0u128, 0u128);
        let whole = self.dims.len() - 1;
        let mut open: Vec<Shape> = Vec::new();
        for product in tree.products() {
            let matrices = match &self.batch {
                Batch::Each(batches) => joint_batch(batches, product, &mut open)?,
                _ => self.matrices(product.start, product.end),
            };
            let cost = self.cost_of(product, matrices);
            multiplications = multiplications.saturating_add(cost);
            if product.end - product.start < whole {
                let sides = [self.dims[product.start], self.dims[product.end]];
                largest = largest.max(multiply(matrices, &sides));
            }
        }
        (multiplications <= u128::MAX / 2).then_some(ProductOrder {
            tree,
            multiplications,
            largest_intermediate: largest,
        })
    }

    /// The best order, and whether it is proved to be that. Keeps to the one as written where none
    /// is better.
    pub fn best(&self, written: &ProductOrder) -> (ProductOrder, bool) {
        let operands = self.dims.len() - 1;
        let found = match &self.batch {
            // A common factor changes no comparison.
            Batch::Same(_) => optimal_order(&self.dims),
            Batch::ByInterval(_) => {
                interval_order(operands, Extreme::Least, |start, middle, end| {
                    self.cost(Product { start, middle, end })
                })
            }
            Batch::Each(_) => {
                let best = self.best_of_some(written);
                return (best, false);
            }
        };
        let Ok(found) = found else {
            return (written.clone(), false);
        };
        match self.order(found.tree) {
            Some(best) if best.multiplications < written.multiplications => (best, found.proved),
            _ => (written.clone(), found.proved),
        }
    }

    /// The best of the order as written, both directions, and what would be best without batches.
    fn best_of_some(&self, written: &ProductOrder) -> ProductOrder {
        let operands = self.dims.len() - 1;
        let mut best = written.clone();
        let trees = [
            Some(Parenthesisation::left_to_right(operands)),
            Some(Parenthesisation::right_to_left(operands)),
            optimal_order(&self.dims).ok().map(|order| order.tree),
        ];
        for tree in trees.into_iter().flatten() {
            if let Some(order) = self.order(tree)
                && order.multiplications < best.multiplications
            {
                best = order;
            }
        }
        best
    }

    /// Multiplications of the best order where products of parameters alone cost nothing. `O(n³)`;
    /// `None` for chains without such products, or too long for that.
    pub fn with_weights_multiplied(
        &self,
        operands: &[Operand],
        budget: &mut Budget,
    ) -> Option<u128> {
        let both = |pair: &[Operand]| pair[0].parameter && pair[1].parameter;
        let any = operands.windows(2).any(both);
        let all = operands.iter().all(|operand| operand.parameter);
        let too_many = operands.len() > INTERVAL_LIMIT || matches!(self.batch, Batch::Each(_));
        if !any || all || too_many || !budget.take(cube(operands.len())) {
            return None;
        }
        // Up to each operand, how many are no parameters.
        let mut data = vec![0usize];
        for operand in operands {
            data.push(data[data.len() - 1] + usize::from(!operand.parameter));
        }
        let best = interval_order(
            operands.len(),
            Extreme::Least,
            |start, middle, end| match data[start] == data[end] {
                true => 0,
                false => self.cost(Product { start, middle, end }),
            },
        );
        best.ok().map(|best| best.cost)
    }

    fn matrices(&self, start: usize, end: usize) -> u128 {
        match &self.batch {
            Batch::Same(matrices) => *matrices,
            Batch::ByInterval(table) => table[start * self.dims.len() + end],
            Batch::Each(_) => u128::MAX,
        }
    }

    fn cost(&self, product: Product) -> u128 {
        self.cost_of(product, self.matrices(product.start, product.end))
    }

    fn cost_of(&self, product: Product, matrices: u128) -> u128 {
        let sizes = [product.start, product.middle, product.end].map(|at| self.dims[at]);
        multiply(matrices, &sizes)
    }
}

/// The product of some sizes; saturates, and is 0 where one of them is.
fn multiply(matrices: u128, sizes: &[u64]) -> u128 {
    if sizes.contains(&0) {
        return 0;
    }
    sizes.iter().fold(matrices, |product, &size| {
        product.saturating_mul(size.into())
    })
}

/// Steps of the programme over intervals.
fn cube(operands: usize) -> u64 {
    (operands as u64).saturating_pow(3) / 6 + 1
}

/// The number of matrices of a product whose factors' batches lie on the stack `open`, unless they
/// are single operands; puts that of the product there.
fn joint_batch(batches: &[Shape], product: Product, open: &mut Vec<Shape>) -> Option<u128> {
    let mut factor = |start: usize, end: usize| match end - start {
        1 => Some(batches[start].clone()),
        _ => open.pop(),
    };
    let right = factor(product.middle, product.end)?;
    let left = factor(product.start, product.middle)?;
    let joint = left.broadcast(&right)?;
    let matrices = count(&joint);
    open.push(joint);
    Some(matrices)
}

fn count(batch: &Shape) -> u128 {
    multiply(1, batch.sizes())
}

impl Batch {
    fn new(operands: &[Operand], budget: &mut Budget) -> Option<Batch> {
        let mut whole = Shape::scalar();
        for operand in operands {
            whole = whole.broadcast(&operand.batch)?;
        }
        let matrices = count(&whole);
        let same = operands.windows(2).all(|pair| {
            let joint = pair[0].batch.broadcast(&pair[1].batch);
            joint.is_some_and(|joint| count(&joint) == matrices)
        });
        if same {
            return Some(Batch::Same(matrices));
        }
        if operands.len() > INTERVAL_LIMIT || !budget.take(cube(operands.len())) {
            let batches = operands.iter().map(|operand| operand.batch.clone());
            return Some(Batch::Each(batches.collect()));
        }
        let width = operands.len() + 1;
        let mut table = vec![1u128; width * width];
        for start in 0..operands.len() {
            let mut joint = Shape::scalar();
            for end in start + 1..width {
                joint = joint.broadcast(&operands[end - 1].batch)?;
                table[start * width + end] = count(&joint);
            }
        }
        Some(Batch::ByInterval(table))
    }
}
