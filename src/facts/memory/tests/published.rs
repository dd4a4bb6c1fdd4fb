//! The sum of a device's memory against the tables of papers.

use super::super::*;
use super::memory;
use crate::facts::Facts;
use crate::facts::fixture::lowered;

/// A GPT as Megatron-LM builds it: dropout, attention that writes its scores, in bfloat16 with
/// float32 gradients, master weights and moments.
struct Gpt {
    heads: u64,
    width: u64,
    layers: u64,
    vocab: u64,
    seq: u64,
    batch: u64,
}

impl Gpt {
    fn text(&self, run: &str) -> String {
        let Gpt {
            heads,
            width,
            layers,
            vocab,
            seq,
            batch,
        } = self;
        format!(
            r#"
spec = 1
[dims]
batch = {batch}
seq = {seq}
width = {width}
heads = {heads}
head = "width / heads"
vocab = {vocab}
[inputs]
tokens = {{ shape = ["batch", "seq"], dtype = "int64" }}
targets = {{ shape = ["batch", "seq"], dtype = "int64" }}
[params]
positions = ["seq", "width"]
[blocks.core]
inputs = ["q", "k", "v"]
layers = [
  {{ name = "scores", formula = "softmax((q.reshape(batch, seq, heads, head).transpose(1, 2) @ k.reshape(batch, seq, heads, head).transpose(1, 2).mT) * head ** -0.5, dim=-1)" }},
  {{ name = "drop", op = "dropout", p = 0.1 }},
  {{ formula = "(drop @ v.reshape(batch, seq, heads, head).transpose(1, 2)).transpose(1, 2).reshape(batch, seq, width)" }},
]
[blocks.decoder]
inputs = ["x"]
layers = [
  {{ name = "ln_1", op = "layer_norm" }},
  {{ name = ["q", "k", "v"], op = "linear", out_features = "3 * width", split = 3 }},
  {{ name = "attn", op = "core", in = ["q", "k", "v"] }},
  {{ name = "out", op = "linear", out_features = "width" }},
  {{ name = "drop_1", op = "dropout", p = 0.1 }},
  {{ name = "h", formula = "x + drop_1" }},
  {{ name = "ln_2", op = "layer_norm" }},
  {{ name = "up", op = "linear", out_features = "4 * width" }},
  {{ name = "act", op = "gelu" }},
  {{ name = "down", op = "linear", out_features = "width" }},
  {{ name = "drop_2", op = "dropout", p = 0.1 }},
  {{ formula = "h + drop_2" }},
]
[[layers]]
name = "wte"
op = "embedding"
num_embeddings = "vocab"
embedding_dim = "width"
in = "tokens"
[[layers]]
name = "x"
formula = "wte + positions"
[[layers]]
name = "h"
op = "decoder"
repeat = {layers}
[[layers]]
name = "norm"
op = "layer_norm"
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
optimizer = "adam"
{run}
"#
        )
    }

    fn memory(&self, run: &str) -> Memory {
        memory(&self.text(&format!("precision = {MEGATRON}\n{run}")))
    }

    /// What a rank keeps of its decoder layers.
    fn activations(&self, run: &str) -> f64 {
        let (spec, model) = lowered(&self.text(&format!("precision = {MEGATRON}\n{run}")));
        let facts = Facts::new(&spec, &model);
        let graph = &model.graph;
        let memory = facts.memory();
        let inside = |owner: &&Owner| graph.layer_path(owner.layer).starts_with("h.");
        let bytes: u64 = memory.owners.iter().filter(inside).map(|o| o.bytes.0).sum();
        bytes as f64
    }
}

const MEGATRON: &str = "{ preset = \"bf16\", master = \"float32\", optimizer = \"float32\", \
     accumulate = \"float32\" }";

/// The four models of Korthikanti et al. 2022: heads, width, layers, pipeline stages, micro-batch.
const KORTHIKANTI: [(u64, u64, u64, u64, u64); 4] = [
    (64, 6144, 48, 1, 4),
    (96, 12_288, 96, 8, 1),
    (128, 20_480, 105, 35, 1),
    (160, 25_600, 128, 64, 1),
];

