//! The propagation is held against networks that are drawn and run.

use ndarray::Array2;

use super::*;
use crate::facts::fixture::lowered;

/// Standard normal numbers, the same in each run (SplitMix64 and Box–Muller).
struct Normal(u64);

impl Normal {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn matrix(&mut self, rows: usize, columns: usize, variance: f64) -> Array2<f64> {
        Array2::from_shape_simple_fn((rows, columns), || {
            let (a, b) = (1.0 - self.uniform(), self.uniform());
            (-2.0 * variance * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
        })
    }
}

const WIDTH: usize = 96;
const BATCH: usize = 24;
const DEPTH: usize = 7;

/// What stands around each activation.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Plain,
    /// `x + activation(linear(x))`
    Residual,
    /// A layer norm before the activation.
    Norm,
}

struct Net {
    activation: &'static str,
    value: fn(f64) -> f64,
    slope: fn(f64) -> f64,
    init: &'static str,
    variance: f64,
    shape: Shape,
}

fn square(x: &Array2<f64>) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64
}

/// Mean squares after each layer, of each layer's incoming gradient, and of each weight's gradient,
/// of one drawn net. The gradient begins as independent standard normal numbers.
fn run(net: &Net, random: &mut Normal) -> [Vec<f64>; 3] {
    let mut x = random.matrix(BATCH, WIDTH, 1.0);
    let mut forward = Vec::new();
    let mut tape = Vec::new();
    for _ in 0..DEPTH {
        let weight = random.matrix(WIDTH, WIDTH, net.variance);
        let mut before = x.dot(&weight.t());
        let deviation = before.map_axis(ndarray::Axis(1), |row| row.std(0.0));
        if net.shape == Shape::Norm {
            for (mut row, deviation) in before.outer_iter_mut().zip(&deviation) {
                let mean = row.sum() / WIDTH as f64;
                row.mapv_inplace(|x| (x - mean) / deviation);
            }
        }
        let mut after = before.mapv(net.value);
        if net.shape == Shape::Residual {
            after += &x;
        }
        tape.push((x, weight, before, deviation));
        forward.push(square(&after));
        x = after;
    }
    let mut gradient = random.matrix(BATCH, WIDTH, 1.0);
    let (mut backward, mut weights) = (Vec::new(), Vec::new());
    for (x, weight, before, deviation) in tape.into_iter().rev() {
        let mut inner = &gradient * &before.mapv(net.slope);
        if net.shape == Shape::Norm {
            // (g − mean(g) − x·mean(g·x)) / deviation
            for ((mut row, normed), deviation) in inner
                .outer_iter_mut()
                .zip(before.outer_iter())
                .zip(&deviation)
            {
                let mean = row.sum() / WIDTH as f64;
                let along = row.dot(&normed) / WIDTH as f64;
                row.zip_mut_with(&normed, |g, x| *g = (*g - mean - x * along) / deviation);
            }
        }
        weights.push(square(&inner.t().dot(&x)));
        let through = inner.dot(&weight);
        gradient = match net.shape {
            Shape::Residual => gradient + through,
            _ => through,
        };
        backward.push(square(&gradient));
    }
    backward.reverse();
    weights.reverse();
    [forward, backward, weights]
}

fn spec_of(net: &Net) -> String {
    let (norm, end) = match net.shape {
        Shape::Plain => ("", ""),
        Shape::Residual => ("", "  { formula = \"x + act\" },\n"),
        Shape::Norm => ("  { name = \"norm\", op = \"layer_norm\" },\n", ""),
    };
    let (activation, init) = (net.activation, net.init);
    format!(
        "spec = 1\n[inputs]\nx = [{BATCH}, {WIDTH}]\n[blocks.hidden]\ninputs = [\"x\"]\nlayers = [\n\
         \x20 {{ name = \"linear\", op = \"linear\", out_features = {WIDTH}, bias = false, {init} }},\n\
         {norm}  {{ name = \"act\", op = \"{activation}\" }},\n{end}]\n\
         [[layers]]\nop = \"hidden\"\nin = \"x\"\nrepeat = {DEPTH}\n"
    )
}

