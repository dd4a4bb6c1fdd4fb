//! Models as texts of other kinds: from a [`Model`](crate::lower::Model) to what people and
//! programs read.
//!
//! One file or folder for each. An exporter knows the graph, the names in the spec and what it
//! writes; it judges and costs nothing, and opens no file. `spec` is what `import` writes; the
//! others are the targets of `export`.

pub mod dot;
mod drawing;
pub mod mermaid;
pub mod spec;
pub mod torch;

use crate::lower::Model;
use crate::spec::Spec;

/// What may be asked of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// How deep layers are shown in each other; without a limit where not given.
    pub depth: Option<usize>,
}

/// A model as another program reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// The text.
    pub text: String,
    /// What the text leaves out, one sentence each.
    pub notes: Vec<String>,
}

/// Something that a model can be exported to.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name on the command line.
    pub name: &'static str,
    /// One line: what it is.
    pub summary: &'static str,
    /// Writes a model.
    pub export: fn(&Spec, &Model, Options) -> Exported,
}

/// Every target.
pub static TARGETS: &[Target] = &[torch::TARGET, dot::TARGET, mermaid::TARGET];

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the registry: every file or folder here that declares a target is listed.
    #[test]
    fn every_target_is_registered() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/export");
        let mut declared = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file = match path.is_dir() {
                true => path.join("mod.rs"),
                false => path.clone(),
            };
            let text = std::fs::read_to_string(file).unwrap();
            if text
                .lines()
                .any(|line| line.starts_with("pub const TARGET:"))
            {
                declared.push(path.file_stem().unwrap().to_string_lossy().into_owned());
            }
        }
        declared.sort();
        let mut listed: Vec<_> = TARGETS
            .iter()
            .map(|target| target.name.to_owned())
            .collect();
        listed.sort();
        assert_eq!(declared, listed);
    }
}
