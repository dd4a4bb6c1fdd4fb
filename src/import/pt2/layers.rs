//! The modules of a program as layers.
//!
//! Every call names the stack of modules that it stands in. A module without modules inside is a
//! layer; the calls that a larger module makes itself are gathered to layers run by run.

use rustc_hash::FxHashSet;

use super::flatten::{Call, Flat, Step};
use super::schema::Node;

/// A module as a call's stack names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Module<'a> {
    /// Tells calls of one module apart: `L__self__net.relu@1`.
    pub key: &'a str,
    /// The path: `net.layer1.0.conv1`; empty for the outermost one.
    pub path: &'a str,
    /// The class's own name: `Conv2d`.
    pub class: &'a str,
}

/// Consecutive calls in one module.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// The modules, from the outside in, without the outermost one.
    pub modules: Vec<Module<'a>>,
    /// Whether the innermost module has no module inside, so that it is the layer.
    pub leaf: bool,
    /// The numbers of the steps.
    pub steps: std::ops::Range<usize>,
}

/// The modules of a call, without the outermost one.
pub(super) fn modules(node: &Node) -> Vec<Module<'_>> {
    let Some(stack) = node.metadata.get("nn_module_stack") else {
        return Vec::new();
    };
    stack
        .split(';')
        .filter_map(|entry| {
            let mut parts = entry.splitn(3, ',');
            let (key, path, class) = (parts.next()?, parts.next()?, parts.next()?);
            let class = class.rsplit('.').next().unwrap_or(class);
            let path = path.strip_prefix("L['self'].").unwrap_or(path);
            (!path.is_empty()).then_some(Module { key, path, class })
        })
        .collect()
}

/// The path of the module that a call stands in.
pub(super) fn innermost(node: &Node) -> &str {
    modules(node).last().map_or("", |module| module.path)
}

/// Whether a call does anything that is kept: assertions have no outputs.
pub(super) fn counts(call: &Call<'_>) -> bool {
    !super::flatten::tensors(&call.node.outputs).is_empty()
}

/// The program as runs. Every step is in one of them.
pub(super) fn runs<'a>(flat: &Flat<'a>) -> Vec<Run<'a>> {
    let mut inner: FxHashSet<&str> = FxHashSet::default();
    let mut stacks: Vec<Option<Vec<Module<'a>>>> = Vec::with_capacity(flat.steps.len());
    for step in &flat.steps {
        let stack = match step {
            Step::Call(call) if counts(call) => Some(modules(call.node)),
            _ => None,
        };
        if let Some((_, outer)) = stack.as_deref().and_then(<[_]>::split_last) {
            inner.extend(outer.iter().map(|module| module.path));
        }
        stacks.push(stack);
    }
    let mut runs: Vec<Run<'a>> = Vec::new();
    let mut split = false;
    for (at, stack) in stacks.into_iter().enumerate() {
        match (stack, runs.last_mut()) {
            (None, Some(run)) => {
                // What is recomputed is made of whole layers.
                split |= matches!(flat.steps[at], Step::Enter(_) | Step::Leave);
                run.steps.end = at + 1;
            }
            (Some(modules), Some(run)) if run.modules == modules && !split => {
                run.steps.end = at + 1;
            }
            (stack, _) => {
                split = false;
                let modules = stack.unwrap_or_default();
                let leaf = modules
                    .last()
                    .is_some_and(|module| !inner.contains(module.path));
                runs.push(Run {
                    modules,
                    leaf,
                    steps: at..at + 1,
                });
            }
        }
    }
    runs
}
