//! Makes a graph narrower: the same calls on fewer channels, heads or positions.
//!
//! A size is made smaller wherever it stands: on axes of inputs and parameters, and among the
//! numbers of calls. The shapes of all calls are then inferred anew. Where a call no longer fits,
//! as a reshape of 768 into 12 heads of 64 once 768 is 192, the sizes that it is about are proposed
//! to follow or to stay, and the walk begins again with the proposal that came farthest.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;
use rustc_hash::FxHashSet;

use crate::graph::{Graph, Node, NodeId, TensorId, TensorKind};
use crate::ops::{AttributeKind, AttributeValue, Attributes};
use crate::tensor::{Shape, TensorType};

/// What each size becomes; the others stay.
pub(super) type Becomes = BTreeMap<u64, u64>;

/// Sizes below are windows, axes and ranks more often than widths.
const LEAST: u64 = 8;

/// How often a graph is walked to settle one change.
const WALKS: usize = 2000;

/// A graph walked through, with the types of all tensors and the numbers of the calls that changed.
struct Walked {
    types: Vec<TensorType>,
    attributes: Vec<(NodeId, Attributes)>,
}

/// Where a walk ended, and what might help.
struct Stuck {
    node: u32,
    proposals: Vec<(u64, u64)>,
}

/// The graph with those sizes, and what the others had to become for it to fit together; `None`
/// where it does not. `O(nodes)` for each of a bounded number of walks.
pub(super) fn narrowed(graph: &Graph, wanted: &Becomes) -> Option<(Graph, Becomes)> {
    let mut tried: FxHashSet<Becomes> = FxHashSet::default();
    let mut ahead: Vec<(Becomes, Stuck)> = Vec::new();
    let mut next = vec![wanted.clone()];
    while tried.len() < WALKS {
        for sizes in next {
            if !tried.insert(sizes.clone()) {
                continue;
            }
            match walk(graph, &sizes) {
                Ok(walked) => return Some((rebuilt(graph, walked), sizes)),
                Err(stuck) => ahead.push((sizes, stuck)),
            }
        }
        // Of those that come equally far, the one that was proposed first.
        let farthest = (0..ahead.len()).rev().max_by_key(|&at| ahead[at].1.node)?;
        let (sizes, stuck) = ahead.swap_remove(farthest);
        let proposed = |&(from, to): &(u64, u64)| {
            let mut changed = sizes.clone();
            match from == to {
                true => changed.remove(&from),
                false => changed.insert(from, to),
            };
            changed
        };
        next = stuck.proposals.iter().map(proposed).collect();
    }
    None
}

fn rebuilt(graph: &Graph, walked: Walked) -> Graph {
    let mut made = graph.clone();
    made.types = walked.types;
    for (id, attributes) in walked.attributes {
        if let Some(node) = made.dag.node_weight_mut(NodeIndex::new(id.0 as usize)) {
            node.attributes = attributes;
        }
    }
    made
}

fn mapped(sizes: &Becomes, shape: &Shape) -> Shape {
    let sizes = shape.sizes().iter().map(|&size| becomes(sizes, size));
    sizes.collect()
}

fn becomes(sizes: &Becomes, size: u64) -> u64 {
    sizes.get(&size).copied().unwrap_or(size)
}

fn walk(graph: &Graph, sizes: &Becomes) -> Result<Walked, Stuck> {
    let mut types = graph.types.clone();
    for (ty, tensor) in types.iter_mut().zip(&graph.tensors) {
        if matches!(tensor.kind, TensorKind::Input(_) | TensorKind::Parameter(_)) {
            ty.shape = mapped(sizes, &ty.shape);
        }
    }
    let mut walked = Walked {
        types,
        attributes: Vec::new(),
    };
    for (id, node) in graph.nodes() {
        if graph.is_known(node) {
            walked.step(graph, id, node, sizes)?;
        }
    }
    Ok(walked)
}

impl Walked {
    fn step(
        &mut self,
        graph: &Graph,
        id: NodeId,
        node: &Node,
        sizes: &Becomes,
    ) -> Result<(), Stuck> {
        let attributes = numbers(node, &|number| becomes(sizes, number));
        let inputs = node.arguments.iter().filter(|id| id.is_present());
        let touched = attributes != node.attributes
            || inputs
                .clone()
                .any(|&id| self.ty(id).shape != graph.ty(id).shape);
        if !touched {
            return Ok(());
        }
        let stated = || node.outputs().map(|output| graph.ty(output).shape.clone());
        let before = infer(graph, node, &node.attributes, &graph.types);
        let shapes: Vec<Shape> = if before.is_some_and(|shapes| shapes.iter().cloned().eq(stated()))
        {
            let fits = |shapes: &Vec<Shape>| {
                let ranks = shapes.iter().map(Shape::rank);
                // An open size of a reshape takes up anything, and must not.
                let open = !open_size(graph, node) || {
                    let before = graph.ty(node.first_output).shape.sizes().iter();
                    let after = shapes.iter().take(1).flat_map(Shape::sizes);
                    before
                        .zip(after)
                        .all(|(&from, &to)| to == from || to == becomes(sizes, from))
                };
                open && ranks.eq(stated().map(|shape| shape.rank()))
            };
            match infer(graph, node, &attributes, &self.types).filter(fits) {
                Some(shapes) => shapes,
                None => {
                    return Err(Stuck {
                        node: id.0,
                        proposals: self.proposals(graph, node, sizes),
                    });
                }
            }
        } else {
            // What another program states is not what the op infers.
            stated().map(|shape| mapped(sizes, &shape)).collect()
        };
        for (output, shape) in node.outputs().zip(shapes) {
            self.types[output.0 as usize].shape = shape;
        }
        if attributes != node.attributes {
            self.attributes.push((id, attributes));
        }
        Ok(())
    }

