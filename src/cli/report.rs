//! `report SPEC`: what a model costs.

use serde_json::json;

use super::Form;
use super::console::Console;
use super::specs::{Read, SpecArguments};
use super::status::{Status, Stop};
use super::table::{Align, table};
use crate::facts::Facts;

/// Show what a model costs
#[derive(Debug, clap::Args)]
pub(super) struct Report {
    #[command(flatten)]
    spec: SpecArguments,
    /// How to write it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Form,
}

impl Report {
    pub fn run(self, console: &mut Console<'_>) -> Result<Status, Stop> {
        let Read { spec, model } = match self.spec.read(console)? {
            Ok(read) => read,
            Err(status) => return Ok(status),
        };
        let facts = Facts::new(&spec, &model);
        let cost = facts.cost();
        let text = match self.output {
            Form::Json => super::json(&json!({
                "version": 1,
                "model": { "name": spec.model.name.value },
                "parameters": {
                    "count": cost.parameters,
                    "trainable": cost.trainable,
                    "bytes": cost.parameter_bytes,
                },
                "buffers": { "bytes": cost.buffer_bytes },
                "flops": {
                    "forward": cost.forward,
                    "backward": cost.backward,
                    "other_forward": cost.other_forward,
                },
            })),
            Form::Text => {
                let rows = [
                    ("parameters", cost.parameters.to_string()),
                    ("trainable", cost.trainable.to_string()),
                    ("parameter bytes", cost.parameter_bytes.to_string()),
                    ("buffer bytes", cost.buffer_bytes.to_string()),
                    ("forward", cost.forward.to_string()),
                    ("backward", cost.backward.to_string()),
                    (
                        "forward, other than products",
                        cost.other_forward.to_string(),
                    ),
                ];
                let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
                let head = [("", Align::Left), ("", Align::Right)];
                table(&head, &rows, console.layout)
            }
        };
        console.print(&text)?;
        Ok(Status::Success)
    }
}
