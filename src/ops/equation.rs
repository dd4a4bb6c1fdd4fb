//! Einsum equations: `bhqd,bhkd->bhqk`.
//!
//! Parsing and binding to shapes, by the rules of `torch.einsum`. In which order the operands are
//! best contracted is a matter for others.

use std::ops::Range;

use crate::tensor::Shape;

/// The subscripts of one operand or of the output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscripts {
    /// The letters with their byte positions, the ellipsis left out.
    pub labels: Vec<(char, usize)>,
    /// How many letters stand before the ellipsis, if there is one.
    pub ellipsis: Option<usize>,
    /// Where they stand in the text.
    pub range: Range<usize>,
}

/// An equation as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equation {
    /// One for each operand.
    pub operands: Vec<Subscripts>,
    /// What follows `->`, if that is there.
    pub output: Option<Subscripts>,
}

/// What is wrong with an equation, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EquationError {
    /// What is wrong.
    pub message: String,
    /// The bytes to blame.
    pub range: Range<usize>,
}

/// An equation applied to shapes: every axis has the number of its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contraction {
    /// The size of each index. Those of the output come first, in its order.
    pub sizes: Vec<u64>,
    /// The index of each axis of each operand.
    pub operands: Vec<Vec<usize>>,
    /// How many indices the output has.
    pub outputs: usize,
}

impl Contraction {
    /// The shape of the result.
    pub fn shape(&self) -> Shape {
        Shape::from(&self.sizes[..self.outputs])
    }

    /// The number of products that are summed into one element of the result: the product of the
    /// sizes of all indices that the result does not have. Saturates.
    pub fn terms(&self) -> u64 {
        self.sizes[self.outputs..]
            .iter()
            .fold(1, |product, &size| product.saturating_mul(size))
    }
}

/// Reads an equation. `O(length)`.
///
/// # Errors
/// Where a character is not a letter, a space, a comma, `...` or `->`, and where the output repeats
/// a letter or has one that no operand has.
pub fn parse_equation(text: &str) -> Result<Equation, EquationError> {
    let (left, right) = match text.find("->") {
        Some(at) => (&text[..at], Some((at + 2, &text[at + 2..]))),
        None => (text, None),
    };
    let mut operands = Vec::new();
    let mut start = 0;
    for part in left.split(',') {
        operands.push(parse_subscripts(part, start)?);
        start += part.len() + 1;
    }
    let output = match right {
        Some((start, part)) => {
            if let Some(comma) = part.find(',') {
                let at = start + comma;
                return Err(error(
                    "the output is one tensor: no comma after `->`",
                    at..at + 1,
                ));
            }
            Some(parse_subscripts(part, start)?)
        }
        None => None,
    };
    if let Some(output) = &output {
        for (index, &(label, at)) in output.labels.iter().enumerate() {
            if output.labels[..index]
                .iter()
                .any(|&(other, _)| other == label)
            {
                return Err(error(
                    format!("the output has the index `{label}` twice"),
                    at..at + 1,
                ));
            }
            if !operands.iter().any(|operand| has(operand, label)) {
                let message = format!("the output has the index `{label}`, but no operand has");
                return Err(error(message, at..at + 1));
            }
        }
    }
    Ok(Equation { operands, output })
}

fn has(subscripts: &Subscripts, label: char) -> bool {
    subscripts.labels.iter().any(|&(other, _)| other == label)
}

fn error(message: impl Into<String>, range: Range<usize>) -> EquationError {
    EquationError {
        message: message.into(),
        range,
    }
}

fn parse_subscripts(text: &str, start: usize) -> Result<Subscripts, EquationError> {
    let mut subscripts = Subscripts {
        range: start..start + text.len(),
        ..Subscripts::default()
    };
    let mut characters = text.char_indices();
    while let Some((offset, character)) = characters.next() {
        let at = start + offset;
        match character {
            ' ' => {}
            'a'..='z' | 'A'..='Z' => subscripts.labels.push((character, at)),
            '.' if text[offset..].starts_with("...") => {
                if subscripts.ellipsis.is_some() {
                    return Err(error("an operand has at most one `...`", at..at + 3));
                }
                subscripts.ellipsis = Some(subscripts.labels.len());
                characters.next();
                characters.next();
            }
            other => {
                let message = format!("`{other}` is no index: letters, `...`, `,` and `->` are");
                return Err(error(message, at..at + other.len_utf8()));
            }
        }
    }
    Ok(subscripts)
}

