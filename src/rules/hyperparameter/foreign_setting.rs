//! `hyperparameter/foreign-setting`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::source::Span;
use crate::spec::run::OptimizerKind;

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/foreign-setting",
    summary: "A setting belongs to another optimizer.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/foreign-setting.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    use OptimizerKind as O;
    let optimizer = &context.run.train.optimizer;
    let Some(kind) = optimizer.name.get() else {
        return;
    };
    // Muon, LARS, Shampoo and L-BFGS have no one signature that all implementations share.
    if matches!(
        kind,
        O::Muon | O::Lars | O::Lbfgs | O::Rprop | O::Adafactor | O::Shampoo | O::Soap
    ) {
        return;
    }
    let has_betas = matches!(
        kind,
        O::Adam | O::AdamW | O::Adamax | O::NAdam | O::RAdam | O::Lion | O::Lamb | O::Adam8bit
    );
    let settings: [(&str, Option<Span>, bool); 6] = [
        ("betas", optimizer.betas.entry, has_betas),
        (
            "eps",
            optimizer.eps.entry,
            !matches!(kind, O::Sgd | O::Asgd | O::Lion),
        ),
        (
            "momentum",
            optimizer.momentum.entry,
            matches!(kind, O::Sgd | O::RmsProp),
        ),
        ("nesterov", optimizer.nesterov.entry, kind == O::Sgd),
        ("alpha", optimizer.alpha.entry, kind == O::RmsProp),
        (
            "amsgrad",
            optimizer.amsgrad.entry,
            matches!(kind, O::Adam | O::AdamW | O::Adam8bit),
        ),
    ];
    for (name, span, belongs) in settings {
        if span.is_none() || belongs {
            continue;
        }
        let advice = match (name, kind) {
            ("momentum", _) if has_betas => "the momentum of Adam is its first beta",
            ("betas", O::Sgd) => "SGD has one momentum; or did you mean adamw?",
            _ => "leave it out",
        };
        reporter
            .setting(
                &format!("train.optimizer.{name}"),
                span,
                format!("{kind} has no `{name}`: torch.optim raises a TypeError"),
            )
            .help(advice)
            .fix_edits("leave it out", Safety::Unsafe, removal(context, span));
    }
}

/// Removes an entry of an inline table with its comma, or of a table with its line.
fn removal(context: &Context<'_>, span: Option<Span>) -> Vec<crate::diag::Edit> {
    let Some(span) = span else {
        return Vec::new();
    };
    let text = context.spec.document.file_text(span.file);
    let (before, after) = (
        text.get(..span.start as usize),
        text.get(span.end as usize..),
    );
    let (Some(before), Some(after)) = (before, after) else {
        return Vec::new();
    };
    let (blank, comma) = (&[' ', '\t'][..], ',');
    let start = before.trim_end_matches(blank);
    let end = after.trim_start_matches(blank);
    let (start, end) = match (start.strip_suffix(comma), end.strip_prefix(comma)) {
        (Some(rest), _) => (rest.len(), span.end as usize),
        (None, Some(rest)) => (
            span.start as usize,
            text.len() - rest.trim_start_matches(blank).len(),
        ),
        (None, None) if start.is_empty() || start.ends_with('\n') => {
            let line = end.split_once('\n').map_or("", |(_, rest)| rest);
            (start.len(), text.len() - line.len())
        }
        (None, None) => return Vec::new(),
    };
    vec![crate::diag::Edit {
        span: Span::new(span.file, start, end),
        replacement: String::new(),
    }]
}
