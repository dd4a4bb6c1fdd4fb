//! The sum of a device's memory against closed formulas.

mod parallel;
mod published;

use super::*;
use crate::facts::Facts;
use crate::facts::fixture::lowered;

fn memory(text: &str) -> Memory {
    let (spec, model) = lowered(text);
    Facts::new(&spec, &model).memory().clone()
}

/// The parts, a line each.
fn shown(text: &str) -> String {
    let memory = memory(text);
    let line = |part: &Part| format!("{}: {} ({})", part.kind, part.bytes.0, part.how);
    let mut lines: Vec<String> = memory.parts.iter().map(line).collect();
    lines.push(format!("total: {}", memory.total.0));
    lines.join("\n")
}

/// 4,096 parameters, 512 of whose inputs are kept.
const LINEAR: &str = "spec = 1\n[inputs]\nx = [8, 64]\n[[layers]]\nname = \"a\"\nop = \"linear\"\n\
     out_features = 64\nbias = false\n";

#[test]
fn one_device_holds_the_sum_of_its_parts() {
    insta::assert_snapshot!(
        shown(&format!("{LINEAR}[train]\noptimizer = \"adamw\"\nema_decay = 0.999")),
        @r"
    parameters: 16384 (float32)
    gradients: 16384 (float32)
    optimizer state: 32768 (two moments, float32)
    averaged weights: 16384 (float32)
    inputs: 2048 (one micro-batch)
    total: 83968
    "
    );
    insta::assert_snapshot!(
        shown(&format!("{LINEAR}[train]\noptimizer = \"sgd\"\nprecision = \"amp-bf16\"")),
        @r"
    parameters: 16384 (float32)
    gradients: 16384 (float32)
    inputs: 2048 (one micro-batch)
    activations: 1024 (kept for the backward pass)
    total: 35840
    "
    );
    let serving = LINEAR.replace("[inputs]", "[model]\nmode = \"inference\"\n[inputs]");
    insta::assert_snapshot!(shown(&serving), @r"
    parameters: 16384 (float32)
    inputs: 2048 (one micro-batch)
    forward pass: 2048 (tensors alive at once, in `a`)
    total: 20480
    ");
}

/// The table of the ZeRO paper: Ψ parameters in two bytes, gradients in two, and K = 12 bytes of
/// float32 master weights and moments, over N = 64 ranks.
#[test]
fn zero_divides_as_in_its_paper() {
    const PSI: u64 = 4096;
    const RANKS: u64 = 64;
    for (stage, expected) in [
        (0, 16 * PSI),
        (1, 4 * PSI + 12 * PSI / RANKS),
        (2, 2 * PSI + 14 * PSI / RANKS),
        (3, 16 * PSI / RANKS),
    ] {
        let memory = memory(&format!(
            "{LINEAR}[train]\noptimizer = \"adam\"\nprecision = {{ preset = \"bf16\", master = \
             \"float32\", optimizer = \"float32\" }}\n[cluster]\nnodes = 8\ndevices_per_node = 8\n\
             [parallel]\ndata = {RANKS}\nzero = {stage}"
        ));
        let found: Bytes = [
            MemoryKind::Parameters,
            MemoryKind::Master,
            MemoryKind::Gradients,
            MemoryKind::Optimizer,
        ]
        .iter()
        .map(|&kind| memory.part(kind))
        .sum();
        assert_eq!(found.0, expected, "stage {stage}");
        let whole = memory.part(MemoryKind::Gathered).0;
        assert_eq!(whole, if stage == 3 { 3 * 2 * PSI } else { 0 });
        let buckets = memory.part(MemoryKind::Buckets).0;
        assert_eq!(buckets, if stage == 0 { 2 * PSI } else { 0 });
    }
}

/// A block of Megatron's GPT in bfloat16 with dropout: s = 256, b = 2, h = 512.
fn gpt(run: &str) -> Memory {
    memory(&format!(
        r#"
spec = 1
[inputs]
tokens = {{ shape = [2, 256], dtype = "int64" }}
[blocks.decoder]
inputs = ["x"]
layers = [
  {{ name = "ln_1", op = "layer_norm" }},
  {{ name = ["q", "k", "v"], op = "linear", out_features = 1536, split = 3 }},
  {{ name = "attn", op = "attention", in = ["q", "k", "v"], heads = 8, is_causal = true }},
  {{ name = "out", op = "linear", out_features = 512 }},
  {{ name = "drop_1", op = "dropout", p = 0.1 }},
  {{ name = "h", formula = "x + drop_1" }},
  {{ name = "ln_2", op = "layer_norm" }},
  {{ name = "up", op = "linear", out_features = 2048 }},
  {{ name = "act", op = "gelu" }},
  {{ name = "down", op = "linear", out_features = 512 }},
  {{ name = "drop_2", op = "dropout", p = 0.1 }},
  {{ formula = "h + drop_2" }},
]
[[layers]]
name = "wte"
op = "embedding"
num_embeddings = 1000
embedding_dim = 512
[[layers]]
name = "h"
op = "decoder"
repeat = 4
[train]
precision = "bf16"
{run}
"#
    ))
}

/// Korthikanti et al. 2022, table 2, with an attention that never writes its scores: 34·sbh for
/// a layer; 10 + 24/t of it under tensor parallelism, 34/t with sequence parallelism, 2 where all
/// is recomputed. Statistics of the norms and of the softmax come on top.
#[test]
fn a_transformer_keeps_what_korthikanti_counts() {
    let sbh = 256.0 * 2.0 * 512.0;
    for (run, expected) in [
        ("", 34.0),
        ("[parallel]\ntensor = 4", 10.0 + 24.0 / 4.0),
        ("[parallel]\ntensor = 4\nsequence = true", 34.0 / 4.0),
        ("checkpoint = [\"decoder\"]", 2.0),
        ("checkpoint = [\"h\"]", 2.0),
    ] {
        let memory = gpt(run);
        let kept = memory.part(MemoryKind::Activations).0 as f64 / (4.0 * sbh);
        assert!(
            (kept / expected - 1.0).abs() < 0.015,
            "{run}: {kept} sbh instead of {expected}"
        );
    }
    let recomputed = gpt("checkpoint = [\"decoder\"]").part(MemoryKind::Recomputed);
    let kept = recomputed.0 as f64 / sbh;
    assert!(
        (kept / 32.0 - 1.0).abs() < 0.015,
        "{kept} sbh instead of 32"
    );
}

/// Guards the pipeline's micro-batches: the first of four stages holds one of four layers for as many
/// micro-batches as there are stages, if there are so many.
#[test]
fn a_pipeline_holds_several_micro_batches() {
    let whole = gpt("");
    for (micro_batches, in_flight) in [(1, 1), (2, 2), (16, 4)] {
        let run = format!("grad_accumulation = {micro_batches}\n[parallel]\npipeline = 4");
        let stage = gpt(&run);
        let kept = |memory: &Memory| memory.part(MemoryKind::Activations).0;
        assert_eq!(kept(&stage), kept(&whole) / 4 * in_flight);
    }
}

/// Guards the names in `[train] checkpoint`.
#[test]
fn a_name_that_is_not_there_is_a_fault() {
    use crate::diag::Sink;
    use crate::engine::{Overlay, load, read};
    use crate::source::{SourceFile, Sources};
    let text = format!("{LINEAR}[train]\ncheckpoint = [\"b\"]");
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("test.model.toml", text.as_str()));
    let loaded = load(file, &mut sources, &Overlay::default(), &mut |_| {
        Err(String::new())
    });
    let mut sink = Sink::new();
    read(loaded, &mut sink);
    let messages: Vec<_> = sink.findings().iter().map(|f| f.message.as_str()).collect();
    assert_eq!(messages, ["there is no block or layer `b` to recompute"]);
}

