//! Contraction paths: an order of contraction, what it takes, and how to write it down.

use super::super::OrderError;
use super::equation::Subscript;
use super::network::{Cost, Indices, Network};
use super::tree::Tree;

/// An order in which to contract the operands of an einsum, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractionPath {
    /// The steps in the convention of opt_einsum, NumPy and PyTorch: each takes the two things at
    /// these positions, the lower first, out of the list of what there is and appends the result.
    pub steps: Vec<(usize, usize)>,
    /// Scalar multiplications.
    pub multiplications: u128,
    /// Multiplications and additions.
    pub flops: u128,
    /// Elements of the largest result of a step, the output included.
    pub largest_intermediate: u128,
    /// Whether no order of pairwise contractions takes fewer multiplications.
    pub proved: bool,
}

impl Network {
    /// What contracting along `steps` takes.
    ///
    /// # Errors
    /// If the steps do not contract everything into one, or the cost does not fit in 128 bits.
    pub fn path(&self, steps: &[(usize, usize)]) -> Result<ContractionPath, OrderError> {
        let (mut list, mut cost) = self.summed_inputs();
        let malformed = OrderError::OperandCount {
            dims: steps.len() + 2,
            operands: self.operands(),
        };
        let mut largest = 0;
        for &(low, high) in steps {
            if low >= high || high >= list.len() {
                return Err(malformed);
            }
            let [b, a] = [list.remove(high), list.remove(low)];
            let result = (a | b) & self.needed(&list);
            cost = cost.plus(self.sizes.contraction(a, b, result));
            largest = largest.max(self.sizes.product(result));
            list.push(result);
        }
        if list.len() != 1 {
            return Err(malformed);
        }
        let Cost {
            multiplications,
            flops,
        } = cost.finite()?;
        Ok(ContractionPath {
            steps: steps.to_vec(),
            multiplications,
            flops,
            largest_intermediate: largest.max(self.sizes.product(self.output)),
            proved: self.operands() <= 2,
        })
    }

    /// Contracting the operands as they are listed, which is what PyTorch does without
    /// opt_einsum.
    ///
    /// # Errors
    /// If the cost does not fit in 128 bits.
    pub fn left_to_right(&self) -> Result<ContractionPath, OrderError> {
        self.path(&Tree::left_to_right(self.operands()).steps())
    }

    /// Every order of contraction, the cheapest first. There are (2n - 3)!! of them: 105 for five
    /// operands, 135,135 for eight.
    ///
    /// # Errors
    /// For more than eight operands, or if a cost does not fit in 128 bits.
    pub fn every_path(&self) -> Result<Vec<ContractionPath>, OrderError> {
        const LIMIT: usize = 8;
        if self.operands() > LIMIT {
            return Err(OrderError::TooLong {
                operands: self.operands(),
                limit: LIMIT,
            });
        }
        let trees = Tree::every(self.operands());
        let mut paths: Vec<ContractionPath> = trees
            .iter()
            .map(|tree| self.path(&tree.steps()))
            .collect::<Result<_, _>>()?;
        paths.sort_by_key(|path| (path.multiplications, path.flops, path.largest_intermediate));
        Ok(paths)
    }

    /// What the output and the things in `list` have need of.
    fn needed(&self, list: &[Indices]) -> Indices {
        list.iter().fold(self.output, |set, indices| set | indices)
    }

    /// A path as nested calls of two operands each, ready to stand in place of the einsum:
    /// `einsum("ij,jk->ik", A, einsum(…))`. One without a name is called `?`.
    ///
    /// Operands keep the order in which they were listed as far as the path lets them.
    pub fn render<S: AsRef<str>>(&self, path: &ContractionPath, names: &[S]) -> String {
        struct Piece {
            first: usize,
            term: Vec<Subscript>,
            indices: Indices,
            text: String,
        }
        let mut list: Vec<Piece> = (0..self.operands())
            .map(|operand| Piece {
                first: operand,
                term: self.terms[operand].clone(),
                indices: self.inputs[operand],
                text: names.get(operand).map_or("?", AsRef::as_ref).to_owned(),
            })
            .collect();
        if let [only] = &list[..] {
            return call(&[&only.term], &self.output_term, &[&only.text]);
        }
        for &(low, high) in &path.steps {
            if low >= high || high >= list.len() {
                break;
            }
            let [b, a] = [list.remove(high), list.remove(low)];
            let (a, b) = if a.first < b.first { (a, b) } else { (b, a) };
            let rest: Vec<Indices> = list.iter().map(|piece| piece.indices).collect();
            let indices = (a.indices | b.indices) & self.needed(&rest);
            let term = if list.is_empty() {
                self.output_term.clone()
            } else {
                self.term_of(indices, &a.term, &b.term)
            };
            list.push(Piece {
                first: a.first,
                text: call(&[&a.term, &b.term], &term, &[&a.text, &b.text]),
                term,
                indices,
            });
        }
        list.pop().map_or_else(String::new, |piece| piece.text)
    }

    /// How an intermediate with these indices is written: the ellipsis if either factor has one,
    /// then what is kept, in the order of the factors.
    fn term_of(&self, indices: Indices, a: &[Subscript], b: &[Subscript]) -> Vec<Subscript> {
        let mut term = Vec::new();
        for subscript in a.iter().chain(b) {
            let kept = match subscript {
                Subscript::Ellipsis => true,
                Subscript::Letter(letter) => {
                    let index = self
                        .letters
                        .iter()
                        .position(|other| *other == Some(*letter));
                    index.is_some_and(|index| indices >> index & 1 == 1)
                }
            };
            if kept && !term.contains(subscript) {
                match subscript {
                    Subscript::Ellipsis => term.insert(0, *subscript),
                    Subscript::Letter(_) => term.push(*subscript),
                }
            }
        }
        term
    }
}

fn call(terms: &[&[Subscript]], output: &[Subscript], operands: &[&str]) -> String {
    let spell = |term: &[Subscript]| -> String {
        term.iter()
            .map(|subscript| match subscript {
                Subscript::Letter(letter) => letter.to_string(),
                Subscript::Ellipsis => "...".to_owned(),
            })
            .collect()
    };
    let inputs: Vec<String> = terms.iter().map(|term| spell(term)).collect();
    format!(
        "einsum(\"{}->{}\", {})",
        inputs.join(","),
        spell(output),
        operands.join(", ")
    )
}
