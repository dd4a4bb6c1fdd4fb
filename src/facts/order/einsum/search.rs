//! The search for the best contraction path.
//!
//! Up to [`EXACT_OPERANDS`] operands all orders are weighed against each other, outer products
//! included, by a dynamic programme over subsets. Longer einsums that are matrix chains are
//! ordered exactly as such. For the rest, finding the best order is NP-hard: greedy searches, from
//! a fixed seed, give a tree whose parts are then solved exactly until that gains nothing. The
//! work is bounded by counts, never by a clock, so that the same einsum always gets the same
//! answer; a release build stays within some 50 ms.

use super::super::{OrderError, chain};
use super::network::{Cost, Indices, Network, Sizes};
use super::path::ContractionPath;
use super::tree::Tree;

/// Most operands for which all orders of any einsum are weighed: 3¹⁴ / 2 pairs of subsets.
pub const EXACT_OPERANDS: usize = 14;
/// Operands of the parts of a larger tree that are solved exactly.
const PART: usize = 8;
/// Most parts solved for one tree.
const PARTS: usize = 300;

impl Network {
    /// The order that takes the fewest multiplications, of those the fewest FLOPs; `proved` says
    /// whether it is that, or merely the best that was found. O(3ⁿ) for n ≤ [`EXACT_OPERANDS`],
    /// polynomial beyond.
    ///
    /// # Errors
    /// If the cost does not fit in 128 bits.
    pub fn optimal(&self) -> Result<ContractionPath, OrderError> {
        let (inputs, _) = self.summed_inputs();
        let (tree, proved) = if inputs.len() <= EXACT_OPERANDS {
            (exact(&inputs, self.output, &self.sizes), true)
        } else if let Some(tree) = as_chain(&inputs, self.output, &self.sizes) {
            // An outer product does not help a chain; the tests hold this against all orders.
            (tree, true)
        } else {
            (search(&inputs, self.output, &self.sizes), false)
        };
        let path = self.path(&tree.steps())?;
        // Where no order can be better than the one as written, say so by keeping it.
        let written = self.left_to_right();
        let cost = (path.multiplications, path.flops);
        match written {
            Ok(written) if (written.multiplications, written.flops) <= cost => {
                Ok(ContractionPath { proved, ..written })
            }
            _ => Ok(ContractionPath { proved, ..path }),
        }
    }
}

/// The best tree over all subsets, by dynamic programming: O(3ⁿ) time, O(2ⁿ) memory. Among equals
/// it takes operands in the order in which they come.
pub(super) fn exact(inputs: &[Indices], output: Indices, sizes: &Sizes) -> Tree {
    let count = inputs.len();
    let everything = (1usize << count) - 1;
    let mut joined = vec![0 as Indices; everything + 1];
    for set in 1..=everything {
        let lowest = set.trailing_zeros() as usize;
        joined[set] = joined[set & (set - 1)] | inputs[lowest];
    }
    let kept: Vec<Indices> = (0..=everything)
        .map(|set| joined[set] & (output | joined[everything & !set]))
        .collect();
    let mut best = vec![(Cost::default(), 0usize); everything + 1];
    for set in 1..=everything {
        let last = 1 << set.ilog2();
        let others = set & !last;
        if others == 0 {
            continue;
        }
        let mut chosen = None;
        // Subsets of the others, from none upwards: the right factor holds the last operand.
        let mut with_last = 0usize;
        loop {
            let right = last | with_last;
            let left = set & !right;
            let factors = best[left].0.plus(best[right].0);
            let open = chosen.is_none_or(|(cost, _)| factors < cost);
            if open {
                let here = sizes.contraction(kept[left], kept[right], kept[set]);
                let cost = factors.plus(here);
                if chosen.is_none_or(|(least, _)| cost < least) {
                    chosen = Some((cost, right));
                }
            }
            with_last = with_last.wrapping_sub(others) & others;
            if with_last == others {
                break;
            }
        }
        best[set] = chosen.unwrap_or_default();
    }
    let mut tree = Tree {
        leaves: count,
        children: Vec::with_capacity(count),
        root: 0,
    };
    // Sets whose node is known, waiting for their children's.
    let mut pending = vec![(everything, None::<(usize, usize)>)];
    while let Some((set, parent)) = pending.pop() {
        let node = if set.is_power_of_two() {
            set.trailing_zeros() as usize
        } else {
            let node = count + tree.children.len();
            tree.children.push([0, 0]);
            let right = best[set].1;
            pending.push((right, Some((node, 1))));
            pending.push((set & !right, Some((node, 0))));
            node
        };
        match parent {
            Some((above, side)) => tree.children[above - count][side] = node,
            None => tree.root = node,
        }
    }
    tree
}

