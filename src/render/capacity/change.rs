//! What the formats for people say of estimates, levers and largest sizes: lines of cells.

use crate::quantity::{Bytes, group};
use crate::report::{EstimateRow, Interval, LargestRow, LeverRow, MemoryPart};

/// What is estimated beside the tensors, and the sum with them: name, amount, from, to, how.
pub(super) fn estimate_lines(memory: &MemoryPart) -> Vec<[String; 5]> {
    let line = |name: &str, amount: &Interval, how: String| {
        [
            name.to_owned(),
            amount.bytes.to_string(),
            amount.low.to_string(),
            amount.high.to_string(),
            how,
        ]
    };
    let of = |row: &EstimateRow| line(row.name, &row.amount, row.how.clone());
    let mut lines: Vec<[String; 5]> = Vec::new();
    let reserved = &memory.reserved;
    lines.push([
        "reserved for tensors".to_owned(),
        reserved.bytes.to_string(),
        reserved.requested.to_string(),
        String::new(),
        format!(
            "by PyTorch's allocator, in blocks of {}, workspaces of products among them; {} \
             lies idle",
            reserved.allocated, reserved.fragmentation
        ),
    ]);
    let estimates = memory.estimates.iter();
    // Those that the allocator holds are among what it reserves, but for what they may take more.
    lines.extend(estimates.map(of));
    lines.push(line("all together", &memory.total, String::new()));
    lines
}

/// What would bring the memory down: change, amount, what is held then, what it costs.
pub(super) fn lever_lines(memory: &MemoryPart) -> Vec<[String; 4]> {
    let line = |lever: &LeverRow| {
        let mut costs = Vec::new();
        if lever.arithmetic.abs() >= 0.005 {
            costs.push(format!("{:+.0} % FLOPs", 100.0 * lever.arithmetic));
        }
        for (bytes, what) in [(lever.sends, "sent"), (lever.sends_host, "over the bus")] {
            if bytes > Bytes::ZERO {
                costs.push(format!("+{bytes} {what} a step"));
            }
        }
        if !lever.costs.is_empty() {
            costs.push(lever.costs.to_owned());
        }
        let [least, most] = lever.saves_between;
        let (least, most) = (least.to_string(), most.to_string());
        let saves = match least == most {
            true => format!("−{}", lever.saves),
            false => format!("−{} ({least} to {most})", lever.saves),
        };
        [
            lever.change.replace('`', ""),
            saves,
            lever.after.to_string(),
            costs.join(", "),
        ]
    };
    memory.levers.iter().map(line).collect()
}

/// The largest sizes that fit: dim, now, at most, and beside the most that the rest may take.
pub(super) fn largest_lines(memory: &MemoryPart) -> Vec<[String; 4]> {
    let number = |size: i64| group(u128::from(size.unsigned_abs()));
    let line = |row: &LargestRow| {
        [
            row.dim.clone(),
            number(row.size),
            number(row.sure),
            number(row.most),
        ]
    };
    memory.largest.iter().map(line).collect()
}
