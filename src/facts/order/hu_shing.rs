//! Hu and Shing's algorithm: the optimal triangulation of a convex polygon in O(n log n).
//!
//! A chain of n matrices is a polygon of n + 1 vertices that carry the sizes, an order of
//! multiplication is a triangulation of it, and a product costs the product of its triangle's
//! three vertices. Not for zero sizes: weights must be positive.
//!
//! In outline, with the lightest vertex V₁ put first:
//!
//! 1. One sweep finds the *potential horizontal arcs*, at most n − 3, none of which cross. An arc
//!    is horizontal in the optimal triangulation if what lies above it weighs more than both its
//!    ends. The sweep emits arcs in postorder of the tree that they form.
//! 2. A region between an arc and those directly above it is triangulated as a *fan* from its
//!    lightest vertex. Its cost over the sum of the sides that it hides is its *support weight*.
//!    Going down the tree, an arc whose support weight is no less than the weight of the vertex
//!    below gives way, and one that is no better than the arc beneath it is *condensed* with that,
//!    so that the two stand or fall together. The live arcs above a place are kept in a mergeable
//!    heap by support weight.
//! 3. What is live at the root, and all that is condensed with it, is the optimal partition.
//!
//! Weights are ordered by size and then by place, so that no two are equal.

use std::cmp::Ordering;

use super::tree::Parenthesisation;

/// No arc.
const NONE: u32 = u32::MAX;

/// The optimal cost for positive `dims`, and an order that has it.
///
/// `None` where the sums do not fit in 128 bits, at which point the cost is at least 2¹²⁷.
/// O(n log n) time, amortised over the skew heap, and O(n) memory; nothing recurses.
pub(super) fn solve(dims: &[u64]) -> Option<(u128, Parenthesisation)> {
    debug_assert!(dims.len() >= 2 && dims.iter().all(|&size| size > 0));
    let first = (0..dims.len()).min_by_key(|&vertex| dims[vertex])?;
    let weights: Vec<u64> = [&dims[first..], &dims[..first]].concat();
    let sides = (0..weights.len()).try_fold(0u128, |sum, vertex| {
        let next = weights[(vertex + 1) % weights.len()];
        sum.checked_add(u128::from(weights[vertex]) * u128::from(next))
    })?;
    // With all sides below 2⁶⁴ every product of a weight and a measure fits in 128 bits.
    let (cost, diagonals) = if sides < 1 << 64 {
        Polygon::<u128>::new(&weights).solve(sides)
    } else {
        Polygon::<Wide>::new(&weights).solve(sides)
    };
    let mut closes = vec![0u32; dims.len() - 1];
    if dims.len() > 2 {
        closes[dims.len() - 2] = 1;
    }
    for ends in diagonals {
        let [a, b] = ends.map(|vertex| (vertex as usize + first) % dims.len());
        closes[a.max(b) - 1] += 1;
    }
    Some((cost?, Parenthesisation::from_closes(closes)?))
}

/// Costs: sums of products of a weight and a measure, where a measure is a sum of products of two
/// weights.
trait Cost: Copy {
    const ZERO: Self;
    fn product(weight: u64, measure: u128) -> Self;
    fn plus(self, other: Self) -> Self;
    /// Whole part and remainder of `self / measure`. The quotient must fit in 64 bits, as every
    /// support weight does: it is at most the greatest weight.
    fn divide(self, measure: u128) -> (u64, u128);
    /// Compares the proper fractions `a.0 / a.1` and `b.0 / b.1`.
    fn compare(a: (u128, u128), b: (u128, u128)) -> Ordering;
    fn narrow(self) -> Option<u128>;
}

/// For polygons whose sides add up to less than 2⁶⁴.
impl Cost for u128 {
    const ZERO: u128 = 0;

    fn product(weight: u64, measure: u128) -> u128 {
        u128::from(weight) * measure
    }

    fn plus(self, other: u128) -> u128 {
        self + other
    }

    fn divide(self, measure: u128) -> (u64, u128) {
        let whole = self / measure;
        (whole as u64, self - whole * measure)
    }

    fn compare(a: (u128, u128), b: (u128, u128)) -> Ordering {
        (a.0 * b.1).cmp(&(b.0 * a.1))
    }

