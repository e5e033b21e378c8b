//! Send-queue entry: 64 bytes in one ring slot, or 128 bytes in two.

use super::{Field, Layout, field::load};

/// Bytes of one ring slot.
pub const SLOT: usize = 64;
/// SGEs in the first slot.
pub const SGES_FIRST: usize = 2;
/// SGEs of an entry of two slots.
pub const SGES_MAX: usize = 6;
/// Inline bytes of an entry.
pub const INLINE_MAX: usize = 32;

/// Operation of a send-queue entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Nothing; completes in order.
    Nop = 0,
    /// RDMAP Send.
    Send = 1,
    /// Send with Invalidate.
    SendInvalidate = 2,
    /// Send with Solicited Event.
    SendSolicited = 3,
    /// Send with Solicited Event and Invalidate.
    SendSolicitedInvalidate = 4,
    /// RDMA Write.
    Write = 5,
    /// RDMA Write followed by Immediate Data: two RDMAP messages from one entry.
    WriteImmediate = 6,
    /// RDMA Read; the sink is SGE 0.
    Read = 7,
    /// RDMA Read, then the sink's STag is invalidated locally.
    ReadInvalidateLocal = 8,
    /// Atomic FetchAdd; the original value goes to SGE 0.
    FetchAdd = 9,
    /// Atomic CmpSwap; the original value goes to SGE 0.
    CompareSwap = 10,
    /// Immediate Data.
    Immediate = 11,
    /// Immediate Data with Solicited Event.
    ImmediateSolicited = 12,
    /// Bind a type 2 memory window to SGE 0's range of its region.
    BindWindow = 13,
    /// Invalidate a local STag when all earlier entries are complete.
    LocalInvalidate = 14,
    /// Make an allocated, invalid region entry valid.
    FastRegister = 15,
}

impl Opcode {
    /// All opcodes with a line for the document.
    pub const ALL: &'static [(Opcode, &'static str)] = &[
        (Opcode::Nop, "nothing; completes in order"),
        (Opcode::Send, "Send"),
        (Opcode::SendInvalidate, "Send with Invalidate"),
        (Opcode::SendSolicited, "Send with Solicited Event"),
        (Opcode::SendSolicitedInvalidate, "Send with Solicited Event and Invalidate"),
        (Opcode::Write, "RDMA Write"),
        (Opcode::WriteImmediate, "RDMA Write, then Immediate Data"),
        (Opcode::Read, "RDMA Read into SGE 0"),
        (Opcode::ReadInvalidateLocal, "RDMA Read into SGE 0, whose STag is then invalidated"),
        (Opcode::FetchAdd, "FetchAdd, original value to SGE 0"),
        (Opcode::CompareSwap, "CmpSwap, original value to SGE 0"),
        (Opcode::Immediate, "Immediate Data"),
        (Opcode::ImmediateSolicited, "Immediate Data with Solicited Event"),
        (
            Opcode::BindWindow,
            "bind the window `stag` to SGE 0's range of the region SGE 0 names; `to` is the window's base TO, `access` its rights",
        ),
        (Opcode::LocalInvalidate, "invalidate `stag` when all earlier entries are complete"),
        (
            Opcode::FastRegister,
            "make region `stag` valid: `to` is the base TO, SGE 0 {host address, length, 0}, `access` its rights",
        ),
    ];

    /// The opcode with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().map(|(opcode, _)| *opcode).find(|opcode| *opcode as u8 == code)
    }
    /// Whether it is one of the four Sends.
    pub fn is_send(self) -> bool {
        matches!(
            self,
            Self::Send | Self::SendInvalidate | Self::SendSolicited | Self::SendSolicitedInvalidate
        )
    }
    /// Whether it is an RDMA Read.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadInvalidateLocal)
    }
    /// Whether it is an atomic operation.
    pub fn is_atomic(self) -> bool {
        matches!(self, Self::FetchAdd | Self::CompareSwap)
    }
    /// Whether it carries payload gathered from SGEs or inline bytes.
    pub fn has_payload(self) -> bool {
        self.is_send() || matches!(self, Self::Write | Self::WriteImmediate)
    }
}

