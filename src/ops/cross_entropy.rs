//! Losses over classes: `cross_entropy`, `nll_loss`, `ctc_loss`.

use smallvec::smallvec;

use super::definition::{BASE, Default, attribute, operand, optional};
use super::gradient::Gradient;
use super::pointwise::range;
use super::reduction::{REDUCTION, Reduction};
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Saved, Work};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "cross_entropy",
        aliases: &["cross_entropy_loss", "softmax_cross_entropy"],
        summary: "negative logarithm of the softmax probability of the target class",
        operands: CLASSES,
        attributes: &[
            WEIGHT,
            IGNORE_INDEX,
            REDUCTION,
            attribute(
                "label_smoothing",
                AttributeKind::Float,
                Default::Float(0.0),
                "share of the target that is spread evenly over all classes",
            ),
        ],
        infer: |call| {
            let smoothing = call.float("label_smoothing").unwrap_or(0.0);
            if !(0.0..=1.0).contains(&smoothing) {
                let message = format!("`label_smoothing` is {smoothing}, not between 0 and 1");
                return Err(OpError::new(message).attribute("label_smoothing"));
            }
            let classes = Classes::of(call, true)?;
            // Autocast runs the `log_softmax` inside as it comes and the `nll_loss` in float32.
            let dtype = match call.autocast {
                true => Dtype::Float32,
                false => call.dtype(0)?,
            };
            let shape = Reduction::of(call).shape(classes.targets);
            Ok(smallvec![TensorType { shape, dtype }])
        },
        // Maximum, difference, exponential, sum and difference for each logit, a pick and the
        // reduction for each target.
        work: |call| {
            let targets = Classes::of(call, true).map_or(0, |classes| classes.targets.elements());
            Work::other(5 * u128::from(call.elements(0)) + 2 * u128::from(targets))
        },
        saved: cross_entropy_saved,
        gradient: cross_entropy_gradient,
        interval: |call, ranges| {
            let Ok(classes) = Classes::of(call, true) else {
                return Interval::ANYTHING;
            };
            let (logits, count) = (range(ranges, 0), classes.count as f64);
            let spread = logits.high - logits.low;
            // −log p = log(1 + Σ e^(xⱼ − x)) over the other classes.
            let low = ((count - 1.0) * (-spread).exp()).ln_1p();
            // log(1 + n·e^s) without the overflow of e^s.
            let high = match spread > 700.0 {
                true => spread + count.ln(),
                false => ((count - 1.0) * spread.exp()).ln_1p(),
            };
            let mut element = Interval::new(low.max(0.0), high).widened(1e-12);
            if classes.probabilities {
                element = element * range(ranges, 1) * Interval::point(count);
            }
            classes.reduce(call, ranges, element)
        },
        // (p − y)/N, with p even over the classes.
        gradient_gain: |call, position, _| {
            (position == 0).then_some(())?;
            let classes = Classes::of(call, true).ok()?;
            let even = 1.0 / classes.count.max(1) as f64;
            Some(classes.factor(call).powi(2) * even * (1.0 - even))
        },
        ..BASE
    },
    Op {
        name: "nll_loss",
        summary: "negative logarithm of the probability of the target class, from logarithms",
        operands: CLASSES,
        attributes: &[WEIGHT, IGNORE_INDEX, REDUCTION],
        infer: |call| {
            let classes = Classes::of(call, false)?;
            let shape = Reduction::of(call).shape(classes.targets);
            let dtype = call.dtype(0)?;
            Ok(smallvec![TensorType { shape, dtype }])
        },
        autocast: Autocast::Float32,
        work: |call| {
            let targets = Classes::of(call, false).map_or(0, |classes| classes.targets.elements());
            Work::other(2 * u128::from(targets))
        },
        saved: |call, saved| {
            for position in 0..3 {
                saved.argument(call, position);
            }
            saved.extra("total weight", 1, call.dtype(0).unwrap_or(Dtype::Float32));
        },
        interval: |call, ranges| match Classes::of(call, false) {
            Ok(classes) => classes.reduce(call, ranges, -range(ranges, 0)),
            Err(_) => Interval::ANYTHING,
        },
        gradient_gain: |call, position, _| {
            (position == 0).then_some(())?;
            let classes = Classes::of(call, false).ok()?;
            Some(classes.factor(call).powi(2) / classes.count.max(1) as f64)
        },
        ..BASE
    },
    Op {
        name: "ctc_loss",
        summary: "negative logarithm of the probability of all alignments with the target labels",
        operands: &[
            operand("log_probs"),
            operand("targets"),
            operand("input_lengths"),
            operand("target_lengths"),
        ],
        attributes: &[
            attribute(
                "blank",
                AttributeKind::Size,
                Default::Integer(0),
                "the class of no label",
            ),
            REDUCTION,
            attribute(
                "zero_infinity",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether the infinite loss of a target that is too long becomes 0",
            ),
        ],
        infer: |call| {
            let Alignment { samples, .. } = Alignment::of(call)?;
            let shape = Reduction::of(call).shape(samples);
            let dtype = call.dtype(0)?;
            Ok(smallvec![TensorType { shape, dtype }])
        },
        // Three terms in each sum of exponentials.
        work: |call| Work::other(Alignment::of(call).map_or(0, |a| 9 * u128::from(a.states))),
        saved: |call, saved| {
            for position in 0..4 {
                saved.argument(call, position);
            }
            if let (Ok(alignment), Ok(dtype)) = (Alignment::of(call), call.dtype(0)) {
                saved.extra(
                    "negative log likelihood",
                    alignment.samples.elements(),
                    dtype,
                );
                saved.extra("log alpha", alignment.states, dtype);
            }
        },
        // A target longer than the input has no alignment: log 0.
        interval: |call, _| {
            Interval {
                low: 0.0,
                ..Interval::REAL
            }
            .or_non_finite(!call.boolean("zero_infinity"))
        },
        ..BASE
    },
];

