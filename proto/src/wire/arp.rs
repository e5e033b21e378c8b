//! ARP for IPv4 over Ethernet (RFC 826).

use super::eth::{ETHERTYPE_IPV4, MacAddr};
use super::{WireError, be16, field, split};
use std::net::Ipv4Addr;

/// Bytes of an ARP packet.
pub const PACKET_LEN: usize = 28;
/// Hardware type "Ethernet".
const HARDWARE_ETHERNET: u16 = 1;

/// What an ARP packet asks or says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArpOp {
    /// "Who has the target address?"
    Request = 1,
    /// "The sender has it."
    Reply = 2,
}

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpPacket {
    /// Request or reply.
    pub op: ArpOp,
    /// Hardware address of the sender.
    pub sender_mac: MacAddr,
    /// IPv4 address of the sender.
    pub sender_ip: Ipv4Addr,
    /// Hardware address of the target; meaningless in a request.
    pub target_mac: MacAddr,
    /// IPv4 address of the target.
    pub target_ip: Ipv4Addr,
}

impl ArpPacket {
    /// Reads the payload of an ARP frame; Ethernet padding may follow.
    pub fn parse(bytes: &[u8]) -> Result<ArpPacket, WireError> {
        let (packet, _padding) = split::<PACKET_LEN>("ARP packet", bytes)?;
        let check = |what, at, expected| match be16(packet, at) {
            value if value == expected => Ok(()),
            value => Err(WireError::BadField { what, value: value.into() }),
        };
        check("ARP hardware type", 0, HARDWARE_ETHERNET)?;
        check("ARP protocol type", 2, ETHERTYPE_IPV4)?;
        check("ARP address lengths", 4, 0x0604)?;
        let op = match be16(packet, 6) {
            1 => ArpOp::Request,
            2 => ArpOp::Reply,
            value => return Err(WireError::BadField { what: "ARP operation", value: value.into() }),
        };
        Ok(ArpPacket {
            op,
            sender_mac: MacAddr(field(packet, 8)),
            sender_ip: field::<4>(packet, 14).into(),
            target_mac: MacAddr(field(packet, 18)),
            target_ip: field::<4>(packet, 24).into(),
        })
    }

    /// Appends the packet, without Ethernet header and padding.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend(HARDWARE_ETHERNET.to_be_bytes());
        out.extend(ETHERTYPE_IPV4.to_be_bytes());
        out.extend([6, 4]);
        out.extend((self.op as u16).to_be_bytes());
        out.extend(self.sender_mac.0);
        out.extend(self.sender_ip.octets());
        out.extend(self.target_mac.0);
        out.extend(self.target_ip.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(reply: bool, macs: [[u8; 6]; 2], ips: [u32; 2], padding: Vec<u8>) {
            let packet = ArpPacket {
                op: if reply { ArpOp::Reply } else { ArpOp::Request },
                sender_mac: MacAddr(macs[0]),
                sender_ip: ips[0].into(),
                target_mac: MacAddr(macs[1]),
                target_ip: ips[1].into(),
            };
            let mut bytes = Vec::new();
            packet.emit(&mut bytes);
            prop_assert_eq!(bytes.len(), PACKET_LEN);
            bytes.extend(padding);
            prop_assert_eq!(ArpPacket::parse(&bytes), Ok(packet));
        }

        #[test]
        fn hostile(mut bytes: Vec<u8>, fixed: [bool; 8]) {
            // Half right headers reach further than noise does.
            for ((byte, right), fix) in bytes.iter_mut().zip([0, 1, 8, 0, 6, 4, 0, 1]).zip(fixed) {
                if fix { *byte = right }
            }
            if let Ok(packet) = ArpPacket::parse(&bytes) {
                let mut out = Vec::new();
                packet.emit(&mut out);
                prop_assert_eq!(&out[..], &bytes[..PACKET_LEN]);
            }
        }
    }
}
