//! Every parenthesisation of a product: multiplications predicted and counted, time, and how far
//! the results differ.

use ndarray::Array2;
use serde::Serialize;

use super::{Clock, Experiment, Picture, short};
use crate::kernels::fast::product::product;
use crate::lower::Model;
use crate::quantity::group;

/// Above this many orders, or multiplications in all of them, only the notable ones are run.
const MOST_ORDERS: usize = 200;
const MOST_WORK: u128 = 4_000_000_000;

/// How a product of several factors is computed: in JSON the number of a factor, or a pair.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Tree {
    /// A factor, by its place.
    Factor(usize),
    /// What is left of `@`, and what is right of it.
    Product(Box<Tree>, Box<Tree>),
}

impl Tree {
    /// The product as a formula.
    pub fn text(&self) -> String {
        match self {
            Tree::Factor(at) => char::from(b'A' + (*at % 26) as u8).to_string(),
            Tree::Product(left, right) => {
                let side = |tree: &Tree, right: bool| match tree {
                    Tree::Product(..) if right => format!("({})", tree.text()),
                    tree => tree.text(),
                };
                format!("{} @ {}", side(left, false), side(right, true))
            }
        }
    }

    /// The sizes of the result, and the multiplications by the formula.
    pub fn predicted(&self, sizes: &[usize]) -> ((usize, usize), u128) {
        match self {
            Tree::Factor(at) => ((sizes[*at], sizes[at + 1]), 0),
            Tree::Product(left, right) => {
                let ((rows, inner), a) = left.predicted(sizes);
                let ((_, columns), b) = right.predicted(sizes);
                (
                    (rows, columns),
                    a + b + rows as u128 * inner as u128 * columns as u128,
                )
            }
        }
    }

    /// The result in float32, counting as it goes.
    fn run(&self, factors: &[Array2<f32>], counted: &mut u128) -> Array2<f32> {
        match self {
            Tree::Factor(at) => factors[*at].clone(),
            Tree::Product(left, right) => {
                let (a, b) = (left.run(factors, counted), right.run(factors, counted));
                *counted += (a.len() * b.ncols()) as u128;
                product(a.view(), b.view())
            }
        }
    }

    /// The order that the best splits give, by the programme of O(n³).
    fn best(sizes: &[usize]) -> Tree {
        let count = sizes.len() - 1;
        let mut cost = vec![vec![0u128; count]; count];
        let mut split = vec![vec![0; count]; count];
        for length in 1..count {
            for start in 0..count - length {
                let end = start + length;
                let of = |at: usize, cost: &[Vec<u128>]| {
                    let products = sizes[start] as u128 * sizes[at + 1] as u128;
                    cost[start][at] + cost[at + 1][end] + products * sizes[end + 1] as u128
                };
                let at = (start..end)
                    .min_by_key(|&at| of(at, &cost))
                    .unwrap_or(start);
                (cost[start][end], split[start][end]) = (of(at, &cost), at);
            }
        }
        fn tree(split: &[Vec<usize>], start: usize, end: usize) -> Tree {
            match start == end {
                true => Tree::Factor(start),
                false => {
                    let at = split[start][end];
                    let (left, right) = (tree(split, start, at), tree(split, at + 1, end));
                    Tree::Product(Box::new(left), Box::new(right))
                }
            }
        }
        tree(&split, 0, count - 1)
    }

    /// Every order of a range of factors.
    fn all(start: usize, end: usize) -> Vec<Tree> {
        if start == end {
            return vec![Tree::Factor(start)];
        }
        let mut trees = Vec::new();
        for at in start..end {
            for left in 0..Tree::all(start, at).len() {
                for right in Tree::all(at + 1, end) {
                    let left = Tree::all(start, at).swap_remove(left);
                    trees.push(Tree::Product(Box::new(left), Box::new(right)));
                }
            }
        }
        trees
    }
}

/// How many orders there are of that many factors: Catalan's numbers.
fn orders(factors: usize) -> u128 {
    (1..factors as u128).fold(1u128, |count, n| {
        count.saturating_mul(2 * (2 * n - 1)) / (n + 1)
    })
}

/// The orders of a product that are run.
pub struct Orders {
    /// The rows of the first factor, and the columns of each.
    pub sizes: Vec<usize>,
    /// All orders, or the best one and both ends.
    pub trees: Vec<Tree>,
    /// How many orders there are.
    all: u128,
}

