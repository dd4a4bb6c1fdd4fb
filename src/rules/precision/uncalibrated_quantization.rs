//! `precision/uncalibrated-quantization`: see its page.

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::QuantizationScheme;

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/uncalibrated-quantization",
    summary: "Static quantisation has no samples to measure ranges on.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/uncalibrated-quantization.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let quantization = &context.run.quantization;
    if quantization.scheme.get() != Some(QuantizationScheme::Static)
        || quantization.calibration_samples.or(0) > 0
    {
        return;
    }
    let given = quantization.calibration_samples.span;
    let message = match given {
        Some(_) => "static quantisation is calibrated on 0 samples: no activation has a scale",
        None => {
            "static quantisation fixes the scales of activations beforehand, and \
             calibration_samples says nothing of the samples to measure them on"
        }
    };
    let level = match given {
        Some(_) => Level::Error,
        None => Level::Warning,
    };
    reporter
        .setting(
            "quantization.calibration_samples",
            given.or(quantization.scheme.span),
            message,
        )
        .level(level)
        .help("a few hundred samples of the training data are usual; scheme = \"dynamic\" measures while running");
}
