//! Numbers with a unit: bytes, operations, elements, seconds.
//!
//! Whole quantities never wrap. Their operators saturate, and the greatest value is sticky: it
//! stands for 'more than can be counted', survives further arithmetic and is printed as such. Where
//! an overflow is to be reported, there are the `checked_` methods.

mod display;
mod parse;
mod seconds;
mod whole;

pub use display::{figure, group, si};
pub use parse::ParseBytesError;
pub use seconds::Seconds;
pub use whole::{Bytes, Elements, Flops};
