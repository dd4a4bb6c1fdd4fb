//! The specs under `specs/` are held against what PyTorch reports of the models that they describe,
//! and `check` must be silent on each of them that is not there to show a fault.

use std::path::{Path, PathBuf};

use plimsoll::diag::{Finding, Level};
use plimsoll::engine::{Checked, Levels, Overlay, check, load};
use plimsoll::facts::cost::Cost;
use plimsoll::graph::Graph;
use plimsoll::render::{Layout, Report};
use plimsoll::source::{SourceFile, Sources};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Checks a spec of the folder.
fn load_and_check(path: &Path, overlay: &Overlay) -> (Checked, Sources) {
    let text = std::fs::read_to_string(path).expect("the spec is there");
    let name = path.file_name().expect("a file").to_string_lossy();
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new(&*name, text));
    let loaded = load(file, &mut sources, overlay, &mut |other| {
        std::fs::read_to_string(root().join("specs").join(other)).map_err(|e| e.to_string())
    });
    (check(loaded, &sources, &Levels::default()), sources)
}

/// Checks a spec of the folder, and gives the findings that trouble, as people see them.
fn run(path: &Path, variant: Option<&str>) -> (Checked, String) {
    let overlay = Overlay {
        variant: variant.map(str::to_owned),
        ..Overlay::default()
    };
    let (checked, sources) = load_and_check(path, &overlay);
    let findings: Vec<Finding> = checked
        .findings
        .iter()
        .filter(|finding| troubles(finding))
        .cloned()
        .collect();
    let full = plimsoll::render::FORMATS[0];
    let shown = match findings.is_empty() {
        true => String::new(),
        false => full.to_text(&Report::new(&findings, &sources, 1), Layout::default()),
    };
    (checked, shown)
}

/// Whether a finding would trouble someone who runs `check`.
fn troubles(finding: &Finding) -> bool {
    finding.suppressed.is_none() && finding.level >= Level::Warning
}

fn specs() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root().join("specs"))
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".model.toml"))
        .collect();
    paths.sort();
    paths
}

/// Specs that are there to show what a rule finds, the variant that shows it, and the rule.
const DEMONSTRATIONS: &[(&str, Option<&str>, &str)] = &[
    ("matrix-chain", None, "order/left-to-right"),
    ("mean-of-a-million", None, "range/sum-overflow"),
    (
        "one-gpu-or-eight",
        Some("eight-gpus"),
        "distributed/batch-norm-over-few-samples",
    ),
    ("spherical-mask", None, "memory/full-index-grid"),
    ("three-matrices", None, "order/left-to-right"),
];

#[test]
fn demonstrations_show_what_they_are_there_for() {
    for &(name, variant, rule) in DEMONSTRATIONS {
        let path = root().join(format!("specs/{name}.model.toml"));
        let (checked, shown) = run(&path, variant);
        let speaks = checked
            .findings
            .iter()
            .any(|f| f.rule == rule && troubles(f));
        assert!(speaks, "{name} {variant:?}: {rule} is silent\n{shown}");
    }
}

/// Guards against false alarms: all other specs, and all their variants, are models and runs that
/// there is nothing wrong with.
#[test]
fn sound_models_stay_silent() {
    let paths = specs();
    assert!(paths.len() > 20, "{}", paths.len());
    let mut complaints = String::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy();
        let name = name.trim_end_matches(".model.toml");
        let mut all = vec![None];
        all.extend(variants(&run(&path, None).0).into_iter().map(Some));
        for variant in all {
            let variant = variant.as_deref();
            let shows = |&(demo, at, _): &(&str, _, _)| demo == name && at == variant;
            if !DEMONSTRATIONS.iter().any(shows) {
                complaints.push_str(&run(&path, variant).1);
            }
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

/// The names of a spec's variants.
fn variants(checked: &Checked) -> Vec<String> {
    let root = checked.spec.document.root();
    let table = root.get("variants").and_then(|node| node.as_table());
    table.map_or_else(Vec::new, |table| {
        table.entries().map(|e| e.key().to_owned()).collect()
    })
}

/// What is held against PyTorch.
#[derive(Debug, PartialEq)]
struct Figures {
    inputs: Vec<String>,
    parameters: u64,
    buffer_bytes: u64,
    forward_flops: u128,
    backward_flops: u128,
}

fn figures(graph: &Graph) -> Figures {
    let cost = Cost::of(graph);
    let inputs = graph.inputs.iter().map(|(_, id)| {
        let ty = graph.ty(*id);
        format!("{}{:?}", ty.dtype.name(), ty.shape.sizes())
    });
    Figures {
        inputs: inputs.collect(),
        parameters: cost.parameters.0,
        buffer_bytes: cost.buffer_bytes.0,
        forward_flops: cost.forward.0,
        backward_flops: cost.backward.0,
    }
}

#[test]
fn specs_equal_the_models_of_pytorch() {
    let text = std::fs::read_to_string(root().join("tests/data/truth.toml")).unwrap();
    let truth: toml::Table = toml::from_str(&text).unwrap();
    let mut faults = Vec::new();
    for model in truth["model"].as_array().unwrap() {
        let name = model["spec"].as_str().unwrap();
        let text = |input: &toml::Value| input.as_str().unwrap().to_owned();
        let number = |key: &str| model[key].as_integer().unwrap();
        let (attention, backward) = match model.get("backward_flops") {
            Some(_) => ("math", "backward_flops"),
            None => ("fused", "backward_flops_fused"),
        };
        let expected = Figures {
            inputs: model["inputs"]
                .as_array()
                .unwrap()
                .iter()
                .map(text)
                .collect(),
            parameters: number("parameters") as u64,
            buffer_bytes: number("buffer_bytes") as u64,
            forward_flops: number("forward_flops") as u128,
            backward_flops: number(backward) as u128,
        };
        let overlay = Overlay {
            assignments: vec![format!("model.attention={attention}")],
            ..Overlay::default()
        };
        let path = root().join(format!("specs/{name}.model.toml"));
        let found = figures(&load_and_check(&path, &overlay).0.model.graph);
        if found != expected {
            faults.push(format!(
                "{name}\n  PyTorch: {expected:?}\n  spec:    {found:?}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
