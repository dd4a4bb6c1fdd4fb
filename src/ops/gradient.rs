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

/// Whose kernels a step runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kernels {
    /// A device's. `silu` has one for its gradient, and what an expression no longer needs is
    /// written over.
    #[default]
    Device,
    /// Those that PyTorch runs where no device is named and a `TorchDispatchMode` watches, as
    /// `MemTracker` and `FlopCounterMode` do. Formulas that have a kernel on devices only are taken
    /// apart (`CompositeImplicitAutograd`), and no temporary is written over
    /// (`isTensorSubclassLike` holds for all tensors under a mode), so every step of a formula
    /// makes a tensor.
    Traced,
}

impl Kernels {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Kernels::Device => "device",
            Kernels::Traced => "traced",
        }
    }
}

/// One thing that happens in the backward pass of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A tensor of that many bytes, which lives until the node ends.
    Scratch(u64),
    /// So many of those tensors go now, from that place among them on: an expression ends that
    /// made them.
    Drop(usize, usize),
    /// The gradient of the operand at the position becomes a new tensor with these strides.
    Make(usize, Strides),
    /// The gradient of the operand at the position lies in the storage of the incoming gradient of
    /// the output of that number.
    Share(usize, usize, Strides),
    /// The node ends, and hands the next one of the same call a new tensor of that many bytes.
    Node(u64),
    /// What is kept under that name, an operand's or that of `Saved::extra`, goes now, not only with
    /// the last node.
    Release(&'static str),
    /// The last node ends: its temporaries and what it was handed go.
    End,
    /// The gradients that were made of the operand at the position are handed on now, and added to
    /// those that came before them, not only when the call ends.
    Hand(usize),
}

/// The backward pass of a call, as its entry writes it down. Gradients are only made of operands
/// that a gradient flows to; entries need not ask.
#[derive(Debug)]
pub struct Gradient<'a> {
    call: &'a Call<'a>,
    /// The strides of the gradients of the outputs; `None` for one that is not defined, because
    /// nothing that the loss depends on uses the output.
    incoming: &'a [Option<Strides>],
    kernels: Kernels,
    /// How many tensors live until the node ends.
    living: usize,
    /// What happens, in order.
    pub steps: SmallVec<[Step; 4]>,
}

impl<'a> Gradient<'a> {
    /// Nothing written yet.
    pub fn new(
        call: &'a Call<'a>,
        incoming: &'a [Option<Strides>],
        kernels: Kernels,
    ) -> Gradient<'a> {
        Gradient {
            call,
            incoming,
            kernels,
            living: 0,
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

    /// Whether formulas are taken apart.
    pub fn is_traced(&self) -> bool {
        self.kernels == Kernels::Traced
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
            self.living += 1;
            self.steps.push(Step::Scratch(bytes));
        }
    }

    /// How many tensors live until the node ends.
    pub fn living(&self) -> usize {
        self.living
    }

    /// Tensors that live until the node ends.
    pub fn scratch_all(&mut self, bytes: &[u64]) {
        bytes.iter().for_each(|&bytes| self.scratch(bytes));
    }

    /// Tensors that live together for a moment, and go before anything else is made.
    pub fn moment(&mut self, bytes: &[u64]) {
        let before = self.living;
        self.scratch_all(bytes);
        self.drop(before, self.living - before);
    }

    /// Of the tensors that would live until the node ends, `count` from place `first` on go now.
    pub fn drop(&mut self, first: usize, count: usize) {
        if count > 0 {
            self.living = self
                .living
                .saturating_sub(count)
                .max(first.min(self.living));
            self.steps.push(Step::Drop(first, count));
        }
    }

    /// `count` tensors of the size of the first output that live until the node ends.
    pub fn scratches(&mut self, count: usize) -> usize {
        for _ in 0..count {
            self.scratch(self.output_bytes());
        }
        count
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
        self.living = 0;
        self.steps.push(Step::Node(bytes));
    }

