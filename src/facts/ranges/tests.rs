//! Ranges hold what kernels give, and are as narrow as the relations make them.

use ndarray::{ArrayD, Axis, IxDyn};
use proptest::prelude::*;

use super::*;
use crate::facts::fixture::lowered;
use crate::graph::NodeId;

/// A spec of one formula over `x`, `y` and `w`.
fn spec(formula: &str, dtype: &str, inputs: &[(&str, Option<(f64, f64)>)]) -> String {
    let mut text = String::from("spec = 1\n[inputs]\n");
    for (name, range) in inputs {
        let range = range.map_or(String::new(), |(low, high)| {
            format!(", range = [{low:?}, {high:?}]")
        });
        text.push_str(&format!(
            "{name} = {{ shape = [3, 4], dtype = \"{dtype}\"{range} }}\n"
        ));
    }
    text.push_str(&format!("[[layers]]\nformula = \"{formula}\"\n"));
    text
}

fn ranges_of(text: &str) -> (crate::lower::Model, Ranges) {
    let (spec, model) = lowered(text);
    let values = Values::of(&model.graph);
    let policy = crate::facts::precision::Policy::of(&spec.run, model.dtype);
    let dtypes = NodeDtypes::of(&model.graph, &policy);
    let ranges = Ranges::of(&spec, &model, &values, &dtypes);
    (model, ranges)
}

/// The values of every tensor, computed by the definition of each op in float64 and rounded to the
/// tensor's type after every step.
fn evaluate(graph: &Graph, inputs: &[ArrayD<f64>]) -> Vec<Option<ArrayD<f64>>> {
    let mut made: Vec<Option<ArrayD<f64>>> = vec![None; graph.types.len()];
    for (index, tensor) in graph.tensors.iter().enumerate() {
        let format = graph.types[index].dtype.float_format();
        let round = |value: f64| format.map_or(value, |format| format.round(value));
        made[index] = match tensor.kind {
            TensorKind::Input(input) => Some(inputs[input as usize].mapv(round)),
            TensorKind::Constant(value) => Some(ArrayD::from_elem(IxDyn(&[]), value)),
            _ => None,
        };
    }
    for id in graph.node_ids() {
        let value = evaluate_node(graph, id, &made);
        made[graph.node(id).first_output.0 as usize] = Some(value);
    }
    made
}

fn evaluate_node(graph: &Graph, id: NodeId, made: &[Option<ArrayD<f64>>]) -> ArrayD<f64> {
    let node = graph.node(id);
    let output = graph.ty(node.first_output);
    let sizes: Vec<usize> = output.shape.sizes().iter().map(|&n| n as usize).collect();
    let wide = opmath(output.dtype);
    let round = |value: f64| {
        output
            .dtype
            .float_format()
            .map_or(value, |format| format.round(value))
    };
    let step = |value: f64| wide.map_or(value, |format| format.round(value));
    let operands: Vec<&ArrayD<f64>> = node
        .arguments
        .iter()
        .map(|argument| made[argument.0 as usize].as_ref().unwrap())
        .collect();
    let x = operands[0];
    graph.with_call(node, |call| {
        if let Some(element) = node.op.element {
            let mut result = ArrayD::zeros(IxDyn(&sizes));
            let views: Vec<_> = node
                .arguments
                .iter()
                .zip(&operands)
                .map(|(&argument, operand)| {
                    let scalar = graph.constant(argument).is_some();
                    let value = operand.mapv(|value| if scalar { step(value) } else { value });
                    value.broadcast(IxDyn(&sizes)).unwrap().to_owned()
                })
                .collect();
            for (index, result) in result.indexed_iter_mut() {
                let values: Vec<f64> = views.iter().map(|view| view[&index]).collect();
                *result = round(element(call, &values));
            }
            return result;
        }
        let sum = |lane: &mut dyn Iterator<Item = f64>| lane.fold(0.0, |sum, x| step(sum + x));
        let reduce = |f: &dyn Fn(Vec<f64>) -> f64| {
            let axes = call.axes("dim", call.shape(0).unwrap()).unwrap();
            let result = if axes.len() == x.ndim() {
                ArrayD::from_elem(IxDyn(&[]), f(x.iter().copied().collect()))
            } else {
                assert_eq!(axes.len(), 1, "one axis or all");
                x.map_axis(Axis(axes[0]), |lane| f(lane.to_vec()))
            };
            let rounded = result.mapv(round);
            rounded.into_shape_with_order(IxDyn(&sizes)).unwrap()
        };
        let count = |values: &[f64]| values.len() as f64;
        match node.op.name {
            "sum" => reduce(&|values| sum(&mut values.into_iter())),
            "mean" => reduce(&|values| step(sum(&mut values.iter().copied()) / count(&values))),
            "amax" => reduce(&|values| values.into_iter().fold(f64::NEG_INFINITY, f64::max)),
            "amin" => reduce(&|values| values.into_iter().fold(f64::INFINITY, f64::min)),
            "norm" => {
                reduce(&|values| step(sum(&mut values.into_iter().map(|x| step(x * x))).sqrt()))
            }
            "var" => reduce(&|values| {
                let mean = step(sum(&mut values.iter().copied()) / count(&values));
                let squares = values.iter().map(|x| step(step(x - mean).powi(2)));
                step(sum(&mut squares.collect::<Vec<_>>().into_iter()) / (count(&values) - 1.0))
            }),
            "softmax" => {
                let axis = Axis(call.axis("dim", call.shape(0).unwrap()).unwrap());
                let mut result = x.clone();
                for mut lane in result.lanes_mut(axis) {
                    let most = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    lane.mapv_inplace(|x| step(step(x - most).exp()));
                    let total = sum(&mut lane.to_vec().into_iter());
                    lane.mapv_inplace(|x| round(step(x / total)));
                }
                result
            }
            "transpose" => x.t().to_owned(),
            "matmul" => {
                let (n, k) = (x.shape()[0], x.shape()[1]);
                let y = operands[1];
                let m = y.shape()[1];
                let mut result = ArrayD::zeros(IxDyn(&[n, m]));
                for i in 0..n {
                    for j in 0..m {
                        let mut terms = (0..k).map(|k| step(x[[i, k]] * y[[k, j]]));
                        result[[i, j]] = round(sum(&mut terms));
                    }
                }
                result
            }
            "unsqueeze" | "reshape" => x.clone().into_shape_with_order(IxDyn(&sizes)).unwrap(),
            name => panic!("the test does not know `{name}`"),
        }
    })
}

