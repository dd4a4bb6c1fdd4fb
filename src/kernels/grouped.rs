//! Products in groups: `grouped_mm`, each row by the matrix of its group, as the experts of a

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
