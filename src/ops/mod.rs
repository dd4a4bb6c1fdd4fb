//! The ops: everything that is known of an op stands together, in one entry of one file.
//!
//! An entry says what operands and attributes the op takes, which parameters a layer of it owns,
//! which shapes and dtypes come out, what it costs, what autograd keeps of it, and how ranges and
//! moments pass through it. An op knows nothing of graphs, specs or findings. To add one, add an
//! entry to a family's `OPS` table; [`FAMILIES`] lists the families, and a test holds the two
//! together.

mod attributes;
mod call;
#[cfg(test)]
pub mod cases;
pub mod definition;
pub mod equation;
mod error;
pub mod gaussian;
pub mod gradient;
mod init;
#[cfg(test)]
mod laws;
pub mod layout;
pub mod pointwise;
mod recurrence;
mod reduction;
mod registry;

mod activation;
mod arithmetic;
mod attention;
mod attention_gradient;
mod attention_kernel;
mod batch_norm;
mod cell;
mod comparison;
mod complex;
mod contraction;
mod conv;
mod conv_geometry;
mod conversion;
mod create;
mod cross_entropy;
mod decomposition;
mod distance;
mod distance_gradient;
mod dropout;
mod einsum;
mod embedding;
mod extreme;
pub mod foreign;
mod fourier;
mod grid;
mod grouped;
mod heads;
mod image;
mod index;
mod joining;
mod linalg;
mod linalg_gradient;
mod linear;
mod loss;
mod margin_loss;
mod matmul;
mod movement;
mod multi_head;
mod multilinear;
mod norm;
mod normalised;
mod pairs;
mod permute;
mod pool;
mod pool_geometry;
mod quantize;
mod ranking;
mod rectifier;
pub mod recurrent;
mod recurrent_sizes;
mod recurrent_traced;
mod reduce;
mod reduction_gradient;
mod resize;
mod scan;
mod scatter;
mod search;
mod shape;
mod slicing;
mod softmax;
mod unary;
mod vision;
mod window;

pub use attributes::{AttributeKind, AttributeValue, Attributes};
pub use call::{Argument, Call};
pub use definition::{
    Attribute, Autocast, Expander, Op, Operand, Outputs, ParameterDefinition, Saved, TensorHandle,
    Work,
};
pub use error::OpError;
pub use init::Init;
pub use registry::{FAMILIES, all, find, names};
