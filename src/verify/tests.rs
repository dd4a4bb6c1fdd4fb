//! A claim that is wrong is found to be.

use super::cases::operands;
use super::memory::step;
use super::run::{Plan, sources};
use super::{Claim, Limits, Outcome, Types, verify, verify_call};
use crate::facts::Facts;
use crate::facts::fixture::lowered;
use crate::facts::timeline::Inputs;
use crate::ops::gradient::Kernels;
use crate::ops::{Call, Op, Outputs, Work, cases};
use crate::tensor::Interval;

/// The claims that are contradicted when an op is changed.
fn contradicted(text: &str, change: impl Fn(&mut Op)) -> Vec<Claim> {
    cases::with(text, |call| {
        let mut op = *call.op;
        change(&mut op);
        // Calls refer to ops for ever; a test may leak one.
        let op: &'static Op = Box::leak(Box::new(op));
        let call = Call { op, ..*call };
        let verdicts = verify_call(&call, &operands(&call, &[], 7), 7);
        let wrong = verdicts
            .into_iter()
            .filter(|verdict| matches!(verdict.outcome, Outcome::Contradicted { .. }));
        wrong.map(|verdict| verdict.claim).collect()
    })
    .unwrap()
}

/// Guards the point of it all: a formula that is wrong in the table is caught, and by its own name.
#[test]
fn a_wrong_entry_is_caught() {
    let linear = "linear([2, 3, 4], out_features=5)";
    assert_eq!(contradicted(linear, |_| {}), []);
    assert_eq!(
        contradicted(linear, |op| op.work =
            |call| Work::products(u128::from(call.elements(0)))),
        [Claim::Flops]
    );
    assert_eq!(
        contradicted(linear, |op| op.backward = |_| 1),
        [Claim::BackwardFlops]
    );
    assert_eq!(
        contradicted(linear, |op| op.interval = |_, _| Interval::new(-0.1, 0.1)),
        [Claim::Range]
    );
    assert_eq!(
        contradicted(linear, |op| op.saved =
            |call, saved| saved.argument(call, 1)),
        [Claim::Saved]
    );
    assert_eq!(
        contradicted("tanh([3])", |op| op.element = Some(|_, x| x[0].atan())),
        [Claim::Element]
    );
    assert_eq!(
        contradicted("tanh([3])", |op| op.saved = |_, _| {}),
        [Claim::Saved]
    );
}

/// Guards shapes: a rule that infers another one than the kernel makes is caught.
#[test]
fn a_wrong_shape_is_caught() {
    cases::with("linear([2, 4], out_features=5)", |call| {
        let wrong: Outputs = call
            .outputs
            .iter()
            .map(|ty| crate::tensor::TensorType::new([5, 2], ty.dtype))
            .collect();
        let call = Call {
            outputs: &wrong,
            ..*call
        };
        let verdicts = verify_call(&call, &operands(&call, &[], 7), 7);
        assert!(matches!(verdicts[0].outcome, Outcome::Contradicted { .. }));
    })
    .unwrap();
}

const NETWORK: &str = r#"
spec = 1
[model]
name = "network"
[dims]
batch = 4
[inputs]
x = ["batch", 6]
targets = { shape = ["batch"], dtype = "int64" }
[[layers]]
op = "linear"
in = "x"
out_features = 8
[[layers]]
op = "tanh"
[[layers]]
op = "dropout"
p = 0.3
[[layers]]
name = "head"
op = "linear"
out_features = 5
[[layers]]
name = "loss"
op = "cross_entropy"
in = ["head", "targets"]
"#;

fn verified(change: impl Fn(&mut Op)) -> Vec<(Claim, usize, usize)> {
    let (spec, mut model) = lowered(NETWORK);
    for node in model.graph.dag.node_weights_mut() {
        let mut op = *node.op;
        change(&mut op);
        if op.name == "tanh" {
            node.op = Box::leak(Box::new(op));
        }
    }
    let result = verify(
        &spec,
        model,
        &[],
        Limits::SMALL,
        (Types::default(), 3),
        &mut |_, _| {},
    );
    result
        .tallies
        .iter()
        .map(|(claim, tally)| (*claim, tally.contradicted.len(), tally.unchecked.len()))
        .collect()
}

/// Guards a whole run: every claim of a small network is confirmed, bytes and all.
#[test]
fn a_network_holds() {
    let claims = verified(|_| {});
    assert_eq!(claims.len(), 9, "{claims:?}");
    for (claim, contradicted, unchecked) in claims {
        assert_eq!((contradicted, unchecked), (0, 0), "{claim:?}");
    }
}

