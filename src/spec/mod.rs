//! The spec language: TOML text in, typed spec out.
//!
//! [`document`] reads TOML into a tree with spans and knows nothing of models.

pub mod document;
