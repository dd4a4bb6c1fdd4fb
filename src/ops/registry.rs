//! The families of ops and the look-up by name.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use super::Op;

/// Every family's table, by the name of its file.
pub static FAMILIES: &[(&str, &[Op])] = &[
    ("activation", super::activation::OPS),
    ("arithmetic", super::arithmetic::OPS),
    ("attention", super::attention::OPS),
    ("batch_norm", super::batch_norm::OPS),
    ("cell", super::cell::OPS),
    ("comparison", super::comparison::OPS),
    ("complex", super::complex::OPS),
    ("conv", super::conv::OPS),
    ("conversion", super::conversion::OPS),
    ("create", super::create::OPS),
    ("cross_entropy", super::cross_entropy::OPS),
    ("decomposition", super::decomposition::OPS),
    ("distance", super::distance::OPS),
    ("dropout", super::dropout::OPS),
    ("einsum", super::einsum::OPS),
    ("embedding", super::embedding::OPS),
    ("extreme", super::extreme::OPS),
    ("foreign", super::foreign::OPS),
    ("fourier", super::fourier::OPS),
    ("grouped", super::grouped::OPS),
    ("heads", super::heads::OPS),
    ("image", super::image::OPS),
    ("index", super::index::OPS),
    ("joining", super::joining::OPS),
    ("linalg", super::linalg::OPS),
    ("linear", super::linear::OPS),
    ("loss", super::loss::OPS),
    ("margin_loss", super::margin_loss::OPS),
    ("matmul", super::matmul::OPS),
    ("movement", super::movement::OPS),
    ("multi_head", super::multi_head::OPS),
    ("norm", super::norm::OPS),
    ("permute", super::permute::OPS),
    ("pool", super::pool::OPS),
    ("quantize", super::quantize::OPS),
    ("ranking", super::ranking::OPS),
    ("rectifier", super::rectifier::OPS),
    ("recurrent", super::recurrent::OPS),
    ("reduce", super::reduce::OPS),
    ("resize", super::resize::OPS),
    ("scan", super::scan::OPS),
    ("scatter", super::scatter::OPS),
    ("search", super::search::OPS),
    ("shape", super::shape::OPS),
    ("slicing", super::slicing::OPS),
    ("softmax", super::softmax::OPS),
    ("unary", super::unary::OPS),
    ("vision", super::vision::OPS),
];

/// Every op, family by family.
pub fn all() -> impl Iterator<Item = &'static Op> {
    FAMILIES.iter().flat_map(|(_, ops)| ops.iter())
}

/// The op of that name or alias. `O(1)`.
pub fn find(name: &str) -> Option<&'static Op> {
    static BY_NAME: OnceLock<FxHashMap<&'static str, &'static Op>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| {
        all()
            .flat_map(|op| {
                op.aliases
                    .iter()
                    .copied()
                    .chain([op.name])
                    .map(move |name| (name, op))
            })
            .collect()
    });
    by_name.get(name).copied()
}

/// Every name and alias, for 'did you mean'.
pub fn names() -> Vec<&'static str> {
    all()
        .flat_map(|op| op.aliases.iter().copied().chain([op.name]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Guards the registry: every file of this folder that has an `OPS` table is listed under its
    /// name, and no name or alias stands for two ops.
    #[test]
    fn every_family_is_registered_and_every_name_is_unique() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
        let mut families = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let index = if path.is_dir() {
                path.join("mod.rs")
            } else {
                path.clone()
            };
            // A folder without it holds the tests of the file of that name.
            let Ok(text) = std::fs::read_to_string(index) else {
                continue;
            };
            if text.lines().any(|line| line.starts_with("pub static OPS:")) {
                families.push(path.file_stem().unwrap().to_string_lossy().into_owned());
            }
        }
        families.sort();
        let listed: Vec<_> = FAMILIES
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        assert_eq!(
            families, listed,
            "FAMILIES must list each family file once, sorted"
        );
        let mut seen = HashSet::new();
        for name in names() {
            assert!(seen.insert(name), "two ops answer to `{name}`");
        }
    }

    /// Guards the tables: operands and attributes are told apart by name, and every entry says
    /// what it computes.
    #[test]
    fn entries_are_well_formed() {
        for op in all() {
            assert!(!op.summary.is_empty(), "{} has no summary", op.name);
            let mut names = HashSet::new();
            for attribute in op.attributes {
                for name in attribute.aliases.iter().chain([&attribute.name]) {
                    assert!(names.insert(*name), "{}: `{name}` twice", op.name);
                }
            }
            for (index, operand) in op.operands.iter().enumerate() {
                assert!(
                    !operand.variadic || index + 1 == op.operands.len(),
                    "{}",
                    op.name
                );
            }
            assert!(
                op.attributes.len() < 250 && op.operands.len() < 60,
                "{}",
                op.name
            );
        }
    }
}
