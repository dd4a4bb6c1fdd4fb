//! The tape: values, how they came about, and the way back.
//!
//! Every primitive pushes its value with a pullback, which turns the gradient of the value into
//! gradients of what it was computed from. A pullback looks values up on the tape when it runs and
//! captures none: what stands on the tape by then may be less than what the forward pass saw, namely
//! only what is said to be kept (`Tape::keep`).

use std::rc::Rc;

use ndarray::{ArrayD, IxDyn};
use smallvec::SmallVec;

pub mod contraction;
pub mod number;
pub mod places;
pub mod pointwise;
pub mod reduction;
#[cfg(test)]
mod tests;

use crate::ops::OpError;
use crate::tensor::Dtype;
use number::opmath;

/// The elements of a tensor. Those of each element type are exact in float64 but for 64-bit integers
/// above 2^53. A complex tensor has a last axis of two more: the real and the imaginary part.
pub type Array = ArrayD<f64>;

/// The number of a value on a tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(u32);

impl Var {
    pub(super) fn at(number: usize) -> Var {
        Var(number as u32)
    }
}

/// What a kernel could not do, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    /// What is wrong.
    pub message: String,
    /// Whether an index lies outside of what it chooses among: other values would do.
    pub outside: bool,
}

impl KernelError {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> KernelError {
        KernelError {
            message: message.into(),
            outside: false,
        }
    }

    /// The error of an index that does not lie among so many things.
    pub fn outside(index: &str, count: usize, among: &str) -> KernelError {
        KernelError {
            outside: true,
            ..KernelError::new(format!("{index} lies outside of {count} {among}"))
        }
    }
}

impl From<OpError> for KernelError {
    fn from(error: OpError) -> KernelError {
        KernelError::new(error.message)
    }
}

impl From<ndarray::ShapeError> for KernelError {
    fn from(error: ndarray::ShapeError) -> KernelError {
        KernelError::new(error.to_string())
    }
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// In which types a kernel computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetic {
    /// The type that every primitive's result is rounded to.
    pub compute: Dtype,
    /// The type in which sums and products of matrices add up.
    pub accumulate: Dtype,
}

impl Arithmetic {
    /// Without rounding, as far as float64 has none.
    pub const EXACT: Arithmetic = Arithmetic {
        compute: Dtype::Float64,
        accumulate: Dtype::Float64,
    };

    /// The bytes of so many elements on their way through a kernel.
    pub fn bytes(&self, elements: usize) -> u128 {
        self.compute.bytes_for(elements as u64).into()
    }

    /// As PyTorch's kernels compute on tensors of that type: halves and narrower in float32.
    pub fn of(dtype: Dtype) -> Arithmetic {
        Arithmetic {
            compute: opmath(dtype),
            accumulate: opmath(dtype),
        }
    }
}

/// What was done, counted as it was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Multiply-adds of matrix products, convolutions and attention.
    pub products: u128,
    /// Multiplications and divisions elsewhere.
    pub multiplications: u128,
    /// Additions and subtractions elsewhere.
    pub additions: u128,
    /// Comparisons and functions of one element.
    pub functions: u128,
    /// Bytes that primitives read and write, in the type in which they compute.
    pub bytes: u128,
}

