//! Losses over classes: `cross_entropy`, `nll_loss`, `ctc_loss`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
