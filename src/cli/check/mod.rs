//! `check`: what is wrong with specs.

mod batch;
mod mend;
mod statistics;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::{fs, io, thread};

use super::collect::{Input, collect, looked_for};
use super::console::Console;
use super::specs::{OverlayArguments, STDIN};
use super::status::{Complaint, Status, Stop};
use super::{names, open};
use crate::diag::{Finding, Level, Safety};
use crate::engine::{LevelOverride, Levels};
use crate::render::{FORMATS, Layout, Output, Report};
use batch::{Batch, Job};

/// Check specs: what is wrong, why, and what to do about it
#[derive(Debug, clap::Args)]
#[command(after_help = formats())]
pub(super) struct Check {
    /// Specs and models to import, or folders that are searched for them; `-` is standard input
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,

    /// Apply the fixes that keep what the model computes
    #[arg(long, help_heading = "Fixes")]
    fix: bool,
    /// Apply those too that change what is computed or trained
    #[arg(long, help_heading = "Fixes")]
    unsafe_fixes: bool,
    /// Show as a diff what the fixes would change, and change nothing
    #[arg(long, help_heading = "Fixes")]
    diff: bool,

    /// Only these rules and groups; a list, `a,b`, or several times
    #[arg(
        long,
        value_name = "RULE",
        value_delimiter = ',',
        help_heading = "Rules"
    )]
    #[arg(value_parser = names::rule_or_group)]
    select: Vec<String>,
    /// Not these rules and groups
    #[arg(
        long,
        value_name = "RULE",
        value_delimiter = ',',
        help_heading = "Rules"
    )]
    #[arg(value_parser = names::silenceable)]
    ignore: Vec<String>,
    /// Set the level of a rule or group: off, info, warn or error
    #[arg(
        long,
        value_name = "RULE=LEVEL",
        value_delimiter = ',',
        help_heading = "Rules"
    )]
    #[arg(value_parser = names::level)]
    level: Vec<LevelOverride>,
    /// End with status 1 where a finding is as bad as this
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "error",
        help_heading = "Rules"
    )]
    fail_on: FailOn,

    /// Write findings in this format, to a file if one is named; may be given several times
    #[arg(long, value_name = "FORMAT[=FILE]", help_heading = "Output")]
    output: Vec<Output>,
    /// Count the findings of each rule instead of showing them
    #[arg(long, help_heading = "Output")]
    statistics: bool,
    /// Print nothing where nothing is found, and no notes
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,

    #[command(flatten)]
    overlay: OverlayArguments,
    /// Check each spec by itself and with each of its variants
    #[arg(long, conflicts_with = "variant")]
    all_variants: bool,
    /// What to call standard input; `extends` counts from its folder
    #[arg(long, value_name = "FILE")]
    stdin_filename: Option<String>,
    /// It is no failure if there is no spec
    #[arg(long)]
    allow_empty: bool,
    /// How many specs to check at a time [default: one for each processor]
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

/// How bad a finding must be to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Error,
    #[value(alias = "warn")]
    Warning,
    Info,
    Never,
}

impl FailOn {
    fn fails(self, finding: &Finding) -> bool {
        let least = match self {
            FailOn::Error => Level::Error,
            FailOn::Warning => Level::Warning,
            FailOn::Info => Level::Info,
            FailOn::Never => return false,
        };
        finding.suppressed.is_none() && finding.level >= least
    }
}

/// What `check` writes to standard output, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnOut {
    Findings,
    Diff,
    Statistics,
    /// The text that came in on standard input, with fixes; findings go to standard error.
    Mended,
}

impl Check {
    pub fn run(self, console: &mut Console<'_>) -> Result<Status, Stop> {
        self.refuse_contradictions()?;
        let found = collect(&self.paths);
        let mut failed = self.tell(&found.complaints, console);
        if found.inputs.is_empty() {
            if failed {
                return Ok(Status::Failure);
            }
            if !self.allow_empty {
                console.complain(&no_spec(&found.empty));
                return Ok(Status::NoSpec);
            }
        } else if !self.quiet {
            for folder in &found.empty {
                let folder = folder.display();
                let kinds = looked_for();
                console.note(&format!("there is no {kinds} in `{folder}`"));
            }
        }
        let mut batch = self.batch(&found.inputs, console, &mut failed)?;
        let count = batch.jobs.len();
        let mut outcome = {
            let mut progress = console.progress("check");
            batch.check(&mut |done| progress.at(done, count))
        };
        failed |= self.tell(&outcome.complaints, console);
        let specs = outcome.roots.iter().flatten().count();
        if specs == 0 && failed {
            return Ok(Status::Failure);
        }
        if self.diff || self.fixes() {
            let mended = mend::mend(&mut batch, outcome.clone(), self.safety());
            failed |= self.tell(&mended.complaints, console);
            if self.diff {
                console.print(&mended.diff(&outcome))?;
            } else {
                failed |= self.tell(&mended.write(&batch.jobs), console);
                if !self.quiet && mended.fixes > 0 {
                    console.note(&mended.summary());
                }
                outcome = mended.outcome;
            }
        }
        if self.on_out() == OnOut::Mended {
            console.print(&batch.stdin_text())?;
        }
        let report = Report::new(&outcome.findings, &outcome.sources, specs);
        failed |= self.render(&report, console)?;
        let fails = |finding: &Finding| self.fail_on.fails(finding);
        Ok(match outcome.findings.iter().any(fails) {
            _ if failed => Status::Failure,
            true => Status::Findings,
            false => Status::Success,
        })
    }