fn korthikanti(model: usize) -> Gpt {
    let (heads, width, layers, _, batch) = KORTHIKANTI[model];
    Gpt {
        heads,
        width,
        layers,
        vocab: 51_200,
        seq: 2048,
        batch,
    }
}

/// Figure 1 in GiB: parameters and optimizer state, activations without recomputation under tensor
/// parallelism, and with sequence parallelism and the attention core recomputed. The paper counts
/// the decoder layers only.
#[test]
fn the_first_figure_of_korthikanti() {
    for (model, states, tensor, sequence) in [
        (0, 45.5625, 59.25, 9.5625),
        (1, 45.5625, 66.84375, 12.351_562_5),
        (2, 31.640_625, 114.023_437_5, 23.076_171_875),
        (3, 32.958_984_375, 131.25, 26.5625),
    ] {
        let (_, width, layers, pipeline, _) = KORTHIKANTI[model];
        let gpt = korthikanti(model);
        let interleaved = if (1..3).contains(&model) {
            "virtual_stages = 3"
        } else {
            ""
        };
        let run = |more: &str, checkpoint: &str| {
            format!(
                "grad_accumulation = 512\ncheckpoint = [{checkpoint}]\n[parallel]\ntensor = 8\n\
                 pipeline = {pipeline}\n{interleaved}\n{more}"
            )
        };
        // A middle stage of the decoder layers alone.
        let of_layers = 18 * 12 * layers * width * width;
        let found = of_layers as f64 / (8 * pipeline) as f64 / f64::from(1 << 30);
        assert!((found / states - 1.0).abs() < 1e-9);
        let memory = gpt.memory(&run("", ""));
        let held: f64 = [
            MemoryKind::Parameters,
            MemoryKind::Master,
            MemoryKind::Gradients,
            MemoryKind::Optimizer,
        ]
        .iter()
        .map(|&kind| memory.part(kind).as_f64())
        .sum();
        let embeddings = 18.0 * ((51_200 + 2048 * 8) * width) as f64 / 8.0;
        let held = (held - embeddings) / f64::from(1 << 30);
        assert!(
            (held / states - 1.0).abs() < 0.005,
            "{model}: {held} of {states}"
        );
        for (more, checkpoint, expected) in
            [("", "", tensor), ("sequence = true", "\"core\"", sequence)]
        {
            let run = run(more, checkpoint);
            let kept = match pipeline {
                // The only stage computes the logits too, which the figure leaves out.
                1 => gpt.activations(&run),
                _ => gpt.memory(&run).part(MemoryKind::Activations).as_f64(),
            };
            let kept = kept / f64::from(1 << 30);
            // The paper leaves out the statistics of the norms.
            assert!(
                (kept / expected - 1.0).abs() < 0.01,
                "{model} {more}: {kept} of {expected} GiB"
            );
        }
    }
}

/// Figure 7, read off the plot: what is kept in per cent of what tensor parallelism alone keeps,
/// with sequence parallelism, with the attention core recomputed, with both, and with all
/// recomputed.
#[test]
fn the_seventh_figure_of_korthikanti() {
    for (model, expected) in [
        (0, [66.84, 49.42, 16.18, 7.64]),
        (1, [62.04, 56.53, 18.49, 8.71]),
        (2, [58.31, 62.04, 20.27, 9.42]),
        (3, [58.31, 62.04, 20.27, 9.42]),
    ] {
        let gpt = korthikanti(model);
        let kept = |checkpoint: &str, sequence: bool| {
            gpt.activations(&format!(
                "checkpoint = [{checkpoint}]\n[parallel]\ntensor = 8\nsequence = {sequence}"
            ))
        };
        let whole = kept("", false);
        let found = [
            kept("", true),
            kept("\"core\"", false),
            kept("\"core\"", true),
            kept("\"decoder\"", false),
        ];
        for (found, expected) in found.iter().zip(expected) {
            let share = 100.0 * found / whole;
            assert!(
                (share - expected).abs() < 1.0,
                "{model}: {share} of {expected}"
            );
        }
    }
}

