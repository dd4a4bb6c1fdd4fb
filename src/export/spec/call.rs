//! A call as a layer of its op: operands, attributes, and the types that have to be stated.

use smol_str::SmolStr;

use super::owned::{Owned, Ownership, derived};
use super::text::{Body, Line, Number, Operand, TensorText, Value};
use crate::graph::{Dims, Graph, Node, NodeId, TensorId};
use crate::ops::definition::Default;
use crate::ops::foreign::OPAQUE;
use crate::ops::{Attribute, AttributeKind, AttributeValue, Attributes, Op};
use crate::tensor::Dtype;

/// Attributes of which one number stands for the same on all axes.
const SPATIAL: [&str; 6] = [
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "output_padding",
    "output_size",
];

/// Writes calls.
pub(super) struct Calls<'a> {
    pub graph: &'a Graph,
    pub ownership: &'a Ownership,
    pub dims: &'a Dims,
    /// The element type of parameters where nothing else is said.
    pub dtype: Dtype,
}

impl Calls<'_> {
    /// The call as a layer.
    pub fn line(&self, id: NodeId, hint: &str) -> Line {
        let node = self.graph.node(id);
        let own = self.ownership.layers.get(id.0 as usize);
        let owned = own.and_then(Option::as_ref);
        let mut attributes = match owned {
            Some(owned) => owned.attributes.clone(),
            None if node.op.parameters.is_some() => node.attributes.clone(),
            None => completed(self.graph, node),
        };
        let (inputs, shared) = match owned.and_then(|owned| self.shared(node, owned)) {
            Some((inputs, shared)) => (inputs, shared),
            None => match self.tied(node) {
                Some(((inputs, shared), more)) => {
                    attributes = more;
                    (inputs, shared)
                }
                None => (self.all(node, &attributes), Vec::new()),
            },
        };
        let attributes = self.plain(node, attributes);
        let mut line = Line {
            hint: hint.to_owned(),
            longer: hint.to_owned(),
            outputs: node.outputs().collect(),
            body: Body::Op(node.op.name),
            inputs,
            reads: reads(node.op),
            attributes: self.values(id, &attributes, &shared),
            repeat: 1,
            nodes: id.0..id.0 + 1,
            instances: Vec::new(),
        };
        if let Some(owned) = owned {
            let mut add = |key: &str, value| line.attributes.push((key.into(), value));
            if owned.frozen {
                add("frozen", Value::Boolean(true));
            }
            if let Some(dtype) = owned.dtype {
                add("dtype", Value::Text(dtype.name().to_owned()));
            }
        }
        if self.is_stated(node, &attributes) {
            let types = node
                .outputs()
                .map(|id| {
                    let mut text = TensorText::new(self.graph.ty(id), self.dtype);
                    self.sized(id, &mut text);
                    text
                })
                .collect();
            line.attributes.push(("stated".into(), Value::Types(types)));
        }
        line
    }

    /// The attributes of a call that owns nothing, as short as they can be said.
    pub fn attributes(&self, id: NodeId) -> Attributes {
        let node = self.graph.node(id);
        self.plain(node, node.attributes.clone())
    }

    /// Whether the graph says other types of the outputs than the op infers.
    pub fn is_stated(&self, node: &Node, attributes: &Attributes) -> bool {
        if node.op.name == OPAQUE {
            return true;
        }
        let mut call = node.clone();
        call.attributes = attributes.clone();
        let inferred = self.graph.with_call(&call, |call| (node.op.infer)(call));
        let stated = node.outputs().map(|id| self.graph.ty(id));
        !inferred.is_ok_and(|inferred| stated.eq(inferred.iter()))
    }

    fn operand(&self, id: TensorId) -> Operand {
        if !id.is_present() {
            return Operand::Absent;
        }
        match self.graph.constant(id) {
            Some(value) => Operand::Number(constant(value, self.graph.ty(id).dtype)),
            None => Operand::Tensor(id),
        }
    }

    /// The operands of a layer that owns the others: those in front of its own, and those that
    /// attributes name.
    fn shared(&self, node: &Node, owned: &Owned) -> Option<Shared> {
        self.split(node, |position| owned.positions.contains(&position))
    }

    fn split(&self, node: &Node, own: impl Fn(usize) -> bool) -> Option<Shared> {
        let mut inputs = Vec::new();
        let mut shared = Vec::new();
        let mut front = true;
        for (position, &id) in node.arguments.iter().enumerate() {
            if own(position) {
                front = false;
            } else if front {
                inputs.push(self.operand(id));
            } else if id.is_present() {
                let name = node.op.operand_name(position);
                let attribute = node.op.attribute_position(name)?;
                if node.op.attributes[attribute].kind != AttributeKind::Parameter
                    || self.graph.parameter(id).is_none()
                {
                    return None;
                }
                shared.push((attribute, id));
            }
        }
        while inputs.last() == Some(&Operand::Absent) {
            inputs.pop();
        }
        Some((inputs, shared))
    }

    /// A layer whose weight is another layer's: `weight = "wte.weight"`.
    fn tied(&self, node: &Node) -> Option<(Shared, Attributes)> {
        let position = node.op.operand_position("weight").filter(|&at| at > 0)?;
        self.graph.parameter(*node.arguments.get(position)?)?;
        let (inputs, shared) = self.split(node, |_| false)?;
        let attribute = node.op.attribute_position("weight")?;
        if node.op.attributes[attribute].kind != AttributeKind::Parameter
            || position + 1 < inputs.len()
            || !shared.is_empty()
        {
            return None;
        }
        let mut attributes = node.attributes.clone();
        for name in ["bias"] {
            if let Some(position) = node.op.attribute_position(name) {
                attributes.set(position, false.into());
            }
        }
        let weight = node.arguments[position];
        Some((
            (inputs[..position].to_vec(), vec![(attribute, weight)]),
            attributes,
        ))
    }

    /// All operands, with a word for each that is left out and would be made otherwise.
    fn all(&self, node: &Node, attributes: &Attributes) -> Vec<Operand> {
        let mut inputs: Vec<Operand> = node.arguments.iter().map(|&id| self.operand(id)).collect();
        let mut call = node.clone();
        call.attributes = attributes.clone();
        let wanted = node
            .op
            .parameters
            .and_then(|parameters| self.graph.with_call(&call, parameters).ok());
        let last = wanted
            .iter()
            .flatten()
            .map(|parameter| parameter.position)
            .filter(|&position| {
                !node
                    .arguments
                    .get(position)
                    .is_some_and(|id| id.is_present())
            })
            .max();
        match last {
            Some(last) => inputs.resize(inputs.len().max(last + 1), Operand::Absent),
            None => {
                while inputs.last() == Some(&Operand::Absent) {
                    inputs.pop();
                }
            }
        }
        inputs
    }

    /// The attributes as short as they can be said.
    fn plain(&self, node: &Node, attributes: Attributes) -> Attributes {
        let mut short = Attributes::new();
        for (position, value) in attributes.iter() {
            let attribute = &node.op.attributes[position];
            let value = match value {
                AttributeValue::Integers(sizes)
                    if SPATIAL.contains(&attribute.name)
                        && !sizes.is_empty()
                        && sizes.windows(2).all(|pair| pair[0] == pair[1]) =>
                {
                    AttributeValue::Integer(sizes[0])
                }
                value => value.clone(),
            };
            // One axis is the last one, which is normalised where nothing is said.
            let last = attribute.name == "normalized_shape"
                && matches!(&value, AttributeValue::Integers(sizes) if sizes.len() == 1);
            // Where a slice begins and ends if nothing is said.
            let whole = node.op.name == "slice"
                && matches!(
                    (attribute.name, &value),
                    ("start", AttributeValue::Integer(0))
                        | ("end", AttributeValue::Integer(i64::MAX))
                );
            if !is_default(attribute, &value) && !last && !whole {
                short.set(position, value);
            }
        }
        match self.is_stated(node, &short) == self.is_stated(node, &attributes) {
            true => short,
            false => attributes,
        }
    }

    /// Lets the sizes of a tensor be those of the dims.
    pub fn sized(&self, id: TensorId, text: &mut TensorText) {
        let sizes = self.graph.ty(id).shape.sizes();
        for ((axis, &size), number) in sizes.iter().enumerate().zip(&mut text.shape) {
            number.text = self.dims.size(id, axis, size);
        }
    }

    fn values(
        &self,
        id: NodeId,
        attributes: &Attributes,
        shared: &[(usize, TensorId)],
    ) -> Vec<(SmolStr, Value)> {
        let mut values = Vec::new();
        let op = self.graph.node(id).op;
        for (position, attribute) in op.attributes.iter().enumerate() {
            let given = shared.iter().find(|(at, _)| *at == position);
            if let Some((_, id)) = given {
                values.push((attribute.name.into(), Value::Parameter(*id)));
            } else if let Some(value) = attributes.get(position) {
                values.push((attribute.name.into(), self.written(id, position, value)));
            }
        }
        values
    }

    /// The value of an attribute.
    fn written(&self, id: NodeId, position: usize, value: &AttributeValue) -> Value {
        match value {
            AttributeValue::Integer(_) | AttributeValue::Float(_) => {
                Value::Number(self.number(id, position, value))
            }
            AttributeValue::Integers(values) => Value::Numbers(self.numbers(id, position, values)),
            AttributeValue::Boolean(value) => Value::Boolean(*value),
            AttributeValue::Text(text) => Value::Text(text.to_string()),
            AttributeValue::Dtype(dtype) => Value::Text(dtype.name().to_owned()),
        }
    }

    /// A number of a call, or the dims that it follows from.
    pub fn number(&self, id: NodeId, position: usize, value: &AttributeValue) -> Number {
        let name = self.graph.node(id).op.attributes[position].name;
        let whole = match value {
            AttributeValue::Integer(value) => Some(*value),
            // The ends of a range of numbers are mostly whole.
            AttributeValue::Float(value)
                if matches!(name, "start" | "end")
                    && value.fract() == 0.0
                    && value.abs() < 9.0e15 =>
            {
                Some(*value as i64)
            }
            _ => None,
        };
        let text = match (whole, value) {
            (Some(whole), _) => self.dims.number((id, position, 0), whole),
            (None, AttributeValue::Float(value)) => real(*value),
            (None, _) => String::new(),
        };
        Number::new(text, name)
    }

    /// The numbers of a list.
    pub fn numbers(&self, id: NodeId, position: usize, values: &[i64]) -> Vec<Number> {
        let name = self.graph.node(id).op.attributes[position].name;
        let number = |(at, &value): (usize, &i64)| {
            Number::new(self.dims.number((id, position, at), value), name)
        };
        values.iter().enumerate().map(number).collect()
    }
}

