//! `full`: findings with the lines that they are about, for people.

use std::fmt::{self, Write};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, Severity, SourceCode, SourceSpan, SpanContents, ThemeCharacters,
    ThemeStyles,
};

use super::report::counted;
use super::visible;
use super::{Layout, Renderer, Report};
use crate::diag::{Confidence, Finding, Level, Safety};
use crate::source::{SourceFile, Sources, Span};

/// A place of more lines than this is shown by its first line.
const LINES_SHOWN: usize = 6;
/// A frame of more bytes than this is cut to what surrounds the place.
const FRAME_BYTES: usize = 2000;
/// Bytes of a place, and on either side of it, that are shown of a long line.
const LONG_LINE_BYTES: usize = 120;

/// Frames drawn by miette.
#[derive(Debug)]
pub(super) struct Full;

impl Renderer for Full {
    fn name(&self) -> &'static str {
        "full"
    }

    fn about(&self) -> &'static str {
        "findings with the lines that they are about, for people"
    }

    fn render(&self, report: &Report<'_>, layout: Layout, out: &mut dyn Write) -> fmt::Result {
        let sources = visible::sources(report.sources);
        let handler = handler(layout);
        let mut frame = String::new();
        for finding in report.shown() {
            let frames = Frames::of(finding, &sources);
            let shown = Shown::new(finding, frames, layout);
            frame.clear();
            handler.render_report(&mut frame, &shown)?;
            // miette pads empty lines of text; nobody wants to see that in a diff of two outputs.
            for line in frame.lines() {
                writeln!(out, "{}", line.trim_end())?;
            }
            for (name, text) in notes(finding, &sources) {
                let name = paint(layout, "36", &name);
                writeln!(out, "  {name} {}", visible::one_line(&text))?;
            }
            writeln!(out)?;
        }
        writeln!(out, "{}", paint(layout, "1", &report.summary.to_string()))
    }
}

fn handler(layout: Layout) -> GraphicalReportHandler {
    let theme = GraphicalTheme {
        characters: match layout.unicode {
            true => ThemeCharacters::unicode(),
            false => ThemeCharacters::ascii(),
        },
        styles: match layout.colour {
            true => ThemeStyles::ansi(),
            false => ThemeStyles::none(),
        },
    };
    GraphicalReportHandler::new_themed(theme)
        .with_width(layout.width.max(40))
        .with_links(false)
        .with_break_words(false)
        .without_syntax_highlighting()
}

