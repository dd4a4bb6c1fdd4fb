//! What single ops keep for the backward pass is held, storage by storage, against PyTorch's own list of
//! it: every line of `tests/data/saved_ops/dump.txt`, in three precisions.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use plimsoll::diag::Sink;
use plimsoll::engine::{Overlay, load, read};
use plimsoll::facts::Facts;
use plimsoll::source::{SourceFile, Sources};

/// Element types and counts of elements of what is kept, in order.
type Storages = Vec<(String, u64)>;

/// One line of the dump.
#[derive(Debug)]
struct Line {
    precision: &'static str,
    /// What was called; of fused attention, whose name the dump cuts off, the last node.
    name: String,
    /// The element type of the result.
    output: String,
    kept: Storages,
}

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/saved_ops");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The part between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, text) = text.split_once(from).unwrap();
    text.split_once(to).unwrap().0
}

fn lines() -> Vec<Line> {
    let mut precision = "";
    let mut lines = Vec::new();
    for line in file("dump.txt").lines() {
        if let Some(section) = line.strip_prefix("===== ") {
            precision = match section.split(' ').collect::<Vec<_>>()[..2] {
                ["PURE", "fp32"] => "float32",
                ["PURE", "bf16"] => "bf16",
                ["AUTOCAST", "bf16"] => "amp-bf16",
                _ => panic!("{section}"),
            };
        }
        let Some((name, rest)) = line.split_once(" out=['") else {
            continue;
        };
        let node = between(rest, "fn=", " ");
        let output = rest.split('\'').next().unwrap().to_owned();
        let (_, listed) = rest.split_once("saved=[").unwrap();
        let mut kept: Storages = Vec::new();
        for one in listed.split('\'').filter(|part| part.contains(':')) {
            let (kind, ty) = one.split_once(':').unwrap();
            let (dtype, sizes) = ty.split_once('[').unwrap();
            let sizes = sizes.trim_end_matches(']').split(", ");
            let elements: u64 = sizes
                .filter(|size| !size.is_empty())
                .map(|size| size.parse::<u64>().unwrap())
                .product();
            // Parameters are there anyway; integer operands are not parameters.
            if elements > 0 && !(kind.starts_with("param") && dtype != "int64") {
                kept.push((dtype.to_owned(), elements));
            }
        }
        kept.sort();
        let name = match name.starts_with("aten.") {
            true => node,
            false => name.trim(),
        };
        lines.push(Line {
            precision,
            name: name.to_owned(),
            output,
            kept,
        });
    }
    lines
}

/// What the call keeps here.
fn kept(call: &toml::Value, precision: &str) -> Result<Storages, String> {
    let text = |key: &str| call.get(key).and_then(toml::Value::as_str);
    let mut inputs = String::new();
    let mut layers = String::new();
    // A trained number is added to what must need a gradient, which keeps nothing itself.
    for name in ["in2", "in1", "in0"] {
        if let Some(shape) = text(name).or((name == "in0").then_some("[2, 16, 64]")) {
            inputs += &format!("{name}_given = {shape}\n");
            layers += &format!("{{ name = '{name}', formula = '{name}_given + offset' }}, ");
        }
    }
    if let Some(shape) = text("given") {
        inputs += &format!("given = {shape}\n");
    }
    let layer = text("layer").unwrap();
    let spec = format!(
        "spec = 1\nlayers = [{layers}{{ {layer} }}]\n[model]\nattention = '{}'\n[inputs]\n{inputs}\
         [params]\noffset = []\n[train]\noptimizer = 'sgd'\nprecision = '{precision}'\n",
        text("attention").unwrap_or("math"),
    );
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("test.model.toml", spec.as_str()));
    let loaded = load(file, &mut sources, &Overlay::default(), &mut |_| {
        Err(String::new())
    });
    let mut sink = Sink::new();
    let (read, model) = read(loaded, &mut sink);
    if let [first, ..] = sink.findings() {
        return Err(format!("{spec}{}", first.message));
    }
    let facts = Facts::new(&read, &model);
    let mut kept: Storages = facts
        .saved()
        .kept
        .iter()
        .map(|one| {
            let size = one.dtype.bytes_for(1).max(1);
            (one.dtype.name().to_owned(), one.bytes / size)
        })
        .filter(|(_, elements)| *elements > 0)
        .collect();
    kept.sort();
    Ok(kept)
}

#[test]
fn ops_keep_what_pytorch_lists() {
    let known: toml::Table = toml::from_str(&file("calls.toml")).unwrap();
    let (mut faults, mut held) = (Vec::new(), 0);
    for line in lines() {
        if known["refused"].get(&line.name).is_some() {
            continue;
        }
        let Some(call) = known["calls"].get(&line.name) else {
            faults.push(format!("{} is nowhere", line.name));
            continue;
        };
        // Fused attention was called in half precision throughout.
        let precision = match (line.name.starts_with("Scaled"), line.output.as_str()) {
            (true, "float16") => "f16",
            (true, _) => "bf16",
            (false, _) => line.precision,
        };
        let found = kept(call, precision);
        held += 1;
        if found != Ok(line.kept.clone()) {
            faults.push(format!(
                "{} in {precision}:\n  PyTorch keeps {:?}\n  here it is    {found:?}",
                line.name, line.kept
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held > 200, "{held} lines are few");
}
