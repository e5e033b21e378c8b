//! The GMII front end between a PHY, byte by byte, and a core of any clock.

use crate::common::coverage::{Situation, now, told};
use crate::common::{Bench, Packet, Random, Sink, Source, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::mac::{Crc32x8, GigabitEthernet};
use ironwarp_hdl::outside::{GMII_GAP, GmiiPhy, Received, fcs};

/// Longest frame with FCS.
const LONGEST: u16 = 1518;
/// 62.5 MHz, ps.
const CORE: u64 = 16_000;

/// Clocks in time: half periods and next edges, ps. 0: RX_CLK, 1: GTX_CLK, 2: the core's.
struct Clocks {
    half: [u64; 3],
    next: [u64; 3],
    high: [bool; 3],
}

impl Clocks {
    /// Which edge comes next, and whether it rises.
    fn edge(&mut self) -> (usize, bool) {
        let which = (0..3).min_by_key(|clock| self.next[*clock]).expect("three clocks");
        self.next[which] += self.half[which];
        self.high[which] = !self.high[which];
        (which, self.high[which])
    }
}

struct World {
    bench: Bench<GigabitEthernet>,
    clocks: Clocks,
    phy: GmiiPhy,
    source: Source,
    sink: Sink,
    random: Random,
    /// One in so many cycles the core takes no word.
    lazy: usize,
    asleep: bool,
    reset: bool,
}

fn block() -> GigabitEthernet {
    GigabitEthernet::new(LONGEST)
}

impl World {
    fn new(bench: Bench<GigabitEthernet>, core_ps: u64, seed: u64) -> Self {
        World {
            bench,
            // RX_CLK is 250 millionths fast.
            clocks: Clocks {
                half: [3_999, 4_000, core_ps / 2],
                next: [seed * 333 % 4_000, 1_234, 0],
                high: [true; 3],
            },
            phy: GmiiPhy::default(),
            source: Source::default(),
            sink: Sink::default(),
            random: random(seed),
            lazy: 8,
            asleep: false,
            reset: false,
        }
    }

    fn native(core_ps: u64, seed: u64) -> Self {
        Self::new(Bench::new(block(), |unit| &mut unit.clock), core_ps, seed)
    }

    /// A frame of the core, two pad bytes in front.
    fn send(&mut self, frame: &[u8]) {
        self.source.push(&Packet { bytes: [&[0, 0], frame].concat(), err: false }, 0, 0, 0);
    }

    fn step(&mut self) {
        match self.clocks.edge() {
            (0, false) => {
                let cycle = self.phy.drive();
                self.bench.settle(|unit| {
                    unit.rx_clock.next = false.into();
                    unit.rxd.next = FB::new(cycle.byte.into());
                    unit.rx_dv.next = cycle.valid;
                    unit.rx_er.next = cycle.error;
                });
            }
            (0, true) => self.bench.settle(|unit| unit.rx_clock.next = true.into()),
            (1, false) => {
                self.bench.settle(|unit| unit.tx_clock.next = false.into());
                let unit = &self.bench.block;
                self.phy.look(unit.txd.val().get() as u8, unit.tx_en.val(), unit.tx_er.val());
            }
            (1, true) => self.bench.settle(|unit| unit.tx_clock.next = true.into()),
            (_, false) => {
                let takes = !self.asleep && self.random.below(self.lazy) != 0;
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

    fn run(&mut self, nanoseconds: u64) {
        let end = self.clocks.next[2] + nanoseconds * 1_000;
        while self.clocks.next[2] < end {
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

fn whole(frame: &[u8]) -> Vec<u8> {
    [frame, &fcs(frame)].concat()
}

#[test]
fn frames_of_every_tail_length_pass_both_ways_at_wire_speed() {
    // 62.5 and 125 MHz, and clocks that drift against the PHY's.
    for (seed, core_ps) in [CORE, 8_000, 8_002, 15_118].into_iter().enumerate() {
        let mut world = World::native(core_ps, seed as u64);
        let lengths = [60, 61, 62, 63, 64, 65, 66, 67, 14, 59, 1514];
        let frames = lengths.map(|length| world.bytes(length));
        for (at, frame) in frames.iter().enumerate() {
            let bytes = whole(&padded(frame).bytes[2..]);
            world.phy.deliver_raw(&bytes, [7, 6, 1, 0][at % 4], None);
            world.send(frame);
        }
        world.run(22_000);
        assert_eq!(world.sink.packets, frames.iter().map(|frame| padded(frame)).collect::<Vec<_>>());
        for (at, frame) in frames.iter().enumerate() {
            let sent = world.phy.take().expect("a frame");
            assert!(sent.good, "frame {at}");
            // The queue is never empty: no more than the gap, and two cycles to see the next.
            assert!(
                at == 0 || (GMII_GAP..=GMII_GAP + 2).contains(&sent.gap),
                "frame {at} after {} cycles",
                sent.gap
            );
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
    let mut world = World::native(CORE, 9);
    let good = world.bytes(70);
    let mut wrong = whole(&good);
    wrong[20] ^= 4;
    let (long, longest) = (world.bytes(1515), world.bytes(1514));
    let mut dropped = 0;
    for (bytes, error, traces) in [
        (wrong, None, 1),
        (whole(&good), Some(30), 1),
        (whole(&good), Some(73), 1),
        (whole(&good[..59]), None, 1),
        (whole(&long), None, 1),
        (vec![1, 2, 3], None, 0),
        (vec![1, 2, 3, 4], None, 0),
        (vec![], None, 0),
        (vec![9; 5], None, 1),
        (whole(&longest), None, 0),
    ] {
        world.phy.deliver_raw(&bytes, 7, error);
        world.phy.deliver(&good);
        dropped += traces;
    }
    // False carrier (RX_ER without RX_DV), and data without any preamble.
    let carrier = Received { byte: 0x0e, valid: false, error: true };
    let data = |byte| Received { byte, valid: true, error: false };
    world.phy.deliver_cycles([carrier; 3]);
    world.phy.deliver_cycles([0x12, 0xd5, 0x34, 0x56, 0x78, 0x9a, 0xbc].map(data));
    world.phy.deliver_cycles([Received::default(); 12]);
    world.phy.deliver(&good);
    world.run(50_000);
    let (bad, fine): (Vec<_>, Vec<_>) = world.sink.packets.iter().partition(|packet| packet.err);
    assert_eq!(bad.len(), dropped);
    assert_eq!(fine.iter().filter(|packet| packet.bytes.len() == 72).count(), 11);
    assert_eq!(fine.iter().filter(|packet| packet.bytes.len() == 1516).count(), 1, "the longest is good");
    assert_eq!(fine.len(), 12);
}

#[test]
fn a_core_that_does_not_take_loses_whole_frames_and_they_are_counted() {
    let mut world = World::native(CORE, 4);
    let frames: Vec<Vec<u8>> = (0..8).map(|at| world.bytes(300 + 37 * at)).collect();
    for (at, frame) in frames.iter().enumerate() {
        world.phy.deliver(frame);
        // It falls asleep in the middle of some.
        world.run(300);
        world.asleep = at % 2 == 1;
        world.run(6_000);
        world.asleep = false;
        world.run(2_000);
    }
    let expected: Vec<_> = frames.iter().step_by(2).map(|frame| padded(frame)).collect();
    let good: Vec<_> = world.sink.packets.iter().filter(|packet| !packet.err).cloned().collect();
    assert_eq!(good, expected);
    for packet in world.sink.packets.iter().filter(|packet| packet.err) {
        // The end stands in the place of a word.
        let beginning = &packet.bytes[..packet.bytes.len() - 4];
        assert!(frames.iter().any(|frame| padded(frame).bytes.starts_with(beginning)), "not a beginning");
    }
    assert_eq!(world.bench.block.lost.val(), FB::new(4));
}

#[test]
fn a_reset_of_the_core_cuts_nothing_that_is_taken_for_good() {
    let mut world = World::native(CORE, 5);
    let frame = world.bytes(900);
    world.phy.deliver(&frame);
    world.send(&frame);
    world.run(2_000);
    world.reset = true;
    world.source = Source::default();
    world.sink = Sink::default();
    world.run(400);
    world.reset = false;
    world.run(12_000);
    assert_eq!(world.sink.packets, [], "the rest of the frame has vanished");
    let sent = world.phy.take().expect("what had begun");
    assert!(!sent.good);
    world.phy.deliver(&frame);
    world.send(&frame);
    world.run(12_000);
    assert_eq!(world.sink.packets, [padded(&frame)]);
    let sent = world.phy.take().expect("the next");
    assert!(sent.good && sent.bytes == frame);
}

#[test]
fn a_core_that_is_too_slow_spoils_the_frame() {
    // 25 MHz: four bytes in 40 ns, where the wire wants them in 32.
    let mut world = World::native(40_000, 6);
    let frame = world.bytes(1400);
    world.send(&frame);
    world.send(&frame[..14]);
    world.run(40_000);
    let sent = world.phy.take().expect("a frame");
    assert!(!sent.good && frame.starts_with(&sent.bytes));
    let sent = world.phy.take().expect("the next");
    assert!(sent.good && sent.bytes[..14] == frame[..14]);
    assert_eq!(world.bench.block.spoiled.val(), FB::new(1));
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<GigabitEthernet>] = &[
    now("the core does not take a word", |u| u.downstream.valid.val() && !u.downstream.ready.val()),
    now("the wire does not take a word", |u| u.upstream.valid.val() && !u.upstream.ready.val()),
    now("a frame from the wire while one goes out", |u| u.downstream.valid.val() && u.tx_en.val()),
    now("the core sees the beginning of a bad frame, and drops it", |u| {
        u.downstream.valid.val() && u.downstream.ready.val() && u.downstream.err.val()
    }),
    told("a good frame"),
    told("a preamble that was cut"),
    told("RX_ER within a frame"),
    told("RX_ER outside of frames"),
    told("a bad FCS"),
    told("a frame that is too short"),
    told("a frame that is too long"),
    told("a frame that is lost: the core was asleep"),
    told("a frame to send that has to be padded"),
    told("two frames to send, with the gap between them"),
];

#[test]
fn every_situation_occurs() {
    let bench = Bench::new(block(), |unit| &mut unit.clock).covering(SITUATIONS);
    let mut world = World::new(bench, 15_118, 11);
    let (mut expected, mut outgoing) = (vec![], vec![]);
    for round in 0..200 {
        let length = [60, 61, 62, 63, 400][world.random.below(5)];
        let frame = world.bytes(length);
        let preamble = world.random.below(8);
        let mut bytes = whole(&frame);
        world.asleep = false;
        let fault = world.random.below(9);
        let error = (fault == 4).then(|| world.random.below(length));
        match fault {
            0 => bytes[length / 2] ^= 1 << world.random.below(8),
            1 => bytes = whole(&frame[..59]),
            2 => bytes = whole(&world.bytes(1515)),
            3 => world.asleep = true,
            4 => {}
            _ => expected.push(padded(&frame)),
        }
        let carrier = world.random.below(4) == 0;
        for (name, happened) in [
            ("a good frame", fault > 4),
            ("a preamble that was cut", preamble < 7),
            ("RX_ER within a frame", fault == 4),
            ("RX_ER outside of frames", carrier),
            ("a bad FCS", fault == 0),
            ("a frame that is too short", fault == 1),
            ("a frame that is too long", fault == 2),
        ] {
            world.bench.tell(name, happened);
        }
        if carrier {
            world.phy.deliver_cycles([Received { byte: 0x0f, valid: false, error: true }; 2]);
        }
        world.phy.deliver_raw(&bytes, preamble, error);
        for count in 0..world.random.below(3) {
            let short = [14, 59, 60, 300][world.random.below(4)];
            let frame = world.bytes(short);
            world.bench.tell("a frame to send that has to be padded", short < 60);
            world.bench.tell("two frames to send, with the gap between them", count > 0);
            world.send(&frame);
            outgoing.push(frame);
        }
        let lost = world.bench.block.lost.val();
        world.run(if fault == 2 { 14_000 } else { 6_000 });
        let is_lost = world.bench.block.lost.val() != lost;
        world.bench.tell("a frame that is lost: the core was asleep", is_lost);
        assert!(!is_lost || fault == 3, "round {round}");
        if fault == 3 && !is_lost {
            expected.push(padded(&frame));
        }
    }
    world.asleep = false;
    world.run(20_000);
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
    let Some(bench) = Bench::with_verilog("gigabit", block(), |unit| &mut unit.clock) else { return };
    let mut world = World::new(bench, 15_118, 7);
    for length in [60, 75, 64, 100, 61, 900] {
        let frame = world.bytes(length);
        world.phy.deliver(&frame);
        world.phy.deliver_raw(&frame[..40], 7, None);
        world.phy.deliver_raw(&whole(&frame), 7, Some(length / 3));
        world.send(&frame);
        world.send(&frame[..20]);
    }
    world.run(60_000);
    assert_eq!(world.sink.packets.iter().filter(|packet| !packet.err).count(), 6);
    world.reset = true;
    world.run(200);
    println!("gigabit: {} ns at three clocks, 0 mismatches", 60_200);
}

#[test]
fn the_front_end_can_be_synthesised() {
    check_synthesis("gigabit", block());
}

/// The byte-wide CRC against the bit-wise one.
#[test]
fn the_crc_is_that_of_the_wire() {
    let mut bench = Bench::new(Crc32x8::default(), |unit| &mut unit.clock);
    let mut r = random(1);
    for length in 1..70 {
        let frame: Vec<u8> = (0..length).map(|_| r.word() as u8).collect();
        bench.cycle(|u| (u.init.next, u.enable.next, u.shift.next) = (true, true, false), |_| ());
        for byte in &frame {
            let drive = |u: &mut Crc32x8| {
                (u.init.next, u.enable.next) = (false, true);
                u.byte.next = FB::new((*byte).into());
            };
            bench.cycle(drive, |_| ());
        }
        let field: Vec<u8> = (0..4)
            .map(|_| {
                let shift = |u: &mut Crc32x8| (u.enable.next, u.shift.next) = (false, true);
                bench.cycle(shift, |u| u.fcs_byte.val().get() as u8)
            })
            .collect();
        assert_eq!(field, fcs(&frame));
        // And with its FCS it is right, without it is not.
        bench.cycle(|u| (u.init.next, u.shift.next) = (true, false), |_| ());
        for byte in whole(&frame) {
            let drive = |u: &mut Crc32x8| {
                (u.init.next, u.enable.next) = (false, true);
                u.byte.next = FB::new(byte.into());
            };
            assert!(!bench.cycle(drive, |u| u.right.val()));
        }
        assert!(bench.cycle(|u| u.enable.next = false, |u| u.right.val()));
    }
}
