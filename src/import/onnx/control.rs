//! Calls that hold graphs, and functions: their bodies are lowered where they are called.

use rustc_hash::FxHashMap;

use super::attributes::Environment;
use super::call::{Call, Output, Results};
use super::constant::Constant;
use super::lower::{Frame, Lowering, domain};
use super::order::described;
use super::registry::Entry;
use super::schema::GraphProto;
use super::slot::{Origin, Slot, SlotId};
use super::stated;
use crate::graph::NodeId;
use crate::import::ImportError;
use crate::tensor::{Dtype, Shape, TensorType};

/// No op of this family is mapped to one here: all of them are expanded.
pub(super) const OPS: &[Entry] = &[];

/// Most repetitions of a loop's body that are lowered one by one.
const MAX_REPETITIONS: u64 = 256;

/// Most calls that all repetitions of a body may come to.
const MAX_UNROLLED: u64 = 20_000;

/// The results of a call that is a function of the file's, or holds a graph; `None` where it is
/// neither.
///
/// # Errors
/// Where the body is none: it has a cycle, or reads what nothing makes.
pub(super) fn expand(call: &mut Call<'_, '_>) -> Result<Option<Results>, ImportError> {
    let lower: Lower = if call.lowering.function(call.node).is_some() {
        function
    } else if !domain(&call.node.domain).is_empty() {
        return Ok(None);
    } else {
        match call.node.op_type.as_str() {
            "If" => branches,
            "Loop" => repeat,
            "Scan" => scan,
            "SequenceMap" => map,
            _ => return Ok(None),
        }
    };
    let Lowering {
        layers, builder, ..
    } = &mut *call.lowering;
    layers.open_block(builder, call.node);
    let checkpoint = call.lowering.checkpoint();
    let results = lower(call)?;
    if results.is_none() {
        call.lowering.roll_back(&checkpoint);
    }
    let tensors: Vec<_> = results
        .iter()
        .flatten()
        .filter_map(Output::tensor)
        .collect();
    let Lowering {
        layers, builder, ..
    } = &mut *call.lowering;
    layers.close_block(builder, &tensors);
    Ok(results)
}

/// Lowers a call that is several; `None` where it cannot be.
type Lower = fn(&mut Call<'_, '_>) -> Result<Option<Results>, ImportError>;

/// A function of the file's.
fn function(call: &mut Call<'_, '_>) -> Result<Option<Results>, ImportError> {
    let Some(function) = call.lowering.function(call.node) else {
        return Ok(None);
    };
    let mut names: FxHashMap<&str, SlotId> = FxHashMap::default();
    for (name, slot) in function.input.iter().zip(&call.inputs) {
        if let Some(slot) = slot {
            names.insert(name.as_str(), *slot);
        }
    }
    // An input that is left out may be read all the same: nothing is given on.
    for name in function.input.iter().skip(call.inputs.len()) {
        let nothing = call.lowering.slot(Slot::Nothing);
        names.insert(name.as_str(), nothing);
    }
    let opset = function
        .opset_import
        .iter()
        .filter(|import| domain(&import.domain).is_empty())
        .map(|import| import.version)
        .max()
        .unwrap_or(call.version);
    let stated = function
        .value_info
        .iter()
        .filter_map(|info| {
            let stated = stated::Stated::of(info.r#type.as_ref()?, &call.lowering.dims)?;
            Some((info.name.as_str(), stated))
        })
        .collect();
    let hints = stated::hints(&function.node, &stated);
    let frame = Frame {
        names,
        stated,
        hints,
        isolated: true,
        environment: call.attributes.environment(&function.attribute_proto),
        opset,
    };
    call.lowering.frames.push(frame);
    let lowered = call.lowering.graph(&function.node);
    let slots = function
        .output
        .iter()
        .map(|name| call.lowering.lookup(name))
        .collect::<Vec<_>>();
    call.lowering.frames.pop();
    lowered?;
    let mut results = Results::new();
    for (name, slot) in function.output.iter().zip(slots) {
        let slot = slot.ok_or_else(|| {
            let message = format!("nothing in the function `{}` makes `{name}`", function.name);
            ImportError::new(message)
        })?;
        results.push(Output::Slot(slot));
    }
    Ok(Some(results))
}

/// Lowers the body of a call once, with its inputs bound to slots, and gives its outputs.
fn body<'p>(
    call: &mut Call<'_, 'p>,
    graph: &'p GraphProto,
    inputs: &[SlotId],
) -> Result<Vec<SlotId>, ImportError> {
    let mut names: FxHashMap<&'p str, SlotId> = FxHashMap::default();
    call.lowering.initializers(graph, &mut names)?;
    for (info, slot) in graph.input.iter().zip(inputs) {
        names.insert(info.name.as_str(), *slot);
    }
    let environment = call
        .lowering
        .frames
        .last()
        .map_or_else(Environment::default, |frame| frame.environment.clone());
    let stated = stated::all(graph, &call.lowering.dims);
    let hints = stated::hints(&graph.node, &stated);
    let frame = Frame {
        names,
        stated,
        hints,
        isolated: false,
        environment,
        opset: call.version,
    };
    call.lowering.frames.push(frame);
    let lowered = call.lowering.graph(&graph.node);
    let outputs: Vec<Option<SlotId>> = graph
        .output
        .iter()
        .map(|output| call.lowering.lookup(&output.name))
        .collect();
    call.lowering.frames.pop();
    lowered?;
    let named = graph.output.iter().zip(outputs);
    named
        .map(|(output, slot)| {
            slot.ok_or_else(|| {
                let holder = described(call.node);
                ImportError::new(format!("nothing in {holder} makes `{}`", output.name))
            })
        })
        .collect()
}

