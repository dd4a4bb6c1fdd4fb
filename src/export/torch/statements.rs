//! The statements of `forward`: one for each thing that has a name, with what is read only once
//! and in the same formula written in place.

use super::body::Writer;
use super::code::Code;
use super::members::Access;
use super::names::identifier;
use super::ops;
use super::plan::Event;
use crate::graph::{LayerId, LayerKind, NodeId, TensorId};

/// How deep expressions may stand in each other, and how long they may be, before a part of them
/// gets a name.
const MAX_DEPTH: u32 = 5;
const MAX_LENGTH: usize = 100;

/// Instances of a block that follow each other and differ in their weights only.
struct Loop {
    /// How many.
    count: usize,
    /// For each thing that an instance reads, the output of the one before that it is; `None`
    /// where all read the same.
    carried: Vec<Option<usize>>,
}

impl Writer<'_, '_> {
    /// Writes all statements.
    pub(super) fn forward(&mut self) {
        let events = self.container().events.clone();
        let mut at = 0;
        while let Some(&event) = events.get(at) {
            at += match event {
                Event::Node(node) => {
                    self.node(node);
                    1
                }
                Event::Attention(layer) => {
                    self.attention_call(layer);
                    1
                }
                Event::Child(child) => match self.repetition(&events[at..]) {
                    Some(found) => {
                        self.repeated(&events[at..at + found.count], &found);
                        found.count
                    }
                    None => {
                        self.child(child);
                        1
                    }
                },
            };
        }
        let outputs = self.container().outputs.clone();
        let outputs: Vec<String> = outputs
            .into_iter()
            .filter_map(|tensor| Some(self.operand(tensor)?.code.text))
            .collect();
        if let [only] = outputs.as_slice()
            && let Some(last) = self.body.forward.last_mut()
            && let Some(value) = last.strip_prefix(&format!("{only} = "))
        {
            *last = format!("return {value}");
            return;
        }
        if !outputs.is_empty() {
            self.body
                .forward
                .push(format!("return {}", outputs.join(", ")));
        } else if self.body.forward.is_empty() {
            self.body.forward.push("return None".to_owned());
        }
    }

    fn node(&mut self, node: NodeId) {
        let call = self.graph.node(node);
        let operands = self.operands(node);
        let depth = operands
            .iter()
            .flatten()
            .map(|operand| operand.code.depth)
            .max();
        let module = self.modules.get(&call.layer) == Some(&node);
        let (mut code, pattern) = match module {
            true => {
                let made = self.with_site(node, &operands, ops::module);
                let path = self.member_of(call.layer).unwrap_or_default();
                made.map_or((Code::atom("None"), ""), |made| {
                    let arguments = made.arguments.join(", ");
                    (Code::atom(format!("self{path}({arguments})")), made.pattern)
                })
            }
            false => {
                let written = self.with_site(node, &operands, ops::expression);
                (written.unwrap_or_else(|| Code::atom("None")), "")
            }
        };
        code.depth = depth.unwrap_or(0) + 1;
        let outputs: Vec<TensorId> = call.outputs().collect();
        self.give(&outputs, code, pattern, call.layer, call.op.name);
    }

    /// Binds what an expression makes: in place where only the same formula reads it, once.
    pub(super) fn give(
        &mut self,
        outputs: &[TensorId],
        code: Code,
        pattern: &str,
        layer: LayerId,
        otherwise: &str,
    ) {
        if let &[only] = outputs
            && pattern.is_empty()
            && self.read_in_place(only, layer)
            && code.depth <= MAX_DEPTH
            && super::code::filled(&code.text, |_, value| value.to_owned()).len() <= MAX_LENGTH
        {
            self.tensors.insert(only, code);
            return;
        }
        let names = self.targets(outputs, layer, otherwise);
        let left = assigned(&names, pattern);
        let line = match left.is_empty() {
            true => code.text,
            false => format!("{left} = {}", code.text),
        };
        self.body.forward.push(line);
    }

