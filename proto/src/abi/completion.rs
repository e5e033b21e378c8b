//! Completion: 32 bytes, written by the device in ascending order, word 7 last.
//!
//! The ring is zeroed before use. The phase bit starts at 1 and toggles with every wrap, so the host polls word 7 only.

use super::{Field, Layout};

/// Bytes of a completion.
pub const SIZE: usize = 32;
/// Byte offset of the word that makes a completion valid.
pub const VALID_OFFSET: usize = 28;

/// How a work request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A message did not fit its receive buffer.
    Length = 1,
    /// A local STag is invalid, of another protection domain, out of bounds or lacks a right.
    LocalProtection = 2,
    /// The peer refused access.
    RemoteAccess = 3,
    /// The peer could not do it.
    RemoteOperation = 4,
    /// Not done: the connection ended first.
    Flushed = 5,
    /// The peer no longer answers.
    RetryExceeded = 6,
    /// A bad CRC was received.
    Crc = 7,
    /// The peer sent a message that makes no sense.
    InvalidMessage = 8,
    /// A DMA fault or an entry that makes no sense.
    Fatal = 9,
    /// A window could not be bound, or a region registered or invalidated.
    Bind = 10,
}

impl Status {
    /// All statuses with a line for the document.
    pub const ALL: &'static [(Status, &'static str)] = &[
        (Status::Ok, "done"),
        (Status::Length, "a message did not fit its receive buffer"),
        (Status::LocalProtection, "a local STag is invalid, of another PD, out of bounds or lacks a right"),
        (Status::RemoteAccess, "the peer refused access"),
        (Status::RemoteOperation, "the peer could not do it"),
        (Status::Flushed, "not done: the connection ended first (written by software)"),
        (Status::RetryExceeded, "the peer no longer answers"),
        (Status::Crc, "a bad CRC was received"),
        (Status::InvalidMessage, "the peer sent a message that makes no sense"),
        (Status::Fatal, "DMA fault, or an entry that makes no sense"),
        (Status::Bind, "a window could not be bound, or a region registered or invalidated"),
    ];
    /// The status with this code; unknown ones are [`Status::Fatal`].
    pub fn from_code(code: u8) -> Self {
        let known = Self::ALL.iter().map(|(status, _)| *status).find(|status| *status as u8 == code);
        known.unwrap_or(Self::Fatal)
    }
}

/// `opcode` of a completed receive entry; completed send entries have their own opcode.
pub const OPCODE_RECEIVE: u8 = 0x20;

const QP: Field = Field::new("qp", 0, 0, 16, "QP");
const OPCODE: Field = Field::new("opcode", 0, 16, 8, "opcode of the send entry, or 0x20 for a receive");
const SOLICITED: Field = Field::new("solicited", 0, 24, 1, "the message asked for an event");
const INVALIDATED: Field = Field::new("invalidated", 0, 25, 1, "`stag` was invalidated by the message");
const IMMEDIATE_FLAG: Field = Field::new("has_immediate", 0, 26, 1, "the message is Immediate Data");
const SRQ: Field = Field::new("srq", 0, 27, 1, "`index` names an entry of the QP's SRQ table");
const LENGTH: Field = Field::new("length", 1, 0, 32, "payload, bytes");
const INDEX: Field = Field::new("index", 2, 0, 16, "index of the entry (of its first slot)");
const STAG: Field = Field::new("stag", 3, 0, 32, "the STag that was invalidated");
const IMMEDIATE: Field =
    Field::new("immediate", 4, 0, 64, "Immediate Data, first byte on the wire in bits 7:0");
const STATUS: Field = Field::new("status", 7, 0, 8, "see status codes");
const PHASE: Field = Field::new("phase", 7, 31, 1, "1 in the first pass over the ring, then 0, 1, ...");

/// Layout of a completion.
pub const LAYOUT: Layout = Layout {
    name: "Completion",
    words: 8,
    doc: "Written by the device.",
    fields: &[
        QP,
        OPCODE,
        SOLICITED,
        INVALIDATED,
        IMMEDIATE_FLAG,
        SRQ,
        LENGTH,
        INDEX,
        STAG,
        IMMEDIATE,
        STATUS,
        PHASE,
    ],
};

/// A completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// QP number.
    pub qp: u16,
    /// Code of the send opcode, or [`OPCODE_RECEIVE`].
    pub opcode: u8,
    /// The message asked for an event.
    pub solicited: bool,
    /// STag that the message invalidated.
    pub invalidated: Option<u32>,
    /// Immediate Data.
    pub immediate: Option<[u8; 8]>,
    /// `index` is one of the SRQ's table.
    pub srq: bool,
    /// Payload, bytes.
    pub length: u32,
    /// Entry.
    pub index: u16,
    /// How it ended.
    pub status: Status,
}

impl Completion {
    /// Its words for a pass with this phase.
    pub fn encode(&self, phase: bool) -> [u32; 8] {
        let mut words = [0; 8];
        QP.set(&mut words, self.qp);
        OPCODE.set(&mut words, self.opcode);
        SOLICITED.set(&mut words, self.solicited);
        INVALIDATED.set(&mut words, self.invalidated.is_some());
        IMMEDIATE_FLAG.set(&mut words, self.immediate.is_some());
        SRQ.set(&mut words, self.srq);
        LENGTH.set(&mut words, self.length);
        INDEX.set(&mut words, self.index);
        STAG.set(&mut words, self.invalidated.unwrap_or(0));
        IMMEDIATE.set(&mut words, u64::from_le_bytes(self.immediate.unwrap_or_default()));
        STATUS.set(&mut words, self.status as u8);
        PHASE.set(&mut words, phase);
        words
    }
    /// Whether the last word says that the entry is of the pass with this phase.
    pub fn is_valid(last_word: u32, phase: bool) -> bool {
        (last_word >> 31 == 1) == phase
    }
    /// Read it.
    pub fn decode(words: &[u32; 8]) -> Self {
        Self {
            qp: QP.get16(words),
            opcode: OPCODE.get(words) as u8,
            solicited: SOLICITED.is_set(words),
            invalidated: INVALIDATED.is_set(words).then(|| STAG.get32(words)),
            immediate: IMMEDIATE_FLAG.is_set(words).then(|| IMMEDIATE.get(words).to_le_bytes()),
            srq: SRQ.is_set(words),
            length: LENGTH.get32(words),
            index: INDEX.get16(words),
            status: Status::from_code(STATUS.get(words) as u8),
        }
    }
}
