//! `range/embedding-index-out-of-range`: see its page.

use crate::diag::Level;
use crate::facts::witness::Witness;
use crate::graph::{TensorId, TensorKind};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::source::Span;

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/embedding-index-out-of-range",
    summary: "The declared range of indices goes past the rows of the table.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/embedding-index-out-of-range.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context
        .facts
        .index()
        .calls_of(&["embedding", "embedding_bag"])
    {
        let node = context.graph.node(id);
        let (indices, table) = (node.arguments[0], node.arguments[1]);
        let known = context.facts.ranges().known(indices);
        let rows = context.graph.ty(table).shape.sizes().first().copied();
        let (Some(rows), true) = (rows, known.declared && known.interval().is_bounded()) else {
            continue;
        };
        let range = known.interval();
        let past = match (range.high >= rows as f64, range.low < 0.0) {
            (true, _) => format!("{} is past its last row, {}", range.high, rows - 1),
            (false, true) => format!("{} lies before its first row, 0", range.low),
            (false, false) => continue,
        };
        if !is_reached(context, indices, |index| {
            index < 0.0 || index >= rows as f64
        }) {
            continue;
        }
        let name = context.graph.tensor_name(indices);
        let message = format!(
            "the table has {rows} rows, but the indices `{name}` range over {range}: {past}",
        );
        reporter
            .at(context.model.node_place(context.spec, id), message)
            .help("give the table as many rows as there are indices, or mend the declared range")
            .label(format!("{rows} rows"))
            .also(declared_at(context, indices), "the range is declared here");
    }
}

/// Whether a tensor takes a value that `wrong` says so of: its range is declared and no bound of a
/// computation, or it is computed, and was run.
fn is_reached(context: &Context<'_>, tensor: TensorId, wrong: impl Fn(f64) -> bool) -> bool {
    let (graph, dtypes, ranges) = (
        context.graph,
        context.facts.dtypes(),
        context.facts.ranges(),
    );
    let content = context.facts.idioms().content(tensor);
    match graph.producer(content) {
        None => true,
        Some(node) => Witness::find(graph, dtypes, ranges, node, |_, value| wrong(value)).is_some(),
    }
}

/// Where the range of an input was written.
fn declared_at(context: &Context<'_>, tensor: TensorId) -> Option<Span> {
    let TensorKind::Input(number) = context.graph.tensor(tensor).kind else {
        return None;
    };
    let (name, _) = context.graph.inputs.get(number as usize)?;
    let definition = context
        .spec
        .inputs
        .iter()
        .find(|input| input.name == *name)?;
    definition.range_span
}
