//! The JSON of an exported program, as `torch/_export/serde/schema.py` defines it.
//!
//! Only what is used is read; fields and kinds of arguments that are not known are passed over.

use rustc_hash::FxHashMap;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, de};

use crate::tensor::Dtype;

/// A whole program.
#[derive(Debug, Deserialize)]
pub(super) struct ExportedProgram {
    pub graph_module: GraphModule,
    /// The least and greatest value of each symbol.
    #[serde(default)]
    pub range_constraints: FxHashMap<String, Range>,
}

/// A range of integers; open where nothing is said.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Range {
    pub min_val: Option<i64>,
    pub max_val: Option<i64>,
}

/// A graph and what its inputs and outputs stand for.
#[derive(Debug, Deserialize)]
pub(super) struct GraphModule {
    pub graph: Graph,
    pub signature: Signature,
}

/// Calls in order, and the types of the tensors among them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Graph {
    pub inputs: Vec<Argument>,
    pub outputs: Vec<Argument>,
    pub nodes: Vec<Node>,
    pub tensor_values: FxHashMap<String, TensorMeta>,
    #[serde(default)]
    pub sym_int_values: FxHashMap<String, Size>,
}

/// One call.
#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub target: String,
    pub inputs: Vec<NamedArgument>,
    pub outputs: Vec<Argument>,
    #[serde(default)]
    pub metadata: FxHashMap<String, String>,
}

/// An argument with the name that the op's schema gives it.
#[derive(Debug, Deserialize)]
pub(super) struct NamedArgument {
    pub name: String,
    pub arg: Argument,
}

/// A reference to a tensor.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Name {
    pub name: String,
}

/// A value that is handed to a call.
#[derive(Debug, Default)]
pub(super) enum Argument {
    /// Left out: `None`.
    Absent,
    Tensor(Name),
    Tensors(Vec<Name>),
    /// Tensors with gaps, such as the indices of `x[:, i]`.
    OptionalTensors(Vec<Option<Name>>),
    Integer(SymbolicInteger),
    Integers(Vec<SymbolicInteger>),
    Float(f64),
    Boolean(bool),
    Text(String),
    Dtype(Option<Dtype>),
    Graph(Box<Graph>),
    /// A kind that is of no use here: devices, layouts, objects.
    #[default]
    Other,
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Argument, D::Error> {
        deserializer.deserialize_any(ArgumentVisitor)
    }
}

struct ArgumentVisitor;

impl<'de> Visitor<'de> for ArgumentVisitor {
    type Value = Argument;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an argument: a table with one key such as `as_tensor`")
    }

    // An argument of a kind without content may be written as its bare name.
    fn visit_str<E: de::Error>(self, _: &str) -> Result<Argument, E> {
        Ok(Argument::Other)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Argument, E> {
        Ok(Argument::Absent)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Argument, A::Error> {
        let mut argument = Argument::Absent;
        // Older programs write every key and leave all but one empty.
        while let Some(key) = map.next_key::<String>()? {
            let found = match key.as_str() {
                "as_tensor" => map.next_value::<Option<_>>()?.map(Argument::Tensor),
                "as_tensors" => map.next_value::<Option<_>>()?.map(Argument::Tensors),
                "as_optional_tensor" => map
                    .next_value::<Option<OptionalTensor>>()?
                    .map(|tensor| tensor.0.map_or(Argument::Absent, Argument::Tensor)),
                "as_optional_tensors" => map
                    .next_value::<Option<Vec<OptionalTensor>>>()?
                    .map(|all| Argument::OptionalTensors(all.into_iter().map(|t| t.0).collect())),
                "as_int" | "as_sym_int" => map.next_value::<Option<_>>()?.map(Argument::Integer),
                "as_ints" | "as_sym_ints" => map.next_value::<Option<_>>()?.map(Argument::Integers),
                "as_float" => map
                    .next_value::<Option<Real>>()?
                    .map(|x| Argument::Float(x.0)),
                "as_bool" => map.next_value::<Option<_>>()?.map(Argument::Boolean),
                "as_string" => map.next_value::<Option<_>>()?.map(Argument::Text),
                "as_scalar_type" => map
                    .next_value::<Option<u32>>()?
                    .map(|number| Argument::Dtype(dtype(number))),
                "as_graph" => map
                    .next_value::<Option<GraphArgument>>()?
                    .map(|argument| Argument::Graph(Box::new(argument.graph))),
                "as_none" => {
                    map.next_value::<IgnoredAny>()?;
                    None
                }
                _ => map
                    .next_value::<Option<IgnoredAny>>()?
                    .map(|_| Argument::Other),
            };
            if let Some(found) = found {
                argument = found;
            }
        }
        Ok(argument)
    }
}

#[derive(Deserialize)]
struct GraphArgument {
    graph: Graph,
}

/// `{"as_tensor": {"name": …}}` or `{"as_none": …}`, or a bare name in older programs.
#[derive(Debug)]
struct OptionalTensor(Option<Name>);

impl<'de> Deserialize<'de> for OptionalTensor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OptionalTensor, D::Error> {
        #[derive(Deserialize)]
        struct Either {
            as_tensor: Option<Name>,
            name: Option<String>,
        }
        let either = Option::<Either>::deserialize(deserializer)?;
        Ok(OptionalTensor(either.and_then(|either| {
            either.as_tensor.or(either.name.map(|name| Name { name }))
        })))
    }
}

