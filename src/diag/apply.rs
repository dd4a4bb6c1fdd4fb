//! Applies fixes to texts. It writes no files: it answers what the texts would be.

use std::collections::BTreeMap;

use similar::TextDiff;

use super::{Edit, Finding, Fix, Safety};
use crate::source::{FileId, SourceFile, Sources};

/// Why a fix was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skipped {
    /// It changes what is computed, and only safe fixes were asked for.
    Unsafe,
    /// It touches a place that an earlier fix changes, or one place twice. Applying what was
    /// chosen and checking again may bring it back.
    Overlaps,
    /// It edits a text that cannot be written, such as an argument of the command line.
    NotWritable,
    /// Its range lies outside the text or within a character.
    OutOfBounds,
}

/// What became of the fixes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The new text of each file that changes.
    pub texts: BTreeMap<FileId, String>,
    /// Indices of the findings whose fix is in `texts`.
    pub applied: Vec<usize>,
    /// Indices of the findings whose fix is not, and why.
    pub skipped: Vec<(usize, Skipped)>,
}

/// Applies the fixes of all findings that are not suppressed, in their order: all edits of a fix or
/// none, and of two fixes that touch the same place the first. Two fixes may make the same edit.
///
/// `safety` is the most that a fix may be; `writable` says which files may change. Line breaks in
/// a replacement become those of the file. `O(n log n)` for n edits.
pub fn apply(
    findings: &[Finding],
    sources: &Sources,
    safety: Safety,
    writable: &dyn Fn(FileId) -> bool,
) -> Applied {
    let mut chosen = Chosen::default();
    let mut applied = Applied::default();
    for (index, finding) in findings.iter().enumerate() {
        let Some(fix) = &finding.fix else { continue };
        if finding.suppressed.is_some() {
            continue;
        }
        let refused = match (fix.safety, safety) {
            (Safety::Unsafe, Safety::Safe) => Err(Skipped::Unsafe),
            _ => chosen.add(fix, sources, writable),
        };
        match refused {
            Ok(()) => applied.applied.push(index),
            Err(reason) => applied.skipped.push((index, reason)),
        }
    }
    for (id, edits) in chosen.edits {
        if let Some(file) = sources.get(id) {
            let text = rewrite(file.text(), edits.values().copied());
            if text != **file.text() {
                applied.texts.insert(id, text);
            }
        }
    }
    applied
}

impl Applied {
    /// All changes as one unified diff with three lines of context, as `patch -p0` reads it.
    pub fn diff(&self, sources: &Sources) -> String {
        self.texts
            .iter()
            .filter_map(|(&id, text)| Some(unified_diff(sources.get(id)?, text)))
            .collect()
    }
}

/// The change of one file as a unified diff; empty where nothing changes.
pub fn unified_diff(file: &SourceFile, new: &str) -> String {
    let name = file.portable_name();
    TextDiff::from_lines(&**file.text(), new)
        .unified_diff()
        .context_radius(3)
        .header(&name, &name)
        .to_string()
}

/// Edits that do not touch one another, by file and start.
#[derive(Default)]
struct Chosen<'a> {
    edits: BTreeMap<FileId, BTreeMap<u32, &'a Edit>>,
}

impl<'a> Chosen<'a> {
    /// Adds all edits of a fix, or none.
    fn add(
        &mut self,
        fix: &'a Fix,
        sources: &Sources,
        writable: &dyn Fn(FileId) -> bool,
    ) -> Result<(), Skipped> {
        let mut added: Vec<&Edit> = Vec::with_capacity(fix.edits.len());
        let mut refused = None;
        for edit in &fix.edits {
            match self.judge(edit, sources, writable) {
                Ok(true) => {
                    let edits = self.edits.entry(edit.span.file).or_default();
                    edits.insert(edit.span.start, edit);
                    added.push(edit);
                }
                Ok(false) => {}
                Err(reason) => {
                    refused = Some(reason);
                    break;
                }
            }
        }
        let Some(reason) = refused else { return Ok(()) };
        for edit in added {
            if let Some(edits) = self.edits.get_mut(&edit.span.file) {
                edits.remove(&edit.span.start);
            }
        }
        Err(reason)
    }

