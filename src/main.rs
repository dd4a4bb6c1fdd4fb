//! The `plimsoll` program: arguments in, exit status out.

use std::io::{self, BufWriter, IsTerminal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use anstream::AutoStream;
use plimsoll::cli::{Status, Streams, run};

fn main() -> ExitCode {
    // Whether there are colours is decided by the commands; the streams only translate them for
    // terminals that read no escape sequences.
    let mut streams = Streams {
        input: &mut io::stdin().lock(),
        out: &mut BufWriter::new(AutoStream::always(io::stdout().lock())),
        err: &mut AutoStream::always(io::stderr()),
        out_is_terminal: io::stdout().is_terminal(),
        err_is_terminal: io::stderr().is_terminal(),
        variable: |name| std::env::var(name).ok(),
    };
    let run = AssertUnwindSafe(|| run(std::env::args_os(), &mut streams));
    // The panic has been printed by then.
    let status = catch_unwind(run).unwrap_or(Status::Failure);
    ExitCode::from(status.code())
}
