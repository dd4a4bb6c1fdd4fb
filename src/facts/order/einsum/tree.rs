//! Contraction trees: which two things are contracted, until one is left.

/// A full binary tree over operands. Nodes below `leaves` are operands, the others contractions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub leaves: usize,
    /// `children[i]` are those of node `leaves + i`. In no particular order.
    pub children: Vec<[usize; 2]>,
    pub root: usize,
}

impl Tree {
    /// `((0, 1), 2), …`
    pub fn left_to_right(leaves: usize) -> Tree {
        let children = (1..leaves)
            .map(|leaf| [if leaf == 1 { 0 } else { leaves + leaf - 2 }, leaf])
            .collect();
        Tree {
            leaves,
            children,
            root: if leaves > 1 { 2 * leaves - 2 } else { 0 },
        }
    }

    pub fn children_of(&self, node: usize) -> Option<[usize; 2]> {
        self.children.get(node.checked_sub(self.leaves)?).copied()
    }

    /// The contractions, each after those it needs. O(n).
    pub fn postorder(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.children.len());
        let mut pending = vec![self.root];
        while let Some(node) = pending.pop() {
            if let Some(children) = self.children_of(node) {
                order.push(node);
                pending.extend(children);
            }
        }
        order.reverse();
        order
    }

    /// The tree as opt_einsum, NumPy and PyTorch write paths: each step takes two things out of
    /// the list of what there is, by position, and appends their product. O(n²).
    pub fn steps(&self) -> Vec<(usize, usize)> {
        let mut list: Vec<usize> = (0..self.leaves).collect();
        let mut steps = Vec::with_capacity(self.children.len());
        for node in self.postorder() {
            let places = self.children_of(node).map(|children| {
                children.map(|child| list.iter().position(|&other| other == child))
            });
            if let Some([Some(a), Some(b)]) = places {
                let (low, high) = (a.min(b), a.max(b));
                list.remove(high);
                list.remove(low);
                list.push(node);
                steps.push((low, high));
            }
        }
        steps
    }

    /// Every tree over this many operands, each once: (2n - 3)!! of them.
    pub fn every(leaves: usize) -> Vec<Tree> {
        let mut trees = vec![Tree {
            leaves,
            children: Vec::new(),
            root: 0,
        }];
        for leaf in 1..leaves {
            let node = leaves + leaf - 1;
            let mut larger = Vec::with_capacity(trees.len() * (2 * leaf - 1));
            for tree in &trees {
                // The new leaf goes beside any node there is.
                for beside in (0..leaf).chain(leaves..node) {
                    let mut next = tree.clone();
                    let parent = next
                        .children
                        .iter_mut()
                        .flatten()
                        .find(|child| **child == beside);
                    match parent {
                        Some(child) => *child = node,
                        None => next.root = node,
                    }
                    next.children.push([beside, leaf]);
                    larger.push(next);
                }
            }
            trees = larger;
        }
        trees
    }
}