    /// Whether an edit is new (`true`) or made already (`false`).
    fn judge(
        &self,
        edit: &Edit,
        sources: &Sources,
        writable: &dyn Fn(FileId) -> bool,
    ) -> Result<bool, Skipped> {
        let span = edit.span;
        let text = sources.get(span.file).map(SourceFile::text);
        // `get` refuses what is out of bounds, turned around, or within a character.
        if text.and_then(|text| text.get(span.range())).is_none() {
            return Err(Skipped::OutOfBounds);
        }
        if !writable(span.file) {
            return Err(Skipped::NotWritable);
        }
        let Some(edits) = self.edits.get(&span.file) else {
            return Ok(true);
        };
        // Chosen edits are apart, so that both their starts and their ends ascend.
        let near = edits
            .range(..=span.end)
            .rev()
            .map(|(_, &other)| other)
            .take_while(|other| other.span.end >= span.start);
        for other in near {
            if other == edit {
                return Ok(false);
            }
            if touch(edit, other) {
                return Err(Skipped::Overlaps);
            }
        }
        Ok(true)
    }
}

/// Whether the outcome of two edits of one file would depend on their order. Replacements side by
/// side do not touch; an insertion touches what it borders on.
fn touch(a: &Edit, b: &Edit) -> bool {
    let (a, b) = (a.span, b.span);
    match a.is_empty() || b.is_empty() {
        true => a.start <= b.end && b.start <= a.end,
        false => a.start < b.end && b.start < a.end,
    }
}

