//! `memory/repeated-casts`: see its page.

use rustc_hash::FxHashMap;

use crate::diag::Level;
use crate::facts::memory::KeptKind;
use crate::graph::{DefinitionId, Graph, NodeId, TensorId};
use crate::ops::Autocast;
use crate::quantity::Bytes;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/repeated-casts",
    summary: "Autocast makes several copies of one tensor, and all of them are kept.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/repeated-casts.md"),
};

/// The least share of what is kept that is worth a word.
const SHARE: f64 = 0.02;
/// Below this much, nobody cares.
const LEAST: Bytes = Bytes::mib(1);

/// The copies of the tensors that the instances of one layer make.
struct Copies {
    producer: NodeId,
    users: Vec<NodeId>,
    instances: u64,
    surplus: Bytes,
}

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (facts, graph) = (context.facts, context.graph);
    let Some(lower) = facts.policy().autocast.filter(|_| graph.training) else {
        return;
    };
    if !is_shared(graph) {
        return;
    }
    let saved = facts.saved();
    let mut copies: FxHashMap<TensorId, (Vec<NodeId>, Bytes)> = FxHashMap::default();
    for kept in &saved.kept {
        let Some(tensor) = kept.tensor else { continue };
        let is_copy = kept.dtype == lower && facts.dtypes().tensor(graph, tensor) != lower;
        if kept.kind == KeptKind::Activation && is_copy {
            let (users, bytes) = copies.entry(tensor).or_default();
            users.push(kept.node);
            *bytes = Bytes(kept.bytes);
        }
    }
    let mut layers: FxHashMap<DefinitionId, Copies> = FxHashMap::default();
    let mut tensors: Vec<_> = copies
        .into_iter()
        .filter(|(_, (users, _))| users.len() > 1)
        .collect();
    tensors.sort_unstable_by_key(|&(tensor, _)| tensor);
    for (tensor, (users, bytes)) in tensors {
        let Some(producer) = graph.producer(tensor) else {
            continue;
        };
        let definition = graph.layer(graph.node(producer).layer).definition;
        let surplus = bytes * (users.len() as u64 - 1);
        let entry = layers.entry(definition).or_insert(Copies {
            producer,
            users,
            instances: 0,
            surplus: Bytes::ZERO,
        });
        entry.instances += 1;
        entry.surplus += surplus;
    }
    let all: Bytes = saved.kept.iter().map(|kept| Bytes(kept.bytes)).sum();
    let mut layers: Vec<Copies> = layers.into_values().collect();
    layers.sort_unstable_by_key(|copies| copies.producer);
    for found in layers {
        if found.surplus < LEAST || found.surplus.as_f64() < SHARE * all.as_f64() {
            continue;
        }
        report(context, reporter, &found, lower.name(), all);
    }
}

/// Whether any tensor that a call makes is read by several products: only then is it worth asking
/// what is kept.
fn is_shared(graph: &Graph) -> bool {
    let mut read = vec![false; graph.types.len()];
    graph
        .nodes()
        .filter(|(_, node)| node.op.autocast == Autocast::Lower)
        .flat_map(|(_, node)| &node.arguments)
        .filter(|&&id| graph.producer(id).is_some())
        .any(|id| std::mem::replace(&mut read[id.0 as usize], true))
}

fn report(
    context: &Context<'_>,
    reporter: &mut Reporter<'_>,
    found: &Copies,
    lower: &str,
    all: Bytes,
) {
    let graph = context.graph;
    let names: Vec<String> = found
        .users
        .iter()
        .map(|&user| format!("`{}`", graph.layer(graph.node(user).layer).name))
        .collect();
    let share = 100.0 * found.surplus.as_f64() / all.as_f64();
    let all_layers = match found.instances {
        1 => String::new(),
        n => format!(", in {n} layers"),
    };
    let message = format!(
        "autocast copies `{}` to {lower} {} times, for {}, and each copy is kept: {} more than \
         one copy takes{all_layers}, {share:.1} % of what is kept",
        graph.layer_path(graph.node(found.producer).layer),
        found.users.len(),
        names.join(", "),
        found.surplus
    );
    let place = context.model.node_place(context.spec, found.producer);
    reporter.at(place, message).help(format!(
        "convert it once (`.to({lower})`), or join the projections in one `linear` with `split`"
    ));
}
