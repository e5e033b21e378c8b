//! Commands through the writer, against a flat memory.

use crate::common::coverage::{Situation, now, then, told};
use crate::common::{Bench, Commands, Memory, Random, Reads, Writes, check_synthesis, random};
use ironwarp_hdl::dma::Writer;
use ironwarp_hdl::fb::FB;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};

/// A ring of 1024 words.
type Small = Writer<10>;
const RING: usize = 4096;
/// Tags that every form knows.
const TAGS: [u8; 5] = [0, 3, 0x7f, 0x80, 0x87];
/// Where the sources are in host memory, and where everything is written to.
const FROM: u64 = 0x3_0000_0000;
const TO: u64 = 0xffff_fffe_ffff_0000;
/// Bytes at either place.
const SPACE: usize = 6 * 4096;

/// What the next PLACE may go on from.
#[derive(Debug, Clone, Copy)]
struct Source {
    host: bool,
    address: u64,
    to_marker: u32,
}

/// Commands that use the same contents of the ring, ended by FREE, and what they leave.
#[derive(Default)]
struct Batch {
    words: Vec<u32>,
    ring: Vec<u8>,
    free: u16,
    /// Levels of the interrupt line, in order.
    levels: Vec<bool>,
    /// Tags whose writes fail or whose source cannot be read.
    failing: BTreeSet<u8>,
    /// What [`SITUATIONS`] calls its commands.
    kinds: Vec<&'static str>,
}

/// The state that commands leave behind.
struct Golden {
    memory: Memory,
    /// Of the last PLACE.
    source: Option<Source>,
    tag: u8,
    /// Bytes of a PLACE whose source could not be read: written or not.
    doubtful: HashMap<u64, Vec<u8>>,
}

impl Golden {
    fn new() -> Self {
        let mut memory = Memory::default();
        memory.remove_page(FROM + 3 * 4096);
        memory.remove_page(TO + 2 * 4096);
        Golden { memory, source: None, tag: 0, doubtful: HashMap::new() }
    }

    /// Writes bytes, none if a page is not there.
    fn write(&mut self, batch: &mut Batch, address: u64, bytes: &[u8], readable: bool) {
        let mut bad = !readable;
        for (at, byte) in (address..).zip(bytes) {
            if !self.memory.is_there(at) {
                bad = true;
            } else if readable {
                self.memory.write(at, &[*byte]);
            } else {
                self.doubtful.entry(at).or_default().push(*byte);
            }
        }
        if bad {
            batch.failing.insert(self.tag);
        }
    }

    /// Appends a PLACE.
    fn place(&mut self, r: &mut Random, batch: &mut Batch) {
        let count = [r.below(2000), r.below(12), r.below(80)][r.below(3)];
        let (markers, host) = (r.below(3) == 0, r.below(3) == 0);
        let goes_on = self.source.is_some() && r.below(4) == 0;
        let to = TO + r.below(SPACE - count) as u64;
        let ring_byte = r.below(RING) as u32;
        let from = FROM + r.below(SPACE) as u64;
        let to_marker = (if r.below(4) == 0 { 0 } else { r.below(512) }) as u32;
        batch.words.extend([
            1 | u32::from(markers) << 4
                | u32::from(goes_on) << 5
                | u32::from(host) << 6
                | (count as u32) << 16,
            ring_byte | to_marker << 16,
            to as u32,
            (to >> 32) as u32,
        ]);
        if host {
            batch.words.extend([from as u32, (from >> 32) as u32]);
        }
        let begins = Source { host, address: if host { from } else { ring_byte.into() }, to_marker };
        let mut source = self.source.filter(|_| goes_on).unwrap_or(begins);
        batch.kinds.push(if source.host { "PLACE from host memory" } else { "PLACE from the ring" });
        batch.kinds.extend(markers.then_some("PLACE over markers"));
        batch.kinds.extend(goes_on.then_some("PLACE that goes on"));
        batch.kinds.extend((count == 0).then_some("PLACE of nothing"));
        let (mut bytes, mut readable) = (Vec::new(), true);
        for _ in 0..count {
            if markers && source.to_marker == 0 {
                source.address += 4;
                source.to_marker = 508;
            }
            if source.host {
                readable &= self.memory.is_there(source.address);
                bytes.push(self.memory.byte(source.address));
            } else {
                bytes.push(batch.ring[source.address as usize % RING]);
            }
            source.address += 1;
            source.to_marker -= u32::from(markers);
        }
        self.source = Some(source);
        self.write(batch, to, &bytes, readable);
    }

