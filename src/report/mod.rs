//! The capacity report: what a model is, and what it and its run cost, layer by layer and in all.
//!
//! The report is put together from facts and computes nothing of its own but sums by layer. How it
//! is written down is for `render::capacity`.

mod change;
mod growth;
mod layers;
mod memory;
mod peak;
mod serving;
mod step;

use serde::Serialize;

pub use change::{EstimateRow, Interval, LargestRow, LeverRow, ReservedPart};
pub use growth::{CurvePart, GrowthPart, LayerGrowthPart};
pub use layers::{LayerRow, OutputType};
pub use memory::{DevicePart, MemoryPart, MemoryRow, OwnerRow, RankPart, SavedPart};
pub use peak::{PeakOwnerRow, PeakPart, PeakRow, PhaseRow, PlanPart, SampleRow};
pub use serving::{CacheKind, CachePart, PassPart, ServingDevice, ServingPart, WeightPart};
pub use step::{SpeedPart, StepPart};

use crate::facts::Facts;
use crate::graph::{Graph, Runs};
use crate::ops::Call;
use crate::ops::foreign::OPAQUE;
use crate::quantity::{Bytes, Elements, Flops};

/// The version of the report's JSON form.
pub const VERSION: u32 = 1;

/// What a model and its run cost.
#[derive(Debug, Clone, Serialize)]
pub struct CapacityReport {
    /// [`VERSION`].
    pub version: u32,
    /// The model.
    pub model: ModelPart,
    /// Its parameters, shared ones once.
    pub parameters: ParameterPart,
    /// Its buffers.
    pub buffers: BufferPart,
    /// Its arithmetic.
    pub flops: FlopPart,
    /// What one forward pass moves, op by op, if nothing is fused.
    pub bytes: BytesPart,
    /// The arithmetic of an optimizer step on all devices, where the model is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepPart>,
    /// What one device holds.
    pub memory: MemoryPart,
    /// What one device holds while it serves, where the spec says how it serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingPart>,
    /// How cost grows with the sizes of the inputs.
    pub growth: Vec<GrowthPart>,
    /// The layers that do something themselves, in order.
    pub layers: Vec<LayerRow>,
    /// Ops of which nothing is known, so that they are in no figure.
    pub unknown_ops: usize,
    /// What those of them are called that an imported model calls and that are not known here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_names: Vec<String>,
    /// What the figures take for granted: how often loops and branches run, and what an importer
    /// assumed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What the model is called and takes.
#[derive(Debug, Clone, Serialize)]
pub struct ModelPart {
    /// The name; empty where the spec gives none.
    pub name: String,
    /// Calls of ops.
    pub ops: usize,
    /// The inputs.
    pub inputs: Vec<NamedType>,
    /// The outputs.
    pub outputs: Vec<NamedType>,
}

/// A tensor's name and type.
#[derive(Debug, Clone, Serialize)]
pub struct NamedType {
    /// The name of the input, or of the layer that makes the tensor.
    pub name: String,
    /// Shape and element type.
    #[serde(flatten)]
    pub ty: OutputType,
}

/// Parameters.
#[derive(Debug, Clone, Serialize)]
pub struct ParameterPart {
    /// Elements.
    pub count: Elements,
    /// Elements that are trained.
    pub trainable: Elements,
    /// Bytes.
    pub bytes: Bytes,
}

/// Buffers.
#[derive(Debug, Clone, Serialize)]
pub struct BufferPart {
    /// Bytes.
    pub bytes: Bytes,
}

/// Arithmetic: `forward` and `backward` as PyTorch's `FlopCounterMode` counts, the rest apart.
#[derive(Debug, Clone, Serialize)]
pub struct FlopPart {
    /// Products, convolutions and attention of the forward pass, two per multiply-add.
    pub forward: Flops,
    /// The same of the backward pass.
    pub backward: Flops,
    /// All other arithmetic of the forward pass.
    pub other_forward: Flops,
}

/// Bytes moved.
#[derive(Debug, Clone, Serialize)]
pub struct BytesPart {
    /// Read in the forward pass.
    pub read: Bytes,
    /// Written in the forward pass.
    pub written: Bytes,
}

impl CapacityReport {
    /// The same with the timeline of a step, call by call.
    pub fn with_timeline(mut self, facts: &Facts<'_>) -> CapacityReport {
        self.memory.timeline = Some(peak::timeline(facts));
        self
    }

