//! Names and what they stand for.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::{DefinitionId, Lowering};
use crate::graph::{LayerId, TensorId};
use crate::ops::AttributeValue;
use crate::source::Span;
use crate::source::suggest;
use crate::spec::names;

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binding {
    /// The tensor.
    pub tensor: TensorId,
    /// Where the name was given.
    pub span: Option<Span>,
}

impl Binding {
    /// A name for a tensor that no layer hands on.
    pub fn tensor(tensor: TensorId) -> Binding {
        Binding { tensor, span: None }
    }
}

/// The names of the model or of one block instance.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub names: FxHashMap<SmolStr, Binding>,
    /// The values of the block's arguments.
    pub arguments: FxHashMap<SmolStr, AttributeValue>,
    /// The output of the previous layer.
    pub previous: Option<TensorId>,
    /// The block that this is an instance of.
    pub block: Option<u32>,
    /// The layer that stands for the instance.
    pub layer: Option<LayerId>,
    /// Whether parameters of the instance are frozen.
    pub frozen: bool,
}

impl Lowering<'_, '_> {
    pub(super) fn scope(&self) -> &Scope {
        // There is always the root; the walk pops only what it pushed.
        &self.scopes[self.scopes.len() - 1]
    }

    pub(super) fn scope_mut(&mut self) -> &mut Scope {
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// Gives a name; two layers of one name are an error, at the second.
    pub(super) fn bind(&mut self, name: &SmolStr, span: Span, binding: Binding) {
        let binding = Binding {
            span: Some(span),
            ..binding
        };
        let earlier = self.scope_mut().names.insert(name.clone(), binding);
        if let Some(earlier) = earlier {
            let message = format!("`{name}` is already a name");
            if let Some(builder) = self.report(names::DUPLICATE_NAME, span, message) {
                builder
                    .also(earlier.span, "given here first")
                    .help("give one of them another name");
            }
        }
    }

    /// The tensor of that name: of this scope, or one of the model's own parameters.
    pub(super) fn lookup(&self, name: &str) -> Option<TensorId> {
        if let Some(binding) = self.scope().names.get(name) {
            return Some(binding.tensor);
        }
        if self.scopes.len() > 1 {
            let root = self.scopes[0].names.get(name)?;
            // A block sees the model's parameters, but not its layers: it is a function.
            return self
                .builder
                .graph()
                .parameter(root.tensor)
                .map(|_| root.tensor);
        }
        None
    }

    /// The parameter of that path: `wte.weight`, from this scope outwards.
    pub(super) fn parameter_path(&mut self, path: &str) -> Option<TensorId> {
        let (layers, name) = path.rsplit_once('.')?;
        self.index_layers();
        for scope in self.scopes.iter().rev() {
            if let Some(layer) = self.layer_path(scope.layer, layers) {
                let graph = self.builder.graph();
                let range = self.owned.get(layer.0 as usize)?.clone();
                let found = graph.parameters[range.start as usize..range.end as usize]
                    .iter()
                    .find(|parameter| parameter.name == name);
                if let Some(parameter) = found {
                    return Some(parameter.tensor);
                }
            }
        }
        None
    }

    /// Makes the layers so far known by their paths. Most specs share nothing and never ask.
    fn index_layers(&mut self) {
        let layers = &self.builder.graph().layers;
        for (number, layer) in layers.iter().enumerate().skip(self.indexed) {
            let key = (layer.parent, layer.name.clone(), layer.index);
            self.children.insert(key, LayerId(number as u32));
        }
        self.indexed = layers.len();
    }

    /// The layer of that path below `from`: `h.0.attn`.
    fn layer_path(&self, from: Option<LayerId>, path: &str) -> Option<LayerId> {
        let mut at = from;
        let mut parts = path.split('.').peekable();
        let mut found = None;
        while let Some(part) = parts.next() {
            let index = parts.peek().and_then(|next| next.parse::<u32>().ok());
            let key = |index| (at, SmolStr::from(part), index);
            let layer = match index {
                Some(index) => {
                    parts.next();
                    self.children.get(&key(Some(index)))?
                }
                None => self.children.get(&key(None))?,
            };
            at = Some(*layer);
            found = at;
        }
        found
    }

    /// What may have been meant by a name.
    pub(super) fn suggest(&self, name: &str) -> Option<String> {
        let mut known: Vec<&str> = self.scope().names.keys().map(SmolStr::as_str).collect();
        known.extend(self.scope().arguments.keys().map(SmolStr::as_str));
        known.extend(self.dims.names());
        known.sort_unstable();
        if self.scopes.len() > 1 && self.scopes[0].names.contains_key(name) {
            return Some(format!(
                "`{name}` lies outside of the block; add it to the block's `inputs` and hand it in"
            ));
        }
        let later = self
            .spec
            .layers
            .iter()
            .map(|&id: &DefinitionId| self.spec.definition(id));
        if later
            .flat_map(|layer| &layer.names)
            .any(|other| other == name)
        {
            return Some(format!(
                "`{name}` comes later; a layer reads only what stands before it"
            ));
        }
        suggest::did_you_mean(name, &known)
    }
}