const CLASSES: &[super::Operand] = &[operand("input"), operand("target"), optional("weight")];
const WEIGHT: Attribute = attribute(
    "weight",
    AttributeKind::Parameter,
    Default::None,
    "a weight for each class, to share",
);
const IGNORE_INDEX: Attribute = attribute(
    "ignore_index",
    AttributeKind::Integer,
    Default::Integer(-100),
    "targets of this value do not count",
);

/// Classes and targets of a loss.
struct Classes {
    /// The number of classes.
    count: u64,
    /// The shape of the targets, as indices.
    targets: Shape,
    /// Whether the targets are probabilities of all classes.
    probabilities: bool,
}

impl Classes {
    /// Classes lie on axis 1, or on the only one of a vector, as in PyTorch. Where targets only fit
    /// an input with its classes last, `[batch, positions, classes]`, they lie there: what is
    /// written in PyTorch as `cross_entropy(x.flatten(0, -2), target.flatten())`.
    fn of(call: &Call, probabilities: bool) -> Result<Classes, OpError> {
        let (input, target) = (call.ty(0)?, call.ty(1)?);
        let sizes = input.shape.sizes();
        if !input.dtype.is_float() {
            let message = format!(
                "`{}` needs floating point, but its input is {input}",
                call.op.name
            );
            return Err(OpError::new(message).operands([0]));
        }
        let without = |axis: usize| -> Shape {
            let rest = sizes.iter().enumerate().filter(|&(at, _)| at != axis);
            rest.map(|(_, &size)| size).collect()
        };
        let axis = match sizes.len() {
            0 => None,
            1 => Some(0),
            _ => Some(1),
        };
        let candidates = [axis, sizes.len().checked_sub(1)];
        let given = &target.shape;
        let found = if target.dtype.is_float() {
            if !probabilities {
                let message = format!("the target must be class indices, but is {target}");
                return Err(OpError::new(message).operands([1]));
            }
            axis.filter(|_| input.shape == *given)
        } else {
            candidates
                .into_iter()
                .flatten()
                .find(|&axis| without(axis) == *given)
        };
        let Some(axis) = found else {
            let expected = match axis {
                Some(axis) if !target.dtype.is_float() => {
                    let last = without(sizes.len() - 1);
                    match without(axis) {
                        first if first == last => format!("indices {first}"),
                        first => format!("indices {first} (classes on axis {axis}) or {last}"),
                    }
                }
                _ => format!("probabilities {}", input.shape),
            };
            let message = format!(
                "`{}` of the input {} takes {expected}, but the target is {given}",
                call.op.name, input.shape
            );
            return Err(OpError::new(message).operands([0, 1]));
        };
        let count = sizes[axis];
        if let Some(weight) = call.argument(2)
            && weight.ty.shape.sizes() != [count]
        {
            let message = format!(
                "the weight is {}, but there are {count} classes",
                weight.ty.shape
            );
            return Err(OpError::new(message).operands([2, 0]));
        }
        Ok(Classes {
            count,
            targets: without(axis),
            probabilities: target.dtype.is_float(),
        })
    }