    /// Ends the last node, though its gradients are still to be handed on.
    pub fn end(&mut self) {
        self.living = 0;
        self.steps.push(Step::End);
    }

    /// Hands on what was made of an operand.
    pub fn hand(&mut self, position: usize) {
        if self.call.requires_grad(position) {
            self.steps.push(Step::Hand(position));
        }
    }

    /// The bytes of a tensor of an operand's type and shape; none where it is left out.
    pub fn operand_bytes(&self, position: usize) -> u64 {
        self.call
            .ty(position)
            .map_or(0, |ty| ty.dtype.bytes_for(ty.shape.elements()))
    }

    /// A tensor for the gradient of an operand that its kernel makes whether or not it is wanted.
    pub fn make_anyway(&mut self, position: usize) {
        match self.call.requires_grad(position) {
            true => self.make(position),
            false => self.scratch(self.operand_bytes(position)),
        }
    }

    /// Ends what is kept under that name.
    pub fn release(&mut self, name: &'static str) {
        self.steps.push(Step::Release(name));
    }
}

/// One kernel that makes the gradients of all operands. Of ops that work element by element they
/// have the size of the output first, and are summed where operands were broadcast.
pub fn each(call: &Call, gradient: &mut Gradient<'_>) {
    each_after(call, gradient, |_, _| 0);
}

