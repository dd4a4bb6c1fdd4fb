//! How a pipeline cuts a model into chunks, who holds which, and for how many micro-batches.
//!
//! The instances of the largest repeated layer are dealt to the chunks in order and as evenly as
//! their number allows; what stands before the first goes with it, what stands after the last with
//! that: embeddings lie on the first stage, logits on the last. A model without enough repetitions
//! is cut where its arithmetic divides most evenly.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::plan::Degrees;
use crate::facts::cost::Cost;
use crate::graph::{Graph, LayerId, LayerKind, NodeId, TensorKind};
use crate::quantity::Flops;
use crate::spec::run::PipelineSchedule;

/// What a rank of the pipeline holds of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The number of the chunk, in the order of the forward pass.
    pub chunk: u64,
    /// Micro-batches whose activations it holds at once.
    pub in_flight: u64,
}

impl Degrees {
    /// Into how many chunks the model is cut.
    pub fn chunks(&self) -> u64 {
        match self.schedule {
            PipelineSchedule::Interleaved => self.pipeline.saturating_mul(self.virtual_stages),
            PipelineSchedule::ZbV | PipelineSchedule::DualPipeV => self.pipeline.saturating_mul(2),
            _ => self.pipeline,
        }
    }

    /// The chunks of a rank, with the micro-batches in flight when they are most.
    ///
    /// GPipe holds all micro-batches; one forward, one backward as many as there are stages from
    /// its own on (Narayanan et al. 2021), interleaved `2·(p − r − 1) + (v − 1)·p + 1` of its
    /// chunks; ZB-H1 as many as there are stages, ZB-H2 up to `2·(p − r) − 1`, ZB-V `2p` halves of
    /// a stage (Qi et al. 2024); DualPipe two whole stages for `p + 1` micro-batches, DualPipeV two
    /// halves for `2p + 1` (DeepSeek).
    pub fn held(&self, rank: u64) -> Vec<Held> {
        let (p, m) = (self.pipeline, self.micro_batches);
        let held = |chunk: u64, in_flight: u64| Held {
            chunk,
            in_flight: in_flight.clamp(1, m.max(1)),
        };
        match self.schedule {
            PipelineSchedule::GPipe => vec![held(rank, m)],
            PipelineSchedule::OneForwardOneBackward => vec![held(rank, p - rank)],
            PipelineSchedule::ZbH1 => vec![held(rank, p)],
            PipelineSchedule::ZbH2 => vec![held(rank, 2 * (p - rank) - 1)],
            PipelineSchedule::Interleaved => {
                let v = self.virtual_stages;
                // Micro-batches go through in groups of p, a chunk after the other.
                let passes = 2 * (p - rank - 1) + (v - 1) * p + 1;
                let passes = passes.min(m.saturating_mul(v));
                (0..v)
                    .map(|number| {
                        let (rounds, rest) = (passes / (p * v), passes % (p * v));
                        let more = rest.saturating_sub(number * p).min(p);
                        held(number * p + rank, rounds * p + more)
                    })
                    .collect()
            }
            PipelineSchedule::ZbV => {
                vec![
                    held(rank, 2 * p - 1 - rank),
                    held(2 * p - 1 - rank, rank + 1),
                ]
            }
            PipelineSchedule::DualPipe if p > 1 => {
                vec![held(rank, p - rank), held(p - 1 - rank, rank + 1)]
            }
            PipelineSchedule::DualPipe => vec![held(rank, 1)],
            PipelineSchedule::DualPipeV => {
                vec![held(rank, 2 * p - rank), held(2 * p - 1 - rank, rank + 1)]
            }
        }
    }
}

/// The chunk of every call, and the parameters of every chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stages {
    of_node: Vec<u32>,
    /// By chunk, numbers of parameters; a shared one is in all chunks that use it.
    parameters: Vec<Vec<u32>>,
}

impl Stages {
    /// Cuts a graph into chunks. `O(nodes + layers + operands)`.
    pub fn of(graph: &Graph, chunks: u64) -> Stages {
        let chunks = chunks.clamp(1, 1 << 20);
        let of_node = match units(graph, chunks) {
            Some(starts) => by_units(graph, &starts, chunks),
            None => by_arithmetic(graph, chunks),
        };
        let mut parameters: Vec<Vec<u32>> = vec![Vec::new(); chunks as usize];
        let mut last_user: Vec<Option<u32>> = vec![None; graph.parameters.len()];
        for (id, node) in graph.nodes() {
            let chunk = of_node[id.0 as usize];
            for &argument in node.arguments.iter().filter(|id| id.is_present()) {
                if let TensorKind::Parameter(number) = graph.tensor(argument).kind
                    && last_user[number as usize] != Some(chunk)
                {
                    last_user[number as usize] = Some(chunk);
                    let of_chunk = &mut parameters[chunk as usize];
                    if !of_chunk.contains(&number) {
                        of_chunk.push(number);
                    }
                }
            }
        }
        // What no call uses lies somewhere, too.
        for (number, user) in last_user.iter().enumerate() {
            if user.is_none() {
                parameters[0].push(number as u32);
            }
        }
        Stages {
            of_node,
            parameters,
        }
    }