impl Orders {
    /// The orders of the product of a model's parameters.
    ///
    /// # Errors
    /// Where these are not the factors of one product.
    pub fn of(model: &Model) -> Result<Orders, String> {
        let graph = &model.graph;
        let shapes: Vec<Vec<u64>> = graph
            .parameters
            .iter()
            .map(|parameter| graph.ty(parameter.tensor).shape.sizes().to_vec())
            .collect();
        let fits = shapes.len() >= 3
            && shapes.iter().all(|shape| shape.len() == 2)
            && shapes.windows(2).all(|pair| pair[0][1] == pair[1][0]);
        if !fits {
            return Err(
                "the parameters of the model must be the factors of one product".to_owned(),
            );
        }
        let mut sizes: Vec<usize> = shapes.iter().map(|shape| shape[0] as usize).collect();
        sizes.push(shapes[shapes.len() - 1][1] as usize);
        let count = sizes.len() - 1;
        let left = (1..count).fold(Tree::Factor(0), |tree, at| {
            Tree::Product(Box::new(tree), Box::new(Tree::Factor(at)))
        });
        let right = (0..count - 1)
            .rev()
            .fold(Tree::Factor(count - 1), |tree, at| {
                Tree::Product(Box::new(Tree::Factor(at)), Box::new(tree))
            });
        let best = Tree::best(&sizes);
        let all = orders(count);
        let few = all <= MOST_ORDERS as u128
            && all * left.predicted(&sizes).1.max(right.predicted(&sizes).1) <= MOST_WORK;
        let trees: Vec<Tree> = match few {
            true => Tree::all(0, count - 1),
            false => vec![best, left, right],
        };
        Ok(Orders { sizes, trees, all })
    }
}

/// What an order came to.
pub struct Ran {
    /// The order.
    pub text: String,
    /// Multiplications, by the formula and by counting.
    pub predicted: u128,
    /// Those that were counted.
    pub counted: u128,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The greatest error, as a share of the greatest element.
    pub error: f64,
}

pub(super) fn run(model: &Model, seed: u64, clock: &Clock<'_>) -> Result<Experiment, String> {
    let orders = Orders::of(model)?;
    let sizes = &orders.sizes;
    let mut random = fastrand::Rng::with_seed(seed);
    let factors: Vec<Array2<f32>> = sizes
        .windows(2)
        .map(|pair| {
            let scale = 1.0 / (pair[1] as f32).sqrt();
            Array2::from_shape_simple_fn((pair[0], pair[1]), || (random.f32() * 2.0 - 1.0) * scale)
        })
        .collect();
    let mut reference = factors[0].mapv(f64::from);
    for factor in &factors[1..] {
        reference = product(reference.view(), factor.mapv(f64::from).view());
    }
    let scale = reference.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let mut measured = Vec::new();
    for tree in &orders.trees {
        let mut counted = 0;
        let begun = clock();
        let product = tree.run(&factors, &mut counted);
        let seconds = clock() - begun;
        let error = product
            .iter()
            .zip(&reference)
            .fold(0.0f64, |most, (&x, y)| most.max((f64::from(x) - y).abs()))
            / scale;
        measured.push(Ran {
            text: tree.text(),
            predicted: tree.predicted(sizes).1,
            counted,
            seconds,
            error,
        });
    }
    Ok(concluded(&orders, measured))
}

/// What the orders that were run show.
pub fn concluded(orders: &Orders, mut measured: Vec<Ran>) -> Experiment {
    let mut experiment = Experiment::new(
        "In which order to multiply?",
        &[
            "order",
            "predicted",
            "counted",
            "milliseconds",
            "error in float32",
        ],
    );
    measured.sort_by_key(|row| row.predicted);
    for row in &measured {
        experiment.rows.push(vec![
            row.text.clone(),
            group(row.predicted),
            group(row.counted),
            short(row.seconds * 1e3),
            short(row.error),
        ]);
    }
    experiment.picture = Some(Picture {
        title: "multiplications".to_owned(),
        values: measured.iter().map(|row| row.predicted as f64).collect(),
    });
    let same = measured.iter().all(|row| row.predicted == row.counted);
    experiment.expect(
        same,
        "what is counted is what was predicted, in every order",
    );
    let (first, last) = (&measured[0], &measured[measured.len() - 1]);
    experiment.conclusions.push(format!(
        "of {} orders, `{}` takes the fewest multiplications: {} times fewer than the last line",
        orders.all,
        first.text,
        short(last.predicted as f64 / first.predicted.max(1) as f64)
    ));
    let worst = measured.iter().map(|row| row.error).fold(0.0, f64::max);
    experiment.expect(
        worst < 1e-4,
        format!(
            "all results agree: none is off by more than {} of the greatest element",
            short(worst)
        ),
    );
    experiment
}
