//! Decompositions of matrices: singular values, eigenvalues, QR.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
