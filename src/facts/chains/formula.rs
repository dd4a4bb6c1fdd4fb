//! Chains as text: what their factors are called, and a formula with its products in another order.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Chain, Operand};
use crate::formula::{BinaryOperator, Expression, NodeId, NodeKind};
use crate::graph::{DefinitionId, Graph, Node, TensorId};
use crate::source::Span;
use crate::spec::Spec;
use crate::spec::layer::Body;

/// Longest sub-expression that is shown as the name of a factor, in bytes.
const LONGEST_NAME: usize = 32;

/// A part of a formula and what to write there instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The part.
    pub span: Span,
    /// The text, as it stands in the TOML string that the formula is written in.
    pub text: String,
}

/// The formula that a call stands in.
pub(super) fn formula_of<'a>(spec: &'a Spec, graph: &Graph, node: &Node) -> Option<&'a Expression> {
    let definition = graph.layer(node.layer).definition;
    match &spec.definitions.get(definition.0 as usize)?.body {
        Body::Formula(expression) => Some(expression),
        _ => None,
    }
}

/// Finds the sub-expressions that calls stand for.
pub(super) struct Formulas<'a> {
    spec: &'a Spec,
    graph: &'a Graph,
    known: FxHashMap<DefinitionId, FxHashMap<Span, NodeId>>,
    /// The path of the block that the reader stands in, with a dot behind it.
    block: String,
}

impl<'a> Formulas<'a> {
    /// Names things as they are called where the node `here` stands.
    pub fn new(spec: &'a Spec, graph: &'a Graph, here: crate::graph::NodeId) -> Formulas<'a> {
        let parent = graph.layer(graph.node(here).layer).parent;
        Formulas {
            spec,
            graph,
            known: FxHashMap::default(),
            block: parent.map_or_else(String::new, |layer| graph.layer_path(layer) + "."),
        }
    }

    /// What a factor is called, transposition included.
    pub fn name(&mut self, operand: &Operand) -> String {
        let (text, atomic) = self.tensor(operand.tensor);
        let text = if atomic { text } else { format!("({text})") };
        match operand.transposed {
            true => text + transposition(self.graph, operand.tensor),
            false => text,
        }
    }

    /// What a tensor is called, and whether that can be followed by `.T` as it is.
    pub fn tensor(&mut self, tensor: TensorId) -> (String, bool) {
        self.expression(tensor).unwrap_or_else(|| {
            let name = self.layer_name(tensor);
            let local = name.strip_prefix(&self.block).map(str::to_owned);
            (local.unwrap_or(name), true)
        })
    }

    fn expression(&mut self, tensor: TensorId) -> Option<(String, bool)> {
        let node = self.graph.node(self.graph.producer(tensor)?);
        let expression = formula_of(self.spec, self.graph, node)?;
        let span = node.span?;
        // The whole formula has the name of its layer.
        if expression.node(expression.root()).span == span {
            return None;
        }
        let definition = self.graph.layer(node.layer).definition;
        let known = self.known.entry(definition).or_insert_with(|| {
            let spans = expression.iter().map(|(id, node)| (node.span, id));
            spans.collect()
        });
        let id = *known.get(&span)?;
        let text = expression.display(id).to_string();
        let atomic = !matches!(
            expression.kind(id),
            NodeKind::Binary { .. } | NodeKind::Unary { .. } | NodeKind::Conditional { .. }
        );
        (text.len() <= LONGEST_NAME).then_some((text, atomic))
    }

    /// The layer that hands the tensor on, by that of its names.
    fn layer_name(&self, tensor: TensorId) -> String {
        let graph = self.graph;
        let name = graph.tensor_name(tensor);
        let Some(node) = graph.producer(tensor) else {
            return name;
        };
        let layer = graph.layer(graph.node(node).layer);
        let position = layer.outputs.iter().position(|&output| output == tensor);
        let definition = self.spec.definitions.get(layer.definition.0 as usize);
        let own = definition.zip(position).and_then(|(definition, position)| {
            (definition.names.len() > 1).then(|| definition.names.get(position))?
        });
        match (own, layer.parent) {
            (Some(own), Some(parent)) => format!("{}.{own}", graph.layer_path(parent)),
            (Some(own), None) => own.to_string(),
            (None, _) => name,
        }
    }
}

fn transposition(graph: &Graph, tensor: TensorId) -> &'static str {
    match graph.ty(tensor).shape.rank() {
        2 => ".T",
        _ => ".mT",
    }
}

