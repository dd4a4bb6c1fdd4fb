//! What a document may say of a model that was imported beside it: the run, and the ranges of its
//! tensors. What the model is, the imported file says.

use crate::diag::{Level, Sink};
use crate::graph::Graph;
use crate::source::suggest;
use crate::spec::document::Document;
use crate::spec::{Spec, names};

/// Reports tables that say what a model is: they would be left out in silence.
pub(super) fn refuse_model(document: &Document, sink: &mut Sink) {
    for key in ["layers", "blocks"] {
        if let Some(node) = document.root().get(key) {
            let message = format!("`{key}` says what the model is, and the imported file does");
            let (level, span) = (Level::Error, Some(node.span()));
            sink.report(names::UNKNOWN_KEY, level, span, key, message)
                .help("write the model as a spec with `plimsoll import`, and edit that");
        }
    }
}

/// Reports tensors that the model does not have, and what is said of one beside its range.
pub(super) fn find_tensors(spec: &Spec, graph: &Graph, sink: &mut Sink) {
    // Why the model could not be built has been said.
    if graph.dag.node_count() == 0 {
        return;
    }
    let owned = |buffer: bool| -> Vec<String> {
        let parameters = graph.parameters.iter();
        parameters
            .filter(|parameter| parameter.buffer == buffer)
            .map(|parameter| graph.parameter_path(parameter))
            .collect()
    };
    let inputs = graph.inputs.iter().map(|(name, _)| name.to_string());
    let tables: [(&str, Vec<String>, &str); 3] = [
        ("inputs", inputs.collect(), "input"),
        ("params", owned(false), "parameter"),
        ("buffers", owned(true), "buffer"),
    ];
    let root = spec.document.root();
    for (table, known, what) in tables {
        let Some(entries) = root.get(table).and_then(|node| node.as_table()) else {
            continue;
        };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for entry in entries.entries() {
            let path = format!("{table}.{}", entry.key());
            if !known.contains(&entry.key()) {
                let message = format!("the imported model has no {what} `{}`", entry.key());
                let (level, span) = (Level::Error, Some(entry.key_span()));
                sink.report(names::UNKNOWN_NAME, level, span, path, message)
                    .maybe_help(suggest::did_you_mean(entry.key(), &known));
                continue;
            }
            let value = entry.value();
            let told = match value.as_table() {
                Some(keys) => keys.entries().find(|key| key.key() != "range"),
                None => Some(entry),
            };
            if let Some(told) = told {
                let message = format!(
                    "the imported file says what `{}` is; a document beside it says its `range` \
                     and nothing else",
                    entry.key()
                );
                let (level, span) = (Level::Error, Some(told.key_span()));
                sink.report(names::UNKNOWN_KEY, level, span, path, message);
            }
        }
    }
}
