//! CRC32c as MPA uses it (RFC 5044 section 4.4): polynomial 1EDC6F41, reflected, all ones in and out.
//!
//! On the wire the field is least significant byte first, the order of RFC 3720 appendix B.4 and of the dumps in
//! RFC 5044 figures 5 and 6.

/// The CRC of whole bytes: ULPDU length, ULPDU, pad and the markers that belong to the FPDU.
pub fn fpdu_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Goes on with a CRC: `append(fpdu_crc(a), b)` is the CRC of `a` followed by `b`; begin with 0.
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

/// The CRC field of an FPDU.
pub fn to_wire(crc: u32) -> [u8; 4] {
    crc.to_le_bytes()
}

/// The CRC in the CRC field of an FPDU.
pub fn from_wire(field: [u8; 4]) -> u32 {
    u32::from_le_bytes(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vectors_of_rfc_3720_b4() {
        let wire = |bytes: &[u8]| to_wire(fpdu_crc(bytes));
        assert_eq!(wire(&[0; 32]), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(wire(&[0xff; 32]), [0x43, 0xab, 0xa8, 0x62]);
        let up: Vec<u8> = (0..32).collect();
        assert_eq!(wire(&up), [0x4e, 0x79, 0xdd, 0x46]);
        let down: Vec<u8> = (0..32).rev().collect();
        assert_eq!(wire(&down), [0x5c, 0xdb, 0x3f, 0x11]);
        assert_eq!(fpdu_crc(&[0; 32]), 0x8a91_36aa);
    }

    proptest! {
        #[test]
        fn pieces_and_bits(bytes: Vec<u8>, cut: usize) {
            let mut reference = u32::MAX;
            for byte in &bytes {
                reference ^= u32::from(*byte);
                for _ in 0..8 {
                    reference = reference >> 1 ^ if reference & 1 == 1 { 0x82f6_3b78 } else { 0 };
                }
            }
            let cut = cut % (bytes.len() + 1);
            prop_assert_eq!(fpdu_crc(&bytes), !reference);
            prop_assert_eq!(append(append(0, &bytes[..cut]), &bytes[cut..]), !reference);
            prop_assert_eq!(from_wire(to_wire(reference)), reference);
        }
    }
}
