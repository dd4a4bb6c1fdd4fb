//! The products of three or more factors that a model computes: what their order costs, and which
//! order is best.
//!
//! A chain is found by walking from product to product: `matmul`, `mm`, `bmm`, `mv` and `linear`,
//! wherever the result of one is a factor of the next, has no other use, is no output of the
//! model, and has the same element type. The walk passes through transposes, which turn a product
//! around, and through factors that are single numbers, which may stand anywhere. It does not pass
//! through reshapes, casts or masks.
//!
//! Costs are the products' alone, as [`order`](super::order) counts them. A `linear` with a bias
//! is part of a chain only below another `linear`: `(xA + b)B + c = x(AB) + (bB + c)`; its bias
//! then takes a product of one row, which is left out. Also left out: what the transposed copies
//! and kernels of odd shapes cost, and the backward pass, which takes twice the products of the
//! forward pass in any order where all factors need gradients.
//!
//! Of einsums of three or more operands the order of contraction is weighed in the same way.
//!
//! Finding is linear in the size of the graph. Ordering is O(n log n) per chain, or O(n³) up to 300
//! factors where these have different batches; how much of the latter is done for one model is
//! bounded, and what is beyond is not called [proved](Chain::proved).

mod contraction;
mod cost;
mod find;
mod formula;
mod listing;

#[cfg(test)]
mod tests;

use smallvec::SmallVec;

pub use contraction::Contraction;
pub use formula::Rewrite;
pub use listing::{ListedCost, ListedOrder, listing};

use crate::graph::{Graph, NodeId, TensorId};
use crate::quantity::{Bytes, Flops};
use crate::spec::Spec;
use crate::tensor::{Dtype, Shape};

use super::order::Parenthesisation;

/// All chains and long einsums of a model.
#[derive(Debug, Clone, Default)]
pub struct Chains {
    /// Products of at least three factors, by their last product.
    pub products: Vec<Chain>,
    /// Einsums of at least three operands.
    pub einsums: Vec<Contraction>,
}

/// A product of several matrices as the graph computes it.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The factors, from left to right; at least three.
    pub operands: Vec<Operand>,
    /// The products, in the order of [`Parenthesisation::products`] of the order as written. The
    /// last one is the whole.
    pub nodes: Vec<NodeId>,
    /// The order that the graph computes.
    pub written: ProductOrder,
    /// The best order; the one as written if none is better.
    pub best: ProductOrder,
    /// Whether no order takes fewer multiplications than `best`.
    pub proved: bool,
    /// In inference: multiplications of each call in the best order where products of parameters
    /// alone have been taken once, before. `None` in training, where parameters change at each
    /// step, and where nothing is gained.
    pub with_weights_multiplied: Option<u128>,
    /// Whether a factor that is a single number stands between the products.
    pub scaled: bool,
    /// How many of the products before the last have a bias added.
    pub biases: usize,
    /// The element type of the products.
    pub dtype: Dtype,
}

/// A factor of a chain, as a matrix or a batch of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operand {
    /// The tensor before transposition.
    pub tensor: TensorId,
    /// Whether its last two axes are exchanged.
    pub transposed: bool,
    /// Rows, once transposed; 1 for a vector on the left.
    pub rows: u64,
    /// Columns, once transposed; 1 for a vector on the right.
    pub columns: u64,
    /// The axes before the last two.
    pub batch: Shape,
    /// Whether the tensor is a parameter or buffer.
    pub parameter: bool,
}

/// An order of a chain and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductOrder {
    /// The order.
    pub tree: Parenthesisation,
    /// Scalar multiplications of all products, batches included.
    pub multiplications: u128,
    /// Elements of the largest product that is not the whole.
    pub largest_intermediate: u128,
}

/// A product that is larger than what it comes from and what comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scores {
    /// Rows, as they are computed: the sequence of the queries, or that of the keys.
    pub rows: u64,
    /// Columns, as they are computed.
    pub columns: u64,
    /// The product that they are a factor of.
    pub user: NodeId,
}

impl ProductOrder {
    /// Multiplications and additions: two for each multiplication.
    pub fn flops(&self) -> Flops {
        Flops(self.multiplications.saturating_mul(2))
    }
}

impl Chains {
    /// Finds and orders all chains of a graph.
    pub fn of(graph: &Graph) -> Chains {
        let mut budget = Budget::default();
        let walk = find::Walk::new(graph);
        let products = walk
            .roots()
            .into_iter()
            .filter_map(|root| Chain::of(graph, root, walk.flatten(root), &mut budget))
            .collect();
        let einsums = contraction::all(graph, &mut budget);
        Chains { products, einsums }
    }
}

