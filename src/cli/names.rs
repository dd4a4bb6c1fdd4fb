//! Names on the command line: rules, groups and levels, with 'did you mean'.

use crate::diag::Level;
use crate::engine::LevelOverride;
use crate::rules::{self, Rule};
use crate::source::suggest;
use crate::tensor::Dtype;

/// A rule or a group, `all` among them, without the `/` or `/*` behind a group.
pub(super) fn rule_or_group(text: &str) -> Result<String, String> {
    let name = text.trim().trim_end_matches('*').trim_end_matches('/');
    match rules::select(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(help) => Err(unknown("rule or group", name, help)),
    }
}

/// A rule or a group that may be silenced.
pub(super) fn silenceable(text: &str) -> Result<String, String> {
    let name = rule_or_group(text)?;
    match rules::find(&name) {
        Some(rule) if rule.always_speaks() => Err(format!(
            "`{name}` cannot be turned off: what cannot be understood never counts as clean"
        )),
        _ => Ok(name),
    }
}

/// `RULE=LEVEL`.
pub(super) fn level(text: &str) -> Result<LevelOverride, String> {
    let Some((name, word)) = text.split_once('=') else {
        return Err("write RULE=LEVEL, such as order/left-to-right=error".to_owned());
    };
    let level = match word.trim() {
        "off" => None,
        word => Some(word.parse::<Level>().map_err(|()| {
            let known = ["off", "info", "warn", "error"];
            unknown("level", word, suggest::did_you_mean(word, &known))
        })?),
    };
    let rule = match level {
        Some(_) => rule_or_group(name)?,
        None => silenceable(name)?,
    };
    Ok(LevelOverride { rule, level })
}

/// One rule; its group may be left out where that leaves no doubt.
pub(super) fn rule(text: &str) -> Result<&'static Rule, String> {
    let name = text.trim();
    if let Some(rule) = rules::find(name) {
        return Ok(rule);
    }
    let bare = |rule: &&Rule| rule.name.rsplit('/').next() == Some(name);
    let matching: Vec<&'static Rule> = rules::all().filter(bare).collect();
    match matching[..] {
        [rule] => Ok(rule),
        [] if rules::all().any(|rule| rule.group() == name) => Err(format!(
            "`{name}` is a group; `plimsoll rules` lists its rules"
        )),
        [] => {
            // What is written without a group is compared with names without theirs.
            let known = rules::all().filter_map(|rule| match name.contains('/') {
                true => Some(rule.name),
                false => rule.name.rsplit('/').next(),
            });
            let help = match suggest::nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`plimsoll rules` lists them all".to_owned(),
            };
            Err(unknown("rule", name, Some(help)))
        }
        _ => {
            let names: Vec<&str> = matching.iter().map(|rule| rule.name).collect();
            Err(format!("`{name}` may be {}", names.join(" or ")))
        }
    }
}

/// An element type of floating point.
pub(super) fn float_dtype(text: &str) -> Result<Dtype, String> {
    let real = |dtype: &Dtype| dtype.is_float() && !dtype.is_complex();
    let floats: Vec<&str> = Dtype::ALL
        .iter()
        .filter(|dtype| real(dtype))
        .map(|dtype| dtype.name())
        .collect();
    match Dtype::parse(text.trim()) {
        Some(dtype) if real(&dtype) => Ok(dtype),
        Some(dtype) => Err(format!(
            "`{}` is no real floating point type; use one of {}",
            dtype.name(),
            floats.join(", ")
        )),
        None => {
            let names: Vec<&str> = Dtype::ALL.iter().map(|dtype| dtype.name()).collect();
            Err(unknown(
                "element type",
                text,
                suggest::did_you_mean(text, &names),
            ))
        }
    }
}

fn unknown(what: &str, name: &str, help: Option<String>) -> String {
    match help {
        Some(help) => format!("there is no {what} `{name}`; {help}"),
        None => format!("there is no {what} `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(read: impl Fn(&str) -> Result<String, String>, text: &str) -> String {
        read(text).unwrap_or_else(|error| format!("error: {error}"))
    }

    #[test]
    fn names_are_found_or_suggested() {
        let found = |text: &str| check(|text| rule(text).map(|rule| rule.name.to_owned()), text);
        assert_eq!(found("spec/unused-layer"), "spec/unused-layer");
        assert_eq!(found("unused-layer"), "spec/unused-layer");
        insta::assert_snapshot!(found("spec/unused-leyer"), @"error: there is no rule `spec/unused-leyer`; did you mean `spec/unused-layer`?");
        insta::assert_snapshot!(found("unused_leyer"), @"error: there is no rule `unused_leyer`; did you mean `unused-layer`?");
        insta::assert_snapshot!(found("banana"), @"error: there is no rule `banana`; `plimsoll rules` lists them all");
        insta::assert_snapshot!(found("spec"), @"error: `spec` is a group; `plimsoll rules` lists its rules");
    }

    #[test]
    fn groups_may_be_written_in_three_ways() {
        for text in ["spec", "spec/", "spec/*", " spec "] {
            assert_eq!(rule_or_group(text).unwrap(), "spec");
        }
        assert_eq!(rule_or_group("all").unwrap(), "all");
    }

    #[test]
    fn levels_are_read_or_explained() {
        let read = |text: &str| check(|text| level(text).map(|set| format!("{set:?}")), text);
        insta::assert_snapshot!(read("spec=warn"), @r#"LevelOverride { rule: "spec", level: Some(Warning) }"#);
        insta::assert_snapshot!(read("unused-layer"), @"error: write RULE=LEVEL, such as order/left-to-right=error");
        insta::assert_snapshot!(read("spec/unused-layer=eror"), @"error: there is no level `eror`; did you mean `error`?");
        insta::assert_snapshot!(read("spec/unused-layer=off"), @r#"LevelOverride { rule: "spec/unused-layer", level: None }"#);
        insta::assert_snapshot!(read("spec/syntax=off"), @"error: `spec/syntax` cannot be turned off: what cannot be understood never counts as clean");
        insta::assert_snapshot!(read("spec/syntax=info"), @r#"LevelOverride { rule: "spec/syntax", level: Some(Info) }"#);
    }
}