/// A number: JSON has no infinities, so they are written as words.
struct Real(f64);

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Real, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(f64),
            Word(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(value) => Ok(Real(value)),
            Either::Word(word) => match word.as_str() {
                "Infinity" | "inf" => Ok(Real(f64::INFINITY)),
                "-Infinity" | "-inf" => Ok(Real(f64::NEG_INFINITY)),
                "NaN" | "nan" => Ok(Real(f64::NAN)),
                word => Err(de::Error::custom(format!("`{word}` is no number"))),
            },
        }
    }
}

/// An integer argument: a number, or the name of one that the program computes.
#[derive(Debug, Clone)]
pub(super) enum SymbolicInteger {
    Number(i64),
    Name(String),
}

impl<'de> Deserialize<'de> for SymbolicInteger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SymbolicInteger, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Plain(i64),
            Tagged {
                as_int: Option<i64>,
                as_name: Option<String>,
            },
        }
        match Either::deserialize(deserializer)? {
            Either::Plain(value)
            | Either::Tagged {
                as_int: Some(value),
                ..
            } => Ok(SymbolicInteger::Number(value)),
            Either::Tagged {
                as_name: Some(name),
                ..
            } => Ok(SymbolicInteger::Name(name)),
            Either::Tagged { .. } => Err(de::Error::custom("an integer with no value")),
        }
    }
}

/// A size: a number, or an expression with the number that it had when the program was exported.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Size {
    as_int: Option<i64>,
    as_expr: Option<Expression>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Expression {
    expr_str: String,
    hint: Option<Hint>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Hint {
    as_int: Option<i64>,
}

impl Size {
    /// The number that it had when the program was exported, if one is known.
    pub(super) fn hint(&self) -> Option<i64> {
        self.as_int.or_else(|| {
            let expression = self.as_expr.as_ref()?;
            let hint = expression.hint.as_ref().and_then(|hint| hint.as_int);
            hint.or_else(|| expression.expr_str.parse().ok())
        })
    }

    /// The expression, where it is no plain number.
    pub(super) fn expression(&self) -> Option<&str> {
        self.as_expr
            .as_ref()
            .map(|expression| expression.expr_str.as_str())
    }

    /// The size as it is written.
    pub(super) fn text(&self) -> String {
        match (&self.as_int, &self.as_expr) {
            (Some(value), _) => value.to_string(),
            (None, Some(expression)) => expression.expr_str.clone(),
            (None, None) => "?".to_owned(),
        }
    }
}

/// The type of a tensor.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TensorMeta {
    pub dtype: u32,
    pub sizes: Vec<Size>,
    #[serde(default)]
    pub requires_grad: bool,
}

/// The element type of that number in `torch.ScalarType` of the schema, if it is one that is
/// known here.
pub(super) fn dtype(number: u32) -> Option<Dtype> {
    Some(match number {
        1 => Dtype::Uint8,
        2 => Dtype::Int8,
        3 => Dtype::Int16,
        4 => Dtype::Int32,
        5 => Dtype::Int64,
        6 => Dtype::Float16,
        7 => Dtype::Float32,
        8 => Dtype::Float64,
        10 => Dtype::Complex64,
        11 => Dtype::Complex128,
        12 => Dtype::Bool,
        13 => Dtype::Bfloat16,
        29 => Dtype::Float8E4m3fn,
        30 => Dtype::Float8E5m2,
        _ => return None,
    })
}

/// What the inputs and outputs of a program stand for, in order.
#[derive(Debug, Deserialize)]
pub(super) struct Signature {
    pub input_specs: Vec<InputSpec>,
    #[serde(default)]
    pub output_specs: Vec<OutputSpec>,
}

/// What an input stands for: one of these.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InputSpec {
    pub user_input: Option<UserValue>,
    pub parameter: Option<ParameterSpec>,
    pub buffer: Option<BufferSpec>,
    pub tensor_constant: Option<ConstantSpec>,
}

/// What an output stands for; other kinds than these are states that the program changes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OutputSpec {
    pub user_output: Option<UserValue>,
    pub loss_output: Option<LossOutput>,
}

#[derive(Debug, Deserialize)]
pub(super) struct UserValue {
    pub arg: Argument,
}

#[derive(Debug, Deserialize)]
pub(super) struct LossOutput {
    pub arg: Name,
}

#[derive(Debug, Deserialize)]
pub(super) struct ParameterSpec {
    pub arg: Name,
    pub parameter_name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct BufferSpec {
    pub arg: Name,
    pub buffer_name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConstantSpec {
    pub arg: Name,
}

/// In which file the values of each parameter lie.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WeightsConfig {
    pub config: FxHashMap<String, WeightEntry>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WeightEntry {
    pub path_name: String,
    #[serde(default)]
    pub tensor_meta: Option<StoredMeta>,
}

/// What is said of a stored tensor.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StoredMeta {
    pub device: Option<StoredDevice>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StoredDevice {
    #[serde(rename = "type")]
    pub kind: String,
}

impl WeightEntry {
    /// Whether the file holds values: tensors of the `meta` device have none, and one file, of no
    /// bytes, for each element type.
    pub fn is_stored(&self) -> bool {
        let device = self
            .tensor_meta
            .as_ref()
            .and_then(|meta| meta.device.as_ref());
        device.is_none_or(|device| device.kind != "meta")
    }
}
