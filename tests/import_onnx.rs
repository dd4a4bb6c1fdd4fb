//! ONNX models are held to the types that they state, and damaged ones to not doing harm.
//!
//! `ONNX_NODES=folder cargo test --test import_onnx -- --nocapture` runs over all `*.onnx` files of
//! a folder and prints how many are understood.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use plimsoll::facts::Facts;
use plimsoll::import::{Format, ImportError, Imported, Opened};
use plimsoll::report::CapacityReport;
use plimsoll::source::{SourceFile, Sources};
use plimsoll::spec::Spec;
use plimsoll::spec::dims::DimValues;

fn spec(assignments: &[&str]) -> Spec {
    use plimsoll::diag::Sink;
    use plimsoll::engine::{Loaded, Overlay, load};
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("run", "spec = 1\n"));
    let overlay = Overlay {
        assignments: assignments.iter().map(|&one| one.to_owned()).collect(),
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

fn import(bytes: &[u8]) -> Result<Imported, ImportError> {
    let format = Format::of("model.onnx").unwrap();
    match (format.open)(&mut Cursor::new(bytes))? {
        Opened::Program(program) => program.build(&spec(&[]), &DimValues::default()),
        Opened::Text(_) => unreachable!("an ONNX model is a graph"),
    }
}

/// Imports and asks everything of the model.
fn use_it(bytes: &[u8]) -> Result<usize, ImportError> {
    let imported = import(bytes)?;
    let spec = spec(&[]);
    let facts = Facts::new(&spec, &imported.model);
    let report = CapacityReport::of(&facts);
    let _ = (
        facts.saved(),
        facts.memory(),
        facts.ranges(),
        facts.signal(),
    );
    Ok(report.model.ops)
}

/// All models of the archive: name and bytes.
fn models() -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/models.zip");
    let mut zip = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    (0..zip.len())
        .map(|at| {
            let mut entry = zip.by_index(at).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

fn model(name: &str) -> Vec<u8> {
    let named = models().into_iter().find(|(known, _)| known == name);
    named.unwrap().1
}

/// The ops that are not understood, with the reason.
fn unsupported() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/unsupported.toml");
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The op that a note names, where it says that one is not understood.
fn not_understood(note: &str) -> Option<&str> {
    let (op, rest) = note.strip_prefix('`')?.split_once('`')?;
    rest.starts_with(" is not understood").then_some(op)
}

/// Every model of the archive is imported, no call gives other shapes than its file states, and
/// the only ops that are not understood are those listed, with a reason for each.
#[test]
fn models_have_the_types_that_they_state() {
    let listed = unsupported();
    let mut met = std::collections::BTreeSet::new();
    let (mut files, mut understood) = (0, 0);
    for (name, bytes) in models() {
        let imported = import(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        files += 1;
        understood += usize::from(imported.agreement.opaque == 0);
        for note in &imported.notes {
            assert!(!note.contains("would give other shapes"), "{name}: {note}");
            if let Some(op) = not_understood(note) {
                assert!(listed.contains_key(op), "{name}: {note}");
                met.insert(op.to_owned());
            }
        }
    }
    assert!(
        files > 400 && understood * 10 > files * 8,
        "{understood} of {files}"
    );
    let stale: Vec<&String> = listed.keys().filter(|op| !met.contains(*op)).collect();
    assert!(stale.is_empty(), "these are understood: {stale:?}");
}

/// Parameters and products of networks whose weights the files do not hold.
#[test]
fn figures_are_those_of_the_networks() {
    for (name, parameters, buffers, gigaflops) in [
        ("resnet50", 25_557_032, 53_120 * 4, 8.18),
        ("squeezenet", 1_235_496, 0, 0.698),
    ] {
        let imported = import(&model(&format!("light/{name}.onnx"))).unwrap();
        assert_eq!(imported.agreement.opaque, 0, "{name}");
        let spec = spec(&[]);
        let facts = Facts::new(&spec, &imported.model);
        let cost = facts.cost();
        assert_eq!(cost.parameters.get(), parameters, "{name}");
        assert_eq!(cost.buffer_bytes.get(), buffers, "{name}");
        let forward = cost.forward.get() as f64 / 1e9;
        assert!(
            (forward / gigaflops - 1.0).abs() < 0.01,
            "{name}: {forward}"
        );
    }
}

/// Damaged files are refused, or give some model; nothing panics, and nothing grows without bound.
#[test]
fn damage_does_no_harm() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut refused, mut built) = (0, 0);
    for (name, bytes) in models() {
        if bytes.len() > 20_000 {
            continue;
        }
        for round in 0..4 {
            let mut damaged = bytes.clone();
            if round == 0 {
                damaged.truncate(random() as usize % bytes.len());
            }
            for _ in 0..round {
                let at = random() as usize % damaged.len();
                damaged[at] = random() as u8;
            }
            let used = std::panic::catch_unwind(|| use_it(&damaged));
            match used.unwrap_or_else(|_| panic!("{name}, round {round}")) {
                Ok(_) => built += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 100 && built > 100, "{refused} {built}");
}

/// A field of a message that holds bytes: text, or another message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 127 {
        bytes.push(length as u8 | 128);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// A model of one graph, of these fields.
fn model_of(graph: &[Vec<u8>]) -> Vec<u8> {
    let opset = field(8, &[0x10, 17]);
    [opset, field(7, &graph.concat())].concat()
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = inputs
        .iter()
        .map(|name| field(1, name.as_bytes()))
        .collect();
    parts.extend(outputs.iter().map(|name| field(2, name.as_bytes())));
    parts.push(field(4, op.as_bytes()));
    field(1, &parts.concat())
}

/// An input of float32 with one axis.
fn input(name: &str, dim: &[u8]) -> Vec<u8> {
    let shape = field(2, &field(1, dim));
    let tensor = field(1, &[[0x08, 1].to_vec(), shape].concat());
    let info = [field(1, name.as_bytes()), field(2, &tensor)].concat();
    field(11, &info)
}

/// An input of float32 with several axes.
fn tensor(name: &str, sizes: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = sizes
        .iter()
        .flat_map(|&size| field(1, &[0x08, size]))
        .collect();
    let tensor = field(1, &[[0x08, 1].to_vec(), field(2, &dims)].concat());
    let info = [field(1, name.as_bytes()), field(2, &tensor)].concat();
    field(11, &info)
}

/// A node with whole and real numbers for attributes.
fn node_with(
    op: &str,
    inputs: &[&str],
    outputs: &[&str],
    whole: &[(&str, u8)],
    real: &[(&str, f32)],
) -> Vec<u8> {
    let mut parts: Vec<u8> = inputs
        .iter()
        .flat_map(|name| field(1, name.as_bytes()))
        .collect();
    parts.extend(outputs.iter().flat_map(|name| field(2, name.as_bytes())));
    parts.extend(field(4, op.as_bytes()));
    for (name, value) in whole {
        let attribute = [field(1, name.as_bytes()), vec![0x18, *value, 0xa0, 1, 2]];
        parts.extend(field(5, &attribute.concat()));
    }
    for (name, value) in real {
        let value = [vec![0x15], value.to_le_bytes().to_vec(), vec![0xa0, 1, 1]].concat();
        parts.extend(field(5, &[field(1, name.as_bytes()), value].concat()));
    }
    field(1, &parts)
}

/// Scores that are squeezed are computed one by one: two products, and what lies between them.
#[test]
fn a_softcap_takes_attention_apart() {
    let inputs = [
        tensor("q", &[2, 4, 5, 8]),
        tensor("k", &[2, 2, 7, 8]),
        tensor("v", &[2, 2, 7, 8]),
        tensor("mask", &[5, 7]),
    ];
    let import_with = |mask: &str, causal: u8, cap: f32| {
        let whole = [("is_causal", causal)];
        let names = ["q", "k", "v", mask];
        let call = node_with("Attention", &names, &["y"], &whole, &[("softcap", cap)]);
        let graph = [inputs.concat(), call, field(12, &field(1, b"y"))].concat();
        import(&model_of(&[graph])).unwrap()
    };
    let ops = |mask: &str, causal: u8, cap: f32| {
        let imported = import_with(mask, causal, cap);
        assert!(imported.notes.is_empty(), "{:?}", imported.notes);
        let graph = &imported.model.graph;
        assert_eq!(graph.ty(graph.outputs[0]).shape.sizes(), [2, 4, 5, 8]);
        let calls = graph.nodes();
        calls.map(|(_, node)| node.op.name).collect::<Vec<_>>()
    };
    assert_eq!(ops("", 1, 0.0), ["scaled_dot_product_attention"]);
    let names = ops("mask", 0, 30.0);
    let expected = [
        "repeat_interleave",
        "repeat_interleave",
        "matrix_transpose",
        "matmul",
        "mul",
        "tanh",
        "mul",
        "add",
        "softmax",
        "matmul",
    ];
    assert_eq!(names, expected);
    let names = ops("", 1, 30.0);
    assert_eq!(names[7..10], ["full", "triu", "masked_fill"]);
    let imported = import_with("", 1, 30.0);
    let spec = spec(&[]);
    let facts = Facts::new(&spec, &imported.model);
    assert_eq!(facts.cost().forward.get(), 2 * 2 * (2 * 4 * 5 * 7 * 8));
}

/// The range of an input, or of a weight, may be said beside a model, and nothing else of it.
#[test]
fn ranges_are_said_beside_a_model() {
    use plimsoll::engine::{Levels, Overlay, check, load_bytes};
    let inputs = [tensor("x", &[4, 3]), tensor("w", &[3, 2])];
    let product = node("MatMul", &["x", "w"], &["p"]);
    let log = node("Log", &["p"], &["y"]);
    let output = field(12, &field(1, b"y"));
    let bytes = model_of(&[inputs.concat(), product, log, output]);
    let rules = |assignments: &[&str]| {
        let overlay = Overlay {
            assignments: assignments.iter().map(|&one| one.to_owned()).collect(),
            ..Overlay::default()
        };
        let mut sources = Sources::default();
        let options = plimsoll::import::hf::Options::default();
        let loaded = load_bytes("m.onnx", &bytes, &options, &overlay, &mut sources);
        let findings = check(loaded, &sources, &Levels::default()).findings;
        let told = findings.into_iter().map(|finding| {
            let help = finding.help.unwrap_or_default();
            (finding.rule, format!("{} ({help})", finding.message))
        });
        told.collect::<Vec<_>>()
    };
    assert!(rules(&[]).is_empty());
    let told = rules(&["inputs.x.range=[-1, 1]", "inputs.w.range=[-1, 1]"]);
    assert_eq!((told.len(), told[0].0), (1, "range/outside-domain"));
    assert!(rules(&["inputs.x.range=[1, 2]", "inputs.w.range=[1, 2]"]).is_empty());
    let told = rules(&["inputs.xx.range=[1, 2]"]);
    assert!(told[0].1.contains("no input `xx`"), "{told:?}");
    assert!(told[0].1.contains("there is: x, w"), "{told:?}");
    let told = rules(&["inputs.x.shape=[4, 3]"]);
    assert_eq!((told.len(), told[0].0), (1, "spec/unknown-key"));
    let told = rules(&["inputs.x=[4, 3]", "params.none.range=[0, 1]"]);
    assert_eq!(told.len(), 2, "{told:?}");
}

/// What is left out of a recurrent layer is said.
#[test]
fn what_a_recurrent_layer_leaves_out_is_said() {
    let inputs = [
        tensor("x", &[3, 2, 4]),
        tensor("w", &[1, 20, 4]),
        tensor("r", &[1, 20, 5]),
        tensor("p", &[1, 15]),
    ];
    let names = ["x", "w", "r", "", "", "", "", "p"];
    let call = node_with(
        "LSTM",
        &names,
        &["y"],
        &[("hidden_size", 5)],
        &[("clip", 3.0)],
    );
    let imported = import(&model_of(&[inputs.concat(), call])).unwrap();
    let notes = imported.notes.join("\n");
    for part in ["peephole weights of `LSTM`", "clipping in `LSTM`"] {
        assert!(notes.contains(part), "{notes}");
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("it is no ONNX model, or damaged", b"\xff\xff\xff".to_vec()),
        ("the file holds no graph", Vec::new()),
        (
            "the Relu that makes `y` reads `x`, which nothing makes",
            model_of(&[node("Relu", &["x"], &["y"])]),
        ),
        (
            "waits for its own result: the graph has a cycle",
            model_of(&[node("Relu", &["b"], &["a"]), node("Relu", &["a"], &["b"])]),
        ),
        (
            "two nodes make `a`",
            model_of(&[
                input("x", &[0x08, 3]),
                node("Relu", &["x"], &["a"]),
                node("Relu", &["x"], &["a"]),
            ]),
        ),
        (
            "an axis of `x` has a size of -7",
            model_of(&[input(
                "x",
                &[
                    0x08, 0xf9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
                ],
            )]),
        ),
        (
            "more elements than 63 bits count",
            model_of(&[input(
                "x",
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            )]),
        ),
    ];
    for (expected, bytes) in cases {
        let error = import(&bytes).unwrap_err().message;
        assert!(error.contains(expected), "{error}\n  instead of {expected}");
    }
}

/// A length that lies about a gigabyte costs none.
#[test]
fn lengths_that_lie_are_refused() {
    let mut bytes = model_of(&[input("x", &[0x08, 3])]);
    bytes.extend([0x3a, 0xff, 0xff, 0xff, 0xff, 0x03, 1, 2, 3]);
    let error = import(&bytes).unwrap_err().message;
    assert!(error.contains("damaged"), "{error}");
}

/// Graphs in graphs are followed to a depth, and no further.
#[test]
fn nesting_ends() {
    let mut graph = node("Relu", &["x"], &["y"]);
    for _ in 0..5000 {
        // A node with an attribute that holds the graph so far.
        let attribute = [field(1, b"then_branch"), field(6, &graph)].concat();
        let holder = [field(4, b"If"), field(5, &attribute)].concat();
        graph = field(1, &holder);
    }
    let error = import(&model_of(&[graph])).unwrap_err().message;
    assert!(error.contains("recursion"), "{error}");
}

/// A named size is a dim of the model, and can be chosen.
#[test]
fn open_sizes_are_dims() {
    let batch = field(2, b"batch size");
    let bytes = model_of(&[input("x", &batch), node("Relu", &["x"], &["y"])]);
    let format = Format::of("model.onnx").unwrap();
    let Opened::Program(program) = (format.open)(&mut Cursor::new(&bytes)).unwrap() else {
        unreachable!("an ONNX model is a graph")
    };
    let open: Vec<_> = program.dims();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].name.as_str(), open[0].size), ("batch_size", 1));
    let mut dims = DimValues::default();
    for (chosen, expected) in [(None, 1), (Some(8), 8)] {
        if let Some(size) = chosen {
            dims.set(
                "batch_size",
                plimsoll::formula::arithmetic::Number::Integer(size),
            );
        }
        let imported = program.build(&spec(&[]), &dims).unwrap();
        let graph = &imported.model.graph;
        assert_eq!(graph.ty(graph.inputs[0].1).shape.sizes(), [expected]);
    }
}

/// What came of some files.
#[derive(Debug, Default)]
struct Figures {
    files: usize,
    imported: usize,
    /// Imported, and every call is an op with the types that the file states.
    understood: usize,
    /// Notes about what is not, with the files.
    missing: BTreeMap<String, Vec<String>>,
}

impl Figures {
    fn add(&mut self, name: &str, bytes: &[u8]) {
        self.files += 1;
        match import(bytes) {
            Ok(imported) => {
                self.imported += 1;
                let dark = imported.model.graph.outputs.iter();
                let dark = dark.filter(|&&id| !imported.model.graph.tensor(id).known);
                if imported.agreement.opaque == 0 && dark.count() == 0 {
                    self.understood += 1;
                    return;
                }
                let mut notes: Vec<String> = imported
                    .notes
                    .into_iter()
                    .filter(|note| note.contains("not understood") || note.contains("would give"))
                    .collect();
                if notes.is_empty() {
                    notes.push("an output is unknown".to_owned());
                }
                for note in notes {
                    self.missing.entry(note).or_default().push(name.to_owned());
                }
            }
            Err(error) => {
                let missing = self.missing.entry(format!("error: {error}")).or_default();
                missing.push(name.to_owned());
            }
        }
    }

    fn print(&self, title: &str) {
        println!(
            "{title}: {} files, {} imported, {} of them without anything opaque",
            self.files, self.imported, self.understood
        );
        for (note, names) in &self.missing {
            println!("  {} × {note} ({})", names.len(), names.join(", "));
        }
    }
}

/// All `*.onnx` files of a folder, deeper ones included, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|end| end == "onnx") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// Prints what comes of a folder of models, if one is named.
#[test]
fn figures_of_a_folder() {
    let Ok(folder) = std::env::var("ONNX_NODES") else {
        return;
    };
    let mut figures: BTreeMap<&str, Figures> = BTreeMap::new();
    for path in files(Path::new(&folder)) {
        let bytes = std::fs::read(&path).unwrap();
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        let text = String::from_utf8_lossy(&bytes);
        let domain = match &text {
            text if text.contains("ai.onnx.preview.training") => "ai.onnx.preview.training",
            text if text.contains("ai.onnx.ml") => "ai.onnx.ml",
            _ => "ai.onnx",
        };
        figures.entry(domain).or_default().add(&name, &bytes);
    }
    for (domain, figures) in &figures {
        figures.print(domain);
    }
}
