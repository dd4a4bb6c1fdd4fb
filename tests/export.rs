//! Models as other programs read them: snapshots of what is written, and what must hold for any
//! model.
//!
//! `tests/torch/compare.py` holds the same texts to PyTorch's own figures, where it is installed.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use plimsoll::diag::Sink;
use plimsoll::engine::{self, Overlay, load};
use plimsoll::export::{Exported, Options, TARGETS};
use plimsoll::import::{Format, Opened};
use plimsoll::lower::Model;
use plimsoll::source::{SourceFile, Sources};
use plimsoll::spec::Spec;
use plimsoll::spec::dims::DimValues;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn lowered(name: &str, text: &str) -> (Spec, Model) {
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new(name, text.to_owned()));
    let loaded = load(file, &mut sources, &Overlay::default(), &mut |other| {
        std::fs::read_to_string(root().join("specs").join(other)).map_err(|e| e.to_string())
    });
    let mut sink = Sink::new();
    let read = engine::read(loaded, &mut sink);
    assert!(!sink.has_errors(), "{name}: {:#?}", sink.findings());
    read
}

fn exported(target: &str, name: &str, text: &str, options: Options) -> Exported {
    let (spec, model) = lowered(name, text);
    let target = TARGETS.iter().find(|known| known.name == target);
    (target.expect("a target").export)(&spec, &model, options)
}

/// A spec of the folder `specs`.
fn of_spec(target: &str, name: &str) -> Exported {
    let path = root().join("specs").join(format!("{name}.model.toml"));
    let text = std::fs::read_to_string(path).expect("the spec is there");
    exported(target, name, &text, Options::default())
}

/// An exported program of `tests/data/pt2`.
fn of_program(target: &str, name: &str) -> Exported {
    let path = root().join("tests/data/pt2").join(format!("{name}.pt2"));
    let bytes = std::fs::read(path).expect("the program is there");
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new(name, "spec = 1\n"));
    let loaded = load(file, &mut sources, &Overlay::default(), &mut |_| {
        Err("nothing is extended".to_owned())
    });
    let spec = Spec::read_beside(loaded.document, &mut Sink::new());
    let format = Format::of("model.pt2").expect("a format");
    let opened = (format.open)(&mut std::io::Cursor::new(bytes)).expect("it opens");
    let Opened::Program(program) = opened else {
        unreachable!("an exported program is a graph");
    };
    let imported = program.build(&spec, &DimValues::default());
    let model = imported.expect("it is read").model;
    let target = TARGETS.iter().find(|known| known.name == target);
    (target.expect("a target").export)(&spec, &model, Options::default())
}

/// Whether Python, where there is one, takes the texts. Nothing is run.
fn assert_python(texts: &[(String, String)]) {
    let check =
        "import json, sys\nfor name, text in json.load(sys.stdin): compile(text, name, 'exec')";
    let started = Command::new("python3")
        .args(["-c", check])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut python) = started else { return };
    let mut stdin = python.stdin.take().expect("a pipe");
    let all = serde_json::to_vec(texts).expect("strings only");
    stdin.write_all(&all).expect("it reads");
    drop(stdin);
    let done = python.wait_with_output().expect("it ends");
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{complaint}");
}

#[test]
fn a_formula_over_parameters_becomes_a_module() {
    insta::assert_snapshot!(of_spec("torch", "three-matrices").text);
}

#[test]
fn a_recurrent_layer_becomes_the_module_of_that_name() {
    insta::assert_snapshot!(of_spec("torch", "lstm").text);
}