impl Count {
    /// The sum of two counts.
    pub fn plus(self, other: Count) -> Count {
        Count {
            products: self.products + other.products,
            multiplications: self.multiplications + other.multiplications,
            additions: self.additions + other.additions,
            functions: self.functions + other.functions,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Floating point operations outside of products.
    pub fn other(&self) -> u128 {
        self.multiplications + self.additions + self.functions
    }
}

/// Which kind of arithmetic a primitive does, for the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Moves or selects.
    Move,
    /// Multiplies or divides.
    Multiply,
    /// Adds or subtracts.
    Add,
    /// Compares, or takes a function.
    Function,
}

/// A tensor that a forward pass keeps for the backward pass, beside operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    /// The output at this position.
    Output(usize),
    /// A tensor that is neither operand nor output: `mask`.
    Extra(&'static str),
    /// One of several of that name, and which: a factor of each step, a part of complex numbers.
    Part(&'static str, usize),
}

/// More than there are tensors of one name that a kernel keeps.
const PARTS: usize = 1 << 20;

impl Kept {
    /// The name of a tensor that is neither operand nor output.
    pub fn extra(&self) -> Option<&'static str> {
        match self {
            Kept::Output(_) => None,
            Kept::Extra(name) | Kept::Part(name, _) => Some(name),
        }
    }
}

/// Turns the gradient of a value into gradients of what it was computed from.
pub type Pullback = Box<dyn Fn(&mut Backward<'_>, &Array)>;

struct Entry {
    value: Rc<Array>,
    needs: bool,
    pullback: Option<Pullback>,
}

/// Values in the order in which they were computed.
pub struct Tape {
    entries: Vec<Entry>,
    arithmetic: Arithmetic,
    count: Count,
    kept: Vec<(Kept, Rc<Array>)>,
    given: Vec<(Kept, Rc<Array>)>,
    random: u64,
    part: usize,
    convention: Option<&'static str>,
}

impl Tape {
    /// An empty tape. `given` are the kept tensors of an earlier run of the same kernel, which stand
    /// in for what this run computes; `seed` fixes what random ops draw.
    pub fn new(arithmetic: Arithmetic, seed: u64, given: Vec<(Kept, Rc<Array>)>) -> Tape {
        Tape {
            entries: Vec::new(),
            arithmetic,
            count: Count::default(),
            kept: Vec::new(),
            given,
            random: seed,
            part: 0,
            convention: None,
        }
    }

    /// The types in which primitives compute.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// What has been done so far.
    pub fn count(&self) -> Count {
        self.count
    }

    /// What has been kept so far, beside operands and outputs.
    pub fn kept(&self) -> &[(Kept, Rc<Array>)] {
        &self.kept
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says that the gradient is one by convention and not the derivative, and why: that of
    /// rounding, or of the padding row of an embedding.
    pub fn by_convention(&mut self, why: &'static str) {
        self.convention = Some(why);
    }

    /// Why the gradient is no derivative, where it is none.
    pub fn convention(&self) -> Option<&'static str> {
        self.convention
    }

    /// The same value, on whose way back so many multiply-adds are done again: a fused kernel
    /// computes anew what it does not keep.
    pub fn computed_again(&mut self, x: Var, products: u128) -> Var {
        let value = self.value(x).clone();
        self.push_moved(value, &[x], move |back, gradient| {
            back.count_products(products);
            back.give(x, gradient.clone());
        })
    }

    /// Evenly spread over `0..1` (SplitMix64): the tape's own source of chance, so that a run can be
    /// repeated.
    pub fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// An operand.
    pub fn leaf(&mut self, value: Rc<Array>, needs: bool) -> Var {
        self.entries.push(Entry {
            value,
            needs,
            pullback: None,
        });
        Var(self.entries.len() as u32 - 1)
    }

    /// A value that no gradient flows to, as it is.
    pub fn constant(&mut self, value: Array) -> Var {
        self.leaf(Rc::new(value), false)
    }

    /// A number.
    pub fn number(&mut self, value: f64) -> Var {
        self.constant(Array::from_elem(IxDyn(&[]), value))
    }

    /// A value computed by a primitive from `parents`, rounded to the type of computation. The
    /// pullback is kept if a gradient flows to any of them.
    pub fn push(
        &mut self,
        mut value: Array,
        parents: &[Var],
        pullback: impl Fn(&mut Backward<'_>, &Array) + 'static,
    ) -> Var {
        number::round_all(self.arithmetic.compute, &mut value);
        self.push_moved(value, parents, pullback)
    }

    /// The same of a primitive that only moves elements, so that there is nothing to round.
    pub fn push_moved(
        &mut self,
        value: Array,
        parents: &[Var],
        pullback: impl Fn(&mut Backward<'_>, &Array) + 'static,
    ) -> Var {
        let needs = parents.iter().any(|&parent| self.needs(parent));
        let value = match value.is_standard_layout() {
            true => value,
            false => value.as_standard_layout().into_owned(),
        };
        let read = parents.iter().map(|&parent| self.value(parent).len());
        let elements = value.len() + read.sum::<usize>();
        self.count.bytes += self.arithmetic.bytes(elements);
        self.entries.push(Entry {
            value: Rc::new(value),
            needs,
            pullback: if needs {
                Some(Box::new(pullback))
            } else {
                None
            },
        });
        Var(self.entries.len() as u32 - 1)
    }

    /// Several values that a primitive computes together. The pullback is given their numbers and
    /// their gradients, zeros where none flows.
    pub fn push_many(
        &mut self,
        values: Vec<Array>,
        parents: &[Var],
        pullback: impl Fn(&mut Backward<'_>, &[Var], &[Array]) + 'static,
    ) -> Vec<Var> {
        // All gradients meet in one vector, which stands before the values.
        let shapes: Vec<Vec<usize>> = values.iter().map(|value| value.shape().to_vec()).collect();
        let total: usize = values.iter().map(|value| value.len()).sum();
        let first = self.len() + 1;
        let numbers: Vec<Var> = (0..values.len()).map(|at| Var::at(first + at)).collect();
        let outputs = numbers.clone();
        let meeting = self.push_moved(Array::zeros(vec![total]), parents, move |back, all| {
            let all: Vec<f64> = all.iter().copied().collect();
            let mut start = 0;
            let gradients: Vec<Array> = shapes
                .iter()
                .map(|sizes| {
                    let end = start + sizes.iter().product::<usize>();
                    let part = all[start..end].to_vec();
                    start = end;
                    Array::from_shape_vec(IxDyn(sizes), part)
                        .unwrap_or_else(|_| Array::from_elem(IxDyn(sizes), f64::NAN))
                })
                .collect();
            pullback(back, &numbers, &gradients);
        });
        let mut start = 0;
        for value in values {
            let from = start;
            start += value.len();
            self.push(value, &[meeting], move |back, gradient| {
                let mut all = Array::zeros(vec![total]);
                let places = all.iter_mut().skip(from);
                places.zip(gradient).for_each(|(sum, &one)| *sum = one);
                back.give(meeting, all);
            });
        }
        outputs
    }

    /// A value through which no gradient flows, from those of `parents`: indices, comparisons.
    pub fn derive(&mut self, parents: &[Var], make: impl FnOnce(&[&Array]) -> Array) -> Var {
        let shared: SmallVec<[Rc<Array>; 4]> =
            parents.iter().map(|&var| self.shared(var)).collect();
        let values: SmallVec<[&Array; 4]> = shared.iter().map(Rc::as_ref).collect();
        let value = make(&values);
        self.count_many(Kind::Function, value.len());
        self.constant(value)
    }

    /// The same tensor without its history: `torch.Tensor.detach`.
    pub fn detach(&mut self, var: Var) -> Var {
        let value = Rc::clone(&self.entries[var.0 as usize].value);
        self.leaf(value, false)
    }

    /// Says that the backward pass is to find `var` as it stands now. In a run from kept tensors,
    /// the kept one takes its place.
    pub fn keep(&mut self, what: Kept, var: Var) -> Var {
        let what = match (what, self.part) {
            (Kept::Extra(name), part) if part > 0 => Kept::Part(name, part),
            (Kept::Part(name, number), part) => Kept::Part(name, number + PARTS * part),
            (what, _) => what,
        };
        let entry = &mut self.entries[var.0 as usize];
        if let Some((_, value)) = self.given.iter().find(|(given, _)| *given == what) {
            entry.value = Rc::clone(value);
        }
        self.kept.push((what, Rc::clone(&entry.value)));
        var
    }

    /// The elements of a value.
    pub fn value(&self, var: Var) -> &Array {
        &self.entries[var.0 as usize].value
    }

    /// The elements of a value, shared.
    pub fn shared(&self, var: Var) -> Rc<Array> {
        Rc::clone(&self.entries[var.0 as usize].value)
    }

    /// The sizes of a value.
    pub fn sizes(&self, var: Var) -> Vec<usize> {
        self.value(var).shape().to_vec()
    }

    /// Whether a gradient flows to a value.
    pub fn needs(&self, var: Var) -> bool {
        self.entries[var.0 as usize].needs
    }

    /// Counts arithmetic that a primitive does.
    pub fn count_many(&mut self, kind: Kind, times: usize) {
        self.count.many(kind, times);
    }

    /// Counts multiply-adds of a product.
    pub fn count_products(&mut self, times: u128) {
        if self.is_counting() {
            self.count.products += times;
        }
    }

    /// Says for which choice of parts of complex numbers a kernel runs from here on. A product of
    /// complex numbers is one to PyTorch's counter of FLOPs, so only those of the first choice
    /// count; what is kept is kept for each.
    pub fn of_part(&mut self, part: usize) {
        self.part = part;
    }

    /// Whether products count.
    pub fn is_counting(&self) -> bool {
        self.part == 0
    }

    /// The gradients of `wanted`, from those of `results`: `None` where none flows.
    pub fn backward(
        &self,
        results: &[(Var, Array)],
        wanted: &[Option<Var>],
    ) -> (Vec<Option<Array>>, Count) {
        let mut pass = Backward {
            tape: self,
            gradients: vec![None; self.entries.len()],
            count: Count::default(),
        };
        for (var, gradient) in results {
            pass.give(*var, gradient.clone());
        }
        for number in (0..self.entries.len()).rev() {
            let Some(pullback) = &self.entries[number].pullback else {
                continue;
            };
            // A pullback gives to what stands before it, so this gradient is whole by now, and
            // nobody asks for it afterwards unless it is wanted itself.
            if let Some(gradient) = pass.gradients[number].take() {
                pullback(&mut pass, &gradient);
                if wanted.contains(&Some(Var(number as u32))) {
                    pass.gradients[number] = Some(gradient);
                }
            }
        }
        let found = wanted
            .iter()
            .map(|var| var.and_then(|var| pass.gradients[var.0 as usize].take()))
            .collect();
        (found, pass.count)
    }
}

impl Count {
    fn many(&mut self, kind: Kind, times: usize) {
        let times = times as u128;
        match kind {
            Kind::Move => {}
            Kind::Multiply => self.multiplications += times,
            Kind::Add => self.additions += times,
            Kind::Function => self.functions += times,
        }
    }
}

/// The way back along a tape.
pub struct Backward<'a> {
    tape: &'a Tape,
    gradients: Vec<Option<Array>>,
    count: Count,
}

impl<'a> Backward<'a> {
    /// The elements of a value, as far as they are kept.
    pub fn value(&self, var: Var) -> &'a Array {
        self.tape.value(var)
    }

    /// Whether a gradient flows to a value. A pullback need not compute what nobody wants, and must
    /// not where it would touch what is not kept.
    pub fn needs(&self, var: Var) -> bool {
        self.tape.needs(var)
    }

    /// The types in which primitives compute.
    pub fn arithmetic(&self) -> Arithmetic {
        self.tape.arithmetic
    }

    /// Counts arithmetic that a pullback does.
    pub fn count_many(&mut self, kind: Kind, times: usize) {
        self.count.many(kind, times);
    }

    /// Counts multiply-adds of a product.
    pub fn count_products(&mut self, times: u128) {
        self.count.products += times;
    }

    /// Adds to the gradient of a value; one that nobody wants is dropped.
    pub fn give(&mut self, var: Var, mut gradient: Array) {
        if !self.needs(var) {
            return;
        }
        if !gradient.is_standard_layout() {
            gradient = gradient.as_standard_layout().into_owned();
        }
        debug_assert_eq!(gradient.shape(), self.value(var).shape());
        let compute = self.tape.arithmetic.compute;
        number::round_all(compute, &mut gradient);
        self.count.bytes += self.tape.arithmetic.bytes(gradient.len());
        match &mut self.gradients[var.0 as usize] {
            Some(sum) => {
                self.count.additions += gradient.len() as u128;
                *sum += &gradient;
                number::round_all(compute, sum);
            }
            slot @ None => *slot = Some(gradient),
        }
    }
}
