//! RDMAP messages: RFC 5040 section 4, with the immediate data and atomic operations of RFC 7306.

use crate::ddp::{QN_ATOMIC, QN_READ, QN_SEND, QN_TERMINATE};
use crate::wire::{be32, be64};
use thiserror::Error;

/// The RDMAP version of RFC 5040. Version 0 (RDMA Consortium) is valid too, if both ends agree.
pub const VERSION: u8 = 1;

/// Why bytes are not an RDMAP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RdmapError {
    /// Shorter than the header.
    #[error("{what} of {have} bytes, needs {need}")]
    Truncated {
        /// Which header.
        what: &'static str,
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        have: usize,
    },
    /// An opcode nobody has defined.
    #[error("unknown RDMAP opcode {0}")]
    UnknownOpcode(u8),
}

/// What a message does: the low four bits of the RDMAP control byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// RDMA Write.
    Write = 0,
    /// RDMA Read Request.
    ReadRequest = 1,
    /// RDMA Read Response.
    ReadResponse = 2,
    /// Send.
    Send = 3,
    /// Send with Invalidate.
    SendInvalidate = 4,
    /// Send with Solicited Event.
    SendSolicited = 5,
    /// Send with Solicited Event and Invalidate.
    SendSolicitedInvalidate = 6,
    /// Terminate.
    Terminate = 7,
    /// Immediate Data (RFC 7306).
    ImmediateData = 8,
    /// Immediate Data with Solicited Event (RFC 7306).
    ImmediateDataSolicited = 9,
    /// Atomic Request (RFC 7306).
    AtomicRequest = 10,
    /// Atomic Response (RFC 7306).
    AtomicResponse = 11,
}

impl Opcode {
    /// All opcodes, in the order of their numbers.
    pub const ALL: [Opcode; 12] = [
        Opcode::Write,
        Opcode::ReadRequest,
        Opcode::ReadResponse,
        Opcode::Send,
        Opcode::SendInvalidate,
        Opcode::SendSolicited,
        Opcode::SendSolicitedInvalidate,
        Opcode::Terminate,
        Opcode::ImmediateData,
        Opcode::ImmediateDataSolicited,
        Opcode::AtomicRequest,
        Opcode::AtomicResponse,
    ];

    /// Sent in Tagged segments.
    pub fn is_tagged(self) -> bool {
        matches!(self, Opcode::Write | Opcode::ReadResponse)
    }

    /// The queue of an untagged message (RFC 5040 figure 4, RFC 7306 figure 2).
    pub fn queue_number(self) -> Option<u32> {
        match self {
            Opcode::Write | Opcode::ReadResponse => None,
            Opcode::ReadRequest | Opcode::AtomicRequest => Some(QN_READ),
            Opcode::Terminate => Some(QN_TERMINATE),
            Opcode::AtomicResponse => Some(QN_ATOMIC),
            Opcode::Send
            | Opcode::SendInvalidate
            | Opcode::SendSolicited
            | Opcode::SendSolicitedInvalidate
            | Opcode::ImmediateData
            | Opcode::ImmediateDataSolicited => Some(QN_SEND),
        }
    }

    /// One of the four kinds of Send.
    pub fn is_send(self) -> bool {
        (Opcode::Send as u8..=Opcode::SendSolicitedInvalidate as u8).contains(&(self as u8))
    }

    /// Carries an STag to invalidate.
    pub fn invalidates(self) -> bool {
        matches!(self, Opcode::SendInvalidate | Opcode::SendSolicitedInvalidate)
    }

    /// Asks for an event at the receiver.
    pub fn is_solicited(self) -> bool {
        use Opcode::{ImmediateDataSolicited, SendSolicited, SendSolicitedInvalidate};
        matches!(self, SendSolicited | SendSolicitedInvalidate | ImmediateDataSolicited)
    }
}

impl TryFrom<u8> for Opcode {
    type Error = RdmapError;

    fn try_from(value: u8) -> Result<Opcode, RdmapError> {
        Opcode::ALL.get(usize::from(value)).copied().ok_or(RdmapError::UnknownOpcode(value))
    }
}

/// The RDMAP control byte as sent: version 1, reserved bits zero.
pub fn control(opcode: Opcode) -> u8 {
    VERSION << 6 | opcode as u8
}

/// The RDMAP version in a control byte: 2 bits.
pub fn version_of(control: u8) -> u8 {
    control >> 6
}

/// The opcode in a control byte: 4 bits, perhaps of an unknown message.
pub fn opcode_of(control: u8) -> u8 {
    control & 0x0f
}

/// The first `N` bytes of a message, as an array.
fn header<'a, const N: usize>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8; N], RdmapError> {
    bytes.first_chunk().ok_or(RdmapError::Truncated { what, need: N, have: bytes.len() })
}

