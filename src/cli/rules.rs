//! `rules`: all rules.

use serde::Serialize;

use super::Form;
use super::console::Console;
use super::status::{Status, Stop};
use super::table::{Align, table};
use crate::diag::Level;
use crate::rules::{self, Rule};

/// List the rules
#[derive(Debug, clap::Args)]
pub(super) struct Rules {
    /// How to write them
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Form,
}

/// What programs are told of a rule.
#[derive(Serialize)]
pub(super) struct Record {
    pub name: &'static str,
    pub group: &'static str,
    pub level: Level,
    /// `none`, `safe` or `unsafe`.
    pub fix: &'static str,
    pub since: &'static str,
    pub summary: &'static str,
}

#[derive(Serialize)]
struct List {
    version: u32,
    rules: Vec<Record>,
}

impl Record {
    pub fn of(rule: &Rule) -> Record {
        Record {
            name: rule.name,
            group: rule.group(),
            level: rule.level,
            fix: rule.fix.name(),
            since: rule.since,
            summary: rule.summary,
        }
    }
}

impl Rules {
    pub fn run(self, console: &mut Console<'_>) -> Result<Status, Stop> {
        let text = match self.output {
            Form::Json => super::json(&List {
                version: 1,
                rules: rules::all().map(Record::of).collect(),
            }),
            Form::Text => {
                let row = |rule: &Rule| {
                    [rule.name, rule.level.name(), rule.fix.name(), rule.summary]
                        .map(str::to_owned)
                        .to_vec()
                };
                let rows: Vec<Vec<String>> = rules::all().map(row).collect();
                let head = ["rule", "level", "fix", "what it finds"];
                table(
                    &head.map(|title| (title, Align::Left)),
                    &rows,
                    console.layout,
                )
            }
        };
        console.print(&text)?;
        Ok(Status::Success)
    }
}
