//! What the formats for people say of the peak of a step and of its timeline: lines of cells.

use crate::quantity::Bytes;
use crate::report::{MemoryPart, PlanPart};

/// What the table of the peak is about.
pub(super) fn peak_header(memory: &MemoryPart) -> &'static str {
    match (memory.training, memory.peak.plan.is_some()) {
        (true, false) => "at the peak of a step",
        (true, true) => "at the peak of a rank's step",
        (false, false) => "at the peak of a forward pass",
        (false, true) => "at the peak of a rank's forward pass",
    }
}

/// The parts of the peak and their sum: name, amount, share, and the sum so far.
pub(super) fn peak_lines(memory: &MemoryPart) -> Vec<[String; 4]> {
    let peak = &memory.peak;
    let mut sum = Bytes::ZERO;
    let mut lines = Vec::with_capacity(peak.parts.len() + 1);
    for part in &peak.parts {
        sum += part.bytes;
        lines.push([
            part.kind.to_owned(),
            part.bytes.to_string(),
            percent(part.bytes, peak.bytes),
            sum.to_string(),
        ]);
    }
    let all = peak.bytes.to_string();
    lines.push(["peak".to_owned(), all, String::new(), String::new()]);
    lines
}

/// Whose step it is, in a sentence, and between which bounds its peak is.
fn plan_line(plan: &PlanPart) -> String {
    /// Ranks that are listed one by one.
    const LISTED: usize = 8;
    let mut text = format!("It is the step of a rank: {}.", plan.how);
    if let Some(stage) = plan.stage {
        let mut peaks: Vec<String> = plan.stages.iter().map(ToString::to_string).collect();
        if peaks.len() > LISTED {
            let last = peaks.pop();
            peaks.truncate(LISTED - 1);
            peaks.push("…".to_owned());
            peaks.extend(last);
        }
        text += &format!(
            " Stage {stage} holds most; the stages reach {}.",
            peaks.join(", ")
        );
    }
    if let Some(bounds) = &plan.bounds
        && bounds.low.to_string() != bounds.high.to_string()
    {
        text += &format!(
            " How buffers of communication live is estimated: {} to {}.",
            bounds.low, bounds.high
        );
    }
    text
}

/// When the peak is, in a sentence.
pub(super) fn peak_line(memory: &MemoryPart) -> String {
    let peak = &memory.peak;
    let place = match (peak.op, peak.at.as_str()) {
        (_, "") => String::new(),
        ("", at) => format!(" at `{at}`"),
        (op, at) => format!(" at `{at}` ({op})"),
    };
    let phases: Vec<String> = peak
        .phases
        .iter()
        .map(|row| format!("{} {}", row.phase, row.bytes))
        .collect();
    let kernels = match (memory.training, peak.kernels) {
        (true, "traced") => {
            " No device is named: formulas are taken apart, as PyTorch does before its MemTracker."
        }
        _ => "",
    };
    let plan = match &peak.plan {
        Some(plan) => format!(" {}", plan_line(plan)),
        None => String::new(),
    };
    format!(
        "The peak is reached in the {} phase{place}. The most in each phase: {}.{plan}{kernels}",
        peak.phase,
        phases.join(", ")
    )
}

/// Who holds most at the peak: name, what for, amount, share.
pub(super) fn peak_owner_lines(memory: &MemoryPart) -> Vec<[String; 4]> {
    let peak = &memory.peak;
    let line = |owner: &crate::report::PeakOwnerRow| {
        let name = match owner.instances {
            1 => owner.path.clone(),
            n => format!("{} ×{n}", owner.path),
        };
        [
            name,
            owner.kind.to_owned(),
            owner.bytes.to_string(),
            percent(owner.bytes, peak.bytes),
        ]
    };
    peak.owners.iter().map(line).collect()
}

/// The timeline, where it is asked for: phase, layer, op, most, and what is left.
pub(super) fn timeline_lines(memory: &MemoryPart) -> Vec<[String; 5]> {
    let samples = memory.timeline.as_deref().unwrap_or_default();
    let line = |sample: &crate::report::SampleRow| {
        [
            sample.phase.to_owned(),
            sample.at.clone(),
            sample.op.to_owned(),
            sample.most.to_string(),
            sample.left.to_string(),
        ]
    };
    samples.iter().map(line).collect()
}

fn percent(part: Bytes, whole: Bytes) -> String {
    format!("{:.1} %", 100.0 * part.as_f64() / whole.as_f64().max(1.0))
}
