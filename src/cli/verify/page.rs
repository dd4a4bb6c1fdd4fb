//! The answer as one self-contained page: the claims, the experiment's table, and bars.

use crate::verify::Verification;
use crate::verify::experiment::Experiment;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .75rem;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child{text-align:left}.bar{fill:#3b6ea5}.bad{color:#b00020}text{font-size:12px}";

/// The page.
pub(super) fn page(verification: &Verification, experiment: Option<&Experiment>) -> String {
    let mut body = format!("<h1>{}</h1>", escaped(&verification.name));
    body.push_str(&rows(
        &["claim", "confirmed", "contradicted", "not checked"].map(str::to_owned),
        &verification
            .tallies
            .iter()
            .map(|(claim, tally)| {
                let unchecked: usize = tally.unchecked.iter().map(|(_, times)| times).sum();
                vec![
                    claim.name().to_owned(),
                    tally.confirmed.to_string(),
                    tally.contradicted.len().to_string(),
                    unchecked.to_string(),
                ]
            })
            .collect::<Vec<_>>(),
    ));
    for experiment in verification.rounding.iter().chain(experiment) {
        body.push_str(&format!("<h2>{}</h2>", escaped(&experiment.question)));
        body.push_str(&rows(&experiment.columns, &experiment.rows));
        body.push_str(&picture(experiment));
        for line in &experiment.conclusions {
            body.push_str(&format!("<p>{}</p>", escaped(line)));
        }
        for line in &experiment.contradictions {
            body.push_str(&format!("<p class=bad>contradicted: {}</p>", escaped(line)));
        }
    }
    for note in &verification.notes {
        body.push_str(&format!("<p>{}</p>", escaped(note)));
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{}</title><style>{STYLE}</style><body>{body}</body></html>\n",
        escaped(&verification.name)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn rows(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String], tag: &str| {
        let cells = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let body: String = rows.iter().map(|row| line(row, "td")).collect();
    format!("<table>{}{body}</table>", line(head, "th"))
}

/// Bars on a logarithmic scale, the shortest still to be seen; what a bar is shows on pointing.
fn picture(experiment: &Experiment) -> String {
    let Some(picture) = &experiment.picture else {
        return String::new();
    };
    let finite = picture
        .values
        .iter()
        .copied()
        .filter(|value| value.is_finite() && *value > 0.0);
    let (low, high) = finite.fold((f64::INFINITY, 0.0f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let span = (high / low).ln().max(1e-9);
    let mut bars = String::new();
    for (at, &value) in picture.values.iter().enumerate() {
        let share = match value.is_finite() && value > 0.0 {
            true => 0.05 + 0.95 * (value / low).ln() / span,
            false => 0.0,
        };
        let names = experiment
            .rows
            .get(at)
            .map(|row| row[..row.len().min(2)].join(", "));
        let name = escaped(&names.unwrap_or_default());
        let y = 20 * at;
        bars.push_str(&format!(
            "<g><title>{name}: {value:e}</title><rect class=bar x=320 y={y} height=16 width={:.1} />\
             <text x=312 y={} text-anchor=end>{name}</text><text x={:.1} y={}>{value:.3e}</text></g>",
            share * 480.0,
            y + 13,
            326.0 + share * 480.0,
            y + 13,
        ));
    }
    let height = 20 * picture.values.len();
    format!(
        "<h3>{} (logarithmic)</h3><svg width=920 height={height} role=img>{bars}</svg>",
        escaped(&picture.title)
    )
}
