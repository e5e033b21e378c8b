//! What frames of the usual kind cost in the TCP part, and that they do what they should.

use ironwarp_micro::asm::{LINKS, Program};
use ironwarp_micro::interp::{Machine, Ports, Step};
use ironwarp_micro::isa::{CONTEXT, Word};
use ironwarp_micro::layout::{Sizes, c, fb, g, port, q, t};
use ironwarp_micro::program::assemble;
use std::collections::VecDeque;
use std::sync::LazyLock;

static PROGRAM: LazyLock<Program> = LazyLock::new(|| assemble(&Sizes::FULL).unwrap());
/// Where routines return to: no instruction is there.
const HOME: usize = 0xffff;
const START: u32 = 5000;
const MSS: u32 = 1460;

/// Descriptors to read, commands that were written.
#[derive(Default)]
struct Pins {
    descriptor: VecDeque<u32>,
    transmit: Vec<u32>,
    writer: Vec<u32>,
}

impl Ports for Pins {
    fn read(&mut self, address: u8) -> Option<u32> {
        match Word(address) {
            port::RXD => self.descriptor.pop_front(),
            port::NOW => Some(1000),
            port::DRAIN | port::TXDRAIN | port::TXERR => Some(0),
            _ => None,
        }
    }
    fn can_read(&mut self, _: u8) -> bool {
        true
    }
    fn write(&mut self, address: u8, value: u32) -> bool {
        match Word(address) {
            port::TX => self.transmit.push(value),
            port::WRITER => self.writer.push(value),
            _ => {}
        }
        true
    }
    fn can_write(&mut self, _: u8) -> bool {
        true
    }
    fn cond(&mut self) -> u32 {
        0
    }
}

/// QP 0 of a running RDMA connection with nothing to send.
struct Bench {
    machine: Machine,
    pins: Pins,
}

impl Bench {
    fn new() -> Self {
        let mut machine = Machine::new(&PROGRAM, 1 << Sizes::FULL.log2_qps, Sizes::FULL.table());
        let mut pins = Pins::default();
        // Boot up to the first wait.
        for _ in 0..200_000 {
            if !matches!(machine.step(&mut pins).unwrap(), Step::Ran(_)) {
                break;
            }
        }
        let mut bench = Self { machine, pins: Pins::default() };
        bench.set(g::QPN, 0);
        bench.set(g::TQ, Sizes::FULL.qps().into());
        for (at, value) in
            [(3, MSS), (14, START), (15, 60_000), (16, START), (17, 60_000), (18, START + 60_000)]
        {
            bench.area(q::CONTEXT + at, value);
        }
        for at in 0..3 {
            bench.area(q::TUPLE + at, 7 + u32::from(at));
        }
        for (at, value) in [1000, 100_000, 40, 10, 12, 1].into_iter().enumerate() {
            bench.machine.table[usize::from(t::TIMING) + at] = value;
        }
        bench.set(c::STATE, 2);
        bench.run("tcp_activate", None);
        for (word, value) in
            [(c::END, START), (c::MSG, 0), (c::SQ, 0), (c::IRRQ, 0), (c::JOURNAL, 0), (c::FA, 0), (c::FD, 0)]
        {
            bench.set(word, value);
        }
        bench
    }

    fn set(&mut self, word: Word, value: u32) {
        if word.0 < CONTEXT {
            self.machine.globals[usize::from(word.0)] = value;
        } else {
            self.machine.contexts[0][usize::from(word.0 - CONTEXT)] = value;
        }
    }
    fn area(&mut self, offset: u8, value: u32) {
        self.machine.table[usize::from(Sizes::FULL.qps()) + usize::from(offset)] = value;
    }

    /// Run a routine until it returns, or up to routine `until`; its cycles.
    fn run(&mut self, routine: &str, until: Option<&str>) -> u32 {
        let find = |name: &str| PROGRAM.symbols.iter().find(|symbol| symbol.1 == name).unwrap().0;
        self.machine.globals[..LINKS].fill(HOME as u32);
        self.machine.pc = find(routine);
        let until = until.map(find);
        let mut cycles = 0;
        for _ in 0..10_000 {
            if self.machine.pc == HOME || Some(self.machine.pc) == until {
                return cycles;
            }
            match self.machine.step(&mut self.pins).unwrap() {
                Step::Ran(spent) => cycles += spent,
                step => panic!("{step:?} at {:?}", PROGRAM.place(self.machine.pc)),
            }
        }
        panic!("{routine} does not return");
    }

    /// A segment that is there: its descriptor.
    fn arrives(&mut self, seq: u32, ack: u32, flags: u32, len: u32) {
        let frame = 54 + len;
        self.pins.descriptor.extend([
            frame << 16,
            0x40 << 16,
            56 | len << 16,
            7,
            8,
            9,
            seq,
            ack,
            flags | 60_000 << 16,
        ]);
    }
}

#[test]
fn an_ack_costs_at_most_155_cycles_without_its_fpdus() {
    let mut bench = Bench::new();
    // Four segments in flight, more is waiting.
    for word in [c::SND_NXT, c::SND_MAX] {
        bench.set(word, START + 4 * MSS);
    }
    bench.set(c::END, START + 5 * MSS);
    bench.arrives(START, START + 2 * MSS, 16, 0);
    let cycles = bench.run("rx_frame", None);
    assert_eq!(bench.machine.word(c::SND_UNA), START + 2 * MSS);
    assert_eq!(bench.machine.word(c::CWND), 11 * MSS, "slow start");
    assert_eq!(bench.pins.writer.last(), Some(&(0x40 << 16 | 3)), "the frame is freed");
    assert_ne!(bench.machine.word(c::FB) & 1 << fb::READY, 0, "there is something to send");
    assert!(cycles <= 155, "{cycles} cycles");
}

#[test]
fn a_data_segment_costs_at_most_155_cycles_without_its_fpdus() {
    let mut bench = Bench::new();
    bench.arrives(START, START, 16, MSS);
    let before = bench.run("rx_frame", Some("rdma_deliver"));
    assert_eq!([g::A0, g::A1, g::A2].map(|word| bench.machine.word(word)), [56, MSS, START]);
    let after = bench.run("rx_finish", None);
    assert_eq!(bench.machine.word(c::RCV_NXT), START + MSS);
    assert_eq!(bench.machine.word(c::FB) & 1 << fb::READY, 0, "no turn: nothing is to be sent");
    assert!(before + after <= 155, "{before} and {after} cycles");
}

#[test]
fn a_pure_ack_costs_at_most_100_cycles_to_send() {
    let mut bench = Bench::new();
    bench.set(c::FB, 1 << fb::ACK_NOW);
    let cycles = bench.run("transmit", None);
    assert_eq!((bench.pins.transmit.len(), bench.pins.transmit.last()), (3 + 15 + 1, Some(&7)));
    assert_eq!(bench.machine.word(c::FB) & 1 << fb::ACK_NOW, 0);
    assert!(cycles <= 100, "{cycles} cycles");
}
