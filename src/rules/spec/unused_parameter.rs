//! `spec/unused-parameter`: see its page.

use crate::diag::Level;
use crate::lower::Place;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "spec/unused-parameter",
    summary: "No layer reads the parameter.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/spec/unused-parameter.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let mut declared = context.spec.params.iter();
    for parameter in &context.graph.parameters {
        if parameter.uses > 0 || parameter.buffer || parameter.layer.is_some() {
            continue;
        }
        let Some(definition) = declared.find(|definition| definition.name == parameter.name) else {
            continue;
        };
        let elements = context.graph.ty(parameter.tensor).shape.elements();
        let message = format!(
            "no layer reads the parameter `{}` ({} elements)",
            parameter.name,
            crate::quantity::group(elements.into())
        );
        let path = format!("params.{}", parameter.name);
        let place = Place {
            path,
            span: Some(definition.key_span),
        };
        reporter
            .at(place, message)
            .help("use it in a formula, or remove it");
    }
}
