//! `verify SPEC`: does what is claimed hold when the model is run?

mod page;
#[cfg(test)]
mod tests;
mod torch;

use std::time::Instant;

use serde::Serialize;

use super::console::Console;
use super::names;
use super::specs::SpecArguments;
use super::status::{Complaint, Status, Stop};
use super::table::{Align, table};
use crate::engine;
use crate::quantity::group;
use crate::render::Layout;
use crate::tensor::Dtype;
use crate::verify::experiment::Experiment;
use crate::verify::{self, Limits, Types, Verification};

/// Run a model, small, and hold what is claimed of it against what happens
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    #[command(flatten)]
    spec: SpecArguments,
    /// Run it at its full size, as far as the memory of this machine goes
    #[arg(long)]
    full: bool,
    /// What the values are drawn from: the same number gives the same run
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// What runs it: the reference kernels, or PyTorch, by the module that `export` writes
    #[arg(long, value_name = "ENGINE", default_value = "ndarray")]
    engine: Engine,
    /// The Python that has PyTorch
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: std::path::PathBuf,
    /// Let PyTorch run the model, small, in that many processes that share a batch (torchrun),
    /// and hold replicas to one process
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=64))]
    nproc: Option<u64>,
    /// Where PyTorch runs what it runs with values
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    /// How long PyTorch may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Round what every op makes to this type, instead of those of the spec, and say how far that
    /// is from float64: `float16`, `bf16`, `float8_e4m3fn` …
    #[arg(long, value_name = "DTYPE", value_parser = names::float_dtype)]
    dtype: Option<Dtype>,
    /// Add up sums and products of matrices in this type, instead of the one that PyTorch uses
    #[arg(long, value_name = "DTYPE", value_parser = names::float_dtype)]
    accumulate: Option<Dtype>,
    /// How to write the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: VerifyForm,
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum VerifyForm {
    Text,
    Json,
    Html,
}

/// What runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    Ndarray,
    Torch,
}

/// Where PyTorch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Device {
    Cpu,
    Cuda,
}

const EXAMPLES: &str = "\
Examples:
  plimsoll verify model.model.toml
  plimsoll verify resnet18.pt2 --batch 2
  plimsoll verify model.model.toml --full
  plimsoll verify model.model.toml --dtype float8_e4m3fn --accumulate float16
  plimsoll verify model.model.toml --engine torch --python venv/bin/python
  plimsoll verify model.model.toml --engine torch --nproc 4

The status is 1 where a claim is contradicted.";

impl Verify {
    pub fn run(self, console: &mut Console<'_>) -> Result<Status, Stop> {
        let types = Types {
            stored: self.dtype,
            accumulate: self.accumulate,
        };
        let (read, mut findings) = match self.spec.check(console)? {
            Ok(checked) => checked,
            Err(status) => return Ok(status),
        };
        if self.engine == Engine::Torch {
            if types.is_given() {
                let message = "`--dtype` and `--accumulate` say how the reference kernels compute";
                return Err(Complaint::new(message)
                    .help("use `--engine ndarray`")
                    .into());
            }
            let asked = torch::Asked {
                python: &self.python,
                seconds: self.timeout,
                processes: self.nproc,
                cuda: self.device == Device::Cuda,
                seed: self.seed,
            };
            let (verification, experiment) =
                torch::verify(&read, &asked, &mut console.progress("PyTorch works"))?;
            return self.show(&verification, experiment.as_ref(), console);
        }
        if self.nproc.is_some() || self.device != Device::Cpu {
            let message = "`--nproc` and `--device` say how PyTorch is run";
            return Err(Complaint::new(message).help("add `--engine torch`").into());
        }
        let kind = read.spec.run.verify.experiment.get();
        let clock = Instant::now();
        let seconds = || clock.elapsed().as_secs_f64();
        let experiment = kind.map(|kind| {
            verify::experiment::run(kind, &read.spec, &read.model, self.seed, &seconds)
        });
        let experiment = match experiment.transpose() {
            Ok(experiment) => experiment,
            Err(why) => {
                let message = format!("the experiment cannot be run: {why}");
                return Err(Complaint::new(message).into());
            }
        };
        if types.stored.is_some() {
            findings = engine::judge(&read.spec, &verify::retyped(&read.model, types));
        }
        let limits = if self.full {
            Limits::FULL
        } else {
            Limits::SMALL
        };
        let verification = {
            let mut progress = console.progress("verify");
            let mut step = |done, total| progress.at(done, total);
            verify::verify(
                &read.spec,
                read.model,
                &findings,
                limits,
                (types, self.seed),
                &mut step,
            )
        };
        self.show(&verification, experiment.as_ref(), console)
    }

    fn show(
        &self,
        verification: &Verification,
        experiment: Option<&Experiment>,
        console: &mut Console<'_>,
    ) -> Result<Status, Stop> {
        let text = match self.output {
            VerifyForm::Json => super::json(&Record::of(verification, experiment)),
            VerifyForm::Text => {
                let mut shown = text(verification, console.layout);
                for experiment in verification.rounding.iter().chain(experiment) {
                    shown.push_str(&experiment_text(experiment, console.layout));
                }
                shown
            }
            VerifyForm::Html => page::page(verification, experiment),
        };
        console.print(&text)?;
        let failed = experiment.is_some_and(|experiment| !experiment.contradictions.is_empty());
        Ok(match verification.is_contradicted() || failed {
            true => Status::Findings,
            false => Status::Success,
        })
    }
}

