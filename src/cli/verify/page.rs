//! The answer as one self-contained page: the claims, the experiment's table, and bars.

use super::{is_textual, unchecked, what_ran};
use crate::verify::Verification;
use crate::verify::experiment::{Experiment, short};

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fff;--ink:#222;--rule:#ddd;--bar:#3b6ea5;--bad:#b00020}\
@media(prefers-color-scheme:dark){:root{--page:#16181c;--ink:#e6e6e6;--rule:#3a3f47;--bar:#6ea3dc;--bad:#ff7a85}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;\
color:var(--ink);background:var(--page)}\
div{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0}\
td,th{padding:.25rem .75rem;border-bottom:1px solid var(--rule);text-align:right}\
.text{text-align:left}.bar{fill:var(--bar)}.bad{color:var(--bad)}\
svg{max-width:100%;height:auto}text{font-size:12px;fill:currentColor}";

/// What a character of a label takes, and the longest bar, in pixels.
const CHARACTER: usize = 7;
const LONGEST: f64 = 480.0;

/// The page.
pub(super) fn page(verification: &Verification, experiment: Option<&Experiment>) -> String {
    let mut body = format!(
        "<h1>{}</h1><p>{}</p>",
        escaped(&verification.name),
        escaped(&what_ran(verification))
    );
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
    for (claim, tally) in &verification.tallies {
        for one in &tally.contradicted {
            let place = match one.place.is_empty() {
                true => "the model",
                false => &one.place,
            };
            let said = format!(
                "contradicted: {} of {place}: claimed {}, found {}",
                claim.name(),
                one.claimed,
                one.found
            );
            body.push_str(&format!("<p class=bad>{}</p>", escaped(&said)));
        }
    }
    for (why, claims) in unchecked(verification) {
        let said = format!("not checked: {}: {why}", claims.join(", "));
        body.push_str(&format!("<p>{}</p>", escaped(&said)));
    }
    for experiment in verification.rounding.iter().chain(experiment) {
        body.push_str(&format!("<h2>{}</h2>", escaped(&experiment.question)));
        body.push_str(&rows(&experiment.columns, &experiment.rows));
        body.push_str(&picture(experiment));
        for line in &experiment.conclusions {
            body.push_str(&format!("<p>shown: {}</p>", escaped(line)));
        }
        for line in &experiment.contradictions {
            body.push_str(&format!("<p class=bad>contradicted: {}</p>", escaped(line)));
        }
    }
    for note in &verification.notes {
        body.push_str(&format!("<p>{}</p>", escaped(note)));
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>{}</title><style>{STYLE}</style><body>{body}</body></html>\n",
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
    let is_text: Vec<bool> = (0..head.len()).map(|at| is_textual(rows, at)).collect();
    let line = |cells: &[String], tag: &str| {
        let cells = cells.iter().zip(&is_text).map(|(cell, text)| {
            let class = if *text { " class=text" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escaped(cell))
        });
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let body: String = rows.iter().map(|row| line(row, "td")).collect();
    format!("<div><table>{}{body}</table></div>", line(head, "th"))
}

/// What rows are called: as many of their first cells as it takes to tell them apart.
fn labels(rows: &[Vec<String>]) -> Vec<String> {
    let most = rows.iter().map(Vec::len).max().unwrap_or(0);
    let first = |count: usize| -> Vec<&[String]> {
        let cells = rows.iter().map(|row| &row[..row.len().min(count)]);
        cells.collect()
    };
    let are_distinct = |count: &usize| {
        let mut seen = std::collections::HashSet::new();
        first(*count).into_iter().all(|cells| seen.insert(cells))
    };
    let count = (1..=most).find(are_distinct).unwrap_or(most.min(2));
    let labels = first(count).into_iter();
    labels.map(|cells| cells.join(", ")).collect()
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
    let labels = labels(&experiment.rows);
    let longest = labels.iter().map(|label| label.chars().count()).max();
    let left = CHARACTER * longest.unwrap_or(0) + 8;
    let mut bars = String::new();
    for (at, &value) in picture.values.iter().enumerate() {
        let share = match value.is_finite() && value > 0.0 {
            true => 0.05 + 0.95 * (value / low).ln() / span,
            false => 0.0,
        };
        let name = escaped(labels.get(at).map_or("", String::as_str));
        let (y, base) = (20 * at, 20 * at + 13);
        let (width, number) = (share * LONGEST, short(value));
        bars.push_str(&format!(
            "<g><title>{name}: {value:e}</title><rect class=bar x={left} y={y} height=16 width={width:.1} />\
             <text x={} y={base} text-anchor=end>{name}</text><text x={:.1} y={base}>{number}</text></g>",
            left - 8,
            left as f64 + 6.0 + width,
        ));
    }
    let height = 20 * picture.values.len();
    let width = left + LONGEST as usize + 100;
    let title = escaped(&picture.title);
    format!(
        "<h3>{title} (logarithmic)</h3><svg viewBox=\"0 0 {width} {height}\" width={width} \
         height={height} role=img aria-label=\"{title}\">{bars}</svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::labels;

    /// Guards that two bars are never called the same, and none by a figure that it shows itself.
    #[test]
    fn bars_are_told_apart_by_as_little_as_it_takes() {
        let rows = |rows: &[[&str; 3]]| -> Vec<Vec<String>> {
            let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec());
            rows.collect()
        };
        assert_eq!(
            labels(&rows(&[["A", "1", "2"], ["B", "1", "2"]])),
            ["A", "B"]
        );
        let alike = [["A", "x", "2"], ["A", "x", "3"], ["A", "y", "3"]];
        assert_eq!(labels(&rows(&alike)), ["A, x, 2", "A, x, 3", "A, y, 3"]);
        let same = [["A", "x", "2"], ["A", "x", "2"]];
        assert_eq!(labels(&rows(&same)), ["A, x", "A, x"]);
    }
}
