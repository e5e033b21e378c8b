use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::mem::Packets;
use std::collections::VecDeque;

/// Up to 9 words a packet, 32 words in all.
type Queue = Packets<5, 20, 9>;

/// Packets whose words are written in any order, some forgotten, read at some pace.
fn run(bench: &mut Bench<Queue>, seed: u64, count: usize, stalls: usize) {
    let mut r = random(seed);
    let mut expected: VecDeque<u64> = VecDeque::new();
    // Writes still to be made of the packet under way: slot, word; then its length.
    let mut writes: Vec<(usize, u64)> = vec![];
    let (mut length, mut sent, mut held) = (0, 0, 0);
    bench.cycle(|u| u.reset.next = true, |_| ());
    while sent < count || !writes.is_empty() || !expected.is_empty() {
        held += 1;
        assert!(held < 1_000, "stuck with {} words", expected.len());
        let takes = r.below(stalls) == 0;
        if writes.is_empty() && sent < count && bench.block.room.val() {
            length = 1 + r.below(9);
            // In any order, with words behind the end that nobody will see.
            writes = (0..9).map(|slot| (slot, u64::from(r.word() >> 12))).collect();
            (0..9).for_each(|i| writes.swap(i, r.below(9)));
            writes.retain(|(slot, _)| *slot < length || r.below(2) == 0);
            let mut words = writes.clone();
            words.sort_unstable();
            expected.extend(words.iter().take(length).map(|(_, word)| word));
            sent += 1;
        }
        let write = if r.below(3) != 0 { writes.pop() } else { None };
        let commit = if write.is_some() && writes.is_empty() { length } else { 0 };
        let (slot, word) = write.unwrap_or((r.below(9), 0xfffff));
        bench.fall(|u| {
            u.reset.next = false;
            u.slot.next = FB::new(slot as u64);
            u.data_in.next = FB::new(word);
            u.write.next = write.is_some();
            u.commit.next = FB::new(commit as u64);
            u.ready.next = takes;
        });
        let u = &bench.block;
        if takes && u.valid.val() {
            assert_eq!(Some(u.word.val().get()), expected.pop_front());
            held = 0;
        }
        bench.rise();
    }
    bench.fall(|u| u.commit.next = FB::new(0));
    assert!(!bench.block.valid.val(), "a word too many");
    bench.rise();
}

#[test]
fn words_come_in_order_however_they_are_written() {
    let mut bench = Bench::new(Queue::default(), |u| &mut u.clock);
    for seed in 0..20 {
        run(&mut bench, seed, 40, 1 + seed as usize % 5);
    }
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Queue>] = &[
    now("no room", |u| !u.room.val()),
    now("a packet of one word", |u| u.commit.val().get() == 1),
    now("a packet of the most words", |u| u.commit.val().get() == 9),
    now("a word waits", |u| u.valid.val() && !u.ready.val()),
    now("a word is read while one is written", |u| u.valid.val() && u.ready.val() && u.write.val()),
    now("the last word is read while a packet is committed", |u| {
        u.valid.val() && u.ready.val() && u.level.val().get() <= 1 && u.commit.val().get() != 0
    }),
    now("nothing there", |u| !u.waiting.val()),
    then("a word in each cycle", |u| u.valid.val() && u.ready.val(), |u| u.valid.val() && u.ready.val()),
];

#[test]
fn every_situation_occurs() {
    let mut bench = Bench::new(Queue::default(), |u| &mut u.clock).covering(SITUATIONS);
    for seed in 0..40 {
        run(&mut bench, seed, 60, 1 + seed as usize % 5);
    }
    bench.check_coverage();
}