/// A scatter-gather element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sge {
    /// Tagged offset in the region.
    pub to: u64,
    /// Length, bytes.
    pub length: u32,
    /// STag of the region.
    pub lkey: u32,
}

impl Sge {
    /// Bytes of an element.
    pub const SIZE: usize = 16;
    /// Its words.
    pub fn encode(&self) -> [u32; 4] {
        [self.to as u32, (self.to >> 32) as u32, self.length, self.lkey]
    }
    /// From the first four words; missing ones are 0.
    pub fn decode(words: &[u32]) -> Self {
        let word = |index: usize| words.get(index).copied().unwrap_or(0);
        Self { to: u64::from(word(0)) | u64::from(word(1)) << 32, length: word(2), lkey: word(3) }
    }
}

const OPCODE: Field = Field::new("opcode", 0, 0, 5, "operation");
const TWO_SLOTS: Field = Field::new("two_slots", 0, 5, 1, "the entry takes two ring slots");
const NSGE: Field = Field::new("nsge", 0, 6, 3, "number of SGEs, 0..=6");
const SIGNALLED: Field =
    Field::new("signalled", 0, 9, 1, "write a completion; it completes all earlier entries too");
const FENCE: Field =
    Field::new("fence", 0, 10, 1, "start only when all earlier Reads and atomics are complete");
const INLINE: Field = Field::new("inline", 0, 11, 1, "payload stands in words 8..16 instead of SGEs");
const INDEX: Field =
    Field::new("index", 0, 16, 16, "index of this entry; another value is a stale fetch and an error");
const LENGTH: Field =
    Field::new("length", 1, 0, 32, "payload, bytes: the sum of the SGEs, or the inline length");
const STAG: Field = Field::new(
    "stag",
    2,
    0,
    32,
    "remote STag (Write, Read, atomics), or the STag to invalidate, bind or register",
);
const TO: Field = Field::new("to", 3, 0, 64, "remote TO, or the base TO of a bind or registration");
const ACCESS: Field = Field::new("access", 5, 0, 8, "rights of a bind or registration, as in a region entry");
const IMMEDIATE: Field =
    Field::new("immediate", 6, 0, 64, "Immediate Data, first byte on the wire in bits 7:0");
const SGE0: Field =
    Field::new("sge0", 8, 0, 64, "SGE 0 in words 8..12: TO 64, length 32, lkey 32; or inline bytes 0..16");
const SGE1: Field = Field::new("sge1", 12, 0, 64, "SGE 1 in words 12..16; or inline bytes 16..32");
const ADD_SWAP: Field =
    Field::new("add_or_swap", 16, 0, 64, "second slot of an atomic: Add Data or Swap Data; else SGE 2");
const ADD_SWAP_MASK: Field =
    Field::new("add_or_swap_mask", 18, 0, 64, "second slot of an atomic: Add Mask or Swap Mask");
const COMPARE: Field = Field::new("compare", 20, 0, 64, "second slot of an atomic: Compare Data; else SGE 3");
const COMPARE_MASK: Field = Field::new("compare_mask", 22, 0, 64, "second slot of an atomic: Compare Mask");
const SGE4: Field = Field::new("sge4", 24, 0, 64, "second slot: SGE 4 in words 24..28");
const SGE5: Field = Field::new("sge5", 28, 0, 64, "second slot: SGE 5 in words 28..32");

/// Layout of an entry.
pub const LAYOUT: Layout = Layout {
    name: "Send-queue entry",
    words: 32,
    doc: "Written by the host. Words 16..32 are the second slot, present only with `two_slots`.",
    fields: &[
        OPCODE,
        TWO_SLOTS,
        NSGE,
        SIGNALLED,
        FENCE,
        INLINE,
        INDEX,
        LENGTH,
        STAG,
        TO,
        ACCESS,
        IMMEDIATE,
        SGE0,
        SGE1,
        ADD_SWAP,
        ADD_SWAP_MASK,
        COMPARE,
        COMPARE_MASK,
        SGE4,
        SGE5,
    ],
};

