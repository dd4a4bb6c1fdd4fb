//! Several specs checked at once, and their findings put together.

use std::path::PathBuf;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::cli::open::{self, Contents};
use crate::cli::status::Complaint;
use crate::cli::{parallel, read};
use crate::diag::{Finding, fingerprint, order};
use crate::engine::{self, Levels, Overlay};
use crate::import::hf::Options;
use crate::source::{FileId, Sources, Span};

/// The rule that speaks of what a whole run did not need.
const UNUSED_ALLOW: &str = "spec/unused-allow";

/// One spec to check.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// What it is called.
    pub name: String,
    /// Where to read and write it; `None` for standard input.
    pub path: Option<PathBuf>,
    /// What it holds, once that is known.
    pub contents: Option<Contents>,
}

impl Job {
    /// Its text, if it is a spec and known.
    pub fn text(&self) -> Option<&Arc<str>> {
        self.contents.as_ref()?.text()
    }
}

/// Specs, and how to check them.
#[derive(Debug)]
pub(super) struct Batch {
    pub jobs: Vec<Job>,
    pub overlay: Overlay,
    /// What is said of what the file of a model leaves open.
    pub options: Options,
    pub all_variants: bool,
    pub levels: Levels,
    /// At most so many threads work.
    pub threads: usize,
}

/// What was found in all specs.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// All texts, those of extended files included.
    pub sources: Sources,
    /// The findings, sorted.
    pub findings: Vec<Finding>,
    /// The text of each job; `None` where it cannot be read.
    pub roots: Vec<Option<FileId>>,
    /// What could not be read.
    pub complaints: Vec<Complaint>,
}

/// What was found in one spec.
struct Checked {
    sources: Sources,
    root: FileId,
    findings: Vec<Finding>,
}

impl Batch {
    /// Checks all specs. What can be read is read once, and kept for the next time.
    /// `progress` hears how many are done.
    pub fn check(&mut self, progress: &mut dyn FnMut(usize)) -> Outcome {
        let edited: FxHashMap<&str, &Arc<str>> = self
            .jobs
            .iter()
            .filter_map(|job| Some((job.name.as_str(), job.text()?)))
            .collect();
        let results = parallel::map(
            &self.jobs,
            self.threads,
            |job| self.check_one(job, &edited),
            progress,
        );
        let mut outcome = Outcome::default();
        let mut read = Vec::with_capacity(self.jobs.len());
        for (job, result) in self.jobs.iter().zip(results) {
            let result = result.unwrap_or_else(|| {
                let message = format!(
                    "`{}` could not be checked, by a fault of Plimsoll",
                    job.name
                );
                Err(Complaint::new(message).help("please report it, with the spec if you can"))
            });
            match result {
                Ok((checked, contents)) => {
                    outcome.add(checked);
                    read.push(Some(contents));
                }
                Err(complaint) => {
                    outcome.roots.push(None);
                    outcome.complaints.push(complaint);
                    read.push(None);
                }
            }
        }
        for (job, contents) in self.jobs.iter_mut().zip(read) {
            job.contents = contents;
        }
        outcome.finish();
        outcome
    }

    /// The text of standard input, fixes included.
    pub fn stdin_text(&self) -> String {
        let stdin = self.jobs.iter().find(|job| job.path.is_none());
        stdin
            .and_then(Job::text)
            .map_or_else(String::new, |text| text.to_string())
    }

    fn check_one(
        &self,
        job: &Job,
        edited: &FxHashMap<&str, &Arc<str>>,
    ) -> Result<(Checked, Contents), Complaint> {
        let contents = match (&job.contents, &job.path) {
            (Some(contents), _) => contents.clone(),
            (None, Some(path)) => open::file(path, &self.options)?,
            // Standard input was read at the start.
            (None, None) => Contents::Text(Arc::from("")),
        };
        let mut sources = Sources::default();
        let mut fetch = |path: &str| match edited.get(path) {
            Some(text) => Ok(text.to_string()),
            None => read::base(path),
        };
        let root = contents.add(&job.name, &mut sources);
        let loaded = contents.load(root, &mut sources, &self.overlay, &mut fetch);
        let variants: Vec<String> = match self.all_variants {
            true => loaded.document.variants().map(str::to_owned).collect(),
            false => Vec::new(),
        };
        let check = |loaded, sources: &mut Sources, fetch: &mut engine::Fetch<'_>| {
            let mut checked = engine::check(loaded, sources, &self.levels);
            let traces = &checked.model.traces;
            engine::place_traces(&mut checked.findings, traces, &job.name, sources, fetch);
            checked.findings
        };
        let mut findings = check(loaded, &mut sources, &mut fetch);
        if !variants.is_empty() {
            let mut runs = vec![(None, findings)];
            for variant in variants {
                let overlay = Overlay {
                    variant: Some(variant.clone()),
                    ..self.overlay.clone()
                };
                let loaded = contents.load(root, &mut sources, &overlay, &mut fetch);
                let findings = check(loaded, &mut sources, &mut fetch);
                runs.push((Some(variant), findings));
            }
            findings = join_variants(runs, &sources);
        }
        let checked = Checked {
            sources,
            root,
            findings,
        };
        Ok((checked, contents))
    }
}