const UNARY: &[&str] = &[
    "exp({})",
    "log({})",
    "sqrt({})",
    "abs({})",
    "tanh({})",
    "sigmoid({})",
    "relu({})",
    "square({})",
    "reciprocal({})",
    "rsqrt({})",
    "floor({})",
    "softplus({})",
    "clamp({}, min=-2, max=2)",
    "(-{})",
    "({} ** 2)",
    "({} ** 3)",
    "({} ** 0.5)",
];
// These need axes, which a number does not have.
const ALONG: &[&str] = &[
    "softmax(x + {}, dim=-1)",
    "sum(x + {}, dim=-1, keepdim=True)",
    "mean(x * {}, dim=-1, keepdim=True)",
    "amax(x - {}, dim=0, keepdim=True)",
    "amin(x + {}, dim=-1, keepdim=True)",
    "norm(y + {}, dim=-1, keepdim=True)",
    "var(y + {}, dim=-1, keepdim=True)",
    "((x + {}) @ y.T @ (y * 0.1))",
    "where(y > 1, y, 1 + {})",
    // The relations.
    "((x * {}) - amax(x * {}, dim=-1, keepdim=True))",
    "exp((x * {}) - amax(x * {}, dim=-1).unsqueeze(-1))",
    "sum(exp(y - amax(y, dim=-1, keepdim=True)) + 0 * {}, dim=-1, keepdim=True)",
    "sum(exp((y + {}) - amax(y + {}, dim=-1, keepdim=True)))",
    "((x + {}) / norm(x + {}, dim=-1, keepdim=True))",
    "((y + {}) / (sqrt(sum((y + {}) ** 2, dim=-1, keepdim=True)) + 1e-3))",
    "((x + {}) * (x + {}))",
    "((x + {}) - floor(x + {}))",
];
const BINARY: &[&str] = &[
    "({} + [])",
    "({} - [])",
    "({} * [])",
    "({} / [])",
    "maximum({}, [])",
    "minimum({}, [])",
];

/// Formulas whose values have the shape [3, 4] or broadcast to it.
fn formula() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => Just("x".to_owned()),
        2 => Just("y".to_owned()),
        1 => prop_oneof![Just("2"), Just("0.5"), Just("1e-6"), Just("300"), Just("1")]
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            (prop::sample::select(UNARY), inner.clone()).prop_map(|(f, a)| f.replace("{}", &a)),
            (prop::sample::select(ALONG), inner.clone()).prop_map(|(f, a)| f.replace("{}", &a)),
            (prop::sample::select(BINARY), inner.clone(), inner)
                .prop_map(|(f, a, b)| f.replace("{}", &a).replace("[]", &b)),
        ]
    })
}

