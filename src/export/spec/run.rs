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

/// A whole document, as it is once other tables are laid over it; its comments are left out.
pub(super) fn rewritten(document: &Document) -> String {
    let mut text = String::new();
    let root = document.root();
    for entry in root.entries() {
        let node = entry.value();
        let layers = entry.key() == "layers" && node.as_array().is_some();
        if node.as_table().is_none() && !layers {
            text.push_str(&format!("{} = {}\n", key(entry.key()), value(node)));
        }
    }
    for entry in root.entries() {
        let name = key(entry.key());
        match (entry.value().as_table(), entry.value().as_array()) {
            (Some(blocks), _) if entry.key() == "blocks" => {
                for block in blocks.entries() {
                    text.push_str(&format!("\n[blocks.{}]\n", key(block.key())));
                    for entry in block
                        .value()
                        .as_table()
                        .iter()
                        .flat_map(|table| table.entries())
                    {
                        let value = match entry.value().as_array() {
                            Some(layers) if entry.key() == "layers" => {
                                let lines = layers.iter().map(|one| format!("  {},\n", value(one)));
                                format!("[\n{}]", lines.collect::<String>())
                            }
                            _ => value(entry.value()),
                        };
                        text.push_str(&format!("{} = {value}\n", key(entry.key())));
                    }
                }
            }
            (Some(table), _) => {
                text.push_str(&format!("\n[{name}]\n"));
                for entry in table.entries() {
                    let value = value(entry.value());
                    text.push_str(&format!("{} = {value}\n", key(entry.key())));
                }
            }
            (None, Some(layers)) if entry.key() == "layers" => {
                for layer in layers.iter() {
                    text.push_str("\n[[layers]]\n");
                    for entry in layer.as_table().iter().flat_map(|table| table.entries()) {
                        let value = value(entry.value());
                        text.push_str(&format!("{} = {value}\n", key(entry.key())));
                    }
                }
            }
            _ => {}
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
