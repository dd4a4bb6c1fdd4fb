//! Recurrent networks: one layer in one or two directions, with the weights of each direction
//! behind each other.

use super::call::{Call, Output, Results};
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::ops::AttributeValue;
use crate::tensor::Shape;

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("GRU", Special(gru)),
    ("LSTM", Special(lstm)),
    ("RNN", Special(rnn)),
];

fn gru(call: &mut Call<'_, '_>) -> Option<Results> {
    recurrent(call, "gru", &["Sigmoid", "Tanh"], &[])
}

fn lstm(call: &mut Call<'_, '_>) -> Option<Results> {
    recurrent(call, "lstm", &["Sigmoid", "Tanh", "Tanh"], &[])
}

fn rnn(call: &mut Call<'_, '_>) -> Option<Results> {
    let relu = call.attributes.texts("activations").first() == Some(&"Relu");
    let (activation, word) = match relu {
        true => ("Relu", "relu"),
        false => ("Tanh", "tanh"),
    };
    recurrent(call, "rnn", &[activation], &[("nonlinearity", word.into())])
}

/// One of the axes of size 1 or 2 that directions are behind each other on.
fn direction(call: &mut Call<'_, '_>, id: TensorId, at: i64) -> Option<TensorId> {
    let given = [("dim", 0.into()), ("index", at.into())];
    call.first("select", &[id], &given)
}

fn recurrent(
    call: &mut Call<'_, '_>,
    op: &str,
    usual: &[&str],
    more: &[(&'static str, AttributeValue)],
) -> Option<Results> {
    let mut input = call.tensor(0)?;
    let (weight, recurrence, bias) = (call.weight(1)?, call.weight(2)?, call.optional_weight(3)?);
    let batch_first = call.attributes.flag("layout");
    let word = call.attributes.text("direction").unwrap_or("forward");
    let directions: i64 = if word == "bidirectional" { 2 } else { 1 };
    let hidden = *call.shape_of(recurrence).sizes().last()?;
    let activations = call.attributes.texts("activations");
    if activations
        .iter()
        .zip(usual.iter().cycle())
        .any(|(a, b)| !a.eq_ignore_ascii_case(b))
    {
        call.note(format!(
            "`{}` with other activations than {} is counted as one with these",
            call.node.op_type,
            usual.join(" and ")
        ));
    }
    if call.has(7) {
        let kind = &call.node.op_type;
        call.note(format!(
            "the peephole weights of `{kind}` are left out: an element-wise product for each gate but one"
        ));
    }
    if call.attributes.float("clip").is_some() {
        let kind = &call.node.op_type;
        call.note(format!("the clipping in `{kind}` is left out"));
    }
    if call.has(4) {
        let kind = &call.node.op_type;
        call.note(format!(
            "sequences of `{kind}` are taken at full length: their lengths are data"
        ));
    }
    let mut operands = Vec::new();
    let states: &[usize] = if op == "lstm" { &[5, 6] } else { &[5] };
    for &at in states {
        let state = call.optional(at)?;
        operands.push(match state.is_present() && batch_first {
            true => call.permute(state, &[1, 0, 2])?,
            false => state,
        });
    }
    for at in 0..directions {
        operands.push(direction(call, weight, at)?);
        operands.push(direction(call, recurrence, at)?);
        if bias.is_present() {
            let both = direction(call, bias, at)?;
            let half = i64::try_from(call.shape_of(both).elements() / 2).ok()?;
            let given = [("split_size", half.into()), ("dim", 0.into())];
            operands.extend(call.apply("split", &[both], &given)?);
        }
    }
    let time = i64::from(batch_first);
    if word == "reverse" {
        input = call.first("flip", &[input], &[("dims", vec![time].into())])?;
    }
    operands.insert(0, input);
    let mut given = more.to_vec();
    given.push(("hidden_size", i64::try_from(hidden).ok()?.into()));
    given.push(("bias", bias.is_present().into()));
    given.push(("batch_first", batch_first.into()));
    given.push(("bidirectional", (directions == 2).into()));
    let made = call.apply(op, &operands, &given)?;
    let mut outputs = made.into_iter();
    let mut sequence = outputs.next()?;
    if word == "reverse" {
        sequence = call.first("flip", &[sequence], &[("dims", vec![time].into())])?;
    }
    // PyTorch joins the directions' features; ONNX gives the directions an axis.
    let shape = call.shape_of(sequence);
    let &[first, second, features] = shape.sizes() else {
        return None;
    };
    let directions = directions as u64;
    let apart = Shape::from([first, second, directions, features / directions]);
    sequence = call.reshape(sequence, &apart)?;
    if !batch_first {
        sequence = call.permute(sequence, &[0, 2, 1, 3])?;
    }
    let mut results = Results::from_slice(&[Output::Tensor(sequence)]);
    for state in outputs {
        let state = match batch_first {
            true => call.permute(state, &[1, 0, 2])?,
            false => state,
        };
        results.push(Output::Tensor(state));
    }
    Some(results)
}
