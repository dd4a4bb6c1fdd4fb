//! `explain RULE`: a rule's page.

use serde::Serialize;

use super::console::{Console, Style, paint};
use super::rules::Record;
use super::status::{Status, Stop};
use super::{markdown, names};
use crate::rules::Rule;

/// Show the page of a rule: what it finds, why that matters, and how to mend it
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The rule; its group may be left out
    #[arg(value_name = "RULE", value_parser = names::rule)]
    rule: &'static Rule,
    /// How to write it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: PageForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PageForm {
    Text,
    Markdown,
    Json,
}

#[derive(Serialize)]
struct Page {
    version: u32,
    #[serde(flatten)]
    rule: Record,
    /// In Markdown.
    page: &'static str,
}

impl Explain {
    pub fn run(self, console: &mut Console<'_>) -> Result<Status, Stop> {
        let rule = self.rule;
        let text = match self.output {
            PageForm::Markdown => rule.page.to_owned(),
            PageForm::Json => super::json(&Page {
                version: 1,
                rule: Record::of(rule),
                page: rule.page,
            }),
            PageForm::Text => {
                let (title, rest) = rule.page.split_once('\n').unwrap_or((rule.page, ""));
                let layout = console.layout;
                let title = paint(layout, Style::Heading, title.trim_start_matches("# "));
                let facts = format!(
                    "level {}, fix {}, since {}",
                    rule.level,
                    rule.fix.name(),
                    rule.since
                );
                format!("{title}\n{facts}\n{}", markdown::render(rest, layout))
            }
        };
        console.print(&text)?;
        Ok(Status::Success)
    }
}
