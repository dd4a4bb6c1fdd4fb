//! Ranges of values: sound intervals of every tensor, on the grid of its element type.
//!
//! Inputs and parameters have the range that the spec declares, or any finite value. A node's
//! range follows from those of its operands by the op's transfer function, cut by relations that
//! intervals alone cannot see (`relation`), and its ends are rounded as the element type rounds:
//! rounding never falls, so what lies between the ends before lies between them after. Reductions
//! and products get slack for the rounding of each step, `n·u` of the greatest magnitude; where
//! the type is a half, for accumulation in float32. The types are those at which ops run, under
//! `torch.autocast` too.
//!
//! What is left out: elementary functions are taken to be rounded correctly, and where an operand
//! has no bound, the result is taken not to overflow. Where an operation may make an infinity or
//! NaN, that operation's range says so; what depends on it is `tainted`, and has a range only
//! under the assumption that the infinity did not happen.

mod relation;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::idiom::Idioms;
use super::precision::NodeDtypes;
use super::values::Values;
use crate::graph::{Graph, TensorId, TensorKind};
use crate::lower::Model;
use crate::ops::Call;
use crate::spec::Spec;
use crate::tensor::{Dtype, FloatFormat, Interval};

/// What is known of the values of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    interval: Interval,
    /// Whether the range rests on declared ranges and constants alone, so that its ends can be
    /// expected to be reached or nearly so.
    pub declared: bool,
    /// Whether the tensor depends on one that may be infinite or NaN.
    pub tainted: bool,
}

impl Known {
    const NOTHING: Known = Known {
        interval: Interval::REAL,
        declared: false,
        tainted: true,
    };

    /// A range that holds in any case: anything, where an infinity or NaN may have come before.
    pub fn interval(&self) -> Interval {
        if self.tainted {
            Interval::ANYTHING
        } else {
            self.interval
        }
    }

    /// The range, taken that nothing before was infinite or NaN.
    pub fn assuming_finite(&self) -> Interval {
        self.interval
    }

    /// Whether this tensor is where an infinity or NaN may arise first.
    pub fn is_origin(&self) -> bool {
        self.interval.non_finite && !self.tainted
    }
}

/// The ranges of all tensors.
#[derive(Debug, Default)]
pub struct Ranges {
    known: Vec<Known>,
}

impl Ranges {
    /// Propagates ranges through a model. `O(nodes + operands)`.
    pub fn of(spec: &Spec, model: &Model, values: &Values, dtypes: &NodeDtypes) -> Ranges {
        let graph = &model.graph;
        let mut ranges = Ranges {
            known: vec![Known::NOTHING; graph.types.len()],
        };
        ranges.sources(spec, graph);
        let idioms = Idioms { graph, values };
        let mut operands: SmallVec<[Interval; 6]> = SmallVec::new();
        for (_, node) in graph.nodes() {
            if !graph.is_known(node) {
                continue;
            }
            operands.clear();
            let (mut declared, mut tainted) = (true, false);
            let opmath = opmath(dtypes.tensor(graph, node.first_output));
            // A copy in a lower type, as autocast hands it to the op, may overflow by itself.
            let mut overflows = false;
            for (position, &argument) in node.arguments.iter().enumerate() {
                if !argument.is_present() {
                    operands.push(Interval::ANYTHING);
                    continue;
                }
                let known = ranges.operand(graph, argument, opmath);
                declared &= known.declared;
                tainted |= known.tainted || known.interval.non_finite;
                let mut interval = Interval {
                    non_finite: false,
                    ..known.interval
                };
                if dtypes.is_cast(graph, node, position) {
                    interval = rounded(interval, dtypes.operand(graph, node, position));
                    overflows |= interval.non_finite;
                    interval.non_finite = false;
                }
                operands.push(interval);
            }
            let (image, moves) = graph.with_call(node, |call| {
                let image = call.interval(&operands);
                (slackened(call, opmath, &operands, image), moves(call))
            });
            // From bounded operands an unbounded end comes only by passing float64's own limit.
            let bounded = operands.iter().all(Interval::is_bounded);
            let image = relation::refine(&idioms, &ranges, node, opmath, image);
            let image = image.or_non_finite(overflows || bounded && !image.is_bounded());
            for (position, output) in node.outputs().enumerate() {
                let dtype = dtypes.tensor(graph, output);
                ranges.known[output.0 as usize] = if position == 0 || moves {
                    Known {
                        interval: rounded(image, dtype),
                        declared,
                        tainted,
                    }
                } else {
                    Known {
                        interval: Interval::of_dtype(dtype),
                        ..Known::NOTHING
                    }
                };
            }
        }
        ranges
    }

    /// What is known of a tensor.
    pub fn known(&self, id: TensorId) -> Known {
        self.known
            .get(id.0 as usize)
            .copied()
            .unwrap_or(Known::NOTHING)
    }

    /// What is known of a tensor where an op computes in that format: a number of the spec is
    /// rounded to it, and may overflow.
    fn operand(&self, graph: &Graph, id: TensorId, format: Option<&FloatFormat>) -> Known {
        let known = self.known(id);
        match (graph.constant(id), format) {
            (Some(value), Some(format)) => {
                let value = format.round(value);
                let interval = if value.is_finite() {
                    Interval::point(value)
                } else {
                    Interval::ANYTHING
                };
                Known { interval, ..known }
            }
            _ => known,
        }
    }

