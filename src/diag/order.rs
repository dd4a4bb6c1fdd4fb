//! The order in which findings are shown.

use std::cmp::{Ordering, Reverse};

use super::Finding;
use crate::source::Sources;

/// Sorts findings by file name, place, level (worst first) and rule; those without a file come
/// first. What is left is decided by symbolic place and message, so that the order is the same in
/// every run. `O(n log n)`.
pub fn sort(findings: &mut [Finding], sources: &Sources) {
    findings.sort_by(|a, b| compare(a, b, sources));
}

fn compare(a: &Finding, b: &Finding, sources: &Sources) -> Ordering {
    let file = |finding: &Finding| {
        finding
            .span
            .map(|span| (sources.get(span.file).map(|file| file.name()), span.file))
    };
    let key = |finding: &Finding| {
        let start = finding.span.map(|span| span.start);
        (start, Reverse(finding.level), finding.rule)
    };
    file(a)
        .cmp(&file(b))
        .then_with(|| key(a).cmp(&key(b)))
        .then_with(|| (&a.path, &a.message).cmp(&(&b.path, &b.message)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diag::{Level, Sink};
    use crate::source::{FileId, SourceFile, Span};

    type Key = (Option<(u32, usize)>, usize, &'static str);

    /// Sorts findings given as (file and start, level, rule) and prints them.
    fn sorted(keys: &[Key]) -> String {
        let mut sources = Sources::default();
        for name in ["b", "a"] {
            sources.add(SourceFile::new(name, "0123456789"));
        }
        let mut sink = Sink::new();
        for &(place, level, rule) in keys {
            let span = place.map(|(file, start)| Span::new(FileId(file), start, start + 1));
            sink.report(rule, Level::ALL[level], span, "", "");
        }
        let mut findings = sink.into_findings();
        sort(&mut findings, &sources);
        let line = |finding: &Finding| {
            let place = finding
                .span
                .map(|span| (sources.get(span.file), span.start));
            let place = place.map_or("-".to_owned(), |(file, start)| {
                format!("{}:{start}", file.map_or("", |file| file.name()))
            });
            format!("{place} {} {}\n", finding.level, finding.rule)
        };
        findings.iter().map(line).collect()
    }

    #[test]
    fn findings_are_sorted_by_file_place_level_and_rule() {
        let keys: [Key; 7] = [
            (Some((0, 1)), 2, "r"),
            (Some((1, 5)), 0, "r"),
            (Some((1, 5)), 2, "s"),
            (Some((1, 5)), 2, "r"),
            (Some((1, 2)), 0, "r"),
            (None, 0, "r"),
            (None, 2, "r"),
        ];
        insta::assert_snapshot!(sorted(&keys), @r"
        - error r
        - info r
        a:2 info r
        a:5 error r
        a:5 error s
        a:5 info r
        b:1 error r
        ");
    }

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_what_came_first(
            keys in prop::collection::vec(
                (
                    prop::option::of((0..2_u32, 0..4_usize)),
                    0..3_usize,
                    prop::sample::select(vec!["r", "s"]),
                ),
                0..12,
            ).prop_shuffle(),
            turn in 0..12_usize,
        ) {
            let mut turned = keys.clone();
            turned.rotate_left(turn.min(keys.len()));
            prop_assert_eq!(sorted(&keys), sorted(&turned));
        }
    }
}
