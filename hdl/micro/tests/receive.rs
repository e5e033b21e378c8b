//! Routines of the receive part, one by one, against the protocol crate.

use ironwarp_micro::asm::Program;
use ironwarp_micro::interp::{Machine, Ports, Step};
use ironwarp_micro::isa::Word;
use ironwarp_micro::layout::{Sizes, c, fa, g, port, q, t};
use ironwarp_micro::program::assemble;
use ironwarp_proto::abi::context::{ErrorRecord, RECORD_BYTES};
use ironwarp_proto::abi::region::{Region, access};
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::ddp::DdpHeader;
use ironwarp_proto::mpa::fpdu::fpdu_len;
use ironwarp_proto::mpa::marker::{self, MarkerPhase};
use ironwarp_proto::rdmap::{Opcode, ReadRequest, control};
use ironwarp_proto::terminate::{TerminateError as E, headers_for};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::LazyLock;

static PROGRAM: LazyLock<Program> = LazyLock::new(|| assemble(&Sizes::FULL).unwrap());
/// Where routines return to: no instruction is there.
const HOME: usize = 0xffff;

/// Ports that take everything and have nothing.
#[derive(Default)]
struct Sink {
    writer: Vec<u32>,
    /// Packets of the walker.
    packets: VecDeque<VecDeque<u32>>,
    begun: bool,
}

impl Ports for Sink {
    fn read(&mut self, address: u8) -> Option<u32> {
        match address {
            a if a == port::DRAIN.0 => Some(0),
            a if a == port::WALK.0 => self.packets.front_mut()?.pop_front(),
            a if a == port::WALK_FIRST.0 => {
                // A packet that was begun is dropped.
                if self.begun {
                    self.packets.pop_front();
                }
                self.begun = true;
                self.packets.front_mut()?.pop_front()
            }
            _ => None,
        }
    }
    fn can_read(&mut self, address: u8) -> bool {
        address == port::DRAIN.0
    }
    fn write(&mut self, address: u8, value: u32) -> bool {
        if address == port::WRITER.0 {
            self.writer.push(value);
        }
        true
    }
    fn can_write(&mut self, _: u8) -> bool {
        true
    }
    fn cond(&mut self) -> u32 {
        u32::from(self.packets.len() > usize::from(self.begun)) << port::cond::WALK
    }
}

/// A sequencer about to run one routine for QP 0.
struct Bench {
    machine: Machine,
    ports: Sink,
}

impl Bench {
    fn new() -> Self {
        let mut machine = Machine::new(&PROGRAM, 1 << Sizes::FULL.log2_qps, Sizes::FULL.table());
        machine.globals[usize::from(g::TQ.0)] = Sizes::FULL.qps().into();
        // The constants.
        let mut ports = Sink::default();
        for _ in 0..100_000 {
            match machine.step(&mut ports).unwrap() {
                Step::Ran(_) => {}
                Step::Stalled | Step::Waiting => break,
            }
        }
        machine.globals[usize::from(g::TQ.0)] = Sizes::FULL.qps().into();
        machine.globals[usize::from(g::QPN.0)] = 0;
        machine.qp = 0;
        Self { machine, ports: Sink::default() }
    }
    fn set(&mut self, word: Word, value: u32) {
        if word.0 < 112 {
            self.machine.globals[usize::from(word.0)] = value;
        } else {
            self.machine.contexts[0][usize::from(word.0 - 128)] = value;
        }
    }
    fn get(&self, word: Word) -> u32 {
        self.machine.word(word)
    }
    fn area(&mut self, offset: u8) -> &mut u32 {
        &mut self.machine.table[usize::from(Sizes::FULL.qps()) + usize::from(offset)]
    }
    /// Run a routine until it returns, or until it comes to routine `until`; its cycles.
    fn run_until(&mut self, routine: &str, until: Option<&str>) -> u32 {
        let find = |name: &str| PROGRAM.symbols.iter().find(|symbol| symbol.1 == name).unwrap().0;
        self.machine.globals[..ironwarp_micro::asm::LINKS].fill(HOME as u32);
        self.machine.pc = find(routine);
        let until = until.map(find);
        let mut cycles = 0;
        for _ in 0..10_000 {
            if self.machine.pc == HOME || Some(self.machine.pc) == until {
                return cycles;
            }
            match self.machine.step(&mut self.ports).unwrap() {
                Step::Ran(spent) => cycles += spent,
                Step::Stalled | Step::Waiting => panic!("stalled at {:?}", PROGRAM.place(self.machine.pc)),
            }
        }
        panic!("{routine} does not return");
    }
    fn run(&mut self, routine: &str) {
        self.run_until(routine, None);
    }
}

