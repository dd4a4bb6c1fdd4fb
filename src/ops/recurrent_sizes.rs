//! The sizes of a recurrent layer, checked, and the products and weights that follow from them.

use super::recurrence::Cell;
use super::{Call, OpError, multilinear};
use crate::tensor::Shape;

/// Steps that a gradient goes back.
pub(super) fn back_steps(call: &Call, sizes: &Sizes) -> f64 {
    match call.size("bptt") {
        Ok(cut) if cut > 0 => cut.min(sizes.steps) as f64,
        _ => sizes.steps as f64,
    }
}

/// The sizes of a recurrent layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) cell: Cell,
    pub(super) steps: u64,
    pub(super) batch: u64,
    pub(super) batched: bool,
    pub(super) input: u64,
    pub(super) hidden: u64,
    /// 0 where the state is not projected.
    pub(super) projected: u64,
    pub(super) layers: u64,
    pub(super) directions: u64,
}

impl Sizes {
    pub(super) fn of(call: &Call) -> Result<Sizes, OpError> {
        let input = call.shape(0)?;
        let (steps, batch, features, batched) = match *input.sizes() {
            [steps, features] => (steps, 1, features, false),
            [batch, steps, features] if call.boolean("batch_first") => {
                (steps, batch, features, true)
            }
            [steps, batch, features] => (steps, batch, features, true),
            _ => {
                let order = match call.boolean("batch_first") {
                    true => "[batch, steps, features]",
                    false => "[steps, batch, features]",
                };
                let message = format!(
                    "`{}` takes {order} or [steps, features], but its input is {input}",
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
        let sizes = Sizes {
            cell: match call.op.name {
                "lstm" => Cell::Lstm,
                "gru" => Cell::Gru,
                _ if call.text("nonlinearity").as_deref() == Some("relu") => Cell::Relu,
                _ => Cell::Tanh,
            },
            steps,
            batch,
            batched,
            input: features,
            hidden: call.size("hidden_size")?,
            projected: match call.op.attribute_position("proj_size") {
                Some(_) => call.size("proj_size")?,
                None => 0,
            },
            layers: call.size("num_layers")?,
            directions: if call.boolean("bidirectional") { 2 } else { 1 },
        };
        for (name, size) in [("hidden_size", sizes.hidden), ("num_layers", sizes.layers)] {
            if size == 0 {
                return Err(OpError::new(format!("`{name}` must be at least 1")).attribute(name));
            }
        }
        if sizes.layers > 10_000 {
            let message = format!("{} `num_layers` are more than 10,000", sizes.layers);
            return Err(OpError::new(message).attribute("num_layers"));
        }
        if sizes.projected >= sizes.hidden && sizes.projected > 0 {
            let message = format!(
                "`proj_size` is {}, but must be below the hidden size {}",
                sizes.projected, sizes.hidden
            );
            return Err(OpError::new(message).attribute("proj_size"));
        }
        Ok(sizes)
    }

    /// The size of the state that goes on to the next step and layer.
    pub(super) fn state(&self) -> u64 {
        if self.projected > 0 {
            self.projected
        } else {
            self.hidden
        }
    }

    /// The features that enter a layer.
    pub(super) fn features(&self, layer: u64) -> u64 {
        match layer {
            0 => self.input,
            _ => self.state().saturating_mul(self.directions),
        }
    }

    /// The first position of weights.
    pub(super) fn first_weight(&self) -> usize {
        if self.cell == Cell::Lstm { 3 } else { 2 }
    }

    /// Multiply-adds of both directions of one layer, doubled.
    pub(super) fn layer_products(&self, layer: u64) -> u128 {
        let cells = [self.steps, self.batch, self.directions];
        let gates = self.cell.gates().saturating_mul(self.hidden);
        let width = self.features(layer).saturating_add(self.state());
        let gates = multilinear::flops(cells.into_iter().chain([gates, width]));
        let projection = [self.hidden, self.projected];
        gates.saturating_add(multilinear::flops(cells.into_iter().chain(projection)))
    }

    /// The products of the first layer with its input.
    pub(super) fn first_products(&self) -> u128 {
        let gates = self.cell.gates().saturating_mul(self.hidden);
        multilinear::flops([self.steps, self.batch, self.directions, gates, self.input])
    }

    /// The products of all layers with their states in one step.
    pub(super) fn state_products(&self) -> u128 {
        let gates = self.cell.gates().saturating_mul(self.hidden);
        let cells = [self.batch, self.directions, self.layers];
        multilinear::flops(cells.into_iter().chain([gates, self.state()]))
    }

    pub(super) fn products(&self) -> u128 {
        // All layers but the first are alike.
        let rest = u128::from(self.layers - 1).saturating_mul(self.layer_products(1));
        self.layer_products(0).saturating_add(rest)
    }

    /// For each element of a gate adding both parts and two biases, its activation, and what makes
    /// the state of the gates: 5 operations for an LSTM, 6 for a GRU.
    pub(super) fn other(&self, bias: bool) -> u128 {
        let each = if bias { 4 } else { 2 };
        let combined = match self.cell {
            Cell::Tanh | Cell::Relu => 0,
            Cell::Lstm => 5,
            Cell::Gru => 6,
        };
        let operations = self.cell.gates() * each + combined;
        let cells = [
            self.steps,
            self.batch,
            self.directions,
            self.layers,
            self.hidden,
        ];
        cells
            .into_iter()
            .fold(u128::from(operations), |product, size| {
                product.saturating_mul(size.into())
            })
    }

    /// `[layers · directions, batch, size]`, without the batch where the input has none.
    pub(super) fn state_shape(&self, size: u64) -> Shape {
        let batch = self.batched.then_some(self.batch);
        [self.layers * self.directions]
            .into_iter()
            .chain(batch)
            .chain([size])
            .collect()
    }

    /// Weights and biases in PyTorch's order.
    pub(super) fn weights(&self, bias: bool) -> Vec<(String, Shape)> {
        let mut weights = Vec::new();
        let gates = self.cell.gates().saturating_mul(self.hidden);
        for layer in 0..self.layers {
            for direction in 0..self.directions {
                let end = if direction == 0 { "" } else { "_reverse" };
                let mut add = |name: &str, shape: Shape| {
                    weights.push((format!("{name}_l{layer}{end}"), shape));
                };
                add("weight_ih", Shape::from([gates, self.features(layer)]));
                add("weight_hh", Shape::from([gates, self.state()]));
                if bias {
                    add("bias_ih", Shape::from([gates]));
                    add("bias_hh", Shape::from([gates]));
                }
                if self.projected > 0 {
                    add("weight_hr", Shape::from([self.projected, self.hidden]));
                }
            }
        }
        weights
    }
}
