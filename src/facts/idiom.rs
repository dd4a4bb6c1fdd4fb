//! Recognises what several calls compute together: a square, a norm, a difference to the maximum.
//!
//! Formulas and models traced from programs spell the same thing in many ways: `x * x`, `x ** 2`,
//! `square(x)`. Each question here has one answer for all spellings, and looks through views and
//! copies. Nothing is judged.

use smallvec::SmallVec;

use super::values::Values;
use crate::graph::{Graph, Node, NodeId, TensorId};
use crate::tensor::Shape;

/// Looks at a graph for idioms. Cheap to make; every question is `O(length of the idiom)`.
#[derive(Debug, Clone, Copy)]
pub struct Idioms<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its value numbers.
    pub values: &'a Values,
}

/// A reduction along axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduction {
    /// The call.
    pub node: NodeId,
    /// What is reduced.
    pub input: TensorId,
    /// The axes, sorted.
    pub axes: Axes,
    /// How many elements each element of the result is made of.
    pub count: u64,
}

/// The Euclidean norm of slices of a tensor, possibly made safe against zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Norm {
    /// Whose norm.
    pub of: TensorId,
    /// Whether it is the op `norm`, whose gradient at 0 is 0, and not a root of a sum of squares,
    /// whose gradient there is NaN.
    pub is_op: bool,
    /// Whether the squares are averaged and not summed, which makes it no bound of the elements.
    pub is_mean: bool,
    /// The axes of the slices; `None` where they are not told.
    pub axes: Option<Axes>,
    /// The call that gives it.
    pub node: NodeId,
}

/// Axes, sorted.
pub type Axes = SmallVec<[usize; 4]>;

/// How many views, or factors, are looked through. Long chains of them stand for themselves, so
/// that every question takes bounded time.
const MOST_STEPS: usize = 24;

/// Views that keep the order of elements.
const RESHAPING: [&str; 6] = [
    "reshape",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "view_as",
];

impl<'a> Idioms<'a> {
    /// The node that makes a tensor's values, with its number; the first of several that make the
    /// same values.
    pub fn producer(&self, id: TensorId) -> Option<(NodeId, &'a Node)> {
        if !id.is_present() {
            return None;
        }
        let number = self.values.number(id);
        let node = self.graph.producer(number)?;
        Some((node, self.graph.node(node)))
    }

