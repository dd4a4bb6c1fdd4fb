//! Masks that transformers builds only because it is being exported.
//!
//! Run eagerly, the library leaves a mask out that hides nothing, and says `is_causal` for one that
//! hides the future, so that attention runs in its fastest kernel. While a program is traced it
//! cannot know, and writes the mask as a comparison of positions. Here such a comparison is
//! recognised, and the mask is left out again. A mask of any other library is part of the model and
//! stays, as does one that depends on data, such as on the positions of packed sequences.

use rustc_hash::{FxHashMap, FxHashSet};

use super::arguments::{Arguments, Value};
use super::aten::Target;
use super::schema::Node;
use crate::graph::{Builder, Graph, TensorId};
use crate::ops::find;
use crate::tensor::Dtype;

/// Consecutive positions along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Positions {
    /// The axis, from the last one, which is 1.
    axis: usize,
    first: i64,
    count: i64,
}

/// What a mask shows of each query's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// All of them.
    Everything,
    /// Those up to the query's own position, of as many keys as queries.
    Past,
}

/// What is known of masks so far.
#[derive(Debug, Default)]
pub(super) struct Masks {
    positions: FxHashMap<TensorId, Positions>,
    patterns: FxHashMap<TensorId, Pattern>,
    /// For a mask that was repeated for each sample: that of one.
    narrow: FxHashMap<TensorId, TensorId>,
    /// Tensors that lack the axis of samples which the program states for them.
    slim: FxHashSet<TensorId>,
}

/// What becomes of a call.
pub(super) enum Simplified<'a> {
    /// It is made with these arguments.
    Arguments(Arguments<'a>),
    /// It hands this tensor on.
    Same(TensorId),
}