/// The words of MODE and the other words of a walk, which stay private to the program: RX4..RX8.
const MODE: Word = g::RX4;
const MARKERS: u32 = 1 << 4;
const HOST: u32 = 1 << 6;

#[test]
fn the_length_on_the_wire_is_right_for_every_length_and_phase() {
    let mut bench = Bench::new();
    for markers in [false, true] {
        bench.set(MODE, if markers { MARKERS } else { 0 });
        for length in (0..=u16::MAX).step_by(3).chain(65_000..=u16::MAX) {
            let phase = MarkerPhase::at(u64::from(length) * 4 * 37);
            let unmarked = fpdu_len(length);
            let expected = if markers { phase.wire_len(unmarked) } else { unmarked };
            bench.set(g::T5, length.into());
            bench.set(g::T0, phase.to_next());
            bench.run("wire_len");
            assert_eq!(bench.get(g::T2), expected, "{length} {phase:?}");
        }
        for to_next in (0..512).step_by(4) {
            for length in [0, 1, 127, 500, 501, 502, 506, 507, 1010, 1014, 1442, 64_768, 65_535] {
                let phase = MarkerPhase::at(512 - u64::from(to_next));
                bench.set(g::T5, length);
                bench.set(g::T0, to_next);
                bench.run("wire_len");
                let unmarked = fpdu_len(length as u16);
                let expected = if markers { phase.wire_len(unmarked) } else { unmarked };
                assert_eq!(bench.get(g::T2), expected, "{length} {to_next}");
            }
        }
    }
}

/// The payload's first byte and the next marker, for every place of markers: what PLACE is told, against a stream in software.
#[test]
fn the_payload_begins_where_the_markers_leave_it() {
    for to_next in (0..512u32).step_by(4) {
        for (header, host) in [(16, false), (20, false), (20, true)] {
            let ulpdu: Vec<u8> = (0..600u32).map(|n| (n % 251) as u8).collect();
            let mut stream = Vec::new();
            let phase = MarkerPhase::at(512 - u64::from(to_next));
            marker::emit(&[&ulpdu], true, phase, &mut stream).unwrap();
            let mut bench = Bench::new();
            bench.set(MODE, MARKERS | if host { HOST } else { 0 });
            bench.set(g::RX5, 0x70);
            bench.set(g::RX6, 0x100);
            bench.set(g::RX7, to_next);
            bench.set(g::T6, header);
            bench.set(g::A3, 30);
            bench.set(g::R1, 0x1234_5678);
            bench.set(g::R2, 0x9);
            *bench.area(q::CONTEXT + 10) = 0xffff_ff00;
            *bench.area(q::CONTEXT + 11) = 7;
            bench.run("place");
            let command = &bench.ports.writer;
            assert_eq!(command[0], 30 << 16 | 1 | MARKERS | if host { HOST } else { 0 });
            assert_eq!(command[2..4], [0x1234_5678, 9]);
            let mut at = (command[1] & 0xffff) - 0x170;
            if host {
                let from = u64::from(command[4]) | u64::from(command[5]) << 32;
                assert_eq!(from, 0x7_ffff_ff00 + 0x170 + u64::from(at));
            }
            let mut next = command[1] >> 16;
            let mut got = Vec::new();
            while got.len() < 580 {
                if next == 0 {
                    (at, next) = (at + 4, 512 - 4);
                }
                got.push(stream[at as usize]);
                (at, next) = (at + 1, next - 1);
            }
            let start = header as usize - 2;
            assert_eq!(got, ulpdu[start..start + 580], "{to_next} {header}");
        }
    }
}

