//! The allocator against vectors of PyTorch's, and against a plain reference.

use proptest::prelude::*;

use super::*;
use crate::spec::run::Divisions;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A step of a script: `Malloc` gives the next number, `Free` takes one back.
#[derive(Debug, Clone, Copy)]
enum Step {
    Malloc(u64),
    Free(usize),
}
use Step::{Free, Malloc};

struct Run {
    allocator: Allocator,
    blocks: Vec<Option<Block>>,
}

impl Run {
    fn new(config: Config, capacity: u64) -> Run {
        Run {
            allocator: Allocator::new(config, capacity),
            blocks: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), OutOfMemory> {
        match step {
            Malloc(bytes) => {
                let block = self.allocator.malloc(bytes, 0);
                self.blocks.push(None);
                *self.blocks.last_mut().unwrap() = Some(block?);
            }
            Free(number) => {
                if let Some(block) = self.blocks[number].take() {
                    self.allocator.free(block);
                }
            }
        }
        Ok(())
    }

    fn now(&self) -> Counters {
        let statistics = self.allocator.statistics();
        (
            statistics.allocated.current,
            statistics.requested.current,
            statistics.reserved.current,
        )
    }
}

/// Allocated, requested and reserved bytes.
type Counters = (u64, u64, u64);

/// The counters after a script on a device without limit.
fn after(config: Config, script: &[Step]) -> Counters {
    let mut run = Run::new(config, u64::MAX);
    for &step in script {
        run.step(step).unwrap();
    }
    run.now()
}

/// Guards the rules of rounding, of segments and of splitting at each of their edges.
#[test]
fn sizes_come_out_as_in_pytorch() {
    let four_small = [Malloc(600 * KIB); 4];
    let reuse_small = [
        &four_small[..],
        &[Free(0), Malloc(700 * KIB), Malloc(500 * KIB)],
    ]
    .concat();
    let four = [Malloc(6 * MIB); 4];
    let merged = [&four[..], &[Free(1), Free(2), Malloc(13 * MIB)]].concat();
    let unsplit = vec![Malloc(30 * MIB), Free(0), Malloc(30 * MIB - 512 * KIB)];
    let split = [&unsplit[..], &[Free(1), Malloc(5 * MIB)]].concat();
    let beside = [&split[..], &[Malloc(30 * MIB)]].concat();
    let cases: &[(&[Step], Counters)] = &[
        (&[Malloc(0)], (0, 0, 0)),
        (&[Malloc(1)], (512, 1, 2_097_152)),
        (&[Malloc(513)], (1_024, 513, 2_097_152)),
        (&[Malloc(MIB)], (1_048_576, 1_048_576, 2_097_152)),
        (&[Malloc(MIB + 1)], (1_049_088, 1_048_577, 20_971_520)),
        (
            &[Malloc(10 * MIB - 512)],
            (10_485_248, 10_485_248, 20_971_520),
        ),
        (
            &[Malloc(10 * MIB - 511)],
            (10_485_760, 10_485_249, 10_485_760),
        ),
        (
            &[Malloc(10 * MIB + 1)],
            (10_486_272, 10_485_761, 12_582_912),
        ),
        (&[Malloc(11 * MIB)], (12_582_912, 11_534_336, 12_582_912)),
        (&[Malloc(12_058_624)], (12_582_912, 12_058_624, 12_582_912)),
        (&[Malloc(13_212_057)], (13_212_160, 13_212_057, 14_680_064)),
        (
            &[Malloc(100 * MIB + 1)],
            (104_858_112, 104_857_601, 106_954_752),
        ),
        (&four_small, (2_457_600, 2_457_600, 4_194_304)),
        (&reuse_small, (3_072_000, 3_072_000, 4_194_304)),
        (&four, (25_165_824, 25_165_824, 41_943_040)),
        (&merged, (27_262_976, 26_214_400, 41_943_040)),
        (&unsplit, (31_457_280, 30_932_992, 31_457_280)),
        (&split, (5_242_880, 5_242_880, 31_457_280)),
        (&beside, (36_700_160, 36_700_160, 62_914_560)),
    ];
    for (script, expected) in cases {
        assert_eq!(after(Config::default(), script), *expected, "{script:?}");
    }
}

/// Guards the divisions of powers of two: steps of a quarter, and only above 512 bytes times as
/// many as there are.
#[test]
fn sizes_are_rounded_to_divisions_of_powers_of_two() {
    assert_eq!(config::next_division(1200, 4), 1280);
    assert_eq!(config::next_division(4096, 4), 4096);
    assert_eq!(config::next_division(3, 4), 4);
    let config = Config {
        divisions: Divisions([4; 16]),
        ..Config::default()
    };
    for (bytes, expected) in [
        (1200, 1536),
        (2049, 2560),
        (5 * MIB + 1, 6 * MIB),
        (7 * MIB, 7 * MIB),
        (1025 * MIB, 1280 * MIB),
    ] {
        assert_eq!(rounded(&config, bytes), expected, "{bytes}");
    }
    let mut steps = [0; 16];
    steps[8] = 2;
    let config = Config {
        divisions: Divisions(steps),
        ..Config::default()
    };
    assert_eq!(rounded(&config, 300 * MIB), 384 * MIB);
    assert_eq!(rounded(&config, 200 * MIB + 1), 200 * MIB + 512);
}

/// Guards `max_split_size`: an oversized block is not cut for a small request, and not given for
/// one that is more than 20 MiB smaller; when the device is full, it is what goes first.
#[test]
fn oversized_blocks_are_not_split() {
    let config = Config {
        max_split_size: Some(64 * MIB),
        ..Config::default()
    };
    let script = [Malloc(100 * MIB), Free(0), Malloc(40 * MIB)];
    assert_eq!(after(config.clone(), &script).2, 140 * MIB);
    let script = [Malloc(100 * MIB), Free(0), Malloc(70 * MIB)];
    assert_eq!(after(config.clone(), &script).2, 170 * MIB);
    let script = [Malloc(100 * MIB), Free(0), Malloc(90 * MIB)];
    assert_eq!(
        after(config.clone(), &script),
        (100 * MIB, 90 * MIB, 100 * MIB)
    );
    let mut run = Run::new(config, 150 * MIB);
    for step in [Malloc(100 * MIB), Malloc(30 * MIB), Free(0), Free(1)] {
        run.step(step).unwrap();
    }
    run.step(Malloc(70 * MIB)).unwrap();
    assert_eq!(run.now().2, 100 * MIB, "only the oversized block went");
    assert_eq!(run.allocator.statistics().retries, 0);
}

/// Guards what happens when the device is full: whole segments that are cached are given back,
/// remainders of split ones are not.
#[test]
fn what_is_cached_is_given_back_before_it_fails() {
    let mut run = Run::new(Config::default(), 100 * MIB);
    for step in [Malloc(60 * MIB), Free(0), Malloc(70 * MIB)] {
        run.step(step).unwrap();
    }
    assert_eq!(run.now(), (70 * MIB, 70 * MIB, 70 * MIB));
    assert_eq!(run.allocator.statistics().retries, 1);
    assert_eq!(run.allocator.statistics().reserved.peak, 70 * MIB);
    let mut run = Run::new(Config::default(), 100 * MIB);
    for step in [Malloc(60 * MIB), Free(0), Malloc(5 * MIB)] {
        run.step(step).unwrap();
    }
    let failed = run.step(Malloc(60 * MIB));
    let expected = OutOfMemory {
        requested: 60 * MIB,
        reserved: 60 * MIB,
        allocated: 5 * MIB,
    };
    assert_eq!(failed, Err(expected));
    assert_eq!(run.allocator.statistics().inactive_split.current, 55 * MIB);
}

/// Guards the fraction, which counts what is reserved, and the collection of blocks that were long
/// unused: with a threshold of 0.5 of 100 MiB the 40 MiB that nothing took are given back.
#[test]
fn a_fraction_limits_and_garbage_is_collected() {
    let config = Config {
        memory_fraction: Some(0.5),
        ..Config::default()
    };
    let mut run = Run::new(config.clone(), 100 * MIB);
    assert!(run.step(Malloc(52 * MIB)).is_err());
    assert!(run.step(Malloc(50 * MIB)).is_ok());
    let config = Config {
        memory_fraction: Some(1.0),
        garbage_collection_threshold: 0.5,
        ..config
    };
    let mut run = Run::new(config, 100 * MIB);
    for step in [
        Malloc(40 * MIB),
        Free(0),
        Malloc(41 * MIB),
        Malloc(42 * MIB),
    ] {
        run.step(step).unwrap();
    }
    // Without the collection the third would have found 81 MiB reserved, and 123 are too many.
    assert_eq!(run.now().2, 84 * MIB);
    assert_eq!(run.allocator.statistics().retries, 0);
}

/// Guards expandable segments: memory comes in pages of 20 MiB, a free end grows by what is missing
/// only, and whole pages are given back from anywhere.
#[test]
fn expandable_segments_grow_and_shrink_by_pages() {
    let config = Config {
        expandable_segments: true,
        ..Config::default()
    };
    for (script, expected) in [
        (vec![Malloc(1)], (512, 1, 2 * MIB)),
        (vec![Malloc(11 * MIB)], (11 * MIB, 11 * MIB, 20 * MIB)),
        (
            vec![Malloc(30 * MIB), Free(0), Malloc(50 * MIB)],
            (50 * MIB, 50 * MIB, 60 * MIB),
        ),
        (
            vec![
                Malloc(30 * MIB),
                Malloc(30 * MIB),
                Free(1),
                Malloc(80 * MIB),
            ],
            (110 * MIB, 110 * MIB, 120 * MIB),
        ),
        // The hole of 30 MiB is too small, and the end has 10 MiB free.
        (
            vec![
                Malloc(30 * MIB),
                Malloc(20 * MIB),
                Free(0),
                Malloc(31 * MIB),
            ],
            (51 * MIB, 51 * MIB, 100 * MIB),
        ),
    ] {
        assert_eq!(after(config.clone(), &script), expected, "{script:?}");
    }
    let mut run = Run::new(config, 100 * MIB);
    for step in [Malloc(50 * MIB), Malloc(10 * MIB), Free(0)] {
        run.step(step).unwrap();
    }
    run.step(Malloc(60 * MIB)).unwrap();
    assert_eq!(run.now(), (70 * MIB, 70 * MIB, 80 * MIB));
    assert_eq!(run.allocator.statistics().retries, 1);
}

/// Guards against blocks of one stream being given to another.
#[test]
fn streams_have_blocks_of_their_own() {
    let mut allocator = Allocator::new(Config::default(), u64::MAX);
    let block = allocator.malloc(30 * MIB, 0).unwrap();
    allocator.free(block);
    let other = allocator.malloc(30 * MIB, 1).unwrap();
    assert_eq!(allocator.statistics().reserved.current, 60 * MIB);
    allocator.free(other);
    let again = allocator.malloc(30 * MIB, 0).unwrap();
    assert_eq!(allocator.size(&again), 30 * MIB);
    assert_eq!(allocator.statistics().reserved.current, 60 * MIB);
}

/// Guards the loop over steps: what is resident is allocated once, and a second step reuses what
/// the first one reserved.
#[test]
fn steps_are_replayed_over_what_is_resident() {
    let alloc = |id, bytes| Event::Alloc { id, bytes };
    let events = [
        alloc(0, 100 * MIB),
        alloc(1, 30 * MIB),
        alloc(2, 50 * MIB),
        Event::Free { id: 1 },
    ];
    let resident = |id| id == 0;
    let run = |capacity, times| replay(Config::default(), capacity, &events, resident, times);
    let one = run(u64::MAX, 1);
    let three = run(u64::MAX, 3);
    assert_eq!(one, three);
    assert_eq!(one.statistics.reserved.peak, 180 * MIB);
    assert_eq!(one.statistics.allocated.current, 100 * MIB);
    let full = run(150 * MIB, 1);
    assert!(matches!(
        full.fault,
        Some(Fault::OutOfMemory { event: 2, .. })
    ));
    let unbalanced = replay(Config::default(), 0, &[Event::Free { id: 7 }], resident, 1);
    assert_eq!(unbalanced.fault, Some(Fault::Unbalanced { event: 0 }));
}

/// Bytes, and the number of the user.
type PlainBlock = (u64, Option<usize>);

/// What the rules say, over plain lists: each segment a list of blocks, each search through all.
struct Plain {
    capacity: u64,
    most: u64,
    /// In order of address: whether small, and the blocks.
    segments: Vec<(bool, Vec<PlainBlock>)>,
    count: usize,
}

impl Plain {
    fn reserved(&self) -> u64 {
        let blocks = self.segments.iter().flat_map(|(_, blocks)| blocks);
        blocks.map(|(size, _)| size).sum()
    }

