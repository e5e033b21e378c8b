//! What is posted to a queue pair and not yet complete.

use super::srq::SrqInner;
use super::{WcOpcode, WorkCompletion};
use crate::error::Error;
use crate::sync::lock;
use crate::transport::DmaBuffer;
use ironwarp_proto::abi::completion::{Completion, OPCODE_RECEIVE};
use ironwarp_proto::abi::field::bytes_of;
use ironwarp_proto::abi::receive_entry::{self, ReceiveEntry};
use ironwarp_proto::abi::send_entry::{SLOT, SendEntry};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Which of the two queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Send,
    Receive,
}

/// A posted send entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posted {
    /// Index of its first slot.
    index: u16,
    /// `None` for an entry of the driver itself, of which the application hears nothing.
    wr_id: Option<u64>,
    opcode: WcOpcode,
}

/// The send ring and the entries in it.
#[derive(Debug)]
pub(super) struct SendQueue {
    ring: DmaBuffer,
    log2: u8,
    producer: u16,
    posted: VecDeque<Posted>,
}

impl SendQueue {
    pub(super) fn new(ring: DmaBuffer, log2: u8) -> Self {
        Self { ring, log2, producer: 0, posted: VecDeque::new() }
    }
    /// Index behind the last posted entry.
    pub(super) fn producer(&self) -> u16 {
        self.producer
    }
    pub(super) fn len(&self) -> usize {
        self.posted.len()
    }
    /// Slots in use.
    fn used(&self) -> u16 {
        self.posted.front().map_or(0, |oldest| self.producer.wrapping_sub(oldest.index))
    }

    /// Add an entry; with `write` also to the ring. A stopped device may still fetch old entries of the ring for
    /// retransmission, so what is posted then must not reach it.
    pub(super) fn post(
        &mut self,
        mut entry: SendEntry,
        wr_id: Option<u64>,
        opcode: WcOpcode,
        write: bool,
    ) -> Result<(), Error> {
        let size = 1u16 << self.log2;
        let slots = entry.slots();
        if slots > size - self.used() {
            return Err(Error::QueueFull { queue: "send", slots: size.into() });
        }
        entry.index = self.producer;
        if write {
            for (slot, words) in entry.encode().chunks(SLOT / 4).enumerate() {
                let at = self.producer.wrapping_add(slot as u16) & (size - 1);
                let stored = self.ring.write(usize::from(at) * SLOT, &bytes_of(words));
                debug_assert!(stored);
            }
        }
        self.posted.push_back(Posted { index: self.producer, wr_id, opcode });
        self.producer = self.producer.wrapping_add(slots);
        Ok(())
    }

    /// The entry at `index` is complete, and with it all before. `None` if no entry begins there.
    fn complete(&mut self, index: u16) -> Option<Posted> {
        let first = self.posted.front()?.index;
        let distance = index.wrapping_sub(first);
        let at = self.posted.partition_point(|entry| entry.index.wrapping_sub(first) < distance);
        if self.posted.get(at)?.index != index {
            return None;
        }
        self.posted.drain(..=at).next_back()
    }
}

/// The receive ring and the entries in it.
#[derive(Debug)]
pub(super) struct ReceiveQueue {
    ring: DmaBuffer,
    log2: u8,
    producer: u16,
    /// `wr_id`s, oldest first; `None` for a buffer of the driver itself.
    posted: VecDeque<Option<u64>>,
}

impl ReceiveQueue {
    pub(super) fn new(ring: DmaBuffer, log2: u8) -> Self {
        Self { ring, log2, producer: 0, posted: VecDeque::new() }
    }
    /// Index behind the last posted entry.
    pub(super) fn producer(&self) -> u16 {
        self.producer
    }
    /// Add an entry; with `write` also to the ring.
    pub(super) fn post(
        &mut self,
        mut entry: ReceiveEntry,
        wr_id: Option<u64>,
        write: bool,
    ) -> Result<(), Error> {
        let size = 1u16 << self.log2;
        if self.posted.len() >= usize::from(size) {
            return Err(Error::QueueFull { queue: "receive", slots: size.into() });
        }
        entry.index = self.producer;
        if write {
            let at = usize::from(self.producer & (size - 1)) * receive_entry::SIZE;
            let stored = self.ring.write(at, &bytes_of(&entry.encode()));
            debug_assert!(stored);
        }
        self.posted.push_back(wr_id);
        self.producer = self.producer.wrapping_add(1);
        Ok(())
    }
    /// The entry at `index` is complete. Entries complete in order, so only the oldest can.
    fn complete(&mut self, index: u16) -> Option<Option<u64>> {
        let oldest = self.producer.wrapping_sub(self.posted.len() as u16);
        if index == oldest { self.posted.pop_front() } else { None }
    }
}

/// Where receive buffers come from.
pub(super) enum Receives {
    Own(Mutex<ReceiveQueue>),
    Shared(Arc<SrqInner>),
}

/// Both queues of a queue pair, as its completion queues see them.
pub(super) struct Queues {
    pub(super) qp: u16,
    pub(super) send: Mutex<SendQueue>,
    pub(super) receive: Receives,
}

impl Queues {
    /// Turn what the device wrote into what the application gets. The device is not believed: a completion of something
    /// that was not posted is ignored. `None` also for entries of the driver itself.
    pub(super) fn translate(&self, cqe: &Completion) -> Option<WorkCompletion> {
        let (wr_id, opcode) = if cqe.opcode == OPCODE_RECEIVE {
            let wr_id = match (&self.receive, cqe.srq) {
                (Receives::Own(queue), false) => lock(queue).complete(cqe.index),
                (Receives::Shared(srq), true) => srq.complete(cqe.index).map(Some),
                _ => None,
            };
            let immediate = cqe.immediate.is_some();
            (wr_id, if immediate { WcOpcode::ReceiveImmediate } else { WcOpcode::Receive })
        } else {
            let posted = lock(&self.send).complete(cqe.index);
            (posted.map(|posted| posted.wr_id), posted.map_or(WcOpcode::Nop, |posted| posted.opcode))
        };
        let Some(wr_id) = wr_id else {
            tracing::warn!(?cqe, "completion of an entry that was not posted ignored");
            return None;
        };
        Some(WorkCompletion {
            wr_id: wr_id?,
            status: cqe.status,
            opcode,
            byte_len: cqe.length,
            qp: cqe.qp.into(),
            solicited: cqe.solicited,
            invalidated: cqe.invalidated,
            immediate: cqe.immediate,
        })
    }

    /// Entries to flush. Those of a shared receive queue are not ours.
    pub(super) fn len(&self, side: Side) -> usize {
        match (side, &self.receive) {
            (Side::Send, _) => lock(&self.send).len(),
            (Side::Receive, Receives::Own(queue)) => lock(queue).posted.len(),
            (Side::Receive, Receives::Shared(_)) => 0,
        }
    }

    /// Flush the oldest entry of a stopped queue; `None` if there is none, or if it is one of the driver itself.
    pub(super) fn flush_one(&self, side: Side) -> Option<WorkCompletion> {
        let (wr_id, opcode) = match (side, &self.receive) {
            (Side::Send, _) => {
                let posted = lock(&self.send).posted.pop_front()?;
                (posted.wr_id?, posted.opcode)
            }
            (Side::Receive, Receives::Own(queue)) => (lock(queue).posted.pop_front()??, WcOpcode::Receive),
            (Side::Receive, Receives::Shared(_)) => return None,
        };
        Some(WorkCompletion::flushed(wr_id, opcode, self.qp))
    }
}
