//! What the rules about training must say and must not say, each run with its verdict.
//!
//! Most of the silent ones are things that are done on purpose, and that a rule of thumb would
//! fault.

#![allow(clippy::unwrap_used)]

use plimsoll::engine::{Levels, Overlay, check, load};
use plimsoll::source::{SourceFile, Sources};

/// The rules about training that speak on a spec.
fn verdict(text: &str) -> String {
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("test.model.toml", text));
    let loaded = load(file, &mut sources, &Overlay::default(), &mut |path| {
        Err(format!("there is no file `{path}`"))
    });
    let findings = check(loaded, &sources, &Levels::default()).findings;
    let broken = findings.iter().find(|f| f.rule.starts_with("spec/"));
    assert!(broken.is_none(), "{text}\n{broken:?}");
    let groups = ["data/", "gradient/", "hyperparameter/", "precision/"];
    let mut rules: Vec<&str> = findings
        .iter()
        .map(|finding| finding.rule)
        .filter(|rule| groups.iter().any(|group| rule.starts_with(group)))
        .collect();
    rules.sort_unstable();
    rules.dedup();
    rules.join(" ")
}

/// Holds each case to its verdict; `spec` makes the text of a case.
fn holds(cases: &[(&str, &str)], spec: impl Fn(&str) -> String) {
    let mut wrong = String::new();
    for (case, expected) in cases {
        let found = verdict(&spec(case));
        if found != *expected {
            wrong += &format!("{case}\n  found    {found}\n  expected {expected}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A classifier of two layers of 1,024 units with weights of deviation 0.02, and what `[train]`
/// says.
fn trained(train: &str) -> String {
    let layer = "op = \"linear\"\nout_features = 1024\ninit_std = 0.02\n";
    format!(
        "spec = 1\n[inputs]\nx = [32, 1024]\ny = {{ shape = [32], dtype = \"int64\" }}\n\
         [[layers]]\nname = \"hidden\"\nin = \"x\"\n{layer}[[layers]]\nop = \"gelu\"\n\
         [[layers]]\nname = \"logits\"\nop = \"linear\"\nout_features = 10\ninit_std = 0.02\n\
         [[layers]]\nop = \"cross_entropy\"\nin = [\"logits\", \"y\"]\n[train]\n{train}\n"
    )
}

#[test]
fn precision_policies() {
    let adamw = "optimizer = { name = \"adamw\", lr = 1e-5, weight_decay = 0.1 }";
    holds(
        &[
            (
                "precision = \"float32\"",
                "precision/weight-decay-underflow",
            ),
            (
                "precision = \"amp-f16\"",
                "precision/weight-decay-underflow",
            ),
            (
                "precision = \"bf16\"",
                "precision/half-master-weights precision/half-optimizer-state \
                 precision/weight-decay-underflow",
            ),
            (
                "precision = { preset = \"bf16\", stochastic_rounding = true }",
                "",
            ),
            (
                "precision = { preset = \"amp-f16\", loss_scale = \"none\" }",
                "precision/float16-without-loss-scaling precision/weight-decay-underflow",
            ),
        ],
        |precision| {
            // In float32 1 − 1e-5 · 0.1 is not 1, but 1 − 1e-5 · 1e-4 is.
            let adamw = match precision.contains("32") || precision.contains("amp") {
                true => adamw.replace("0.1", "1e-4"),
                false => adamw.to_owned(),
            };
            trained(&format!("{adamw}\n{precision}"))
        },
    );
    holds(
        &[
            // bfloat16 needs no loss scale.
            ("precision = \"amp-bf16\"", ""),
            ("precision = \"fp8\"", ""),
            (
                "precision = { params = \"bf16\", master = \"float32\" }",
                "",
            ),
            (
                "precision = { preset = \"amp-f16\", loss_scale = 1024 }",
                "",
            ),
            (
                "precision = { preset = \"amp-bf16\", loss_scale = \"dynamic\" }",
                "precision/loss-scaling-with-bfloat16",
            ),
            (
                "precision = { preset = \"amp-bf16\", optimizer = \"bf16\" }",
                "precision/half-optimizer-state",
            ),
            ("precision = \"amp-bf16\"\nema_decay = 0.9999", ""),
            (
                "precision = { preset = \"amp-bf16\", ema = \"bf16\" }\nema_decay = 0.9999",
                "precision/half-moving-average",
            ),
            // A short memory is long enough for the type.
            (
                "precision = { preset = \"amp-bf16\", ema = \"bf16\" }\nema_decay = 0.9",
                "",
            ),
            (
                "precision = { preset = \"amp-bf16\", accumulate = \"bf16\" }\ngrad_accumulation = 8",
                "",
            ),
        ],
        |precision| {
            let adamw = "optimizer = { name = \"adamw\", lr = 1e-3, weight_decay = 0.1 }";
            trained(&format!("{adamw}\n{precision}"))
        },
    );
    // A long step moves most weights even in bfloat16, and beta2 = 0.95 decays there.
    let bold = "optimizer = { name = \"adamw\", lr = 1e-3, betas = [0.9, 0.95] }";
    assert_eq!(
        verdict(&trained(&format!("{bold}\nprecision = \"bf16\""))),
        ""
    );
}

#[test]
fn optimizers() {
    holds(
        &[
            ("{ name = \"adam\", lr = 2e-4, betas = [0.5, 0.999] }", ""),
            ("{ name = \"lion\", lr = 1e-4, betas = [0.95, 0.98] }", ""),
            (
                "{ name = \"sgd\", lr = 3.2, momentum = 0.9, nesterov = true }",
                "",
            ),
            (
                "{ name = \"rmsprop\", lr = 1e-4, eps = 1.0, alpha = 0.9 }",
                "",
            ),
            ("{ name = \"adafactor\", lr = 1.0 }", ""),
            ("{ name = \"lars\", lr = 29.0, momentum = 0.9 }", ""),
            ("{ name = \"adadelta\", lr = 1.0 }", ""),
            ("{ name = \"adamw\", lr = 6e-4, weight_decay = 0.1 }", ""),
            (
                "{ name = \"adamw\", lr = 0.1 }",
                "hyperparameter/learning-rate-out-of-range",
            ),
            (
                "{ name = \"rmsprop\", lr = 0.01 }",
                "hyperparameter/learning-rate-out-of-range",
            ),
            (
                "{ name = \"sgd\", lr = 0.1, nesterov = true }",
                "hyperparameter/momentum-out-of-range",
            ),
        ],
        |optimizer| trained(&format!("optimizer = {optimizer}")),
    );
    holds(
        &[
            // The end of a schedule may lie somewhat beyond that of the run.
            (
                "steps = 900\nschedule = { name = \"cosine\", total_steps = 1000 }",
                "",
            ),
            (
                "steps = 5000\nschedule = { name = \"constant\", warmup_steps = 100 }",
                "",
            ),
            (
                "steps = 5000\nschedule = { name = \"cosine\", total_steps = 1000 }",
                "hyperparameter/schedule-does-not-fit-run",
            ),
            (
                "schedule = { name = \"linear\", warmup_steps = 10, total_steps = 10 }",
                "hyperparameter/warmup-beyond-total",
            ),
        ],
        |train| {
            trained(&format!(
                "optimizer = {{ name = \"adam\", lr = 1e-3 }}\n{train}"
            ))
        },
    );
}

/// A net of `[[layers]]` between an input of 64 · 256 and a mean square as its loss.
fn net(layers: &str) -> String {
    format!(
        "spec = 1\n[inputs]\nx = [64, 256]\n[blocks.b]\ninputs = [\"x\"]\nlayers = [{layers}]\n\
         [[layers]]\nname = \"b\"\nop = \"b\"\nin = \"x\"\nrepeat = 24\n[[layers]]\nname = \"out\"\n\
         op = \"linear\"\nout_features = 1\n[[layers]]\nformula = \"mean(out ** 2)\"\n[train]\n\
         optimizer = {{ name = \"sgd\", lr = 0.01 }}\n"
    )
}

#[test]
fn deep_nets() {
    let (vanishing, exploding) = ("gradient/vanishing", "gradient/exploding");
    holds(
        &[
            ("LINEAR }, { op = \"relu\" }", vanishing),
            ("LINEAR }, { op = \"sigmoid\" }", vanishing),
            ("LINEAR, init = \"kaiming_normal\" }, { op = \"relu\" }", ""),
            ("LINEAR, init = \"orthogonal\" }, { op = \"tanh\" }", ""),
            ("LINEAR, init_std = 1.0 }, { op = \"relu\" }", exploding),
            (
                "{ op = \"layer_norm\" }, LINEAR }, { op = \"sigmoid\" }",
                "",
            ),
            ("LINEAR }, { op = \"layer_norm\" }, { op = \"relu\" }", ""),
            (
                "LINEAR }, { op = \"batch_norm\" }, { op = \"relu\" }",
                "hyperparameter/bias-before-norm",
            ),
            // Residual branches: on their own, started at 0, and scaled down on purpose.
            (
                "{ op = \"layer_norm\" }, LINEAR }, { name = \"f\", op = \"relu\" }, { formula = \"x + f\" }",
                "",
            ),
            (
                "{ op = \"layer_norm\" }, LINEAR, init = \"zeros\", name = \"f\" }, { formula = \"x + f\" }",
                "",
            ),
            (
                "{ op = \"layer_norm\" }, LINEAR, name = \"f\" }, { formula = \"x + 1e-6 * f\" }",
                "",
            ),
            (
                "LINEAR, init = \"orthogonal\", name = \"f\" }, { formula = \"x + f\" }",
                "",
            ),
            // Frozen layers pass gradients on, and need none themselves.
            (
                "LINEAR, init = \"kaiming_normal\", frozen = true }, { op = \"relu\" }",
                "",
            ),
        ],
        |layers| net(&layers.replace("LINEAR", "{ op = \"linear\", out_features = 256")),
    );
}

#[test]
fn weights_of_zeros() {
    let stuck = "gradient/zero-initialised-weight";
    let zeros = ", init = \"zeros\", bias = false";
    holds(
        &[
            // A convex model, the last layer of a model, and a low-rank adapter beside a frozen
            // weight: all start at 0 on purpose.
            ("LINEAR8ZEROS }", ""),
            ("LINEAR8 }, { op = \"tanh\" }, LINEAR1ZEROS }", ""),
            (
                "LINEAR8, frozen = true, name = \"w\" }, LINEAR2, in = \"x\" }, LINEAR8ZEROS, \
                 name = \"lora\" }, { formula = \"w + lora\" }",
                "",
            ),
            ("LINEAR8ZEROS }, { op = \"tanh\" }, LINEAR1ZEROS }", stuck),
            ("LINEAR8ZEROS }, { op = \"relu\" }, LINEAR1 }", stuck),
            (
                "LINEAR8, init = 0.1 }, { op = \"tanh\" }, LINEAR1 }",
                "gradient/symmetric-initialisation",
            ),
        ],
        |layers| {
            let layers = layers.replace("ZEROS", zeros);
            let linear = |size: u32| format!("{{ op = \"linear\", out_features = {size}");
            let layers = [1, 2, 8].iter().fold(layers, |layers, &size| {
                layers.replace(&format!("LINEAR{size}"), &linear(size))
            });
            format!(
                "spec = 1\n[inputs]\nx = [64, 16]\n[blocks.b]\ninputs = [\"x\"]\n\
                 layers = [{layers}]\n[[layers]]\nname = \"b\"\nop = \"b\"\nin = \"x\"\n\
                 [[layers]]\nformula = \"mean((b - 1) ** 2)\"\n[train]\n\
                 optimizer = {{ name = \"sgd\", lr = 0.1 }}\n"
            )
        },
    );
}

#[test]
fn positions() {
    let collapse = "precision/low-precision-positions";
    holds(
        &[
            ("sin(arange(4096)[:, None] * f).bfloat16()", ""),
            (
                "sin(arange(4096)[:, None] * f.bfloat16())",
                "precision/half-precision-angle precision/low-precision-positions",
            ),
            ("arange(4096).half()", collapse),
            ("arange(2048).half()", ""),
            ("arange(257).bfloat16()", ""),
            ("arange(258).bfloat16()", collapse),
            ("arange(4096) < 10", ""),
            ("(arange(4096) / 4096).half()", ""),
            ("ids.half()", "precision/integer-beyond-exact"),
            ("ids.float()", ""),
            ("small.bfloat16()", ""),
            ("(ids > 5).half()", ""),
        ],
        |formula| {
            format!(
                "spec = 1\n[inputs]\nids = {{ shape = [8], dtype = \"int64\", range = [0, 50256] }}\n\
                 small = {{ shape = [8], dtype = \"uint8\", range = [0, 255] }}\n\
                 f = {{ shape = [1, 64], range = [0, 1] }}\n[[layers]]\nformula = \"{formula}\"\n"
            )
        },
    );
}