    /// Names for outputs; `_` for what nobody reads.
    fn targets(&mut self, outputs: &[TensorId], layer: LayerId, otherwise: &str) -> Vec<String> {
        let several = outputs.len() > 1;
        let mut names = Vec::with_capacity(outputs.len());
        for &output in outputs {
            let unread = self.reads.get(&output).copied().unwrap_or(0) == 0;
            if several && unread {
                names.push("_".to_owned());
                continue;
            }
            let preferred = self.preferred(output, layer);
            let name = preferred.unwrap_or_else(|| local(otherwise));
            let name = self.names.fresh(&name);
            self.tensors.insert(output, Code::atom(name.clone()));
            names.push(name);
        }
        names
    }

    /// The name that a layer gives a tensor that it hands on.
    fn preferred(&self, tensor: TensorId, layer: LayerId) -> Option<String> {
        let mut at = Some(layer);
        while let Some(id) = at {
            let layer = self.graph.layer(id);
            let nested = self.plan.home(id) == self.number;
            if let Some(place) = layer.outputs.iter().position(|&output| output == tensor) {
                let definition = self.spec.definitions.get(layer.definition.0 as usize);
                let called = layer
                    .parent
                    .is_some_and(|parent| self.graph.layer(parent).kind == LayerKind::Formula);
                let given = definition
                    .filter(|_| !called)
                    .and_then(|definition| definition.names.get(place));
                return Some(local(given.unwrap_or(&layer.name)));
            }
            let outer = layer.parent.filter(|_| nested);
            at = outer.filter(|&outer| {
                Some(outer) != self.container().layer && self.plan.home(outer) == self.number
            });
        }
        None
    }

    /// Whether a tensor is read once, and in the formula that makes it.
    fn read_in_place(&self, tensor: TensorId, layer: LayerId) -> bool {
        if self.reads.get(&tensor) != Some(&1) {
            return false;
        }
        match self.readers.get(&tensor) {
            Some(Event::Node(reader)) => self.graph.node(*reader).layer == layer,
            Some(Event::Child(child)) => self.plan.containers[*child]
                .layer
                .is_some_and(|inner| self.graph.layer(inner).parent == Some(layer)),
            Some(Event::Attention(_)) | None => false,
        }
    }

    pub(super) fn arguments(&self, tensors: &[TensorId]) -> Vec<String> {
        let operands = tensors.iter().filter_map(|&tensor| self.operand(tensor));
        operands.map(|operand| operand.code.text).collect()
    }

    /// The call of a block instance; `callee` instead of its own module within a loop.
    fn called(&self, child: usize, callee: Option<&str>, arguments: Vec<String>) -> String {
        let container = &self.plan.containers[child];
        let mut arguments = arguments;
        let class = self.classes.of(child);
        let name = match (callee, class, container.layer) {
            (_, Some(class), _) if class.function => {
                let more = self.classes.arguments(child).iter();
                arguments.extend(more.map(|(name, value)| format!("{name}={value}")));
                class.name.clone()
            }
            (Some(callee), ..) => callee.to_owned(),
            (None, _, Some(layer)) => {
                format!("self{}", self.member_of(layer).unwrap_or_default())
            }
            (None, _, None) => "None".to_owned(),
        };
        let recomputed = container
            .layer
            .is_some_and(|layer| self.graph.layer(layer).checkpointed && self.graph.training);
        match recomputed {
            true => {
                arguments.insert(0, name);
                arguments.push("use_reentrant=False".to_owned());
                format!("checkpoint({})", arguments.join(", "))
            }
            false => format!("{name}({})", arguments.join(", ")),
        }
    }

