//! The MPA Request and Reply frames (RFC 5044 section 7.1.1) and their enhanced form (RFC 6581 sections 6 and 9).

use crate::wire::be16;
use thiserror::Error;

/// Bytes in front of the private data.
pub const HEADER_LEN: usize = 20;
/// The most private data a frame may carry, in bytes.
pub const MAX_PRIVATE_DATA: usize = 512;
/// An IRD or ORD that says "not negotiated here" (RFC 6581 section 9.1); also the largest value of the field.
pub const DEPTH_UNNEGOTIATED: u16 = 0x3fff;

const KEY_LEN: usize = 16;
const REQUEST_KEY: &[u8; KEY_LEN] = b"MPA ID Req Frame";
const REPLY_KEY: &[u8; KEY_LEN] = b"MPA ID Rep Frame";

/// Why bytes are not an MPA Request or Reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MpaError {
    /// Neither of the keys.
    #[error("byte {offset} is not that of an MPA key")]
    BadKey {
        /// The first byte that differs from both.
        offset: usize,
    },
    /// More private data than section 7.1.1 allows.
    #[error("{0} bytes of MPA private data, 512 is the most")]
    PrivateDataTooLong(usize),
    /// The enhanced bit is set, but the four bytes it stands for are not there.
    #[error("enhanced MPA frame with {0} bytes of private data, needs 4")]
    EnhancedTooShort(usize),
}

/// Which of the two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MpaKind {
    /// From the initiator.
    Request,
    /// From the responder.
    Reply,
}

/// The defined flags of byte 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MpaFlags {
    /// M: the sender of this frame requires markers in what it *receives*.
    pub markers: bool,
    /// C: the sender of this frame wants CRCs; one of the two ends is enough.
    pub crc: bool,
    /// R: connection rejected (in a Reply).
    pub reject: bool,
    /// S: the private data begins with [`Enhanced`] (RFC 6581 section 6).
    pub enhanced: bool,
}

/// An MPA Request or Reply, as on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MpaFrame {
    /// Request or Reply.
    pub kind: MpaKind,
    /// The defined flags.
    pub flags: MpaFlags,
    /// The reserved bits, the low 4 of the flags byte: zero when sending, not checked on receipt.
    pub reserved: u8,
    /// The MPA revision: 1 (RFC 5044) or 2 (RFC 6581).
    pub revision: u8,
    /// All private data, [`Enhanced`] included when it is there.
    pub private_data: Vec<u8>,
}

impl MpaFrame {
    /// The frame at the start of `bytes` and its length; `None` while more bytes are needed. What can no longer
    /// become a frame is an error at once, so a peer that talks something else is found out by its first byte.
    pub fn parse(bytes: &[u8]) -> Result<Option<(MpaFrame, usize)>, MpaError> {
        let kind = if bytes.get(9) == Some(&REPLY_KEY[9]) { MpaKind::Reply } else { MpaKind::Request };
        if let Some(offset) = bytes.iter().zip(key(kind)).position(|(got, right)| got != right) {
            return Err(MpaError::BadKey { offset });
        }
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let length = usize::from(be16(header, 18));
        if length > MAX_PRIVATE_DATA {
            return Err(MpaError::PrivateDataTooLong(length));
        }
        let Some(private_data) = rest.get(..length) else { return Ok(None) };
        let bit = |mask| header[16] & mask != 0;
        let frame = MpaFrame {
            kind,
            flags: MpaFlags { markers: bit(0x80), crc: bit(0x40), reject: bit(0x20), enhanced: bit(0x10) },
            reserved: header[16] & 0x0f,
            revision: header[17],
            private_data: private_data.to_vec(),
        };
        Ok(Some((frame, HEADER_LEN + length)))
    }

    /// Appends the frame.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), MpaError> {
        let length = self.private_data.len();
        if length > MAX_PRIVATE_DATA {
            return Err(MpaError::PrivateDataTooLong(length));
        }
        let bit = |set, shift| u8::from(set) << shift;
        let flags = bit(self.flags.markers, 7)
            | bit(self.flags.crc, 6)
            | bit(self.flags.reject, 5)
            | bit(self.flags.enhanced, 4)
            | self.reserved & 0x0f;
        out.extend(key(self.kind));
        out.extend([flags, self.revision]);
        out.extend((length as u16).to_be_bytes());
        out.extend(&self.private_data);
        Ok(())
    }

    /// The enhanced set-up data, if any, and the private data of the ULP. The S bit counts from revision 2 on;
    /// before, it is a reserved bit.
    pub fn enhanced(&self) -> Result<(Option<Enhanced>, &[u8]), MpaError> {
        if !self.flags.enhanced || self.revision < 2 {
            return Ok((None, &self.private_data));
        }
        match self.private_data.split_first_chunk() {
            Some((words, ulp)) => Ok((Some(Enhanced::from_bytes(*words)), ulp)),
            None => Err(MpaError::EnhancedTooShort(self.private_data.len())),
        }
    }
}

/// The key of a frame.
fn key(kind: MpaKind) -> &'static [u8; KEY_LEN] {
    match kind {
        MpaKind::Request => REQUEST_KEY,
        MpaKind::Reply => REPLY_KEY,
    }
}

/// Enhanced RDMA connection establishment data (RFC 6581 section 9): the first four bytes of the private data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Enhanced {
    /// Inbound RDMA Read queue depth: reads (and atomics) the sender can serve at a time; 14 bits.
    pub ird: u16,
    /// Outbound RDMA Read queue depth: reads (and atomics) the sender wants to have under way; 14 bits.
    pub ord: u16,
    /// A: peer-to-peer model, the initiator sends a ready-to-receive (RTR) message first. Without it the three
    /// bits below mean nothing.
    pub peer_to_peer: bool,
    /// B: a zero-length Send may be the RTR.
    pub rtr_send: bool,
    /// C: a zero-length RDMA Write may be the RTR.
    pub rtr_write: bool,
    /// D: a zero-length RDMA Read may be the RTR.
    pub rtr_read: bool,
}

