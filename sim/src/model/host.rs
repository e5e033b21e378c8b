//! The host side of the device: DMA, counters, event queue and raw frame rings.

use ironwarp_proto::abi::event::{self, Event, EventKind};
use ironwarp_proto::abi::field::{bytes_of, load};
use ironwarp_proto::abi::raw::{self, RawHeader};
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::abi::{Doorbell, judge_doorbell};
use ironwarp_proto::pins::{Dma, DmaFault, Nanos};
use std::sync::Arc;

/// A ring with free-running indices in host memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ring {
    /// Host address.
    pub base: u64,
    /// log2 of the entries.
    pub log2: u8,
    /// Next index to produce.
    pub producer: u16,
    /// Next index to consume.
    pub consumer: u16,
    /// It was started.
    pub running: bool,
}

impl Ring {
    /// Start at index 0.
    pub fn start(&mut self, log2: u8) {
        let running = log2 <= ironwarp_proto::abi::queue::LOG2_MAX;
        *self = Self { base: self.base, log2, producer: 0, consumer: 0, running };
    }
    /// Entries it holds.
    pub fn size(&self) -> u16 {
        1 << self.log2
    }
    /// Entries produced and not consumed.
    pub fn filled(&self) -> u16 {
        self.producer.wrapping_sub(self.consumer)
    }
    /// Whether nothing more can be produced.
    pub fn is_full(&self) -> bool {
        !self.running || self.filled() >= self.size()
    }
    /// Host address of entry `index` of `bytes` bytes each.
    pub fn slot(&self, index: u16, bytes: usize) -> u64 {
        self.base.wrapping_add(u64::from(index & (self.size() - 1)) * bytes as u64)
    }
    /// Phase bit of what is produced next.
    pub fn phase(&self) -> bool {
        self.producer >> self.log2 & 1 == 0
    }
    /// Consumer doorbell of a ring that the device produces.
    pub fn consume(&mut self, index: u16) -> Doorbell {
        if !self.running {
            return Doorbell::Stale;
        }
        let verdict = judge_doorbell(self.consumer, index, self.filled(), self.size());
        if let Doorbell::Advance(by) = verdict {
            self.consumer = self.consumer.wrapping_add(by);
        }
        verdict
    }
    /// Producer doorbell of a ring that the device consumes.
    pub fn produce(&mut self, index: u16) -> Doorbell {
        if !self.running {
            return Doorbell::Stale;
        }
        let room = self.size() - self.filled().min(self.size());
        let verdict = judge_doorbell(self.producer, index, room, self.size());
        if let Doorbell::Advance(by) = verdict {
            self.producer = self.producer.wrapping_add(by);
        }
        verdict
    }
}

/// The event queue and its interrupt.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventQueue {
    /// The ring.
    pub ring: Ring,
    /// Interrupts are enabled.
    pub enabled: bool,
    /// `EQ_COALESCE`.
    pub coalesce: u32,
    /// An event was dropped.
    pub overflow: bool,
    /// When the oldest event not consumed was written.
    oldest: Option<Nanos>,
}

/// What the device does to its host.
pub struct Host {
    dma: Arc<dyn Dma>,
    counters: [u32; 32],
    /// Event queue.
    pub events: EventQueue,
    /// Raw receive ring.
    pub raw_rx: Ring,
    /// Raw transmit ring.
    pub raw_tx: Ring,
    /// A DMA access failed.
    pub dma_fault: bool,
    /// Time of what is being done.
    pub now: Nanos,
    /// Length of a timer tick.
    pub tick: Nanos,
}

impl Host {
    /// A host that was not told anything yet.
    pub fn new(dma: Arc<dyn Dma>, tick: Nanos) -> Self {
        Self {
            dma,
            counters: [0; 32],
            events: EventQueue::default(),
            raw_rx: Ring::default(),
            raw_tx: Ring::default(),
            dma_fault: false,
            now: 0,
            tick,
        }
    }

    /// Its memory, to start over with.
    pub fn dma(&self) -> Arc<dyn Dma> {
        Arc::clone(&self.dma)
    }