/// Deep nets of each activation and initialisation behave as predicted, in every layer.
#[test]
fn agrees_with_drawn_networks() {
    const DRAWS: usize = 16;
    let fan = WIDTH as f64;
    let net = |activation, value, slope, init, variance, shape| Net {
        activation,
        value,
        slope,
        init,
        variance,
        shape,
    };
    let relu = |init, variance, shape| {
        let slope = |x: f64| if x > 0.0 { 1.0 } else { 0.0 };
        net("relu", |x| x.max(0.0), slope, init, variance, shape)
    };
    let tanh = |init, variance, shape| {
        let slope = |x: f64| 1.0 - x.tanh().powi(2);
        net("tanh", f64::tanh, slope, init, variance, shape)
    };
    let sigmoid = |init, variance| {
        let value = |x: f64| 1.0 / (1.0 + (-x).exp());
        let slope = |x: f64| 1.0 / (2.0 + x.exp() + (-x).exp());
        net("sigmoid", value, slope, init, variance, Shape::Plain)
    };
    let (kaiming, xavier) = ("init = \"kaiming_normal\"", "init = \"xavier_uniform\"");
    let default = "init = \"default\"";
    for net in [
        relu(kaiming, 2.0 / fan, Shape::Plain),
        relu(xavier, 1.0 / fan, Shape::Plain),
        relu(default, 1.0 / (3.0 * fan), Shape::Plain),
        relu("init_std = 0.3", 0.09, Shape::Plain),
        relu(xavier, 1.0 / fan, Shape::Norm),
        relu(default, 1.0 / (3.0 * fan), Shape::Norm),
        tanh(xavier, 1.0 / fan, Shape::Plain),
        tanh(default, 1.0 / (3.0 * fan), Shape::Plain),
        tanh(xavier, 1.0 / fan, Shape::Residual),
        sigmoid(xavier, 1.0 / fan),
        sigmoid(default, 1.0 / (3.0 * fan)),
    ] {
        let mut drawn = [vec![0.0; DEPTH], vec![0.0; DEPTH], vec![0.0; DEPTH]];
        let mut random = Normal(1);
        for _ in 0..DRAWS {
            for (sums, values) in drawn.iter_mut().zip(run(&net, &mut random)) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += value / DRAWS as f64;
                }
            }
        }
        let (spec, model) = lowered(&spec_of(&net));
        let graph = &model.graph;
        let signal = Signal::of(&spec, graph);
        assert_eq!(signal.weights().len(), DEPTH);
        for (layer, weight) in signal.weights().iter().enumerate() {
            assert_eq!(weight.depth as usize, layer + 1);
            let after = graph.node(NodeId(match signal.weights().get(layer + 1) {
                Some(next) => next.node.0 - 1,
                None => graph.dag.node_count() as u32 - 1,
            }));
            let input = graph.node(weight.node).arguments[0];
            let mut figures = vec![
                signal.moments(after.first_output).unwrap().square(),
                weight.gradient.log2.exp2(),
            ];
            if layer > 0 {
                figures.push(signal.gradient(input).log2.exp2());
            }
            let measured = [&drawn[0], &drawn[2], &drawn[1]].map(|values| values[layer]);
            for (what, (figure, measured)) in ["signal", "weight's gradient", "gradient"]
                .into_iter()
                .zip(figures.into_iter().zip(measured))
            {
                let ratio = figure / measured;
                assert!(
                    (0.75..1.33).contains(&ratio),
                    "{what} at layer {layer} of {}: {figure:e}, drawn {measured:e}",
                    spec_of(&net)
                );
            }
        }
    }
}

fn weights_of(text: &str) -> Vec<(Gradient, u32)> {
    let (spec, model) = lowered(text);
    let signal = Signal::of(&spec, &model.graph);
    signal
        .weights()
        .iter()
        .map(|weight| (weight.gradient, weight.depth))
        .collect()
}

fn mlp(layers: usize, init: &str, activation: &str) -> String {
    format!(
        "spec = 1\n[inputs]\nx = [64, 256]\n[blocks.hidden]\ninputs = [\"x\"]\nlayers = [\n\
         \x20 {{ op = \"linear\", out_features = 256, init = \"{init}\" }},\n\
         \x20 {{ op = \"{activation}\" }},\n]\n\
         [[layers]]\nop = \"hidden\"\nin = \"x\"\nrepeat = {layers}\n"
    )
}

/// Guards against underflow: a thousand layers that take a factor of 48 each leave 48^-1000 =
/// 10^-1681 of the mean square, far below the least float64.
#[test]
fn a_thousand_sigmoids_do_not_underflow() {
    let weights = weights_of(&mlp(1000, "default", "sigmoid"));
    let (first, last) = (weights[0].0, weights[999].0);
    assert!(first.complete && last.complete);
    let decades = 2.0 * (first.log10_deviation() - last.log10_deviation());
    assert!((-1700.0..-1650.0).contains(&decades), "{decades}");
}

