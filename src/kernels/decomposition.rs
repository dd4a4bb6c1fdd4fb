//! Decompositions of matrices: singular values, eigenvalues, QR.

use super::registry::{Kernel, refused};

const WHY: &str = "the factors of a decomposition are not unique, and are not computed here";

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    refused("svd", WHY),
    refused("svdvals", WHY),
    refused("eigh", WHY),
    refused("eigvalsh", WHY),
    refused("qr", WHY),
];
