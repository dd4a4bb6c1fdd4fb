//! Recurrent layers: `rnn`, `lstm`, `gru`.
//!
//! Products are counted by formula: for each layer and direction two per multiply-add of both
//! weights, at each step. PyTorch's `FlopCounterMode` sees none of a fused kernel. What cuDNN
//! reserves for the backward pass is not published; the figure here is the states of all gates, an
//! estimate.

use smallvec::SmallVec;

use super::definition::{BASE, Default, attribute, operand, optional, variadic};
use super::gradient::{self, Kernels};
use super::pointwise::range;
use super::recurrence::{Cell, Drive, Settled, settle};
use super::recurrent_sizes::{Sizes, back_steps};
use super::{
    Attribute, AttributeKind, Autocast, Call, Init, Op, OpError, Outputs, ParameterDefinition,
    Saved, Work, multilinear, recurrent_traced,
};
use crate::tensor::{Interval, Moments, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "rnn",
        aliases: &["elman_rnn"],
        summary: "h' = tanh(W x + b + U h + c) at each step",
        operands: &[operand("input"), optional("hx"), variadic("weights")],
        attributes: &[
            HIDDEN_SIZE,
            NUM_LAYERS,
            attribute(
                "nonlinearity",
                AttributeKind::Choice(&["tanh", "relu"]),
                Default::Text("tanh"),
                "the activation",
            ),
            BIAS,
            BATCH_FIRST,
            DROPOUT,
            BIDIRECTIONAL,
            BPTT,
            INPUT_SIZE,
        ],
        ..LAYER
    },
    Op {
        name: "lstm",
        summary: "long short-term memory",
        operands: &[
            operand("input"),
            optional("hx"),
            optional("cx"),
            variadic("weights"),
        ],
        attributes: &[
            HIDDEN_SIZE,
            NUM_LAYERS,
            BIAS,
            BATCH_FIRST,
            DROPOUT,
            BIDIRECTIONAL,
            attribute(
                "proj_size",
                AttributeKind::Size,
                Default::Integer(0),
                "size to which the hidden state is projected; 0 does not project",
            ),
            BPTT,
            INPUT_SIZE,
        ],
        ..LAYER
    },
    Op {
        name: "gru",
        summary: "gated recurrent unit",
        operands: &[operand("input"), optional("hx"), variadic("weights")],
        attributes: &[
            HIDDEN_SIZE,
            NUM_LAYERS,
            BIAS,
            BATCH_FIRST,
            DROPOUT,
            BIDIRECTIONAL,
            BPTT,
            INPUT_SIZE,
        ],
        ..LAYER
    },
];

const HIDDEN_SIZE: Attribute = attribute(
    "hidden_size",
    AttributeKind::Size,
    Default::Required,
    "size of the hidden state",
);

const NUM_LAYERS: Attribute = attribute(
    "num_layers",
    AttributeKind::Size,
    Default::Integer(1),
    "layers on top of each other",
);

const BIAS: Attribute = attribute(
    "bias",
    AttributeKind::Boolean,
    Default::Boolean(true),
    "whether to add biases",
);

const BATCH_FIRST: Attribute = attribute(
    "batch_first",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether the input is [batch, steps, features]; by default, as in PyTorch, it is [steps, \
     batch, features]",
);

const DROPOUT: Attribute = attribute(
    "dropout",
    AttributeKind::Float,
    Default::Float(0.0),
    "probability of dropping elements between layers",
);

const BIDIRECTIONAL: Attribute = attribute(
    "bidirectional",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether a second pass runs from the end",
);

const BPTT: Attribute = attribute(
    "bptt",
    AttributeKind::Size,
    Default::Integer(0),
    "steps after which backpropagation through time is cut; 0 never cuts",
);

const INPUT_SIZE: Attribute = attribute(
    "input_size",
    AttributeKind::Size,
    Default::None,
    "checked if given",
);

