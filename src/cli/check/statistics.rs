//! How often each rule speaks.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::cli::table::{Align, table};
use crate::diag::{Level, Safety};
use crate::render::{Layout, Report};

/// A table of rules with the number of their findings and of the fixes for them, the most frequent
/// first.
pub(super) fn statistics(report: &Report<'_>, layout: Layout) -> String {
    let mut counts: BTreeMap<(&str, Level), [usize; 3]> = BTreeMap::new();
    for finding in report.shown() {
        let count = counts.entry((finding.rule, finding.level)).or_default();
        count[0] += 1;
        match finding.fix.as_ref().map(|fix| fix.safety) {
            Some(Safety::Safe) => count[1] += 1,
            Some(Safety::Unsafe) => count[2] += 1,
            None => {}
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&((rule, _), count)| (Reverse(count[0]), rule));
    let blank = |number: usize| match number {
        0 => String::new(),
        number => number.to_string(),
    };
    let rows: Vec<Vec<String>> = counts
        .iter()
        .map(|&((rule, level), [all, safe, unsafe_])| {
            vec![
                all.to_string(),
                blank(safe),
                blank(unsafe_),
                level.to_string(),
                rule.to_owned(),
            ]
        })
        .collect();
    let head = [
        ("findings", Align::Right),
        ("fixes", Align::Right),
        ("unsafe", Align::Right),
        ("level", Align::Left),
        ("rule", Align::Left),
    ];
    let summary = report.summary;
    match rows.is_empty() {
        true => format!("{summary}\n"),
        false => format!("{}\n{summary}\n", table(&head, &rows, layout)),
    }
}
