//! What ranks of a parallel plan hold: stages, buckets, shards, rings and experts.

use proptest::prelude::*;

use super::super::*;
use super::{gpt, memory};
use crate::spec::run::PipelineSchedule as Schedule;

fn degrees(schedule: Schedule, pipeline: u64, virtual_stages: u64, micro_batches: u64) -> Degrees {
    Degrees {
        pipeline,
        schedule,
        virtual_stages,
        micro_batches,
        ..Degrees::one()
    }
}

/// The activations of a rank in those of a whole stage.
fn in_stages(degrees: &Degrees, rank: u64) -> f64 {
    let chunks = degrees.chunks() as f64 / degrees.pipeline as f64;
    let held = degrees.held(rank);
    held.iter().map(|held| held.in_flight as f64).sum::<f64>() / chunks
}

/// Guards the counts in flight on the first and the last of four stages, with 16 micro-batches.
#[test]
fn schedules_hold_what_their_papers_say() {
    for (schedule, virtual_stages, first, last) in [
        (Schedule::GPipe, 1, 16.0, 16.0),
        (Schedule::OneForwardOneBackward, 1, 4.0, 1.0),
        // 1 + (p − 1)/(p·v) of what 1F1B holds.
        (Schedule::Interleaved, 2, 4.0 * (1.0 + 3.0 / 8.0), 2.5),
        (Schedule::ZbH1, 1, 4.0, 4.0),
        (Schedule::ZbH2, 1, 7.0, 1.0),
        (Schedule::ZbV, 1, 4.0, 4.0),
        (Schedule::DualPipe, 1, 5.0, 5.0),
        (Schedule::DualPipeV, 1, 4.5, 4.5),
    ] {
        let degrees = degrees(schedule, 4, virtual_stages, 16);
        assert_eq!(in_stages(&degrees, 0), first, "{schedule}");
        assert_eq!(in_stages(&degrees, 3), last, "{schedule}");
    }
}

proptest! {
    /// Every chunk lies on one rank, but for DualPipe, where it lies on two, and nothing holds more
    /// than all micro-batches.
    #[test]
    fn chunks_lie_somewhere(
        number in 0..8usize,
        pipeline in 1..9u64,
        virtual_stages in 1..4u64,
        micro_batches in 1..40u64,
    ) {
        let schedule = [
            Schedule::GPipe,
            Schedule::OneForwardOneBackward,
            Schedule::Interleaved,
            Schedule::ZbH1,
            Schedule::ZbH2,
            Schedule::ZbV,
            Schedule::DualPipe,
            Schedule::DualPipeV,
        ][number];
        let degrees = degrees(schedule, pipeline, virtual_stages, micro_batches);
        let mut seen = vec![0; degrees.chunks() as usize];
        for rank in 0..pipeline {
            for held in degrees.held(rank) {
                seen[held.chunk as usize] += 1;
                prop_assert!((1..=micro_batches).contains(&held.in_flight));
            }
        }
        let copies = if schedule == Schedule::DualPipe && pipeline > 1 { 2 } else { 1 };
        prop_assert!(seen.iter().all(|&count| count == copies), "{:?}", seen);
    }

    /// Buckets hold every gradient once; each but the last reaches its limit with its last one.
    #[test]
    fn buckets_are_closed_by_what_reaches_their_limit(
        gradients in prop::collection::vec(0..60u64 << 20, 0..40),
    ) {
        let cap = 25 << 20;
        let buckets = ddp_buckets(&gradients, cap);
        prop_assert_eq!(buckets.iter().sum::<u64>(), gradients.iter().sum::<u64>());
        for (number, bytes) in buckets.iter().enumerate().rev().skip(1) {
            let limit = if number == 0 { 1 << 20 } else { cap };
            prop_assert!(*bytes >= limit);
        }
    }
}

/// Guards the first bucket's own limit: 1 MiB, from the last parameter on.
#[test]
fn the_first_bucket_is_small() {
    let mib = 1 << 20;
    let gradients = [30 * mib, 10 * mib, 20 * mib, 2 * mib];
    assert_eq!(
        ddp_buckets(&gradients, 25 * mib),
        [2 * mib, 30 * mib, 30 * mib]
    );
}

