//! Raw frame rings: frames that no connection claims go to software, and software's own frames go out.
//!
//! A slot is 2 KiB (or the next power of two that holds the largest frame): a 16-byte header, then the frame from byte 18,
//! so that its IPv4 header is 4-byte aligned.

use super::{Field, Layout};

/// log2 of a slot's bytes: 16 KiB hold a jumbo frame; the MTU decides how much of it is touched.
pub const SLOT_LOG2: u8 = 14;
/// Bytes of a slot.
pub const SLOT: usize = 1 << SLOT_LOG2;
/// Bytes in front of the frame.
pub const FRAME_OFFSET: usize = 18;
/// Longest frame that a slot holds, bytes.
pub const FRAME_MAX: usize = SLOT - FRAME_OFFSET;
/// Byte offset of the word that makes a receive slot valid; it is written last.
pub const VALID_OFFSET: usize = 0;

const LENGTH: Field = Field::new("length", 0, 0, 16, "frame, bytes");
const CHECKSUM_OK: Field =
    Field::new("checksum_ok", 0, 16, 1, "receive: IPv4 and TCP checksums were verified");
const TRUNCATED: Field = Field::new("truncated", 0, 17, 1, "receive: the frame was longer than a slot");
const DIVERTED: Field =
    Field::new("diverted", 0, 18, 1, "receive: the frame is of the activated QP `qp`; `count` includes it");
const INJECT: Field =
    Field::new("inject", 0, 19, 1, "transmit: feed the frame to the receive path instead of the wire");
const PHASE: Field =
    Field::new("phase", 0, 31, 1, "receive: 1 in the first pass over the ring, then 0, 1, ...");
const QP: Field = Field::new("qp", 1, 0, 16, "receive: the QP of a diverted frame");
const COUNT: Field =
    Field::new("count", 1, 16, 16, "receive: frames diverted for that QP since ACTIVATE, this one included");

/// Layout of a slot header.
pub const LAYOUT: Layout = Layout {
    name: "Raw frame slot header",
    words: 4,
    doc: "Receive: written by the device, word 0 last. Transmit: written by the host. The frame begins at byte 18.",
    fields: &[LENGTH, CHECKSUM_OK, TRUNCATED, DIVERTED, INJECT, PHASE, QP, COUNT],
};

/// A slot header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawHeader {
    /// Frame, bytes.
    pub length: u16,
    /// IPv4 and TCP checksums were verified.
    pub checksum_ok: bool,
    /// The frame did not fit.
    pub truncated: bool,
    /// Feed it to the receive path.
    pub inject: bool,
    /// QP and count of a diverted frame.
    pub diverted: Option<(u16, u16)>,
}

impl RawHeader {
    /// Its words for a pass with this phase (transmit: any).
    pub fn encode(&self, phase: bool) -> [u32; 4] {
        let mut words = [0; 4];
        let (qp, count) = self.diverted.unwrap_or_default();
        LENGTH.set(&mut words, self.length);
        CHECKSUM_OK.set(&mut words, self.checksum_ok);
        TRUNCATED.set(&mut words, self.truncated);
        DIVERTED.set(&mut words, self.diverted.is_some());
        INJECT.set(&mut words, self.inject);
        PHASE.set(&mut words, phase);
        QP.set(&mut words, qp);
        COUNT.set(&mut words, count);
        words
    }
    /// Whether the first word says that the slot is of the pass with this phase.
    pub fn is_valid(first_word: u32, phase: bool) -> bool {
        (first_word >> 31 == 1) == phase
    }
    /// Read it.
    pub fn decode(words: &[u32; 4]) -> Self {
        Self {
            length: LENGTH.get16(words),
            checksum_ok: CHECKSUM_OK.is_set(words),
            truncated: TRUNCATED.is_set(words),
            inject: INJECT.is_set(words),
            diverted: DIVERTED.is_set(words).then(|| (QP.get16(words), COUNT.get16(words))),
        }
    }
}
