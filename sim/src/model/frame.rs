//! Frames: which connection one belongs to, and what goes around a segment.

use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::eth::{self, ETHERTYPE_IPV4, EthHeader, MacAddr};
use ironwarp_proto::wire::ipv4::{self, Ipv4Header, PROTOCOL_TCP};
use ironwarp_proto::wire::tcp::{self, TcpFlags, TcpHeader};
use ironwarp_proto::wire::{WireError, checksum};
use std::net::Ipv4Addr;

/// The addresses of a connection, as seen in frames that arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FourTuple {
    /// Peer.
    pub remote: (Ipv4Addr, u16),
    /// This device.
    pub local: (Ipv4Addr, u16),
}

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// A TCP segment with good checksums that may belong to a connection.
    Segment(FourTuple, TcpHeader, &'a [u8]),
    /// Something for software.
    Raw,
    /// Not for this address.
    Other,
    /// Dropped: malformed.
    Malformed,
    /// Dropped: IPv4 header checksum.
    BadIpChecksum,
    /// Dropped: TCP checksum.
    BadTcpChecksum,
}

/// Look at a frame that arrived for the device with address `mac`.
pub fn classify(frame: &[u8], mac: MacAddr) -> Arrival<'_> {
    let Ok((ethernet, packet)) = EthHeader::parse(frame) else { return Arrival::Malformed };
    if ethernet.dst != mac && !ethernet.dst.is_multicast() {
        return Arrival::Other;
    }
    if ethernet.ethertype != ETHERTYPE_IPV4 {
        return Arrival::Raw;
    }
    let (ip, segment) = match Ipv4Header::parse(packet) {
        Ok(parsed) => parsed,
        Err(WireError::BadChecksum { .. }) => return Arrival::BadIpChecksum,
        Err(_) => return Arrival::Malformed,
    };
    // Software reassembles fragments and reads options, then injects.
    if ip.protocol != PROTOCOL_TCP || ip.is_fragment() || ip.header_len != ipv4::HEADER_LEN {
        return Arrival::Raw;
    }
    match TcpHeader::parse(ip.src, ip.dst, segment) {
        Ok((tcp, payload)) => {
            let tuple = FourTuple { remote: (ip.src, tcp.src_port), local: (ip.dst, tcp.dst_port) };
            Arrival::Segment(tuple, tcp, payload)
        }
        Err(WireError::BadChecksum { .. }) => Arrival::BadTcpChecksum,
        Err(_) => Arrival::Malformed,
    }
}

/// Bytes of the headers in front of a segment's payload.
pub const HEADERS: usize = eth::HEADER_LEN + ipv4::HEADER_LEN + tcp::HEADER_LEN;

/// What a connection's frames have in common.
#[derive(Debug, Clone)]
pub struct Template {
    headers: [u8; HEADERS],
    /// Partial sum of the constant IPv4 header fields.
    ip_sum: u32,
    /// Partial sum of addresses, protocol, ports and data offset.
    tcp_sum: u32,
    identification: u16,
}

/// The TCP fields of a segment to send.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// Window field.
    pub window: u16,
    /// Flags.
    pub flags: TcpFlags,
}

const IP: usize = eth::HEADER_LEN;
const TCP: usize = IP + ipv4::HEADER_LEN;

impl Template {
    /// From the headers that software wrote: dynamic fields are 0.
    pub fn new(headers: [u8; HEADERS]) -> Self {
        let ip_sum = checksum::sum(0, &headers[IP..TCP]);
        let (src, dst) = (address(&headers, IP + 12), address(&headers, IP + 16));
        let tcp_sum = checksum::sum(checksum::pseudo_header(src, dst, PROTOCOL_TCP, 0), &headers[TCP..]);
        Self { headers, ip_sum, tcp_sum, identification: 0 }
    }

    /// The connection's addresses.
    pub fn tuple(&self) -> FourTuple {
        let port = |at: usize| u16::from_be_bytes([self.headers[at], self.headers[at + 1]]);
        FourTuple {
            remote: (address(&self.headers, IP + 16), port(TCP + 2)),
            local: (address(&self.headers, IP + 12), port(TCP)),
        }
    }

    /// Room for the headers, behind which the payload is appended before [`finish`](Self::finish).
    pub fn begin(&self, room: usize) -> Vec<u8> {
        let mut frame = Vec::with_capacity(HEADERS + room);
        frame.extend_from_slice(&self.headers);
        frame
    }

    /// Fill in lengths, sequence numbers and checksums.
    pub fn finish(&mut self, frame: &mut [u8], fields: &Outgoing) {
        let total = (frame.len() - IP) as u16;
        let id = self.identification;
        self.identification = id.wrapping_add(1);
        let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
        put(IP + 2, &total.to_be_bytes());
        put(IP + 4, &id.to_be_bytes());
        let ip_sum = self.ip_sum + u32::from(total) + u32::from(id);
        put(IP + 10, &checksum::finish(ip_sum).to_be_bytes());
        put(TCP + 4, &fields.seq.0.to_be_bytes());
        put(TCP + 8, &fields.ack.0.to_be_bytes());
        put(TCP + 13, &[fields.flags.0]);
        put(TCP + 14, &fields.window.to_be_bytes());
        let length = u32::from(total) - ipv4::HEADER_LEN as u32;
        let dynamic = self.tcp_sum
            + length
            + (fields.seq.0 >> 16)
            + (fields.seq.0 & 0xffff)
            + (fields.ack.0 >> 16)
            + (fields.ack.0 & 0xffff)
            + u32::from(fields.flags.0)
            + u32::from(fields.window);
        let sum = checksum::sum(dynamic, &frame[HEADERS..]);
        frame[TCP + 16..TCP + 18].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    }
}

fn address(headers: &[u8; HEADERS], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(headers[at], headers[at + 1], headers[at + 2], headers[at + 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn template() -> Template {
        let mut headers = Vec::new();
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        EthHeader { dst: MacAddr([2; 6]), src: MacAddr([4; 6]), ethertype: ETHERTYPE_IPV4 }
            .emit(&mut headers);
        headers.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        headers.extend(src.octets());
        headers.extend(dst.octets());
        headers.extend([0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]);
        Template::new(headers.try_into().unwrap())
    }

    proptest! {
        #[test]
        fn sent_frames_parse_with_good_checksums(
            seq: u32, ack: u32, window: u16, flags in 0u8..64, payload in prop::collection::vec(any::<u8>(), 0..1600),
        ) {
            let mut template = template();
            for _ in 0..2 {
                let mut frame = template.begin(payload.len());
                frame.extend(&payload);
                let fields = Outgoing { seq: Seq(seq), ack: Seq(ack), window, flags: TcpFlags(flags) };
                template.finish(&mut frame, &fields);
                let Arrival::Segment(tuple, tcp, data) = classify(&frame, MacAddr([2; 6])) else {
                    return Err(TestCaseError::fail("not a good segment"));
                };
                prop_assert_eq!(data, &payload[..]);
                prop_assert_eq!((tcp.seq.0, tcp.ack.0, tcp.window, tcp.flags.0), (seq, ack, window, flags));
                prop_assert_eq!((tuple.remote.1, tuple.local.1), (0x1234, 0x5678));
                let own = template.tuple();
                prop_assert_eq!((own.local, own.remote), (tuple.remote, tuple.local));
            }
        }

        #[test]
        fn any_bytes_are_classified(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            classify(&bytes, MacAddr([2; 6]));
        }
    }
}
