//! Blocks: functions of tensors, unfolded where they are used.

use smol_str::SmolStr;

use super::layer::Tensors;
use super::scope::{Binding, Scope};
use super::{Lowering, MAX_BLOCK_DEPTH};
use crate::graph::{LayerId, TensorId};
use crate::ops::AttributeValue;
use crate::source::Span;
use crate::spec::layer::LayerDefinition;
use crate::spec::names;

impl<'s> Lowering<'s, '_> {
    pub(super) fn block_layer(
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