    /// Appends a command.
    fn command(&mut self, r: &mut Random, batch: &mut Batch) {
        match r.below(8) {
            0 => {
                self.tag = TAGS[r.below(TAGS.len())];
                batch.words.push(5 | u32::from(self.tag) << 16);
            }
            1 => {
                let level = r.below(2) == 0;
                batch.levels.push(level);
                batch.words.push(4 | u32::from(level) << 8);
            }
            2 | 3 => {
                batch.kinds.push("WORDS");
                let count = 1 + r.below(32);
                let to = TO + r.below(SPACE - 128) as u64;
                let words: Vec<u32> = (0..count).map(|_| r.word()).collect();
                batch.words.extend([2 | (count as u32) << 8, to as u32, (to >> 32) as u32]);
                batch.words.extend(&words);
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                self.write(batch, to, &bytes, true);
            }
            // Nothing begins so.
            4 if r.below(4) == 0 => {
                batch.kinds.push("what is no command");
                batch.words.push([0, 6, 15, 2, 2 | 33 << 8][r.below(5)]);
            }
            _ => self.place(r, batch),
        }
    }

    fn batch(&mut self, r: &mut Random, commands: usize) -> Batch {
        let ring = (0..RING).map(|_| r.word() as u8).collect();
        let mut batch = Batch { ring, free: r.word() as u16, ..Batch::default() };
        for _ in 0..commands {
            self.command(r, &mut batch);
        }
        batch.words.push(3 | u32::from(batch.free) << 16);
        batch
    }

    /// What the commands wrote, and nothing else.
    fn check(&self, memory: &Memory) {
        for (address, byte) in memory.written() {
            let sure = self.memory.byte(address);
            let maybe = self.doubtful.get(&address).is_some_and(|bytes| bytes.contains(&byte));
            assert!(byte == sure || maybe, "{address:#x}: {byte:#x}, not {sure:#x}");
        }
        for (address, byte) in self.memory.written() {
            if !self.doubtful.contains_key(&address) {
                assert_eq!(memory.byte(address), byte, "{address:#x}");
            }
        }
    }
}

/// Random commands in batches; after each the writer is drained and asked who failed.
fn run(bench: &mut Bench<Small>, seed: u64, batches: usize, pace: usize) -> u64 {
    let mut r = random(seed);
    let mut golden = Golden::new();
    let mut memory = golden.memory.clone();
    let (mut reads, mut writes) = (Reads::new(seed, pace), Writes::new(seed, pace));
    bench.cycle(|u| u.reset.next = true, |_| ());
    let begin = bench.cycles();
    let mut line = false;
    for number in 0..batches {
        let commands = 1 + r.below(6);
        let batch = golden.batch(&mut r, commands);
        batch.kinds.iter().for_each(|kind| bench.tell(kind, true));
        let mut commands = Commands::new(seed + number as u64, pace, batch.words.iter().copied());
        let (mut address, mut frees, mut levels) = (0, 0, vec![]);
        let mut done = false;
        while !done {
            assert!(bench.cycles() - begin < 2_000_000, "stuck in {:x?}", batch.words);
            bench.fall(|u| {
                u.reset.next = false;
                u.clear_error.next = false;
                (u.command.next, u.command_valid.next) = commands.offer();
                reads.drive(&mut u.source, &memory);
                writes.drive(&mut u.channel);
                let word = if frees == 0 {
                    batch.ring[4 * address..4 * address + 4].try_into().unwrap()
                } else {
                    [0xee; 4]
                };
                u.ring_data.next = FB::new(u32::from_le_bytes(word).into());
            });
            let u = &bench.block;
            if u.irq.val() != line {
                line = !line;
                levels.push(line);
                assert!(writes.is_quiet(), "an interrupt before the writes in front of it");
            }
            commands.look(u.command_ready.val());
            reads.look(&u.source);
            writes.look(&u.channel, &mut memory);
            address = u.ring_address.val().index();
            if u.free_enable.val() {
                assert_eq!(u.free_to.val().get() as u16, batch.free);
                frees += 1;
            }
            done = frees == 1 && commands.is_empty() && u.drained.val();
            bench.rise();
        }
        assert!(writes.is_quiet() && reads.is_quiet(), "drained, but not at rest");
        let mut told = BTreeSet::new();
        while bench.block.error.val() {
            let tag = bench.block.error_tag.val().get() as u8;
            assert!(told.insert(tag), "{tag:#x} twice");
            let mut take = true;
            while take || !bench.block.drained.val() {
                bench.cycle(
                    |u| {
                        u.clear_error.next = take;
                        u.command_valid.next = false;
                        u.channel.answered.next = false;
                    },
                    |_| (),
                );
                take = false;
            }
        }
        assert_eq!(told, batch.failing, "{:x?}", batch.words);
        // The changes of the line are those of the commands, repetitions apart.
        let mut changes = batch.levels.clone();
        changes.insert(0, !levels.first().copied().unwrap_or(!line));
        changes.dedup();
        assert_eq!(levels, changes[1..]);
        golden.check(&memory);
    }
    bench.cycles() - begin
}

