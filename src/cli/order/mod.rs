//! `order EXPRESSION|SPEC`: in which order to multiply.

mod spec;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Form;
use super::console::{Console, Style, paint};
use super::specs::{OverlayArguments, SpecArguments};
use super::status::{Complaint, Status, Stop};
use super::table::{Align, table};
use crate::facts::order::einsum::Cost;
use crate::facts::order::expression::{
    Candidate, ExpressionError, OrderAnswer, OrderProblem, parse_expression,
};
use crate::import::Format;
use crate::quantity::group;
use crate::render::{Layout, visible};

/// Find the best order of a product of matrices or of an einsum, or of those of a model
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Order {
    /// A product with the shape of each operand, or a spec or model; `-` is one on standard input
    #[arg(value_name = "EXPRESSION|SPEC")]
    expression: String,
    /// List every order of an expression, where there are few
    #[arg(long, conflicts_with_all = ["with", "variant", "set"])]
    all: bool,
    #[command(flatten)]
    overlay: OverlayArguments,
    /// How to write the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Form,
}

const EXAMPLES: &str = "\
Examples:
  plimsoll order 'A[100, 5] @ B[5, 200] @ C[200, 20]'
  plimsoll order 'q[8, 1024, 64] @ k[8, 1024, 64].mT @ v[8, 1024, 64]'
  plimsoll order model.model.toml
  plimsoll order 'einsum(\"ij,jk,kl->il\", A[100, 5], B[5, 200], C[200, 20])'";

/// Characters of the expression that are shown before and behind a fault.
const EXCERPT: usize = 30;

impl Order {
    pub fn run(self, console: &mut Console<'_>) -> Result<Status, Stop> {
        let text = self.expression.as_str();
        let overlay = self.overlay.clone();
        if text == "-" || is_file(text) {
            if self.all {
                let message = "`--all` lists the orders of an expression, not those of a spec";
                return Err(Complaint::new(message).into());
            }
            let path = PathBuf::from(text);
            return spec::run(&SpecArguments { path, overlay }, self.output, console);
        }
        if !overlay.is_empty() {
            let message =
                "`--with`, `--variant` and `--set` are for specs, and this is an expression";
            return Err(Complaint::new(message).into());
        }
        let problem = match parse_expression(text) {
            Ok(problem) => problem,
            Err(error) => {
                console.complain(&Complaint::new(error.message.clone()));
                console.print_error(&excerpt(text, &error));
                return Ok(Status::Failure);
            }
        };
        let answer = problem
            .answer()
            .map_err(|error| Complaint::new(error.to_string()))?;
        let text = match self.output {
            Form::Json => super::json(&self.record(&problem, &answer)),
            Form::Text => self.text(&problem, &answer, console.layout),
        };
        console.print(&text)?;
        Ok(Status::Success)
    }

    fn text(&self, problem: &OrderProblem, answer: &OrderAnswer, layout: Layout) -> String {
        let best = &answer.best;
        let row = |name: &str, order: &str, cost: Cost| {
            vec![
                name.to_owned(),
                order.to_owned(),
                group(cost.multiplications),
                group(cost.flops),
                ratio(cost, best.cost),
            ]
        };
        let named = |name: &str, order: &Candidate| row(name, &order.text, order.cost);
        let mut rows = Vec::new();
        // An einsum is written in no order; it is taken to go from left to right.
        let is_product = matches!(problem, OrderProblem::Product(_));
        if is_product && answer.written.text != answer.left_to_right.text {
            rows.push(named("as written", &answer.written));
        }
        rows.push(named("left to right", &answer.left_to_right));
        if let Some(cost) = answer.at_once {
            rows.push(row("all at once", "one loop over all indices", cost));
        }
        rows.push(named("best", best));
        let mut text = table(&head("order"), &rows, layout);
        text.push('\n');
        text.push_str(&verdict(problem, answer, layout));
        if let Some(path) = &answer.path {
            let steps: Vec<String> = path.iter().map(|(a, b)| format!("({a}, {b})")).collect();
            text.push_str(&format!("path: [{}]\n", steps.join(", ")));
        }
        if self.all && answer.orders.is_empty() {
            let count = count(answer.order_count);
            text.push_str(&format!("There are {count} orders, too many to list.\n"));
        } else if self.all {
            let numbered = answer.orders.iter().zip(1..);
            let rows: Vec<Vec<String>> = numbered
                .map(|(order, number)| named(&number.to_string(), order))
                .collect();
            text.push('\n');
            text.push_str(&table(&head("every order"), &rows, layout));
        }
        text
    }

    fn record<'a>(&self, problem: &OrderProblem, answer: &'a OrderAnswer) -> Record<'a> {
        let candidate = CandidateRecord::of;
        Record {
            version: 1,
            operands: problem.names(),
            written: candidate(&answer.written),
            left_to_right: candidate(&answer.left_to_right),
            best: candidate(&answer.best),
            proved: answer.proved,
            worst: answer.worst.as_ref().map(candidate),
            at_once: answer.at_once.map(CostRecord::of),
            path: answer.path.as_deref(),
            order_count: answer.order_count,
            orders: self
                .all
                .then(|| answer.orders.iter().map(candidate).collect()),
        }
    }
}

#[derive(Serialize)]
struct Record<'a> {
    version: u32,
    operands: Vec<String>,
    written: CandidateRecord<'a>,
    left_to_right: CandidateRecord<'a>,
    best: CandidateRecord<'a>,
    proved: bool,
    worst: Option<CandidateRecord<'a>>,
    at_once: Option<CostRecord>,
    path: Option<&'a [(usize, usize)]>,
    order_count: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    orders: Option<Vec<CandidateRecord<'a>>>,
}

