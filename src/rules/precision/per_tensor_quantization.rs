//! `precision/per-tensor-quantization`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/per-tensor-quantization",
    summary: "Depthwise kernels share one scale.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/per-tensor-quantization.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let quantization = &context.run.quantization;
    let narrow = quantization
        .dtype
        .get()
        .is_some_and(|dtype| dtype.bits() <= 8);
    if !narrow || quantization.per_channel.get() != Some(false) {
        return;
    }
    let graph = context.graph;
    let mut depthwise = context
        .facts
        .index()
        .calls("conv2d")
        .iter()
        .copied()
        .filter(|&id| {
            let node = graph.node(id);
            let weight = &graph.ty(node.arguments[1]).shape;
            weight.size(1) == Some(1) && weight.size(0).is_some_and(|channels| channels > 1)
        });
    let Some(first) = depthwise.next() else {
        return;
    };
    let count = 1 + depthwise.count();
    let path = graph.layer_path(graph.node(first).layer);
    let which = match count {
        1 => format!("the depthwise convolution `{path}` is"),
        _ => format!("{count} depthwise convolutions, `{path}` first, are"),
    };
    let message = format!(
        "{which} quantised with one scale for all \
         channels: their ranges differ by orders of magnitude, and channels with small weights \
         round to 0"
    );
    reporter
        .setting(
            "quantization.per_channel",
            quantization.per_channel.span,
            message,
        )
        .confidence(Confidence::Likely)
        .also(
            context.model.node_place(context.spec, first).span,
            "depthwise",
        )
        .help("per_channel = true costs one scale for each output channel")
        .fix(
            "one scale for each channel",
            Safety::Unsafe,
            quantization.per_channel.span,
            "true",
        );
}
