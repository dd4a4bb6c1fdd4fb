//! An einsum with sizes: what is joined to what, and what contracting costs.

use super::super::OrderError;
use super::equation::{EinsumError, Equation, Subscript, Term};

/// Most operands of one einsum.
pub const MAX_OPERANDS: usize = 128;
/// Most distinct indices of one einsum, those under an ellipsis included.
pub const MAX_INDICES: usize = 128;

/// A set of indices, one bit each.
pub(super) type Indices = u128;

/// What a contraction takes, ordered by multiplications first. Saturates at `u128::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cost {
    /// Scalar multiplications.
    pub multiplications: u128,
    /// Multiplications and additions.
    pub flops: u128,
}

impl Cost {
    pub(super) fn plus(self, other: Cost) -> Cost {
        Cost {
            multiplications: self.multiplications.saturating_add(other.multiplications),
            flops: self.flops.saturating_add(other.flops),
        }
    }

    /// The cost, unless it does not fit.
    pub(super) fn finite(self) -> Result<Cost, OrderError> {
        match self.flops.max(self.multiplications) {
            u128::MAX => Err(OrderError::Overflow),
            _ => Ok(self),
        }
    }
}

/// Products of the sizes of sets of indices, by table: eight indices at a time.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    sizes: Vec<u64>,
    tables: Vec<Vec<u128>>,
}

impl Sizes {
    pub fn new(sizes: Vec<u64>) -> Sizes {
        let tables = sizes
            .chunks(8)
            .map(|chunk| {
                let mut table = vec![1u128];
                for &size in chunk {
                    // Zero wipes out whatever has saturated, so no order of factors matters.
                    let longer: Vec<u128> = table
                        .iter()
                        .map(|product| product.saturating_mul(size.into()))
                        .collect();
                    table.extend(longer);
                }
                table
            })
            .collect();
        Sizes { sizes, tables }
    }

    /// Number of elements of a tensor with these indices; `u128::MAX` if that many or more.
    pub fn product(&self, indices: Indices) -> u128 {
        let bytes = indices.to_le_bytes();
        self.tables
            .iter()
            .zip(bytes)
            .filter(|&(_, byte)| byte != 0)
            .fold(1, |product: u128, (table, byte)| {
                product.saturating_mul(table[byte as usize])
            })
    }

    pub fn size(&self, index: usize) -> u64 {
        self.sizes[index]
    }

    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// What it takes to contract two tensors with these indices into one with `result`.
    pub fn contraction(&self, a: Indices, b: Indices, result: Indices) -> Cost {
        let joint = self.product(a | b);
        Cost {
            multiplications: joint,
            flops: joint.saturating_mul(if (a | b) & !result == 0 { 1 } else { 2 }),
        }
    }
}

/// An einsum whose sizes are known.
#[derive(Debug, Clone)]
pub struct Network {
    /// How each operand is written: its subscripts, with the ellipsis spelled out in letters where
    /// the output has none.
    pub(super) terms: Vec<Vec<Subscript>>,
    pub(super) output_term: Vec<Subscript>,
    /// The letter of each index; `None` for those under an ellipsis.
    pub(super) letters: Vec<Option<char>>,
    /// Indices of each operand. One that the operand broadcasts, having size one, is left out.
    pub(super) inputs: Vec<Indices>,
    pub(super) output: Indices,
    pub(super) sizes: Sizes,
}

impl Network {
    /// Joins an equation with the shapes of its operands.
    ///
    /// # Errors
    /// With the bytes of the equation at fault, if the number of operands or of dimensions does not
    /// agree, if an index has two sizes neither of which is one, or the einsum exceeds
    /// [`MAX_OPERANDS`] or [`MAX_INDICES`].
    pub fn new<S: AsRef<[u64]>>(equation: &Equation, shapes: &[S]) -> Result<Network, EinsumError> {
        let whole = 0..equation.output.span.end;
        let count = equation.inputs.len();
        if count != shapes.len() {
            let given = shapes.len();
            let message = format!("the equation is of {count} operands; {given} given");
            return Err(EinsumError::new(whole, message));
        }
        if count > MAX_OPERANDS {
            let message = format!("{count} operands; at most {MAX_OPERANDS} are dealt with");
            return Err(EinsumError::new(whole, message));
        }
        let mut table = IndexTable::default();
        let mut placed = Vec::with_capacity(count);
        for (operand, (term, shape)) in equation.inputs.iter().zip(shapes).enumerate() {
            placed.push(table.place(operand, term, shape.as_ref())?);
        }
        if table.indices.len() > MAX_INDICES {
            let message = format!(
                "{} different indices; at most {MAX_INDICES} are dealt with",
                table.indices.len()
            );
            return Err(EinsumError::new(whole, message));
        }
        let inputs = placed
            .iter()
            .map(|dims| {
                dims.iter()
                    .filter(|&&(index, size)| size == table.indices[index].size)
                    .fold(0, |set, &(index, _)| set | 1 << index)
            })
            .collect();
        if !equation.output.has_ellipsis() && !table.name_ellipsis() {
            let message = "no letters are left to name the dimensions under `...`";
            return Err(EinsumError::new(whole, message));
        }
        let mut output = 0;
        for (place, index) in table.indices.iter().enumerate() {
            let kept = match index.key {
                Key::Letter(letter) => equation.output.letters().any(|other| other == letter),
                Key::Ellipsis(_) => equation.output.has_ellipsis(),
            };
            output |= Indices::from(kept) << place;
        }
        let terms = equation.inputs.iter().zip(shapes);
        Ok(Network {
            terms: terms
                .map(|(term, shape)| table.spell(term, shape.as_ref().len()))
                .collect(),
            output_term: equation.output.subscripts.clone(),
            letters: table.indices.iter().map(|index| index.name).collect(),
            inputs,
            output,
            sizes: Sizes::new(table.indices.iter().map(|index| index.size).collect()),
        })
    }

