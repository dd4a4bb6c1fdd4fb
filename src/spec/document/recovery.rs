//! Telling from a line alone how it begins, to find the way back into a broken document.
//!
//! An unclosed bracket or quote would swallow the rest of the file. After an error, a line that
//! looks like a header or an assignment is taken to be one. This is never asked of a valid
//! document.

use super::scalar::BARE;

/// What a line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineStart {
    /// `[key]` or `[[key]]`, with nothing but a comment behind.
    Header,
    /// `key =`; `indent` is the number of bytes before the key.
    Assignment { indent: usize },
    /// Anything else.
    Other,
}

/// Looks at the line that begins at `start`. `O(length of its keys)`.
pub(super) fn line_start(text: &str, start: usize) -> LineStart {
    let bytes = text.as_bytes().get(start..).unwrap_or(&[]);
    let indent = spaces(bytes, 0);
    if bytes.get(indent) == Some(&b'[') {
        return match header_end(bytes, indent) {
            Some(_) => LineStart::Header,
            None => LineStart::Other,
        };
    }
    match keys_end(bytes, indent) {
        Some(at) if bytes.get(at) == Some(&b'=') => LineStart::Assignment { indent },
        _ => LineStart::Other,
    }
}

/// The start of the first line after `from` that holds a header. `O(length)`.
pub(super) fn next_header(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += text.get(at..)?.find('\n')? + 1;
        if line_start(text, at) == LineStart::Header {
            return Some(at);
        }
    }
}

fn spaces(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// The end of `key . key . key` and the spaces behind it.
fn keys_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = spaces(bytes, at);
        let start = at;
        match bytes.get(at) {
            Some(&quote @ (b'"' | b'\'')) => {
                let inner = bytes.get(at + 1..)?;
                let stop = |&byte: &u8| byte == quote || byte == b'\n';
                let length = inner.iter().position(stop)?;
                if inner.get(length) != Some(&quote) {
                    return None;
                }
                at += length + 2;
            }
            _ => {
                while bytes.get(at).is_some_and(|&byte| BARE[byte as usize]) {
                    at += 1;
                }
                if at == start {
                    return None;
                }
            }
        }
        at = spaces(bytes, at);
        match bytes.get(at) {
            Some(b'.') => at += 1,
            _ => return Some(at),
        }
    }
}

fn header_end(bytes: &[u8], open: usize) -> Option<usize> {
    let double = bytes.get(open + 1) == Some(&b'[');
    let at = keys_end(bytes, open + 1 + usize::from(double))?;
    let closes = |at: usize| bytes.get(at) == Some(&b']');
    if !closes(at) || double && !closes(at + 1) {
        return None;
    }
    let at = spaces(bytes, at + 1 + usize::from(double));
    matches!(bytes.get(at), None | Some(b'\n' | b'\r' | b'#')).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_by_their_beginning() {
        let cases = [
            ("[a]", LineStart::Header),
            ("  [[ a . \"b c\" ]] # x", LineStart::Header),
            ("[1, 2]", LineStart::Other),
            ("[a] b", LineStart::Other),
            ("[[a]", LineStart::Other),
            ("a = 1", LineStart::Assignment { indent: 0 }),
            ("\t'a b'.c=1", LineStart::Assignment { indent: 1 }),
            ("\"a = 1", LineStart::Other),
            ("1, 2", LineStart::Other),
            ("", LineStart::Other),
        ];
        for (line, expected) in cases {
            assert_eq!(line_start(line, 0), expected, "{line}");
        }
        assert_eq!(next_header("[a]\nb = 1\n[c]\n", 0), Some(10));
        assert_eq!(next_header("[a]\nb = 1", 0), None);
    }
}
