//! What `torch.einsum` does with its operands: pairwise from left to right, each step one batched
//! matrix product (`sumproduct_pair`), and what that costs and keeps.
//!
//! With the package `opt_einsum` installed, PyTorch may take another order for three operands and
//! more; what the best order would be is a matter for others.

use smallvec::SmallVec;

use super::equation::Contraction;
use super::layout::{Placement, Strides, contiguous_strides};
use super::{Call, Saved, Work};

/// Whether these axes, given by size and stride, can be merged into one without a copy.
pub fn merges(axes: impl IntoIterator<Item = (u64, u64)>) -> bool {
    let mut previous: Option<u64> = None;
    for (size, stride) in axes {
        if size == 1 {
            continue;
        }
        if previous.is_some_and(|outer| outer != stride.saturating_mul(size)) {
            return false;
        }
        previous = Some(stride);
    }
    true
}

/// Where the elements of a tensor lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storage {
    /// In the operand at this position of the call.
    Operand(usize),
    /// In the result of this step.
    Step(usize),
}

/// A tensor with one axis for each index, of size 1 where it does not have the index.
#[derive(Debug, Clone)]
struct Spread {
    sizes: Vec<u64>,
    strides: Strides,
    storage: Storage,
    requires_grad: bool,
}

/// What a contraction costs and keeps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cost {
    /// Arithmetic of the forward pass.
    pub work: Work,
    /// Product FLOPs of the backward pass.
    pub backward: u128,
    /// What autograd keeps.
    pub saved: Saved,
    /// The strides of the result; in the storage of the first operand where it is a view of that.
    pub placement: Option<Placement>,
}

/// The role of an index in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Batch,
    Left,
    Right,
    Sum,
    Absent,
}

/// Follows the contraction of the operands from position `first` on. `O(operands · indices)`.
pub fn cost(call: &Call, contraction: &Contraction, first: usize) -> Cost {
    let mut cost = Cost::default();
    let indices = contraction.sizes.len();
    let mut tensors: Vec<Spread> = contraction
        .operands
        .iter()
        .enumerate()
        .map(|(at, axes)| spread(call, contraction, axes, first + at))
        .collect();
    // How many tensors still have each index.
    let mut holders: Vec<usize> = (0..indices)
        .map(|index| {
            tensors
                .iter()
                .filter(|tensor| tensor.sizes[index] != 1)
                .count()
        })
        .collect();
    let mut rest = tensors.drain(..);
    let Some(mut left) = rest.next() else {
        return cost;
    };
    for (step, mut right) in rest.enumerate() {
        let mut roles: SmallVec<[Role; 8]> = SmallVec::new();
        for (index, holders) in holders.iter_mut().enumerate() {
            let summed = index >= contraction.outputs;
            let role = match (left.sizes[index] != 1, right.sizes[index] != 1) {
                (true, true) => {
                    *holders -= 1;
                    if summed && *holders == 1 {
                        Role::Sum
                    } else {
                        Role::Batch
                    }
                }
                (true, false) if summed && *holders == 1 => {
                    cost.reduce(&mut left, index);
                    Role::Absent
                }
                (false, true) if summed && *holders == 1 => {
                    cost.reduce(&mut right, index);
                    Role::Absent
                }
                (true, false) => Role::Left,
                (false, true) => Role::Right,
                (false, false) => Role::Absent,
            };
            roles.push(role);
        }
        left = cost.multiply(call, &left, &right, &roles, step);
    }
    let sums_at_the_end = (contraction.outputs..indices).any(|index| left.sizes[index] != 1);
    let strides = Strides::from_slice(&left.strides[..contraction.outputs]);
    cost.placement = Some(match left.storage {
        _ if sums_at_the_end => {
            cost.work.other = cost.work.other.saturating_add(elements(&left));
            Placement::Own(contiguous_strides(
                &contraction.sizes[..contraction.outputs],
            ))
        }
        Storage::Operand(0) => Placement::Shared(strides),
        _ => Placement::Own(strides),
    });
    cost
}