/// What the model would say (`Rdma::error`).
fn expected_record(error: E, ulpdu: Option<&[u8]>) -> ErrorRecord {
    let parsed = ulpdu.map(|ulpdu| (ulpdu, DdpHeader::parse(ulpdu).unwrap().0));
    let opcode =
        parsed.map(|(_, header)| Opcode::try_from(header.rdmap_control() & 15).ok().unwrap_or(Opcode::Send));
    let wanted = headers_for(error, opcode);
    let ddp = parsed
        .filter(|_| wanted.ddp)
        .map(|(ulpdu, header)| (ulpdu.len() as u16, ulpdu[..header.header_len()].to_vec()));
    let rdmap = parsed
        .filter(|_| wanted.rdmap)
        .map(|(ulpdu, header)| ulpdu[header.header_len()..][..ReadRequest::LEN].to_vec());
    ErrorRecord::Detected { error: error.to_wire(), ddp, rdmap }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn an_error_record_is_laid_out_as_the_abi_says(
        ulpdu in prop::collection::vec(any::<u8>(), 46..70), read: bool, has_segment: bool,
        error in prop::sample::select(vec![
            E::RdmapLocalCatastrophic, E::RdmapInvalidStag, E::RdmapBounds, E::RdmapAccessRights,
            E::RdmapInvalidVersion, E::RdmapUnexpectedOpcode, E::RdmapOperationUnspecified, E::DdpInvalidStag,
            E::DdpBounds, E::DdpTaggedInvalidVersion, E::DdpTooLong, E::MpaCrc, E::MpaMarkerMismatch,
        ]),
    ) {
        let mut ulpdu = ulpdu;
        if read {
            (ulpdu[0], ulpdu[1]) = (0x41, control(Opcode::ReadRequest));
        } else if ulpdu[1] & 15 == 1 {
            ulpdu[1] ^= 2;
        }
        let mut fpdu = (ulpdu.len() as u16).to_be_bytes().to_vec();
        fpdu.extend(&ulpdu);
        fpdu.resize(fpdu.len() + 3, 0);
        let word = |n: usize| u32::from_le_bytes(fpdu[4 * n..4 * n + 4].try_into().unwrap());
        let mut bench = Bench::new();
        bench.set(g::W0, word(0));
        for (n, to) in (1..).zip([g::W1, g::W2, g::W3, g::W4]) {
            bench.set(to, word(n).swap_bytes());
        }
        for n in 0..7 {
            bench.machine.table[usize::from(t::FPDU) + n] = word(5 + n);
        }
        bench.machine.table[usize::from(t::RECORD)..][..14].fill(0xdead_beef);
        let (layer, etype, code) = error.to_wire();
        bench.set(g::A0, u32::from(code) << 8 | u32::from(etype) << 4 | u32::from(layer));
        bench.set(g::A1, if has_segment { ulpdu.len() as u32 } else { 0 });
        bench.run_until("detected", Some("stop"));
        prop_assert_eq!(bench.get(g::A0), 1);
        let words = bench.get(g::A1) as usize;
        let mut bytes: Vec<u8> = bench.machine.table[usize::from(t::RECORD)..][..words]
            .iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(RECORD_BYTES, 0);
        let expected = expected_record(error, has_segment.then_some(&ulpdu[..]));
        prop_assert_eq!(bytes, expected.encode());
    }
}

#[test]
fn refusals_have_the_names_that_rdmap_gives_them() {
    let errors = [
        E::RdmapInvalidStag,
        E::RdmapStagNotAssociated,
        E::RdmapAccessRights,
        E::RdmapToWrap,
        E::RdmapBounds,
    ];
    for (refusal, error) in (1..).zip(errors) {
        let mut bench = Bench::new();
        bench.set(g::R0, refusal);
        bench.run("rdmap_refusal");
        let (layer, etype, code) = error.to_wire();
        assert_eq!(
            bench.get(g::A0),
            u32::from(code) << 8 | u32::from(etype) << 4 | u32::from(layer),
            "{error:?}"
        );
    }
}

