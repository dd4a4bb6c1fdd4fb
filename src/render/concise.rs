//! `concise`: one line a finding, as compilers and editors know it.

use std::fmt::{self, Write};

use super::visible::one_line;
use super::{Layout, Renderer, Report};
use crate::diag::{Confidence, Finding};
use crate::source::Sources;

/// `path:line:column: level[rule] message`.
#[derive(Debug)]
pub(super) struct Concise;

impl Renderer for Concise {
    fn name(&self) -> &'static str {
        "concise"
    }

    fn about(&self) -> &'static str {
        "one line a finding, for editors and for grep"
    }

    fn render(&self, report: &Report<'_>, _: Layout, out: &mut dyn Write) -> fmt::Result {
        report
            .shown()
            .try_for_each(|finding| line(finding, report.sources, out))
    }
}

fn line(finding: &Finding, sources: &Sources, out: &mut dyn Write) -> fmt::Result {
    let file = finding
        .span
        .and_then(|span| Some((span, sources.get(span.file)?)));
    if let Some((span, file)) = file {
        let at = file.line_column(span.range().start);
        write!(out, "{}:{}:{}: ", one_line(file.name()), at.line, at.column)?;
    }
    let (level, rule) = (finding.level, finding.rule);
    write!(out, "{level}[{rule}] {}", one_line(&finding.message))?;
    let is_spec = file.is_some_and(|(_, file)| !file.is_code());
    if !is_spec && !finding.path.is_empty() {
        write!(out, " (at {})", one_line(&finding.path))?;
    }
    if finding.instances > 1 {
        write!(out, " ({} instances)", finding.instances)?;
    }
    if finding.confidence != Confidence::Certain {
        write!(out, " ({})", finding.confidence)?;
    }
    writeln!(out)
}
