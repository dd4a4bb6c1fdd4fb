//! Decompositions of matrices: singular values, eigenvalues, QR.

use super::KernelError;
use super::registry::{Kernel, kernel};

const WHY: &str = "the factors of a decomposition are not unique, and are not computed here";

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("svd", |_, _, _| Err(KernelError::new(WHY))),
    kernel("svdvals", |_, _, _| Err(KernelError::new(WHY))),
    kernel("eigh", |_, _, _| Err(KernelError::new(WHY))),
    kernel("eigvalsh", |_, _, _| Err(KernelError::new(WHY))),
    kernel("qr", |_, _, _| Err(KernelError::new(WHY))),
];
