//! The capacity report as text: one file per output format.

mod change;
mod html;
mod json;
mod markdown;
mod parts;
mod peak;
mod rows;
mod serving;
mod text;

use super::Layout;
use crate::report::CapacityReport;

/// One output format of the capacity report.
pub trait CapacityRenderer: std::fmt::Debug + Sync {
    /// The name to write behind `--output`.
    fn name(&self) -> &'static str;

    /// The report as a string.
    fn to_text(&self, report: &CapacityReport, layout: Layout) -> String;
}

/// All formats, in the order in which they are offered; the first is the default.
pub static CAPACITY_FORMATS: [&dyn CapacityRenderer; 4] =
    [&text::Text, &json::Json, &markdown::Markdown, &html::Html];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Levels, Overlay, check, load};
    use crate::facts::Facts;
    use crate::source::{SourceFile, Sources};

    const SPEC: &str = r#"spec = 1
[model]
name = "two of a kind"
[dims]
batch = 8
[inputs]
x = ["batch", 16]
[params]
scale = [16]
[blocks.pair]
inputs = ["x"]
layers = [{ name = "up", op = "linear", out_features = 64 }, { op = "linear", out_features = 16 }]
[[layers]]
name = "h"
op = "pair"
repeat = 3
[[layers]]
name = "out"
formula = "h * scale"
[train]
micro_batch = "batch"
optimizer = "adamw"
[cluster]
device = "a100-80gb-sxm"
"#;

    /// The report of [`SPEC`].
    pub(super) fn report() -> CapacityReport {
        let mut sources = Sources::default();
        let file = sources.add(SourceFile::new("x.model.toml", SPEC));
        let fetch = &mut |path: &str| Err(path.to_owned());
        let loaded = load(file, &mut sources, &Overlay::default(), fetch);
        let checked = check(loaded, &sources, &Levels::default());
        CapacityReport::of(&Facts::new(&checked.spec, &checked.model))
    }

    /// Every format has a name of its own and a snapshot of one report; the page, which is mostly
    /// script, is held to what it must hold beside it.
    #[test]
    fn every_format_writes_the_report() {
        let report = report();
        for (index, format) in CAPACITY_FORMATS.iter().enumerate() {
            let name = format.name();
            assert!(
                CAPACITY_FORMATS[..index]
                    .iter()
                    .all(|other| other.name() != name)
            );
            if name != "html" {
                insta::assert_snapshot!(name, format.to_text(&report, Layout::default()));
            }
        }
    }
}
