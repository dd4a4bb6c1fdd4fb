//! Exported programs are held to what PyTorch measured of them: what is kept in each precision, the
//! most that lives in a step, and the products of the backward pass.

#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use plimsoll::diag::Sink;
use plimsoll::engine::{Loaded, Overlay, load};
use plimsoll::facts::Facts;
use plimsoll::facts::precision::recast;
use plimsoll::import::{Format, Opened};
use plimsoll::source::{SourceFile, Sources};
use plimsoll::spec::Spec;
use plimsoll::spec::dims::DimValues;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pt2/measured")
}

/// The spec of a run that trains with AdamW, one parameter after the other.
fn spec(attention: &str, precision: &str) -> Spec {
    let text = "spec = 1\n[train]\noptimizer = { name = \"adamw\", foreach = false }\n";
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("run", text));
    let mut assignments = vec![format!("model.attention=\"{attention}\"")];
    // Where none is stated, every tensor keeps the type that it was exported in.
    if !precision.is_empty() {
        assignments.push(format!("train.precision=\"{precision}\""));
    }
    let overlay = Overlay {
        assignments,
        ..Overlay::default()
    };
    let Loaded {
        document, findings, ..
    } = load(file, &mut sources, &overlay, &mut |_: &str| {
        Err(String::new())
    });
    assert!(findings.is_empty(), "{findings:?}");
    let mut sink = Sink::new();
    let spec = Spec::read_beside(document, &mut sink);
    assert!(!sink.has_errors(), "{:?}", sink.findings());
    spec
}

/// Bytes kept, bytes at the peak, FLOPs of the backward pass, parameters, and bytes of buffers.
fn figures(program: &[u8], attention: &str, precision: &str) -> [i64; 5] {
    let spec = spec(attention, precision);
    let format = Format::of("model.pt2").unwrap();
    let Opened::Program(program) = (format.open)(&mut Cursor::new(program)).unwrap() else {
        unreachable!("an exported program is a graph");
    };
    let mut model = program.build(&spec, &DimValues::default()).unwrap().model;
    recast(&mut model, &spec.run);
    let facts = Facts::new(&spec, &model);
    let cost = facts.cost();
    [
        facts.saved().total().try_into().unwrap(),
        facts.peak().bytes.0.try_into().unwrap(),
        cost.backward.0.try_into().unwrap(),
        cost.parameters.get().try_into().unwrap(),
        cost.buffer_bytes.get().try_into().unwrap(),
    ]
}

/// Every figure is PyTorch's to the byte.
#[test]
fn figures_equal_those_of_pytorch() {
    let text = std::fs::read_to_string(folder().join("measured.toml")).unwrap();
    let measured: toml::Table = toml::from_str(&text).unwrap();
    let (mut faults, mut held) = (Vec::new(), 0);
    for (name, model) in &measured {
        let program = std::fs::read(folder().join(format!("{name}.pt2"))).unwrap();
        for (attention, precision, keys) in [
            (
                "math",
                "float32",
                &["math", "", "backward_flops", "parameters", "buffer_bytes"][..],
            ),
            (
                "math",
                "",
                &[
                    "exported",
                    "",
                    "backward_flops",
                    "parameters",
                    "buffer_bytes",
                ],
            ),
            ("fused", "float32", &["fused", "peak"]),
            ("fused", "amp-bf16", &["autocast"]),
            ("fused", "bf16", &["bf16_saved", "bf16_peak"]),
        ] {
            if keys.iter().all(|&key| model.get(key).is_none()) {
                continue;
            }
            let found = figures(&program, attention, precision);
            for (&key, found) in keys.iter().zip(found) {
                let Some(expected) = model.get(key).and_then(toml::Value::as_integer) else {
                    continue;
                };
                held += 1;
                if found != expected {
                    faults.push(format!(
                        "{name} {key}: PyTorch has {expected}, found {found}"
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held > 80, "{held} figures are few");
}
