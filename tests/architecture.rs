//! The shape of the house, held as a test: who may use whom, and how large a room may be.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Each module with the modules that it may use. Everything points down this list.
const LAYERS: [(&str, &[&str]); 19] = [
    ("source", &[]),
    ("tensor", &[]),
    ("quantity", &[]),
    ("diag", &["source"]),
    ("formula", &["source"]),
    ("device", &["quantity", "source"]),
    ("ops", &["tensor"]),
    ("graph", &["ops", "source", "tensor"]),
    ("kernels", &["ops", "tensor"]),
    (
        "spec",
        &[
            "diag", "formula", "graph", "ops", "quantity", "source", "tensor",
        ],
    ),
    (
        "lower",
        &[
            "diag", "formula", "graph", "ops", "source", "spec", "tensor",
        ],
    ),
    (
        "facts",
        &[
            "device", "diag", "formula", "graph", "lower", "ops", "quantity", "source", "spec",
            "tensor",
        ],
    ),
    (
        "rules",
        &[
            "device", "diag", "facts", "formula", "graph", "lower", "ops", "quantity", "source",
            "spec", "tensor",
        ],
    ),
    (
        "report",
        &[
            "device", "diag", "facts", "graph", "lower", "ops", "quantity", "source", "spec",
            "tensor",
        ],
    ),
    ("render", &["diag", "facts", "quantity", "report", "source"]),
    (
        "verify",
        &[
            "diag", "facts", "formula", "graph", "kernels", "lower", "ops", "quantity", "source",
            "spec", "tensor",
        ],
    ),
    (
        "import",
        &[
            "diag", "formula", "graph", "lower", "ops", "quantity", "source", "spec", "tensor",
        ],
    ),
    (
        "export",
        &[
            "formula", "graph", "lower", "ops", "quantity", "source", "spec", "tensor",
        ],
    ),
    (
        "engine",
        &[
            "device", "diag", "facts", "graph", "import", "lower", "ops", "quantity", "report",
            "rules", "source", "spec", "tensor",
        ],
    ),
];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The modules that a file names as `crate::module`, outside of its tests.
fn uses(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let code = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut found: Vec<String> = code
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn everything_points_down() {
    let names: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    for (module, allowed) in LAYERS {
        let folder = Path::new("src").join(module);
        for file in rust_files(&folder) {
            if file.components().any(|part| part.as_os_str() == "tests")
                || file.ends_with("tests.rs")
                || file.ends_with("fixture.rs")
            {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            for used in uses(&text) {
                let known =
                    names.contains(&used.as_str()) || ["cli", "kernels"].contains(&used.as_str());
                let down = used == module || allowed.contains(&used.as_str());
                assert!(
                    !known || down,
                    "{} uses crate::{used}, which does not lie below `{module}`",
                    file.display()
                );
            }
        }
    }
}

/// The core is pure: files, the environment, processes and printing belong to the command line.
/// An importer reads from a reader that it is handed.
#[test]
fn the_core_does_no_io() {
    for (module, _) in LAYERS {
        for file in rust_files(&Path::new("src").join(module)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
            if file.components().any(|part| part.as_os_str() == "tests")
                || file.ends_with("collect.rs")
            {
                continue;
            }
            for word in [
                "std::fs",
                "std::env",
                "std::process",
                "std::net",
                "println!",
                "std::io::std",
            ] {
                assert!(!code.contains(word), "{} uses {word}", file.display());
            }
        }
    }
}

/// Every file says what it is for, and none is so long that its seam is lost.
#[test]
fn files_are_rooms() {
    for file in rust_files(Path::new("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} does not say what it is for",
            file.display()
        );
        let lines = text.lines().count();
        assert!(
            lines <= 600,
            "{} has {lines} lines; split it at its seam",
            file.display()
        );
    }
}
