//! What the lines of the engine come to.

use super::{Plan, Replicas, Run, Trial, request, verification};
use crate::facts::Facts;
use crate::facts::fixture::lowered;
use crate::spec::run::ExperimentKind;
use crate::verify::experiment::Experiment;
use crate::verify::experiment::batch_norm::Batch;
use crate::verify::{Claim, Tally, Verification};

const SPEC: &str = r#"
spec = 1

[model]
name = "small"

[inputs]
x = [2, 3]

[[layers]]
name = "y"
op = "linear"
out_features = 4

[[layers]]
name = "loss"
op = "mean"
"#;

const FIRST: &str = r#"{"version": 1, "torch": "2.0"}"#;
const LAST: &str = r#"{"done": true}"#;

fn held(lines: &[&str]) -> Result<Verification, String> {
    let (spec, model) = lowered(SPEC);
    let run = Run::of(&spec, &model, true);
    let facts = Facts::new(&spec, &model);
    verification(&spec, &facts, &run, None, &lines.join("\n")).map(|(found, _)| found)
}

fn tally(of: &Verification, claim: Claim) -> Tally {
    let found = of.tallies.iter().find(|(other, _)| *other == claim);
    found.map(|(_, tally)| tally.clone()).unwrap()
}

/// Guards what the engine is for: figures that differ are contradicted, and the others are not.
#[test]
fn a_wrong_figure_is_contradicted() {
    let parameters = r#"{"claim": "parameters", "parameters": 16, "trainable": 15, "buffers": 0}"#;
    let flops = r#"{"claim": "forward", "flops": 48}"#;
    let backward = r#"{"claim": "backward", "unchecked": "no GPU"}"#;
    let found = held(&[FIRST, parameters, flops, backward, LAST]).unwrap();
    let counts = tally(&found, Claim::Parameters);
    assert_eq!(counts.confirmed, 2);
    assert_eq!(counts.contradicted[0].found, "15 trained parameters");
    assert_eq!(tally(&found, Claim::Flops).confirmed, 1);
    let unchecked = tally(&found, Claim::BackwardFlops).unchecked;
    assert_eq!(unchecked, [("no GPU".to_owned(), 1)]);
    // What no answer speaks of is not passed over.
    assert_eq!(tally(&found, Claim::Shape).unchecked.len(), 1);
    assert!(found.is_contradicted());
}