    fn narrow(self) -> Option<u128> {
        Some(self)
    }
}

/// An integer of 256 bits, high half first: for polygons whose sides add up to less than 2¹²⁸.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wide(u128, u128);

impl Wide {
    fn times(a: u128, b: u128) -> Wide {
        let (low, high) = a.carrying_mul(b, 0);
        Wide(high, low)
    }
}

impl Cost for Wide {
    const ZERO: Wide = Wide(0, 0);

    fn product(weight: u64, measure: u128) -> Wide {
        Wide::times(u128::from(weight), measure)
    }

    fn plus(self, other: Wide) -> Wide {
        // No cost here reaches 2¹⁹⁷: at most 2³² products of a weight and a measure are added.
        let (low, carry) = self.1.overflowing_add(other.1);
        Wide(self.0 + other.0 + u128::from(carry), low)
    }

    fn divide(self, measure: u128) -> (u64, u128) {
        let mut whole = 0u64;
        for bit in (0..u64::BITS).rev() {
            let more = whole | 1 << bit;
            if Wide::product(more, measure) <= self {
                whole = more;
            }
        }
        let remainder = self.1.wrapping_sub(Wide::product(whole, measure).1);
        (whole, remainder)
    }

    fn compare(a: (u128, u128), b: (u128, u128)) -> Ordering {
        Wide::times(a.0, b.1).cmp(&Wide::times(b.0, a.1))
    }

    fn narrow(self) -> Option<u128> {
        (self.0 == 0).then_some(self.1)
    }
}

/// A potential horizontal arc, or several condensed into the lowest of them.
struct Arc<C> {
    /// Its ends, `left < right`; V₁ is no end.
    left: u32,
    right: u32,
    /// The sides of the polygon above the arc, less the arc itself.
    base: u128,
    /// Support weight: `cost / measure = whole + remainder / measure`.
    cost: C,
    measure: u128,
    whole: u64,
    remainder: u128,
    /// Children in the skew heap.
    heap: [u32; 2],
    /// The live arc that shares the left end and lies directly above; the same for the right end.
    above_left: u32,
    above_right: u32,
    /// The arcs condensed into this one, a list through `next_condensed`.
    condensed: u32,
    next_condensed: u32,
}

struct Polygon<'a, C> {
    weights: &'a [u64],
    /// `sums[i]`: the sides between vertices 0 and i, added up.
    sums: Vec<u128>,
    arcs: Vec<Arc<C>>,
    /// The lowest live arc with this left end, and with this right end.
    lowest_left: Vec<u32>,
    lowest_right: Vec<u32>,
}

impl<'a, C: Cost> Polygon<'a, C> {
    fn new(weights: &'a [u64]) -> Self {
        let mut sums = vec![0u128; weights.len()];
        for vertex in 1..weights.len() {
            let side = u128::from(weights[vertex - 1]) * u128::from(weights[vertex]);
            sums[vertex] = sums[vertex - 1] + side;
        }
        Polygon {
            weights,
            sums,
            arcs: Vec::new(),
            lowest_left: vec![NONE; weights.len()],
            lowest_right: vec![NONE; weights.len()],
        }
    }

    /// The least cost, if it fits, and the diagonals of a triangulation that has it.
    fn solve(mut self, sides: u128) -> (Option<u128>, Vec<[u32; 2]>) {
        if self.weights.len() < 3 {
            return (Some(0), Vec::new());
        }
        self.sweep();
        // Subtrees whose parent has not come yet, from left to right: arc and heap of live arcs.
        let mut waiting: Vec<(u32, u32)> = Vec::new();
        for arc in 0..self.arcs.len() as u32 {
            let heap = self.settle(arc, &mut waiting);
            waiting.push((arc, heap));
        }
        let (root, mut heap) = self.settle_root(sides, &waiting);

        let mut total = root;
        let mut present = vec![false; self.arcs.len()];
        let mut pending = Vec::new();
        let mut live = Vec::new();
        while heap != NONE || !live.is_empty() {
            if heap == NONE {
                heap = live.pop().unwrap_or(NONE);
                continue;
            }
            let arc = &self.arcs[heap as usize];
            total = total.plus(arc.cost);
            pending.push(heap);
            live.push(arc.heap[1]);
            heap = arc.heap[0];
        }
        while let Some(arc) = pending.pop() {
            present[arc as usize] = true;
            let mut inner = self.arcs[arc as usize].condensed;
            while inner != NONE {
                pending.push(inner);
                inner = self.arcs[inner as usize].next_condensed;
            }
        }
        (total.narrow(), self.fans(&present))
    }

