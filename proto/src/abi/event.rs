//! Event queue entry: 16 bytes, word 3 last.
//!
//! Each cause is also a bit of the object's state words, so that a driver can rescan after an overflow: no information is
//! only in the event queue.

use super::{Field, Layout};

/// Bytes of an event.
pub const SIZE: usize = 16;
/// Byte offset of the word that makes an event valid.
pub const VALID_OFFSET: usize = 12;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// An armed CQ has a completion; object is the CQ.
    CqReady = 1,
    /// A QP stopped; code is an [`ErrorCause`], parameter 0 and 1 the flush cursors.
    QpError = 2,
    /// FIN received in stream order; code: bit 0 inside an FPDU, 1 inside a message, 2 own Reads open.
    PeerClosed = 3,
    /// Our FIN is acknowledged.
    FinAcked = 4,
    /// The context is in the save area.
    Quiesced = 5,
    /// Fewer entries than the limit are left; object is the SRQ.
    SrqLimit = 6,
    /// A completion was dropped because the CQ was full; object is the CQ.
    CqOverflow = 7,
    /// The status block of an armed stream changed.
    Stream = 8,
    /// A DMA access outside of any QP's work failed.
    DmaFault = 9,
}

impl EventKind {
    /// All kinds with a line for the document.
    pub const ALL: &'static [(EventKind, &'static str)] = &[
        (EventKind::CqReady, "an armed CQ has a completion (object: CQ)"),
        (EventKind::QpError, "a QP stopped (code: cause; parameters: flush cursors)"),
        (
            EventKind::PeerClosed,
            "FIN received in stream order (code: bit 0 inside an FPDU, 1 inside a message, 2 own Reads open)",
        ),
        (EventKind::FinAcked, "our FIN is acknowledged"),
        (EventKind::Quiesced, "the context is in the save area"),
        (EventKind::SrqLimit, "fewer entries than the limit are left (object: SRQ)"),
        (EventKind::CqOverflow, "a completion was dropped, the CQ was full (object: CQ)"),
        (EventKind::Stream, "the status block of an armed stream changed"),
        (EventKind::DmaFault, "a DMA access outside of any QP's work failed"),
    ];
    /// The kind with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().map(|(kind, _)| *kind).find(|kind| *kind as u8 == code)
    }
}

/// Why a QP stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCause {
    /// We found an error that the peer must hear of: the error record is in the save area, software sends the Terminate.
    Detected = 1,
    /// The peer sent a Terminate; it is in the save area.
    TerminateReceived = 2,
    /// RST received.
    Reset = 3,
    /// The peer no longer answers.
    RetryExceeded = 4,
    /// A completion queue of the QP overflowed or got a wrong doorbell.
    CqBroken = 5,
    /// A doorbell of the QP was impossible.
    Doorbell = 6,
    /// A DMA access failed, or bytes to be retransmitted can no longer be rebuilt: only RST is left.
    Fatal = 7,
}

impl ErrorCause {
    /// All causes with a line for the document.
    pub const ALL: &'static [(ErrorCause, &'static str)] = &[
        (
            ErrorCause::Detected,
            "an error the peer must hear of: record in the save area, software sends the Terminate",
        ),
        (ErrorCause::TerminateReceived, "the peer sent a Terminate: it is in the save area"),
        (ErrorCause::Reset, "RST received"),
        (ErrorCause::RetryExceeded, "the peer no longer answers"),
        (ErrorCause::CqBroken, "a CQ of the QP overflowed or got a wrong doorbell"),
        (ErrorCause::Doorbell, "a doorbell of the QP was impossible"),
        (ErrorCause::Fatal, "DMA failed, or bytes to retransmit cannot be rebuilt: only RST is left"),
    ];
    /// The cause with this code; unknown ones are [`ErrorCause::Fatal`].
    pub fn from_code(code: u8) -> Self {
        let known = Self::ALL.iter().map(|(cause, _)| *cause).find(|cause| *cause as u8 == code);
        known.unwrap_or(Self::Fatal)
    }
}

