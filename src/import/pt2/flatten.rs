//! Programs inside programs: the graphs of wrappers such as `torch.no_grad()`, of loops and of
//! branches are laid out in line.

use super::autocast::Setting;
use super::schema::{Argument, Graph, Name, Node};
use crate::import::ImportError;

/// How deep graphs may stand in graphs.
const MAX_DEPTH: usize = 32;

/// Wrappers that run their graph once and hand on its outputs.
const WRAPPERS: &[&str] = &[
    "wrap_with_set_grad_enabled",
    "wrap_with_autocast",
    "wrap",
    "invoke_subgraph",
    "strict_mode",
    "hints_wrapper",
];

/// Wrappers whose graph is run again in the backward pass.
const CHECKPOINTS: &[&str] = &[
    "wrap_activation_checkpoint",
    "tag_activation_checkpoint",
    "checkpoint",
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
    /// The second name stands for an element of the first along its first axis.
    Element(Scoped<'a>, Scoped<'a>),
    /// The second name stands for what all passes of a loop make of the first.
    Stack(Scoped<'a>, Scoped<'a>),
    /// The third name stands for the first or the second, of the last two regions.
    Either(Scoped<'a>, Scoped<'a>, Scoped<'a>),
    /// What follows is run in another way.
    Enter(Region<'a>),
    /// The region that was entered last ends.
    Leave,
}

/// How a part of the program is run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Region<'a> {
    /// Once for each element of the tensor along its first axis, less so many.
    Each(Scoped<'a>, u64),
    /// As often as the values say.
    Loop,
    /// The first of two branches.
    First,
    /// The second of two branches.
    Second,
    /// Again in the backward pass.
    Checkpoint,
}

/// A call and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub node: &'a Node,
    pub scope: u32,
    /// Whether it stands under `torch.no_grad()`.
    pub no_grad: bool,
    /// What `torch.autocast` is set to, where it stands under one.
    pub autocast: Option<Setting>,
    /// The call in the program itself whose graph it stands in.
    pub caller: Option<&'a Node>,
}

/// A program with all inner graphs laid out.
#[derive(Debug, Default)]
pub(super) struct Flat<'a> {
    /// The graphs, by scope; the program itself is the first.
    pub graphs: Vec<&'a Graph>,
    pub steps: Vec<Step<'a>>,
}

/// Where a graph is being added.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    scope: u32,
    no_grad: bool,
    autocast: Option<Setting>,
    depth: usize,
    caller: Option<&'a Node>,
}

impl Place<'_> {
    fn deeper(self) -> Self {
        Place {
            depth: self.depth + 1,
            ..self
        }
    }
}

impl<'a> Step<'a> {
    /// The names that the step reads, calls left aside.
    pub(super) fn reads(self) -> impl Iterator<Item = Scoped<'a>> {
        let (first, second) = match self {
            Step::Bind(from, _) | Step::Element(from, _) | Step::Stack(from, _) => {
                (Some(from), None)
            }
            Step::Either(first, second, _) => (Some(first), Some(second)),
            Step::Enter(Region::Each(over, _)) => (Some(over), None),
            Step::Call(_) | Step::Enter(_) | Step::Leave => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// Lays out the graph.
pub(super) fn flatten(graph: &Graph) -> Result<Flat<'_>, ImportError> {
    let mut flat = Flat::default();
    let place = Place {
        scope: 0,
        no_grad: false,
        autocast: None,
        depth: 0,
        caller: None,
    };
    flat.add(graph, place)?;
    Ok(flat)
}

impl<'a> Flat<'a> {
    /// Adds a graph and gives its scope.
    fn add(&mut self, graph: &'a Graph, place: Place<'a>) -> Result<u32, ImportError> {
        if place.depth > MAX_DEPTH {
            let message = format!("graphs stand more than {MAX_DEPTH} deep in graphs");
            return Err(ImportError::new(message));
        }
        let scope = self.graphs.len() as u32;
        self.graphs.push(graph);
        let place = Place { scope, ..place };
        for node in &graph.nodes {
            if !self.inner(node, place)? {
                self.steps.push(Step::Call(Call {
                    node,
                    scope,
                    no_grad: place.no_grad,
                    autocast: place.autocast,
                    caller: place.caller,
                }));
            }
        }
        Ok(scope)
    }

