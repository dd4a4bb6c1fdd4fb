//! `order SPEC`: the products that a model really computes.

use serde::Serialize;

use super::{Proof, ratio_text};
use crate::cli::Form;
use crate::cli::console::{Console, Style, paint};
use crate::cli::specs::{Read, SpecArguments};
use crate::cli::status::{Status, Stop};
use crate::cli::table::{Align, table};
use crate::facts::Facts;
use crate::facts::chains::{ListedCost, ListedOrder, listing};
use crate::quantity::{Bytes, group};
use crate::render::{Layout, visible};

#[derive(Serialize)]
struct List<'a> {
    version: u32,
    orders: &'a [ListedOrder],
}

/// Lists the products of three or more factors in a model, with the best order of each.
pub(super) fn run(
    arguments: &SpecArguments,
    output: Form,
    console: &mut Console<'_>,
) -> Result<Status, Stop> {
    let Read { spec, model } = match arguments.read(console)? {
        Ok(read) => read,
        Err(status) => return Ok(status),
    };
    let facts = Facts::new(&spec, &model);
    let orders = listing(&spec, &model, facts.chains());
    let text = match output {
        Form::Json => crate::cli::json(&List {
            version: 1,
            orders: &orders,
        }),
        Form::Text if orders.is_empty() => {
            "The model has no product of three or more factors, so there is no order to choose.\n"
                .to_owned()
        }
        Form::Text => {
            let blocks: Vec<String> = orders
                .iter()
                .map(|order| block(order, console.layout))
                .collect();
            blocks.join("\n")
        }
    };
    console.print(&text)?;
    Ok(Status::Success)
}

/// One product: where it is, its order as written, and the best.
fn block(order: &ListedOrder, layout: Layout) -> String {
    let is_best = order.written.flops == order.best.flops;
    let row = |name: &str, cost: &ListedCost, ratio: &str| {
        let intermediate = match cost.largest_intermediate {
            Bytes(0) => "-".to_owned(),
            bytes => bytes.to_string(),
        };
        vec![
            name.to_owned(),
            visible::one_line(&cost.text).into_owned(),
            group(cost.flops.0),
            ratio.to_owned(),
            intermediate,
        ]
    };
    let ratio = order.ratio.map_or("∞".to_owned(), ratio_text);
    let mut rows = vec![row("as written", &order.written, &ratio)];
    if !is_best {
        rows.push(row("best", &order.best, "1"));
    }
    let head = [
        ("", Align::Left),
        ("order", Align::Left),
        ("FLOPs", Align::Right),
        ("ratio", Align::Right),
        ("largest intermediate", Align::Right),
    ];
    let place = paint(layout, Style::Heading, &visible::one_line(&order.path));
    let times = match order.instances {
        1 => String::new(),
        many => format!(" (×{many})"),
    };
    let proof = Proof(order.proved);
    let verdict = match is_best {
        true => format!("As it is written, it is {proof}."),
        false => format!("The best is {proof}."),
    };
    format!("{place}{times}\n{}{verdict}\n", table(&head, &rows, layout))
}
