use crate::common::coverage::{Situation, now};
use crate::common::{Bench, Commands, Memory, Reads, check_synthesis, random};
use ironwarp_hdl::dma::Reader;
use proptest::prelude::*;

const BASE: u64 = 0x12_3456_7890_0000;

/// Random reads around page boundaries; the replies.
fn run(bench: &mut Bench<Reader>, seed: u64, count: usize, pace: usize) {
    let mut r = random(seed);
    let mut memory = Memory::default();
    memory.remove_page(BASE + 2 * 4096);
    let (mut words, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..count {
        if r.below(10) == 0 {
            // No command.
            words.push([0, 65, 0x200, 0x1_0101, u32::MAX][r.below(5)]);
        }
        // Of each 16 words up to four, or all.
        let mask = if r.below(2) == 0 { 0 } else { (0..4).fold(0, |mask, _| mask | 1u32 << r.below(16)) };
        let most = if mask == 0 { 64 } else { 256 };
        let count = [1 + r.below(most), 1 + r.below(most), 1 + r.below(4), most][r.below(4)];
        let address = BASE + 4 * (if r.below(2) == 0 { r.below(4096) } else { 2048 - r.below(64) } as u64);
        // What is below a word is ignored.
        let below = if r.below(4) == 0 { r.below(4) as u32 } else { 0 };
        words.extend([count as u32 | mask << 16, address as u32 | below, (address >> 32) as u32]);
        let places: Vec<u64> = (address..).step_by(4).take(count).collect();
        if places.iter().all(|at| memory.is_there(*at)) {
            expected.push(0);
            let word = |at: &u64| u32::from_le_bytes(memory.read(*at, 4).try_into().unwrap());
            let kept = |n: usize| mask == 0 || mask >> (n % 16) & 1 != 0;
            expected.extend(places.iter().enumerate().filter(|(n, _)| kept(*n)).map(|(_, at)| word(at)));
        } else {
            expected.push(1);
        }
    }
    let mut commands = Commands::new(seed, pace, words);
    let mut reads = Reads::new(seed, pace);
    let mut replies = Vec::new();
    bench.cycle(|u| u.reset.next = true, |_| ());
    let begin = bench.cycles();
    while replies.len() < expected.len() || !commands.is_empty() {
        assert!(bench.cycles() - begin < 1_000_000, "stuck after {} of {}", replies.len(), expected.len());
        let takes = r.below(pace) == 0;
        bench.fall(|u| {
            u.reset.next = false;
            (u.command.next, u.command_valid.next) = commands.offer();
            reads.drive(&mut u.channel, &memory);
            u.ready.next = takes;
        });
        let u = &bench.block;
        commands.look(u.command_ready.val());
        reads.look(&u.channel);
        if takes && u.valid.val() {
            replies.push(u.word.val().get() as u32);
        }
        bench.rise();
    }
    assert_eq!(replies, expected);
    assert!(reads.is_quiet());
}

fn bench() -> Bench<Reader> {
    Bench::new(Reader::default(), |u| &mut u.clock)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn replies_are_the_words_or_an_error(seed: u64, count in 1usize..20, pace in 1usize..5) {
        run(&mut bench(), seed, count, pace);
    }
}

fn taken(u: &Reader) -> bool {
    u.channel.request.val() && u.channel.accept.val()
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Reader>] = &[
    now("a burst of 256 words", |u| taken(u) && u.channel.words.val().get() == 256),
    now("a burst of one word", |u| taken(u) && u.channel.words.val().get() == 1),
    now("a burst that begins a page", |u| taken(u) && u.channel.address.val().get().is_multiple_of(4096)),
    now("a command waits", |u| u.command_valid.val() && !u.command_ready.val()),
    now("a reply waits", |u| u.valid.val() && !u.ready.val()),
    now("two replies are there, or more", |u| {
        u.valid.val() && !u.command_ready.val() && u.channel.valid.val()
    }),
    now("a word that is not there", |u| {
        u.channel.valid.val() && u.channel.ready.val() && u.channel.error.val()
    }),
    now("the memory is late", |u| u.channel.ready.val() && !u.channel.valid.val()),
];

#[test]
fn every_situation_occurs() {
    let mut bench = bench().covering(SITUATIONS);
    for seed in 0..16 {
        run(&mut bench, seed, 20, 1 + seed as usize % 4);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("reader", Reader::default(), |u| &mut u.clock) else { return };
    let mut seed = 0;
    while bench.cycles() < 30_000 {
        seed += 1;
        run(&mut bench, seed, 20, 1 + seed as usize % 4);
    }
    println!("reader: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("reader", Reader::default());
}
