//! Single steps of recurrent networks: `rnn_cell`, `lstm_cell`, `gru_cell`.

use smallvec::{SmallVec, smallvec};

use super::definition::{BASE, Default, attribute, operand, optional};
use super::gradient::{self, Gradient, Kernels};
use super::pointwise::range;
use super::recurrence::{Cell, Drive, settle};
use super::{
    Attribute, AttributeKind, Autocast, Call, Init, Op, OpError, Operand, Outputs,
    ParameterDefinition, Saved, Work, multilinear,
};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "rnn_cell",
        aliases: &["rnn_tanh_cell"],
        summary: "one step of a plain recurrent network",
        operands: ONE_STATE,
        attributes: &[
            HIDDEN_SIZE,
            attribute(
                "nonlinearity",
                AttributeKind::Choice(&["tanh", "relu"]),
                Default::Text("tanh"),
                "the activation",
            ),
            BIAS,
            INPUT_SIZE,
        ],
        ..CELL
    },
    Op {
        name: "lstm_cell",
        summary: "one step of a long short-term memory: the new hidden and cell states",
        operands: &[
            operand("input"),
            optional("hx"),
            optional("cx"),
            operand("weight_ih"),
            operand("weight_hh"),
            optional("bias_ih"),
            optional("bias_hh"),
        ],
        attributes: &[HIDDEN_SIZE, BIAS, INPUT_SIZE],
        ..CELL
    },
    Op {
        name: "gru_cell",
        summary: "one step of a gated recurrent unit",
        operands: ONE_STATE,
        attributes: &[HIDDEN_SIZE, BIAS, INPUT_SIZE],
        ..CELL
    },
];

const ONE_STATE: &[Operand] = &[
    operand("input"),
    optional("hx"),
    operand("weight_ih"),
    operand("weight_hh"),
    optional("bias_ih"),
    optional("bias_hh"),
];

const HIDDEN_SIZE: Attribute = attribute(
    "hidden_size",
    AttributeKind::Size,
    Default::None,
    "size of the hidden state",
);
const BIAS: Attribute = attribute(
    "bias",
    AttributeKind::Boolean,
    Default::Boolean(true),
    "whether to add biases",
);
const INPUT_SIZE: Attribute = attribute(
    "input_size",
    AttributeKind::Size,
    Default::None,
    "checked if given",
);

const CELL: Op = Op {
    parameters: Some(parameters),
    infer,
    autocast: Autocast::Lower,
    work: |call| {
        let Ok(sizes) = Sizes::of(call) else {
            return Work::default();
        };
        let each = if call.has(sizes.weight + 2) { 4 } else { 2 };
        let combined = match sizes.cell {
            Cell::Tanh | Cell::Relu => 0,
            Cell::Lstm => 5,
            Cell::Gru => 6,
        };
        let operations = sizes.cell.gates() * each + combined;
        Work {
            products: sizes
                .products(sizes.input)
                .saturating_add(sizes.products(sizes.hidden)),
            other: u128::from(operations) * u128::from(sizes.rows.saturating_mul(sizes.hidden)),
        }
    },
    backward: |call| {
        let Ok(sizes) = Sizes::of(call) else { return 0 };
        let sides = [
            (0, sizes.weight, sizes.input),
            (1, sizes.weight + 1, sizes.hidden),
        ];
        sides
            .into_iter()
            .fold(0, |flops: u128, (factor, weight, width)| {
                let needed = [factor, weight]
                    .iter()
                    .filter(|&&at| call.requires_grad(at))
                    .count();
                flops.saturating_add(sizes.products(width).saturating_mul(needed as u128))
            })
    },
    saved,
    gradient,
    interval: |call, ranges| {
        let initial = match call.has(1) {
            true => range(ranges, 1),
            false => Interval::point(0.0),
        };
        match cell(call) {
            Cell::Tanh | Cell::Lstm => Interval::new(-1.0, 1.0),
            Cell::Gru => Interval::new(-1.0, 1.0).union(initial),
            Cell::Relu => {
                let Ok(sizes) = Sizes::of(call) else {
                    return Interval::ANYTHING;
                };
                let at = sizes.weight;
                let mut sum =
                    multilinear::interval([range(ranges, 0), range(ranges, at)], sizes.input)
                        + multilinear::interval([initial, range(ranges, at + 1)], sizes.hidden);
                for bias in [at + 2, at + 3] {
                    if call.has(bias) {
                        sum = sum + range(ranges, bias);
                    }
                }
                sum.clamped(0.0, f64::INFINITY)
            }
        }
    },
    // Of the first step, from a state of zeros.
    moments: |call, moments| {
        let sizes = Sizes::of(call).ok()?;
        (!call.has(1)).then_some(())?;
        let input = (*moments.first()?)?;
        let weight = moments.get(sizes.weight).copied().flatten()?;
        let bias = |position: usize| match call.has(position) {
            true => Some(moments.get(position).copied().flatten()?.square()),
            false => Some(0.0),
        };
        let drive = Drive {
            input: sizes.input as f64 * weight.square() * input.square()
                + bias(sizes.weight + 2)?
                + bias(sizes.weight + 3)?,
            recurrent: 0.0,
            backward: 0.0,
        };
        Some(settle(sizes.cell, drive, 1)?.state)
    },
    ..BASE
};

