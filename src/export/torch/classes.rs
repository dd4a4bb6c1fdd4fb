//! Block instances that do the same become one class, and what differs between them its
//! arguments. A class that keeps nothing is a function.

use rustc_hash::FxHashMap;

use super::body::Body;
use super::code::{self, Slot};
use super::members::Access;
use super::names::{Names, class as class_name, function as function_name, identifier};
use crate::graph::LayerId;

/// A class or a function.
#[derive(Debug, Clone, Default)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Whether it keeps nothing, and so is a function.
    pub function: bool,
    /// What it is made with, or what a function takes behind its tensors.
    pub parameters: Vec<String>,
    /// The constructor's statements.
    pub init: Vec<String>,
    /// The arguments of `forward`.
    pub arguments: Vec<String>,
    /// The statements of `forward`.
    pub forward: Vec<String>,
    /// Shapes of the first instance, for the docstring.
    pub shapes: String,
    /// What the description calls it.
    pub block: String,
    /// How many instances there are.
    pub instances: usize,
}

/// The instances that have been written so far.
#[derive(Debug, Default)]
pub struct Classes {
    list: Vec<Class>,
    /// The class of a container, and what it is made with.
    of: FxHashMap<usize, (usize, Vec<(String, String)>)>,
    /// How layers are reached from the container around them.
    accesses: FxHashMap<LayerId, String>,
    names: Names,
}

/// An instance on its way to a class.
struct Instance {
    container: usize,
    slots: Vec<Slot>,
}

/// Instances that differ in nothing but their slots.
struct Group {
    block: String,
    body: Body,
    shapes: String,
    instances: Vec<Instance>,
}

/// What separates the constructor from `forward` in the text by which instances are compared.
const BORDER: &str = "\n\n";

impl Classes {
    /// No class yet; those names are taken.
    pub fn new(reserved: &[&str]) -> Classes {
        let mut classes = Classes::default();
        for name in reserved {
            classes.names.reserve(name);
        }
        classes
    }

    /// The classes, each before those that use it.
    pub fn list(&self) -> &[Class] {
        &self.list
    }

    /// The class of a container.
    pub fn of(&self, container: usize) -> Option<&Class> {
        self.of
            .get(&container)
            .and_then(|(class, _)| self.list.get(*class))
    }

    /// What a container's instance is made with.
    pub fn arguments(&self, container: usize) -> &[(String, String)] {
        self.of
            .get(&container)
            .map_or(&[], |(_, arguments)| arguments)
    }

    /// The expression that makes a container's instance.
    pub fn constructor(&self, container: usize) -> String {
        let name = self.of(container).map_or("", |class| class.name.as_str());
        let arguments = self.arguments(container).iter();
        let arguments: Vec<String> = arguments
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("{name}({})", arguments.join(", "))
    }

    /// How a layer is reached from the container around it.
    pub fn access(&self, layer: LayerId) -> Option<String> {
        self.accesses.get(&layer).cloned()
    }

    /// Notes how the layers of a container are reached.
    pub fn note(&mut self, members: FxHashMap<LayerId, Access>) {
        let paths = members
            .into_iter()
            .map(|(layer, access)| (layer, access.path()));
        self.accesses.extend(paths);
    }

    /// Makes classes of the containers of one height: number, name of the block, shapes and
    /// statements of each.
    pub fn add(&mut self, containers: Vec<(usize, String, String, Body)>) {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_text: FxHashMap<String, usize> = FxHashMap::default();
        for (container, block, shapes, body) in containers {
            let text = joined(&body);
            let key = format!(
                "{block}{BORDER}{}{BORDER}{}",
                code::skeleton(&text),
                body.arguments.join(",")
            );
            let slots = code::slots(&text);
            let at = *by_text.entry(key).or_insert_with(|| {
                groups.push(Group {
                    block,
                    body,
                    shapes,
                    instances: Vec::new(),
                });
                groups.len() - 1
            });
            groups[at].instances.push(Instance { container, slots });
        }
        for group in groups {
            self.settle(group);
        }
    }