#[test]
fn the_end_of_the_peer_says_what_it_cuts() {
    for bits in 0..8u32 {
        let mut bench = Bench::new();
        bench.set(c::STAGED, if bits & 1 != 0 { 77 } else { 0 });
        bench.set(c::FD, if bits & 2 != 0 { 1 << ironwarp_micro::layout::fd::OPEN } else { 0 });
        bench.set(c::EXPECTED, if bits & 4 != 0 { 0x02ff } else { 0x0303 });
        bench.run("cut_at_fin");
        assert_eq!(bench.get(g::R0), bits);
    }
}

#[test]
fn a_receive_doorbell_is_judged_as_the_ring_says() {
    use ironwarp_proto::abi::{Doorbell, judge_doorbell};
    for (producer, consumer) in [(0u16, 0u16), (5, 3), (3, 65_530), (16, 0), (65_535, 65_530)] {
        for index in (0..40).map(|n| producer.wrapping_add(n).wrapping_sub(20)) {
            let mut bench = Bench::new();
            *bench.area(q::CONTEXT + 4) = 4 << 8;
            bench.set(c::RQ, u32::from(producer) << 16 | u32::from(consumer));
            bench.set(c::FA, 1 << fa::CRC);
            bench.set(g::A0, index.into());
            bench.run("post_receive");
            let room = 16 - producer.wrapping_sub(consumer);
            let verdict = judge_doorbell(producer, index, room, 16);
            assert_eq!(bench.get(g::R0), u32::from(verdict != Doorbell::Invalid), "{producer} {index}");
            let now = if let Doorbell::Advance(_) = verdict { index } else { producer };
            assert_eq!(bench.get(c::RQ), u32::from(now) << 16 | u32::from(consumer));
        }
    }
}

/// The packet of a whole FPDU with a Write of `len` bytes to offset `to` of an STag, the `n`th of its segment of such.
fn write_of(n: u32, len: u16, stag: u32, to: u64) -> VecDeque<u32> {
    let header = DdpHeader::Tagged { last: true, version: 1, rdmap_control: 0x40, stag, to };
    let mut bytes = (14 + len).to_be_bytes().to_vec();
    header.emit(&mut bytes);
    let words = bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    let wire = fpdu_len(14 + len);
    [u32::from(14 + len) << 16 | 1 << 4, 28 * n, wire, 0].into_iter().chain(words).collect()
}

fn small_write(n: u32, at: u64) -> VecDeque<u32> {
    write_of(n, 8, 0x105, at)
}

/// A packet of the walker, by the number of the Write.
type Made<'a> = &'a dyn Fn(u32) -> VecDeque<u32>;

/// A bench with region 0x105, 4 KiB from 0xffff_fff0 on.
fn with_region() -> Bench {
    let mut bench = Bench::new();
    let region = Region {
        valid: true,
        access: access::REMOTE_WRITE,
        length: 0x1000,
        base: 0xffff_fff0,
        host: 0x7_ffff_0000,
        stag: 0x105,
        ..Region::default()
    };
    let at = usize::from(Sizes::FULL.regions()) + 8;
    bench.machine.table[at..at + 8].copy_from_slice(&region.encode());
    bench.set(g::RX5, 0x40);
    bench
}

