//! The rules, by group. A rule reads facts; it never parses, prints, or computes a second time.
//!
//! A rule is two files: `<group>/<rule>.rs` with its static data and its `check` function, and
//! `specs/rules/<group>/<rule>.md`, which is its page, the text of `explain`, and an executed test.

mod conditioning;
mod cost;
mod data;
mod distributed;
mod epsilon;
mod gradient;
mod hyperparameter;
mod memory;
mod order;
mod precision;
mod range;
mod rule;
pub mod shared_edit;
pub mod shared_numeric;
mod spec;

pub use rule::{Check, Context, FixKind, Reporter, Rule};

use crate::source::suggest;

/// Every group's rules, by the name of its folder.
pub static GROUPS: &[(&str, &[&Rule])] = &[
    ("conditioning", conditioning::RULES),
    ("cost", cost::RULES),
    ("data", data::RULES),
    ("distributed", distributed::RULES),
    ("epsilon", epsilon::RULES),
    ("gradient", gradient::RULES),
    ("hyperparameter", hyperparameter::RULES),
    ("memory", memory::RULES),
    ("order", order::RULES),
    ("precision", precision::RULES),
    ("range", range::RULES),
    ("spec", spec::RULES),
];

/// Every rule, sorted by name.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    GROUPS.iter().flat_map(|(_, rules)| rules.iter().copied())
}

/// The rule of that name.
pub fn find(name: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.name == name)
}

/// The rules that a name or group stands for, `all` being every one.
///
/// # Errors
/// 'Did you mean', where it stands for none.
pub fn select(name: &str) -> Result<Vec<&'static Rule>, Option<String>> {
    let group = name.trim_end_matches("/*").trim_end_matches('/');
    let found: Vec<_> = all()
        .filter(|rule| name == "all" || rule.name == name || rule.group() == group)
        .collect();
    if found.is_empty() {
        let names: Vec<&str> = all()
            .map(|rule| rule.name)
            .chain(GROUPS.iter().map(|(group, _)| *group))
            .collect();
        return Err(suggest::did_you_mean(name, &names));
    }
    Ok(found)
}

/// Whether an allowance of `allowed` (a rule or a group) covers `rule`.
pub fn covers(allowed: &str, rule: &str) -> bool {
    allowed == rule || rule.split('/').next() == Some(allowed.trim_end_matches("/*"))
}

/// Runs every rule that reads facts.
pub fn run(context: &Context<'_>, sink: &mut crate::diag::Sink) {
    for rule in all() {
        if let Check::Facts(check) = rule.check {
            check(context, &mut Reporter::new(rule, sink));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Guards the registry: each file of a group's folder is a rule of that name with a page of
    /// that name, each page has its rule, and everything is sorted.
    #[test]
    fn every_rule_has_a_file_a_page_and_an_entry() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let stems = |folder: &Path, extension: &str| -> Vec<String> {
            let Ok(entries) = std::fs::read_dir(folder) else {
                return Vec::new();
            };
            let mut stems: Vec<String> = entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == extension))
                .map(|path| {
                    path.file_stem()
                        .unwrap()
                        .to_string_lossy()
                        .replace('_', "-")
                })
                .filter(|stem| stem != "mod" && !stem.starts_with("shared-"))
                .collect();
            stems.sort();
            stems
        };
        let mut groups = Vec::new();
        for entry in std::fs::read_dir(root.join("src/rules")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                groups.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
        groups.sort();
        let listed: Vec<_> = GROUPS
            .iter()
            .map(|(group, _)| (*group).to_owned())
            .collect();
        assert_eq!(
            groups, listed,
            "GROUPS must list each folder of src/rules once, sorted"
        );
        for (group, rules) in GROUPS {
            let names: Vec<String> = rules
                .iter()
                .map(|rule| {
                    rule.name
                        .strip_prefix(&format!("{group}/"))
                        .unwrap()
                        .to_owned()
                })
                .collect();
            let mut sorted = names.clone();
            sorted.sort();
            assert_eq!(names, sorted, "the rules of {group} must be sorted by name");
            assert_eq!(
                names,
                stems(&root.join("src/rules").join(group), "rs"),
                "{group}: files"
            );
            assert_eq!(
                names,
                stems(&root.join("specs/rules").join(group), "md"),
                "{group}: pages"
            );
            for rule in *rules {
                assert!(
                    rule.page.starts_with(&format!("# {}\n", rule.name)),
                    "{}",
                    rule.name
                );
                assert!(
                    rule.summary.ends_with('.'),
                    "{}: the summary is a sentence",
                    rule.name
                );
            }
        }
    }
}