    fn factor(&self, call: &Call) -> f64 {
        let batch = self.targets.size(0).unwrap_or(1);
        Reduction::of(call).factor(self.targets.elements(), batch)
    }

    /// The range after weighting and reduction. Targets may all be ignored, and their mean be 0/0,
    /// where their declared range has `ignore_index`; an undeclared one is taken not to.
    fn reduce(&self, call: &Call, ranges: &[Interval], element: Interval) -> Interval {
        let (reduction, targets) = (Reduction::of(call), range(ranges, 1));
        let declared = call
            .dtype(1)
            .is_ok_and(|dtype| targets != Interval::of_dtype(dtype) && targets.is_bounded());
        let ignored = call.integer("ignore_index").unwrap_or(-100) as f64;
        let ignores = !self.probabilities && declared && targets.contains(ignored);
        let mut element = element;
        let mut empty = ignores;
        if call.has(2) {
            let weight = range(ranges, 2);
            // The mean is weighted: it divides by the sum of the weights.
            match reduction {
                Reduction::Mean if weight.low >= 0.0 => empty |= weight.low == 0.0,
                Reduction::Mean => return Interval::ANYTHING,
                _ => element = element * weight,
            }
        }
        if ignores && reduction != Reduction::Mean {
            element = element.union(Interval::point(0.0));
        }
        let count = self.targets.elements();
        reduction
            .interval(element, count, self.targets.size(0).unwrap_or(1))
            .or_non_finite(empty && reduction == Reduction::Mean)
    }
}

/// `nll_loss` makes a gradient of the logarithms, and `log_softmax` one of the logits of it: with
/// the logarithms that are kept, three tensors of the size of the logits live at once.
fn cross_entropy_gradient(call: &Call, gradient: &mut Gradient<'_>) {
    let Ok(logits) = call.ty(0) else { return };
    let bytes = |dtype: Dtype| dtype.bytes_for(logits.shape.elements());
    if Classes::of(call, true).is_ok_and(|classes| classes.probabilities) {
        // −Σ target · log p: the sum is shown repeatedly, the product and its sign are tensors.
        gradient.node(bytes(logits.dtype));
        gradient.make(1);
        gradient.node(bytes(logits.dtype));
        return gradient.make(0);
    }
    // Autocast runs the `nll_loss` inside in float32.
    if call.autocast && logits.dtype.is_half() {
        gradient.node(bytes(Dtype::Float32));
        gradient.release("total weight");
        gradient.release("target");
    }
    gradient.node(bytes(logits.dtype));
    gradient.release("total weight");
    gradient.release("target");
    if call
        .float("label_smoothing")
        .is_some_and(|share| share > 0.0)
    {
        // The gradients of both terms are added up.
        gradient.node(bytes(logits.dtype));
    }
    gradient.make(0);
}

/// The output of `log_softmax`, under autocast also the float32 copy of it that `nll_loss` sees,
/// the target and the sum of weights. Probabilities as targets are multiplied, after smoothing has
/// made them anew; of indices, smoothing masks the ignored, and the mean divides by their number.
fn cross_entropy_saved(call: &Call, saved: &mut Saved) {
    let (Ok(classes), Ok(dtype)) = (Classes::of(call, true), call.dtype(0)) else {
        return;
    };
    let smooths = call.float("label_smoothing").unwrap_or(0.0) > 0.0;
    let logits = call.elements(0);
    saved.extra("log probabilities", logits, dtype);
    saved.argument(call, 2);
    if classes.probabilities {
        let target = call.dtype(1).unwrap_or(dtype);
        match smooths {
            true => saved.extra("smoothed target", logits, target),
            false => saved.argument(call, 1),
        }
        if call.has(2) && !call.requires_grad(1) {
            saved.extra("weighted target", logits, dtype);
        }
        return;
    }
    let loss = match call.autocast {
        true => Dtype::Float32,
        false => dtype,
    };
    if loss != dtype {
        saved.extra("float32 log probabilities", logits, loss);
    }
    saved.argument(call, 1);
    saved.extra("total weight", 1, loss);
    if smooths {
        saved.extra("ignored", classes.targets.elements(), Dtype::Bool);
        if Reduction::of(call) == Reduction::Mean {
            let count = if call.has(2) { loss } else { Dtype::Int64 };
            saved.extra("count", 1, count);
        }
    }
}

