//! The types that a file states for the results of its calls.

use rustc_hash::FxHashMap;

use super::constant::dtype;
use super::dims::Dims;
use super::registry::{self, Mapping};
use super::schema::{DimensionValue, GraphProto, NodeProto, TypeProto, TypeValue};
use crate::tensor::{Dtype, Shape, TensorType};

/// A type as far as a file states it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stated {
    /// The element type; `None` where it is none that is known here.
    pub dtype: Option<Dtype>,
    /// The sizes, as far as they are numbers; `None` where not even the rank is stated.
    pub sizes: Option<Vec<Option<u64>>>,
}

impl Stated {
    /// The stated type of a tensor; `None` where it is none of a tensor.
    pub(super) fn of(ty: &TypeProto, dims: &Dims) -> Option<Stated> {
        let Some(TypeValue::Tensor(tensor) | TypeValue::SparseTensor(tensor)) = &ty.value else {
            return None;
        };
        let size = |value: &Option<DimensionValue>| match value {
            Some(DimensionValue::Value(value)) => u64::try_from(*value).ok(),
            Some(DimensionValue::Parameter(name)) => dims.get(name),
            None => None,
        };
        Some(Stated {
            dtype: dtype(tensor.elem_type),
            sizes: tensor
                .shape
                .as_ref()
                .map(|shape| shape.dim.iter().map(|dim| size(&dim.value)).collect()),
        })
    }

    /// The shape, where all of it is stated.
    pub(super) fn shape(&self) -> Option<Shape> {
        let shape: Shape = self
            .sizes
            .as_ref()?
            .iter()
            .copied()
            .collect::<Option<_>>()?;
        let elements = shape.checked_elements()?;
        elements.checked_mul(128).map(|_| shape)
    }

    /// The type, where all of it is stated.
    pub(super) fn ty(&self) -> Option<TensorType> {
        Some(TensorType::new(self.shape()?, self.dtype?))
    }

    /// Whether a shape may be the stated one.
    pub(super) fn admits(&self, shape: &Shape) -> bool {
        self.sizes.as_ref().is_none_or(|sizes| {
            sizes.len() == shape.rank()
                && sizes
                    .iter()
                    .zip(shape.sizes())
                    .all(|(stated, size)| stated.is_none_or(|stated| stated == *size))
        })
    }
}

/// All types of tensors that a graph states, by name.
pub(super) fn all<'p>(graph: &'p GraphProto, dims: &Dims) -> FxHashMap<&'p str, Stated> {
    graph
        .value_info
        .iter()
        .chain(&graph.output)
        .filter_map(|info| {
            let stated = Stated::of(info.r#type.as_ref()?, dims)?;
            Some((info.name.as_str(), stated))
        })
        .collect()
}

/// Ops of more inputs than one whose result has the shape of the first.
const KEEPING: &[&str] = &[
    "Cast",
    "CastLike",
    "Clip",
    "Dropout",
    "Softmax",
    "LogSoftmax",
];

/// Sizes guessed of what no type is stated of: those of what is computed from it element by
/// element. They only stand in where sizes depend on data.
pub(super) fn hints<'p>(
    nodes: &'p [NodeProto],
    stated: &FxHashMap<&'p str, Stated>,
) -> FxHashMap<&'p str, Stated> {
    let mut hints: FxHashMap<&'p str, Stated> = FxHashMap::default();
    for node in nodes.iter().rev() {
        let operands = match registry::find(&node.domain, &node.op_type) {
            Some(Mapping::Unary(_)) => 1,
            Some(Mapping::Binary(_)) => 2,
            _ if KEEPING.contains(&node.op_type.as_str()) => 1,
            _ => continue,
        };
        let Some(output) = node.output.first().map(String::as_str) else {
            continue;
        };
        let Some(of) = stated.get(output).or_else(|| hints.get(output)).cloned() else {
            continue;
        };
        for input in node.input.iter().take(operands) {
            if !stated.contains_key(input.as_str()) {
                let sizes = of.sizes.clone();
                let hint = Stated { dtype: None, sizes };
                hints.entry(input).or_insert(hint);
            }
        }
    }
    hints
}
