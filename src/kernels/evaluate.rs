//! Runs a kernel for one call: forward from its operands, backward from what was kept of them.

use std::rc::Rc;

use smallvec::SmallVec;

use super::complex::{self, Complex};
use super::tape::number::{opmath, store};
use super::tape::{Arithmetic, Count, Kept, Tape, Var};
use super::{Array, KernelError, find};
use crate::ops::Call;
use crate::tensor::{Dtype, TensorType};

/// How calls are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Whether floats are computed and stored in float64, whatever their types: for gradients by
    /// differences.
    pub exact: bool,
    /// The type in which sums add up; by default the one that PyTorch's kernels use.
    pub accumulate: Option<Dtype>,
    /// The type that all floats are stored in, whatever their own; computed in the type that
    /// PyTorch's kernels use on it.
    pub stored: Option<Dtype>,
    /// What random ops draw follows from it.
    pub seed: u64,
}

impl Setting {
    /// Float64 throughout.
    pub fn exact(seed: u64) -> Setting {
        Setting {
            exact: true,
            accumulate: None,
            stored: None,
            seed,
        }
    }

    /// In the types that the calls state.
    pub fn stated(seed: u64) -> Setting {
        Setting {
            exact: false,
            accumulate: None,
            stored: None,
            seed,
        }
    }

    fn arithmetic(&self, call: &Call) -> Arithmetic {
        let mut arithmetic = self.of_types(call);
        if let Some(accumulate) = self.accumulate {
            arithmetic.accumulate = accumulate;
        }
        arithmetic
    }

    /// The types that PyTorch's kernels would use on what is stored.
    fn of_types(&self, call: &Call) -> Arithmetic {
        if let Some(stored) = self.stored {
            return Arithmetic::of(stored);
        }
        if self.exact {
            return Arithmetic::EXACT;
        }
        let operands = call.arguments.iter().flatten();
        let types = operands
            .filter(|argument| argument.constant.is_none())
            .map(|argument| argument.ty.dtype)
            .chain(call.outputs.iter().map(|ty| ty.dtype));
        let widest = types
            .filter(|dtype| dtype.is_float())
            .map(opmath)
            .reduce(|a, b| if a == Dtype::Float64 { a } else { b });
        Arithmetic::of(widest.unwrap_or(Dtype::Float64))
    }

    /// An operand as a kernel takes it: a number of the spec is rounded to the type in which the
    /// kernel computes, as PyTorch rounds it (`opmath_t`).
    fn number(&self, call: &Call, position: usize, value: &Rc<Array>) -> Rc<Array> {
        let weak = call.constant(position).is_some() && self.stored.is_none();
        let compute = self.arithmetic(call).compute;
        match weak && compute != Dtype::Float64 {
            true => Rc::new(store(compute, (**value).clone())),
            false => Rc::clone(value),
        }
    }

    /// The elements as a tensor of that type holds them in this setting.
    pub fn stored(&self, dtype: Dtype, array: Array) -> Array {
        if let (Some(stored), true) = (self.stored, dtype.is_float()) {
            store(stored, array)
        } else if self.exact && dtype.is_float() {
            array
        } else {
            store(dtype, array)
        }
    }
}

/// What came of a forward run.
#[derive(Debug)]
pub struct Ran {
    /// The outputs.
    pub outputs: Vec<Rc<Array>>,
    /// What the kernel says may be kept besides operands and outputs.
    pub extras: Vec<(Kept, Rc<Array>)>,
    /// What was done.
    pub count: Count,
    /// Why the gradient is not the derivative, where it is not.
    pub convention: Option<&'static str>,
}

/// What a backward run finds.
#[derive(Debug, Default)]
pub struct Supplied {
    /// The operands that were kept, by position.
    pub operands: Vec<Option<Rc<Array>>>,
    /// Outputs and further tensors that were kept.
    pub kept: Vec<(Kept, Rc<Array>)>,
}

/// What came of a backward run.
#[derive(Debug)]
pub struct Gradients {
    /// The gradient of each operand; `None` where none flows.
    pub operands: Vec<Option<Array>>,
    /// What was done, apart from what was computed anew.
    pub count: Count,
}

/// The sizes of the array that holds a tensor: those of its shape, and two for a complex number.
pub fn held_sizes(ty: &TensorType) -> Vec<usize> {
    let sizes = ty.shape.sizes().iter().map(|&size| size as usize);
    sizes.chain(ty.dtype.is_complex().then_some(2)).collect()
}