    /// Finds the potential horizontal arcs, those above before those below.
    fn sweep(&mut self) {
        let mut rising: Vec<u32> = Vec::new();
        for vertex in 0..self.weights.len() as u32 {
            while let [.., left, top] = rising[..] {
                if self.weights[top as usize] <= self.weights[vertex as usize] {
                    break;
                }
                rising.pop();
                // Diagonals from V₁ are those of the fan at the root and no horizontal arcs.
                if left != 0 {
                    let [l, r] = [left, vertex].map(|end| end as usize);
                    self.arcs.push(Arc {
                        left,
                        right: vertex,
                        base: self.sums[r] - self.sums[l] - self.product(l, r),
                        cost: C::ZERO,
                        measure: 0,
                        whole: 0,
                        remainder: 0,
                        heap: [NONE; 2],
                        above_left: NONE,
                        above_right: NONE,
                        condensed: NONE,
                        next_condensed: NONE,
                    });
                }
            }
            rising.push(vertex);
        }
    }

    /// Decides what becomes of the arcs above `arc`, now that it is reached, and returns the heap
    /// of what is live from `arc` upwards.
    fn settle(&mut self, arc: u32, waiting: &mut Vec<(u32, u32)>) -> u32 {
        let Arc {
            left, right, base, ..
        } = self.arcs[arc as usize];
        let [l, r] = [left as usize, right as usize];
        let mut measure = base;
        let mut heap = NONE;
        while let Some(&(child, live)) = waiting.last() {
            if self.arcs[child as usize].left < left {
                break;
            }
            waiting.pop();
            measure -= self.arcs[child as usize].base;
            heap = self.merge(heap, live);
        }
        // The lighter end, of equals the left one.
        let lowest = self.weights[l].min(self.weights[r]);
        while heap != NONE && self.arcs[heap as usize].whole >= lowest {
            measure += self.arcs[heap as usize].measure;
            heap = self.pop(heap).1;
        }
        // The fan from the lighter end hides every side of the region but the two at that end, of
        // which one is the arc itself, already left out of the measure.
        let beside = if self.weights[l] <= self.weights[r] {
            let above = self.lowest_left[l];
            self.product(
                l,
                self.arc(above).map_or(l + 1, |above| above.right as usize),
            )
        } else {
            let above = self.lowest_right[r];
            self.product(
                r,
                self.arc(above).map_or(r - 1, |above| above.left as usize),
            )
        };
        let cost = C::product(lowest, measure + self.product(l, r) - beside);
        self.weigh(arc, cost, measure);
        while heap != NONE && self.compare(arc, heap).is_le() {
            let (top, rest) = self.pop(heap);
            let (cost, measure) = (
                self.arcs[arc as usize].cost,
                self.arcs[arc as usize].measure,
            );
            let Arc {
                cost: more,
                measure: wider,
                ..
            } = self.arcs[top as usize];
            self.weigh(arc, cost.plus(more), measure + wider);
            self.arcs[top as usize].next_condensed = self.arcs[arc as usize].condensed;
            self.arcs[arc as usize].condensed = top;
            heap = rest;
        }
        self.arcs[arc as usize].above_left = self.lowest_left[l];
        self.arcs[arc as usize].above_right = self.lowest_right[r];
        self.lowest_left[l] = arc;
        self.lowest_right[r] = arc;
        self.merge(heap, arc)
    }

    /// As `settle` for the region at V₁: the cost of its fan, and the heap of what is live.
    fn settle_root(&mut self, sides: u128, waiting: &[(u32, u32)]) -> (C, u32) {
        let mut measure = sides;
        let mut heap = NONE;
        for &(child, live) in waiting {
            measure -= self.arcs[child as usize].base;
            heap = self.merge(heap, live);
        }
        while heap != NONE && self.arcs[heap as usize].whole >= self.weights[0] {
            measure += self.arcs[heap as usize].measure;
            heap = self.pop(heap).1;
        }
        let beside = self.product(0, 1) + self.product(0, self.weights.len() - 1);
        (C::product(self.weights[0], measure - beside), heap)
    }

