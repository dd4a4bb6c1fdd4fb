//! The expression tree: an arena whose nodes stand in the order in which they are computed.

use smol_str::SmolStr;

use super::operators::{BinaryOperator, UnaryOperator};
use crate::source::Span;

/// The number of a node in its [`Expression`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The position in [`Expression::nodes`], to keep something beside each node.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A run of children or arguments, to be read by [`Expression::items`] or
/// [`Expression::arguments`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct List {
    start: u32,
    length: u32,
}

impl List {
    /// Number of entries.
    pub fn len(self) -> usize {
        self.length as usize
    }

    /// Whether there is no entry.
    pub fn is_empty(self) -> bool {
        self.length == 0
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// `12`, `1_000`, `0xff`; never negative when parsed.
    Integer(i64),
    /// `1e-5`, `0.5`; finite and never negative when parsed. `inf` and `nan` are names.
    Real(f64),
    /// `True`, `False`, `true`, `false`
    Boolean(bool),
    /// `None`
    None,
    /// `...`
    Ellipsis,
    /// `'ij,jk->ik'`, without its quotes and with its escapes resolved.
    String(SmolStr),
    /// `x`
    Name(SmolStr),
    /// `object.name`; the name may be a number, as in `h.0.attn`.
    Attribute {
        /// What stands before the dot.
        object: NodeId,
        /// What stands behind it.
        name: SmolStr,
    },
    /// `-x`, `not x`
    Unary {
        /// The operator.
        operator: UnaryOperator,
        /// What it applies to.
        operand: NodeId,
    },
    /// `a @ b`, `a < b`, `a and b`
    Binary {
        /// The operator.
        operator: BinaryOperator,
        /// The left operand.
        left: NodeId,
        /// The right operand.
        right: NodeId,
    },
    /// `value if condition else otherwise`
    Conditional {
        /// The value where the condition holds.
        value: NodeId,
        /// The condition.
        condition: NodeId,
        /// The value where it does not.
        otherwise: NodeId,
    },
    /// `function(arguments)`; a method call has an [`Attribute`](NodeKind::Attribute) as function.
    Call {
        /// What is called.
        function: NodeId,
        /// Read by [`Expression::arguments`]: the positional ones first.
        arguments: List,
    },
    /// `object[indices]`
    Index {
        /// What is indexed.
        object: NodeId,
        /// Read by [`Expression::items`]; at least one.
        indices: List,
    },
    /// `start:stop:step`, only as an index.
    Slice {
        /// The first position.
        start: Option<NodeId>,
        /// The position past the last.
        stop: Option<NodeId>,
        /// The stride.
        step: Option<NodeId>,
    },
    /// `(1, 2)`, `(1,)`, `()`; read by [`Expression::items`].
    Tuple(List),
    /// `[1, 2]`; read by [`Expression::items`].
    List(List),
}

/// One sub-expression and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// The sub-expression without parentheses around it. Those of a tuple belong to it.
    pub span: Span,
    /// The sub-expression with all parentheses around it: the range that an edit replaces.
    pub outer: Span,
    /// The token that tells what the node is: an operator's symbol, the name behind the dot, the
    /// bracket that opens a call or an index, `if`; otherwise the same as `span`.
    pub token: Span,
}

/// One argument of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// The name before the `=` and where it stands; `None` for a positional argument.
    pub name: Option<(SmolStr, Span)>,
    /// The value.
    pub value: NodeId,
}

/// An expression tree.
///
/// Every node stands behind its children, so a loop over [`nodes`](Expression::nodes) computes
/// from the leaves to the root without recursion. Write it that way: a long sum is a tree as deep
/// as it is long. No node has two parents unless [`push`](Expression::push) was used to make it
/// so.
#[derive(Debug, Clone)]
pub struct Expression {
    nodes: Vec<Node>,
    items: Vec<NodeId>,
    arguments: Vec<Argument>,
    root: NodeId,
}

impl Expression {
    /// Nothing yet, with room for that many nodes. The root is valid once a node was pushed.
    pub(super) fn with_capacity(nodes: usize) -> Expression {
        Expression {
            nodes: Vec::with_capacity(nodes),
            items: Vec::new(),
            arguments: Vec::new(),
            root: NodeId(0),
        }
    }

