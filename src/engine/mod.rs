//! From source text to sorted findings: parse → read → lower → facts → rules → suppress → sort.
//!
//! The engine does no I/O: texts are handed in, and where a spec extends another one, a function
//! that fetches it is.

mod beside;
mod levels;
mod load;
mod suppress;
mod traces;

use rustc_hash::FxHashMap;

pub use levels::{LevelOverride, Levels};
pub use load::{Fetch, Layer, Loaded, Origin, Overlay, add_import, load, load_bytes, load_import};

pub use traces::place_traces;

use crate::device::Catalogue;
use crate::diag::{Finding, Level, Sink, fingerprint, order};
use crate::facts::Facts;
use crate::facts::precision::recast;
use crate::lower::{Blueprint, Model, lower};
use crate::rules::{self, Context};
use crate::source::{Sources, Span};
use crate::spec::{Spec, names};

/// A spec, its model, and what there is to say about them.
#[derive(Debug)]
pub struct Checked {
    /// The spec as it was read.
    pub spec: Spec,
    /// The model that it describes.
    pub model: Model,
    /// The findings, sorted; suppressed ones are among them and marked.
    pub findings: Vec<Finding>,
}

/// Reads and lowers what was loaded, without running rules. The sink gets what is wrong.
pub fn read(loaded: Loaded, sink: &mut Sink) -> (Spec, Model) {
    for finding in loaded.findings {
        sink.push(finding);
    }
    match loaded.origin {
        Origin::Text => {
            let spec = Spec::read(loaded.document, sink);
            let model = lower(&spec, &[], sink);
            (spec, model)
        }
        Origin::Program(program) => {
            beside::refuse_model(&loaded.document, sink);
            let spec = Spec::read_beside(loaded.document, sink);
            let mut model = program.lower(&spec, &[], sink);
            beside::find_tensors(&spec, &model.graph, sink);
            recast(&mut model, &spec.run);
            (spec, model)
        }
        Origin::Nothing => (Spec::read_beside(loaded.document, sink), Model::default()),
    }
}

/// Checks what was loaded: reads it, lowers it, and runs every rule.
pub fn check(loaded: Loaded, sources: &Sources, levels: &Levels) -> Checked {
    let mut sink = Sink::new();
    // What is not known cannot be judged, and that it is not known is said.
    let is_known = !matches!(loaded.origin, Origin::Nothing);
    let (spec, model) = read(loaded, &mut sink);
    let device = find_device(&spec, &mut sink);
    if is_known {
        run_rules(&spec, &model, device, &mut sink);
    }
    let mut findings = merge_instances(sink.into_findings());
    suppress::check_names(&spec, &mut findings);
    levels.apply(&spec, &mut findings);
    suppress::apply(&spec, &mut findings, levels);
    order::sort(&mut findings, sources);
    fingerprint::assign(&mut findings, sources);
    Checked {
        spec,
        model,
        findings,
    }
}

/// What every rule says of a model that was read without fault; nothing is suppressed.
pub fn judge(spec: &Spec, model: &Model) -> Vec<Finding> {
    let mut sink = Sink::new();
    let device = find_device(spec, &mut sink);
    run_rules(spec, model, device, &mut sink);
    merge_instances(sink.into_findings())
}

fn run_rules(
    spec: &Spec,
    model: &Model,
    device: Option<&'static crate::device::Device>,
    sink: &mut Sink,
) {
    let facts = Facts::new(spec, model);
    let context = Context {
        spec,
        model,
        graph: &model.graph,
        facts: &facts,
        run: &spec.run,
        device,
    };
    rules::run(&context, sink);
}

fn find_device(spec: &Spec, sink: &mut Sink) -> Option<&'static crate::device::Device> {
    let wanted = &spec.run.cluster.device;
    let name = wanted.value.as_ref()?;
    match Catalogue::embedded().find(name) {
        Ok(device) => Some(device),
        Err(error) => {
            let level = Level::Error;
            let message = error.to_string();
            sink.report(
                names::UNKNOWN_DEVICE,
                level,
                wanted.span,
                "cluster.device",
                message,
            )
            .help(error.help);
            None
        }
    }
}

/// Joins findings of one rule at one place: a block that repeats twelve times says it once.
fn merge_instances(findings: Vec<Finding>) -> Vec<Finding> {
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    let mut seen: FxHashMap<(&'static str, Option<Span>, String), usize> = FxHashMap::default();
    for finding in findings {
        let key = (finding.rule, finding.span, finding.path.clone());
        match seen.get(&key) {
            Some(&at) if finding.span.is_some() => kept[at].instances += finding.instances,
            _ => {
                seen.insert(key, kept.len());
                kept.push(finding);
            }
        }
    }
    kept
}