/// The FLOPs of what was added since that node.
fn work(call: &Call<'_, '_>, since: usize) -> u128 {
    let graph = call.lowering.builder.graph();
    (since..graph.dag.node_count())
        .map(|at| {
            let node = graph.node(NodeId(at as u32));
            if !graph.is_known(node) {
                return 0;
            }
            let work = graph.with_call(node, |call| (call.op.work)(call));
            // A call counts, if only to tell an empty branch from one that moves elements.
            work.products.saturating_add(work.other).saturating_add(1)
        })
        .fold(0, u128::saturating_add)
}

/// The branch that is taken, where that is known; else the dearer one.
fn branches(call: &mut Call<'_, '_>) -> Result<Option<Results>, ImportError> {
    let (Some(then), Some(otherwise)) = (
        call.attributes.graph("then_branch"),
        call.attributes.graph("else_branch"),
    ) else {
        return Ok(None);
    };
    let outputs = match call.known_integer(0) {
        Some(condition) => {
            let taken = if condition != 0 { then } else { otherwise };
            body(call, taken, &[])?
        }
        None => {
            let before = call.lowering.builder.graph().dag.node_count();
            let checkpoint = call.lowering.checkpoint();
            body(call, then, &[])?;
            let first = work(call, before);
            call.lowering.roll_back(&checkpoint);
            let outputs = body(call, otherwise, &[])?;
            let second = work(call, before);
            call.note("of the two branches of an `If`, the dearer one is counted");
            match second >= first {
                true => outputs,
                false => {
                    call.lowering.roll_back(&checkpoint);
                    body(call, then, &[])?
                }
            }
        }
    };
    let results: Results = outputs.into_iter().map(Output::Slot).collect();
    Ok(Some(results))
}

/// Values without their values: what a loop carries on differs from one repetition to the next.
fn carried(call: &mut Call<'_, '_>, slot: SlotId) -> SlotId {
    match call.lowering.materialize(slot, false, false) {
        Some(id) => call.lowering.computed(id),
        None => slot,
    }
}

/// Joins what each repetition gave along a new axis.
fn stacked(call: &mut Call<'_, '_>, parts: &[SlotId], times: u64, axis: i64) -> Option<SlotId> {
    let ids: Option<Vec<_>> = parts
        .iter()
        .map(|&slot| call.lowering.materialize(slot, false, false))
        .collect();
    let ids = ids?;
    let joined = match ids.len() as u64 == times {
        true => call.first("stack", &ids, &[("dim", axis.into())])?,
        // One repetition stands for all.
        false => {
            let ty = call.type_of(*ids.first()?);
            let rank = ty.shape.rank() as i64 + 1;
            let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
            let mut shape = ty.shape.clone();
            if axis > shape.rank() {
                return None;
            }
            shape.insert(axis, times);
            let ty = TensorType::new(shape, ty.dtype);
            let made = call.apply_as("stack", &ids, &[("dim", (axis as i64).into())], &[ty])?;
            *made.first()?
        }
    };
    Some(call.lowering.computed(joined))
}

/// How many calls a body comes to, at least.
fn calls(graph: &GraphProto) -> u64 {
    graph.node.len() as u64
}

/// Whether a body goes on for ever as far as it decides itself: it hands on the condition that it
/// was given, or a constant that holds.
fn always(call: &Call<'_, '_>, slot: SlotId, condition: SlotId) -> bool {
    slot == condition
        || call
            .lowering
            .tensor_slot(slot)
            .and_then(|tensor| tensor.known.as_ref())
            .is_some_and(|known| known.len() == 1 && known.integer(0) != 0)
}

