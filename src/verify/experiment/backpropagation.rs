//! Backpropagation through time: how time and memory grow with the steps, and what cutting the
//! gradient off changes.

use super::{Clock, Experiment, Picture, growth, short};
use crate::diag::Sink;
use crate::facts::Facts;
use crate::kernels::Setting;
use crate::lower::Model;
use crate::ops::AttributeValue;
use crate::quantity::Bytes;
use crate::spec::Spec;
use crate::verify::model::loss_seeds;
use crate::verify::run::{Plan, sources};

const STEPS: [i64; 4] = [16, 32, 64, 128];
const CUT: i64 = 8;

/// Seconds of a forward and a backward pass, bytes that live between them, and the FLOPs of the
/// backward pass.
fn measured(spec: &Spec, model: &Model, seed: u64, clock: &Clock<'_>) -> (f64, u64, u128) {
    let facts = Facts::new(spec, model);
    let plan = Plan {
        graph: &model.graph,
        liveness: facts.liveness(),
        dtypes: facts.dtypes(),
        storages: facts.storages(),
    };
    let drawn = sources(plan.graph, facts.ranges(), seed);
    let begun = clock();
    let pass = plan.forward(&drawn, Setting::exact(seed), &mut |_| {});
    let living: u64 = pass.kept().iter().map(|(_, bytes)| bytes).sum();
    let seeds = loss_seeds(plan.graph, &pass, &mut fastrand::Rng::with_seed(seed));
    let returned = pass.backward(seeds, &mut |_, _| {});
    (clock() - begun, living, 2 * returned.count.products)
}

pub(super) fn run(
    spec: &Spec,
    model: &Model,
    seed: u64,
    clock: &Clock<'_>,
) -> Result<Experiment, String> {
    if model.dims.get("steps").is_none() {
        return Err("the spec has no dim `steps`".to_owned());
    }
    let mut experiment = Experiment::new(
        "What do more steps cost?",
        &[
            "steps",
            "gradient",
            "milliseconds",
            "kept",
            "backward FLOPs",
        ],
    );
    let mut kept = Vec::new();
    let mut fits = [Vec::new(), Vec::new()];
    let mut flops = [Vec::new(), Vec::new()];
    let weights: u64 = Facts::new(spec, model).cost().parameter_bytes.0;
    for steps in STEPS {
        let mut sink = Sink::new();
        let whole = model.resized(spec, &[("steps".into(), steps)], &mut sink);
        if sink.has_errors() {
            return Err(format!("the model does not come out with {steps} steps"));
        }
        let mut cut = whole.clone();
        for node in cut.graph.dag.node_weights_mut() {
            if let Some(position) = node.op.attribute_position("bptt") {
                node.attributes.set(position, AttributeValue::Integer(CUT));
            }
        }
        for (at, (name, model)) in [("whole", &whole), ("cut after 8 steps", &cut)]
            .into_iter()
            .enumerate()
        {
            let (seconds, living, products) = measured(spec, model, seed, clock);
            fits[at].push((steps as f64, living as f64));
            flops[at].push((steps as f64, products as f64));
            kept.push(living as f64);
            experiment.rows.push(vec![
                steps.to_string(),
                name.to_owned(),
                short(seconds * 1e3),
                Bytes(living).to_string(),
                crate::quantity::group(products),
            ]);
        }
    }
    let (whole, cut) = (growth(&fits[0]), growth(&fits[1]));
    experiment.expect(
        (0.8..1.1).contains(&whole),
        format!(
            "what is kept grows with the steps to the power of {}",
            short(whole)
        ),
    );
    experiment.expect(
        cut < whole,
        format!(
            "cut off, it grows with the power of {}: inputs and outputs alone",
            short(cut)
        ),
    );
    let slope = growth(&flops[0]);
    experiment.expect(
        (0.9..1.1).contains(&slope),
        format!(
            "the backward pass takes FLOPs to the power of {} of the steps",
            short(slope)
        ),
    );
    experiment.conclusions.push(format!(
        "the weights are there once, {}, however many steps there are",
        Bytes(weights)
    ));
    experiment.picture = Some(Picture {
        title: "bytes kept".to_owned(),
        values: kept,
    });
    Ok(experiment)
}
