//! Contractions over axes that are named: `einsum`, `tensordot`, `kron`, `bilinear`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
