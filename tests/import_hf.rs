//! Configurations of Hugging Face are held to what Transformers' own classes count, and wrong ones
//! to a message and no harm.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use plimsoll::diag::{Finding, Level, Sink};
use plimsoll::engine::{Levels, Loaded, Overlay, check, load, read};
use plimsoll::facts::Facts;
use plimsoll::import::ImportError;
use plimsoll::import::hf::{self, Options, Task};
use plimsoll::source::{SourceFile, Sources};
use serde_json::{Value, json};

fn truth() -> Vec<toml::Table> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hf/truth.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let models = table["model"].as_array().unwrap();
    models
        .iter()
        .map(|model| model.as_table().unwrap().clone())
        .collect()
}

fn text<'a>(model: &'a toml::Table, key: &str) -> &'a str {
    model[key].as_str().unwrap()
}

fn options(model: &toml::Table) -> Options {
    let size = |key: &str| {
        let size = model.get(key)?.as_integer().unwrap();
        u64::try_from(size).ok()
    };
    Options {
        batch: size("batch"),
        seq: size("seq"),
        task: Task::named(text(model, "task")),
    }
}

/// The spec of an entry's configuration.
fn written(model: &toml::Table) -> String {
    let written = hf::spec(text(model, "config"), &options(model));
    written.unwrap_or_else(|error| panic!("{}: {error}", text(model, "name")))
}

fn loaded(spec: &str, assignments: &[&str]) -> (Loaded, Sources) {
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("imported.model.toml", spec));
    let overlay = Overlay {
        assignments: assignments.iter().map(|&one| one.to_owned()).collect(),
        ..Overlay::default()
    };
    let loaded = load(file, &mut sources, &overlay, &mut |_: &str| {
        Err("an imported spec extends nothing".into())
    });
    (loaded, sources)
}

/// Each figure of the model of a spec, by its name in the table of truths.
fn figures(spec: &str, wanted: &toml::Table) -> Vec<(String, i64, i64)> {
    let mut found = Vec::new();
    for (attention, precision, keys) in [
        (
            "math",
            "float32",
            &[
                "parameters",
                "trainable",
                "buffer_bytes",
                "forward_flops",
                "backward_flops",
                "saved_math",
            ][..],
        ),
        ("fused", "float32", &["backward_flops_fused", "saved_fused"]),
        ("fused", "amp-bf16", &["saved_autocast"]),
    ] {
        if !keys.iter().any(|&key| wanted.contains_key(key)) {
            continue;
        }
        let attention = format!("model.attention=\"{attention}\"");
        let precision = format!("train.precision=\"{precision}\"");
        let (loaded, _) = loaded(spec, &[&attention, &precision]);
        let mut sink = Sink::new();
        let (read, model) = read(loaded, &mut sink);
        assert!(!sink.has_errors(), "{spec}\n{:?}", sink.findings());
        let facts = Facts::new(&read, &model);
        let cost = facts.cost();
        for &key in keys {
            let Some(expected) = wanted.get(key).and_then(toml::Value::as_integer) else {
                continue;
            };
            let value = match key {
                "parameters" => cost.parameters.get().into(),
                "trainable" => cost.trainable.get().into(),
                "buffer_bytes" => cost.buffer_bytes.get().into(),
                "forward_flops" => cost.forward.get(),
                "backward_flops" | "backward_flops_fused" => cost.backward.get(),
                _ => facts
                    .saved()
                    .kept
                    .iter()
                    .map(|kept| u128::from(kept.bytes))
                    .sum(),
            };
            found.push((key.to_owned(), expected, i64::try_from(value).unwrap()));
        }
    }
    found
}

/// What is saved may differ by indices and by labels that are shifted; nothing else may differ.
const TOLERANCE: f64 = 2e-3;

