//! A hash index over the keys of one large table.

use std::hash::{DefaultHasher, Hasher};

use super::{EntryId, NONE};

/// Tables with more keys than this are indexed; scanning a smaller one is faster.
pub(super) const MAX_SCANNED: u32 = 16;

/// Open addressing with linear probing over entry numbers; the keys stay with the entries.
///
/// A standard map would have to own a copy of every key.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyIndex {
    /// A power of two of slots, at most half of them taken.
    slots: Vec<u32>,
    len: usize,
}

impl KeyIndex {
    /// The entry with that hash for which `is_key` holds.
    pub(super) fn find(&self, hash: u64, is_key: impl Fn(EntryId) -> bool) -> Option<EntryId> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != NONE {
            let entry = EntryId(self.slots[slot]);
            if is_key(entry) {
                return Some(entry);
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    /// Adds an entry whose key is not in the index. `hash_of` is asked again when it grows.
    pub(super) fn insert(&mut self, entry: EntryId, hash_of: impl Fn(EntryId) -> u64) {
        if 2 * (self.len + 1) > self.slots.len() {
            let size = (4 * (self.len + 1)).next_power_of_two();
            let old = std::mem::replace(&mut self.slots, vec![NONE; size]);
            for id in old.into_iter().filter(|&id| id != NONE) {
                self.place(EntryId(id), hash_of(EntryId(id)));
            }
        }
        self.place(entry, hash_of(entry));
        self.len += 1;
    }

    fn place(&mut self, entry: EntryId, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != NONE {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = entry.0;
    }

    /// The same index after all entry numbers have grown by `by`.
    pub(super) fn shift(&mut self, by: u32) {
        for slot in self.slots.iter_mut().filter(|slot| **slot != NONE) {
            *slot += by;
        }
    }
}

/// The hash of a key. SipHash, so that a hostile file cannot easily make all keys collide.
pub(super) fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key.as_bytes());
    hasher.finish()
}
