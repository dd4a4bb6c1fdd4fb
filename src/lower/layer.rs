//! Layers: what they read, how often they repeat, and the names that they give.

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::Lowering;
use super::scope::Binding;
use crate::graph::{DefinitionId, LayerId, LayerKind, TensorId};
use crate::ops::{self, AttributeValue};
use crate::source::Span;
use crate::spec::layer::{AttributeEntry, Body, LayerDefinition};
use crate::spec::names;
use crate::spec::operand::Source;
use crate::tensor::Dtype;

pub(super) type Tensors = SmallVec<[TensorId; 2]>;

impl<'s> Lowering<'s, '_> {
    /// Lowers one layer, as often as it repeats, and binds its names.
    pub(super) fn layer(&mut self, id: DefinitionId) {
        let definition = self.spec.definition(id);
        if self.exhausted {
            let unknown: Tensors = smallvec::smallvec![self.builder.unknown()];
            self.bind_outputs(definition, &unknown);
            return;
        }
        let outer = std::mem::replace(&mut self.here, id);
        let mut inputs = self.layer_inputs(definition);
        let times = self.repetitions(definition);
        let mut outputs = Tensors::new();
        for index in 0..times.unwrap_or(1) {
            if !self.builder.has_room() {
                let message = "the model grows past what can be examined (4,000,000 layers or ops)";
                let span = definition
                    .repeat
                    .as_ref()
                    .map_or(definition.body_span, |r| r.span);
                self.exhausted = true;
                self.complain(
                    names::UNBOUNDED_MODEL,
                    span,
                    message,
                    Some("lower `repeat`".into()),
                );
                break;
            }
            let index = times.map(|_| index as u32);
            let made = self.instance(id, definition, &inputs, index);
            // The next repetition reads what this one hands on, output for input.
            let carried = made.len().min(inputs.len());
            inputs[..carried].copy_from_slice(&made[..carried]);
            if inputs.is_empty() {
                inputs.extend(made.first().copied());
            }
            outputs = made;
        }
        if outputs.is_empty() {
            // Repeated zero times: what goes in comes out.
            outputs = inputs;
        }
        self.bind_outputs(definition, &outputs);
        self.here = outer;
    }

    fn bind_outputs(&mut self, definition: &LayerDefinition, outputs: &Tensors) {
        self.scope_mut().previous = outputs.first().copied();
        let span = definition.name_span.unwrap_or(definition.body_span);
        if definition.names.len() > outputs.len() {
            let known = outputs
                .iter()
                .all(|id| self.builder.graph().tensor(*id).known);
            if known {
                let message = format!(
                    "{} names are given, but the layer has {} output{}",
                    definition.names.len(),
                    outputs.len(),
                    if outputs.len() == 1 { "" } else { "s" }
                );
                self.complain(names::SHAPE_MISMATCH, span, message, None);
            }
        }
        for (position, name) in definition.names.iter().enumerate() {
            let tensor = match outputs.get(position) {
                Some(&tensor) => tensor,
                None => self.builder.unknown(),
            };
            // A generated name is a number, which no formula can use.
            if definition.name_span.is_some() {
                self.bind(name, span, Binding { tensor, span: None });
            }
        }
    }

    fn repetitions(&mut self, definition: &LayerDefinition) -> Option<u64> {
        let repeat = definition.repeat.as_ref()?;
        match self.evaluate(&repeat.value, repeat.span)? {
            AttributeValue::Integer(times) if self.builder.has_room_for(times) => {
                Some(times as u64)
            }
            // Unfolding up to the limit first would take seconds to say the same.
            AttributeValue::Integer(times) if times >= 0 => {
                self.exhausted = true;
                let message = format!(
                    "{times} repetitions are more than can be examined (4,000,000 layers or ops)"
                );
                self.complain(
                    names::UNBOUNDED_MODEL,
                    repeat.span,
                    message,
                    Some("lower `repeat`".into()),
                );
                Some(0)
            }
            other => {
                let given = match other {
                    AttributeValue::Integer(times) => times.to_string(),
                    AttributeValue::Float(times) => times.to_string(),
                    _ => "a truth value or a word".to_owned(),
                };
                let message = format!("`repeat` must be a whole number of 0 or more, not {given}");
                self.complain(names::INVALID_VALUE, repeat.span, message, None);
                None
            }
        }
    }

    fn layer_inputs(&mut self, definition: &LayerDefinition) -> Tensors {
        let Some(wanted) = &definition.inputs else {
            let reads = match &definition.body {
                Body::Op(op) => op
                    .operands
                    .iter()
                    .any(|operand| !operand.optional || operand.variadic),
                Body::Block(_) => true,
                Body::Formula(_) | Body::Faulty => false,
            };
            return if reads {
                self.scope().previous.into_iter().collect()
            } else {
                Tensors::new()
            };
        };
        let mut inputs = Tensors::new();
        for (source, span) in wanted {
            let tensor = match source {
                Source::Name(name) => self.named_input(name, *span),
                Source::Integer(value) => self.builder.typed_constant(*value as f64, Dtype::Int64),
                Source::Real(value) => self.builder.constant(*value),
                Source::Boolean(value) => self
                    .builder
                    .typed_constant(f64::from(u8::from(*value)), Dtype::Bool),
                Source::Absent if matches!(definition.body, Body::Block(_)) => {
                    let message = "a block is handed all of its tensors";
                    self.complain(names::INVALID_VALUE, *span, message, None);
                    self.builder.unknown()
                }
                Source::Absent => TensorId::ABSENT,
            };
            inputs.push(tensor);
        }
        inputs
    }

    fn named_input(&mut self, name: &str, span: Span) -> TensorId {
        match self.lookup(name).or_else(|| self.parameter_path(name)) {
            Some(tensor) => tensor,
            None => {
                let help = self.suggest(name);
                let message = format!("there is no tensor `{name}` to read");
                self.complain(names::UNKNOWN_NAME, span, message, help);
                self.builder.unknown()
            }
        }
    }

    /// Lowers one repetition of a layer.
    fn instance(
        &mut self,
        id: DefinitionId,
        definition: &'s LayerDefinition,
        inputs: &[TensorId],
        index: Option<u32>,
    ) -> Tensors {
        let kind = match &definition.body {
            Body::Op(op) => LayerKind::Op(op.name),
            Body::Block(block) => LayerKind::Block(self.spec.blocks[*block as usize].name.clone()),
            Body::Formula(_) => LayerKind::Formula,
            Body::Faulty => LayerKind::Op("unknown"),
        };
        let name = definition.names[0].clone();
        let layer = self.open(name, index, kind, id);
        let expected = definition.names.len();
        let made = match &definition.body {
            Body::Op(op) => self.op_layer(op, definition, inputs, layer, expected),
            Body::Block(block) => self.block_layer(*block, definition, inputs, layer),
            Body::Formula(expression) => self.formula(expression, expected),
            Body::Faulty => None,
        };
        let mut made = match made {
            Some(made) => made,
            None => (0..expected.max(1))
                .map(|_| self.builder.unknown())
                .collect(),
        };
        if let Some(split) = &definition.split {
            made = match self.split(split, made) {
                Some(parts) => parts,
                None => (0..expected.max(1))
                    .map(|_| self.builder.unknown())
                    .collect(),
            };
        }
        self.builder.end_layer(&made);
        made
    }

    /// Opens a layer and makes it known by its path.
    pub(super) fn open(
        &mut self,
        name: SmolStr,
        index: Option<u32>,
        kind: LayerKind,
        id: DefinitionId,
    ) -> LayerId {
        let layer = self.builder.begin_layer(name, index, kind, id);
        let start = self.builder.graph().parameters.len() as u32;
        self.owned.push(start..start);
        layer
    }

    /// Splits the last axis of a layer's output: into that many equal parts, or parts of those
    /// sizes.
    fn split(&mut self, split: &AttributeEntry, made: Tensors) -> Option<Tensors> {
        let value = self.evaluate(&split.value, split.span)?;
        let &tensor = made
            .first()
            .filter(|&&id| self.builder.graph().tensor(id).known)?;
        let last = self.builder.graph().ty(tensor).shape.size(-1).unwrap_or(0);
        let sizes: Vec<i64> = match value {
            AttributeValue::Integer(parts) if parts > 0 && last.is_multiple_of(parts as u64) => {
                vec![(last / parts as u64) as i64; parts as usize]
            }
            AttributeValue::Integer(parts) => {
                let message = format!(
                    "the last axis has {last} elements, which {parts} equal parts do not divide"
                );
                self.complain(names::SHAPE_MISMATCH, split.span, message, None);
                return None;
            }
            AttributeValue::Integers(sizes) => sizes.into_vec(),
            _ => return None,
        };
        let op = ops::find("split")?;
        let list = [
            ("split_size", AttributeValue::from(sizes)),
            ("dim", (-1).into()),
        ];
        let attributes = op.attribute_list(&list);
        match self.builder.apply(op, &[tensor], attributes, None, 1) {
            Ok(made) => Some(made.into_iter().collect()),
            Err(error) => {
                self.op_error(error, split.span, &[tensor]);
                None
            }
        }
    }
}
