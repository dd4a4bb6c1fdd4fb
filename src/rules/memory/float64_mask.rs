//! `memory/float64-mask`: see its page.

use rustc_hash::FxHashSet;

use crate::diag::Level;
use crate::graph::{Graph, NodeId, TensorId};
use crate::quantity::Bytes;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::tensor::Dtype;

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/float64-mask",
    summary: "A mask is decided in float64, of numbers that have no need of it.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/float64-mask.md"),
};

/// Below this much, nobody cares.
const LEAST: Bytes = Bytes::mib(16);

const COMPARISONS: [&str; 6] = ["lt", "le", "gt", "ge", "eq", "ne"];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    for id in context.facts.index().calls_of(&COMPARISONS) {
        if !context.facts.liveness().is_live(id) {
            continue;
        }
        let arguments = &graph.node(id).arguments;
        let Some(steps) = arguments
            .iter()
            .find_map(|&operand| widened(graph, operand))
        else {
            continue;
        };
        let written: Bytes = steps
            .iter()
            .map(|&step| Bytes(graph.ty(graph.node(step).first_output).bytes()))
            .sum();
        let Some(&conversion) = steps.iter().min().filter(|_| written >= LEAST) else {
            continue;
        };
        let from = graph.ty(graph.node(conversion).arguments[0]).dtype;
        let message = format!(
            "{from} is widened to float64 to decide a mask: {} steps write {written}, and \
             float64 runs at 1/2 to 1/64 of the speed of float32",
            steps.len()
        );
        let help = match from.is_float() {
            true => format!("a comparison of {from} needs no more than float32"),
            false => {
                "whole numbers are exact in int32 below 2³¹ and in float32 to 2²⁴; instead of \
                      a square root, compare squares"
                    .to_owned()
            }
        };
        let place = context.model.node_place(context.spec, conversion);
        let mask = context.model.node_place(context.spec, id);
        reporter
            .at(place, message)
            .label("widened here")
            .also(mask.span, "only whether this holds is used")
            .help(help);
    }
}

/// The calls that compute a float64 tensor element by element from narrower ones, if that is how
/// it comes about: conversions, and what is done to their results. `O(calls)`.
fn widened(graph: &Graph, operand: TensorId) -> Option<Vec<NodeId>> {
    let is_wide = |id: TensorId| graph.ty(id).dtype == Dtype::Float64;
    if !operand.is_present() || !is_wide(operand) {
        return None;
    }
    let mut open = vec![operand];
    let mut seen = FxHashSet::default();
    let (mut steps, mut converts) = (Vec::new(), false);
    while let Some(id) = open.pop() {
        if !seen.insert(id) || graph.constant(id).is_some() {
            continue;
        }
        // Data that is float64 from the start is another matter.
        let producer = graph.producer(id)?;
        let node = graph.node(producer);
        steps.push(producer);
        if node.op.name == "to" && !is_wide(node.arguments[0]) {
            converts = true;
            continue;
        }
        node.op.element?;
        // Something else may use the number itself.
        if id != operand && graph.uses_of(producer).count() > 1 {
            return None;
        }
        open.extend(
            node.arguments
                .iter()
                .filter(|&&id| id.is_present() && is_wide(id)),
        );
    }
    converts.then_some(steps)
}