/// Guards the walk backward: what an op does not keep is missed where the gradient needs it.
#[test]
fn an_op_that_keeps_too_little_spoils_the_gradient() {
    let claims = verified(|op| op.saved = |_, _| {});
    let of = |wanted: Claim| {
        let found = claims.iter().find(|(claim, ..)| *claim == wanted);
        found.map_or(0, |(_, contradicted, _)| *contradicted)
    };
    assert!(of(Claim::Saved) > 0, "{claims:?}");
    assert!(of(Claim::Gradient) > 0, "{claims:?}");
}

/// Guards the types that are asked for: results are rounded to the one, sums to the other, and
/// without either nothing is compared.
#[test]
fn fewer_digits_lose_more() {
    use crate::tensor::Dtype::{Bfloat16, Float8E5m2, Float16, Float32};
    let error = |stored, accumulate| {
        let (spec, model) = lowered(NETWORK);
        let types = Types { stored, accumulate };
        let limits = Limits::SMALL;
        let found = verify(&spec, model, &[], limits, (types, 3), &mut |_, _| {});
        let rounding = found.rounding?;
        let errors = rounding.picture?.values;
        errors.first().copied()
    };
    assert_eq!(error(None, None), None);
    let exact = error(Some(Float32), None).unwrap();
    let half = error(Some(Float16), None).unwrap();
    let brain = error(Some(Bfloat16), None).unwrap();
    let byte = error(Some(Float8E5m2), None).unwrap();
    assert!(0.0 < exact && exact < half && half < brain && brain < byte);
    let summed = error(Some(Float32), Some(Bfloat16)).unwrap();
    assert!(summed > 10.0 * exact, "{summed} {exact}");
    assert!(error(None, Some(Bfloat16)).unwrap() > 10.0 * exact);
}

/// Guards against claims of ranges that only roundings contradict: a number of the spec is rounded to
/// the type that a kernel computes in, as PyTorch does; and against constants that are not known, of
/// which 0 would make a NaN of what is divided by them.
#[test]
fn ranges_hold_to_the_last_place() {
    for formula in [
        "exp(-arange(32) / 32 * 9.2)",
        "x / log(empty(1))",
        "x / sqrt(empty([], dtype=int64) * 3)",
        "cumsum(x * 3.7, dim=0, dtype=int64)",
    ] {
        let text = format!(
            "spec = 1\n[model]\nname = \"ranges\"\n[inputs]\nx = {{ shape = [8], range = [0, 1] }}\n\
             [[layers]]\nname = \"y\"\nformula = \"{formula}\"\n"
        );
        let (spec, model) = lowered(&text);
        let types = (Types::default(), 3);
        let result = verify(&spec, model, &[], Limits::SMALL, types, &mut |_, _| {});
        for (claim, tally) in &result.tallies {
            assert!(
                tally.contradicted.is_empty(),
                "{formula}: {claim:?} {tally:?}"
            );
        }
    }
}

/// Layers of which two are recomputed, with a tied weight, as one micro-batch of several in a lower type.
const STEP: &str = r#"
spec = 1
[model]
name = "step"
[dims]
batch = 4
[inputs]
x = ["batch", 6]
targets = { shape = ["batch"], dtype = "int64" }
[params]
weight = [6, 6]
[blocks.body]
inputs = ["x"]
[[blocks.body.layers]]
name = "mask"
formula = "(x > 0.0) * 1.0"
[[blocks.body.layers]]
name = "wide"
op = "linear"
in = "x"
out_features = 12
[[blocks.body.layers]]
op = "gelu"
[[blocks.body.layers]]
op = "dropout"
p = 0.2
[[blocks.body.layers]]
name = "narrow"
op = "linear"
out_features = 6
[[blocks.body.layers]]
name = "sum"
formula = "x + narrow * mask"
[[layers]]
name = "first"
formula = "x @ weight"
[[layers]]
name = "body"
op = "body"
repeat = 2
[[layers]]
name = "head"
formula = "relu(body @ weight.transpose(0, 1))"
[[layers]]
name = "loss"
op = "cross_entropy"
in = ["head", "targets"]
[train]
precision = "amp-bf16"
micro_batch = "batch"
grad_accumulation = 2
checkpoint = ["body"]
"#;

/// The timeline of one text, held to a run of another one with the same calls: how many moments
/// agree, and whether all of them do.
fn agreed(claimed: &str, ran: &str) -> (usize, bool) {
    let ((spec, model), (other_spec, other)) = (lowered(claimed), lowered(ran));
    let (facts, others) = (Facts::new(&spec, &model), Facts::new(&other_spec, &other));
    let inputs = Inputs {
        kernels: Kernels::Device,
        ..facts.timeline()
    };
    let plan = Plan {
        graph: &other.graph,
        liveness: others.liveness(),
        dtypes: others.dtypes(),
        storages: others.storages(),
    };
    let drawn = sources(&other.graph, others.ranges(), 3);
    let [kept, live] = step(
        (facts.saved(), inputs),
        (plan, &drawn, 3),
        &mut || {},
        |_| String::new(),
    );
    let both = [kept.2, live.2]
        .iter()
        .all(|outcome| *outcome == Outcome::Confirmed);
    (live.1, both)
}

