//! The peak of a step of one rank, held against what PyTorch's own trackers see of it, and against
//! what holds of every plan.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use plimsoll::engine::Overlay;
use plimsoll::facts::Facts;
use plimsoll::facts::memory::MemoryKind;
use plimsoll::facts::timeline::{Events, Inputs, Phase, run};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parallel")
}

/// Shows the facts of the model under these settings to `f`.
fn with_facts<T>(set: &[String], f: impl FnOnce(&Facts) -> T) -> T {
    let overlay = Overlay {
        assignments: set.to_vec(),
        ..Overlay::default()
    };
    common::with_facts(&data().join("gpt.model.toml"), &overlay, f)
}

fn peak(set: &[&str]) -> u64 {
    let set: Vec<String> = set.iter().map(|&one| one.to_owned()).collect();
    with_facts(&set, |facts| facts.peak().bytes.0)
}

/// The settings of a measured case.
fn settings(case: &toml::Value) -> Vec<String> {
    let number = |key: &str| case.get(key).and_then(toml::Value::as_integer);
    let flag = |key: &str| case.get(key).and_then(toml::Value::as_bool);
    let word = |key: &str| case.get(key).and_then(toml::Value::as_str);
    let mut set = Vec::new();
    for dim in ["batch", "seq", "vocab", "width", "heads"] {
        set.push(format!("dims.{dim}={}", number(dim).unwrap()));
    }
    let ranks = number("ranks").unwrap();
    let replicas = number("replicas").unwrap_or(1);
    set.push(format!("cluster.devices_per_node={}", ranks * replicas));
    if replicas > 1 {
        set.push(format!("parallel.data={replicas}"));
    }
    set.push(match word("kind").unwrap() {
        "fsdp" => format!("parallel.fsdp={ranks}"),
        _ => format!("parallel.data={ranks}"),
    });
    if let Some(reshard) = flag("reshard") {
        set.push(format!("parallel.reshard_after_forward={reshard}"));
    }
    if let Some(views) = flag("view") {
        set.push(format!("parallel.gradient_as_bucket_view={views}"));
    }
    if let Some(cap) = number("cap") {
        set.push(format!("parallel.bucket_cap_mb={cap}"));
    }
    if let Some(count) = number("accumulation") {
        set.push(format!("train.grad_accumulation={count}"));
    }
    if flag("checkpoint") == Some(true) {
        set.push("train.checkpoint=[\"decoder\"]".to_owned());
    }
    if word("optimizer") == Some("sgd") {
        let sgd = "{ name = \"sgd\", momentum = 0.9, foreach = false }";
        set.push(format!("train.optimizer={sgd}"));
    }
    if let Some(reduce) = word("mixed") {
        set.push(format!(
            "train.precision={{ params = \"bf16\", master = \"float32\", reduce = \"{reduce}\" }}"
        ));
    }
    set
}