/// The formula with the products of the chain in the best order.
pub(super) fn rewrite(chain: &Chain, spec: &Spec, graph: &Graph) -> Option<Rewrite> {
    let root = graph.node(chain.root());
    let same_formula = chain.nodes.iter().all(|&id| {
        let node = graph.node(id);
        node.layer == root.layer && node.span.is_some() && node.op.name != "linear"
    });
    if chain.scaled || !same_formula {
        return None;
    }
    let mut expression = formula_of(spec, graph, root)?.clone();
    let spans: FxHashSet<Span> = chain
        .nodes
        .iter()
        .filter_map(|&id| graph.node(id).span)
        .collect();
    let (span, whole) = (root.span?, expression.root());
    let (at, _) = expression
        .iter()
        .find(|(_, node)| node.span == span && is_product(&node.kind))?;
    let mut factors = factors(&expression, at, &spans)?;
    if factors.len() != chain.operands.len() {
        return None;
    }
    let mut products = Vec::with_capacity(factors.len());
    for (factor, operand) in factors.iter_mut().zip(&chain.operands) {
        if factor.transposed {
            factor.id = turned(
                &mut expression,
                factor.id,
                transposition(graph, operand.tensor),
            );
        }
        products.push(factor.id);
    }
    for product in chain.best.tree.products() {
        let kind = NodeKind::Binary {
            operator: BinaryOperator::MatrixMultiply,
            left: products[product.start],
            right: products[product.middle],
        };
        products[product.start] = expression.push(kind, span);
    }
    let product = expression.display(products[0]).to_string();
    // What is written with escapes or quotes depends on the kind of the TOML string.
    if product.contains(['"', '\'', '\\']) {
        return None;
    }
    // Operators other than the one that stood there already may bind tighter.
    let bare = at == whole
        || matches!(expression.kind(at), NodeKind::Binary { .. })
        || expression.node(at).outer != span;
    let text = if bare {
        product
    } else {
        format!("({product})")
    };
    Some(Rewrite { span, text })
}

/// The einsum as nested calls. What is kept of it is copied as it stands, escapes included.
pub(super) fn rewrite_einsum(
    einsum: &super::Contraction,
    spec: &Spec,
    graph: &Graph,
) -> Option<Rewrite> {
    let node = graph.node(einsum.node);
    let (expression, span) = (formula_of(spec, graph, node)?, node.span?);
    let source = |span: Span| spec.document.source_text(span);
    let arguments = expression.iter().find_map(|(_, node)| match node.kind {
        NodeKind::Call {
            function,
            arguments,
        } if node.span == span => Some((function, arguments)),
        _ => None,
    });
    let (function, arguments) = arguments?;
    let [equation, operands @ ..] = expression.arguments(arguments) else {
        return None;
    };
    let positional = operands.iter().all(|operand| operand.name.is_none());
    if !positional || equation.name.is_some() || operands.len() != einsum.operands.len() {
        return None;
    }
    if !matches!(expression.kind(equation.value), NodeKind::String(_)) {
        return None;
    }
    let literal = source(expression.node(equation.value).span);
    let quotes = ["\\\"", "\"", "'"];
    let quote = quotes
        .into_iter()
        .find(|quote| literal.starts_with(quote))?;
    // Three quotes in a row would be cut short.
    if literal[quote.len()..].starts_with(quote) {
        return None;
    }
    let texts: Vec<&str> = operands
        .iter()
        .map(|operand| source(expression.node(operand.value).outer))
        .collect();
    let text = einsum.nested(source(expression.node(function).span), &texts, quote);
    Some(Rewrite { span, text })
}

fn is_product(kind: &NodeKind) -> bool {
    matches!(
        kind,
        NodeKind::Call { .. }
            | NodeKind::Binary {
                operator: BinaryOperator::MatrixMultiply,
                ..
            }
    )
}

struct Factor {
    id: NodeId,
    transposed: bool,
}

/// The factors of the product at `root`, whose parts are the products at `spans`, from left to
/// right; `None` where one is written in an unusual way. `O(nodes)`.
fn factors(expression: &Expression, root: NodeId, spans: &FxHashSet<Span>) -> Option<Vec<Factor>> {
    let mut factors = Vec::new();
    let mut pending = vec![(root, false)];
    while let Some((id, transposed)) = pending.pop() {
        let node = expression.node(id);
        let chained = spans.contains(&node.span);
        let sides = match &node.kind {
            NodeKind::Binary {
                operator: BinaryOperator::MatrixMultiply,
                left,
                right,
            } if chained => [*left, *right],
            NodeKind::Call {
                function,
                arguments,
            } if chained => match expression.arguments(*arguments) {
                [left, right] if is_plain_call(expression, *function, [left, right]) => {
                    [left.value, right.value]
                }
                _ => return None,
            },
            NodeKind::Attribute { object, name } if is_transposition(name) => {
                let below = behind_transpositions(expression, *object);
                if spans.contains(&expression.node(below).span) {
                    pending.push((*object, !transposed));
                } else {
                    factors.push(Factor { id, transposed });
                }
                continue;
            }
            _ => {
                factors.push(Factor { id, transposed });
                continue;
            }
        };
        // What is popped first stands on the left.
        let [left, right] = sides.map(|side| (side, transposed));
        pending.extend(if transposed {
            [left, right]
        } else {
            [right, left]
        });
    }
    Some(factors)
}

fn is_plain_call(
    expression: &Expression,
    function: NodeId,
    arguments: [&crate::formula::Argument; 2],
) -> bool {
    let positional = arguments.iter().all(|argument| argument.name.is_none());
    positional && matches!(expression.kind(function), NodeKind::Name(_))
}

fn is_transposition(name: &str) -> bool {
    matches!(name, "T" | "mT")
}

fn behind_transpositions(expression: &Expression, mut id: NodeId) -> NodeId {
    while let NodeKind::Attribute { object, name } = expression.kind(id)
        && is_transposition(name)
    {
        id = *object;
    }
    id
}

/// The expression transposed: without its `.T`, or with one.
fn turned(expression: &mut Expression, id: NodeId, transposition: &str) -> NodeId {
    if let NodeKind::Attribute { object, name } = expression.kind(id)
        && is_transposition(name)
    {
        return *object;
    }
    let span = expression.node(id).span;
    let name = transposition.trim_start_matches('.').into();
    expression.push(NodeKind::Attribute { object: id, name }, span)
}
