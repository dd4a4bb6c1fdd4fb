//! `memory/function-in-pieces`: see its page.

use rustc_hash::FxHashMap;

use crate::diag::Level;
use crate::facts::functions::functions;
use crate::graph::{DefinitionId, NodeId, TensorId};
use crate::quantity::Bytes;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/function-in-pieces",
    summary: "A function of one tensor is written in several ops, each of which keeps a tensor.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/function-in-pieces.md"),
};

/// The least share of what is kept that is worth a word.
const SHARE: f64 = 0.05;
/// Below this much, nobody cares.
const LEAST: Bytes = Bytes::mib(16);

/// Calls that together are one function of one tensor.
struct Function {
    /// The last call.
    last: NodeId,
    calls: usize,
    /// How many tensors are kept of it, and their bytes.
    kept: (usize, Bytes),
    /// What one op would keep.
    alone: Bytes,
    instances: u64,
}

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (facts, graph) = (context.facts, context.graph);
    if !graph.training || facts.cost().written < LEAST {
        return;
    }
    let groups = functions(graph, facts.liveness());
    if groups.is_empty() {
        return;
    }
    let saved = facts.saved();
    let mut kept: FxHashMap<NodeId, Vec<(Option<TensorId>, u64)>> = FxHashMap::default();
    for one in &saved.kept {
        kept.entry(one.node)
            .or_default()
            .push((one.tensor, one.bytes));
    }
    let all = Bytes(saved.total());
    let mut found: Vec<Function> = Vec::new();
    let mut places: FxHashMap<DefinitionId, usize> = FxHashMap::default();
    for (source, calls) in groups {
        let source = facts.storages().root(source);
        // What stays in the one place of the source, and in the output, would be kept anyway.
        let mut pieces = (0, Bytes::ZERO);
        for (tensor, bytes) in calls.iter().filter_map(|id| kept.get(id)).flatten() {
            if *tensor != Some(source) {
                pieces = (pieces.0 + 1, pieces.1 + Bytes(*bytes));
            }
        }
        let alone = Bytes(facts.dtypes().bytes(graph, source));
        let Some(&last) = calls.last() else { continue };
        if pieces.0 < 2 {
            continue;
        }
        let definition = graph.layer(graph.node(last).layer).definition;
        match places.get(&definition) {
            Some(&at) => {
                let function = &mut found[at];
                function.instances += 1;
                function.kept.1 += pieces.1;
                function.alone += alone;
            }
            None => {
                places.insert(definition, found.len());
                found.push(Function {
                    last,
                    calls: calls.len(),
                    kept: pieces,
                    alone,
                    instances: 1,
                });
            }
        }
    }
    for function in found {
        let (count, bytes) = function.kept;
        if bytes <= function.alone || bytes < LEAST || bytes.as_f64() < SHARE * all.as_f64() {
            continue;
        }
        let times = match function.instances {
            1 => String::new(),
            n => format!(" in each of {n} places"),
        };
        let share = 100.0 * bytes.as_f64() / all.as_f64();
        let message = format!(
            "{} elementwise ops compute one function of one tensor, and keep {count} tensors \
             besides it{times}: {bytes}, {share:.1} % of what is kept; one op would keep its \
             operand alone, {}",
            function.calls, function.alone
        );
        let place = context.model.node_place(context.spec, function.last);
        reporter.at(place, message).help(
            "call the function of that name (`gelu`, `silu`, `softplus` …), or let `torch.compile` \
             join the ops",
        );
    }
}