/// The best tree of an einsum that is a matrix chain, with indices that all operands and the
/// output share as batch dimensions. `None` if it is none. O(n² + indices · n).
pub(super) fn as_chain(inputs: &[Indices], output: Indices, sizes: &Sizes) -> Option<Tree> {
    let count = inputs.len();
    let batch = inputs.iter().fold(output, |set, indices| set & indices);
    // What each operand shares with no other, and with which others it shares the rest.
    let mut open = vec![1u128; count];
    let mut bonds: Vec<Vec<(usize, u128)>> = vec![Vec::new(); count];
    for index in (0..sizes.len()).filter(|index| batch >> index & 1 == 0) {
        let size = u128::from(sizes.size(index));
        let mut holders = (0..count).filter(|&operand| inputs[operand] >> index & 1 == 1);
        let in_output = output >> index & 1 == 1;
        match (holders.next(), holders.next(), holders.next()) {
            (None, ..) => {}
            (Some(only), None, _) if in_output => open[only] = open[only].checked_mul(size)?,
            (Some(a), Some(b), None) if !in_output => {
                for (here, there) in [(a, b), (b, a)] {
                    match bonds[here].iter_mut().find(|bond| bond.0 == there) {
                        Some(bond) => bond.1 = bond.1.checked_mul(size)?,
                        None => bonds[here].push((there, size)),
                    }
                }
            }
            _ => return None,
        }
    }
    let ends: Vec<usize> = (0..count)
        .filter(|&operand| bonds[operand].len() == 1)
        .collect();
    let inner_closed = |operand: usize| bonds[operand].len() == 2 && open[operand] == 1;
    if ends.len() != 2 || (0..count).any(|it| !ends.contains(&it) && !inner_closed(it)) {
        return None;
    }
    let mut order = vec![ends[0]];
    let mut dims = vec![u64::try_from(open[ends[0]]).ok()?];
    let mut before = usize::MAX;
    while let Some(&here) = order.last()
        && let Some(&(next, size)) = bonds[here].iter().find(|&&(other, _)| other != before)
    {
        before = here;
        order.push(next);
        dims.push(u64::try_from(size).ok()?);
    }
    if order.len() != count {
        return None;
    }
    dims.push(u64::try_from(open[ends[1]]).ok()?);
    let best = chain::optimal_order(&dims)
        .ok()
        .filter(|best| best.proved)?;
    let mut stack: Vec<(usize, usize)> = Vec::new();
    let mut tree = Tree {
        leaves: count,
        children: Vec::with_capacity(count),
        root: 0,
    };
    // Nodes of what is done, by the operand that it starts with.
    for product in best.tree.products() {
        let mut node_of = |start: usize| match stack.last() {
            Some(&(first, node)) if first == start => {
                stack.pop();
                node
            }
            _ => order[start],
        };
        let right = node_of(product.middle);
        let left = node_of(product.start);
        tree.root = count + tree.children.len();
        tree.children.push([left, right]);
        stack.push((product.start, tree.root));
    }
    Some(tree)
}

