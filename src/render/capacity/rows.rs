//! What the formats for people share: rows of repeated layers folded, and the totals.

use crate::quantity::{Elements, Flops, group};
use crate::render::report::counted;
use crate::report::{CapacityReport, LayerRow, OutputType, StepPart};

/// One line of the table of layers.
pub(super) struct Line {
    pub path: String,
    pub op: String,
    pub output: String,
    pub parameters: Elements,
    pub flops: Flops,
}

/// The rows with those of one definition joined: `h.0…11.attn`. Sums are over all of them.
pub(super) fn lines(report: &CapacityReport) -> Vec<Line> {
    let mut order: Vec<(u32, &LayerRow, &LayerRow, Elements, Flops)> = Vec::new();
    let mut index = rustc_hash::FxHashMap::default();
    for row in &report.layers {
        let known = index
            .get(&row.definition)
            .copied()
            .filter(|_| row.definition != u32::MAX);
        match known {
            Some(at) => {
                let (_, _, last, parameters, flops): &mut (_, _, _, Elements, Flops) =
                    &mut order[at];
                *last = row;
                *parameters += row.parameters;
                *flops += row.flops;
            }
            None => {
                index.insert(row.definition, order.len());
                order.push((row.definition, row, row, row.parameters, row.flops));
            }
        }
    }
    order
        .into_iter()
        .map(|(_, first, last, parameters, flops)| Line {
            path: fold(&first.path, &last.path),
            op: first.op.clone(),
            output: if first.output == last.output {
                short(&first.output)
            } else {
                format!("{} … {}", short(&first.output), short(&last.output))
            },
            parameters,
            flops,
        })
        .collect()
}

/// A type without the element type that nearly every tensor has.
fn short(ty: &OutputType) -> String {
    match &ty.shape {
        Some(shape) if ty.dtype == Some("float32") => format!("{shape:?}"),
        _ => ty.to_string(),
    }
}

/// The path of the first instance, with the last one's numbers where they differ.
fn fold(first: &str, last: &str) -> String {
    if first == last {
        return first.to_owned();
    }
    let (a, b): (Vec<&str>, Vec<&str>) = (first.split('.').collect(), last.split('.').collect());
    if a.len() != b.len() {
        return format!("{first} … {last}");
    }
    let parts: Vec<String> = a
        .iter()
        .zip(&b)
        .map(|(a, b)| {
            if a == b {
                (*a).to_owned()
            } else {
                format!("{a}…{b}")
            }
        })
        .collect();
    parts.join(".")
}

/// How fast a step is and how long the run, where the spec says of either.
fn step_lines(step: &StepPart) -> Vec<(&'static str, String)> {
    let Some(speed) = &step.speed else {
        return Vec::new();
    };
    let work = match step.hardware_flops == step.model_flops {
        true => step.model_flops.to_string(),
        false => format!(
            "{}, with what is recomputed {}",
            step.model_flops, step.hardware_flops
        ),
    };
    let mut rate = format!(
        "{}, {:.1} TFLOP/s on each of {}",
        speed.seconds,
        speed.flops_per_device / 1e12,
        counted(step.devices as usize, "device")
    );
    if let (Some(model), Some(hardware)) = (speed.model_utilization, speed.hardware_utilization) {
        rate += &format!(", utilisation {:.1} %", 100.0 * model);
        if hardware > model {
            rate += &format!(" ({:.1} % with what is recomputed)", 100.0 * hardware);
        }
    }
    let mut lines = vec![("optimizer step", work), ("  time", rate)];
    if let (Some(steps), Some(seconds)) = (speed.steps, speed.run_seconds) {
        let steps = group(steps.ceil() as u128);
        lines.push(("run", format!("{seconds}, {steps} steps")));
    }
    lines
}

/// The totals, each with its unit.
pub(super) fn totals(report: &CapacityReport) -> Vec<(&'static str, String)> {
    let parameters = &report.parameters;
    let mut totals = vec![
        (
            "parameters",
            format!("{} ({})", parameters.count, parameters.bytes),
        ),
        ("  trainable", parameters.trainable.to_string()),
        ("buffers", report.buffers.bytes.to_string()),
        ("forward", report.flops.forward.to_string()),
        ("backward", report.flops.backward.to_string()),
        (
            "other arithmetic, forward",
            report.flops.other_forward.to_string(),
        ),
        (
            "moved forward, unfused",
            format!(
                "{} read, {} written",
                report.bytes.read, report.bytes.written
            ),
        ),
    ];
    totals.extend(report.step.as_ref().map(step_lines).unwrap_or_default());
    if report.unknown_ops > 0 {
        let count = counted(report.unknown_ops, "op");
        let names = report.unknown_names.join(", ");
        let unknown = match names.as_str() {
            "" => count,
            names => format!("{count} ({names})"),
        };
        totals.push(("left out as unknown", unknown));
    }
    for note in &report.notes {
        totals.push(("taken for granted", note.clone()));
    }
    totals
}