const KIND: Field = Field::new("type", 0, 0, 8, "see event types");
const CODE: Field = Field::new("code", 0, 8, 8, "depends on the type");
const OBJECT: Field = Field::new("object", 0, 16, 16, "QP, CQ or SRQ");
const PARAM0: Field = Field::new("param0", 1, 0, 32, "depends on the type");
const PARAM1: Field = Field::new("param1", 2, 0, 32, "depends on the type");
const SEQUENCE: Field = Field::new("sequence", 3, 0, 16, "index of this event");
const PHASE: Field = Field::new("phase", 3, 31, 1, "1 in the first pass over the ring, then 0, 1, ...");

/// Layout of an event.
pub const LAYOUT: Layout = Layout {
    name: "Event",
    words: 4,
    doc: "Written by the device.",
    fields: &[KIND, CODE, OBJECT, PARAM0, PARAM1, SEQUENCE, PHASE],
};

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Depends on the kind.
    pub code: u8,
    /// QP, CQ or SRQ number.
    pub object: u16,
    /// Depends on the kind.
    pub params: [u32; 2],
}

impl Event {
    /// Its words as event number `sequence` in a pass with this phase.
    pub fn encode(&self, sequence: u16, phase: bool) -> [u32; 4] {
        let mut words = [0; 4];
        KIND.set(&mut words, self.kind as u8);
        CODE.set(&mut words, self.code);
        OBJECT.set(&mut words, self.object);
        PARAM0.set(&mut words, self.params[0]);
        PARAM1.set(&mut words, self.params[1]);
        SEQUENCE.set(&mut words, sequence);
        PHASE.set(&mut words, phase);
        words
    }
    /// Whether the last word says that the entry is of the pass with this phase.
    pub fn is_valid(last_word: u32, phase: bool) -> bool {
        (last_word >> 31 == 1) == phase
    }
    /// Read it; `None` for an unknown kind.
    pub fn decode(words: &[u32; 4]) -> Option<Self> {
        Some(Self {
            kind: EventKind::from_code(KIND.get(words) as u8)?,
            code: CODE.get(words) as u8,
            object: OBJECT.get16(words),
            params: [PARAM0.get32(words), PARAM1.get32(words)],
        })
    }
}

const FLUSH_SQ: Field = Field::new("sq_done", 0, 0, 16, "first send entry that is not complete");
const FLUSH_RQ: Field = Field::new("rq_done", 1, 0, 16, "first receive entry that is not completed");
const FLUSH_SRQ_OPEN: Field = Field::new("srq_open", 1, 16, 1, "a SRQ entry was taken and not completed");
const FLUSH_SRQ_INDEX: Field = Field::new("srq_index", 0, 16, 16, "its table index");

/// Layout of the parameters of [`EventKind::QpError`].
pub const FLUSH_LAYOUT: Layout = Layout {
    name: "Flush cursors",
    words: 2,
    doc: "Parameters of a QP_ERROR event and state words 2 and 3 of a QP: what software completes as FLUSHED.",
    fields: &[FLUSH_SQ, FLUSH_SRQ_INDEX, FLUSH_RQ, FLUSH_SRQ_OPEN],
};

/// Where the completions of a stopped QP ended: software writes the rest as flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlushCursors {
    /// First send entry that is not complete.
    pub sq_done: u16,
    /// First receive entry that is not complete.
    pub rq_done: u16,
    /// A SRQ entry that was taken and is not complete.
    pub srq_open: Option<u16>,
}

impl FlushCursors {
    /// As two parameter words.
    pub fn encode(&self) -> [u32; 2] {
        let mut words = [0; 2];
        FLUSH_SQ.set(&mut words, self.sq_done);
        FLUSH_RQ.set(&mut words, self.rq_done);
        FLUSH_SRQ_OPEN.set(&mut words, self.srq_open.is_some());
        FLUSH_SRQ_INDEX.set(&mut words, self.srq_open.unwrap_or(0));
        words
    }
    /// From two parameter words.
    pub fn decode(words: &[u32; 2]) -> Self {
        Self {
            sq_done: FLUSH_SQ.get16(words),
            rq_done: FLUSH_RQ.get16(words),
            srq_open: FLUSH_SRQ_OPEN.is_set(words).then(|| FLUSH_SRQ_INDEX.get16(words)),
        }
    }
}
