//! The transmit engine against frames built by the golden functions.

use crate::common::coverage::{Situation, now, told};
use crate::common::{Bench, Packet, Random, Sink, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::tx::TxEngine;
use ironwarp_proto::mpa::fpdu;
use ironwarp_proto::mpa::marker::{self, MarkerPhase};
use ironwarp_proto::wire::checksum;
use ironwarp_proto::wire::ipv4::PROTOCOL_TCP;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

type Engine = TxEngine<6, 9>;
const MEMORY: usize = 1 << 16;
/// Reads from here on fail.
const UNMAPPED: usize = 0xf000;

fn engine() -> Engine {
    Engine::new(1518, 2)
}

fn serial() -> Engine {
    engine().serial()
}

/// Host memory: address = content, scrambled.
fn byte(at: usize) -> u8 {
    (at as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0]
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_le_bytes(word)
    };
    bytes.chunks(4).map(word).collect()
}

/// What a frame is to become.
#[derive(Debug, Clone, PartialEq)]
enum Expected {
    Mac(Vec<u8>),
    Inject(Vec<u8>),
    Error(u16),
    Nothing,
}

/// Commands of a frame in the making and what the golden functions make of it.
struct Case {
    commands: Vec<u32>,
    expected: Expected,
    /// Bytes on the stream of each FPDU.
    fpdus: Vec<usize>,
}

fn headers(random: &mut Random, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; 2];
    bytes.extend((0..54).map(|_| random.word() as u8));
    bytes[14..18].copy_from_slice(&[8, 0, 0x45, 0]);
    bytes[18..20].copy_from_slice(&(payload as u16 + 40).to_be_bytes());
    bytes[26..28].copy_from_slice(&[0, 0]);
    bytes[25] = PROTOCOL_TCP;
    bytes[52..54].copy_from_slice(&[0, 0]);
    bytes
}

