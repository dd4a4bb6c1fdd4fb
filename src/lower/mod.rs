//! Lowering: a spec becomes a graph.
//!
//! Names are resolved, dims put in, blocks unfolded, formulas turned into calls, parameters made.
//! What is wrong is reported where it is written; what follows from it stays silent. Nothing is
//! costed or judged here. The order of the text is a topological order, so one walk suffices.

mod attribute;
mod bind;
mod block;
mod call;
mod checkpoint;
mod formula;
mod index;
mod layer;
mod listing;
mod model;
mod scope;
mod trace;
mod value;

use rustc_hash::{FxHashMap, FxHashSet};
use smol_str::SmolStr;

use crate::diag::{FindingBuilder, Level, Sink};
use crate::formula::arithmetic::Number;
use crate::graph::{Builder, DefinitionId, LayerId, Limits, TensorId};
use crate::ops::{AttributeValue, Init, OpError};
use crate::source::Span;
use crate::spec::dims::DimValues;
use crate::spec::layer::RawValue;
use crate::spec::run::PrecisionPreset;
use crate::spec::tensors::TensorDefinition;
use crate::spec::{Attention, Mode, Spec, names};
use crate::tensor::{Dtype, Shape, TensorType};

pub use checkpoint::mark as mark_checkpoints;
pub use model::{Blueprint, Model, Place};
use scope::{Binding, Scope};
pub use trace::{Trace, Traces};
pub(crate) use value::is_module;

/// How deep blocks may stand in blocks.
const MAX_BLOCK_DEPTH: usize = 64;

/// Lowers a spec, with some free dims set to other numbers.
///
/// `O(size of the unfolded model)`.
pub fn lower(spec: &Spec, overrides: &[(SmolStr, i64)], sink: &mut Sink) -> Model {
    // Faults of the dims themselves were reported when the spec was read.
    let dims = spec.dims.evaluate(overrides, |_, _| {});
    let training = spec.model.mode.or(Mode::Train) == Mode::Train;
    let fused = spec.model.attention.or(Attention::Fused) == Attention::Fused;
    let dtype = parameter_dtype(spec);
    let mut lowering = Lowering {
        spec,
        dims: &dims,
        dtype,
        builder: Builder::new(Limits::default(), training, fused),
        sink,
        scopes: vec![Scope::default()],
        owned: Vec::new(),
        declared: Vec::new(),
        exhausted: false,
        indexed: 0,
        children: FxHashMap::default(),
        reported: FxHashSet::default(),
        here: DefinitionId(0),
    };
    lowering.reserve();
    lowering.inputs();
    lowering.own_tensors(&spec.params, &spec.buffers, None);
    for &id in &spec.layers {
        lowering.layer(id);
    }
    let outputs = lowering.outputs();
    let (exhausted, declared) = (lowering.exhausted, lowering.declared);
    let mut graph = lowering.builder.finish(outputs);
    listing::list(&mut graph, &declared);
    if !exhausted {
        let blocks = spec.blocks.iter().map(|block| block.name.as_str());
        let blocks: Vec<&str> = blocks.collect();
        checkpoint::mark(&mut graph, spec, &blocks, sink);
    }
    Model {
        graph,
        dims,
        dtype,
        places: Vec::new(),
        traces: Traces::default(),
        notes: notes(spec),
        blueprint: None,
    }
}

/// What the spec tells of its figures.
pub(crate) fn notes(spec: &Spec) -> Vec<String> {
    let notes = spec.model.notes.get().into_iter().flatten();
    notes.map(|note| note.to_string()).collect()
}

/// The element type of parameters: `[model] dtype`, unless the precision policy says otherwise.
fn parameter_dtype(spec: &Spec) -> Dtype {
    let precision = &spec.run.train.precision;
    let preset = precision.preset.get().and_then(|preset| match preset {
        PrecisionPreset::Bfloat16 | PrecisionPreset::Float8 => Some(Dtype::Bfloat16),
        PrecisionPreset::Float16 => Some(Dtype::Float16),
        PrecisionPreset::Float32 | PrecisionPreset::AmpBfloat16 | PrecisionPreset::AmpFloat16 => {
            None
        }
    });
    precision
        .params
        .get()
        .or(preset)
        .unwrap_or(spec.model.dtype.or(Dtype::Float32))
}

