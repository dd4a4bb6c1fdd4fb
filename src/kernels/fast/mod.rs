//! The kernels that matter for speed: a compensated sum close to the speed of memory, the product of
//! matrices, and a ball in a volume.
//!
//! The other kernels are written to be obviously right; these are written to be fast as well, in safe
//! code, and are held to plain ones by tests. What each is worth beside a peer is measured by
//! `benches/kernels.rs`.

mod ahead;
pub mod ball;
pub mod product;
pub mod read;
pub mod sum;
