//! `json` and `jsonl`: findings for programs.
//!
//! Lines and columns count from 1, columns in code points; ends are exclusive. Bytes count from 0.
//! A change that takes a key away or gives it another meaning raises `version`.

use std::fmt::{self, Write};

use serde::Serialize;

use super::{Layout, Renderer, Report, Summary};
use crate::diag::{Confidence, Edit, Finding, Fix, Level, Safety};
use crate::source::{Sources, Span};

/// The form of the records; see the module.
const VERSION: u32 = 1;

/// One object for the whole run.
#[derive(Debug)]
pub(super) struct Json;

/// One object a line.
#[derive(Debug)]
pub(super) struct JsonLines;

#[derive(Serialize)]
struct Run<'a> {
    version: u32,
    summary: Summary,
    findings: Vec<Record<'a>>,
}

#[derive(Serialize)]
struct LastLine {
    summary: Summary,
}

#[derive(Serialize)]
struct Record<'a> {
    rule: &'a str,
    level: Level,
    confidence: Confidence,
    message: &'a str,
    help: Option<&'a str>,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
    path: &'a str,
    fingerprint: String,
    fix: Option<FixRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressed: Option<SuppressionRecord<'a>>,
}

#[derive(Serialize)]
struct FixRecord<'a> {
    title: &'a str,
    safety: Safety,
    edits: Vec<EditRecord<'a>>,
}

#[derive(Serialize)]
struct EditRecord<'a> {
    file: String,
    start: Position,
    end: Position,
    start_byte: usize,
    end_byte: usize,
    replacement: &'a str,
}

#[derive(Serialize, Clone, Copy)]
struct Position {
    line: usize,
    column: usize,
}

#[derive(Serialize)]
struct SuppressionRecord<'a> {
    reason: &'a str,
}

struct Place {
    file: String,
    start: Position,
    end: Position,
}

impl Place {
    fn of(span: Span, sources: &Sources) -> Option<Place> {
        let file = sources.get(span.file)?;
        let position = |offset| {
            let at = file.line_column(offset);
            Position {
                line: at.line,
                column: at.column,
            }
        };
        Some(Place {
            file: file.portable_name(),
            start: position(span.range().start),
            end: position(span.range().end),
        })
    }
}

impl<'a> Record<'a> {
    fn of(finding: &'a Finding, sources: &Sources) -> Record<'a> {
        let place = finding.span.and_then(|span| Place::of(span, sources));
        let (start, end) = (
            place.as_ref().map(|place| place.start),
            place.as_ref().map(|place| place.end),
        );
        Record {
            rule: finding.rule,
            level: finding.level,
            confidence: finding.confidence,
            message: &finding.message,
            help: finding.help.as_deref(),
            file: place.map(|place| place.file),
            line: start.map(|at| at.line),
            column: start.map(|at| at.column),
            end_line: end.map(|at| at.line),
            end_column: end.map(|at| at.column),
            path: &finding.path,
            fingerprint: format!("{:016x}", finding.fingerprint),
            fix: finding
                .fix
                .as_ref()
                .and_then(|fix| FixRecord::of(fix, sources)),
            suppressed: finding
                .suppressed
                .as_ref()
                .map(|suppression| SuppressionRecord {
                    reason: &suppression.reason,
                }),
        }
    }
}

impl<'a> FixRecord<'a> {
    /// `None` where an edit has no place; half a fix is none.
    fn of(fix: &'a Fix, sources: &Sources) -> Option<FixRecord<'a>> {
        let record = |edit: &'a Edit| {
            let place = Place::of(edit.span, sources)?;
            Some(EditRecord {
                file: place.file,
                start: place.start,
                end: place.end,
                start_byte: edit.span.range().start,
                end_byte: edit.span.range().end,
                replacement: &edit.replacement,
            })
        };
        Some(FixRecord {
            title: &fix.title,
            safety: fix.safety,
            edits: fix.edits.iter().map(record).collect::<Option<_>>()?,
        })
    }
}

impl Renderer for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn about(&self) -> &'static str {
        "one JSON object, allowed findings included"
    }

    fn render(&self, report: &Report<'_>, _: Layout, out: &mut dyn Write) -> fmt::Result {
        let run = Run {
            version: VERSION,
            summary: report.summary,
            findings: report
                .findings
                .iter()
                .map(|finding| Record::of(finding, report.sources))
                .collect(),
        };
        let text = serde_json::to_string_pretty(&run).map_err(|_| fmt::Error)?;
        writeln!(out, "{text}")
    }
}

impl Renderer for JsonLines {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn about(&self) -> &'static str {
        "one JSON object a finding and line, and a last one with the summary"
    }

    fn render(&self, report: &Report<'_>, _: Layout, out: &mut dyn Write) -> fmt::Result {
        for finding in report.shown() {
            write_line(&Record::of(finding, report.sources), out)?;
        }
        let summary = report.summary;
        write_line(&LastLine { summary }, out)
    }
}

fn write_line(record: &impl Serialize, out: &mut dyn Write) -> fmt::Result {
    let text = serde_json::to_string(record).map_err(|_| fmt::Error)?;
    writeln!(out, "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    fn keys(value: &serde_json::Value) -> Vec<&str> {
        let object = value.as_object().unwrap();
        object.keys().map(String::as_str).collect()
    }

    /// Programs rely on these names; a change of them is a change of the version.
    #[test]
    fn keys_are_those_that_were_promised() {
        let (sources, findings) = (fixture::sources(), fixture::everything());
        let report = Report::new(&findings, &sources, 4);
        let run: serde_json::Value =
            serde_json::from_str(&Json.to_text(&report, Layout::default())).unwrap();
        assert_eq!(keys(&run), ["findings", "summary", "version"]);
        assert_eq!(keys(&run["summary"]), ["error", "info", "warning"]);
        let plain = [
            "column",
            "confidence",
            "end_column",
            "end_line",
            "file",
            "fingerprint",
            "fix",
            "help",
            "level",
            "line",
            "message",
            "path",
            "rule",
        ];
        let (mut fixes, mut suppressed) = (0, 0);
        for finding in run["findings"].as_array().unwrap() {
            let names = keys(finding);
            let (extra, usual): (Vec<&str>, Vec<&str>) =
                names.into_iter().partition(|&name| name == "suppressed");
            assert_eq!(usual, plain);
            suppressed += extra.len();
            if let Some(fix) = finding["fix"].as_object() {
                fixes += 1;
                assert_eq!(keys(&finding["fix"]), ["edits", "safety", "title"]);
                let names = [
                    "end",
                    "end_byte",
                    "file",
                    "replacement",
                    "start",
                    "start_byte",
                ];
                assert_eq!(keys(&fix["edits"][0]), names);
            }
        }
        assert!(fixes > 0 && suppressed == 1);
    }

    #[test]
    fn every_line_is_an_object_and_the_last_one_sums_up() {
        let (sources, findings) = (fixture::sources(), fixture::everything());
        let report = Report::new(&findings, &sources, 4);
        let text = JsonLines.to_text(&report, Layout::default());
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), report.shown().count() + 1);
        assert_eq!(keys(&lines[lines.len() - 1]), ["summary"]);
        assert!(lines.iter().all(|line| line.get("suppressed").is_none()));
    }
}
