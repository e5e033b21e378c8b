//! DDP segment headers (RFC 5041 section 4).

use crate::wire::{be32, be64};
use thiserror::Error;

/// The DDP version of RFC 5041.
pub const VERSION: u8 = 1;
/// Bytes of a Tagged header, the RDMAP control byte included.
pub const TAGGED_LEN: usize = 14;
/// Bytes of an Untagged header, the RDMAP control byte and the field for the STag to invalidate included.
pub const UNTAGGED_LEN: usize = 18;

/// Queue of Sends (RFC 5040 figure 4) and Immediate Data (RFC 7306 figure 2).
pub const QN_SEND: u32 = 0;
/// Queue of RDMA Read Requests (RFC 5040 figure 4) and of Atomic Requests, which share it (RFC 7306 section 5.2).
pub const QN_READ: u32 = 1;
/// Queue of Terminates (RFC 5040 figure 4).
pub const QN_TERMINATE: u32 = 2;
/// Queue of Atomic *Responses* (RFC 7306 figure 2).
pub const QN_ATOMIC: u32 = 3;

const TAGGED: u8 = 0x80;
const LAST: u8 = 0x40;

/// Why a ULPDU is not a DDP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DdpError {
    /// Shorter than its header.
    #[error("DDP segment of {have} bytes, its header is {need}")]
    Truncated {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        have: usize,
    },
}

/// A DDP header with what RDMAP keeps in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DdpHeader {
    /// For a buffer the sender names.
    Tagged {
        /// Last segment of the message.
        last: bool,
        /// DDP version, 2 bits.
        version: u8,
        /// The RDMAP control byte (see [`crate::rdmap`]).
        rdmap_control: u8,
        /// The buffer.
        stag: u32,
        /// Tagged offset: where in the buffer the payload goes.
        to: u64,
    },
    /// For the next buffer of a queue.
    Untagged {
        /// Last segment of the message.
        last: bool,
        /// DDP version, 2 bits.
        version: u8,
        /// The RDMAP control byte (see [`crate::rdmap`]).
        rdmap_control: u8,
        /// RDMAP's STag to invalidate (bits 8 to 39 of RsvdULP); 0 in messages that invalidate nothing.
        inv_stag: u32,
        /// Queue number.
        qn: u32,
        /// Message sequence number: the first of a queue is 1.
        msn: u32,
        /// Message offset: where in the message the payload goes, in bytes.
        mo: u32,
    },
}

impl DdpHeader {
    /// The header and the payload. Only the length is checked: a wrong version, queue or opcode each has its own
    /// Terminate code and is for the caller to judge, in the order of the RFCs.
    pub fn parse(ulpdu: &[u8]) -> Result<(DdpHeader, &[u8]), DdpError> {
        let tagged = ulpdu.first().is_some_and(|control| control & TAGGED != 0);
        let need = if tagged { TAGGED_LEN } else { UNTAGGED_LEN };
        let Some((header, payload)) = ulpdu.split_at_checked(need) else {
            return Err(DdpError::Truncated { need, have: ulpdu.len() });
        };
        let (last, version, rdmap_control) = (header[0] & LAST != 0, header[0] & 3, header[1]);
        let parsed = if tagged {
            DdpHeader::Tagged { last, version, rdmap_control, stag: be32(header, 2), to: be64(header, 6) }
        } else {
            DdpHeader::Untagged {
                last,
                version,
                rdmap_control,
                inv_stag: be32(header, 2),
                qn: be32(header, 6),
                msn: be32(header, 10),
                mo: be32(header, 14),
            }
        };
        Ok((parsed, payload))
    }

    /// Appends the header; the reserved bits are zero.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let control = (if self.is_last() { LAST } else { 0 }) | self.version() & 3;
        match *self {
            DdpHeader::Tagged { rdmap_control, stag, to, .. } => {
                out.extend([TAGGED | control, rdmap_control]);
                out.extend(stag.to_be_bytes());
                out.extend(to.to_be_bytes());
            }
            DdpHeader::Untagged { rdmap_control, inv_stag, qn, msn, mo, .. } => {
                out.extend([control, rdmap_control]);
                for word in [inv_stag, qn, msn, mo] {
                    out.extend(word.to_be_bytes());
                }
            }
        }
    }

    /// Bytes of the header.
    pub fn header_len(&self) -> usize {
        if self.is_tagged() { TAGGED_LEN } else { UNTAGGED_LEN }
    }

    /// T.
    pub fn is_tagged(&self) -> bool {
        matches!(self, DdpHeader::Tagged { .. })
    }

    /// L: the last segment of its message.
    pub fn is_last(&self) -> bool {
        let (DdpHeader::Tagged { last, .. } | DdpHeader::Untagged { last, .. }) = *self;
        last
    }

    /// DV: the DDP version, 2 bits.
    pub fn version(&self) -> u8 {
        let (DdpHeader::Tagged { version, .. } | DdpHeader::Untagged { version, .. }) = *self;
        version
    }

    /// The RDMAP control byte.
    pub fn rdmap_control(&self) -> u8 {
        let (DdpHeader::Tagged { rdmap_control, .. } | DdpHeader::Untagged { rdmap_control, .. }) = *self;
        rdmap_control
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_header_of_rfc_5044_figure_5() {
        let ulpdu = [0x41, 0x43, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9];
        let header = DdpHeader::Untagged {
            last: true,
            version: 1,
            rdmap_control: 0x43,
            inv_stag: 0,
            qn: QN_SEND,
            msn: 1,
            mo: 0,
        };
        assert_eq!(DdpHeader::parse(&ulpdu), Ok((header, &[9][..])));
        assert_eq!(DdpHeader::parse(&[]), Err(DdpError::Truncated { need: 18, have: 0 }));
        assert_eq!(DdpHeader::parse(&[0x80; 13]), Err(DdpError::Truncated { need: 14, have: 13 }));
    }

    proptest! {
        #[test]
        fn round_trip(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok((header, payload)) = DdpHeader::parse(&bytes) {
                let mut again = Vec::new();
                header.emit(&mut again);
                prop_assert_eq!(again.len(), header.header_len());
                again.extend(payload);
                // All but the reserved bits.
                prop_assert_eq!(again[0], bytes[0] & 0xc3);
                prop_assert_eq!(&again[1..], &bytes[1..]);
                prop_assert_eq!(DdpHeader::parse(&again), Ok((header, payload)));
            } else {
                prop_assert!(bytes.len() < UNTAGGED_LEN);
            }
        }
    }
}
