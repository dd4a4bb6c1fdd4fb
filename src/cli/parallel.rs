//! Work on several items at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does `work` on each item with at most `jobs` threads; the results are in the order of the
/// items. `None` stands where the work panicked, which stops no other.
pub(super) fn map<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<Option<R>> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            let result = catch_unwind(AssertUnwindSafe(|| work(item)));
            done.push((index, result.ok()));
        }
    };
    let others = jobs.min(items.len()).saturating_sub(1);
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..others).map(|_| scope.spawn(worker)).collect();
        let mut done = worker();
        for thread in threads {
            // A worker catches what its work throws.
            done.extend(thread.join().unwrap_or_default());
        }
        for (index, result) in done {
            results[index] = result;
        }
    });
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that a fault of the program in one file neither hides the others nor passes silently.
    #[test]
    fn results_keep_their_order_and_panics_their_place() {
        let items: Vec<usize> = (0..100).collect();
        for jobs in [0, 1, 3, 200] {
            let results = map(&items, jobs, |&item| {
                assert!(item != 7, "this one is meant to fail");
                item * 2
            });
            let expected: Vec<_> = items
                .iter()
                .map(|&item| (item != 7).then_some(item * 2))
                .collect();
            assert_eq!(results, expected, "{jobs} jobs");
        }
    }
}
