//! Ethernet II frames (RFC 894): no VLAN tag, no frame check sequence.

use super::{WireError, be16, field, split};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Bytes of an Ethernet header.
pub const HEADER_LEN: usize = 14;
/// The EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// The EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;

/// A 48-bit hardware address, first byte on the wire first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address of all stations.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// A group address, the broadcast address included.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is not six hexadecimal bytes with colons between.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a hardware address such as 02:00:00:00:00:01")]
pub struct ParseMacError(String);

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<MacAddr, ParseMacError> {
        let error = || ParseMacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|c| c.is_ascii_hexdigit()));
            *byte = part.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(error)?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(MacAddr(bytes)) }
    }
}

/// An Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthHeader {
    /// Destination.
    pub dst: MacAddr,
    /// Source.
    pub src: MacAddr,
    /// What the frame carries.
    pub ethertype: u16,
}

impl EthHeader {
    /// The header and what is behind it, padding included.
    pub fn parse(frame: &[u8]) -> Result<(EthHeader, &[u8]), WireError> {
        let (header, payload) = split::<HEADER_LEN>("Ethernet header", frame)?;
        let (dst, src) = (MacAddr(field(header, 0)), MacAddr(field(header, 6)));
        Ok((EthHeader { dst, src, ethertype: be16(header, 12) }, payload))
    }

    /// Appends the header.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend(self.dst.0);
        out.extend(self.src.0);
        out.extend(self.ethertype.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_as_text() {
        let mac = MacAddr([2, 0, 0xab, 0, 0, 0xff]);
        assert_eq!(mac.to_string(), "02:00:ab:00:00:ff");
        assert_eq!("02:00:ab:00:00:ff".parse(), Ok(mac));
        for bad in ["", "02:00:ab:00:00", "02:00:ab:00:00:ff:00", "2:0:ab:0:0:ff", "02:00:ab:00:00:+f"] {
            assert_eq!(bad.parse::<MacAddr>(), Err(ParseMacError(bad.to_owned())));
        }
        assert!(MacAddr::BROADCAST.is_multicast() && !mac.is_multicast());
    }

    proptest! {
        #[test]
        fn round_trip(bytes: Vec<u8>) {
            match EthHeader::parse(&bytes) {
                Ok((header, payload)) => {
                    let mut out = Vec::new();
                    header.emit(&mut out);
                    out.extend(payload);
                    prop_assert_eq!(out, bytes);
                }
                Err(e) => prop_assert_eq!(
                    e,
                    WireError::Truncated { what: "Ethernet header", need: 14, have: bytes.len() }
                ),
            }
        }

        #[test]
        fn addresses_round_trip(mac: [u8; 6]) {
            prop_assert_eq!(MacAddr(mac).to_string().parse(), Ok(MacAddr(mac)));
        }
    }
}
