//! Layers, blocks and the parameters that they own.

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::scope::{Binding, Scope};
use super::{Lowering, MAX_BLOCK_DEPTH};
use crate::graph::{DefinitionId, LayerId, LayerKind, TensorId};
use crate::ops::{self, AttributeKind, AttributeValue, Attributes, Op, OpError};
use crate::source::Span;
use crate::spec::layer::{AttributeEntry, Body, LayerDefinition};
use crate::spec::names;
use crate::tensor::TensorType;

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
                    "{} names are given, but the layer has {} outputs",
                    definition.names.len(),
                    outputs.len()
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
            AttributeValue::Integer(times) if times >= 0 => Some(times as u64),
            other => {
                let message =
                    format!("`repeat` must be a whole number of 0 or more, not {other:?}");
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
        for (name, span) in wanted {
            inputs.push(
                match self.lookup(name).or_else(|| self.parameter_path(name)) {
                    Some(tensor) => tensor,
                    None => {
                        let help = self.suggest(name);
                        let message = format!("there is no tensor `{name}` to read");
                        self.complain(names::UNKNOWN_NAME, *span, message, help);
                        self.builder.unknown()
                    }
                },
            );
        }
        inputs
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

    fn op_layer(
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
        if !known {
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
                if given || self.switched_off(op, &attributes, parameter.position) {
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

    fn block_layer(
        &mut self,
        block: u32,
        definition: &'s LayerDefinition,
        inputs: &[TensorId],
        layer: LayerId,
    ) -> Option<Tensors> {
        let mut arguments = Vec::new();
        for entry in &definition.attributes {
            let value = self.evaluate(&entry.value, entry.span)?;
            let name = self.spec.blocks[block as usize].arguments[usize::from(entry.position)]
                .name
                .clone();
            arguments.push((name, value));
        }
        self.block(
            block,
            inputs,
            arguments,
            layer,
            definition.body_span,
            definition.frozen,
        )
    }

    /// Unfolds a block on these inputs. `layer` is open and stands for the instance.
    pub(super) fn block(
        &mut self,
        number: u32,
        inputs: &[TensorId],
        arguments: Vec<(SmolStr, AttributeValue)>,
        layer: LayerId,
        span: Span,
        frozen: bool,
    ) -> Option<Tensors> {
        let block = &self.spec.blocks[number as usize];
        let inside = self
            .scopes
            .iter()
            .filter(|scope| scope.block == Some(number))
            .count();
        if inside > 0 || self.scopes.len() > MAX_BLOCK_DEPTH {
            // What stands around it would come here again, in each of its layers.
            self.exhausted = true;
            let message = if inside > 0 {
                format!("the block `{}` contains itself", block.name)
            } else {
                format!("blocks stand in blocks more than {MAX_BLOCK_DEPTH} deep")
            };
            let builder = self.report(names::UNBOUNDED_MODEL, span, message)?;
            builder.also(Some(block.key_span), "this block");
            return None;
        }
        if inputs.len() != block.inputs.len() {
            let wanted: Vec<&str> = block.inputs.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!(
                "the block `{}` takes {} ({}), but {} are given",
                block.name,
                plural(wanted.len(), "tensor"),
                wanted.join(", "),
                inputs.len()
            );
            if let Some(builder) = self.report(names::SHAPE_MISMATCH, span, message) {
                builder
                    .also(Some(block.key_span), "this block")
                    .help("name them all: in = [\"…\", \"…\"]");
            }
            return None;
        }
        let mut scope = Scope {
            previous: inputs.first().copied(),
            block: Some(number),
            layer: Some(layer),
            frozen: frozen || self.scope().frozen,
            ..Scope::default()
        };
        scope.arguments = self.block_arguments(number, arguments, span)?;
        self.scopes.push(scope);
        for (&tensor, (name, span)) in inputs.iter().zip(&block.inputs) {
            self.bind(name, *span, Binding::tensor(tensor));
        }
        self.own_tensors(&block.params, &block.buffers, Some(layer));
        self.owned[layer.0 as usize].end = self.builder.graph().parameters.len() as u32;
        for &id in &block.layers {
            self.layer(id);
        }
        let mut outputs = Tensors::new();
        for (name, span) in &block.outputs {
            outputs.push(match self.lookup(name) {
                Some(tensor) => tensor,
                None => {
                    let help = self.suggest(name);
                    let message = format!("there is no layer `{name}` to hand on");
                    self.complain(names::UNKNOWN_NAME, *span, message, help);
                    self.builder.unknown()
                }
            });
        }
        if outputs.is_empty() {
            outputs.extend(self.scope().previous);
        }
        self.scopes.pop();
        Some(outputs)
    }

    fn block_arguments(
        &mut self,
        number: u32,
        given: Vec<(SmolStr, AttributeValue)>,
        span: Span,
    ) -> Option<rustc_hash::FxHashMap<SmolStr, AttributeValue>> {
        let block = &self.spec.blocks[number as usize];
        let mut values: rustc_hash::FxHashMap<_, _> = given.into_iter().collect();
        for argument in &block.arguments {
            if values.contains_key(&argument.name) {
                continue;
            }
            let Some(default) = &argument.default else {
                let message = format!("the block `{}` needs `{}`", block.name, argument.name);
                if let Some(builder) = self.report(names::MISSING_KEY, span, message) {
                    builder.also(Some(argument.span), "declared here, without a default");
                }
                return None;
            };
            // A default may name dims and the arguments before it.
            let saved = std::mem::replace(&mut self.scope_mut().arguments, values);
            let value = self.evaluate(default, argument.span);
            values = std::mem::replace(&mut self.scope_mut().arguments, saved);
            values.insert(argument.name.clone(), value?);
        }
        Some(values)
    }
}

/// `1 tensor`, `2 tensors`.
fn plural(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
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
