//! Findings about an imported model get their places in the program that it was written in.

use std::collections::BTreeMap;

use super::Fetch;
use super::load::join;
use crate::diag::Finding;
use crate::lower::{Trace, Traces};
use crate::source::{FileId, SourceFile, Sources, Span};

/// The longest program that is shown.
const MAX_CODE_BYTES: usize = 16 << 20;
/// The most lines that are numbered, over all files of which only excerpts are known.
const MAX_EXCERPT_LINES: usize = 1 << 22;

/// Puts the places that are numbers of traces into texts: those of the files where they are at hand
/// and say what the trace says, else the lines of the traces themselves.
///
/// A file is looked for in the folder of the imported one, whose name is given, and in the current
/// one. Only files that a finding is about are fetched. Edits of what is no spec are dropped.
pub fn place_traces(
    findings: &mut [Finding],
    traces: &Traces,
    name: &str,
    sources: &mut Sources,
    fetch: &mut Fetch<'_>,
) {
    let mut wanted: BTreeMap<&str, BTreeMap<u32, &Trace>> = BTreeMap::new();
    for span in findings.iter().flat_map(spans) {
        if let Some(trace) = traces.line(span) {
            let lines = wanted.entry(&trace.file).or_default();
            lines.insert(trace.line, trace);
        }
    }
    let mut budget = MAX_EXCERPT_LINES;
    let mut files: BTreeMap<&str, FileId> = BTreeMap::new();
    for (file, lines) in wanted {
        let known = read(file, name, &lines, fetch);
        let known = known.or_else(|| excerpt(file, &lines, &mut budget));
        if let Some(known) = known {
            files.insert(file, sources.add(known));
        }
    }
    let place = |span: Span| -> Option<Span> {
        let Some(trace) = traces.line(span) else {
            return (span.file != FileId::UNREAD).then_some(span);
        };
        let id = *files.get(trace.file.as_str())?;
        let file = sources.get(id)?;
        let range = file.line_range(trace.line as usize - 1);
        let text = file.text().get(range.clone())?;
        let indent = text.len() - text.trim_start().len();
        Some(Span::new(id, range.start + indent, range.end))
    };
    for finding in findings {
        let is_edited = |span: Span| span.file == FileId::UNREAD;
        if let Some(fix) = &finding.fix
            && fix.edits.iter().any(|edit| is_edited(edit.span))
        {
            finding.fix = None;
        }
        finding.span = finding.span.and_then(place);
        finding.labels.retain_mut(|label| {
            let placed = place(label.span);
            label.span = placed.unwrap_or(label.span);
            // Calls of one line are one place.
            placed.is_some() && placed != finding.span
        });
    }
}

fn spans(finding: &Finding) -> impl Iterator<Item = Span> {
    let labels = finding.labels.iter().map(|label| label.span);
    finding.span.into_iter().chain(labels)
}

/// The file, if it is at hand and its lines are still those of the traces.
fn read(
    file: &str,
    name: &str,
    lines: &BTreeMap<u32, &Trace>,
    fetch: &mut Fetch<'_>,
) -> Option<SourceFile> {
    let beside = join(name, file);
    let paths = [Some(beside.as_str()), (beside != file).then_some(file)];
    paths.into_iter().flatten().find_map(|path| {
        let text = fetch(path).ok()?;
        if text.len() > MAX_CODE_BYTES {
            return None;
        }
        let code = SourceFile::code(path, text);
        let says = |(&line, trace): (&u32, &&Trace)| {
            let range = code.line_range(line as usize - 1);
            let text = code.text().get(range).map(str::trim);
            text.is_some_and(|text| !text.is_empty())
                && (trace.text.is_empty() || text == Some(trace.text.as_str()))
        };
        lines.iter().all(says).then_some(code)
    })
}

/// The lines of the traces, at their numbers.
fn excerpt(file: &str, lines: &BTreeMap<u32, &Trace>, budget: &mut usize) -> Option<SourceFile> {
    let last = *lines.keys().next_back()? as usize;
    *budget = budget.checked_sub(last)?;
    let mut text = String::new();
    let mut at = 1;
    for (&line, trace) in lines {
        for _ in at..line {
            text.push('\n');
        }
        at = line;
        text.push_str(&trace.text);
    }
    text.push('\n');
    Some(SourceFile::excerpt(file, text))
}
