//! Finds the products whose result is a factor of another one, and lays them out as chains.

use rustc_hash::FxHashSet;

use super::Operand;
use crate::graph::{Graph, Node, NodeId, TensorId, TensorKind};
use crate::tensor::Shape;

/// Most transposes and scalings that are passed through between two products.
const LONGEST_DETOUR: usize = 16;

/// A chain before it is ordered.
pub(super) struct Found {
    pub operands: Vec<Operand>,
    /// How many products end with each operand.
    pub closes: Vec<u32>,
    pub nodes: Vec<NodeId>,
    pub scaled: bool,
    pub biases: usize,
}

/// A factor: a tensor, or what it is with its last two axes exchanged.
#[derive(Debug, Clone, Copy)]
struct Factor {
    tensor: TensorId,
    transposed: bool,
}

/// What a factor of a product comes from.
enum Side {
    /// Another product of the same chain.
    Product {
        node: NodeId,
        transposed: bool,
        scaled: bool,
    },
    /// A factor of the chain.
    Leaf(Factor),
}

/// The factors of a product; `None` for a node that is none.
fn factors(node: &Node) -> Option<[Factor; 2]> {
    let weight = match node.op.name {
        "matmul" | "mm" | "bmm" | "mv" => false,
        "linear" => true,
        _ => return None,
    };
    let &[left, right, ..] = node.arguments.as_slice() else {
        return None;
    };
    // `linear` multiplies by its weight transposed.
    Some([
        Factor {
            tensor: left,
            transposed: false,
        },
        Factor {
            tensor: right,
            transposed: weight,
        },
    ])
}

/// Walks a graph from product to product.
pub(super) struct Walk<'a> {
    graph: &'a Graph,
    outputs: FxHashSet<TensorId>,
}

/// What is still to be laid out of a chain.
enum Task {
    Product(NodeId, bool),
    Leaf(Factor, bool),
    Close(NodeId),
}

impl<'a> Walk<'a> {
    pub fn new(graph: &'a Graph) -> Walk<'a> {
        let outputs = graph.outputs.iter().copied().collect();
        Walk { graph, outputs }
    }

    /// The last product of each chain of at least two products. `O(nodes)`.
    pub fn roots(&self) -> Vec<NodeId> {
        let mut inner: FxHashSet<NodeId> = FxHashSet::default();
        let mut outer = Vec::new();
        for (id, node) in self.graph.nodes() {
            let Some(factors) = factors(node) else {
                continue;
            };
            let mut joined = false;
            for (position, factor) in factors.into_iter().enumerate() {
                if let Side::Product { node, .. } = self.side(node, factor, position == 0) {
                    inner.insert(node);
                    joined = true;
                }
            }
            if joined {
                outer.push(id);
            }
        }
        outer.retain(|id| !inner.contains(id));
        outer
    }

    /// Lays out the chain that ends with `root`. `O(its nodes)`, without recursion.
    pub fn flatten(&self, root: NodeId) -> Found {
        let mut found = Found {
            operands: Vec::new(),
            closes: Vec::new(),
            nodes: Vec::new(),
            scaled: false,
            biases: 0,
        };
        let mut tasks = vec![Task::Product(root, false)];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Product(id, turned) => {
                    let node = self.graph.node(id);
                    let Some(factors) = factors(node) else {
                        continue;
                    };
                    tasks.push(Task::Close(id));
                    found.biases += usize::from(id != root && has_bias(node));
                    let [left, right] = [0, 1].map(|position| {
                        self.task(node, factors[position], position == 0, turned, &mut found)
                    });
                    // What is popped first stands on the left; a product that is turned around
                    // has its factors in reverse.
                    tasks.extend(if turned { [left, right] } else { [right, left] });
                }
                Task::Leaf(factor, left) => {
                    found.operands.push(operand(self.graph, factor, left));
                    found.closes.push(0);
                }
                Task::Close(id) => {
                    if let Some(closes) = found.closes.last_mut() {
                        *closes += 1;
                    }
                    found.nodes.push(id);
                }
            }
        }
        found
    }

    /// What a factor of `outer` adds to the chain.
    fn task(
        &self,
        outer: &Node,
        factor: Factor,
        left: bool,
        turned: bool,
        found: &mut Found,
    ) -> Task {
        match self.side(outer, factor, left) {
            Side::Product {
                node,
                transposed,
                scaled,
            } => {
                found.scaled |= scaled;
                Task::Product(node, turned ^ transposed)
            }
            Side::Leaf(factor) => {
                let transposed = turned ^ factor.transposed;
                Task::Leaf(
                    Factor {
                        transposed,
                        ..factor
                    },
                    left,
                )
            }
        }
    }

    /// What a factor of `outer` comes from, behind transposes and scalings.
    fn side(&self, outer: &Node, factor: Factor, left: bool) -> Side {
        let graph = self.graph;
        // A factor is named by what is transposed, but a scaled one stays as it is.
        let (mut leaf, mut at) = (factor, factor);
        let (mut scaled, mut alone) = (false, true);
        for _ in 0..LONGEST_DETOUR {
            let Some(id) = graph.producer(at.tensor) else {
                break;
            };
            let node = graph.node(id);
            alone = alone && self.is_alone(id, at.tensor);
            if factors(node).is_some() {
                // The weight of `linear` counts as transposed from the start.
                let transposed = at.transposed;
                if alone && self.joins(node, outer, left, transposed) {
                    return Side::Product {
                        node: id,
                        transposed,
                        scaled,
                    };
                }
                break;
            }
            if exchanges_last_axes(graph, node) {
                at = Factor {
                    tensor: node.arguments[0],
                    transposed: !at.transposed,
                };
                if !scaled {
                    leaf = at;
                }
            } else if let Some(tensor) = scaled_tensor(graph, node) {
                scaled = true;
                at.tensor = tensor;
            } else {
                break;
            }
        }
        Side::Leaf(leaf)
    }

    /// Whether the tensor that a node makes has one use and is not handed out.
    fn is_alone(&self, id: NodeId, tensor: TensorId) -> bool {
        self.graph.only_user(id).is_some() && !self.outputs.contains(&tensor)
    }

    /// Whether the product `inner` may be regrouped with `outer`, of which it is the left or the
    /// right factor.
    fn joins(&self, inner: &Node, outer: &Node, left: bool, transposed: bool) -> bool {
        let graph = self.graph;
        let (made, wanted) = (graph.ty(inner.first_output), graph.ty(outer.first_output));
        if made.dtype != wanted.dtype {
            return false;
        }
        if has_bias(inner) && !(outer.op.name == "linear" && left && !transposed) {
            return false;
        }
        let is_vector = |position: usize| {
            let argument = inner.arguments.get(position);
            argument.is_some_and(|&id| graph.ty(id).shape.rank() == 1)
        };
        // A vector is a row on the left and a column on the right, and so is what comes of it; a
        // stack of them is taken for a matrix by the next product.
        match (is_vector(0), is_vector(1)) {
            (false, false) => true,
            (true, false) => left && made.shape.rank() == 1,
            (false, true) => !left && made.shape.rank() == 1,
            (true, true) => false,
        }
    }
}