    /// The diagonals of the partition into the arcs that are `present` and a fan in each region
    /// between them.
    fn fans(&self, present: &[bool]) -> Vec<[u32; 2]> {
        let mut diagonals = Vec::with_capacity(self.weights.len());
        let mut waiting: Vec<[u32; 2]> = Vec::new();
        let mut corners: Vec<u32> = Vec::new();
        let kept = self
            .arcs
            .iter()
            .zip(present)
            .filter(|&(_, &present)| present);
        for (arc, _) in kept {
            let first = waiting.partition_point(|&[left, _]| left < arc.left);
            region(&mut corners, arc.left, arc.right, &waiting[first..]);
            waiting.truncate(first);
            waiting.push([arc.left, arc.right]);
            diagonals.push([arc.left, arc.right]);
            let inner = corners.len() - 1;
            if self.weights[arc.left as usize] <= self.weights[arc.right as usize] {
                diagonals.extend(corners[2..inner].iter().map(|&corner| [arc.left, corner]));
            } else {
                diagonals.extend(
                    corners[1..inner - 1]
                        .iter()
                        .map(|&corner| [corner, arc.right]),
                );
            }
        }
        region(&mut corners, 0, self.weights.len() as u32 - 1, &waiting);
        diagonals.extend(
            corners[2..corners.len() - 1]
                .iter()
                .map(|&corner| [0, corner]),
        );
        diagonals
    }

    fn arc(&self, arc: u32) -> Option<&Arc<C>> {
        (arc != NONE).then(|| &self.arcs[arc as usize])
    }

    fn product(&self, a: usize, b: usize) -> u128 {
        u128::from(self.weights[a]) * u128::from(self.weights[b])
    }

    fn weigh(&mut self, arc: u32, cost: C, measure: u128) {
        let arc = &mut self.arcs[arc as usize];
        (arc.cost, arc.measure) = (cost, measure);
        (arc.whole, arc.remainder) = cost.divide(measure);
    }

    /// Compares support weights.
    fn compare(&self, a: u32, b: u32) -> Ordering {
        let [a, b] = [&self.arcs[a as usize], &self.arcs[b as usize]];
        a.whole
            .cmp(&b.whole)
            .then_with(|| C::compare((a.remainder, a.measure), (b.remainder, b.measure)))
    }

    /// Takes the arc of greatest support weight out of the heap; it is no longer live.
    fn pop(&mut self, heap: u32) -> (u32, u32) {
        let Arc {
            left,
            right,
            above_left,
            above_right,
            heap: [a, b],
            ..
        } = self.arcs[heap as usize];
        self.lowest_left[left as usize] = above_left;
        self.lowest_right[right as usize] = above_right;
        self.arcs[heap as usize].heap = [NONE; 2];
        (heap, self.merge(a, b))
    }

    /// Merges two skew heaps from the top down: along the path the children change sides.
    fn merge(&mut self, mut a: u32, mut b: u32) -> u32 {
        let mut top = NONE;
        let mut last = NONE;
        loop {
            let winner = match (a, b) {
                (NONE, rest) | (rest, NONE) => rest,
                _ if self.compare(a, b).is_ge() => a,
                _ => b,
            };
            if last == NONE {
                top = winner;
            } else {
                self.arcs[last as usize].heap[0] = winner;
            }
            if a == NONE || b == NONE {
                return top;
            }
            let other = if winner == a { b } else { a };
            let [left, right] = self.arcs[winner as usize].heap;
            self.arcs[winner as usize].heap = [NONE, left];
            last = winner;
            (a, b) = (right, other);
        }
    }
}

/// The corners of the region between the arc from `left` to `right` and the `arcs` above it.
fn region(corners: &mut Vec<u32>, left: u32, right: u32, arcs: &[[u32; 2]]) {
    corners.clear();
    corners.push(left);
    let mut arcs = arcs.iter().peekable();
    let mut corner = left;
    while corner < right {
        corner = match arcs.next_if(|&&[start, _]| start == corner) {
            Some(&[_, end]) => end,
            None => corner + 1,
        };
        corners.push(corner);
    }
}
