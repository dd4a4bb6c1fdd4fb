//! Lines that come again as a group become a block that repeats: `linear`, `relu`, `linear`,
//! `relu` … of a module that lists them one by one.

use rustc_hash::FxHashMap;

use super::block::definition;
use super::fold::{Fold, Written};
use super::names;
use super::owned::parameter;
use super::text::{Body, Line, Operand, Piece, Value};
use crate::graph::{TensorId, TensorKind};

/// Most lines of a group.
const LONGEST: usize = 12;

/// Fewest repetitions that are worth a block.
const FEWEST: usize = 3;

/// Folds the lines of a region. `O(lines · LONGEST²)`.
pub(super) fn fold(fold: &mut Fold<'_>, lines: &mut Vec<Line>) {
    let mut folded = Vec::with_capacity(lines.len());
    let mut at = 0;
    while at < lines.len() {
        let mut best: Option<Group> = None;
        for period in 2..=LONGEST.min((lines.len() - at) / FEWEST) {
            let group = repetitions(fold, &lines[at..], period);
            let covered = |group: &Group| group.period * group.count;
            if group.count >= FEWEST
                && best
                    .as_ref()
                    .is_none_or(|best| covered(&group) > covered(best))
            {
                best = Some(group);
            }
        }
        match best {
            Some(group) => {
                let end = at + group.period * group.count;
                folded.push(write(fold, &lines[at..end], &group));
                at = end;
            }
            None => {
                folded.push(lines[at].clone());
                at += 1;
            }
        }
    }
    *lines = folded;
}

/// A group of lines that comes again.
struct Group {
    period: usize,
    count: usize,
    /// What the first repetition reads of the line before it.
    carried: TensorId,
}

/// How often the first `period` lines come again, each time reading what came of the time before.
fn repetitions(fold: &Fold<'_>, lines: &[Line], period: usize) -> Group {
    let mut carried = None;
    let mut count = 1;
    while let Some(next) = lines.get(count * period..(count + 1) * period) {
        let before = &lines[(count - 1) * period..count * period];
        let Some(input) = follows(fold, before, next) else {
            break;
        };
        let expected = match count {
            1 => Some(input),
            _ => handed_on(&lines[(count - 2) * period..(count - 1) * period]),
        };
        if expected != Some(input) {
            break;
        }
        carried = carried.or(Some(input));
        count += 1;
    }
    // Of the last repetition, too, only what comes of it is read outside.
    let last = &lines[(count - 1) * period..count * period];
    if !is_closed(fold, last, u32::MAX) {
        count -= 1;
    }
    match carried {
        Some(carried) => Group {
            period,
            count,
            carried,
        },
        None => Group {
            period,
            count: 0,
            carried: TensorId::ABSENT,
        },
    }
}

fn handed_on(unit: &[Line]) -> Option<TensorId> {
    unit.last()?.outputs.first().copied()
}

/// Whether nothing but what the unit hands on is read outside of it, and that before `end`.
fn is_closed(fold: &Fold<'_>, unit: &[Line], end: u32) -> bool {
    let inside = unit.last().map_or(0, |line| line.nodes.end);
    let result = handed_on(unit);
    unit.iter().flat_map(|line| &line.outputs).all(|&id| {
        let last = fold.last_use[id.0 as usize];
        match Some(id) == result {
            true => last < end || end == u32::MAX,
            false => last < inside,
        }
    })
}

/// What the first unit reads where the second one reads what comes of the first, if they are alike
/// in everything else.
fn follows(fold: &Fold<'_>, one: &[Line], other: &[Line]) -> Option<TensorId> {
    if !one.iter().zip(other).all(|(one, other)| alike(one, other)) {
        return None;
    }
    if !is_closed(fold, one, other.last()?.nodes.end) {
        return None;
    }
    let result = handed_on(one)?;
    let mut same: FxHashMap<TensorId, TensorId> = FxHashMap::default();
    let mut carried: Option<TensorId> = None;
    let mut shared: Vec<TensorId> = Vec::new();
    for (one, other) in one.iter().zip(other) {
        for (a, b) in one.tensors().into_iter().zip(other.tensors()) {
            if let Some(&known) = same.get(&a) {
                if known != b {
                    return None;
                }
            } else if b == result {
                if carried.is_some_and(|carried| carried != a) {
                    return None;
                }
                carried = Some(a);
            } else if a == b {
                shared.push(a);
            } else {
                return None;
            }
        }
        for (&a, &b) in one.outputs.iter().zip(&other.outputs) {
            same.insert(a, b);
        }
    }
    carried.filter(|carried| !shared.contains(carried) && !shared.contains(&result))
}

