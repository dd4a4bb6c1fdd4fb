//! Reference kernels: what each op computes, on ndarray, written to be read and obviously right.
//!
//! A kernel is written once, from the primitives of a [`Tape`], each of which knows its derivative;
//! so gradients need no second writing. The tape counts multiplications, additions and bytes as they
//! are done, rounds after each primitive to the type in which the op computes, and hands a backward
//! pass nothing but what was kept for it. Kernels share nothing with the formulas for cost, ranges
//! or memory in `ops`: they are what those are held against. Which figures are compared, and what
//! comes of it, is for `verify`.

mod activation;
mod alignment;
mod arithmetic;
mod attention;
mod batch_norm;
mod cell;
mod comparison;
mod complex;
mod conv;
mod conversion;
mod create;
mod cross_entropy;
mod decomposition;
mod distance;
mod dropout;
mod einsum;
mod embedding;
mod evaluate;
mod extreme;
mod factors;
pub mod fast;
mod foreign;
mod fourier;
mod grouped;
mod image;
mod index;
mod joining;
mod linalg;
mod linear;
mod loss;
mod margin_loss;
mod matmul;
mod movement;
mod norm;
mod permute;
mod pool;
mod quantize;
mod ranking;
mod rectifier;
mod recurrent;
mod reduce;
mod registry;
mod resize;
mod sample;
mod scan;
mod scatter;
mod search;
mod shape;
mod slicing;
mod softmax;
mod suppression;
mod tape;
mod unary;
mod vision;
mod window;

pub use evaluate::{Gradients, Ran, Setting, Supplied, backward, forward, held_sizes};
pub use registry::{FAMILIES, Kernel, find};
pub use tape::contraction::Labels;
pub use tape::number::{opmath, round, store};
pub use tape::{Arithmetic, Array, Backward, Count, Kept, KernelError, Tape, Var};
