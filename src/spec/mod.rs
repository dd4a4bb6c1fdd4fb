//! The spec language: TOML text → typed tables, each value with its place.
//!
//! Reading resolves names of ops and blocks and checks types, but computes no shapes: that is
//! lowering. All faults are reported together, and what could be read is kept.

pub mod block;
pub mod dims;
pub mod document;
pub mod layer;
pub mod lint;
pub mod names;
pub mod operand;
mod read;
pub(crate) mod reader;
pub mod run;
pub mod setting;
pub mod tensors;

use smol_str::SmolStr;

use crate::graph::DefinitionId;
use crate::source::Span;
use crate::tensor::Dtype;
use block::BlockDefinition;
use dims::Dims;
use document::Document;
use layer::LayerDefinition;
use lint::Lint;
use run::Run;
use setting::{Field, choice, settings};
use tensors::TensorDefinition;

/// A spec: everything that its text says.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The tree of the text, `extends` and overrides laid over each other.
    pub document: Document,
    /// `[model]`
    pub model: ModelTable,
    /// `[dims]`
    pub dims: Dims,
    /// `[inputs]`
    pub inputs: Vec<TensorDefinition>,
    /// `[params]`
    pub params: Vec<TensorDefinition>,
    /// `[buffers]`
    pub buffers: Vec<TensorDefinition>,
    /// `[blocks]`
    pub blocks: Vec<BlockDefinition>,
    /// The layers of the model, in order.
    pub layers: Vec<DefinitionId>,
    /// All layers, those of blocks included, by [`DefinitionId`].
    pub definitions: Vec<LayerDefinition>,
    /// The tables about the run.
    pub run: Run,
    /// `[lint]` and the directives among the comments.
    pub lint: Lint,
}

impl Spec {
    /// What is declared of the input of a name. Beside an imported model that may be some inputs
    /// only, in any order.
    pub fn input(&self, name: &str) -> Option<&TensorDefinition> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// The layer with that number.
    pub fn definition(&self, id: DefinitionId) -> &LayerDefinition {
        &self.definitions[id.0 as usize]
    }

    /// The symbolic place of a layer's definition: `layers.h`, `blocks.decoder.ln_1`.
    pub fn definition_path(&self, id: DefinitionId) -> String {
        let layer = self.definition(id);
        let name = &layer.names[0];
        match layer.block {
            Some(block) => format!("blocks.{}.{name}", self.blocks[block as usize].name),
            None => format!("layers.{name}"),
        }
    }
}

settings! {
    /// `[model]`
    pub struct ModelTable {
        /// The model's name.
        name: Field<SmolStr>,
        /// Element type of parameters and float inputs where nothing else is said.
        dtype: Field<Dtype>,
        /// How attention is computed.
        attention: Field<Attention>,
        /// Names of the layers that are the model's outputs; the last layer where nothing is said.
        outputs: Field<Vec<SmolStr>>,
        /// Whether the model is described as it trains or as it serves.
        mode: Field<Mode>,
        /// What its figures leave out or take for granted; the report repeats it.
        notes: Field<Vec<SmolStr>>,
    }
}

choice! {
    /// How attention is computed.
    pub enum Attention ("attention kernel") {
        /// Product, softmax, product.
        Math = "math" | "eager",
        /// One kernel that never writes the scores: flash or memory-efficient attention.
        Fused = "fused" | "flash" | "sdpa" | "efficient",
    }
}

choice! {
    /// What the model is described for.
    pub enum Mode ("mode") {
        /// Training: dropout drops, batch norm takes the batch's statistics.
        Train = "train",
        /// Inference.
        Inference = "inference" | "eval",
    }
}

/// The name of the layer with that number that gives none.
pub(crate) fn number_name(number: usize) -> SmolStr {
    smol_str::format_smolstr!("{number}")
}

/// Where `[model]`'s name or, without one, the start of the text is.
pub fn model_span(spec: &Spec) -> Option<Span> {
    spec.model.name.span.or(spec.model.span)
}