    /// Count one.
    pub fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }
    /// Count many.
    pub fn add(&mut self, counter: Counter, n: u32) {
        let value = &mut self.counters[counter as usize];
        *value = value.wrapping_add(n);
    }
    /// Value of counter `index`.
    pub fn counter(&self, index: usize) -> u32 {
        self.counters.get(index).copied().unwrap_or(0)
    }

    /// Read host memory.
    pub fn read(&mut self, addr: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        if buf.is_empty() {
            return Ok(());
        }
        let result = self.dma.read(addr, buf);
        self.note(result)
    }
    /// Write host memory.
    pub fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), DmaFault> {
        if data.is_empty() {
            return Ok(());
        }
        let result = self.dma.write(addr, data);
        self.note(result)
    }
    /// Read `N` words.
    pub fn words<const N: usize>(&mut self, addr: u64) -> Result<[u32; N], DmaFault> {
        let mut bytes = vec![0; 4 * N];
        self.read(addr, &mut bytes)?;
        Ok(load(&bytes))
    }
    fn note(&mut self, result: Result<(), DmaFault>) -> Result<(), DmaFault> {
        if result.is_err() {
            self.dma_fault = true;
            self.count(Counter::DmaFaults);
        }
        result
    }

    /// Raise an event; a full queue sets a sticky bit instead.
    pub fn event(&mut self, kind: EventKind, code: u8, object: u16, params: [u32; 2]) {
        let ring = self.events.ring;
        if ring.is_full() {
            self.events.overflow = true;
            self.count(Counter::EqOverflows);
            return;
        }
        let words = Event { kind, code, object, params }.encode(ring.producer, ring.phase());
        let _ = self.write(ring.slot(ring.producer, event::SIZE), &bytes_of(&words));
        self.events.ring.producer = ring.producer.wrapping_add(1);
        self.events.oldest.get_or_insert(self.now);
    }

    /// Start the event queue, empty.
    pub fn start_events(&mut self, log2: u8) {
        self.events.ring.start(log2);
        self.events.oldest = None;
    }

    /// Consumer doorbell of the event queue.
    pub fn consume_events(&mut self, index: u16) {
        self.events.ring.consume(index);
        self.events.oldest = (self.events.ring.filled() > 0).then_some(self.now);
    }

    /// Level of the interrupt line.
    pub fn interrupt(&self) -> bool {
        let pending = self.events.ring.filled();
        let enough = pending > 0 && u32::from(pending) >= self.events.coalesce & 0xffff;
        let late = self.events_due().is_some_and(|at| at <= self.now);
        self.events.enabled && (enough || late || self.raw_rx.filled() > 0)
    }

    /// When events that wait for company are told anyway.
    pub fn events_due(&self) -> Option<Nanos> {
        let longest = u64::from(self.events.coalesce >> 16);
        self.events.oldest.map(|oldest| oldest + longest * self.tick)
    }

    /// Hand a frame to software; a full ring drops it.
    pub fn raw_frame(&mut self, frame: &[u8], checksum_ok: bool, diverted: Option<(u16, u16)>) {
        let ring = self.raw_rx;
        if ring.is_full() {
            self.count(Counter::RawRxFull);
            return;
        }
        let truncated = frame.len() > raw::FRAME_MAX;
        let frame = &frame[..frame.len().min(raw::FRAME_MAX)];
        let header =
            RawHeader { length: frame.len() as u16, checksum_ok, truncated, inject: false, diverted };
        let header = bytes_of(&header.encode(ring.phase()));
        let slot = ring.slot(ring.producer, raw::SLOT);
        // The word that makes the slot valid goes last.
        let stored = self
            .write(slot.wrapping_add(raw::FRAME_OFFSET as u64), frame)
            .and_then(|()| self.write(slot.wrapping_add(4), &header[4..]))
            .and_then(|()| self.write(slot, &header[..4]));
        if stored.is_ok() {
            self.raw_rx.producer = ring.producer.wrapping_add(1);
        }
    }

    /// The next frame that software wants to send, and whether it is to be injected.
    pub fn next_raw_tx(&mut self) -> Option<(Vec<u8>, bool)> {
        while self.raw_tx.filled() > 0 {
            let slot = self.raw_tx.slot(self.raw_tx.consumer, raw::SLOT);
            self.raw_tx.consumer = self.raw_tx.consumer.wrapping_add(1);
            let Ok(words) = self.words::<4>(slot) else { continue };
            let header = RawHeader::decode(&words);
            let mut frame = vec![0; usize::from(header.length).min(raw::FRAME_MAX)];
            if self.read(slot.wrapping_add(raw::FRAME_OFFSET as u64), &mut frame).is_ok() {
                return Some((frame, header.inject));
            }
        }
        None
    }
}