/// Narayanan et al. 2021, table 1: parameters in units of 10⁹, and days for 300 and 450 billion
/// tokens. `P = 12·L·h²·(1 + 13/12h + (V + s)/12Lh)`, `F = 96·B·s·L·h²·(1 + s/6h + V/16Lh)`.
#[test]
fn the_table_of_narayanan() {
    for (parameters, heads, width, layers) in [
        (1.65, 24, 2304, 24),
        (3.56, 32, 3072, 30),
        (7.47, 32, 4096, 36),
        (18.45, 48, 6144, 40),
        (39.10, 64, 8192, 48),
        (76.05, 80, 10_240, 60),
        (145.62, 96, 12_288, 80),
        (310.13, 128, 16_384, 96),
        (529.60, 128, 20_480, 105),
        (1008.04, 160, 25_600, 128),
    ] {
        let gpt = Gpt {
            heads,
            width,
            layers,
            vocab: 51_200,
            seq: 2048,
            batch: 1,
        };
        let (spec, model) = lowered(&gpt.text(""));
        let facts = Facts::new(&spec, &model);
        let cost = facts.cost();
        let billions = cost.parameters.as_f64() / 1e9;
        assert!(
            (billions - parameters).abs() < 0.0051,
            "{billions} of {parameters}"
        );
        // With every layer recomputed its forward pass runs twice; the logits' does not.
        let logits = 2 * u128::from(gpt.seq * gpt.width * gpt.vocab);
        let forward = cost.forward.get();
        let found = forward + cost.backward.get() + (forward - logits);
        let (s, h, l, v) = (2048.0, width as f64, layers as f64, 51_200.0);
        let formula = 96.0 * s * l * h * h * (1.0 + s / (6.0 * h) + v / (16.0 * l * h));
        assert!(
            (found as f64 / formula - 1.0).abs() < 1e-9,
            "{found} of {formula}"
        );
        let days = |tokens: f64, devices: f64, rate: f64| {
            found as f64 * tokens / s / (devices * rate) / 86_400.0
        };
        if layers == 128 {
            // The paper divides 8·T·P; the attention and the logits come on top here.
            let days = days(450e9, 3072.0, 163e12);
            assert!((days / 84.0 - 1.0).abs() < 0.05, "{days} days");
        }
    }
}

/// A matrix of that many rows and columns, and its recipe of precision and optimizer.
fn matrix(rows: u64, columns: u64, run: &str) -> Memory {
    memory(&format!(
        "spec = 1\n[inputs]\nx = [1, {columns}]\n[[layers]]\nname = \"a\"\nop = \"linear\"\n\
         out_features = {rows}\nbias = false\n[train]\n{run}"
    ))
}

fn states(memory: &Memory) -> u64 {
    [
        MemoryKind::Parameters,
        MemoryKind::Master,
        MemoryKind::Gradients,
        MemoryKind::Optimizer,
    ]
    .iter()
    .map(|&kind| memory.part(kind).0)
    .sum()
}