impl Enhanced {
    /// Bytes on the wire.
    pub const LEN: usize = 4;

    /// Reads the two words.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Enhanced {
        let (first, second) = (be16(&bytes, 0), be16(&bytes, 2));
        Enhanced {
            ird: first & 0x3fff,
            ord: second & 0x3fff,
            peer_to_peer: first & 0x8000 != 0,
            rtr_send: first & 0x4000 != 0,
            rtr_write: second & 0x8000 != 0,
            rtr_read: second & 0x4000 != 0,
        }
    }

    /// The two words, to stand in front of the ULP's private data. Depths above 14 bits become 0x3FFF.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let word = |high, low, depth: u16| {
            u16::from(high) << 15 | u16::from(low) << 14 | depth.min(DEPTH_UNNEGOTIATED)
        };
        let [a, b] = word(self.peer_to_peer, self.rtr_send, self.ird).to_be_bytes();
        let [c, d] = word(self.rtr_write, self.rtr_read, self.ord).to_be_bytes();
        [a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame() -> impl Strategy<Value = MpaFrame> {
        let data = prop::collection::vec(any::<u8>(), 0..=MAX_PRIVATE_DATA);
        (any::<(bool, [bool; 4], u8)>(), 0u8..16, data).prop_map(
            |((reply, [markers, crc, reject, enhanced], revision), reserved, private_data)| MpaFrame {
                kind: if reply { MpaKind::Reply } else { MpaKind::Request },
                flags: MpaFlags { markers, crc, reject, enhanced },
                reserved,
                revision,
                private_data,
            },
        )
    }

    #[test]
    fn wrong_keys_are_found_at_their_first_byte() {
        assert_eq!(MpaFrame::parse(b""), Ok(None));
        assert_eq!(MpaFrame::parse(b"MPA ID Re"), Ok(None));
        assert_eq!(MpaFrame::parse(b"GET / HTTP"), Err(MpaError::BadKey { offset: 0 }));
        assert_eq!(MpaFrame::parse(b"MPA ID Rex"), Err(MpaError::BadKey { offset: 9 }));
        assert_eq!(MpaFrame::parse(b"MPA ID Rep Fxame"), Err(MpaError::BadKey { offset: 12 }));
    }

    #[test]
    fn private_data_is_limited() {
        let mut bytes = b"MPA ID Req Frame\0\x01\x02\x01".to_vec();
        assert_eq!(MpaFrame::parse(&bytes), Err(MpaError::PrivateDataTooLong(513)));
        bytes[19] = 0;
        assert_eq!(MpaFrame::parse(&bytes), Ok(None));
        bytes.extend([7; 513]);
        let (mut frame, used) = MpaFrame::parse(&bytes).unwrap().unwrap();
        assert_eq!((frame.private_data.len(), used), (512, 532));
        frame.private_data.push(0);
        assert_eq!(frame.emit(&mut Vec::new()), Err(MpaError::PrivateDataTooLong(513)));
    }

    #[test]
    fn enhanced_data_is_where_the_bit_says() {
        let mut frame = MpaFrame {
            kind: MpaKind::Request,
            flags: MpaFlags { enhanced: true, ..MpaFlags::default() },
            reserved: 0,
            revision: 2,
            private_data: vec![0xc0, 3, 0x80, 2, 9],
        };
        let data = Enhanced {
            ird: 3,
            ord: 2,
            peer_to_peer: true,
            rtr_send: true,
            rtr_write: true,
            ..Enhanced::default()
        };
        assert_eq!(frame.enhanced(), Ok((Some(data), &[9][..])));
        frame.revision = 1;
        assert_eq!(frame.enhanced(), Ok((None, &frame.private_data[..])));
        frame.revision = 2;
        frame.private_data.truncate(3);
        assert_eq!(frame.enhanced(), Err(MpaError::EnhancedTooShort(3)));
        frame.flags.enhanced = false;
        assert_eq!(frame.enhanced(), Ok((None, &frame.private_data[..])));
    }

    proptest! {
        #[test]
        fn round_trip_and_every_prefix(frame in frame(), behind: Vec<u8>) {
            let mut bytes = Vec::new();
            frame.emit(&mut bytes).unwrap();
            for cut in 0..bytes.len() {
                prop_assert_eq!(MpaFrame::parse(&bytes[..cut]), Ok(None));
            }
            let len = bytes.len();
            bytes.extend(behind);
            prop_assert_eq!(MpaFrame::parse(&bytes), Ok(Some((frame, len))));
        }

        #[test]
        fn hostile(tail: Vec<u8>, prefix in 0usize..=16) {
            let mut bytes = REPLY_KEY[..prefix].to_vec();
            bytes.extend(tail);
            if let Ok(Some((frame, used))) = MpaFrame::parse(&bytes) {
                let _ = frame.enhanced();
                let mut again = Vec::new();
                frame.emit(&mut again).unwrap();
                prop_assert_eq!(&again[..], &bytes[..used]);
            }
        }

        #[test]
        fn enhanced_round_trip(bytes: [u8; 4], ird: u16) {
            let mut data = Enhanced::from_bytes(bytes);
            prop_assert_eq!(data.to_bytes(), bytes);
            data.ird = ird;
            prop_assert_eq!(Enhanced::from_bytes(data.to_bytes()).ird, ird.min(0x3fff));
        }
    }
}
