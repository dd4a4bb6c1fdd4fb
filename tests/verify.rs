//! Models and experiments that come with the program, run by its reference kernels.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn verify(path: &Path) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["verify", "--output", "json"])
        .arg(path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}: {errors}",
        path.display()
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn specs(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".model.toml"))
        .collect();
    paths.sort();
    paths
}

/// Guards the experiments: what each expects happens, and its model holds.
#[test]
fn experiments_show_what_they_are_for() {
    let paths = specs("specs/experiments");
    assert_eq!(paths.len(), 7);
    for path in paths {
        let answer = verify(&path);
        let experiment = &answer["experiment"];
        let name = path.display();
        assert!(!experiment["rows"].as_array().unwrap().is_empty(), "{name}");
        let wrong = experiment["contradictions"].as_array().unwrap();
        assert_eq!(wrong.len(), 0, "{name}: {experiment}");
        assert!(
            !experiment["conclusions"].as_array().unwrap().is_empty(),
            "{name}"
        );
    }
}

/// Guards whole models: bytes, FLOPs and gradients of specs of each kind hold when they are run.
#[test]
fn models_hold() {
    for name in ["three-matrices", "spherical-mask", "gpt2", "t5_small"] {
        let answer = verify(Path::new(&format!("specs/{name}.model.toml")));
        let claims = answer["claims"].as_array().unwrap();
        let confirmed = claims
            .iter()
            .map(|claim| claim["confirmed"].as_u64().unwrap());
        assert!(confirmed.sum::<u64>() > 10, "{name}: {answer}");
        for claim in claims {
            let wrong = claim["contradicted"].as_array().unwrap();
            assert_eq!(wrong.len(), 0, "{name}: {claim}");
        }
    }
}

/// Guards what a user sees whose Python cannot check anything: what is the matter, what to do, and
/// the status of a failure, not that of a finding.
#[cfg(unix)]
#[test]
fn a_python_that_cannot_check_is_explained() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python");
    let first = r#"{"version": 1, "torch": "2.0"}"#;
    for (lines, expected) in [
        (
            r#"echo '{"error": "No module named torch"}'"#.to_owned(),
            "cannot check it: No module named torch",
        ),
        (
            r#"echo '{"error": "PyTorch 1.13 is older than 2.5"}'"#.to_owned(),
            "cannot check it: PyTorch 1.13 is older than 2.5",
        ),
        (
            "echo Welcome".to_owned(),
            "line 1 of the answer is no answer",
        ),
        (format!("echo '{first}'"), "the answer stops before its end"),
        (String::new(), "nothing was answered"),
        ("kill -9 $$".to_owned(), "it ended with signal: 9"),
        (
            "echo 'Traceback'; echo 'MemoryError: all of it' >&2; exit 1".to_owned(),
            "MemoryError: all of it",
        ),
        ("exec sleep 60".to_owned(), "it took more than 1 s"),
    ] {
        std::fs::write(&python, format!("#!/bin/sh\n{lines}\n")).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Only the one that hangs is not waited for.
        let seconds = if lines.contains("sleep") { "1" } else { "60" };
        let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(["verify", "specs/three-matrices.model.toml"])
            .args(["--engine", "torch", "--timeout", seconds, "--python"])
            .arg(&python)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{lines}: {errors}");
        assert!(errors.contains(expected), "{lines}: {errors}");
        assert!(errors.contains("pip install torch"), "{lines}: {errors}");
        assert!(output.stdout.is_empty(), "{lines}");
    }
}