/// Operands that stand in `in`, and parameters that attributes name.
type Shared = (Vec<Operand>, Vec<(usize, TensorId)>);

/// Whether a layer of the op reads the output before it where it says nothing.
pub(super) fn reads(op: &Op) -> bool {
    op.operands
        .iter()
        .any(|operand| !operand.optional || operand.variadic)
}

/// The attributes with those that must be there and that the types tell.
fn completed(graph: &Graph, node: &Node) -> Attributes {
    let mut attributes = derived(graph, node);
    let ty = graph.ty(node.first_output);
    for (position, attribute) in node.op.attributes.iter().enumerate() {
        let missing =
            matches!(attribute.default, Default::Required) && attributes.get(position).is_none();
        if missing && attribute.name == "size" {
            let sizes = ty.shape.sizes().iter().map(|&n| n as i64);
            attributes.set(position, sizes.collect::<Vec<i64>>().into());
        }
    }
    if node.op.operands.is_empty()
        && let Some(position) = node.op.attribute_position("dtype")
        && attributes.get(position).is_none()
    {
        attributes.set(position, ty.dtype.into());
    }
    attributes
}

fn is_default(attribute: &Attribute, value: &AttributeValue) -> bool {
    let Some(default) = attribute.default_value() else {
        return false;
    };
    match (&default, value) {
        (AttributeValue::Float(a), AttributeValue::Integer(b)) => *a == *b as f64,
        (AttributeValue::Integer(a), AttributeValue::Integers(list)) => **list == [*a],
        _ => default == *value,
    }
}

/// A real number so that it is read as one.
pub(super) fn real(value: f64) -> String {
    match value {
        value if value.is_nan() => "nan".to_owned(),
        value if value.is_infinite() && value > 0.0 => "inf".to_owned(),
        value if value.is_infinite() => "-inf".to_owned(),
        value => format!("{value:?}"),
    }
}

/// A number as an operand.
pub(super) fn constant(value: f64, dtype: Dtype) -> String {
    match dtype {
        Dtype::Bool => (value != 0.0).to_string(),
        dtype if !dtype.is_float() && value.fract() == 0.0 && value.abs() < 9.0e15 => {
            format!("{}", value as i64)
        }
        _ => real(value),
    }
}
