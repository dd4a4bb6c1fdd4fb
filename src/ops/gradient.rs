//! What the backward pass of a call allocates: the vocabulary in which entries say it, and what
//! many of them have in common.
//!
//! A call runs backwards as one autograd node or as several. A node is handed the gradients of the
//! outputs, allocates temporaries and the gradients of the operands, and when it ends, its
//! temporaries and what it was handed go, and so does what autograd kept for it. Which values
//! flow is of no concern here.

use smallvec::SmallVec;

use super::Call;
use super::layout::{Strides, contiguous_strides, dense_like, viewed};
use crate::tensor::Dtype;

/// One thing that happens in the backward pass of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A tensor of that many bytes, which lives until the node ends.
    Scratch(u64),
    /// The gradient of the operand at the position becomes a new tensor with these strides.
    Make(usize, Strides),
    /// The gradient of the operand at the position lies in the storage of the incoming gradient of
    /// the output of that number.
    Share(usize, usize, Strides),
    /// The node ends, and hands the next one of the same call a new tensor of that many bytes.
    Node(u64),
    /// What is kept under that name (`Saved::extra`) goes now, not only with the last node.
    Release(&'static str),
}

/// The backward pass of a call, as its entry writes it down. Gradients are only made of operands
/// that a gradient flows to; entries need not ask.
#[derive(Debug)]
pub struct Gradient<'a> {
    call: &'a Call<'a>,
    /// The strides of the gradients of the outputs; `None` for one that is not defined, because
    /// nothing that the loss depends on uses the output.
    incoming: &'a [Option<Strides>],
    /// What happens, in order.
    pub steps: SmallVec<[Step; 4]>,
}

