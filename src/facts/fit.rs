//! The largest sizes with which a run still fits into a device's memory or its budget.
//!
//! Memory at another size is found by lowering the spec at that size, so that it is exact for any
//! model; between sizes it is taken to rise. Imported models have one size only.

use smol_str::SmolStr;

use super::Facts;
use super::growth::dims;
use super::overhead::Estimate;
use super::timeline::{Highest, run};
use crate::diag::Sink;
use crate::formula::arithmetic::Number;
use crate::quantity::Bytes;

/// Times that a model is lowered at most for one dim.
const MOST_TRIALS: u32 = 48;
/// Dims that are tried.
const MOST_DIMS: usize = 3;

/// What a device must hold of tensors: at the peak of a step where it runs the whole model, else
/// what lives throughout.
pub fn needed(facts: &Facts<'_>) -> Bytes {
    let memory = facts.memory();
    let highest = Bytes(run(facts.timeline(), Highest::default()).bytes);
    match memory.degrees.is_whole() {
        true => memory.total.max(highest),
        false => highest,
    }
}

/// The largest size of a dim that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Largest {
    /// The dim.
    pub dim: SmolStr,
    /// Its size in the spec.
    pub size: i64,
    /// The largest size for which the tensors fit, 0 where none does.
    pub most: i64,
    /// The largest size for which they fit beside the most that overheads are estimated at.
    pub sure: i64,
}

/// The first free dim of the inputs, most often the batch, and its size.
pub fn first_dim(facts: &Facts<'_>) -> Option<(SmolStr, i64)> {
    let input = facts.spec.inputs.first()?;
    let name = input.axes.first()?.as_ref()?;
    let dim = (*facts.spec.dims.free_dims(name).first()?).clone();
    match facts.model.dims.get(&dim)? {
        Number::Integer(size) => Some((dim, size)),
        Number::Real(_) => None,
    }
}

/// For each free dim in the shapes of the inputs the largest size that fits into `limit`.
/// `O(dims · log size · size of the unfolded model)`.
pub fn largest(facts: &Facts<'_>, limit: Bytes, overheads: &[Estimate]) -> Vec<Largest> {
    let overhead: Bytes = overheads.iter().map(|estimate| estimate.high).sum();
    let of = |dim: SmolStr| {
        let Number::Integer(size) = facts.model.dims.get(&dim)? else {
            return None;
        };
        let mut sizes = Sizes {
            facts,
            dim: &dim,
            known: vec![(size, needed(facts))],
            trials: 0,
        };
        let most = sizes.largest(size, limit)?;
        let sure = sizes.largest(most.max(1), limit - overhead)?;
        Some(Largest {
            size,
            most,
            sure: sure.min(most),
            dim,
        })
    };
    if facts.graph().dag.node_count() == 0 {
        return Vec::new();
    }
    let dims = dims(facts.spec, facts.model);
    dims.into_iter().take(MOST_DIMS).filter_map(of).collect()
}

/// The memory at the sizes of a dim that were tried.
struct Sizes<'a> {
    facts: &'a Facts<'a>,
    dim: &'a SmolStr,
    known: Vec<(i64, Bytes)>,
    trials: u32,
}

