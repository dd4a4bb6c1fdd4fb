//! Plimsoll reads a description of a neural network and of the run planned for it, and says what
//! is wrong with it, what it costs and what would be better.
//!
//! Data flows one way: text → spec → graph → facts → findings → output. The core does no I/O:
//! only [`cli`] does.

pub mod cli;
pub mod device;
pub mod diag;
pub mod engine;
pub mod export;
pub mod facts;
pub mod formula;
pub mod graph;
pub mod import;
pub mod kernels;
pub mod lower;
pub mod ops;
pub mod quantity;
pub mod render;
pub mod report;
pub mod rules;
pub mod source;
pub mod spec;
pub mod tensor;
pub mod verify;
