//! The order of a graph's nodes: each after what it reads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::schema::{AttributeProto, GraphProto, NodeProto};
use crate::import::ImportError;

/// How deep graphs may stand in attributes of calls.
const MAX_NESTING: usize = 32;

/// The numbers of the nodes, each after those that make what it reads, and else as they are
/// written. `O(n log n)`.
///
/// # Errors
/// Where two nodes make one name, or nodes wait for each other.
pub(super) fn order(nodes: &[NodeProto]) -> Result<Vec<usize>, ImportError> {
    let mut makers: FxHashMap<&str, usize> = FxHashMap::default();
    for (at, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if let Some(other) = makers.insert(output, at) {
                let message = format!(
                    "two nodes make `{output}`: {} and {}",
                    described(&nodes[other]),
                    described(node)
                );
                return Err(ImportError::new(message));
            }
        }
    }
    let mut waits = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        let mut read: Vec<&str> = Vec::new();
        reads(node, &mut read, 0);
        for name in read {
            if let Some(&maker) = makers.get(name) {
                readers[maker].push(at);
                waits[at] += 1;
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = waits
        .iter()
        .enumerate()
        .filter(|&(_, &waits)| waits == 0)
        .map(|(at, _)| Reverse(at))
        .collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(at)) = ready.pop() {
        order.push(at);
        for &reader in &readers[at] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    match waits.iter().position(|&waits| waits > 0) {
        None => Ok(order),
        Some(at) => {
            let message = format!(
                "{} waits for its own result: the graph has a cycle",
                described(&nodes[at])
            );
            Err(ImportError::new(message))
        }
    }
}

/// All names that a node reads, those that its graphs read from around it included.
fn reads<'n>(node: &'n NodeProto, read: &mut Vec<&'n str>, depth: usize) {
    read.extend(
        node.input
            .iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty()),
    );
    if depth < MAX_NESTING {
        for graph in node.attribute.iter().filter_map(graph_of) {
            let mut inside: Vec<&str> = Vec::new();
            for inner in &graph.node {
                reads(inner, &mut inside, depth + 1);
            }
            inside.extend(graph.output.iter().map(|output| output.name.as_str()));
            let own = own_names(graph);
            read.extend(inside.into_iter().filter(|name| !own.contains(name)));
        }
    }
}

/// The names that a graph gives itself.
fn own_names(graph: &GraphProto) -> FxHashSet<&str> {
    let made = graph.node.iter().flat_map(|node| &node.output);
    let values = graph.initializer.iter().map(|tensor| &tensor.name);
    let inputs = graph.input.iter().map(|input| &input.name);
    made.chain(values)
        .chain(inputs)
        .map(String::as_str)
        .collect()
}

fn graph_of(attribute: &AttributeProto) -> Option<&GraphProto> {
    attribute.g.as_deref()
}

/// What to call a node in a message.
pub(super) fn described(node: &NodeProto) -> String {
    match node.name.as_str() {
        "" => match node.output.iter().find(|name| !name.is_empty()) {
            Some(output) => format!("the {} that makes `{output}`", node.op_type),
            None => format!("a {}", node.op_type),
        },
        name => format!("`{name}` ({})", node.op_type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: "Relu".into(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: outputs.iter().map(|&name| name.into()).collect(),
            ..NodeProto::default()
        }
    }

    #[test]
    fn what_is_read_comes_first() {
        let nodes = [
            node(&["b"], &["c"]),
            node(&["x"], &["a"]),
            node(&["a"], &["b"]),
            node(&["x"], &["d"]),
        ];
        assert_eq!(order(&nodes).unwrap(), [1, 2, 0, 3]);
    }

    #[test]
    fn cycles_and_names_made_twice_are_named() {
        let cycle = [node(&["b"], &["a"]), node(&["a"], &["b"])];
        let error = order(&cycle).unwrap_err().message;
        assert_eq!(
            error,
            "the Relu that makes `a` waits for its own result: the graph has a cycle"
        );
        let twice = [node(&["x"], &["a"]), node(&["x"], &["a"])];
        let error = order(&twice).unwrap_err().message;
        assert!(error.starts_with("two nodes make `a`"), "{error}");
    }
}
