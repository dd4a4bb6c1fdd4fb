//! Recurrent layers: `rnn`, `lstm`, `gru`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
