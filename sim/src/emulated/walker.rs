//! The walker (docs/microarchitecture.md section 3): finds FPDUs, checks markers and CRC, shows headers.

use super::command::{Delayed, words};
use ironwarp_proto::crc;
use ironwarp_proto::mpa::fpdu::{CRC_LEN, LENGTH_LEN, fpdu_len};
use ironwarp_proto::mpa::marker::{MARKER_LEN, Marker, MarkerPhase};
use std::collections::VecDeque;

/// Codes of a packet.
pub mod code {
    #![allow(missing_docs, reason = "the document has the table")]
    pub const GOOD: u32 = 0;
    pub const BAD_CRC: u32 = 1;
    pub const BAD_MARKER: u32 = 2;
    pub const PARTIAL: u32 = 3;
    pub const END: u32 = 4;
    /// The ULPDU length is known.
    pub const LENGTH: u32 = 1 << 4;
}

/// Header words shown of an untagged FPDU at most: length, control and its header, then 13 of payload.
const UNTAGGED: usize = 5 + 13;
/// Header words shown of a tagged FPDU.
const TAGGED: usize = 4;

/// What a stretch of the stream is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// It has markers.
    pub markers: bool,
    /// CRCs are checked.
    pub crc: bool,
    /// Bytes from its first byte to the next marker, 0..512.
    pub to_marker: u32,
}

/// The packets for `bytes`, which begin with an FPDU.
pub fn walk(bytes: &[u8], stretch: Stretch) -> Vec<Vec<u32>> {
    let mut packets = Vec::new();
    let mut at = 0;
    loop {
        let phase = MarkerPhase::at(512 - u64::from(stretch.to_marker) + at as u64);
        let rest = &bytes[at..];
        let packet = |code: u32, len: usize| {
            vec![code, at as u32, len as u32, if stretch.markers { phase.to_next() } else { 0 }]
        };
        if rest.is_empty() {
            packets.push(packet(code::END, 0));
            return packets;
        }
        let lead = if stretch.markers && phase.to_next() == 0 { MARKER_LEN } else { 0 };
        let Some(field) = rest.get(lead..lead + LENGTH_LEN) else {
            packets.push(packet(code::PARTIAL, rest.len()));
            return packets;
        };
        let length = u16::from_be_bytes([field[0], field[1]]);
        let known = code::LENGTH | u32::from(length) << 16;
        let unmarked = fpdu_len(length);
        let len = if stretch.markers { phase.wire_len(unmarked) } else { unmarked } as usize;
        let Some(fpdu) = rest.get(..len) else {
            packets.push(packet(code::PARTIAL | known, rest.len()));
            return packets;
        };
        let (covered, crc_field) = fpdu.split_at(len - CRC_LEN);
        if stretch.crc && crc::to_wire(crc::fpdu_crc(covered)) != crc_field {
            packets.push(packet(code::BAD_CRC | known, len));
            return packets;
        }
        let Some(plain) = strip(covered, phase, lead, stretch.markers) else {
            packets.push(packet(code::BAD_MARKER | known, len));
            return packets;
        };
        let mut good = packet(code::GOOD | known, len);
        // The length field and the ULPDU, up to the next word.
        let shown = words(&plain);
        let tagged = shown[0] >> 16 & 0x80 != 0;
        good.extend(shown.iter().take(if tagged { TAGGED } else { UNTAGGED }));
        packets.push(good);
        at += len;
    }
}

/// An FPDU without its markers; `None` if one does not point to its start.
fn strip(covered: &[u8], phase: MarkerPhase, lead: usize, markers: bool) -> Option<Vec<u8>> {
    if !markers {
        return Some(covered.to_vec());
    }
    let (mut plain, mut at) = (Vec::with_capacity(covered.len()), 0);
    while at < covered.len() {
        let to_next = phase.advance(at as u32).to_next() as usize;
        if to_next == 0 {
            let marker: [u8; MARKER_LEN] = covered[at..at + MARKER_LEN].try_into().ok()?;
            if usize::from(Marker::from_bytes(marker).fpdu_ptr) != at.saturating_sub(lead) {
                return None;
            }
            at += MARKER_LEN;
        } else {
            let end = covered.len().min(at + to_next);
            plain.extend(&covered[at..end]);
            at = end;
        }
    }
    Some(plain)
}