    /// The call of that op that makes the tensor, as its first output.
    pub fn call(&self, id: TensorId, op: &str) -> Option<&'a Node> {
        self.any_call(id, &[op])
    }

    /// The call of one of these ops that makes the tensor, as its first output.
    pub fn any_call(&self, id: TensorId, ops: &[&str]) -> Option<&'a Node> {
        let (_, node) = self.producer(id)?;
        (node.first_output == self.values.number(id) && ops.contains(&node.op.name)).then_some(node)
    }

    /// The number that a tensor is, in every element.
    pub fn constant(&self, id: TensorId) -> Option<f64> {
        let number = self.values.number(id);
        match self.graph.constant(number) {
            Some(value) => Some(value),
            None => {
                let full =
                    self.any_call(id, &["full", "full_like", "ones", "zeros", "ones_like"])?;
                match full.op.name {
                    "ones" | "ones_like" => Some(1.0),
                    "zeros" => Some(0.0),
                    _ => self.graph.with_call(full, |call| call.float("fill_value")),
                }
            }
        }
    }

    /// The tensor without views that keep the order of its elements, and without conversions
    /// between element types.
    pub fn bare(&self, mut id: TensorId) -> TensorId {
        for _ in 0..MOST_STEPS {
            let Some((_, node)) = self.producer(id) else {
                break;
            };
            let passes = RESHAPING.contains(&node.op.name) || node.op.name == "to";
            if !passes {
                break;
            }
            id = node.arguments[0];
        }
        self.values.number(id)
    }

    /// The tensor without views and movements that make no new values: transposed, expanded, sliced.
    pub fn content(&self, mut id: TensorId) -> TensorId {
        const MOVING: [&str; 16] = [
            "transpose",
            "permute",
            "t",
            "movedim",
            "expand",
            "expand_as",
            "repeat",
            "repeat_interleave",
            "slice",
            "select",
            "narrow",
            "split",
            "chunk",
            "to",
            "index_select",
            "detach",
        ];
        for _ in 0..MOST_STEPS {
            let Some((_, node)) = self.producer(id) else {
                break;
            };
            let passes = RESHAPING.contains(&node.op.name) || MOVING.contains(&node.op.name);
            if !passes {
                break;
            }
            id = node.arguments[0];
        }
        self.values.number(id)
    }

    /// The two operands of a call of that op, where one is a number: the other one and the number.
    fn with_number(&self, node: &Node) -> Option<(TensorId, f64)> {
        let [a, b] = node.arguments[..] else {
            return None;
        };
        match (self.constant(a), self.constant(b)) {
            (None, Some(number)) => Some((a, number)),
            (Some(number), None) => Some((b, number)),
            _ => None,
        }
    }

    /// The tensor and the number that add up to this one: `x + 1`, `1 + x`, `x - 1`.
    pub fn plus_number(&self, id: TensorId) -> Option<(TensorId, f64)> {
        let node = self.any_call(id, &["add", "sub"])?;
        if self.graph.with_call(node, |call| call.is_given("alpha")) {
            return None;
        }
        let (tensor, number) = self.with_number(node)?;
        match node.op.name {
            "add" => Some((tensor, number)),
            _ => (tensor == node.arguments[0]).then_some((tensor, -number)),
        }
    }

    /// The tensor and the number that multiply to this one: `2 * x`, `x / 2`.
    pub fn times_number(&self, id: TensorId) -> Option<(TensorId, f64)> {
        let node = self.any_call(id, &["mul", "div"])?;
        let (tensor, number) = self.with_number(node)?;
        match node.op.name {
            "mul" => Some((tensor, number)),
            _ => (tensor == node.arguments[0] && number != 0.0).then_some((tensor, 1.0 / number)),
        }
    }

    /// The tensor without numbers that it was multiplied by, and their product.
    pub fn unscaled(&self, id: TensorId) -> (TensorId, f64) {
        let (mut tensor, mut factor) = (self.bare(id), 1.0);
        for _ in 0..MOST_STEPS {
            let Some((inner, number)) = self.times_number(tensor) else {
                break;
            };
            tensor = self.bare(inner);
            factor *= number;
        }
        (tensor, factor)
    }

    /// What a tensor is one minus: `p` of `1 - p`.
    pub fn one_minus(&self, id: TensorId) -> Option<TensorId> {
        if let Some(node) = self.call(id, "rsub") {
            return (node.arguments.get(1).copied().map(|one| self.constant(one))
                == Some(Some(1.0)))
            .then(|| node.arguments[0]);
        }
        let node = self.call(id, "sub")?;
        (self.constant(node.arguments[0]) == Some(1.0)).then(|| node.arguments[1])
    }

    /// The constant exponent of a power, and its base.
    pub fn power(&self, id: TensorId) -> Option<(TensorId, f64)> {
        let node = self.call(id, "pow")?;
        Some((node.arguments[0], self.constant(node.arguments[1])?))
    }

    /// What a tensor is the square of, element by element.
    pub fn square(&self, id: TensorId) -> Option<TensorId> {
        let id = self.values.number(id);
        let (_, node) = self.producer(id)?;
        match node.op.name {
            "square" => Some(node.arguments[0]),
            "mul" if self.values.same(node.arguments[0], node.arguments[1]) => {
                Some(node.arguments[0])
            }
            "pow" if self.constant(node.arguments[1]) == Some(2.0) => {
                let base = node.arguments[0];
                Some(
                    self.call(base, "abs")
                        .map_or(base, |inner| inner.arguments[0]),
                )
            }
            _ => None,
        }
    }

    /// What a tensor is the square root of.
    pub fn root(&self, id: TensorId) -> Option<TensorId> {
        let id = self.values.number(id);
        let (_, node) = self.producer(id)?;
        match node.op.name {
            "sqrt" => Some(node.arguments[0]),
            "pow" if self.constant(node.arguments[1]) == Some(0.5) => Some(node.arguments[0]),
            _ => None,
        }
    }

    /// The reduction by one of these ops that makes the tensor.
    pub fn reduction(&self, id: TensorId, ops: &[&str]) -> Option<Reduction> {
        let (node, call) = self.producer(id)?;
        if !ops.contains(&call.op.name) || call.first_output != self.values.number(id) {
            return None;
        }
        let input = call.arguments[0];
        let shape = &self.graph.ty(input).shape;
        let mut axes = self
            .graph
            .with_call(call, |call| call.axes("dim", shape).ok())?;
        if axes.is_empty() {
            axes = (0..shape.rank()).collect();
        }
        let count = axes.iter().map(|&axis| shape.sizes()[axis]).product();
        Some(Reduction {
            node,
            input,
            axes: axes.into_iter().collect(),
            count,
        })
    }

    /// What a tensor is the sum, or a multiple of the sum, of squares of: `sum(x * x)`,
    /// `mean(x ** 2)`, `dot(x, x)`.
    pub fn sum_of_squares(&self, id: TensorId) -> Option<TensorId> {
        let (id, _) = self.unscaled(id);
        if let Some(reduction) = self.reduction(id, &["sum", "mean"]) {
            return self.square(reduction.input);
        }
        let node = self.any_call(id, &["dot", "einsum", "linalg_vecdot"])?;
        let same = match node.arguments[..] {
            [a, b] => self.values.same(a, b).then_some(a),
            _ => None,
        };
        same.filter(|_| node.op.name != "einsum" || self.einsum_pairs_equal_labels(node))
    }

    /// Whether an einsum of two operands names their axes alike: `ij,ij->i`.
    pub fn einsum_pairs_equal_labels(&self, node: &Node) -> bool {
        let equation = self.graph.with_call(node, |call| call.text("equation"));
        equation.is_some_and(|equation| {
            let letters: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
            let operands = letters.split("->").next().unwrap_or_default();
            operands
                .split_once(',')
                .is_some_and(|(a, b)| a == b && !b.contains(','))
        })
    }

    /// The Euclidean norm that a tensor is, without anything added to it. The root of a mean square
    /// is none, but shares its zero, and is marked.
    pub fn norm(&self, id: TensorId) -> Option<Norm> {
        let id = self.bare(id);
        let (node, call) = self.producer(id)?;
        if let Some(reduction) = self.reduction(id, &["norm"]) {
            let p = self.graph.with_call(call, |call| call.float("p"));
            return (p.is_none_or(|p| p == 2.0)).then_some(Norm {
                of: reduction.input,
                is_op: true,
                is_mean: false,
                axes: Some(reduction.axes),
                node,
            });
        }
        let squares = self.root(id)?;
        let of = self.sum_of_squares(squares)?;
        let (inner, factor) = self.unscaled(squares);
        Some(Norm {
            of,
            is_op: false,
            is_mean: factor < 1.0 || self.reduction(inner, &["mean"]).is_some(),
            axes: self
                .reduction(inner, &["sum", "mean"])
                .map(|reduction| reduction.axes),
            node,
        })
    }

    /// Whether the tensor of a reduction of `input` along axes lies beside `input` element for
    /// element: reduced axes have size 1, the others are in place.
    pub fn lies_beside(&self, beside: TensorId, input: TensorId, axes: &[usize]) -> bool {
        let shape = &self.graph.ty(input).shape;
        let reduced = &self.graph.ty(beside).shape;
        if axes.len() == shape.rank() {
            return reduced.elements() == 1;
        }
        let wanted = |axis: usize| {
            if axes.contains(&axis) {
                1
            } else {
                shape.sizes()[axis]
            }
        };
        reduced.rank() == shape.rank()
            && (0..shape.rank()).all(|axis| reduced.sizes()[axis] == wanted(axis))
    }

    /// The reduction of `input` by one of these ops that `beside` is, laid out so that it
    /// broadcasts to the elements that it was made of.
    pub fn reduction_beside(
        &self,
        beside: TensorId,
        input: TensorId,
        ops: &[&str],
    ) -> Option<Reduction> {
        let reduction = self.reduction(self.bare(beside), ops)?;
        let fits = self.values.same(reduction.input, input)
            && self.lies_beside(beside, input, &reduction.axes);
        fits.then_some(reduction)
    }

    /// What a tensor is, shifted so that its greatest value along axes is 0: `x - max(x)`.
    pub fn shifted(&self, id: TensorId) -> Option<Reduction> {
        let id = self.bare(id);
        let node = self.call(id, "sub")?;
        self.reduction_beside(node.arguments[1], node.arguments[0], &["amax", "max_dim"])
    }

    /// What a tensor is the exponential of.
    pub fn exponential(&self, id: TensorId) -> Option<TensorId> {
        Some(self.call(self.bare(id), "exp")?.arguments[0])
    }

    /// The sum of exponentials that a tensor is: the reduction, and what the exponentials are of.
    pub fn sum_of_exponentials(&self, id: TensorId) -> Option<(Reduction, TensorId)> {
        let reduction = self.reduction(self.bare(id), &["sum"])?;
        let exponent = self.exponential(reduction.input)?;
        Some((reduction, exponent))
    }

    /// The shape of a tensor.
    pub fn shape(&self, id: TensorId) -> &'a Shape {
        &self.graph.ty(id).shape
    }
}
