//! The program as people run it: each file of `tests/cli` is a command line with what it reads,
//! and the output, exit status and files that must come of it.
//!
//! What follows `[expected]` in a case is written by `INSTA_UPDATE=always cargo test --test cli`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

/// The line from which on a case is written by the test.
const EXPECTED: &str = "[expected]\n";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
    /// Where standard output goes, if it is not read: `closed`, or a file such as `/dev/full`.
    stdout_to: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Files to lay out, by path: a text, or bytes.
    #[serde(default)]
    files: BTreeMap<String, Contents>,
    #[serde(default)]
    expected: Outcome,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Contents {
    Text(String),
    Bytes(Vec<u8>),
    /// A file of `tests/data`.
    Copy {
        copy: String,
    },
}

impl Contents {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Contents::Text(text) => text.as_bytes().to_vec(),
            Contents::Bytes(bytes) => bytes.clone(),
            Contents::Copy { copy } => {
                let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
                fs::read(data.join(copy)).unwrap()
            }
        }
    }
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(deny_unknown_fields)]
struct Outcome {
    status: Option<i32>,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    /// Files that were written or changed.
    #[serde(default)]
    files: BTreeMap<String, String>,
}

/// Lays out the files, runs the program among them, and says what came of it.
fn run(case: &Case) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (path, contents) in &case.files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents.bytes()).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command
        .args(&case.args)
        .current_dir(root)
        .env_clear()
        .env("COLUMNS", "80")
        .env("HOME", root)
        .envs(&case.env)
        .stdin(Stdio::piped())
        .stdout(match case.stdout_to.as_deref() {
            None => Stdio::piped(),
            Some("closed") => Stdio::from(std::io::pipe().unwrap().1),
            Some(file) => Stdio::from(File::options().write(true).open(file).unwrap()),
        })
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The command holds the pipe's end too.
    drop(command);
    // A program that reads nothing may be gone by now.
    let _ = child.stdin.take().unwrap().write_all(case.stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let normal = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replace(&root.display().to_string(), "ROOT")
    };
    let mut files = BTreeMap::new();
    changed_files(root, root, case, &mut files);
    Outcome {
        status: output.status.code(),
        stdout: normal(&output.stdout),
        stderr: normal(&output.stderr),
        files,
    }
}

fn changed_files(root: &Path, folder: &Path, case: &Case, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            changed_files(root, &path, case, files);
            continue;
        }
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let bytes = fs::read(&path).unwrap();
        let before = match case.files.get(&name) {
            Some(contents) => contents.bytes(),
            None => Vec::new(),
        };
        if bytes != before {
            files.insert(name, String::from_utf8(bytes).unwrap());
        }
    }
}

/// A TOML string that reads well and is exactly the text.
fn literal(text: &str) -> String {
    let plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    match text {
        _ if text.chars().all(plain) && !text.contains("'''") && !text.ends_with('\'') => {
            format!("'''\n{text}'''")
        }
        _ => toml::Value::String(text.to_owned()).to_string(),
    }
}

fn written(outcome: &Outcome) -> String {
    let mut text = EXPECTED.to_owned();
    writeln!(text, "status = {}", outcome.status.unwrap_or(-1)).unwrap();
    for (name, stream) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        if !stream.is_empty() {
            writeln!(text, "{name} = {}", literal(stream)).unwrap();
        }
    }
    if !outcome.files.is_empty() {
        text.push_str("\n[expected.files]\n");
        for (name, contents) in &outcome.files {
            writeln!(text, "\"{name}\" = {}", literal(contents)).unwrap();
        }
    }
    text
}

#[test]
fn every_command_line_does_what_its_case_says() {
    let update = std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always");
    let mut paths: Vec<_> = fs::read_dir("tests/cli")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    paths.sort();
    assert!(paths.len() > 40, "where are the cases?");
    let mut failures = String::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let input = text.split(&format!("\n{EXPECTED}")).next().unwrap();
        let case: Case = match toml::from_str(&text) {
            Ok(case) => case,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let outcome = run(&case);
        if outcome == case.expected {
            continue;
        }
        if update {
            fs::write(
                &path,
                format!("{}\n\n{}", input.trim_end(), written(&outcome)),
            )
            .unwrap();
            continue;
        }
        let diff = similar::TextDiff::from_lines(written(&case.expected), written(&outcome))
            .unified_diff()
            .header("expected", "now")
            .to_string();
        writeln!(failures, "{}\n{diff}", path.display()).unwrap();
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// The format is for whoever reads; it never decides whether a check passes.
#[test]
fn the_format_does_not_change_the_status() {
    let layer = "[[layers]]\nname = \"a\"\nop = \"relu\"\nin = \"x\"\n";
    let good = format!("spec = 1\n[inputs]\nx = [2, 3]\n{layer}");
    let second = layer.replace("\"a\"", "\"b\"");
    for (text, status) in [
        (good.clone(), 0),
        (format!("{good}{second}"), 0),
        (good.replace("relu", "rleu"), 1),
        ("spec = \n".to_owned(), 1),
    ] {
        for format in plimsoll::render::FORMATS {
            let case = Case {
                args: ["check", "-", "--output", format.name()]
                    .map(String::from)
                    .to_vec(),
                stdin: text.clone(),
                stdout_to: None,
                env: BTreeMap::new(),
                files: BTreeMap::new(),
                expected: Outcome::default(),
            };
            let outcome = run(&case);
            assert_eq!(outcome.status, Some(status), "{}\n{text}", format.name());
            assert_eq!(outcome.stderr, "", "{}", format.name());
        }
    }
}

/// Every rule is in the list, for people and for programs; run in this process, as other programs
/// may.
#[test]
fn every_rule_is_listed() {
    let list = |arguments: &[&str]| {
        let mut out = Vec::new();
        let mut err = Vec::new();
        let status = plimsoll::cli::run(
            arguments.iter().map(Into::into),
            &mut plimsoll::cli::Streams {
                input: &mut std::io::empty(),
                out: &mut out,
                err: &mut err,
                out_is_terminal: false,
                err_is_terminal: false,
                variable: |_| None,
            },
        );
        assert_eq!((status.code(), err.as_slice()), (0, &b""[..]));
        String::from_utf8(out).unwrap()
    };
    let table = list(&["plimsoll", "rules"]);
    let json = list(&["plimsoll", "rules", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let listed = json["rules"].as_array().unwrap();
    assert_eq!(listed.len(), plimsoll::rules::all().count());
    for (rule, record) in plimsoll::rules::all().zip(listed) {
        assert_eq!(record["name"], rule.name);
        assert_eq!(record["summary"], rule.summary);
        assert!(
            table
                .lines()
                .any(|line| line.split_whitespace().next() == Some(rule.name)),
            "{} is not in\n{table}",
            rule.name
        );
    }
}