/// RDMA Read Request (RFC 5040 figure 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRequest {
    /// Buffer of the requester.
    pub sink_stag: u32,
    /// Tagged offset in it.
    pub sink_to: u64,
    /// Bytes to read.
    pub size: u32,
    /// Buffer of the responder.
    pub source_stag: u32,
    /// Tagged offset in it.
    pub source_to: u64,
}

impl ReadRequest {
    /// Bytes on the wire.
    pub const LEN: usize = 28;

    /// Reads the first 28 bytes; whether more follow is for the caller to judge.
    pub fn parse(bytes: &[u8]) -> Result<ReadRequest, RdmapError> {
        let h = header::<{ Self::LEN }>("RDMA Read Request", bytes)?;
        Ok(ReadRequest {
            sink_stag: be32(h, 0),
            sink_to: be64(h, 4),
            size: be32(h, 12),
            source_stag: be32(h, 16),
            source_to: be64(h, 20),
        })
    }

    /// Appends the header.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend(self.sink_stag.to_be_bytes());
        out.extend(self.sink_to.to_be_bytes());
        out.extend(self.size.to_be_bytes());
        out.extend(self.source_stag.to_be_bytes());
        out.extend(self.source_to.to_be_bytes());
    }
}

/// The atomic operations (RFC 7306 figure 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomicOp {
    /// Masked addition.
    FetchAdd = 0,
    /// Masked compare and swap.
    CmpSwap = 2,
}

/// Atomic Request (RFC 7306 figure 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtomicRequest {
    /// The operation, 4 bits as on the wire; see [`op`](Self::op).
    pub opcode: u8,
    /// Returned in the response.
    pub request_id: u32,
    /// Buffer of the responder.
    pub stag: u32,
    /// Tagged offset in it; the address must be a multiple of 8.
    pub to: u64,
    /// What to add, or to put in place.
    pub add_or_swap: u64,
    /// FetchAdd: the most significant bit of each field. CmpSwap: the bits to replace.
    pub add_or_swap_mask: u64,
    /// CmpSwap: what to compare with. FetchAdd: zero.
    pub compare: u64,
    /// CmpSwap: the bits to compare. FetchAdd: all ones.
    pub compare_mask: u64,
}

impl AtomicRequest {
    /// Bytes on the wire.
    pub const LEN: usize = 52;

    /// The operation, if it is one of the two defined ones.
    pub fn op(&self) -> Option<AtomicOp> {
        match self.opcode {
            0 => Some(AtomicOp::FetchAdd),
            2 => Some(AtomicOp::CmpSwap),
            _ => None,
        }
    }

    /// Reads the first 52 bytes; whether more follow is for the caller to judge.
    pub fn parse(bytes: &[u8]) -> Result<AtomicRequest, RdmapError> {
        let h = header::<{ Self::LEN }>("Atomic Request", bytes)?;
        Ok(AtomicRequest {
            opcode: h[3] & 0x0f,
            request_id: be32(h, 4),
            stag: be32(h, 8),
            to: be64(h, 12),
            add_or_swap: be64(h, 20),
            add_or_swap_mask: be64(h, 28),
            compare: be64(h, 36),
            compare_mask: be64(h, 44),
        })
    }

    /// Appends the header.
    pub fn emit(&self, out: &mut Vec<u8>) {
        for word in [u32::from(self.opcode & 0x0f), self.request_id, self.stag] {
            out.extend(word.to_be_bytes());
        }
        for number in [self.to, self.add_or_swap, self.add_or_swap_mask, self.compare, self.compare_mask] {
            out.extend(number.to_be_bytes());
        }
    }
}

/// Atomic Response (RFC 7306 figure 6; the "32 bytes" of its section 4 cannot be meant).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtomicResponse {
    /// From the request.
    pub request_id: u32,
    /// What the memory held before.
    pub original: u64,
}

impl AtomicResponse {
    /// Bytes on the wire.
    pub const LEN: usize = 12;

    /// Reads the first 12 bytes; whether more follow is for the caller to judge.
    pub fn parse(bytes: &[u8]) -> Result<AtomicResponse, RdmapError> {
        let h = header::<{ Self::LEN }>("Atomic Response", bytes)?;
        Ok(AtomicResponse { request_id: be32(h, 0), original: be64(h, 4) })
    }

    /// Appends the header.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend(self.request_id.to_be_bytes());
        out.extend(self.original.to_be_bytes());
    }
}

/// Immediate Data (RFC 7306 figure 7): eight bytes the RNIC does not interpret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImmediateData(pub [u8; 8]);

impl ImmediateData {
    /// Bytes on the wire.
    pub const LEN: usize = 8;

    /// Reads the first 8 bytes; whether more follow is for the caller to judge (section 6.3: that is an error).
    pub fn parse(bytes: &[u8]) -> Result<ImmediateData, RdmapError> {
        Ok(ImmediateData(*header("Immediate Data", bytes)?))
    }