/// The operand at `position`, with its axes at the places of their indices; repeated ones are its
/// diagonal.
fn spread(call: &Call, contraction: &Contraction, axes: &[usize], position: usize) -> Spread {
    let own = call
        .argument(position)
        .map_or(&[][..], |argument| argument.ty.shape.sizes());
    let own_strides = call.strides(position);
    let mut sizes = vec![1; contraction.sizes.len()];
    let mut strides = Strides::from_elem(0, contraction.sizes.len());
    for (axis, &index) in axes.iter().enumerate() {
        sizes[index] = own.get(axis).copied().unwrap_or(1);
        strides[index] += own_strides.get(axis).copied().unwrap_or(0);
    }
    Spread {
        sizes,
        strides,
        storage: Storage::Operand(position),
        requires_grad: call.requires_grad(position),
    }
}

fn elements(tensor: &Spread) -> u128 {
    tensor.sizes.iter().fold(1, |product: u128, &size| {
        product.saturating_mul(u128::from(size))
    })
}

impl Cost {
    /// Sums one index away before the product; what comes of it is a new contiguous tensor.
    fn reduce(&mut self, tensor: &mut Spread, index: usize) {
        self.work.other = self.work.other.saturating_add(elements(tensor));
        tensor.sizes[index] = 1;
        tensor.strides = contiguous_strides(&tensor.sizes);
        // A sum keeps nothing, but the product that follows may keep the sum itself.
        tensor.storage = Storage::Step(usize::MAX);
    }

    /// One step: a batched matrix product where an index is summed, else a broadcast product.
    fn multiply(
        &mut self,
        call: &Call,
        left: &Spread,
        right: &Spread,
        roles: &[Role],
        step: usize,
    ) -> Spread {
        let size = |index: usize| left.sizes[index].max(right.sizes[index]);
        let all = (0..roles.len()).fold(1u128, |product, index| {
            product.saturating_mul(u128::from(size(index)))
        });
        let sums = roles.contains(&Role::Sum);
        if sums {
            self.work.products = self.work.products.saturating_add(all.saturating_mul(2));
        } else {
            self.work.other = self.work.other.saturating_add(all);
        }
        for (kept, other, side) in [(left, right, Role::Left), (right, left, Role::Right)] {
            if sums && kept.requires_grad {
                self.backward = self.backward.saturating_add(all.saturating_mul(2));
            }
            if other.requires_grad {
                let groups = [Role::Batch, side, Role::Sum];
                let viewed = !sums
                    || groups.iter().all(|&group| {
                        let axes = (0..roles.len()).filter(|&index| roles[index] == group);
                        merges(axes.map(|index| (kept.sizes[index], kept.strides[index])))
                    });
                self.keep(call, kept, viewed);
            }
        }
        let order = [Role::Batch, Role::Left, Role::Right];
        let mut sizes = vec![1; roles.len()];
        let mut strides = Strides::from_elem(0, roles.len());
        let mut stride = 1u64;
        let axes: Vec<usize> = if sums {
            let group = |role| (0..roles.len()).filter(move |&index| roles[index] == role);
            order.into_iter().flat_map(group).collect()
        } else {
            (0..roles.len()).collect()
        };
        for &index in axes.iter().rev() {
            sizes[index] = size(index);
            strides[index] = stride;
            stride = stride.saturating_mul(size(index));
        }
        Spread {
            sizes,
            strides,
            storage: Storage::Step(step),
            requires_grad: left.requires_grad || right.requires_grad,
        }
    }

    /// Keeps a factor: the operand itself where the product sees a view of it, else a copy.
    fn keep(&mut self, call: &Call, tensor: &Spread, viewed: bool) {
        match tensor.storage {
            Storage::Operand(position) if viewed => self.saved.argument(call, position),
            _ => {
                let count = u64::try_from(elements(tensor)).unwrap_or(u64::MAX);
                let dtype = call
                    .output()
                    .map_or_else(|| call.promoted_dtype(), |ty| ty.dtype);
                self.saved.extra("factor", count, dtype);
            }
        }
    }
}