fn paint(layout: Layout, code: &str, text: &str) -> String {
    match layout.colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// What stands below the frame: where it is if the frame does not tell, how sure it is, how to mend it.
fn notes(finding: &Finding, sources: &Sources) -> Vec<(String, String)> {
    let mut notes = Vec::new();
    let mut note = |name: &str, text: String| notes.push((name.to_owned(), text));
    let file = finding.span.and_then(|span| sources.get(span.file));
    if file.is_none_or(SourceFile::is_code) && !finding.path.is_empty() {
        note("at:", finding.path.clone());
    }
    if let Some(fix) = &finding.fix {
        let flag = match fix.safety {
            Safety::Safe => "--fix",
            Safety::Unsafe => "--unsafe-fixes",
        };
        note("fix:", format!("{} ({flag})", fix.title));
    }
    let instances = (finding.instances > 1).then(|| counted(finding.instances, "instance"));
    let confidence = (finding.confidence != Confidence::Certain)
        .then(|| format!("confidence: {}", finding.confidence));
    let remarks: Vec<String> = instances.into_iter().chain(confidence).collect();
    if !remarks.is_empty() {
        note("note:", remarks.join(", "));
    }
    notes
}

/// The files of one finding laid end to end, because miette knows one text per diagnostic. The
/// primary place's file comes first.
#[derive(Debug)]
struct Frames<'a> {
    /// Each file and the offset at which it begins.
    files: Vec<(usize, &'a SourceFile)>,
    labels: Vec<LabeledSpan>,
}

impl<'a> Frames<'a> {
    fn of(finding: &Finding, sources: &'a Sources) -> Frames<'a> {
        let mut frames = Frames {
            files: Vec::new(),
            labels: Vec::new(),
        };
        if let Some(span) = finding.span {
            frames.add(span, &finding.label, true, sources);
        }
        for label in &finding.labels {
            frames.add(label.span, &label.text, false, sources);
        }
        frames
    }

    fn add(&mut self, span: Span, text: &str, primary: bool, sources: &'a Sources) {
        let Some(file) = sources.get(span.file) else {
            return;
        };
        let known = self
            .files
            .iter()
            .find(|(_, known)| std::ptr::eq(*known, file));
        let base = known.map(|&(base, _)| base).unwrap_or_else(|| {
            // One byte of distance keeps the end of one file apart from the start of the next.
            let base = self
                .files
                .last()
                .map_or(0, |(base, last)| base + last.text().len() + 1);
            self.files.push((base, file));
            base
        });
        let (start, length) = shown_part(file, span);
        let text = (!text.is_empty()).then(|| visible::one_line(text).into_owned());
        let place = SourceSpan::from((base + start, length));
        self.labels.push(match primary {
            true => LabeledSpan::new_primary_with_span(text, place),
            false => LabeledSpan::new_with_span(text, place),
        });
    }
}

/// Start and length of what is underlined: on character boundaries, in the text, and not pages.
fn shown_part(file: &SourceFile, span: Span) -> (usize, usize) {
    let text = file.text();
    let start = floor(text, span.range().start);
    let mut end = floor(text, span.range().end).max(start);
    let first = file.line_of(start);
    if file.line_of(end.saturating_sub(1)) >= first + LINES_SHOWN {
        end = file.line_range(first).end.max(start);
    }
    if end - start > FRAME_BYTES / 2 {
        end = floor(text, start + LONG_LINE_BYTES);
    }
    (start, end - start)
}

/// The character boundary at an offset or before it, in the text.
fn floor(text: &str, offset: usize) -> usize {
    text.floor_char_boundary(offset.min(text.len()))
}

impl SourceCode for Frames<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let index = self
            .files
            .partition_point(|&(base, _)| base <= span.offset());
        let &(base, file) = index
            .checked_sub(1)
            .and_then(|index| self.files.get(index))
            .ok_or(MietteError::OutOfBounds)?;
        let local = SourceSpan::from((span.offset() - base, span.len()));
        let contents = file.read_span(&local, context_lines_before, context_lines_after)?;
        let (mut start, mut end) = (
            contents.span().offset(),
            contents.span().offset() + contents.span().len(),
        );
        let (mut line, mut column, mut lines) =
            (contents.line(), contents.column(), contents.line_count());
        let text = file.text();
        if end - start > FRAME_BYTES {
            start = floor(text, local.offset().saturating_sub(LONG_LINE_BYTES)).max(start);
            end = floor(text, local.offset() + local.len() + LONG_LINE_BYTES).min(end);
            let at = file.line_column(start);
            (line, column) = (at.line - 1, at.column - 1);
            lines = file.line_of(end) - line + 1;
        }
        Ok(Box::new(MietteSpanContents::new_named(
            file.name().to_owned(),
            text.as_bytes().get(start..end).unwrap_or_default(),
            (base + start, end - start).into(),
            line,
            column,
            lines,
        )))
    }
}

/// A finding as miette wants it.
#[derive(Debug)]
struct Shown<'a> {
    header: String,
    level: Level,
    help: Option<String>,
    frames: Frames<'a>,
}