/// Holds classes, loops, shared weights, arguments of blocks, frozen layers, buffers, several
/// outputs and functions of blocks that keep nothing.
#[test]
fn a_small_transformer_becomes_classes() {
    let text = r#"
spec = 1

[model]
name = "a small \"transformer\""
outputs = ["logits", "loss"]

[dims]
batch = 2
seq = 16
vocab = 100
width = 32
heads = 4
layers = 3

[inputs]
tokens = { shape = ["batch", "seq"], dtype = "int64" }
targets = { shape = ["batch", "seq"], dtype = "int64", range = [-100, 99] }

[blocks.split_heads]
inputs = ["x"]
layers = [{ formula = "x.reshape(batch, seq, heads, -1).transpose(1, 2)" }]

[blocks.mixer]
inputs = ["x", "scale"]
args = { expansion = 4, drop = 0.1 }
params = { gain = { shape = ["width"], init = "ones" } }
buffers = { steps = { shape = [], dtype = "int64" } }
layers = [
  { name = "up", op = "linear", in = "x", out_features = "expansion * width", init_std = 0.02 },
  { name = "act", op = "gelu" },
  { name = "down", op = "linear", out_features = "width" },
  { name = "drop", op = "dropout", p = "drop" },
  { formula = "x + drop * gain * scale" },
]

[blocks.decoder]
inputs = ["x", "scale"]
layers = [
  { name = "norm", op = "layer_norm", in = "x", eps = 1e-6 },
  { name = ["q", "k", "v"], op = "linear", out_features = "3 * width", split = 3, frozen = true },
  { name = "attn", formula = "softmax(split_heads(q) @ split_heads(k).mT / sqrt(width // heads), dim=-1) @ split_heads(v)" },
  { name = "joined", formula = "attn.transpose(1, 2).flatten(2) + x" },
  { name = "mixer", op = "mixer", in = ["joined", "scale"] },
]

[[layers]]
name = "wte"
op = "embedding"
in = "tokens"
num_embeddings = "vocab"
embedding_dim = "width"

[[layers]]
name = "scale"
formula = "1.0 + arange(seq)[:, None] / seq"

[[layers]]
name = "first"
op = "mixer"
in = ["wte", "scale"]
expansion = 2
drop = 0.2

[[layers]]
name = "h"
op = "decoder"
in = ["first", "scale"]
repeat = "layers"

[[layers]]
name = "attention"
op = "multi_head_attention"
num_heads = "heads"
is_causal = true

[[layers]]
name = "logits"
op = "linear"
weight = "wte.weight"
bias = false

[[layers]]
name = "loss"
op = "cross_entropy"
in = ["logits", "targets"]

[train]
checkpoint = ["decoder"]
"#;
    let exported = exported("torch", "small", text, Options::default());
    assert_python(&[("small".into(), exported.text.clone())]);
    insta::assert_snapshot!(exported.text);
}

/// Every spec of the folder, and programs that PyTorch exported: what is written is Python, and
/// leaves nothing out.
/// Guards types that follow others, which `torch.autocast` would else widen, and dropout in place,
/// which keeps factors instead of a mask: both change what autograd keeps.
#[test]
fn random_factors_have_the_type_of_what_they_scale() {
    let exported = of_spec("torch", "efficientnet_b0").text;
    let factors = "F.dropout(torch.ones((64, 1, 1, 1), dtype=inverted.dtype), p=self.p";
    assert!(exported.contains(factors), "{exported}");
    assert!(exported.contains("nn.Dropout(0.2, inplace=True)"));
}

#[test]
fn whatever_is_written_is_python() {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(root().join("specs")).expect("the folder is there") {
        let name = entry.expect("an entry").file_name();
        let Some(name) = name
            .to_str()
            .and_then(|name| name.strip_suffix(".model.toml"))
        else {
            continue;
        };
        let exported = of_spec("torch", name);
        assert!(exported.notes.is_empty(), "{name}: {:?}", exported.notes);
        texts.push((name.to_owned(), exported.text));
    }
    for name in ["resnet18", "distilbert", "gru", "unet"] {
        let exported = of_program("torch", name);
        assert!(exported.notes.is_empty(), "{name}: {:?}", exported.notes);
        texts.push((name.to_owned(), exported.text));
    }
    assert_python(&texts);
}

/// Guards against an export that keeps silent about what it could not write.
#[test]
fn what_cannot_be_written_is_told() {
    let exported = of_program("torch", "swin_t");
    assert!(
        exported
            .text
            .contains("unwritten(\"an assignment to a part of a tensor\"")
    );
    assert_eq!(exported.notes.len(), 1, "{:?}", exported.notes);
    let text = "
spec = 1
[inputs]
x = [7, 2, 3]
[[layers]]
name = 'rnn'
op = 'gru'
hidden_size = 4
bptt = 2
";
    let truncated = self::exported("torch", "bptt", text, Options::default());
    insta::assert_snapshot!(truncated.notes.join("\n"), @"Truncated back-propagation through time is not written: detach the states in the training loop.");
}