/// The sizes of a CTC loss.
struct Alignment {
    /// `[batch]`, or none for a single sequence.
    samples: Shape,
    /// States of the recursion: steps times labels with a blank around each, for each sample.
    states: u64,
}

impl Alignment {
    fn of(call: &Call) -> Result<Alignment, OpError> {
        let (input, targets) = (call.shape(0)?, call.shape(1)?);
        let (steps, samples, classes) = match *input.sizes() {
            [steps, classes] => (steps, Shape::scalar(), classes),
            [steps, batch, classes] => (steps, Shape::from([batch]), classes),
            _ => {
                let message = format!(
                    "`ctc_loss` takes [steps, batch, classes] or [steps, classes], but its input is \
                     {input}"
                );
                return Err(OpError::new(message).operands([0]));
            }
        };
        let blank = call.size("blank")?;
        if blank >= classes {
            let message = format!("`blank` is {blank}, but there are {classes} classes");
            return Err(OpError::new(message).attribute("blank").operands([0]));
        }
        for position in [2, 3] {
            let lengths = call.shape(position)?;
            if *lengths != samples {
                let message = format!(
                    "`{}` is {lengths}, but must have a length for each sample: {samples}",
                    call.op.operand_name(position)
                );
                return Err(OpError::new(message).operands([position, 0]));
            }
        }
        let batch = samples.elements();
        let labels = match (targets.sizes(), samples.rank()) {
            (&[first, labels], 1) if first == batch => labels,
            // All targets one after the other: any of them may have them all.
            (&[labels], _) => labels,
            _ => {
                let message = format!(
                    "`ctc_loss` takes targets [batch, labels] or [labels], but they are {targets} \
                     for {batch} samples"
                );
                return Err(OpError::new(message).operands([1, 0]));
            }
        };
        let states = labels.saturating_mul(2).saturating_add(1);
        Ok(Alignment {
            samples,
            states: batch.saturating_mul(steps).saturating_mul(states),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Random, check, check_intervals, check_saved, with};

    #[test]
    fn shapes_and_errors() {
        check(&[
            ("cross_entropy([2, 5], int64 [2])", "float32 []"),
            ("cross_entropy([5], int64 [])", "float32 []"),
            (
                "cross_entropy([2, 5, 7, 8], int64 [2, 7, 8], reduction=none)",
                "float32 [2, 7, 8]",
            ),
            (
                "cross_entropy([2, 7, 5], int64 [2, 7], reduction=none)",
                "float32 [2, 7]",
            ),
            ("cross_entropy([2, 5], [2, 5])", "float32 []"),
            ("cross_entropy(bfloat16 [2, 5], int64 [2])", "bfloat16 []"),
            (
                "cross_entropy(bfloat16 [2, 5], int64 [2]) autocast",
                "float32 []",
            ),
            (
                "cross_entropy([2, 5, 7], int64 [2, 6])",
                "error: `cross_entropy` of the input [2, 5, 7] takes indices [2, 7] (classes on axis 1) or [2, 5], but the target is [2, 6]",
            ),
            (
                "cross_entropy([2, 5], [2])",
                "error: `cross_entropy` of the input [2, 5] takes probabilities [2, 5], but the target is [2]",
            ),
            (
                "cross_entropy([2, 5], int64 [2], [4])",
                "error: the weight is [4], but there are 5 classes",
            ),
            (
                "cross_entropy([2, 5], int64 [2], label_smoothing=2)",
                "error: `label_smoothing` is 2, not between 0 and 1",
            ),
            (
                "nll_loss([2, 5], [2, 5])",
                "error: the target must be class indices, but is float32 [2, 5]",
            ),
            ("nll_loss([2, 5], int64 [2], reduction=sum)", "float32 []"),
            (
                "ctc_loss([50, 4, 20], int64 [4, 30], int64 [4], int64 [4])",
                "float32 []",
            ),
            (
                "ctc_loss([50, 4, 20], int64 [90], int64 [4], int64 [4], reduction=none)",
                "float32 [4]",
            ),
            (
                "ctc_loss([50, 4, 20], int64 [3, 30], int64 [4], int64 [4])",
                "error: `ctc_loss` takes targets [batch, labels] or [labels], but they are [3, 30] for 4 samples",
            ),
            (
                "ctc_loss([50, 4, 20], int64 [4, 30], int64 [3], int64 [4])",
                "error: `input_lengths` is [3], but must have a length for each sample: [4]",
            ),
        ]);
    }

    /// What PyTorch 2.15's `saved_tensors_hooks` showed on (fake) CUDA tensors.
    #[test]
    fn log_probabilities_are_kept() {
        check_saved(&[
            (
                "cross_entropy([32, 64], int64 [32])",
                "target, log probabilities: 2048 float32, total weight: 1 float32",
            ),
            (
                "cross_entropy([32, 64], int64 [32], label_smoothing=0.1)",
                "target, log probabilities: 2048 float32, total weight: 1 float32, ignored: 32 bool, count: 1 int64",
            ),
            (
                "cross_entropy([32, 64], int64 [32], [64]!, label_smoothing=0.1, reduction=sum)",
                "weight, target, log probabilities: 2048 float32, total weight: 1 float32, ignored: 32 bool",
            ),
            (
                "cross_entropy([32, 64], [32, 64]!, label_smoothing=0.1)",
                "log probabilities: 2048 float32, smoothed target: 2048 float32",
            ),
            (
                "cross_entropy(bfloat16 [32, 64], int64 [32])",
                "target, log probabilities: 2048 bfloat16, total weight: 1 bfloat16",
            ),
            (
                "cross_entropy(bfloat16 [32, 64], int64 [32]) autocast",
                "target, log probabilities: 2048 bfloat16, float32 log probabilities: 2048 float32, total weight: 1 float32",
            ),
            (
                "nll_loss([32, 64], int64 [32])",
                "input, target, total weight: 1 float32",
            ),
            (
                "ctc_loss([50, 4, 20], int64 [4, 30], int64 [4], int64 [4])",
                "log_probs, targets, input_lengths, target_lengths, negative log likelihood: 4 float32, log alpha: 12200 float32",
            ),
        ]);
    }

    #[test]
    fn ranges() {
        let targets = (0.0, 4.0);
        check_intervals(&[
            (
                "cross_entropy([2, 5], int64 [2])",
                &[(1.0, 1.0), targets],
                "[1.6094, 1.6094]",
            ),
            (
                "cross_entropy([2, 5], int64 [2])",
                &[(-1e4, 1e4), targets],
                "[0, 20001.6094]",
            ),
            (
                "cross_entropy([2, 5], int64 [2])",
                &[(1.0, 1.0), (-100.0, 4.0)],
                "[1.6094, 1.6094]?",
            ),
            (
                "nll_loss([2, 5], int64 [2], reduction=sum)",
                &[(-3.0, 0.0), targets],
                "[0, 6]",
            ),
            (
                "nll_loss([2, 5], int64 [2], [5])",
                &[(-3.0, 0.0), targets, (0.0, 1.0)],
                "[0, 3]?",
            ),
        ]);
    }

    #[test]
    fn losses_of_random_logits_lie_in_the_range() {
        let mut random = Random(9);
        for _ in 0..300 {
            let scale = random.uniform(0.0, 30.0);
            let logits: Vec<f64> = (0..5).map(|_| random.uniform(-scale, scale)).collect();
            let (low, high) = logits.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| {
                (low.min(x), high.max(x))
            });
            let total: f64 = logits.iter().map(|x| x.exp()).sum();
            let ranges = [(low, high), (0.0, 4.0)]
                .map(|(low, high)| crate::tensor::Interval::new(low, high));
            let range = with("cross_entropy([2, 5], int64 [2])", |call| {
                (call.op.interval)(call, &ranges)
            })
            .unwrap();
            for x in &logits {
                assert!(range.contains(total.ln() - x), "{logits:?} {x} {range}");
            }
        }
    }
}
