//! Specs that are written of models are held to the models: reading one gives the same graph, call
//! for call, and with it the same figures.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::{Path, PathBuf};

use plimsoll::diag::Sink;
use plimsoll::engine::{Overlay, load, read};
use plimsoll::export::spec::{Options, write};
use plimsoll::facts::Facts;
use plimsoll::graph::{Graph, Node, NodeId, TensorId, TensorKind};
use plimsoll::import::{Format, Opened};
use plimsoll::lower::Model;
use plimsoll::ops::AttributeValue;
use plimsoll::report::CapacityReport;
use plimsoll::source::{SourceFile, Sources};
use plimsoll::spec::Spec;
use plimsoll::spec::dims::DimValues;
use rustc_hash::FxHashMap;

/// Reads a spec; what is wrong with it is the error.
fn lowered(text: &str, assignments: &[&str]) -> Result<(Spec, Model), String> {
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("test.model.toml", text));
    let overlay = Overlay {
        assignments: assignments.iter().map(|&one| one.to_owned()).collect(),
        ..Overlay::default()
    };
    let loaded = load(file, &mut sources, &overlay, &mut |_| Err(String::new()));
    let mut sink = Sink::new();
    let read = read(loaded, &mut sink);
    match sink.findings() {
        [] => Ok(read),
        findings => Err(findings
            .iter()
            .take(3)
            .map(|finding| format!("{}: {} ({:?})", finding.path, finding.message, finding.help))
            .collect::<Vec<_>>()
            .join("\n")),
    }
}

fn beside(assignments: &[&str]) -> Spec {
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("run", "spec = 1\n"));
    let overlay = Overlay {
        assignments: assignments.iter().map(|&one| one.to_owned()).collect(),
        ..Overlay::default()
    };
    let loaded = load(file, &mut sources, &overlay, &mut |_| Err(String::new()));
    Spec::read_beside(loaded.document, &mut Sink::new())
}

/// Two graphs while they are compared.
struct Pair<'a> {
    a: &'a Graph,
    b: &'a Graph,
    same: FxHashMap<TensorId, TensorId>,
}

