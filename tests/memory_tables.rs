//! The figures of papers and of PyTorch, table by table, against what the program says of a spec:
//! `tests/data/tables` holds the rows, each with its tolerance.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use plimsoll::engine::Overlay;
use plimsoll::facts::Facts;
use plimsoll::facts::memory::{KeptKind, MemoryKind};
use plimsoll::facts::timeline::{Highest, run};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// Shows the facts of a spec with what is laid over it to `f`.
fn with_facts<T>(spec: &str, variant: &str, set: &[String], f: impl FnOnce(&Facts) -> T) -> T {
    let overlay = Overlay {
        variant: (!variant.is_empty()).then(|| variant.into()),
        assignments: set.to_vec(),
        ..Overlay::default()
    };
    common::with_facts(&data().join(format!("{spec}.model.toml")), &overlay, f)
}

/// The figure of that name, in the unit that the table names.
fn figure(name: &str, facts: &Facts) -> f64 {
    let (graph, cost, speed) = (facts.graph(), facts.cost(), facts.throughput());
    let per_cent = |share: Option<f64>| 100.0 * share.unwrap();
    match name {
        "saved" => facts.saved().total() as f64,
        "bytes saved for each element of the first input" => {
            let elements = graph.ty(graph.inputs[0].1).shape.elements();
            facts.saved().total() as f64 / elements as f64
        }
        "parameters" => cost.parameters.as_f64(),
        "numbers in buffers" => cost.buffer_bytes.as_f64() / 4.0,
        "model utilization" => per_cent(speed.model_utilization()),
        "hardware utilization" => per_cent(speed.hardware_utilization()),
        "utilization with the recomputed counted three times" => {
            let model = speed.model_utilization().unwrap();
            per_cent(Some(
                model + 3.0 * (speed.hardware_utilization().unwrap() - model),
            ))
        }
        "TFLOP/s of a device" => speed.rate().unwrap() / 1e12,
        "days" => speed.run().unwrap().get() / 86_400.0,
        "10¹⁸ FLOPs of linear layers over the run" => {
            let linear = graph.nodes().filter(|(_, node)| node.op.name == "linear");
            let once: f64 = linear
                .map(|(id, _)| cost.node(id))
                .map(|cost| (cost.forward + cost.backward) as f64)
                .sum();
            once * speed.steps.unwrap() / 1e18
        }
        // With the optimizer on the host its step takes nothing.
        "GiB of model states" => {
            let highest = run(facts.timeline(), Highest::default());
            let [start, .., step] = highest.phases;
            let bytes = if step > 0 { step } else { start };
            bytes as f64 / f64::from(1u32 << 30)
        }
        "bytes a logit at the peak" => {
            let parts = [MemoryKind::Activations, MemoryKind::Temporaries];
            let bytes: f64 = parts
                .iter()
                .map(|&kind| facts.peak().part(kind).as_f64())
                .sum();
            bytes / f64::from(4096 * 50_304)
        }
        _ => panic!("there is no figure `{name}`"),
    }
}

fn number(value: &toml::Value) -> f64 {
    let float = value.as_float();
    float
        .or_else(|| value.as_integer().map(|n| n as f64))
        .unwrap()
}

#[test]
fn rows_of_published_tables() {
    let text = std::fs::read_to_string(data().join("tables/tables.toml")).unwrap();
    let tables: toml::Table = toml::from_str(&text).unwrap();
    let (mut faults, mut held) = (Vec::new(), 0);
    for table in tables["table"].as_array().unwrap() {
        let text = |key: &str| table[key].as_str().unwrap();
        assert!(!text("source").is_empty());
        let spec = format!("tables/{}", text("spec"));
        for row in table["rows"].as_array().unwrap() {
            let variant = row.get("variant").map_or("", |v| v.as_str().unwrap());
            let set = row["set"].as_array().unwrap();
            let mut set: Vec<String> = set.iter().map(|s| s.as_str().unwrap().into()).collect();
            set.push("model.attention='fused'".into());
            let found = with_facts(&spec, variant, &set, |facts| figure(text("figure"), facts));
            let (is, within) = (number(&row["is"]), number(&row["within"]));
            held += 1;
            if (found - is).abs() > within {
                faults.push(format!(
                    "{}: {is} are published, found {found}, {variant} {set:?}",
                    text("title")
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held > 50, "{held} rows are few");
}

/// Torchvision's models: parameters, what a batch of 32 keeps in two precisions, and products of one
/// picture.
#[test]
fn models_of_torchvision() {
    let text = std::fs::read_to_string(data().join("tables/torchvision.toml")).unwrap();
    let tables: toml::Table = toml::from_str(&text).unwrap();
    let (mut faults, mut held) = (Vec::new(), 0);
    let mut hold = |model: &str, what: &str, expected: &toml::Value, found: f64, within: f64| {
        held += 1;
        if (found - number(expected)).abs() > within {
            faults.push(format!("{model} {what}: {expected}, found {found}"));
        }
    };
    for row in tables["training"].as_array().unwrap() {
        let model = row["model"].as_str().unwrap();
        let spec = format!("torchvision/{model}");
        for (key, precision) in [("math", "float32"), ("autocast", "amp-bf16")] {
            let set = [
                format!("train.precision='{precision}'"),
                "model.attention='math'".to_owned(),
            ];
            let kept = with_facts(&spec, "", &set, |facts| {
                facts.saved().total() - facts.saved().bytes(KeptKind::Input)
            });
            hold(model, key, &row[key], kept as f64, 0.0);
        }
        let one = row.get("macs").map(|_| "dims.batch=1".to_owned());
        let one: Vec<String> = one.into_iter().collect();
        let (parameters, products) = with_facts(&spec, "", &one, |facts| {
            let cost = facts.cost();
            (cost.parameters.as_f64(), cost.forward.as_f64())
        });
        hold(model, "parameters", &row["parameters"], parameters, 0.0);
        if let Some(macs) = row.get("macs") {
            hold(model, "macs", macs, products / 2.0, 0.0);
        }
    }
    for row in tables["inference"].as_array().unwrap() {
        let model = row["model"].as_str().unwrap();
        let spec = format!("torchvision/inference/{model}");
        let (parameters, products) = with_facts(&spec, "", &[], |facts| {
            let cost = facts.cost();
            (cost.parameters.as_f64(), cost.forward.as_f64())
        });
        if let Some(expected) = row.get("parameters") {
            hold(model, "parameters", expected, parameters, 0.0);
        }
        hold(model, "gmacs", &row["gmacs"], products / 2e9, 5.1e-4);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held > 150, "{held} figures are few");
}
