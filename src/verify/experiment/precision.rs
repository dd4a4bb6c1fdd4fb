//! What a network's outputs lose in each element type and under quantisation, layer by layer.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::{Experiment, Picture, short};
use crate::facts::Facts;
use crate::graph::{NodeId, TensorKind};
use crate::kernels::{Array, Setting, round};
use crate::lower::Model;
use crate::spec::Spec;
use crate::tensor::Dtype;
use crate::verify::rounding::{evenly, layers, relative_error};
use crate::verify::run::{Plan, Sources, sources};

/// The types that are compared, and int8 weights with one scale for each row.
const TYPES: [(&str, Option<Dtype>); 5] = [
    ("float32", Some(Dtype::Float32)),
    ("bfloat16", Some(Dtype::Bfloat16)),
    ("float16", Some(Dtype::Float16)),
    ("float8_e4m3fn", Some(Dtype::Float8E4m3fn)),
    ("int8 weights", None),
];

/// A weight as its nearest int8 multiples of a scale, the greatest magnitude of each row over 127.
fn quantised(weight: &Array) -> Array {
    let mut result = weight.clone();
    if result.ndim() < 2 {
        return result;
    }
    for mut row in result.outer_iter_mut() {
        let scale = row.iter().fold(0.0f64, |most, x| most.max(x.abs())) / 127.0;
        if scale > 0.0 {
            row.mapv_inplace(|x| (x / scale).round_ties_even() * scale);
        }
    }
    result
}

fn values(plan: Plan<'_>, sources: &Sources, setting: Setting) -> FxHashMap<NodeId, Rc<Array>> {
    let mut values = FxHashMap::default();
    plan.forward(sources, setting, &mut |seen| {
        values.insert(seen.node, Rc::clone(&seen.outputs[0]));
    });
    values
}

pub(super) fn run(spec: &Spec, model: &Model, seed: u64) -> Result<Experiment, String> {
    let graph = &model.graph;
    let facts = Facts::new(spec, model);
    let plan = Plan {
        graph,
        liveness: facts.liveness(),
        dtypes: facts.dtypes(),
        storages: facts.storages(),
    };
    let drawn = sources(graph, facts.ranges(), seed);
    let exact = values(plan, &drawn, Setting::exact(seed));
    let layers = layers(plan);
    if layers.is_empty() {
        return Err("no layer of the model has weights".to_owned());
    }
    let shown = evenly(&layers);
    let mut columns = vec!["layer", "op"];
    columns.extend(TYPES.iter().map(|(name, _)| *name));
    let mut experiment = Experiment::new("What do outputs lose, layer by layer?", &columns);
    let mut losses: Vec<Vec<f64>> = Vec::new();
    for (_, dtype) in TYPES {
        let mut sources = drawn.clone();
        for (&id, array) in &mut sources {
            let parameter = matches!(graph.tensor(id).kind, TensorKind::Parameter(_));
            let float = graph.ty(id).dtype.is_float();
            *array = match dtype {
                Some(dtype) if float => Rc::new(array.mapv(|x| round(dtype, x))),
                None if parameter && float => Rc::new(quantised(array)),
                _ => Rc::clone(array),
            };
        }
        let setting = Setting {
            stored: dtype,
            ..Setting::exact(seed)
        };
        let found = values(plan, &sources, setting);
        let loss = |id: &NodeId| match (exact.get(id), found.get(id)) {
            (Some(a), Some(b)) => relative_error(a, b),
            _ => f64::NAN,
        };
        losses.push(shown.iter().map(loss).collect());
    }
    for (at, &id) in shown.iter().enumerate() {
        let node = graph.node(id);
        let mut row = vec![graph.layer_path(node.layer), node.op.name.to_owned()];
        row.extend(losses.iter().map(|loss| short(loss[at])));
        experiment.rows.push(row);
    }
    let last = |at: usize| losses[at].last().copied().unwrap_or(f64::NAN);
    experiment.expect(
        last(0) < last(1) && last(1) < last(3),
        "at the end, float32 loses least, bfloat16 more, float8 most of the three",
    );
    experiment.conclusions.push(format!(
        "relative to float64, the last layer's output is off by {} in bfloat16, {} in float16 and {} with int8 weights",
        short(last(1)),
        short(last(2)),
        short(last(4))
    ));
    experiment.picture = Some(Picture {
        title: "relative error in bfloat16".to_owned(),
        values: losses[1].clone(),
    });
    Ok(experiment)
}
