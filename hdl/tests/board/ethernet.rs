//! The RMII front end between a PHY, di-bit by di-bit, and a core of any clock.

use crate::common::coverage::{Situation, now, told};
use crate::common::{Bench, Packet, Random, Sink, Source, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::mac::{Crossing, Ethernet, ToWords};
use ironwarp_hdl::outside::{GAP, Phy, Shape, fcs};
use std::collections::VecDeque;

const REFERENCE: u64 = 20_000;

/// Two clocks in time: periods and where they are, ps.
struct Clocks {
    half: [u64; 2],
    next: [u64; 2],
    high: [bool; 2],
}

/// An edge: of which clock, and whether it rises.
type Edge = (usize, bool);

impl Clocks {
    fn new(periods: [u64; 2], phase: u64) -> Self {
        Clocks { half: periods.map(|period| period / 2), next: [0, phase], high: [true; 2] }
    }
    fn edge(&mut self) -> Edge {
        let which = usize::from(self.next[1] < self.next[0]);
        self.next[which] += self.half[which];
        self.high[which] = !self.high[which];
        (which, self.high[which])
    }
}

/// Clock 0 is the PHY's, clock 1 the core's.
struct World {
    bench: Bench<Ethernet>,
    clocks: Clocks,
    phy: Phy,
    source: Source,
    sink: Sink,
    random: Random,
    /// One in so many cycles the core takes, or offers, no word.
    lazy: usize,
    /// Takes nothing at all.
    asleep: bool,
    reset: bool,
}

impl World {
    fn new(bench: Bench<Ethernet>, core_ps: u64, phase: u64, seed: u64) -> Self {
        World {
            bench,
            clocks: Clocks::new([REFERENCE, core_ps], phase),
            phy: Phy::default(),
            source: Source::default(),
            sink: Sink::default(),
            random: random(seed),
            lazy: 8,
            asleep: false,
            reset: false,
        }
    }

    fn native(core_ps: u64, phase: u64, seed: u64) -> Self {
        Self::new(Bench::new(Ethernet::default(), |unit| &mut unit.phy_clock), core_ps, phase, seed)
    }

    /// A frame of the core, two pad bytes in front.
    fn send(&mut self, frame: &[u8]) {
        self.source.push(&Packet { bytes: [&[0, 0], frame].concat(), err: false }, 0, 0, 0);
    }

    fn step(&mut self) {
        match self.clocks.edge() {
            (0, false) => {
                let (pair, valid) = self.phy.drive();
                self.bench.settle(|unit| {
                    unit.phy_clock.next = false.into();
                    unit.rxd.next = FB::new(pair.into());
                    unit.crs_dv.next = valid;
                });
                let unit = &self.bench.block;
                self.phy.look(unit.txd.val().get() as u8, unit.tx_en.val());
            }
            (0, true) => self.bench.settle(|unit| unit.phy_clock.next = true.into()),
            (_, false) => {
                let takes = !self.asleep && self.random.below(self.lazy) != 0;
                // A frame, once begun, comes without gaps, as the transmit ring gives it.
                let (source, reset) = (&mut self.source, self.reset);
                self.bench.settle(|unit| {
                    unit.clock.next = false.into();
                    unit.downstream.ready.next = takes;
                    unit.reset.next = reset;
                    source.drive(&mut unit.upstream, true);
                });
                self.bench.observe();
                self.source.look(&self.bench.block.upstream);
                self.sink.look(&self.bench.block.downstream);
            }
            (_, true) => self.bench.settle(|unit| unit.clock.next = true.into()),
        }
    }

    fn run(&mut self, microseconds: u64) {
        let end = self.clocks.next[0] + microseconds * 1_000_000;
        while self.clocks.next[0] < end {
            self.step();
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.random.word() as u8).collect()
    }
}

/// What the core is to see of a frame.
fn padded(frame: &[u8]) -> Packet {
    let mut bytes = [&[0, 0], frame].concat();
    bytes.resize(bytes.len().max(62), 0);
    Packet { bytes, err: false }
}

#[test]
fn frames_of_every_tail_length_pass_both_ways_at_any_phase() {
    // 31.25 and 62.5 MHz, and clocks that drift against the PHY's.
    for (seed, core_ps) in [32_000, 16_000, 20_002, 31_114].into_iter().enumerate() {
        let mut world = World::native(core_ps, 777 * seed as u64, seed as u64);
        let lengths = [60, 61, 62, 63, 64, 65, 66, 67, 14, 59, 1514];
        let frames = lengths.map(|length| world.bytes(length));
        for (at, frame) in frames.iter().enumerate() {
            let shape = Shape {
                preamble: [31, 30, 7, 1][at % 4],
                carrier: at % 6,
                toggles: at % 5,
                dribble: if at % 3 == 0 { at % 4 } else { 0 },
            };
            let mut bytes = frame.clone();
            bytes.resize(bytes.len().max(60), 0);
            bytes.extend(fcs(&bytes));
            world.phy.deliver_raw(&bytes, shape);
            world.send(frame);
        }
        world.run(250);
        assert_eq!(world.sink.packets, frames.iter().map(|frame| padded(frame)).collect::<Vec<_>>());
        for (at, frame) in frames.iter().enumerate() {
            let sent = world.phy.take().expect("a frame");
            assert!(sent.good, "frame {at}");
            assert!(at == 0 || sent.gap >= GAP, "frame {at} after {} cycles", sent.gap);
            assert_eq!(sent.bytes, padded(frame).bytes[2..]);
        }
        assert_eq!(world.phy.take(), None);
        let unit = &world.bench.block;
        assert_eq!((unit.taken.val(), unit.sent.val()), (FB::new(11), FB::new(11)));
        assert_eq!((unit.lost.val(), unit.spoiled.val()), (FB::new(0), FB::new(0)));
    }
}

#[test]
fn what_is_no_good_frame_is_dropped_and_the_next_one_is_not() {
    let mut world = World::native(32_000, 5_000, 9);
    let good = world.bytes(70);
    let whole = |frame: &[u8]| [frame, &fcs(frame)].concat();
    let mut wrong = whole(&good);
    wrong[20] ^= 4;
    let mut dropped = 0;
    let long = world.bytes(1515);
    let longest = world.bytes(1514);
    for (bytes, traces) in [
        (wrong, 1),
        (whole(&good[..59]), 1),
        (whole(&long), 1),
        (vec![1, 2, 3], 0),
        (vec![], 0),
        (vec![9; 5], 1),
        (whole(&longest), 1),
    ] {
        world.phy.deliver_raw(&bytes, Shape::default());
        world.phy.deliver(&good);
        dropped += traces;
    }
    // A false carrier, and data that come without any preamble.
    world.phy.deliver_raw(&[0x12, 0x34], Shape { preamble: 0, carrier: 4, toggles: 0, dribble: 1 });
    world.phy.deliver(&good);
    world.run(700);
    let (bad, fine): (Vec<_>, Vec<_>) = world.sink.packets.iter().partition(|packet| packet.err);
    assert_eq!(bad.len(), dropped - 1);
    assert_eq!(fine.iter().filter(|packet| packet.bytes.len() == 72).count(), 8);
    assert_eq!(fine.iter().filter(|packet| packet.bytes.len() == 1516).count(), 1, "the longest is good");
}

#[test]
fn a_core_that_does_not_take_loses_whole_frames_and_they_are_counted() {
    let mut world = World::native(32_000, 1, 4);
    let frames: Vec<Vec<u8>> = (0..8).map(|at| world.bytes(60 + 37 * at)).collect();
    for (at, frame) in frames.iter().enumerate() {
        world.phy.deliver(frame);
        // It falls asleep in the middle of some.
        world.run(3);
        world.asleep = at % 2 == 1;
        world.run(60);
        world.asleep = false;
        world.run(10);
    }
    let expected: Vec<_> = frames.iter().step_by(2).map(|frame| padded(frame)).collect();
    let good: Vec<_> = world.sink.packets.iter().filter(|packet| !packet.err).cloned().collect();
    assert_eq!(good, expected);
    for packet in world.sink.packets.iter().filter(|packet| packet.err) {
        assert!(frames.iter().any(|frame| padded(frame).bytes.starts_with(&packet.bytes)), "not a beginning");
    }
    assert_eq!(world.bench.block.lost.val(), FB::new(4));
}

#[test]
fn a_reset_of_the_core_cuts_nothing_that_is_taken_for_good() {
    let mut world = World::native(32_000, 1, 5);
    let frame = world.bytes(300);
    world.phy.deliver(&frame);
    world.send(&frame);
    world.run(12);
    world.reset = true;
    world.source = Source::default();
    world.sink = Sink::default();
    world.run(2);
    world.reset = false;
    world.run(40);
    assert_eq!(world.sink.packets, [], "the rest of the frame has vanished");
    let sent = world.phy.take().expect("what had begun");
    assert!(!sent.good);
    world.phy.deliver(&frame);
    world.send(&frame);
    world.run(60);
    assert_eq!(world.sink.packets, [padded(&frame)]);
    let sent = world.phy.take().expect("the next");
    assert!(sent.good && sent.bytes == frame);
}

#[test]
fn a_core_that_is_too_slow_spoils_the_frame() {
    // 12.5 MHz: four bytes in 400 ns, where the wire wants them in 320.
    let mut world = World::native(80_000, 1, 6);
    let frame = world.bytes(200);
    world.send(&frame);
    world.send(&frame[..14]);
    world.run(100);
    let sent = world.phy.take().expect("a frame");
    assert!(!sent.good && frame.starts_with(&sent.bytes));
    let sent = world.phy.take().expect("the next");
    assert!(sent.good && sent.bytes[..14] == frame[..14]);
    assert_eq!(world.bench.block.spoiled.val(), FB::new(1));
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Ethernet>] = &[
    now("the core does not take a word", |u| u.downstream.valid.val() && !u.downstream.ready.val()),
    now("the wire does not take a word", |u| u.upstream.valid.val() && !u.upstream.ready.val()),
    now("a frame from the wire while one goes out", |u| u.downstream.valid.val() && u.upstream.valid.val()),
    now("the core sees the beginning of a bad frame, and drops it", |u| {
        u.downstream.valid.val() && u.downstream.ready.val() && u.downstream.err.val()
    }),
    told("a good frame"),
    told("a preamble that was cut"),
    told("CRS_DV toggles at the end"),
    told("a frame that ends within a byte"),
    told("a bad FCS"),
    told("a frame that is too short"),
    told("a frame that is too long"),
    told("a frame that is lost: the core was asleep"),
    told("a frame to send that has to be padded"),
    told("two frames to send, with the gap between them"),
];

#[test]
fn every_situation_occurs() {
    let bench = Bench::new(Ethernet::default(), |unit| &mut unit.phy_clock).covering(SITUATIONS);
    let mut world = World::new(bench, 31_114, 3, 11);
    let (mut expected, mut outgoing) = (vec![], vec![]);
    for round in 0..120 {
        let length = [60, 61, 62, 63, 200][world.random.below(5)];
        let frame = world.bytes(length);
        let shape = Shape {
            preamble: [31, 31, 9, 1][world.random.below(4)],
            carrier: world.random.below(6),
            toggles: world.random.below(5),
            dribble: world.random.below(4),
        };
        let mut bytes = [&frame[..], &fcs(&frame)].concat();
        world.asleep = false;
        let fault = world.random.below(8);
        match fault {
            0 => bytes[length / 2] ^= 1 << world.random.below(8),
            1 => bytes = [&frame[..59], &fcs(&frame[..59])].concat(),
            2 => {
                let long = world.bytes(1515);
                bytes = [&long[..], &fcs(&long)].concat();
            }
            3 => world.asleep = true,
            _ => expected.push(padded(&frame)),
        }
        for (name, happened) in [
            ("a good frame", fault > 3),
            ("a preamble that was cut", shape.preamble < 31),
            ("CRS_DV toggles at the end", shape.toggles > 0),
            ("a frame that ends within a byte", shape.dribble > 0),
            ("a bad FCS", fault == 0),
            ("a frame that is too short", fault == 1),
            ("a frame that is too long", fault == 2),
        ] {
            world.bench.tell(name, happened);
        }
        world.phy.deliver_raw(&bytes, shape);
        for count in 0..world.random.below(3) {
            let short = [14, 59, 60, 300][world.random.below(4)];
            let frame = world.bytes(short);
            world.bench.tell("a frame to send that has to be padded", short < 60);
            world.bench.tell("two frames to send, with the gap between them", count > 0);
            world.send(&frame);
            outgoing.push(frame);
        }
        let lost = world.bench.block.lost.val();
        world.run(if fault == 2 { 150 } else { 70 });
        let is_lost = world.bench.block.lost.val() != lost;
        world.bench.tell("a frame that is lost: the core was asleep", is_lost);
        assert!(!is_lost || fault == 3, "round {round}");
        if fault == 3 && !is_lost {
            expected.push(padded(&frame));
        }
    }
    world.asleep = false;
    world.run(200);
    let good: Vec<_> = world.sink.packets.iter().filter(|packet| !packet.err).cloned().collect();
    assert_eq!(good, expected);
    for frame in outgoing {
        let sent = world.phy.take().expect("a frame");
        assert!(sent.good && sent.bytes == padded(&frame).bytes[2..]);
    }
    world.bench.check_coverage();
}

#[test]
fn the_front_end_is_its_verilog() {
    let unit = Ethernet::default();
    if let Some(bench) = Bench::with_verilog("ethernet", unit, |unit| &mut unit.phy_clock) {
        let mut world = World::new(bench, 31_114, 3, 7);
        for length in [60, 75, 64, 100, 61] {
            let frame = world.bytes(length);
            world.phy.deliver(&frame);
            world.phy.deliver_raw(&frame[..40], Shape::default());
            world.send(&frame);
            world.send(&frame[..20]);
        }
        world.run(90);
        assert!(world.sink.packets.iter().filter(|packet| !packet.err).count() >= 4);
    }
}

#[test]
fn the_front_end_can_be_synthesised() {
    check_synthesis("ethernet", Ethernet::default());
    check_synthesis("to_words", ToWords::default());
}

/// The queue against one of Rust, whatever the clocks.
#[test]
fn the_crossing_is_a_queue() {
    type Queue = Crossing<3, 4, 8>;
    for (seed, periods) in [
        [20_000, 32_000],
        [20_000, 16_000],
        [20_000, 20_000],
        [20_000, 20_004],
        [90_000, 8_000],
        [8_000, 90_000],
    ]
    .into_iter()
    .enumerate()
    {
        let unit = Queue::default();
        let mut bench = if seed == 3 {
            match Bench::with_verilog("crossing", unit, |unit| &mut unit.write_clock) {
                Some(bench) => bench,
                None => continue,
            }
        } else {
            Bench::new(unit, |unit| &mut unit.write_clock)
        };
        let mut clocks = Clocks::new(periods, seed as u64 * 3_001);
        let mut random = random(seed as u64);
        let (mut public, mut hidden, mut next) = (VecDeque::new(), VecDeque::new(), 0u64);
        let (mut seen, mut fulls, mut empties) = (0, 0, 0);
        for _ in 0..40_000 {
            match clocks.edge() {
                (0, false) => {
                    let op = random.below(16);
                    let value = next & 0xff;
                    let close = op == 0 && !hidden.is_empty();
                    let discard = op == 1;
                    // The writer and the reader each take turns at being lazy.
                    let write = op >= 2 && (next / 64 % 2 == 0 || op > 12);
                    let publish = !close && !discard && !hidden.is_empty() && op % 4 != 3;
                    bench.settle(|unit| {
                        unit.write_clock.next = false.into();
                        unit.data_in.next = FB::new(value);
                        unit.write.next = write;
                        unit.publish.next = publish;
                        unit.close.next = close;
                        unit.discard.next = discard;
                    });
                    let full = bench.block.full.val();
                    fulls += usize::from(full);
                    assert!(full || public.len() + hidden.len() < 8, "no room");
                    if publish {
                        public.push_back(hidden.pop_front().unwrap());
                    }
                    if write && !full {
                        hidden.push_back(value);
                    }
                    if close {
                        public.push_back(value);
                    }
                    if close || discard {
                        hidden.clear();
                    }
                    next += u64::from(close || (write && !full));
                }
                (0, true) => bench.settle(|unit| unit.write_clock.next = true.into()),
                (_, false) => {
                    let reads = random.below(if next / 64 % 2 == 0 { 5 } else { 1 }) == 0;
                    bench.settle(|unit| {
                        unit.read_clock.next = false.into();
                        unit.read.next = reads;
                    });
                    let unit = &bench.block;
                    if unit.empty.val() {
                        empties += 1;
                    } else {
                        assert_eq!(Some(unit.data_out.val().get()), public.front().copied());
                        if reads {
                            public.pop_front();
                            seen += 1;
                        }
                    }
                }
                (_, true) => bench.settle(|unit| unit.read_clock.next = true.into()),
            }
        }
        // A reader that is much slower hardly ever finds nothing.
        let least = if periods[1] > 4 * periods[0] { 0 } else { 100 };
        assert!(seen > 400 && fulls > 4 && empties > least, "{periods:?}: {seen}, {fulls}, {empties}");
    }
}
