//! Numbers of each element type, held in float64.

use super::Array;
use crate::tensor::Dtype;

/// The type in which PyTorch's kernels compute on elements of `dtype` (`at::opmath_type`): float32
/// for anything narrower, float64 for integers, which are exact there up to 2^53.
pub fn opmath(dtype: Dtype) -> Dtype {
    match dtype {
        Dtype::Float64 | Dtype::Complex128 => Dtype::Float64,
        dtype if dtype.is_float() => Dtype::Float32,
        _ => Dtype::Float64,
    }
}

/// `value` on the grid of `dtype`: floats rounded to nearest, ties to even; integers cut towards
/// zero and wrapped, as a cast does; booleans 0 or 1. NaN stays, so that it can be followed.
pub fn round(dtype: Dtype, value: f64) -> f64 {
    match dtype {
        Dtype::Float64 | Dtype::Complex128 => value,
        Dtype::Float32 | Dtype::Complex64 => f64::from(value as f32),
        _ if value.is_nan() => value,
        Dtype::Bool => f64::from(u8::from(value != 0.0)),
        dtype => match (dtype.float_format(), dtype.integer_range()) {
            (Some(format), _) => format.round(value),
            (None, Some((low, high))) => {
                let whole = value.trunc();
                if whole >= low as f64 && whole <= high as f64 {
                    return whole;
                }
                let span = high - low + 1;
                (low + ((whole as i128).saturating_sub(low)).rem_euclid(span)) as f64
            }
            (None, None) => value,
        },
    }
}

/// Rounds all elements.
pub fn round_all(dtype: Dtype, array: &mut Array) {
    if dtype != Dtype::Float64 && dtype != Dtype::Complex128 {
        array.mapv_inplace(|value| round(dtype, value));
    }
}

/// The elements as a tensor of `dtype` holds them.
pub fn store(dtype: Dtype, mut array: Array) -> Array {
    round_all(dtype, &mut array);
    array
}
