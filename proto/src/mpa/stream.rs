//! The receiving side of MPA in plain software: bytes of a TCP stream in, FPDUs out.

use super::fpdu::{CRC_LEN, LENGTH_LEN, fpdu_len};
use super::marker::{INTERVAL, MARKER_LEN, Marker, MarkerPhase};
use crate::crc;
use crate::wire::{be16, field};

/// What the CRC field of an FPDU holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FpduCrc {
    /// The right CRC, whether or not CRCs are in use.
    Good,
    /// CRCs are in use and this one is wrong.
    Bad,
    /// CRCs are not in use and the field holds something else; RFC 5044 section 7.1.1 takes it as valid.
    None,
}

/// A marker that does not point at the FPDU it stands in (error 3 of RFC 5044 section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerMismatch {
    /// Where the marker begins: bytes from the start of the stream.
    pub offset: u64,
    /// What it says.
    pub found: u16,
    /// What it should say. More than 65,535 in an FPDU that is too long for any marker to be right.
    pub expected: u32,
}

/// A complete FPDU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fpdu {
    /// The ULPDU, a DDP segment.
    pub ulpdu: Vec<u8>,
    /// What the CRC field holds.
    pub crc: FpduCrc,
    /// The CRC field, as on the wire.
    pub crc_field: [u8; CRC_LEN],
    /// Where it begins (with its leading marker, if any): bytes from the start of the stream.
    pub offset: u64,
    /// Bytes on the wire, markers included.
    pub wire_len: u32,
    /// The first of its markers that is wrong.
    pub marker_mismatch: Option<MarkerMismatch>,
}

/// Finds the FPDUs in a stream that is handed over in pieces cut anywhere, beginning with the first byte behind the
/// MPA frame.
///
/// It remembers no more than the FPDU under way, at most 66,064 bytes. It goes on after errors, as a
/// decoder wants; a peer must not (RFC 5044 section 8).
#[derive(Debug, Clone)]
pub struct Deframer {
    markers: bool,
    crc: bool,
    /// Offset of the FPDU under way.
    offset: u64,
    /// Its bytes so far, markers included.
    partial: Vec<u8>,
}

impl Deframer {
    /// For a stream with or without markers, with or without CRCs, at its start.
    pub fn new(markers: bool, crc: bool) -> Deframer {
        Deframer { markers, crc, offset: 0, partial: Vec::new() }
    }

    /// For a stream met `offset` bytes behind its start, where an FPDU begins (with its leading marker, if one is due).
    pub fn at(markers: bool, crc: bool, offset: u64) -> Deframer {
        Deframer { offset, ..Deframer::new(markers, crc) }
    }

    /// Takes the next bytes; returns the FPDUs that they complete, in order.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Fpdu> {
        let mut complete = Vec::new();
        loop {
            let need = self.need();
            let (now, later) = bytes.split_at(bytes.len().min(need.saturating_sub(self.partial.len())));
            self.partial.extend(now);
            bytes = later;
            if self.partial.len() < need {
                return complete;
            }
            // With the length field there, `need` is the whole FPDU, never just these few bytes.
            if need > self.lead() + LENGTH_LEN {
                complete.push(self.take());
            }
        }
    }

    /// Bytes of the FPDU under way that have come so far.
    pub fn pending(&self) -> usize {
        self.partial.len()
    }

    /// Bytes of the stream that belong to complete FPDUs.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn phase(&self) -> MarkerPhase {
        MarkerPhase::at(self.offset)
    }

    /// Bytes of the marker in front of the length field.
    fn lead(&self) -> usize {
        if self.markers && self.phase().to_next() == 0 { MARKER_LEN } else { 0 }
    }

    /// Bytes wanted before anything can be done: first up to the length field, then all of the FPDU. (No marker
    /// splits the length field: FPDUs and markers both begin at multiples of four.)
    fn need(&self) -> usize {
        let lead = self.lead();
        if self.partial.len() < lead + LENGTH_LEN {
            return lead + LENGTH_LEN;
        }
        let unmarked = fpdu_len(be16(&self.partial, lead));
        (if self.markers { self.phase().wire_len(unmarked) } else { unmarked }) as usize
    }

    /// The FPDU under way, now complete.
    fn take(&mut self) -> Fpdu {
        let wire = std::mem::take(&mut self.partial);
        let (covered, crc_field) = wire.split_at(wire.len() - CRC_LEN);
        let crc_field = field(crc_field, 0);
        let crc = if crc::from_wire(crc_field) == crc::fpdu_crc(covered) {
            FpduCrc::Good
        } else if self.crc {
            FpduCrc::Bad
        } else {
            FpduCrc::None
        };
        let (mut unmarked, marker_mismatch) =
            if self.markers { self.strip(covered) } else { (covered.to_vec(), None) };
        let length = usize::from(be16(&unmarked, 0));
        unmarked.truncate(LENGTH_LEN + length);
        unmarked.drain(..LENGTH_LEN);
        let fpdu = Fpdu {
            ulpdu: unmarked,
            crc,
            crc_field,
            offset: self.offset,
            wire_len: wire.len() as u32,
            marker_mismatch,
        };
        self.offset += wire.len() as u64;
        fpdu
    }

    /// Takes the markers out of an FPDU and checks them.
    fn strip(&self, covered: &[u8]) -> (Vec<u8>, Option<MarkerMismatch>) {
        let mut unmarked = Vec::with_capacity(covered.len());
        let mut mismatch = None;
        let mut at = 0;
        while at < covered.len() {
            let to_next = self.phase().advance(at as u32).to_next() as usize;
            if to_next == 0 {
                let expected = at.saturating_sub(self.lead()) as u32;
                let found = Marker::from_bytes(field(covered, at)).fpdu_ptr;
                if u32::from(found) != expected && mismatch.is_none() {
                    mismatch = Some(MarkerMismatch { offset: self.offset + at as u64, found, expected });
                }
                at += MARKER_LEN;
            } else {
                let end = covered.len().min(at + to_next.min(INTERVAL as usize));
                unmarked.extend(&covered[at..end]);
                at = end;
            }
        }
        (unmarked, mismatch)
    }
}