/// What an index stands for: a letter, or an axis under the ellipsis, counted from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Label(char),
    Ellipsis(usize),
}

impl Equation {
    /// Numbers the indices and finds their sizes. `O(axes · indices)`, of which there are at most
    /// 52 and those of the ellipsis.
    ///
    /// An output that is not written has the ellipsis first and then, in the order of the alphabet
    /// with capitals first, each letter that occurs once. An ellipsis that the output leaves out is
    /// summed over. A size of 1 broadcasts.
    ///
    /// # Errors
    /// Where the number of operands or of axes is not that of the equation, or where two sizes of
    /// an index differ. With the error comes the operand to blame.
    pub fn bind(&self, shapes: &[&Shape]) -> Result<Contraction, (EquationError, usize)> {
        if shapes.len() != self.operands.len() {
            let message = format!(
                "the equation has {} operands, but {} are given",
                self.operands.len(),
                shapes.len()
            );
            let end = self.operands.last().map_or(0, |last| last.range.end);
            return Err((error(message, 0..end), shapes.len().saturating_sub(1)));
        }
        let mut spread = Vec::with_capacity(shapes.len());
        for (position, (subscripts, shape)) in self.operands.iter().zip(shapes).enumerate() {
            spread.push(
                subscripts
                    .spread(shape)
                    .map_err(|error| (error, position))?,
            );
        }
        let keys = self.keys(&spread);
        let mut sizes = vec![1; keys.1.len()];
        let mut operands = Vec::with_capacity(shapes.len());
        for (position, (axes, shape)) in spread.iter().zip(shapes).enumerate() {
            let mut indices = Vec::with_capacity(axes.len());
            for (&key, &size) in axes.iter().zip(shape.sizes()) {
                let index = keys.1.iter().position(|&other| other == key).unwrap_or(0);
                let repeated = indices
                    .iter()
                    .position(|&other| other == index)
                    .map(|axis| shape.sizes()[axis]);
                let known: u64 = repeated.unwrap_or(sizes[index]);
                let broadcasts = repeated.is_none() && (known == 1 || size == 1);
                if known != size && !broadcasts {
                    let name = match key {
                        Key::Label(label) => format!("the index `{label}`"),
                        Key::Ellipsis(_) => "an axis under `...`".to_owned(),
                    };
                    let message = format!("{name} is {known} and {size}: {known} ≠ {size}");
                    let range = self.operands[position].range.clone();
                    return Err((error(message, range), position));
                }
                if sizes[index] == 1 {
                    sizes[index] = size;
                }
                indices.push(index);
            }
            operands.push(indices);
        }
        Ok(Contraction {
            sizes,
            operands,
            outputs: keys.0,
        })
    }

    /// How many indices the output has, and all indices, those of the output first.
    fn keys(&self, spread: &[Vec<Key>]) -> (usize, Vec<Key>) {
        let under_ellipsis = spread
            .iter()
            .flatten()
            .filter_map(|key| match key {
                Key::Ellipsis(from_end) => Some(from_end + 1),
                Key::Label(_) => None,
            })
            .max()
            .unwrap_or(0);
        let ellipsis = (0..under_ellipsis).rev().map(Key::Ellipsis);
        let mut keys = Vec::new();
        match &self.output {
            Some(output) => {
                let before = output.ellipsis.unwrap_or(0);
                let label = |&(label, _): &(char, usize)| Key::Label(label);
                keys.extend(output.labels[..before].iter().map(label));
                if output.ellipsis.is_some() {
                    keys.extend(ellipsis);
                }
                keys.extend(output.labels[before..].iter().map(label));
            }
            None => {
                keys.extend(ellipsis);
                for letter in ('A'..='Z').chain('a'..='z') {
                    let key = Key::Label(letter);
                    if spread
                        .iter()
                        .flatten()
                        .filter(|&&other| other == key)
                        .count()
                        == 1
                    {
                        keys.push(key);
                    }
                }
            }
        }
        let outputs = keys.len();
        for &key in spread.iter().flatten() {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        (outputs, keys)
    }
}

impl Subscripts {
    /// The index of each axis of a tensor of that shape.
    fn spread(&self, shape: &Shape) -> Result<Vec<Key>, EquationError> {
        let (rank, letters) = (shape.rank(), self.labels.len());
        let fits = match self.ellipsis {
            Some(_) => letters <= rank,
            None => letters == rank,
        };
        if !fits {
            let message =
                format!("{letters} indices are written for {shape}, which has {rank} axes");
            return Err(error(message, self.range.clone()));
        }
        let before = self.ellipsis.unwrap_or(letters);
        let label = |&(label, _): &(char, usize)| Key::Label(label);
        let mut keys: Vec<Key> = self.labels[..before].iter().map(label).collect();
        keys.extend((0..rank - letters).rev().map(Key::Ellipsis));
        keys.extend(self.labels[before..].iter().map(label));
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, shapes: &[&[u64]]) -> String {
        let shapes: Vec<Shape> = shapes.iter().map(|&sizes| Shape::from(sizes)).collect();
        let shapes: Vec<&Shape> = shapes.iter().collect();
        let shown = |error: EquationError| {
            format!("{} (at `{}`)", error.message, &text[error.range.clone()])
        };
        match parse_equation(text) {
            Err(error) => shown(error),
            Ok(equation) => match equation.bind(&shapes) {
                Err((error, position)) => format!("operand {position}: {}", shown(error)),
                Ok(bound) => format!("{} of {} terms", bound.shape(), bound.terms()),
            },
        }
    }