fn cell(call: &Call) -> Cell {
    match call.op.name {
        "lstm_cell" => Cell::Lstm,
        "gru_cell" => Cell::Gru,
        _ if call.text("nonlinearity").as_deref() == Some("relu") => Cell::Relu,
        _ => Cell::Tanh,
    }
}

/// The sizes of a cell.
struct Sizes {
    cell: Cell,
    /// Samples.
    rows: u64,
    input: u64,
    hidden: u64,
    /// The position of `weight_ih`.
    weight: usize,
}

fn features(call: &Call) -> Result<u64, OpError> {
    let input = call.shape(0)?;
    let features = match *input.sizes() {
        [features] | [_, features] => features,
        _ => {
            let message = format!(
                "`{}` takes [batch, features] or [features], but its input is {input}",
                call.op.name
            );
            return Err(OpError::new(message).operands([0]));
        }
    };
    if let Some(given) = call.integer("input_size")
        && given != features as i64
    {
        let message =
            format!("`input_size` is {given}, but the input {input} has {features} features");
        return Err(OpError::new(message).operands([0]).attribute("input_size"));
    }
    Ok(features)
}

fn first_weight(call: &Call) -> usize {
    if cell(call) == Cell::Lstm { 3 } else { 2 }
}

impl Sizes {
    fn of(call: &Call) -> Result<Sizes, OpError> {
        let (input, weight) = (features(call)?, first_weight(call));
        let recurrent = call.shape(weight + 1)?;
        let hidden = recurrent.size(-1).unwrap_or(0);
        Ok(Sizes {
            cell: cell(call),
            rows: call.elements(0) / input.max(1),
            input,
            hidden,
            weight,
        })
    }

    fn products(&self, width: u64) -> u128 {
        multilinear::flops([
            self.rows,
            self.cell.gates().saturating_mul(self.hidden),
            width,
        ])
    }
}

fn parameters(call: &Call) -> Result<SmallVec<[ParameterDefinition; 2]>, OpError> {
    let (features, weight) = (features(call)?, first_weight(call));
    let hidden = match call.argument(weight + 1) {
        Some(recurrent) => recurrent.ty.shape.size(-1).unwrap_or(0),
        None => call.size("hidden_size")?,
    };
    let gates = cell(call).gates().saturating_mul(hidden);
    let bound = 1.0 / (hidden.max(1) as f64).sqrt();
    let init = Init::Uniform(-bound, bound);
    let mut parameters = smallvec![
        ParameterDefinition::new(weight, "weight_ih", [gates, features], init),
        ParameterDefinition::new(weight + 1, "weight_hh", [gates, hidden], init),
    ];
    if call.boolean("bias") {
        parameters.push(ParameterDefinition::new(
            weight + 2,
            "bias_ih",
            [gates],
            init,
        ));
        parameters.push(ParameterDefinition::new(
            weight + 3,
            "bias_hh",
            [gates],
            init,
        ));
    }
    Ok(parameters)
}