fn bench() -> Bench<Small> {
    Bench::new(Small::default(), |u| &mut u.clock)
}

/// As in a small device.
fn serial() -> Small {
    Small::default().serial().few_tags()
}

#[test]
fn a_full_size_segment_is_placed_at_one_word_a_cycle() {
    let mut bench = bench();
    bench.cycle(|u| u.reset.next = true, |_| ());
    while !bench.block.drained.val() {
        bench.cycle(|u| u.reset.next = false, |_| ());
    }
    for (from, to) in [(0, 0), (1, 2), (3, 0), (2, 3)] {
        let mut commands = Commands::new(0, 1, [1 | 1448 << 16, from, to, 0]);
        let (mut writes, mut memory) = (Writes::new(0, 1), Memory::default());
        let (mut address, begin) = (0u32, bench.cycles());
        loop {
            bench.fall(|u| {
                u.reset.next = false;
                (u.command.next, u.command_valid.next) = commands.offer();
                writes.drive(&mut u.channel);
                u.ring_data.next = FB::new((address | 0x4321_0000).into());
            });
            let u = &bench.block;
            commands.look(u.command_ready.val());
            writes.look(&u.channel, &mut memory);
            address = u.ring_address.val().get() as u32;
            let done = commands.is_empty() && u.drained.val() && writes.is_quiet();
            bench.rise();
            if done {
                break;
            }
        }
        let cycles = bench.cycles() - begin;
        assert!(cycles <= 362 + 30, "{cycles} cycles from {from} to {to}");
        let source: Vec<u8> = (0..400u32).flat_map(|i| (i | 0x4321_0000).to_le_bytes()).collect();
        assert_eq!(memory.read(to.into(), 1448), source[from as usize..][..1448]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_commands_leave_what_they_should(seed: u64, batches in 1usize..8, pace in 1usize..5) {
        run(&mut bench(), seed, batches, pace);
    }

    #[test]
    fn a_byte_at_a_time_too(seed: u64, batches in 1usize..8, pace in 1usize..5) {
        run(&mut Bench::new(serial(), |u| &mut u.clock), seed, batches, pace);
    }
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Small>] = &[
    now("a command waits", |u| u.command_valid.val() && !u.command_ready.val()),
    now("a burst waits", |u| u.channel.request.val() && !u.channel.accept.val()),
    now("the memory stalls", |u| u.channel.valid.val() && !u.channel.ready.val()),
    now("a word of which some bytes are written", |u| {
        u.channel.valid.val() && u.channel.ready.val() && !matches!(u.channel.strobes.val().get(), 0 | 15)
    }),
    now("a burst of one word", |u| u.channel.request.val() && u.channel.words.val().get() == 1),
    now("a burst that begins a page", |u| {
        u.channel.request.val() && u.channel.address.val().get().is_multiple_of(4096)
    }),
    now("a write fails", |u| u.channel.answered.val() && u.channel.failed.val()),
    now("a source that cannot be read", |u| {
        u.source.valid.val() && u.source.ready.val() && u.source.error.val()
    }),
    then("the line rises", |u| !u.irq.val(), |u| u.irq.val()),
    then("the line falls", |u| u.irq.val(), |u| !u.irq.val()),
    now("words are freed", |u| u.free_enable.val()),
    now("a tag that failed is told", |u| u.error.val() && u.clear_error.val()),
    now("another burst is asked for before the last is answered", |u| {
        u.channel.request.val() && !u.channel.answered.val() && !u.drained.val()
    }),
    told("PLACE from the ring"),
    told("PLACE from host memory"),
    told("PLACE over markers"),
    told("PLACE that goes on"),
    told("PLACE of nothing"),
    told("WORDS"),
    told("what is no command"),
];

#[test]
fn every_situation_occurs() {
    for bench in [bench(), Bench::new(serial(), |u| &mut u.clock)] {
        let mut bench = bench.covering(SITUATIONS);
        for seed in 200..216 {
            run(&mut bench, seed, 4, 1 + seed as usize % 4);
        }
        bench.check_coverage();
    }
}

#[test]
fn like_its_verilog() {
    verilog("writer", Small::default());
}

#[test]
fn serial_like_its_verilog() {
    verilog("writer-serial", serial());
}

fn verilog(name: &str, block: Small) {
    let Some(mut bench) = Bench::with_verilog(name, block, |u| &mut u.clock) else { return };
    let mut seed = 200;
    while bench.cycles() < 30_000 {
        seed += 1;
        run(&mut bench, seed, 4, 1 + seed as usize % 4);
    }
    println!("{name}: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("writer", Writer::<13>::default());
    check_synthesis("writer-serial", Writer::<13>::default().serial().few_tags());
}
