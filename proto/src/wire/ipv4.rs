//! IPv4 headers (RFC 791).

use super::{WireError, be16, checksum, field, split};
use std::net::Ipv4Addr;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// The protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// The protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;

/// An IPv4 header. Options are skipped on receipt and never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Header {
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// What the packet carries.
    pub protocol: u8,
    /// Time to live, in hops.
    pub ttl: u8,
    /// Identification, for reassembly.
    pub id: u16,
    /// The Differentiated Services code point (upper 6 bits) and ECN (lower 2).
    pub dscp_ecn: u8,
    /// Routers must not fragment it.
    pub dont_fragment: bool,
    /// A fragment, and not the last.
    pub more_fragments: bool,
    /// Where the fragment belongs, in bytes (a multiple of 8).
    pub fragment_offset: u16,
    /// Bytes of the header with options, as received; [`emit`](Self::emit) always writes 20.
    pub header_len: usize,
    /// Bytes of header and payload, as received; [`emit`](Self::emit) works it out.
    pub total_len: u16,
}

impl Ipv4Header {
    /// The header and the payload. Version, lengths and checksum are right, and what follows the packet (Ethernet
    /// padding) is cut off. A fragment is returned as it is.
    pub fn parse(bytes: &[u8]) -> Result<(Ipv4Header, &[u8]), WireError> {
        let (fixed, _) = split::<HEADER_LEN>("IPv4 header", bytes)?;
        if fixed[0] >> 4 != 4 {
            return Err(WireError::BadField { what: "IP version", value: (fixed[0] >> 4).into() });
        }
        let header_len = usize::from(fixed[0] & 15) * 4;
        if header_len < HEADER_LEN {
            return Err(WireError::BadField { what: "IPv4 header length", value: header_len as u64 });
        }
        let total_len = be16(fixed, 2);
        let total = usize::from(total_len);
        if total < header_len {
            return Err(WireError::BadField { what: "IPv4 total length", value: total_len.into() });
        }
        if bytes.len() < total {
            return Err(WireError::Truncated { what: "IPv4 packet", need: total, have: bytes.len() });
        }
        if checksum::finish(checksum::sum(0, &bytes[..header_len])) != 0 {
            return Err(WireError::BadChecksum { what: "IPv4 header" });
        }
        let fragment = be16(fixed, 6);
        let header = Ipv4Header {
            src: field::<4>(fixed, 12).into(),
            dst: field::<4>(fixed, 16).into(),
            protocol: fixed[9],
            ttl: fixed[8],
            id: be16(fixed, 4),
            dscp_ecn: fixed[1],
            dont_fragment: fragment & 0x4000 != 0,
            more_fragments: fragment & 0x2000 != 0,
            fragment_offset: (fragment & 0x1fff) << 3,
            header_len,
            total_len,
        };
        Ok((header, &bytes[header_len..total]))
    }

    /// Part of a larger packet.
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Appends a header without options for a payload of `payload_len` bytes (at most 65,515: the header cannot
    /// say more).
    pub fn emit(&self, payload_len: u16, out: &mut Vec<u8>) {
        let mut header = [0; HEADER_LEN];
        let fragment = u16::from(self.dont_fragment) << 14
            | u16::from(self.more_fragments) << 13
            | self.fragment_offset >> 3;
        header[0] = 0x45;
        header[1] = self.dscp_ecn;
        header[2..4].copy_from_slice(&payload_len.saturating_add(HEADER_LEN as u16).to_be_bytes());
        header[4..6].copy_from_slice(&self.id.to_be_bytes());
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[8] = self.ttl;
        header[9] = self.protocol;
        header[12..16].copy_from_slice(&self.src.octets());
        header[16..20].copy_from_slice(&self.dst.octets());
        let check = checksum::finish(checksum::sum(0, &header));
        header[10..12].copy_from_slice(&check.to_be_bytes());
        out.extend(header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(
            src: u32, dst: u32, protocol: u8, ttl: u8, id: u16, dscp_ecn: u8, dont_fragment: bool,
            more_fragments: bool, offset in 0u16..8192, payload: Vec<u8>, padding: Vec<u8>,
        ) {
            let header = Ipv4Header {
                src: src.into(), dst: dst.into(), protocol, ttl, id, dscp_ecn, dont_fragment, more_fragments,
                fragment_offset: offset << 3, header_len: 20, total_len: 20 + payload.len() as u16,
            };
            let mut bytes = Vec::new();
            header.emit(payload.len() as u16, &mut bytes);
            bytes.extend(&payload);
            bytes.extend(padding);
            prop_assert_eq!(Ipv4Header::parse(&bytes), Ok((header, &payload[..])));
            bytes[usize::from(id) % 20] ^= 1 << (ttl & 7);
            prop_assert!(Ipv4Header::parse(&bytes).is_err());
        }

        #[test]
        fn hostile(mut bytes in prop::collection::vec(any::<u8>(), 0..100), first in 0x43u8..0x4c, total: u8) {
            // Right in part, so that the checks behind the first are reached.
            if bytes.len() >= 60 {
                bytes[0] = first;
                bytes[2..4].copy_from_slice(&[0, total]);
                bytes[10..12].copy_from_slice(&[0, 0]);
                let check = checksum::finish(checksum::sum(0, &bytes[..usize::from(first & 15) * 4]));
                bytes[10..12].copy_from_slice(&check.to_be_bytes());
            }
            if let Ok((header, payload)) = Ipv4Header::parse(&bytes) {
                prop_assert_eq!(header.header_len + payload.len(), usize::from(header.total_len));
                let mut again = Vec::new();
                header.emit(payload.len() as u16, &mut again);
                again.extend(payload);
                let (copy, copied) = Ipv4Header::parse(&again).unwrap();
                prop_assert_eq!(copied, payload);
                prop_assert_eq!(Ipv4Header { header_len: 0, total_len: 0, ..copy },
                    Ipv4Header { header_len: 0, total_len: 0, ..header });
            }
        }
    }
}
