//! The RTL in software: the device's program on the interpreter, with functional models of the engines around it.
//!
//! It does what the RTL does, instruction by instruction and byte by byte, but engines take no time. The models of the engines
//! are what the RTL blocks are compared with.

mod command;
mod coverage;
mod engines;
#[cfg(test)]
mod memory;
mod meter;
pub mod reader;
pub mod rx;
pub mod tx;
pub mod walker;
pub mod writer;

pub use meter::{Cause, Meter, Spent};

use engines::Engines;
use ironwarp_micro::asm::Program;
use ironwarp_micro::interp::{Machine, Ports, Step, Trap};
use ironwarp_micro::layout::Sizes;
use ironwarp_proto::pins::{Device, Dma, Frame, Nanos};
use std::sync::Arc;
use thiserror::Error;

/// Nanoseconds in a unit of the sequencer's time, log2.
const LOG2_UNIT: u32 = 10;
/// Instructions without a rest after which the program is taken to hang.
const MOST_STEPS: u64 = 20_000_000;

/// Why the device stands still.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The program did what the sequencer does not define.
    #[error(transparent)]
    Trap(#[from] Trap),
    /// The program waits for a port that will never be ready.
    #[error("a port is not ready and never will be")]
    Stalled,
    /// The program does not come to rest.
    #[error("no rest after {MOST_STEPS} instructions")]
    Hangs,
    /// It rests in the middle of a command to an engine.
    #[error("at rest in the middle of a command")]
    Unfinished,
    /// It rests without having handled what it was given.
    #[error("at rest, but COND is {0:#x}: a request, descriptor, reply or packet was left")]
    Left(u32),
    /// A register read was not answered.
    #[error("a register read was not answered")]
    NoAnswer,
    /// An engine was given something that it does not do.
    #[error("{0}")]
    Engine(String),
}

/// The device.
pub struct Emulated {
    program: Arc<Program>,
    machine: Machine,
    engines: Engines,
    now: Nanos,
    fault: Option<Fault>,
    trace: bool,
    meter: Arc<Meter>,
}

impl Emulated {
    /// A device after reset: the program has booted.
    pub fn new(program: Arc<Program>, sizes: &Sizes, dma: Arc<dyn Dma>, meter: Arc<Meter>) -> Self {
        let trace = std::env::var_os("IRONWARP_TRACE").is_some_and(|value| value != "0");
        let mut device = Self {
            machine: Machine::new(&program, 1 << sizes.log2_qps, sizes.table()),
            engines: Engines::new(sizes.log2_rx_ring, dma, trace),
            program,
            now: 0,
            fault: None,
            trace,
            meter,
        };
        device.run(Cause::Boot);
        device
    }

    /// What has stopped it for good.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn set_time(&mut self, now: Nanos) {
        self.now = now;
        self.engines.now = (now >> LOG2_UNIT) as u32;
    }

    /// Run until there is nothing more to do.
    fn run(&mut self, cause: Cause) {
        if self.fault.is_some() {
            return;
        }
        if self.trace {
            eprintln!("{cause:?} at {} ns", self.now);
        }
        let mut cycles = 0;
        let result = self.settle(&mut cycles);
        let cause =
            if cause == Cause::Transmit && self.engines.frames.is_empty() { Cause::Idle } else { cause };
        self.meter.add(cause, cycles);
        if let Err(fault) = result {
            self.stand_still(fault);
        }
    }

    fn settle(&mut self, cycles: &mut u64) -> Result<(), Fault> {
        for _ in 0..MOST_STEPS {
            let step = self.machine.step(&mut self.engines)?;
            match step {
                Step::Ran(spent) => *cycles += u64::from(spent),
                Step::Stalled | Step::Waiting if self.engines.work() => {}
                Step::Stalled => return Err(Fault::Stalled),
                Step::Waiting => return self.rest(),
            }
            if let Some(why) = self.engines.fault.take() {
                return Err(Fault::Engine(why));
            }
            if self.trace && self.program.place(self.machine.pc).1 == 0 {
                eprintln!("  {} (QP {})", self.program.place(self.machine.pc).0, self.machine.qp);
            }
        }
        Err(Fault::Hangs)
    }

    /// The program waits: has it done everything?
    fn rest(&mut self) -> Result<(), Fault> {
        use ironwarp_micro::layout::port::cond;
        if self.engines.unfinished() {
            return Err(Fault::Unfinished);
        }
        let handled = [cond::RXD, cond::HOST, cond::WALK, cond::ALARM, cond::TXERR, cond::DMA];
        let left = self.engines.cond() & handled.iter().fold(0, |sum, bit| sum | 1 << bit);
        if left != 0 {
            return Err(Fault::Left(left));
        }
        Ok(())
    }

    fn stand_still(&mut self, fault: Fault) {
        let (routine, offset) = self.program.place(self.machine.pc);
        tracing::error!("the device stands still in '{routine}' + {offset}: {fault}");
        if !tracing::dispatcher::has_been_set() {
            eprintln!("the device stands still in '{routine}' + {offset}: {fault}");
        }
        self.fault = Some(fault);
    }
}

impl Device for Emulated {
    fn read32(&mut self, now: Nanos, offset: u32) -> u32 {
        self.set_time(now);
        self.engines.host.extend([offset & 0xff_ffff, 0]);
        self.run(Cause::Read);
        let answer = self.engines.answers.pop_front();
        if answer.is_none() && self.fault.is_none() {
            self.stand_still(Fault::NoAnswer);
        }
        // As a bus without a device.
        answer.unwrap_or(u32::MAX)
    }

    fn write32(&mut self, now: Nanos, offset: u32, value: u32) {
        self.set_time(now);
        self.engines.host.extend([offset & 0xff_ffff | 1 << 31, value]);
        self.run(Cause::Write);
    }

    fn receive(&mut self, now: Nanos, frame: &[u8]) {
        self.set_time(now);
        self.engines.receiver.frame(frame);
        self.run(Cause::Receive);
        let lost = self.engines.receiver.overflow();
        if lost > 0 {
            tracing::warn!("{lost} frames did not fit the receive ring");
        }
    }

    fn transmit(&mut self, now: Nanos) -> Option<Frame> {
        self.set_time(now);
        if self.engines.frames.is_empty() {
            self.engines.room = 1;
            self.run(Cause::Transmit);
            self.engines.room = 0;
        }
        let frame = self.engines.frames.pop_front();
        frame.filter(|_| self.fault.is_none())
    }

    fn advance(&mut self, now: Nanos) {
        self.set_time(now);
        self.run(Cause::Time);
    }

    fn next_event(&self) -> Option<Nanos> {
        let alarm = self.engines.alarm().filter(|_| self.fault.is_none())?;
        let ahead = alarm.wrapping_sub(self.engines.now) as i32;
        let unit = (self.now >> LOG2_UNIT).saturating_add_signed(ahead.into());
        Some((unit << LOG2_UNIT).max(self.now))
    }

    fn interrupt(&self) -> bool {
        self.fault.is_none() && self.engines.writer.interrupt
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        coverage::record(&self.program, &self.machine);
    }
}
