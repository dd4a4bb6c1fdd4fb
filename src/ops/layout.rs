//! Where the elements of an op's first output lie in memory: in whose storage, with which strides.
//!
//! Autograd keeps storages, not tensors, and `reshape` copies what has no suitable strides; so the
//! bytes that a model saves depend on this.

use smallvec::SmallVec;

use super::Call;

/// Strides of a tensor in elements, one for each axis.
pub type Strides = SmallVec<[u64; 4]>;

/// Where an output lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// In the storage of the first operand, with these strides.
    Shared(Strides),
    /// In storage of its own, with these strides.
    Own(Strides),
}

/// The signature of an op's placement, from the strides of the operands by position (empty where
/// one is left out).
pub type Layout = fn(&Call, &[Strides]) -> Placement;

/// The strides of a contiguous (row-major) tensor; saturating. `O(rank)`.
pub fn contiguous_strides(sizes: &[u64]) -> Strides {
    let mut strides: Strides = SmallVec::from_elem(1, sizes.len());
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(sizes[axis].max(1));
    }
    strides
}

/// Whether the elements lie in row-major order without gaps; axes of size 1 do not matter.
pub fn is_contiguous(sizes: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1u64;
    for (&size, &stride) in sizes.iter().zip(strides).rev() {
        if size == 0 {
            return true;
        }
        if size != 1 {
            if stride != expected {
                return false;
            }
            expected = expected.saturating_mul(size);
        }
    }
    true
}

/// Strides of a tensor without gaps whose axes lie in the order of those of `strides`
/// (`torch.preserve_format`); axes that were expanded keep their place. `O(rank²)`.
pub fn dense_like(sizes: &[u64], strides: &[u64]) -> Strides {
    // From the innermost axis outwards: insertion sort, as PyTorch's, for the order is partial.
    let mut order: SmallVec<[usize; 4]> = SmallVec::new();
    for axis in (0..sizes.len()).rev() {
        let mut place = order.len();
        for at in (0..order.len()).rev() {
            let inner = order[at];
            let (a, b) = (strides[axis], strides[inner]);
            if a == 0 || b == 0 {
                continue;
            }
            if a < b || (a == b && sizes[axis] < sizes[inner]) {
                place = at;
            } else {
                break;
            }
        }
        order.insert(place, axis);
    }
    let mut result: Strides = SmallVec::from_elem(1, sizes.len());
    let mut stride = 1u64;
    for axis in order {
        result[axis] = stride;
        stride = stride.saturating_mul(sizes[axis].max(1));
    }
    result
}

/// The strides that show a tensor of `sizes` and `strides` in the shape `target` without a copy;
/// `None` where there are none (PyTorch's `computeStride`). `O(rank)`.
pub fn viewed(sizes: &[u64], strides: &[u64], target: &[u64]) -> Option<Strides> {
    if sizes.contains(&0) || sizes.is_empty() {
        return Some(contiguous_strides(target));
    }
    let mut result: Strides = SmallVec::from_elem(1, target.len());
    let mut left = target.len();
    let mut base = *strides.last()?;
    let (mut have, mut made) = (1u64, 1u64);
    for axis in (0..sizes.len()).rev() {
        have = have.checked_mul(sizes[axis])?;
        // A run of axes that lie without gaps ends here.
        let ends =
            axis == 0 || (sizes[axis - 1] != 1 && strides[axis - 1] != have.checked_mul(base)?);
        if !ends {
            continue;
        }
        while left > 0 && (made < have || target[left - 1] == 1) {
            left -= 1;
            result[left] = made.checked_mul(base)?;
            made = made.checked_mul(target[left])?;
        }
        if made != have {
            return None;
        }
        if axis > 0 {
            base = strides[axis - 1];
            (have, made) = (1, 1);
        }
    }
    (left == 0).then_some(result)
}

/// Row-major, in storage of its own.
pub fn contiguous(call: &Call, _: &[Strides]) -> Placement {
    Placement::Own(
        call.output()
            .map(|ty| contiguous_strides(ty.shape.sizes()))
            .unwrap_or_default(),
    )
}

