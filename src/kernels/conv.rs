//! Convolutions and transposed convolutions over one, two or three axes.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