/// Guards the lives of tensors in a forward pass: a view keeps its storage, an output stays, and
/// everything else ends with its last use. `a` and `b` live at once, then `b` and the sum, whose
/// transpose is a view, then the two outputs.
#[test]
fn a_forward_pass_holds_what_is_still_needed() {
    let peak = |outputs: &str, layers: &str| {
        let text = format!(
            "spec = 1\n[model]\nmode = \"inference\"\noutputs = {outputs}\n[inputs]\nx = [32, 32]\n{layers}"
        );
        memory(&text).part(MemoryKind::Forward).0 / (4 * 32 * 32)
    };
    let layer = |name: &str, formula: &str| {
        format!("[[layers]]\nname = \"{name}\"\nformula = \"{formula}\"\n")
    };
    for (outputs, formulas, expected) in [
        (
            "[\"c\"]",
            vec![("a", "exp(x)"), ("b", "exp(a)"), ("c", "exp(b)")],
            2,
        ),
        (
            "[\"c\"]",
            vec![("a", "exp(x)"), ("b", "exp(a)"), ("c", "a + b")],
            3,
        ),
        (
            "[\"c\"]",
            vec![("a", "exp(x)"), ("b", "a.T"), ("c", "exp(b)")],
            2,
        ),
        (
            "[\"a\", \"c\"]",
            vec![("a", "exp(x)"), ("b", "exp(a)"), ("c", "exp(b)")],
            3,
        ),
        ("[\"c\"]", vec![("unused", "exp(x)"), ("c", "exp(x)")], 1),
    ] {
        let layers: String = formulas
            .iter()
            .map(|(name, formula)| layer(name, formula))
            .collect();
        assert_eq!(peak(outputs, &layers), expected, "{layers}");
    }
}
