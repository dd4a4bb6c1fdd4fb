//! The tables about the run, as they stand beside a model that was imported.

use super::text::{key, list, quoted};
use crate::spec::document::{Document, NodeRef};

/// The tables that say what the model is, which is written from its graph.
const OF_THE_MODEL: [&str; 10] = [
    "spec", "extends", "model", "dims", "inputs", "params", "buffers", "blocks", "layers",
    "variants",
];

/// The tables of a document that say nothing of the model itself, each with a line between.
pub(super) fn tables(document: &Document) -> String {
    let mut text = String::new();
    for entry in document.root().entries() {
        if OF_THE_MODEL.contains(&entry.key()) {
            continue;
        }
        match entry.value().as_table() {
            Some(table) => {
                text.push_str(&format!("\n[{}]\n", key(entry.key())));
                for entry in table.entries() {
                    let value = value(entry.value());
                    text.push_str(&format!("{} = {value}\n", key(entry.key())));
                }
            }
            // A key at the top belongs in front of all tables, and no table of a run is one.
            None => continue,
        }
    }
    text
}

/// A value in one line. Documents are read with a limit to how deep they nest.
fn value(node: NodeRef<'_>) -> String {
    if let Some(text) = node.as_str() {
        quoted(text)
    } else if let Some(number) = node.as_integer() {
        number.to_string()
    } else if let Some(number) = node.as_float() {
        super::call::real(number)
    } else if let Some(truth) = node.as_bool() {
        truth.to_string()
    } else if let Some(array) = node.as_array() {
        list(array.iter().map(value))
    } else if let Some(table) = node.as_table() {
        let entry = |entry: crate::spec::document::EntryRef<'_>| {
            format!("{} = {}", key(entry.key()), value(entry.value()))
        };
        let entries: Vec<String> = table.entries().map(entry).collect();
        match entries.is_empty() {
            true => "{}".to_owned(),
            false => format!("{{ {} }}", entries.join(", ")),
        }
    } else {
        // What could not be read has been reported.
        quoted("")
    }
}