/// Guards the step as it is planned: recomputed layers, copies of autocast and the gradients of
/// earlier micro-batches are run, and a timeline that leaves one of them out is contradicted.
#[test]
fn a_step_is_run_as_planned() {
    let without = |line: &str| {
        assert!(STEP.contains(line));
        STEP.replace(line, "")
    };
    let (moments, holds) = agreed(STEP, STEP);
    assert!(holds);
    let single = without("grad_accumulation = 2\n");
    assert_eq!(agreed(&single, &single), (moments / 2, true));
    for other in [
        without("checkpoint = [\"body\"]\n"),
        without("precision = \"amp-bf16\"\n"),
    ] {
        assert_eq!(agreed(&other, &other), (moments, true));
        assert!(!agreed(&other, STEP).1);
        assert!(!agreed(STEP, &other).1);
    }
}

/// What is contradicted of a model, and why something of it is not checked.
fn judged(text: &str) -> (Vec<String>, Vec<String>) {
    let (spec, model) = lowered(text);
    let types = (Types::default(), 3);
    let result = verify(&spec, model, &[], Limits::SMALL, types, &mut |_, _| {});
    let tallies = || result.tallies.iter();
    let wrong = tallies().flat_map(|(_, tally)| &tally.contradicted);
    let open = tallies().flat_map(|(_, tally)| &tally.unchecked);
    (
        wrong.map(|one| format!("{one:?}")).collect(),
        open.map(|one| format!("{one:?}")).collect(),
    )
}

/// Guards the row of `padding_idx` in a whole model: it gets no gradient though the loss depends on
/// it, so differences along a direction are no witness.
#[test]
fn a_padding_row_contradicts_no_gradient() {
    let (wrong, open) = judged(
        r#"
spec = 1

[inputs]
tokens = { shape = [8, 4], dtype = "int64" }

[[layers]]
name = "table"
op = "embedding"
num_embeddings = 3
embedding_dim = 4
padding_idx = 0
in = "tokens"

[[layers]]
name = "loss"
formula = "(table * table).mean()"
"#,
    );
    assert_eq!(wrong, Vec::<String>::new());
    assert!(
        open.iter().any(|why| why.contains("padding_idx")),
        "{open:?}"
    );
}

/// Guards masks that are filled with -∞ as far as a triangle: the fill is not finite by itself.
#[test]
fn a_fill_of_infinities_has_a_range() {
    let (wrong, _) = judged(
        r#"
spec = 1

[model]
outputs = ["y"]

[inputs]
x = { shape = [4, 4] }

[[layers]]
name = "y"
formula = "full([4, 4], -inf).triu(1) + x"
"#,
    );
    assert_eq!(wrong, Vec::<String>::new());
}

/// The verdict on the gradient of a call, with operands changed.
fn gradient(
    text: &str,
    change: impl Fn(&mut Vec<Option<std::rc::Rc<crate::kernels::Array>>>),
) -> Outcome {
    cases::with(text, |call| {
        let mut given = operands(call, &[], 7);
        change(&mut given);
        let verdicts = verify_call(call, &given, 7);
        let mut found = verdicts
            .into_iter()
            .filter(|verdict| verdict.claim == Claim::Gradient);
        found.next().unwrap().outcome
    })
    .unwrap()
}

/// Guards elements beside an infinity, as of scores under a mask: the difference of two sums that
/// hold one is NaN, and says nothing of the others.
#[test]
fn infinities_leave_other_gradients_checked() {
    let found = gradient("add([6], [6])", |given| {
        let mut mask = crate::kernels::Array::zeros(vec![6]);
        mask[[2]] = f64::NEG_INFINITY;
        given[1] = Some(std::rc::Rc::new(mask));
    });
    assert!(matches!(found, Outcome::Confirmed), "{found:?}");
}

/// Guards groups of heads in a fused kernel: what is kept of key and value has one shape, so the
/// backward pass comes out.
#[test]
fn groups_of_heads_have_gradients() {
    let text = "scaled_dot_product_attention([2, 4, 5, 8], [2, 2, 7, 8], [2, 2, 7, 8], enable_gqa=true) fused";
    let found = gradient(text, |_| {});
    assert!(matches!(found, Outcome::Confirmed), "{found:?}");
}