/// The gradient of a deep residual net is known from below even where a branch is not, and a
/// branch that begins at 0 neither adds nor hides anything.
#[test]
fn paths_add() {
    let with = |branch: &str| {
        let text = format!(
            "spec = 1\n[inputs]\nx = [8, 4, 16]\n[[layers]]\nname = \"first\"\nop = \"linear\"\n\
             out_features = 16\nin = \"x\"\n[[layers]]\nname = \"branch\"\n{branch}\n[[layers]]\n\
             formula = \"first + branch\"\n"
        );
        let (spec, model) = lowered(&text);
        let signal = Signal::of(&spec, &model.graph);
        let first = model.graph.node(signal.weights()[0].node).first_output;
        signal.gradient(first)
    };
    let zero = with("op = \"linear\"\nout_features = 16\ninit = \"zeros\"");
    assert_eq!(
        zero,
        Gradient {
            log2: 0.0,
            complete: true
        }
    );
    let unknown =
        with("op = \"scaled_dot_product_attention\"\nin = [\"first\", \"first\", \"first\"]");
    assert!(unknown.log2 > 0.0 && !unknown.complete);
    let same = with("formula = \"2 * first\"");
    assert!((same.log2 - 5f64.log2()).abs() < 1e-12 && same.complete);
}

/// What is cut out of a tensor gives its gradient back to that part only.
#[test]
fn parts_share_the_gradient() {
    let text = "spec = 1\n[inputs]\nx = [8, 16]\n[[layers]]\nname = [\"a\", \"b\", \"c\", \"d\"]\n\
                op = \"linear\"\nout_features = 64\nsplit = 4\nin = \"x\"\n[[layers]]\n\
                formula = \"a + b\"\n";
    let (spec, model) = lowered(text);
    let signal = Signal::of(&spec, &model.graph);
    let whole = model.graph.node(signal.weights()[0].node).first_output;
    assert!((signal.gradient(whole).log2 + 1.0).abs() < 1e-12);
}

/// Which weights never leave 0: not one alone, not the last of a residual branch, not one behind
/// which a head of zeros stands; but two in a row, and one in front of a ReLU.
#[test]
fn stuck_weights_stay_at_zero() {
    let zeros = |name: &str, bias: bool| {
        format!(
            "[[layers]]\nname = \"{name}\"\nop = \"linear\"\nout_features = 16\n\
             init = \"zeros\"\nbias = {bias}\n"
        )
    };
    let linear = "[[layers]]\nop = \"linear\"\nout_features = 16\n";
    let relu = "[[layers]]\nop = \"relu\"\n";
    let tanh = "[[layers]]\nop = \"tanh\"\n";
    let skip = "[[layers]]\nformula = \"a + x\"\n";
    for (layers, expected) in [
        (vec![&*zeros("a", false), tanh, linear], ""),
        (vec![linear, tanh, &*zeros("a", false)], ""),
        (vec![&*zeros("a", false), skip, linear], ""),
        (vec![&*zeros("a", false), skip, &*zeros("b", false)], ""),
        (vec![&*zeros("a", false), tanh, &*zeros("b", false)], "a b"),
        (vec![&*zeros("a", true), tanh, &*zeros("b", false)], ""),
        (vec![&*zeros("a", false), relu, linear], "a"),
        (vec![&*zeros("a", true), relu, linear], ""),
    ] {
        let text = format!("spec = 1\n[inputs]\nx = [8, 16]\n{}", layers.concat());
        let (spec, model) = lowered(&text);
        let signal = Signal::of(&spec, &model.graph);
        let stuck = signal.stuck_weights(&spec, &model.graph);
        let names: Vec<String> = stuck
            .iter()
            .map(|weight| model.graph.layer_path(model.graph.node(weight.node).layer))
            .collect();
        assert_eq!(names.join(" "), expected, "{text}");
    }
}

/// A model that gives its images besides its loss is trained on the loss.
#[test]
fn the_backward_pass_begins_at_the_loss() {
    let text = "spec = 1\n[model]\noutputs = [\"y\", \"loss\"]\n[inputs]\nx = [8, 16]\n\
                [[layers]]\nname = \"y\"\nop = \"linear\"\nout_features = 16\nin = \"x\"\n\
                [[layers]]\nname = \"loss\"\nformula = \"sum(3 * y)\"\n";
    let (spec, model) = lowered(text);
    let signal = Signal::of(&spec, &model.graph);
    let output = model.graph.node(signal.weights()[0].node).first_output;
    assert!((signal.gradient(output).log2 - 9f64.log2()).abs() < 1e-12);
}
