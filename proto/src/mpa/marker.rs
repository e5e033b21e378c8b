//! MPA markers (RFC 5044 sections 4.2 to 4.4).
//!
//! When its receiver asks for them, a sender puts a four-byte marker in front of the first FPDU and at every 512th
//! byte of the TCP stream from there. A marker says how far back the FPDU it stands in begins, counted from the
//! FPDU's length field; 0 when it stands between two FPDUs, and then it counts as part of the following one. The
//! CRC of an FPDU covers its markers, also one between pad and CRC field.

use super::fpdu::{self, FpduError};
use crate::crc;
use crate::wire::be16;

/// Bytes of a marker.
pub const MARKER_LEN: usize = 4;
/// Bytes from the start of a marker to the start of the next.
pub const INTERVAL: u32 = 512;

/// A marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marker {
    /// Zero when sent, ignored on receipt (the CRC covers it all the same).
    pub reserved: u16,
    /// FPDUPTR: bytes of the stream from the length field of the FPDU to this marker, earlier markers included;
    /// a multiple of four. 0: the FPDU begins behind this marker.
    pub fpdu_ptr: u16,
}

impl Marker {
    /// Reads a marker; the low two bits of the pointer count as zero (section 4.2).
    pub fn from_bytes(bytes: [u8; MARKER_LEN]) -> Marker {
        Marker { reserved: be16(&bytes, 0), fpdu_ptr: be16(&bytes, 2) & !3 }
    }

    /// The marker as sent.
    pub fn to_bytes(self) -> [u8; MARKER_LEN] {
        let ([a, b], [c, d]) = (self.reserved.to_be_bytes(), (self.fpdu_ptr & !3).to_be_bytes());
        [a, b, c, d]
    }
}

/// A position in a stream with markers: bytes since the start of the latest marker, 0 to 511. At 0 a marker is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MarkerPhase(u16);

impl MarkerPhase {
    /// Where the first FPDU, hence the first marker, begins: the first byte behind the MPA frame.
    pub const START: MarkerPhase = MarkerPhase(0);

    /// The phase `offset` bytes behind [`START`](Self::START). Differences of TCP sequence numbers will do: 512
    /// divides 2^32.
    pub fn at(offset: u64) -> MarkerPhase {
        MarkerPhase((offset % u64::from(INTERVAL)) as u16)
    }

    /// Bytes since the start of the latest marker.
    pub fn get(self) -> u16 {
        self.0
    }

    /// The phase `bytes` bytes of the stream (markers counted) further on.
    pub fn advance(self, bytes: u32) -> MarkerPhase {
        MarkerPhase::at(u64::from(self.0) + u64::from(bytes))
    }

    /// Bytes to the start of the next marker; 0 when it is due here.
    pub fn to_next(self) -> u32 {
        (INTERVAL - u32::from(self.0)) % INTERVAL
    }

    /// Bytes on the wire of an FPDU of `unmarked` bytes that begins here, the marker in front of it included when
    /// one is due; a marker due behind it belongs to the next.
    pub fn wire_len(self, unmarked: u32) -> u32 {
        let between = INTERVAL - MARKER_LEN as u32;
        let markers = match unmarked.checked_sub(self.to_next() + 1) {
            Some(behind_first) => 1 + behind_first / between,
            None => 0,
        };
        unmarked.saturating_add(markers.saturating_mul(MARKER_LEN as u32))
    }
}

/// Appends the FPDU of a ULPDU given in parts, with markers, beginning at `phase`; returns the phase behind it.
/// Without CRC the field is zero.
pub fn emit(
    ulpdu: &[&[u8]],
    with_crc: bool,
    phase: MarkerPhase,
    out: &mut Vec<u8>,
) -> Result<MarkerPhase, FpduError> {
    let body = fpdu::body(ulpdu)?;
    let start = out.len();
    // A marker due in front of the length field comes before the FPDU's own first byte.
    let own_start = start + if phase.to_next() == 0 { MARKER_LEN } else { 0 };
    let mut rest = &body[..];
    loop {
        let to_next = phase.advance((out.len() - start) as u32).to_next() as usize;
        if to_next == 0 {
            // At most 65,535 for any ULPDU that section 4.5 allows; a longer one leaves no right pointer.
            let back = out.len().saturating_sub(own_start);
            out.extend(Marker { reserved: 0, fpdu_ptr: back as u16 }.to_bytes());
            continue;
        }
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(to_next.min(rest.len()));
        out.extend(piece);
        rest = behind;
    }
    let field = fpdu::crc_field(with_crc, crc::fpdu_crc(&out[start..]));
    out.extend(field);
    Ok(phase.advance((out.len() - start) as u32))
}
