//! Frames of every kind through parser, ring and descriptors, against the parsers of `proto`.

pub mod frames;

use crate::common::coverage::{Situation, now, told};
use crate::common::{Bench, Packet, Random, Source, check_synthesis, random};
use frames::{MAC, some_frame};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::rx::Receive;
use ironwarp_proto::wire::WireError;
use ironwarp_proto::wire::eth::{ETHERTYPE_IPV4, EthHeader};
use ironwarp_proto::wire::ipv4::{HEADER_LEN, Ipv4Header, PROTOCOL_TCP};
use ironwarp_proto::wire::tcp::TcpHeader;
use proptest::prelude::*;
use std::collections::VecDeque;

/// A ring of 64 words, which holds frames of up to 250 bytes.
type Small = Receive<6, 6>;
type Full = Receive<13, 9>;

/// A frame, whether software injected it and whether the MAC found it bad.
#[derive(Debug, Clone)]
struct Arriving {
    bytes: Vec<u8>,
    injected: bool,
    err: bool,
}

/// The class of a frame, as the golden model's `classify` says, and D2..D8 of a segment.
fn classify(frame: &[u8], promiscuous: bool, capacity: usize) -> (u32, Vec<u32>) {
    const MALFORMED: u32 = 3;
    let Ok((ethernet, packet)) = EthHeader::parse(frame) else { return (MALFORMED, vec![]) };
    let foreign = ethernet.dst != MAC && !ethernet.dst.is_multicast();
    if foreign && !promiscuous {
        return (2, vec![]);
    }
    // What the model has no limit for.
    if (frame.len() + 2).div_ceil(4) > capacity {
        return (MALFORMED, vec![]);
    }
    if foreign {
        return (1 | 1 << 5, vec![]);
    }
    if ethernet.ethertype != ETHERTYPE_IPV4 {
        return (1, vec![]);
    }
    let (ip, segment) = match Ipv4Header::parse(packet) {
        Ok(parsed) => parsed,
        Err(WireError::BadChecksum { .. }) => return (4, vec![]),
        Err(_) => return (MALFORMED, vec![]),
    };
    if ip.protocol != PROTOCOL_TCP || ip.is_fragment() || ip.header_len != HEADER_LEN {
        return (1, vec![]);
    }
    match TcpHeader::parse(ip.src, ip.dst, segment) {
        Ok((tcp, payload)) => {
            let ports = [tcp.src_port.to_be_bytes(), tcp.dst_port.to_be_bytes()].concat();
            let (source, ports) = (ip.src.octets(), ports.try_into().unwrap());
            let hash = source.iter().chain(&ports).fold(0, |hash, byte| hash ^ byte);
            let words = vec![
                (payload.len() as u32) << 16 | (2 + 14 + 20 + tcp.header_len) as u32,
                u32::from_le_bytes(source),
                u32::from_le_bytes(ip.dst.octets()),
                u32::from_le_bytes(ports),
                tcp.seq.0,
                tcp.ack.0,
                u32::from(tcp.window) << 16 | u32::from(tcp.flags.0),
            ];
            (u32::from(hash) << 8, words)
        }
        Err(WireError::BadChecksum { .. }) => (5, vec![]),
        Err(_) => (MALFORMED, vec![]),
    }
}

/// Takes descriptors, reads the ring and frees it, at its own pace.
struct Consumer {
    pace: usize,
    random: Random,
    words: Vec<u32>,
    expected: VecDeque<Arriving>,
    promiscuous: bool,
    capacity: usize,
    /// Where the next frame begins.
    start: usize,
    /// Words of the kept frame still to be read, and where.
    to_read: VecDeque<(usize, u32)>,
    asked: Option<u32>,
    free: Option<u16>,
    classes: [usize; 6],
}

impl Consumer {
    /// A descriptor is complete: is it the right one?
    fn check(&mut self) {
        let frame = self.expected.pop_front().expect("a descriptor too many");
        let (class, rest) = classify(&frame.bytes, self.promiscuous, self.capacity);
        let size = self.capacity + 1;
        let stored: Vec<u8> = [&[0xaa, 0xaa], &frame.bytes[..]].concat();
        let kept = class & 15 <= 1;
        let count = if kept { stored.len().div_ceil(4) } else { 0 };
        let end = (self.start + count) % size;
        let head = class | u32::from(frame.injected) << 4 | (frame.bytes.len() as u32) << 16;
        let descriptor = [&[head, (end << 16 | self.start) as u32], &rest[..]].concat();
        assert_eq!(self.words, descriptor, "{:x?} of {:02x?}", descriptor, frame.bytes);
        self.words.clear();
        self.classes[class as usize & 15] += 1;
        if kept {
            // The end of the last word is anything: not read.
            let whole = stored.chunks_exact(4).enumerate();
            self.to_read = whole
                .map(|(i, word)| ((self.start + i) % size, u32::from_le_bytes(word.try_into().unwrap())))
                .collect();
            self.free = Some(end as u16);
        }
        self.start = end;
    }
}

