//! The golden model: the device in plain software, at its pins.
//!
//! ```text
//! frames in  -> frame::classify -> lookup -> Qp (tcp, then rdma or stream) -> Host (DMA, completions, events)
//!                              \-> raw receive ring
//! frames out <- ready queue of QPs <- doorbells, ACKs, timers
//!            <- raw transmit ring
//! ```
//! One thread, no clock, no randomness: the same calls give the same frames and the same memory.

pub mod config;
mod core;
mod cq;
pub mod frame;
mod host;
mod qp;
mod rdma;
pub mod region;
mod registers;
mod srq;
mod stream;
pub mod tcp;

pub use config::ModelConfig;

use config::{TCPCFG_RESET, Timing};
use core::Core;
use frame::{Arrival, FourTuple, classify};
use ironwarp_proto::abi::context::{TEMPLATE_WORDS, WORDS};
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::abi::regs::{Counter, ctrl};
use ironwarp_proto::pins::{Device, Dma, Frame, Nanos};
use ironwarp_proto::wire::eth::MacAddr;
use qp::Qp;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A QP's place in the device.
#[derive(Default)]
struct Slot {
    context: [u32; WORDS],
    template: [u32; TEMPLATE_WORDS],
    qp: Option<Box<Qp>>,
    /// It is in the ready queue.
    ready: bool,
}

/// The golden model of an Ironwarp device.
pub struct Model {
    config: ModelConfig,
    core: Core,
    slots: Vec<Slot>,
    lookup: HashMap<FourTuple, u16>,
    ready: VecDeque<u16>,
    /// Frames of software, on their way to the wire.
    raw: VecDeque<Frame>,
    /// Connections and raw frames take turns.
    raw_turn: bool,
    registers: registers::Registers,
}

impl Model {
    /// A device in power-up state with access to `dma`.
    pub fn new(config: ModelConfig, dma: Arc<dyn Dma>) -> Self {
        let timing = Timing::from_registers(config.clock_khz, config.clock_khz, TCPCFG_RESET);
        Self {
            core: Core::new(&config, timing, dma),
            slots: (0..1 << config.log2_qps).map(|_| Slot::default()).collect(),
            lookup: HashMap::new(),
            ready: VecDeque::new(),
            raw: VecDeque::new(),
            raw_turn: false,
            registers: registers::Registers::new(&config),
            config,
        }
    }

    fn reset(&mut self) {
        let now = self.core.host.now;
        *self = Self::new(self.config, self.core.host.dma());
        self.core.host.now = now;
    }

    fn mac(&self) -> MacAddr {
        self.registers.mac()
    }

    fn enabled(&self, bit: u32) -> bool {
        self.registers.ctrl & bit != 0
    }

    /// Let a QP have the next turn at the transmitter.
    fn wake(&mut self, number: u16) {
        let slot = &mut self.slots[usize::from(number)];
        if !slot.ready && slot.qp.is_some() {
            slot.ready = true;
            self.ready.push_back(number);
        }
    }

    /// Tell the QPs of queues that have broken.
    fn break_queues(&mut self) {
        while let Some(cq) = self.core.cqs.broken.pop() {
            for number in 0..self.slots.len() as u16 {
                let Some(qp) = self.slots[usize::from(number)].qp.as_mut() else { continue };
                if qp.uses_cq(cq) {
                    qp.stop_for(&mut self.core, ErrorCause::CqBroken);
                    self.wake(number);
                }
            }
        }
    }

    /// A frame from the wire, or injected by software.
    fn frame_in(&mut self, frame: &[u8], injected: bool) {
        let arrival = classify(frame, self.mac());
        match arrival {
            Arrival::Other if !self.enabled(ctrl::PROMISCUOUS) => {
                self.core.host.count(Counter::RxOther);
                return;
            }
            _ => self.core.host.count(Counter::RxFrames),
        }
        match arrival {
            Arrival::Malformed => self.core.host.count(Counter::RxMalformed),
            Arrival::BadIpChecksum => self.core.host.count(Counter::RxIpChecksum),
            Arrival::BadTcpChecksum => self.core.host.count(Counter::RxTcpChecksum),
            Arrival::Other | Arrival::Raw => self.core.host.raw_frame(frame, false, None),
            Arrival::Segment(tuple, tcp, payload) => {
                let number = self.lookup.get(&tuple).copied();
                let found = number.and_then(|n| Some((n, self.slots[usize::from(n)].qp.as_mut()?)));
                match found {
                    Some((number, qp)) if injected || qp.takes_wire_frames() => {
                        qp.receive(&mut self.core, &tcp, payload);
                        self.wake(number);
                    }
                    Some((number, qp)) => {
                        let count = qp.divert();
                        self.core.host.raw_frame(frame, true, Some((number, count)));
                    }
                    // An injected frame that no connection wants would come back for ever.
                    None if injected => {}
                    None => self.core.host.raw_frame(frame, true, None),
                }
            }
        }
        self.break_queues();
    }

    /// Take what software has put into the raw transmit ring.
    fn drain_raw_tx(&mut self) {
        while let Some((frame, inject)) = self.core.host.next_raw_tx() {
            if inject {
                self.frame_in(&frame, true);
            } else {
                self.raw.push_back(frame);
            }
        }
    }

    fn next_qp_frame(&mut self) -> Option<Frame> {
        while let Some(number) = self.ready.pop_front() {
            let slot = &mut self.slots[usize::from(number)];
            slot.ready = false;
            let frame = slot.qp.as_mut().and_then(|qp| qp.transmit(&mut self.core));
            self.break_queues();
            if frame.is_some() {
                // Round robin: one frame, then to the back of the queue.
                self.wake(number);
                return frame;
            }
        }
        None
    }
}

impl Device for Model {
    fn read32(&mut self, now: Nanos, offset: u32) -> u32 {
        self.core.host.now = now;
        self.read_register(offset)
    }

    fn write32(&mut self, now: Nanos, offset: u32, value: u32) {
        self.core.host.now = now;
        self.write_register(offset, value);
        self.break_queues();
    }

    fn receive(&mut self, now: Nanos, frame: &[u8]) {
        self.core.host.now = now;
        if self.enabled(ctrl::RX_ENABLE) {
            self.frame_in(frame, false);
        }
    }

    fn transmit(&mut self, now: Nanos) -> Option<Frame> {
        self.core.host.now = now;
        if !self.enabled(ctrl::TX_ENABLE) {
            return None;
        }
        self.raw_turn = !self.raw_turn;
        let first = if self.raw_turn { self.raw.pop_front() } else { None };
        let frame = first.or_else(|| self.next_qp_frame()).or_else(|| self.raw.pop_front());
        if frame.is_some() {
            self.core.host.count(Counter::TxFrames);
        }
        frame
    }

    fn advance(&mut self, now: Nanos) {
        self.core.host.now = now;
        for number in 0..self.slots.len() as u16 {
            let Some(qp) = self.slots[usize::from(number)].qp.as_mut() else { continue };
            if qp.deadline().is_some_and(|at| at <= now) {
                qp.on_time(&mut self.core);
                self.wake(number);
            }
        }
    }

    fn next_event(&self) -> Option<Nanos> {
        let timers = self.slots.iter().filter_map(|slot| slot.qp.as_ref()?.deadline()).min();
        let interrupt = self.core.host.events_due().filter(|at| *at > self.core.host.now);
        [timers, interrupt].into_iter().flatten().min()
    }

    fn interrupt(&self) -> bool {
        self.core.host.interrupt()
    }
}
