//! Every rule's page is run: each bad spec makes the rule speak, each good one keeps it silent,
//! and what people see of the bad ones is a snapshot.

#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Write};
use std::path::Path;

use plimsoll::diag::apply::apply;
use plimsoll::diag::{Finding, Safety};
use plimsoll::engine::{Levels, Overlay, check, load_bytes};
use plimsoll::import::hf::Options;
use plimsoll::render::{Layout, Report};
use plimsoll::rules::{self, FixKind};
use plimsoll::source::Sources;
use zip::write::{SimpleFileOptions, ZipWriter};

struct Example {
    good: bool,
    /// Whether the text is that of an exported program, and not of a spec.
    program: bool,
    text: String,
}

/// The fenced blocks `toml bad` and `toml good` of a page, and `json bad` and `json good`, which are
/// programs as they stand in a `.pt2` archive.
fn examples(page: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut open: Option<Example> = None;
    for line in page.lines() {
        match (&mut open, line) {
            (None, "```toml bad" | "```toml good" | "```json bad" | "```json good") => {
                open = Some(Example {
                    good: line.ends_with("good"),
                    program: line.contains("json"),
                    text: String::new(),
                });
            }
            (Some(_), "```") => examples.extend(open.take()),
            (Some(example), line) => {
                example.text.push_str(line);
                example.text.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    examples
}

/// Checks an example.
fn checked(example: &Example) -> (Vec<Finding>, Sources) {
    match example.program {
        true => checked_bytes("example.pt2", &archive(&example.text)),
        false => checked_text(&example.text),
    }
}

/// The archive that `torch.export.save` would make of a program.
fn archive(program: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("example/models/model.json", SimpleFileOptions::default())
        .unwrap();
    zip.write_all(program.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}

fn checked_text(text: &str) -> (Vec<Finding>, Sources) {
    checked_bytes("example.model.toml", text.as_bytes())
}

fn checked_bytes(name: &str, bytes: &[u8]) -> (Vec<Finding>, Sources) {
    let (options, overlay) = (Options::default(), Overlay::default());
    let mut sources = Sources::default();
    let loaded = load_bytes(name, bytes, &options, &overlay, &mut sources);
    (
        check(loaded, &sources, &Levels::default()).findings,
        sources,
    )
}

/// Checks an example and gives the findings as people see them, and the rules that spoke.
fn run(example: &Example) -> (String, Vec<&'static str>) {
    let (findings, sources) = checked(example);
    let speaking = findings
        .iter()
        .filter(|finding| finding.suppressed.is_none());
    let rules = speaking.map(|finding| finding.rule).collect();
    let layout = Layout {
        colour: false,
        unicode: true,
        width: 100,
    };
    let full = plimsoll::render::FORMATS[0];
    (
        full.to_text(&Report::new(&findings, &sources, 1), layout),
        rules,
    )
}

#[test]
fn every_page_does_what_it_says() {
    let only = std::env::var("RULE").ok();
    for rule in rules::all() {
        if only
            .as_deref()
            .is_some_and(|only| !rule.name.contains(only))
        {
            continue;
        }
        let examples = examples(rule.page);
        assert!(
            examples.iter().any(|e| e.good) && examples.iter().any(|e| !e.good),
            "{}",
            rule.name
        );
        let mut shown = String::new();
        for example in examples {
            let (text, spoke) = run(&example);
            if example.good {
                assert!(
                    !spoke.contains(&rule.name),
                    "{}: a good spec is faulted:\n{text}",
                    rule.name
                );
                let broken = spoke.iter().any(|name| name.starts_with("spec/"));
                assert!(!broken, "{}: a good spec is broken:\n{text}", rule.name);
            } else {
                assert!(
                    spoke.contains(&rule.name),
                    "{}: a bad spec passes:\n{text}",
                    rule.name
                );
                shown.push_str(&text);
            }
        }
        let name = rule.name.replace('/', "__");
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, shown);
        });
    }
}

/// Each fix of a bad example is applied by itself: the spec stays sound, and the finding is gone.
#[test]
fn every_fix_mends_what_it_is_for() {
    for rule in rules::all() {
        let broken = |findings: &[Finding]| {
            let errors = findings
                .iter()
                .filter(|finding| finding.rule.starts_with("spec/"));
            errors.map(|finding| finding.message.clone()).collect()
        };
        let bad = examples(rule.page).into_iter().filter(|e| !e.good);
        for example in bad {
            let (findings, sources) = checked(&example);
            let before: Vec<String> = broken(&findings);
            for finding in findings.iter().filter(|finding| finding.rule == rule.name) {
                let Some(fix) = &finding.fix else { continue };
                assert_ne!(rule.fix, FixKind::None, "{} has a fix", rule.name);
                let one = std::slice::from_ref(finding);
                let applied = apply(one, &sources, Safety::Unsafe, &|_| true);
                let text = applied.texts.values().next().expect("the text changes");
                let (after, _) = checked_text(text);
                let count =
                    |findings: &[Finding]| findings.iter().filter(|f| f.rule == rule.name).count();
                assert!(
                    count(&after) < count(&findings),
                    "{}: `{}` does not help:\n{text}",
                    rule.name,
                    fix.title
                );
                let new: Vec<String> = broken(&after);
                assert!(
                    rule.group() == "spec" || new.len() <= before.len(),
                    "{}: `{}` breaks the spec: {new:?}\n{text}",
                    rule.name,
                    fix.title
                );
            }
        }
    }
}

/// A page has its parts in the order that the others have them in.
#[test]
fn pages_have_the_same_parts() {
    for rule in rules::all() {
        let heads: Vec<&str> = rule
            .page
            .lines()
            .filter(|line| line.starts_with('#') && !line.starts_with("# plimsoll"))
            .collect();
        let title = format!("# {}", rule.name);
        let mut wanted = vec![
            title.as_str(),
            "## What it does",
            "## Why it matters",
            "## Bad",
            "## Good",
        ];
        if heads.len() > wanted.len() {
            wanted.push("## References");
        }
        assert_eq!(heads, wanted, "{}", rule.name);
        assert!(
            Path::new("specs/rules")
                .join(format!("{}.md", rule.name))
                .exists()
        );
    }
}