    /// Number of operands, at least one.
    pub fn operands(&self) -> usize {
        self.inputs.len()
    }

    /// The operands as they are when they are used: without indices that only they have and that
    /// are summed. Also what it takes to sum those.
    pub(super) fn summed_inputs(&self) -> (Vec<Indices>, Cost) {
        let mut flops = 0u128;
        let summed = (0..self.inputs.len()).map(|operand| {
            let others = self
                .inputs
                .iter()
                .enumerate()
                .filter(|&(other, _)| other != operand);
            let needed = others.fold(self.output, |set, (_, indices)| set | indices);
            let before = self.inputs[operand];
            if before & !needed != 0 {
                flops = flops.saturating_add(self.sizes.product(before));
            }
            before & needed
        });
        let summed = summed.collect();
        let cost = Cost {
            multiplications: 0,
            flops,
        };
        (summed, cost)
    }

    /// What the einsum takes if all operands are multiplied at once, for every element of the
    /// whole index space, and nothing is kept in between.
    ///
    /// # Errors
    /// If that does not fit in 128 bits.
    pub fn at_once(&self) -> Result<Cost, OrderError> {
        let all = self.inputs.iter().fold(0, |set, indices| set | indices);
        let space = self.sizes.product(all);
        let multiplications = space.saturating_mul(self.operands() as u128 - 1);
        let additions = if all & !self.output == 0 { 0 } else { space };
        Cost {
            multiplications,
            flops: multiplications.saturating_add(additions),
        }
        .finite()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Letter(char),
    /// Counted from the last dimension under the ellipsis, since those align on the right.
    Ellipsis(usize),
}

#[derive(Debug)]
struct Index {
    key: Key,
    name: Option<char>,
    size: u64,
    /// The operand that gave the size.
    operand: usize,
}

#[derive(Debug, Default)]
struct IndexTable {
    indices: Vec<Index>,
}

impl IndexTable {
    /// Enters the dimensions of an operand; their indices and sizes.
    fn place(
        &mut self,
        operand: usize,
        term: &Term,
        shape: &[u64],
    ) -> Result<Vec<(usize, u64)>, EinsumError> {
        let named = term.letters().count();
        let hidden = match shape.len().checked_sub(named) {
            Some(hidden) if hidden == 0 || term.has_ellipsis() => hidden,
            _ => {
                let message = format!(
                    "`{term}` names {named} dimensions; operand {} has {}: {shape:?}",
                    operand + 1,
                    shape.len()
                );
                return Err(EinsumError::new(term.span.clone(), message));
            }
        };
        let keys = term
            .subscripts
            .iter()
            .flat_map(|subscript| match subscript {
                Subscript::Letter(letter) => vec![Key::Letter(*letter)],
                Subscript::Ellipsis => (0..hidden).rev().map(Key::Ellipsis).collect(),
            });
        let mut placed: Vec<(usize, u64)> = Vec::with_capacity(shape.len());
        for (key, &size) in keys.zip(shape) {
            let name = match key {
                Key::Letter(letter) => Some(letter),
                Key::Ellipsis(_) => None,
            };
            let Some(index) = self.indices.iter().position(|index| index.key == key) else {
                placed.push((self.indices.len(), size));
                self.indices.push(Index {
                    key,
                    name,
                    size,
                    operand,
                });
                continue;
            };
            let known = &mut self.indices[index];
            let what = match key {
                Key::Letter(letter) => format!("`{letter}`"),
                Key::Ellipsis(place) => {
                    format!("dimension {} from the right under `...`", place + 1)
                }
            };
            let diagonal = placed.iter().find(|&&(other, _)| other == index);
            if let Some(&(_, other)) = diagonal
                && other != size
            {
                let message = format!(
                    "{what} is both {other} and {size} in operand {}: a diagonal needs equal sizes",
                    operand + 1
                );
                return Err(EinsumError::new(term.span.clone(), message));
            }
            if known.size == 1 {
                (known.size, known.operand) = (size, operand);
            } else if size != 1 && size != known.size {
                let message = format!(
                    "{what} is {} in operand {} and {size} in operand {}",
                    known.size,
                    known.operand + 1,
                    operand + 1
                );
                return Err(EinsumError::new(term.span.clone(), message));
            }
            placed.push((index, size));
        }
        Ok(placed)
    }

    /// Gives the indices under the ellipsis letters of their own; whether there were enough.
    fn name_ellipsis(&mut self) -> bool {
        let taken: Vec<char> = self.indices.iter().filter_map(|index| index.name).collect();
        let mut free = ('a'..='z')
            .chain('A'..='Z')
            .filter(|letter| !taken.contains(letter));
        for index in self.indices.iter_mut().filter(|index| index.name.is_none()) {
            index.name = free.next();
        }
        self.indices.iter().all(|index| index.name.is_some())
    }

    /// A term with the ellipsis in letters, where those have been given.
    fn spell(&self, term: &Term, rank: usize) -> Vec<Subscript> {
        let hidden = rank - term.letters().count();
        let name = |place: usize| {
            let index = self
                .indices
                .iter()
                .find(|index| index.key == Key::Ellipsis(place));
            index.and_then(|index| index.name).map(Subscript::Letter)
        };
        let spelled = |subscript: &Subscript| match subscript {
            Subscript::Ellipsis => match (0..hidden).rev().map(name).collect() {
                Some(letters) => letters,
                None => vec![Subscript::Ellipsis],
            },
            letter => vec![*letter],
        };
        term.subscripts.iter().flat_map(spelled).collect()
    }
}
