//! Findings of every kind, for the snapshots of all formats.

use crate::diag::{Confidence, Edit, Finding, Level, Safety, Sink, Suppression};
use crate::source::{FileId, SourceFile, Sources, Span};

const PRODUCT: &str = r#"spec = 1

[params]                      # named weights, for formulas
A = [100, 5]
B = [5, 200]
C = [200, 20]

[[layers]]
name = "product"
formula = "A @ B @ C"
eps = 1e-12 # ε, too small

[train]
precision = "f16"
"#;

const BASE: &str = "[train]\noptimizer = { name = \"adam\", eps = 1e-8 }\n";

const BROKEN: &str = "spec = 1\nlayers = [\n  { op = \"linear\" },\n";

/// The texts: a spec, the one it extends, one that breaks off.
pub(super) fn sources() -> Sources {
    let mut sources = Sources::default();
    sources.add(SourceFile::new("specs/product.model.toml", PRODUCT));
    sources.add(SourceFile::new("specs/base.model.toml", BASE));
    sources.add(SourceFile::new("specs/broken.model.toml", BROKEN));
    sources
}

/// The place of `needle` in a text.
pub(super) fn at(sources: &Sources, file: u32, needle: &str) -> Option<Span> {
    let file = FileId(file);
    let start = sources.get(file)?.text().find(needle)?;
    Some(Span::new(file, start, start + needle.len()))
}

/// One finding of each kind.
pub(super) fn everything() -> Vec<Finding> {
    let sources = sources();
    let place = |file, needle| at(&sources, file, needle);
    let mut sink = Sink::new();
    sink.report(
        "spec/syntax",
        Level::Error,
        place(2, "[\n").map(|span| Span {
            end: span.start + 1,
            ..span
        }),
        "",
        "this array is never closed",
    )
    .label("opened here");
    sink.report(
        "order/left-to-right",
        Level::Warning,
        place(0, "A @ B @ C"),
        "layers.product",
        "the product is computed from left to right with 500,000 multiplications; the best order takes 30,000, 16.7 times fewer",
    )
    .label("500,000 multiplications")
    .help("write `A @ (B @ C)`")
    .fix("write `A @ (B @ C)`", Safety::Safe, place(0, "A @ B @ C"), "A @ (B @ C)");
    sink.report(
        "precision/epsilon-underflow",
        Level::Error,
        place(0, "1e-12"),
        "layers.product.eps",
        "eps = 1e-12 is zero in float16, whose least positive number is 5.96e-8",
    )
    .confidence(Confidence::Proved)
    .label("zero in float16")
    .also(
        place(0, "\"f16\""),
        "parameters are float16 because of this",
    )
    .also(
        place(1, "eps = 1e-8"),
        "the optimizer's eps has the same fate",
    )
    .help("use eps = 1e-5 or compute in float32")
    .fix_edits(
        "use eps = 1e-5 in both places",
        Safety::Unsafe,
        [(place(0, "1e-12"), "1e-5"), (place(1, "1e-8"), "1e-5")]
            .into_iter()
            .filter_map(|(span, text)| {
                let replacement = text.to_owned();
                span.map(|span| Edit { span, replacement })
            })
            .collect(),
    );
    sink.report(
        "distributed/batch-norm-statistics",
        Level::Info,
        None,
        "layers.block.bn",
        "statistics are computed over 2 images where the baseline has 16",
    )
    .confidence(Confidence::Likely);
    sink.report(
        "cost/tile-waste",
        Level::Info,
        place(0, "C = [200, 20]"),
        "params.C",
        "20 columns fill 16 % of a tile of 128",
    )
    .confidence(Confidence::Likely)
    .help("pad to 128");
    sink.report(
        "order/left-to-right",
        Level::Warning,
        place(0, "B = [5, 200]"),
        "params.B",
        "an allowed finding",
    );
    let mut findings = sink.into_findings();
    findings[4].instances = 12;
    findings[5].suppressed = Some(Suppression {
        reason: "kept for the paper's listing".to_owned(),
    });
    for (index, finding) in findings.iter_mut().enumerate() {
        finding.fingerprint = 0xfeed + index as u64;
    }
    findings
}

/// All cases by name.
pub(super) fn cases() -> Vec<(&'static str, Vec<Finding>)> {
    vec![("everything", everything()), ("nothing", Vec::new())]
}