const LAYER: Op = Op {
    parameters: Some(parameters),
    infer,
    autocast: Autocast::Lower,
    work: |call| match Sizes::of(call) {
        Ok(sizes) => Work {
            products: sizes.products(),
            other: sizes.other(call.boolean("bias")),
        },
        Err(_) => Work::default(),
    },
    // The gradients of both factors, but for those of an input and of initial states that need
    // none. Each window of a truncated pass has initial states that need none.
    backward: |call| match Sizes::of(call) {
        Ok(sizes) => {
            let first = if call.requires_grad(0) {
                0
            } else {
                sizes.first_products()
            };
            let windows = sizes
                .steps
                .div_ceil((back_steps(call, &sizes) as u64).max(1));
            let initial = windows.saturating_sub(u64::from(call.requires_grad(1)));
            let states = sizes.state_products().saturating_mul(initial.into());
            sizes
                .products()
                .saturating_mul(2)
                .saturating_sub(first)
                .saturating_sub(states)
        }
        Err(_) => 0,
    },
    saved,
    gradient: |call, gradient| match Sizes::of(call) {
        Ok(sizes) if gradient.is_traced() => recurrent_traced::gradient(call, &sizes, gradient),
        _ => gradient::each(call, gradient),
    },
    interval: |call, ranges| {
        let Ok(sizes) = Sizes::of(call) else {
            return Interval::ANYTHING;
        };
        let initial = match call.has(1) {
            true => range(ranges, 1),
            false => Interval::point(0.0),
        };
        match sizes.cell {
            _ if sizes.projected > 0 => Interval::REAL,
            Cell::Tanh | Cell::Lstm => Interval::new(-1.0, 1.0),
            // A mean of what was and of a tanh.
            Cell::Gru => Interval::new(-1.0, 1.0).union(initial),
            Cell::Relu => Interval {
                low: 0.0,
                ..Interval::REAL
            },
        }
    },
    moments: |call, moments| settled(call, moments)?.last().map(|settled| settled.state),
    gradient_gain: |call, position, moments| {
        (position == 0).then_some(())?;
        let sizes = Sizes::of(call).ok()?;
        let steps = back_steps(call, &sizes);
        let gains = settled(call, moments)?.into_iter().map(|settled| {
            // The gradient of a step is that of its output and what comes from the steps after it.
            let sum = match (settled.step_gain - 1.0).abs() < 1e-9 {
                true => steps,
                false => (1.0 - settled.step_gain.powf(steps)) / (1.0 - settled.step_gain),
            };
            settled.input_gain * sum * sizes.directions as f64
        });
        let gain: f64 = gains.product();
        gain.is_finite().then_some(gain)
    },
    ..BASE
};

/// By what factor the mean square of a gradient changes over one step back in time, for each
/// layer, and over how many steps it goes: from the moments of the operands. A factor well below 1
/// makes the gradient vanish, one above 1 explode.
pub fn step_gains(call: &Call, moments: &[Option<Moments>]) -> Option<(Vec<f64>, u64)> {
    let sizes = Sizes::of(call).ok()?;
    let gains = settled(call, moments)?
        .iter()
        .map(|settled| settled.step_gain)
        .collect();
    Some((gains, back_steps(call, &sizes) as u64))
}

fn parameters(call: &Call) -> Result<SmallVec<[ParameterDefinition; 2]>, OpError> {
    let sizes = Sizes::of(call)?;
    let bound = 1.0 / (sizes.hidden as f64).sqrt();
    let weights = sizes.weights(call.boolean("bias")).into_iter().enumerate();
    Ok(weights
        .map(|(index, (name, shape))| {
            let position = sizes.first_weight() + index;
            ParameterDefinition::new(position, name, shape, Init::Uniform(-bound, bound))
        })
        .collect())
}

fn infer(call: &Call) -> Result<Outputs, OpError> {
    let sizes = Sizes::of(call)?;
    let weights = sizes.weights(call.boolean("bias"));
    for (index, (name, expected)) in weights.iter().enumerate() {
        let position = sizes.first_weight() + index;
        let given = call.argument(position).map(|argument| &argument.ty.shape);
        if given != Some(expected) {
            let given = given.map_or("missing".to_owned(), ToString::to_string);
            let message = format!(
                "`{name}` of `{}` must be {expected} for the input {}, but is {given}",
                call.op.name,
                call.shape(0)?
            );
            return Err(OpError::new(message).operands([position, 0]));
        }
    }
    let states = [(1, "hx", sizes.state()), (2, "cx", sizes.hidden)];
    for (position, name, size) in states.into_iter().take(sizes.first_weight() - 1) {
        let expected = sizes.state_shape(size);
        if let Some(state) = call.argument(position)
            && state.ty.shape != expected
        {
            let message = format!(
                "`{name}` of `{}` is {}, but must be {expected}: [layers · directions, batch, size]",
                call.op.name, state.ty.shape
            );
            return Err(OpError::new(message).operands([position]));
        }
    }
    let dtype = multilinear::dtype(call, 0..call.arguments.len())?;
    let mut output = call.shape(0)?.clone();
    output.set(
        output.rank() - 1,
        sizes.state().saturating_mul(sizes.directions),
    );
    let mut outputs = Outputs::new();
    outputs.push(TensorType {
        shape: output,
        dtype,
    });
    outputs.push(TensorType::new(sizes.state_shape(sizes.state()), dtype));
    if sizes.cell == Cell::Lstm {
        outputs.push(TensorType::new(sizes.state_shape(sizes.hidden), dtype));
    }
    Ok(outputs)
}

