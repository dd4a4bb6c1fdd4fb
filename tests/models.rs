//! The specs under `specs/` are held against what PyTorch reports of the models that they describe.

use std::path::Path;

use plimsoll::diag::Finding;
use plimsoll::engine::{Checked, Levels, Overlay, check, load};
use plimsoll::facts::cost::Cost;
use plimsoll::graph::Graph;
use plimsoll::render::{Layout, Report};
use plimsoll::source::{SourceFile, Sources};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Checks a spec of the folder, and gives the findings of which `wanted` says so, as people see
/// them.
fn run(path: &Path, variant: Option<&str>, wanted: fn(&Finding) -> bool) -> (Checked, String) {
    let text = std::fs::read_to_string(path).expect("the spec is there");
    let name = path
        .file_name()
        .expect("a file")
        .to_string_lossy()
        .into_owned();
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new(name, text));
    let overlay = Overlay {
        variant: variant.map(str::to_owned),
        ..Overlay::default()
    };
    let loaded = load(file, &mut sources, &overlay, &mut |other| {
        std::fs::read_to_string(root().join("specs").join(other)).map_err(|e| e.to_string())
    });
    let checked = check(loaded, &sources, &Levels::default());
    let findings: Vec<Finding> = checked
        .findings
        .iter()
        .filter(|finding| wanted(finding))
        .cloned()
        .collect();
    let full = plimsoll::render::FORMATS[0];
    let shown = match findings.is_empty() {
        true => String::new(),
        false => full.to_text(&Report::new(&findings, &sources, 1), Layout::default()),
    };
    (checked, shown)
}

fn is_about_the_spec(finding: &Finding) -> bool {
    finding.rule.starts_with("spec/")
}

/// What is held against PyTorch.
#[derive(Debug, PartialEq)]
struct Figures {
    inputs: Vec<String>,
    parameters: u64,
    buffer_bytes: u64,
    forward_flops: u128,
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
    }
}

#[test]
fn specs_equal_the_models_of_pytorch() {
    let text = std::fs::read_to_string(root().join("tests/data/truth.toml")).unwrap();
    let truth: toml::Table = toml::from_str(&text).unwrap();
    let models = truth["model"].as_array().unwrap();
    let mut faults = Vec::new();
    for model in models {
        let name = model["spec"].as_str().unwrap();
        let inputs = model["inputs"].as_array().unwrap();
        let number = |key: &str| model[key].as_integer().unwrap();
        let expected = Figures {
            inputs: inputs
                .iter()
                .map(|i| i.as_str().unwrap().to_owned())
                .collect(),
            parameters: number("parameters") as u64,
            buffer_bytes: number("buffer_bytes") as u64,
            forward_flops: number("forward_flops") as u128,
        };
        let path = root().join(format!("specs/{name}.model.toml"));
        let (checked, _) = run(&path, None, is_about_the_spec);
        let found = figures(&checked.model.graph);
        if found != expected {
            faults.push(format!(
                "{name}\n  PyTorch: {expected:?}\n  spec:    {found:?}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
