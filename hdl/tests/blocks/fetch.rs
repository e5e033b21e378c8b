//! Bytes from anywhere to any lane: `Fetch`.

use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, Memory, Reads, Sink, check_synthesis, random};
use ironwarp_hdl::dma::Fetch;
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::stream::StreamOut;
use proptest::prelude::*;

/// A ring of 256 words.
type Small = Fetch<8>;
const BASE: u64 = 0xabc_0000_0000;

/// What is done to the address before a packet, the last first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Low(u32),
    High(u32),
    Skip,
}

/// Fetches at random, each started as soon as the one before lets it, from the three sources.
fn run(bench: &mut Bench<Small>, seed: u64, count: usize, pace: usize) {
    let mut r = random(seed);
    let mut memory = Memory::default();
    memory.remove_page(BASE + 3 * 4096);
    let ring: Vec<u8> = (0..1024).map(|_| r.word() as u8).collect();
    let mut reads = Reads::new(seed, pace);
    let mut sink = Sink::default();
    let mut given: std::collections::VecDeque<u32> = Default::default();
    // Lane, bytes, readable.
    let mut expected: Vec<(usize, Vec<u8>, bool)> = vec![];
    let mut pending = None;
    // What its address comes to before it: set, moved on from where the last packet ended, or that place.
    let mut steps: Vec<Step> = vec![];
    let mut last: Option<(usize, u64)> = None;
    let (mut started, mut address, mut offered) = (0, 0, false);
    bench.cycle(|u| u.reset.next = true, |_| ());
    let begin = bench.cycles();
    while sink.packets.len() < count {
        assert!(bench.cycles() - begin < 500_000, "stuck after {}", sink.packets.len());
        if pending.is_none() && started < count && r.below(pace) == 0 {
            let (source, lane) = (r.below(3), r.below(4));
            let length = 1 + [r.below(6), r.below(100), r.below(1000)][r.below(3)];
            steps.clear();
            let base = if source == 1 { BASE } else { 0 };
            let place = match last {
                Some((before, place)) if source != 2 && before == source && r.below(2) == 0 => {
                    let moved = 4 * r.below(2) as u64;
                    if moved != 0 {
                        steps.push(Step::Skip);
                    }
                    place + moved
                }
                _ => {
                    let place = base + r.below(20_000) as u64;
                    if source != 2 {
                        steps.extend([Step::High((place >> 32) as u32), Step::Low(place as u32)]);
                    }
                    place
                }
            };
            let at = (place - base) as usize;
            if source != 2 {
                last = Some((source, place + length as u64));
            }
            let (place, bytes) = match source {
                0 => (place, (at..at + length).map(|i| ring[i % 1024]).collect()),
                1 => (place, memory.read(place, length)),
                _ => {
                    let words: Vec<u32> = (0..length.div_ceil(4)).map(|_| r.word()).collect();
                    given.extend(&words);
                    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                    bytes.truncate(length);
                    (r.below(9) as u64, bytes)
                }
            };
            let places: Vec<u64> = (place..place + length as u64).collect();
            let readable = source != 1 || places.iter().all(|at| memory.is_there(*at));
            expected.push((lane, bytes, readable));
            pending = Some((source, lane, place, length));
            started += 1;
        }
        let (ready, gives) = (r.below(pace) == 0, r.below(pace) == 0);
        offered = !given.is_empty() && (offered || gives);
        let noise = r.word();
        // Now and then the ring's port was another's.
        let wait = pace > 1 && r.below(3) == 0;
        let step = steps.last().copied().filter(|_| bench.block.idle.val());
        bench.fall(|u| {
            u.reset.next = false;
            let (source, lane, _, length) = pending.unwrap_or((r.below(3), 1, 77, 5));
            u.start.next = pending.is_some() && steps.is_empty();
            u.skip.next = step == Some(Step::Skip);
            (u.set_low.next, u.set_high.next, u.word.next) = match step {
                Some(Step::Low(word)) => (true, false, FB::new(word.into())),
                Some(Step::High(word)) => (false, true, FB::new(word.into())),
                _ => (false, false, FB::new(noise.into())),
            };
            u.from_host.next = source == 1;
            u.from_words.next = source == 2;
            u.bytes.next = FB::new(if step == Some(Step::Skip) { 4 } else { length as u64 });
            u.lane.next = FB::new(lane as u64);
            let word: [u8; 4] = ring[4 * address..4 * address + 4].try_into().unwrap();
            u.ring_wait.next = wait;
            u.ring_data.next = FB::new(if wait { noise } else { u32::from_le_bytes(word) }.into());
            u.words_valid.next = offered;
            u.words_data.next = FB::new(given.front().copied().filter(|_| offered).unwrap_or(noise).into());
            reads.drive(&mut u.channel, &memory);
            u.downstream.ready.next = ready;
        });
        let u = &bench.block;
        if step.is_some() {
            steps.pop();
        } else if u.idle.val() && steps.is_empty() {
            pending = None;
        }
        if offered && u.words_ready.val() {
            given.pop_front();
            offered = false;
        }
        address = u.ring_address.val().index();
        reads.look(&u.channel);
        sink.look(&u.downstream);
        bench.rise();
    }
    for (got, (lane, bytes, readable)) in sink.packets.iter().zip(&expected) {
        assert_eq!(got.err, !readable);
        assert_eq!(got.bytes.len(), lane + bytes.len());
        if *readable {
            assert_eq!(&got.bytes[*lane..], bytes);
        }
    }
    assert!(reads.is_quiet() && given.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn they_come_from_anywhere_in_any_lane(seed: u64, count in 1usize..20, pace in 1usize..5) {
        run(&mut Bench::new(Small::default(), |u| &mut u.clock), seed, count, pace);
    }

    #[test]
    fn they_come_so_a_byte_at_a_time(seed: u64, count in 1usize..20, pace in 1usize..5) {
        run(&mut Bench::new(Small::default().serial(), |u| &mut u.clock), seed, count, pace);
    }
}

fn begins(u: &Small) -> bool {
    u.start.val() && u.idle.val()
}

fn passes(port: &StreamOut) -> bool {
    port.valid.val() && port.ready.val()
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Small>] = &[
    now("from the ring", |u| begins(u) && !u.from_host.val() && !u.from_words.val()),
    now("from host memory", |u| begins(u) && u.from_host.val()),
    now("from words that are given", |u| begins(u) && u.from_words.val()),
    now("into lane 0", |u| begins(u) && u.lane.val().get() == 0),
    now("into lane 3", |u| begins(u) && u.lane.val().get() == 3),
    now("one byte", |u| begins(u) && u.bytes.val().get() == 1),
    then("the address moves on without a fetch", |u| u.skip.val(), |u| u.start.val()),
    now("the ring's port is another's", |u| u.ring_wait.val() && !u.idle.val()),
    now("the given words are late", |u| u.words_ready.val() && !u.words_valid.val()),
    now("host memory is late", |u| u.channel.ready.val() && !u.channel.valid.val()),
    now("the command waits", |u| u.channel.request.val() && !u.channel.accept.val()),
    now("host memory has no such word", |u| {
        u.channel.ready.val() && u.channel.valid.val() && u.channel.error.val()
    }),
    now("a packet that could not be read", |u| passes(&u.downstream) && u.downstream.err.val()),
    now("a packet of one word", |u| {
        passes(&u.downstream) && u.downstream.first.val() && u.downstream.last.val()
    }),
    now("the receiver stalls", |u| u.downstream.valid.val() && !u.downstream.ready.val()),
];

#[test]
fn every_situation_occurs() {
    for bench in
        [Small::default(), Small::default().serial()].map(|block| Bench::new(block, |u| &mut u.clock))
    {
        let mut bench = bench.covering(SITUATIONS);
        for seed in 1..20 {
            run(&mut bench, seed, 30, 1 + seed as usize % 4);
        }
        bench.check_coverage();
    }
}

#[test]
fn like_its_verilog() {
    verilog("fetch", Small::default());
}

#[test]
fn serial_like_its_verilog() {
    verilog("fetch-serial", Small::default().serial());
}

fn verilog(name: &str, block: Small) {
    let Some(mut bench) = Bench::with_verilog(name, block, |u| &mut u.clock) else { return };
    let mut seed = 0;
    while bench.cycles() < 30_000 {
        seed += 1;
        run(&mut bench, seed, 30, 1 + seed as usize % 4);
    }
    println!("{name}: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("fetch", Fetch::<13>::default());
    check_synthesis("fetch-serial", Fetch::<13>::default().serial());
}