impl<'a> Gradient<'a> {
    /// Nothing written yet.
    pub fn new(call: &'a Call<'a>, incoming: &'a [Option<Strides>]) -> Gradient<'a> {
        Gradient {
            call,
            incoming,
            steps: SmallVec::new(),
        }
    }

    /// The strides of the gradient of the first output; contiguous ones where it is not defined.
    pub fn incoming(&self) -> Strides {
        match self.incoming.first() {
            Some(Some(strides)) => strides.clone(),
            _ => self
                .call
                .output()
                .map_or_else(Strides::new, |ty| contiguous_strides(ty.shape.sizes())),
        }
    }

    /// Whether the gradient of the output of that number is defined.
    pub fn is_defined(&self, output: usize) -> bool {
        matches!(self.incoming.get(output), Some(Some(_)))
    }

    /// The bytes of the gradient of the first output.
    pub fn output_bytes(&self) -> u64 {
        self.call
            .output()
            .map_or(0, |ty| ty.dtype.bytes_for(ty.shape.elements()))
    }

    /// The bytes of a gradient of the operand's type with as many elements as the first output,
    /// before it is summed over the axes along which the operand was broadcast.
    pub fn broadcast_bytes(&self, position: usize) -> u64 {
        let dtype = self.call.dtype(position).unwrap_or(Dtype::Float32);
        dtype.bytes_for(self.call.output_elements())
    }

    /// A tensor that lives until the node ends.
    pub fn scratch(&mut self, bytes: u64) {
        if bytes > 0 {
            self.steps.push(Step::Scratch(bytes));
        }
    }

    /// A new tensor for the gradient of an operand, in the order of its axes in which the incoming
    /// gradient lies where the shapes agree.
    pub fn make(&mut self, position: usize) {
        let Ok(shape) = self.call.shape(position) else {
            return;
        };
        let same = self.call.output().is_some_and(|ty| ty.shape == *shape);
        let strides = match same {
            true => dense_like(shape.sizes(), &self.incoming()),
            false => contiguous_strides(shape.sizes()),
        };
        self.make_in_order(position, strides);
    }

    /// A new tensor with these strides.
    pub fn make_in_order(&mut self, position: usize, strides: Strides) {
        if self.call.requires_grad(position) {
            self.steps.push(Step::Make(position, strides));
        }
    }

    /// A new tensor, after one of the size of the output that is summed over the axes along which
    /// the operand was broadcast.
    pub fn make_summed(&mut self, position: usize) {
        if self.call.requires_grad(position)
            && self.call.elements(position) < self.call.output_elements()
        {
            self.scratch(self.broadcast_bytes(position));
        }
        self.make(position);
    }

    /// The storage of the incoming gradient of an output, seen with these strides.
    pub fn share(&mut self, position: usize, output: usize, strides: Strides) {
        if self.call.requires_grad(position) {
            self.steps.push(Step::Share(position, output, strides));
        }
    }

    /// The incoming gradient as it is, or its sum where the operand was broadcast, or a cast.
    pub fn pass(&mut self, position: usize) {
        let same = match (self.call.ty(position), self.call.output()) {
            (Ok(operand), Some(output)) => operand == output,
            _ => false,
        };
        match same {
            true => self.share(position, 0, self.incoming()),
            false => self.make(position),
        }
    }

    /// Ends a node.
    pub fn node(&mut self, bytes: u64) {
        self.steps.push(Step::Node(bytes));
    }

    /// Ends what is kept under that name.
    pub fn release(&mut self, name: &'static str) {
        self.steps.push(Step::Release(name));
    }
}

/// One kernel that makes the gradients of all operands. Of ops that work element by element they
/// have the size of the output first, and are summed where operands were broadcast.
pub fn each(call: &Call, gradient: &mut Gradient<'_>) {
    for position in 0..call.arguments.len() {
        match call.op.element {
            Some(_) => gradient.make_summed(position),
            None => gradient.make(position),
        }
    }
}

/// The gradient of a sum: that of each term is the incoming one.
pub fn terms(call: &Call, gradient: &mut Gradient<'_>) {
    for position in 0..call.arguments.len() {
        gradient.pass(position);
    }
}

/// The gradient of `input + alpha · other`.
pub fn sum(call: &Call, gradient: &mut Gradient<'_>) {
    match call.float("alpha").is_none_or(|alpha| alpha == 1.0) {
        true => terms(call, gradient),
        false => difference(call, gradient),
    }
}

/// The gradient of a difference: the incoming one as it is, and its negative or multiple.
pub fn difference(_: &Call, gradient: &mut Gradient<'_>) {
    gradient.pass(0);
    gradient.make_summed(1);
}

/// The gradient of a quotient: g / y, and of the divisor -g · ((x / y) / y).
pub fn quotient(call: &Call, gradient: &mut Gradient<'_>) {
    gradient.make_summed(0);
    if call.requires_grad(1) {
        for _ in 0..3 {
            gradient.scratch(gradient.output_bytes());
        }
    }
    gradient.make_summed(1);
}

/// The gradient of a power: g · (y · x^(y - 1)), and of the exponent g · (x^y · log x).
pub fn power(call: &Call, gradient: &mut Gradient<'_>) {
    for position in 0..2 {
        if call.requires_grad(position) {
            gradient.scratch(gradient.output_bytes());
            gradient.scratch(gradient.output_bytes());
        }
        gradient.make_summed(position);
    }
}

/// The same elements in the operand's shape: a view where the incoming gradient has strides for
/// that, else a copy. For `reshape` and its kin, `clone` and `contiguous`.
pub fn reshaped(call: &Call, gradient: &mut Gradient<'_>) {
    let (Ok(shape), Some(output)) = (call.shape(0), call.output()) else {
        return;
    };
    if shape.elements() != output.shape.elements() {
        return gradient.make(0);
    }
    match viewed(output.shape.sizes(), &gradient.incoming(), shape.sizes()) {
        Some(strides) => gradient.share(0, 0, strides),
        None => gradient.make_in_order(0, contiguous_strides(shape.sizes())),
    }
}

/// The incoming gradient shown repeatedly along axes that were summed, which stay with size 1 if
/// `keep`; a copy where the types differ.
pub fn repeated(call: &Call, gradient: &mut Gradient<'_>, axes: &[usize], keep: bool) {
    let Ok(input) = call.ty(0) else { return };
    if call.output().map(|ty| ty.dtype) != Some(input.dtype) {
        return gradient.make(0);
    }
    let incoming = gradient.incoming();
    let mut left = incoming.iter().copied();
    let strides = (0..input.shape.rank())
        .map(|axis| {
            let summed = axes.contains(&axis);
            let stride = match summed && !keep {
                true => None,
                false => left.next(),
            };
            stride.filter(|_| !summed).unwrap_or(0)
        })
        .collect();
    gradient.share(0, 0, strides);
}

/// Zeros of the whole operand, into which the gradient of the part is copied: `slice`, `select`.
/// Of an op with several parts, those that are not defined become zeros before all are joined.
pub fn padded(call: &Call, gradient: &mut Gradient<'_>) {
    if call.outputs.len() > 1 {
        for (number, ty) in call.outputs.iter().enumerate() {
            if !gradient.is_defined(number) {
                gradient.scratch(ty.dtype.bytes_for(ty.shape.elements()));
            }
        }
    }
    match call.shape(0) {
        Ok(shape) => gradient.make_in_order(0, contiguous_strides(shape.sizes())),
        Err(_) => gradient.make(0),
    }
}

/// One kernel after `count` tensors of the output's size that an expression leaves behind.
pub fn after<const COUNT: u64>(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(0) {
        for _ in 0..COUNT {
            gradient.scratch(gradient.output_bytes());
        }
    }
    each(call, gradient);
}

/// One kernel after `COUNT` tensors of the size of the first operand: reductions.
pub fn after_of_input<const COUNT: u64>(call: &Call, gradient: &mut Gradient<'_>) {
    if let Ok(ty) = call.ty(0)
        && call.requires_grad(0)
    {
        for _ in 0..COUNT {
            gradient.scratch(ty.dtype.bytes_for(ty.shape.elements()));
        }
    }
    each(call, gradient);
}

/// The strides that the operand of an op that orders axes anew has, from those of the output:
/// `order` says for each axis of the output which axis of the operand it is.
pub fn reordered(order: &[usize], strides: &[u64]) -> Strides {
    let mut result: Strides = SmallVec::from_elem(1, order.len());
    for (&axis, &stride) in order.iter().zip(strides) {
        if let Some(place) = result.get_mut(axis) {
            *place = stride;
        }
    }
    result
}
