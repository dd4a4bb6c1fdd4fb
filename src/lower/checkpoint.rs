//! The layers that `[train] checkpoint` names.

use smol_str::SmolStr;

use super::names;
use crate::diag::{Level, Sink};
use crate::graph::{Graph, LayerId, LayerKind};
use crate::source::suggest;
use crate::spec::Spec;

/// Marks the layers that `[train] checkpoint` names as recomputed in the backward pass: all
/// instances of a block or of a module's class, all layers of a name, or the one at a path. Reports
/// a name that is none of these; `further` are names to suggest besides those of the graph.
/// `O(layers · names)`.
pub fn mark(graph: &mut Graph, spec: &Spec, further: &[&str], sink: &mut Sink) {
    let named = &spec.run.train.checkpoint;
    let Some(wanted) = named.get() else { return };
    let mut found = vec![false; wanted.len()];
    for number in 0..graph.layers.len() {
        for (name, found) in wanted.iter().zip(&mut found) {
            if is_named(graph, LayerId(number as u32), name) {
                *found = true;
                graph.layers[number].checkpointed = true;
            }
        }
    }
    let Some((name, _)) = wanted.iter().zip(found).find(|(_, found)| !found) else {
        return;
    };
    let own = graph.layers.iter().flat_map(|layer| {
        let block = match &layer.kind {
            LayerKind::Block(block) => Some(block.as_str()),
            LayerKind::Op(_) | LayerKind::Formula => None,
        };
        block.into_iter().chain([layer.name.as_str()])
    });
    let mut known: Vec<&str> = own.chain(further.iter().copied()).collect();
    known.sort_unstable();
    known.dedup();
    let help = suggest::did_you_mean(name, &known);
    let message = format!("there is no block or layer `{name}` to recompute");
    sink.report(
        names::UNKNOWN_NAME,
        Level::Error,
        named.span,
        "train.checkpoint",
        message,
    )
    .maybe_help(help);
}

fn is_named(graph: &Graph, id: LayerId, name: &SmolStr) -> bool {
    let layer = graph.layer(id);
    let is_block = matches!(&layer.kind, LayerKind::Block(block) if block == name);
    // Only what has a parent has a path of its own.
    let is_path = || name.contains('.') && graph.layer_path(id) == *name;
    is_block || layer.name == *name || is_path()
}
