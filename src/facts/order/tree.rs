//! Parenthesisations: the binary trees that say which neighbours are multiplied first.
//!
//! The tree is kept as a postfix programme and nothing else: operands are pushed from left to
//! right, and after each of them some number of products is carried out. That number, per operand,
//! determines the tree. A chain of a million matrices therefore neither recurses nor allocates a
//! node, when it is dropped, printed or costed.

use super::OrderError;

/// An order of multiplication of a chain of operands: a full binary tree over them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Parenthesisation {
    /// How many products end with operand `i`. The sum over `..=i` is at most `i`, and `n - 1` in
    /// all.
    closes: Vec<u32>,
}

/// One product of a parenthesisation: operands `start..middle` times operands `middle..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Product {
    /// First operand of the left factor.
    pub start: usize,
    /// First operand of the right factor.
    pub middle: usize,
    /// One past the last operand of the right factor.
    pub end: usize,
}

impl Parenthesisation {
    /// The tree in which `closes[i]` products end with operand `i`.
    ///
    /// `None` where that is no tree: where a product would lack a factor, or operands are left
    /// over, or there are none.
    pub fn from_closes(closes: Vec<u32>) -> Option<Parenthesisation> {
        let mut done = 0usize;
        for (operand, &here) in closes.iter().enumerate() {
            done = done.checked_add(here as usize)?;
            if done > operand {
                return None;
            }
        }
        (done + 1 == closes.len()).then_some(Parenthesisation { closes })
    }

    /// `((A @ B) @ C) @ D`: what `@` means without parentheses. No operand counts as one.
    pub fn left_to_right(operands: usize) -> Parenthesisation {
        let mut closes = vec![1; operands.max(1)];
        closes[0] = 0;
        Parenthesisation { closes }
    }

    /// `A @ (B @ (C @ D))`. No operand counts as one.
    pub fn right_to_left(operands: usize) -> Parenthesisation {
        let mut closes = vec![0; operands.max(1)];
        let last = closes.len() - 1;
        closes[last] = u32::try_from(last).unwrap_or(u32::MAX);
        Parenthesisation { closes }
    }

    /// Number of operands, at least one.
    pub fn operands(&self) -> usize {
        self.closes.len()
    }

    /// The products in the order in which they are carried out: factors before their product, the
    /// left one first. O(n) in all.
    pub fn products(&self) -> Products<'_> {
        Products {
            closes: &self.closes,
            operand: 0,
            left_here: 0,
            starts: Vec::new(),
        }
    }

    /// Scalar multiplications that the order takes for matrices of `dims[i]` × `dims[i + 1]`.
    /// O(n).
    ///
    /// # Errors
    /// If `dims` is not one longer than the operands, or the cost does not fit in 128 bits.
    pub fn cost(&self, dims: &[u64]) -> Result<u128, OrderError> {
        if dims.len() != self.operands() + 1 {
            return Err(OrderError::OperandCount {
                dims: dims.len(),
                operands: self.operands(),
            });
        }
        self.products().try_fold(0u128, |sum, product| {
            let here = product_cost(dims, product.start, product.middle, product.end);
            match sum.saturating_add(here) {
                u128::MAX => Err(OrderError::Overflow),
                sum => Ok(sum),
            }
        })
    }

    /// The order as an expression with the fewest parentheses: `@` groups from the left, so only
    /// right factors that are themselves products take them. O(length of the text).
    ///
    /// An operand without a name is called `?`.
    pub fn render<S: AsRef<str>>(&self, names: &[S]) -> String {
        let mut opened = vec![0u32; self.operands()];
        let mut closed = vec![0u32; self.operands()];
        for product in self.products() {
            if product.end - product.middle > 1 {
                opened[product.middle] += 1;
                closed[product.end - 1] += 1;
            }
        }
        let mut text = String::new();
        for operand in 0..self.operands() {
            if operand > 0 {
                text.push_str(" @ ");
            }
            text.extend(std::iter::repeat_n('(', opened[operand] as usize));
            text.push_str(names.get(operand).map_or("?", AsRef::as_ref));
            text.extend(std::iter::repeat_n(')', closed[operand] as usize));
        }
        text
    }
}

/// Scalar multiplications of one product of a chain, `u128::MAX` if that many or more.
pub(super) fn product_cost(dims: &[u64], start: usize, middle: usize, end: usize) -> u128 {
    // A zero size makes the product empty, however large the other two are.
    let [a, b, c] = [start, middle, end].map(|vertex| u128::from(dims[vertex]));
    if c == 0 { 0 } else { (a * b).saturating_mul(c) }
}

/// Iterator over the products of a tree; see [`Parenthesisation::products`].
#[derive(Debug, Clone)]
pub struct Products<'a> {
    closes: &'a [u32],
    operand: usize,
    left_here: u32,
    starts: Vec<usize>,
}

impl Iterator for Products<'_> {
    type Item = Product;

    fn next(&mut self) -> Option<Product> {
        while self.left_here == 0 {
            self.left_here = *self.closes.get(self.operand)?;
            self.starts.push(self.operand);
            self.operand += 1;
        }
        self.left_here -= 1;
        let middle = self.starts.pop()?;
        let start = *self.starts.last()?;
        Some(Product {
            start,
            middle,
            end: self.operand,
        })
    }
}

/// Every order of a number of operands, each once, from left-to-right's mirror image to
/// left-to-right; there are [`count_orders`](super::chain::count_orders) of them.
#[derive(Debug, Clone)]
pub struct Orders {
    next: Option<Parenthesisation>,
}

impl Orders {
    /// All orders of `operands` operands; for none, those of one.
    pub fn of(operands: usize) -> Orders {
        Orders {
            next: Some(Parenthesisation::right_to_left(operands)),
        }
    }
}

impl Iterator for Orders {
    type Item = Parenthesisation;

    fn next(&mut self) -> Option<Parenthesisation> {
        let current = self.next.take()?;
        self.next = successor(&current.closes).map(|closes| Parenthesisation { closes });
        Some(current)
    }
}

/// The lexicographically next programme: the last operand but one that can close one product more
/// does so, those between close none, and the last one closes the rest.
fn successor(closes: &[u32]) -> Option<Vec<u32>> {
    let last = closes.len() - 1;
    let mut before: usize = closes[..last].iter().map(|&here| here as usize).sum();
    for operand in (0..last).rev() {
        if before < operand {
            let mut next = closes.to_vec();
            next[operand] += 1;
            next[operand + 1..last].fill(0);
            next[last] = u32::try_from(last - before - 1).ok()?;
            return Some(next);
        }
        before -= closes[operand] as usize;
    }
    None
}
