//! What an optimizer allocates while it updates parameters.
//!
//! After `torch.optim` 2.x: one tensor after the other (`foreach=False`), all tensors as a list
//! (`foreach=True`, the default on CUDA), or one kernel without temporaries (`fused=True`).

use crate::spec::run::{Optimizer, OptimizerKind};

/// The temporaries of an update, in tensors of a parameter's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// Whether the temporaries of all parameters live at once.
    pub listwise: bool,
    /// Copies of the gradient with weight decay or momentum added, until the next parameter.
    pub gradient: u64,
    /// Further copies that live at once.
    pub copies: u64,
    /// How many of these are still there when those of the next parameter are made: a variable
    /// keeps its tensor until it is assigned again.
    pub left: u64,
}

impl Update {
    /// What PyTorch's implementation of an optimizer makes.
    pub fn of(optimizer: &Optimizer) -> Update {
        let none = Update {
            listwise: false,
            gradient: 0,
            copies: 0,
            left: 0,
        };
        let Some(kind) = optimizer.name.get() else {
            return none;
        };
        if optimizer.fused.or(false) {
            return none;
        }
        let decays = optimizer.weight_decay.or(0.0) != 0.0;
        let (gradient, copies, left) = match kind {
            // The gradient with decay, and with Nesterov's momentum in turn.
            OptimizerKind::Sgd => {
                let nesterov = optimizer.nesterov.or(false);
                (u64::from(decays || nesterov), 0, 0)
            }
            // The root of the second moment, and its quotient by the bias correction.
            OptimizerKind::Adam => (u64::from(decays), 2, 1),
            OptimizerKind::AdamW => (0, 2, 1),
            OptimizerKind::NAdam | OptimizerKind::RAdam => (u64::from(decays), 2, 1),
            OptimizerKind::Adamax | OptimizerKind::Rprop => (u64::from(decays), 1, 0),
            OptimizerKind::Adagrad | OptimizerKind::RmsProp => (u64::from(decays), 1, 1),
            OptimizerKind::Adadelta => (u64::from(decays), 2, 2),
            OptimizerKind::Adafactor | OptimizerKind::Lamb => (0, 2, 1),
            OptimizerKind::Lion | OptimizerKind::Lars => (0, 1, 0),
            // Iterates of Newton and Schulz in bfloat16: the matrix, its Gram matrix and a
            // polynomial of it.
            OptimizerKind::Muon => (1, 2, 0),
            // The gradient in the basis of the preconditioners, and on its way back.
            OptimizerKind::Shampoo | OptimizerKind::Soap => (1, 2, 0),
            // Until averaging begins, the average is copied.
            OptimizerKind::Asgd => (u64::from(decays), 0, 0),
            OptimizerKind::Adam8bit => (0, 0, 0),
            // The flat gradient, and the direction.
            OptimizerKind::Lbfgs => (1, 1, 0),
        };
        let listwise = optimizer.foreach.or(true) && has_foreach(kind);
        match listwise {
            // Roots are made once and changed in place.
            true => Update {
                listwise,
                gradient: 0,
                copies: gradient + copies.min(1 + u64::from(kind == OptimizerKind::Adadelta)),
                left: 0,
            },
            false => Update {
                listwise,
                gradient,
                copies,
                left,
            },
        }
    }
}

/// Whether the optimizer has an implementation over lists of tensors.
fn has_foreach(kind: OptimizerKind) -> bool {
    matches!(
        kind,
        OptimizerKind::Sgd
            | OptimizerKind::Adam
            | OptimizerKind::AdamW
            | OptimizerKind::Adamax
            | OptimizerKind::NAdam
            | OptimizerKind::RAdam
            | OptimizerKind::Adagrad
            | OptimizerKind::Adadelta
            | OptimizerKind::RmsProp
            | OptimizerKind::Rprop
            | OptimizerKind::Asgd
    )
}
