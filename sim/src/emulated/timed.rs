//! The device in its own time: the sequencer takes its cycles, engines take theirs beside it.
//!
//! What arrives finds the sequencer in the middle of something else, as in hardware; and what a workload reaches is about
//! what the RTL will reach.

use super::core::{Build, Core, Fault, MOST_STEPS};
use super::engines::Latency;
use super::meter::Cause;
use ironwarp_micro::interp::Step;
use ironwarp_proto::pins::{Device, Dma, Frame, Nanos};
use std::cell::Cell;
use std::sync::Arc;

/// How long the world may go on before it asks a busy device again, nanoseconds.
const SLICE: Nanos = 512;
/// Time from an interrupt to the next, nanoseconds. What the host does about one takes a while to reach the line.
const HOLD_OFF: Nanos = 4000;
/// Frames in the transmit ring: enough to keep the wire busy.
const FRAMES: usize = 4;

/// The device.
pub struct Timed {
    core: Core,
    clock_khz: u64,
    now: Nanos,
    /// The program waits, and nothing has happened since.
    resting: bool,
    /// No interrupt before this time.
    quiet_until: Cell<Nanos>,
}

impl Timed {
    /// A device after reset: the program boots as time goes by.
    pub fn new(build: &Build, dma: Arc<dyn Dma>, latency: Latency) -> Self {
        let mut core = Core::new(build, dma, Some(latency));
        core.engines.room = FRAMES;
        Self {
            core,
            clock_khz: build.sizes.clock_khz.max(1).into(),
            now: 0,
            resting: false,
            quiet_until: Cell::new(0),
        }
    }

    /// What has stopped it for good.
    pub fn fault(&self) -> Option<&Fault> {
        self.core.fault()
    }

    fn cycle_at(&self, time: Nanos) -> u64 {
        (u128::from(time) * u128::from(self.clock_khz) / 1_000_000) as u64
    }

    fn time_of(&self, cycle: u64) -> Nanos {
        (u128::from(cycle) * 1_000_000).div_ceil(u128::from(self.clock_khz)) as Nanos
    }

    /// The cycle at which the alarm is due.
    fn alarm(&self) -> Option<u64> {
        let at = self.core.alarm(self.time_of(self.core.engines.cycle))?;
        Some((u128::from(at) * u128::from(self.clock_khz)).div_ceil(1_000_000) as u64)
    }

    /// One instruction, or on to the next event of the engines. `false`: there is nothing to do before `until`.
    fn go_on(&mut self, until: u64, spent: &mut u64) -> Result<bool, Fault> {
        self.core.engines.tick();
        self.core.set_time(self.time_of(self.core.engines.cycle));
        let step = self.core.step()?;
        self.resting = step == Step::Waiting;
        if let Step::Ran(cycles) = step {
            self.core.engines.cycle += u64::from(cycles);
            *spent += u64::from(cycles);
            return Ok(true);
        }
        if self.resting && self.core.engines.unfinished() {
            return Err(Fault::Unfinished);
        }
        let engines = self.core.engines.next();
        if step == Step::Stalled && engines.is_none() {
            return Err(Fault::Stalled);
        }
        let next = [engines, self.alarm().filter(|_| self.resting)].into_iter().flatten().min();
        match next.filter(|at| *at <= until) {
            Some(at) => {
                self.core.engines.cycle = at.max(self.core.engines.cycle + 1);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Run up to a time, or until a read is answered.
    fn run(&mut self, cause: Cause, now: Nanos, answer: bool) {
        self.now = now;
        let (target, mut spent) = (self.cycle_at(now), 0);
        for _ in 0..MOST_STEPS {
            let done = answer && !self.core.engines.answers.is_empty();
            if self.core.is_dead() || done || !answer && self.core.engines.cycle > target {
                return self.core.spend(cause, spent);
            }
            match self.go_on(if answer { u64::MAX } else { target }, &mut spent) {
                Ok(true) => {}
                Ok(false) if answer => self.core.stop(Fault::NoAnswer),
                Ok(false) => {
                    self.core.engines.cycle = target;
                    return self.core.spend(cause, spent);
                }
                Err(fault) => self.core.stop(fault),
            }
        }
        self.core.stop(Fault::Hangs);
    }
}

impl Device for Timed {
    fn read32(&mut self, now: Nanos, offset: u32) -> u32 {
        self.run(Cause::Time, now, false);
        self.core.engines.host.extend([offset & 0xff_ffff, 0]);
        self.resting = false;
        self.run(Cause::Read, now, true);
        self.core.engines.answers.pop_front().unwrap_or(u32::MAX)
    }

    fn write32(&mut self, now: Nanos, offset: u32, value: u32) {
        self.run(Cause::Time, now, false);
        self.core.engines.post(offset, value);
        self.resting = false;
    }

    fn receive(&mut self, now: Nanos, frame: &[u8]) {
        self.run(Cause::Time, now, false);
        self.core.engines.receiver.frame(frame);
        self.resting = false;
    }

    fn transmit(&mut self, now: Nanos) -> Option<Frame> {
        self.run(Cause::Time, now, false);
        let frame = self.core.engines.frames.pop_front().filter(|_| !self.core.is_dead());
        if frame.is_some() {
            self.resting = false;
        }
        frame
    }

    fn advance(&mut self, now: Nanos) {
        self.run(Cause::Time, now, false);
    }

    fn next_event(&self) -> Option<Nanos> {
        if self.core.is_dead() {
            return None;
        }
        let own = self.time_of(self.core.engines.cycle).max(self.now);
        if !self.resting {
            return Some(own + SLICE);
        }
        let next = [self.core.engines.next(), self.alarm()].into_iter().flatten().min();
        let next = next.map(|at| self.time_of(at).max(self.now));
        let line = self.core.engines.writer.interrupt && self.quiet_until.get() > self.now;
        [next, line.then_some(self.quiet_until.get())].into_iter().flatten().min()
    }

    fn interrupt(&self) -> bool {
        let level = !self.core.is_dead() && self.core.engines.writer.interrupt;
        let heard = level && self.now >= self.quiet_until.get();
        if heard {
            self.quiet_until.set(self.now + HOLD_OFF);
        }
        heard
    }
}
