//! Single steps of recurrent networks: `rnn_cell`, `lstm_cell`, `gru_cell`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
