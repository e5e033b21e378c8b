//! Completion queue and shared receive queue entries of the device's tables.

use super::{Field, Layout};

/// Largest ring, log2 of entries: twice as many indices must fit 16 bits with room to tell stale from new.
pub const LOG2_MAX: u8 = 14;

const CQ_BASE: Field = Field::new("base", 0, 0, 64, "host address of the ring, 32-byte completions, zeroed");
const CQ_LOG2: Field = Field::new("log2", 2, 0, 8, "log2 of its entries, at most 14");

/// Layout of a CQ entry.
pub const CQ_LAYOUT: Layout = Layout {
    name: "Completion queue entry",
    words: 4,
    doc: "Written by the host through the window before START_CQ; restarts at index 0, phase 1.",
    fields: &[CQ_BASE, CQ_LOG2],
};

/// A completion queue of the device's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CqEntry {
    /// Host address of the ring.
    pub base: u64,
    /// log2 of its entries.
    pub log2: u8,
}

impl CqEntry {
    /// Its words.
    pub fn encode(&self) -> [u32; 4] {
        let mut words = [0; 4];
        CQ_BASE.set(&mut words, self.base);
        CQ_LOG2.set(&mut words, self.log2);
        words
    }
    /// Read it.
    pub fn decode(words: &[u32; 4]) -> Self {
        Self { base: CQ_BASE.get(words), log2: CQ_LOG2.get(words) as u8 }
    }
}

const SRQ_RING: Field =
    Field::new("ring", 0, 0, 64, "host address of the ring of 32-bit words: table index of a free entry");
const SRQ_TABLE: Field =
    Field::new("table", 2, 0, 64, "host address of the table of 64-byte receive entries");
const SRQ_LOG2: Field =
    Field::new("log2", 4, 0, 8, "log2 of the ring's words and of the table's entries, at most 14");
const SRQ_PD: Field = Field::new("pd", 4, 16, 16, "protection domain of its buffers");

/// Layout of a SRQ entry.
pub const SRQ_LAYOUT: Layout = Layout {
    name: "Shared receive queue entry",
    words: 8,
    doc: "Written by the host through the window before START_SRQ. The device takes a ring word when the first segment of a \
          Send is accepted, so words free in order while table entries free in any order, with their completions.",
    fields: &[SRQ_RING, SRQ_TABLE, SRQ_LOG2, SRQ_PD],
};

/// A shared receive queue of the device's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SrqEntry {
    /// Host address of the ring of table indices.
    pub ring: u64,
    /// Host address of the table of receive entries.
    pub table: u64,
    /// log2 of both.
    pub log2: u8,
    /// Protection domain of its buffers.
    pub pd: u16,
}

impl SrqEntry {
    /// Its words.
    pub fn encode(&self) -> [u32; 8] {
        let mut words = [0; 8];
        SRQ_RING.set(&mut words, self.ring);
        SRQ_TABLE.set(&mut words, self.table);
        SRQ_LOG2.set(&mut words, self.log2);
        SRQ_PD.set(&mut words, self.pd);
        words
    }
    /// Read it.
    pub fn decode(words: &[u32; 8]) -> Self {
        Self {
            ring: SRQ_RING.get(words),
            table: SRQ_TABLE.get(words),
            log2: SRQ_LOG2.get(words) as u8,
            pd: SRQ_PD.get16(words),
        }
    }
}
