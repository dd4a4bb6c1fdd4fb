//! Broken files, as a user meets them: a clear error, a status that is not 0, and bounded time and
//! memory.
#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

fn data(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pt2");
    std::fs::read(folder.join(name)).unwrap()
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn program() -> Value {
    let mut zip = ZipArchive::new(Cursor::new(data("mlp_deep.pt2"))).unwrap();
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
    serde_json::from_str(&text).unwrap()
}

/// Runs a command on a file of that name; the status, and all that was written.
fn run(command: &str, name: &str, content: &[u8]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args([command, name])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{command} {name} takes too long"
    );
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(!text.contains("panicked"), "{command} {name}: {text}");
    (output.status.code().unwrap(), text)
}

/// Every command refuses the file, and says something of it.
fn refused(name: &str, content: &[u8], words: &str) {
    for command in ["check", "report", "order"] {
        let (status, text) = run(command, name, content);
        assert!(
            status == 1 || status == 2,
            "{command} {name} ends with {status}: {text}"
        );
        assert!(
            text.contains(words),
            "{command} {name} does not say `{words}`: {text}"
        );
    }
}

fn nested(open: &str, close: &str) -> Vec<u8> {
    let depth = 1_000_000;
    [open.repeat(depth), close.repeat(depth)]
        .concat()
        .into_bytes()
}

/// Guards against a stack that overflows on what is nested a million deep.
#[test]
fn json_nested_a_million_deep_is_refused() {
    let lists = nested("[", "]");
    let tables = nested("{\"a\":", "}");
    for text in [lists, tables] {
        refused("x.pt2", &zipped(&[("m/models/model.json", &text)]), "error");
        refused("config.json", &text, "error");
        // What is not read is passed over, and must not be passed over too deep.
        let beside = [b"{\"beside\":", text.as_slice(), b"}"].concat();
        refused(
            "x.pt2",
            &zipped(&[("m/models/model.json", &beside)]),
            "error",
        );
    }
}

/// Guards against memory that an archive of a few kilobytes asks for.
#[test]
fn archives_that_unfold_are_refused() {
    let zeros = vec![b' '; 1 << 26];
    let bomb = zipped(&[("m/models/model.json", &zeros)]);
    assert!(bomb.len() < 1 << 20);
    refused("x.pt2", &bomb, "error");
    let many: Vec<String> = (0..70_000)
        .map(|number| format!("m/data/{number}"))
        .collect();
    let entries: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    refused("x.pt2", &zipped(&entries), "error");
}

/// Guards against a program that is cut off anywhere.
#[test]
fn cut_archives_are_refused() {
    let whole = data("mlp_deep.pt2");
    for part in 1..8 {
        refused("x.pt2", &whole[..whole.len() * part / 8], "error");
    }
    refused("x.pt2", b"", "error");
}

/// Guards names that lead nowhere or round, and sizes that make no sense.
#[test]
fn programs_that_make_no_sense_are_refused() {
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut program = program();
        edit(&mut program);
        zipped(&[("m/models/model.json", program.to_string().as_bytes())])
    };
    let size = |size: i64| {
        edited(&move |program| {
            program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] =
                json!({"as_int": size});
        })
    };
    refused("x.pt2", &size(-3), "`x`");
    refused("x.pt2", &size(i64::MAX), "`x`");
    let backwards = edited(&|program| {
        program["graph_module"]["graph"]["nodes"]
            .as_array_mut()
            .unwrap()
            .reverse();
    });
    refused("x.pt2", &backwards, "before anything makes it");
    let dangling = edited(&|program| {
        let from = r#"{"as_tensor":{"name":"x"}}"#;
        let to = r#"{"as_tensor":{"name":"nobody"}}"#;
        let nodes = &mut program["graph_module"]["graph"]["nodes"];
        *nodes = serde_json::from_str(&nodes.to_string().replace(from, to)).unwrap();
    });
    refused("x.pt2", &dangling, "error");
}

/// Guards the layout that older versions of PyTorch wrote.
#[test]
fn the_old_layout_is_read() {
    let program = program().to_string();
    let old = zipped(&[("serialized_exported_program.json", program.as_bytes())]);
    let (status, text) = run("report", "x.pt2", &old);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("parameters"), "{text}");
}

/// Guards configurations of sizes that make no sense: all of them are told.
#[test]
fn configurations_that_make_no_sense_are_refused() {
    let config =
        r#"{"model_type": "gpt2", "n_embd": -768, "n_layer": 1000000000000, "n_head": "twelve"}"#;
    refused("config.json", config.as_bytes(), "n_embd");
    refused("config.json", config.as_bytes(), "n_head");
    refused("config.json", br#"{"model_type": "no such type"}"#, "llama");
}

/// Guards operands that an op cannot do without: an LSTM without a matrix for its state, found by
/// fuzzing, made the importer panic.
#[test]
fn recurrent_layers_without_their_matrices_are_no_fault_of_ours() {
    let (status, told) = run(
        "check",
        "x.onnx",
        &data("../onnx/lstm_without_recurrence.onnx"),
    );
    assert!(!told.contains("fault of Plimsoll"), "{status}: {told}");
    assert!(status <= 1, "{status}: {told}");
}