fn range() -> impl Strategy<Value = (f64, f64)> {
    let end = prop::sample::select(&[
        -300.0, -20.0, -3.0, -1.0, -0.5, 0.0, 1e-3, 0.5, 1.0, 2.5, 12.0, 100.0,
    ]);
    (end.clone(), end).prop_map(|(a, b): (f64, f64)| (a.min(b), a.max(b)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Guards soundness: no value that a kernel gives lies outside the range of its tensor.
    #[test]
    fn ranges_contain_every_value(
        formula in formula(),
        dtype in prop::sample::select(&["float32", "float16", "bfloat16", "float64"][..]),
        x_range in range(),
        y_range in range(),
        points in prop::collection::vec(0.0f64..=1.0, 24),
        corner in 0usize..4,
    ) {
        let text = spec(&formula, dtype, &[("x", Some(x_range)), ("y", Some(y_range))]);
        let (model, ranges) = ranges_of(&text);
        let input = |(low, high): (f64, f64), points: &[f64]| {
            let at = |point: f64| match corner {
                0 => low,
                1 => high,
                2 => if point < 0.5 { low } else { high },
                _ => low + point * (high - low),
            };
            let values = points.iter().map(|&point| at(point)).collect();
            ArrayD::from_shape_vec(IxDyn(&[3, 4]), values).unwrap()
        };
        let made = evaluate(&model.graph, &[input(x_range, &points[..12]), input(y_range, &points[12..])]);
        for (index, values) in made.iter().enumerate() {
            let Some(values) = values else { continue };
            let known = ranges.known(TensorId(index as u32));
            for &value in values {
                prop_assert!(
                    known.interval().contains(value),
                    "{formula} in {dtype}: tensor {index} is {value:e}, outside {:?}; x in {x_range:?}, y in {y_range:?}",
                    known
                );
            }
        }
    }
}

/// The range of a formula of `x` in [-3, 300], `p` in [0, 1], and `u`, of which nothing is said.
fn check(cases: &[(&str, &str, &str)]) {
    for (formula, dtype, expected) in cases {
        let inputs = [
            ("x", Some((-3.0, 300.0))),
            ("p", Some((0.0, 1.0))),
            ("u", None),
        ];
        let (model, ranges) = ranges_of(&spec(formula, dtype, &inputs));
        let known = ranges.known(model.graph.outputs[0]);
        let interval = known.assuming_finite();
        let mark = match (known.tainted, interval.non_finite) {
            (true, _) => " tainted",
            (false, true) => " or not finite",
            _ => "",
        };
        let declared = if known.declared { "" } else { " assumed" };
        assert_eq!(
            format!("{interval}{mark}{declared}"),
            *expected,
            "{formula} in {dtype}"
        );
    }
}

#[test]
fn relations_hold_without_any_range() {
    check(&[
        ("u", "float32", "[-∞, ∞] assumed"),
        (
            "u - amax(u, dim=-1, keepdim=True)",
            "float32",
            "[-∞, 0] assumed",
        ),
        (
            "exp(u - amax(u, dim=-1, keepdim=True))",
            "float32",
            "[0, 1] assumed",
        ),
        // The maximum is not beside its row: 3 numbers do not lie over 4 columns.
        (
            "u[:, :3] - amax(u[:, :3], dim=-1)",
            "float32",
            "[-∞, ∞] assumed",
        ),
        (
            "sum(exp(u - amax(u, dim=-1, keepdim=True)), dim=-1)",
            "float32",
            "[1, 4] assumed",
        ),
        // Another axis: a row may not hold its column's maximum.
        (
            "sum(exp(u - amax(u, dim=0, keepdim=True)), dim=-1)",
            "float32",
            "[0, 4] assumed",
        ),
        ("u * u", "float32", "[0, ∞] assumed"),
        ("mean(u ** 2, dim=-1)", "float32", "[0, ∞] assumed"),
        (
            "u / norm(u, dim=-1, keepdim=True)",
            "float32",
            "[-1, 1] or not finite assumed",
        ),
        ("u - u", "float32", "[0, 0] assumed"),
        ("where(u > 1, u, 1)", "float32", "[1, ∞] assumed"),
        ("where(u <= 1e-3, 1e-3, u)", "float32", "[0.001, ∞] assumed"),
        ("einsum('ij,ij->i', u, u)", "float32", "[0, ∞] assumed"),
        ("einsum('ij,ik->jk', u, u)", "float32", "[-∞, ∞] assumed"),
    ]);
}

#[test]
fn ends_lie_on_the_grid_of_the_type() {
    check(&[
        // 1 - 1e-10 is 1 in float32 and not in float64.
        ("1 - 1e-10 * p", "float32", "[1, 1]"),
        ("1e-10 + 1 - p", "float32", "[0, 1]"),
        // 1e-8 is 0 in float16, and so its logarithm is not finite.
        ("p + 1e-8", "float16", "[0, 1]"),
        ("log(p + 1e-8)", "float16", "[-∞, 0] or not finite"),
        ("log(p + 1e-8)", "float32", "[-18.4207, 0]"),
        // exp(300) overflows; what depends on it says so.
        ("exp(x)", "float32", "[0.0498, 3.403e38] or not finite"),
        ("exp(x) + 1", "float32", "[1.0498, 3.403e38] tainted"),
        ("exp(x)", "float64", "[0.0498, 1.942e130]"),
        ("x * x", "float32", "[0, 90000]"),
        ("x * x", "float16", "[0, 65504] or not finite"),
        ("x * x", "bfloat16", "[0, 90112]"),
        // The sigmoid is 1 from 17.33 on in float32.
        ("1 - sigmoid(x)", "float32", "[0, 0.9526]"),
        (
            "1 / (1 - sigmoid(x))",
            "float32",
            "[1.0498, ∞] or not finite",
        ),
        ("x.to(int64)", "float32", "[-3, 300]"),
        ("x.to(int8)", "float32", "[-128, 127]"),
    ]);
}
