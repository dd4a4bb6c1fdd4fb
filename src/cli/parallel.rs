//! Work on several items at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does `work` on each item with at most `jobs` threads; the results are in the order of the
/// items. `None` stands where the work panicked, which stops no other. `progress` hears, on the
/// calling thread, how many are done.
pub(super) fn map<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
    progress: &mut dyn FnMut(usize),
) -> Vec<Option<R>> {
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let worker = |progress: &mut dyn FnMut(usize)| {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            let result = catch_unwind(AssertUnwindSafe(|| work(item)));
            done.push((index, result.ok()));
            progress(finished.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    let others = jobs.min(items.len()).saturating_sub(1);
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..others)
            .map(|_| scope.spawn(|| worker(&mut |_| ())))
            .collect();
        let mut done = worker(progress);
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
            let mut heard = Vec::new();
            let work = |&item: &usize| {
                assert!(item != 7, "this one is meant to fail");
                item * 2
            };
            let results = map(&items, jobs, work, &mut |done| heard.push(done));
            assert!(
                heard.is_sorted() && heard.iter().all(|&done| done <= 100),
                "{heard:?}"
            );
            let expected: Vec<_> = items
                .iter()
                .map(|&item| (item != 7).then_some(item * 2))
                .collect();
            assert_eq!(results, expected, "{jobs} jobs");
        }
    }
}