    /// Refuses what cannot be done together.
    fn refuse_contradictions(&self) -> Result<(), Complaint> {
        let stdin = self.takes_stdin();
        if self.stdin_filename.is_some() && !stdin {
            let message = "`--stdin-filename` is given, but standard input is not among the paths";
            return Err(Complaint::new(message).help("add `-`"));
        }
        let mut seen: Vec<Option<&Path>> = Vec::new();
        for output in &self.output {
            let file = output.file.as_deref();
            if seen.contains(&file) {
                let place = match file {
                    Some(file) => format!("`{}`", file.display()),
                    None => "standard output".to_owned(),
                };
                let message = format!("two formats cannot both be written to {place}");
                let help = format!("name a file: `--output {}=FILE`", output.format.name());
                return Err(Complaint::new(message).help(help));
            }
            seen.push(file);
        }
        let on_out = match self.on_out() {
            OnOut::Findings => return Ok(()),
            OnOut::Diff if self.statistics => {
                let message = "the diff and the statistics cannot share standard output";
                return Err(Complaint::new(message));
            }
            _ if !seen.contains(&None) => return Ok(()),
            OnOut::Diff => "the diff",
            OnOut::Statistics => "the statistics",
            OnOut::Mended => "the fixed text",
        };
        let message = format!("{on_out} cannot share standard output with findings");
        Err(Complaint::new(message).help("name a file for them: `--output FORMAT=FILE`"))
    }

    fn takes_stdin(&self) -> bool {
        self.paths.iter().any(|path| path.as_os_str() == "-")
    }

    fn fixes(&self) -> bool {
        self.fix || self.unsafe_fixes
    }

    fn safety(&self) -> Safety {
        match self.unsafe_fixes {
            true => Safety::Unsafe,
            false => Safety::Safe,
        }
    }

    fn on_out(&self) -> OnOut {
        match () {
            () if self.diff => OnOut::Diff,
            () if self.fixes() && self.takes_stdin() => OnOut::Mended,
            () if self.statistics => OnOut::Statistics,
            () => OnOut::Findings,
        }
    }

    /// Tells complaints; whether there are any.
    fn tell(&self, complaints: &[Complaint], console: &mut Console<'_>) -> bool {
        for complaint in complaints {
            console.complain(complaint);
        }
        !complaints.is_empty()
    }

    /// The specs to check; standard input is read here.
    fn batch(
        &self,
        inputs: &[Input],
        console: &mut Console<'_>,
        failed: &mut bool,
    ) -> Result<Batch, Complaint> {
        let mut jobs = Vec::with_capacity(inputs.len());
        for input in inputs {
            match input {
                Input::File(path) => jobs.push(Job {
                    name: path.display().to_string(),
                    path: Some(path.clone()),
                    contents: None,
                }),
                Input::Stdin => {
                    let name = self.stdin_filename.as_deref().unwrap_or(STDIN);
                    match open::stream(console.input, name, &self.overlay.options()) {
                        Ok(contents) => jobs.push(Job {
                            name: name.to_owned(),
                            path: None,
                            contents: Some(contents),
                        }),
                        Err(complaint) => *failed |= self.tell(&[complaint], console),
                    }
                }
            }
        }
        Ok(Batch {
            jobs,
            overlay: self.overlay.overlay()?,
            options: self.overlay.options(),
            all_variants: self.all_variants,
            levels: Levels {
                select: self.select.clone(),
                ignore: self.ignore.clone(),
                levels: self.level.clone(),
            },
            threads: self.jobs.map_or_else(processors, NonZeroUsize::get),
        })
    }

    /// Writes the findings wherever they go; whether a file could not be written.
    fn render(&self, report: &Report<'_>, console: &mut Console<'_>) -> io::Result<bool> {
        let mut complaints = Vec::new();
        for output in &self.output {
            if let Some(file) = &output.file {
                let text = output.format.to_text(report, Layout::default());
                if let Err(error) = fs::write(file, text) {
                    let file = file.display();
                    complaints.push(Complaint::new(format!(
                        "`{file}` cannot be written: {error}"
                    )));
                }
            }
        }
        let default = Output::default().format;
        let on_out = self.output.iter().find(|output| output.file.is_none());
        // Formats for programs say it when nothing is found, however quiet it is to be.
        let silent = self.quiet && report.shown().next().is_none();
        match (self.on_out(), on_out) {
            (OnOut::Diff, _) => {}
            (OnOut::Statistics, _) if silent => {}
            (OnOut::Statistics, _) => {
                console.print(&statistics::statistics(report, console.layout))?;
            }
            (OnOut::Findings, Some(output))
                if !(silent && output.format.name() == default.name()) =>
            {
                console.print(&output.format.to_text(report, console.layout))?;
            }
            (OnOut::Findings, None) if self.output.is_empty() && !silent => {
                console.print(&default.to_text(report, console.layout))?;
            }
            (OnOut::Mended, _) if self.output.is_empty() && !silent => {
                let text = match self.statistics {
                    true => statistics::statistics(report, console.error_layout),
                    false => default.to_text(report, console.error_layout),
                };
                console.print_error(&text);
            }
            (OnOut::Findings | OnOut::Mended, _) => {}
        }
        Ok(self.tell(&complaints, console))
    }
}

/// The formats, for the help.
fn formats() -> String {
    let mut text = "Formats:".to_owned();
    for format in FORMATS {
        text += &format!("\n  {:<8} {}", format.name(), format.about());
    }
    text
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn no_spec(folders: &[PathBuf]) -> Complaint {
    let folders: Vec<String> = folders
        .iter()
        .map(|folder| format!("`{}`", folder.display()))
        .collect();
    let message = format!(
        "no spec found: there is no {} in {}",
        looked_for(),
        folders.join(", ")
    );
    Complaint::new(message)
        .help("name a file, whatever its name; `--allow-empty` makes this no failure")
}
