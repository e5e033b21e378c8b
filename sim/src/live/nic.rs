//! One device on one port, at the pace of this machine's clock.

use super::ether::Ether;
use super::port::{self, Port};
use crate::cmd::options::CommandError;
use crate::engine::Engine;
use crate::model::ModelConfig;
use crate::pcap::{CaptureError, PcapWriter};
use ironwarp_driver::transport::{Fabric, Step};
use ironwarp_proto::pins::{Device, Dma, Nanos};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest sleep without looking around, so that other threads get at the device.
pub(super) const NAP: Duration = Duration::from_millis(10);

/// A device, its Ethernet port, and time. Whoever has registers and memory of the device calls [`step`](Fabric::step) again and
/// again; the driver does it through [`Fabric`].
pub struct Nic {
    device: Box<dyn Device>,
    port: Port,
    start: Instant,
    capture: Option<(PcapWriter, u32)>,
}

impl Nic {
    /// Put `device` on `port`.
    pub fn new(device: Box<dyn Device>, port: Port) -> Self {
        Self { device, port, start: Instant::now(), capture: None }
    }

    /// A device of `engine` ([settled](Engine::settled)) with this configuration on its Ethernet that reaches its
    /// driver's memory through `dma`; frames are recorded at `pcap`.
    pub fn open(
        ether: &Ether,
        engine: Engine,
        config: &ModelConfig,
        pcap: Option<&Path>,
        dma: Arc<dyn Dma>,
    ) -> Result<Self, CommandError> {
        let device = engine.settled().device(config, dma)?;
        let mut nic = Self::new(device, Port::open(ether)?);
        if let Some(path) = pcap {
            nic.capture(PcapWriter::create(path)?);
        }
        Ok(nic)
    }

    /// Record every frame from now on.
    pub fn capture(&mut self, mut writer: PcapWriter) {
        let interface = writer.add_interface("ironwarp");
        self.capture = Some((writer, interface));
    }

    /// End the recording; tells whether it is complete.
    pub fn finish_capture(&mut self) -> Result<(), CaptureError> {
        self.capture.take().map_or(Ok(()), |(writer, _)| writer.finish())
    }

    /// Have the time of `other` from now on: before anybody has used this one.
    pub(super) fn share_clock(&mut self, other: &Self) {
        self.start = other.start;
    }

    /// When the device has something to do, if nothing comes before.
    pub(super) fn next_event(&self) -> Option<Nanos> {
        self.device.next_event()
    }

    /// The port.
    pub fn port(&self) -> &Port {
        &self.port
    }

    fn record(capture: &mut Option<(PcapWriter, u32)>, now: Nanos, frame: &[u8]) {
        if let Some((writer, interface)) = capture {
            writer.frame(now, *interface, frame, "");
        }
    }

    /// Send what the device has, as long as the wire takes it; whether there was anything.
    fn send_all(&mut self) -> bool {
        self.port.flush();
        let mut sent = false;
        while self.port.queued() == 0 {
            let now = self.now();
            let Some(frame) = self.device.transmit(now) else { break };
            Self::record(&mut self.capture, now, &frame);
            self.port.send(frame);
            sent = true;
        }
        sent
    }

    /// Take a frame, if one is there, and send what it makes the device say.
    fn receive(&mut self) -> bool {
        let now = self.now();
        let Some(frame) = self.port.receive() else { return false };
        Self::record(&mut self.capture, now, frame);
        self.device.receive(now, frame);
        self.send_all();
        true
    }

    /// Do what is due, send, and take at most one frame; whether there was anything.
    pub fn work(&mut self) -> bool {
        let now = self.now();
        if self.device.next_event().is_some_and(|at| at <= now) {
            self.device.advance(now);
        }
        self.send_all() | self.receive()
    }

    /// Sleep until there is work, one of `others` has input, or `limit` has come; for a nap at most. Whether one of `others` has.
    pub fn sleep(&self, others: &[BorrowedFd<'_>], limit: Option<Nanos>) -> bool {
        let until = [limit, self.device.next_event()].into_iter().flatten().min();
        let left = until.map(|at| Duration::from_nanos(at.saturating_sub(self.now())));
        port::wait(&[&self.port], others, left.map_or(NAP, |left| left.min(NAP)))
    }
}

impl Fabric for Nic {
    fn read32(&mut self, _: usize, offset: u32) -> u32 {
        let now = self.now();
        self.device.read32(now, offset)
    }
    fn write32(&mut self, _: usize, offset: u32, value: u32) {
        let now = self.now();
        self.device.write32(now, offset, value);
    }
    fn interrupt(&self, _: usize) -> bool {
        self.device.interrupt()
    }
    fn now(&self) -> Nanos {
        self.start.elapsed().as_nanos() as Nanos
    }
    fn step(&mut self, limit: Option<Nanos>) -> Step {
        if self.work() {
            return Step::Event;
        }
        self.sleep(&[], limit);
        if self.receive() {
            return Step::Event;
        }
        let reached = limit.is_some_and(|limit| limit <= self.now());
        if reached { Step::Limit } else { Step::Event }
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        if let Err(error) = self.finish_capture() {
            tracing::warn!(%error, "capture");
        }
    }
}