/// The state of one walk over a spec.
struct Lowering<'s, 'k> {
    spec: &'s Spec,
    dims: &'s DimValues,
    dtype: Dtype,
    builder: Builder,
    sink: &'k mut Sink,
    /// The root and the block instances that are open.
    scopes: Vec<Scope>,
    /// For each layer, the numbers of its own parameters.
    owned: Vec<std::ops::Range<u32>>,
    /// The numbers of the parameters and buffers that `params` and `buffers` declare.
    declared: Vec<u32>,
    /// Whether the model turned out to be endless or too large; nothing is unfolded any more.
    exhausted: bool,
    /// How many layers are in `children`.
    indexed: usize,
    /// Layers by parent, name and repetition.
    children: FxHashMap<(Option<LayerId>, SmolStr, Option<u32>), LayerId>,
    /// What has been reported: a block that repeats would say the same thing each time.
    reported: FxHashSet<Span>,
    /// The definition being lowered.
    here: DefinitionId,
}

impl<'s> Lowering<'s, '_> {
    /// Reports an error at a place, once.
    fn report(
        &mut self,
        rule: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> Option<FindingBuilder<'_>> {
        if !self.reported.insert(span) {
            return None;
        }
        let path = if self.spec.definitions.is_empty() {
            String::new()
        } else {
            self.spec.definition_path(self.here)
        };
        Some(
            self.sink
                .report(rule, Level::Error, Some(span), path, message),
        )
    }

    /// Reports an error whose only further part is its help.
    fn complain(
        &mut self,
        rule: &'static str,
        span: Span,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        if let Some(builder) = self.report(rule, span, message) {
            builder.maybe_help(help);
        }
    }

    /// Reports why an op cannot be applied, with the layers that made the operands to blame.
    fn op_error(&mut self, error: OpError, span: Span, arguments: &[TensorId]) {
        self.builder.mark_used(arguments);
        let mut places: Vec<(Span, String)> = Vec::new();
        for &position in &error.operands {
            let Some(&id) = arguments.get(position).filter(|id| id.is_present()) else {
                continue;
            };
            let graph = self.builder.graph();
            let ty = graph.ty(id);
            // Inside of one formula, what has no name of its own is shown where it is written.
            let within = graph.producer(id).map(|node| graph.node(node));
            if let Some(node) =
                within.filter(|node| Some(node.layer) == self.builder.current_layer())
                && let Some(place) = node.span
            {
                places.push((place, format!("this is {ty}")));
                continue;
            }
            let name = graph.tensor_name(id);
            if let Some(place) = self.tensor_span(id).filter(|place| *place != span) {
                places.push((place, format!("`{name}` is {ty}")));
            }
        }
        // An operand that is given twice is shown once.
        places.dedup();
        let OpError { message, help, .. } = error;
        if let Some(mut builder) = self.report(names::SHAPE_MISMATCH, span, message) {
            for (place, text) in places {
                builder = builder.also(Some(place), text);
            }
            builder.maybe_help(help);
        }
    }

    /// Where a tensor was written: the layer, input or parameter that it comes from.
    fn tensor_span(&self, id: TensorId) -> Option<Span> {
        use crate::graph::TensorKind;
        let graph = self.builder.graph();
        match graph.tensor(id).kind {
            TensorKind::Output(node) => {
                let layer = graph.layer(graph.node(node).layer);
                let definition = self.spec.definition(layer.definition);
                Some(definition.name_span.unwrap_or(definition.body_span))
            }
            TensorKind::Input(index) => {
                self.spec.inputs.get(index as usize).map(|input| input.span)
            }
            TensorKind::Parameter(index) => {
                let parameter = &graph.parameters[index as usize];
                match parameter.layer {
                    Some(layer) => {
                        let definition = self.spec.definition(graph.layer(layer).definition);
                        Some(definition.name_span.unwrap_or(definition.body_span))
                    }
                    None => self
                        .spec
                        .params
                        .iter()
                        .chain(&self.spec.buffers)
                        .find(|tensor| tensor.name == parameter.name)
                        .map(|tensor| tensor.span),
                }
            }
            TensorKind::Constant(_) => None,
        }
    }

    /// Makes room for what the layers of the spec will need if none of them repeats.
    fn reserve(&mut self) {
        let layers = self.spec.layers.len();
        self.builder.reserve(layers);
        self.owned.reserve(layers);
        self.scope_mut().names.reserve(layers);
    }

    fn inputs(&mut self) {
        for definition in &self.spec.inputs {
            let dtype = definition.dtype.unwrap_or(self.dtype);
            let id = match self.declared_type(definition, dtype) {
                Some(ty) => self.builder.input(definition.name.clone(), ty),
                None => {
                    let ty = TensorType::new(Shape::scalar(), dtype);
                    self.builder.input(definition.name.clone(), ty);
                    self.builder.unknown()
                }
            };
            self.bind(&definition.name, definition.key_span, Binding::tensor(id));
        }
        self.scope_mut().previous = self
            .builder
            .graph()
            .inputs
            .first()
            .map(|(name, _)| name.clone())
            .and_then(|name| {
                self.scopes[0]
                    .names
                    .get(&name)
                    .map(|binding| binding.tensor)
            });
    }

    /// Adds declared parameters and buffers, of the model or of a block instance.
    fn own_tensors(
        &mut self,
        params: &'s [TensorDefinition],
        buffers: &'s [TensorDefinition],
        layer: Option<LayerId>,
    ) {
        for (definition, buffer) in params
            .iter()
            .map(|p| (p, false))
            .chain(buffers.iter().map(|b| (b, true)))
        {
            let dtype = definition.dtype.unwrap_or(self.dtype);
            let id = match self.declared_type(definition, dtype) {
                Some(ty) => {
                    let init = definition.init.unwrap_or(Init::Normal(0.0, 1.0));
                    let trainable = !definition.frozen;
                    self.declared
                        .push(self.builder.graph().parameters.len() as u32);
                    self.builder.parameter(
                        definition.name.clone(),
                        layer,
                        ty,
                        init,
                        buffer,
                        trainable,
                    )
                }
                None => self.builder.unknown(),
            };
            self.bind(&definition.name, definition.key_span, Binding::tensor(id));
        }
    }

    fn declared_type(&mut self, definition: &TensorDefinition, dtype: Dtype) -> Option<TensorType> {
        let span = definition.shape_span;
        let value = self.evaluate(&definition.shape, span)?;
        let sizes: Vec<i64> = match value {
            AttributeValue::Integers(sizes) => sizes.into_vec(),
            AttributeValue::Integer(size) => vec![size],
            _ => return None,
        };
        if let Some(negative) = sizes.iter().find(|&&size| size < 0) {
            let message = format!("`{}` has a size of {negative}", definition.name);
            self.complain(names::INVALID_VALUE, span, message, None);
            return None;
        }
        let shape: Shape = sizes.into_iter().map(|size| size as u64).collect();
        let countable = shape
            .checked_elements()
            .is_some_and(|n| n.checked_mul(dtype.bits()).is_some());
        if !countable {
            let message = format!("{shape} has more elements than 63 bits count");
            self.complain(names::INVALID_VALUE, span, message, None);
            return None;
        }
        Some(TensorType { shape, dtype })
    }

    /// The model's outputs: those that it names, or the last layer's.
    fn outputs(&mut self) -> Vec<TensorId> {
        let named = &self.spec.model.outputs;
        let Some(wanted) = named.get() else {
            let last = self
                .builder
                .graph()
                .layers
                .iter()
                .rev()
                .find(|layer| layer.parent.is_none());
            return last.map_or_else(Vec::new, |layer| layer.outputs.to_vec());
        };
        let span = named.span.unwrap_or_default();
        let mut outputs = Vec::new();
        for name in wanted {
            match self.scopes[0].names.get(&name) {
                Some(binding) => outputs.push(binding.tensor),
                None => {
                    let help = self.suggest(&name);
                    let message = format!("there is no layer `{name}` to be an output");
                    self.complain(names::UNKNOWN_NAME, span, message, help);
                }
            }
        }
        outputs
    }

    /// The value of a dim or a block argument that is a number.
    fn number(&self, name: &str) -> Option<Number> {
        self.scope()
            .arguments
            .get(name)
            .and_then(|value| match value {
                AttributeValue::Integer(value) => Some(Number::Integer(*value)),
                AttributeValue::Float(value) => Some(Number::Real(*value)),
                AttributeValue::Boolean(value) => Some(Number::Integer(i64::from(*value))),
                _ => None,
            })
            .or_else(|| self.dims.get(name))
    }

    fn evaluate(&mut self, value: &RawValue, span: Span) -> Option<AttributeValue> {
        attribute::evaluate(self, value, span)
    }
}
