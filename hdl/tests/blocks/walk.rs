//! Stretches of the MPA stream through the walker, against the deframer of `proto`.

use crate::common::coverage::{Situation, now, told};
use crate::common::{Bench, Commands, Memory, Random, Reads, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::mpa::Walk;
use ironwarp_proto::crc::{fpdu_crc, to_wire};
use ironwarp_proto::mpa::marker::{self, MarkerPhase};
use ironwarp_proto::mpa::stream::{Deframer, Fpdu, FpduCrc};
use proptest::prelude::*;
use std::collections::VecDeque;

/// A ring of 1024 words.
type Small = Walk<10>;
const RING: usize = 4096;
const BASE: u64 = 0x7f_ffff_ffff_0000;

/// What a command is about.
#[derive(Debug, Clone)]
struct Stretch {
    bytes: Vec<u8>,
    markers: bool,
    crc: bool,
    host: bool,
    phase: MarkerPhase,
    /// Ring byte address, or offset from `BASE`.
    place: usize,
}

impl Stretch {
    fn command(&self) -> [u32; 4] {
        let bit = |set, n: u32| u32::from(set) << n;
        let size = if self.host { self.bytes.len() / 4 } else { self.bytes.len() };
        let address = BASE + self.place as u64;
        let (low, high) =
            if self.host { (address as u32, (address >> 32) as u32) } else { (self.place as u32, 0) };
        let head = bit(self.markers, 0) | bit(self.crc, 1) | bit(self.host, 2) | (size as u32) << 16;
        [head, low, self.phase.to_next(), high]
    }

    /// What the deframer makes of it, as packets.
    fn packets(&self) -> Vec<Vec<u32>> {
        let mut deframer = Deframer::at(self.markers, self.crc, self.phase.get().into());
        let (mut packets, mut at) = (Vec::new(), 0);
        for fpdu in deframer.push(&self.bytes) {
            let code = match (fpdu.crc, fpdu.marker_mismatch) {
                (FpduCrc::Bad, _) => 1,
                (_, Some(_)) => 2,
                _ => 0,
            };
            let length = fpdu.ulpdu.len() as u32;
            let mut packet = vec![code | 1 << 4 | length << 16, at, fpdu.wire_len, self.to_marker(at)];
            if code == 0 {
                packet.extend(self.header(&fpdu, at as usize));
            }
            packets.push(packet);
            at += fpdu.wire_len;
            if code != 0 {
                return packets;
            }
        }
        let rest = &self.bytes[at as usize..];
        let lead = if self.markers && self.to_marker(at) == 0 { 4 } else { 0 };
        let known = rest
            .get(lead..lead + 2)
            .map_or(0, |field| 1 << 4 | u32::from(u16::from_be_bytes(field.try_into().unwrap())) << 16);
        let code = if rest.is_empty() { 4 } else { 3 };
        packets.push(vec![code | known, at, rest.len() as u32, self.to_marker(at)]);
        packets
    }

    fn to_marker(&self, at: u32) -> u32 {
        if self.markers { self.phase.advance(at).to_next() } else { 0 }
    }

    /// The words to show: those without markers and CRC field, 4 of a tagged FPDU, 18 of others.
    fn header(&self, fpdu: &Fpdu, at: usize) -> Vec<u32> {
        let covered = &self.bytes[at..at + fpdu.wire_len as usize - 4];
        let mut words: Vec<u32> = covered
            .chunks_exact(4)
            .enumerate()
            .filter(|(i, _)| !self.markers || self.to_marker((at + 4 * i) as u32) != 0)
            .map(|(_, word)| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        words.truncate(if words[0] >> 23 & 1 != 0 { 4 } else { 18 });
        words
    }
}

/// Changes a bit of the FPDU at `start`, rather of a pointer if it has one; perhaps with its CRC made right again.
fn spoil(r: &mut Random, bytes: &mut [u8], start: usize, phase: Option<MarkerPhase>) {
    let is_marker = |i: &usize| phase.is_some_and(|phase| phase.advance(*i as u32).to_next() == 0);
    let end = bytes.len() - 4;
    let at = match (start..end).find(is_marker) {
        Some(marker) if r.below(4) != 0 => marker + r.below(4),
        _ => start + r.below(bytes.len() - start),
    };
    bytes[at] ^= 1 << r.below(8);
    if r.below(3) != 0 {
        let field = to_wire(fpdu_crc(&bytes[start..end]));
        bytes[end..].copy_from_slice(&field);
    }
}

/// Some FPDUs, perhaps spoilt, perhaps cut.
fn some_stretch(r: &mut Random, most: usize) -> Stretch {
    let (markers, crc, host) = (r.below(2) == 0, r.below(4) != 0, r.below(3) == 0);
    let phase = MarkerPhase::at(4 * u64::from(r.word() % 128));
    let mut bytes = Vec::new();
    let mut here = phase;
    for _ in 0..r.below(8) {
        let most = [60, 60, 60, 60, 900, 2000][r.below(6)];
        let length = r.below(most);
        let mut ulpdu: Vec<u8> = (0..length).map(|_| r.word() as u8).collect();
        if r.below(4) == 0 {
            ulpdu.clear();
        }
        let start = bytes.len();
        if markers {
            here = marker::emit(&[&ulpdu], true, here, &mut bytes).unwrap();
        } else {
            ironwarp_proto::mpa::fpdu::emit(&[&ulpdu], true, &mut bytes).unwrap();
        }
        if r.below(6) == 0 {
            spoil(r, &mut bytes, start, markers.then_some(phase));
        }
    }
    bytes.truncate(most);
    if r.below(3) == 0 {
        bytes.truncate(bytes.len().saturating_sub(r.below(40)));
    }
    if host {
        bytes.truncate(bytes.len() / 4 * 4);
    }
    let place = if host { r.below(20_000) } else { r.below(RING) };
    Stretch { bytes, markers, crc, host, phase, place }
}

/// Walks the stretches one after the other; memory has pages that are not there if `missing` says so.
fn run(bench: &mut Bench<Small>, stretches: &[Stretch], pace: usize, seed: u64) -> usize {
    let mut r = random(seed);
    let mut reads = Reads::new(seed, pace);
    let mut packets: VecDeque<Vec<u32>> = VecDeque::new();
    bench.cycle(|u| u.reset.next = true, |_| ());
    let begin = bench.cycles();
    let mut count = 0;
    for stretch in stretches {
        // The words of the packets of this command; noise wherever else.
        let mut memory = Memory::default();
        let mut ring: Vec<u8> = (0..RING).map(|_| r.word() as u8).collect();
        if stretch.host {
            memory.write(BASE + stretch.place as u64, &stretch.bytes);
        } else {
            stretch.bytes.iter().enumerate().for_each(|(i, byte)| ring[(stretch.place + i) % RING] = *byte);
        }
        let mut commands = Commands::new(seed, pace, stretch.command());
        let expected = stretch.packets();
        let mut address = 0;
        packets.clear();
        // The last packet is complete when the walker takes commands again and nothing is valid.
        let mut done = false;
        while !done {
            assert!(bench.cycles() - begin < 2_000_000, "stuck in {stretch:x?} after {packets:x?}");
            let takes = r.below(pace) == 0;
            bench.fall(|u| {
                u.reset.next = false;
                (u.command.next, u.command_valid.next) = commands.offer();
                reads.drive(&mut u.channel, &memory);
                u.ready.next = takes;
                let word = ring[4 * address..4 * address + 4].try_into().unwrap();
                u.ring_data.next = FB::new(u32::from_le_bytes(word).into());
            });
            let u = &bench.block;
            commands.look(u.command_ready.val());
            reads.look(&u.channel);
            address = u.ring_address.val().index();
            if u.valid.val() && u.first.val() {
                assert!(u.waiting.val(), "a packet that nobody has heard of");
            }
            if takes && u.valid.val() {
                let word = u.word.val().get() as u32;
                if u.first.val() {
                    packets.push_back(vec![]);
                }
                packets.back_mut().expect("the first word is marked").push(word);
            }
            let all =
                packets.iter().map(Vec::len).sum::<usize>() == expected.iter().map(Vec::len).sum::<usize>();
            done = all && commands.is_empty() && u.command_ready.val();
            if done {
                assert!(!u.valid.val() && !u.waiting.val() || takes);
            }
            bench.rise();
        }
        assert!(packets.iter().eq(&expected), "{stretch:x?}\n {packets:x?}\nnot {expected:x?}");
        assert!(reads.is_quiet());
        count += expected.len();
    }
    count
}

fn bench() -> Bench<Small> {
    Bench::new(Small::default(), |u| &mut u.clock)
}

/// A byte at a time.
fn serial() -> Bench<Small> {
    Bench::new(Small::default().serial(), |u| &mut u.clock)
}

/// How many packets of each code there are.
fn codes(stretches: &[Stretch]) -> [usize; 5] {
    let mut codes = [0; 5];
    stretches.iter().flat_map(Stretch::packets).for_each(|packet| codes[packet[0] as usize & 15] += 1);
    codes
}

#[test]
fn every_code_is_met_often() {
    let mut r = random(3);
    let stretches: Vec<_> = (0..1200).map(|_| some_stretch(&mut r, 3000)).collect();
    run(&mut bench(), &stretches, 1, 5);
    run(&mut serial(), &stretches, 1, 5);
    let codes = codes(&stretches);
    assert!(codes.iter().all(|count| *count > 8), "{codes:?}");
}

#[test]
fn fpdus_of_every_length_at_every_offset() {
    let mut stretches = Vec::new();
    for length in 0..90 {
        let ulpdu: Vec<u8> = (0..length).map(|i| i as u8 | 0x40).collect();
        let mut bytes = Vec::new();
        ironwarp_proto::mpa::fpdu::emit(&[&ulpdu], true, &mut bytes).unwrap();
        stretches.push(Stretch {
            bytes,
            markers: false,
            crc: true,
            host: false,
            phase: MarkerPhase::START,
            place: length * 5,
        });
    }
    run(&mut bench(), &stretches, 1, 1);
}

#[test]
fn a_stretch_may_be_cut_anywhere() {
    let mut whole = Vec::new();
    let phase = marker::emit(&[&[0x40; 30]], true, MarkerPhase::START, &mut whole).unwrap();
    marker::emit(&[&[0xc0; 20]], true, phase, &mut whole).unwrap();
    let cut = |n: usize| Stretch {
        bytes: whole[..n].to_vec(),
        markers: true,
        crc: true,
        host: false,
        phase: MarkerPhase::START,
        place: n,
    };
    let stretches: Vec<_> = (0..=whole.len()).map(cut).collect();
    run(&mut bench(), &stretches, 1, 1);
    run(&mut serial(), &stretches, 1, 1);
}

#[test]
fn the_longest_fpdu_comes_from_host_memory() {
    let ulpdu: Vec<u8> = (0..64_768u32).map(|i| (i ^ i >> 5) as u8).collect();
    let mut bytes = Vec::new();
    marker::emit(&[&ulpdu], true, MarkerPhase::at(8), &mut bytes).unwrap();
    assert!(bytes.len() < 4 * 65_536 && bytes.len() > 65_000);
    let stretch =
        Stretch { bytes, markers: true, crc: true, host: true, phase: MarkerPhase::at(8), place: 6 };
    run(&mut bench(), std::slice::from_ref(&stretch), 1, 1);
    run(&mut serial(), &[stretch], 1, 1);
}

#[test]
fn what_cannot_be_read_has_a_bad_crc_even_where_none_is_checked() {
    unreadable(bench());
    unreadable(serial());
}

fn unreadable(mut bench: Bench<Small>) {
    let mut memory = Memory::default();
    memory.remove_page(BASE + 4096);
    // The length field is there, the FPDU goes on into the page that is not.
    let start = BASE + 4096 - 8;
    memory.write(start, &[0, 20, 0x40, 0x40]);
    let command = [8 << 16 | 1 << 2, start as u32, 0, (start >> 32) as u32];
    let mut commands = Commands::new(1, 1, command);
    let mut reads = Reads::new(1, 1);
    bench.cycle(|u| u.reset.next = true, |_| ());
    let mut words = Vec::new();
    for _ in 0..100 {
        bench.fall(|u| {
            u.reset.next = false;
            (u.command.next, u.command_valid.next) = commands.offer();
            reads.drive(&mut u.channel, &memory);
            u.ready.next = true;
        });
        let u = &bench.block;
        commands.look(u.command_ready.val());
        reads.look(&u.channel);
        if u.valid.val() {
            words.push(u.word.val().get() as u32);
        }
        bench.rise();
    }
    assert_eq!(words, [1 | 1 << 4 | 20 << 16, 0, 28, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_stretches_at_any_pace(seed: u64, count in 1usize..8, pace in 1usize..5) {
        let mut r = random(seed);
        let stretches: Vec<_> = (0..count).map(|_| some_stretch(&mut r, 2500)).collect();
        run(&mut bench(), &stretches, pace, seed);
        run(&mut serial(), &stretches, pace, seed);
    }
}

/// What there is in a stretch, for the counters.
fn tell(bench: &mut Bench<Small>, stretch: &Stretch) {
    let packets = stretch.packets();
    for packet in &packets {
        let code = packet[0] as usize & 15;
        let name = SITUATIONS.iter().find(|situation| situation.name.starts_with(&format!("code {code},")));
        bench.tell(name.expect("five codes").name, true);
    }
    let length = stretch.bytes.len();
    bench.tell("from the ring", !stretch.host && length > 0);
    bench.tell("across the end of the ring", !stretch.host && stretch.place + length > RING);
    bench.tell("from host memory", stretch.host && length > 0);
    bench.tell("CRC not checked", !stretch.crc && length > 0);
    for packet in packets.iter().filter(|packet| packet[0] & 15 == 0) {
        let (at, on_wire) = (packet[1], packet[2]);
        let is_marker = |offset: u32| stretch.markers && stretch.to_marker(at + offset) == 0;
        bench.tell("a marker directly in front of an FPDU", is_marker(0));
        bench.tell("a marker directly in front of the CRC field", on_wire >= 12 && is_marker(on_wire - 8));
        bench.tell("a marker directly behind the length field's word", is_marker(4));
        let markers = (0..on_wire / 4).filter(|word| is_marker(4 * word)).count();
        bench.tell("an FPDU of three markers or more", markers >= 3);
        bench.tell("an FPDU without ULPDU", packet[0] >> 16 == 0);
        bench.tell("a tagged FPDU", packet[4] >> 23 & 1 != 0);
        bench.tell("an untagged FPDU", packet[4] >> 23 & 1 == 0);
    }
    let rest = packets.last().expect("one at least");
    bench.tell("a cut within the length field's word", rest[0] & 15 == 3 && rest[2] < 4);
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Small>] = &[
    now("a packet waits", |u| u.valid.val() && u.first.val() && !u.ready.val()),
    now("host memory is late", |u| u.channel.ready.val() && !u.channel.valid.val()),
    told("code 0, a good FPDU"),
    told("code 1, a bad CRC"),
    told("code 2, a marker that points elsewhere"),
    told("code 3, part of an FPDU"),
    told("code 4, nothing is left"),
    told("from the ring"),
    told("across the end of the ring"),
    told("from host memory"),
    told("CRC not checked"),
    told("a marker directly in front of an FPDU"),
    told("a marker directly in front of the CRC field"),
    told("a marker directly behind the length field's word"),
    told("an FPDU of three markers or more"),
    told("a cut within the length field's word"),
    told("an FPDU without ULPDU"),
    told("a tagged FPDU"),
    told("an untagged FPDU"),
];

#[test]
fn every_situation_occurs() {
    for bench in [bench(), serial()] {
        let mut bench = bench.covering(SITUATIONS);
        let mut r = random(3);
        for seed in 0..60 {
            let stretches: Vec<_> = (0..12).map(|_| some_stretch(&mut r, 3000)).collect();
            for stretch in &stretches {
                tell(&mut bench, stretch);
            }
            run(&mut bench, &stretches, 1 + seed as usize % 3, seed);
        }
        bench.check_coverage();
    }
}

#[test]
fn like_its_verilog() {
    verilog("walk", Small::default());
}

#[test]
fn serial_like_its_verilog() {
    verilog("walk-serial", Small::default().serial());
}

fn verilog(name: &str, block: Small) {
    let Some(mut bench) = Bench::with_verilog(name, block, |u| &mut u.clock) else { return };
    let mut seed = 100;
    while bench.cycles() < 30_000 {
        seed += 1;
        let mut r = random(seed);
        let stretches: Vec<_> = (0..5).map(|_| some_stretch(&mut r, 2500)).collect();
        run(&mut bench, &stretches, 1 + r.below(3), seed);
    }
    println!("{name}: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("walk", Walk::<13>::default());
    check_synthesis("walk-serial", Walk::<13>::default().serial());
}