    fn ty(&self, id: TensorId) -> &TensorType {
        &self.types[id.0 as usize]
    }

    /// What the sizes of a call might become, so that it fits.
    fn proposals(&self, graph: &Graph, node: &Node, sizes: &Becomes) -> Vec<(u64, u64)> {
        let mut axes: Vec<(u64, u64)> = Vec::new();
        for &id in node.arguments.iter().filter(|id| id.is_present()) {
            let (before, after) = (graph.ty(id).shape.sizes(), self.ty(id).shape.sizes());
            axes.extend(before.iter().copied().zip(after.iter().copied()));
        }
        let mut proposals: Vec<(u64, u64)> = Vec::new();
        let mut propose = |from: u64, to: u64| {
            let new = to >= 2 && becomes(sizes, from) != to && !proposals.contains(&(from, to));
            if new && from >= LEAST {
                proposals.push((from, to));
            }
        };
        // A number of a reshape, or of a split, takes up what the elements have lost.
        if let Some(&id) = node.arguments.first().filter(|id| id.is_present()) {
            let (before, after) = (graph.ty(id).shape.elements(), self.ty(id).shape.elements());
            let listed = listed(node, Some(&graph.ty(node.first_output).shape));
            let product = |f: &dyn Fn(u64) -> u64| -> u128 {
                listed.iter().map(|&number| u128::from(f(number))).product()
            };
            if product(&|number| number) == u128::from(before) {
                let now = product(&|number| becomes(sizes, number));
                // What follows an axis of the operand already, comes last.
                let follows = |number: u64| axes.contains(&(number, becomes(sizes, number)));
                let mut order = listed.clone();
                order.sort_by_key(|&number| (follows(number), Reverse(number)));
                for number in order {
                    let others = now / u128::from(becomes(sizes, number)).max(1);
                    let wanted = u128::from(after).checked_rem(others.max(1));
                    if wanted == Some(0) {
                        let to = u128::from(after) / others.max(1);
                        propose(number, u64::try_from(to).unwrap_or(0));
                    }
                }
            }
        }
        // Axes of one size before are of one size after.
        for &(from, to) in &axes {
            if axes
                .iter()
                .any(|&(other, other_to)| other == from && other_to != to)
                || to != becomes(sizes, from)
            {
                propose(from, to);
            }
        }
        // Numbers of the call follow axes that shrank by a factor.
        for number in listed(node, None) {
            for &(from, to) in axes.iter().filter(|(from, to)| from != to) {
                let product = number.checked_mul(to);
                if let Some(product) = product.filter(|product| product.is_multiple_of(from)) {
                    propose(number, product / from);
                }
            }
        }
        // Or what was made smaller stays as it was.
        for number in axes.iter().map(|&(from, _)| from).chain(listed(node, None)) {
            propose(number, number);
        }
        proposals
    }
}

/// Whether a call arranges the elements of its operand anew, in sizes of which one is left open.
fn open_size(graph: &Graph, node: &Node) -> bool {
    let made = &graph.ty(node.first_output).shape;
    let open =
        |numbers: &[i64]| numbers.len() == made.rank() && numbers.iter().any(|&number| number < 0);
    let mut values = sized(node).map(|(_, value)| value);
    let given = node.arguments.first().filter(|id| id.is_present());
    given.is_some_and(|&id| graph.ty(id).shape.elements() == made.elements())
        && values.any(|value| matches!(value, AttributeValue::Integers(list) if open(list)))
        && given.is_some_and(|&id| graph.ty(id).shape != *made)
}

/// The numbers that a call is given and that may be sizes.
fn listed(node: &Node, made: Option<&Shape>) -> Vec<u64> {
    let mut list = Vec::new();
    for (_, value) in sized(node) {
        match value {
            AttributeValue::Integer(number) => list.push(*number),
            // An open size is the one that the call has made.
            AttributeValue::Integers(numbers) => {
                let open = numbers.iter().filter(|&&number| number < 0).count() == 1;
                let whole = made.filter(|made| open && made.rank() == numbers.len());
                let sizes = whole.map(|made| made.sizes().iter().map(|&size| size as i64));
                match sizes {
                    Some(sizes) => list.extend(sizes),
                    None => list.extend(numbers.iter()),
                }
            }
            _ => {}
        }
    }
    let positive = list
        .into_iter()
        .filter_map(|number| u64::try_from(number).ok());
    positive.filter(|&number| number > 0).collect()
}

