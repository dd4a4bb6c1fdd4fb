//! The capacity report as a page: one file that needs nothing else, with the memory of a step as a
//! picture that can be pointed at and zoomed.
//!
//! The page holds the report as JSON, and its script draws it; so the figures in the page are the
//! report's own, and nothing of it is ever read as HTML.

use super::CapacityRenderer;
use crate::render::Layout;
use crate::report::CapacityReport;

/// A self-contained page.
#[derive(Debug)]
pub(super) struct Html;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

impl CapacityRenderer for Html {
    fn name(&self) -> &'static str {
        "html"
    }

    fn to_text(&self, report: &CapacityReport, _layout: Layout) -> String {
        // The report holds strings, numbers and lists only, so it always has a JSON form.
        let report = serde_json::to_string(report).unwrap_or_default();
        let mut page =
            String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + report.len());
        let mut rest = PAGE;
        // In one pass: what is put in is not searched for further places.
        while let Some((before, after)) = rest.split_once("{{") {
            page.push_str(before);
            let (name, after) = after.split_once("}}").unwrap_or((after, ""));
            match name {
                "style" => page.push_str(STYLE.trim_end()),
                "script" => page.push_str(SCRIPT.trim_end()),
                _ => page.push_str(&inert(&report)),
            }
            rest = after;
        }
        page.push_str(rest);
        page
    }
}

/// JSON that no browser reads as markup: `<` stands only within strings, where JSON can escape it.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page holds the very report, its style and its script, and fetches nothing.
    #[test]
    fn the_page_holds_the_report() {
        let report = crate::render::capacity::tests::report();
        let page = Html.to_text(&report, Layout::default());
        let (_, rest) = page.split_once("id=\"report\">").unwrap();
        let (json, _) = rest.split_once("</script>").unwrap();
        let held: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(held, serde_json::to_value(&report).unwrap());
        assert!(page.contains(SCRIPT.trim_end()) && page.contains(STYLE.trim_end()));
        for reference in ["src=", "href=", "@import", "url(", "://", "{{"] {
            assert!(!page.contains(reference), "the page has `{reference}`");
        }
    }

    /// Guards against a layer's name that ends the element in which the report stands.
    #[test]
    fn no_name_of_the_model_ends_the_script() {
        assert_eq!(
            inert(r#"{"path":"</script><script>alert(1)"}"#),
            r#"{"path":"\u003c/script>\u003cscript>alert(1)"}"#
        );
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
    }
}