impl Masks {
    /// What becomes of a call that reads a mask which is left out.
    pub(super) fn simplify<'a>(
        &mut self,
        target: Target<'_>,
        arguments: &Arguments<'a>,
        builder: &mut Builder,
    ) -> Option<Simplified<'a>> {
        let known = |name: &str| {
            let id = arguments.tensor(name)?;
            Some((id, *self.patterns.get(&id)?))
        };
        match target.name {
            "scaled_dot_product_attention" => {
                let (_, pattern) = known("attn_mask")?;
                let kept = arguments.0.iter().filter(|(name, _)| {
                    *name != "attn_mask" && (*name != "is_causal" || pattern != Pattern::Past)
                });
                let mut kept = Arguments(kept.cloned().collect());
                if pattern == Pattern::Past {
                    kept.0.push(("is_causal", Value::Boolean(true)));
                }
                Some(Simplified::Arguments(kept))
            }
            // A bias of positions, with the mask laid over it.
            "where" => {
                let (mask, pattern) = known("condition")?;
                if pattern == Pattern::Everything {
                    return arguments.tensor("self").map(Simplified::Same);
                }
                // Eagerly each attention makes one for itself, for one sample.
                let narrow = self.narrow.get(&mask).copied().unwrap_or(mask);
                let clone = find("clone")?;
                let attributes = Default::default();
                let made = builder.apply(clone, &[narrow], attributes, None, 1).ok()?;
                self.slim.insert(made[0]);
                let mut arguments = arguments.clone();
                for (name, value) in &mut arguments.0 {
                    if *name == "condition" {
                        *value = Value::Tensor(made[0]);
                    }
                }
                Some(Simplified::Arguments(arguments))
            }
            _ => None,
        }
    }

    /// Whether one of the tensors lacks an axis of samples, and so may what is made of it.
    pub(super) fn are_slim(&self, operands: &[TensorId]) -> bool {
        !self.slim.is_empty() && operands.iter().any(|id| self.slim.contains(id))
    }

    /// Notes that a tensor lacks the axis of samples that the program states.
    pub(super) fn note_slim(&mut self, id: TensorId) {
        self.slim.insert(id);
    }

    /// Notes what a call has made, if that is positions or a mask of them.
    pub(super) fn note(
        &mut self,
        node: &Node,
        target: Target<'_>,
        arguments: &Arguments<'_>,
        made: TensorId,
        graph: &Graph,
    ) {
        if self.positions.is_empty() && target.name != "arange" {
            return;
        }
        let sizes = graph.ty(made).shape.sizes();
        if let Some(positions) = self.positions_of(target, arguments, sizes) {
            self.positions.insert(made, positions);
            return;
        }
        if graph.ty(made).dtype != Dtype::Bool {
            return;
        }
        let this = arguments.tensor("self");
        let pattern = match target.name {
            "le" | "lt" | "ge" | "gt" => self.compared(target.name, arguments).filter(|pattern| {
                is_of_transformers(node) && (*pattern == Pattern::Everything || is_square(sizes))
            }),
            "ones" | "new_ones" | "ones_like" => Some(Pattern::Everything),
            "__and__" | "bitwise_and" | "logical_and" => self.both(arguments),
            "expand" | "to" | "alias" | "contiguous" | "clone" | "_to_copy" => {
                let pattern = this.and_then(|id| self.patterns.get(&id)).copied();
                pattern.filter(|pattern| *pattern == Pattern::Everything || is_square(sizes))
            }
            _ => None,
        };
        let Some(pattern) = pattern else { return };
        self.patterns.insert(made, pattern);
        if let (true, Some(this)) = (target.name == "expand", this) {
            let narrow = self.narrow.get(&this).copied().unwrap_or(this);
            self.narrow.insert(made, narrow);
        }
    }

    fn positions_of(
        &self,
        target: Target<'_>,
        arguments: &Arguments<'_>,
        sizes: &[u64],
    ) -> Option<Positions> {
        let this = || self.positions.get(&arguments.tensor("self")?).copied();
        match target.name {
            "arange" => {
                let step = arguments.integer("step").unwrap_or(1);
                let count = i64::try_from(*sizes.first()?).ok()?;
                (step == 1).then_some(Positions {
                    axis: 1,
                    first: arguments.integer("start").unwrap_or(0),
                    count,
                })
            }
            "add" | "sub" => {
                let positions = this()?;
                let by = arguments.integer("other")?;
                let by = match (target.name, arguments.integer("alpha")) {
                    ("add", None | Some(1)) => by,
                    ("sub", None | Some(1)) => by.checked_neg()?,
                    _ => return None,
                };
                Some(Positions {
                    first: positions.first.checked_add(by)?,
                    ..positions
                })
            }
            "alias" | "to" | "_to_copy" | "clone" | "contiguous" => this(),
            "unsqueeze" | "view" | "reshape" | "squeeze" => {
                let positions = this()?;
                let mut long = (1..=sizes.len()).filter(|&at| sizes[sizes.len() - at] != 1);
                let axis = long.next()?;
                (long.next().is_none()).then_some(Positions { axis, ..positions })
            }
            _ => None,
        }
    }

    /// What a comparison of keys with queries, or with a number, shows.
    fn compared(&self, name: &str, arguments: &Arguments<'_>) -> Option<Pattern> {
        let left = *self.positions.get(&arguments.tensor("self")?)?;
        let last = left.first.checked_add(left.count)?.checked_sub(1)?;
        if let Some(number) = arguments.integer("other") {
            let holds = match name {
                "ge" => left.first >= number,
                "gt" => left.first > number,
                "le" => last <= number,
                _ => last < number,
            };
            return holds.then_some(Pattern::Everything);
        }
        let right = *self.positions.get(&arguments.tensor("other")?)?;
        // As a comparison of keys, along the last axis, with queries, along the one before.
        let (keys, queries, name) = match (left.axis, right.axis) {
            (1, 2) => (left, right, name),
            (2, 1) => {
                let turned = match name {
                    "le" => "ge",
                    "lt" => "gt",
                    "ge" => "le",
                    _ => "lt",
                };
                (right, left, turned)
            }
            _ => return None,
        };
        let ahead = queries.first.checked_sub(keys.first)?;
        let aligned = keys.count == queries.count;
        match name {
            "le" if aligned && ahead == 0 => Some(Pattern::Past),
            "lt" if aligned && ahead == 1 => Some(Pattern::Past),
            // A window that is wider than the sequence.
            "gt" | "ge" if ahead.checked_add(queries.count)? < 0 => Some(Pattern::Everything),
            _ => None,
        }
    }

    /// What both of two masks show.
    fn both(&self, arguments: &Arguments<'_>) -> Option<Pattern> {
        let pattern = |name| self.patterns.get(&arguments.tensor(name)?).copied();
        match (pattern("self")?, pattern("other")?) {
            (Pattern::Everything, other) => Some(other),
            (Pattern::Past, _) => Some(Pattern::Past),
        }
    }
}

/// Whether a call was made by the library's own code.
fn is_of_transformers(node: &Node) -> bool {
    let trace = node.metadata.get("stack_trace");
    let place = trace.and_then(|trace| trace.rsplit("File \"").next());
    place.is_some_and(|place| {
        let file = place.split('"').next().unwrap_or_default();
        file.split(['/', '\\']).any(|part| part == "transformers")
    })
}

fn is_square(sizes: &[u64]) -> bool {
    matches!(sizes, [.., queries, keys] if queries == keys)
}