#[test]
fn figures_equal_those_of_transformers() {
    let (mut faults, mut held) = (Vec::new(), 0);
    for model in truth() {
        for (key, expected, found) in figures(&written(&model), &model) {
            held += 1;
            let error = found as f64 / expected as f64 - 1.0;
            let same = match key.starts_with("saved") {
                true => error.abs() <= TOLERANCE,
                false => found == expected,
            };
            if !same {
                let name = text(&model, "name");
                faults.push(format!(
                    "{name} {key}: Transformers {expected}, the spec {found}"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held > 500, "{held} figures are few");
}

/// Guards against false alarms, and against specs that only just lower: what Transformers trains
/// every day is sound.
#[test]
fn imported_models_are_sound() {
    let mut complaints = String::new();
    // Those of which only parameters are known are larger ones of the same classes.
    let models = truth()
        .into_iter()
        .filter(|model| model.contains_key("forward_flops"));
    for model in models {
        let (loaded, sources) = loaded(&written(&model), &[]);
        let findings: Vec<Finding> = check(loaded, &sources, &Levels::default())
            .findings
            .into_iter()
            .filter(|finding| finding.level >= Level::Warning && finding.suppressed.is_none())
            .collect();
        for finding in findings {
            let name = text(&model, "name");
            complaints.push_str(&format!("{name}: {} {}\n", finding.rule, finding.message));
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

/// Guards that a stated type is the model's: Transformers builds the class in it, all but the
/// frequencies of positions, and a run that says another type goes in that.
#[test]
fn weights_are_loaded_in_the_type_that_is_stated() {
    let config = |dtype: &str| {
        json!({"model_type": "llama", "vocab_size": 211, "hidden_size": 48, "intermediate_size": 112,
            "num_hidden_layers": 3, "num_attention_heads": 6, "torch_dtype": dtype})
    };
    let bytes = |dtype: &str, assignments: &[&str]| {
        let spec = hf::spec(&config(dtype).to_string(), &Options::default()).unwrap();
        let (loaded, _) = loaded(&spec, assignments);
        let mut sink = Sink::new();
        let (read, model) = read(loaded, &mut sink);
        assert!(!sink.has_errors(), "{:?}", sink.findings());
        let facts = Facts::new(&read, &model);
        let cost = facts.cost();
        assert_eq!(cost.buffer_bytes.get(), 32, "frequencies are float32");
        cost.parameter_bytes.get() / cost.parameters.get()
    };
    assert_eq!(bytes("float32", &[]), 4);
    assert_eq!(bytes("bfloat16", &[]), 2);
    assert_eq!(bytes("float16", &[]), 2);
    let float32 = "train.precision.preset=\"float32\"";
    assert_eq!(bytes("bfloat16", &[float32]), 4);
}

#[test]
fn every_type_is_held() {
    let models = truth();
    for name in hf::model_types() {
        let quoted = format!("\"model_type\": \"{name}\"");
        let held = models
            .iter()
            .any(|model| text(model, "config").contains(&quoted));
        assert!(held, "`{name}` is not among the truths");
    }
}

#[test]
fn a_spec_reads_well() {
    let config = json!({"model_type": "gpt2", "n_layer": 2, "_name_or_path": "me/small \"one\""});
    let spec = hf::spec(&config.to_string(), &Options::default()).unwrap();
    insta::assert_snapshot!(spec);
}

fn refused(config: &Value, options: &Options) -> String {
    let ImportError { message, help } = hf::spec(&config.to_string(), options).unwrap_err();
    match help {
        Some(help) => format!("{message}\nhelp: {help}"),
        None => message,
    }
}

/// Guards that all that is wrong is told, with the key, in words.
#[test]
fn what_is_wrong_is_told_at_once() {
    let none = Options::default();
    let long = Options {
        seq: Some(2000),
        ..none.clone()
    };
    let empty = Options {
        batch: Some(0),
        ..none.clone()
    };
    let vision = Options {
        task: Some(Task::ImageClassification),
        ..none.clone()
    };
    let many = json!({
        "model_type": "llama", "hidden_size": -3, "num_attention_heads": "many",
        "num_hidden_layers": 1_000_000_000, "vocab_size": 1.5, "hidden_act": "swoosh",
        "attention_dropout": 2, "rope_parameters": {"rope_type": "spiral"}, "mlp_bias": 1,
    });
    let heads = json!({"model_type": "gpt2", "n_embd": 100, "n_head": 12});
    let plain = json!({"model_type": "gpt2"});
    let class = json!({"model_type": "gpt2", "architectures": ["GPT2DoubleHeadsModel"]});
    let mut all = Vec::new();
    for (config, options) in [
        (&many, &none),
        (&heads, &none),
        (&plain, &long),
        (&plain, &empty),
        (&plain, &vision),
        (&class, &none),
        (&json!([1]), &none),
    ] {
        all.push(refused(config, options));
    }
    let twice = r#"{"model_type": "gpt2", "n_embd": 1, "n_embd": 2}"#;
    for text in [twice, "{", &"[".repeat(100_000)] {
        all.push(hf::spec(text, &none).unwrap_err().to_string());
    }
    insta::assert_snapshot!(all.join("\n\n"));
    let unknown = refused(&json!({"model_type": "lama"}), &none);
    assert!(
        unknown.contains("`model_type` \"lama\" is not known"),
        "{unknown}"
    );
    assert!(unknown.contains("did you mean `llama`?"), "{unknown}");
    assert!(unknown.contains("mistral"), "{unknown}");
    assert!(refused(&json!({"hidden_size": 3}), &none).contains("has no `model_type`"));
}

/// A small generator of numbers: the same ones in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// Replaces, removes or adds one value somewhere in a configuration.
fn mutate(value: &mut Value, keys: &[String], random: &mut Random) {
    if let Value::Object(map) = value
        && !map.is_empty()
    {
        if random.below(3) == 0 {
            let key = keys[random.below(keys.len())].clone();
            map.insert(key, any(random));
            return;
        }
        let key = map.keys().nth(random.below(map.len())).unwrap().clone();
        match (key.as_str(), random.below(12)) {
            // Else all that is learned is that the type is not known.
            ("model_type", 1..) => {}
            (_, 0) => drop(map.remove(&key)),
            _ => mutate(&mut map[&key], keys, random),
        }
        return;
    }
    *value = any(random);
}

fn any(random: &mut Random) -> Value {
    let numbers = [
        0,
        1,
        -1,
        2,
        3,
        7,
        64,
        100,
        i64::MAX,
        i64::MIN,
        1 << 31,
        1_000_000_000,
    ];
    match random.below(12) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!({"rope_type": "yarn", "factor": 1e-300}),
        3 => json!("sliding_attention"),
        4 => json!(1e300),
        5 => json!(0.5),
        6 => json!(random.below(2) == 0),
        7 => json!([3, "x"]),
        _ => json!(numbers[random.below(numbers.len())]),
    }
}

/// Guards against panics, hangs and specs that do not lower: whatever stands in a configuration, it
/// is refused with a message or read to the end.
#[test]
fn mutated_configurations_do_no_harm() {
    let rounds: Option<usize> = std::env::var("ROBUSTNESS")
        .ok()
        .and_then(|n| n.parse().ok());
    let mut random = Random(17);
    let models: Vec<_> = truth()
        .into_iter()
        .filter(|model| model.contains_key("forward_flops") && !model.contains_key("saved_fused"))
        .collect();
    let (mut understood, mut refused) = (0, 0);
    let mut keys: Vec<String> = Vec::new();
    for model in &models {
        let config: Value = serde_json::from_str(text(model, "config")).unwrap();
        keys.extend(
            config
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "model_type")
                .cloned(),
        );
    }
    for _ in 0..rounds.unwrap_or(300) {
        let model = &models[random.below(models.len())];
        let mut config: Value = serde_json::from_str(text(model, "config")).unwrap();
        for _ in 0..1 + random.below(3) {
            mutate(&mut config, &keys, &mut random);
        }
        match hf::spec(&config.to_string(), &options(model)) {
            Err(error) => {
                refused += 1;
                assert!(!error.message.is_empty());
            }
            Ok(spec) => {
                understood += 1;
                let (loaded, _) = loaded(&spec, &[]);
                let mut sink = Sink::new();
                let (read, model) = read(loaded, &mut sink);
                // Sizes of which each alone is possible may be too large together; nothing else
                // may be wrong with a spec that was written.
                let wrong = sink.findings().iter().find(|finding| {
                    finding.level == Level::Error && !finding.message.contains("63 bits")
                });
                assert!(wrong.is_none(), "{config}\n{wrong:?}");
                let _ = Facts::new(&read, &model).saved();
            }
        }
    }
    assert!(understood > 30 && refused > 30, "{understood} {refused}");
}