/// Table 1 of the ZeRO paper in its decimal GB: stages 1, 2 and 3 over so many ranks, for 7.5, 128
/// and 1,000 billion parameters.
#[test]
fn the_first_table_of_zero() {
    let table: [(u64, [[f64; 3]; 3]); 6] = [
        (1, [[120.0; 3], [2048.0; 3], [16_000.0; 3]]),
        (
            4,
            [
                [52.5, 41.3, 30.0],
                [896.0, 704.0, 512.0],
                [7000.0, 5500.0, 4000.0],
            ],
        ),
        (
            16,
            [
                [35.6, 21.6, 7.5],
                [608.0, 368.0, 128.0],
                [4750.0, 2875.0, 1000.0],
            ],
        ),
        (
            64,
            [
                [31.4, 16.6, 1.88],
                [536.0, 284.0, 32.0],
                [4187.0, 2218.0, 250.0],
            ],
        ),
        (
            256,
            [
                [30.4, 15.4, 0.47],
                [518.0, 263.0, 8.0],
                [4046.0, 2054.0, 62.5],
            ],
        ),
        (
            1024,
            [
                [30.1, 15.1, 0.12],
                [513.0, 257.0, 2.0],
                [4011.0, 2013.0, 15.6],
            ],
        ),
    ];
    let sizes = [
        (75_000, 100_000),
        (320_000, 400_000),
        (1_000_000, 1_000_000),
    ];
    for (ranks, expected) in table {
        for ((rows, columns), expected) in sizes.iter().zip(expected) {
            for (stage, expected) in (1..).zip(expected) {
                let run = format!(
                    "optimizer = \"adam\"\nprecision = {{ preset = \"f16\", master = \"float32\", \
                     optimizer = \"float32\" }}\n[parallel]\ndata = {ranks}\nzero = {stage}"
                );
                let found = states(&matrix(*rows, *columns, &run)) as f64 / 1e9;
                // The table is printed with three figures, and cuts some of them off.
                let step = if expected < 1.0 {
                    0.01
                } else {
                    0.004 * expected
                };
                let near = (found - expected).abs() <= step.max(0.06).min(expected * 0.05);
                assert!(
                    near,
                    "{rows}×{columns}, stage {stage} of {ranks}: {found} of {expected}"
                );
            }
        }
    }
}

/// Bytes of model state for each parameter under the recipes in use.
#[test]
fn recipes_take_so_many_bytes_for_each_parameter() {
    const COUNT: u64 = 1024 * 2048;
    let mixed = "master = \"float32\", optimizer = \"float32\"";
    for (precision, optimizer, expected) in [
        ("\"float32\"", "\"adam\"", 16.0),
        ("\"float32\"", "\"sgd\"", 8.0),
        ("\"float32\"", "{ name = \"sgd\", momentum = 0.9 }", 12.0),
        ("\"float32\"", "{ name = \"adam\", amsgrad = true }", 20.0),
        ("\"amp-bf16\"", "\"adam\"", 16.0),
        (
            &format!("{{ preset = \"f16\", {mixed} }}"),
            "\"adam\"",
            16.0,
        ),
        (MEGATRON, "\"adam\"", 18.0),
        ("\"bf16\"", "\"adamw\"", 8.0),
        (
            "{ preset = \"bf16\", optimizer = \"float32\" }",
            "\"adamw\"",
            12.0,
        ),
        ("\"float32\"", "\"adam8bit\"", 10.0 + 8.0 / 256.0),
        ("\"bf16\"", "\"adam8bit\"", 6.0 + 8.0 / 256.0),
        (
            "\"float32\"",
            "\"adafactor\"",
            8.0 + 4.0 * 3072.0 / COUNT as f64,
        ),
        ("\"float32\"", "\"lion\"", 12.0),
        ("\"float32\"", "\"muon\"", 12.0),
    ] {
        let run = format!("optimizer = {optimizer}\nprecision = {precision}");
        let memory = matrix(1024, 2048, &run);
        let found = states(&memory) as f64 / COUNT as f64;
        assert!(
            (found - expected).abs() < 1e-9,
            "{run}: {found} of {expected}"
        );
    }
    // Megatron's distributed optimizer: 6 + 12/N, if the main gradients were sharded too they
    // would be counted among the 12.
    let run =
        format!("optimizer = \"adam\"\nprecision = {MEGATRON}\n[parallel]\ndata = 8\nzero = 1");
    let found = states(&matrix(1024, 2048, &run)) as f64 / COUNT as f64;
    assert!((found - (6.0 + 12.0 / 8.0)).abs() < 1e-9, "{found}");
}
