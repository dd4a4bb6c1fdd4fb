//! Layers of `multi_head_attention`, which stand in the graph as the calls that they are made of,
//! as PyTorch's module.

use std::cell::Cell;

use super::body::Writer;
use super::code::Code;
use super::ops::{self, Site};
use crate::graph::{Graph, LayerId, NodeId, Parameter, TensorId};
use crate::ops::Init;

/// What `nn.MultiheadAttention` does with a weight by itself.
pub(super) fn by_itself(name: &str, graph: &Graph, parameter: &Parameter) -> Option<Init> {
    Some(match name {
        "in_proj_bias" | "out_proj.bias" => Init::Constant(0.0),
        "out_proj.weight" => Init::FanIn(graph.ty(parameter.tensor).shape.size(1)?),
        _ => Init::Xavier,
    })
}

impl Writer<'_, '_> {
    /// The expression that makes the module.
    pub(super) fn attention(&self, layer: LayerId) -> String {
        let Some(inputs) = self.plan.attentions.get(&layer) else {
            return String::new();
        };
        let width = |input: Option<TensorId>| {
            let shape = input.map(|input| &self.graph.ty(input).shape);
            shape.and_then(|shape| shape.size(-1)).unwrap_or(0)
        };
        let mut attributes = crate::ops::Attributes::new();
        let op = crate::ops::find(super::plan::ATTENTION);
        let mut dtype = crate::tensor::Dtype::Float32;
        let mut biased = false;
        for parameter in self
            .graph
            .parameters
            .iter()
            .filter(|p| p.layer == Some(layer))
        {
            dtype = self.graph.ty(parameter.tensor).dtype;
            biased |= parameter.name == "in_proj_bias";
        }
        let Some(op) = op else { return String::new() };
        let inner = self.attended(layer);
        if let Some(heads) = inner.and_then(|node| {
            let query = self.graph.node(node).arguments.first().copied()?;
            self.graph.ty(query).shape.size(-3)
        }) && let Some(position) = op.attribute_position("num_heads")
        {
            attributes.set(position, (heads as i64).into());
        }
        if let Some(dropout) = inner.and_then(|node| {
            let node = self.graph.node(node);
            self.graph.with_call(node, |call| call.float("dropout_p"))
        }) && let Some(position) = op.attribute_position("dropout")
        {
            attributes.set(position, dropout.into());
        }
        if let Some(position) = op.attribute_position("batch_first") {
            attributes.set(position, self.batch_first(layer).into());
        }
        let call = crate::ops::Call {
            op,
            attributes: &attributes,
            arguments: &[],
            outputs: &[],
            training: self.graph.training,
            fused_attention: false,
            autocast: false,
        };
        let site = Site {
            call: &call,
            operands: &[],
            follows: None,
            asks_mode: Cell::new(false),
        };
        let widths = [width(inputs[0]), width(inputs[1]), width(inputs[2])];
        ops::attention_module(&site, widths, biased, dtype)
    }

    /// The call of attention itself within a layer of `multi_head_attention`.
    fn attended(&self, layer: LayerId) -> Option<NodeId> {
        let mut nodes = self.graph.layer_nodes(layer).map(NodeId);
        nodes.find(|&node| self.graph.node(node).op.name == "scaled_dot_product_attention")
    }

    /// The positions come first inside; where the batch does outside, the query is turned.
    fn batch_first(&self, layer: LayerId) -> bool {
        let first = self.graph.node(NodeId(self.graph.layer(layer).first_node));
        first.op.name == "transpose"
    }

    /// The statement that calls the module.
    pub(super) fn attention_call(&mut self, layer: LayerId) {
        let Some(&[query, key, value, mask]) = self.plan.attentions.get(&layer) else {
            return;
        };
        let Some(query) = query else { return };
        let inputs = [query, key.unwrap_or(query), value.unwrap_or(query)];
        let mut arguments = self.arguments(&inputs);
        let causal = self.attended(layer).is_some_and(|node| {
            let node = self.graph.node(node);
            self.graph.with_call(node, |call| call.boolean("is_causal"))
        });
        if let Some(mask) = mask {
            // PyTorch's module hides what its function shows.
            let bool = self.graph.ty(mask).dtype == crate::tensor::Dtype::Bool;
            if let Some(operand) = self.operand(mask) {
                arguments.push(match bool {
                    true => {
                        let mask = operand.code.at_least(super::code::binding::UNARY);
                        format!("attn_mask=~{mask}")
                    }
                    false => format!("attn_mask={}", operand.code.text),
                });
            }
        } else if causal {
            let positions = match self.batch_first(layer) {
                true => self.graph.ty(query).shape.size(1),
                false => self.graph.ty(query).shape.size(0),
            };
            let size = super::code::slot("positions", &positions.unwrap_or(0).to_string());
            let mask = format!("nn.Transformer.generate_square_subsequent_mask({size})");
            arguments.push(format!("attn_mask={mask}"));
            arguments.push("is_causal=True".to_owned());
        }
        arguments.push("need_weights=False".to_owned());
        let path = self.member_of(layer).unwrap_or_default();
        let code = Code::atom(format!("self{path}({})[0]", arguments.join(", ")));
        let nodes = self.graph.layer_nodes(layer);
        let last = nodes.end.checked_sub(1).map(NodeId);
        let made: Vec<TensorId> = match self.graph.layer(layer).outputs.as_slice() {
            [] => last
                .map(|node| self.graph.node(node).first_output)
                .into_iter()
                .collect(),
            outputs => outputs.to_vec(),
        };
        self.give(&made, code, "", layer, "attention");
    }
}
