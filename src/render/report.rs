//! What a renderer is given.

use std::fmt;

use serde::Serialize;

use crate::diag::{Finding, Level};
use crate::source::Sources;

/// The findings of one run with the texts that they point into.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// All findings, suppressed ones included, in the order in which to print them.
    pub findings: &'a [Finding],
    /// The texts.
    pub sources: &'a Sources,
    /// What to count.
    pub summary: Summary,
}

/// How many findings there are, and in how many specs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Findings of level `error`.
    pub error: usize,
    /// Findings of level `warning`.
    pub warning: usize,
    /// Findings of level `info`.
    pub info: usize,
    /// Findings that the user allowed; none of them is counted above.
    #[serde(skip)]
    pub suppressed: usize,
    /// Specs that were checked.
    #[serde(skip)]
    pub specs: usize,
}

impl<'a> Report<'a> {
    /// A report on the findings in so many specs.
    pub fn new(findings: &'a [Finding], sources: &'a Sources, specs: usize) -> Report<'a> {
        Report {
            findings,
            sources,
            summary: Summary::of(findings, specs),
        }
    }

    /// The findings that count.
    pub fn shown(&self) -> impl Iterator<Item = &'a Finding> + use<'a> {
        self.findings
            .iter()
            .filter(|finding| finding.suppressed.is_none())
    }
}

impl Summary {
    /// Counts findings.
    pub fn of(findings: &[Finding], specs: usize) -> Summary {
        let mut summary = Summary {
            specs,
            ..Summary::default()
        };
        for finding in findings {
            let count = match (&finding.suppressed, finding.level) {
                (Some(_), _) => &mut summary.suppressed,
                (None, Level::Error) => &mut summary.error,
                (None, Level::Warning) => &mut summary.warning,
                (None, Level::Info) => &mut summary.info,
            };
            *count += 1;
        }
        summary
    }

    /// Number of findings of that level.
    pub fn count(&self, level: Level) -> usize {
        match level {
            Level::Error => self.error,
            Level::Warning => self.warning,
            Level::Info => self.info,
        }
    }
}

/// A number and what is counted, in the singular or the plural.
pub(super) fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

impl fmt::Display for Summary {
    /// `2 errors, 1 warning, 3 infos in 4 specs`; levels without findings are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = Level::ALL
            .iter()
            .rev()
            .map(|&level| (self.count(level), level.name()))
            .filter(|&(count, _)| count > 0)
            .map(|(count, name)| counted(count, name))
            .collect();
        match counts.is_empty() {
            true => f.write_str("nothing found")?,
            false => f.write_str(&counts.join(", "))?,
        }
        write!(f, " in {}", counted(self.specs, "spec"))?;
        if self.suppressed > 0 {
            write!(f, " ({} allowed)", self.suppressed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_in_words() {
        let mut summary = Summary {
            specs: 1,
            ..Summary::default()
        };
        assert_eq!(summary.to_string(), "nothing found in 1 spec");
        summary.suppressed = 2;
        assert_eq!(summary.to_string(), "nothing found in 1 spec (2 allowed)");
        (summary.error, summary.warning, summary.info) = (2, 1, 3);
        (summary.specs, summary.suppressed) = (4, 0);
        assert_eq!(
            summary.to_string(),
            "2 errors, 1 warning, 3 infos in 4 specs"
        );
    }
}
