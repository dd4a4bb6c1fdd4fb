//! Text that cannot drive a terminal.
//!
//! A spec may come from anywhere, and what it says is printed. Control characters, escape sequences
//! among them, and the marks that turn the direction of writing are replaced.

use std::borrow::Cow;

use crate::source::Sources;

fn is_harmful(character: char) -> bool {
    let turns_direction = matches!(
        character,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns_direction || (character.is_control() && !matches!(character, '\n' | '\t'))
}

/// The text with a stand-in of the same length in bytes for each harmful character, so that offsets
/// stay right. A carriage return stays before a line feed.
fn same_length(text: &str) -> Cow<'_, str> {
    let mut rest = text.chars().peekable();
    let harmless = std::iter::from_fn(|| {
        let character = rest.next()?;
        let line_break = character == '\r' && rest.peek() == Some(&'\n');
        Some(!is_harmful(character) || line_break)
    });
    if harmless.into_iter().all(|harmless| harmless) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let line_break = character == '\r' && rest.peek() == Some(&'\n');
        clean.push(
            match (is_harmful(character) && !line_break, character.len_utf8()) {
                (false, _) => character,
                (true, 1) => '?',
                (true, 2) => '¿',
                (true, _) => '\u{fffd}',
            },
        );
    }
    Cow::Owned(clean)
}

/// The text without harmful characters; line breaks stay.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    match text.contains(is_harmful) {
        true => Cow::Owned(text.replace(is_harmful, "?")),
        false => Cow::Borrowed(text),
    }
}

/// The text on one line, without harmful characters.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    match text.contains(['\n', '\t']) {
        true => {
            let words: Vec<&str> = text.split_whitespace().collect();
            Cow::Owned(lines(&words.join(" ")).into_owned())
        }
        false => lines(text),
    }
}

/// All sources as they may be shown. A text that is clean is shared, not copied.
pub(super) fn sources(sources: &Sources) -> Sources {
    let mut clean = Sources::default();
    for (_, file) in sources.iter() {
        let name = lines(file.name());
        match (same_length(file.text()), name) {
            (Cow::Borrowed(_), Cow::Borrowed(_)) => clean.add(file.clone()),
            (text, name) => clean.add(file.rewritten(name.as_ref(), text.as_ref())),
        };
    }
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_shown_and_not_obeyed() {
        assert_eq!(
            same_length("a\x1b[31mb\r\n\u{9b}\u{202e}"),
            "a?[31mb\r\n¿\u{fffd}"
        );
        assert_eq!(lines("a\x1b]8;;x\x07\nb"), "a?]8;;x?\nb");
        assert_eq!(one_line("a\n  b\tc\rd"), "a b c d");
        assert_eq!(same_length("a\rb"), "a?b");
    }

    proptest! {
        #[test]
        fn offsets_stay_right(text: String) {
            let clean = same_length(&text);
            prop_assert_eq!(clean.len(), text.len());
            for (at, _) in text.char_indices() {
                prop_assert!(clean.is_char_boundary(at));
            }
        }
    }
}