    fn best(&self, size: u64) -> Option<(usize, usize)> {
        let mut best: Option<(u64, usize, usize)> = None;
        for (s, (small, blocks)) in self.segments.iter().enumerate() {
            for (b, &(bytes, user)) in blocks.iter().enumerate() {
                let fits = user.is_none() && bytes >= size && *small == (size <= MIB);
                if fits && best.is_none_or(|(least, ..)| bytes < least) {
                    best = Some((bytes, s, b));
                }
            }
        }
        let (bytes, s, b) = best?;
        let refused = (size < self.most && bytes >= self.most)
            || (size >= self.most && bytes >= size + 20 * MIB);
        (!refused).then_some((s, b))
    }

    fn whole(&self, s: usize) -> bool {
        matches!(self.segments[s].1[..], [(_, None)])
    }

    fn malloc(&mut self, bytes: u64) -> bool {
        let number = self.count;
        self.count += 1;
        let size = bytes.div_ceil(512) * 512;
        let segment = if size <= MIB {
            2 * MIB
        } else if size < 10 * MIB {
            20 * MIB
        } else {
            size.div_ceil(2 * MIB) * 2 * MIB
        };
        let found = self.best(size).or_else(|| {
            let full = |plain: &Plain| plain.reserved() + segment > plain.capacity;
            if full(self) && (!self.release_oversized(size) || full(self)) {
                let keep: Vec<bool> = (0..self.segments.len()).map(|s| !self.whole(s)).collect();
                let mut keep = keep.into_iter();
                self.segments.retain(|_| keep.next().unwrap());
            }
            (self.reserved() + segment <= self.capacity).then(|| {
                self.segments.push((size <= MIB, vec![(segment, None)]));
                (self.segments.len() - 1, 0)
            })
        });
        let Some((s, b)) = found else { return false };
        let (small, blocks) = &mut self.segments[s];
        let rest = blocks[b].0 - size;
        let split = match *small {
            true => rest >= 512,
            false => size < self.most && rest > MIB,
        };
        blocks[b].1 = Some(number);
        if split {
            blocks[b].0 = size;
            blocks.insert(b + 1, (rest, None));
        }
        true
    }

