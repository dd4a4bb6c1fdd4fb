//! `[lint]` and `# plimsoll: allow(…)`: what the user allows, and why.

use smol_str::SmolStr;

use super::document::{Document, NodeRef};
use super::names;
use super::reader::Reader;
use crate::diag::Level;
use crate::source::Span;

/// What a spec says about the rules themselves.
#[derive(Debug, Clone, Default)]
pub struct Lint {
    /// What is allowed.
    pub allows: Vec<Allow>,
    /// Levels set for rules or groups.
    pub levels: Vec<LevelSetting>,
}

/// A rule or group allowed somewhere.
#[derive(Debug, Clone)]
pub struct Allow {
    /// The rule or group.
    pub rule: SmolStr,
    /// Where the rule's name was written.
    pub rule_span: Span,
    /// Where the whole entry or comment was written.
    pub span: Span,
    /// Where it holds.
    pub scope: Scope,
    /// Why.
    pub reason: SmolStr,
}

/// Where an allowance holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In the whole file.
    Everywhere,
    /// At a symbolic place and below it: `layers.product`.
    Path(SmolStr),
    /// In a range of the text: the line, entry or table that a comment stands at.
    Text(Span),
}

/// A level set for a rule or group.
#[derive(Debug, Clone)]
pub struct LevelSetting {
    /// The rule or group.
    pub rule: SmolStr,
    /// Where its name was written.
    pub span: Span,
    /// The level; `None` for off.
    pub level: Option<Level>,
}

impl Lint {
    /// Reads `[lint]`.
    pub(crate) fn read(&mut self, node: NodeRef<'_>, reader: &mut Reader<'_>) {
        let Some(table) = node.as_table() else {
            let _: Option<()> = reader.expected(node, "a table");
            return;
        };
        for entry in table.entries() {
            match entry.key() {
                "allow" => reader.within("allow", |reader| {
                    let Some(array) = entry.value().as_array() else {
                        let _: Option<()> = reader.expected(entry.value(), "an array");
                        return;
                    };
                    for item in array.iter() {
                        self.allows.extend(read_allow(item, reader));
                    }
                }),
                "level" => reader.within("level", |reader| {
                    let Some(table) = entry.value().as_table() else {
                        let _: Option<()> = reader.expected(entry.value(), "a table of levels");
                        return;
                    };
                    for entry in table.entries() {
                        let word = entry.value().as_str().unwrap_or("");
                        let level = match word.parse::<Level>() {
                            Ok(level) => Some(level),
                            Err(()) if word == "off" => None,
                            Err(()) => {
                                let known = ["off", "info", "warning", "error"];
                                reader.unknown_word(entry.value(), "level", word, &known);
                                continue;
                            }
                        };
                        let span = entry.key_span();
                        self.levels.push(LevelSetting {
                            rule: entry.key().into(),
                            span,
                            level,
                        });
                    }
                }),
                key => reader.unknown_key(key, entry.key_span(), &["allow", "level"]),
            }
        }
    }

    /// Reads the directives among the comments of a document.
    ///
    /// A comment behind a line covers what starts on that line; one on a line of its own covers
    /// the next key, or the whole table where a header follows; at the top of the file, with an
    /// empty line behind it, the whole file.
    pub(crate) fn read_comments(&mut self, document: &Document, reader: &mut Reader<'_>) {
        for &span in document.comments() {
            let text = document.source_text(span);
            let Some(rest) = text
                .trim_start_matches('#')
                .trim_start()
                .strip_prefix("plimsoll:")
            else {
                continue;
            };
            let rest = rest.trim();
            let Some((rule, reason)) = rest
                .strip_prefix("allow(")
                .and_then(|rest| rest.split_once(')'))
                .filter(|(rule, _)| !rule.trim().is_empty())
            else {
                reader
                    .report(names::INVALID_VALUE, span, "this directive cannot be read")
                    .help("write # plimsoll: allow(group/rule) reason");
                continue;
            };
            let scope = comment_scope(document, span);
            for rule in rule.split(',') {
                let rule = rule.trim();
                let offset = text.find(rule).unwrap_or(0);
                let start = span.start as usize + offset;
                self.allows.push(Allow {
                    rule: rule.into(),
                    rule_span: Span::new(span.file, start, start + rule.len()),
                    span,
                    scope: scope.clone(),
                    reason: reason.trim().into(),
                });
            }
        }
    }
}

fn read_allow(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Allow> {
    if let Some(rule) = node.as_str() {
        return Some(Allow {
            rule: rule.into(),
            rule_span: node.span(),
            span: node.span(),
            scope: Scope::Everywhere,
            reason: SmolStr::default(),
        });
    }
    let Some(table) = node.as_table() else {
        return reader.expected(node, "a table { rule, at, reason }");
    };
    let known = ["rule", "at", "reason"];
    for entry in table.entries() {
        if !known.contains(&entry.key()) {
            reader.unknown_key(entry.key(), entry.key_span(), &known);
        } else if entry.value().as_str().is_none() {
            let _: Option<()> =
                reader.within(entry.key(), |r| r.expected(entry.value(), "a string"));
        }
    }
    let text = |key: &str| table.get(key).and_then(|node| node.as_str());
    let Some(rule) = text("rule") else {
        let message = "the allowance names no rule";
        reader
            .report(names::MISSING_KEY, table.span(), message)
            .help("write { rule = \"group/rule\", at = \"layers.name\", reason = \"why\" }");
        return None;
    };
    Some(Allow {
        rule: rule.into(),
        rule_span: table.get("rule").map_or(table.span(), |node| node.span()),
        span: table.span(),
        scope: text("at").map_or(Scope::Everywhere, |path| Scope::Path(path.into())),
        reason: text("reason").unwrap_or("").into(),
    })
}

/// What a directive at `span` covers, by the text around it.
fn comment_scope(document: &Document, span: Span) -> Scope {
    let text = document.file_text(span.file);
    let (start, end) = (span.start as usize, span.end as usize);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let range = |from: usize, to: usize| Scope::Text(Span::new(span.file, from, to));
    if !text[line_start..start].trim().is_empty() {
        return range(line_start, end);
    }
    let mut at = end;
    let mut first = true;
    loop {
        at = match text[at..].find('\n') {
            Some(next) => at + next + 1,
            None => return range(start, end),
        };
        let line_end = text[at..].find('\n').map_or(text.len(), |next| at + next);
        let line = text[at..line_end].trim();
        if line.is_empty() && first && text[..start].lines().all(is_comment_or_empty) {
            return Scope::Everywhere;
        }
        first = false;
        if line.is_empty() && at >= text.len() {
            return range(start, end);
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.starts_with('[') {
            return range(at, line_end);
        }
        // A header: the table reaches to the next header.
        let mut table_end = line_end;
        for next in text[line_end..].split_inclusive('\n') {
            if table_end > line_end && next.trim_start().starts_with('[') {
                break;
            }
            table_end += next.len();
        }
        return range(at, table_end);
    }
}

fn is_comment_or_empty(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}