fn infer(call: &Call) -> Result<Outputs, OpError> {
    let sizes = Sizes::of(call)?;
    let gates = sizes.cell.gates().saturating_mul(sizes.hidden);
    let mut state = call.shape(0)?.clone();
    state.set(state.rank() - 1, sizes.hidden);
    let mut expected: SmallVec<[(usize, Shape); 6]> = smallvec![
        (sizes.weight, Shape::from([gates, sizes.input])),
        (sizes.weight + 1, Shape::from([gates, sizes.hidden])),
        (sizes.weight + 2, Shape::from([gates])),
        (sizes.weight + 3, Shape::from([gates])),
    ];
    expected.extend((1..sizes.weight).map(|position| (position, state.clone())));
    for (position, shape) in expected {
        if let Some(argument) = call.argument(position)
            && argument.ty.shape != shape
        {
            let message = format!(
                "`{}` of `{}` is {}, but must be {shape} for the input {}",
                call.op.operand_name(position),
                call.op.name,
                argument.ty.shape,
                call.shape(0)?
            );
            return Err(OpError::new(message).operands([position, 0]));
        }
    }
    let dtype = multilinear::dtype(call, 0..call.arguments.len())?;
    let mut outputs: Outputs = smallvec![TensorType {
        shape: state,
        dtype
    }];
    if sizes.cell == Cell::Lstm {
        outputs.push(outputs[0].clone());
    }
    Ok(outputs)
}

/// As on CUDA. Both sides are `linear`s, which keep the one factor for the gradient of the other.
/// A plain cell keeps the output of its activation besides; `_thnn_fused_lstm_cell` and
/// `_thnn_fused_gru_cell` keep the biases, the gates from input and state and a workspace, of an
/// LSTM also the cell states.
fn saved(call: &Call, saved: &mut Saved) {
    let (Ok(sizes), Some(output)) = (Sizes::of(call), call.output()) else {
        return;
    };
    let state = sizes.rows.saturating_mul(sizes.hidden);
    for (factor, weight) in [(0, sizes.weight), (1, sizes.weight + 1)] {
        if call.requires_grad(weight) {
            saved.argument(call, factor);
        }
        if call.requires_grad(factor) {
            saved.argument(call, weight);
        }
    }
    if !call.has(1) {
        // One tensor of zeros serves as both states; autocast copies it for each.
        saved.extra("initial state", state, output.dtype);
        if call.autocast && sizes.cell == Cell::Lstm {
            saved.extra("initial cell state", state, output.dtype);
        }
    }
    if saved.kernels == Kernels::Traced {
        return saved_step_by_step(call, &sizes, output.dtype, saved);
    }
    let workspace = match sizes.cell {
        Cell::Tanh | Cell::Relu => return saved.output(0),
        Cell::Lstm => {
            saved.argument(call, 2);
            saved.output(1);
            4
        }
        Cell::Gru => {
            saved.argument(call, 1);
            5
        }
    };
    for position in sizes.weight + 2..call.arguments.len() {
        saved.argument(call, position);
    }
    let gates = state.saturating_mul(sizes.cell.gates());
    saved.extra("input gates", gates, output.dtype);
    saved.extra("hidden gates", gates, output.dtype);
    saved.extra("workspace", state.saturating_mul(workspace), output.dtype);
}

/// Without a fused kernel: the gates, and of an LSTM the tanh of the cell, of a GRU three parts of
/// the candidate and of the mean.
fn saved_step_by_step(call: &Call, sizes: &Sizes, dtype: Dtype, saved: &mut Saved) {
    let state = sizes.rows.saturating_mul(sizes.hidden);
    let besides = match sizes.cell {
        Cell::Tanh | Cell::Relu => return saved.output(0),
        Cell::Lstm => {
            saved.argument(call, 2);
            1
        }
        Cell::Gru => {
            saved.argument(call, 1);
            3
        }
    };
    let gates = state.saturating_mul(sizes.cell.gates());
    saved.extra("gates", gates, dtype);
    saved.extra("parts", state.saturating_mul(besides), dtype);
}

