//! A document and what is laid over it: `extends`, a variant, assignments.

use crate::diag::{Finding, Level, Sink};
use crate::source::{FileId, Sources};
use crate::spec::document::{Document, SyntaxError};
use crate::spec::names;

/// What is laid over a document once it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The variant to use.
    pub variant: Option<String>,
    /// Assignments `table.key=value`.
    pub assignments: Vec<String>,
}

/// A document with everything laid over it.
#[derive(Debug)]
pub struct Loaded {
    /// The tree.
    pub document: Document,
    /// What was wrong with the text.
    pub findings: Vec<Finding>,
}

/// Gives the text of a file that a spec extends, by its path relative to nothing: the path has
/// been joined to that of the spec. The error is what to tell the user.
pub type Fetch<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

/// Parses the file and lays over it what there is.
pub fn load(
    file: FileId,
    sources: &mut Sources,
    _overlay: &Overlay,
    _fetch: &mut Fetch<'_>,
) -> Loaded {
    let mut sink = Sink::new();
    let text = sources
        .get(file)
        .map(|source| source.text().clone())
        .unwrap_or_default();
    let (document, errors) = Document::parse(&text, file);
    report(&errors, &mut sink);
    Loaded {
        document,
        findings: sink.into_findings(),
    }
}

fn report(errors: &[SyntaxError], sink: &mut Sink) {
    for error in errors {
        let mut builder = sink
            .report(
                names::SYNTAX,
                Level::Error,
                Some(error.span),
                "",
                error.message.clone(),
            )
            .maybe_help(error.help.clone());
        for label in &error.related {
            builder = builder.also(Some(label.span), label.text.clone());
        }
        drop(builder);
    }
}