/// The table of an experiment, and what it says.
fn experiment_text(experiment: &Experiment, layout: Layout) -> String {
    let head: Vec<(&str, Align)> = experiment
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let align = match is_textual(&experiment.rows, at) {
                true => Align::Left,
                false => Align::Right,
            };
            (column.as_str(), align)
        })
        .collect();
    let mut text = format!("\n{}\n\n", experiment.question);
    text.push_str(&table(&head, &experiment.rows, layout));
    for (word, lines) in [
        ("shown", &experiment.conclusions),
        ("contradicted", &experiment.contradictions),
    ] {
        for line in lines {
            text.push_str(&format!("\n{word}: {line}"));
        }
    }
    text.push('\n');
    text
}

/// Whether a column is read from the left: the first one, and those without numbers.
fn is_textual(rows: &[Vec<String>], at: usize) -> bool {
    // `inf` and `NaN` are numbers, and so is `3 s`.
    let digit = |first: char| first.is_ascii_digit();
    let is_number = |row: &Vec<String>| {
        let cell = row.get(at);
        cell.is_some_and(|cell| cell.parse::<f64>().is_ok() || cell.starts_with(digit))
    };
    at == 0 || !rows.iter().any(is_number)
}

/// How much of a model was run.
fn what_ran(verification: &Verification) -> String {
    let plural = if verification.calls == 1 { "" } else { "s" };
    let mut text = format!("{} call{plural}", group(verification.calls as u128));
    // Where all differ there is nothing to say.
    if (1..verification.calls).contains(&verification.distinct) {
        let distinct = group(verification.distinct as u128);
        text.push_str(&format!(", {distinct} of them different"));
    }
    let dims = verification.scaled.iter();
    let dims: Vec<String> = dims
        .map(|dim| format!("{} {} → {}", dim.dim, dim.from, dim.to))
        .collect();
    if !dims.is_empty() {
        text.push_str(&format!("; made smaller: {}", dims.join(", ")));
    }
    text
}

fn text(verification: &Verification, layout: Layout) -> String {
    let mut text = format!("{}: {}\n\n", verification.name, what_ran(verification));
    let head = [
        ("claim", Align::Left),
        ("confirmed", Align::Right),
        ("contradicted", Align::Right),
        ("not checked", Align::Right),
    ];
    let rows: Vec<Vec<String>> = verification
        .tallies
        .iter()
        .map(|(claim, tally)| {
            let unchecked: usize = tally.unchecked.iter().map(|(_, times)| times).sum();
            vec![
                claim.name().to_owned(),
                group(tally.confirmed as u128),
                group(tally.contradicted.len() as u128),
                group(unchecked as u128),
            ]
        })
        .collect();
    text.push_str(&table(&head, &rows, layout));
    for (claim, tally) in &verification.tallies {
        for one in &tally.contradicted {
            let place = match one.place.is_empty() {
                true => "the model",
                false => &one.place,
            };
            text.push_str(&format!(
                "\ncontradicted: {} of {place}\n  claimed: {}\n  found:   {}\n",
                claim.name(),
                one.claimed,
                one.found
            ));
        }
    }
    for (why, claims) in unchecked(verification) {
        text.push_str(&format!("\nnot checked: {}: {why}\n", claims.join(", ")));
    }
    for note in &verification.notes {
        text.push_str(&format!("\n{note}\n"));
    }
    text
}

/// Why claims were not checked, each reason once, with the claims and how often.
fn unchecked(verification: &Verification) -> Vec<(&str, Vec<String>)> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for (claim, tally) in &verification.tallies {
        for (why, times) in &tally.unchecked {
            let name = match times {
                1 => claim.name().to_owned(),
                times => format!("{} ({} times)", claim.name(), group(*times as u128)),
            };
            match reasons.iter_mut().find(|(other, _)| other == why) {
                Some((_, claims)) => claims.push(name),
                None => reasons.push((why, vec![name])),
            }
        }
    }
    reasons
}

#[derive(Serialize)]
struct Record<'a> {
    version: u32,
    name: &'a str,
    calls: usize,
    distinct: usize,
    scaled: Vec<ScaledRecord<'a>>,
    claims: Vec<ClaimRecord<'a>>,
    notes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    rounding: Option<&'a Experiment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    experiment: Option<&'a Experiment>,
}

#[derive(Serialize)]
struct ScaledRecord<'a> {
    dim: &'a str,
    from: i64,
    to: i64,
}

#[derive(Serialize)]
struct ClaimRecord<'a> {
    claim: &'static str,
    summary: &'static str,
    confirmed: usize,
    contradicted: &'a [verify::Contradiction],
    unchecked: Vec<UncheckedRecord<'a>>,
}

#[derive(Serialize)]
struct UncheckedRecord<'a> {
    reason: &'a str,
    times: usize,
}

impl<'a> Record<'a> {
    fn of(verification: &'a Verification, experiment: Option<&'a Experiment>) -> Record<'a> {
        let scaled = verification.scaled.iter();
        let claims = verification.tallies.iter();
        Record {
            version: 1,
            name: &verification.name,
            calls: verification.calls,
            distinct: verification.distinct,
            scaled: scaled
                .map(|dim| ScaledRecord {
                    dim: &dim.dim,
                    from: dim.from,
                    to: dim.to,
                })
                .collect(),
            claims: claims
                .map(|(claim, tally)| ClaimRecord {
                    claim: claim.name(),
                    summary: claim.summary(),
                    confirmed: tally.confirmed,
                    contradicted: &tally.contradicted,
                    unchecked: tally
                        .unchecked
                        .iter()
                        .map(|(reason, times)| UncheckedRecord {
                            reason,
                            times: *times,
                        })
                        .collect(),
                })
                .collect(),
            notes: &verification.notes,
            rounding: verification.rounding.as_ref(),
            experiment,
        }
    }
}