    /// The chunk of a call.
    pub fn of_node(&self, node: NodeId) -> u64 {
        self.of_node
            .get(node.0 as usize)
            .map_or(0, |&chunk| u64::from(chunk))
    }

    /// The numbers of the parameters of some chunks, each once, in ascending order.
    pub fn parameters(&self, held: &[Held]) -> Vec<u32> {
        let mut numbers: Vec<u32> = held
            .iter()
            .filter_map(|held| self.parameters.get(held.chunk as usize))
            .flatten()
            .copied()
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

/// Product FLOPs of the forward pass for one micro-batch, by rank of the pipeline. `O(nodes + ranks)`.
pub fn stage_work(graph: &Graph, cost: &Cost, degrees: &Degrees) -> Vec<Flops> {
    let stages = Stages::of(graph, degrees.chunks());
    let mut chunks = vec![Flops::ZERO; degrees.chunks() as usize];
    for id in graph.node_ids() {
        chunks[stages.of_node(id) as usize] += Flops(cost.node(id).forward);
    }
    let of_rank = |rank: u64| {
        let held = degrees.held(rank);
        held.iter().map(|held| chunks[held.chunk as usize]).sum()
    };
    (0..degrees.pipeline).map(of_rank).collect()
}

/// The largest group of layers side by side that are alike, in order; `None` where none has two.
pub fn repeated(graph: &Graph) -> Option<Vec<LayerId>> {
    let mut groups: FxHashMap<(Option<LayerId>, SmolStr), Vec<LayerId>> = FxHashMap::default();
    for (number, layer) in graph.layers.iter().enumerate() {
        let kind = match (&layer.kind, layer.index) {
            (LayerKind::Block(name), _) => name.clone(),
            (kind, Some(_)) => SmolStr::from(kind.name()),
            (_, None) => continue,
        };
        if layer.first_node < layer.end_node {
            let group = groups.entry((layer.parent, kind)).or_default();
            group.push(LayerId(number as u32));
        }
    }
    let calls = |group: &[LayerId]| -> u32 {
        group
            .iter()
            .map(|&id| graph.layer(id).end_node - graph.layer(id).first_node)
            .sum()
    };
    groups
        .into_values()
        .filter(|group| group.len() > 1)
        .max_by_key(|group| (calls(group), std::cmp::Reverse(group[0])))
}

/// The first calls of the repeated layers, if there are enough for the chunks.
fn units(graph: &Graph, chunks: u64) -> Option<Vec<u32>> {
    let group = repeated(graph)?;
    let starts = || group.iter().map(|&id| graph.layer(id).first_node).collect();
    (group.len() as u64 >= chunks).then(starts)
}

fn by_units(graph: &Graph, starts: &[u32], chunks: u64) -> Vec<u32> {
    let mut of_node = Vec::with_capacity(graph.dag.node_count());
    let mut unit = 0;
    for id in graph.node_ids() {
        while unit + 1 < starts.len() && starts[unit + 1] <= id.0 {
            unit += 1;
        }
        of_node.push((unit as u64 * chunks / starts.len() as u64) as u32);
    }
    of_node
}

/// Cuts at the calls at which the arithmetic so far passes each share.
fn by_arithmetic(graph: &Graph, chunks: u64) -> Vec<u32> {
    let work: Vec<u128> = graph
        .nodes()
        .map(|(_, node)| match graph.is_known(node) {
            true => {
                let work = graph.with_call(node, |call| (node.op.work)(call));
                work.products.saturating_add(work.other).saturating_add(1)
            }
            false => 1,
        })
        .collect();
    let whole = work.iter().sum::<u128>().max(1);
    let mut before = 0u128;
    work.iter()
        .map(|&one| {
            // By the middle of the call, so that the last one is in the last chunk.
            let middle = before.saturating_add(one / 2);
            before = before.saturating_add(one);
            let chunk = (middle as f64 / whole as f64 * chunks as f64) as u64;
            chunk.min(chunks - 1) as u32
        })
        .collect()
}
