//! The rectifiers: ReLU and its kin with a slope below 0.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
