//! Byte ranges in source files.

/// The number of a file in [`Sources`](super::Sources).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileId(pub u32);

impl FileId {
    /// Stands for a file that nobody has read yet; a span in it holds the number of a line that is
    /// found later.
    pub const UNREAD: FileId = FileId(u32::MAX);
}

/// A half-open byte range `start..end` of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The file that the range lies in.
    pub file: FileId,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset one past the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end` of `file`.
    ///
    /// Offsets past 4 GiB are clamped; the loader refuses files that large.
    pub fn new(file: FileId, start: usize, end: usize) -> Span {
        let clamp = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Span {
            file,
            start: clamp(start),
            end: clamp(end.max(start)),
        }
    }

    /// The empty range at the start of this one.
    pub fn start_only(self) -> Span {
        Span {
            end: self.start,
            ..self
        }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the range holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The range as `usize` offsets, to index the file's text with.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The smallest range that covers both. Both must lie in the same file; otherwise `self`.
    pub fn to(self, other: Span) -> Span {
        if self.file != other.file {
            return self;
        }
        Span {
            file: self.file,
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

/// A value together with the place it was written at; no span where it is a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written; `None` for a default.
    pub span: Option<Span>,
}

impl<T> Spanned<T> {
    /// A value that the user wrote at `span`.
    pub fn written(value: T, span: Span) -> Spanned<T> {
        Spanned {
            value,
            span: Some(span),
        }
    }

    /// A value that nobody wrote.
    pub fn default_value(value: T) -> Spanned<T> {
        Spanned { value, span: None }
    }

    /// Whether the user wrote the value.
    pub fn is_written(&self) -> bool {
        self.span.is_some()
    }
}