/// Guards against names that end a string, hide a module or are no identifiers.
#[test]
fn hostile_names_are_taken() {
    let text = r#"
spec = 1

[model]
name = "a\"\"\"\nimport os\\"

[inputs]
"self" = [2, 3]
"torch" = [2, 3]
"größe" = [2, 3]
"grüße" = [2, 3]

[params]
train = [3, 3]
class = [3, 3]

[blocks.forward]
inputs = ["lambda"]
args = { def = 3 }
params = { parameters = [3] }
layers = [{ name = "half", op = "linear", in = "lambda", out_features = "def" }, { formula = "half * parameters" }]

[[layers]]
name = "F"
formula = "self + torch + größe + grüße"

[[layers]]
name = "forward"
op = "forward"

[[layers]]
name = "import"
op = "forward"
def = 5
in = "F"

[[layers]]
name = "out"
formula = "(forward @ train @ class).sum() + import.sum()"
"#;
    // A block whose parameter does not broadcast to another width is a fault; keep it the same.
    let text = text.replace("def = 5", "def = 3");
    let exported = exported("torch", "hostile", &text, Options::default());
    assert_python(&[("hostile".into(), exported.text.clone())]);
    insta::assert_snapshot!(exported.text);
}

const REPEATED: &str = "
spec = 1
[model]
name = 'rows \\\"within\\\" rows'
[inputs]
x = [2, 8]
[blocks.inner]
layers = [{ name = 'up', op = 'linear', out_features = 8 }, { name = 'act', op = 'relu' }]
[blocks.outer]
layers = [{ name = 'inner', op = 'inner', repeat = 2 }, { formula = 'x + inner' }]
[[layers]]
name = 'h'
op = 'outer'
repeat = 3
[[layers]]
name = 'out'
op = 'linear'
out_features = 4
";

fn drawn(target: &str, depth: Option<usize>) -> String {
    exported(target, "repeated", REPEATED, Options { depth }).text
}

/// Guards against rows within rows whose layers lose their place.
#[test]
fn what_repeats_is_drawn_once() {
    insta::assert_snapshot!("drawn_whole", drawn("mermaid", None));
    insta::assert_snapshot!("drawn_one_deep", drawn("mermaid", Some(1)));
    insta::assert_snapshot!("drawn_flat", drawn("dot", Some(0)));
    insta::assert_snapshot!("drawn_for_graphviz", drawn("dot", None));
}

/// Every arrow of a drawing goes on, from a box to a later one, and what is folded is not lost:
/// each output is reached from an input.
#[test]
fn drawings_are_connected() {
    let mut drawings = Vec::new();
    for name in [
        "resnet50",
        "gpt2",
        "t5_small",
        "swin_t",
        "lstm",
        "densenet121",
    ] {
        drawings.push((name, of_spec("dot", name).text));
    }
    for name in ["resnet18", "distilbert", "swin_t"] {
        drawings.push((name, of_program("dot", name).text));
    }
    for (name, text) in drawings {
        let arrows: Vec<(usize, usize)> = text
            .lines()
            .filter_map(|line| line.trim().strip_suffix(';')?.split_once(" -> "))
            .map(|(from, to)| {
                let number = |text: &str| text.trim_start_matches('n').parse().expect("a number");
                (number(from), number(to))
            })
            .collect();
        assert!(arrows.iter().all(|(from, to)| from < to), "{name}: {text}");
        let boxes = text
            .lines()
            .filter(|line| line.trim().starts_with('n') && line.contains("[label"));
        let count = boxes.count();
        let mut reached = vec![false; count];
        reached[0] = true;
        for &(from, to) in &arrows {
            reached[to] |= reached[from];
        }
        assert_eq!(reached.last(), Some(&true), "{name}: {text}");
        assert_eq!(
            text.matches('{').count(),
            text.matches('}').count(),
            "{name}"
        );
    }
}