/// Packets on their way to the sequencer.
#[derive(Debug, Default)]
pub struct Packets {
    current: VecDeque<u32>,
    next: Delayed<Vec<u32>>,
}

impl Packets {
    /// One more, which is there from cycle `at` on.
    pub fn push(&mut self, at: u64, packet: Vec<u32>) {
        self.next.push(at, packet);
    }
    /// Whether there is one behind the current one.
    pub fn is_ready(&self, now: u64) -> bool {
        self.next.is_ready(now)
    }
    /// When it is there.
    pub fn next(&self) -> Option<u64> {
        self.next.next()
    }
    /// Whether the current one has more words.
    pub fn has_word(&self) -> bool {
        !self.current.is_empty()
    }
    /// Next word of the current packet.
    pub fn word(&mut self) -> Option<u32> {
        self.current.pop_front()
    }
    /// First word of the next packet, which becomes the current one.
    pub fn first(&mut self, now: u64) -> Option<u32> {
        self.current = self.next.pop(now)?.into();
        self.current.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironwarp_proto::mpa::marker;
    use ironwarp_proto::mpa::stream::{Deframer, FpduCrc};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packets_say_what_the_deframer_says(
            ulpdus in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1200), 0..6),
            start in 0u32..128, markers: bool, crc: bool, cut in 0usize..60, hit in prop::option::of(any::<usize>()),
        ) {
            let to_marker = start * 4;
            let mut phase = MarkerPhase::at(512 - u64::from(to_marker));
            let first = phase;
            let mut bytes = Vec::new();
            for ulpdu in &ulpdus {
                if markers {
                    phase = marker::emit(&[ulpdu], true, phase, &mut bytes).unwrap();
                } else {
                    ironwarp_proto::mpa::fpdu::emit(&[ulpdu], true, &mut bytes).unwrap();
                }
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(hit) = hit && !bytes.is_empty() {
                let at = hit % bytes.len();
                bytes[at] ^= 1 << (hit & 7);
            }
            let mut deframer = Deframer::at(markers, crc, first.get().into());
            let found = deframer.push(&bytes);
            let packets = walk(&bytes, Stretch { markers, crc, to_marker });
            let mut at = 0;
            for (index, packet) in packets.iter().enumerate() {
                prop_assert_eq!(packet[1], at as u32);
                if markers {
                    prop_assert_eq!(packet[3], first.advance(at as u32).to_next());
                }
                let Some(fpdu) = found.get(index) else {
                    let rest = bytes.len() - at;
                    prop_assert_eq!(packet[0] & 15, if rest == 0 { code::END } else { code::PARTIAL });
                    prop_assert_eq!(packet[2], rest as u32);
                    prop_assert_eq!(index + 1, packets.len());
                    break;
                };
                let code = match (fpdu.crc, fpdu.marker_mismatch) {
                    (FpduCrc::Bad, _) => code::BAD_CRC,
                    (_, Some(_)) => code::BAD_MARKER,
                    _ => code::GOOD,
                };
                let length = fpdu.ulpdu.len() as u32;
                prop_assert_eq!(packet[0], code | code::LENGTH | length << 16);
                prop_assert_eq!(packet[2], fpdu.wire_len);
                if code != code::GOOD {
                    prop_assert_eq!(index + 1, packets.len());
                    break;
                }
                let mut plain = (length as u16).to_be_bytes().to_vec();
                plain.extend(&fpdu.ulpdu);
                let header = crate::emulated::command::bytes(&packet[4..]);
                let most = if plain.get(2).is_some_and(|control| control & 0x80 != 0) { 16 } else { 72 };
                let shown = plain.len().min(most);
                prop_assert_eq!(&header[..shown], &plain[..shown]);
                prop_assert_eq!(packet.len() - 4, plain.len().min(most).div_ceil(4));
                at += packet[2] as usize;
            }
        }
    }

    #[test]
    fn words_come_packet_by_packet() {
        let mut packets = Packets::default();
        packets.push(0, vec![1, 2, 3]);
        packets.push(9, vec![4]);
        assert_eq!((packets.word(), packets.is_ready(0)), (None, true));
        assert_eq!((packets.first(0), packets.word()), (Some(1), Some(2)));
        assert_eq!((packets.first(8), packets.next(), packets.word()), (None, Some(9), Some(3)));
        assert_eq!((packets.first(9), packets.word()), (Some(4), None));
        assert_eq!((packets.first(9), packets.is_ready(9)), (None, false));
    }
}