/// In storage of its own, in the order of the first operand of the output's shape: what pointwise
/// ops do.
pub fn preserved(call: &Call, strides: &[Strides]) -> Placement {
    let Some(output) = call.output() else {
        return contiguous(call, strides);
    };
    let sizes = output.shape.sizes();
    let model = (0..call.arguments.len()).find_map(|position| {
        let argument = call.argument(position)?;
        let strides = strides.get(position)?;
        (argument.ty.shape == output.shape && strides.len() == sizes.len()).then_some(strides)
    });
    match model {
        Some(strides) => Placement::Own(dense_like(sizes, strides)),
        None => contiguous(call, strides),
    }
}

/// In the storage of the first operand with the same strides: `detach`.
pub fn same(_: &Call, strides: &[Strides]) -> Placement {
    Placement::Shared(strides.first().cloned().unwrap_or_default())
}

/// In the storage of the first operand, in the output's shape, if there are strides for that;
/// else a contiguous copy: `reshape`.
pub fn reshaped(call: &Call, strides: &[Strides]) -> Placement {
    let view = || {
        let target = call.output()?.shape.sizes();
        viewed(call.shape(0).ok()?.sizes(), strides.first()?, target)
    };
    view().map_or_else(|| contiguous(call, strides), Placement::Shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The offset of every element, in the order of a row-major walk.
    fn offsets(sizes: &[u64], strides: &[u64]) -> Vec<u64> {
        let mut result = vec![0];
        for (&size, &stride) in sizes.iter().zip(strides) {
            result = result
                .into_iter()
                .flat_map(|offset| (0..size).map(move |i| offset + i * stride))
                .collect();
        }
        result
    }

    /// Whether any strides show these offsets in that shape.
    fn representable(offsets: &[u64], target: &[u64]) -> bool {
        let step = contiguous_strides(target);
        let strides: Vec<u64> = target
            .iter()
            .zip(&step)
            .map(|(&size, &step)| if size == 1 { 0 } else { offsets[step as usize] })
            .collect();
        self::offsets(target, &strides) == offsets
    }

    fn factorisations() -> impl Strategy<Value = (Vec<u64>, Vec<u64>, Vec<usize>)> {
        let pool = || {
            prop::sample::select(vec![
                vec![24],
                vec![2, 12],
                vec![4, 6],
                vec![6, 4],
                vec![2, 3, 4],
                vec![3, 1, 8],
                vec![1, 24, 1],
                vec![2, 2, 2, 3],
                vec![12, 2],
                vec![8, 3],
                vec![2, 2, 6],
            ])
        };
        (
            pool(),
            pool(),
            Just((0..4).collect::<Vec<usize>>()).prop_shuffle(),
        )
    }

    proptest! {
        /// A reshape shares storage exactly where strides exist, and then shows the same elements.
        #[test]
        fn views_agree_with_enumerated_offsets((sizes, target, order) in factorisations()) {
            // Strides of a permuted tensor.
            let order: Vec<usize> = order.into_iter().filter(|&a| a < sizes.len()).collect();
            let permuted: Vec<u64> = order.iter().map(|&a| sizes[a]).collect();
            let dense = contiguous_strides(&permuted);
            let mut strides = vec![0; sizes.len()];
            for (place, &axis) in order.iter().enumerate() {
                strides[axis] = dense[place];
            }
            let elements = offsets(&sizes, &strides);
            match viewed(&sizes, &strides, &target) {
                Some(view) => prop_assert_eq!(&offsets(&target, &view), &elements),
                None => prop_assert!(!representable(&elements, &target)),
            }
            // A dense tensor preserves its own strides.
            let again = dense_like(&sizes, &strides);
            let mut used = offsets(&sizes, &again);
            used.sort_unstable();
            prop_assert_eq!(used, (0..24).collect::<Vec<_>>());
            if sizes.iter().all(|&size| size > 1) {
                prop_assert_eq!(&again[..], &strides[..]);
            }
            prop_assert_eq!(
                is_contiguous(&sizes, &strides),
                elements == (0..24).collect::<Vec<_>>()
            );
        }
    }
}
