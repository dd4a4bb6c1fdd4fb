//! What refers to storages while a model is run: tensors in hand, and what autograd knows of calls.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::graph::TensorId;
use crate::kernels::{Array, Kept};
use crate::verify::ledger::Storage;

/// A tensor in hand.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub elements: Rc<Array>,
    /// The storage, shared with the tensors that are views of it.
    pub storage: Rc<Storage>,
    /// The call that made it, if a gradient may flow back to it.
    pub history: Option<Rc<History>>,
}

/// What autograd knows of a call: what it keeps, and the calls before it. It lives as long as a
/// tensor that it made or a call behind it.
#[derive(Debug)]
pub(super) struct History {
    pub kept: RefCell<KeptTensors>,
    pub before: RefCell<Vec<Rc<History>>>,
    /// The recomputed layer that the call stands in.
    pub layer: RefCell<Option<Rc<Recomputed>>>,
}

#[derive(Debug, Default)]
pub(super) struct KeptTensors {
    pub operands: Vec<(usize, Rc<Array>)>,
    pub others: Vec<(Kept, Rc<Array>)>,
    pub storages: Vec<Rc<Storage>>,
}

/// A layer that keeps nothing but what it reads, and is run again once a gradient comes to it. It
/// lives as long as a call in it that is yet to run backward.
#[derive(Debug)]
pub(super) struct Recomputed {
    /// Its calls.
    pub calls: Range<u32>,
    /// Whether they were run again.
    pub again: Cell<bool>,
    /// What they read from outside.
    pub read: FxHashMap<TensorId, Held>,
}

impl Drop for History {
    /// Chains of calls are long; dropping them one inside the other would take the stack.
    fn drop(&mut self) {
        let mut ahead = std::mem::take(&mut *self.before.borrow_mut());
        while let Some(one) = ahead.pop() {
            if let Some(last) = Rc::into_inner(one) {
                ahead.append(&mut last.before.borrow_mut());
            }
        }
    }
}
