//! Shared receive queues: a ring of table indices, a table of entries.

use super::host::{Host, Ring};
use ironwarp_proto::abi::event::EventKind;
use ironwarp_proto::abi::queue::SrqEntry;
use ironwarp_proto::abi::receive_entry::{self, ReceiveEntry};

/// A shared receive queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct Srq {
    /// Words as written through the window.
    pub words: [u32; 8],
    ring: Ring,
    table: u64,
    limit: u16,
}

/// Why no entry could be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEntry {
    /// None is posted.
    Empty,
    /// What stands there is not an entry.
    Bad,
}

impl Srq {
    /// Start at index 0; `false` if its entry makes no sense.
    pub fn start(&mut self) -> bool {
        let entry = SrqEntry::decode(&self.words);
        *self = Self { words: self.words, table: entry.table, ..Self::default() };
        self.ring.base = entry.ring;
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
    /// Protection domain of its buffers.
    pub fn pd(&self) -> u16 {
        SrqEntry::decode(&self.words).pd
    }
    /// Producer doorbell; an impossible one is ignored, since no QP can be blamed.
    pub fn post(&mut self, index: u16) {
        if self.ring.running {
            self.ring.produce(index);
        }
    }
    /// Limit doorbell.
    pub fn set_limit(&mut self, host: &mut Host, number: u16, limit: u16) {
        self.limit = limit;
        self.check_limit(host, number);
    }
    fn check_limit(&mut self, host: &mut Host, number: u16) {
        if self.ring.filled() < self.limit {
            self.limit = 0;
            host.event(EventKind::SrqLimit, 0, number, [0; 2]);
        }
    }
    /// Take the next entry and its table index.
    pub fn take(&mut self, host: &mut Host, number: u16) -> Result<(u16, ReceiveEntry), NoEntry> {
        if !self.ring.running || self.ring.filled() == 0 {
            return Err(NoEntry::Empty);
        }
        let [word] = host.words::<1>(self.ring.slot(self.ring.consumer, 4)).map_err(|_| NoEntry::Bad)?;
        let index = u16::try_from(word).ok().filter(|index| *index < self.ring.size()).ok_or(NoEntry::Bad)?;
        let addr = self.table.wrapping_add(u64::from(index) * receive_entry::SIZE as u64);
        let words = host.words::<16>(addr).map_err(|_| NoEntry::Bad)?;
        let entry = ReceiveEntry::decode(&words, index).ok_or(NoEntry::Bad)?;
        self.ring.consumer = self.ring.consumer.wrapping_add(1);
        self.check_limit(host, number);
        Ok((index, entry))
    }
}
