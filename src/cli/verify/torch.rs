//! Runs the engine that asks PyTorch: a Python process, one request, a line per answer.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::cli::specs::Read;
use crate::cli::status::Complaint;
use crate::export::{Options, TARGETS};
use crate::facts::Facts;
use crate::verify::{Verification, torch};

/// More than an engine has to say.
const MOST_BYTES: u64 = 16 << 20;

/// How often it is seen whether the process has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// Holds a model to what PyTorch finds.
pub(super) fn verify(read: &Read, python: &Path, seconds: u64) -> Result<Verification, Complaint> {
    let target = TARGETS.iter().find(|target| target.name == "torch");
    let target = target.ok_or_else(|| Complaint::new("no PyTorch module can be written"))?;
    let exported = (target.export)(&read.spec, &read.model, Options { depth: None });
    let facts = Facts::new(&read.spec, &read.model);
    let request = torch::request(&read.spec, &facts, &exported.text);
    let written = ask(python, request, Duration::from_secs(seconds))?;
    torch::verification(&read.spec, &facts, &written).map_err(|why| complaint(python, &why))
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

fn stop(child: &mut Child) {
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

/// Hands the engine a request; what it writes.
pub(super) fn ask(python: &Path, request: String, limit: Duration) -> Result<String, Complaint> {
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
            Ok(None) if started.elapsed() < limit => std::thread::sleep(PAUSE),
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