impl Chain {
    /// Orders a chain whose last product is `root`; `None` where it cannot be counted.
    fn of(graph: &Graph, root: NodeId, found: find::Found, budget: &mut Budget) -> Option<Chain> {
        let sizes = cost::Sizes::new(&found.operands, budget)?;
        let written = sizes.order(Parenthesisation::from_closes(found.closes)?)?;
        let (best, proved) = sizes.best(&written);
        let with_weights_multiplied = match graph.training {
            true => None,
            false => sizes.with_weights_multiplied(&found.operands, budget),
        };
        Some(Chain {
            with_weights_multiplied: with_weights_multiplied
                .filter(|&least| least < best.multiplications),
            written,
            best,
            proved,
            scaled: found.scaled,
            biases: found.biases,
            dtype: graph.ty(graph.node(root).first_output).dtype,
            operands: found.operands,
            nodes: found.nodes,
        })
    }

    /// The product that is the whole.
    pub fn root(&self) -> NodeId {
        // A chain has at least two products.
        self.nodes[self.nodes.len() - 1]
    }

    /// How many times more the order as written takes; infinite where the best takes nothing.
    pub fn ratio(&self) -> f64 {
        match self.written.multiplications == self.best.multiplications {
            true => 1.0,
            false => self.written.multiplications as f64 / self.best.multiplications as f64,
        }
    }

    /// Bytes of the largest product that is not the whole, in that order.
    pub fn largest_intermediate(&self, order: &ProductOrder) -> Bytes {
        let elements = u64::try_from(order.largest_intermediate).unwrap_or(u64::MAX);
        Bytes(self.dtype.bytes_for(elements))
    }

    /// What the factors are called, as factors: `.T` or `.mT` behind those that are transposed.
    /// Layers of the same block go without its path.
    /// `O(size of the formulas)`.
    pub fn names(&self, spec: &Spec, graph: &Graph) -> Vec<String> {
        let mut formulas = formula::Formulas::new(spec, graph, self.root());
        let names = self.operands.iter().map(|operand| formulas.name(operand));
        names.collect()
    }

    /// The formula with its products in the best order; `None` where the factors do not all stand
    /// in one formula, or the edit is not certain.
    pub fn rewrite(&self, spec: &Spec, graph: &Graph) -> Option<Rewrite> {
        formula::rewrite(self, spec, graph)
    }

    /// Whether all products are `linear` layers.
    pub fn is_linear_layers(&self, graph: &Graph) -> bool {
        let linear = |&node: &NodeId| graph.node(node).op.name == "linear";
        self.nodes.iter().all(linear)
    }

    /// Attention without a softmax: two data-dependent factors are multiplied into scores that are
    /// larger than either and than the third factor, which they are multiplied with next, though
    /// the second and third could have gone first. `O(n)`.
    pub fn scores(&self) -> Option<Scores> {
        let data: SmallVec<[usize; 8]> = (0..self.operands.len())
            .filter(|&at| !self.operands[at].parameter)
            .collect();
        let has_data = |start: usize, end: usize| {
            let first = data.partition_point(|&at| at < start);
            data.get(first).is_some_and(|&at| at < end)
        };
        let size = |start: usize, end: usize| {
            u128::from(self.operands[start].rows) * u128::from(self.operands[end - 1].columns)
        };
        let turned = |start: usize, end: usize| {
            let mut inside = self.operands[start..end].iter();
            inside.any(|operand| operand.transposed && !operand.parameter)
        };
        let products: Vec<_> = self.written.tree.products().collect();
        let mut last_of_start = vec![None; self.operands.len()];
        for (at, product) in products.iter().enumerate() {
            // The product of the left factor is the last one seen that starts where this does.
            let (left, right) = (
                last_of_start[product.start],
                last_of_start[product.middle].filter(|_| product.end - product.middle > 1),
            );
            last_of_start[product.start] = Some(at);
            let candidates = [
                (left, (product.middle, product.end)),
                (right, (product.start, product.middle)),
            ];
            for (inner, (start, end)) in candidates {
                let Some(inner) = inner.map(|at: usize| products[at]) else {
                    continue;
                };
                let scores = size(inner.start, inner.end);
                let parts = [
                    (inner.start, inner.middle),
                    (inner.middle, inner.end),
                    (start, end),
                ];
                let attention = parts
                    .iter()
                    .all(|&(start, end)| has_data(start, end) && size(start, end) < scores);
                if attention && turned(inner.start, inner.end) {
                    return Some(Scores {
                        rows: self.operands[inner.start].rows,
                        columns: self.operands[inner.end - 1].columns,
                        user: *self.nodes.get(at)?,
                    });
                }
            }
        }
        None
    }
}

/// How many steps of programmes that are worse than O(n log n) are still allowed for a model.
#[derive(Debug)]
struct Budget {
    steps: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        // Some tenths of a second.
        Budget { steps: 100_000_000 }
    }
}

impl Budget {
    /// Takes that many steps, if they are left.
    fn take(&mut self, steps: u64) -> bool {
        let enough = steps <= self.steps;
        if enough {
            self.steps -= steps;
        }
        enough
    }
}
