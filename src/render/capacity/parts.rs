//! What the formats for people say of memory and growth: lines of cells.

use crate::quantity::group;
use crate::render::report::counted;
use crate::report::{CapacityReport, CurvePart, GrowthPart, MemoryPart};

/// The parts of a device's memory and their sum: name, amount, share, how it comes about.
pub(super) fn memory_lines(memory: &MemoryPart) -> Vec<[String; 4]> {
    let total = memory.held.as_f64();
    let mut lines: Vec<[String; 4]> = memory
        .parts
        .iter()
        .map(|part| {
            let share = format!("{:.1} %", 100.0 * part.bytes.as_f64() / total);
            [
                part.kind.to_owned(),
                part.bytes.to_string(),
                share,
                part.how.clone(),
            ]
        })
        .collect();
    let total = memory.held.to_string();
    lines.push(["tensors".to_owned(), total, String::new(), String::new()]);
    lines
}

/// What the sum leaves out, in a sentence.
pub(super) fn left_out_line(memory: &MemoryPart) -> String {
    format!("Not among the tensors: {}.", memory.leaves_out)
}

/// What lies on the host, in a sentence.
pub(super) fn host_line(memory: &MemoryPart) -> Option<String> {
    let host = memory.host.as_ref()?;
    let parts: Vec<String> = host
        .parts
        .iter()
        .map(|part| format!("{} {}", part.kind, part.bytes))
        .collect();
    Some(format!(
        "On the host, for each device, {}: {}.",
        host.bytes,
        parts.join(", ")
    ))
}

/// What autograd keeps, in a sentence; nothing where nothing is kept.
pub(super) fn saved_line(memory: &MemoryPart) -> Option<String> {
    let saved = &memory.saved_for_backward;
    let mut types: Vec<_> = saved.by_dtype.iter().collect();
    types.retain(|(_, bytes)| bytes.get() > 0);
    types.sort_by_key(|&(name, &bytes)| (std::cmp::Reverse(bytes), name));
    let types: Vec<String> = types
        .iter()
        .map(|(name, bytes)| format!("{name} {bytes}"))
        .collect();
    (saved.tensors > 0).then(|| {
        format!(
            "Saved for the backward pass, inputs included: {} in {}: {}.",
            saved.bytes,
            counted(saved.tensors, "storage"),
            types.join(", ")
        )
    })
}

/// The layers that keep most: name, amount, share.
pub(super) fn owner_lines(memory: &MemoryPart) -> Vec<[String; 3]> {
    let total = memory.held.as_f64();
    let line = |owner: &crate::report::OwnerRow| {
        let name = match owner.instances {
            1 => owner.path.clone(),
            n => format!("{} ×{n}", owner.path),
        };
        let share = format!("{:.1} %", 100.0 * owner.bytes.as_f64() / total);
        [name, owner.bytes.to_string(), share]
    };
    memory.owners.iter().map(line).collect()
}

/// What the ranks of a pipeline hold, in a sentence.
pub(super) fn rank_line(memory: &MemoryPart) -> Option<String> {
    /// Ranks that are listed one by one.
    const LISTED: usize = 8;
    let ranks = memory.ranks.as_ref()?;
    let mut totals: Vec<String> = ranks.totals.iter().map(ToString::to_string).collect();
    if totals.len() > LISTED {
        let last = totals.pop();
        totals.truncate(LISTED - 1);
        totals.push("…".to_owned());
        totals.extend(last);
    }
    Some(format!(
        "These are the figures of stage {} of {}, which holds most; the stages hold {}.",
        ranks.rank,
        ranks.totals.len(),
        totals.join(", ")
    ))
}

/// Whether the device holds it, in a sentence.
pub(super) fn device_line(memory: &MemoryPart) -> Option<String> {
    let device = memory.device.as_ref()?;
    let devices = match device.count {
        1 => device.name.clone(),
        count => format!("Each of {count} {}", device.name),
    };
    let verdict = match device.fits {
        true => "the total takes",
        false => "too little: the total would take",
    };
    Some(format!(
        "{devices} has {}: {verdict} {:.1} % of it.",
        device.usable,
        100.0 * device.share
    ))
}

/// How cost grows: dim, size, what doubling it makes of arithmetic and of memory, and what grows
/// faster than the size.
pub(super) fn growth_lines(report: &CapacityReport) -> Vec<[String; 5]> {
    let line = |growth: &GrowthPart| {
        [
            growth.dim.clone(),
            group(u128::from(growth.size.unsigned_abs())),
            doubled(&growth.arithmetic),
            doubled(&growth.memory),
            faster(growth),
        ]
    };
    report.growth.iter().map(line).collect()
}

fn doubled(curve: &CurvePart) -> String {
    let whole: f64 = curve.terms.iter().sum();
    if whole <= 0.0 {
        return String::new();
    }
    let twice: f64 = (0..4).map(|k| curve.terms[k] * f64::from(1 << k)).sum();
    let factor = format!("{:.2}", twice / whole);
    format!("×{}", factor.trim_end_matches('0').trim_end_matches('.'))
}

/// `13.3 % of the arithmetic grows with its square: h.0.attn`.
fn faster(growth: &GrowthPart) -> String {
    let share = |curve: &CurvePart| {
        let whole: f64 = curve.terms.iter().sum();
        // Where sizes are rounded, the cubic only comes near.
        (100.0 * curve.terms[2..].iter().sum::<f64>() / whole).min(100.0)
    };
    let power = |degree: usize| if degree == 2 { "square" } else { "cube" };
    let parts: Vec<String> = [
        ("arithmetic", &growth.arithmetic),
        ("memory", &growth.memory),
    ]
    .into_iter()
    .filter(|(_, curve)| curve.degree > 1)
    .map(|(what, curve)| {
        let power = power(curve.degree);
        format!("{:.1} % of {what} by its {power}", share(curve))
    })
    .collect();
    if parts.is_empty() {
        return String::new();
    }
    let layers: Vec<&str> = growth
        .layers
        .iter()
        .take(3)
        .map(|l| l.path.as_str())
        .collect();
    format!("{}: {}", parts.join(", "), layers.join(", "))
}
