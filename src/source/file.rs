//! Source files with a line index, in the form that miette reads.

use std::sync::{Arc, OnceLock};

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use super::{FileId, Span};

/// One source text and the offsets at which its lines start.
///
/// miette's own `NamedSource` scans the text from the start for every label; this index makes a
/// label cost `O(log lines + context)`. The index is built on first use: a file without findings
/// never pays for it.
#[derive(Debug, Clone)]
pub struct SourceFile {
    name: Arc<str>,
    text: Arc<str>,
    line_starts: OnceLock<Arc<[u32]>>,
    kind: Kind,
}

/// What a text is to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    /// What is checked.
    #[default]
    Spec,
    /// The program that an imported model was written in.
    Code,
    /// Single lines of such a program, which itself is not at hand.
    Excerpt,
}

/// A position as people count: both from 1, columns in Unicode code points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in code points, from 1.
    pub column: usize,
}

impl SourceFile {
    /// A file of that name (as the user gave it) and text.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> SourceFile {
        SourceFile {
            name: name.into(),
            text: text.into(),
            line_starts: OnceLock::new(),
            kind: Kind::Spec,
        }
    }

    /// The program that an imported model was written in. It is shown, and never changed.
    pub fn code(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> SourceFile {
        SourceFile {
            kind: Kind::Code,
            ..SourceFile::new(name, text)
        }
    }

    /// Such a program of which only some lines are known; the others are empty in the text.
    pub fn excerpt(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> SourceFile {
        SourceFile {
            kind: Kind::Excerpt,
            ..SourceFile::new(name, text)
        }
    }

    /// Whether it is the program that an imported model was written in.
    pub fn is_code(&self) -> bool {
        self.kind != Kind::Spec
    }

    /// The same file with another name and text.
    pub fn rewritten(&self, name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> SourceFile {
        SourceFile {
            kind: self.kind,
            ..SourceFile::new(name, text)
        }
    }

    /// The name to print: the path as given, or a label such as `<stdin>` or `--set`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as it is written in records that outlive a machine: with `/` between directories
    /// and without a leading `./`.
    pub fn portable_name(&self) -> String {
        let name = self.name.replace('\\', "/");
        name.trim_start_matches("./").to_owned()
    }

    /// The whole text.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    fn line_starts(&self) -> &[u32] {
        self.line_starts.get_or_init(|| {
            let newlines = self
                .text
                .bytes()
                .enumerate()
                .filter(|&(_, byte)| byte == b'\n');
            std::iter::once(0)
                .chain(newlines.map(|(at, _)| at as u32 + 1))
                .collect()
        })
    }

    /// Number of the line (from 0) that holds the byte `offset`. `O(log lines)`.
    pub fn line_of(&self, offset: usize) -> usize {
        self.line_starts()
            .partition_point(|&start| start as usize <= offset)
            .saturating_sub(1)
    }

    /// Byte range of the line with number `line` (from 0), without its line break.
    pub fn line_range(&self, line: usize) -> std::ops::Range<usize> {
        let starts = self.line_starts();
        let start = starts
            .get(line)
            .map_or(self.text.len(), |&start| start as usize);
        let end = starts
            .get(line + 1)
            .map_or(self.text.len(), |&next| next as usize);
        let text = self.text.get(start..end).unwrap_or("");
        start..start + text.trim_end_matches(['\n', '\r']).len()
    }

    /// Line and column of the byte `offset`, clamped to the text.
    pub fn line_column(&self, offset: usize) -> LineColumn {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line_of(offset);
        let start = self.line_starts()[line] as usize;
        let column = self
            .text
            .get(start..offset)
            .map_or(0, |text| text.chars().count());
        LineColumn {
            line: line + 1,
            column: column + 1,
        }
    }
}

impl SourceCode for SourceFile {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let end = span.offset() + span.len();
        if end > self.text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let spanned = self.line_of(span.offset());
        // What surrounds the lines of an excerpt is not known.
        let context = |lines: usize| match self.kind {
            Kind::Excerpt => 0,
            Kind::Spec | Kind::Code => lines,
        };
        let first = spanned.saturating_sub(context(context_lines_before));
        let last_byte = if span.is_empty() {
            span.offset()
        } else {
            end - 1
        };
        let starts = self.line_starts();
        let last = (self.line_of(last_byte) + context(context_lines_after)).min(starts.len() - 1);
        // Without context, miette asks where the span is, and wants no more than that.
        let (start, column) = match context_lines_before {
            0 => (span.offset(), self.line_column(span.offset()).column - 1),
            _ => (starts[first] as usize, 0),
        };
        let stop = starts
            .get(last + 1)
            .map_or(self.text.len(), |&next| next as usize);
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.to_string(),
            &self.text.as_bytes()[start..stop],
            (start, stop - start).into(),
            first,
            column,
            // miette joins the frames of labels whose lines meet by this count.
            last + 1 - first,
        )))
    }
}

/// All source texts of one run, numbered in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Adds a file and returns its number.
    pub fn add(&mut self, file: SourceFile) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(file);
        id
    }

    /// The file with that number, if there is one.
    pub fn get(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// The text that a span covers; empty where it lies outside.
    pub fn text(&self, span: Span) -> &str {
        self.get(span.file)
            .and_then(|file| file.text().get(span.range()))
            .unwrap_or("")
    }

    /// All files with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        self.files
            .iter()
            .enumerate()
            .map(|(index, file)| (FileId(index as u32), file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_code_points_from_one() {
        let file = SourceFile::new("x", "ab\nµs = 1\n");
        assert_eq!(file.line_column(0), LineColumn { line: 1, column: 1 });
        assert_eq!(file.line_column(5), LineColumn { line: 2, column: 2 });
        assert_eq!(file.line_column(999), LineColumn { line: 3, column: 1 });
        assert_eq!(&file.text()[file.line_range(1)], "µs = 1");
        assert_eq!(file.line_range(7), 11..11);
    }

    #[test]
    fn context_lines_are_clamped_to_the_text() {
        let file = SourceFile::new("x", "a\nb\nc\nd\n");
        let contents = file.read_span(&(4, 1).into(), 1, 1).unwrap();
        assert_eq!(contents.data(), b"b\nc\nd\n");
        assert_eq!(contents.line(), 1);
        assert!(file.read_span(&(9, 1).into(), 1, 1).is_err());
        assert_eq!(file.read_span(&(8, 0).into(), 1, 1).unwrap().data(), b"d\n");
    }

    #[test]
    fn a_span_without_context_tells_its_column() {
        let file = SourceFile::new("x", "ab\nµs = 1\n");
        let contents = file.read_span(&(6, 1).into(), 0, 0).unwrap();
        assert_eq!((contents.line(), contents.column()), (1, 2));
        assert_eq!(contents.data(), b" = 1\n");
        assert_eq!(contents.line_count(), 1);
    }
}