fn operand(graph: &Graph, factor: Factor, left: bool) -> Operand {
    let sizes = graph.ty(factor.tensor).shape.sizes();
    let (batch, mut rows, mut columns) = match *sizes {
        [ref batch @ .., rows, columns] => (batch, rows, columns),
        [size] if left => (&[][..], 1, size),
        [size] => (&[][..], size, 1),
        [] => (&[][..], 1, 1),
    };
    if factor.transposed && sizes.len() > 1 {
        (rows, columns) = (columns, rows);
    }
    Operand {
        tensor: factor.tensor,
        transposed: factor.transposed && sizes.len() > 1,
        rows,
        columns,
        batch: Shape::from(batch),
        parameter: matches!(graph.tensor(factor.tensor).kind, TensorKind::Parameter(_)),
    }
}

fn has_bias(node: &Node) -> bool {
    node.op.name == "linear" && node.arguments.get(2).is_some_and(|id| id.is_present())
}

/// Whether the node exchanges the last two axes and does nothing else.
fn exchanges_last_axes(graph: &Graph, node: &Node) -> bool {
    let wanted = matches!(
        node.op.name,
        "transpose" | "t" | "matrix_transpose" | "permute"
    );
    if !wanted {
        return false;
    }
    let shape = &graph.ty(node.first_output).shape;
    let rank = shape.rank();
    if rank < 2 {
        return false;
    }
    let last = [rank - 2, rank - 1];
    graph.with_call(node, |call| match node.op.name {
        "transpose" => {
            let axis = |name| call.integer(name).and_then(|axis| shape.axis(axis));
            match (axis("dim0"), axis("dim1")) {
                (Some(a), Some(b)) => [a.min(b), a.max(b)] == last,
                _ => false,
            }
        }
        "permute" => call.integers("dims").is_some_and(|dims| {
            let swapped = |place: usize| match place {
                place if place == last[0] => last[1],
                place if place == last[1] => last[0],
                place => place,
            };
            let mut places = dims.iter().enumerate();
            places.all(|(place, &axis)| shape.axis(axis) == Some(swapped(place)))
        }),
        _ => true,
    })
}

/// The tensor that the node multiplies or divides by a single number, or negates.
fn scaled_tensor(graph: &Graph, node: &Node) -> Option<TensorId> {
    let single = |id: TensorId| id.is_present() && graph.ty(id).shape.rank() == 0;
    let tensor = match (node.op.name, node.arguments.as_slice()) {
        ("neg", &[tensor]) => tensor,
        ("mul" | "div", &[tensor, number]) if single(number) => tensor,
        ("mul", &[number, tensor]) if single(number) => tensor,
        _ => return None,
    };
    let same = tensor.is_present() && graph.ty(tensor) == graph.ty(node.first_output);
    same.then_some(tensor)
}