/// Operands of an atomic operation (RFC 7306 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AtomicOperands {
    /// Add Data or Swap Data.
    pub add_or_swap: u64,
    /// Add Mask or Swap Mask.
    pub add_or_swap_mask: u64,
    /// Compare Data; CmpSwap only.
    pub compare: u64,
    /// Compare Mask; CmpSwap only.
    pub compare_mask: u64,
}

/// Where the payload of an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Gathered from, or scattered to, these elements.
    Sges(Vec<Sge>),
    /// These bytes, at most [`INLINE_MAX`].
    Inline(Vec<u8>),
}

/// A send-queue entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendEntry {
    /// Operation.
    pub opcode: Opcode,
    /// Write a completion.
    pub signalled: bool,
    /// Wait for earlier Reads and atomics.
    pub fence: bool,
    /// Index of its first slot.
    pub index: u16,
    /// Remote STag or STag to act on.
    pub stag: u32,
    /// Remote or base TO.
    pub to: u64,
    /// Rights of a bind or registration.
    pub access: u8,
    /// Immediate Data.
    pub immediate: [u8; 8],
    /// Payload, sink or range.
    pub payload: Payload,
    /// Operands of an atomic.
    pub atomic: AtomicOperands,
}

/// Why the words of a send-queue entry make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSendEntry {
    /// Unknown opcode.
    #[error("send entry {index}: opcode {opcode} does not exist")]
    Opcode {
        /// Index of the slot it was fetched from.
        index: u16,
        /// The code.
        opcode: u8,
    },
    /// The entry in the slot is not the one that the doorbell promised.
    #[error("send entry {index}: the slot holds index {found}")]
    Index {
        /// Index of the slot it was fetched from.
        index: u16,
        /// Index it claims.
        found: u16,
    },
    /// More SGEs or inline bytes than the entry's slots hold, or the wrong number of slots for the operation.
    #[error("send entry {index}: SGEs, inline bytes or slots do not fit the operation")]
    Shape {
        /// Index of the slot.
        index: u16,
    },
    /// The length is not the sum of the SGEs.
    #[error("send entry {index}: length {length} is not the sum of its parts")]
    Length {
        /// Index of the slot.
        index: u16,
        /// The length field.
        length: u32,
    },
}

impl SendEntry {
    /// An entry of this operation with everything else 0.
    pub fn new(opcode: Opcode) -> Self {
        Self {
            opcode,
            signalled: false,
            fence: false,
            index: 0,
            stag: 0,
            to: 0,
            access: 0,
            immediate: [0; 8],
            payload: Payload::Sges(Vec::new()),
            atomic: AtomicOperands::default(),
        }
    }

    /// Ring slots it takes: 1 or 2.
    pub fn slots(&self) -> u16 {
        match &self.payload {
            Payload::Sges(sges) if sges.len() > SGES_FIRST => 2,
            _ if self.opcode.is_atomic() => 2,
            _ => 1,
        }
    }

    /// Payload length, bytes; `None` when the SGEs add up to 2^32 or more.
    pub fn length(&self) -> Option<u32> {
        match &self.payload {
            Payload::Inline(bytes) => u32::try_from(bytes.len()).ok(),
            Payload::Sges(sges) => sges.iter().try_fold(0u32, |sum, sge| sum.checked_add(sge.length)),
        }
    }