#[test]
fn what_is_not_like_the_writes_before_is_judged_as_ever() {
    const BASE: u64 = 0xffff_fff0;
    let good = |n: u32| small_write(n, BASE + u64::from(8 * n));
    let with = |n: u32, change: &dyn Fn(&mut VecDeque<u32>)| {
        let mut packet = good(n);
        change(&mut packet);
        packet
    };
    // What comes between good ones, and the error that it leads to, or the bytes that it places.
    let odd: [(Made, Result<u32, E>); 11] = [
        (&|n| write_of(n, 9, 0x105, BASE), Ok(9)),
        (&|n| write_of(n, 0, 0x105, BASE), Ok(0)),
        (&|n| with(n, &|p| p[4] &= !(1 << 22)), Ok(8)),
        (&|n| small_write(n, BASE + 0x1000 - 8), Ok(8)),
        (&|n| small_write(n, BASE + 0x1000 - 7), Err(E::DdpBounds)),
        (&|n| small_write(n, BASE - 1), Err(E::DdpBounds)),
        (&|n| write_of(n, 8, 0x106, BASE), Err(E::DdpInvalidStag)),
        (&|n| small_write(n, u64::MAX - 3), Err(E::DdpToWrap)),
        (&|n| with(n, &|p| p[4] ^= 2 << 24), Err(E::RdmapUnexpectedOpcode)),
        (&|n| with(n, &|p| p[4] ^= 1 << 17), Err(E::DdpTaggedInvalidVersion)),
        (&|n| with(n, &|p| p[0] |= 1), Err(E::MpaCrc)),
    ];
    for (case, (packet, result)) in odd.into_iter().enumerate() {
        for front in 1..5 {
            let mut bench = with_region();
            let counter = |bench: &Bench, counter: Counter| bench.machine.table[counter as usize];
            let before = [Counter::RxFpdus, Counter::BytesPlaced].map(|c| counter(&bench, c));
            bench.ports.packets = (0..front).map(good).collect();
            bench.ports.packets.push_back(packet(front));
            bench.ports.packets.extend((front + 1..front + 4).map(good));
            bench.ports.packets.push_back([4, 0, 0, 0].into());
            let until = if result.is_ok() { "rx_finish" } else { "detected" };
            bench.run_until("walk_packet", Some(until));
            let places = bench.ports.writer.iter().filter(|word| **word == 8 << 16 | 1).count() as u32;
            let counted = [Counter::RxFpdus, Counter::BytesPlaced].map(|c| counter(&bench, c));
            let counted = [counted[0] - before[0], counted[1] - before[1]];
            let context = format!("case {case}, {front} in front");
            match result {
                Ok(bytes) => {
                    assert_eq!(places, front + 3 + u32::from(bytes == 8), "{context}");
                    assert_eq!(counted, [front + 4, 8 * (front + 3) + bytes], "{context}");
                }
                Err(error) => {
                    let (layer, kind, code) = error.to_wire();
                    let number = u32::from(code) << 8 | u32::from(kind) << 4 | u32::from(layer);
                    assert_eq!(bench.get(g::A0), number, "{context}");
                    assert_eq!(places, front, "{context}");
                    let whole = u32::from(error != E::MpaCrc);
                    assert_eq!(counted, [front + whole, 8 * front], "{context}");
                }
            }
        }
    }
}

#[test]
fn small_writes_of_a_region_cost_at_most_32_cycles_each() {
    let mut bench = with_region();
    let writes = 50;
    bench.ports.packets = (0..writes).map(|n| small_write(n, 0xffff_fff0 + u64::from(8 * n))).collect();
    bench.ports.packets.push_back([4, 28 * writes, 0, 0].into());
    let cycles = bench.run_until("walk_packet", Some("rx_finish"));
    let commands = std::mem::take(&mut bench.ports.writer);
    // Without markers nobody looks at the distance to the next one.
    let places = commands.split(|word| *word == 5).flat_map(|run| run.chunks(4));
    let places: Vec<_> = places.map(|word| [word[0], word[1] & 0xffff, word[2], word[3]]).collect();
    let expected: Vec<_> = (0..writes)
        .map(|n| {
            let to = 0x7_ffff_0000 + u64::from(8 * n);
            [8 << 16 | 1, 0x40 + 28 * n + 16, to as u32, (to >> 32) as u32]
        })
        .collect();
    assert_eq!(places, expected);
    assert!(cycles <= 32 * writes, "{cycles} cycles for {writes} FPDUs");
    // Beyond the region's end it is checked as ever, and refused.
    bench.ports.packets.clear();
    bench.ports.begun = false;
    bench.ports.packets.push_back(small_write(0, 0xffff_fff0 + 0x0ff9));
    bench.run_until("walk_packet", Some("detected"));
    assert_eq!(bench.get(g::A0), 1 << 8 | 1 << 4 | 1, "DDP: base or bounds");
}