    /// Appends the data.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend(self.0);
    }
}

/// What FetchAdd leaves in memory (RFC 7306 section 5.1.1): fields that end at the bits of `mask` are added
/// independently, the carry out of each is dropped.
pub fn fetch_add(original: u64, add: u64, mask: u64) -> u64 {
    // Without the top bit of each field no carry leaves it; the top bits then add without carry, which is xor.
    (original & !mask).wrapping_add(add & !mask) ^ (original ^ add) & mask
}

/// What CmpSwap leaves in memory (RFC 7306 section 5.1.2).
pub fn compare_swap(original: u64, compare: u64, compare_mask: u64, swap: u64, swap_mask: u64) -> u64 {
    if (original ^ compare) & compare_mask == 0 { original & !swap_mask | swap & swap_mask } else { original }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn opcodes() {
        for (number, opcode) in Opcode::ALL.into_iter().enumerate() {
            assert_eq!(opcode as usize, number);
            assert_eq!(Opcode::try_from(number as u8), Ok(opcode));
            assert_eq!((version_of(control(opcode)), opcode_of(control(opcode))), (1, number as u8));
            assert_eq!(opcode.is_tagged(), opcode.queue_number().is_none());
        }
        assert_eq!(Opcode::try_from(12), Err(RdmapError::UnknownOpcode(12)));
        assert_eq!(control(Opcode::Send), 0x43);
        let sends: Vec<_> = Opcode::ALL.into_iter().filter(|o| o.is_send()).collect();
        assert_eq!(sends, Opcode::ALL[3..7]);
    }

    /// The pseudocode of RFC 7306 section 5.1.1.
    fn fetch_add_bit_by_bit(original: u64, add: u64, mask: u64) -> u64 {
        let (mut result, mut carry) = (0u64, 0u64);
        for bit in 0..64 {
            let sum = carry + (original >> bit & 1) + (add >> bit & 1);
            result |= (sum & 1) << bit;
            carry = if mask >> bit & 1 == 1 { 0 } else { sum >> 1 };
        }
        result
    }

    fn compare_swap_bit_by_bit(original: u64, compare: u64, cmask: u64, swap: u64, smask: u64) -> u64 {
        if (0..64u32).any(|b| cmask >> b & 1 == 1 && original >> b & 1 != compare >> b & 1) {
            return original;
        }
        let pick = |b: u32| if smask >> b & 1 == 1 { swap >> b & 1 } else { original >> b & 1 };
        (0..64).fold(0, |result, b| result | pick(b) << b)
    }

    proptest! {
        #[test]
        fn masked_addition(original: u64, add: u64, mask: u64, sparse: u64) {
            for mask in [mask, mask & sparse, 0, u64::MAX, 1 << 63] {
                prop_assert_eq!(fetch_add(original, add, mask), fetch_add_bit_by_bit(original, add, mask));
            }
            prop_assert_eq!(fetch_add(original, add, 0), original.wrapping_add(add));
        }

        #[test]
        fn masked_swap(original: u64, noise: u64, cmask: u64, swap: u64, smask: u64) {
            for compare in [original, original ^ noise & !cmask, original ^ noise] {
                prop_assert_eq!(
                    compare_swap(original, compare, cmask, swap, smask),
                    compare_swap_bit_by_bit(original, compare, cmask, swap, smask)
                );
            }
        }

        #[test]
        fn round_trips(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut out = Vec::new();
            match ReadRequest::parse(&bytes) {
                Ok(read) => {
                    read.emit(&mut out);
                    prop_assert_eq!(&out[..], &bytes[..ReadRequest::LEN]);
                }
                Err(e) => prop_assert_eq!(
                    e,
                    RdmapError::Truncated { what: "RDMA Read Request", need: 28, have: bytes.len() }
                ),
            }
            out.clear();
            match AtomicRequest::parse(&bytes) {
                Ok(atomic) => {
                    atomic.emit(&mut out);
                    prop_assert_eq!(&out[4..], &bytes[4..AtomicRequest::LEN]);
                    prop_assert_eq!(AtomicRequest::parse(&out), Ok(atomic));
                }
                Err(_) => prop_assert!(bytes.len() < AtomicRequest::LEN),
            }
            out.clear();
            match AtomicResponse::parse(&bytes) {
                Ok(response) => {
                    response.emit(&mut out);
                    prop_assert_eq!(&out[..], &bytes[..AtomicResponse::LEN]);
                }
                Err(_) => prop_assert!(bytes.len() < AtomicResponse::LEN),
            }
            out.clear();
            match ImmediateData::parse(&bytes) {
                Ok(data) => {
                    data.emit(&mut out);
                    prop_assert_eq!(&out[..], &bytes[..ImmediateData::LEN]);
                }
                Err(_) => prop_assert!(bytes.len() < ImmediateData::LEN),
            }
        }
    }
}
