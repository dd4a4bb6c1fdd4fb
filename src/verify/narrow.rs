//! Makes a graph narrower: the same calls on fewer channels, heads or positions.
//!
//! A size is made smaller wherever it stands: on axes of inputs and parameters, and among the
//! numbers of calls. The shapes of all calls are then inferred anew. Where a call no longer fits,
//! as a reshape of 768 into 12 heads of 64 once 768 is 192, the sizes that it is about are proposed
//! to follow or to stay, and the walk begins again with the proposal that came farthest. What of a
//! number follows from the batch or the length of a sequence stays, whatever it is equal to.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;
use rustc_hash::FxHashSet;

use crate::graph::{Dims, Graph, Node, NodeId, TensorId, TensorKind};
use crate::ops::{AttributeKind, AttributeValue, Attributes};
use crate::tensor::{Shape, TensorType};

/// What each size becomes; the others stay.
pub(super) type Becomes = BTreeMap<u64, u64>;

/// Sizes below are windows, axes and ranks more often than widths.
const LEAST: u64 = 8;

/// How often a graph is walked to settle one change.
const WALKS: usize = 2000;

/// A graph, and the dims whose followers stay as they are.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The dims.
    pub dims: &'a Dims,
}

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
pub(super) fn narrowed(source: Source<'_>, wanted: &Becomes) -> Option<(Graph, Becomes)> {
    let mut tried: FxHashSet<Becomes> = FxHashSet::default();
    let mut ahead: Vec<(Becomes, Stuck)> = Vec::new();
    let mut next = vec![wanted.clone()];
    while tried.len() < WALKS {
        for sizes in next {
            if !tried.insert(sizes.clone()) {
                continue;
            }
            match source.walk(&sizes) {
                Ok(walked) => return Some((rebuilt(source.graph, walked), sizes)),
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

fn becomes(sizes: &Becomes, size: u64) -> u64 {
    sizes.get(&size).copied().unwrap_or(size)
}

impl Source<'_> {
    fn walk(self, sizes: &Becomes) -> Result<Walked, Stuck> {
        let graph = self.graph;
        let mut types = graph.types.clone();
        for (at, (ty, tensor)) in types.iter_mut().zip(&graph.tensors).enumerate() {
            if matches!(tensor.kind, TensorKind::Input(_) | TensorKind::Parameter(_)) {
                ty.shape = self.mapped(sizes, TensorId(at as u32));
            }
        }
        let mut walked = Walked {
            types,
            attributes: Vec::new(),
        };
        for (id, node) in graph.nodes() {
            if graph.is_known(node) {
                walked.step(self, id, node, sizes)?;
            }
        }
        Ok(walked)
    }

    /// A shape of the graph with other sizes.
    fn mapped(self, sizes: &Becomes, id: TensorId) -> Shape {
        let axes = self.graph.ty(id).shape.sizes().iter().enumerate();
        let size = |(axis, &size)| {
            let fixed = self.dims.part_of_size(id, axis, size);
            fixed * becomes(sizes, size / fixed)
        };
        axes.map(size).collect()
    }
}

impl Walked {
    fn step(
        &mut self,
        source: Source<'_>,
        id: NodeId,
        node: &Node,
        sizes: &Becomes,
    ) -> Result<(), Stuck> {
        let graph = source.graph;
        let attributes = source.numbers(id, node, sizes);
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
                        proposals: self.proposals(source, id, sizes),
                    });
                }
            }
        } else {
            // What another program states is not what the op infers.
            node.outputs()
                .map(|output| source.mapped(sizes, output))
                .collect()
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
    fn proposals(&self, source: Source<'_>, id: NodeId, sizes: &Becomes) -> Vec<(u64, u64)> {
        let graph = source.graph;
        let node = graph.node(id);
        let mut axes: Vec<(u64, u64)> = Vec::new();
        for &id in node.arguments.iter().filter(|id| id.is_present()) {
            let (before, after) = (graph.ty(id).shape.sizes(), self.ty(id).shape.sizes());
            for (axis, (&before, &after)) in before.iter().zip(after).enumerate() {
                let fixed = source.dims.part_of_size(id, axis, before);
                if after.is_multiple_of(fixed) {
                    axes.push((before / fixed, after / fixed));
                }
            }
        }
        let mut proposals: Vec<(u64, u64)> = Vec::new();
        let mut propose = |from: u64, to: u64| {
            // Nothing grows, where all is to be smaller.
            let new = (2..=from).contains(&to)
                && becomes(sizes, from) != to
                && !proposals.contains(&(from, to));
            if new && from >= LEAST {
                proposals.push((from, to));
            }
        };
        // A number of a reshape, or of a split, takes up what the elements have lost.
        if let Some(&first) = node.arguments.first().filter(|id| id.is_present()) {
            let elements = |ty: &TensorType| ty.shape.elements();
            let (before, after) = (elements(graph.ty(first)), elements(self.ty(first)));
            let made = &graph.ty(node.first_output).shape;
            let listed = source.listed(id, Some(made));
            let product = |f: &dyn Fn(u64) -> u64| -> u128 {
                let factors = listed.iter();
                let factors = factors.map(|&(fixed, rest)| u128::from(fixed) * u128::from(f(rest)));
                factors.product()
            };
            if product(&|number| number) == u128::from(before) {
                let now = product(&|number| becomes(sizes, number));
                // What follows an axis of the operand already, comes last.
                let follows = |number: u64| axes.contains(&(number, becomes(sizes, number)));
                let mut order: Vec<u64> = listed.iter().map(|&(_, rest)| rest).collect();
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
        let listed = source.listed(id, None).into_iter();
        let free: Vec<u64> = listed.map(|(_, rest)| rest).collect();
        for &number in &free {
            for &(from, to) in axes.iter().filter(|(from, to)| from != to) {
                let product = number.checked_mul(to);
                if let Some(product) = product.filter(|product| product.is_multiple_of(from)) {
                    propose(number, product / from);
                }
            }
        }
        // Or what was made smaller stays as it was.
        for number in axes.iter().map(|&(from, _)| from).chain(free) {
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

impl Source<'_> {
    /// The numbers that a call is given and that may be sizes: of each the part that stays, and the
    /// rest.
    fn listed(self, id: NodeId, made: Option<&Shape>) -> Vec<(u64, u64)> {
        let mut list = Vec::new();
        for (position, value) in sized(self.graph.node(id)) {
            let mut add = |at: usize, number: i64| {
                if let Some(number) = u64::try_from(number).ok().filter(|&number| number > 0) {
                    let fixed = self.dims.part((id, position, at), number);
                    list.push((fixed, number / fixed));
                }
            };
            match value {
                AttributeValue::Integer(number) => add(0, *number),
                // An open size is the one that the call has made.
                AttributeValue::Integers(numbers) => {
                    let open = numbers.iter().filter(|&&number| number < 0).count() == 1;
                    let whole = made.filter(|made| open && made.rank() == numbers.len());
                    let sizes: Vec<i64> = match whole {
                        Some(made) => made.sizes().iter().map(|&size| size as i64).collect(),
                        None => numbers.to_vec(),
                    };
                    for (at, number) in sizes.into_iter().enumerate() {
                        add(at, number);
                    }
                }
                _ => {}
            }
        }
        list
    }

    /// The attributes of a call with other numbers.
    fn numbers(self, id: NodeId, node: &Node, sizes: &Becomes) -> Attributes {
        let mut attributes = node.attributes.clone();
        for (position, value) in sized(node) {
            let other = |at: usize, number: i64| match u64::try_from(number) {
                Ok(size) => {
                    let fixed = self.dims.part((id, position, at), size).max(1);
                    i64::try_from(fixed * becomes(sizes, size / fixed)).unwrap_or(number)
                }
                Err(_) => number,
            };
            match value {
                AttributeValue::Integer(number) => {
                    attributes.set(position, other(0, *number).into());
                }
                AttributeValue::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                    attributes.set(position, (other(0, *number as i64) as f64).into());
                }
                AttributeValue::Integers(numbers) => {
                    let numbers = numbers.iter().enumerate();
                    let numbers: Vec<i64> =
                        numbers.map(|(at, &number)| other(at, number)).collect();
                    attributes.set(position, numbers.into());
                }
                _ => {}
            }
        }
        attributes
    }
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

    fn with(graph: &Graph, wanted: &Becomes) -> Option<(Graph, Becomes)> {
        let dims = &Dims::of(graph, &[]);
        narrowed(Source { graph, dims }, wanted)
    }

    fn shapes(graph: &Graph) -> Vec<String> {
        let nodes = graph.nodes().map(|(_, node)| node.first_output);
        nodes.map(|id| graph.ty(id).shape.to_string()).collect()
    }

    /// Guards that heads become narrower, not fewer, and that an open size takes up nothing.
    #[test]
    fn what_a_reshape_is_about_follows() {
        let (_, model) = lowered(HEADS);
        let wanted = Becomes::from([(768, 192)]);
        let (graph, sizes) = with(&model.graph, &wanted).unwrap();
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
        let (graph, sizes) = with(&model.graph, &wanted).unwrap();
        assert_eq!(sizes, wanted);
        assert_eq!(
            shapes(&graph).last().map(String::as_str),
            Some("[4, 15, 21]")
        );
        let odd = Becomes::from([(768, 100)]);
        let (_, sizes) = with(&model.graph, &odd).unwrap();
        assert_eq!(sizes, Becomes::new());
    }
}
