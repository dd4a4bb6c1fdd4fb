//! What the rules about precision share: which types are narrow, scalar simulations in them, and
//! edits of the policy.

use crate::diag::Edit;
use crate::facts::precision::Chosen;
use crate::rules::Context;
use crate::source::Span;
use crate::spec::setting::Field;
use crate::tensor::{Dtype, FloatFormat};

/// The format of a floating point type that is narrower than float32.
pub fn narrow(dtype: Dtype) -> Option<&'static FloatFormat> {
    dtype.float_format().filter(|format| format.precision < 24)
}

/// Where a setting of the policy comes from: the key, the preset, or `[model] dtype`.
pub fn origin<T>(context: &Context<'_>, chosen: &Chosen<T>) -> Option<Span> {
    chosen.span.or(context.spec.model.dtype.span)
}

/// A number in an element type, as PyTorch prints it.
pub fn shown(value: f64) -> String {
    crate::rules::shared_numeric::number(value)
}

/// The value after `steps` rounds of an update that is computed exactly and stored in a format.
pub fn simulate(format: &FloatFormat, start: f64, steps: u32, update: impl Fn(f64) -> f64) -> f64 {
    let mut value = format.round(start);
    for _ in 0..steps {
        let next = format.round(update(value));
        // What does not move once never will.
        if next == value {
            break;
        }
        value = next;
    }
    value
}

/// The edit that sets a key of `[train] precision`, whether the policy is a name, an inline table
/// or has the key already. `None` where it is a table of its own without the key, or not written.
pub fn set_key<T>(context: &Context<'_>, field: &Field<T>, key: &str, value: &str) -> Option<Edit> {
    let edit = |span: Span, replacement: String| Edit { span, replacement };
    if let Some(span) = field.span {
        return Some(edit(span, value.to_owned()));
    }
    let span = context.run.train.precision.span?;
    let text = context.spec.document.source_text(span);
    match text.chars().next()? {
        '"' | '\'' => Some(edit(
            span,
            format!("{{ preset = {text}, {key} = {value} }}"),
        )),
        '{' => {
            let inner = text.strip_suffix('}')?.trim_end();
            let start = span.start + inner.len() as u32;
            let comma = if inner.ends_with(['{', ',']) { "" } else { "," };
            Some(edit(
                Span { start, ..span },
                format!("{comma} {key} = {value} }}"),
            ))
        }
        _ => None,
    }
}
