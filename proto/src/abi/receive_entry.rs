//! Receive-queue entry, and entry of a shared receive queue's table: 64 bytes.

use super::{Field, Layout, send_entry::Sge};

/// Bytes of an entry.
pub const SIZE: usize = 64;
/// SGEs of an entry.
pub const SGES_MAX: usize = 3;

const NSGE: Field = Field::new("nsge", 0, 0, 2, "number of SGEs, 0..=3");
const INDEX: Field = Field::new(
    "index",
    0,
    16,
    16,
    "index of this entry (SRQ: table index); another value is a stale fetch and an error",
);
const LENGTH: Field = Field::new("length", 1, 0, 32, "buffer, bytes: the sum of the SGEs");
const SGE0: Field = Field::new("sge0", 4, 0, 64, "SGE 0 in words 4..8: TO 64, length 32, lkey 32");
const SGE1: Field = Field::new("sge1", 8, 0, 64, "SGE 1 in words 8..12");
const SGE2: Field = Field::new("sge2", 12, 0, 64, "SGE 2 in words 12..16");

/// Layout of an entry.
pub const LAYOUT: Layout = Layout {
    name: "Receive-queue entry",
    words: 16,
    doc: "Written by the host. Words 2 and 3 are reserved.",
    fields: &[NSGE, INDEX, LENGTH, SGE0, SGE1, SGE2],
};

/// A receive-queue entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReceiveEntry {
    /// Its index.
    pub index: u16,
    /// Where to put the message.
    pub sges: Vec<Sge>,
}

impl ReceiveEntry {
    /// Buffer length, bytes; `None` when the SGEs add up to 2^32 or more.
    pub fn length(&self) -> Option<u32> {
        self.sges.iter().try_fold(0u32, |sum, sge| sum.checked_add(sge.length))
    }
    /// Its words. The caller has checked the number of SGEs.
    pub fn encode(&self) -> [u32; 16] {
        let mut words = [0; 16];
        NSGE.set(&mut words, self.sges.len() as u64);
        INDEX.set(&mut words, self.index);
        LENGTH.set(&mut words, self.length().unwrap_or(u32::MAX));
        for (sge, to) in self.sges.iter().zip(words[4..].chunks_exact_mut(4)) {
            to.copy_from_slice(&sge.encode());
        }
        words
    }
    /// Read the entry fetched from slot `index`; `None` if it is another entry or its length is not the sum of its SGEs.
    pub fn decode(words: &[u32; 16], index: u16) -> Option<Self> {
        let nsge = NSGE.get(words) as usize;
        let sges = words[4..].chunks_exact(4).take(nsge).map(Sge::decode).collect();
        let entry = Self { index: INDEX.get16(words), sges };
        (entry.index == index && entry.length() == Some(LENGTH.get32(words))).then_some(entry)
    }
}
