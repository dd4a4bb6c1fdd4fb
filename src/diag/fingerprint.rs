//! Numbers by which a finding is known again in another run.

use std::hash::Hasher;

use fnv::FnvHasher;

use super::Finding;
use crate::source::Sources;

/// Gives every finding its fingerprint: FNV-1a, 64 bits, of the rule, the file's portable name, the
/// symbolic place and the number of the occurrence, each but the last closed by a zero byte.
///
/// The hash is written down here because fingerprints are kept in baselines and by code hosts; it
/// must not change with a library. Occurrences are numbered by their place in the text, suppressed
/// ones included, so that neither moved lines nor an `allow` elsewhere changes a number, nor the
/// order in which rules ran. `O(n log n)`.
pub fn assign(findings: &mut [Finding], sources: &Sources) {
    let file = |finding: &Finding| {
        finding
            .span
            .and_then(|span| sources.get(span.file))
            .map(|file| match file.is_code() {
                // Where a library lies is a matter of the machine.
                true => file
                    .portable_name()
                    .rsplit('/')
                    .next()
                    .map(str::to_owned)
                    .unwrap_or_default(),
                false => file.portable_name(),
            })
            .unwrap_or_default()
    };
    let files: Vec<String> = findings.iter().map(file).collect();
    let mut order: Vec<usize> = (0..findings.len()).collect();
    let group = |index: usize| {
        let finding = &findings[index];
        (finding.rule, files[index].as_str(), finding.path.as_str())
    };
    order.sort_by(|&a, &b| {
        let within = |index: usize| {
            let finding = &findings[index];
            (finding.span, finding.message.as_str())
        };
        (group(a), within(a)).cmp(&(group(b), within(b)))
    });
    let mut fingerprints = vec![0; findings.len()];
    let mut occurrence = 0;
    for (position, &index) in order.iter().enumerate() {
        let repeated = position > 0 && group(order[position - 1]) == group(index);
        occurrence = if repeated { occurrence + 1 } else { 0 };
        let (rule, file, path) = group(index);
        fingerprints[index] = hash(rule, file, path, occurrence);
    }
    for (finding, fingerprint) in findings.iter_mut().zip(fingerprints) {
        finding.fingerprint = fingerprint;
    }
}

fn hash(rule: &str, file: &str, path: &str, occurrence: u64) -> u64 {
    let mut hasher = FnvHasher::default();
    for part in [rule, file, path] {
        hasher.write(part.as_bytes());
        hasher.write(&[0]);
    }
    hasher.write(&occurrence.to_le_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{Level, Sink};
    use crate::source::{SourceFile, Span};

    const RULE: &str = "order/left-to-right";

    /// Fingerprints of one finding for each needle in a text.
    fn fingerprints(name: &str, text: &str, needles: &[(&str, &'static str)]) -> Vec<u64> {
        let mut sources = Sources::default();
        let file = sources.add(SourceFile::new(name, text));
        let mut sink = Sink::new();
        for &(needle, path) in needles {
            let start = text.find(needle).unwrap();
            let span = Span::new(file, start, start + needle.len());
            sink.report(RULE, Level::Warning, Some(span), path, "message");
        }
        let mut findings = sink.into_findings();
        assign(&mut findings, &sources);
        findings.iter().map(|finding| finding.fingerprint).collect()
    }

    #[test]
    fn moved_lines_and_the_way_to_the_file_do_not_count() {
        let needles = [
            ("A @ B", "layers.a"),
            ("C @ D", "layers.a"),
            ("E", "layers.b"),
        ];
        let before = fingerprints("a/x.toml", "A @ B\nC @ D\nE\n", &needles);
        let after = fingerprints("./a\\x.toml", "# new\n\nA @ B\n\n\nC @ D\n E\n", &needles);
        assert_eq!(before, after);
        let mut distinct = before.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), 3);
    }

    #[test]
    fn the_order_in_which_rules_ran_does_not_count() {
        let text = "A @ B\nC @ D\n";
        let there = fingerprints("x", text, &[("A @ B", "p"), ("C @ D", "p")]);
        let mut back = fingerprints("x", text, &[("C @ D", "p"), ("A @ B", "p")]);
        back.reverse();
        assert_eq!(there, back);
    }

    /// Baselines hold these numbers: they must not change from version to version.
    #[test]
    fn the_hash_is_what_it_always_was() {
        let text = "A @ B";
        let needles = [("A @ B", "layers.product")];
        let first = fingerprints("specs/x.model.toml", text, &needles);
        assert_eq!(first, [REFERENCE]);
    }

    // python3: fold `(h ^ byte) * 0x100000001b3 mod 2^64` from 0xcbf29ce484222325 over
    // b"order/left-to-right\0specs/x.model.toml\0layers.product\0" + bytes(8)
    const REFERENCE: u64 = 0xdbcf_79bc_ed5b_157d;
}
