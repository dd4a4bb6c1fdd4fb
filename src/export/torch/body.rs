//! What one container becomes: the statements of its constructor and of its `forward`.

use std::cell::Cell;

use super::classes::{Class, Classes};
use super::code::{Code, slot};
use super::members::{Access, members};
use super::names::{Names, identifier};
use super::ops::{self, Operand, Site};
use super::plan::{Container, Event, Plan};
use super::weights;
use crate::graph::{Graph, LayerId, LayerKind, NodeId, TensorId, TensorKind};
use crate::ops::ParameterDefinition;
use crate::spec::Spec;
use rustc_hash::{FxHashMap, FxHashSet};

/// The statements of one container, with slots.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// The constructor's statements.
    pub init: Vec<String>,
    /// The names of `forward`'s arguments.
    pub arguments: Vec<String>,
    /// The statements of `forward`, the `return` included.
    pub forward: Vec<String>,
    /// Whether `forward` needs the module: for what it keeps, or for its mode.
    pub needs_self: bool,
}

/// Where each parameter is kept: the container, and the path from there.
pub type Kept = FxHashMap<u32, (usize, String)>;

/// The state of writing one container.
pub(super) struct Writer<'w, 'g> {
    pub(super) plan: &'w Plan<'g>,
    pub(super) graph: &'g Graph,
    pub(super) spec: &'w Spec,
    pub(super) classes: &'w Classes,
    kept: &'w mut Kept,
    pub(super) number: usize,
    pub(super) members: FxHashMap<LayerId, Access>,
    /// The modules that layers of this container are, by the node that calls them.
    pub(super) modules: FxHashMap<LayerId, NodeId>,
    /// What stands for a tensor.
    pub(super) tensors: FxHashMap<TensorId, Code>,
    /// How often a tensor is read in this container.
    pub(super) reads: FxHashMap<TensorId, u32>,
    /// What reads a tensor last.
    pub(super) readers: FxHashMap<TensorId, Event>,
    pub(super) names: Names,
    pub(super) body: Body,
}

/// Writes a container whose children have been written.
pub fn write<'g>(
    plan: &Plan<'g>,
    spec: &Spec,
    classes: &Classes,
    kept: &mut Kept,
    layers: &[LayerId],
    owned: &[u32],
    number: usize,
) -> (Body, FxHashMap<LayerId, Access>) {
    let mut writer = Writer {
        plan,
        graph: plan.graph,
        spec,
        classes,
        kept,
        number,
        members: FxHashMap::default(),
        modules: FxHashMap::default(),
        tensors: FxHashMap::default(),
        reads: FxHashMap::default(),
        readers: FxHashMap::default(),
        names: Names::default(),
        body: Body::default(),
    };
    writer.begin();
    writer.find_modules(layers);
    writer.find_members(layers, owned);
    writer.construct(layers, owned);
    writer.forward();
    writer.body.needs_self = writer
        .body
        .forward
        .iter()
        .any(|line| line.contains("self."));
    (writer.body, writer.members)
}

/// The statements that give a module those that stand in it.
fn constructed(access: &Access, constructors: &[String]) -> Vec<String> {
    let first = constructors.first().map_or("", String::as_str);
    match access {
        Access::Attribute(name) => vec![format!("self.{name} = {first}")],
        Access::Numbered(name) => vec![format!("self.add_module(\"{name}\", {first})")],
        Access::Key(name, _) => {
            vec![format!(
                "self.{name} = nn.ModuleDict({{{}}})",
                constructors.join(", ")
            )]
        }
        Access::Item(name, ..) => vec![format!(
            "self.{name} = nn.ModuleList({})",
            list(constructors)
        )],
    }
}

/// The members of a list: those that are all the same are written once.
fn list(constructors: &[String]) -> String {
    let first = constructors.first().map_or("", String::as_str);
    let same = constructors.len() > 1 && constructors.iter().all(|other| other == first);
    match same {
        true => {
            let count = slot("repeat", &constructors.len().to_string());
            format!("[{first} for _ in range({count})]")
        }
        false => {
            let mut text = String::from("[");
            for constructor in constructors {
                text.push_str("\n    ");
                text.push_str(constructor);
                text.push(',');
            }
            text.push_str("\n]");
            text
        }
    }
}