/// Sends the frames, checks their descriptors and what is in the ring. Returns how many there were of each class and the
/// cycles until the last word had passed.
fn run<const A: usize, const D: usize>(
    bench: &mut Bench<Receive<A, D>>,
    frames: &[Arriving],
    promiscuous: bool,
    pace: (usize, usize),
    seed: u64,
) -> ([usize; 6], u64) {
    bench.cycle(|u| u.reset.next = true, |_| ());
    let mut source = Source::default();
    for frame in frames {
        let packet = Packet { bytes: [&[0xaa, 0xaa], &frame.bytes[..]].concat(), err: frame.err };
        source.push(&packet, 0, 0xaa, frame.injected.into());
    }
    let mut consumer = Consumer {
        pace: pace.1,
        random: random(seed),
        words: vec![],
        expected: frames.iter().filter(|frame| !frame.err).cloned().collect(),
        promiscuous,
        capacity: (1 << A) - 1,
        start: 0,
        to_read: VecDeque::new(),
        asked: None,
        free: None,
        classes: [0; 6],
    };
    let c = &mut consumer;
    let mut gaps = random(!seed);
    let begin = bench.cycles();
    let (mut injected, mut last_taken) = (0, begin);
    while !(source.is_empty() && c.expected.is_empty() && c.to_read.is_empty() && c.free.is_none()) {
        assert!(bench.cycles() - begin < 1_000_000, "stuck");
        let willing = gaps.below(pace.0) == 0;
        let acts = c.random.below(c.pace) == 0;
        let reading = !c.to_read.is_empty() || c.asked.is_some();
        let address = c.to_read.front().map_or(0, |(address, _)| *address as u64);
        let frees = if acts && !reading { c.free.take() } else { None };
        let takes = acts && !reading && c.free.is_none() && frees.is_none();
        bench.fall(|u| {
            u.reset.next = false;
            u.mac_low.next = FB::new(u32::from_le_bytes(MAC.0[..4].try_into().unwrap()).into());
            u.mac_high.next = FB::new(u16::from_le_bytes(MAC.0[4..].try_into().unwrap()).into());
            u.promiscuous.next = promiscuous;
            let side = source.drive(&mut u.upstream, willing);
            // The side value is inverted with all words but the first.
            if u.upstream.valid.next && u.upstream.first.next {
                injected = side & 1;
            }
            u.injected.next = injected != 0;
            u.ready.next = takes;
            u.walk_address.next = FB::new(address);
            u.place_address.next = FB::new(address);
            u.free_enable.next = frees.is_some();
            u.free_to.next = FB::new(frees.unwrap_or(0x5555).into());
        });
        let u = &bench.block;
        if source.look(&u.upstream) {
            last_taken = bench.cycles() + 1;
        }
        if let Some(word) = c.asked.take() {
            assert_eq!(u.walk_data.val().get() as u32, word);
            assert_eq!(u.place_data.val().get() as u32, word);
        }
        c.asked = c.to_read.pop_front().map(|(_, word)| word);
        if takes && u.valid.val() {
            c.words.push(u.word.val().get() as u32);
            let whole = if c.words[0] & 15 == 0 { 9 } else { 2 };
            if c.words.len() == whole {
                c.check();
            }
        }
        bench.rise();
    }
    (consumer.classes, last_taken - begin)
}

fn arriving(bytes: Vec<u8>) -> Arriving {
    Arriving { bytes, injected: false, err: false }
}

fn some_frames(r: &mut Random, count: usize, most: usize) -> Vec<Arriving> {
    (0..count)
        .map(|_| Arriving { bytes: some_frame(r, most), injected: r.below(4) == 0, err: r.below(8) == 0 })
        .collect()
}

fn small() -> Bench<Small> {
    Bench::new(Small::default(), |u| &mut u.clock)
}

#[test]
fn every_class_is_met_often() {
    let mut bench = small();
    let mut met = [0; 6];
    for seed in 0..40 {
        let frames = some_frames(&mut random(seed), 60, 260);
        let (classes, _) = run(&mut bench, &frames, seed % 3 == 0, (1, 1), seed);
        met.iter_mut().zip(classes).for_each(|(sum, class)| *sum += class);
    }
    assert!(met.iter().all(|count| *count >= 50), "{met:?}");
}