/// Both checksums in, by the functions of the wire formats.
fn checksummed(mut frame: Vec<u8>) -> Vec<u8> {
    let sum = checksum::finish(checksum::sum(0, &frame[16..36]));
    frame[26..28].copy_from_slice(&sum.to_be_bytes());
    let at = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let pseudo = checksum::pseudo_header(at(28), at(32), PROTOCOL_TCP, (frame.len() - 36) as u16);
    let sum = checksum::finish(checksum::sum(pseudo, &frame[36..]));
    frame[52..54].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Put payload commands for `bytes` that stand at `at` of host memory.
fn payload(random: &mut Random, commands: &mut Vec<u32>, at: usize, len: usize) -> Vec<u8> {
    let bytes: Vec<u8> = (at..at + len).map(byte).collect();
    let mut done = 0;
    while done < len || random.below(8) == 0 {
        let piece = (len - done).min([1, 2, 3, 4, 7, 60, 255, 1500][random.below(8)]);
        if random.below(2) == 0 && (1..=255).contains(&piece) {
            commands.push(4 | (piece as u32) << 8);
            commands.extend(words(&bytes[done..done + piece]));
        } else {
            commands.extend([5 | (piece as u32) << 16, (at + done) as u32, 0]);
        }
        done += piece;
    }
    bytes
}

fn case(random: &mut Random) -> Case {
    let tag = random.word() as u16;
    let place = |random: &mut Random, len: usize| match random.below(4) {
        // Across a page.
        0 => 0x3000 - random.below(len + 1),
        _ => random.below(0x8000),
    };
    match random.below(8) {
        0 => {
            // A raw frame.
            let len = 3 + random.below(1400);
            let inject = random.below(2) == 0;
            let at = place(random, len);
            let mut commands = vec![1 | 1 << 4 | u32::from(inject) << 5 | u32::from(tag) << 16, 0, 0];
            let bytes = payload(random, &mut commands, at, len);
            commands.push(7);
            let expected = if inject { Expected::Inject(bytes) } else { Expected::Mac(bytes) };
            Case { commands, expected, fpdus: vec![] }
        }
        1 => {
            // Plain TCP.
            let len = random.below(1400);
            let mut frame = headers(random, len);
            let mut commands = vec![1 | u32::from(tag) << 16, 0, 0, 2 | 14 << 8];
            commands.extend(words(&frame));
            let at = place(random, len);
            frame.extend(payload(random, &mut commands, at, len));
            commands.push(7);
            Case { commands, expected: Expected::Mac(checksummed(frame)), fpdus: vec![] }
        }
        _ => fpdus(random, tag),
    }
}

fn fpdus(random: &mut Random, tag: u16) -> Case {
    let (markers, crc) = (random.below(2) == 0, random.below(4) != 0);
    let to_marker = random.below(128) * 4;
    let (mut inner, mut stream) = (Vec::new(), Vec::new());
    let mut phase = MarkerPhase::at((512 - to_marker) as u64);
    let (mut fails, mut fpdus) = (false, vec![]);
    for _ in 0..1 + random.below(4) {
        let header: Vec<u8> = (0..[14, 18][random.below(2)]).map(|_| random.word() as u8).collect();
        let len = [0, 1, 2, 3, 8, random.below(60), random.below(700)][random.below(7)];
        let length = ((header.len() + len) as u16).to_be_bytes();
        let shown = words(&[&length[..], &header[..]].concat());
        inner.push(3 | (shown.len() as u32) << 8);
        inner.extend(shown);
        let at = match random.below(5) {
            0 => 0x3000 - random.below(len + 1),
            _ => random.below(0x8000),
        };
        let data = payload(random, &mut inner, at, len);
        if random.below(40) == 0 {
            fails = true;
            inner.extend([5 | 9 << 16, UNMAPPED as u32 + 2, 0]);
        }
        inner.push(6);
        let ulpdu: [&[u8]; 2] = [&header, &data];
        if markers {
            phase = marker::emit(&ulpdu, crc, phase, &mut stream).unwrap();
        } else {
            fpdu::emit(&ulpdu, crc, &mut stream).unwrap();
        }
        fpdus.push(stream.len() - fpdus.iter().sum::<usize>());
    }
    // A segment holds at most 1400 of them.
    let skip = if random.below(2) == 0 && stream.len() <= 1400 { 0 } else { random.below(stream.len()) };
    let most = (stream.len() - skip).min(1400);
    let stop = if random.below(2) == 0 { most } else { 1 + random.below(most) };
    let mut frame = headers(random, stop);
    let flags = u32::from(markers) << 6 | u32::from(crc) << 7;
    let mut commands = vec![1 | flags | u32::from(tag) << 16, to_marker as u32, (skip | stop << 16) as u32];
    commands.push(2 | 14 << 8);
    commands.extend(words(&frame));
    commands.extend(inner);
    let drop = random.below(12) == 0;
    commands.push(7 | u32::from(drop) << 4);
    frame.extend(&stream[skip..skip + stop]);
    let expected = match (fails, drop) {
        (true, _) => Expected::Error(tag),
        (false, true) => Expected::Nothing,
        (false, false) => Expected::Mac(checksummed(frame)),
    };
    Case { commands, expected, fpdus }
}

/// Host memory that takes its time.
#[derive(Default)]
struct Memory {
    words: VecDeque<(u32, bool, bool)>,
    delay: usize,
    offered: bool,
}

impl Memory {
    fn drive(&mut self, u: &mut Engine, random: &mut Random, stall: usize) {
        self.delay = self.delay.saturating_sub(1);
        self.offered =
            (self.offered || random.below(8) >= stall) && self.delay == 0 && !self.words.is_empty();
        let (data, last, error) = self.words.front().copied().unwrap_or((random.word(), true, true));
        u.dma.valid.next = self.offered;
        u.dma.data.next = FB::new(data.into());
        u.dma.last.next = last;
        u.dma.error.next = error;
        u.dma.accept.next = self.words.is_empty() && random.below(8) >= stall;
    }

    fn look(&mut self, u: &Engine, latency: usize) {
        if u.dma.request.val() && u.dma.accept.val() {
            let (at, words) = (u.dma.address.val().get() as usize, u.dma.words.val().get() as usize);
            assert!(words > 0 && at % 4 == 0 && at / 4096 == (at + 4 * words - 1) / 4096, "{at:#x} {words}");
            assert!(at + 4 * words <= MEMORY);
            let word = |w: usize| u32::from_le_bytes([0, 1, 2, 3].map(|b| byte(at + 4 * w + b)));
            self.words.extend((0..words).map(|w| (word(w), w + 1 == words, at >= UNMAPPED)));
            self.delay = latency;
        }
        if self.offered && u.dma.ready.val() {
            self.words.pop_front();
            self.offered = false;
        }
    }
}

fn run(bench: &mut Bench<Engine>, cases: &[Case], random: &mut Random, stall: usize) -> u64 {
    let start = bench.cycles();
    bench.cycle(|u| u.reset.next = true, |_| ());
    let mut commands: VecDeque<u32> = cases.iter().flat_map(|case| case.commands.clone()).collect();
    let (mut mac, mut inject, mut memory) = (Sink::default(), Sink::default(), Memory::default());
    let mut errors = Vec::new();
    let mut quiet = 0;
    while quiet < 100 {
        let (offers, takes) = (random.below(8) >= stall, random.below(8) >= stall);
        let word = commands.front().copied().unwrap_or(random.word());
        let valid = offers && !commands.is_empty();
        bench.fall(|u| {
            u.reset.next = false;
            u.command.next = FB::new(word.into());
            u.valid.next = valid;
            u.mac.ready.next = takes;
            u.inject.ready.next = takes;
            u.error_take.next = true;
            memory.drive(u, random, stall);
        });
        let u = &bench.block;
        if valid && u.ready.val() {
            commands.pop_front();
        }
        mac.look(&u.mac);
        inject.look(&u.inject);
        if u.error.val() {
            errors.push(u.error_tag.val().get() as u16);
        }
        memory.look(u, stall * 5);
        quiet = if u.empty.val() && commands.is_empty() { quiet + 1 } else { 0 };
        bench.rise();
    }
    let packets = |wanted: fn(&Expected) -> Option<&Vec<u8>>| -> Vec<Packet> {
        let bytes = cases.iter().filter_map(|case| wanted(&case.expected));
        bytes.map(|bytes| Packet { bytes: bytes.clone(), err: false }).collect()
    };
    let on_mac = packets(|e| if let Expected::Mac(bytes) = e { Some(bytes) } else { None });
    let injected = packets(|e| if let Expected::Inject(bytes) = e { Some(bytes) } else { None });
    for (at, (seen, wanted)) in mac.packets.iter().zip(&on_mac).enumerate() {
        assert!(seen == wanted, "frame {at}:\n{seen:x?}\n{wanted:x?}");
    }
    assert_eq!(mac.packets.len(), on_mac.len());
    assert!(inject.packets == injected);
    let failed: Vec<u16> = cases
        .iter()
        .filter_map(|c| if let Expected::Error(tag) = c.expected { Some(tag) } else { None })
        .collect();
    assert_eq!(errors, failed);
    bench.cycles() - start
}

fn bench(form: fn() -> Engine) -> Bench<Engine> {
    Bench::new(form(), |u| &mut u.clock)
}

#[test]
fn frames_are_those_of_the_golden_functions() {
    golden(engine);
}

#[test]
fn a_byte_at_a_time_they_are_too() {
    golden(serial);
}

fn golden(form: fn() -> Engine) {
    let mut bench = bench(form);
    for seed in 0..40 {
        println!("seed {seed}");
        let random = &mut random(seed);
        let cases: Vec<Case> = (0..25).map(|_| case(random)).collect();
        run(&mut bench, &cases, random, seed as usize % 7);
    }
}

#[test]
fn a_full_segment_takes_a_cycle_a_word() {
    let each = segment(engine);
    println!("{each} cycles a segment of 379 words");
    assert!(each <= 379 + 21, "{each} cycles a segment");
}

#[test]
fn or_a_cycle_a_byte() {
    let each = segment(serial);
    println!("{each} cycles a segment of 1516 bytes");
    assert!(each <= 1516 + 40, "{each} cycles a segment");
}

fn segment(form: fn() -> Engine) -> u64 {
    // One FPDU of 1460 bytes from memory without latency.
    let random = &mut random(1);
    let length = 1452u16.to_be_bytes();
    let mut commands = vec![1 | 1 << 7, 0, 1460 << 16, 2 | 14 << 8];
    commands.extend(words(&headers(random, 1460)));
    commands.extend([3 | 4 << 8, u32::from_le_bytes([length[0], length[1], 0xc1, 0x40]), 1, 2, 3]);
    commands.extend([5 | 1438 << 16, 0x100, 0, 6, 7]);
    let mut frame = headers(&mut crate::common::random(1), 1460);
    fpdu::emit(
        &[&words_bytes(&commands[19..23])[2..], &(0x100..0x100 + 1438).map(byte).collect::<Vec<u8>>()],
        true,
        &mut frame,
    )
    .unwrap();
    let expected = Expected::Mac(checksummed(frame));
    let case = || Case { commands: commands.clone(), expected: expected.clone(), fpdus: vec![1460] };
    let one = run(&mut bench(form), &[case()], random, 0);
    let five = run(&mut bench(form), &[case(), case(), case(), case(), case()], random, 0);
    // 14 + 4 + 360 words and a CRC; commands of the next overlap with nothing but the checksums of this.
    (five - one) / 4
}

/// As the program does it: a frame is begun when there is room, and failures are looked at now and then.
#[test]
fn every_frame_that_fails_is_told_however_late_one_looks() {
    every_failure_is_told(engine);
}

#[test]
fn so_it_is_a_byte_at_a_time() {
    every_failure_is_told(serial);
}

fn every_failure_is_told(form: fn() -> Engine) {
    let (mut bench, mut random) = (bench(form), random(9));
    let fails = |case: &Case| matches!(case.expected, Expected::Error(_));
    let cases: Vec<Case> = std::iter::repeat_with(|| case(&mut random)).filter(fails).take(40).collect();
    let tags: Vec<u16> = cases
        .iter()
        .filter_map(|c| if let Expected::Error(tag) = c.expected { Some(tag) } else { None })
        .collect();
    let mut frames: VecDeque<VecDeque<u32>> = cases.into_iter().map(|case| case.commands.into()).collect();
    let (mut commands, mut memory, mut told) = (VecDeque::new(), Memory::default(), Vec::new());
    bench.cycle(|u| u.reset.next = true, |_| ());
    while told.len() < tags.len() {
        assert!(bench.cycles() < 400_000, "{} of {} told", told.len(), tags.len());
        if commands.is_empty() && bench.block.room.val() {
            commands = frames.pop_front().unwrap_or_default();
        }
        let word = commands.front().copied();
        let looks = random.below(400) == 0;
        bench.fall(|u| {
            u.reset.next = false;
            u.command.next = FB::new(word.unwrap_or_default().into());
            u.valid.next = word.is_some();
            u.mac.ready.next = true;
            u.inject.ready.next = true;
            u.error_take.next = looks;
            memory.drive(u, &mut random, 2);
        });
        let u = &bench.block;
        if word.is_some() && u.ready.val() {
            commands.pop_front();
        }
        if looks && u.error.val() {
            told.push(u.error_tag.val().get() as u16);
        }
        memory.look(u, 10);
        bench.rise();
    }
    assert_eq!(told, tags);
}

fn words_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Engine>] = &[
    now("a command waits", |u| u.valid.val() && !u.ready.val()),
    now("the wire stalls", |u| u.mac.valid.val() && !u.mac.ready.val()),
    now("the receive path stalls an injected frame", |u| u.inject.valid.val() && !u.inject.ready.val()),
    now("no room for another frame", |u| !u.room.val()),
    now("a frame leaves while another is built", |u| {
        u.mac.valid.val() && u.mac.ready.val() && u.valid.val() && u.ready.val()
    }),
    now("payload is late", |u| u.dma.ready.val() && !u.dma.valid.val()),
    now("payload is there and has to wait", |u| u.dma.valid.val() && !u.dma.ready.val()),
    now("payload that cannot be read", |u| u.dma.valid.val() && u.dma.ready.val() && u.dma.error.val()),
    now("somebody is told of it", |u| u.error.val()),
    now("nothing at all", |u| u.empty.val() && u.idle.val()),
    told("a raw frame"),
    told("an injected frame"),
    told("a segment without FPDU"),
    told("several FPDUs in a segment"),
    told("FPDUs with markers"),
    told("FPDUs without CRC"),
    told("a segment that begins within an FPDU"),
    told("a segment that ends within an FPDU"),
    told("a frame that is dropped in the end"),
    told("a frame of an odd number of bytes"),
];

