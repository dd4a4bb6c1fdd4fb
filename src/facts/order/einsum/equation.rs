//! The text of an einsum equation, such as `"bhqd,bhkd->bhqk"`.

use std::fmt;
use std::ops::Range;

/// What is wrong with an einsum equation or with the shapes given for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EinsumError {
    /// What is wrong, in words.
    pub message: String,
    /// The bytes of the equation that it is about.
    pub span: Range<usize>,
}

impl EinsumError {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> EinsumError {
        EinsumError {
            message: message.into(),
            span,
        }
    }
}

impl fmt::Display for EinsumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EinsumError {}

/// One element of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subscript {
    /// A named dimension.
    Letter(char),
    /// Any number of batch dimensions, which broadcast.
    Ellipsis,
}

/// The subscripts of one operand or of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Its elements, in the order of the dimensions.
    pub subscripts: Vec<Subscript>,
    /// Where it stands in the equation; for an output that is not written, the end of the text.
    pub span: Range<usize>,
}

impl Term {
    /// The letters, without the ellipsis.
    pub fn letters(&self) -> impl DoubleEndedIterator<Item = char> + '_ {
        self.subscripts
            .iter()
            .filter_map(|subscript| match subscript {
                Subscript::Letter(letter) => Some(*letter),
                Subscript::Ellipsis => None,
            })
    }

    /// Whether there is an ellipsis.
    pub fn has_ellipsis(&self) -> bool {
        self.subscripts.contains(&Subscript::Ellipsis)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subscripts
            .iter()
            .try_for_each(|subscript| match subscript {
                Subscript::Letter(letter) => write!(f, "{letter}"),
                Subscript::Ellipsis => f.write_str("..."),
            })
    }
}

/// An einsum equation: the subscripts of every operand and of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equation {
    /// One term for each operand.
    pub inputs: Vec<Term>,
    /// The output; where the text has no `->`, what PyTorch and NumPy take it to be: the ellipsis,
    /// and then in alphabetical order, capitals first, the letters that occur once.
    pub output: Term,
}

/// Normal form: no spaces, and always with an output.
impl fmt::Display for Equation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, term) in self.inputs.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{term}")?;
        }
        write!(f, "->{}", self.output)
    }
}

/// Reads an equation. Spaces mean nothing. O(length).
///
/// # Errors
/// With the bytes at fault: a character that is no letter, a stray dot or arrow, a second ellipsis
/// in a term, a letter twice in the output or one in the output alone.
pub fn parse_equation(text: &str) -> Result<Equation, EinsumError> {
    let (left, right) = match text.find("->") {
        Some(arrow) => (0..arrow, Some(arrow + 2..text.len())),
        None => (0..text.len(), None),
    };
    let mut inputs = Vec::new();
    let mut start = 0;
    for piece in text[left].split(',') {
        inputs.push(parse_term(text, start..start + piece.len())?);
        start += piece.len() + 1;
    }
    let output = match right {
        Some(range) => {
            let output = parse_term(text, range)?;
            check_output(&inputs, &output, text)?;
            output
        }
        None => implied_output(&inputs, text.len()),
    };
    Ok(Equation { inputs, output })
}

fn parse_term(text: &str, range: Range<usize>) -> Result<Term, EinsumError> {
    let piece = &text[range.clone()];
    let mut subscripts = Vec::new();
    let mut characters = piece.char_indices();
    while let Some((offset, character)) = characters.next() {
        let at = range.start + offset;
        let here = at..at + character.len_utf8();
        match character {
            _ if character.is_ascii_alphabetic() => subscripts.push(Subscript::Letter(character)),
            _ if character.is_whitespace() => {}
            '.' if piece[offset..].starts_with("...") => {
                if subscripts.contains(&Subscript::Ellipsis) {
                    return Err(EinsumError::new(
                        at..at + 3,
                        "a second `...`: each operand has at most one",
                    ));
                }
                subscripts.push(Subscript::Ellipsis);
                characters.nth(1);
            }
            '.' => {
                return Err(EinsumError::new(here, "`.` is only part of `...`"));
            }
            '-' | '>' => {
                return Err(EinsumError::new(
                    here,
                    format!("`{character}` is only part of the one `->`"),
                ));
            }
            ',' => {
                return Err(EinsumError::new(
                    here,
                    "an einsum has one output, so no `,` in it",
                ));
            }
            other => {
                return Err(EinsumError::new(
                    here,
                    format!(
                        "`{}` is no subscript: those are the letters a-z and A-Z",
                        other.escape_debug()
                    ),
                ));
            }
        }
    }
    // The span is the text itself without the spaces around it.
    let leading = piece.len() - piece.trim_start().len();
    let start = range.start + leading;
    Ok(Term {
        subscripts,
        span: start..start + piece.trim().len(),
    })
}

fn check_output(inputs: &[Term], output: &Term, text: &str) -> Result<(), EinsumError> {
    let mut seen = Vec::new();
    for letter in output.letters() {
        // Letters are ASCII: the last place a repeated one stands at is where it is repeated.
        let written = &text[output.span.clone()];
        let at = |place: Option<usize>| {
            let start = output.span.start + place.unwrap_or(0);
            start..start + 1
        };
        if seen.contains(&letter) {
            return Err(EinsumError::new(
                at(written.rfind(letter)),
                format!("`{letter}` stands twice in the output"),
            ));
        }
        if !inputs
            .iter()
            .any(|term| term.letters().any(|other| other == letter))
        {
            return Err(EinsumError::new(
                at(written.find(letter)),
                format!("`{letter}` is in the output and in no operand"),
            ));
        }
        seen.push(letter);
    }
    Ok(())
}

fn implied_output(inputs: &[Term], end: usize) -> Term {
    let mut counts = [0usize; 128];
    for letter in inputs.iter().flat_map(Term::letters) {
        counts[letter as usize] += 1;
    }
    let ellipsis = inputs
        .iter()
        .any(Term::has_ellipsis)
        .then_some(Subscript::Ellipsis);
    let once = ('A'..='z').filter(|&letter| counts[letter as usize] == 1);
    Term {
        subscripts: ellipsis
            .into_iter()
            .chain(once.map(Subscript::Letter))
            .collect(),
        span: end..end,
    }
}
