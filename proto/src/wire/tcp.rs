//! TCP headers (RFC 9293 section 3.1; the options of RFC 7323 and the permission of RFC 2018).

use super::ipv4::PROTOCOL_TCP;
use super::{WireError, be16, be32, checksum, split};
use crate::seq::Seq;
use std::net::Ipv4Addr;
use std::ops::BitOr;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;

/// The flags of a segment: a set of bits, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Reset the connection.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Push.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgment number counts.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// The urgent pointer counts.
    pub const URG: TcpFlags = TcpFlags(0x20);
    /// ECN echo.
    pub const ECE: TcpFlags = TcpFlags(0x40);
    /// Congestion window reduced.
    pub const CWR: TcpFlags = TcpFlags(0x80);

    /// All flags of `other` are set.
    pub fn contains(self, other: TcpFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for TcpFlags {
    type Output = TcpFlags;
    fn bitor(self, rhs: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 | rhs.0)
    }
}

/// The options Ironwarp uses; others are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpOptions {
    /// Maximum segment size, in bytes of payload (in a SYN).
    pub mss: Option<u16>,
    /// Shift of the window fields to come (in a SYN), as received: RFC 7323 section 2.3 takes more than 14 as 14.
    pub window_scale: Option<u8>,
    /// Selective acknowledgments may be sent to this end (in a SYN).
    pub sack_permitted: bool,
    /// Timestamp value and echo reply (RFC 7323 section 3.2).
    pub timestamps: Option<(u32, u32)>,
}

impl TcpOptions {
    fn parse(mut bytes: &[u8]) -> Result<TcpOptions, WireError> {
        let mut options = TcpOptions::default();
        while let [kind, rest @ ..] = bytes {
            match *kind {
                END => break,
                NOP => bytes = rest,
                kind => {
                    let len = rest.first().copied().map_or(0, usize::from);
                    let bad = WireError::BadField { what: "TCP option length", value: len as u64 };
                    let data = bytes.get(2..len).ok_or(bad)?;
                    bytes = &bytes[len..];
                    match (kind, data.len()) {
                        (MSS, 2) => options.mss = Some(be16(data, 0)),
                        (WINDOW_SCALE, 1) => options.window_scale = Some(data[0]),
                        (SACK_PERMITTED, 0) => options.sack_permitted = true,
                        (TIMESTAMPS, 8) => options.timestamps = Some((be32(data, 0), be32(data, 4))),
                        (MSS | WINDOW_SCALE | SACK_PERMITTED | TIMESTAMPS, _) => return Err(bad),
                        _ => {}
                    }
                }
            }
        }
        Ok(options)
    }

