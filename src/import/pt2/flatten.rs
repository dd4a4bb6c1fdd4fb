//! Programs inside programs: the graphs of wrappers such as `torch.no_grad()` are laid out in line.

use super::schema::{Argument, Graph, Name, Node};
use crate::import::ImportError;

/// How deep graphs may stand in graphs.
const MAX_DEPTH: usize = 32;

/// Wrappers that run their graph once and hand on its outputs.
const WRAPPERS: &[&str] = &[
    "wrap_with_set_grad_enabled",
    "wrap_with_autocast",
    "wrap",
    "wrap_activation_checkpoint",
    "tag_activation_checkpoint",
    "invoke_subgraph",
    "strict_mode",
    "hints_wrapper",
];

/// A tensor's name and the graph whose name it is.
pub(super) type Scoped<'a> = (u32, &'a str);

/// One step of the program.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    /// A call.
    Call(Call<'a>),
    /// The second name stands for what the first one does.
    Bind(Scoped<'a>, Scoped<'a>),
}

/// A call and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub node: &'a Node,
    pub scope: u32,
    /// Whether it stands under `torch.no_grad()`.
    pub no_grad: bool,
}

/// A program with all wrappers laid out.
#[derive(Debug, Default)]
pub(super) struct Flat<'a> {
    /// The graphs, by scope; the program itself is the first.
    pub graphs: Vec<&'a Graph>,
    pub steps: Vec<Step<'a>>,
}

/// Lays out the graph.
pub(super) fn flatten(graph: &Graph) -> Result<Flat<'_>, ImportError> {
    let mut flat = Flat::default();
    flat.add(graph, false, 0)?;
    Ok(flat)
}

impl<'a> Flat<'a> {
    /// Adds a graph and gives its scope.
    fn add(&mut self, graph: &'a Graph, no_grad: bool, depth: usize) -> Result<u32, ImportError> {
        if depth > MAX_DEPTH {
            let message = format!("graphs stand more than {MAX_DEPTH} deep in graphs");
            return Err(ImportError::new(message));
        }
        let scope = self.graphs.len() as u32;
        self.graphs.push(graph);
        for node in &graph.nodes {
            match wrapped(node) {
                Some((inner, arguments)) => {
                    let no_grad = no_grad || disables_gradients(node);
                    // The scope that the inner graph is about to get.
                    let inside = self.graphs.len() as u32;
                    for (from, to) in arguments.into_iter().zip(tensors(&inner.inputs)) {
                        self.steps
                            .push(Step::Bind((scope, &from.name), (inside, &to.name)));
                    }
                    let inside = self.add(inner, no_grad, depth + 1)?;
                    for (from, to) in tensors(&inner.outputs)
                        .into_iter()
                        .zip(tensors(&node.outputs))
                    {
                        self.steps
                            .push(Step::Bind((inside, &from.name), (scope, &to.name)));
                    }
                }
                None => self.steps.push(Step::Call(Call {
                    node,
                    scope,
                    no_grad,
                })),
            }
        }
        Ok(scope)
    }
}

/// The graph of a wrapper with the tensors that it is given, if inputs and outputs match.
fn wrapped(node: &Node) -> Option<(&Graph, Vec<&Name>)> {
    let name = node.target.strip_prefix("torch.ops.higher_order.")?;
    if !WRAPPERS.contains(&name) {
        return None;
    }
    let at = node
        .inputs
        .iter()
        .position(|input| matches!(input.arg, Argument::Graph(_)))?;
    let Argument::Graph(graph) = &node.inputs[at].arg else {
        return None;
    };
    let given: Vec<&Name> = node.inputs[at + 1..]
        .iter()
        .flat_map(|input| names(&input.arg))
        .collect();
    let fits = given.len() == tensors(&graph.inputs).len()
        && tensors(&graph.outputs).len() == tensors(&node.outputs).len();
    fits.then_some((graph, given))
}

fn disables_gradients(node: &Node) -> bool {
    node.target.ends_with("wrap_with_set_grad_enabled")
        && matches!(
            node.inputs.first().map(|input| &input.arg),
            Some(Argument::Boolean(false))
        )
}

/// The tensors that an argument names.
pub(super) fn names(argument: &Argument) -> Vec<&Name> {
    match argument {
        Argument::Tensor(name) => vec![name],
        Argument::Tensors(names) => names.iter().collect(),
        Argument::OptionalTensors(names) => names.iter().flatten().collect(),
        _ => Vec::new(),
    }
}

/// All tensors among some arguments, in order.
pub(super) fn tensors(arguments: &[Argument]) -> Vec<&Name> {
    arguments.iter().flat_map(names).collect()
}
