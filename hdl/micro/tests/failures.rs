//! Writes that failed: everybody is told.

use ironwarp_micro::asm::LINKS;
use ironwarp_micro::interp::{Machine, Ports, Step};
use ironwarp_micro::layout::{Sizes, g, port, q, t};
use ironwarp_micro::program::assemble;
use ironwarp_proto::abi::regs::Counter;
use std::collections::VecDeque;

/// A writer with failures to tell of, and a transmit engine that failed nothing.
struct Writer(VecDeque<u32>);

impl Ports for Writer {
    fn read(&mut self, address: u8) -> Option<u32> {
        Some(if address == port::DRAIN.0 { self.0.pop_front().unwrap_or(0) } else { 0 })
    }
    fn can_read(&mut self, _: u8) -> bool {
        true
    }
    fn write(&mut self, _: u8, _: u32) -> bool {
        true
    }
    fn can_write(&mut self, _: u8) -> bool {
        true
    }
    fn cond(&mut self) -> u32 {
        0
    }
}

#[test]
fn a_drain_tells_all_whose_writes_failed() {
    let sizes = Sizes::FULL;
    let program = assemble(&sizes).unwrap();
    let drain = program.symbols.iter().find(|(_, name)| *name == "drain").unwrap().0;
    // QPs 3 and 5, CQ 5, nobody.
    let tags = [3, 0x85, 5, 0x7f];
    for (current, own) in [(5, 1), (3, 1), (4, 0), (0x40, 0)] {
        let mut machine = Machine::new(&program, 1 << sizes.log2_qps, sizes.table());
        // Constants as boot leaves them.
        let mut writer = Writer(VecDeque::new());
        while machine.step(&mut writer).unwrap() != Step::Waiting {}
        let outside = program.words.len();
        machine.globals[..LINKS].fill(outside as u32);
        machine.globals[usize::from(g::QPN.0)] = current;
        writer.0 = tags.iter().map(|tag| 1 | tag << 16).collect();
        machine.pc = drain;
        while machine.pc != outside {
            assert!(matches!(machine.step(&mut writer).unwrap(), Step::Ran(_)));
        }
        assert!(writer.0.is_empty(), "read until nobody is left");
        assert_eq!(machine.word(g::R0), own, "QP {current}");
        let lost: Vec<usize> = (0..1 << sizes.log2_qps)
            .filter(|qp| {
                let area = usize::from(sizes.qps()) + qp * usize::from(sizes.qp_area());
                machine.table[area + usize::from(q::HOST)] != 0
            })
            .collect();
        assert_eq!(lost, [3, 5]);
        let broken: Vec<usize> = (0..1 << sizes.log2_cqs)
            .filter(|cq| machine.table[usize::from(sizes.cqs()) + 8 * cq + 7] & 1 != 0)
            .collect();
        assert_eq!(broken, [5]);
        assert_eq!(machine.table[usize::from(t::COUNTERS) + Counter::DmaFaults as usize], 4);
    }
}