/// A good tree for an einsum that is too large to be solved: the best of a number of greedy
/// searches, improved part by part.
pub(super) fn search(inputs: &[Indices], output: Indices, sizes: &Sizes) -> Tree {
    let count = inputs.len();
    // A greedy search takes O(n³) simple steps.
    let trials = (10_000_000 / count.pow(3)).clamp(8, 128);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut best = (
        total(&Tree::left_to_right(count), inputs, output, sizes),
        Tree::left_to_right(count),
    );
    for trial in 0..trials {
        let weight = [1.0, 0.0, 0.5, 2.0][trial % 4];
        let temperature = if trial < 4 {
            0.0
        } else {
            0.05 * f64::from(1 << (trial / 4 % 6))
        };
        let tree = greedy(inputs, output, sizes, weight, temperature, &mut random);
        let cost = total(&tree, inputs, output, sizes);
        if cost < best.0 {
            best = (cost, tree);
        }
    }
    refine(best.1, inputs, output, sizes)
}

/// Indices of every node, and the cost of every contraction.
fn weigh(
    tree: &Tree,
    inputs: &[Indices],
    output: Indices,
    sizes: &Sizes,
) -> (Vec<Indices>, Vec<Cost>) {
    let count = inputs.len();
    let order = tree.postorder();
    // An index is summed at the node above which nothing needs it: when all its holders are in.
    let holders: Vec<u32> = (0..sizes.len())
        .map(|index| inputs.iter().map(|set| (set >> index & 1) as u32).sum())
        .collect();
    let mut indices = inputs.to_vec();
    indices.resize(count + tree.children.len(), 0);
    let mut costs = vec![Cost::default(); tree.children.len()];
    let mut inside: Vec<Vec<u32>> = inputs
        .iter()
        .map(|set| {
            (0..sizes.len())
                .map(|index| (set >> index & 1) as u32)
                .collect()
        })
        .collect();
    inside.resize(count + tree.children.len(), Vec::new());
    for node in order {
        let Some([a, b]) = tree.children_of(node) else {
            continue;
        };
        let seen: Vec<u32> = inside[a]
            .iter()
            .zip(&inside[b])
            .map(|(x, y)| x + y)
            .collect();
        let joint = indices[a] | indices[b];
        let done = (0..sizes.len())
            .filter(|&index| seen[index] == holders[index])
            .fold(0, |set: Indices, index| set | 1 << index);
        indices[node] = joint & (output | !done);
        costs[node - count] = sizes.contraction(indices[a], indices[b], indices[node]);
        inside[node] = seen;
    }
    (indices, costs)
}

pub(super) fn total(tree: &Tree, inputs: &[Indices], output: Indices, sizes: &Sizes) -> Cost {
    let (_, costs) = weigh(tree, inputs, output, sizes);
    costs.into_iter().fold(Cost::default(), Cost::plus)
}

/// Contracts, again and again, the pair that shrinks what there is the most; with a temperature,
/// not always. Pairs that share no index come last. O(n³) comparisons, O(n²) products.
fn greedy(
    inputs: &[Indices],
    output: Indices,
    sizes: &Sizes,
    weight: f64,
    temperature: f64,
    random: &mut Random,
) -> Tree {
    let count = inputs.len();
    let mut tree = Tree {
        leaves: count,
        children: Vec::with_capacity(count),
        root: 0,
    };
    let mut list: Vec<(usize, Indices)> = inputs.iter().copied().enumerate().collect();
    let mut score = |list: &[(usize, Indices)], a: usize, b: usize| -> f64 {
        let [left, right] = [list[a].1, list[b].1];
        let rest = list
            .iter()
            .enumerate()
            .filter(|&(other, _)| other != a && other != b);
        let needed = rest.fold(output, |set, (_, &(_, indices))| set | indices);
        let size = |indices| sizes.product(indices) as f64;
        let change = size((left | right) & needed) - weight * (size(left) + size(right));
        let outer = if left & right == 0 { 1e3 } else { 0.0 };
        // Sizes range over many orders of magnitude, so chance acts on their logarithm.
        outer + change.signum() * change.abs().ln_1p() + temperature * random.gumbel()
    };
    let mut scores: Vec<Vec<f64>> = (0..count)
        .map(|b| (0..b).map(|a| score(&list, a, b)).collect())
        .collect();
    while list.len() > 1 {
        let (mut low, mut high, mut least) = (0, 1, f64::INFINITY);
        for (b, row) in scores.iter().enumerate() {
            for (a, &value) in row.iter().enumerate() {
                if value < least {
                    (low, high, least) = (a, b, value);
                }
            }
        }
        let [(right, q), (left, p)] = [list.remove(high), list.remove(low)];
        let needed = list.iter().fold(output, |set, &(_, indices)| set | indices);
        tree.root = count + tree.children.len();
        tree.children.push([left, right]);
        list.push((tree.root, (p | q) & needed));
        scores.remove(high);
        scores.remove(low);
        for row in &mut scores {
            for gone in [high, low] {
                if gone < row.len() {
                    row.remove(gone);
                }
            }
        }
        let last = list.len() - 1;
        scores.push((0..last).map(|a| score(&list, a, last)).collect());
    }
    tree
}

