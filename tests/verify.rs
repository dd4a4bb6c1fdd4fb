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