    fn child(&mut self, child: usize) {
        let container = &self.plan.containers[child];
        let Some(layer) = container.layer else { return };
        // What does nothing is not called.
        if container.events.is_empty() {
            return;
        }
        let reads = container.reads.clone();
        let outputs = container.outputs.clone();
        let operands = reads.iter().filter_map(|&tensor| self.operand(tensor));
        let depth = operands
            .map(|operand| operand.code.depth)
            .max()
            .unwrap_or(0);
        let mut code = Code::atom(self.called(child, None, self.arguments(&reads)));
        code.depth = depth + 1;
        // What a formula calls may stand in the formula.
        let parent = self.graph.layer(layer).parent;
        let formula = parent.filter(|&parent| self.graph.layer(parent).kind == LayerKind::Formula);
        let name = self.graph.layer(layer).name.to_string();
        if let (Some(formula), &[only]) = (formula, outputs.as_slice())
            && self.read_in_place(only, formula)
        {
            self.give(&[only], code, "", formula, &name);
            return;
        }
        let names = self.targets(&outputs, layer, &name);
        let left = assigned(&names, "");
        self.body.forward.push(match left.is_empty() {
            true => code.text,
            false => format!("{left} = {}", code.text),
        });
    }

    /// Whether block instances from here on are a loop.
    fn repetition(&self, events: &[Event]) -> Option<Loop> {
        let place = |event: &Event| -> Option<(usize, String, u32, Option<u32>)> {
            let Event::Child(child) = *event else {
                return None;
            };
            let layer = self.plan.containers[child].layer?;
            let own = self.graph.layer(layer);
            match self.members.get(&layer) {
                Some(Access::Item(list, index, count)) => {
                    Some((child, list.clone(), *index, Some(*count)))
                }
                Some(_) => None,
                None => Some((child, own.name.to_string(), own.index?, None)),
            }
        };
        let (first, list, 0, count) = place(events.first()?)? else {
            return None;
        };
        let parent = |child: usize| {
            let layer = self.plan.containers[child].layer;
            layer.and_then(|layer| self.graph.layer(layer).parent)
        };
        let mut children = vec![first];
        for event in &events[1..] {
            let Some((child, other, index, _)) = place(event) else {
                break;
            };
            let next =
                other == list && index as usize == children.len() && parent(child) == parent(first);
            if !next {
                break;
            }
            children.push(child);
        }
        let whole = count.is_none_or(|count| count as usize == children.len());
        if children.len() < 2 || !whole {
            return None;
        }
        let alike = children.windows(2).all(|pair| {
            let (one, other) = (self.classes.of(pair[0]), self.classes.of(pair[1]));
            let function = one.is_some_and(|class| class.function);
            let same = self.classes.arguments(pair[0]) == self.classes.arguments(pair[1]);
            let same_function = !function
                || (same && one.map(|class| &class.name) == other.map(|class| &class.name));
            let checkpointed = |child: usize| {
                let layer = self.plan.containers[child].layer;
                layer.map(|layer| self.graph.layer(layer).checkpointed)
            };
            same_function && checkpointed(pair[0]) == checkpointed(pair[1])
        });
        alike.then(|| self.carried(&children)).flatten()
    }