/// Takes parts of the tree, of up to [`PART`] leaves each, and solves them exactly, until no part
/// gains or [`PARTS`] have been solved.
fn refine(mut tree: Tree, inputs: &[Indices], output: Indices, sizes: &Sizes) -> Tree {
    let mut left = PARTS;
    loop {
        let mut gained = false;
        for top in tree.postorder() {
            if left == 0 {
                return tree;
            }
            left -= 1;
            gained |= improve(&mut tree, top, inputs, output, sizes);
        }
        if !gained {
            return tree;
        }
    }
}

/// Solves the part of the tree below `top` exactly; whether that gained anything.
fn improve(
    tree: &mut Tree,
    top: usize,
    inputs: &[Indices],
    output: Indices,
    sizes: &Sizes,
) -> bool {
    let count = inputs.len();
    let Some(children) = tree.children_of(top) else {
        return false;
    };
    let (indices, costs) = weigh(tree, inputs, output, sizes);
    let mut nodes = vec![top];
    let mut leaves = children.to_vec();
    while leaves.len() < PART {
        // The dearest contraction is opened first.
        let inner = leaves
            .iter()
            .enumerate()
            .filter(|&(_, &leaf)| leaf >= count);
        let Some((place, node)) = inner
            .max_by_key(|&(_, &leaf)| costs[leaf - count])
            .map(|(place, &leaf)| (place, leaf))
        else {
            break;
        };
        leaves.swap_remove(place);
        nodes.push(node);
        leaves.extend(tree.children_of(node).into_iter().flatten());
    }
    let old = nodes
        .iter()
        .fold(Cost::default(), |sum, &node| sum.plus(costs[node - count]));
    let part: Vec<Indices> = leaves.iter().map(|&leaf| indices[leaf]).collect();
    let better = exact(&part, indices[top], sizes);
    if total(&better, &part, indices[top], sizes) >= old {
        return false;
    }
    // As many contractions as before, so the nodes are used again; the top stays the top.
    let mut free = nodes[1..].iter();
    let reused: Vec<usize> = (part.len()..part.len() + better.children.len())
        .map(|node| {
            if node == better.root {
                top
            } else {
                *free.next().unwrap_or(&top)
            }
        })
        .collect();
    for (node, pair) in better.children.iter().enumerate() {
        tree.children[reused[node] - count] =
            pair.map(|child| match child.checked_sub(part.len()) {
                Some(inner) => reused[inner],
                None => leaves[child],
            });
    }
    true
}

/// A xorshift generator: chance that is the same on every run.
struct Random(u64);

impl Random {
    /// A draw from Gumbel's distribution: added to scores, the least of them is chosen as from
    /// Boltzmann's.
    fn gumbel(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let uniform = ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        (-uniform.ln()).ln()
    }
}