#[test]
fn as_many_fit_as_there_is_room_for() {
    // Three packets of 9 words and one word that stays free are 28 of 32.
    let mut bench = Bench::new(Queue::default(), |u| &mut u.clock);
    bench.cycle(|u| u.reset.next = true, |_| ());
    bench.cycle(|u| u.reset.next = false, |_| ());
    for packet in 0..3 {
        assert!(bench.block.room.val(), "room for packet {packet}");
        for slot in 0..9 {
            bench.cycle(
                |u| {
                    u.slot.next = FB::new(slot);
                    u.write.next = true;
                    u.commit.next = FB::new(if slot == 8 { 9 } else { 0 });
                },
                |_| (),
            );
        }
    }
    // In the very cycle behind the commit.
    assert!(!bench.block.room.val(), "no room for a fourth");
    bench.cycle(|u| (u.write.next, u.commit.next, u.ready.next) = (false, FB::new(0), true), |_| ());
    for _ in 0..8 {
        bench.cycle(|_| (), |_| ());
    }
    assert!(bench.block.room.val(), "when some words are taken");
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("packets", Queue::default(), |u| &mut u.clock) else { return };
    let mut seed = 50;
    while bench.cycles() < 30_000 {
        seed += 1;
        run(&mut bench, seed, 60, 1 + seed as usize % 5);
    }
    println!("packets: {} cycles, 0 mismatches", bench.cycles());
}

/// One queue of two that share a memory in turns; in the other's turn there is noise.
type Shared = Packets<8, 32, 9>;

/// Packets as in [`run`] through a part of a memory that is this queue's in some cycles only.
fn run_shared(bench: &mut Bench<Shared>, seed: u64, count: usize) {
    let mut r = random(seed);
    let (mut memory, mut read) = (vec![0u32; 256], 0);
    let mut expected: VecDeque<u64> = VecDeque::new();
    let mut writes: Vec<(usize, u64)> = vec![];
    let (mut length, mut sent, mut held, mut cycle) = (0, 0, 0, 0);
    bench.cycle(|u| u.reset.next = true, |_| ());
    while sent < count || !writes.is_empty() || !expected.is_empty() {
        (held, cycle) = (held + 1, cycle + 1);
        assert!(held < 1_000, "stuck with {} words", expected.len());
        let (turn, takes) = (cycle % 3 == 0, r.below(3) == 0);
        if writes.is_empty() && sent < count && bench.block.room.val() {
            length = 1 + r.below(9);
            writes = (0..length).map(|slot| (slot, r.word().into())).collect();
            (0..length).for_each(|i| writes.swap(i, r.below(length)));
            let mut words = writes.clone();
            words.sort_unstable();
            expected.extend(words.iter().map(|(_, word)| word));
            sent += 1;
        }
        let write = if turn && r.below(3) != 0 { writes.pop() } else { None };
        let commit = if write.is_some() && writes.is_empty() { length } else { 0 };
        let (slot, word) = write.unwrap_or((r.below(9), 0xfffff));
        let noise = r.word();
        bench.fall(|u| {
            u.reset.next = false;
            u.store.turn.next = turn;
            u.store.read_data.next = FB::new(read);
            u.slot.next = FB::new(slot as u64);
            u.data_in.next = FB::new(word);
            u.write.next = write.is_some();
            u.commit.next = FB::new(commit as u64);
            u.ready.next = takes;
        });
        let u = &bench.block;
        assert_eq!(u.may_write.val(), turn);
        assert!(!u.valid.val() || u.waiting.val());
        if takes && u.valid.val() {
            assert_eq!(Some(u.word.val().get()), expected.pop_front());
            held = 0;
        }
        read = if turn { memory[u.store.read_address.val().index()].into() } else { noise.into() };
        if turn && u.store.write_enable.val() {
            let at = u.store.write_address.val().index();
            assert!((64..128).contains(&at), "word {at} is another's");
            memory[at] = u.store.write_data.val().get() as u32;
        }
        bench.rise();
    }
    bench.fall(|u| u.commit.next = FB::new(0));
    assert!(!bench.block.waiting.val(), "a word too many");
    bench.rise();
}

#[test]
fn words_come_in_order_through_a_shared_memory() {
    let mut bench = Bench::new(Shared::shared(64, 64, 9), |u| &mut u.clock);
    for seed in 0..20 {
        run_shared(&mut bench, seed, 60);
    }
}

#[test]
fn shared_like_its_verilog() {
    let block = Shared::shared(64, 64, 9);
    let Some(mut bench) = Bench::with_verilog("packets-shared", block, |u| &mut u.clock) else { return };
    for seed in 0..20 {
        run_shared(&mut bench, seed, 60);
    }
    println!("packets-shared: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("packets", Packets::<8, 32, 22>::default());
}
