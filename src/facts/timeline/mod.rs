//! The timeline of one training step: when each block of memory is allocated and freed, and where
//! the most lives at once.
//!
//! The step is the second one, in which the optimizer has its state: forward, backward, optimizer,
//! `zero_grad(set_to_none=True)`; of a model that is not trained, a forward pass without gradients.
//! Under a parallel plan it is the step of one [`Rank`], with what it gathers, reduces and exchanges.
//! Bytes are those that are asked for. What an allocator makes of them, workspaces of libraries and
//! the device's context are not in it. Which tensors a call makes is said by its op's entry
//! (`Op::saved`, `Op::gradient`); here is no list of ops.

mod backward;
mod collectives;
mod forward;
mod fsdp;
mod heap;
mod peak;
mod pipeline;
mod rank;
mod reach;
mod recorder;
mod replicas;
mod step;
#[cfg(test)]
mod tests;
mod update;
mod zero;

pub use heap::{Allocation, Heap, Moment, Phase, Recorder};
pub use peak::{Peak, PeakOwner};
pub use rank::Rank;
pub(super) use reach::{begins, reached};
pub use recorder::{Event, Events, Highest, Living, PHASES, Parts, Sample, Samples};
pub use step::{Inputs, run};
pub use update::Update;