impl Pair<'_> {
    fn tensor(&mut self, a: TensorId, b: TensorId) -> Result<(), String> {
        if !a.is_present() || !b.is_present() {
            return (a == b)
                .then_some(())
                .ok_or_else(|| "an operand is missing".to_owned());
        }
        let dtypes = (self.a.ty(a).dtype, self.b.ty(b).dtype);
        if let (Some(a), Some(b)) = (self.a.constant(a), self.b.constant(b)) {
            let same = a.to_bits() == b.to_bits() && dtypes.0 == dtypes.1;
            return same.then_some(()).ok_or_else(|| format!("{a} became {b}"));
        }
        if self.a.ty(a) != self.b.ty(b) {
            return Err(format!("{} became {}", self.a.ty(a), self.b.ty(b)));
        }
        let (one, other) = (self.a.tensor(a), self.b.tensor(b));
        if one.requires_grad != other.requires_grad {
            return Err("a gradient flows where none did, or none where one did".to_owned());
        }
        match (one.kind, other.kind) {
            (TensorKind::Output(_), TensorKind::Output(_))
            | (TensorKind::Input(_), TensorKind::Input(_)) => {}
            (TensorKind::Parameter(one), TensorKind::Parameter(other)) => {
                let one = &self.a.parameters[one as usize];
                let other = &self.b.parameters[other as usize];
                if (one.buffer, one.trainable) != (other.buffer, other.trainable) {
                    return Err(format!("`{}` became something else", one.name));
                }
            }
            kinds => return Err(format!("other kinds: {kinds:?}")),
        }
        match self.same.insert(a, b) {
            Some(before) if before != b => Err("a tensor became two".to_owned()),
            _ => Ok(()),
        }
    }

    fn node(&mut self, a: &Node, b: &Node) -> Result<(), String> {
        if a.op != b.op {
            return Err(format!("{} became {}", a.op.name, b.op.name));
        }
        for position in 0..a.arguments.len().max(b.arguments.len()) {
            let at = |node: &Node| node.arguments.get(position).copied();
            let (one, other) = (at(a), at(b));
            let one = one.unwrap_or(TensorId::ABSENT);
            let other = other.unwrap_or(TensorId::ABSENT);
            // The counter of a batch norm is an operand of its layer.
            if !one.is_present() && a.op.operand_name(position) == "num_batches_tracked" {
                continue;
            }
            self.tensor(one, other)
                .map_err(|error| format!("operand {position} of {}: {error}", a.op.name))?;
        }
        for (position, attribute) in a.op.attributes.iter().enumerate() {
            let value = |node: &Node| {
                let given = node.attributes.get(position).cloned();
                given.or_else(|| attribute.default_value())
            };
            // Whether there is a bias is said by the operands.
            let switch = [
                "bias",
                "affine",
                "elementwise_affine",
                "track_running_stats",
            ];
            if switch.contains(&attribute.name) && a.attributes.get(position).is_none() {
                continue;
            }
            let Some(one) = value(a) else { continue };
            let other = value(b);
            let rank = a
                .arguments
                .first()
                .map_or(0, |&id| self.a.ty(id).shape.rank() as i64);
            let plain = |value: Option<AttributeValue>| match (attribute.name, value) {
                ("dim", Some(AttributeValue::Integer(dim))) if dim < 0 => Some((dim + rank).into()),
                ("start", None) => Some(0.into()),
                ("end", Some(AttributeValue::Integer(i64::MAX))) => None,
                (_, value) => value,
            };
            if matches!(a.op.name, "slice" | "select") {
                if plain(Some(one)) != plain(other) {
                    return Err(format!("{} of {} differs", attribute.name, a.op.name));
                }
                continue;
            }
            if !other.as_ref().is_some_and(|other| alike(&one, other)) {
                let name = attribute.name;
                return Err(format!("{name} of {}: {one:?} became {other:?}", a.op.name));
            }
        }
        if a.output_count != b.output_count {
            return Err(format!("{} has other outputs", a.op.name));
        }
        for (one, other) in a.outputs().zip(b.outputs()) {
            self.tensor(one, other)
                .map_err(|error| format!("output of {}: {error}", a.op.name))?;
        }
        Ok(())
    }
}

fn alike(a: &AttributeValue, b: &AttributeValue) -> bool {
    use AttributeValue::{Float, Integer, Integers};
    match (a, b) {
        (Integer(one), Integers(many)) | (Integers(many), Integer(one)) => {
            many.iter().all(|each| each == one)
        }
        (Integer(one), Float(other)) | (Float(other), Integer(one)) => *one as f64 == *other,
        (Float(a), Float(b)) => a.to_bits() == b.to_bits() || a == b,
        _ => a == b,
    }
}

/// Whether a call only counts the steps of a batch norm.
fn counts(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let buffer = node.arguments.first().and_then(|&id| graph.parameter(id));
    node.op.name == "add"
        && buffer.is_some_and(|parameter| parameter.name.ends_with("num_batches_tracked"))
        && graph.uses_of(id).next().is_none()
}

