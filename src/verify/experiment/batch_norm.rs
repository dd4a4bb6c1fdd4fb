//! One batch over several devices: whose statistics, and what comes of them.

use super::{Experiment, Picture, short};
use crate::lower::Model;
use crate::spec::Spec;

/// Count, mean and variance of a shard (of the population).
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(x: &[f64]) -> Moments {
        let count = x.len() as f64;
        let mean = x.iter().sum::<f64>() / count;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        Moments {
            count,
            mean,
            variance,
        }
    }

    /// Chan, Golub and LeVeque (1979): the moments of two parts together.
    fn merge(self, other: Moments) -> Moments {
        let count = self.count + other.count;
        let step = other.mean - self.mean;
        let squares = self.variance * self.count
            + other.variance * other.count
            + step * step * self.count * other.count / count;
        Moments {
            count,
            mean: self.mean + step * other.count / count,
            variance: squares / count,
        }
    }
}

const EPS: f64 = 1e-5;

/// The outputs of a shard under given moments, and the gradient of the loss `Σ w·y`.
///
/// If the moments follow from the elements, their gradients flow through them: `(g - mean(g) - y ·
/// mean(g·y)) / √(v + ε)`, with the means over what the moments are of.
fn normalised(x: &[f64], m: Moments) -> Vec<f64> {
    let scale = 1.0 / (m.variance + EPS).sqrt();
    x.iter().map(|x| (x - m.mean) * scale).collect()
}

fn gradient(w: &[f64], y: &[f64], m: Moments, means: Option<(f64, f64)>) -> Vec<f64> {
    let scale = 1.0 / (m.variance + EPS).sqrt();
    let (first, second) = means.unwrap_or((0.0, 0.0));
    w.iter()
        .zip(y)
        .map(|(w, y)| (w - first - y * second) * scale)
        .collect()
}

fn means(w: &[f64], y: &[f64]) -> (f64, f64) {
    let count = w.len() as f64;
    let products: f64 = w.iter().zip(y).map(|(w, y)| w * y).sum();
    (w.iter().sum::<f64>() / count, products / count)
}

/// The ways to combine the statistics of shards.
const WAYS: [&str; 6] = [
    "each its own",
    "merged, both ways",
    "merged forward only",
    "averages by size",
    "plain averages",
    "E[x²] - E[x]²",
];

pub(super) fn run(spec: &Spec, model: &Model, seed: u64) -> Result<Experiment, String> {
    let graph = &model.graph;
    let found = graph.nodes().find(|(_, node)| node.op.name == "batch_norm");
    let Some((_, node)) = found else {
        return Err("the model has no BatchNorm".to_owned());
    };
    let shape = graph.ty(node.arguments[0]).shape.sizes().to_vec();
    let batch = shape[0].clamp(2, 1024) as usize;
    let devices = spec.run.cluster.devices_per_node.or(8) * spec.run.cluster.nodes.or(1);
    let devices = (devices.max(2) as usize).min(batch);
    let mut random = fastrand::Rng::with_seed(seed);
    // A channel whose mean is large beside its deviation, and samples that differ by device.
    let x: Vec<f64> = (0..batch)
        .map(|at| 100.0 + 0.5 * (at * devices / batch) as f64 + random.f64())
        .collect();
    let w: Vec<f64> = (0..batch).map(|_| random.f64() * 2.0 - 1.0).collect();
    let even: Vec<usize> = (0..devices).map(|d| (d + 1) * batch / devices).collect();
    // The first device has as much as the others together.
    let rest = batch / 2;
    let uneven: Vec<usize> = (0..devices)
        .map(|d| batch - rest + d * rest / (devices - 1).max(1))
        .collect();
    let whole = Moments::of(&x);
    let y = normalised(&x, whole);
    let g = gradient(&w, &y, whole, Some(means(&w, &y)));
    let mut experiment = Experiment::new(
        "How far off is BatchNorm when one batch lies on several devices?",
        &[
            "shards",
            "statistics",
            "mean",
            "variance",
            "outputs",
            "gradients",
        ],
    );
    let mut values = Vec::new();
    let far = |a: &[f64], b: &[f64]| {
        a.iter()
            .zip(b)
            .fold(0.0f64, |most, (a, b)| most.max((a - b).abs()))
    };
    for (name, ends) in [("equal", &even), ("unequal", &uneven)] {
        let mut start = 0;
        let ranges: Vec<_> = ends
            .iter()
            .map(|&end| std::mem::replace(&mut start, end)..end)
            .filter(|range| !range.is_empty())
            .collect();
        let own: Vec<Moments> = ranges
            .iter()
            .map(|range| Moments::of(&x[range.clone()]))
            .collect();
        let merged = own.iter().copied().reduce(Moments::merge).unwrap_or(whole);
        let average = |weight: &dyn Fn(&Moments) -> f64| {
            let total: f64 = own.iter().map(weight).sum();
            Moments {
                count: whole.count,
                mean: own.iter().map(|m| weight(m) * m.mean).sum::<f64>() / total,
                variance: own.iter().map(|m| weight(m) * m.variance).sum::<f64>() / total,
            }
        };
        let squares = {
            let mean = x.iter().fold(0.0f32, |sum, &x| sum + x as f32) / batch as f32;
            let square = x.iter().fold(0.0f32, |sum, &x| sum + (x * x) as f32) / batch as f32;
            Moments {
                count: whole.count,
                mean: f64::from(mean),
                variance: f64::from((square - mean * mean).max(0.0)),
            }
        };
        for way in WAYS {
            let used: Vec<Moments> = match way {
                "each its own" => own.clone(),
                "averages by size" => {
                    vec![average(&|m| m.count); own.len()]
                }
                "plain averages" => vec![average(&|_| 1.0); own.len()],
                "E[x²] - E[x]²" => vec![squares; own.len()],
                _ => vec![merged; own.len()],
            };
            let shared = way != "each its own" && way != "merged forward only";
            let outputs: Vec<f64> = ranges
                .iter()
                .zip(&used)
                .flat_map(|(range, &m)| normalised(&x[range.clone()], m))
                .collect();
            let all = means(&w, &outputs);
            let gradients: Vec<f64> = ranges
                .iter()
                .zip(&used)
                .flat_map(|(range, &m)| {
                    let (w, y) = (&w[range.clone()], &outputs[range.clone()]);
                    let means = if shared { all } else { means(w, y) };
                    gradient(w, y, m, Some(means))
                })
                .collect();
            let mean = used
                .iter()
                .map(|m| (m.mean - whole.mean).abs())
                .fold(0.0, f64::max);
            let variance = used
                .iter()
                .map(|m| (m.variance - whole.variance).abs() / whole.variance)
                .fold(0.0, f64::max);
            let (outputs, gradients) = (far(&outputs, &y), far(&gradients, &g));
            values.push(gradients);
            experiment.rows.push(vec![
                name.to_owned(),
                way.to_owned(),
                short(mean),
                short(variance),
                short(outputs),
                short(gradients),
            ]);
        }
    }
    let merged = values[1].max(values[7]);
    experiment.expect(
        merged < 1e-9,
        "merged statistics give the outputs and gradients of one device, however the batch is dealt",
    );
    experiment.expect(
        values[2] > 1e-3,
        "statistics that are merged forward only give the right outputs and wrong gradients",
    );
    experiment.expect(
        values[3] > 1e-3,
        "the mean of the variances lacks the variance of the means, even over equal shards",
    );
    experiment.picture = Some(Picture {
        title: "largest difference of a gradient".to_owned(),
        values,
    });
    Ok(experiment)
}
