//! `export SPEC`: a model as another program reads or draws it.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;

use super::console::Console;
use super::specs::{Read, SpecArguments};
use super::status::{Complaint, Status, Stop};
use crate::export::{Options, TARGETS};

/// Write a model for another program
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    spec: SpecArguments,
    /// What to write
    #[arg(long, value_name = "TARGET")]
    #[arg(value_parser = PossibleValuesParser::new(TARGETS.iter().map(|target| target.name)))]
    to: String,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// In drawings, show layers so deep in each other and no deeper
    #[arg(long, value_name = "N")]
    depth: Option<usize>,
}

impl Export {
    pub fn run(self, console: &mut Console<'_>) -> Result<Status, Stop> {
        let Read { spec, model } = match self.spec.read(console)? {
            Ok(read) => read,
            Err(status) => return Ok(status),
        };
        let Some(target) = TARGETS.iter().find(|target| target.name == self.to) else {
            return Err(Complaint::new(format!("there is no target `{}`", self.to)).into());
        };
        let options = Options { depth: self.depth };
        let exported = (target.export)(&spec, &model, options);
        for note in &exported.notes {
            console.print_error(&format!("note: {note}\n"));
        }
        match &self.output {
            Some(path) => std::fs::write(path, &exported.text).map_err(|error| {
                Complaint::new(format!("`{}` cannot be written: {error}", path.display()))
            })?,
            None => console.print(&exported.text)?,
        }
        Ok(Status::Success)
    }
}
