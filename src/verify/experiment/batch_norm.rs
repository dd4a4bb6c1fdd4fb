//! One batch over several devices: whose statistics, and what comes of them.
//!
//! What is computed here is what is predicted; `torch/` holds it against processes that really share
//! one batch.

use serde::Deserialize;

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

/// What is added to the variance.
pub const EPS: f64 = 1e-5;

/// A way to combine the statistics of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Each shard has its own.
    Own,
    /// One mean and variance of all, through which gradients flow.
    Merged,
    /// The same, with gradients that flow on their own device only.
    ForwardOnly,
    /// Means and variances averaged, weighted by the sizes of shards.
    BySize,
    /// Means and variances averaged, shard by shard.
    Plain,
    /// Sums of values and of squares in float32.
    Squares,
}

impl Way {
    /// All of them, in the order of tables.
    pub const ALL: [Way; 6] = [
        Way::Own,
        Way::Merged,
        Way::ForwardOnly,
        Way::BySize,
        Way::Plain,
        Way::Squares,
    ];

    /// What it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Way::Own => "each its own",
            Way::Merged => "merged, both ways",
            Way::ForwardOnly => "merged forward only",
            Way::BySize => "averages by size",
            Way::Plain => "plain averages",
            Way::Squares => "E[x²] - E[x]²",
        }
    }
}

/// What normalising a batch over devices gives: the statistics that each device used, and, over the
/// whole batch, outputs and the gradients of the loss `Σ w·y`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Normalised {
    /// The mean that each device subtracts.
    pub means: Vec<f64>,
    /// The variance that each device divides by.
    pub variances: Vec<f64>,
    /// The outputs.
    pub outputs: Vec<f64>,
    /// The gradients of the values.
    pub gradients: Vec<f64>,
}

/// How far something is from something else, at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// Of a mean.
    pub mean: f64,
    /// Of a variance, as a share of it.
    pub variance: f64,
    /// Of an output.
    pub outputs: f64,
    /// Of a gradient.
    pub gradients: f64,
}

impl Normalised {
    /// The largest differences from another; the other's statistics repeat over all devices. What
    /// is of another length is infinitely far.
    pub fn distance(&self, other: &Normalised) -> Distance {
        let far = |a: &[f64], b: &[f64], relative: bool| {
            if b.is_empty() || a.is_empty() || !a.len().is_multiple_of(b.len()) {
                return f64::INFINITY;
            }
            a.iter().zip(b.iter().cycle()).fold(0.0f64, |most, (a, b)| {
                let scale = if relative { b.abs() } else { 1.0 };
                match ((a - b) / scale).abs() {
                    far if far.is_nan() => f64::INFINITY,
                    far => most.max(far),
                }
            })
        };
        Distance {
            mean: far(&self.means, &other.means, false),
            variance: far(&self.variances, &other.variances, true),
            outputs: far(&self.outputs, &other.outputs, false),
            gradients: far(&self.gradients, &other.gradients, false),
        }
    }
}

impl Distance {
    /// The cells of a table.
    pub fn cells(&self) -> [String; 4] {
        [self.mean, self.variance, self.outputs, self.gradients].map(short)
    }

    /// The largest of all.
    pub fn most(&self) -> f64 {
        self.mean
            .max(self.variance)
            .max(self.outputs)
            .max(self.gradients)
    }
}

/// One channel of a batch, and how it is dealt to devices.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The values.
    pub x: Vec<f64>,
    /// What the loss weighs outputs by.
    pub w: Vec<f64>,
    /// Ways to deal it: a name, and where the shard of each device ends.
    pub dealt: Vec<(&'static str, Vec<usize>)>,
}