/// The gradients of the gates, of which without a fused kernel parts are made and joined; then those
/// of both linear maps, one after the other, as they are of a `linear`. A GRU's candidate sees the
/// hidden state's part by itself, and so has gradients of gates for each map, the hidden state's first.
fn gradient(call: &Call, gradient: &mut Gradient<'_>) {
    let (Ok(sizes), Some(output)) = (Sizes::of(call), call.output()) else {
        return gradient::each(call, gradient);
    };
    let state = output
        .dtype
        .bytes_for(sizes.rows.saturating_mul(sizes.hidden));
    let gates = state.saturating_mul(sizes.cell.gates());
    if gradient.is_traced() {
        match sizes.cell {
            Cell::Gru => gradient.scratch_all(&[state; 4]),
            _ => gradient.scratch(gates),
        }
        gradient.release("parts");
        gradient.release("gates");
        let parts = if sizes.cell == Cell::Gru { 0 } else { 1 };
        gradient.scratch(gates);
        gradient.drop(0, parts);
    }
    let mut side = |factor: usize, last: bool| {
        let (weight, bias) = (sizes.weight + factor, sizes.weight + 2 + factor);
        for position in [factor, weight, bias] {
            gradient.make(position);
        }
        if last {
            gradient.end();
        } else if sizes.cell == Cell::Gru && gradient.is_traced() {
            // The joined gates of this map go, and those of the other are joined.
            gradient.drop(4, 1);
            gradient.scratch(gates);
            gradient.drop(0, 4);
        }
        for position in [bias, factor, weight] {
            gradient.hand(position);
        }
    };
    let order = if sizes.cell == Cell::Gru {
        [1, 0]
    } else {
        [0, 1]
    };
    side(order[0], false);
    side(order[1], true);
    if sizes.cell == Cell::Lstm {
        gradient.make(2);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{
        check, check_intervals, check_parameters, check_products, check_saved,
    };

    #[test]
    fn shapes_and_errors() {
        check(&[
            (
                "lstm_cell([2, 32], hidden_size=48)",
                "float32 [2, 48]; float32 [2, 48]",
            ),
            ("gru_cell([32], hidden_size=48)", "float32 [48]"),
            (
                "rnn_cell([2, 32], [2, 47], hidden_size=48)",
                "error: `hx` of `rnn_cell` is [2, 47], but must be [2, 48] for the input [2, 32]",
            ),
            (
                "rnn_cell([3, 2, 32], hidden_size=48)",
                "error: `rnn_cell` takes [batch, features] or [features], but its input is [3, 2, 32]",
            ),
            ("rnn_cell([2, 32])", "error: `rnn_cell` needs `hidden_size`"),
            (
                "rnn_cell([2, 32], -, [48, 31], [48, 48])",
                "error: `weight_ih` of `rnn_cell` is [48, 31], but must be [48, 32] for the input [2, 32]",
            ),
        ]);
        check_parameters(&[(
            "gru_cell([2, 32], hidden_size=48)",
            "weight_ih [144, 32], weight_hh [144, 48], bias_ih [144], bias_hh [144]",
        )]);
        let (ih, hh) = (2 * 2 * 4 * 48 * 32, 2 * 2 * 4 * 48 * 48);
        check_products(&[
            ("lstm_cell([2, 32], hidden_size=48)", (ih + hh, 2 * ih + hh)),
            (
                "lstm_cell([2, 32]!, [2, 48], [2, 48], hidden_size=48)",
                (ih + hh, ih + 2 * hh),
            ),
        ]);
    }

    /// What PyTorch 2.15's `saved_tensors_hooks` showed on (fake) CUDA tensors.
    #[test]
    fn what_is_kept() {
        check_saved(&[
            (
                "lstm_cell([2, 32]!, hidden_size=48)",
                "input, bias_ih, bias_hh, output1, initial state: 96 float32, input gates: 384 float32, hidden gates: 384 float32, workspace: 384 float32",
            ),
            (
                "gru_cell([2, 32], hidden_size=48)",
                "input, weight_ih, bias_ih, bias_hh, initial state: 96 float32, input gates: 288 float32, hidden gates: 288 float32, workspace: 480 float32",
            ),
            (
                "rnn_cell([2, 32], [2, 48], hidden_size=48, bias=false)",
                "input, weight_ih, hx, weight_hh, output",
            ),
        ]);
        check_intervals(&[(
            "rnn_cell([2, 3], [2, 4], hidden_size=4, bias=false, nonlinearity=relu)",
            &[(0.0, 1.0), (0.0, 2.0), (-1.0, 1.0), (-1.0, 0.5)],
            "[0, 7]",
        )]);
    }
}
