//! How a call is lowered: expanded, computed with, mapped, or kept as one that is not understood.

use super::call::{Call, Output, Results};
use super::control;
use super::fold::fold;
use super::lower::{Lowering, domain};
use super::registry::{self, Mapping};
use super::slot::Origin;
use super::stated::Stated;
use crate::graph::TensorId;
use crate::import::ImportError;
use crate::ops::find;
use crate::ops::foreign::OPAQUE;
use crate::tensor::TensorType;

impl Call<'_, '_> {
    /// The results of the call.
    pub(super) fn lower(&mut self) -> Result<Results, ImportError> {
        if let Some(results) = control::expand(self)? {
            return Ok(results);
        }
        if let Some(folded) = fold(self) {
            let slots = folded
                .into_iter()
                .map(|constant| Output::Slot(self.lowering.constant(constant, Origin::Constant)));
            return Ok(slots.collect());
        }
        let mapping = self.mapping();
        if let Some(Mapping::Alias(alias)) = mapping
            && let Some(results) = alias(self)
        {
            return Ok(results);
        }
        let signature = self.signature();
        let layer = {
            let Lowering {
                layers, builder, ..
            } = &mut *self.lowering;
            layers.open(builder, self.node, &signature)
        };
        let checkpoint = self.lowering.checkpoint();
        let mapped = mapping.and_then(|mapping| mapping.apply(self));
        let understood = mapped.is_some();
        let results = match mapped.filter(|results| self.agrees(results)) {
            Some(results) => results,
            None => {
                self.lowering.roll_back(&checkpoint);
                self.opaque(understood)?
            }
        };
        let tensors: Vec<TensorId> = results.iter().filter_map(Output::tensor).collect();
        let Lowering {
            layers, builder, ..
        } = &mut *self.lowering;
        layers.close_call(builder, layer, &tensors);
        Ok(results)
    }

    fn mapping(&self) -> Option<&'static Mapping> {
        registry::find(domain(&self.node.domain), &self.node.op_type)
    }

    /// Whether the shapes are those that the file states, and takes the file's element types.
    fn agrees(&mut self, results: &Results) -> bool {
        let mut same = true;
        for (at, result) in results.iter().enumerate() {
            let (Some(id), Some(Some(stated))) = (result.tensor(), self.stated.get(at)) else {
                continue;
            };
            let known = self.lowering.builder.graph().tensor(id).known;
            let ty = self.lowering.builder.graph().ty(id).clone();
            if (known && !stated.admits(&ty.shape)) || (!known && stated.ty().is_some()) {
                return false;
            }
            if let Some(dtype) = stated.dtype.filter(|&dtype| known && dtype != ty.dtype) {
                same = false;
                self.lowering.builder.retype(id, dtype);
            }
        }
        match same {
            true => self.lowering.agreement.same += 1,
            false => self.lowering.agreement.other_dtype += 1,
        }
        true
    }

    /// The call as one of which only the stated types of its results are known.
    fn opaque(&mut self, understood: bool) -> Result<Results, ImportError> {
        self.lowering.agreement.opaque += 1;
        let operands: Vec<TensorId> = (0..self.inputs.len())
            .filter_map(|at| self.tensor(at))
            .collect();
        let types: Option<Vec<TensorType>> = self
            .stated
            .iter()
            .map(|stated| stated.as_ref().and_then(Stated::ty))
            .collect();
        let name = match domain(&self.node.domain) {
            "" => self.node.op_type.clone(),
            domain => format!("{domain}::{}", self.node.op_type),
        };
        // What follows from an unknown is no news.
        let told = (0..self.inputs.len()).any(|at| self.is_unknown(at));
        if !told {
            let what = match (understood, self.mapping().is_some()) {
                (true, _) => "would give other shapes than the file states",
                (false, true) => "is not understood as it is used here",
                (false, false) => "is not understood",
            };
            let follows = match &types {
                Some(_) => "it counts as costing nothing",
                None => "what is computed from it is unknown",
            };
            self.note(format!("`{name}` {what}: {follows}"));
        }
        let Some(types) = types.filter(|types| !types.is_empty()) else {
            self.lowering.builder.mark_used(&operands);
            let outputs = self.node.output.iter();
            return Ok(outputs
                .map(|_| Output::Tensor(self.lowering.builder.unknown()))
                .collect());
        };
        let op = find(OPAQUE).ok_or_else(|| ImportError::new("there is no op `opaque`"))?;
        let attributes = op.attribute_list(&[("target", name.as_str().into())]);
        let made = self
            .lowering
            .builder
            .add(op, &operands, attributes, None, types.into_iter().collect())
            .map_err(|error| ImportError::new(error.message))?;
        Ok(made.into_iter().map(Output::Tensor).collect())
    }
}
