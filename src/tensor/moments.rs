//! Mean and variance of a tensor's elements, for signal propagation at initialisation.

/// Mean and variance of the elements of a tensor, over the random initialisation and the data.
///
/// The propagation treats elements as independent (the mean-field assumption of Glorot & Bengio
/// 2010 and He et al. 2015), so a figure that comes of it is an estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// Mean.
    pub mean: f64,
    /// Variance.
    pub variance: f64,
}

impl Moments {
    /// Zero mean, unit variance: what a normalised input has.
    pub const STANDARD: Moments = Moments {
        mean: 0.0,
        variance: 1.0,
    };

    /// These moments.
    pub fn new(mean: f64, variance: f64) -> Moments {
        Moments {
            mean,
            variance: variance.max(0.0),
        }
    }

    /// A constant.
    pub fn constant(value: f64) -> Moments {
        Moments {
            mean: value,
            variance: 0.0,
        }
    }

    /// Those of values spread evenly over `low..high`.
    pub fn uniform(low: f64, high: f64) -> Moments {
        Moments::new((low + high) / 2.0, (high - low).powi(2) / 12.0)
    }

    /// Second moment, `E[x²] = mean² + variance`.
    pub fn square(&self) -> f64 {
        self.mean * self.mean + self.variance
    }
}