    /// Lays out the graphs of a node; `false` where it has none, or they do not fit it.
    fn inner(&mut self, node: &'a Node, place: Place<'a>) -> Result<bool, ImportError> {
        let place = Place {
            caller: place.caller.or(Some(node)),
            ..place
        };
        let Some(name) = node.target.strip_prefix("torch.ops.higher_order.") else {
            return Ok(false);
        };
        let parts = Parts::of(node);
        let made = tensors(&node.outputs);
        match (name, &parts.graphs[..]) {
            (name, &[graph]) if WRAPPERS.contains(&name) || CHECKPOINTS.contains(&name) => {
                let given = parts.all();
                if !fits(graph, given.len(), made.len()) {
                    return Ok(false);
                }
                let checkpoint = CHECKPOINTS.contains(&name);
                if checkpoint {
                    self.steps.push(Step::Enter(Region::Checkpoint));
                }
                let no_grad = place.no_grad || disables_gradients(node);
                let autocast = Setting::of(node, place.autocast, self.graphs.len() as u32);
                let inner = Place {
                    no_grad,
                    autocast,
                    ..place
                };
                let inside = self.body(graph, &given, inner)?;
                self.hand_on(graph, inside, &made, place);
                if checkpoint {
                    self.steps.push(Step::Leave);
                }
            }
            ("cond", &[first, second]) => {
                // The predicate stands before the graphs.
                let given = parts.all();
                let fit = |graph| fits(graph, given.len(), made.len());
                if !fit(first) || !fit(second) {
                    return Ok(false);
                }
                self.steps.push(Step::Enter(Region::First));
                let one = self.body(first, &given, place)?;
                self.steps.push(Step::Leave);
                self.steps.push(Step::Enter(Region::Second));
                let other = self.body(second, &given, place)?;
                self.steps.push(Step::Leave);
                let outputs = tensors(&first.outputs)
                    .into_iter()
                    .zip(tensors(&second.outputs))
                    .zip(&made);
                for ((a, b), to) in outputs {
                    let to = (place.scope, to.name.as_str());
                    self.steps
                        .push(Step::Either((one, &a.name), (other, &b.name), to));
                }
            }
            ("while_loop", &[_, body]) => {
                let given = parts.all();
                if !fits(body, given.len(), made.len()) {
                    return Ok(false);
                }
                self.steps.push(Step::Enter(Region::Loop));
                let inside = self.body(body, &given, place)?;
                self.steps.push(Step::Leave);
                self.hand_on(body, inside, &made, place);
            }
            ("scan" | "map_impl" | "map" | "associative_scan", &[body]) => {
                return self.each(name, body, &parts.lists, &made, place);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Lays out a graph that runs for each element of some tensors.
    fn each(
        &mut self,
        name: &str,
        body: &'a Graph,
        lists: &[Vec<&'a Name>],
        made: &[&'a Name],
        place: Place<'a>,
    ) -> Result<bool, ImportError> {
        let list = |at: usize| lists.get(at).map(Vec::as_slice).unwrap_or_default();
        // What goes from pass to pass, what is run over, what every pass is given.
        let (carried, over, given) = match name {
            "scan" => (list(0), list(1), list(2)),
            _ => (&[][..], list(0), list(1)),
        };
        let twice = name == "associative_scan";
        let elements = over.len() * if twice { 2 } else { 1 };
        let Some(first) = over.first() else {
            return Ok(false);
        };
        if !fits(body, carried.len() + elements + given.len(), made.len()) {
            return Ok(false);
        }
        let scope = place.scope;
        let outer = |name: &&'a Name| (scope, name.name.as_str());
        let inside = self.graphs.len() as u32;
        let inputs = tensors(&body.inputs);
        let sources = carried
            .iter()
            .map(|name| (outer(name), false))
            .chain(over.iter().map(|name| (outer(name), true)))
            .chain(
                over.iter()
                    .filter(|_| twice)
                    .map(|name| (outer(name), true)),
            )
            .chain(given.iter().map(|name| (outer(name), false)));
        for ((from, is_element), to) in sources.zip(&inputs) {
            let to = (inside, to.name.as_str());
            self.steps.push(match is_element {
                true => Step::Element(from, to),
                false => Step::Bind(from, to),
            });
        }
        let fewer = u64::from(twice);
        self.steps
            .push(Step::Enter(Region::Each(outer(first), fewer)));
        let inside = self.add(body, place.deeper())?;
        self.steps.push(Step::Leave);
        for (at, (from, to)) in tensors(&body.outputs).into_iter().zip(made).enumerate() {
            let (from, to) = ((inside, from.name.as_str()), outer(to));
            self.steps.push(match at < carried.len() {
                true => Step::Bind(from, to),
                false => Step::Stack(from, to),
            });
        }
        Ok(true)
    }

    /// Adds a graph that is given some tensors, and gives its scope.
    fn body(
        &mut self,
        graph: &'a Graph,
        given: &[&'a Name],
        place: Place<'a>,
    ) -> Result<u32, ImportError> {
        // The scope that the inner graph is about to get.
        let inside = self.graphs.len() as u32;
        for (from, to) in given.iter().zip(tensors(&graph.inputs)) {
            let from = (place.scope, from.name.as_str());
            self.steps.push(Step::Bind(from, (inside, &to.name)));
        }
        self.add(graph, place.deeper())
    }

    /// Lets the outputs of a graph stand for those of its node.
    fn hand_on(&mut self, graph: &'a Graph, inside: u32, made: &[&'a Name], place: Place<'a>) {
        for (from, to) in tensors(&graph.outputs).into_iter().zip(made) {
            let to = (place.scope, to.name.as_str());
            self.steps.push(Step::Bind((inside, &from.name), to));
        }
    }
}

/// The arguments of a node with graphs.
struct Parts<'a> {
    graphs: Vec<&'a Graph>,
    /// The tensors of each argument behind the first graph, lists without tensors included.
    lists: Vec<Vec<&'a Name>>,
}

impl<'a> Parts<'a> {
    fn of(node: &'a Node) -> Parts<'a> {
        let mut parts = Parts {
            graphs: Vec::new(),
            lists: Vec::new(),
        };
        for input in &node.inputs {
            match &input.arg {
                Argument::Graph(graph) => parts.graphs.push(graph),
                argument @ (Argument::Tensor(_)
                | Argument::Tensors(_)
                | Argument::OptionalTensors(_))
                    if !parts.graphs.is_empty() =>
                {
                    parts.lists.push(names(argument));
                }
                _ => {}
            }
        }
        parts
    }

    fn all(&self) -> Vec<&'a Name> {
        self.lists.concat()
    }
}

fn fits(graph: &Graph, given: usize, made: usize) -> bool {
    tensors(&graph.inputs).len() == given && tensors(&graph.outputs).len() >= made
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
