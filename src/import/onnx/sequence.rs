//! Sequences and optionals, as far as what they hold is known before the model runs.

use super::call::{Call, Output, Results, axis};
use super::constant::Constant;
use super::registry::{Entry, Mapping::*};
use super::slot::{Origin, Slot, SlotId};
use crate::tensor::{Dtype, Shape};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("ConcatFromSequence", Special(concat)),
    ("Optional", Alias(optional)),
    ("OptionalGetElement", Alias(element)),
    ("OptionalHasElement", Alias(has_element)),
    ("SequenceAt", Alias(at)),
    ("SequenceConstruct", Alias(construct)),
    ("SequenceEmpty", Alias(empty)),
    ("SequenceErase", Alias(erase)),
    ("SequenceInsert", Alias(insert)),
    ("SequenceLength", Alias(length)),
    ("SplitToSequence", Special(split)),
];

fn alias(slot: SlotId) -> Results {
    Results::from_slice(&[Output::Slot(slot)])
}

/// What a sequence holds; `None` where that is not known.
fn items(call: &Call<'_, '_>, position: usize) -> Option<Vec<SlotId>> {
    match call.lowering.slots.get(call.slot(position)?.0 as usize)? {
        Slot::Sequence(items) => items.clone(),
        _ => None,
    }
}

/// Whether an input is a sequence of which nothing is known.
fn is_unknown(call: &Call<'_, '_>, position: usize) -> bool {
    let slot = call
        .slot(position)
        .and_then(|slot| call.lowering.slots.get(slot.0 as usize));
    matches!(slot, Some(Slot::Sequence(None)))
}

fn construct(call: &mut Call<'_, '_>) -> Option<Results> {
    let all: Option<Vec<SlotId>> = call.inputs.iter().copied().collect();
    Some(call.sequence(Some(all?)))
}

fn empty(call: &mut Call<'_, '_>) -> Option<Results> {
    Some(call.sequence(Some(Vec::new())))
}

/// The place that an input names among so many items.
fn place(call: &Call<'_, '_>, position: usize, count: usize) -> Option<usize> {
    axis(call.known_integer(position)?, count)
}

/// The item at a place; where the place is not known and all items are of one type, any of them.
fn at(call: &mut Call<'_, '_>) -> Option<Results> {
    let items = items(call, 0)?;
    if call.known(1).is_some() {
        let at = place(call, 1, items.len())?;
        return items.get(at).copied().map(alias);
    }
    let first = *items.first()?;
    let ty = &call.lowering.tensor_slot(first)?.ty;
    let same = |&item: &SlotId| {
        let slot = call.lowering.tensor_slot(item);
        slot.is_some_and(|slot| slot.ty == *ty)
    };
    items.iter().all(same).then(|| alias(first))
}

fn insert(call: &mut Call<'_, '_>) -> Option<Results> {
    if is_unknown(call, 0) {
        return Some(call.sequence(None));
    }
    let mut items = items(call, 0)?;
    let at = match (call.has(2), call.known_integer(2)) {
        (false, _) => items.len(),
        (true, Some(at)) => {
            let count = items.len() as i64;
            usize::try_from(if at < 0 { at + count } else { at })
                .ok()
                .filter(|&at| at <= items.len())?
        }
        // Somewhere: which items there are is known, their order is not.
        (true, None) => items.len(),
    };
    items.insert(at, call.slot(1)?);
    Some(call.sequence(Some(items)))
}

fn erase(call: &mut Call<'_, '_>) -> Option<Results> {
    if is_unknown(call, 0) {
        return Some(call.sequence(None));
    }
    let mut items = items(call, 0)?;
    let at = match call.has(1) {
        true => place(call, 1, items.len())?,
        false => items.len().checked_sub(1)?,
    };
    items.remove(at);
    Some(call.sequence(Some(items)))
}

fn length(call: &mut Call<'_, '_>) -> Option<Results> {
    let count = i64::try_from(items(call, 0)?.len()).ok()?;
    let count = Constant::integers(Shape::scalar(), Dtype::Int64, vec![count]);
    Some(alias(call.lowering.constant(count, Origin::Constant)))
}

/// Parts of an axis: of a size that is given, of sizes, or of one element without the axis.
fn split(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let shape = call.shape_of(input);
    let at = call.axis("axis", 0, shape.rank())?;
    let dim = ("dim", (at as i64).into());
    let made = match call.has(1) {
        true => {
            let Some(known) = call.known(1) else {
                return Some(call.sequence(None));
            };
            let sizes = known.all_integers()?;
            let size = match (known.ty.shape.rank(), &sizes[..]) {
                (0, &[one]) => one.into(),
                _ => sizes.into(),
            };
            call.apply("split", &[input], &[("split_size", size), dim])?
        }
        false if call.attributes.integer("keepdims") == Some(0) => {
            call.apply("unbind", &[input], &[dim])?
        }
        false => call.apply("split", &[input], &[("split_size", 1.into()), dim])?,
    };
    let items: Vec<SlotId> = made
        .into_iter()
        .map(|id| call.lowering.computed(id))
        .collect();
    Some(call.sequence(Some(items)))
}

fn concat(call: &mut Call<'_, '_>) -> Option<Results> {
    let items = items(call, 0)?;
    let parts: Option<Vec<_>> = items
        .iter()
        .map(|&item| call.lowering.materialize(item, false, false))
        .collect();
    let dim = call.attributes.integer("axis")?;
    let op = match call.attributes.flag("new_axis") {
        true => "stack",
        false => "cat",
    };
    let made = call.apply(op, &parts?, &[("dim", dim.into())])?;
    Some(super::call::all(made))
}

fn optional(call: &mut Call<'_, '_>) -> Option<Results> {
    let slot = match call.slot(0) {
        Some(slot) => slot,
        None => call.lowering.slot(Slot::Nothing),
    };
    Some(alias(slot))
}

fn element(call: &mut Call<'_, '_>) -> Option<Results> {
    let slot = call.slot(0)?;
    match call.lowering.slots.get(slot.0 as usize)? {
        Slot::Tensor(_) | Slot::Sequence(_) => Some(alias(slot)),
        Slot::Nothing | Slot::Foreign => None,
    }
}

/// An optional that a model is given is taken to hold something.
fn has_element(call: &mut Call<'_, '_>) -> Option<Results> {
    let holds = match call.slot(0) {
        Some(slot) => !matches!(call.lowering.slots.get(slot.0 as usize)?, Slot::Nothing),
        None => false,
    };
    let truth = Constant::integers(Shape::scalar(), Dtype::Bool, vec![i64::from(holds)]);
    Some(alias(call.lowering.constant(truth, Origin::Constant)))
}