    /// The best oversized segment, or the largest ones until they are enough.
    fn release_oversized(&mut self, size: u64) -> bool {
        if self.most == u64::MAX {
            return false;
        }
        let wanted = size.max(self.most);
        let small = size <= MIB;
        let mut free: Vec<(u64, usize)> = (0..self.segments.len())
            .filter(|&s| self.segments[s].0 == small && self.whole(s))
            .map(|s| (self.segments[s].1[0].0, s))
            .filter(|&(bytes, _)| bytes >= self.most)
            .collect();
        free.sort_unstable();
        let gone: Vec<usize> = match free.iter().find(|(bytes, _)| *bytes >= wanted) {
            Some(&(_, s)) => vec![s],
            None => {
                let mut sum = 0;
                let mut taken = Vec::new();
                for &(bytes, s) in free.iter().rev() {
                    if sum < wanted {
                        sum += bytes;
                        taken.push(s);
                    }
                }
                taken
            }
        };
        let sum: u64 = gone.iter().map(|&s| self.segments[s].1[0].0).sum();
        let mut number = 0;
        self.segments.retain(|_| {
            number += 1;
            !gone.contains(&(number - 1))
        });
        sum >= wanted
    }

    fn free(&mut self, number: usize) {
        for (_, blocks) in &mut self.segments {
            let Some(b) = blocks.iter().position(|&(_, user)| user == Some(number)) else {
                continue;
            };
            blocks[b].1 = None;
            if b + 1 < blocks.len() && blocks[b + 1].1.is_none() {
                blocks[b].0 += blocks.remove(b + 1).0;
            }
            if b > 0 && blocks[b - 1].1.is_none() {
                blocks[b - 1].0 += blocks.remove(b).0;
            }
        }
    }
}

fn scripts() -> impl Strategy<Value = Vec<(bool, u64, prop::sample::Index)>> {
    let bytes = prop_oneof![
        1..4096u64,
        (1..2048u64).prop_map(|n| n * KIB),
        (1..60 * MIB),
        (1..40u64).prop_map(|n| n * MIB),
    ];
    prop::collection::vec((any::<bool>(), bytes, any::<prop::sample::Index>()), 1..120)
}

/// No blocks overlap or leave gaps, free neighbours are joined, the pools hold what is free, and
/// the counters are the sums.
fn assert_sound(allocator: &Allocator) {
    let (mut allocated, mut mapped, mut inactive) = (0, 0, 0);
    let mut free = 0;
    for (index, part) in allocator.blocks.all() {
        if let Some(next) = part.next {
            let other = &allocator.blocks[next];
            assert_eq!(other.previous, Some(index));
            assert_eq!(part.address + part.size, other.address);
            let alike = !part.allocated && !other.allocated && part.mapped == other.mapped;
            assert!(!alike, "neighbours are not joined");
        }
        assert!(part.size > 0);
        if part.allocated {
            allocated += part.size;
            assert!(part.mapped && part.requested <= part.size);
        } else {
            free += 1;
            if allocator.blocks.is_split(index) && part.segment.is_none() {
                inactive += part.size;
            }
        }
        if part.mapped {
            mapped += part.size;
        }
    }
    let pools = allocator.blocks.pools.iter();
    let in_pools: usize = pools
        .map(|pool| pool.mapped.len() + pool.unmapped.len())
        .sum();
    assert_eq!(in_pools, free);
    let statistics = allocator.statistics();
    assert_eq!(statistics.allocated.current, allocated);
    assert_eq!(statistics.reserved.current, mapped);
    assert_eq!(statistics.inactive_split.current, inactive);
    assert!(mapped >= allocated && allocated >= statistics.requested.current);
    assert!(statistics.reserved.peak <= allocator.capacity);
}

proptest! {
    /// The same blocks are taken, split, joined and given back as by the plain rules.
    #[test]
    fn blocks_are_those_of_the_plain_rules(
        script in scripts(),
        capacity in 40..400u64,
        most in prop_oneof![Just(None), (21..64u64).prop_map(|n| Some(n * MIB))],
    ) {
        let config = Config { max_split_size: most, ..Config::default() };
        let mut run = Run::new(config, capacity * MIB);
        let mut plain = Plain {
            capacity: capacity * MIB,
            most: most.unwrap_or(u64::MAX),
            segments: Vec::new(),
            count: 0,
        };
        for (malloc, bytes, which) in script {
            if malloc || run.blocks.is_empty() {
                let ours = run.step(Malloc(bytes)).is_ok();
                prop_assert_eq!(ours, plain.malloc(bytes));
            } else {
                let number = which.index(run.blocks.len());
                run.step(Free(number)).unwrap();
                plain.free(number);
            }
            prop_assert_eq!(run.now().2, plain.reserved());
            let used: u64 = plain
                .segments
                .iter()
                .flat_map(|(_, blocks)| blocks)
                .filter(|(_, user)| user.is_some())
                .map(|(size, _)| size)
                .sum();
            prop_assert_eq!(run.now().0, used);
        }
        assert_sound(&run.allocator);
    }

    /// Whatever the settings, the books are in order, and what is freed is there again.
    #[test]
    fn books_are_in_order_under_any_settings(
        script in scripts(),
        capacity in 40..400u64,
        expandable in any::<bool>(),
        most in prop_oneof![Just(None), (21..64u64).prop_map(|n| Some(n * MIB))],
        steps in prop_oneof![Just(0u64), Just(2), Just(8)],
        threshold in prop_oneof![Just(0.0), 0.1..0.9f64],
        fraction in prop_oneof![Just(None), (0.3..1.0f64).prop_map(Some)],
    ) {
        let config = Config {
            expandable_segments: expandable,
            max_split_size: most,
            divisions: Divisions([steps; 16]),
            garbage_collection_threshold: threshold,
            memory_fraction: fraction,
            ..Config::default()
        };
        let mut run = Run::new(config, capacity * MIB);
        for (number, (malloc, bytes, which)) in script.into_iter().enumerate() {
            if malloc || run.blocks.is_empty() {
                let _ = run.step(Malloc(bytes));
            } else {
                let number = which.index(run.blocks.len());
                run.step(Free(number)).unwrap();
            }
            if number % 8 == 0 {
                assert_sound(&run.allocator);
            }
        }
        for number in 0..run.blocks.len() {
            run.step(Free(number)).unwrap();
        }
        assert_sound(&run.allocator);
        prop_assert_eq!(run.now().0, 0);
        run.allocator.release_cached();
        prop_assert_eq!(run.now().2, 0);
    }
}
