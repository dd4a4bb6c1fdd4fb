//! What a model keeps for the backward pass is held against what PyTorch keeps.

use std::path::Path;

use plimsoll::diag::Sink;
use plimsoll::engine::{Overlay, load, read};
use plimsoll::facts::Facts;
use plimsoll::source::{SourceFile, Sources};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Bytes that the model of that spec keeps under these settings.
fn saved(name: &str, assignments: &[&str]) -> u64 {
    let path = root().join(format!("specs/{name}.model.toml"));
    let text = std::fs::read_to_string(path).expect("the spec is there");
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new(name, text));
    let overlay = Overlay {
        assignments: assignments.iter().map(|&one| one.to_owned()).collect(),
        ..Overlay::default()
    };
    let loaded = load(file, &mut sources, &overlay, &mut |other| {
        std::fs::read_to_string(root().join("specs").join(other)).map_err(|e| e.to_string())
    });
    let mut sink = Sink::new();
    let (spec, model) = read(loaded, &mut sink);
    assert!(!sink.has_errors(), "{name}: {:?}", sink.findings());
    let facts = Facts::new(&spec, &model);
    facts.saved().kept.iter().map(|kept| kept.bytes).sum()
}

/// The specs leave out details of a few bytes: indices of positions, one number for each sample of a
/// stochastic depth.
const TOLERANCE: f64 = 1e-4;

#[test]
fn saved_bytes_equal_those_of_pytorch() {
    let text = std::fs::read_to_string(root().join("tests/data/saved.toml")).unwrap();
    let truth: toml::Table = toml::from_str(&text).unwrap();
    let (mut faults, mut held) = (Vec::new(), 0);
    for model in truth["model"].as_array().unwrap() {
        let name = model["spec"].as_str().unwrap();
        for (mode, attention, precision) in [
            ("math", "math", "float32"),
            ("fused", "fused", "float32"),
            ("autocast", "fused", "amp-bf16"),
        ] {
            let Some(expected) = model.get(mode).and_then(toml::Value::as_integer) else {
                continue;
            };
            let attention = format!("model.attention=\"{attention}\"");
            let precision = format!("train.precision=\"{precision}\"");
            let found = saved(name, &[&attention, &precision, "train.checkpoint=[]"]);
            let error = found as f64 / expected as f64 - 1.0;
            held += 1;
            if error.abs() > TOLERANCE {
                faults.push(format!(
                    "{name} {mode}: PyTorch keeps {expected}, the spec {found} ({:+.3} %)",
                    100.0 * error
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held > 50, "{held} figures are few");
}