    /// Its words, 16 or 32. The caller has checked the number of SGEs and inline bytes.
    pub fn encode(&self) -> Vec<u32> {
        let slots = self.slots();
        let mut words = vec![0; 16 * usize::from(slots)];
        OPCODE.set(&mut words, self.opcode as u8);
        TWO_SLOTS.set(&mut words, slots == 2);
        SIGNALLED.set(&mut words, self.signalled);
        FENCE.set(&mut words, self.fence);
        INDEX.set(&mut words, self.index);
        LENGTH.set(&mut words, self.length().unwrap_or(u32::MAX));
        STAG.set(&mut words, self.stag);
        TO.set(&mut words, self.to);
        ACCESS.set(&mut words, self.access);
        IMMEDIATE.set(&mut words, u64::from_le_bytes(self.immediate));
        match &self.payload {
            Payload::Sges(sges) => {
                NSGE.set(&mut words, sges.len() as u64);
                for (sge, to) in sges.iter().zip(words[8..].chunks_exact_mut(4)) {
                    to.copy_from_slice(&sge.encode());
                }
            }
            Payload::Inline(bytes) => {
                INLINE.set(&mut words, 1u8);
                for (word, to) in super::field::words_of(bytes).into_iter().zip(&mut words[8..16]) {
                    *to = word;
                }
            }
        }
        if self.opcode.is_atomic() {
            ADD_SWAP.set(&mut words, self.atomic.add_or_swap);
            ADD_SWAP_MASK.set(&mut words, self.atomic.add_or_swap_mask);
            COMPARE.set(&mut words, self.atomic.compare);
            COMPARE_MASK.set(&mut words, self.atomic.compare_mask);
        }
        words
    }

    /// Whether the first slot says that a second one follows.
    pub fn has_second_slot(first: &[u32]) -> bool {
        TWO_SLOTS.is_set(first)
    }

    /// Read the entry that was fetched from slot `index`.
    pub fn decode(words: &[u32], index: u16) -> Result<Self, BadSendEntry> {
        let code = OPCODE.get32(words) as u8;
        let opcode = Opcode::from_code(code).ok_or(BadSendEntry::Opcode { index, opcode: code })?;
        let found = INDEX.get16(words);
        if found != index {
            return Err(BadSendEntry::Index { index, found });
        }
        let length = LENGTH.get32(words);
        let two = TWO_SLOTS.is_set(words) && words.len() >= 32;
        let nsge = NSGE.get(words) as usize;
        let shape = Err(BadSendEntry::Shape { index });
        let payload = if INLINE.is_set(words) {
            if length as usize > INLINE_MAX || nsge != 0 || !opcode.has_payload() {
                return shape;
            }
            let bytes = super::field::bytes_of(&words[8..16]);
            Payload::Inline(bytes[..length as usize].to_vec())
        } else {
            let room = if two && !opcode.is_atomic() { SGES_MAX } else { SGES_FIRST };
            let exact = match opcode {
                Opcode::Read | Opcode::ReadInvalidateLocal | Opcode::FetchAdd | Opcode::CompareSwap => {
                    Some(1)
                }
                Opcode::BindWindow | Opcode::FastRegister => Some(1),
                Opcode::Nop | Opcode::Immediate | Opcode::ImmediateSolicited | Opcode::LocalInvalidate => {
                    Some(0)
                }
                _ => None,
            };
            if nsge > room || exact.is_some_and(|exact| exact != nsge) {
                return shape;
            }
            Payload::Sges(words[8..].chunks_exact(4).take(nsge).map(Sge::decode).collect())
        };
        let atomic = match (opcode.is_atomic(), two) {
            (false, _) => AtomicOperands::default(),
            (true, false) => return shape,
            (true, true) => AtomicOperands {
                add_or_swap: ADD_SWAP.get(words),
                add_or_swap_mask: ADD_SWAP_MASK.get(words),
                compare: COMPARE.get(words),
                compare_mask: COMPARE_MASK.get(words),
            },
        };
        let entry = Self {
            opcode,
            signalled: SIGNALLED.is_set(words),
            fence: FENCE.is_set(words),
            index,
            stag: STAG.get32(words),
            to: TO.get(words),
            access: ACCESS.get(words) as u8,
            immediate: IMMEDIATE.get(words).to_le_bytes(),
            payload,
            atomic,
        };
        if entry.slots() != 1 + u16::from(two) {
            return shape;
        }
        if entry.length() != Some(length) {
            return Err(BadSendEntry::Length { index, length });
        }
        Ok(entry)
    }

    /// Words of an entry that was read from memory.
    pub fn words(bytes: &[u8]) -> [u32; 32] {
        load(bytes)
    }
}
