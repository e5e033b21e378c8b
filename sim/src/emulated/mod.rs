//! The RTL in software: the device's program on the interpreter, with functional models of the engines around it.
//!
//! It does what the RTL does, instruction by instruction and byte by byte. The models of the engines are what the RTL blocks
//! are compared with. [`Emulated`] takes no time; [`Timed`] takes about that of the RTL.

mod cache;
mod command;
mod core;
mod coverage;
mod engines;
#[cfg(test)]
mod memory;
mod meter;
pub mod predict;
pub mod reader;
pub mod rx;
mod timed;
pub mod tx;
pub mod walker;
pub mod writer;

pub use core::{Build, Fault};
pub use engines::Latency;
pub use meter::{Cause, Meter, Spent};
pub use timed::Timed;

use core::Core;
use ironwarp_proto::pins::{Device, Dma, Frame, Nanos};
use std::sync::Arc;

/// The device without time: with each call it does all there is to do.
pub struct Emulated {
    core: Core,
    now: Nanos,
}

impl Emulated {
    /// A device after reset: the program has booted.
    pub fn new(build: &Build, dma: Arc<dyn Dma>) -> Self {
        let mut device = Self { core: Core::new(build, dma, None), now: 0 };
        device.run(Cause::Boot);
        device
    }

    /// What has stopped it for good.
    pub fn fault(&self) -> Option<&Fault> {
        self.core.fault()
    }

    fn set_time(&mut self, now: Nanos) {
        self.now = now;
        self.core.set_time(now);
    }

    /// Run until there is nothing more to do.
    fn run(&mut self, cause: Cause) {
        if self.core.is_dead() {
            return;
        }
        self.core.say(cause, self.now);
        match self.core.settle() {
            Ok(cycles) => {
                let idle = cause == Cause::Transmit && self.core.engines.frames.is_empty();
                self.core.spend(if idle { Cause::Idle } else { cause }, cycles);
            }
            Err(fault) => self.core.stop(fault),
        }
    }
}

impl Device for Emulated {
    fn read32(&mut self, now: Nanos, offset: u32) -> u32 {
        self.set_time(now);
        self.core.engines.host.extend([offset & 0xff_ffff, 0]);
        self.run(Cause::Read);
        let answer = self.core.engines.answers.pop_front();
        if answer.is_none() && !self.core.is_dead() {
            self.core.stop(Fault::NoAnswer);
        }
        // As a bus without a device.
        answer.unwrap_or(u32::MAX)
    }

    fn write32(&mut self, now: Nanos, offset: u32, value: u32) {
        self.set_time(now);
        self.core.engines.host.extend([offset & 0xff_ffff | 1 << 31, value]);
        self.run(Cause::Write);
    }

    fn receive(&mut self, now: Nanos, frame: &[u8]) {
        self.set_time(now);
        self.core.engines.receiver.frame(frame);
        self.run(Cause::Receive);
        let lost = self.core.engines.receiver.overflow();
        if lost > 0 {
            tracing::warn!("{lost} frames did not fit the receive ring");
        }
    }

    fn transmit(&mut self, now: Nanos) -> Option<Frame> {
        self.set_time(now);
        if self.core.engines.frames.is_empty() {
            // The frame is built when the wire is free, from what is known then.
            self.core.engines.room = 1;
            self.run(Cause::Transmit);
            self.core.engines.room = 0;
        }
        let frame = self.core.engines.frames.pop_front();
        frame.filter(|_| !self.core.is_dead())
    }

    fn advance(&mut self, now: Nanos) {
        self.set_time(now);
        self.run(Cause::Time);
    }

    fn next_event(&self) -> Option<Nanos> {
        if self.core.is_dead() { None } else { self.core.alarm(self.now) }
    }

    fn interrupt(&self) -> bool {
        !self.core.is_dead() && self.core.engines.writer.interrupt
    }
}