    fn settle(&mut self, group: Group) {
        let Group {
            block,
            body,
            shapes,
            instances,
        } = group;
        let function = body.init.is_empty() && !body.needs_self;
        let in_init = code::slots(&body.init.join("\n")).len();
        let mut names = Names::default();
        for name in taken(&body) {
            names.reserve(&name);
        }
        let first = instances.first().map(|instance| instance.slots.as_slice());
        let first = first.unwrap_or_default();
        // For each slot that differs, the argument; slots that differ alike share one.
        let mut parameters: Vec<(String, Vec<&str>)> = Vec::new();
        let mut by_values: FxHashMap<Vec<&str>, usize> = FxHashMap::default();
        let mut chosen: Vec<Option<usize>> = Vec::with_capacity(first.len());
        for (at, slot) in first.iter().enumerate() {
            let value = |instance: &'_ Instance| -> bool {
                instance
                    .slots
                    .get(at)
                    .is_some_and(|other| other.value == slot.value)
            };
            if instances.iter().all(value) {
                chosen.push(None);
                continue;
            }
            let values: Vec<&str> = instances
                .iter()
                .map(|instance| {
                    instance
                        .slots
                        .get(at)
                        .map_or("", |slot| slot.value.as_str())
                })
                .collect();
            let parameter = *by_values.entry(values.clone()).or_insert_with(|| {
                parameters.push((names.fresh(&identifier(&slot.name)), values));
                parameters.len() - 1
            });
            chosen.push(Some(parameter));
        }
        let mut kept: Vec<usize> = Vec::new();
        let mut fill = |from: usize, text: &str, forward: bool| {
            code::filled(text, |number, value| {
                match chosen.get(from + number).copied().flatten() {
                    None => value.to_owned(),
                    Some(parameter) => {
                        let name = &parameters[parameter].0;
                        match forward && !function {
                            true => {
                                if !kept.contains(&parameter) {
                                    kept.push(parameter);
                                }
                                format!("self.{name}")
                            }
                            false => name.clone(),
                        }
                    }
                }
            })
        };
        let mut at = 0;
        let mut lines = |lines: &[String], forward: bool| -> Vec<String> {
            lines
                .iter()
                .map(|line| {
                    let filled = fill(at, line, forward);
                    at += code::slots(line).len();
                    filled
                })
                .collect()
        };
        let mut init = lines(&body.init, false);
        let forward = lines(&body.forward, true);
        debug_assert!(
            in_init <= first.len(),
            "the slots of both parts come in order"
        );
        let stored = kept.iter().map(|&parameter| {
            let name = &parameters[parameter].0;
            format!("self.{name} = {name}")
        });
        init.splice(0..0, stored);
        let name = match function {
            true => function_name(&block),
            false => class_name(&block),
        };
        let name = self.names.fresh(&name);
        let class = self.list.len();
        for (place, instance) in instances.iter().enumerate() {
            let arguments = parameters.iter().map(|(name, values)| {
                let value = values.get(place).copied().unwrap_or_default();
                (name.clone(), code::slot(name, value))
            });
            self.of
                .insert(instance.container, (class, arguments.collect()));
        }
        self.list.push(Class {
            name,
            function,
            parameters: parameters.into_iter().map(|(name, _)| name).collect(),
            init,
            arguments: body.arguments,
            forward,
            shapes,
            block,
            instances: instances.len(),
        });
    }
}

/// The text by which instances are compared.
fn joined(body: &Body) -> String {
    format!(
        "{}{BORDER}{}",
        body.init.join("\n"),
        body.forward.join("\n")
    )
}

/// The names that mean something in a class already: what it keeps, and what `forward` calls its
/// tensors.
fn taken(body: &Body) -> Vec<String> {
    let text = joined(body);
    let attributes = text.split("self.").skip(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    let locals = body
        .forward
        .iter()
        .filter_map(|line| line.split_once(" = "));
    let locals = locals.flat_map(|(left, _)| {
        let names = left.split([',', '(', ')', ' ']);
        names.map(str::to_owned).collect::<Vec<String>>()
    });
    attributes
        .chain(locals)
        .chain(body.arguments.iter().cloned())
        .collect()
}
