//! Layers: the calls of the spec's layers, block instances and formulas, as a tree.

use smol_str::SmolStr;

use super::TensorId;

/// The number of a layer in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(pub u32);

/// The number of a layer's definition in its source. A block that repeats twelve times makes
/// twelve layers of one definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefinitionId(pub u32);

/// What a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerKind {
    /// One op of that name.
    Op(&'static str),
    /// A formula, which may be several ops.
    Formula,
    /// An instance of the block of that name.
    Block(SmolStr),
}

impl LayerKind {
    /// The name to show in a table of layers.
    pub fn name(&self) -> &str {
        match self {
            LayerKind::Op(name) => name,
            LayerKind::Formula => "formula",
            LayerKind::Block(name) => name,
        }
    }
}

/// One instance of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its own name within its parent.
    pub name: SmolStr,
    /// The block instance that it stands in.
    pub parent: Option<LayerId>,
    /// The number of the repetition, where the definition repeats.
    pub index: Option<u32>,
    /// What it is.
    pub kind: LayerKind,
    /// Where it is defined.
    pub definition: DefinitionId,
    /// The first of its nodes; they are contiguous, those of nested layers included.
    pub first_node: u32,
    /// One past the last of its nodes.
    pub end_node: u32,
    /// What it hands on.
    pub outputs: smallvec::SmallVec<[TensorId; 1]>,
    /// Whether its activations are recomputed in the backward pass.
    pub checkpointed: bool,
}