impl Sizes<'_> {
    /// The memory at a size; `None` where the model cannot be built at it.
    fn at(&mut self, size: i64) -> Option<Bytes> {
        if let Some(&(_, bytes)) = self.known.iter().find(|(known, _)| *known == size) {
            return Some(bytes);
        }
        self.trials += 1;
        if self.trials > MOST_TRIALS {
            return None;
        }
        let mut sink = Sink::new();
        let model =
            self.facts
                .model
                .resized(self.facts.spec, &[(self.dim.clone(), size)], &mut sink);
        if sink.has_errors() {
            return None;
        }
        let bytes = needed(&Facts::new(self.facts.spec, &model));
        self.known.push((size, bytes));
        Some(bytes)
    }

    /// The largest size within `limit`: brackets it by doubling or halving, then goes where a
    /// straight line through the ends meets the limit, and to the middle in turn.
    fn largest(&mut self, start: i64, limit: Bytes) -> Option<i64> {
        let (mut low, mut high) = (0i64, start.max(1));
        while self.at(high)? <= limit {
            low = high;
            high = high.checked_mul(2)?;
        }
        let mut low_bytes = match low {
            0 => None,
            low => Some(self.at(low)?),
        };
        let mut straight = true;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let high_bytes = self.at(high)?;
            let guess = match low_bytes {
                Some(low_bytes) if straight && high_bytes > low_bytes => {
                    let share = (limit - low_bytes).as_f64() / (high_bytes - low_bytes).as_f64();
                    low + (share * (high - low) as f64) as i64
                }
                _ => middle,
            };
            let guess = guess.clamp(low + 1, high - 1);
            let bytes = self.at(guess)?;
            match bytes <= limit {
                true => (low, low_bytes) = (guess, Some(bytes)),
                false => high = guess,
            }
            // The neighbour of a good guess closes the bracket at once.
            if straight && bytes <= limit && high - low > 1 {
                match self.at(low + 1)? <= limit {
                    true => (low, low_bytes) = (low + 1, Some(self.at(low + 1)?)),
                    false => high = low + 1,
                }
            }
            straight = !straight;
        }
        Some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;
    use crate::lower::lower;

    const MLP: &str = r#"
spec = 1
[dims]
batch = 8
[inputs]
x = ["batch", 256]
[[layers]]
op = "linear"
out_features = 512
[[layers]]
op = "relu"
[[layers]]
op = "linear"
out_features = 64
[train]
optimizer = "adam"
"#;

    /// Scores that grow with the square of the sequence.
    const ATTENTION: &str = r#"
spec = 1
[model]
attention = "math"
[dims]
batch = 2
seq = 64
[inputs]
x = ["batch", "seq", 32]
[[layers]]
name = ["q", "k", "v"]
op = "linear"
out_features = 96
split = 3
[[layers]]
op = "attention"
in = ["q", "k", "v"]
heads = 4
[train]
optimizer = "sgd"
"#;

    fn at(text: &str, dim: &str, size: i64) -> Bytes {
        let (spec, _) = lowered(text);
        let model = lower(&spec, &[(dim.into(), size)], &mut Sink::new());
        needed(&Facts::new(&spec, &model))
    }

    /// The size found fits and the next one does not, whatever the limit and the growth.
    #[test]
    fn the_next_size_does_not_fit() {
        for text in [MLP, ATTENTION] {
            let (spec, model) = lowered(text);
            let facts = Facts::new(&spec, &model);
            let base = needed(&facts).0;
            for limit in [
                base / 2,
                base - 1,
                base,
                base + 1,
                3 * base,
                50 * base,
                1000 * base,
            ] {
                for found in largest(&facts, Bytes(limit), &[]) {
                    let Largest {
                        dim, most, sure, ..
                    } = found;
                    assert_eq!(most, sure);
                    let fits = |size: i64| at(text, &dim, size).0 <= limit;
                    assert!(most == 0 || fits(most), "{dim} {most} in {limit}");
                    assert!(!fits(most + 1), "{dim} {most} in {limit}");
                }
            }
        }
    }

    /// Guards the interval: overheads take from what is left for tensors.
    #[test]
    fn overheads_leave_less() {
        let (spec, model) = lowered(MLP);
        let facts = Facts::new(&spec, &model);
        let limit = Bytes(1 << 30);
        let overhead = Estimate {
            name: "context",
            low: Bytes::ZERO,
            bytes: Bytes(1 << 28),
            high: Bytes(1 << 29),
            how: String::new(),
            source: "",
            allocated: false,
        };
        let found = &largest(&facts, limit, &[overhead])[0];
        let half = &largest(&facts, Bytes(1 << 29), &[])[0];
        assert_eq!(found.sure, half.most);
        assert!(found.sure < found.most);
    }
}