/// The gradients of all operands, one after the other, each after `temporaries`, whose number is
/// given, go; the sums over axes along which operands were broadcast come last.
fn each_after(
    call: &Call,
    gradient: &mut Gradient<'_>,
    temporaries: impl Fn(&mut Gradient<'_>, usize) -> usize,
) {
    each_of_after(call, gradient, 0, temporaries);
}

/// The same of the operands from a position on.
fn each_of_after(
    call: &Call,
    gradient: &mut Gradient<'_>,
    from: usize,
    temporaries: impl Fn(&mut Gradient<'_>, usize) -> usize,
) {
    let positions = || (from..call.arguments.len()).filter(|&at| call.requires_grad(at));
    let summed = |position: usize| {
        call.op.element.is_some() && call.elements(position) < call.output_elements()
    };
    // What waits to be summed stands before the temporaries of the next operand.
    let mut waiting = 0;
    for position in positions() {
        let count = temporaries(gradient, position);
        match summed(position) {
            true => {
                gradient.scratch(gradient.broadcast_bytes(position));
                gradient.drop(waiting, count);
                waiting += 1;
            }
            false => {
                gradient.make(position);
                gradient.drop(waiting, count);
            }
        }
    }
    for position in positions().filter(|&position| summed(position)) {
        gradient.make(position);
        gradient.drop(0, 1);
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

/// The gradient of a quotient: first that of the divisor, -g · ((x / y) / y), then g / y. Sums over
/// axes of broadcast operands come last.
pub fn quotient(call: &Call, gradient: &mut Gradient<'_>) {
    let summed = |position| call.elements(position) < call.output_elements();
    let mut waiting = 0;
    for (position, count) in [(1, 3), (0, 0)] {
        if !call.requires_grad(position) {
            continue;
        }
        gradient.scratches(count);
        match summed(position) {
            true => gradient.scratch(gradient.broadcast_bytes(position)),
            false => gradient.make(position),
        }
        gradient.drop(0, count);
        waiting += usize::from(summed(position));
    }
    for position in [1, 0].into_iter().filter(|&position| summed(position)) {
        gradient.make(position);
        if call.requires_grad(position) && waiting > 0 {
            gradient.drop(0, 1);
        }
    }
}

/// The gradient of a power: g · (y · x^(y - 1)), and of the exponent g · (x^y · log x). Between
/// tensors the exponent's comes first, without what is 0 · log 0; and where the exponent is 0, that
/// of the base is 0.
pub fn power(call: &Call, gradient: &mut Gradient<'_>) {
    if call.constant(0).is_some() || call.constant(1).is_some() {
        for position in 0..2 {
            if call.requires_grad(position) {
                // The logarithm of a number is one, too.
                let numbers = usize::from(position == 1 && call.constant(0).is_some());
                gradient.scratches(2 - numbers);
            }
            gradient.make_summed(position);
        }
        return;
    }
    let (all, mask) = (gradient.output_bytes(), call.output_elements());
    if call.requires_grad(1) {
        gradient.moment(&[mask; 3]);
        let waiting = usize::from(call.elements(1) < call.output_elements());
        gradient.scratch_all(&[mask, all, all, all]);
        gradient.make_summed(1);
        gradient.drop(0, 4 + waiting);
    }
    if call.requires_grad(0) {
        gradient.scratch_all(&[all, all, all, all, mask]);
        gradient.make_summed(0);
    }
}

/// The gradient of the greater or lesser: where(x = y, g / 2, g), with zeros where the other one is
/// taken.
pub fn chosen(call: &Call, gradient: &mut Gradient<'_>) {
    let mask = call.output_elements();
    each_after(call, gradient, |gradient, _| {
        gradient.scratch(mask);
        gradient.scratches(1);
        gradient.scratch(mask);
        // The zeros are written into the choice, or into a copy of it.
        3 + match gradient.is_traced() {
            true => gradient.scratches(1),
            false => 0,
        }
    });
}

/// The gradient of each operand after `COUNT` tensors of the output's size, which go with it.
pub fn each_after_own<const COUNT: usize>(call: &Call, gradient: &mut Gradient<'_>) {
    each_after(call, gradient, |gradient, _| gradient.scratches(COUNT));
}

/// The gradient of `input + value · tensor1 · tensor2`: of each factor g · (value · other).
pub fn product_term(call: &Call, gradient: &mut Gradient<'_>) {
    gradient.pass(0);
    each_of_after(call, gradient, 1, |gradient, position| {
        gradient.scratch(gradient.operand_bytes(3 - position));
        1
    });
}

/// The gradient of `input + value · tensor1 / tensor2`: of the dividend g · (value / tensor2), of the
/// divisor -g · ((value · tensor1) / (tensor2 · tensor2)).
pub fn quotient_term(call: &Call, gradient: &mut Gradient<'_>) {
    gradient.pass(0);
    let [dividend, divisor] = [1, 2].map(|position| gradient.operand_bytes(position));
    let all = gradient.output_bytes();
    each_of_after(call, gradient, 1, |gradient, position| match position {
        1 => {
            gradient.scratch(divisor);
            1
        }
        _ => {
            gradient.scratch_all(&[divisor, dividend, dividend.max(divisor), all]);
            4
        }
    });
}

/// The gradient of a remainder: that of the divisor -g · trunc(x / y), and the incoming one.
pub fn remainder(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(1) {
        gradient.scratches(2);
    }
    gradient.make_summed(1);
    gradient.pass(0);
}

/// The gradient of bounds: where(min ≤ x ≤ max, g, 0).
pub fn bounded(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(0) {
        for bound in ["min", "max"] {
            if call.is_given(bound) {
                gradient.scratch(call.elements(0));
            }
        }
        gradient.scratch(4);
    }
    gradient.make(0);
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

/// Zeros of the operand's shape, to whose places the incoming gradient is written or added, in
/// place on a device: `gather`, `index_select`, `sort`.
pub fn scattered(call: &Call, gradient: &mut Gradient<'_>) {
    if let (true, true, Ok(ty)) = (gradient.is_traced(), call.requires_grad(0), call.ty(0)) {
        gradient.scratch(ty.bytes());
    }
    each(call, gradient);
}

/// One kernel after `COUNT` tensors of the output's size that an expression leaves behind.
pub fn after<const COUNT: usize>(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(0) {
        gradient.scratches(COUNT);
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
