//! What the lines of the engine come to.

use super::verification;
use crate::facts::Facts;
use crate::facts::fixture::lowered;
use crate::verify::{Claim, Tally, Verification};

const SPEC: &str = r#"
spec = 1

[model]
name = "small"

[inputs]
x = [2, 3]

[[layers]]
name = "y"
op = "linear"
out_features = 4

[[layers]]
name = "loss"
op = "mean"
"#;

const FIRST: &str = r#"{"version": 1, "torch": "2.0"}"#;
const LAST: &str = r#"{"done": true}"#;

fn held(lines: &[&str]) -> Result<Verification, String> {
    let (spec, model) = lowered(SPEC);
    verification(&spec, &Facts::new(&spec, &model), &lines.join("\n"))
}

fn tally(of: &Verification, claim: Claim) -> Tally {
    let found = of.tallies.iter().find(|(other, _)| *other == claim);
    found.map(|(_, tally)| tally.clone()).unwrap()
}

/// Guards what the engine is for: figures that differ are contradicted, and the others are not.
#[test]
fn a_wrong_figure_is_contradicted() {
    let parameters = r#"{"claim": "parameters", "parameters": 16, "trainable": 15, "buffers": 0}"#;
    let flops = r#"{"claim": "forward", "flops": 48}"#;
    let backward = r#"{"claim": "backward", "unchecked": "no GPU"}"#;
    let found = held(&[FIRST, parameters, flops, backward, LAST]).unwrap();
    let counts = tally(&found, Claim::Parameters);
    assert_eq!(counts.confirmed, 2);
    assert_eq!(counts.contradicted[0].found, "15 trained parameters");
    assert_eq!(tally(&found, Claim::Flops).confirmed, 1);
    let unchecked = tally(&found, Claim::BackwardFlops).unchecked;
    assert_eq!(unchecked, [("no GPU".to_owned(), 1)]);
    // What no answer speaks of is not passed over.
    assert_eq!(tally(&found, Claim::Shape).unchecked.len(), 1);
    assert!(found.is_contradicted());
}

/// Guards against taking noise, other versions and half an answer for one.
#[test]
fn what_is_no_answer_is_refused() {
    for (lines, expected) in [
        (vec![], "nothing was answered"),
        (vec!["hello"], "line 1 of the answer is no answer"),
        (vec![r#"{"version": 2}"#, LAST], "not of version 1"),
        (vec![FIRST], "stops before its end"),
        (
            vec![r#"{"error": "No module named 'torch'"}"#],
            "No module named",
        ),
    ] {
        let why = held(&lines).unwrap_err();
        assert!(why.contains(expected), "{why}");
    }
}
