//! The modules of a program become layers of the graph, around the calls that they make.

use rustc_hash::FxHashMap;
use smol_str::{SmolStr, format_smolstr};

use super::aten::{Mapping, Target};
use super::flatten::{Call, Step, tensors};
use super::layers::{self, Module, Run};
use super::lower::Lowering;
use crate::graph::{DefinitionId, LayerId, LayerKind, Made, TensorId};
use crate::import::ImportError;
use crate::ops::{Autocast, Op, find};

/// An open layer.
#[derive(Debug)]
pub(super) struct Open<'a> {
    pub module: Module<'a>,
    pub layer: LayerId,
    /// How many layers of a name stand in it that stand for calls of its own.
    names: FxHashMap<&'a str, u32>,
}

impl<'a> Lowering<'a, '_> {
    /// Opens and closes layers for the run, and lowers its calls.
    pub(super) fn run(&mut self, run: &Run<'a>) -> Result<(), ImportError> {
        let common = self
            .open
            .iter()
            .zip(&run.modules)
            .take_while(|(open, module)| open.module == **module)
            .count();
        self.close(common, &[]);
        let steps = &self.flat.steps[run.steps.clone()];
        self.line = calls(steps).next().and_then(|call| self.trace(call));
        let outer = run.modules.len() - usize::from(run.leaf);
        for &module in &run.modules[common.min(outer)..outer] {
            let kind = LayerKind::Block(module.class.into());
            self.begin(
                module,
                kind,
                format!("{} {}", general(module.path), module.class),
            );
        }
        let content = self.content(steps);
        match run.modules.last().filter(|_| run.leaf) {
            Some(&module) => {
                let mut floats = calls(steps).filter(|call| self.makes_floats(call));
                let kind = match (floats.next(), floats.next()) {
                    (Some(one), None) => op_kind(&one.node.target),
                    _ => None,
                };
                let kind = kind.unwrap_or_else(|| LayerKind::Block(module.class.into()));
                if common < run.modules.len() {
                    self.begin(module, kind, format!("{} {content}", general(module.path)));
                }
            }
            None => self.begin_own(steps, &content),
        }
        let mut made = Made::new();
        for at in run.steps.clone() {
            match self.flat.steps[at] {
                Step::Bind(from, to) => {
                    let id = self.tensor(from)?;
                    self.name(to, id);
                }
                Step::Call(call) => {
                    let outputs = self.call(&call, at)?;
                    if !outputs.is_empty() {
                        made = outputs;
                    }
                }
                step => self.region_step(step)?,
            }
        }
        match run.leaf {
            true => self.close(run.modules.len() - 1, &made),
            false => self.builder.end_layer(&made),
        }
        Ok(())
    }

    /// Whether the result has fractions: counting calls is not what a layer is for.
    fn makes_floats(&self, call: &Call<'a>) -> bool {
        let graph = self.flat.graphs[call.scope as usize];
        tensors(&call.node.outputs).iter().any(|name| {
            let ty = self.stated(graph, &name.name);
            ty.is_some_and(|ty| ty.dtype.is_float())
        })
    }

    fn begin(&mut self, module: Module<'a>, kind: LayerKind, key: String) {
        let outer = self.open.last().map_or("", |open| open.module.path);
        let name = module
            .path
            .strip_prefix(outer)
            .map_or(module.path, |rest| rest.trim_start_matches('.'));
        let definition = self.definition(key, module.path);
        let layer = self.begin_layer(name, kind, definition);
        self.open.push(Open {
            module,
            layer,
            names: FxHashMap::default(),
        });
    }

    /// Opens a layer for calls that a module makes itself, named for the one that matters most.
    fn begin_own(&mut self, steps: &[Step<'a>], content: &str) {
        let weight = |call: &&Call<'a>| match op_of(&call.node.target) {
            Some(op) if op.autocast == Autocast::Lower => 3,
            Some(op) if op.view => 0,
            Some(op) if op.operands.is_empty() => 1,
            _ => 2,
        };
        // The first of those that weigh most.
        let main = calls(steps).rev().max_by_key(weight);
        let target = main.map_or("", |call| call.node.target.as_str());
        let name = Target::parse(target).map_or_else(
            || target.rsplit("::").next().unwrap_or(target),
            |target| target.name,
        );
        let kind = op_kind(target).unwrap_or(LayerKind::Formula);
        let (path, number) = match self.open.last_mut() {
            Some(open) => {
                let number = open.names.entry(name).or_default();
                *number += 1;
                (open.module.path, *number)
            }
            None => ("", 1),
        };
        let numbered = match number {
            1 => SmolStr::new(name),
            _ => format_smolstr!("{name}_{number}"),
        };
        let place = match path {
            "" => numbered.to_string(),
            path => format!("{path}.{numbered}"),
        };
        let definition = self.definition(format!("{}.{numbered} {content}", general(path)), &place);
        self.begin_layer(numbered, kind, definition);
    }

    fn begin_layer(
        &mut self,
        name: impl Into<SmolStr>,
        kind: LayerKind,
        definition: DefinitionId,
    ) -> LayerId {
        let layer = self.builder.begin_layer(name, None, kind, definition);
        if self.is_checkpointed() {
            self.builder.checkpoint(layer);
        }
        layer
    }

    /// Closes all modules but the outermost `keep`.
    pub(super) fn close(&mut self, keep: usize, made: &[TensorId]) {
        while self.open.len() > keep {
            self.open.pop();
            self.builder.end_layer(made);
        }
    }

    fn definition(&mut self, key: String, place: &str) -> DefinitionId {
        let next = DefinitionId(self.places.len() as u32);
        let id = *self.definitions.entry(key).or_insert(next);
        if id == next {
            self.places.push(place.to_owned());
            self.tracer.traces.definitions.push(self.line);
        }
        id
    }

    /// What some steps do, as text: two layers of the same content are one definition.
    fn content(&self, steps: &[Step<'a>]) -> String {
        let mut text = String::new();
        for call in calls(steps) {
            text.push_str(&call.node.target);
            let graph = self.flat.graphs[call.scope as usize];
            for name in tensors(&call.node.outputs) {
                if let Some(ty) = self.stated(graph, &name.name) {
                    text.push_str(&ty.to_string());
                }
            }
        }
        text
    }
}

/// The calls among some steps that make tensors.
fn calls<'s, 'a>(steps: &'s [Step<'a>]) -> impl DoubleEndedIterator<Item = &'s Call<'a>> {
    steps.iter().filter_map(|step| match step {
        Step::Call(call) if layers::counts(call) => Some(call),
        _ => None,
    })
}

/// The op that a target is, if it is one by name.
fn op_of(target: &str) -> Option<&'static Op> {
    match Target::parse(target)?.mapping()? {
        Mapping::Named(entry) => find(entry.op),
        Mapping::Special(_) => find(Target::parse(target)?.name),
    }
}

fn op_kind(target: &str) -> Option<LayerKind> {
    op_of(target).map(|op| LayerKind::Op(op.name))
}

/// A path with a mark for each number: `net.h.#.attn`.
fn general(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('.')
        .map(
            |part| match part.bytes().all(|byte| byte.is_ascii_digit()) {
                true => "#",
                false => part,
            },
        )
        .collect();
    parts.join(".")
}
