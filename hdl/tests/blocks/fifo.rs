use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::mem::Fifo;
use std::collections::VecDeque;

type Queue = Fifo<3, 33>;
const DEPTH: usize = 8;

/// Writes with probability 1/`gaps`, reads with 1/`stalls`, resets rarely, against a `VecDeque`.
fn run(bench: &mut Bench<Queue>, seed: u64, cycles: usize, gaps: usize, stalls: usize) -> usize {
    let mut random = random(seed);
    let (mut words, mut passed) = (VecDeque::new(), 0);
    // Of the words, how many can be seen: all but one that was written in the cycle before.
    let mut visible = 0;
    for _ in 0..cycles {
        let (write, read) = (random.below(gaps) == 0, random.below(stalls) == 0);
        let (word, reset) = (u64::from(random.word()) << 1 | 1, random.below(500) == 0);
        bench.fall(|u| {
            u.reset.next = reset;
            u.write.next = write;
            u.data_in.next = FB::new(word);
            u.read.next = read;
        });
        let u = &bench.block;
        assert_eq!(u.empty.val(), visible == 0);
        assert_eq!(u.full.val(), words.len() == DEPTH);
        assert_eq!(u.level.val().get() as usize, words.len());
        if visible > 0 {
            assert_eq!(u.data_out.val().get(), words[0]);
        }
        let room = words.len() < DEPTH;
        if read && visible > 0 {
            words.pop_front();
            passed += 1;
        }
        visible = words.len();
        if write && room {
            words.push_back(word);
        }
        if reset {
            words.clear();
            visible = 0;
        }
        bench.rise();
    }
    passed
}

fn bench() -> Bench<Queue> {
    Bench::new(Queue::default(), |u| &mut u.clock)
}

#[test]
fn words_come_out_in_order_at_any_pace() {
    let mut bench = bench();
    for seed in 0..20 {
        let (gaps, stalls) = (1 + seed as usize % 4, 1 + seed as usize / 4 % 5);
        run_from_empty(&mut bench, seed, 600, gaps, stalls);
    }
}

/// Empties it first.
fn run_from_empty(bench: &mut Bench<Queue>, seed: u64, cycles: usize, gaps: usize, stalls: usize) -> usize {
    bench.cycle(|u| u.reset.next = true, |_| ());
    run(bench, seed, cycles, gaps, stalls)
}

#[test]
fn one_word_a_cycle() {
    let mut bench = bench();
    let mut passed = 0;
    for i in 0..1000 {
        bench.fall(|u| {
            u.write.next = true;
            u.data_in.next = FB::new(i);
            u.read.next = true;
        });
        passed += usize::from(!bench.block.empty.val());
        bench.rise();
    }
    assert_eq!(passed, 998);
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Queue>] = &[
    now("full", |u| u.full.val()),
    now("a word is written to a full one", |u| u.full.val() && u.write.val() && !u.read.val()),
    now("a full one is read and written", |u| u.full.val() && u.write.val() && u.read.val()),
    now("an empty one is read", |u| u.empty.val() && u.read.val()),
    now("an empty one is read and written", |u| u.empty.val() && u.read.val() && u.write.val()),
    now("the only word is read while one is written", |u| {
        u.level.val().get() == 1 && !u.empty.val() && u.read.val() && u.write.val()
    }),
    now("a word is there that cannot be seen yet", |u| u.empty.val() && u.level.val().get() != 0),
    then("full, then empty within a reset", |u| u.level.val().get() > 4 && u.reset.val(), |u| u.empty.val()),
];

#[test]
fn every_situation_occurs() {
    let mut bench = bench().covering(SITUATIONS);
    for seed in 0..20 {
        run_from_empty(&mut bench, seed, 2000, 1 + seed as usize % 4, 1 + seed as usize / 4 % 5);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("fifo", Queue::default(), |u| &mut u.clock) else { return };
    for seed in 0..30 {
        let (gaps, stalls) = (1 + seed as usize % 3, 1 + seed as usize / 3 % 4);
        run_from_empty(&mut bench, seed, 1_000, gaps, stalls);
    }
    println!("fifo: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("fifo", Fifo::<9, 32>::default());
    check_synthesis("fifo-smallest", Fifo::<1, 1>::default());
    check_synthesis("fifo-widest", Fifo::<2, 64>::default());
}