/// The text with edits made, which ascend and do not overlap.
fn rewrite<'a>(text: &str, edits: impl Iterator<Item = &'a Edit>) -> String {
    let carriage_returns = text.contains("\r\n");
    let mut new = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits {
        let range = edit.span.range();
        new.push_str(text.get(done..range.start).unwrap_or_default());
        match carriage_returns && edit.replacement.contains('\n') {
            true => {
                let unix = edit.replacement.replace("\r\n", "\n");
                new.push_str(&unix.replace('\n', "\r\n"));
            }
            false => new.push_str(&edit.replacement),
        }
        done = range.end;
    }
    new.push_str(text.get(done..).unwrap_or_default());
    new
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diag::{Level, Sink};
    use crate::source::Span;

    /// Start, end and replacement in the first file.
    type Place = (usize, usize, &'static str);

    fn finding(safety: Safety, edits: Vec<Edit>) -> Finding {
        let mut sink = Sink::new();
        sink.report("g/r", Level::Info, None, "", "")
            .fix_edits("mend", safety, edits);
        sink.into_findings().remove(0)
    }

    fn findings(fixes: &[&[Place]]) -> Vec<Finding> {
        let edit = |&(start, end, text): &Place| Edit {
            span: Span::new(FileId(0), start, end),
            replacement: text.to_owned(),
        };
        fixes
            .iter()
            .map(|places| finding(Safety::Safe, places.iter().map(edit).collect()))
            .collect()
    }

    fn sources(text: &str) -> Sources {
        let mut sources = Sources::default();
        sources.add(SourceFile::new("./dir/x.toml", text));
        sources
    }

    /// The text after all fixes, and what was skipped.
    fn check(text: &str, fixes: &[&[Place]], expected: &str, skipped: &[(usize, Skipped)]) {
        let applied = apply(&findings(fixes), &sources(text), Safety::Safe, &|_| true);
        let new = applied.texts.get(&FileId(0)).map_or(text, String::as_str);
        assert_eq!(new, expected, "{fixes:?}");
        assert_eq!(applied.skipped, skipped, "{fixes:?}");
        assert_eq!(applied.applied.len() + skipped.len(), fixes.len());
    }

    #[test]
    fn all_edits_of_a_fix_or_none_and_the_first_wins() {
        use Skipped::{OutOfBounds, Overlaps};
        let text = "0123456789";
        check(text, &[&[(8, 9, "i"), (1, 2, "b")]], "0b234567i9", &[]);
        check(text, &[&[(1, 3, "b")], &[(3, 4, "c")]], "0bc456789", &[]);
        check(
            text,
            &[&[(1, 3, "b")], &[(2, 4, "c")]],
            "0b3456789",
            &[(1, Overlaps)],
        );
        // The second fix is refused whole, and leaves its place to the third.
        let fixes: [&[Place]; 3] = [&[(1, 2, "b")], &[(5, 6, "f"), (1, 2, "x")], &[(5, 6, "F")]];
        check(text, &fixes, "0b234F6789", &[(1, Overlaps)]);
        check(
            text,
            &[&[(4, 4, "x")], &[(4, 4, "y")]],
            "0123x456789",
            &[(1, Overlaps)],
        );
        check(
            text,
            &[&[(4, 6, "x")], &[(6, 6, "y")]],
            "0123x6789",
            &[(1, Overlaps)],
        );
        check(
            text,
            &[&[(4, 4, "x")], &[(4, 4, "x"), (0, 1, "")]],
            "123x456789",
            &[],
        );
        check(text, &[&[(1, 2, "b"), (1, 3, "c")]], text, &[(0, Overlaps)]);
        check(text, &[&[(9, 11, "x")]], text, &[(0, OutOfBounds)]);
        check("aµ", &[&[(2, 3, "x")]], "aµ", &[(0, OutOfBounds)]);
        check(text, &[&[(1, 2, "1")]], text, &[]);
    }

    #[test]
    fn line_breaks_are_those_of_the_file() {
        check("a\r\nb", &[&[(1, 1, "\nx")]], "a\r\nx\r\nb", &[]);
        check("a\nb", &[&[(1, 1, "\nx")]], "a\nx\nb", &[]);
    }

    #[test]
    fn unsafe_suppressed_and_foreign_fixes_wait() {
        let text = sources("0123");
        let mut given = findings(&[&[(0, 1, "a")], &[(1, 2, "b")], &[(2, 3, "c")]]);
        given[0].fix.as_mut().unwrap().safety = Safety::Unsafe;
        given[1].suppressed = Some(crate::diag::Suppression {
            reason: String::new(),
        });
        let new = |safety, writable| {
            let applied = apply(&given, &text, safety, &|_| writable);
            (applied.texts.into_values().next(), applied.skipped)
        };
        assert_eq!(
            new(Safety::Safe, true),
            (Some("01c3".to_owned()), vec![(0, Skipped::Unsafe)])
        );
        assert_eq!(new(Safety::Unsafe, true), (Some("a1c3".to_owned()), vec![]));
        let all = vec![(0, Skipped::NotWritable), (2, Skipped::NotWritable)];
        assert_eq!(new(Safety::Unsafe, false), (None, all));
    }

    #[test]
    fn a_diff_is_a_patch() {
        let text = sources("a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6");
        let fixes = findings(&[&[(4, 5, "9")], &[(34, 35, "7")]]);
        let applied = apply(&fixes, &text, Safety::Safe, &|_| true);
        insta::assert_snapshot!(applied.diff(&text), @r"
        --- dir/x.toml
        +++ dir/x.toml
        @@ -1,6 +1,6 @@
        -a = 1
        +a = 9
         b = 2
         c = 3
         d = 4
         e = 5
        -f = 6
        \ No newline at end of file
        +f = 7
        \ No newline at end of file
        ");
    }

    /// Applies the chosen edits one by one from the back: slow and plain.
    fn brute_force(text: &str, mut edits: Vec<&Edit>) -> String {
        edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
        edits.dedup();
        let mut text = text.to_owned();
        for edit in edits.iter().rev() {
            text.replace_range(edit.span.range(), &edit.replacement);
        }
        text
    }

    proptest! {
        /// Any edits are applied without a panic; those that are give what applying them one by one
        /// gives; and no two of them overlap.
        #[test]
        fn what_is_applied_is_what_was_asked_for(
            text in "[ab\nµ漢]{0,24}",
            fixes in prop::collection::vec(
                prop::collection::vec((0..40_usize, 0..6_usize, "[xy]{0,3}"), 1..4),
                0..6,
            ),
        ) {
            let edit = |(start, length, replacement): &(usize, usize, String)| Edit {
                span: Span::new(FileId(0), *start, start + length),
                replacement: replacement.clone(),
            };
            let given: Vec<Finding> = fixes
                .iter()
                .map(|edits| finding(Safety::Safe, edits.iter().map(edit).collect()))
                .collect();
            let sources = sources(&text);
            let applied = apply(&given, &sources, Safety::Safe, &|_| true);
            prop_assert_eq!(applied.applied.len() + applied.skipped.len(), given.len());
            let edits: Vec<&Edit> = applied
                .applied
                .iter()
                .flat_map(|&index| &given[index].fix.as_ref().unwrap().edits)
                .collect();
            for (index, a) in edits.iter().enumerate() {
                prop_assert!(text.get(a.span.range()).is_some());
                for b in &edits[..index] {
                    prop_assert!(a == b || !touch(a, b), "{:?} {:?}", a, b);
                }
            }
            let new = applied.texts.get(&FileId(0)).unwrap_or(&text);
            prop_assert_eq!(new, &brute_force(&text, edits));
            let refused = applied.skipped.iter().filter(|(_, why)| *why == Skipped::OutOfBounds);
            for (index, _) in refused {
                let edits = &given[*index].fix.as_ref().unwrap().edits;
                prop_assert!(edits.iter().any(|edit| text.get(edit.span.range()).is_none()));
            }
        }
    }
}
