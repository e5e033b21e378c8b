//! ICMP echo (RFC 792): what ping sends and expects.

use super::{WireError, be16, checksum, split};

/// Bytes of an echo header.
pub const HEADER_LEN: usize = 8;

/// An echo request or reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpEcho<'a> {
    /// A reply, not a request.
    pub reply: bool,
    /// Identifier, usually one per ping process.
    pub id: u16,
    /// Sequence number.
    pub seq: u16,
    /// What the reply must return.
    pub data: &'a [u8],
}

impl<'a> IcmpEcho<'a> {
    /// Reads an ICMP message; messages other than echo are a [`WireError::BadField`].
    pub fn parse(bytes: &'a [u8]) -> Result<IcmpEcho<'a>, WireError> {
        let (header, data) = split::<HEADER_LEN>("ICMP header", bytes)?;
        if checksum::finish(checksum::sum(0, bytes)) != 0 {
            return Err(WireError::BadChecksum { what: "ICMP" });
        }
        let reply = match be16(header, 0) {
            0x0000 => true,
            0x0800 => false,
            value => return Err(WireError::BadField { what: "ICMP type and code", value: value.into() }),
        };
        Ok(IcmpEcho { reply, id: be16(header, 4), seq: be16(header, 6), data })
    }

    /// Appends the message.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([if self.reply { 0 } else { 8 }, 0, 0, 0]);
        out.extend(self.id.to_be_bytes());
        out.extend(self.seq.to_be_bytes());
        out.extend(self.data);
        let check = checksum::finish(checksum::sum(0, &out[start..]));
        out[start + 2..start + 4].copy_from_slice(&check.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(reply: bool, id: u16, seq: u16, data: Vec<u8>, before: Vec<u8>) {
            let echo = IcmpEcho { reply, id, seq, data: &data };
            let mut bytes = before.clone();
            echo.emit(&mut bytes);
            let bytes = &mut bytes[before.len()..];
            prop_assert_eq!(IcmpEcho::parse(bytes), Ok(echo));
            let at = usize::from(id) % bytes.len();
            bytes[at] ^= 1;
            prop_assert!(IcmpEcho::parse(bytes).is_err());
        }

        #[test]
        fn hostile(mut bytes: Vec<u8>) {
            let _ = IcmpEcho::parse(&bytes);
            if bytes.len() >= 4 {
                bytes[2..4].copy_from_slice(&[0, 0]);
                let check = checksum::finish(checksum::sum(0, &bytes));
                bytes[2..4].copy_from_slice(&check.to_be_bytes());
                if let Ok(echo) = IcmpEcho::parse(&bytes) {
                    let mut again = Vec::new();
                    echo.emit(&mut again);
                    prop_assert_eq!(again, bytes);
                }
            }
        }
    }
}
