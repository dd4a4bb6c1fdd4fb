//! A claim that is wrong is found to be.

use super::cases::operands;
use super::{Claim, Limits, Outcome, Types, verify, verify_call};
use crate::facts::fixture::lowered;
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