/// Whether two lines say the same of different tensors.
fn alike(one: &Line, other: &Line) -> bool {
    let bodies = match (&one.body, &other.body) {
        (Body::Formula(one), Body::Formula(other)) => {
            let pieces = |(one, other): (&Piece, &Piece)| match (one, other) {
                (Piece::Tensor(_), Piece::Tensor(_)) => true,
                (one, other) => one == other,
            };
            one.len() == other.len() && one.iter().zip(other).all(pieces)
        }
        (one, other) => one == other,
    };
    let inputs = |(one, other): (&Operand, &Operand)| match (one, other) {
        (Operand::Tensor(_), Operand::Tensor(_)) => true,
        (one, other) => one == other,
    };
    let attributes = |(one, other): (&(_, Value), &(_, Value))| match (one, other) {
        ((a, Value::Parameter(_)), (b, Value::Parameter(_))) => a == b,
        (one, other) => one == other,
    };
    bodies
        && one.repeat == other.repeat
        && one.outputs.len() == other.outputs.len()
        && one.inputs.len() == other.inputs.len()
        && one.inputs.iter().zip(&other.inputs).all(inputs)
        && one.attributes.len() == other.attributes.len()
        && one.attributes.iter().zip(&other.attributes).all(attributes)
}

/// Writes the block, and gives the line that repeats it.
fn write(fold: &mut Fold<'_>, lines: &[Line], group: &Group) -> Line {
    let mut instances = Vec::with_capacity(group.count);
    let mut carried = group.carried;
    for unit in lines.chunks(group.period) {
        let mut written = Written {
            lines: unit.to_vec(),
            outputs: handed_on(unit).into_iter().collect(),
            nodes: unit[0].nodes.start..unit[unit.len() - 1].nodes.end,
            ..Written::default()
        };
        inputs(fold, &mut written, carried);
        fold.name(false, &mut written);
        carried = written.outputs.first().copied().unwrap_or(carried);
        instances.push(fold.regions.len());
        fold.regions.push(written);
    }
    let first = fold.regions[instances[0]].clone();
    let text = definition("", &first, &[], fold);
    let name = match fold.sequences.get(&text) {
        Some(name) => name.clone(),
        None => {
            let parts: Vec<&str> = first
                .lines
                .iter()
                .take(3)
                .map(|line| match &line.body {
                    Body::Op(op) => op,
                    Body::Block(block) => block.as_str(),
                    Body::Formula(_) => line.hint.as_str(),
                })
                .collect();
            let name = names::block(&mut fold.block_names, &parts.join("_"));
            let block = definition(&name, &first, &[], fold);
            fold.blocks.push(block);
            fold.sequences.insert(text, name.clone());
            name
        }
    };
    let last = &fold.regions[instances[instances.len() - 1]];
    Line {
        hint: name.clone(),
        longer: String::new(),
        outputs: last.outputs.clone(),
        body: Body::Block(name),
        inputs: first.inputs.iter().map(|&id| Operand::Tensor(id)).collect(),
        reads: true,
        attributes: Vec::new(),
        repeat: group.count as u32,
        nodes: first.nodes.start..last.nodes.end,
        instances,
    }
}

/// What a repetition reads from outside: what comes of the one before it, and then all else.
fn inputs(fold: &Fold<'_>, written: &mut Written, carried: TensorId) {
    let graph = fold.graph();
    written.inputs.push(carried);
    written.roles.push("x");
    let mut found = Vec::new();
    for line in &written.lines {
        for (position, id) in line.tensors().into_iter().enumerate() {
            let outside = match graph.tensor(id).kind {
                TensorKind::Input(_) => true,
                TensorKind::Constant(_) => false,
                TensorKind::Output(node) => !written.nodes.contains(&node.0),
                TensorKind::Parameter(_) => parameter(graph, id)
                    .and_then(|number| fold.calls.ownership.owners.get(&number))
                    .is_none_or(|owner| !written.nodes.contains(&owner.0)),
            };
            let known = id == carried || found.iter().any(|(one, _)| *one == id);
            if outside && !known {
                found.push((id, fold.role(line, position, id)));
            }
        }
    }
    for (id, role) in found {
        written.inputs.push(id);
        written.roles.push(role);
    }
}
