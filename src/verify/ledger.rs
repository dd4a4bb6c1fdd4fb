//! Storages that say when they come and go: the allocator that counts.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::graph::TensorId;

/// What a storage is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A tensor that a call made, or something that autograd keeps besides.
    Activation,
    /// The gradient of a parameter.
    Gradient,
    /// A gradient on its way, and what is not counted: inputs, parameters.
    Other,
}

/// What lives, by storage.
#[derive(Debug, Default)]
pub struct Ledger {
    next: u64,
    living: FxHashMap<u64, (Purpose, u64)>,
    activations: u64,
    gradients: u64,
}

impl Ledger {
    /// Bytes of activations and of parameters' gradients that live now.
    pub fn bytes(&self) -> (u64, u64) {
        (self.activations, self.gradients)
    }

    fn account(&mut self, purpose: Purpose) -> Option<&mut u64> {
        match purpose {
            Purpose::Activation => Some(&mut self.activations),
            Purpose::Gradient => Some(&mut self.gradients),
            Purpose::Other => None,
        }
    }
}

/// A block of memory; gone when it is dropped.
#[derive(Debug)]
pub struct Storage {
    number: u64,
    /// The tensor that lies in it, if it is one of the graph.
    pub tensor: Option<TensorId>,
    /// Its size.
    pub bytes: u64,
    ledger: Rc<RefCell<Ledger>>,
}

impl Storage {
    /// Takes a block.
    pub fn new(
        ledger: &Rc<RefCell<Ledger>>,
        purpose: Purpose,
        tensor: Option<TensorId>,
        bytes: u64,
    ) -> Rc<Storage> {
        let mut book = ledger.borrow_mut();
        let number = book.next;
        book.next += 1;
        book.living.insert(number, (purpose, bytes));
        if let Some(sum) = book.account(purpose) {
            *sum += bytes;
        }
        Rc::new(Storage {
            number,
            tensor,
            bytes,
            ledger: Rc::clone(ledger),
        })
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let mut book = self.ledger.borrow_mut();
        if let Some((purpose, bytes)) = book.living.remove(&self.number)
            && let Some(sum) = book.account(purpose)
        {
            *sum -= bytes;
        }
    }
}