#[derive(Serialize)]
struct CandidateRecord<'a> {
    order: &'a str,
    #[serde(flatten)]
    cost: CostRecord,
}

#[derive(Serialize)]
struct CostRecord {
    multiplications: u128,
    flops: u128,
}

impl<'a> CandidateRecord<'a> {
    fn of(candidate: &'a Candidate) -> CandidateRecord<'a> {
        CandidateRecord {
            order: &candidate.text,
            cost: CostRecord::of(candidate.cost),
        }
    }
}

impl CostRecord {
    fn of(cost: Cost) -> CostRecord {
        CostRecord {
            multiplications: cost.multiplications,
            flops: cost.flops,
        }
    }
}

fn head(title: &str) -> [(&str, Align); 5] {
    [
        ("", Align::Left),
        (title, Align::Left),
        ("multiplications", Align::Right),
        ("FLOPs", Align::Right),
        ("ratio", Align::Right),
    ]
}

/// What it comes to, in a sentence or two.
fn verdict(problem: &OrderProblem, answer: &OrderAnswer, layout: Layout) -> String {
    let best = paint(layout, Style::Bold, &format!("`{}`", answer.best.text));
    let proof = Proof(answer.proved);
    let written = answer.written.cost;
    let operands = problem.names().len();
    match (written.multiplications, answer.best.cost.multiplications) {
        _ if operands < 3 => format!("With {operands} operands there is one order only.\n"),
        (written, best) if written == best => {
            format!("As it is written, it is {proof}.\n")
        }
        _ => format!(
            "{best} takes {} multiplications instead of {}; it is {proof}.\n",
            group(answer.best.cost.multiplications),
            group(written.multiplications),
        ),
    }
}

/// How many times the multiplications of the best.
fn ratio(cost: Cost, best: Cost) -> String {
    match (cost.multiplications, best.multiplications) {
        (own, best) if own == best => "1".to_owned(),
        (_, 0) => "∞".to_owned(),
        (own, best) => ratio_text(own as f64 / best as f64),
    }
}

fn ratio_text(ratio: f64) -> String {
    match ratio {
        1.0 => "1".to_owned(),
        ..1.005 => format!("{ratio:.4}"),
        ..10.0 => format!("{ratio:.2}"),
        ..100.0 => format!("{ratio:.1}"),
        _ => group(ratio.round() as u128),
    }
}

/// How sure it is that an order is the best.
struct Proof(bool);

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            true => "proved optimal: no order takes fewer multiplications",
            false => "the best found; there are too many operands to prove it optimal",
        })
    }
}

fn count(orders: u128) -> String {
    match orders {
        u128::MAX => "more than 10^38".to_owned(),
        orders => group(orders),
    }
}

fn is_file(text: &str) -> bool {
    text.ends_with(".toml") || Format::of(text).is_some() || Path::new(text).is_file()
}

/// The place of a fault, underlined, and what to do.
fn excerpt(text: &str, error: &ExpressionError) -> String {
    let text = visible::one_line(text);
    let at = |offset: usize| {
        text.get(..offset)
            .map_or(0, |before| before.chars().count())
    };
    let (start, end) = (at(error.span.start), at(error.span.end));
    let first = start.saturating_sub(EXCERPT);
    let length = (start - first) + (end - start).min(EXCERPT) + EXCERPT;
    let characters = text.chars().count();
    let shown: String = text.chars().skip(first).take(length).collect();
    let before = if first > 0 { "…" } else { "" };
    let behind = if first + length < characters {
        "…"
    } else {
        ""
    };
    let indent = " ".repeat(start - first + before.chars().count());
    let marks = "^".repeat((end - start).clamp(1, EXCERPT));
    let help = error.help.iter();
    let help: String = help.map(|help| format!("  help: {help}\n")).collect();
    format!("  {before}{shown}{behind}\n  {indent}{marks}\n{help}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        let error = parse_expression(text).unwrap_err();
        format!("{error}\n{}", excerpt(text, &error))
    }

    #[test]
    fn faults_are_underlined() {
        let long = format!("{} @ ? @ B", ["A[2, 2]"; 20].join(" @ "));
        let texts = ["A[100, 5] @ B[6, 200]", &long, "é[2, 3] @", "A @ A"];
        insta::assert_snapshot!(texts.map(check).join("\n"), @r"
        A is [100, 5], B is [6, 200]: 5 ≠ 6
          A[100, 5] @ B[6, 200]
          ^^^^^^^^^^^^^^^^^^^^^

        `?` has no meaning here
          …A[2, 2] @ A[2, 2] @ A[2, 2] @ ? @ B
                                         ^

        expected an operand, found the end
          é[2, 3] @
                   ^

        `A` has no shape
          A @ A
          ^
          help: write its sizes behind it: `A[100, 5]`
        ");
    }

    #[test]
    fn ratios_have_three_digits_or_all() {
        let cost = |multiplications| Cost {
            multiplications,
            flops: 0,
        };
        for (own, best, text) in [
            (500_000, 30_000, "16.7"),
            (5, 5, "1"),
            (0, 0, "1"),
            (5, 0, "∞"),
            (100_001, 100_000, "1.0000"),
            (15, 10, "1.50"),
            (1_234_567, 1, "1,234,567"),
        ] {
            assert_eq!(ratio(cost(own), cost(best)), text);
        }
    }
}