#[test]
fn every_situation_occurs() {
    [engine, serial].into_iter().for_each(cover);
}

fn cover(form: fn() -> Engine) {
    let mut bench = bench(form).covering(SITUATIONS);
    for seed in 0..12 {
        let random = &mut random(seed);
        let cases: Vec<Case> = (0..25).map(|_| case(random)).collect();
        for case in &cases {
            let [head, _, cut] = case.commands[..3] else { unreachable!("BEGIN has three words") };
            let fpdus = case.fpdus.len();
            let stream: usize = case.fpdus.iter().sum();
            let (skip, stop) = (cut as usize & 0xffff, cut as usize >> 16);
            bench.tell("a raw frame", head & 1 << 4 != 0);
            bench.tell("an injected frame", matches!(case.expected, Expected::Inject(_)));
            bench.tell("a segment without FPDU", head & 1 << 4 == 0 && fpdus == 0);
            bench.tell("several FPDUs in a segment", fpdus > 1);
            bench.tell("FPDUs with markers", fpdus > 0 && head & 1 << 6 != 0);
            bench.tell("FPDUs without CRC", fpdus > 0 && head & 1 << 7 == 0);
            bench.tell("a segment that begins within an FPDU", skip > 0);
            bench.tell("a segment that ends within an FPDU", fpdus > 0 && skip + stop < stream);
            bench.tell("a frame that is dropped in the end", case.expected == Expected::Nothing);
            bench.tell(
                "a frame of an odd number of bytes",
                matches!(&case.expected, Expected::Mac(bytes) if bytes.len() % 2 == 1),
            );
        }
        run(&mut bench, &cases, random, seed as usize % 7);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    verilog("transmit", engine);
}

#[test]
fn serial_like_its_verilog() {
    verilog("transmit-serial", serial);
}

fn verilog(name: &str, form: fn() -> Engine) {
    let Some(mut bench) = Bench::with_verilog(name, form(), |u| &mut u.clock) else { return };
    for seed in 100..106 {
        let random = &mut random(seed);
        let cases: Vec<Case> = (0..12).map(|_| case(random)).collect();
        run(&mut bench, &cases, random, seed as usize % 4);
    }
    println!("{name}: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("transmit", engine());
    check_synthesis("transmit-serial", serial());
}
