//! Region (STag) table entry: 8 words.
//!
//! The table index is in the STag's low index bits; the whole STag is compared, so the upper index bits and the key are
//! random to a guesser (RFC 5042 section 6.1.1). Invalidation clears `valid`, one write of word 0.

use super::{Field, Layout};

/// Rights and properties of an entry.
pub mod access {
    /// Local write: may be a receive buffer or the sink of a Read.
    pub const LOCAL_WRITE: u8 = 1 << 0;
    /// Remote read.
    pub const REMOTE_READ: u8 = 1 << 1;
    /// Remote write.
    pub const REMOTE_WRITE: u8 = 1 << 2;
    /// Remote atomic operations.
    pub const REMOTE_ATOMIC: u8 = 1 << 3;
    /// Windows may be bound to it.
    pub const BIND: u8 = 1 << 4;
    /// It may be invalidated by a Send with Invalidate or a local invalidate entry.
    pub const INVALIDATE: u8 = 1 << 5;
    /// All rights a peer may have.
    pub const REMOTE: u8 = REMOTE_READ | REMOTE_WRITE | REMOTE_ATOMIC;
}

const VALID: Field = Field::new("valid", 0, 0, 1, "the STag may be used");
const WINDOW: Field =
    Field::new("window", 0, 1, 1, "a type 2 memory window: usable by QP `qp` only, never as an lkey");
const ACCESS: Field = Field::new(
    "access",
    0,
    2,
    8,
    "bit 0 local write, 1 remote read, 2 remote write, 3 remote atomic, 4 bind, 5 invalidate",
);
const ALLOCATED: Field =
    Field::new("allocated", 0, 10, 1, "not valid, but a bind or fast registration of PD `pd` may make it so");
const SCOPED: Field = Field::new("scoped", 0, 11, 1, "peers reach it through QP `qp` only, as a window");
const PD: Field = Field::new("pd", 0, 16, 16, "protection domain");
const LENGTH: Field = Field::new("length", 1, 0, 48, "length, bytes");
const QP: Field = Field::new("qp", 2, 16, 16, "QP of a window or scoped region");
const BASE: Field = Field::new("base", 3, 0, 64, "TO of the first byte");
const HOST: Field = Field::new("host", 5, 0, 64, "host address of the first byte");
const STAG: Field = Field::new("stag", 7, 0, 32, "the STag; its bits 8.. end in the table index");

/// Layout of an entry.
pub const LAYOUT: Layout = Layout {
    name: "Region entry",
    words: 8,
    doc: "Written by the host through the window, word 0 last, or by a bind or fast registration.",
    fields: &[VALID, WINDOW, ACCESS, ALLOCATED, SCOPED, PD, LENGTH, QP, BASE, HOST, STAG],
};

/// A region entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Region {
    /// The STag may be used.
    pub valid: bool,
    /// It is a type 2 memory window.
    pub window: bool,
    /// A bind or fast registration may make it valid.
    pub allocated: bool,
    /// Rights, see [`access`].
    pub access: u8,
    /// Protection domain.
    pub pd: u16,
    /// Length, bytes, below 2^48.
    pub length: u64,
    /// Peers reach it through one QP only.
    pub scoped: bool,
    /// QP of a window or scoped region.
    pub qp: u16,
    /// TO of the first byte.
    pub base: u64,
    /// Host address of the first byte.
    pub host: u64,
    /// The STag.
    pub stag: u32,
}

impl Region {
    /// Its words.
    pub fn encode(&self) -> [u32; 8] {
        let mut words = [0; 8];
        VALID.set(&mut words, self.valid);
        WINDOW.set(&mut words, self.window);
        ALLOCATED.set(&mut words, self.allocated);
        SCOPED.set(&mut words, self.scoped);
        ACCESS.set(&mut words, self.access);
        PD.set(&mut words, self.pd);
        LENGTH.set(&mut words, self.length);
        QP.set(&mut words, self.qp);
        BASE.set(&mut words, self.base);
        HOST.set(&mut words, self.host);
        STAG.set(&mut words, self.stag);
        words
    }
    /// Read it.
    pub fn decode(words: &[u32; 8]) -> Self {
        Self {
            valid: VALID.is_set(words),
            window: WINDOW.is_set(words),
            allocated: ALLOCATED.is_set(words),
            scoped: SCOPED.is_set(words),
            access: ACCESS.get(words) as u8,
            pd: PD.get16(words),
            length: LENGTH.get(words),
            qp: QP.get16(words),
            base: BASE.get(words),
            host: HOST.get(words),
            stag: STAG.get32(words),
        }
    }
}

/// Table index of an STag in a table of `2^log2` entries.
pub fn index_of(stag: u32, log2: u8) -> u16 {
    ((stag >> 8) & ((1 << log2) - 1)) as u16
}
