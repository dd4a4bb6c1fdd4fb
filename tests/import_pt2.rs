//! Programs that PyTorch exported are held to what PyTorch counts of them, and damaged ones to not
//! doing harm.

#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Read, Write};
use std::path::Path;

use plimsoll::diag::Sink;
use plimsoll::engine::{Loaded, Overlay, add_import, load, load_import, read};
use plimsoll::export::spec::{Options, write};
use plimsoll::facts::Facts;
use plimsoll::import::{Agreement, Format, ImportError, Imported, Opened};
use plimsoll::report::CapacityReport;
use plimsoll::source::{SourceFile, Sources};
use plimsoll::spec::Spec;
use plimsoll::spec::dims::DimValues;
use serde_json::{Value, json};
use zip::write::{SimpleFileOptions, ZipWriter};

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pt2");
    std::fs::read(folder.join(name)).unwrap()
}

fn spec(assignments: &[&str]) -> Spec {
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

/// What autograd keeps under these settings: bytes, storages, and bytes by element type.
fn saved(bytes: &[u8], assignments: &[&str]) -> (u64, usize, toml::Table) {
    let spec = spec(assignments);
    let model = import_with(bytes, &spec).unwrap().model;
    let facts = Facts::new(&spec, &model);
    let saved = facts.saved();
    let by_dtype = saved.by_dtype().into_iter().map(|(dtype, bytes)| {
        let bytes = i64::try_from(bytes).unwrap();
        (dtype.name().to_owned(), toml::Value::Integer(bytes))
    });
    (saved.total(), saved.kept.len(), by_dtype.collect())
}

/// What is kept for the backward pass is PyTorch's to the byte, in each element type. T5 alone is
/// not under autocast: it makes a bias of zeros in the type of its queries, which the program
/// states as the float32 that it was.
#[test]
fn saved_bytes_equal_those_of_pytorch() {
    let text = String::from_utf8(file("saved.toml")).unwrap();
    let truth: toml::Table = toml::from_str(&text).unwrap();
    let (mut held, mut faults) = (0, Vec::new());
    for (name, truth) in &truth {
        let program = file(&format!("{name}.pt2"));
        for (mode, attention, precision) in [
            ("math", "math", "float32"),
            ("fused", "fused", "float32"),
            ("autocast", "fused", "amp-bf16"),
        ] {
            let attention = format!("model.attention=\"{attention}\"");
            let precision = format!("train.precision=\"{precision}\"");
            let (bytes, tensors, by_dtype) = saved(&program, &[&attention, &precision]);
            let truth = &truth[mode];
            let expected = truth["bytes"].as_integer().unwrap() as u64;
            held += 1;
            if (name.as_str(), mode) == ("t5_small", "autocast") {
                assert!(bytes.abs_diff(expected) < expected / 1000, "{bytes}");
                continue;
            }
            let same = bytes == expected
                && truth["tensors"].as_integer() == Some(tensors as i64)
                && truth["by_dtype"].as_table() == Some(&by_dtype);
            if !same {
                faults.push(format!(
                    "{name} {mode}: {bytes} in {tensors}: {by_dtype}, not {truth}"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held >= 24, "{held} figures are few");
}

fn import(bytes: &[u8]) -> Result<Imported, ImportError> {
    import_with(bytes, &spec(&[]))
}

fn import_with(bytes: &[u8], spec: &Spec) -> Result<Imported, ImportError> {
    let format = Format::of("model.pt2").unwrap();
    match (format.open)(&mut Cursor::new(bytes))? {
        Opened::Program(program) => program.build(spec, &DimValues::default()),
        Opened::Text(_) => unreachable!("an exported program is a graph"),
    }
}

/// Imports and reports, and gives the number of calls of the model.
fn use_it(bytes: &[u8]) -> Result<usize, ImportError> {
    let imported = import(bytes)?;
    let spec = spec(&[]);
    for flat in [true, false] {
        let options = Options {
            name: String::new(),
            flat,
        };
        let Ok(text) = write(&imported.model, &spec, &options) else {
            continue;
        };
        let mut sources = Sources::default();
        let file = sources.add(SourceFile::new("written", text));
        let loaded = load(file, &mut sources, &Overlay::default(), &mut |_: &str| {
            Err(String::new())
        });
        let _ = read(loaded, &mut Sink::new());
    }
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

/// Parameters, tied ones once, buffers and products of the forward pass are exactly PyTorch's, and
/// every call is known with the types that the program states.
#[test]
fn figures_equal_those_of_pytorch() {
    let text = String::from_utf8(file("truth.toml")).unwrap();
    let truth: toml::Table = toml::from_str(&text).unwrap();
    assert!(truth.len() >= 9);
    for (name, truth) in &truth {
        let imported = import(&file(&format!("{name}.pt2"))).unwrap();
        let Agreement {
            same,
            other_dtype,
            opaque,
        } = imported.agreement;
        assert_eq!((other_dtype, opaque), (0, 0), "{name}");
        assert!(same > 0, "{name}");
        let spec = spec(&[]);
        let facts = Facts::new(&spec, &imported.model);
        let cost = facts.cost();
        for (figure, ours) in [
            ("parameters", u128::from(cost.parameters.get())),
            ("trainable", u128::from(cost.trainable.get())),
            ("buffer_bytes", u128::from(cost.buffer_bytes.get())),
            ("forward_flops", cost.forward.get()),
        ] {
            let expected = truth[figure].as_integer().unwrap() as u128;
            assert_eq!(ours, expected, "{figure} of {name}");
        }
    }
}

/// The program of an archive as JSON.
fn program(name: &str) -> Value {
    let mut zip = zip::ZipArchive::new(Cursor::new(file(name))).unwrap();
    let names: Vec<String> = zip
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .collect();
    let entry = names
        .iter()
        .find(|name| name.ends_with("models/model.json"));
    let mut text = String::new();
    let mut entry = zip.by_name(entry.unwrap()).unwrap();
    entry.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn packed(program: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("m/models/model.json", SimpleFileOptions::default())
        .unwrap();
    zip.write_all(program).unwrap();
    zip.finish().unwrap().into_inner()
}

/// A module is a layer, and calls of its own are gathered under it.
#[test]
fn modules_become_layers() {
    let imported = import(&file("resnet18.pt2")).unwrap();
    let spec = spec(&[]);
    let report = CapacityReport::of(&Facts::new(&spec, &imported.model));
    let rows: Vec<String> = report
        .layers
        .iter()
        .map(|row| format!("{} {} {} {}", row.path, row.op, row.output, row.parameters))
        .collect();
    insta::assert_snapshot!(rows[..12].join("\n"), @r"
    net.conv1 conv2d float32 [64, 64, 112, 112] 9,408
    net.bn1 batch_norm float32 [64, 64, 112, 112] 128
    net.relu relu float32 [64, 64, 112, 112] 0
    net.maxpool max_pool2d float32 [64, 64, 56, 56] 0
    net.layer1.0.conv1 conv2d float32 [64, 64, 56, 56] 36,864
    net.layer1.0.bn1 batch_norm float32 [64, 64, 56, 56] 128
    net.layer1.0.relu relu float32 [64, 64, 56, 56] 0
    net.layer1.0.conv2 conv2d float32 [64, 64, 56, 56] 36,864
    net.layer1.0.bn2 batch_norm float32 [64, 64, 56, 56] 128
    net.layer1.0.add add float32 [64, 64, 56, 56] 0
    net.layer1.0.relu relu float32 [64, 64, 56, 56] 0
    net.layer1.1.conv1 conv2d float32 [64, 64, 56, 56] 36,864
    ");
    insta::assert_snapshot!(rows[rows.len() - 3..].join("\n"), @r"
    net.flatten flatten float32 [64, 512] 0
    net.fc linear float32 [64, 1000] 513,000
    cross_entropy_loss cross_entropy float32 [] 0
    ");
}

/// A call of an op that is not known keeps its types, and is named.
#[test]
fn unknown_ops_are_opaque_and_counted() {
    let mut program = program("mlp_deep.pt2");
    let nodes = program["graph_module"]["graph"]["nodes"]
        .as_array_mut()
        .unwrap();
    let relu = nodes
        .iter_mut()
        .find(|node| node["target"].as_str().unwrap().contains("relu"))
        .unwrap();
    relu["target"] = json!("torch.ops.mine.squash.default");
    let bytes = packed(program.to_string().as_bytes());
    let imported = import(&bytes).unwrap();
    assert_eq!(imported.agreement.opaque, 1);
    let spec = spec(&[]);
    let report = CapacityReport::of(&Facts::new(&spec, &imported.model));
    assert_eq!(report.unknown_ops, 1);
    assert_eq!(report.unknown_names, ["mine.squash.default"]);
    let whole = import(&file("mlp_deep.pt2")).unwrap();
    let whole = CapacityReport::of(&Facts::new(&spec, &whole.model));
    assert_eq!(report.flops.forward, whole.flops.forward);
}

/// Of two branches the dearer one is counted, of a loop over elements every pass, and of one whose
/// length depends on the values a single pass.
#[test]
fn loops_and_branches_keep_their_bodies() {
    let forward = |name: &str| {
        let imported = import(&file(name)).unwrap();
        assert_eq!(imported.agreement.opaque, 0, "{name}");
        let spec = spec(&[]);
        Facts::new(&spec, &imported.model).cost().forward.get()
    };
    let linear = |inner: u128, outer: u128| 2 * 4 * inner * outer;
    // linear(32, 32), or linear(32, 128) and linear(128, 32).
    assert_eq!(forward("cond.pt2"), 2 * linear(32, 128));
    // Two of linear(32, 32) for each of ten steps.
    assert_eq!(forward("scan.pt2"), 10 * 2 * linear(32, 32));
    assert_eq!(forward("while_loop.pt2"), linear(32, 32));
}

/// A size that the program leaves open is a dim, within the range that it was exported for.
#[test]
fn open_sizes_are_dims() {
    let format = Format::of("model.pt2").unwrap();
    let opened = (format.open)(&mut Cursor::new(file("open_batch.pt2")));
    let forward = |size: i64| {
        let mut sources = Sources::default();
        let file = add_import("model.pt2", opened.as_ref(), &mut sources);
        let Ok(Opened::Program(program)) = &opened else {
            panic!("not a program")
        };
        let dims = program.dims();
        assert_eq!((dims.len(), dims[0].size, dims[0].range), (1, 4, (2, 64)));
        let overlay = Overlay {
            assignments: vec![format!("dims.{}={size}", dims[0].name)],
            ..Overlay::default()
        };
        let loaded = load_import(
            file,
            opened.as_ref(),
            &mut sources,
            &overlay,
            &mut |_: &str| Err(String::new()),
        );
        let mut sink = Sink::new();
        let (spec, model) = read(loaded, &mut sink);
        match sink.findings() {
            [] => Ok(Facts::new(&spec, &model).cost().forward.get()),
            findings => Err(findings[0].message.clone()),
        }
    };
    let once = forward(4).unwrap();
    assert_eq!(once, 2 * 4 * (2 * 32 * 128 + 32 * 10));
    assert_eq!(forward(64), Ok(16 * once));
    let message = forward(65).unwrap_err();
    assert!(
        message.ends_with("is 65, and the program was exported for 2 to 64"),
        "{message}"
    );
}

/// A mapping is only believed if the shapes are those that the program states.
#[test]
fn stated_shapes_are_believed() {
    let mut program = program("mlp_deep.pt2");
    let graph = &mut program["graph_module"]["graph"];
    let output = graph["nodes"][0]["outputs"][0]["as_tensor"]["name"].clone();
    let sizes = &mut graph["tensor_values"][output.as_str().unwrap()]["sizes"];
    *sizes = json!([{"as_int": 3}, {"as_int": 5}]);
    let imported = import(&packed(program.to_string().as_bytes())).unwrap();
    // The call itself, and the one that reads it.
    assert!(imported.agreement.opaque >= 1);
    let graph = &imported.model.graph;
    let first = graph.node(plimsoll::graph::NodeId(0));
    assert_eq!(graph.ty(first.first_output).to_string(), "float32 [3, 5]");
}

#[test]
fn the_run_stands_beside_the_program() {
    let bytes = file("mlp_deep.pt2");
    let memory = |assignments: &[&str]| {
        let spec = spec(assignments);
        let model = import_with(&bytes, &spec).unwrap().model;
        Facts::new(&spec, &model).memory().total
    };
    let plain = memory(&["train.optimizer.name=\"sgd\""]);
    let adam = memory(&["train.optimizer.name=\"adamw\""]);
    assert!(adam > plain, "{adam} {plain}");
}

#[test]
fn what_makes_no_sense_is_explained() {
    let message = |edit: fn(&mut Value)| {
        let mut program = program("mlp_deep.pt2");
        edit(&mut program);
        let bytes = packed(program.to_string().as_bytes());
        import(&bytes).unwrap_err().to_string()
    };
    insta::assert_snapshot!(message(|program| {
        program["graph_module"]["graph"]["nodes"].as_array_mut().unwrap().reverse();
    }), @"the program reads `linear_24` before anything makes it");
    insta::assert_snapshot!(message(|program| {
        program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] =
            json!({"as_expr": {"expr_str": "s77", "hint": null}});
    }), @"`x` is [s77, 512] of element type number 7, and not all of that is known or small enough");
    insta::assert_snapshot!(message(|program| {
        program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = json!({"as_int": i64::MAX});
    }), @"`x` is [9223372036854775807, 512] of element type number 7, and not all of that is known or small enough");
    insta::assert_snapshot!(message(|program| {
        program["graph_module"]["graph"]["tensor_values"].as_object_mut().unwrap().remove("x");
    }), @"the program states no type for `x`");
    insta::assert_snapshot!(message(|program| {
        program["graph_module"].as_object_mut().unwrap().remove("signature");
    }), @"the exported program cannot be read: missing field `signature` at line 1 column 64008");
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

/// Guards against panics and endless reading where an archive is cut off or damaged.
#[test]
fn damaged_archives_do_no_harm() {
    let whole = file("gru.pt2");
    assert!(use_it(&whole).is_ok());
    let mut random = Random(7);
    let mut refused = 0;
    for _ in 0..60 {
        let cut = random.below(whole.len());
        refused += usize::from(use_it(&whole[..cut]).is_err());
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(8) {
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
        }
        refused += usize::from(use_it(&bytes).is_err());
    }
    assert!(refused >= 60, "{refused}");
}

/// Replaces, removes or repeats one value somewhere in the tree.
fn mutate(value: &mut Value, random: &mut Random) {
    let leaf = match value {
        Value::Object(map) if !map.is_empty() && random.below(12) > 0 => {
            let key = map.keys().nth(random.below(map.len())).unwrap().clone();
            match random.below(60) {
                0 => drop(map.remove(&key)),
                _ => mutate(&mut map[&key], random),
            }
            false
        }
        Value::Array(items) if !items.is_empty() && random.below(12) > 0 => {
            let at = random.below(items.len());
            match random.below(60) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.swap(at, 0),
                _ => mutate(&mut items[at], random),
            }
            false
        }
        _ => true,
    };
    if leaf {
        let big = [0, 1, -1, 2, 3, i64::MAX, i64::MIN, 1 << 31];
        *value = match random.below(8) {
            0 => Value::Null,
            1 => json!([]),
            2 => json!({"as_none": true}),
            3 => json!("input"),
            4 => json!(1e300),
            5 => json!(false),
            _ => json!(big[random.below(big.len())]),
        };
    }
}

/// Guards against panics on programs that are JSON, but not what PyTorch would write.
#[test]
fn mutated_programs_do_no_harm() {
    let rounds = std::env::var("ROBUSTNESS")
        .ok()
        .and_then(|n| n.parse().ok());
    let mut random = Random(11);
    let mut understood = 0;
    for name in ["gru.pt2", "dcgan_generator.pt2", "mlp_deep.pt2"] {
        let whole = program(name);
        for _ in 0..rounds.unwrap_or(80) {
            let mut program = whole.clone();
            for _ in 0..1 + random.below(3) {
                mutate(&mut program["graph_module"], &mut random);
            }
            let bytes = packed(program.to_string().as_bytes());
            understood += usize::from(use_it(&bytes).is_ok());
        }
    }
    assert!(understood > 20, "{understood}");
}

/// Where a part of a program stands under `torch.autocast`, what is kept is what PyTorch keeps:
/// lower copies of what products read, of a weight one for both of its uses, and nothing under
/// `torch.no_grad()`. Traced strictly, the types that the program states are those without autocast.
#[test]
fn autocast_inside_a_program_is_followed() {
    let expected = toml::toml! { bfloat16 = 1974 float32 = 1280 };
    for name in ["autocast.pt2", "autocast_strict.pt2"] {
        let kept = saved(&file(name), &[]);
        assert_eq!(kept, (3254, 10, expected.clone()), "{name}");
    }
}

/// A program on standard input is known by its first bytes, and gives what the file gives.
#[test]
fn standard_input_is_known_by_its_content() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pt2/gru.pt2");
    let report = |arguments: &[&str], input: &mut dyn std::io::Read| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = plimsoll::cli::run(
            arguments.iter().map(Into::into),
            &mut plimsoll::cli::Streams {
                input,
                out: &mut out,
                err: &mut err,
                out_is_terminal: false,
                err_is_terminal: false,
                variable: |_| None,
            },
        );
        assert_eq!(
            (status.code(), String::from_utf8(err).unwrap()),
            (0, String::new())
        );
        let mut report: serde_json::Value = serde_json::from_slice(&out).unwrap();
        report["model"]["name"] = "".into();
        report
    };
    let begun = ["plimsoll", "report", "--output", "json"];
    let file = [&begun[..], &[path.to_str().unwrap()]].concat();
    let input = [&begun[..], &["-"]].concat();
    let mut bytes = std::io::Cursor::new(std::fs::read(&path).unwrap());
    assert_eq!(
        report(&input, &mut bytes),
        report(&file, &mut std::io::empty())
    );
}
