//! Runs the engine that asks PyTorch: a Python process, one request, a line per answer.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::cli::console::Progress;
use crate::cli::specs::Read;
use crate::cli::status::Complaint;
use crate::export::{Options, TARGETS};
use crate::facts::Facts;
use crate::lower::Model;
use crate::spec::run::ExperimentKind;
use crate::verify::Verification;
use crate::verify::experiment::Experiment;
use crate::verify::experiment::batch_norm::Batch;
use crate::verify::torch::{self, Plan, Replicas, Run, Trial};

/// More than an engine has to say.
const MOST_BYTES: u64 = 16 << 20;

/// How long a process that is asked to end may take for it.
const GRACE: Duration = Duration::from_secs(5);

/// How often it is seen whether the process has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// What PyTorch is asked with.
pub(super) struct Asked<'a> {
    /// The Python that has it.
    pub python: &'a Path,
    /// How long it may take, in seconds.
    pub seconds: u64,
    /// How many processes share a batch, if any do.
    pub processes: Option<u64>,
    /// Whether it runs on CUDA devices.
    pub cuda: bool,
    /// What random values begin with.
    pub seed: u64,
}

/// Holds a model to what PyTorch finds, and shows what its experiment comes to where PyTorch can.
pub(super) fn verify(
    read: &Read,
    asked: &Asked<'_>,
    progress: &mut Progress<'_>,
) -> Result<(Verification, Option<Experiment>), Complaint> {
    let target = TARGETS.iter().find(|target| target.name == "torch");
    let target = target.ok_or_else(|| Complaint::new("no PyTorch module can be written"))?;
    let export = |model: &Model| (target.export)(&read.spec, model, Options { depth: None }).text;
    let facts = Facts::new(&read.spec, &read.model);
    let plan = plan(read, asked)?;
    let mut run = Run::of(&read.spec, &read.model, asked.cuda);
    if let Some(kind) = read.spec.run.verify.experiment.get() {
        run.trial = Trial::of(kind, &read.model, asked.seed, asked.cuda)
            .map_err(|why| Complaint::new(format!("the experiment cannot be run: {why}")))?;
    }
    let request = torch::request(&read.spec, &facts, &run, plan.as_ref(), &export);
    let written = ask(
        asked.python,
        request,
        Duration::from_secs(asked.seconds),
        &mut || {
            progress.waits(asked.seconds);
        },
    )?;
    let held = torch::verification(&read.spec, &facts, &run, plan.as_ref(), &written);
    let (mut verification, experiment) = held.map_err(|why| complaint(asked.python, &why))?;
    let kind = read.spec.run.verify.experiment.get();
    if let (Some(kind), None, None) = (kind, &experiment, &run.trial) {
        verification.notes.push(match kind {
            ExperimentKind::BatchNorm => {
                "The experiment deals a batch to processes: `--nproc 2` or more runs it.".to_owned()
            }
            kind => format!(
                "The experiment `{}` is run by the reference kernels only, without `--engine torch`.",
                kind.name()
            ),
        });
    }
    Ok((verification, experiment))
}

/// What several processes are asked, if they are.
fn plan(read: &Read, asked: &Asked<'_>) -> Result<Option<Plan>, Complaint> {
    let Some(processes) = asked.processes else {
        return Ok(None);
    };
    let dealt = read.spec.run.verify.experiment.get() == Some(ExperimentKind::BatchNorm);
    let batch = match dealt {
        true => Some(Batch::of(&read.model, processes, asked.seed)),
        false => None,
    };
    let cannot = |why: &str| Complaint::new(format!("the experiment cannot be run: {why}"));
    let batch = batch.transpose().map_err(|why| cannot(&why))?;
    if let Some(batch) = &batch
        && batch.smallest() < 2
    {
        let why = format!(
            "a batch of {} dealt to {processes} processes leaves one of them fewer than two \
             samples, which have no variance",
            batch.x.len()
        );
        return Err(cannot(&why).help("use fewer processes, or a larger batch"));
    }
    Ok(Some(Plan {
        processes,
        cuda: asked.cuda,
        seconds: asked.seconds,
        seed: asked.seed,
        batch,
        replicas: Replicas::of(&read.spec, &read.model, processes),
    }))
}

/// What is said when PyTorch cannot be asked.
fn complaint(python: &Path, why: &str) -> Complaint {
    let message = format!("`{}` cannot check it: {why}", python.display());
    let help = "`--python` names a Python in which `pip install torch` was run; `--engine ndarray` \
                needs neither";
    Complaint::new(message).help(help)
}

/// Reads a pipe to its end, beside everything else.
fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before a failure is still worth showing.
            let _ = pipe.take(MOST_BYTES).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// Ends the process, and by it those that it started: it is asked first, and made to after a while.
fn stop(child: &mut Child) {
    #[cfg(unix)]
    {
        let asked = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .stderr(Stdio::null())
            .status();
        let started = Instant::now();
        while asked.as_ref().is_ok_and(ExitStatus::success) && started.elapsed() < GRACE {
            match child.try_wait() {
                Ok(None) => std::thread::sleep(PAUSE),
                _ => return,
            }
        }
    }
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

/// Hands the engine a request; what it writes. `waits` hears, again and again, that it still works.
pub(super) fn ask(
    python: &Path,
    request: String,
    limit: Duration,
    waits: &mut dyn FnMut(),
) -> Result<String, Complaint> {
    let mut child = Command::new(python)
        .args(["-c", torch::ENGINE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| complaint(python, &format!("it cannot be started: {error}")))?;
    let started = Instant::now();
    if let Some(mut pipe) = child.stdin.take() {
        // A process that ends without reading is told of by its status.
        std::thread::spawn(move || pipe.write_all(request.as_bytes()));
    }
    let (written, errors) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < limit => {
                waits();
                std::thread::sleep(PAUSE);
            }
            Ok(None) => {
                stop(&mut child);
                let why = format!("it took more than {} s; see `--timeout`", limit.as_secs());
                return Err(complaint(python, &why));
            }
            Err(error) => {
                stop(&mut child);
                return Err(complaint(python, &error.to_string()));
            }
        }
    };
    // A process that it left behind may hold the pipes open.
    let patience = Duration::from_secs(2);
    if !status.success() {
        let bytes = errors.recv_timeout(patience).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        let why = format!(
            "it ended with {status}: {}",
            last.unwrap_or("without a word")
        );
        return Err(complaint(python, &why));
    }
    let bytes = written.recv_timeout(patience).unwrap_or_default();
    String::from_utf8(bytes).map_err(|_| complaint(python, "its answer is not UTF-8"))
}
