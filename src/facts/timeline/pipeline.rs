//! The step of one stage of a pipeline: the passes that it makes of its chunks of the model, with
//! the activations of all micro-batches that are in flight.
//!
//! The warm-up takes as many micro-batches forwards as the schedule lets be in flight, then a pass
//! backwards and one forwards follow each other, and the rest runs backwards. That is GPipe and
//! 1F1B; of schedules with several chunks it is the fullest moment. Where backward passes are taken
//! apart (zero bubble), what the gradients of weights need is counted until both parts have run.
//! Tensors that cross from stage to stage lie in buffers of the stage that receives them, and those
//! sent stay until they have run backwards, as in `torch.distributed.pipelining`.

use std::ops::Range;

use super::heap::{Handle, Phase, Recorder};
use super::step::{Held, Pending, Step};
use crate::facts::memory::{Degrees, MemoryKind, Stages};
use crate::graph::{Graph, NodeId, TensorId, TensorKind};
use crate::ops::layout::contiguous_strides;

/// What a stage runs.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    chunks: Vec<Chunk>,
    /// Whether more micro-batches come than are in flight.
    refilled: bool,
    /// Which parameters lie on the stage.
    parameters: Vec<bool>,
    /// Which inputs of the model do.
    inputs: Vec<bool>,
}

/// A contiguous part of the model.
#[derive(Debug, Clone)]
struct Chunk {
    calls: Range<u32>,
    in_flight: u64,
    /// What earlier chunks made and this one reads.
    received: Vec<TensorId>,
    /// What this chunk makes and later ones read.
    sent: Vec<TensorId>,
}

/// One micro-batch of a chunk between its passes.
#[derive(Debug, Default)]
struct Flight {
    held: Vec<Vec<Held>>,
    away: Vec<Vec<(u64, &'static str)>>,
    outputs: Vec<(TensorId, Handle)>,
    /// What recomputed layers read of the micro-batch; the nodes hold it.
    read: Vec<(TensorId, Handle)>,
}

impl Stage {
    /// What that rank of the pipeline runs. `O(operands)`.
    pub fn of(graph: &Graph, stages: &Stages, degrees: &Degrees, rank: u64) -> Stage {
        let held = degrees.held(rank);
        let mut inputs = vec![false; graph.types.len()];
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut parameters = vec![false; graph.parameters.len()];
        for number in stages.parameters(&held) {
            parameters[number as usize] = true;
        }
        for held in &held {
            let inside = |id: &NodeId| stages.of_node(*id) == held.chunk;
            let first = graph.node_ids().find(inside).map_or(0, |id| id.0);
            let calls = first..first + graph.node_ids().filter(inside).count() as u32;
            let (mut received, mut sent) = (Vec::new(), Vec::new());
            for (id, node) in graph.nodes() {
                let here = calls.contains(&id.0);
                for &tensor in node.arguments.iter().filter(|id| id.is_present()) {
                    match graph.tensor(tensor).kind {
                        TensorKind::Output(made)
                            if here && made.0 < calls.start && !received.contains(&tensor) =>
                        {
                            received.push(tensor);
                        }
                        TensorKind::Output(made)
                            if id.0 >= calls.end
                                && calls.contains(&made.0)
                                && !sent.contains(&tensor) =>
                        {
                            sent.push(tensor);
                        }
                        TensorKind::Input(_) if here => inputs[tensor.0 as usize] = true,
                        _ => {}
                    }
                }
            }
            chunks.push(Chunk {
                calls,
                in_flight: held.in_flight,
                received,
                sent,
            });
        }
        let most = chunks.iter().map(|chunk| chunk.in_flight).max();
        Stage {
            refilled: most.is_some_and(|most| degrees.micro_batches > most),
            chunks,
            parameters,
            inputs,
        }
    }

    pub fn has_parameter(&self, number: usize) -> bool {
        self.parameters[number]
    }

    pub fn has_input(&self, tensor: TensorId) -> bool {
        self.inputs[tensor.0 as usize]
    }
}

impl<'a, R: Recorder> Step<'a, R> {
    fn stage(&self) -> Option<&'a Stage> {
        self.of.rank.and_then(|rank| rank.pipeline.as_ref())
    }

    /// Whether a parameter lies on the rank.
    pub(super) fn has_parameter(&self, number: usize) -> bool {
        self.stage().is_none_or(|stage| stage.has_parameter(number))
    }

    /// Whether an input of the model is fed to the rank.
    pub(super) fn has_input(&self, tensor: TensorId) -> bool {
        self.stage().is_none_or(|stage| stage.has_input(tensor))
    }

