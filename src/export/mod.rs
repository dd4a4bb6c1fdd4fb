//! Models as texts of other kinds: from a [`Model`](crate::lower::Model) to what people and
//! programs read.
//!
//! One folder for each target. An exporter knows the graph and its target; it judges and costs
//! nothing, and opens no file.

pub mod spec;