fn run(
    call: &Call,
    tape: &mut Tape,
    given: &[Option<Var>],
) -> Result<SmallVec<[Var; 1]>, KernelError> {
    let Some(kernel) = find(call.op.name) else {
        let name = call.op.name;
        return Err(KernelError::new(format!("there is no kernel of `{name}`")));
    };
    if let Some(why) = kernel.refuses {
        return Err(KernelError::new(why));
    }
    let results = match (complex::concerns(call), kernel.complex) {
        (false, _) | (true, Complex::Itself) => (kernel.run)(tape, call, &Given(given, call))?,
        (true, Complex::Refused) => {
            let name = call.op.name;
            return Err(KernelError::new(format!(
                "the kernel of `{name}` does not know complex numbers"
            )));
        }
        (true, _) => complex::by_parts(kernel, tape, call, given)?,
    };
    for (position, &var) in results.iter().enumerate() {
        tape.keep(Kept::Output(position), var);
    }
    Ok(results)
}

/// The operands of a kernel.
pub struct Given<'a>(&'a [Option<Var>], &'a Call<'a>);

impl<'a> Given<'a> {
    /// These operands of a call.
    pub fn of(operands: &'a [Option<Var>], call: &'a Call<'a>) -> Given<'a> {
        Given(operands, call)
    }
}

impl Given<'_> {
    /// The operand at `position`, if given.
    pub fn get(&self, position: usize) -> Option<Var> {
        self.0.get(position).copied().flatten()
    }

    /// The operand at `position`.
    ///
    /// # Errors
    /// Where it is left out.
    pub fn need(&self, position: usize) -> Result<Var, KernelError> {
        self.get(position).ok_or_else(|| {
            let op = self.1.op;
            let name = op.operand_name(position);
            KernelError::new(format!("`{}` needs its operand `{name}`", op.name))
        })
    }

    /// How many positions there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All operands that are given, from `position` on.
    pub fn from(&self, position: usize) -> Vec<Var> {
        self.0.iter().skip(position).copied().flatten().collect()
    }
}

/// Runs a call on its operands, by position; `None` where one is left out. Numbers written in the
/// spec are arrays without axes.
///
/// # Errors
/// Where the op has no kernel, or the kernel does not cover the call.
pub fn forward(
    call: &Call,
    operands: &[Option<Rc<Array>>],
    setting: Setting,
) -> Result<Ran, KernelError> {
    let mut tape = Tape::new(setting.arithmetic(call), setting.seed, Vec::new());
    let given: Vec<Option<Var>> = operands
        .iter()
        .enumerate()
        .map(|(position, operand)| {
            let value = setting.number(call, position, operand.as_ref()?);
            Some(tape.leaf(value, false))
        })
        .collect();
    let results = run(call, &mut tape, &given)?;
    let outputs = results
        .iter()
        .zip(call.outputs)
        .map(|(&var, ty)| Rc::new(setting.stored(ty.dtype, tape.value(var).clone())))
        .collect();
    let extras = tape
        .kept()
        .iter()
        .filter(|(kept, _)| kept.extra().is_some())
        .cloned()
        .collect();
    Ok(Ran {
        outputs,
        extras,
        count: tape.count(),
        convention: tape.convention(),
    })
}

/// The gradients of a call's operands, from those of its outputs and from what was kept. Operands
/// that are given but not kept stand there as NaN, so that a gradient that needs one shows it.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    call: &Call,
    supplied: &Supplied,
    gradients: &[Option<Array>],
    setting: Setting,
) -> Result<Gradients, KernelError> {
    let kept = supplied.kept.clone();
    let mut tape = Tape::new(setting.arithmetic(call), setting.seed, kept);
    let given: Vec<Option<Var>> = call
        .arguments
        .iter()
        .enumerate()
        .map(|(position, argument)| {
            let argument = argument.as_ref()?;
            let value = match supplied.operands.get(position).cloned().flatten() {
                Some(value) => setting.number(call, position, &value),
                None => Rc::new(Array::from_elem(held_sizes(argument.ty), f64::NAN)),
            };
            let needs = argument.requires_grad && argument.ty.dtype.is_float();
            Some(tape.leaf(value, needs))
        })
        .collect();
    let results = run(call, &mut tape, &given)?;
    for (&var, gradient) in results.iter().zip(gradients) {
        if let Some(gradient) = gradient
            && gradient.shape() != tape.value(var).shape()
        {
            return Err(KernelError::new(format!(
                "a gradient of shape {:?} came to an output of shape {:?}",
                gradient.shape(),
                tape.value(var).shape()
            )));
        }
    }
    let seeds: Vec<(Var, Array)> = results
        .iter()
        .zip(gradients)
        .filter_map(|(&var, gradient)| Some((var, gradient.clone()?)))
        .collect();
    let (found, count) = tape.backward(&seeds, &given);
    let operands = found
        .into_iter()
        .zip(call.arguments)
        .map(|(gradient, argument)| {
            let dtype = argument.as_ref()?.ty.dtype;
            Some(setting.stored(dtype, gradient?))
        })
        .collect();
    Ok(Gradients { operands, count })
}
