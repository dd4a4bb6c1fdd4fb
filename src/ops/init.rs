//! How parameters are initialised, as far as their first two moments go.

use crate::tensor::{Moments, Shape};

/// An initialisation, by the name of `torch.nn.init`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// `U(-1/√fan_in, 1/√fan_in)`: PyTorch's default for linear and convolution weights
    /// (`kaiming_uniform_` with `a = √5`), variance `1/(3·fan_in)`; also for their biases, with
    /// the fan-in of the weight, given here.
    FanIn(u64),
    /// `kaiming_normal_` or `kaiming_uniform_` with the gain of ReLU: variance `2/fan_in`.
    Kaiming,
    /// `xavier_normal_` or `xavier_uniform_`: variance `2/(fan_in + fan_out)`.
    Xavier,
    /// `orthogonal_`: variance `1/max(rows, columns)`.
    Orthogonal,
    /// `normal_(mean, standard deviation)`.
    Normal(f64, f64),
    /// `uniform_(low, high)`.
    Uniform(f64, f64),
    /// One value everywhere.
    Constant(f64),
    /// Something that is not written down: the weight of an imported model.
    Unknown,
}

impl Init {
    /// The names that `init = "…"` takes.
    pub const NAMES: [&'static str; 10] = [
        "default",
        "kaiming_normal",
        "kaiming_uniform",
        "xavier_normal",
        "xavier_uniform",
        "orthogonal",
        "normal",
        "trunc_normal",
        "zeros",
        "ones",
    ];

    /// Mean and variance of the elements of a weight of that shape, if they are known. Fan-in is the product of all
    /// axes but the first, fan-out of all but the second, as in `torch.nn.init`.
    pub fn moments(self, shape: &Shape) -> Option<Moments> {
        let sizes = shape.sizes();
        let product = |skip: usize| {
            sizes
                .iter()
                .enumerate()
                .filter(|&(i, _)| i != skip)
                .map(|(_, &n)| n as f64)
                .product()
        };
        let fan_in: f64 = if sizes.len() < 2 {
            shape.elements() as f64
        } else {
            product(0)
        };
        let fan_out: f64 = if sizes.len() < 2 {
            shape.elements() as f64
        } else {
            product(1)
        };
        Some(match self {
            Init::FanIn(fan) => Moments::new(0.0, 1.0 / (3.0 * (fan.max(1)) as f64)),
            Init::Kaiming => Moments::new(0.0, 2.0 / fan_in.max(1.0)),
            Init::Xavier => Moments::new(0.0, 2.0 / (fan_in + fan_out).max(1.0)),
            Init::Orthogonal => {
                let rows = sizes.first().copied().unwrap_or(1) as f64;
                Moments::new(0.0, 1.0 / rows.max(product(0)).max(1.0))
            }
            Init::Normal(mean, deviation) => Moments::new(mean, deviation * deviation),
            Init::Uniform(low, high) => Moments::uniform(low, high),
            Init::Constant(value) => Moments::constant(value),
            Init::Unknown => return None,
        })
    }
}
