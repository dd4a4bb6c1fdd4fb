//! What an entry of the op table says.

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::gradient::{self, Gradient, Kernels};
use super::layout::{self, Layout};
use super::{AttributeKind, AttributeValue, Attributes, Call, Init, OpError};
use crate::tensor::{Dtype, Interval, Moments, Shape, TensorType};

/// The types of an op's outputs.
pub type Outputs = SmallVec<[TensorType; 1]>;

/// A tensor of the graph being built, for composite ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorHandle(pub u32);

/// An operand of an op.
#[derive(Debug, Clone, Copy)]
pub struct Operand {
    /// The name of PyTorch's functional form: `input`, `weight`.
    pub name: &'static str,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it stands for any number of operands; only the last may.
    pub variadic: bool,
}

/// An attribute of an op.
#[derive(Debug, Clone, Copy)]
pub struct Attribute {
    /// PyTorch's name: `out_features`.
    pub name: &'static str,
    /// Other names for the same: NumPy's `axis` for `dim`.
    pub aliases: &'static [&'static str],
    /// What it may be.
    pub kind: AttributeKind,
    /// PyTorch's default; [`Default::None`] where there is none.
    pub default: Default,
    /// One line for editors and `explain`.
    pub summary: &'static str,
}

/// The default of an attribute.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// Must be given.
    Required,
    /// May be left out; the op decides what that means.
    None,
    /// An integer.
    Integer(i64),
    /// A real number.
    Float(f64),
    /// A truth value.
    Boolean(bool),
    /// A word.
    Text(&'static str),
}

impl Attribute {
    /// The default as a value.
    pub fn default_value(&self) -> Option<AttributeValue> {
        match self.default {
            Default::Required | Default::None => None,
            Default::Integer(value) => Some(AttributeValue::Integer(value)),
            Default::Float(value) => Some(AttributeValue::Float(value)),
            Default::Boolean(value) => Some(AttributeValue::Boolean(value)),
            Default::Text(value) => Some(AttributeValue::Text(SmolStr::new_static(value))),
        }
    }

    /// Adds other names for the attribute.
    pub const fn or(mut self, aliases: &'static [&'static str]) -> Attribute {
        self.aliases = aliases;
        self
    }
}

/// An operand that must be given.
pub const fn operand(name: &'static str) -> Operand {
    Operand {
        name,
        optional: false,
        variadic: false,
    }
}

/// An operand that may be left out.
pub const fn optional(name: &'static str) -> Operand {
    Operand {
        name,
        optional: true,
        variadic: false,
    }
}

/// Any number of operands.
pub const fn variadic(name: &'static str) -> Operand {
    Operand {
        name,
        optional: true,
        variadic: true,
    }
}

/// An attribute of that name, kind and default.
pub const fn attribute(
    name: &'static str,
    kind: AttributeKind,
    default: Default,
    summary: &'static str,
) -> Attribute {
    Attribute {
        name,
        aliases: &[],
        kind,
        default,
        summary,
    }
}

/// A parameter or buffer that a layer of an op owns.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterDefinition {
    /// The operand position that it fills.
    pub position: usize,
    /// PyTorch's name within the module: `weight`, `weight_ih_l0`, `running_mean`.
    pub name: SmolStr,
    /// The shape.
    pub shape: Shape,
    /// The element type; `None` for the model's parameter type.
    pub dtype: Option<Dtype>,
    /// How it is initialised.
    pub init: Init,
    /// Whether it is a buffer: saved with the model, but not trained.
    pub buffer: bool,
}

impl ParameterDefinition {
    /// A trainable parameter.
    pub fn new(
        position: usize,
        name: impl Into<SmolStr>,
        shape: impl Into<Shape>,
        init: Init,
    ) -> ParameterDefinition {
        ParameterDefinition {
            position,
            name: name.into(),
            shape: shape.into(),
            dtype: None,
            init,
            buffer: false,
        }
    }

    /// A buffer of that type.
    pub fn buffer(
        position: usize,
        name: impl Into<SmolStr>,
        shape: impl Into<Shape>,
        dtype: Dtype,
        value: f64,
    ) -> ParameterDefinition {
        ParameterDefinition {
            dtype: Some(dtype),
            buffer: true,
            ..ParameterDefinition::new(position, name, shape, Init::Constant(value))
        }
    }
}

/// Floating point operations of one call.
///
/// `products` follows PyTorch's `FlopCounterMode`: two per multiply-add of matrix products,
/// convolutions and attention, and nothing else. All other arithmetic is in `other`, one per
/// addition, multiplication, comparison or transcendental function of an element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Matrix products, convolutions, attention.
    pub products: u128,
    /// Everything else.
    pub other: u128,
}

impl Work {
    /// Products only.
    pub fn products(flops: u128) -> Work {
        Work {
            products: flops,
            other: 0,
        }
    }

    /// Other arithmetic only.
    pub fn other(flops: u128) -> Work {
        Work {
            products: 0,
            other: flops,
        }
    }
}