/// Guards against taking noise, other versions and half an answer for one.
#[test]
fn what_is_no_answer_is_refused() {
    for (lines, expected) in [
        (vec![], "nothing was answered"),
        (vec!["hello"], "line 1 of the answer is no answer"),
        (vec![r#"{"version": 2}"#, LAST], "not of version 1"),
        (vec![FIRST], "stops before its end"),
        (
            vec![r#"{"error": "No module named 'torch'"}"#],
            "No module named",
        ),
    ] {
        let why = held(&lines).unwrap_err();
        assert!(why.contains(expected), "{why}");
    }
}

const NORM: &str = r#"
spec = 1

[dims]
batch = 8

[inputs]
x = ["batch", 3]

[[layers]]
name = "y"
op = "batch_norm"

[train]
optimizer = { name = "sgd", lr = 0.5, momentum = 0.9, weight_decay = 0.1 }
"#;

/// What two processes that share a batch of BatchNorm answered.
fn shared(lines: &[String]) -> Result<(Verification, Option<Experiment>), String> {
    let (spec, model) = lowered(NORM);
    let plan = Plan {
        processes: 2,
        cuda: false,
        seconds: 60,
        seed: 1,
        batch: Some(Batch::of(&model, 2, 1).unwrap()),
        replicas: Replicas::of(&spec, &model, 2),
    };
    let run = Run::of(&spec, &model, false);
    let facts = Facts::new(&spec, &model);
    let all: Vec<&str> = std::iter::once(FIRST)
        .chain(lines.iter().map(String::as_str))
        .chain([LAST])
        .collect();
    verification(&spec, &facts, &run, Some(&plan), &all.join("\n"))
}

/// Answers about shards as they are predicted, with the outputs of one way moved by `error`.
fn shards(error: f64) -> Vec<String> {
    let (_, model) = lowered(NORM);
    let batch = Batch::of(&model, 2, 1).unwrap();
    let mut lines = Vec::new();
    for (dealt, ends) in &batch.dealt {
        for way in super::team::WAYS {
            let mut found = batch.normalised(ends, way);
            found.outputs[3] += error;
            let found = serde_json::json!({
                "means": found.means, "variances": found.variances,
                "outputs": found.outputs, "gradients": found.gradients,
            });
            let answer = serde_json::json!({
                "claim": "shards", "dealt": dealt, "way": way.name(), "found": found,
            });
            lines.push(answer.to_string());
        }
    }
    lines
}

/// Guards what processes are for: each of their figures is held to its claim, the right way round.
#[test]
fn what_processes_find_is_held() {
    let right = [
        r#"{"claim": "averaged", "difference": 1e-15}"#,
        r#"{"claim": "statistics", "merged": 1e-15, "own": 0.3}"#,
        r#"{"claim": "own", "difference": 0.2}"#,
        r#"{"claim": "whole", "norms": 1, "difference": 1e-14}"#,
        r#"{"claim": "sum", "ratio": 0.5, "difference": 1e-14}"#,
        r#"{"claim": "added", "ratio": 2.0, "difference": 1e-14}"#,
        r#"{"claim": "step", "lr": 0.5, "difference": 1e-14}"#,
        r#"{"claim": "unequal", "sizes": [12, 4], "plain": 0.3, "weighed": 1e-14}"#,
    ];
    let lines = |team: &[&str]| -> Vec<String> {
        let team = team.iter().map(|&line| line.to_owned());
        team.chain(shards(0.0)).collect()
    };
    let (found, experiment) = shared(&lines(&right)).unwrap();
    assert!(!found.is_contradicted(), "{:?}", found.tallies);
    for (claim, times) in [
        (Claim::Averaging, 1),
        (Claim::Statistics, 2),
        (Claim::Synchronised, 1),
        (Claim::Reduction, 2),
        (Claim::LearningRate, 3),
    ] {
        assert_eq!(tally(&found, claim).confirmed, times, "{claim:?}");
    }
    let experiment = experiment.unwrap();
    assert_eq!(experiment.rows.len(), 10);
    assert!(experiment.contradictions.is_empty(), "{experiment:?}");
    for wrong in [
        r#"{"claim": "averaged", "difference": 0.1}"#,
        r#"{"claim": "statistics", "merged": 0.1, "own": 0.3}"#,
        r#"{"claim": "own", "difference": 0.0}"#,
        r#"{"claim": "whole", "norms": 1, "difference": 0.1}"#,
        r#"{"claim": "sum", "ratio": 1.0, "difference": 1e-14}"#,
        r#"{"claim": "added", "ratio": 1.0, "difference": 1e-14}"#,
        r#"{"claim": "step", "lr": 0.5, "difference": 0.5}"#,
        r#"{"claim": "unequal", "sizes": [12, 4], "plain": 0.3, "weighed": 0.3}"#,
    ] {
        let (found, _) = shared(&lines(&[wrong])).unwrap();
        assert!(found.is_contradicted(), "{wrong}");
    }
}

/// Guards the experiment: what differs from its prediction is contradicted, what is missing is an
/// error, and processes that end early give their reason.
#[test]
fn shards_are_held_to_what_is_predicted() {
    let (_, experiment) = shared(&shards(1e-3)).unwrap();
    assert_eq!(experiment.unwrap().contradictions.len(), 10 + 1);
    let why = shared(&shards(0.0)[1..]).unwrap_err();
    assert!(why.contains("equal shards, each its own"), "{why}");
    let ended = r#"{"claim": "team", "unchecked": "no room"}"#.to_owned();
    assert_eq!(shared(&[ended]).unwrap_err(), "no room");
}

/// Guards the request: what processes need is in it, and the optimizer as PyTorch takes it.
#[test]
fn processes_are_asked() {
    let (spec, model) = lowered(NORM);
    let replicas = Replicas::of(&spec, &model, 3);
    assert_eq!(replicas.as_ref().map(|found| found.batch), Ok(8));
    let plan = Plan {
        processes: 3,
        cuda: true,
        seconds: 60,
        seed: 1,
        batch: None,
        replicas,
    };
    let run = Run::of(&spec, &model, false);
    let facts = Facts::new(&spec, &model);
    let sizes = |model: &crate::lower::Model| {
        let graph = &model.graph;
        graph.ty(graph.inputs[0].1).to_string()
    };
    let text = request(&spec, &facts, &run, Some(&plan), &sizes);
    let asked: serde_json::Value = serde_json::from_str(&text).unwrap();
    let team = &asked["team"];
    assert_eq!(team["nproc"], 3);
    assert_eq!(team["device"], "cuda");
    assert!(team["shards"].is_null());
    assert_eq!(team["replicas"]["source"], "float32 [8, 3]");
    assert_eq!(team["replicas"]["whole"], "float32 [24, 3]");
    assert_eq!(team["replicas"]["norms"], true);
    assert_eq!(team["replicas"]["lr"], 0.5);
    assert_eq!(asked["optimizer"]["name"], "SGD");
    assert_eq!(asked["optimizer"]["arguments"]["momentum"], 0.9);
    assert_eq!(asked["optimizer"]["arguments"]["foreach"], true);
    assert_eq!(asked["step"]["device"], "cpu");
}

/// Guards models that replicas cannot share: the reason is told, not left out.
#[test]
fn what_replicas_cannot_share_is_told() {
    let drawn = NORM.replace("op = \"batch_norm\"", "formula = \"x * rand([batch, 3])\"");
    for (text, expected) in [
        (drawn, "draws numbers"),
        (NORM.replace("[\"batch\", 3]", "[3, \"batch\"]"), "no dim"),
    ] {
        let (spec, model) = lowered(&text);
        let why = Replicas::of(&spec, &model, 2).err().unwrap();
        assert!(why.contains(expected), "{why}");
    }
}

/// Guards the peak: a percent away is still the tracker's, more is not; an optimizer that
/// `torch.optim` lacks is no reason to contradict.
#[test]
fn a_peak_is_held_within_a_percent() {
    let held = |text: &str, factor: f64| {
        let (spec, model) = lowered(text);
        let facts = Facts::new(&spec, &model);
        let run = Run::of(&spec, &model, true);
        let bytes = (facts.peak().bytes.0 as f64 * factor) as u64;
        let peak = format!(r#"{{"claim": "peak", "peak": {bytes}}}"#);
        let lines = [FIRST, &peak, LAST].join("\n");
        let (found, _) = verification(&spec, &facts, &run, None, &lines).unwrap();
        tally(&found, Claim::Peak)
    };
    let large = NORM.replace("3]", "100_000]");
    assert_eq!(held(&large, 1.005).confirmed, 1);
    assert_eq!(held(&large, 1.1).contradicted.len(), 1);
    assert_eq!(held(NORM, 1.1).unchecked.len(), 1);
    let lion = large
        .replace("\"sgd\"", "\"lion\"")
        .replace("momentum = 0.9, ", "");
    assert_eq!(held(&lion, 1.0).unchecked.len(), 1);
}

/// Guards layers that are recomputed: their forward pass is a part of the backward pass, and PyTorch
/// is told to look at what lives, which no hook sees.
#[test]
fn what_is_recomputed_is_held() {
    let text = r#"
spec = 1
[inputs]
x = [2, 3]
[blocks.twice]
inputs = ["x"]
layers = [{ op = "linear", out_features = 3 }, { op = "linear", out_features = 3 }]
[[layers]]
name = "deep"
op = "twice"
repeat = 2
[[layers]]
name = "loss"
op = "mean"
[train]
checkpoint = ["twice"]
"#;
    let (spec, model) = lowered(text);
    let facts = Facts::new(&spec, &model);
    let run = Run::of(&spec, &model, false);
    let asked = request(&spec, &facts, &run, None, &|_| String::new());
    assert!(asked.contains(r#""recomputed":true"#), "{asked}");
    let held = |flops: u128, bytes: u64| {
        let backward = format!(r#"{{"claim": "backward", "flops": {flops}}}"#);
        let kept = format!(r#"{{"claim": "kept", "bytes": {bytes}}}"#);
        let lines = [FIRST, &backward, &kept, LAST].join("\n");
        let (found, _) = verification(&spec, &facts, &run, None, &lines).unwrap();
        [Claim::BackwardFlops, Claim::Kept].map(|claim| tally(&found, claim).confirmed)
    };
    // Four products of 2·2·3·3 FLOPs are repeated; their gradients are two products each, but for
    // that of the input. Kept are the inputs of both layers.
    assert_eq!(held(36 * 4 + 36 * 7, 2 * 24), [1, 1]);
    assert_eq!(held(36 * 7, 4 * 24), [0, 0]);
}

/// Guards recurrent layers: what they keep is held taken apart, and of one whose gradient stops
/// early, which no module can be written for, nothing is contradicted.
#[test]
fn recurrent_layers_are_held_taken_apart() {
    let text = |more: &str| {
        format!(
            "spec = 1\n[inputs]\nx = [8, 2, 3]\n[[layers]]\nname = \"y\"\nop = \"rnn\"\n\
             hidden_size = 4\n{more}[[layers]]\nname = \"loss\"\nformula = \"mean(y)\"\n"
        )
    };
    let held = |more: &str, kept: &str| {
        let (spec, model) = lowered(&text(more));
        let facts = Facts::new(&spec, &model);
        let run = Run::of(&spec, &model, false);
        let lines = [FIRST, kept, LAST].join("\n");
        let (found, _) = verification(&spec, &facts, &run, None, &lines).unwrap();
        tally(&found, Claim::Kept)
    };
    let bytes = {
        let (spec, model) = lowered(&text(""));
        let facts = Facts::new(&spec, &model);
        assert_ne!(super::taken_apart(&facts), facts.saved().total());
        super::taken_apart(&facts)
    };
    let apart = format!(r#"{{"claim": "kept", "bytes": {bytes}, "apart": true}}"#);
    let fused = format!(r#"{{"claim": "kept", "bytes": {bytes}}}"#);
    assert_eq!(held("", &apart).confirmed, 1);
    assert_eq!(held("", &fused).contradicted.len(), 1);
    let truncated = held("bptt = 2\n", &apart);
    assert_eq!(truncated.unchecked.len(), 1);
    assert!(truncated.contradicted.is_empty());
}

/// Guards experiments: what PyTorch finds is held to what is predicted, case by case, and a run that
/// breaks off gives its reason.
#[test]
fn experiments_are_held_to_what_is_predicted() {
    let text = "spec = 1\n[params]\nA = [2, 3]\nB = [3, 4]\nC = [4, 5]\n\
                [[layers]]\nname = \"y\"\nformula = \"A @ B @ C\"\n";
    let (spec, model) = lowered(text);
    let facts = Facts::new(&spec, &model);
    let mut run = Run::of(&spec, &model, false);
    run.trial = Trial::of(ExperimentKind::Order, &model, 1, false).unwrap();
    let asked = request(&spec, &facts, &run, None, &|_| String::new());
    let asked: serde_json::Value = serde_json::from_str(&asked).unwrap();
    let trees = asked["experiment"]["asked"]["trees"].to_string();
    assert_eq!(trees, "[[0,[1,2]],[[0,1],2]]");
    let held = |lines: &[&str]| {
        let all = [&[FIRST], lines, &[LAST]].concat().join("\n");
        let (found, table) = verification(&spec, &facts, &run, None, &all).unwrap();
        (tally(&found, Claim::Experiment), table)
    };
    // 3·4·5 + 2·3·5 and 2·3·4 + 2·4·5 multiplications, two FLOPs each.
    let right =
        r#"{"claim": "experiment", "trial": {"flops": 180, "error": 1e-7, "magnitude": 2}}"#;
    let left = r#"{"claim": "experiment", "trial": {"flops": 128, "error": 1e-7, "magnitude": 2}}"#;
    let (found, table) = held(&[right, left]);
    assert_eq!((found.confirmed, found.contradicted.len()), (4, 0));
    assert_eq!(table.unwrap().rows.len(), 2);
    assert_eq!(held(&[left, right]).0.contradicted.len(), 2);
    let coarse = right.replace("1e-7", "1e-5");
    assert_eq!(held(&[&coarse, left]).0.contradicted.len(), 1);
    let ended = r#"{"claim": "experiment", "unchecked": "no room"}"#;
    let (found, table) = held(&[right, ended]);
    assert_eq!(found.unchecked, [("no room".to_owned(), 1)]);
    assert!(table.is_none());
}