    /// What each instance reads of the one before it.
    fn carried(&self, children: &[usize]) -> Option<Loop> {
        let containers: Vec<_> = children
            .iter()
            .map(|&at| &self.plan.containers[at])
            .collect();
        let first = containers.first()?;
        let mut carried = vec![None; first.reads.len()];
        let mut initial: Vec<(usize, TensorId)> = Vec::new();
        for pair in containers.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if before.reads.len() != after.reads.len()
                || before.outputs.len() != after.outputs.len()
                || before.events.is_empty()
            {
                return None;
            }
            let from_before = |tensor: TensorId| before.outputs.iter().position(|&o| o == tensor);
            for (place, (&old, &new)) in before.reads.iter().zip(&after.reads).enumerate() {
                let source = from_before(new);
                let start = std::ptr::eq(before, *first);
                match (source, start) {
                    (Some(output), true) => {
                        let clash = initial.iter().any(|&(o, t)| o == output && t != old);
                        if clash {
                            return None;
                        }
                        initial.push((output, old));
                        carried[place] = Some(output);
                    }
                    (source, false) if source == carried[place] && source.is_some() => {}
                    (None, _) if old == new && carried[place].is_none() => {}
                    _ => return None,
                }
            }
            // Nothing else may read what goes from one to the next.
            for (output, tensor) in before.outputs.iter().enumerate() {
                let reads = self.reads.get(tensor).copied().unwrap_or(0) as usize;
                let within = carried
                    .iter()
                    .filter(|&&place| place == Some(output))
                    .count();
                if reads != within {
                    return None;
                }
            }
        }
        Some(Loop {
            count: children.len(),
            carried,
        })
    }

    fn repeated(&mut self, events: &[Event], found: &Loop) {
        let (Some(&Event::Child(first)), Some(&Event::Child(last))) =
            (events.first(), events.last())
        else {
            return;
        };
        let containers = &self.plan.containers;
        let (Some(layer), Some(first_layer)) = (containers[last].layer, containers[first].layer)
        else {
            return;
        };
        let reads = containers[first].reads.clone();
        let outputs = containers[last].outputs.clone();
        let name = self.graph.layer(layer).name.to_string();
        let mut before: Vec<Option<String>> = vec![None; outputs.len()];
        for (&tensor, carried) in reads.iter().zip(&found.carried) {
            if let (Some(output), Some(operand)) = (*carried, self.operand(tensor)) {
                before[output] = Some(operand.code.text);
            }
        }
        let mut names = Vec::with_capacity(outputs.len());
        for (place, &output) in outputs.iter().enumerate() {
            let unread = self.reads.get(&output).copied().unwrap_or(0) == 0;
            if unread && before[place].is_none() && outputs.len() > 1 {
                names.push("_".to_owned());
                continue;
            }
            let preferred = self.preferred(output, layer);
            let fresh = preferred.unwrap_or_else(|| local(&name));
            names.push(self.names.fresh(&fresh));
        }
        for (name, before) in names.iter().zip(&before) {
            if let Some(before) = before {
                self.body.forward.push(format!("{name} = {before}"));
            }
        }
        let arguments: Vec<String> = reads
            .iter()
            .zip(&found.carried)
            .filter_map(|(&tensor, carried)| match carried {
                Some(output) => names.get(*output).cloned(),
                None => self.operand(tensor).map(|operand| operand.code.text),
            })
            .collect();
        let head = match self.members.get(&first_layer) {
            Some(Access::Item(list, ..)) => format!("for layer in self.{list}:"),
            _ => format!("for _ in range({}):", found.count),
        };
        let call = self.called(first, Some("layer"), arguments);
        let left = assigned(&names, "");
        let call = match left.is_empty() {
            true => call,
            false => format!("{left} = {call}"),
        };
        self.body.forward.push(format!("{head}\n    {call}"));
        for (name, &output) in names.into_iter().zip(&outputs) {
            self.tensors.insert(output, Code::atom(name));
        }
    }
}

/// A name for a tensor: that of a layer, without a number behind it.
fn local(name: &str) -> String {
    let (base, last) = name.rsplit_once('.').unwrap_or(("", name));
    let numbered = last.bytes().all(|byte| byte.is_ascii_digit());
    match (numbered, base.is_empty()) {
        (true, true) => "x".to_owned(),
        (true, false) => identifier(base),
        (false, _) => identifier(name),
    }
}

/// The left side of an assignment.
fn assigned(names: &[String], pattern: &str) -> String {
    if pattern.is_empty() || names.len() != pattern.matches("{}").count() {
        return match names {
            [one] => one.clone(),
            many => many.join(", "),
        };
    }
    let mut parts = pattern.split("{}");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for (name, part) in names.iter().zip(parts) {
        result.push_str(name);
        result.push_str(part);
    }
    result
}
