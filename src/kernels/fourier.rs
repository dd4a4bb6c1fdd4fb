//! Discrete Fourier transforms along one axis or two.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