    /// Inputs, parameters and constants.
    fn sources(&mut self, spec: &Spec, graph: &Graph) {
        let declared: FxHashMap<&str, Interval> = [&spec.inputs, &spec.params, &spec.buffers]
            .into_iter()
            .flatten()
            .filter_map(|tensor| {
                let range = tensor.range?;
                Some((tensor.name.as_str(), Interval::new(range.low, range.high)))
            })
            .collect();
        for (index, tensor) in graph.tensors.iter().enumerate() {
            let dtype = graph.types[index].dtype;
            let name = match tensor.kind {
                TensorKind::Input(input) => {
                    let input = graph.inputs.get(input as usize);
                    input.map(|(name, _)| Cow::Borrowed(name.as_str()))
                }
                TensorKind::Parameter(number) => match graph.parameters.get(number as usize) {
                    _ if declared.is_empty() => None,
                    Some(parameter) => Some(Cow::Owned(graph.parameter_path(parameter))),
                    None => None,
                },
                TensorKind::Constant(value) => {
                    self.known[index] = Known {
                        interval: Interval::point(value).or_non_finite(!value.is_finite()),
                        declared: true,
                        tainted: false,
                    };
                    continue;
                }
                TensorKind::Output(_) => continue,
            };
            let range = name.and_then(|name| declared.get(name.as_ref())).copied();
            // Truth values and bytes take all values of their type; wider integers do not.
            let narrow = matches!(dtype, Dtype::Bool | Dtype::Uint8);
            self.known[index] = Known {
                interval: rounded(range.unwrap_or(Interval::of_dtype(dtype)), dtype),
                declared: range.is_some() || narrow,
                tainted: false,
            };
        }
    }
}

/// The format that PyTorch's kernels compute in for a result of that type: halves in float32.
pub fn opmath(dtype: Dtype) -> Option<&'static FloatFormat> {
    let wide = match dtype {
        Dtype::Float64 | Dtype::Complex128 => Dtype::Float64,
        _ => Dtype::Float32,
    };
    dtype.float_format().and(wide.float_format())
}

/// A range with its ends on the grid of an element type. A float's end past the greatest number
/// makes infinities possible; integers wrap around.
fn rounded(interval: Interval, dtype: Dtype) -> Interval {
    let Some(format) = dtype.float_format() else {
        let all = Interval::of_dtype(dtype);
        let fits = all.low <= interval.low && interval.high <= all.high;
        return if fits { interval } else { all };
    };
    let mut non_finite = interval.non_finite;
    let mut end = |value: f64| {
        if value.is_infinite() {
            return value;
        }
        let rounded = format.round(value);
        if rounded.is_finite() {
            rounded
        } else {
            non_finite = true;
            format.max.copysign(value)
        }
    };
    let (low, high) = (end(interval.low), end(interval.high));
    Interval {
        low,
        high,
        non_finite,
    }
}

/// Whether a call only moves values, so that all its outputs have the range of its operand.
fn moves(call: &Call) -> bool {
    (call.op.work)(call) == crate::ops::Work::default() && call.op.operands.len() == 1
}

/// A range with slack for the rounding of every step of a sum or product of many terms.
fn slackened(
    call: &Call,
    format: Option<&FloatFormat>,
    operands: &[Interval],
    image: Interval,
) -> Interval {
    let (Some(format), None) = (format, call.op.element) else {
        // Element functions are rounded once, which `rounded` does.
        return image;
    };
    let work = (call.op.work)(call);
    let steps = (work.products + work.other) as f64 / call.output_elements().max(1) as f64;
    let relative = ((steps + 4.0) * format.unit_roundoff()).min(1.0);
    let x = operands.first().copied().unwrap_or(Interval::REAL);
    match call.op.name {
        // The greatest value is one of the values; what is moved stays.
        "amax" | "amin" | "max_dim" | "min_dim" | "argmax" | "argmin" | "count_nonzero" => image,
        _ if steps == 0.0 => image,
        // The error of the exponent is one of the quotient, which no rounding makes exceed 1.
        "softmax" | "softmin" | "gumbel_softmax" => {
            let exponent = (x.high - x.low) * format.unit_roundoff();
            image
                .widened((relative + exponent).min(1.0))
                .clamped(0.0, 1.0)
        }
        // Differences and sums of numbers as large as the operand.
        "log_softmax" => {
            within(image, relative * (1.0 + x.high - x.low)).clamped(f64::NEG_INFINITY, 0.0)
        }
        "logsumexp" => within(image, relative * (1.0 + x.magnitude())),
        _ if image.low >= 0.0 || image.high <= 0.0 => image.widened(relative),
        _ => within(image, relative * image.magnitude()),
    }
}

/// A range with both ends moved outwards; unbounded where the slack is.
fn within(image: Interval, slack: f64) -> Interval {
    if slack.is_nan() {
        return image;
    }
    Interval {
        low: image.low - slack,
        high: image.high + slack,
        ..image
    }
}