    /// All nodes, children before parents.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All nodes with their numbers, children before parents.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (NodeId(index as u32), node))
    }

    /// The whole expression.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The node with that number, which must come from this expression.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// What the node with that number is.
    pub fn kind(&self, id: NodeId) -> &NodeKind {
        &self.node(id).kind
    }

    /// The entries of a tuple, a list or an index.
    pub fn items(&self, list: List) -> &[NodeId] {
        &self.items[list.range()]
    }

    /// The arguments of a call.
    pub fn arguments(&self, list: List) -> &[Argument] {
        &self.arguments[list.range()]
    }

    /// Calls `visit` with each child of a node, in the order of the text.
    pub fn for_each_child(&self, id: NodeId, mut visit: impl FnMut(NodeId)) {
        match *self.kind(id) {
            NodeKind::Attribute { object, .. } => visit(object),
            NodeKind::Unary { operand, .. } => visit(operand),
            NodeKind::Binary { left, right, .. } => {
                visit(left);
                visit(right);
            }
            NodeKind::Conditional {
                value,
                condition,
                otherwise,
            } => {
                visit(value);
                visit(condition);
                visit(otherwise);
            }
            NodeKind::Call {
                function,
                arguments,
            } => {
                visit(function);
                for argument in self.arguments(arguments) {
                    visit(argument.value);
                }
            }
            NodeKind::Index { object, indices } => {
                visit(object);
                self.items(indices).iter().copied().for_each(visit);
            }
            NodeKind::Slice { start, stop, step } => {
                [start, stop, step].into_iter().flatten().for_each(visit);
            }
            NodeKind::Tuple(list) | NodeKind::List(list) => {
                self.items(list).iter().copied().for_each(visit);
            }
            NodeKind::Integer(_)
            | NodeKind::Real(_)
            | NodeKind::Boolean(_)
            | NodeKind::None
            | NodeKind::Ellipsis
            | NodeKind::String(_)
            | NodeKind::Name(_) => {}
        }
    }

    /// The dotted name `wte.weight`, `h.0.attn` or `x`, if the node is nothing else.
    pub fn dotted_name(&self, id: NodeId) -> Option<SmolStr> {
        if let NodeKind::Name(name) = self.kind(id) {
            return Some(name.clone());
        }
        let mut parts = Vec::new();
        let mut at = id;
        loop {
            match self.kind(at) {
                NodeKind::Attribute { object, name } => {
                    parts.push(name.as_str());
                    at = *object;
                }
                NodeKind::Name(name) => {
                    parts.push(name);
                    break;
                }
                _ => return None,
            }
        }
        parts.reverse();
        Some(parts.join(".").into())
    }

    /// Whether two sub-expressions are the same up to spans and parentheses. `O(nodes)`.
    pub fn same(&self, id: NodeId, other: &Expression, other_id: NodeId) -> bool {
        let mut pairs = vec![(id, other_id)];
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        while let Some((a, b)) = pairs.pop() {
            if !self.same_node(a, other, b) {
                return false;
            }
            self.for_each_child(a, |child| ours.push(child));
            other.for_each_child(b, |child| theirs.push(child));
            if ours.len() != theirs.len() {
                return false;
            }
            pairs.extend(ours.drain(..).zip(theirs.drain(..)));
        }
        true
    }

    /// Whether two nodes are the same, their children left aside.
    fn same_node(&self, id: NodeId, other: &Expression, other_id: NodeId) -> bool {
        use NodeKind as K;
        match (self.kind(id), other.kind(other_id)) {
            (K::Attribute { name: a, .. }, K::Attribute { name: b, .. }) => a == b,
            (K::Unary { operator: a, .. }, K::Unary { operator: b, .. }) => a == b,
            (K::Binary { operator: a, .. }, K::Binary { operator: b, .. }) => a == b,
            (K::Call { arguments: a, .. }, K::Call { arguments: b, .. }) => {
                let name = |argument: &Argument| argument.name.clone().map(|(name, _)| name);
                let ours = self.arguments(*a).iter().map(name);
                ours.eq(other.arguments(*b).iter().map(name))
            }
            (
                K::Slice { start, stop, step },
                K::Slice {
                    start: other_start,
                    stop: other_stop,
                    step: other_step,
                },
            ) => {
                (start.is_some(), stop.is_some(), step.is_some())
                    == (
                        other_start.is_some(),
                        other_stop.is_some(),
                        other_step.is_some(),
                    )
            }
            (K::Conditional { .. }, K::Conditional { .. })
            | (K::Index { .. }, K::Index { .. })
            | (K::Tuple(_), K::Tuple(_))
            | (K::List(_), K::List(_)) => true,
            // Only leaves are left, or nodes of different kinds.
            (a, b) => a == b,
        }
    }

    /// Adds a node that was not written, such as the `B @ C` of a better order, and returns its
    /// number; it becomes the root. Its children must be nodes of this expression.
    pub fn push(&mut self, kind: NodeKind, span: Span) -> NodeId {
        self.push_with_token(kind, span, span)
    }

    /// Adds a run of children for a tuple, a list or an index.
    pub fn push_items(&mut self, items: impl IntoIterator<Item = NodeId>) -> List {
        let start = self.items.len();
        self.items.extend(items);
        List {
            start: start as u32,
            length: (self.items.len() - start) as u32,
        }
    }

    /// Adds the arguments of a call.
    pub fn push_arguments(&mut self, arguments: impl IntoIterator<Item = Argument>) -> List {
        let start = self.arguments.len();
        self.arguments.extend(arguments);
        List {
            start: start as u32,
            length: (self.arguments.len() - start) as u32,
        }
    }

    /// Adds a node whose telling token is not the whole of it.
    pub(super) fn push_with_token(&mut self, kind: NodeKind, span: Span, token: Span) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node {
            kind,
            span,
            outer: span,
            token,
        });
        self.root = id;
        id
    }

    /// Notes the parentheses around a node.
    pub(super) fn set_outer(&mut self, id: NodeId, outer: Span) {
        self.nodes[id.index()].outer = outer;
    }
}
