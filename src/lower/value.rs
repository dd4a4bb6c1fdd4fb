//! What a sub-expression of a formula stands for while the formula is lowered.

use smol_str::SmolStr;

use crate::graph::TensorId;
use crate::ops::{Op, find};
use crate::tensor::Dtype;

/// What a sub-expression stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A tensor of the graph.
    Tensor(TensorId),
    /// An integer.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// `True`, `False`.
    Boolean(bool),
    /// `None`.
    None,
    /// `...`.
    Ellipsis,
    /// A string.
    Text(SmolStr),
    /// An element type: `torch.float16`.
    Dtype(Dtype),
    /// A tuple or list.
    List(Vec<Value>),
    /// `start:stop:step`, as an index.
    Slice(Option<i64>, Option<i64>, Option<i64>),
    /// `np`, `torch.nn.functional`: a prefix that says nothing.
    Module,
    /// An op, to be called.
    Op(&'static Op),
    /// An op, to be called with the tensor in front of the dot as first operand.
    Method(&'static Op, TensorId),
    /// A cast of the tensor in front of the dot: `x.float`.
    Cast(Dtype, TensorId),
    /// The method `size` of the tensor in front of the dot.
    Size(TensorId),
    /// A block, to be called.
    Block(u32),
    /// A dotted name that may yet become the path of a parameter.
    Path(SmolStr),
    /// The trace of an error already reported.
    Faulty,
}

impl Value {
    /// A number as an integer where it is one.
    pub fn number(value: f64) -> Value {
        if value.fract() == 0.0 && value.abs() < 9.0e15 {
            Value::Integer(value as i64)
        } else {
            Value::Real(value)
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        match *self {
            Value::Integer(value) => Some(value as f64),
            Value::Real(value) => Some(value),
            _ => None,
        }
    }

    /// What to call the value in a message.
    pub fn describe(&self) -> &'static str {
        match self {
            Value::Tensor(_) => "a tensor",
            Value::Integer(_) | Value::Real(_) => "a number",
            Value::Boolean(_) => "a truth value",
            Value::None => "None",
            Value::Ellipsis => "an ellipsis",
            Value::Text(_) => "a string",
            Value::Dtype(_) => "an element type",
            Value::List(_) => "a list",
            Value::Slice(..) => "a slice",
            Value::Module => "a module",
            Value::Op(_) | Value::Method(..) | Value::Cast(..) | Value::Size(_) => "a function",
            Value::Block(_) => "a block",
            Value::Path(_) | Value::Faulty => "unknown",
        }
    }
}

/// The prefixes under which NumPy's and PyTorch's functions are known.
const MODULES: [&str; 14] = [
    "np",
    "numpy",
    "torch",
    "F",
    "nn",
    "math",
    "functional",
    "linalg",
    "special",
    "fft",
    "jnp",
    "jax",
    "scipy",
    "ops",
];

/// Whether a name in front of a dot is a module's, and so says nothing.
pub(crate) fn is_module(name: &str) -> bool {
    MODULES.contains(&name)
}

/// A name that means the same in every formula: a constant, a module, an element type or an op.
pub(super) fn builtin(name: &str) -> Option<Value> {
    match name {
        "pi" => return Some(Value::Real(std::f64::consts::PI)),
        "e" => return Some(Value::Real(std::f64::consts::E)),
        "inf" | "infinity" => return Some(Value::Real(f64::INFINITY)),
        "nan" => return Some(Value::Real(f64::NAN)),
        "newaxis" => return Some(Value::None),
        _ => {}
    }
    if is_module(name) {
        return Some(Value::Module);
    }
    if let Some(op) = function(name) {
        return Some(Value::Op(op));
    }
    Dtype::parse(name).map(Value::Dtype)
}

/// The op that a function of NumPy, Python or PyTorch stands for.
pub(super) fn function(name: &str) -> Option<&'static Op> {
    find(name).or_else(|| find(name.trim_end_matches('_')).filter(|_| !name.ends_with("__")))
}
