//! Looking for MPA in a byte stream of which the beginning, or a part, is not known.
//!
//! Only places where a TCP segment begins are tried: MPA senders begin segments with FPDUs when they can. An MPA frame
//! is known by its key. An FPDU without CRC is known only by its regular headers, so one alone proves nothing.

use super::event::Segment;
use super::follow::{Piece, Stamp};
use ironwarp_proto::mpa::connect::MpaFrame;
use ironwarp_proto::mpa::marker::MARKER_LEN;
use ironwarp_proto::mpa::marker::MarkerPhase;
use ironwarp_proto::mpa::stream::{Deframer, FpduCrc};

/// Most bytes kept while undecided: three of the largest FPDUs, and some.
const MAX_BYTES: usize = 256 << 10;
/// Most pieces kept while undecided.
const MAX_PIECES: usize = 1024;

/// Enough weight to believe in FPDUs.
pub const CERTAIN: u32 = 3;
/// A right CRC is as good as certain.
const WEIGHT_GOOD_CRC: u32 = CERTAIN;
/// Regular headers and a CRC field of zero.
const WEIGHT_NO_CRC: u32 = 1;

/// What is known of the FPDUs of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Framing {
    /// Markers are in use, and where the first one is is known.
    pub markers: bool,
    /// CRCs are in use; `None`: not both MPA frames were seen, and all this is guessed.
    pub crc: Option<bool>,
}

/// What a [`Search`] has come to.
#[derive(Debug)]
pub enum Found {
    /// An MPA frame at the start of the bytes.
    Frame(MpaFrame, usize),
    /// FPDUs from the start of the bytes on.
    Fpdus(Deframer),
}

/// Bytes that may become something.
#[derive(Debug, Default)]
pub struct Search {
    /// Look for FPDUs too, not for MPA frames only.
    fpdus: bool,
    framing: Framing,
    bytes: Vec<u8>,
    /// Where in `bytes` each piece begins.
    pieces: Vec<Mark>,
    /// How sure it is that FPDUs begin at the first piece.
    weight: u32,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    at: usize,
    boundary: bool,
    /// Distance from the first byte behind the MPA frame, if that is known.
    offset: u64,
    stamp: Stamp,
}

impl Search {
    /// For MPA frames only: the stream is known from its start.
    pub fn for_frames() -> Search {
        Search::default()
    }

    /// For MPA frames and FPDUs.
    pub fn for_fpdus(framing: Framing) -> Search {
        Search { fpdus: true, framing, ..Search::default() }
    }

    /// How sure it is that FPDUs begin at the first piece.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Takes the next bytes, `offset` bytes behind the MPA frame.
    pub fn push(&mut self, piece: &Piece, offset: u64) {
        if piece.gap {
            self.clear();
        }
        if self.bytes.len() + piece.bytes.len() > MAX_BYTES || self.pieces.len() >= MAX_PIECES {
            self.clear();
        }
        self.pieces.push(Mark { at: self.bytes.len(), boundary: piece.boundary, offset, stamp: piece.stamp });
        self.bytes.extend(&piece.bytes);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
        self.weight = 0;
    }

    /// Looks at what there is. `help` is what the rest of the connection adds to the weight.
    pub fn step(&mut self, help: u32) -> Option<Found> {
        let mut first = 0;
        let found = loop {
            let Some(mark) = self.pieces.get(first).copied() else { break None };
            self.weight = 0;
            if mark.boundary {
                match MpaFrame::parse(&self.bytes[mark.at..]) {
                    Ok(Some((frame, used))) => break Some(Found::Frame(frame, used)),
                    Ok(None) => break None,
                    Err(_) => {}
                }
                if self.fpdus
                    && self.is_possible(mark)
                    && let Some((weight, deframer)) = self.try_fpdus(mark)
                {
                    self.weight = weight;
                    let enough = weight > 0 && weight.saturating_add(help) >= CERTAIN;
                    break enough.then_some(Found::Fpdus(deframer));
                }
            }
            first += 1;
        };
        self.drop_pieces(first);
        found
    }

    /// The bytes from the first piece on, as they came, and what they were counted from.
    pub fn take(self) -> Vec<(Stamp, u64, Vec<u8>)> {
        let ends = self.pieces.iter().skip(1).map(|mark| mark.at).chain([self.bytes.len()]);
        let parts = self.pieces.iter().zip(ends);
        parts.map(|(mark, end)| (mark.stamp, mark.offset, self.bytes[mark.at..end].to_vec())).collect()
    }

    fn drop_pieces(&mut self, count: usize) {
        let start = self.pieces.get(count).map_or(self.bytes.len(), |mark| mark.at);
        self.bytes.drain(..start);
        self.pieces.drain(..count);
        for mark in &mut self.pieces {
            mark.at -= start;
        }
    }

    /// The first bytes do not rule an FPDU out (so that a wild length does not stop the search for long).
    fn is_possible(&self, mark: Mark) -> bool {
        let marker_due = self.framing.markers && MarkerPhase::at(mark.offset).to_next() == 0;
        let lead = if marker_due { MARKER_LEN } else { 0 };
        let aligned = !self.framing.markers || mark.offset.is_multiple_of(4);
        let head = self.bytes.get(mark.at + lead..).unwrap_or_default();
        let control = match head {
            [_, _, ddp, rdmap, ..] => ddp & 0x3f == 1 && rdmap & 0xf0 == 0x40 && rdmap & 0x0f <= 11,
            _ => true,
        };
        aligned && control
    }

    /// The FPDUs from a place on: their weight together, and the deframer that reads them; `None` if there are none.
    fn try_fpdus(&self, mark: Mark) -> Option<(u32, Deframer)> {
        let offset = if self.framing.markers { mark.offset } else { 0 };
        let bytes = &self.bytes[mark.at..];
        let mut weight: u32 = 0;
        let mut with_crc = self.framing.crc;
        for fpdu in Deframer::at(self.framing.markers, false, offset).push(bytes) {
            let markers_fit = fpdu.marker_mismatch.is_none();
            let segment = Segment::new(fpdu);
            let good = segment.crc == FpduCrc::Good;
            // What the first field holds decides whether CRCs are in use.
            let crc_fits = good || !*with_crc.get_or_insert(good);
            let certain =
                if self.framing.crc.is_some() { segment.is_regular() } else { segment.is_certain() };
            if !crc_fits || !markers_fit || !certain {
                // Behind good FPDUs a bad one ends the proof, not the finding.
                if weight >= CERTAIN {
                    break;
                }
                return None;
            }
            weight = weight.saturating_add(if good { WEIGHT_GOOD_CRC } else { WEIGHT_NO_CRC });
        }
        Some((weight, Deframer::at(self.framing.markers, with_crc.unwrap_or(true), offset)))
    }
}
