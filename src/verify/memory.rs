//! The claims about memory: what autograd keeps, and what lives after each call.

use rustc_hash::FxHashMap;

use super::model::loss_seeds;
use super::run::{Left, Level, Plan, Sources};
use super::{Claim, Outcome};
use crate::facts::memory::{Kept, MemoryKind, Saved};
use crate::facts::timeline::{Allocation, Inputs, Moment, Phase, Recorder, run};
use crate::graph::{Graph, NodeId, TensorId};
use crate::kernels::Setting;

/// Follows the timeline and remembers what lives at the end of each moment.
#[derive(Debug, Default)]
pub struct Ends {
    activations: u64,
    gradients: u64,
    /// The micro-batch, from 0 on.
    batch: usize,
    last: Option<Phase>,
    ends: FxHashMap<(usize, bool, NodeId), (u64, u64)>,
}

impl Ends {
    fn note(&mut self, kind: MemoryKind, now: Moment, change: impl Fn(&mut u64)) {
        match kind {
            MemoryKind::Activations => change(&mut self.activations),
            MemoryKind::Gradients => change(&mut self.gradients),
            _ => {}
        }
        if (self.last, now.phase) == (Some(Phase::Backward), Phase::Forward) {
            self.batch += 1;
        }
        self.last = Some(now.phase);
        let backward = match now.phase {
            Phase::Forward => false,
            Phase::Backward => true,
            Phase::Start | Phase::Optimizer => return,
        };
        if let Some(node) = now.waiting.or(now.node) {
            let end = (self.activations, self.gradients);
            self.ends.insert((self.batch, backward, node), end);
        }
    }
}

impl Recorder for Ends {
    fn allocated(&mut self, block: &Allocation) {
        let bytes = block.bytes;
        self.note(block.kind, block.moment, |sum| *sum += bytes);
    }

    fn freed(&mut self, block: &Allocation, now: Moment) {
        let bytes = block.bytes;
        self.note(block.kind, now, |sum| *sum = sum.saturating_sub(bytes));
    }

    fn became(&mut self, block: &Allocation, kind: MemoryKind, now: Moment) {
        self.freed(block, now);
        let bytes = block.bytes;
        self.note(kind, now, |sum| *sum += bytes);
    }
}

/// Runs a step of the plan, and holds to it what is said to be kept and to live: for each claim how often it
/// holds, and what came of it. `watch` hears of each call that is run.
pub fn step(
    (saved, inputs): (&Saved, Inputs<'_>),
    (plan, drawn, seed): (Plan<'_>, &Sources, u64),
    watch: &mut dyn FnMut(),
    name: impl Fn(NodeId) -> String,
) -> [(Claim, usize, Outcome); 2] {
    let graph = plan.graph;
    let mut left = Left::default();
    let mut levels: Vec<Vec<Level>> = Vec::new();
    let mut found = Vec::new();
    for batch in 0..inputs.micro_batches() {
        let mut pass = plan.forward_after(left, drawn, Setting::exact(seed), &mut |_| watch());
        if batch == 0 {
            found = pass.kept();
        }
        let seeds = loss_seeds(graph, &pass, &mut fastrand::Rng::with_seed(seed));
        let mut both = std::mem::take(&mut pass.levels);
        let returned = pass.backward(seeds, &mut |_, _| watch());
        both.extend(returned.levels);
        levels.push(both);
        left = returned.left;
    }
    let (kept_agreed, kept) = kept(graph, &saved.kept, &found);
    let ends = run(inputs, Ends::default());
    let (agreed, outcome) = timeline(&ends, &levels, name);
    [
        (Claim::Kept, kept_agreed, kept),
        (Claim::Timeline, agreed, outcome),
    ]
}

/// Holds the live bytes of the timeline to those of a run, call by call and micro-batch by
/// micro-batch: how many agree, and what
/// came of it. A moment at which the timeline has no event ends as the one before.
fn timeline(
    ends: &Ends,
    levels: &[Vec<Level>],
    name: impl Fn(NodeId) -> String,
) -> (usize, Outcome) {
    let mut agreed = 0;
    let mut last = (0, 0);
    let batches = levels.iter().enumerate();
    for (batch, level) in
        batches.flat_map(|(batch, levels)| levels.iter().map(move |one| (batch, one)))
    {
        let claimed = *ends
            .ends
            .get(&(batch, level.backward, level.node))
            .unwrap_or(&last);
        last = claimed;
        let found = (level.activations, level.gradients);
        if claimed == found {
            agreed += 1;
            continue;
        }
        let pass = if level.backward {
            "backward"
        } else {
            "forward"
        };
        let of = |(activations, gradients): (u64, u64)| {
            format!("{activations} bytes of activations and {gradients} of gradients")
        };
        return (
            agreed,
            Outcome::Contradicted {
                claimed: format!("{} after {} ({pass})", of(claimed), name(level.node)),
                found: of(found),
            },
        );
    }
    (agreed, Outcome::Confirmed)
}

/// Holds what is said to be kept to the storages that live after the forward pass, tensor by
/// tensor. Inputs lie there anyway and are left out of both.
fn kept(graph: &Graph, claimed: &[Kept], found: &[(Option<TensorId>, u64)]) -> (usize, Outcome) {
    let is_made =
        |tensor: &Option<TensorId>| tensor.is_none_or(|tensor| graph.producer(tensor).is_some());
    let mut sums: FxHashMap<Option<TensorId>, (u64, u64)> = FxHashMap::default();
    for one in claimed.iter().filter(|one| is_made(&one.tensor)) {
        sums.entry(one.tensor).or_default().0 += one.bytes;
    }
    for (tensor, bytes) in found.iter().filter(|(tensor, _)| is_made(tensor)) {
        sums.entry(*tensor).or_default().1 += bytes;
    }
    let mut differing: Vec<_> = sums.iter().filter(|(_, (a, b))| a != b).collect();
    differing.sort();
    let agreed = sums.len() - differing.len();
    let name = |tensor: &Option<TensorId>| match tensor {
        Some(tensor) => graph.tensor_name(*tensor),
        None => "masks, statistics and the like".to_owned(),
    };
    match differing.first() {
        None => (agreed, Outcome::Confirmed),
        Some((tensor, (claimed, found))) => (
            agreed,
            Outcome::Contradicted {
                claimed: format!("{claimed} bytes of {}", name(tensor)),
                found: format!("{found} bytes live"),
            },
        ),
    }
}
