//! Cases of the `loss` family.

use super::super::cases::{Random, check, check_intervals, check_saved, with};
use super::*;

#[test]
fn shapes_and_errors() {
    check(&[
        ("mse_loss([2, 5], [2, 5])", "float32 []"),
        ("mse_loss([2, 5], [5], reduction=none)", "float32 [2, 5]"),
        (
            "mse_loss([2, 5], [4])",
            "error: the input [2, 5] and the target [4] do not broadcast",
        ),
        (
            "l1_loss(int64 [2], int64 [2])",
            "error: `l1_loss` needs floating point, but its operands are int64",
        ),
        (
            "binary_cross_entropy([2, 1], [2])",
            "error: `target` of `binary_cross_entropy` is [2], but `input` is [2, 1]",
        ),
        ("bce_with_logits([2], [2], -, [2])", "float32 []"),
        ("kl_div([2, 5], [2, 5], reduction=batchmean)", "float32 []"),
        (
            "gaussian_nll_loss([2, 5], [2, 5], [2, 1], reduction=none)",
            "float32 [2, 5]",
        ),
        (
            "cosine_embedding_loss([2, 5], [2, 5], [2], reduction=none)",
            "float32 [2]",
        ),
        (
            "cosine_embedding_loss([2, 5], [2, 5], [5])",
            "error: the target is [5], but must have one element for each row: [2]",
        ),
        (
            "cosine_embedding_loss([2, 5], [2, 6], [2])",
            "error: `input2` of `cosine_embedding_loss` is [2, 6], but `input1` is [2, 5]",
        ),
        (
            "triplet_margin_loss([2, 5], [2, 5], [2, 5], reduction=none)",
            "float32 [2]",
        ),
        ("margin_ranking_loss([2], [2], [2])", "float32 []"),
        ("hinge_embedding_loss([2, 5], [2, 5])", "float32 []"),
        ("poisson_nll_loss([2, 5], [2, 5])", "float32 []"),
        ("huber_loss([2, 5], [2, 5], reduction=sum)", "float32 []"),
    ]);
}

#[test]
fn what_is_kept() {
    check_saved(&[
        ("mse_loss([2, 16], [2, 16])", "input, target"),
        ("l1_loss([2, 16], [2, 16])", "difference: 32 float32"),
        ("bce_with_logits([2, 16], [2, 16])", "input, target"),
        ("kl_div([2, 5], [2, 5])", "target, input"),
        ("kl_div([2, 5], [2, 5]!)", "target"),
        (
            "kl_div([2, 5], [2, 5], log_target=true)",
            "target: 10 float32, difference: 10 float32",
        ),
        (
            "poisson_nll_loss([2, 5], [2, 5])",
            "target, rate: 10 float32",
        ),
        (
            "triplet_margin_loss([2, 5], [2, 5], [2, 5])",
            "positive: 10 float32, distance: 2 float32, negative: 10 float32, distance: 2 float32, margin: 2 float32",
        ),
    ]);
}

