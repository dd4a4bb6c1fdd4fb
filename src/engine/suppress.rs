//! What the user allows: marks findings, and reports allowances that cover none.

use super::Levels;
use crate::diag::{Finding, Level, Sink, Suppression};
use crate::rules;
use crate::source::Span;
use crate::spec::lint::{Allow, Scope};
use crate::spec::{Spec, names};

/// The rule that reports unused allowances; it cannot be allowed itself.
const UNUSED: &str = "spec/unused-allow";

/// Reports names of rules that there are not.
pub(super) fn check_names(spec: &Spec, findings: &mut Vec<Finding>) {
    let mut sink = Sink::new();
    let allowed = spec
        .lint
        .allows
        .iter()
        .map(|allow| (&allow.rule, allow.rule_span));
    let levelled = spec.lint.levels.iter().map(|set| (&set.rule, set.span));
    for (name, span) in allowed.chain(levelled) {
        if let Err(help) = rules::select(name) {
            let message = format!("there is no rule or group `{name}`");
            sink.report(
                names::UNKNOWN_RULE,
                Level::Error,
                Some(span),
                "lint",
                message,
            )
            .maybe_help(help);
        }
    }
    findings.extend(sink.into_findings());
}

/// Marks what is allowed and adds a finding for each allowance that covers nothing.
pub(super) fn apply(spec: &Spec, findings: &mut Vec<Finding>, levels: &Levels) {
    let allows = &spec.lint.allows;
    if allows.is_empty() {
        return;
    }
    let mut used = vec![false; allows.len()];
    for finding in findings.iter_mut() {
        for (allow, used) in allows.iter().zip(&mut used) {
            if rules::covers(&allow.rule, finding.rule) && within(allow, finding) {
                *used = true;
                let reason = allow.reason.to_string();
                finding.suppressed.get_or_insert(Suppression { reason });
            }
        }
    }
    let Some(level) = levels.of(spec, UNUSED, Level::Warning) else {
        return;
    };
    let mut sink = Sink::new();
    for (allow, _) in allows.iter().zip(used).filter(|(_, used)| !used) {
        // An allowance of a rule that does not speak is not known to be unused.
        let silent = rules::select(&allow.rule).is_ok_and(|rules| {
            rules
                .iter()
                .all(|rule| levels.of(spec, rule.name, rule.level).is_none())
        });
        if silent || rules::select(&allow.rule).is_err() {
            continue;
        }
        let place = match &allow.scope {
            Scope::Path(path) => format!(" at `{path}`"),
            Scope::Everywhere | Scope::Text(_) => String::new(),
        };
        let message = format!(
            "`{}` finds nothing{place} that is to be allowed",
            allow.rule
        );
        sink.report(UNUSED, level, Some(allow.span), "lint.allow", message)
            .help("remove the allowance");
    }
    findings.extend(sink.into_findings());
}

fn within(allow: &Allow, finding: &Finding) -> bool {
    match &allow.scope {
        Scope::Everywhere => true,
        Scope::Path(path) => {
            let rest = finding.path.strip_prefix(path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
        Scope::Text(range) => finding.span.is_some_and(|span| overlaps(*range, span)),
    }
}

fn overlaps(range: Span, span: Span) -> bool {
    range.file == span.file && span.start < range.end && range.start < span.end.max(span.start + 1)
}
