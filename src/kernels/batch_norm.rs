//! Normalisation of each channel: `batch_norm` and `instance_norm`, with running statistics.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