/// A loop: its body as often as is known, or once.
fn repeat(call: &mut Call<'_, '_>) -> Result<Option<Results>, ImportError> {
    let Some(graph) = call.attributes.graph("body") else {
        return Ok(None);
    };
    let given = call.inputs.len().max(2) - 2;
    let states = given.min(graph.output.len().saturating_sub(1));
    let limit = match call.has(0) {
        true => call.known_integer(0).map(|count| count.max(0) as u64),
        false => None,
    };
    let begins = match call.has(1) {
        true => call.known_integer(1).map(|flag| flag != 0),
        false => Some(true),
    };
    let mut state = Vec::new();
    for at in 0..states {
        let Some(slot) = call.slot(at + 2) else {
            return Ok(None);
        };
        state.push(slot);
    }
    let scans = graph.output.len().saturating_sub(1 + states);
    let mut collected: Vec<Vec<SlotId>> = vec![Vec::new(); scans];
    let truth = Constant::integers(Shape::scalar(), Dtype::Bool, vec![1]);
    let affordable = limit.filter(|&count| {
        count <= MAX_REPETITIONS && count.saturating_mul(calls(graph)) <= MAX_UNROLLED
    });
    let mut times = 0;
    let mut exact = true;
    match (affordable, begins) {
        (_, Some(false)) => {}
        (Some(count), Some(true)) => {
            while times < count {
                let at = Constant::integers(Shape::scalar(), Dtype::Int64, vec![times as i64]);
                let number = call.lowering.constant(at, Origin::Constant);
                let condition = call.lowering.constant(truth.clone(), Origin::Constant);
                let mut inputs = vec![number, condition];
                inputs.extend(&state);
                let outputs = body(call, graph, &inputs)?;
                times += 1;
                let Some((&next, rest)) = outputs.split_first() else {
                    break;
                };
                state = rest[..states].to_vec();
                for (all, &part) in collected.iter_mut().zip(&rest[states..]) {
                    all.push(part);
                }
                let stops = call
                    .lowering
                    .tensor_slot(next)
                    .and_then(|tensor| tensor.known.as_ref())
                    .is_some_and(|known| known.len() == 1 && known.integer(0) == 0);
                if stops {
                    break;
                }
                // It may end before the limit: which is what is counted.
                exact &= always(call, next, condition);
            }
            if !exact {
                call.note("a `Loop` that may end early is counted to its greatest trip count");
            }
        }
        _ => {
            // The first repetition stands for all.
            let zero = Constant::integers(Shape::scalar(), Dtype::Int64, vec![0]);
            let number = call.lowering.constant(zero, Origin::Constant);
            let condition = call.lowering.constant(truth, Origin::Constant);
            let mut inputs = vec![number, condition];
            for slot in &state {
                inputs.push(carried(call, *slot));
            }
            let outputs = body(call, graph, &inputs)?;
            let rest = outputs.get(1..).unwrap_or_default();
            state = Vec::new();
            for &slot in rest.get(..states).unwrap_or_default() {
                state.push(carried(call, slot));
            }
            for (all, &part) in collected
                .iter_mut()
                .zip(rest.get(states..).unwrap_or_default())
            {
                all.push(part);
            }
            call.note(
                "the body of a `Loop` whose trip count is not known or large is counted once",
            );
            times = limit.unwrap_or(1);
        }
    }
    let mut results: Results = state.into_iter().map(Output::Slot).collect();
    for (at, parts) in collected.iter().enumerate() {
        results.push(scanned(call, graph, at + 1 + states, parts, times, 0));
    }
    Ok(Some(results))
}