impl<'a> Shown<'a> {
    fn new(finding: &Finding, frames: Frames<'a>, layout: Layout) -> Shown<'a> {
        let colour = match finding.level {
            Level::Error => "1;31",
            Level::Warning => "1;33",
            Level::Info => "1;36",
        };
        let name = format!("{}[{}]", finding.level, finding.rule);
        let message = visible::lines(&finding.message);
        Shown {
            header: format!("{}: {message}", paint(layout, colour, &name)),
            level: finding.level,
            help: finding
                .help
                .as_deref()
                .map(|help| visible::lines(help).into_owned()),
            frames,
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.header)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(match self.level {
            Level::Error => Severity::Error,
            Level::Warning => Severity::Warning,
            Level::Info => Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.frames)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match self.frames.labels.is_empty() {
            true => None,
            false => Some(Box::new(self.frames.labels.iter().cloned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diag::Sink;
    use crate::render::fixture;
    use crate::source::FileId;

    fn render(text: &str, spans: &[(usize, usize)], layout: Layout) -> String {
        let mut sources = Sources::default();
        sources.add(SourceFile::new("x.toml", text));
        let mut sink = Sink::new();
        let span = |&(start, end)| Some(Span::new(FileId(0), start, end));
        let mut finding = sink.report(
            "group/rule",
            Level::Warning,
            spans.first().and_then(span),
            "a.b",
            "message",
        );
        for place in spans.iter().skip(1) {
            finding = finding.also(span(place), "also");
        }
        drop(finding);
        let findings = sink.into_findings();
        Full.to_text(&Report::new(&findings, &sources, 1), layout)
    }

    #[test]
    fn colours_and_plain_characters_are_by_request() {
        let (sources, findings) = (fixture::sources(), &fixture::everything()[1..2]);
        let report = Report::new(findings, &sources, 1);
        let layout = Layout {
            colour: true,
            ..Layout::default()
        };
        let coloured = Full.to_text(&report, layout);
        assert!(coloured.contains("\x1b[1;33mwarning[order/left-to-right]\x1b[0m"));
        let layout = Layout {
            unicode: false,
            width: 60,
            ..Layout::default()
        };
        let findings = &fixture::everything()[4..5];
        let plain = Full.to_text(&Report::new(findings, &sources, 1), layout);
        assert!(plain.is_ascii());
        insta::assert_snapshot!(plain, @r"
          > info[cost/tile-waste]: 20 columns fill 16 % of a tile
          | of 128
           ,-[specs/product.model.toml:6:1]
         5 | B = [5, 200]
         6 | C = [200, 20]
           : ^^^^^^^^^^^^^
         7 |
           `----
          help: pad to 128
          note: 12 instances, confidence: likely

        1 info in 1 spec
        ");
    }

    #[test]
    fn distant_places_have_frames_of_their_own() {
        let text = format!("a = 1\n{}b = 2\n", "\n".repeat(50));
        let frames = render(&text, &[(0, 1), (56, 57)], Layout::default());
        insta::assert_snapshot!(frames, @r"
          ⚠ warning[group/rule]: message
           ╭─[x.toml:1:1]
         1 │ a = 1
           · ─
         2 │
           ╰────
            ╭─[x.toml:52:1]
         51 │
         52 │ b = 2
            · ┬
            · ╰── also
            ╰────

        1 warning in 1 spec
        ");
    }

    #[test]
    fn pages_and_long_lines_are_cut() {
        let pages = "key = 1\n".repeat(10_000);
        assert!(
            render(&pages, &[(8, 70_000)], Layout::default())
                .lines()
                .count()
                < 12
        );
        let line = format!("key = [{}]\n", "1, ".repeat(100_000));
        let shown = render(&line, &[(150_000, 150_001)], Layout::default());
        assert!(shown.len() < 2000, "{shown}");
        assert!(shown.contains("x.toml:1:150001"), "{shown}");
    }

    #[test]
    fn a_spec_cannot_drive_the_terminal() {
        let shown = render(
            "a = \"\x1b[2J\" # \u{202e}\r\n",
            &[(4, 10)],
            Layout::default(),
        );
        assert!(!shown.contains(['\x1b', '\u{202e}', '\r']), "{shown}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Any text and any places in it, or past its end, are drawn.
        #[test]
        fn no_places_panic(
            text in "([a-c µ漢\t\r\n]|é\n){0,40}",
            places in prop::collection::vec((0..60_usize, 0..12_usize), 0..4),
            unicode: bool,
            width in 0..100_usize,
        ) {
            let spans: Vec<_> = places.iter().map(|&(at, len)| (at, at + len)).collect();
            let layout = Layout { colour: false, unicode, width };
            let shown = render(&text, &spans, layout);
            prop_assert!(shown.contains("warning[group/rule]"));
        }

        #[test]
        fn no_places_in_long_texts_panic(
            line in 1..3000_usize,
            places in prop::collection::vec((0..9000_usize, 0..4000_usize), 1..4),
        ) {
            let text = format!("{}\n", "µa".repeat(line)).repeat(3);
            let spans: Vec<_> = places.iter().map(|&(at, len)| (at, at + len)).collect();
            let shown = render(&text, &spans, Layout::default());
            prop_assert!(shown.contains("warning[group/rule]"));
        }
    }
}
