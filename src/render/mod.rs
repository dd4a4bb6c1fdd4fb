//! Findings as text: one file per output format.
//!
//! Renderers see findings and sources and write to a `fmt::Write`. They read no files and no
//! environment: whether there are colours and how wide a line is are parameters. What a model
//! costs is written down in [`capacity`].

pub mod capacity;
mod concise;
mod full;
mod json;
mod output;
mod report;
pub(crate) mod visible;

#[cfg(test)]
mod fixture;

use std::fmt;

pub use output::{Output, OutputError};
pub use report::{Report, Summary};

/// How a text for people is laid out; formats for programs ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Whether to write ANSI colours.
    pub colour: bool,
    /// Whether to draw with characters beyond ASCII.
    pub unicode: bool,
    /// Columns of the terminal; at least 40 are used.
    pub width: usize,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout {
            colour: false,
            unicode: true,
            width: 100,
        }
    }
}

/// One output format.
pub trait Renderer: fmt::Debug + Sync {
    /// The name to write behind `--output`.
    fn name(&self) -> &'static str;

    /// What it is for, as half a sentence.
    fn about(&self) -> &'static str;

    /// Writes the report. It fails only where `out` does.
    fn render(&self, report: &Report<'_>, layout: Layout, out: &mut dyn fmt::Write) -> fmt::Result;

    /// The report as a string.
    fn to_text(&self, report: &Report<'_>, layout: Layout) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.render(report, layout, &mut text);
        text
    }
}

/// All formats, in the order in which they are offered.
pub static FORMATS: [&dyn Renderer; 4] = [
    &full::Full,
    &concise::Concise,
    &json::Json,
    &json::JsonLines,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A format is complete when it has a name, a line of help, and a snapshot of every case.
    #[test]
    fn every_format_renders_every_case() {
        let sources = fixture::sources();
        for (index, format) in FORMATS.iter().enumerate() {
            let name = format.name();
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}");
            assert!(!format.about().is_empty(), "{name}");
            assert!(
                FORMATS[..index].iter().all(|other| other.name() != name),
                "two formats are called {name}"
            );
            for (case, findings) in fixture::cases() {
                let report = Report::new(&findings, &sources, 4);
                let text = format.to_text(&report, Layout::default());
                insta::assert_snapshot!(format!("{name}-{case}"), text);
                assert_eq!(text, format.to_text(&report, Layout::default()));
                assert!(!text.contains('\x1b'), "{name} writes escapes unasked");
            }
        }
    }
}