    /// Puts the report together. `O(nodes + layers)`, three times over for each free dim of the
    /// inputs.
    pub fn of(facts: &Facts<'_>) -> CapacityReport {
        let (graph, cost) = (facts.graph(), facts.cost());
        let name = facts
            .spec
            .model
            .name
            .get()
            .map_or_else(String::new, |name| name.to_string());
        CapacityReport {
            version: VERSION,
            model: ModelPart {
                name,
                ops: graph.dag.node_count(),
                inputs: inputs(graph),
                outputs: outputs(graph),
            },
            parameters: ParameterPart {
                count: cost.parameters,
                trainable: cost.trainable,
                bytes: cost.parameter_bytes,
            },
            buffers: BufferPart {
                bytes: cost.buffer_bytes,
            },
            flops: FlopPart {
                forward: cost.forward,
                backward: cost.backward,
                other_forward: cost.other_forward,
            },
            bytes: BytesPart {
                read: cost.read,
                written: cost.written,
            },
            step: StepPart::of(facts),
            memory: MemoryPart::of(facts),
            serving: ServingPart::of(facts),
            growth: growth::rows(facts),
            layers: layers::rows(facts),
            unknown_ops: cost.unknown + facts.index().calls(OPAQUE).len(),
            unknown_names: unknown_names(facts),
            notes: notes(facts),
        }
    }
}

/// What is said of loops and branches, region by region of one kind, and of the import.
fn notes(facts: &Facts<'_>) -> Vec<String> {
    let count = |wanted: fn(&Runs) -> bool| {
        let regions = facts.graph().regions.iter();
        let found = regions.filter(|region| wanted(&region.runs) && !region.nodes.is_empty());
        found.fold((0, 0), |(regions, calls), region| {
            (regions + 1, calls + region.nodes.len())
        })
    };
    let mut notes = Vec::new();
    let (loops, calls) = count(|runs| matches!(runs, Runs::Times(_)));
    if loops > 0 {
        notes.push(format!(
            "{loops} of the model's loops run a known number of times; their {calls} calls are multiplied by it"
        ));
    }
    let (loops, calls) = count(|runs| *runs == Runs::Loop);
    if loops > 0 {
        notes.push(format!(
            "{loops} of the model's loops run as often as values say; their {calls} calls are counted once"
        ));
    }
    let (branches, _) = count(|runs| *runs == Runs::Branch);
    if branches > 0 {
        notes.push(format!(
            "{branches} of the model's branches are taken as values say; the dearer of two is counted"
        ));
    }
    notes.extend(facts.model().notes.iter().cloned());
    notes
}

/// The names of the ops that are `opaque`, each once.
fn unknown_names(facts: &Facts<'_>) -> Vec<String> {
    let name = |call: &Call<'_>| call.text("target").map(|name| name.to_string());
    let calls = facts.index().calls(OPAQUE);
    let mut names: Vec<String> = calls
        .iter()
        .filter_map(|&id| facts.graph().with_call(facts.graph().node(id), name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn inputs(graph: &Graph) -> Vec<NamedType> {
    let named = |(name, id): &(smol_str::SmolStr, crate::graph::TensorId)| NamedType {
        name: name.to_string(),
        ty: OutputType::of(graph, *id),
    };
    graph.inputs.iter().map(named).collect()
}

fn outputs(graph: &Graph) -> Vec<NamedType> {
    let named = |&id: &crate::graph::TensorId| NamedType {
        name: graph.tensor_name(id),
        ty: OutputType::of(graph, id),
    };
    graph.outputs.iter().map(named).collect()
}
