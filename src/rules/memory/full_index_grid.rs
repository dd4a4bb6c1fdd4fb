//! `memory/full-index-grid`: see its page.

use rustc_hash::FxHashMap;

use crate::diag::Level;
use crate::graph::{Graph, Node, NodeId, TensorId};
use crate::quantity::Bytes;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::tensor::{Dtype, Shape};

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/full-index-grid",
    summary: "Coordinates are written for every point of a volume where one axis each would do.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/full-index-grid.md"),
};

/// Below this much, nobody cares.
const LEAST: Bytes = Bytes::mib(1);

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let index = context.facts.index();
    for &id in index.calls("indices").iter().chain(index.calls("meshgrid")) {
        if context.facts.liveness().is_live(id)
            && let Some(grid) = Grid::of(context.graph, id)
            && grid.bytes + grid.steps_bytes >= LEAST
        {
            report(context, reporter, id, &grid);
        }
    }
}

fn report(context: &Context<'_>, reporter: &mut Reporter<'_>, id: NodeId, grid: &Grid) {
    let axes = grid.volume.rank();
    let name = context.graph.node(id).op.name;
    let mut parts = Vec::new();
    if grid.bytes > Bytes::ZERO {
        parts.push(format!(
            "`{name}` writes {} for the coordinates of {}",
            grid.bytes, grid.volume
        ));
    }
    if let Some(first) = grid.first_step {
        let steps = match grid.steps {
            1 => format!("`{}` writes", context.graph.node(first).op.name),
            n => format!("{n} steps write"),
        };
        parts.push(format!(
            "{steps} {} for what depends on one axis only",
            grid.steps_bytes
        ));
    }
    let longest: u64 = grid.volume.sizes().iter().sum();
    let message = format!(
        "{}; {axes} axes that meet by broadcasting take {} a step",
        parts.join(", and "),
        Bytes(Dtype::Int64.bytes_for(longest))
    );
    let place = context.model.node_place(context.spec, id);
    let step = grid
        .first_step
        .map(|id| context.model.node_place(context.spec, id));
    reporter
        .at(place, message)
        .label(format!(
            "{} points",
            crate::quantity::Elements(grid.volume.elements())
        ))
        .also(
            step.and_then(|place| place.span),
            "the first step over the whole volume",
        )
        .help(
            "write each axis as `arange(n).reshape(…)` of one long axis and let them broadcast; \
             where the result is the same outside of a box, compute the box and `pad` it",
        );
}

/// What a grid of coordinates takes.
struct Grid {
    volume: Shape,
    /// Of the coordinates themselves.
    bytes: Bytes,
    /// Calls whose output, as large as the volume, depends on one axis only.
    steps: usize,
    steps_bytes: Bytes,
    first_step: Option<NodeId>,
}

impl Grid {
    /// Follows the coordinates through what is computed of them element by element. `None` where
    /// they are used in another way, so that something may need all of them. `O(uses)`.
    fn of(graph: &Graph, id: NodeId) -> Option<Grid> {
        let node = graph.node(id);
        let is_view = node.op.view;
        let volume = match is_view {
            true => graph.ty(node.first_output).shape.clone(),
            false => Shape::from(&graph.ty(node.first_output).shape.sizes()[1..]),
        };
        if volume.rank() < 2 || volume.rank() > 64 {
            return None;
        }
        let mut grid = Grid {
            volume,
            bytes: match is_view {
                true => Bytes::ZERO,
                false => Bytes(graph.ty(node.first_output).bytes()),
            },
            steps: 0,
            steps_bytes: Bytes::ZERO,
            first_step: None,
        };
        // The axes that a tensor depends on, as bits.
        let mut axes: FxHashMap<TensorId, u64> = FxHashMap::default();
        let mut open = std::collections::BTreeSet::new();
        if is_view {
            let swapped = graph.with_call(node, |call| {
                call.text("indexing")
                    .is_some_and(|indexing| indexing == "xy")
            });
            for (number, output) in node.outputs().enumerate() {
                let axis = if swapped && number < 2 {
                    1 - number
                } else {
                    number
                };
                axes.insert(output, 1 << axis);
            }
            open.extend(graph.uses_of(id).map(|(user, _)| user));
        } else {
            for (user, _) in graph.uses_of(id) {
                grid.parts(graph, user, &mut axes)?;
                open.extend(graph.uses_of(user).map(|(next, _)| next));
            }
        }
        // Numbers of nodes are a topological order: the least is ready.
        while let Some(at) = open.pop_first() {
            let node = graph.node(at);
            match Grid::joined(graph, node, &axes) {
                Some(joined) => {
                    grid.step(graph, at, joined);
                    axes.extend(node.outputs().map(|output| (output, joined)));
                    open.extend(graph.uses_of(at).map(|(next, _)| next));
                }
                // What is no longer computed element by element may need every coordinate.
                None => {
                    let single = |id: &TensorId| axes.get(id).is_some_and(|a| a.count_ones() == 1);
                    if node.arguments.iter().any(single) {
                        return None;
                    }
                }
            }
        }
        Some(grid)
    }

    /// The parts of the coordinates that a call takes: `grid[0]`.
    fn parts(
        &self,
        graph: &Graph,
        user: NodeId,
        axes: &mut FxHashMap<TensorId, u64>,
    ) -> Option<()> {
        let node = graph.node(user);
        let (dim, index) = graph.with_call(node, |call| {
            let dim = call
                .shape(0)
                .ok()
                .and_then(|shape| call.axis("dim", shape).ok());
            (dim, call.integer("index"))
        });
        if dim != Some(0) {
            return None;
        }
        match node.op.name {
            "select" => {
                let count = self.volume.rank() as i64;
                let index = index?;
                let axis = if index < 0 { index + count } else { index };
                axes.insert(
                    node.first_output,
                    1u64.checked_shl(u32::try_from(axis).ok()?)?,
                );
            }
            "unbind" => {
                axes.extend(node.outputs().enumerate().map(|(i, id)| (id, 1u64 << i)));
            }
            _ => return None,
        }
        Some(())
    }

    /// The axes that an element-by-element call depends on; `None` for other calls, and for those
    /// that read something besides numbers and coordinates.
    fn joined(graph: &Graph, node: &Node, axes: &FxHashMap<TensorId, u64>) -> Option<u64> {
        if node.op.element.is_none() && node.op.name != "to" {
            return None;
        }
        let mut joined = 0;
        for &id in node.arguments.iter().filter(|id| id.is_present()) {
            match axes.get(&id) {
                Some(own) => joined |= own,
                None if graph.ty(id).shape.elements() == 1 => {}
                None => return None,
            }
        }
        Some(joined)
    }

    fn step(&mut self, graph: &Graph, id: NodeId, axes: u64) {
        let node = graph.node(id);
        let ty = graph.ty(node.first_output);
        if axes.count_ones() == 1 && ty.shape == self.volume && !node.op.view {
            self.steps += 1;
            self.steps_bytes += Bytes(ty.bytes());
            self.first_step.get_or_insert(id);
        }
    }
}
