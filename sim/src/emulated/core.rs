//! Sequencer and engines together, step by step.

use super::cache::Caches;
use super::coverage;
use super::engines::{Engines, Latency};
use super::meter::{Cause, Meter};
use ironwarp_micro::asm::Program;
use ironwarp_micro::interp::{Machine, Ports, Step, Trap};
use ironwarp_micro::layout::Sizes;
use ironwarp_proto::pins::{Dma, Nanos};
use std::sync::Arc;
use thiserror::Error;

/// Nanoseconds in a unit of the sequencer's time, log2.
const LOG2_UNIT: u32 = 10;
/// Instructions without a rest after which the program is taken to hang.
pub const MOST_STEPS: u64 = 20_000_000;

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
    #[error("at rest in the middle of a command or frame")]
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

/// What the hardware is made of, and its program.
pub struct Build {
    /// The program.
    pub program: Arc<Program>,
    /// Sizes of memories and rings.
    pub sizes: Sizes,
    /// What it does is counted here.
    pub meter: Arc<Meter>,
}

/// The hardware.
pub struct Core {
    program: Arc<Program>,
    machine: Machine,
    /// What is around the sequencer.
    pub engines: Engines,
    fault: Option<Fault>,
    trace: bool,
    meter: Arc<Meter>,
    caches: Option<Caches>,
}

impl Core {
    /// At reset. Without `latency` engines take no time.
    pub fn new(build: &Build, dma: Arc<dyn Dma>, latency: Option<Latency>) -> Self {
        let trace = std::env::var_os("IRONWARP_TRACE").is_some_and(|value| value != "0");
        let Build { program, sizes, meter } = build;
        Self {
            machine: Machine::new(program, 1 << sizes.log2_qps, sizes.table()),
            engines: Engines::new(sizes.log2_rx_ring, dma, latency, trace),
            program: program.clone(),
            fault: None,
            trace,
            meter: meter.clone(),
            caches: Caches::from_env(),
        }
    }

    /// Whether it stands still for good.
    pub fn is_dead(&self) -> bool {
        self.fault.is_some()
    }

    /// What has stopped it.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// The time is `now`.
    pub fn set_time(&mut self, now: Nanos) {
        self.engines.now = (now >> LOG2_UNIT) as u32;
    }

    /// When the alarm goes off, if the time is `now` and it is enabled.
    pub fn alarm(&self, now: Nanos) -> Option<Nanos> {
        let ahead = self.engines.alarm()?.wrapping_sub((now >> LOG2_UNIT) as u32) as i32;
        let unit = (now >> LOG2_UNIT).saturating_add_signed(ahead.into());
        Some((unit << LOG2_UNIT).max(now))
    }

    /// Count cycles for a cause.
    pub fn spend(&self, cause: Cause, cycles: u64) {
        self.meter.add(cause, cycles);
    }

    /// Say what happens to the device.
    pub fn say(&self, cause: Cause, now: Nanos) {
        if self.trace {
            eprintln!("{cause:?} at {now} ns");
        }
    }

    /// One instruction.
    pub fn step(&mut self) -> Result<Step, Fault> {
        let pc = self.machine.pc;
        let step = self.machine.step(&mut self.engines)?;
        if let (Some(caches), Step::Ran(_)) = (&mut self.caches, step) {
            caches.fetch(pc);
        }
        if let Some(why) = self.engines.fault.take() {
            return Err(Fault::Engine(why));
        }
        if self.trace && matches!(step, Step::Ran(_)) {
            let (routine, offset) = self.program.place(self.machine.pc);
            if offset == 0 {
                let micros = (u64::from(self.engines.now) << LOG2_UNIT) / 1000;
                eprintln!("  {routine} (QP {}) at {micros} us", self.machine.qp);
            }
        }
        Ok(step)
    }

    /// Run until there is nothing more to do, with engines that take no time; gives the cycles.
    pub fn settle(&mut self) -> Result<u64, Fault> {
        let mut cycles = 0;
        for _ in 0..MOST_STEPS {
            match self.step()? {
                Step::Ran(spent) => cycles += u64::from(spent),
                Step::Stalled | Step::Waiting if self.engines.work() => {}
                Step::Stalled => return Err(Fault::Stalled),
                Step::Waiting => return self.rest().map(|()| cycles),
            }
        }
        Err(Fault::Hangs)
    }

    /// The program waits: has it done everything?
    fn rest(&mut self) -> Result<(), Fault> {
        use ironwarp_micro::layout::port::cond;
        if self.engines.unfinished() || self.engines.half_sent() {
            return Err(Fault::Unfinished);
        }
        let handled = [cond::RXD, cond::HOST, cond::WALK, cond::ALARM, cond::TXERR, cond::DMA];
        let left = self.engines.cond() & handled.iter().fold(0, |sum, bit| sum | 1 << bit);
        if left != 0 { Err(Fault::Left(left)) } else { Ok(()) }
    }

    /// Stand still for good.
    pub fn stop(&mut self, fault: Fault) {
        let (routine, offset) = self.program.place(self.machine.pc);
        tracing::error!("the device stands still in '{routine}' + {offset}: {fault}");
        if !tracing::dispatcher::has_been_set() {
            eprintln!("the device stands still in '{routine}' + {offset}: {fault}");
        }
        self.fault = Some(fault);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        coverage::record(&self.program, &self.machine);
        if let Some(caches) = &self.caches {
            eprint!("{}", caches.report());
        }
    }
}