    /// Appends the options, padded to a multiple of four bytes: at most 20.
    fn emit(&self, out: &mut Vec<u8>) {
        if let Some(mss) = self.mss {
            out.extend([MSS, 4]);
            out.extend(mss.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            out.extend([NOP, WINDOW_SCALE, 3, shift]);
        }
        if self.sack_permitted {
            // In front of timestamps the two bytes take the place of padding.
            out.extend([SACK_PERMITTED, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            if !self.sack_permitted {
                out.extend([NOP, NOP]);
            }
            out.extend([TIMESTAMPS, 10]);
            out.extend(value.to_be_bytes());
            out.extend(echo.to_be_bytes());
        } else if self.sack_permitted {
            out.extend([NOP, NOP]);
        }
    }
}

/// A TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpHeader {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte of payload, or of SYN.
    pub seq: Seq,
    /// The next sequence number expected from the other side.
    pub ack: Seq,
    /// The flags.
    pub flags: TcpFlags,
    /// The window, unscaled as on the wire.
    pub window: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// The options.
    pub options: TcpOptions,
    /// Bytes of the header with options, as received; [`emit`](Self::emit) works it out.
    pub header_len: usize,
}

impl TcpHeader {
    /// The header and the payload of the IPv4 payload `bytes`; the checksum is right.
    pub fn parse(src_ip: Ipv4Addr, dst_ip: Ipv4Addr, bytes: &[u8]) -> Result<(TcpHeader, &[u8]), WireError> {
        let parsed = TcpHeader::parse_unverified(bytes)?;
        let pseudo = checksum::pseudo_header(src_ip, dst_ip, PROTOCOL_TCP, bytes.len() as u16);
        if checksum::finish(checksum::sum(pseudo, bytes)) != 0 {
            return Err(WireError::BadChecksum { what: "TCP" });
        }
        Ok(parsed)
    }

    /// As [`parse`](Self::parse), whatever the checksum: captures taken on the sending host hold segments whose
    /// checksum the network card has yet to fill in.
    pub fn parse_unverified(bytes: &[u8]) -> Result<(TcpHeader, &[u8]), WireError> {
        let (fixed, _) = split::<HEADER_LEN>("TCP header", bytes)?;
        let header_len = usize::from(fixed[12] >> 4) * 4;
        if header_len < HEADER_LEN {
            return Err(WireError::BadField { what: "TCP data offset", value: header_len as u64 });
        }
        if bytes.len() < header_len {
            return Err(WireError::Truncated { what: "TCP options", need: header_len, have: bytes.len() });
        }
        let header = TcpHeader {
            src_port: be16(fixed, 0),
            dst_port: be16(fixed, 2),
            seq: Seq(be32(fixed, 4)),
            ack: Seq(be32(fixed, 8)),
            flags: TcpFlags(fixed[13]),
            window: be16(fixed, 14),
            urgent: be16(fixed, 18),
            options: TcpOptions::parse(&bytes[HEADER_LEN..header_len])?,
            header_len,
        };
        Ok((header, &bytes[header_len..]))
    }

    /// Appends header, options and payload with the right checksum. Header and payload together must fit the
    /// 65,535 bytes that IP can carry.
    pub fn emit(&self, src_ip: Ipv4Addr, dst_ip: Ipv4Addr, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(self.src_port.to_be_bytes());
        out.extend(self.dst_port.to_be_bytes());
        out.extend(self.seq.0.to_be_bytes());
        out.extend(self.ack.0.to_be_bytes());
        out.extend([0, self.flags.0]);
        out.extend(self.window.to_be_bytes());
        out.extend([0, 0]);
        out.extend(self.urgent.to_be_bytes());
        self.options.emit(out);
        out[start + 12] = ((out.len() - start) as u8) << 2;
        out.extend(payload);
        let segment = &mut out[start..];
        let pseudo = checksum::pseudo_header(src_ip, dst_ip, PROTOCOL_TCP, segment.len() as u16);
        let check = checksum::finish(checksum::sum(pseudo, segment));
        segment[16..18].copy_from_slice(&check.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options() -> impl Strategy<Value = TcpOptions> {
        any::<(Option<u16>, Option<u8>, bool, Option<(u32, u32)>)>().prop_map(
            |(mss, window_scale, sack_permitted, timestamps)| TcpOptions {
                mss,
                window_scale,
                sack_permitted,
                timestamps,
            },
        )
    }

    #[test]
    fn option_lengths_are_checked() {
        let bad = |bytes: &[u8]| {
            assert!(matches!(
                TcpOptions::parse(bytes),
                Err(WireError::BadField { what: "TCP option length", .. })
            ));
        };
        bad(&[MSS]);
        bad(&[MSS, 0, 0, 0]);
        bad(&[MSS, 1, 0, 0]);
        bad(&[MSS, 5, 0, 0]);
        bad(&[MSS, 3, 0, 0]);
        bad(&[TIMESTAMPS, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
        bad(&[77, 0]);
        let unknown = TcpOptions::parse(&[77, 5, 2, 4, 9, NOP, MSS, 4, 1, 2, END, 77]);
        assert_eq!(unknown, Ok(TcpOptions { mss: Some(0x102), ..TcpOptions::default() }));
    }

    proptest! {
        #[test]
        fn round_trip(
            ports: [u16; 2], seqs: [u32; 2], flags: u8, window: u16, urgent: u16, options in options(),
            ips: [u32; 2], payload: Vec<u8>, hit: usize,
        ) {
            let (src, dst) = (ips[0].into(), ips[1].into());
            let mut header = TcpHeader {
                src_port: ports[0], dst_port: ports[1], seq: Seq(seqs[0]), ack: Seq(seqs[1]),
                flags: TcpFlags(flags), window, urgent, options, header_len: 0,
            };
            let mut bytes = vec![1, 2, 3];
            header.emit(src, dst, &payload, &mut bytes);
            let bytes = &mut bytes[3..];
            header.header_len = bytes.len() - payload.len();
            prop_assert_eq!(header.header_len % 4, 0);
            prop_assert_eq!(TcpHeader::parse(src, dst, bytes), Ok((header, &payload[..])));
            let hit = hit % bytes.len();
            bytes[hit] ^= 0x10;
            prop_assert!(TcpHeader::parse(src, dst, bytes).is_err());
        }

        #[test]
        fn hostile(mut bytes in prop::collection::vec(any::<u8>(), 0..100), words in 0u8..16) {
            let _ = TcpHeader::parse_unverified(&bytes);
            if bytes.len() > 12 { bytes[12] = words << 4 }
            let _ = TcpHeader::parse(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, &bytes);
            if let Ok((header, payload)) = TcpHeader::parse_unverified(&bytes) {
                let mut again = Vec::new();
                header.emit(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, payload, &mut again);
                let (copy, copied) =
                    TcpHeader::parse(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, &again).unwrap();
                prop_assert_eq!(copied, payload);
                prop_assert_eq!(TcpHeader { header_len: 0, ..copy }, TcpHeader { header_len: 0, ..header });
            }
        }
    }
}
