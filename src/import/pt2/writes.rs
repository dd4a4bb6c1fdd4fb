//! Writing in place: what the names of a storage stand for after part of it was written.

use super::flatten::Scoped;
use super::lower::Lowering;
use crate::graph::TensorId;
use crate::ops::find;

impl<'a> Lowering<'a, '_> {
    /// Lets the names of a storage that was written to stand for what it holds now.
    pub(super) fn overwrite(&mut self, written: Scoped<'a>, at: usize, new: TensorId) {
        let Some(&old) = self.tensors.get(&written) else {
            return;
        };
        let root = self.roots.get(&old).copied().unwrap_or(old);
        let names = self.families.remove(&root).unwrap_or_default();
        let mut kept = Vec::new();
        for name in names {
            if self.last_use.get(&name).is_none_or(|&last| last <= at) {
                continue;
            }
            let Some(&stale) = self.tensors.get(&name) else {
                continue;
            };
            let fresh = match stale == old || stale == new {
                true => new,
                false => self.overwritten(stale, new),
            };
            self.tensors.insert(name, fresh);
            self.roots.insert(fresh, root);
            kept.push(name);
        }
        self.roots.insert(new, root);
        self.tensors.insert(written, new);
        self.families.entry(root).or_default().extend(kept);
    }

    fn overwritten(&mut self, stale: TensorId, value: TensorId) -> TensorId {
        find("overwritten")
            .and_then(|op| {
                let operands = [stale, value];
                self.builder
                    .apply(op, &operands, Default::default(), None, 1)
                    .ok()
            })
            .map_or_else(|| self.builder.unknown(), |made| made[0])
    }
}