/// Guards the ends of a pipeline: the first stage holds the embedding and most micro-batches, and
/// the rank that holds most is the one that is told. The sums of the ranks are there.
#[test]
fn the_worst_rank_is_told() {
    let memory = gpt("grad_accumulation = 8\n[parallel]\npipeline = 4");
    assert_eq!(memory.ranks.len(), 4);
    assert_eq!(memory.rank, 0);
    assert_eq!(memory.ranks[0], memory.total);
    assert!(memory.ranks.windows(2).all(|pair| pair[0] > pair[1]));
    let parameters = |memory: &Memory| memory.part(MemoryKind::Parameters).0;
    let both = gpt("[parallel]\npipeline = 4\nschedule = \"dualpipe\"");
    let whole = parameters(&gpt(""));
    let embedding = 2 * 1000 * 512;
    assert_eq!(parameters(&memory), (whole - embedding) / 4 + embedding);
    assert_eq!(parameters(&both), (whole - embedding) / 2 + embedding);
}

/// Guards the views of buckets, which save the gradients' copy.
#[test]
fn views_of_buckets_take_nothing() {
    let run = "[cluster]\ndevices_per_node = 8\n[parallel]\ndata = 8\n";
    let copies = gpt(run);
    let views = gpt(&format!("{run}gradient_as_bucket_view = true"));
    let gradients = copies.part(MemoryKind::Gradients);
    assert_eq!(copies.part(MemoryKind::Buckets), gradients);
    assert_eq!(copies.total - views.total, gradients);
}

/// Guards FSDP2: rows are dealt whole, so that 1,000 rows over 16 ranks are 63 on the fullest; in
/// the backward pass two layers are whole, with the gradients of one and those in reduction.
#[test]
fn shards_are_rows_and_layers_are_whole_for_a_moment() {
    let run = "[cluster]\nnodes = 2\ndevices_per_node = 8\n[parallel]\nfsdp = 16\n";
    let sharded = gpt(run);
    let whole = gpt("");
    let parameters = |memory: &Memory| memory.part(MemoryKind::Parameters).0;
    let embedding = 2 * 1000 * 512;
    let layers = parameters(&whole) - embedding;
    assert_eq!(parameters(&sharded), layers / 16 + 2 * 63 * 512);
    let gathered = |memory: &Memory| memory.part(MemoryKind::Gathered).0;
    assert_eq!(gathered(&sharded), layers / 4 * 4 + 2 * embedding);
    let kept = gpt(&format!("{run}reshard_after_forward = false"));
    assert_eq!(gathered(&kept), layers + layers / 4 * 2 + 2 * embedding);
}

/// Guards the buckets of ZeRO, which are counted where their sizes are given.
#[test]
fn zero_reduces_in_buckets() {
    let run = "[cluster]\ndevices_per_node = 8\n[parallel]\ndata = 8\nzero = 2\n\
        reduce_bucket_size = 500_000_000\nallgather_bucket_size = 500_000_000\n";
    let part = |more: &str| {
        gpt(&format!("{run}{more}"))
            .part(MemoryKind::Communication)
            .0
    };
    assert_eq!(part(""), 2_000_000_000);
    assert_eq!(part("overlap_comm = true"), 3_000_000_000);
}

/// Guards the rule that routed experts are spread over expert ranks and not split by tensor ranks,
/// and that what is dispatched to them is buffered twice.
#[test]
fn experts_are_spread() {
    let moe = |run: &str| {
        memory(&format!(
            r#"
spec = 1
[inputs]
x = [8, 64, 32]
[params]
up = [8, 32, 128]
down = [8, 128, 32]
[[layers]]
name = "h"
formula = "relu(x @ up) @ down"
[[layers]]
name = "head"
op = "linear"
out_features = 16
bias = false
[cluster]
devices_per_node = 8
[train]
optimizer = "sgd"
[parallel]
{run}
"#
        ))
    };
    let parameters = |run: &str| moe(run).part(MemoryKind::Parameters).0;
    let (experts, head) = (4 * 2 * 8 * 32 * 128, 4 * 32 * 16);
    assert_eq!(parameters("data = 8"), experts + head);
    assert_eq!(parameters("data = 8\nexpert = 8"), experts / 8 + head);
    assert_eq!(
        parameters("data = 8\nexpert = 8\ntensor = 2"),
        experts / 8 + head / 2
    );
    assert_eq!(
        parameters("data = 8\nexpert = 8\nexpert_tensor = 2"),
        experts / 16 + head
    );
    let buffers = moe("data = 8\nexpert = 8\ncapacity_factor = 1.5");
    let tokens = 4 * 8 * 64 * 128;
    assert_eq!(buffers.part(MemoryKind::Communication).0, 3 * tokens);
}
