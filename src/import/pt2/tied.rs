//! Which parameters are one tensor under several names.
//!
//! A program lists a tied weight once for every name, and lets all calls read it by the last one.
//! Where the values are stored, the file that they share says so. A program from the `meta` device
//! stores none; there a parameter counts as tied when nothing reads it, and a call inside the very
//! module that owns it reads a later parameter of another module with the same type and last
//! name instead.

use rustc_hash::{FxHashMap, FxHashSet};

use super::flatten::{Flat, Step, names};
use super::layers::innermost;
use super::schema::WeightsConfig;
use crate::tensor::TensorType;

/// A parameter of the program.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    /// The name within the program's graph.
    pub name: &'a str,
    /// The path in the module: `net.fc.weight`.
    pub path: &'a str,
    /// Shape and element type.
    pub ty: &'a TensorType,
}

impl<'a> Candidate<'a> {
    fn owner(&self) -> &'a str {
        self.path.rsplit_once('.').map_or("", |(owner, _)| owner)
    }

    fn last(&self) -> &'a str {
        self.path
            .rsplit_once('.')
            .map_or(self.path, |(_, last)| last)
    }
}

/// For each candidate, the one that it is another name of, if it is.
///
/// `O(calls + parameters²)` in the parameters that nothing reads.
pub(super) fn tied(
    candidates: &[Candidate<'_>],
    flat: &Flat<'_>,
    weights: &WeightsConfig,
) -> Vec<Option<usize>> {
    let readers = readers(candidates, flat);
    if let Some(tied) = by_storage(candidates, weights, &readers) {
        return tied;
    }
    let mut tied: Vec<Option<usize>> = vec![None; candidates.len()];
    let unread = || (0..candidates.len()).filter(|&at| readers[at].is_empty());
    let may_be = |one: usize, other: usize| {
        let (a, b) = (&candidates[one], &candidates[other]);
        !readers[other].is_empty() && a.ty == b.ty && a.last() == b.last() && a.owner() != b.owner()
    };
    for one in unread() {
        let owner = candidates[one].owner();
        let inside = |path: &&str| {
            path.strip_prefix(owner)
                .is_some_and(|rest| owner.is_empty() || rest.is_empty() || rest.starts_with('.'))
        };
        tied[one] = (one + 1..candidates.len())
            .find(|&other| may_be(one, other) && readers[other].iter().any(&inside));
    }
    // A module that is only called by another name: T5's `shared` is called as `embed_tokens`.
    let shared: FxHashSet<usize> = tied.iter().flatten().copied().collect();
    for one in unread() {
        if tied[one].is_none() {
            tied[one] = (one + 1..candidates.len())
                .find(|&other| shared.contains(&other) && may_be(one, other));
        }
    }
    tied
}

/// The paths of the modules in which each candidate is read.
fn readers<'a>(candidates: &[Candidate<'_>], flat: &Flat<'a>) -> Vec<FxHashSet<&'a str>> {
    let mut numbers: FxHashMap<(u32, &str), usize> = candidates
        .iter()
        .enumerate()
        .map(|(at, candidate)| ((0, candidate.name), at))
        .collect();
    let mut readers = vec![FxHashSet::default(); candidates.len()];
    for step in &flat.steps {
        match step {
            Step::Bind(from, to) => {
                if let Some(&at) = numbers.get(from) {
                    numbers.insert(*to, at);
                }
            }
            Step::Call(call) => {
                let path = innermost(call.node);
                for name in call.node.inputs.iter().flat_map(|input| names(&input.arg)) {
                    if let Some(&at) = numbers.get(&(call.scope, name.name.as_str())) {
                        readers[at].insert(path);
                    }
                }
            }
            _ => {}
        }
    }
    readers
}

/// By the files of their values; `None` where there are no values, or all lie in one file.
fn by_storage(
    candidates: &[Candidate<'_>],
    weights: &WeightsConfig,
    readers: &[FxHashSet<&str>],
) -> Option<Vec<Option<usize>>> {
    let files: Vec<&str> = candidates
        .iter()
        .map(|candidate| {
            let entry = weights.config.get(candidate.path)?;
            entry.is_stored().then_some(entry.path_name.as_str())
        })
        .collect::<Option<_>>()?;
    if files.windows(2).all(|pair| pair[0] == pair[1]) {
        return None;
    }
    let mut by_file: FxHashMap<&str, Vec<usize>> = FxHashMap::default();
    for (at, file) in files.iter().enumerate() {
        by_file.entry(file).or_default().push(at);
    }
    let representative = |at: usize| {
        let same = by_file
            .get(files[at])?
            .iter()
            .filter(|&&other| candidates[other].ty == candidates[at].ty);
        // All names but one are read by nothing.
        let read = same.clone().find(|&&other| !readers[other].is_empty());
        read.or(same.clone().next())
            .copied()
            .filter(|&other| other != at)
    };
    let tied = (0..candidates.len())
        .map(|at| representative(at).filter(|_| readers[at].is_empty()))
        .collect();
    Some(tied)
}
