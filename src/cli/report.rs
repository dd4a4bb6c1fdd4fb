//! `report SPEC`: what a model and its run cost.

use clap::builder::PossibleValuesParser;

use super::console::Console;
use super::specs::{Read, SpecArguments};
use super::status::{Status, Stop};
use crate::facts::Facts;
use crate::render::capacity::CAPACITY_FORMATS;
use crate::report::CapacityReport;

/// Show what a model costs
#[derive(Debug, clap::Args)]
pub(super) struct Report {
    #[command(flatten)]
    spec: SpecArguments,
    /// How to write it
    #[arg(long, value_name = "FORMAT", default_value = CAPACITY_FORMATS[0].name())]
    #[arg(value_parser = PossibleValuesParser::new(CAPACITY_FORMATS.map(|format| format.name())))]
    output: String,
    /// Add what lives after each call of a step
    #[arg(long)]
    timeline: bool,
}

impl Report {
    pub fn run(self, console: &mut Console<'_>) -> Result<Status, Stop> {
        let Read { spec, model } = match self.spec.read(console)? {
            Ok(read) => read,
            Err(status) => return Ok(status),
        };
        let facts = Facts::new(&spec, &model);
        let mut report = CapacityReport::of(&facts);
        // The page draws it.
        if self.timeline || self.output == "html" {
            report = report.with_timeline(&facts);
        }
        let named = CAPACITY_FORMATS
            .iter()
            .find(|format| format.name() == self.output);
        if let Some(format) = named {
            console.print(&format.to_text(&report, console.layout))?;
        }
        Ok(Status::Success)
    }
}