impl Batch {
    /// A batch of the size that the model's BatchNorm reads, dealt to devices, no more than there
    /// are samples.
    ///
    /// # Errors
    /// Without a BatchNorm, or with fewer than two samples.
    pub fn of(model: &Model, devices: u64, seed: u64) -> Result<Batch, String> {
        let graph = &model.graph;
        let found = graph.nodes().find(|(_, node)| node.op.name == "batch_norm");
        let Some((_, node)) = found else {
            return Err("the model has no BatchNorm".to_owned());
        };
        let batch = graph.ty(node.arguments[0]).shape.size(0).unwrap_or(0);
        if batch < 2 {
            return Err("its BatchNorm reads one sample only".to_owned());
        }
        let batch = batch.min(1024) as usize;
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
        let dealt = vec![("equal", even), ("unequal", uneven)];
        Ok(Batch { x, w, dealt })
    }

    /// The size of the smallest shard.
    pub fn smallest(&self) -> usize {
        let shards = self.dealt.iter().flat_map(|(_, ends)| {
            let starts = std::iter::once(&0).chain(ends);
            ends.iter().zip(starts).map(|(end, start)| end - start)
        });
        shards.min().unwrap_or(0)
    }

    /// The whole batch on one device.
    pub fn whole(&self) -> Normalised {
        self.normalised(&[self.x.len()], Way::Own)
    }

    /// The batch over devices whose shards end there.
    ///
    /// Gradients are those of the outputs as a function of all values, which for a shard of `n`
    /// values, weighing `a` in a statistic, are `(w - a/n · Σw - a/n · Σ(w·y) · d) / √(v + ε)`. The
    /// sums are over all devices that share the statistic, and `d` is how far a value lies from
    /// what its variance is of, in the same units as `y`.
    pub fn normalised(&self, ends: &[usize], way: Way) -> Normalised {
        let mut start = 0;
        let ranges: Vec<_> = ends
            .iter()
            .map(|&end| std::mem::replace(&mut start, end)..end)
            .filter(|range| !range.is_empty())
            .collect();
        let own: Vec<Moments> = ranges
            .iter()
            .map(|range| Moments::of(&self.x[range.clone()]))
            .collect();
        let whole = Moments::of(&self.x);
        let merged = own.iter().copied().reduce(Moments::merge).unwrap_or(whole);
        let weight = |m: &Moments| match way {
            Way::Plain => 1.0 / own.len() as f64,
            _ => m.count / whole.count,
        };
        let average = Moments {
            count: whole.count,
            mean: own.iter().map(|m| weight(m) * m.mean).sum(),
            variance: own.iter().map(|m| weight(m) * m.variance).sum(),
        };
        let used = |own: Moments| match way {
            Way::Own => own,
            Way::Merged | Way::ForwardOnly => merged,
            Way::BySize | Way::Plain => average,
            Way::Squares => self.squares(),
        };
        let mut result = Normalised::default();
        for (range, &own) in ranges.iter().zip(&own) {
            let m = used(own);
            let scale = 1.0 / (m.variance + EPS).sqrt();
            let x = self.x[range.clone()].iter();
            result.outputs.extend(x.map(|x| (x - m.mean) * scale));
            result.means.push(m.mean);
            result.variances.push(m.variance);
        }
        let sums = |range: std::ops::Range<usize>| {
            let pairs = self.w[range.clone()].iter().zip(&result.outputs[range]);
            pairs.fold((0.0, 0.0), |(first, second), (w, y)| {
                (first + w, second + w * y)
            })
        };
        let all = sums(0..self.x.len());
        let mut gradients = Vec::with_capacity(self.x.len());
        for (range, &own) in ranges.iter().zip(&own) {
            let m = used(own);
            let scale = 1.0 / (m.variance + EPS).sqrt();
            let ((first, second), share) = match way {
                Way::Own | Way::ForwardOnly => (sums(range.clone()), 1.0 / own.count),
                _ => (all, weight(&own) / own.count),
            };
            // An average of variances is of how far values lie from the means of their shards.
            let centre = match way {
                Way::BySize | Way::Plain => own.mean,
                _ => m.mean,
            };
            for at in range.clone() {
                let away = (self.x[at] - centre) * scale;
                gradients.push((self.w[at] - share * first - share * second * away) * scale);
            }
        }
        result.gradients = gradients;
        result
    }