fn sized(node: &Node) -> impl Iterator<Item = (usize, &AttributeValue)> {
    node.attributes.iter().filter(|(position, _)| {
        let kind = node.op.attributes.get(*position).map(|entry| entry.kind);
        // What nothing is given to may count: `arange`.
        let counts = node.arguments.is_empty() && kind == Some(AttributeKind::Float);
        counts
            || matches!(
                kind,
                Some(
                    AttributeKind::Size
                        | AttributeKind::Sizes
                        | AttributeKind::Integer
                        | AttributeKind::Integers
                        | AttributeKind::SizesOr(_)
                )
            )
    })
}

/// The attributes of a call with other numbers.
fn numbers(node: &Node, f: &dyn Fn(u64) -> u64) -> Attributes {
    let mut attributes = node.attributes.clone();
    let other = |number: i64| match u64::try_from(number) {
        Ok(size) => i64::try_from(f(size)).unwrap_or(number),
        Err(_) => number,
    };
    for (position, value) in sized(node) {
        match value {
            AttributeValue::Integer(number) => attributes.set(position, other(*number).into()),
            AttributeValue::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                attributes.set(position, (other(*number as i64) as f64).into());
            }
            AttributeValue::Integers(numbers) => {
                let numbers: Vec<i64> = numbers.iter().map(|&number| other(number)).collect();
                attributes.set(position, numbers.into());
            }
            _ => {}
        }
    }
    attributes
}

/// The shapes that a call makes of operands of those types.
fn infer(
    graph: &Graph,
    node: &Node,
    attributes: &Attributes,
    types: &[TensorType],
) -> Option<Vec<Shape>> {
    let outputs = graph.inferred(node, attributes, types)?;
    Some(outputs.into_iter().map(|ty| ty.shape).collect())
}

/// The sizes that inputs have, and those that parameters have, from [`LEAST`] on.
pub(super) fn found(graph: &Graph) -> (Vec<u64>, Vec<u64>) {
    let (mut inputs, mut parameters) = (Vec::new(), Vec::new());
    for (ty, tensor) in graph.types.iter().zip(&graph.tensors) {
        let list = match tensor.kind {
            TensorKind::Input(_) => &mut inputs,
            TensorKind::Parameter(_) => &mut parameters,
            _ => continue,
        };
        list.extend(
            ty.shape
                .sizes()
                .iter()
                .copied()
                .filter(|&size| size >= LEAST),
        );
    }
    for list in [&mut inputs, &mut parameters] {
        list.sort_unstable();
        list.dedup();
    }
    (inputs, parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;

    const HEADS: &str = r#"
spec = 1
[model]
name = "heads"
[inputs]
x = [4, 10, 768]
[[layers]]
name = "q"
op = "linear"
in = "x"
out_features = 768
[[layers]]
name = "heads"
formula = "q.reshape(4, -1, 12, 64).transpose(1, 2)"
[[layers]]
name = "scores"
formula = "heads @ heads.transpose(-2, -1)"
[[layers]]
name = "joined"
formula = "(scores @ heads).transpose(1, 2).reshape(4, 10, -1)"
"#;

    fn shapes(graph: &Graph) -> Vec<String> {
        let nodes = graph.nodes().map(|(_, node)| node.first_output);
        nodes.map(|id| graph.ty(id).shape.to_string()).collect()
    }

    /// Guards that heads become narrower, not fewer, and that an open size takes up nothing.
    #[test]
    fn what_a_reshape_is_about_follows() {
        let (_, model) = lowered(HEADS);
        let wanted = Becomes::from([(768, 192)]);
        let (graph, sizes) = narrowed(&model.graph, &wanted).unwrap();
        assert_eq!(sizes, Becomes::from([(64, 16), (768, 192)]));
        assert_eq!(
            shapes(&graph),
            [
                "[4, 10, 192]",
                "[4, 10, 12, 16]",
                "[4, 12, 10, 16]",
                "[4, 12, 16, 10]",
                "[4, 12, 10, 10]",
                "[4, 12, 10, 16]",
                "[4, 10, 12, 16]",
                "[4, 10, 192]",
            ]
        );
    }

    /// Guards that what cannot be made smaller is put back, not forced.
    #[test]
    fn what_does_not_fit_stays() {
        let text = HEADS
            .replace("12, 64", "3, 256")
            .replace("[4, 10, 768]", "[4, 15, 768]");
        let text = text.replace("reshape(4, 10, -1)", "reshape(4, 15, 768) + 0.0");
        let (_, model) = lowered(&text);
        let wanted = Becomes::from([(768, 7 * 768 / 256), (256, 7)]);
        let (graph, sizes) = narrowed(&model.graph, &wanted).unwrap();
        assert_eq!(sizes, wanted);
        assert_eq!(
            shapes(&graph).last().map(String::as_str),
            Some("[4, 15, 21]")
        );
        let odd = Becomes::from([(768, 100)]);
        let (_, sizes) = narrowed(&model.graph, &odd).unwrap();
        assert_eq!(sizes, Becomes::new());
    }
}