/// Every loss of an element lies in the range: by formulas of their own.
#[test]
fn losses_lie_in_their_ranges() {
    type Loss = fn(f64, f64, f64) -> f64;
    type Case = (&'static str, [(f64, f64); 3], Loss);
    // The call, the operands' greatest ranges, and the loss.
    let cases: &[Case] = &[
        (
            "mse_loss([1], [1])",
            [(-3.0, 3.0), (-3.0, 3.0), (0.0, 0.0)],
            |x, t, _| (x - t).powi(2),
        ),
        (
            "l1_loss([1], [1])",
            [(-3.0, 3.0), (-3.0, 3.0), (0.0, 0.0)],
            |x, t, _| (x - t).abs(),
        ),
        (
            "smooth_l1_loss([1], [1], beta=0.5)",
            [(-1.0, 1.0), (-1.0, 1.0), (0.0, 0.0)],
            |x, t, _| {
                let d = (x - t).abs();
                if d < 0.5 { d * d } else { d - 0.25 }
            },
        ),
        (
            "huber_loss([1], [1], delta=0.5)",
            [(-1.0, 1.0), (-1.0, 1.0), (0.0, 0.0)],
            |x, t, _| {
                let d = (x - t).abs();
                if d < 0.5 {
                    0.5 * d * d
                } else {
                    0.5 * (d - 0.25)
                }
            },
        ),
        (
            "binary_cross_entropy([1], [1])",
            [(0.0, 1.0), (0.0, 1.0), (0.0, 0.0)],
            |p, t, _| -(t * p.ln().max(-100.0) + (1.0 - t) * (1.0 - p).ln().max(-100.0)),
        ),
        (
            "bce_with_logits([1], [1], -, [1])",
            [(-9.0, 9.0), (0.0, 1.0), (0.0, 3.0)],
            |x, t, w| w * t * (-x).exp().ln_1p() + (1.0 - t) * x.exp().ln_1p(),
        ),
        (
            "kl_div([1], [1])",
            [(-9.0, 0.0), (0.0, 1.0), (0.0, 0.0)],
            |x, t, _| {
                if t == 0.0 { 0.0 } else { t * (t.ln() - x) }
            },
        ),
        (
            "kl_div([1], [1], log_target=true)",
            [(-9.0, 0.0), (-9.0, 0.0), (0.0, 0.0)],
            |x, t, _| t.exp() * (t - x),
        ),
        (
            "poisson_nll_loss([1], [1], full=true)",
            [(-2.0, 2.0), (0.0, 9.0), (0.0, 0.0)],
            |x, t, _| {
                let stirling = t * t.ln() - t + 0.5 * (2.0 * std::f64::consts::PI * t).ln();
                x.exp() - t * x + if t > 1.0 { stirling } else { 0.0 }
            },
        ),
        (
            "poisson_nll_loss([1], [1], log_input=false)",
            [(0.0, 2.0), (0.0, 9.0), (0.0, 0.0)],
            |x, t, _| x - t * (x + 1e-8).ln(),
        ),
        (
            "gaussian_nll_loss([1], [1], [1])",
            [(-2.0, 2.0), (-2.0, 2.0), (0.0, 3.0)],
            |x, t, v| {
                let v = v.max(1e-6);
                0.5 * (v.ln() + (x - t).powi(2) / v)
            },
        ),
        (
            "margin_ranking_loss([1], [1], [1], margin=0.2)",
            [(-2.0, 2.0), (-2.0, 2.0), (-1.0, 1.0)],
            |x, y, t| (0.2 - t * (x - y)).max(0.0),
        ),
        (
            "hinge_embedding_loss([1], [1])",
            [(-2.0, 2.0), (1.0, 1.0), (0.0, 0.0)],
            |x, _, _| x,
        ),
        (
            "hinge_embedding_loss([1], [1])",
            [(-2.0, 2.0), (-1.0, -1.0), (0.0, 0.0)],
            |x, _, _| (1.0 - x).max(0.0),
        ),
    ];
    let mut random = Random(13);
    for (text, widest, loss) in cases {
        for _ in 0..300 {
            let ranges = widest.map(|(low, high)| {
                Interval::new(random.uniform(low, high), random.uniform(low, high))
            });
            with(text, |call| {
                let image = (call.op.interval)(call, &ranges).widened(1e-12);
                for _ in 0..10 {
                    let [x, t, w] = ranges.map(|range| match random.bits() % 4 {
                        0 => range.low,
                        1 => range.high,
                        _ => random.uniform(range.low, range.high),
                    });
                    let value = loss(x, t, w);
                    assert!(
                        image.contains(value),
                        "{text} of {x} {t} {w} is {value}, outside {image} from {ranges:?}"
                    );
                }
            })
            .unwrap();
        }
    }
}

#[test]
fn ranges_after_reduction() {
    check_intervals(&[
        (
            "mse_loss([2, 5], [2, 5], reduction=sum)",
            &[(1.0, 2.0), (0.0, 0.0)],
            "[10, 40]",
        ),
        (
            "kl_div([2, 5], [2, 5], reduction=batchmean)",
            &[(-1.0, -1.0), (1.0, 1.0)],
            "[5, 5]",
        ),
        ("mse_loss([0], [0])", &[(1.0, 2.0), (0.0, 0.0)], "[1, 4]?"),
        (
            "binary_cross_entropy([2], [2])",
            &[(0.0, 1.0), (0.0, 1.0)],
            "[0, 100]",
        ),
        (
            "binary_cross_entropy([2], [2])",
            &[(-1.0, 1.0), (0.0, 1.0)],
            "[-∞, ∞]?",
        ),
        (
            "cosine_embedding_loss([2, 5], [2, 5], [2])",
            &[(-1.0, 1.0), (0.0, 1.0), (-1.0, 1.0)],
            "[0, 2]",
        ),
    ]);
}

#[test]
fn gradients_of_a_mean_fall_with_the_number_of_elements() {
    let given = [Some(Moments::STANDARD), Some(Moments::new(1.0, 0.0))];
    with("mse_loss([2, 5], [2, 5])", |call| {
        assert_eq!(
            (call.op.moments)(call, &given),
            Some(Moments::constant(2.0))
        );
        let gain = (call.op.gradient_gain)(call, 0, &given).unwrap();
        assert!((gain - 0.08).abs() < 1e-12, "{gain}");
    })
    .unwrap();
}