impl Outcome {
    /// Adds what was found in one spec, whose files are numbered from zero.
    fn add(&mut self, checked: Checked) {
        let offset = self.sources.iter().count() as u32;
        for (_, file) in checked.sources.iter() {
            self.sources.add(file.clone());
        }
        self.roots.push(Some(FileId(checked.root.0 + offset)));
        let shift = |span: &mut Span| span.file.0 += offset;
        self.findings
            .extend(checked.findings.into_iter().map(|mut finding| {
                finding.span.iter_mut().for_each(shift);
                finding
                    .labels
                    .iter_mut()
                    .for_each(|label| shift(&mut label.span));
                let edits = finding.fix.iter_mut().flat_map(|fix| &mut fix.edits);
                edits.for_each(|edit| shift(&mut edit.span));
                finding
            }));
    }

    /// Says once what is wrong with a file that several specs extend, and sorts.
    fn finish(&mut self) {
        let roots: Vec<FileId> = self.roots.iter().flatten().copied().collect();
        let is_root = |finding: &Finding| {
            let span = finding.span;
            span.is_some_and(|span| roots.binary_search(&span.file).is_ok())
        };
        // Fixes are made where the file itself is checked, so that this finding is the one to keep.
        self.findings.sort_by_key(|finding| !is_root(finding));
        let mut seen = FxHashMap::default();
        let sources = &self.sources;
        self.findings
            .retain(|finding| seen.insert(Key::of(finding, sources), ()).is_none());
        order::sort(&mut self.findings, &self.sources);
        fingerprint::assign(&mut self.findings, &self.sources);
    }
}

/// By which two findings are the same, though the file was read twice.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    rule: &'static str,
    place: Option<(String, u32, u32)>,
    path: String,
    message: String,
}

impl Key {
    fn of(finding: &Finding, sources: &Sources) -> Key {
        let place = finding.span.and_then(|span| {
            let name = sources.get(span.file)?.name().to_owned();
            Some((name, span.start, span.end))
        });
        Key {
            rule: finding.rule,
            place,
            path: finding.path.clone(),
            message: finding.message.clone(),
        }
    }
}

/// The findings of a spec by itself and with each variant, each of them once. What is wrong with
/// variants only says with which. An allowance is unused only if no variant uses it.
fn join_variants(runs: Vec<(Option<String>, Vec<Finding>)>, sources: &Sources) -> Vec<Finding> {
    let count = runs.len();
    let mut joined: Vec<(Finding, Vec<Option<String>>)> = Vec::new();
    let mut at: FxHashMap<Key, usize> = FxHashMap::default();
    for (variant, findings) in runs {
        for finding in findings {
            let index = *at.entry(Key::of(&finding, sources)).or_insert_with(|| {
                joined.push((finding, Vec::new()));
                joined.len() - 1
            });
            joined[index].1.push(variant.clone());
        }
    }
    joined.retain(|(finding, runs)| finding.rule != UNUSED_ALLOW || runs.len() == count);
    let name = |(mut finding, runs): (Finding, Vec<Option<String>>)| {
        let variants: Option<Vec<String>> = runs
            .into_iter()
            .map(|variant| variant.map(|name| format!("`{name}`")))
            .collect();
        // The spec by itself is one of the runs unless every one has a name.
        if let Some(variants) = variants {
            let word = if variants.len() == 1 {
                "variant"
            } else {
                "variants"
            };
            finding.message += &format!(" (in {word} {})", variants.join(", "));
        }
        finding
    };
    joined.into_iter().map(name).collect()
}