/// Input, output, initial states, weights, and cuDNN's reserve: gates and states of every step of
/// which the gradient is still to come.
fn saved(call: &Call, saved: &mut Saved) {
    let (Ok(sizes), Some(output)) = (Sizes::of(call), call.output()) else {
        return;
    };
    saved.argument(call, 0);
    let states = [
        ("initial state", sizes.state()),
        ("initial cell", sizes.hidden),
    ];
    for (index, (name, size)) in states
        .into_iter()
        .take(sizes.first_weight() - 1)
        .enumerate()
    {
        match call.has(index + 1) {
            true => saved.argument(call, index + 1),
            false => saved.extra(name, sizes.state_shape(size).elements(), output.dtype),
        }
    }
    for position in sizes.first_weight()..call.arguments.len() {
        saved.argument(call, position);
    }
    if saved.kernels == Kernels::Traced {
        return recurrent_traced::saved(call, &sizes, output.dtype, saved);
    }
    saved.output(0);
    // Gates, and the states that the output does not show: of an LSTM both, of a GRU its own and
    // the recurrent part of the candidate.
    let each = match sizes.cell {
        Cell::Tanh | Cell::Relu => 2,
        Cell::Lstm => 6,
        Cell::Gru => 5,
    };
    let cells = [
        back_steps(call, &sizes) as u64,
        sizes.batch,
        sizes.layers,
        sizes.directions,
    ];
    let elements = cells
        .into_iter()
        .chain([sizes.hidden, each])
        .fold(1, u64::saturating_mul);
    saved.extra("reserve", elements, output.dtype);
    if call.training && call.float("dropout").unwrap_or(0.0) > 0.0 && sizes.layers > 1 {
        let width = sizes.state().saturating_mul(sizes.directions);
        let between = cells[0]
            .saturating_mul(sizes.batch)
            .saturating_mul(sizes.layers - 1);
        saved.extra(
            "dropout mask",
            between.saturating_mul(width),
            crate::tensor::Dtype::Bool,
        );
    }
}

/// The dynamics of each layer, by the weights of its first direction.
fn settled(call: &Call, moments: &[Option<Moments>]) -> Option<Vec<Settled>> {
    let sizes = Sizes::of(call).ok()?;
    if sizes.projected > 0 {
        return None;
    }
    let bias = call.boolean("bias");
    let each = if bias { 4 } else { 2 } * sizes.directions as usize;
    let mut input = (*moments.first()?)?;
    let mut layers = Vec::with_capacity(sizes.layers as usize);
    for layer in 0..sizes.layers {
        let first = sizes.first_weight() + layer as usize * each;
        let weight = |index: usize| moments.get(first + index).copied().flatten();
        let (ih, hh) = (weight(0)?.square(), weight(1)?.square());
        let biases = if bias {
            weight(2)?.square() + weight(3)?.square()
        } else {
            0.0
        };
        let drive = Drive {
            input: sizes.features(layer) as f64 * ih * input.square() + biases,
            recurrent: sizes.hidden as f64 * hh,
            backward: sizes.hidden as f64 * ih,
        };
        let settled = settle(sizes.cell, drive, sizes.steps)?;
        input = settled.state;
        layers.push(settled);
    }
    Some(layers)
}

#[cfg(test)]
mod tests {
    use super::super::cases::{
        check, check_intervals, check_parameters, check_products, check_saved, with,
    };
    use super::*;

