//! A model as a PyTorch module in Python.
//!
//! Blocks become classes, or functions where they keep nothing; layers become modules of
//! `torch.nn` under the names that their parameters have in the description. What differs between
//! the instances of a block becomes an argument of its class. The text is written from the graph,
//! so what a spec describes and what was imported are written alike.

mod attention;
mod body;
mod classes;
mod code;
mod inputs;
mod members;
mod module;
mod names;
mod ops;
mod plan;
mod statements;
mod weights;

use rustc_hash::FxHashMap;

use super::{Exported, Options, Target};
use crate::graph::{Graph, LayerId, LayerKind};
use crate::lower::Model;
use crate::spec::Spec;
use body::Kept;
use classes::Classes;
use plan::Plan;

/// The target.
pub const TARGET: Target = Target {
    name: "torch",
    summary: "a PyTorch module as Python source",
    export,
};

/// Writes a model as a Python module with a class `Model`, and `example_inputs` for it.
/// `O(nodes + edges · depth)`.
pub fn export(spec: &Spec, model: &Model, _: Options) -> Exported {
    let plan = Plan::of(&model.graph, spec);
    let (layers, owned) = shares(&plan);
    let mut classes = Classes::new(&[
        "Model",
        "example_inputs",
        "rotary_embedding",
        "linear_recurrence",
        "unwritten",
    ]);
    let mut kept = Kept::default();
    let mut by_height: Vec<Vec<usize>> = Vec::new();
    for (number, container) in plan.containers.iter().enumerate() {
        let height = container.height as usize;
        by_height.resize_with(by_height.len().max(height + 1), Vec::new);
        by_height[height].push(number);
    }
    let mut root = None;
    for numbers in by_height {
        let mut written = Vec::new();
        for number in numbers {
            let (body, members) = body::write(
                &plan,
                spec,
                &classes,
                &mut kept,
                &layers[number],
                &owned[number],
                number,
            );
            match plan.containers[number].layer {
                Some(layer) => {
                    let name = plan.graph.layer(layer).kind.name().to_owned();
                    written.push((number, name, shapes(&plan, number), body));
                }
                None => root = Some(body),
            }
            classes.note(members);
        }
        classes.add(written);
    }
    module::write(spec, model, &plan, &classes, root.unwrap_or_default())
}

/// The layers that stand directly in each container, those of formulas' blocks included, and the
/// parameters that they own.
fn shares(plan: &Plan<'_>) -> (Vec<Vec<LayerId>>, Vec<Vec<u32>>) {
    let graph: &Graph = plan.graph;
    let mut layers = vec![Vec::new(); plan.containers.len()];
    let mut owned = vec![Vec::new(); plan.containers.len()];
    for (number, layer) in graph.layers.iter().enumerate() {
        let id = LayerId(number as u32);
        let home = plan.home(id);
        let outer = match layer.kind {
            LayerKind::Block(_) => plan.containers[home].parent.unwrap_or(0),
            _ => home,
        };
        layers[outer].push(id);
    }
    for (number, parameter) in graph.parameters.iter().enumerate() {
        let home = parameter.layer.map_or(0, |layer| plan.home(layer));
        owned[home].push(number as u32);
    }
    (layers, owned)
}

/// What a block's first instance reads and hands on: `x [8, 128] → [8, 64]`.
fn shapes(plan: &Plan<'_>, number: usize) -> String {
    let container = &plan.containers[number];
    let graph = plan.graph;
    let shown = |tensor: &crate::graph::TensorId| graph.ty(*tensor).to_string();
    let mut seen: FxHashMap<String, ()> = FxHashMap::default();
    let reads = container
        .reads
        .iter()
        .enumerate()
        .filter(|(_, tensor)| graph.parameter(**tensor).is_none())
        .map(
            |(at, tensor)| match container.names.get(at).cloned().flatten() {
                Some(name) if seen.insert(name.clone(), ()).is_none() => {
                    format!("{name} {}", shown(tensor))
                }
                _ => shown(tensor),
            },
        );
    let reads: Vec<String> = reads.collect();
    let outputs: Vec<String> = container.outputs.iter().map(shown).collect();
    match reads.is_empty() {
        true => outputs.join(", "),
        false => format!("{} → {}", reads.join(", "), outputs.join(", ")),
    }
}
