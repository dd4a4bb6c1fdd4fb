//! Specs that are written of models are held to the models: reading one gives the same graph, call
//! for call, and with it the same figures.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::{Path, PathBuf};

use plimsoll::diag::Sink;
use plimsoll::engine::{Overlay, load, read};
use plimsoll::export::spec::{Options, write};
use plimsoll::facts::Facts;
use plimsoll::formula::arithmetic::Number;
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
    let mut fetch = |path: &str| {
        std::fs::read_to_string(Path::new("specs").join(path)).map_err(|error| error.to_string())
    };
    let loaded = load(file, &mut sources, &overlay, &mut fetch);
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
            if attribute.name == "normalized_shape" && b.attributes.get(position).is_none() {
                continue;
            }
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

fn import(path: &Path, assignments: &[&str]) -> (Spec, Model) {
    let spec = beside(assignments);
    let format = Format::of(&path.to_string_lossy()).unwrap();
    let Ok(Opened::Program(program)) = (format.open)(&mut File::open(path).unwrap()) else {
        unreachable!("an exported program is a graph");
    };
    let imported = program.build(&spec, &DimValues::default()).unwrap();
    (spec, imported.model)
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

/// Guards against a spec that silently costs other than the program: loops and branches have no
/// form in it yet.
#[test]
fn loops_and_branches_are_refused() {
    let mut refused = 0;
    for (name, path) in programs() {
        let model = import(&path, &[]).1;
        let written = write(&model, &beside(&[]), &Options::default());
        assert_eq!(model.graph.regions.is_empty(), written.is_ok(), "{name}");
        refused += usize::from(written.is_err());
    }
    assert!(
        refused >= 2,
        "no program with a loop or branch is among them"
    );
}

/// Dims are more than names: the model fits together at another batch, and then does in proportion
/// as much.
#[test]
fn a_written_batch_can_be_another_one() {
    let mut faults = String::new();
    for (name, path) in programs() {
        let model = import(&path, &[]).1;
        if !model.graph.regions.is_empty() {
            continue;
        }
        for flat in [true, false] {
            let text = round_trip(&name, &model, flat);
            let (spec, again) = lowered(&text, &[]).unwrap();
            let Some(batch) = again.dims.get("batch") else {
                faults.push_str(&format!("{name}: no batch\n"));
                continue;
            };
            let Number::Integer(batch) = batch else {
                unreachable!()
            };
            let before = Facts::new(&spec, &again).cost().forward.get();
            match lowered(&text, &[&format!("dims.batch={}", 3 * batch)]) {
                Ok((spec, more)) => {
                    let after = Facts::new(&spec, &more).cost().forward.get();
                    if after != 3 * before {
                        faults.push_str(&format!("{name}, flat: {flat}: {before}, {after}\n"));
                    }
                }
                Err(error) => faults.push_str(&format!("{name}, flat: {flat}: {error}\n")),
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

/// The specs that people wrote, with ops that stand for several, splits, blocks and repetitions.
#[test]
fn written_specs_read_back_the_same() {
    let mut faults = String::new();
    let mut count = 0;
    for entry in std::fs::read_dir("specs").unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        count += 1;
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (_, model) = lowered(&std::fs::read_to_string(&path).unwrap(), &[]).unwrap();
        for flat in [true, false] {
            let text = round_trip(&format!("spec-{name}"), &model, flat);
            let same =
                lowered(&text, &[]).and_then(|(_, again)| same_graph(&model.graph, &again.graph));
            if let Err(fault) = same {
                faults.push_str(&format!("{name}, flat: {flat}: {fault}\n"));
            }
        }
    }
    assert!(count > 20, "{count}");
    assert!(faults.is_empty(), "\n{faults}");
}

/// Guards a weight whose layer cannot own it, because what is computed stands behind it: the bias of
/// Swin V2's attention, part of which is 0.
#[test]
fn a_computed_bias_is_an_operand() {
    let text = "spec = 1\n[inputs]\nx = [4, 8]\n[params]\nbias = [16]\nweight = [16, 8]\n[[layers]]\n\
                name = \"kept\"\nformula = \"bias * 2\"\n[[layers]]\nop = \"linear\"\n\
                in = [\"x\", \"weight\", \"kept\"]\n";
    let (_, model) = lowered(text, &[]).unwrap();
    for flat in [true, false] {
        let written = round_trip("computed-bias", &model, flat);
        let (_, again) = lowered(&written, &[]).unwrap();
        same_graph(&model.graph, &again.graph).unwrap();
    }
}

#[test]
fn written_programs_read_back_the_same() {
    let mut faults = String::new();
    for (name, path) in programs() {
        let (_, model) = import(&path, &[]);
        if !model.graph.regions.is_empty() {
            continue;
        }
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
                let (spec, model) = import(&path, run);
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

/// A small generator of numbers: the same ones in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn pick<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }
}

/// One layer as the entries of an inline table; everything is [4, 8].
fn layer(random: &mut Random, number: usize, names: &mut Vec<String>, blocks: usize) -> String {
    let (a, b) = (random.below(names.len()), random.below(names.len()));
    let (a, b) = (names[a].clone(), names[b].clone());
    let name = format!("n{number}");
    let text = match random.below(14) {
        0 => format!("op = \"linear\", in = \"{a}\", out_features = 8"),
        1 => {
            format!("op = \"linear\", in = \"{a}\", out_features = 8, bias = false, frozen = true")
        }
        2 => format!("op = \"linear\", in = \"{a}\", out_features = 8, dtype = \"float16\""),
        3 => format!("op = \"layer_norm\", in = \"{a}\", bias = false, eps = 1e-6"),
        4 => format!("op = \"layer_norm\", in = \"{a}\", elementwise_affine = false"),
        5 => format!("op = \"batch_norm\", in = \"{a}\", momentum = 0.2"),
        6 => format!("op = \"batch_norm\", in = \"{a}\", track_running_stats = false"),
        7 => format!("op = \"batch_norm\", in = [\"{a}\", \"None\", \"None\"]"),
        8 => format!(
            "op = \"add\", in = [\"{a}\", 1], stated = [{{ shape = [4, 8], dtype = \"bfloat16\" }}]"
        ),
        9 => format!(
            "op = \"opaque\", in = [\"{a}\", \"{b}\", 2.5], target = \"my \\\"op\\\"\", stated = [[4, 8]]"
        ),
        10 if blocks > 0 => {
            let repeat = 1 + random.below(3);
            let block = random.below(blocks);
            format!(
                "op = \"b{block}\", in = [\"{a}\", \"{b}\"], width = {}, repeat = {repeat}",
                1 + random.below(2)
            )
        }
        _ => {
            let formula = random.pick(&[
                "A + B",
                "A * 2",
                "-A",
                "(A - B) / 2.0",
                "softmax(A, dim=-1)",
                "A @ W",
                "A ** 2",
                "A.transpose(0, 1).reshape(4, -1)",
                "where(A > 0, A, B)",
                "-(A + B) ** 2",
                "A ** -1",
                "cat([A[:, 4:], B[..., :4]], dim=1)",
                "(A > B).float() * A",
                "2 ** A - 1e-6",
                "A - (B - A)",
                "A / (B / A)",
                "(A.reshape(32) + 0.5).reshape([4, 8])",
                "A[:, :]  + 0",
                "A.to(float16) * B",
                "clamp(A, min=0, max=1.5) - B",
                "relu(A) + relu(B)",
            ]);
            let formula = formula.replace('A', &a).replace('B', &b);
            format!("formula = \"{formula}\"")
        }
    };
    names.push(name.clone());
    format!("{{ name = \"{name}\", {text} }}")
}

fn random_spec(random: &mut Random) -> String {
    let mut text = String::from(
        "spec = 1\n[inputs]\nx = [4, 8]\n\"y z\" = { shape = [4, 8], dtype = \"float32\" }\n\
         [params]\nW = { shape = [8, 8], frozen = true }\n\"u.n\\\"read\" = [3]\n\
         [buffers]\ncount = { shape = [], dtype = \"int64\" }\n",
    );
    let blocks = random.below(3);
    for block in 0..blocks {
        text.push_str(&format!(
            "[blocks.b{block}]\ninputs = [\"x\", \"y\"]\nargs = [\"width\"]\n"
        ));
        text.push_str("params = { own = [4, 8] }\nlayers = [\n");
        text.push_str(
            "  { name = \"w\", op = \"linear\", in = \"x\", out_features = \"width * 8\" },\n",
        );
        text.push_str("  { name = \"s\", formula = \"w[:, :8] + own\" },\n");
        let mut names = vec!["x".to_owned(), "y".to_owned(), "s".to_owned()];
        for number in 0..1 + random.below(4) {
            text.push_str(&format!(
                "  {},\n",
                layer(random, number, &mut names, block)
            ));
        }
        text.push_str("]\n");
    }
    let mut names = vec!["x".to_owned()];
    let mut layers = Vec::new();
    layers.push("{ name = \"z\", op = \"identity\", in = \"y z\" }".to_owned());
    names.push("z".to_owned());
    layers.push(
        "{ name = [\"p\", \"q\"], op = \"linear\", out_features = 16, split = 2 }".to_owned(),
    );
    names.extend(["p".to_owned(), "q".to_owned()]);
    for number in 0..2 + random.below(7) {
        layers.push(layer(random, number, &mut names, blocks));
    }
    layers.push(
        "{ name = \"tied\", op = \"linear\", weight = \"tail.weight\", bias = false }".to_owned(),
    );
    let at = layers.len() - 1;
    layers.insert(
        at,
        "{ name = \"tail\", op = \"linear\", out_features = 8 }".to_owned(),
    );
    // An array of tables cannot stand behind the headers, but one entry each can.
    for layer in layers {
        let entries = layer.trim_start_matches("{ ").trim_end_matches(" }");
        text.push_str(&format!(
            "[[layers]]\n{}\n",
            split_entries(entries).join("\n")
        ));
    }
    text
}

/// The entries of an inline table, one each.
fn split_entries(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut entries = vec![String::new()];
    for c in text.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                entries.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        entries.last_mut().unwrap().push(c);
    }
    entries
}

/// Guards what no model at hand has: frozen and halved layers, operands left out, stated types,
/// opaque ops, numbers, blocks in blocks that repeat with arguments, names that have to be escaped.
#[test]
fn random_specs_read_back_the_same() {
    let rounds = std::env::var("ROBUSTNESS")
        .ok()
        .and_then(|n| n.parse().ok());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut compared = 0;
    for round in 0..rounds.unwrap_or(250) {
        let text = random_spec(&mut random);
        // Some formulas do not fit what they are given.
        let Ok((_, model)) = lowered(&text, &[]) else {
            continue;
        };
        compared += 1;
        for flat in [true, false] {
            let written = round_trip("a \"name\"", &model, flat);
            let same = lowered(&written, &[])
                .and_then(|(_, again)| same_graph(&model.graph, &again.graph));
            if let Err(fault) = same {
                panic!("round {round}, flat: {flat}: {fault}\n{text}\n----\n{written}");
            }
        }
    }
    assert!(compared > 100, "{compared}");
}

/// Names that a spec may not have are made valid, and told apart.
#[test]
fn hostile_module_names_are_escaped() {
    use std::io::{Read, Write};
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pt2/dcgan_generator.pt2");
    let mut zip = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    let names: Vec<String> = zip
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .collect();
    let entry = names
        .iter()
        .find(|name| name.ends_with("models/model.json"))
        .unwrap();
    let mut text = String::new();
    zip.by_name(entry)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    for name in [
        "in",
        "None",
        "linear",
        "a\\\"b\\nc",
        "\u{fc}ber.1",
        "0",
        "x y",
        "\u{1}",
    ] {
        let hostile = text.replace("net.m.0", &format!("net.m.{}", name.replace('\u{1}', "")));
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file("m/models/model.json", options).unwrap();
        zip.write_all(hostile.as_bytes()).unwrap();
        let mut bytes = zip.finish().unwrap();
        let format = Format::of("model.pt2").unwrap();
        let Ok(Opened::Program(program)) = (format.open)(&mut bytes) else {
            unreachable!("an exported program is a graph");
        };
        let model = program
            .build(&beside(&[]), &DimValues::default())
            .unwrap()
            .model;
        for flat in [true, false] {
            let written = round_trip("hostile", &model, flat);
            let same = lowered(&written, &[])
                .and_then(|(_, again)| same_graph(&model.graph, &again.graph));
            assert_eq!(same, Ok(()), "{name}\n{written}");
        }
    }
}
