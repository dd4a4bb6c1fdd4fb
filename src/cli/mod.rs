//! The command line: one file per command.
//!
//! This is the only part that reads files, the environment and standard input, and that prints.
//! It knows nothing of how anything is found or computed.

mod check;
mod collect;
mod console;
mod devices;
mod explain;
mod export;
mod import;
mod markdown;
mod names;
mod open;
mod order;
mod parallel;
mod read;
mod report;
mod rules;
mod specs;
mod status;
mod table;
mod verify;

use std::ffi::OsString;
use std::io;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;

pub use console::Streams;
pub use status::Status;

use console::{ColourChoice, Console};
use status::{Complaint, Stop};

/// Says, from a description of a neural network and of the run planned for it, what is wrong, what
/// it costs and what would be better.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, max_term_width = 100)]
#[command(after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// When to write colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_possible_values = true, help = COLOUR_HELP)]
    color: ColourChoice,
}

const COLOUR_HELP: &str = "When to write colours: auto, always or never";

const AFTER_HELP: &str = "\
Exit status:
  0  nothing found that is as bad as --fail-on
  1  something found that is
  2  bad usage, a path that cannot be read, or a fault of the program
  3  no spec found";

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
    Report(report::Report),
    Import(import::Import),
    Order(order::Order),
    Export(export::Export),
    Verify(verify::Verify),
    Explain(explain::Explain),
    Rules(rules::Rules),
    Devices(devices::Devices),
}

/// How a list or a figure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Text,
    Json,
}

/// A value as JSON for people and programs.
fn json(value: &impl Serialize) -> String {
    // Only maps whose keys are no strings fail, and the values of commands have none.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Runs the program: the first argument is its name.
///
/// Whoever reads the output may stop reading; that is not a failure.
pub fn run(arguments: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> Status {
    match run_or_stop(arguments, streams) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Status::Success,
        Err(error) => {
            let complaint = Complaint::new(format!("the output cannot be written: {error}"));
            Console::new(streams, ColourChoice::Auto).complain(&complaint);
            Status::Failure
        }
    }
}

/// Only the output can fail.
fn run_or_stop(
    arguments: impl IntoIterator<Item = OsString>,
    streams: &mut Streams<'_>,
) -> io::Result<Status> {
    let looks = console::layout(
        ColourChoice::Auto,
        streams.out_is_terminal,
        streams.variable,
    );
    let command = Arguments::command().term_width(looks.width.min(100));
    let parsed = command
        .try_get_matches_from(arguments)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error, streams),
    };
    let mut console = Console::new(streams, arguments.color);
    let result = match arguments.command {
        Command::Check(command) => command.run(&mut console),
        Command::Report(command) => command.run(&mut console),
        Command::Import(command) => command.run(&mut console),
        Command::Order(command) => command.run(&mut console),
        Command::Export(command) => command.run(&mut console),
        Command::Verify(command) => command.run(&mut console),
        Command::Explain(command) => command.run(&mut console),
        Command::Rules(command) => command.run(&mut console),
        Command::Devices(command) => command.run(&mut console),
    };
    let status = match result {
        Ok(status) => status,
        Err(Stop::Error(complaint)) => {
            console.complain(&complaint);
            Status::Failure
        }
        Err(Stop::Output(error)) => return Err(error),
    };
    console.out.flush()?;
    Ok(status)
}

/// Prints what the parser of arguments has to say, which may be the help that was asked for.
fn refuse(error: &clap::Error, streams: &mut Streams<'_>) -> io::Result<Status> {
    let mut console = Console::new(streams, ColourChoice::Auto);
    let text = |colour: bool| match colour {
        true => error.render().ansi().to_string(),
        false => error.render().to_string(),
    };
    if error.use_stderr() {
        let text = text(console.error_layout.colour);
        console.print_error(&text);
        return Ok(Status::Failure);
    }
    let text = text(console.layout.colour);
    console.print(&text)?;
    console.out.flush()?;
    Ok(Status::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the declarations of arguments against contradictions, which clap finds when it runs.
    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }
}
