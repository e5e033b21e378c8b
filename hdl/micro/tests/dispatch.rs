//! The dispatcher: everything that waits is served, however much of the rest there is.

use ironwarp_micro::interp::{Machine, Ports, Step};
use ironwarp_micro::layout::Sizes;
use ironwarp_micro::program::assemble;
use ironwarp_proto::abi::regs::{self, Counter, ctrl};
use std::collections::VecDeque;

/// Engines with endless work, once they are told so.
#[derive(Default)]
struct Flood {
    frames_come: bool,
    host_reads: bool,
    host: VecDeque<u32>,
    /// Words of the descriptor under way.
    descriptor: usize,
    /// Alarms that went off, while `alarm` is armed at all times.
    alarm: Option<u32>,
    alarms: u32,
    now: u32,
    frames: u32,
    answers: Vec<u32>,
}

impl Ports for Flood {
    fn read(&mut self, address: u8) -> Option<u32> {
        match address {
            // A frame for somebody else: class 2, two words.
            113 => {
                self.descriptor ^= 1;
                self.frames += self.descriptor as u32;
                Some(if self.descriptor == 1 { 2 | 60 << 16 } else { 0 })
            }
            // A request that COND has promised comes, even if the flood has ended since.
            114 if self.host.is_empty() => {
                self.host.push_back(0);
                Some(regs::ID)
            }
            114 => self.host.pop_front(),
            119 => Some(self.now),
            _ => Some(0),
        }
    }
    fn can_read(&mut self, _: u8) -> bool {
        true
    }
    fn write(&mut self, address: u8, value: u32) -> bool {
        match address {
            114 => self.answers.push(value),
            118 => self.alarm = Some(value),
            119 => {
                self.alarms += u32::from(self.alarm.is_some());
                self.alarm = None;
            }
            _ => {}
        }
        true
    }
    fn can_write(&mut self, _: u8) -> bool {
        true
    }
    fn cond(&mut self) -> u32 {
        let late = self.alarm.is_some_and(|at| self.now.wrapping_sub(at) as i32 >= 0);
        let host = self.host_reads || !self.host.is_empty();
        u32::from(self.frames_come) | u32::from(host) << 1 | u32::from(late) << 3 | 1 << 4
    }
}

struct Device {
    machine: Machine,
    flood: Flood,
}

impl Device {
    fn new() -> Self {
        let program = assemble(&Sizes::FULL).unwrap();
        let machine = Machine::new(&program, 1 << Sizes::FULL.log2_qps, Sizes::FULL.table());
        let mut device = Self { machine, flood: Flood::default() };
        device.settle();
        device
    }

    fn settle(&mut self) {
        while self.machine.step(&mut self.flood).unwrap() != Step::Waiting {}
    }

    fn run(&mut self, instructions: u32) -> u32 {
        let mut cycles = 0;
        for _ in 0..instructions {
            if let Step::Ran(taken) = self.machine.step(&mut self.flood).unwrap() {
                cycles += taken;
            }
        }
        cycles
    }

    fn write(&mut self, offset: u32, value: u32) {
        self.flood.host.extend([offset | 1 << 31, value]);
        self.settle();
    }
}

#[test]
fn neither_frames_nor_register_accesses_keep_the_other_waiting() {
    let mut device = Device::new();
    device.write(regs::CTRL, ctrl::RX_ENABLE | ctrl::TX_ENABLE);
    (device.flood.frames_come, device.flood.host_reads) = (true, true);
    device.run(50_000);
    let (frames, answers) = (device.flood.frames, device.flood.answers.len() as u32);
    // Requests go first, as many as can have been waiting.
    assert!(frames > 50 && answers.abs_diff(17 * frames) <= 17, "{frames} frames, {answers} answers");
    assert!(device.flood.answers.iter().all(|id| *id == ironwarp_proto::abi::DEVICE_ID));
    device.flood.frames_come = false;
    device.flood.host_reads = false;
    // It may have seen that there is one.
    if device.flood.host.is_empty() {
        device.flood.host.extend([regs::ID, 0]);
    }
    device.settle();
    let before = device.flood.answers.len();
    device.flood.host.extend([Counter::RxOther.offset(), 0]);
    device.settle();
    assert_eq!(device.flood.answers[before..], [device.flood.frames], "each is counted");
}

#[test]
fn an_alarm_goes_off_in_a_flood() {
    let mut device = Device::new();
    // An event that waits for company for 3 ticks of 1 ms: a CQ doorbell that is impossible raises it.
    device.write(regs::EQ_LOG2, 4);
    device.write(regs::EQ_CTRL, 1);
    device.write(regs::EQ_COALESCE, 100 | 3 << 16);
    let (table, cq) = (3 << 24, 5u32);
    device.write(regs::WIN_ADDR, table | cq << 8);
    for word in [0x1000, 0, 2] {
        device.write(regs::WIN_DATA, word);
    }
    device.write(regs::CMD, regs::Command::StartCq as u32 | cq << 8);
    let page = 0x1000 * (1 + (1 << Sizes::FULL.log2_qps) + cq);
    device.write(page, 9);
    let due = device.flood.alarm.expect("the alarm is armed");
    assert_eq!(due, (3 * 62_500u32).div_ceil(64));
    (device.flood.frames_come, device.flood.host_reads) = (true, true);
    device.flood.now = due - 1;
    device.run(10_000);
    assert_eq!(device.flood.alarms, 0);
    device.flood.now = due;
    device.run(2_000);
    assert_eq!(device.flood.alarms, 1);
}

#[test]
fn a_frame_that_is_dropped_and_a_register_read_are_cheap() {
    let mut device = Device::new();
    device.write(regs::CTRL, ctrl::RX_ENABLE | ctrl::TX_ENABLE);
    device.flood.host_reads = true;
    let cycles = device.run(50_000) / device.flood.answers.len() as u32;
    assert!(cycles <= 45, "{cycles} cycles a register read");
    device.flood.host_reads = false;
    device.settle();
    device.flood.frames_come = true;
    let cycles = device.run(50_000) / device.flood.frames;
    assert!(cycles <= 45, "{cycles} cycles a dropped frame");
}
