//! A lowered model, and where its parts were written.

use std::fmt::Debug;
use std::sync::Arc;

use smol_str::SmolStr;

use super::{Traces, lower};
use crate::diag::Sink;
use crate::formula::arithmetic::Number;
use crate::graph::{DefinitionId, Graph, LayerId, NodeId};
use crate::source::Span;
use crate::spec::Spec;
use crate::spec::dims::DimValues;
use crate::tensor::Dtype;

/// A model: its graph, and the numbers that it was built with.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The op graph.
    pub graph: Graph,
    /// The values of the dims.
    pub dims: DimValues,
    /// The element type of parameters where nothing else is said.
    pub dtype: Dtype,
    /// For an imported model, the path of each definition: the spec has none of them.
    pub places: Vec<String>,
    /// For an imported model, the lines of the program that its calls were written in.
    pub traces: Traces,
    /// What there is to tell about its figures: what `[model] notes` says and, for an imported model,
    /// assumptions and what is not counted.
    pub notes: Vec<String>,
    /// For an imported model, what builds it again at other sizes.
    pub blueprint: Option<Arc<dyn Blueprint>>,
}

/// Something other than the layers of a spec that a model is built from.
pub trait Blueprint: Debug + Send + Sync {
    /// Builds the model, with some free dims set to other numbers. The sink gets what is wrong.
    fn lower(&self, spec: &Spec, overrides: &[(SmolStr, i64)], sink: &mut Sink) -> Model;

    /// The names of the dims that the sizes of its inputs rest on.
    fn dims(&self) -> Vec<SmolStr>;
}

/// A place in a spec: its symbol, and the bytes that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The symbolic place: `layers.decoder.ln_1.eps`.
    pub path: String,
    /// The range of the text; `None` where it is nowhere written.
    pub span: Option<Span>,
}

impl Model {
    /// Builds the same model again, with some free dims set to other numbers.
    pub fn resized(&self, spec: &Spec, overrides: &[(SmolStr, i64)], sink: &mut Sink) -> Model {
        match &self.blueprint {
            Some(blueprint) => blueprint.lower(spec, overrides, sink),
            None => lower(spec, overrides, sink),
        }
    }

    /// The dims that are whole numbers, with their sizes, by name.
    pub fn whole_dims(&self) -> Vec<(SmolStr, u64)> {
        let names = self.dims.names().into_iter();
        let sizes = names.filter_map(|name| match self.dims.get(name)? {
            Number::Integer(value) => Some((name.into(), u64::try_from(value).ok()?)),
            _ => None,
        });
        sizes.collect()
    }

    /// The place of a layer: its name or, without one, its op or formula.
    pub fn layer_place(&self, spec: &Spec, layer: LayerId) -> Place {
        let definition = self.graph.layer(layer).definition;
        Place {
            path: self.definition_path(spec, definition),
            span: definition_span(spec, definition).or(self.traces.definition(definition)),
        }
    }

    /// The place of a call: its sub-expression in a formula, or the op of its layer.
    pub fn node_place(&self, spec: &Spec, id: NodeId) -> Place {
        let node = self.graph.node(id);
        let definition = self.graph.layer(node.layer).definition;
        let body = spec
            .definitions
            .get(definition.0 as usize)
            .map(|layer| layer.body_span);
        Place {
            path: self.definition_path(spec, definition),
            span: node.span.or(body).or(self.traces.node(id)),
        }
    }

    /// The place of an attribute's value, or of the call where the attribute is not written.
    pub fn attribute_place(&self, spec: &Spec, node: NodeId, name: &str) -> Place {
        let mut place = self.node_place(spec, node);
        let call = self.graph.node(node);
        let definition = self.graph.layer(call.layer).definition;
        let entry = call
            .op
            .attribute_position(name)
            .and_then(|at| spec.definitions.get(definition.0 as usize)?.attribute(at));
        if let (Some(entry), None) = (entry, call.span) {
            place.path.push('.');
            place.path.push_str(name);
            place.span = Some(entry.span);
        }
        place
    }

    fn definition_path(&self, spec: &Spec, definition: DefinitionId) -> String {
        let at = definition.0 as usize;
        match self.places.get(at) {
            Some(place) => place.clone(),
            None if at < spec.definitions.len() => spec.definition_path(definition),
            None => String::new(),
        }
    }
}

fn definition_span(spec: &Spec, definition: DefinitionId) -> Option<Span> {
    let layer = spec.definitions.get(definition.0 as usize)?;
    Some(layer.name_span.unwrap_or(layer.body_span))
}
