//! Calls of ops: attributes, shared parameters, and the parameters that a layer owns.

use smallvec::SmallVec;

use super::Lowering;
use super::layer::Tensors;
use crate::graph::{LayerId, TensorId};
use crate::ops::foreign::OPAQUE;
use crate::ops::{self, AttributeKind, AttributeValue, Attributes, Op, OpError};
use crate::source::Span;
use crate::spec::layer::LayerDefinition;
use crate::spec::names;
use crate::spec::operand::Source;
use crate::tensor::TensorType;

impl Lowering<'_, '_> {
    pub(super) fn op_layer(
        &mut self,
        op: &'static Op,
        definition: &LayerDefinition,
        inputs: &[TensorId],
        layer: LayerId,
        expected: usize,
    ) -> Option<Tensors> {
        let mut attributes = Attributes::new();
        let mut arguments: SmallVec<[TensorId; 4]> = SmallVec::from_slice(inputs);
        let mut faulty = false;
        for entry in &definition.attributes {
            let attribute = &op.attributes[usize::from(entry.position)];
            let Some(value) = self.evaluate(&entry.value, entry.span) else {
                faulty = true;
                continue;
            };
            if attribute.kind == AttributeKind::Parameter
                && let AttributeValue::Text(path) = &value
            {
                faulty |= !self.share(op, attribute.name, path, entry.span, &mut arguments);
                continue;
            }
            match fit(&value, attribute.kind) {
                Some(value) => attributes.set(usize::from(entry.position), value),
                None => {
                    let message = format!("`{}` cannot be {value:?}", attribute.name);
                    self.complain(names::INVALID_VALUE, entry.span, message, None);
                    faulty = true;
                }
            }
        }
        for (position, attribute) in op.attributes.iter().enumerate() {
            let missing = matches!(attribute.default, ops::definition::Default::Required)
                && definition.attribute(position).is_none();
            if missing {
                let message = format!(
                    "`{}` needs `{}`: {}",
                    op.name, attribute.name, attribute.summary
                );
                self.complain(names::MISSING_KEY, definition.body_span, message, None);
                faulty = true;
            }
        }
        if faulty {
            return None;
        }
        self.call(
            op,
            arguments,
            attributes,
            definition,
            Some(layer),
            None,
            expected,
        )
    }

    /// Puts a shared parameter at the operand of the attribute's name.
    fn share(
        &mut self,
        op: &'static Op,
        name: &'static str,
        path: &str,
        span: Span,
        arguments: &mut SmallVec<[TensorId; 4]>,
    ) -> bool {
        let Some(tensor) = self.parameter_path(path).or_else(|| self.lookup(path)) else {
            let message = format!("there is no parameter `{path}` to share");
            let help = "name a layer above and its parameter, such as \"wte.weight\"";
            self.complain(names::UNKNOWN_NAME, span, message, Some(help.into()));
            return false;
        };
        let Some(position) = op.operand_position(name) else {
            return false;
        };
        while arguments.len() <= position {
            arguments.push(TensorId::ABSENT);
        }
        arguments[position] = tensor;
        true
    }