    #[test]
    fn shapes_and_errors() {
        check(&[
            (
                "lstm([100, 64, 128], hidden_size=256)",
                "float32 [100, 64, 256]; float32 [1, 64, 256]; float32 [1, 64, 256]",
            ),
            (
                "lstm([64, 100, 128], hidden_size=256, batch_first=true, num_layers=2, bidirectional=true)",
                "float32 [64, 100, 512]; float32 [4, 64, 256]; float32 [4, 64, 256]",
            ),
            (
                "lstm([100, 128], hidden_size=256, proj_size=32)",
                "float32 [100, 32]; float32 [1, 32]; float32 [1, 256]",
            ),
            (
                "gru([100, 64, 128], hidden_size=256)",
                "float32 [100, 64, 256]; float32 [1, 64, 256]",
            ),
            (
                "rnn([100, 64, 128], [1, 64, 256], hidden_size=256, nonlinearity=relu)",
                "float32 [100, 64, 256]; float32 [1, 64, 256]",
            ),
            (
                "gru([100, 64, 128], [1, 65, 256], hidden_size=256)",
                "error: `hx` of `gru` is [1, 65, 256], but must be [1, 64, 256]: [layers · directions, batch, size]",
            ),
            (
                "gru([128], hidden_size=256)",
                "error: `gru` takes [steps, batch, features] or [steps, features], but its input is [128]",
            ),
            (
                "gru([100, 64, 128], hidden_size=256, input_size=64)",
                "error: `input_size` is 64, but the input [100, 64, 128] has 128 features",
            ),
            (
                "gru([100, 64, 128], hidden_size=0)",
                "error: `hidden_size` must be at least 1",
            ),
            (
                "gru([5, 2, 3], -, [12, 3], [12, 4], [12], [11], hidden_size=4)",
                "error: `bias_hh_l0` of `gru` must be [12] for the input [5, 2, 3], but is [11]",
            ),
            (
                "lstm([5, 2, 3], hidden_size=4, proj_size=4)",
                "error: `proj_size` is 4, but must be below the hidden size 4",
            ),
        ]);
        check_parameters(&[
            (
                "lstm([5, 2, 3], hidden_size=4, proj_size=2)",
                "weight_ih_l0 [16, 3], weight_hh_l0 [16, 2], bias_ih_l0 [16], bias_hh_l0 [16], weight_hr_l0 [2, 4]",
            ),
            (
                "gru([5, 2, 3], hidden_size=4, bidirectional=true, bias=false, num_layers=2)",
                "weight_ih_l0 [12, 3], weight_hh_l0 [12, 4], weight_ih_l0_reverse [12, 3], weight_hh_l0_reverse [12, 4], weight_ih_l1 [12, 8], weight_hh_l1 [12, 4], weight_ih_l1_reverse [12, 8], weight_hh_l1_reverse [12, 4]",
            ),
        ]);
    }

    #[test]
    fn products_are_those_of_all_weights_at_each_step() {
        let (step, state) = (2 * 5 * 2, 2 * 2 * 16 * 4);
        let all = step * 16 * 7;
        check_products(&[
            ("lstm([5, 2, 3], hidden_size=4)", (all, 2 * all - state)),
            ("lstm([5, 2, 3], [1, 2, 4], hidden_size=4)", (all, 2 * all)),
            (
                "lstm([5, 2, 3], hidden_size=4, bptt=2)",
                (all, 2 * all - 3 * state),
            ),
            (
                "lstm([5, 2, 3]!, hidden_size=4)",
                (all, 2 * all - state - step * 16 * 3),
            ),
            (
                "lstm([5, 2, 3], hidden_size=4, proj_size=2)",
                (step * (16 * 5 + 8), 2 * step * (16 * 5 + 8) - state / 2),
            ),
            (
                "gru([5, 2, 3], hidden_size=4, bidirectional=true, num_layers=2)",
                (
                    step * 2 * 12 * (7 + 12),
                    4 * step * 12 * (7 + 12) - 4 * state * 3 / 4,
                ),
            ),
        ]);
    }

    #[test]
    fn what_is_kept_ends_with_the_truncation() {
        check_saved(&[
            (
                "lstm([5, 2, 3], hidden_size=4, bias=false)",
                "input, weights3, weights4, output, initial state: 8 float32, initial cell: 8 float32, reserve: 240 float32",
            ),
            (
                "gru([5, 2, 3], [1, 2, 4], hidden_size=4, bias=false, bptt=2)",
                "input, hx, weights2, weights3, output, reserve: 80 float32",
            ),
        ]);
        check_intervals(&[
            (
                "lstm([5, 2, 3], hidden_size=4)",
                &[(-9.0, 9.0), (0.0, 0.0), (0.0, 0.0)],
                "[-1, 1]",
            ),
            (
                "gru([5, 2, 3], [1, 2, 4], hidden_size=4)",
                &[(-9.0, 9.0), (-2.0, 0.0)],
                "[-2, 1]",
            ),
        ]);
    }

    /// With PyTorch's default weights the gradient of a plain network vanishes by two thirds a
    /// step, and that of an LSTM by about three quarters of its variance.
    #[test]
    fn gradients_vanish_through_time_by_default() {
        let default = Some(Moments::uniform(-1.0 / 16.0, 1.0 / 16.0));
        let mut moments = vec![
            Some(Moments::STANDARD),
            None,
            default,
            default,
            default,
            default,
        ];
        with("rnn([100, 8, 64], hidden_size=256, bptt=35)", |call| {
            let (gains, steps) = step_gains(call, &moments).unwrap();
            assert_eq!(steps, 35);
            assert!((0.25..0.34).contains(&gains[0]), "{gains:?}");
            assert!((call.op.gradient_gain)(call, 0, &moments).unwrap() > 0.0);
        })
        .unwrap();
        moments.insert(1, None);
        with("lstm([100, 8, 64], hidden_size=256)", |call| {
            let (gains, steps) = step_gains(call, &moments).unwrap();
            assert_eq!(steps, 100);
            assert!((0.25..0.4).contains(&gains[0]), "{gains:?}");
        })
        .unwrap();
    }
}