/// That two graphs make the same calls in the same order on the same tensors.
fn same_graph(a: &Graph, b: &Graph) -> Result<(), String> {
    let mut pair = Pair {
        a,
        b,
        same: FxHashMap::default(),
    };
    if a.inputs.len() != b.inputs.len() {
        return Err("the inputs differ".to_owned());
    }
    for ((name, one), (_, other)) in a.inputs.iter().zip(&b.inputs) {
        pair.tensor(*one, *other)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    let mut others = b.nodes();
    for (id, node) in a.nodes().filter(|(id, _)| !counts(a, *id)) {
        let Some((_, other)) = others.next() else {
            return Err("calls are missing".to_owned());
        };
        let place = |error| format!("{}: {error}", a.layer_path(node.layer));
        pair.node(node, other).map_err(place)?;
        let _ = id;
    }
    if let Some((_, more)) = others.next() {
        return Err(format!("there is one more call, of {}", more.op.name));
    }
    if a.outputs.len() != b.outputs.len() {
        return Err("the outputs differ".to_owned());
    }
    for (&one, &other) in a.outputs.iter().zip(&b.outputs) {
        pair.tensor(one, other)?;
    }
    let kept = |graph: &Graph| {
        let mut kept: Vec<String> = graph
            .parameters
            .iter()
            .map(|one| format!("{} {} {}", graph.ty(one.tensor), one.buffer, one.trainable))
            .collect();
        kept.sort();
        kept
    };
    if kept(a) != kept(b) || (a.training, a.fused_attention) != (b.training, b.fused_attention) {
        return Err("parameters, buffers or modes differ".to_owned());
    }
    Ok(())
}

/// The figures that a spec must keep.
fn figures(spec: &Spec, model: &Model) -> String {
    let report = CapacityReport::of(&Facts::new(spec, model));
    let value = serde_json::to_value(&report).unwrap();
    let memory = &value["memory"];
    let types = |part: &serde_json::Value| -> Vec<String> {
        let types = part.as_array().unwrap().iter();
        types
            .map(|one| format!("{} {}", one["shape"], one["dtype"]))
            .collect()
    };
    format!(
        "{} {} {} {} {} {} {:?} {:?}",
        value["parameters"],
        value["buffers"],
        value["flops"]["forward"],
        value["flops"]["backward"],
        memory["total"],
        memory["parts"],
        types(&value["model"]["inputs"]),
        types(&value["model"]["outputs"]),
    )
}

const RUNS: [&[&str]; 4] = [
    &["train.optimizer.name=\"adamw\""],
    &["train.precision=\"amp-bf16\""],
    &["model.attention=\"math\""],
    &["model.attention=\"math\"", "train.precision=\"amp-bf16\""],
];

/// Writes a model, reads it again, and compares.
fn round_trip(name: &str, model: &Model, flat: bool) -> String {
    let options = Options {
        name: name.to_owned(),
        flat,
    };
    let text = write(model, &beside(&[]), &options).unwrap();
    if let Ok(folder) = std::env::var("WRITTEN") {
        let form = if flat { "flat" } else { "folded" };
        let path = Path::new(&folder).join(format!("{name}.{form}.model.toml"));
        std::fs::write(path, &text).unwrap();
    }
    text
}

fn programs() -> Vec<(String, PathBuf)> {
    let mut programs = Vec::new();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pt2");
    for entry in std::fs::read_dir(own).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pt2") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            programs.push((name, path));
        }
    }
    // A folder of folders with a `model.pt2` each.
    if let Ok(folder) = std::env::var("PROGRAMS") {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.join("model.pt2").exists() {
                programs.push((name, path.join("model.pt2")));
            }
        }
    }
    programs.sort();
    programs
}

#[test]
fn written_programs_read_back_the_same() {
    let mut faults = String::new();
    for (name, path) in programs() {
        let import = |assignments: &[&str]| {
            let spec = beside(assignments);
            let format = Format::of(&path.to_string_lossy()).unwrap();
            let Ok(Opened::Program(program)) = (format.open)(&mut File::open(&path).unwrap())
            else {
                unreachable!("an exported program is a graph");
            };
            let imported = program.build(&spec, &DimValues::default()).unwrap();
            (spec, imported.model)
        };
        let (_, model) = import(&[]);
        for flat in [true, false] {
            let text = round_trip(&name, &model, flat);
            let fault =
                lowered(&text, &[]).and_then(|(_, again)| same_graph(&model.graph, &again.graph));
            if let Err(fault) = fault {
                faults.push_str(&format!("{name}, flat: {flat}: {fault}\n"));
                continue;
            }
            // Same graphs have the same figures; all of them are compared where more is asked for.
            let all = std::env::var("PROGRAMS").is_ok();
            let runs = match (all, flat) {
                (true, _) => &RUNS[..],
                (false, true) => &[],
                (false, false) => &RUNS[3..],
            };
            for &run in runs {
                let (spec, model) = import(run);
                let before = figures(&spec, &model);
                let (spec, model) = lowered(&text, run).unwrap();
                let after = figures(&spec, &model);
                if before != after {
                    faults.push_str(&format!(
                        "{name}, flat: {flat} {run:?}:\n{before}\n{after}\n"
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}