    #[test]
    fn equations_bind_to_shapes_as_in_torch() {
        let table: &[(&str, &[&[u64]], &str)] = &[
            ("ij,jk->ik", &[&[2, 3], &[3, 4]], "[2, 4] of 3 terms"),
            ("ij,jk", &[&[2, 3], &[3, 4]], "[2, 4] of 3 terms"),
            ("ba", &[&[2, 3]], "[3, 2] of 1 terms"),
            ("bA", &[&[2, 3]], "[3, 2] of 1 terms"),
            ("ii->i", &[&[3, 3]], "[3] of 1 terms"),
            ("ii", &[&[3, 3]], "[] of 3 terms"),
            ("i,j->", &[&[3], &[4]], "[] of 12 terms"),
            (
                "... i j, ... j k -> ... i k",
                &[&[7, 2, 3], &[5, 1, 3, 4]],
                "[5, 7, 2, 4] of 3 terms",
            ),
            ("i...->i", &[&[2, 3, 4]], "[2] of 12 terms"),
            ("...i,i", &[&[5, 2], &[2]], "[5] of 2 terms"),
            (
                "bhqd,bhkd->bhqk",
                &[&[1, 2, 5, 8], &[3, 2, 6, 8]],
                "[3, 2, 5, 6] of 8 terms",
            ),
            (
                "ij->ik",
                &[&[2, 3]],
                "the output has the index `k`, but no operand has (at `k`)",
            ),
            (
                "ij->ii",
                &[&[2, 3]],
                "the output has the index `i` twice (at `i`)",
            ),
            (
                "i1->i",
                &[&[2, 3]],
                "`1` is no index: letters, `...`, `,` and `->` are (at `1`)",
            ),
            (
                "i..->i",
                &[&[2, 3]],
                "`.` is no index: letters, `...`, `,` and `->` are (at `.`)",
            ),
            (
                "i......",
                &[&[2, 3]],
                "an operand has at most one `...` (at `...`)",
            ),
            (
                "i->i,i",
                &[&[2]],
                "the output is one tensor: no comma after `->` (at `,`)",
            ),
            (
                "ij",
                &[&[2]],
                "operand 0: 2 indices are written for [2], which has 1 axes (at `ij`)",
            ),
            (
                "i,j",
                &[&[2]],
                "operand 0: the equation has 2 operands, but 1 are given (at `i,j`)",
            ),
            (
                "ij,jk->ik",
                &[&[2, 3], &[5, 4]],
                "operand 1: the index `j` is 3 and 5: 3 ≠ 5 (at `jk`)",
            ),
            (
                "ii",
                &[&[3, 1]],
                "operand 0: the index `i` is 3 and 1: 3 ≠ 1 (at `ii`)",
            ),
        ];
        for (text, shapes, expected) in table {
            assert_eq!(check(text, shapes), *expected, "{text}");
        }
    }

    proptest! {
        /// Whatever is typed, an error points into the text.
        #[test]
        fn errors_lie_in_the_text(text in "[ij., >é-]{0,12}") {
            if let Err(error) = parse_equation(&text) {
                prop_assert!(text.get(error.range).is_some());
            }
        }
    }
}
