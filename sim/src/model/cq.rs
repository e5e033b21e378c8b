//! Completion queues: ring, phase, arming, overflow.

use super::host::{Host, Ring};
use ironwarp_proto::abi::Doorbell;
use ironwarp_proto::abi::completion::{self, Completion, Status};
use ironwarp_proto::abi::doorbell::{ARM_ANY, ARM_SOLICITED};
use ironwarp_proto::abi::event::EventKind;
use ironwarp_proto::abi::field::bytes_of;
use ironwarp_proto::abi::queue::CqEntry;
use ironwarp_proto::abi::regs::Counter;

/// A completion queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cq {
    /// Words as written through the window.
    pub words: [u32; 4],
    ring: Ring,
    arm: u32,
    broken: bool,
}

/// All completion queues, and those that broke and whose QPs must still be told.
pub struct CqTable {
    cqs: Vec<Cq>,
    /// Queues that broke since this was last emptied.
    pub broken: Vec<u16>,
}

impl CqTable {
    /// `2^log2` stopped queues.
    pub fn new(log2: u8) -> Self {
        Self { cqs: vec![Cq::default(); 1 << log2], broken: Vec::new() }
    }

    /// The entry of queue `index`; its words may be written while it is stopped.
    pub fn get_mut(&mut self, index: u16) -> Option<&mut Cq> {
        self.cqs.get_mut(usize::from(index))
    }

    /// Whether QPs may use the queue.
    pub fn is_usable(&self, index: u16) -> bool {
        self.cqs.get(usize::from(index)).is_some_and(|cq| cq.ring.running && !cq.broken)
    }

    /// Write a completion to queue `index`; `false` if it was dropped.
    #[must_use]
    pub fn complete(&mut self, host: &mut Host, index: u16, completion: &Completion) -> bool {
        let Some(cq) = self.cqs.get_mut(usize::from(index)) else { return false };
        if cq.broken || !cq.ring.running {
            host.count(Counter::CqOverflows);
            return false;
        }
        if cq.ring.is_full() {
            cq.broken = true;
            self.broken.push(index);
            host.count(Counter::CqOverflows);
            host.event(EventKind::CqOverflow, 0, index, [0; 2]);
            return false;
        }
        let bytes = bytes_of(&completion.encode(cq.ring.phase()));
        let slot = cq.ring.slot(cq.ring.producer, completion::SIZE);
        let (body, last) = bytes.split_at(completion::VALID_OFFSET);
        let stored = host
            .write(slot, body)
            .and_then(|()| host.write(slot.wrapping_add(completion::VALID_OFFSET as u64), last));
        if stored.is_err() {
            cq.broken = true;
            self.broken.push(index);
            return false;
        }
        cq.ring.producer = cq.ring.producer.wrapping_add(1);
        host.count(Counter::Completions);
        let urgent = completion.solicited || completion.status != Status::Ok;
        if cq.arm & ARM_ANY != 0 || (cq.arm & ARM_SOLICITED != 0 && urgent) {
            cq.fire(host, index);
        }
        true
    }

    /// Consumer doorbell.
    pub fn consume(&mut self, host: &mut Host, index: u16, consumer: u16) {
        let Some(cq) = self.cqs.get_mut(usize::from(index)).filter(|cq| cq.ring.running) else { return };
        if cq.ring.consume(consumer) == Doorbell::Invalid && !cq.broken {
            cq.broken = true;
            self.broken.push(index);
            host.event(EventKind::CqOverflow, 1, index, [0; 2]);
        }
    }

    /// Arm doorbell: the value's low half is the consumer index the host has seen.
    pub fn arm(&mut self, host: &mut Host, index: u16, value: u32) {
        let Some(cq) = self.cqs.get_mut(usize::from(index)).filter(|cq| cq.ring.running) else { return };
        cq.arm |= value & (ARM_ANY | ARM_SOLICITED);
        if cq.arm != 0 && cq.ring.producer != value as u16 {
            cq.fire(host, index);
        }
    }
}

impl Cq {
    /// Start at index 0; `false` if its entry makes no sense.
    pub fn start(&mut self) -> bool {
        let entry = CqEntry::decode(&self.words);
        *self = Self { words: self.words, ..Self::default() };
        self.ring.base = entry.base;
        self.ring.start(entry.log2);
        self.ring.running
    }
    /// Stop; its words may be written again.
    pub fn stop(&mut self) {
        *self = Self { words: self.words, ..Self::default() };
    }
    /// Whether it was started.
    pub fn is_running(&self) -> bool {
        self.ring.running
    }
    fn fire(&mut self, host: &mut Host, index: u16) {
        self.arm = 0;
        host.event(EventKind::CqReady, 0, index, [0; 2]);
    }
}
