//! FPDUs without markers: lengths and emission (RFC 5044 sections 4.1 and 4.5).
//!
//! An FPDU is a 16-bit ULPDU length, the ULPDU, 0 to 3 zero bytes that make it a multiple of four, and the CRC.

use crate::crc;
use thiserror::Error;

/// Bytes of the ULPDU length field.
pub const LENGTH_LEN: usize = 2;
/// Bytes of the CRC field.
pub const CRC_LEN: usize = 4;
/// The largest ULPDU DDP may hand to MPA, in bytes (section 4.5 and the glossary of RFC 5044 section 1.3). With
/// it every FPDUPTR still fits its 16 bits.
pub const MAX_ULPDU: u32 = 64_768;
/// The smallest MULPDU, in bytes, however small the segments are.
pub const MIN_MULPDU: u32 = 128;

/// An FPDU that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FpduError {
    /// More than the length field can say.
    #[error("a ULPDU of {0} bytes does not fit the 16-bit length field")]
    TooLong(usize),
}

/// Pad bytes behind a ULPDU of `ulpdu_len` bytes.
pub fn pad_len(ulpdu_len: u16) -> u32 {
    (LENGTH_LEN as u32 + u32::from(ulpdu_len)).wrapping_neg() & 3
}

/// Bytes of a whole FPDU without markers: 65,544 at most.
pub fn fpdu_len(ulpdu_len: u16) -> u32 {
    LENGTH_LEN as u32 + u32::from(ulpdu_len) + pad_len(ulpdu_len) + CRC_LEN as u32
}

/// The largest ULPDU whose FPDU fits one segment of `emss` bytes of payload, between 128 and 64,768 bytes. With
/// markers the worst case is assumed: as many as a segment can hold.
pub fn mulpdu(emss: u32, markers: bool) -> u32 {
    let marker_bytes = if markers { emss.div_ceil(512).saturating_mul(4) } else { 0 };
    emss.saturating_sub(6 + emss % 4).saturating_sub(marker_bytes).clamp(MIN_MULPDU, MAX_ULPDU)
}

/// The FPDU up to its CRC field: length, ULPDU, pad.
pub(super) fn body(ulpdu: &[&[u8]]) -> Result<Vec<u8>, FpduError> {
    let total: usize = ulpdu.iter().map(|part| part.len()).sum();
    let length = u16::try_from(total).map_err(|_| FpduError::TooLong(total))?;
    let mut bytes = Vec::with_capacity(fpdu_len(length) as usize);
    bytes.extend(length.to_be_bytes());
    for part in ulpdu {
        bytes.extend(*part);
    }
    bytes.resize(bytes.len() + pad_len(length) as usize, 0);
    Ok(bytes)
}

/// Appends the FPDU of a ULPDU given in parts. Without CRC the field is zero.
pub fn emit(ulpdu: &[&[u8]], with_crc: bool, out: &mut Vec<u8>) -> Result<(), FpduError> {
    let body = body(ulpdu)?;
    out.extend(&body);
    out.extend(crc_field(with_crc, crc::fpdu_crc(&body)));
    Ok(())
}

/// The CRC field: the CRC, or zero when CRCs are off.
pub(super) fn crc_field(with_crc: bool, crc: u32) -> [u8; CRC_LEN] {
    if with_crc { crc::to_wire(crc) } else { [0; CRC_LEN] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for length in 0..=u16::MAX {
            let total = fpdu_len(length);
            assert_eq!(total % 4, 0);
            assert_eq!(total, 6 + u32::from(length) + pad_len(length));
            assert!(pad_len(length) < 4);
        }
        assert_eq!(fpdu_len(u16::MAX), 65_544);
        assert_eq!((fpdu_len(0), fpdu_len(2), fpdu_len(3)), (8, 8, 12));
    }

    #[test]
    fn mulpdu_as_section_4_5_says() {
        assert_eq!(mulpdu(1448, false), 1442);
        assert_eq!(mulpdu(1460, false), 1454);
        assert_eq!(mulpdu(1459, false), 1450);
        assert_eq!(mulpdu(1460, true), 1442);
        assert_eq!((mulpdu(0, true), mulpdu(3, false), mulpdu(140, true)), (128, 128, 130));
        assert_eq!((mulpdu(65_535, false), mulpdu(u32::MAX, true)), (64_768, 64_768));
        // The ULPDU of that size does fit, whatever its pad.
        for emss in 148..9000 {
            let largest = mulpdu(emss, false);
            assert!(fpdu_len(largest as u16) <= emss, "{emss}");
            assert!(fpdu_len(largest as u16 + 4) > emss, "{emss}");
        }
    }

    #[test]
    fn parts_make_one_fpdu() {
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        emit(&[b"abcde"], true, &mut whole).unwrap();
        emit(&[b"ab", b"", b"cde"], true, &mut parts).unwrap();
        assert_eq!(whole, parts);
        assert_eq!(whole[..8], *b"\0\x05abcde\0");
        assert_eq!(whole[8..], crc::to_wire(crc::fpdu_crc(&whole[..8])));
        let mut off = Vec::new();
        emit(&[b"abcde"], false, &mut off).unwrap();
        assert_eq!(off[8..], [0; 4]);
        assert_eq!(emit(&[&[0; 65_535], &[0]], true, &mut off), Err(FpduError::TooLong(65_536)));
    }
}