#[test]
fn full_size_frames_pass_at_one_word_a_cycle() {
    let mut bench: Bench<Full> = Bench::new(Full::default(), |u| &mut u.clock);
    let mut r = random(5);
    let frames: Vec<_> = (0..20).map(|_| arriving(frames::segment(&mut r, &[], 1460))).collect();
    let words: usize = frames.iter().map(|frame| (frame.bytes.len() + 2).div_ceil(4)).sum();
    let (classes, cycles) = run(&mut bench, &frames, false, (1, 1), 3);
    assert_eq!(classes[0], 20);
    assert!(cycles as usize <= words + 5 * 19 + 2, "{cycles} cycles for {words} words");
}

#[test]
fn the_stream_is_held_while_the_ring_is_full() {
    let mut bench = small();
    let mut source = Source::default();
    let packet = Packet { bytes: [&[0, 0], &frames::arp()[..]].concat(), err: false };
    (0..10).for_each(|_| source.push(&packet, 0, 0, 0));
    let mut passed = 0;
    bench.cycle(|u| u.reset.next = true, |_| ());
    for _ in 0..1000 {
        bench.fall(|u| {
            u.reset.next = false;
            source.drive(&mut u.upstream, true);
        });
        passed += u32::from(source.look(&bench.block.upstream));
        bench.rise();
    }
    assert_eq!(passed, 63);
}

#[test]
fn frames_that_no_ring_can_hold_are_malformed() {
    let mut bench = small();
    let mut r = random(9);
    // 63 words with the pad are the most.
    let frames: Vec<_> =
        [196, 197, 300, 60, 197].iter().map(|n| arriving(frames::segment(&mut r, &[], *n))).collect();
    let (classes, _) = run(&mut bench, &frames, false, (2, 2), 1);
    assert_eq!((classes[0], classes[3]), (2, 3));
}

#[test]
fn frames_shorter_than_any_header_are_malformed() {
    let mut bench = small();
    let whole = frames::segment(&mut random(2), &[], 8);
    let frames: Vec<_> = (0..54).map(|n| arriving(whole[..n].to_vec())).collect();
    let (classes, _) = run(&mut bench, &frames, false, (1, 2), 1);
    assert_eq!(classes, [0, 0, 0, 54, 0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_frames_at_any_pace(
        seed: u64, count in 1usize..40, pace in (1usize..4, 1usize..6), promiscuous: bool,
    ) {
        let frames = some_frames(&mut random(seed), count, 260);
        run(&mut small(), &frames, promiscuous, pace, seed);
    }
}

fn arrives(u: &Small) -> bool {
    u.upstream.valid.val() && u.upstream.ready.val()
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Small>] = &[
    now("the stream is held: no room for its next word, or its descriptor", |u| {
        u.upstream.valid.val() && !u.upstream.ready.val()
    }),
    now("a frame that the MAC found bad", |u| arrives(u) && u.upstream.last.val() && u.upstream.err.val()),
    now("an injected frame", |u| arrives(u) && u.upstream.first.val() && u.injected.val()),
    now("a frame of one word", |u| arrives(u) && u.upstream.first.val() && u.upstream.last.val()),
    now("a frame whose last word has one byte", |u| {
        arrives(u) && u.upstream.last.val() && u.upstream.empty.val().get() == 3
    }),
    now("promiscuous", |u| arrives(u) && u.promiscuous.val()),
    now("words are freed while a frame comes", |u| arrives(u) && u.free_enable.val()),
    now("a descriptor waits", |u| u.valid.val() && !u.ready.val()),
    now("a descriptor is read while a frame comes", |u| u.valid.val() && u.ready.val() && arrives(u)),
    told("class 0, a TCP segment"),
    told("class 1, a raw frame"),
    told("class 2, not for us"),
    told("class 3, malformed"),
    told("class 4, a bad IP checksum"),
    told("class 5, a bad TCP checksum"),
];

#[test]
fn every_situation_occurs() {
    let mut bench = small().covering(SITUATIONS);
    for seed in 0..40 {
        let frames = some_frames(&mut random(seed), 60, 260);
        let pace = (1 + seed as usize % 3, 1 + seed as usize % 4);
        let (classes, _) = run(&mut bench, &frames, seed % 3 == 0, pace, seed);
        let told = SITUATIONS.iter().filter(|situation| situation.name.starts_with("class "));
        told.zip(classes).for_each(|(class, count)| bench.tell(class.name, count > 0));
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("receive", Small::default(), |u| &mut u.clock) else { return };
    let mut seed = 100;
    while bench.cycles() < 30_000 {
        seed += 1;
        let mut r = random(seed);
        let frames = some_frames(&mut r, 40, 260);
        let pace = (1 + r.below(3), 1 + r.below(4));
        run(&mut bench, &frames, seed % 2 == 0, pace, seed);
    }
    println!("receive: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("receive", Full::default());
}
