//! What the formats for people say of serving: lines of cells.

use crate::quantity::group;
use crate::report::ServingPart;

/// What a device holds while it serves: name, amount, how it comes about.
pub(super) fn serving_lines(serving: &ServingPart) -> Vec<[String; 3]> {
    let (weights, cache) = (&serving.weights, &serving.cache);
    let sequences = |count: u64| match count {
        1 => "1 sequence".to_owned(),
        count => format!("{} sequences", group(count.into())),
    };
    let how = match weights.format {
        None => "in their own type".to_owned(),
        Some(format) => format!(
            "{} in {format}, {} in their own type",
            weights.quantised, weights.kept
        ),
    };
    let mut lines = vec![["weights".to_owned(), weights.bytes.to_string(), how]];
    let kinds: Vec<String> = cache
        .kinds
        .iter()
        .map(|kind| match kind.layers {
            1 => format!("{} of 1 layer", kind.what),
            layers => format!("{} of {layers} layers", kind.what),
        })
        .collect();
    if !kinds.is_empty() {
        let how = format!(
            "{} of {} tokens, {} a sequence, {} a token in {}: {}",
            sequences(serving.concurrency),
            group(serving.tokens.into()),
            cache.sequence,
            cache.token,
            cache.dtype,
            kinds.join(", ")
        );
        lines.push(["cache".to_owned(), cache.bytes.to_string(), how]);
    }
    let pass = |what: &str, pass: &crate::report::PassPart| {
        let unit = if cache.layers > 0 {
            "tokens"
        } else {
            "samples"
        };
        [
            what.to_owned(),
            pass.bytes.to_string(),
            format!(
                "an estimate, for {} {unit} at once",
                group(pass.tokens.into())
            ),
        ]
    };
    if cache.layers > 0 {
        lines.push(pass("reading prompts", &serving.prefill));
        lines.push(pass("generating", &serving.decode));
    } else {
        lines.push(pass("forward pass", &serving.prefill));
    }
    let total = serving.total.to_string();
    let how = match serving.tensor {
        1 => String::new(),
        ranks => format!("on each of {ranks} devices"),
    };
    lines.push(["total".to_owned(), total, how]);
    lines
}

/// Whether the device holds it, and how many sequences, in a sentence.
pub(super) fn serving_line(serving: &ServingPart) -> Option<String> {
    let device = serving.device.as_ref()?;
    let verdict = match device.fits {
        true => "it fits",
        false => "too little",
    };
    let sequences = match device.sequences {
        Some(1) => "; room for 1 sequence of that length".to_owned(),
        Some(count) => format!(
            "; room for {} sequences of that length",
            group(count.into())
        ),
        None => String::new(),
    };
    Some(format!(
        "{} has {}: {verdict}{sequences}.",
        device.name, device.usable
    ))
}
