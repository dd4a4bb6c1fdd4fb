//! Fixes: applied until nothing is left to fix, then written or shown.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::batch::{Batch, Job, Outcome};
use crate::cli::open::Contents;
use crate::cli::status::Complaint;
use crate::diag::Safety;
use crate::diag::apply::{apply, unified_diff};
use crate::source::FileId;
use crate::spec::document::Document;

/// Most rounds of fixes. One fix may make place for another, but not without end.
const ROUNDS: usize = 10;

/// Specs with fixes.
#[derive(Debug)]
pub(super) struct Mended {
    /// What is found in them now.
    pub outcome: Outcome,
    /// The new texts, by the number of the job.
    pub texts: BTreeMap<usize, String>,
    /// Number of fixes.
    pub fixes: usize,
    /// Specs whose fixes would have broken them, which is a fault of the program.
    pub complaints: Vec<Complaint>,
}

/// Applies the fixes of `outcome`, checks again, and so on until there is nothing to fix.
///
/// Only the specs that are checked change, not the files that they extend, nor models of other
/// programs.
pub(super) fn mend(batch: &mut Batch, outcome: Outcome, safety: Safety) -> Mended {
    let mut mended = Mended {
        outcome,
        texts: BTreeMap::new(),
        fixes: 0,
        complaints: Vec::new(),
    };
    let mut closed = vec![false; batch.jobs.len()];
    for _ in 0..ROUNDS {
        if !mended.round(batch, &mut closed, safety) {
            break;
        }
        mended.outcome = batch.check(&mut |_| ());
    }
    mended
}

impl Mended {
    /// Applies fixes once; whether a text has changed.
    fn round(&mut self, batch: &mut Batch, closed: &mut [bool], safety: Safety) -> bool {
        let Outcome {
            findings, sources, ..
        } = &self.outcome;
        let roots = self.outcome.roots.iter().enumerate();
        let open: FxHashMap<FileId, usize> = roots
            .filter(|&(job, _)| !closed[job] && batch.jobs[job].text().is_some())
            .filter_map(|(job, root)| Some(((*root)?, job)))
            .collect();
        let applied = apply(findings, sources, safety, &|file| open.contains_key(&file));
        let mut changed = false;
        let mut refused = Vec::new();
        for (file, text) in applied.texts {
            let (Some(&job), Some(before)) = (open.get(&file), sources.get(file)) else {
                continue;
            };
            if is_sound(before.text()) && !is_sound(&Arc::from(text.as_str())) {
                closed[job] = true;
                refused.push(file);
                let message = format!("the fixes would break `{}`, so it stays", before.name());
                let complaint = Complaint::new(message);
                self.complaints
                    .push(complaint.help("this is a fault of Plimsoll; please report it"));
                continue;
            }
            batch.jobs[job].contents = Some(Contents::Text(text.as_str().into()));
            self.texts.insert(job, text);
            changed = true;
        }
        let made = |finding: &&usize| {
            let edits = findings[**finding].fix.iter().flat_map(|fix| &fix.edits);
            !edits
                .into_iter()
                .any(|edit| refused.contains(&edit.span.file))
        };
        self.fixes += applied.applied.iter().filter(made).count();
        changed
    }

    /// `3 fixes applied in 2 specs`.
    pub fn summary(&self) -> String {
        let fixes = if self.fixes == 1 { "fix" } else { "fixes" };
        let specs = match self.texts.len() {
            1 => "1 spec".to_owned(),
            many => format!("{many} specs"),
        };
        format!("{} {fixes} applied in {specs}", self.fixes)
    }

    /// What changes, as one unified diff.
    pub fn diff(&self, before: &Outcome) -> String {
        self.texts
            .iter()
            .filter_map(|(&job, text)| {
                let root = before.roots.get(job).copied().flatten()?;
                Some(unified_diff(before.sources.get(root)?, text))
            })
            .collect()
    }

    /// Writes the new texts to their files; what could not be written.
    pub fn write(&self, jobs: &[Job]) -> Vec<Complaint> {
        let files = self
            .texts
            .iter()
            .filter_map(|(&job, text)| Some((jobs.get(job)?.path.as_ref()?, text)));
        files
            .filter_map(|(path, text)| {
                let error = fs::write(path, text).err()?;
                let path = path.display();
                Some(Complaint::new(format!(
                    "`{path}` cannot be written: {error}"
                )))
            })
            .collect()
    }
}

/// Whether it is TOML.
fn is_sound(text: &Arc<str>) -> bool {
    Document::parse(text, FileId(0)).1.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Sink;
    use crate::engine::{Levels, Overlay};
    use crate::source::Span;
    use std::path::PathBuf;

    const SPEC: &str = "spec = 1\n[inputs]\nx = [2, 3]\n[[layers]]\nop = \"relu\"\n";

    /// A spec in a file, and an outcome whose fixes replace each first text by the second.
    fn check(
        path: PathBuf,
        fixes: &[(&str, &str, Safety)],
        safety: Safety,
    ) -> (Batch, Outcome, Mended) {
        fs::write(&path, SPEC).unwrap();
        let mut batch = Batch {
            jobs: vec![Job {
                name: "x.model.toml".to_owned(),
                path: Some(path),
                contents: None,
            }],
            overlay: Overlay::default(),
            options: crate::import::hf::Options::default(),
            all_variants: false,
            levels: Levels::default(),
            threads: 1,
        };
        let mut outcome = batch.check(&mut |_| ());
        let file = outcome.roots[0].unwrap();
        let mut sink = Sink::new();
        for &(old, new, safety) in fixes {
            let start = SPEC.find(old).unwrap();
            let span = Some(Span::new(file, start, start + old.len()));
            sink.report(
                "group/rule",
                crate::diag::Level::Warning,
                span,
                "layers.a",
                "wrong",
            )
            .fix("write it", safety, span, new);
        }
        outcome.findings.extend(sink.into_findings());
        let mended = mend(&mut batch, outcome.clone(), safety);
        (batch, outcome, mended)
    }

    #[test]
    fn fixes_are_applied_shown_and_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let fixes = [
            ("relu", "tanh", Safety::Safe),
            ("[2, 3]", "[2, 4]", Safety::Unsafe),
        ];
        let (batch, outcome, mended) = check(path.clone(), &fixes, Safety::Safe);
        assert_eq!(mended.summary(), "1 fix applied in 1 spec");
        assert_eq!(mended.outcome.findings, [], "the new text has been checked");
        insta::assert_snapshot!(mended.diff(&outcome), @r#"
        --- x.model.toml
        +++ x.model.toml
        @@ -2,4 +2,4 @@
         [inputs]
         x = [2, 3]
         [[layers]]
        -op = "relu"
        +op = "tanh"
        "#);
        assert_eq!(fs::read_to_string(&path).unwrap(), SPEC);
        assert_eq!(mended.write(&batch.jobs), []);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            SPEC.replace("relu", "tanh")
        );
        let (.., mended) = check(path, &fixes, Safety::Unsafe);
        assert_eq!(mended.summary(), "2 fixes applied in 1 spec");
    }

    /// Guards a user's file against a fix that is wrong.
    #[test]
    fn a_fix_that_breaks_a_spec_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let fixes = [("\"relu\"", "\"relu", Safety::Safe)];
        let (.., mended) = check(folder.path().join("x"), &fixes, Safety::Safe);
        assert!(mended.texts.is_empty());
        assert_eq!(mended.fixes, 0);
        insta::assert_snapshot!(mended.complaints[0], @"the fixes would break `x.model.toml`, so it stays");
    }
}