    /// Makes the passes of a stage; `false` where there is no pipeline.
    pub(super) fn run_stage(&mut self) -> bool {
        let Some(stage) = self.stage() else {
            return false;
        };
        let mut flights: Vec<Vec<Flight>> = Vec::new();
        for chunk in &stage.chunks {
            let forwards = (0..chunk.in_flight).map(|_| self.chunk_forward(chunk));
            flights.push(forwards.collect());
        }
        if !self.of.graph.training {
            for flight in flights.into_iter().flatten() {
                self.give_up(flight);
            }
            return true;
        }
        if stage.refilled {
            for (chunk, flights) in stage.chunks.iter().zip(&mut flights).rev() {
                if !flights.is_empty() {
                    let oldest = flights.remove(0);
                    self.chunk_backward(chunk, oldest);
                }
            }
            for (chunk, flights) in stage.chunks.iter().zip(&mut flights) {
                let next = self.chunk_forward(chunk);
                flights.push(next);
            }
        }
        for (chunk, flights) in stage.chunks.iter().zip(flights).rev() {
            for flight in flights {
                self.chunk_backward(chunk, flight);
            }
        }
        true
    }

    /// A micro-batch is received, runs through a chunk, and is sent on.
    fn chunk_forward(&mut self, chunk: &Chunk) -> Flight {
        let graph = self.of.graph;
        let mut received: Vec<usize> = Vec::new();
        for &tensor in &chunk.received {
            let root = self.of.storages.root(tensor).0 as usize;
            if received.contains(&root) {
                continue;
            }
            self.at(Phase::Forward, Some(NodeId(chunk.calls.start)));
            let bytes = self.share(tensor, self.of.dtypes.bytes(graph, tensor));
            let handle = self.heap.allocate(bytes, MemoryKind::Activations);
            self.storages[root] = Some(handle);
            received.push(root);
        }
        self.forward_pass(chunk.calls.clone());
        let regions = self.regions_in(&chunk.calls).into_iter();
        let read = regions.flat_map(|region| self.read_from_outside(&region));
        let read = read.collect();
        for root in received {
            // What no later chunk reads went with its last use.
            if let Some(handle) = self.storages[root].take()
                && !chunk.calls.contains(&self.last[root])
            {
                self.heap.release(handle);
            }
        }
        // What later chunks read stays for the backward pass, as do outputs of the model.
        let calls = chunk.calls.clone();
        let mut outputs = Vec::new();
        let roots = self.output_roots().into_iter();
        let sent = chunk
            .sent
            .iter()
            .map(|&tensor| self.of.storages.root(tensor));
        let roots: Vec<TensorId> = roots.chain(sent).collect();
        for root in roots {
            let made = graph.producer(root);
            if made.is_some_and(|made| calls.contains(&made.0))
                && let Some(handle) = self.storages[root.0 as usize].take()
            {
                outputs.push((root, handle));
            }
        }
        let range = calls.start as usize..calls.end as usize;
        let take = |all: &mut [Vec<Held>]| all.iter_mut().map(std::mem::take).collect();
        Flight {
            held: take(&mut self.held[range.clone()]),
            away: self.away[range].iter_mut().map(std::mem::take).collect(),
            outputs,
            read,
        }
    }

    /// The gradients of what was sent are received, and the micro-batch runs backwards.
    fn chunk_backward(&mut self, chunk: &Chunk, flight: Flight) {
        let graph = self.of.graph;
        let first = chunk.calls.start as usize;
        for (at, held) in flight.held.into_iter().enumerate() {
            self.held[first + at] = held;
        }
        for (at, away) in flight.away.into_iter().enumerate() {
            self.away[first + at] = away;
        }
        for &(root, handle) in flight.read.iter().chain(&flight.outputs) {
            self.storages[root.0 as usize] = Some(handle);
        }
        self.at(Phase::Backward, None);
        for &tensor in &chunk.sent {
            if !graph.tensor(tensor).requires_grad {
                continue;
            }
            let bytes = self.share(tensor, self.of.dtypes.bytes(graph, tensor));
            let handle = self.heap.allocate(bytes, MemoryKind::Communication);
            let strides = contiguous_strides(graph.ty(tensor).shape.sizes());
            self.arrive(tensor, Pending { handle, strides });
        }
        self.backward_pass(chunk.calls.clone());
        for (root, handle) in flight.outputs {
            self.storages[root.0 as usize] = None;
            self.heap.release(handle);
        }
    }

    fn give_up(&mut self, flight: Flight) {
        let held = flight.held.into_iter().flatten().map(|held| held.handle);
        let outputs = flight.outputs.into_iter().map(|(_, handle)| handle);
        for handle in held.chain(outputs) {
            self.heap.release(handle);
        }
    }
}