    /// Moments from sums of values and of squares in float32.
    fn squares(&self) -> Moments {
        let count = self.x.len() as f32;
        let sum = |f: fn(f64) -> f32| self.x.iter().fold(0.0f32, |sum, &x| sum + f(x));
        let (mean, square) = (sum(|x| x as f32) / count, sum(|x| (x * x) as f32) / count);
        Moments {
            count: f64::from(count),
            mean: f64::from(mean),
            variance: f64::from((square - mean * mean).max(0.0)),
        }
    }
}

pub(super) fn run(spec: &Spec, model: &Model, seed: u64) -> Result<Experiment, String> {
    let cluster = &spec.run.cluster;
    let devices = cluster.devices_per_node.or(8) * cluster.nodes.or(1);
    let batch = Batch::of(model, devices, seed)?;
    let whole = batch.whole();
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
    let mut found = Vec::new();
    for (name, ends) in &batch.dealt {
        for way in Way::ALL {
            let distance = batch.normalised(ends, way).distance(&whole);
            let mut row = vec![(*name).to_owned(), way.name().to_owned()];
            row.extend(distance.cells());
            experiment.rows.push(row);
            found.push((way, distance));
        }
    }
    conclude(&mut experiment, &found);
    Ok(experiment)
}

/// What the distances from one device's result say, and their picture; the first of a way is over
/// equal shards.
pub fn conclude(experiment: &mut Experiment, found: &[(Way, Distance)]) {
    let of = |way: Way| found.iter().filter(move |(other, _)| *other == way);
    let merged = of(Way::Merged).fold(0.0f64, |most, (_, far)| {
        most.max(far.outputs).max(far.gradients)
    });
    let first = |way: Way| of(way).next().map_or(0.0, |(_, far)| far.gradients);
    experiment.expect(
        merged < 1e-9,
        "merged statistics give the outputs and gradients of one device, however the batch is dealt",
    );
    experiment.expect(
        first(Way::ForwardOnly) > 1e-3,
        "statistics that are merged forward only give the right outputs and wrong gradients",
    );
    experiment.expect(
        first(Way::BySize) > 1e-3,
        "the mean of the variances lacks the variance of the means, even over equal shards",
    );
    experiment.picture = Some(Picture {
        title: "largest difference of a gradient".to_owned(),
        values: found.iter().map(|(_, far)| far.gradients).collect(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the gradients that are predicted: each way's are the differences of its outputs.
    #[test]
    fn gradients_are_those_of_the_outputs() {
        let (_, model) = crate::facts::fixture::lowered(
            "spec = 1\n[inputs]\nx = [12, 3]\n[[layers]]\nname = \"y\"\nop = \"batch_norm\"\n",
        );
        let batch = Batch::of(&model, 3, 1).unwrap();
        let loss = |x: &[f64], ends: &[usize], way: Way| -> f64 {
            let moved = Batch {
                x: x.to_vec(),
                ..batch.clone()
            };
            let outputs = moved.normalised(ends, way).outputs;
            outputs.iter().zip(&batch.w).map(|(y, w)| w * y).sum()
        };
        for (name, ends) in &batch.dealt {
            for way in [Way::Own, Way::Merged, Way::BySize, Way::Plain] {
                let gradients = batch.normalised(ends, way).gradients;
                for (at, gradient) in gradients.iter().enumerate() {
                    let step = 1e-5;
                    let mut x = batch.x.clone();
                    x[at] += step;
                    let above = loss(&x, ends, way);
                    x[at] -= 2.0 * step;
                    let slope = (above - loss(&x, ends, way)) / (2.0 * step);
                    assert!(
                        (slope - gradient).abs() < 1e-5,
                        "{name}, {way:?}: {slope} and {gradient}"
                    );
                }
            }
        }
    }
}
