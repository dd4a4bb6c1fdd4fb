//! What is known of a tensor without its values: element type, shape, range and moments.
//!
//! Nothing here knows of ops or graphs.

mod dtype;
mod interval;
mod moments;
mod shape;

pub use dtype::{Dtype, FloatFormat};
pub use interval::Interval;
pub use moments::Moments;
pub use shape::{Shape, TensorType};
