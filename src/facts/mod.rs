//! Passes that compute what is so, and never judge: order, cost, memory, numbers, communication.
//!
//! Facts return values; whether a value is a fault is decided by the rules.

pub mod order;