impl<'g> Writer<'_, 'g> {
    pub(super) fn container(&self) -> &Container {
        &self.plan.containers[self.number]
    }

    fn begin(&mut self) {
        for event in &self.plan.containers[self.number].events {
            if let Event::Child(child) = event
                && let Some(Class {
                    function: true,
                    name,
                    ..
                }) = self.classes.of(*child)
            {
                self.names.reserve(name);
            }
            for tensor in self.plan.read_by(*event) {
                *self.reads.entry(tensor).or_default() += 1;
                self.readers.insert(tensor, *event);
            }
        }
        for &output in &self.plan.containers[self.number].outputs {
            *self.reads.entry(output).or_default() += 1;
        }
        let container = &self.plan.containers[self.number];
        for (at, &tensor) in container.reads.iter().enumerate() {
            let known = container.names.get(at).cloned().flatten();
            let name = match (self.graph.tensor(tensor).kind, known) {
                (_, Some(name)) => identifier(&name),
                (TensorKind::Input(input), _) if self.number == 0 => {
                    identifier(&self.graph.inputs[input as usize].0)
                }
                (TensorKind::Parameter(parameter), _) => {
                    let name = &self.graph.parameters[parameter as usize].name;
                    identifier(name.rsplit('.').next().unwrap_or(name))
                }
                _ => "x".to_owned(),
            };
            let name = self.names.fresh(&name);
            self.tensors.insert(tensor, Code::atom(name.clone()));
            self.body.arguments.push(name);
        }
    }

    /// Finds the layers that are modules of `torch.nn`: of one op, with all of its weights their
    /// own and under PyTorch's names.
    fn find_modules(&mut self, layers: &[LayerId]) {
        for &layer in layers {
            let LayerKind::Op(name) = self.graph.layer(layer).kind else {
                continue;
            };
            for node in self.graph.layer_nodes(layer).map(NodeId) {
                let call = self.graph.node(node);
                if call.op.name == name && self.is_module(layer, node) {
                    self.modules.insert(layer, node);
                    break;
                }
            }
        }
    }

    fn is_module(&self, layer: LayerId, node: NodeId) -> bool {
        let call = self.graph.node(node);
        let Some(expected) = self.expected(node) else {
            return false;
        };
        let own = |definition: &ParameterDefinition| {
            let tensor = call.arguments.get(definition.position).copied();
            let Some(tensor) = tensor.filter(|id| id.is_present()) else {
                return true;
            };
            self.graph.parameter(tensor).is_some_and(|parameter| {
                parameter.layer == Some(layer) && parameter.name == definition.name
            })
        };
        let weights = call
            .arguments
            .iter()
            .enumerate()
            .filter(|(position, tensor)| {
                tensor.is_present()
                    && self.graph.parameter(**tensor).is_some()
                    && !expected
                        .iter()
                        .any(|definition| definition.position == *position)
            });
        let operands = self.operands(node);
        let found = self.with_site(node, &operands, |site| ops::module(site).is_some());
        found && expected.iter().all(own) && weights.count() == 0
    }

    /// The parameters that a layer of the node's op would own.
    fn expected(&self, node: NodeId) -> Option<Vec<ParameterDefinition>> {
        let call = self.graph.node(node);
        match call.op.parameters {
            Some(parameters) => {
                let expected = self.graph.with_call(call, parameters);
                expected.ok().map(smallvec::SmallVec::into_vec)
            }
            None => Some(Vec::new()),
        }
    }

    fn find_members(&mut self, layers: &[LayerId], owned: &[u32]) {
        let mut owners: FxHashSet<LayerId> = FxHashSet::default();
        for &parameter in owned {
            owners.extend(self.graph.parameters[parameter as usize].layer);
        }
        let this = self.container().layer;
        let needed = layers.iter().copied().filter(|&layer| {
            Some(layer) != this
                && match self.plan.home(layer) {
                    home if home == self.number => {
                        owners.contains(&layer)
                            || self.modules.contains_key(&layer)
                            || self.plan.attentions.contains_key(&layer)
                    }
                    home => self.classes.of(home).is_some_and(|class| !class.function),
                }
        });
        let needed: Vec<LayerId> = needed.collect();
        self.members = members(self.graph, &needed);
        for access in needed.iter().filter_map(|layer| self.members.get(layer)) {
            if let Access::Attribute(name) | Access::Item(name, ..) | Access::Key(name, _) = access
            {
                self.names.reserve(&format!("self.{name}"));
            }
        }
    }

    fn construct(&mut self, layers: &[LayerId], owned: &[u32]) {
        let mut by_layer: FxHashMap<Option<LayerId>, Vec<u32>> = FxHashMap::default();
        for &parameter in owned {
            let layer = self.graph.parameters[parameter as usize].layer;
            by_layer.entry(layer).or_default().push(parameter);
        }
        let this = self.container().layer;
        let own = by_layer.remove(&this).unwrap_or_default();
        // A dotted name is a place in a module that a layer may have made.
        let dotted = |parameter: &u32| {
            let name = &self.graph.parameters[*parameter as usize].name;
            name.contains('.')
        };
        let (later, own): (Vec<u32>, Vec<u32>) = own.into_iter().partition(dotted);
        for parameter in own {
            self.register(parameter, "");
        }
        let mut lists: FxHashMap<String, usize> = FxHashMap::default();
        let mut pending: Vec<(Access, Vec<String>)> = Vec::new();
        let mut after: Vec<(usize, LayerId)> = Vec::new();
        for &layer in layers {
            let Some(access) = self.members.get(&layer).cloned() else {
                continue;
            };
            let constructor = self.constructor(layer);
            let list = match &access {
                Access::Item(name, ..) | Access::Key(name, _) => Some(name.clone()),
                _ => None,
            };
            let at = match list.as_ref().and_then(|name| lists.get(name)) {
                Some(&at) => at,
                None => {
                    pending.push((access.clone(), Vec::new()));
                    pending.len() - 1
                }
            };
            if let Some(name) = list {
                lists.insert(name, at);
            }
            let made = match &access {
                Access::Key(_, key) => format!("\"{key}\": {constructor}"),
                _ => constructor,
            };
            pending[at].1.push(made);
            after.push((at, layer));
        }
        let mut after = after.into_iter().peekable();
        for (at, (access, constructors)) in pending.into_iter().enumerate() {
            self.body.init.extend(constructed(&access, &constructors));
            while let Some((_, layer)) = after.next_if(|(list, _)| *list == at) {
                self.settle(layer, &by_layer.remove(&Some(layer)).unwrap_or_default());
            }
        }
        // The layers of a list may stand between others.
        for (_, layer) in after {
            self.settle(layer, &by_layer.remove(&Some(layer)).unwrap_or_default());
        }
        let mut left: Vec<u32> = by_layer.into_values().flatten().chain(later).collect();
        left.sort_unstable();
        for parameter in left {
            self.register(parameter, "");
        }
    }

    /// The expression that makes the module of a layer.
    fn constructor(&self, layer: LayerId) -> String {
        if let Some(&node) = self.modules.get(&layer) {
            let operands = self.operands(node);
            let module = self.with_site(node, &operands, ops::module);
            return module.map_or_else(String::new, |module| module.constructor);
        }
        if self.plan.attentions.contains_key(&layer) {
            return self.attention(layer);
        }
        match self.plan.home(layer) {
            home if home != self.number => self.classes.constructor(home),
            _ => "nn.Module()".to_owned(),
        }
    }

    /// What follows the making of a layer's module: its weights, their initialisation, and which
    /// are frozen.
    fn settle(&mut self, layer: LayerId, owned: &[u32]) {
        let Some(path) = self.members.get(&layer).map(Access::path) else {
            return;
        };
        let node = self.modules.get(&layer).copied();
        let expected = node.and_then(|node| self.expected(node));
        let is_attention = self.plan.attentions.contains_key(&layer);
        if expected.is_none() && !is_attention {
            for &parameter in owned {
                self.register(parameter, &path);
            }
            return;
        }
        let operands = node.map(|node| self.graph.node(node).arguments.clone());
        let mut frozen = Vec::new();
        let mut trained = 0;
        for &number in owned {
            let parameter = &self.graph.parameters[number as usize];
            let default = match (&expected, &operands) {
                (Some(expected), Some(operands)) => expected.iter().find(|definition| {
                    operands.get(definition.position) == Some(&parameter.tensor)
                }),
                _ => None,
            };
            let default = match default {
                Some(definition) => Some(definition.init),
                None if is_attention => {
                    super::attention::by_itself(&parameter.name, self.graph, parameter)
                }
                // The module makes it without being asked, such as a count of batches.
                None if parameter.buffer => Some(parameter.init),
                None => None,
            };
            let here = format!("{path}.{}", parameter.name);
            self.kept.insert(number, (self.number, here.clone()));
            let Some(default) = default else {
                continue;
            };
            let imported = self.spec.definitions.is_empty();
            if default != parameter.init && !imported && !parameter.buffer {
                let line = weights::initialised(&format!("self{here}"), parameter.init);
                self.body.init.push(line);
            }
            match parameter.trainable {
                true => trained += 1,
                false if !parameter.buffer => frozen.push(here),
                false => {}
            }
        }
        match (frozen.is_empty(), trained) {
            (true, _) => {}
            (false, 0) => self
                .body
                .init
                .push(format!("self{path}.requires_grad_(False)")),
            (false, _) => {
                for here in frozen {
                    self.body
                        .init
                        .push(format!("self{here}.requires_grad_(False)"));
                }
            }
        }
    }

    /// Gives the module at `path` a parameter of its own.
    fn register(&mut self, number: u32, path: &str) {
        let parameter = &self.graph.parameters[number as usize];
        // `out_proj.weight` stands in a module of its own.
        let mut holder = format!("self{path}");
        let mut parts: Vec<&str> = parameter.name.split('.').collect();
        let last = parts.pop().unwrap_or("weight");
        let mut flat = false;
        for part in parts {
            let name = super::names::member(part);
            let key = format!("{holder}.{name}");
            let made = format!("{key} = nn.Module()");
            flat |= self
                .body
                .init
                .iter()
                .any(|line| line.starts_with(&format!("{key} = ")) && *line != made);
            if !flat {
                if !self.body.init.contains(&made) {
                    self.body.init.push(made);
                }
                holder = key;
            }
        }
        let name = match flat {
            true => super::names::member(&parameter.name),
            false => super::names::member(last),
        };
        let key = format!("{holder}.{name}");
        let name = match self.names.fresh(&key).rsplit_once('.') {
            Some((_, fresh)) => fresh.to_owned(),
            None => name,
        };
        let lines = weights::registered(self.graph, self.spec, parameter, &holder, &name);
        self.body.init.extend(lines);
        let here = holder.strip_prefix("self").unwrap_or(&holder);
        self.kept
            .insert(number, (self.number, format!("{here}.{name}")));
    }

    /// The expression of a parameter, seen from this container.
    fn parameter(&self, number: u32) -> Option<Code> {
        let (home, path) = self.kept.get(&number)?;
        let mut path = path.clone();
        let mut at = *home;
        while at != self.number {
            let container = &self.plan.containers[at];
            let layer = container.layer?;
            path = format!("{}{path}", self.member_of(layer)?);
            at = container.parent?;
        }
        Some(Code::atom(format!("self{path}")))
    }

    /// The access to the module of a container's layer, from the container around it.
    pub(super) fn member_of(&self, layer: LayerId) -> Option<String> {
        match self.members.get(&layer) {
            Some(access) => Some(access.path()),
            None => self.classes.access(layer),
        }
    }

    pub(super) fn operand(&self, tensor: TensorId) -> Option<Operand> {
        if !tensor.is_present() {
            return None;
        }
        let known = self.tensors.get(&tensor).cloned();
        let (code, number) = match (known, self.graph.tensor(tensor).kind) {
            (Some(code), _) => (code, false),
            (None, TensorKind::Constant(value)) => {
                let text = super::code::number(value, self.graph.ty(tensor).dtype);
                let binding = match text.starts_with('-') {
                    true => super::code::binding::UNARY,
                    false => super::code::binding::ATOM,
                };
                (Code::new(slot("value", &text), binding), true)
            }
            (None, TensorKind::Parameter(number)) => {
                let code = self.parameter(number);
                (code.unwrap_or_else(|| Code::atom("None")), false)
            }
            (None, _) => (Code::atom("None"), false),
        };
        Some(Operand { code, number })
    }

    pub(super) fn operands(&self, node: NodeId) -> Vec<Option<Operand>> {
        let arguments = self.graph.node(node).arguments.iter();
        arguments.map(|&tensor| self.operand(tensor)).collect()
    }

    pub(super) fn with_site<R>(
        &self,
        node: NodeId,
        operands: &[Option<Operand>],
        write: impl FnOnce(&Site) -> R,
    ) -> R {
        let node = self.graph.node(node);
        let follows = self.plan.followed.get(&node.first_output);
        let follows = follows
            .filter(|&&other| self.graph.ty(other).dtype == self.graph.ty(node.first_output).dtype);
        // An expression that has no name here would be computed once more.
        let named = follows.and_then(|other| self.tensors.get(other));
        let named = named.filter(|code| identifier(&code.text) == code.text);
        self.graph.with_call(node, |call| {
            let site = Site {
                call,
                operands,
                follows: named.map(|code| code.text.as_str()),
                asks_mode: Cell::new(false),
            };
            write(&site)
        })
    }
}