/// What all repetitions gave, as one result.
fn scanned(
    call: &mut Call<'_, '_>,
    graph: &GraphProto,
    at: usize,
    parts: &[SlotId],
    times: u64,
    axis: i64,
) -> Output {
    if let Some(slot) = stacked(call, parts, times, axis) {
        return Output::Slot(slot);
    }
    // Of no repetition: an empty axis before what the body states.
    let output = graph.output.get(at).and_then(|info| info.r#type.as_ref());
    let stated = output.and_then(|ty| stated::Stated::of(ty, &call.lowering.dims));
    let slot = stated.and_then(|stated| {
        let ty = stated.ty()?;
        let mut shape = ty.shape.clone();
        shape.insert(0, times);
        let sizes = super::call::sizes_of(&shape);
        let given = [("size", sizes.into()), ("dtype", ty.dtype.into())];
        let id = call.first("empty", &[], &given)?;
        Some(call.lowering.computed(id))
    });
    Output::Slot(slot.unwrap_or_else(|| call.lowering.slot(Slot::Foreign)))
}

/// A scan: its body once for each slice of its inputs.
fn scan(call: &mut Call<'_, '_>) -> Result<Option<Results>, ImportError> {
    let (Some(graph), Some(count)) = (
        call.attributes.graph("body"),
        call.attributes.integer("num_scan_inputs"),
    ) else {
        return Ok(None);
    };
    // Before opset 9, a batch stood before everything, and the lengths of its sequences first.
    let batched = call.version < 9;
    let first = usize::from(batched);
    let count = usize::try_from(count).unwrap_or(0);
    let Some(states) = call.inputs.len().checked_sub(count + first) else {
        return Ok(None);
    };
    if batched || states > graph.output.len() {
        return Ok(None);
    }
    let axis_of = |name: &str, at: usize| {
        let axes = call.attributes.integers(name);
        axes.and_then(|axes| axes.get(at).copied()).unwrap_or(0)
    };
    let mut sources = Vec::with_capacity(count);
    for at in 0..count {
        let axis = axis_of("scan_input_axes", at);
        let rank = call.rank(states + at);
        let axis = rank.and_then(|rank| super::call::axis(axis, rank));
        match axis {
            Some(axis) => sources.push((states + at, axis as i64)),
            None => return Ok(None),
        }
    }
    let output_axes: Vec<i64> = (states..graph.output.len())
        .map(|at| axis_of("scan_output_axes", at - states))
        .collect();
    let Some(times) = sources
        .first()
        .and_then(|&(at, axis)| call.shape(at)?.size(axis))
    else {
        return Ok(None);
    };
    let mut state: Vec<SlotId> = (0..states).filter_map(|at| call.slot(at)).collect();
    let each = times <= MAX_REPETITIONS && times.saturating_mul(calls(graph)) <= MAX_UNROLLED;
    let mut collected: Vec<Vec<SlotId>> = vec![Vec::new(); output_axes.len()];
    if !each {
        for slot in &mut state {
            *slot = carried(call, *slot);
        }
        call.note("the body of a `Scan` over a long axis is counted once");
    }
    for step in 0..if each { times } else { 1.min(times) } {
        let mut inputs = state.clone();
        for &(at, axis) in &sources {
            let slice = call.tensor(at).and_then(|input| {
                let given = [("dim", axis.into()), ("index", (step as i64).into())];
                call.first("select", &[input], &given)
            });
            match slice {
                Some(id) => inputs.push(call.lowering.computed(id)),
                None => return Ok(None),
            }
        }
        let outputs = body(call, graph, &inputs)?;
        state = outputs[..states].to_vec();
        for (all, &part) in collected.iter_mut().zip(&outputs[states..]) {
            all.push(part);
        }
    }
    let mut results: Results = state.into_iter().map(Output::Slot).collect();
    for (at, parts) in collected.iter().enumerate() {
        let axis = output_axes[at];
        results.push(scanned(call, graph, at + states, parts, times, axis));
    }
    Ok(Some(results))
}

/// A body for each item of a sequence.
fn map(call: &mut Call<'_, '_>) -> Result<Option<Results>, ImportError> {
    let Some(graph) = call.attributes.graph("body") else {
        return Ok(None);
    };
    let item = |call: &Call<'_, '_>, at: usize, number: usize| -> Option<SlotId> {
        let slot = call.slot(at)?;
        match call.lowering.slots.get(slot.0 as usize)? {
            Slot::Sequence(Some(items)) => items.get(number).copied(),
            Slot::Sequence(None) => None,
            _ => Some(slot),
        }
    };
    let length = call
        .slot(0)
        .and_then(|slot| match call.lowering.slots.get(slot.0 as usize)? {
            Slot::Sequence(Some(items)) => Some(items.len()),
            _ => None,
        });
    let Some(length) = length.filter(|&length| length as u64 <= MAX_REPETITIONS) else {
        // How many items there are, and of which types, only running the model would tell.
        let results = (0..call.node.output.len())
            .map(|_| Output::Slot(call.lowering.slot(Slot::Sequence(None))));
        let results: Results = results.collect();
        call.lowering.agreement.opaque += 1;
        call.note("what is done with the items of a sequence of unknown length is not counted");
        return Ok(Some(results));
    };
    let mut collected: Vec<Vec<SlotId>> = vec![Vec::new(); graph.output.len()];
    for number in 0..length {
        let inputs: Option<Vec<SlotId>> = (0..call.inputs.len())
            .map(|at| item(call, at, number))
            .collect();
        let Some(inputs) = inputs else {
            return Ok(None);
        };
        for (all, part) in collected.iter_mut().zip(body(call, graph, &inputs)?) {
            all.push(part);
        }
    }
    let results: Vec<Slot> = collected
        .into_iter()
        .map(|all| Slot::Sequence(Some(all)))
        .collect();
    let results: Results = results
        .into_iter()
        .map(|slot| Output::Slot(call.lowering.slot(slot)))
        .collect();
    Ok(Some(results))
}