    /// Applies an op after making the parameters that it lacks.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn call(
        &mut self,
        op: &'static Op,
        mut arguments: SmallVec<[TensorId; 4]>,
        attributes: Attributes,
        definition: &LayerDefinition,
        layer: Option<LayerId>,
        span: Option<Span>,
        expected: usize,
    ) -> Option<Tensors> {
        let place = span.unwrap_or(definition.body_span);
        let known = arguments
            .iter()
            .all(|&id| !id.is_present() || self.builder.graph().tensor(id).known);
        // Of an op that is not known, what it gives is known all the same.
        if !definition.stated.is_empty() && !known && op.name == OPAQUE {
            return self.stated_call(op, &arguments, attributes, definition, span);
        }
        if !known {
            self.builder.mark_used(&arguments);
            return Some(
                (0..expected.max(1))
                    .map(|_| self.builder.unknown())
                    .collect(),
            );
        }
        if let Some(parameters) = op.parameters {
            let wanted = self
                .builder
                .with_call(op, &arguments, &attributes, parameters);
            let wanted = match wanted {
                Ok(wanted) => wanted,
                Err(error) => {
                    self.attribute_error(error, op, definition, place, &arguments);
                    return None;
                }
            };
            let frozen = definition.frozen || self.scope().frozen;
            for parameter in wanted {
                let given = arguments
                    .get(parameter.position)
                    .is_some_and(|id| id.is_present());
                let left_out = given || is_left_out(definition, parameter.position, span);
                if left_out || self.switched_off(op, &attributes, parameter.position) {
                    continue;
                }
                while arguments.len() <= parameter.position {
                    arguments.push(TensorId::ABSENT);
                }
                let own = if parameter.dtype.is_none() {
                    definition.dtype
                } else {
                    None
                };
                let dtype = own.or(parameter.dtype).unwrap_or(self.dtype);
                let is_weight = parameter.shape.rank() > 1;
                let init = match definition.init {
                    Some(init) if is_weight && !parameter.buffer => init,
                    _ => parameter.init,
                };
                let ty = self.parameter_type(parameter.shape, dtype, place)?;
                let name = match span {
                    // Several calls of one formula may own parameters of the same name.
                    Some(_) => smol_str::format_smolstr!("{}.{}", op.name, parameter.name),
                    None => parameter.name,
                };
                let id = self
                    .builder
                    .parameter(name, layer, ty, init, parameter.buffer, !frozen);
                arguments[parameter.position] = id;
            }
            if let Some(layer) = layer {
                self.owned[layer.0 as usize].end = self.builder.graph().parameters.len() as u32;
            }
        }
        if !definition.stated.is_empty() {
            return self.stated_call(op, &arguments, attributes, definition, span);
        }
        match self
            .builder
            .apply(op, &arguments, attributes, span, expected)
        {
            Ok(made) => Some(made.into_iter().collect()),
            Err(error) => {
                self.attribute_error(error, op, definition, place, &arguments);
                None
            }
        }
    }

    /// Adds a call whose types the spec states: they are believed.
    fn stated_call(
        &mut self,
        op: &'static Op,
        arguments: &[TensorId],
        attributes: Attributes,
        definition: &LayerDefinition,
        span: Option<Span>,
    ) -> Option<Tensors> {
        let mut types = ops::Outputs::new();
        for stated in &definition.stated {
            types.push(self.declared_type(stated, stated.dtype.unwrap_or(self.dtype))?);
        }
        let inferred = match op.name {
            OPAQUE => Ok(ops::Outputs::new()),
            _ => self.builder.infer(op, arguments, &attributes),
        };
        let inferred = match inferred {
            Ok(inferred) => inferred,
            Err(error) => {
                self.op_error(error, definition.body_span, arguments);
                return None;
            }
        };
        let agree = |(a, b): (&TensorType, &TensorType)| a.shape == b.shape;
        if inferred.len() > types.len() || !inferred.iter().zip(&types).all(agree) {
            let shown: Vec<String> = inferred.iter().map(ToString::to_string).collect();
            let message = format!(
                "`{}` gives {}, and only other element types and further outputs can be stated",
                op.name,
                shown.join(", ")
            );
            let help = "call it `opaque` if it is none of the ops that are known here";
            let span = definition.stated[0].shape_span;
            self.complain(names::SHAPE_MISMATCH, span, message, Some(help.into()));
            return None;
        }
        match self.builder.add(op, arguments, attributes, span, types) {
            Ok(made) => Some(made.into_iter().collect()),
            Err(error) => {
                self.op_error(error, definition.body_span, arguments);
                None
            }
        }
    }

    fn parameter_type(
        &mut self,
        shape: crate::tensor::Shape,
        dtype: crate::tensor::Dtype,
        span: Span,
    ) -> Option<TensorType> {
        let countable = shape
            .checked_elements()
            .is_some_and(|count| count.checked_mul(dtype.bits()).is_some());
        if !countable {
            let message =
                format!("a parameter of shape {shape} has more elements than 63 bits count");
            self.complain(names::INVALID_VALUE, span, message, None);
            return None;
        }
        Some(TensorType { shape, dtype })
    }

    /// Whether an attribute such as `bias = false` says that the operand is not there.
    fn switched_off(&self, op: &'static Op, attributes: &Attributes, position: usize) -> bool {
        let name = op.operand_name(position);
        let Some(at) = op.attribute_position(name) else {
            return false;
        };
        let given = attributes
            .get(at)
            .cloned()
            .or_else(|| op.attributes[at].default_value());
        given == Some(AttributeValue::Boolean(false))
    }

    /// Reports an op's refusal at the attribute to blame, if one is written.
    fn attribute_error(
        &mut self,
        error: OpError,
        op: &'static Op,
        definition: &LayerDefinition,
        place: Span,
        arguments: &[TensorId],
    ) {
        let entry = error
            .attribute
            .and_then(|name| op.attribute_position(name))
            .and_then(|at| definition.attribute(at))
            .filter(|_| place == definition.body_span);
        let span = entry.map_or(place, |entry| entry.span);
        self.op_error(error, span, arguments);
    }
}

/// Whether a layer says that an operand is not there: `in = ["x", "None"]`.
fn is_left_out(definition: &LayerDefinition, position: usize, span: Option<Span>) -> bool {
    let source = definition
        .inputs
        .as_ref()
        .and_then(|inputs| inputs.get(position));
    span.is_none() && matches!(source, Some((Source::Absent, _)))
}

/// The value as that kind of attribute takes it.
pub(super) fn fit(value: &AttributeValue, kind: AttributeKind) -> Option<AttributeValue> {
    use AttributeKind as K;
    use AttributeValue as V;
    let whole = |x: f64| (x.fract() == 0.0 && x.abs() < 9.0e15).then_some(x as i64);
    Some(match (kind, value) {
        (K::Size, V::Integer(n)) if *n >= 0 => value.clone(),
        (K::Integer, V::Integer(_)) => value.clone(),
        (K::Size | K::Integer, V::Float(x)) => return fit(&V::Integer(whole(*x)?), kind),
        (K::Sizes | K::SizesOr(_), V::Integer(n)) if *n >= 0 => value.clone(),
        (K::Sizes | K::SizesOr(_), V::Integers(list)) if list.iter().all(|&n| n >= 0) => {
            value.clone()
        }
        (K::Integers, V::Integer(_) | V::Integers(_)) => value.clone(),
        (K::Sizes | K::Integers | K::SizesOr(_), V::Float(x)) => {
            return fit(&V::Integer(whole(*x)?), kind);
        }
        (K::Float, V::Float(_)) => value.clone(),
        (K::Float, V::Integer(n)) => V::Float(*n as f64),
        (K::Boolean | K::Parameter, V::Boolean(_)) => value.clone(),
        (K::Boolean | K::Parameter, V::Integer(n)) if *n == 0 || *n == 1 => V::Boolean(*n == 1),
        (K::Choice(words) | K::SizesOr(words), V::Text(word)) if words.contains(&word.as_str()) => {
            value.clone()
        }
        (K::Text, V::Text(_)) => value.clone(),
        (K::Dtype, V::Dtype(_)) => value.clone(),
        (K::Dtype, V::Text(word)) => V::Dtype(crate::tensor::Dtype::parse(word)?),
        _ => return None,
    })
}