/// What `torch.autocast` does with an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autocast {
    /// Runs in the lower precision: matrix products, convolutions, attention.
    Lower,
    /// Runs in float32: softmax, norms, exp, log, pow, sums, losses.
    Float32,
    /// Takes its operands as they are and gives float32: norms of vectors, products.
    Float32Result,
    /// Runs in the widest type of its operands.
    Promote,
    /// Runs in the type of its operands.
    Keep,
}

/// What autograd keeps of a call for the backward pass.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Saved {
    /// Positions of operands that are kept.
    pub arguments: SmallVec<[usize; 3]>,
    /// Positions of outputs that are kept.
    pub outputs: SmallVec<[usize; 2]>,
    /// Further tensors: name, elements, element type. `dropout`'s mask, `layer_norm`'s statistics.
    pub extra: SmallVec<[(&'static str, u64, Dtype); 1]>,
    /// Whose kernels run: a formula that is taken apart keeps what its steps need.
    pub kernels: Kernels,
}

impl Saved {
    /// Nothing kept yet, for a run by those kernels.
    pub fn by(kernels: Kernels) -> Saved {
        Saved {
            kernels,
            ..Saved::default()
        }
    }

    /// Keeps the operand at `position`, if it is given.
    pub fn argument(&mut self, call: &Call, position: usize) {
        if call.has(position) && !self.arguments.contains(&position) {
            self.arguments.push(position);
        }
    }

    /// Keeps the output at `position`.
    pub fn output(&mut self, position: usize) {
        self.outputs.push(position);
    }

    /// Keeps a tensor that is neither operand nor output.
    pub fn extra(&mut self, name: &'static str, elements: u64, dtype: Dtype) {
        self.extra.push((name, elements, dtype));
    }
}

/// Builds graph nodes; composite ops are written in terms of it.
pub trait Expander {
    /// Applies an op to tensors already in the graph.
    ///
    /// # Errors
    /// Whatever the op's inference refuses.
    fn apply(
        &mut self,
        op: &str,
        arguments: &[Option<TensorHandle>],
        attributes: &[(&'static str, AttributeValue)],
    ) -> Result<SmallVec<[TensorHandle; 1]>, OpError>;

    /// The operands of the composite op, by position.
    fn arguments(&self) -> &[Option<TensorHandle>];

    /// A number as an operand.
    fn constant(&mut self, value: f64) -> TensorHandle;

    /// The type of a tensor.
    fn ty(&self, tensor: TensorHandle) -> TensorType;
}

/// The signature of an op's shape and dtype inference.
pub type Infer = fn(&Call) -> Result<Outputs, OpError>;

/// The signature of the value of one element; the call gives the attributes.
pub type Element = fn(&Call, &[f64]) -> f64;

/// The signature of the parameters that a layer of an op owns.
pub type Parameters = fn(&Call) -> Result<SmallVec<[ParameterDefinition; 2]>, OpError>;

/// The signature of a composite op's expansion.
pub type Expand = fn(&Call, &mut dyn Expander) -> Result<SmallVec<[TensorHandle; 1]>, OpError>;

/// An op: everything that is known of it.
#[derive(Clone, Copy)]
pub struct Op {
    /// PyTorch's functional name in snake_case.
    pub name: &'static str,
    /// Other names that specs may use.
    pub aliases: &'static [&'static str],
    /// One line: what it computes.
    pub summary: &'static str,
    /// The operands, in the order of PyTorch's functional form.
    pub operands: &'static [Operand],
    /// The attributes.
    pub attributes: &'static [Attribute],
    /// The parameters that a layer of this op owns, given its attributes and data operands.
    pub parameters: Option<Parameters>,
    /// Shape and dtype inference.
    pub infer: Infer,
    /// For composite ops: the simpler ops that it stands for. Its other functions are not used.
    pub expand: Option<Expand>,
    /// Whether the first output shares the storage of the first operand, as far as that does not
    /// depend on strides; see `layout`.
    pub view: bool,
    /// Where the first output lies in memory: in whose storage, with which strides.
    pub layout: Layout,
    /// Whether gradients flow through it.
    pub differentiable: bool,
    /// Whether it draws random numbers.
    pub random: bool,
    /// What autocast does with it.
    pub autocast: Autocast,
    /// For ops that work element by element: the value of one element of the output, from those
    /// of the operands at the same place. Lets formulas compute with plain numbers, and ranges
    /// and moments follow from it.
    pub element: Option<Element>,
    /// Arithmetic of the forward pass, for an inferred call.
    pub work: fn(&Call) -> Work,
    /// Product FLOPs of the backward pass, for an inferred call.
    pub backward: fn(&Call) -> u128,
    /// Bytes of the tensors that the forward pass makes besides its outputs and what autograd keeps,
    /// where the most of them live together, for an inferred call.
    pub temporaries: fn(&Call, Kernels) -> u64,
    /// What autograd keeps, for an inferred call that a gradient flows through.
    pub saved: fn(&Call, &mut Saved),
    /// What the backward pass allocates, for an inferred call that a gradient flows through.
    pub gradient: fn(&Call, &mut Gradient<'_>),
    /// A sound range of the first output, from those of the operands (one per operand position;
    /// anything where one is left out), in exact arithmetic on the values. The caller rounds.
    pub interval: fn(&Call, &[Interval]) -> Interval,
    /// Mean and variance of the first output; `None` where the model has nothing to say.
    pub moments: fn(&Call, &[Option<Moments>]) -> Option<Moments>,
    /// By what factor the variance of a gradient grows from the first output to the operand at
    /// the given position, from the moments of the operands; `None` where nothing is known.
    pub gradient_gain: fn(&Call, usize, &[Option<Moments>]) -> Option<f64>,
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Op({})", self.name)
    }
}

impl PartialEq for Op {
    fn eq(&self, other: &Op) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Op {
    /// The position of the attribute of that name or alias.
    pub fn attribute_position(&self, name: &str) -> Option<usize> {
        // Callers pass literals from the same file as the table, so the first comparison that
        // reaches the letters is nearly always the right one.
        self.attributes
            .iter()
            .position(|attribute| attribute.name == name || attribute.aliases.contains(&name))
    }

    /// The position of the operand of that name.
    pub fn operand_position(&self, name: &str) -> Option<usize> {
        self.operands
            .iter()
            .position(|operand| operand.name == name)
    }

    /// The name of the operand at `position`, variadic ones included.
    pub fn operand_name(&self, position: usize) -> &'static str {
        self.operands
            .get(position)
            .or(self.operands.last())
            .map_or("", |operand| operand.name)
    }

    /// Whether any number of operands may follow.
    pub fn is_variadic(&self) -> bool {
        self.operands.last().is_some_and(|operand| operand.variadic)
    }

    /// An attribute list from names and values, for composite ops and tests. Names that the op
    /// does not have are left out.
    pub fn attribute_list(&self, given: &[(&'static str, AttributeValue)]) -> Attributes {
        let mut attributes = Attributes::new();
        for (name, value) in given {
            if let Some(position) = self.attribute_position(name) {
                attributes.set(position, value.clone());
            }
        }
        attributes
    }
}

/// What an entry is laid over: one operand, no attributes, output like the input, no products,
/// nothing known of ranges or moments.
pub const BASE: Op = Op {
    name: "",
    aliases: &[],
    summary: "",
    operands: &[operand("input")],
    attributes: &[],
    parameters: None,
    infer: like_first,
    expand: None,
    view: false,
    layout: layout::contiguous,
    differentiable: true,
    random: false,
    autocast: Autocast::Keep,
    element: None,
    work: one_per_element,
    backward: no_products,
    temporaries: no_temporaries,
    saved: save_nothing,
    gradient: gradient::each,
    interval: any_value,
    moments: unknown_moments,
    gradient_gain: unknown_gain,
};

/// The first operand's type.
pub fn like_first(call: &Call) -> Result<Outputs, OpError> {
    Ok(smallvec::smallvec![call.ty(0)?.clone()])
}

/// One operation for every element of the first output.
pub fn one_per_element(call: &Call) -> Work {
    Work::other(u128::from(call.output_elements()))
}

/// No arithmetic: views, copies, reshapes.
pub fn no_work(_: &Call) -> Work {
    Work::default()
}

/// No products in the backward pass.
pub fn no_products(_: &Call) -> u128 {
    0
}

/// Nothing made besides.
pub fn no_temporaries(_: &Call, _: Kernels) -> u64 {
    0
}

/// Nothing kept for the backward pass.
pub fn save_nothing(_: &Call, _: &mut Saved) {}

/// Keeps the first operand.
pub fn save_input(call: &Call, saved: &mut Saved) {
    saved.argument(call, 0);
}

/// Keeps the first output.
pub fn save_output(_: &Call, saved: &mut Saved) {
    saved.output(0);
}

/// Nothing known but what the output's element type allows.
pub fn any_value(call: &Call, _: &[Interval]) -> Interval {
    call.output()
        .map_or(Interval::ANYTHING, |ty| Interval::of_dtype(ty.dtype))
        .or_non_finite(true)
}

/// The first operand's range.
pub fn same_interval(_: &Call, ranges: &[Interval]) -> Interval {
    ranges.first().copied().unwrap_or(Interval::ANYTHING)
}

/// Nothing known.
pub fn unknown_moments(_: &Call, _: &[Option<Moments>]) -> Option<Moments> {
    None
}

/// The first operand's moments.
pub fn same_moments(_: &Call, moments: &[Option<Moments>]) -> Option<Moments> {
    moments.first().copied().flatten()
}

/// Nothing known.
pub fn unknown_gain(_: &Call, _: usize, _: &[Option<Moments>]) -> Option<f64> {
    None
}

/// The gradient passes unchanged to the first operand.
pub fn unit_gain(_: &Call, position: usize, _: &[Option<Moments>]) -> Option<f64> {
    (position == 0).then_some(1.0)
}