/// Guards the collectives of FSDP2 and of DDP against PyTorch itself: all kinds of units, ranks that
/// do not divide the rows, precision, what is freed when, accumulation. Beside ours the trackers count
/// four bytes for each parameter of AdamW, its counter; and where parameters are in bfloat16 a CPU keeps
/// the statistics of norms in that type, which a device has in float32. What is recomputed stops there at
/// the last tensor that is needed.
#[test]
fn ranks_peak_where_those_of_pytorch_do() {
    let text = std::fs::read_to_string(data().join("peaks.toml")).unwrap();
    let truth: toml::Table = toml::from_str(&text).unwrap();
    let (mut faults, mut held) = (Vec::new(), 0);
    for case in truth["case"].as_array().unwrap() {
        let expected = case["peak"].as_integer().unwrap();
        let set = settings(case);
        let found = with_facts(&set, |facts| facts.peak().bytes.0);
        let error = found as f64 / expected as f64 - 1.0;
        held += 1;
        let within = match (case.get("mixed"), case.get("checkpoint")) {
            (Some(_), _) => 3e-3,
            (None, Some(_)) => 3e-4,
            (None, None) => 5e-5,
        };
        if error.abs() > within {
            let error = 100.0 * error;
            faults.push(format!(
                "{set:?}: {expected}, found {found} ({error:+.3} %)"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held > 30, "{held} figures are few");
}

/// Guards that plans of one rank are no plans.
#[test]
fn a_plan_of_one_rank_is_the_plain_step() {
    let plain = peak(&[]);
    for plan in [
        "data=1",
        "fsdp=1",
        "tensor=1",
        "pipeline=1",
        "context=1",
        "zero=3",
    ] {
        assert_eq!(peak(&[&format!("parallel.{plan}")]), plain, "{plan}");
    }
}

/// Guards the shards: what the ranks keep of parameters and state together is the whole, filled up.
#[test]
fn shards_add_up_to_the_whole() {
    let kept = |ranks: u64, plan: &str| {
        let set = [
            format!("cluster.devices_per_node={ranks}"),
            format!("parallel={{ {plan} }}"),
        ];
        with_facts(&set, |facts| {
            let Events(events) = run(facts.timeline(), Events::default());
            let kinds = [MemoryKind::Parameters, MemoryKind::Optimizer];
            let start = events
                .iter()
                .filter(|event| event.moment.phase == Phase::Start);
            start
                .filter(|event| kinds.contains(&event.block.kind))
                .map(|event| event.block.bytes)
                .sum::<u64>()
        })
    };
    let whole = kept(1, "");
    for ranks in [2, 4, 8, 16] {
        assert_eq!(ranks * kept(ranks, &format!("fsdp = {ranks}")), whole);
        assert_eq!(
            ranks * kept(ranks, &format!("data = {ranks}, zero = 3")),
            whole
        );
        // All of the parameters, and a part of the state.
        let first = kept(ranks, &format!("data = {ranks}, zero = 1"));
        assert_eq!(first, whole / 3 + 2 * whole / 3 / ranks);
    }
    let uneven = 3 * kept(3, "fsdp = 3");
    assert!(uneven > whole && uneven < whole + whole / 50);
}

/// Guards every plan: what is allocated is freed, parts add up to the peak, more ranks never need
/// more, and the bounds hold the peak.
#[test]
fn plans_hold_what_holds_of_all() {
    let small = "reduce_bucket_size = 100000, stage3_param_persistence_threshold = 1000, \
                 stage3_max_reuse_distance = 0, stage3_prefetch_bucket_size = 200000";
    let plain = peak(&[]);
    for plan in [
        "data = N",
        "data = N, gradient_as_bucket_view = true",
        "fsdp = N",
        "fsdp = N, reshard_after_forward = false",
        "data = 2, fsdp = N",
        &format!("data = N, zero = 1, {small}"),
        &format!("data = N, zero = 2, {small}"),
        &format!("data = N, zero = 2, overlap_comm = true, {small}"),
        &format!("data = N, zero = 3, {small}"),
        "tensor = N",
        "tensor = N, sequence = true",
        "context = N",
        "pipeline = N",
        "pipeline = N, schedule = \"gpipe\"",
        "pipeline = 2, virtual_stages = 2",
        "pipeline = 2, schedule = \"zb-v\"",
        "pipeline = N, schedule = \"zb-h2\"",
        "pipeline = 2, schedule = \"dualpipe\"",
        "pipeline = 2, fsdp = N, tensor = 2",
    ] {
        let mut before = u64::MAX;
        for ranks in [2u64, 4] {
            let plan = plan.replace('N', &ranks.to_string());
            for more in [
                "",
                "train.grad_accumulation=4",
                "train.checkpoint=[\"decoder\"]",
                "train={ grad_accumulation = 8, checkpoint = [\"decoder\"], optimizer = \"adamw\" }",
                "train={ grad_accumulation = 8, offload = [\"activations\"], optimizer = \"sgd\" }",
            ] {
                let mut set = vec![
                    "cluster.devices_per_node=64".to_owned(),
                    format!("parallel={{ {plan} }}"),
                ];
                set.extend((!more.is_empty()).then(|| more.to_owned()));
                let found = with_facts(&set, |facts| {
                    let peak = facts.peak();
                    let parts: u64 = peak.parts.iter().map(|(_, bytes)| bytes.0).sum();
                    assert_eq!(parts, peak.bytes.0, "{set:?}");
                    let footprint = facts.footprint();
                    assert!(footprint.low <= footprint.total, "{set:?}");
                    assert!(footprint.total <= footprint.high, "{set:?}");
                    lives_as_it_ends(facts.timeline(), &set);
                    peak.bytes.0
                });
                if more.is_empty() {
                    let sharded = !plan.starts_with("data");
                    assert!(found <= before, "{set:?}: {found} after {before}");
                    assert!(!sharded || found < plain, "{set:?}: {found} of {plain}");
                    before = found;
                }
            }
        }
    }
}

/// What lives after the step is what lived before it.
fn lives_as_it_ends(inputs: Inputs<'_>, set: &[String]) {
    let Events(events) = run(inputs, Events::default());
    let sum = |start: bool| {
        events
            .iter()
            .filter(|event| !start || event.moment.phase == Phase::Start)
            .fold(0i128, |sum, event| match event.allocates {
                true => sum + i128::from(event.block.bytes),
                false => sum - i128::from(event.block.bytes),
            })
    };
    assert_eq!(sum(false), sum(true), "{set:?}");
}

/// Guards the order of the ZeRO stages, and that what stage 3 gathers follows its settings.
#[test]
fn later_stages_of_zero_hold_less() {
    let zero = |stage: u64, more: &str| {
        peak(&[
            "cluster.devices_per_node=8",
            &format!("parallel={{ data = 8, zero = {stage}, reduce_bucket_size = 1000{more} }}"),
        ])
    };
    let eager = ", stage3_max_reuse_distance = 0, stage3_prefetch_bucket_size = 0, \
                 stage3_param_persistence_threshold = 0";
    let (first, second, third) = (zero(1, ""), zero(2, ""), zero(3, eager));
    assert!(first > second && second > third, "{first} {second} {third}");
    // What is kept until it is used again is there for good.
    assert!(zero(3, "") > third);
    let ahead = eager.replace("prefetch_bucket_size = 0", "prefetch_bucket_size = 400000");
    assert!(zero(3, &ahead) > third);
    let bucket = zero(1, "") - 4 * 1000 + 4 * 9000;
    let larger = peak(&[
        "cluster.devices_per_node=8",
        "parallel={ data = 8, zero = 1, reduce_bucket_size = 9000 }",
    ]);
    assert!(larger <= bucket);
}

/// Guards the stages of a pipeline: the first holds most activations of 1F1B, and GPipe holds all
/// micro-batches everywhere.
#[test]
fn stages_hold_what_is_in_flight() {
    let stages = |schedule: &str, more: &str| {
        let set = [
            "cluster.devices_per_node=4".to_owned(),
            "train.grad_accumulation=8".to_owned(),
            "dims.vocab=16".to_owned(),
            "dims.seq=256".to_owned(),
            format!("parallel={{ pipeline = 4, schedule = \"{schedule}\"{more} }}"),
        ];
        with_facts(&set, |facts| {
            let peaks: Vec<u64> = facts.stage_peaks().iter().map(|bytes| bytes.0).collect();
            assert_eq!(
                peaks[facts.rank().unwrap().stage as usize],
                facts.peak().bytes.0
            );
            assert_eq!(peaks.iter().max(), Some(&facts.peak().bytes.0));
            peaks
        })
    };
    let one = stages("1f1b", "");
    assert!(one.windows(2).all(|pair| pair[0] > pair[1]), "{one:?}");
    let all = stages("gpipe", "");
    assert!(
        all.iter().zip(&one).all(|(all, one)| all > one),
        "{all:?} {one:?}"
    );
    // Activations grow with what is in flight: four, three, two and one micro-batches.
    let steps: Vec<u64> = one.windows(2).map(|pair| pair[0] - pair[1]).collect();
    let middle = steps[1] as f64;
    assert!((steps[0] as f64 / middle - 1.0).abs() < 0.2, "{steps:?}");
}
