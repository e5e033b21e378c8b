//! MPA framing against a sender and a receiver that work one byte at a time, straight from RFC 5044 section 4.

use ironwarp_proto::crc;
use ironwarp_proto::mpa::fpdu::{self, FpduError};
use ironwarp_proto::mpa::marker::{self, Marker, MarkerPhase};
use ironwarp_proto::mpa::stream::{Deframer, Fpdu, FpduCrc, MarkerMismatch};
use proptest::prelude::*;

/// Writes FPDUs with markers, byte by byte.
#[derive(Default)]
struct Sender {
    stream: Vec<u8>,
}

impl Sender {
    /// Whether a marker goes here; if so, it is written.
    fn marker(&mut self, fpdu_start: Option<usize>) {
        if self.stream.len().is_multiple_of(512) {
            let back = fpdu_start.map_or(0, |start| self.stream.len() - start) as u16;
            self.stream.extend([0, 0, (back >> 8) as u8, back as u8]);
        }
    }

    fn fpdu(&mut self, ulpdu: &[u8]) {
        let begin = self.stream.len();
        self.marker(None);
        let start = self.stream.len();
        let mut body = vec![(ulpdu.len() >> 8) as u8, ulpdu.len() as u8];
        body.extend(ulpdu);
        while body.len() % 4 != 0 {
            body.push(0);
        }
        for byte in body {
            // Right behind the leading marker no other can be due.
            self.marker(Some(start));
            self.stream.push(byte);
        }
        self.marker(Some(start));
        let crc = crc::fpdu_crc(&self.stream[begin..]);
        for byte in crc::to_wire(crc) {
            self.marker(Some(start));
            self.stream.push(byte);
        }
    }
}

/// Reads the ULPDUs of a stream with markers, byte by byte, without looking at markers or CRCs.
fn receive(stream: &[u8]) -> Vec<Vec<u8>> {
    let plain: Vec<u8> =
        stream.iter().enumerate().filter(|(at, _)| at % 512 >= 4).map(|(_, byte)| *byte).collect();
    let (mut at, mut ulpdus) = (0, Vec::new());
    while at < plain.len() {
        let length = usize::from(plain[at]) << 8 | usize::from(plain[at + 1]);
        ulpdus.push(plain[at + 2..at + 2 + length].to_vec());
        at += (2 + length).next_multiple_of(4) + 4;
    }
    ulpdus
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251 + length) as u8).collect()
}

/// ULPDU lengths of first FPDUs that end at every multiple of four, so that the second begins in each phase that
/// can be.
fn prefixes() -> impl Iterator<Item = usize> {
    (2..510usize).step_by(4)
}

#[test]
fn every_length_in_every_phase_as_the_reference() {
    let mut phases = std::collections::HashSet::new();
    for prefix in prefixes() {
        let mut first = Sender::default();
        first.fpdu(&pattern(prefix));
        let phase = MarkerPhase::at(first.stream.len() as u64);
        phases.insert(phase.get());
        for length in (0..=1040).chain([1442, 2000, 9000 + prefix]) {
            let ulpdu = pattern(length);
            let mut reference = Sender { stream: first.stream.clone() };
            reference.fpdu(&ulpdu);
            let mut out = first.stream.clone();
            let behind = marker::emit(&[&ulpdu], true, phase, &mut out).unwrap();
            assert_eq!(out, reference.stream, "prefix {prefix} length {length}");
            assert_eq!(behind, MarkerPhase::at(out.len() as u64));
            let wire_len = phase.wire_len(fpdu::fpdu_len(length as u16));
            assert_eq!(wire_len as usize, out.len() - first.stream.len());

            let fpdus = Deframer::new(true, true).push(&out);
            assert_eq!(fpdus.len(), 2);
            assert!(fpdus.iter().all(|f| f.crc == FpduCrc::Good && f.marker_mismatch.is_none()));
            assert_eq!(fpdus[1].ulpdu, ulpdu);
            assert_eq!((fpdus[1].offset, fpdus[1].wire_len), (first.stream.len() as u64, wire_len));
        }
    }
    // All 128 but one: 4 bytes behind a marker the CRC field of the FPDU before would have begun where the marker is.
    assert_eq!(phases.len(), 127);
    assert!(!phases.contains(&4));
}

#[test]
fn the_largest_fpdus() {
    for length in [64_768, 65_535] {
        let ulpdu = pattern(length);
        let (mut plain, mut marked) = (Vec::new(), Vec::new());
        fpdu::emit(&[&ulpdu], true, &mut plain).unwrap();
        assert_eq!(plain.len(), fpdu::fpdu_len(length as u16) as usize);
        assert_eq!(Deframer::new(false, true).push(&plain)[0].ulpdu, ulpdu);
        for phase in [MarkerPhase::START, MarkerPhase::at(4), MarkerPhase::at(508)] {
            marked.clear();
            marker::emit(&[&ulpdu], true, phase, &mut marked).unwrap();
            assert_eq!(marked.len(), phase.wire_len(plain.len() as u32) as usize);
            assert!(marked.len() <= 66_064);
        }
        marked.clear();
        marker::emit(&[&ulpdu], true, MarkerPhase::START, &mut marked).unwrap();
        let fpdus = Deframer::new(true, true).push(&marked);
        assert_eq!((fpdus.len(), fpdus[0].crc), (1, FpduCrc::Good));
        assert_eq!(fpdus[0].ulpdu, ulpdu);
        // Beyond what section 4.5 allows no pointer can be right any more.
        assert_eq!(fpdus[0].marker_mismatch.is_some(), length == 65_535);
    }
    let long = vec![0; 65_536];
    let error = marker::emit(&[&long], true, MarkerPhase::START, &mut Vec::new());
    assert_eq!(error, Err(FpduError::TooLong(65_536)));
}

#[test]
fn the_dumps_of_rfc_5044() {
    // Figure 5, then figure 6 at offset 0x1ec behind an FPDU of 492 bytes (its marker included).
    let send = |msn| {
        let mut ulpdu = vec![0x41, 0x43, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, msn, 0, 0, 0, 0];
        ulpdu.resize(42, 0);
        ulpdu
    };
    let mut first = Vec::new();
    marker::emit(&[&send(1)], true, MarkerPhase::START, &mut first).unwrap();
    assert_eq!(first[..6], [0, 0, 0, 0, 0, 0x2a]);
    assert_eq!(first[0x30..], [0x52, 0x23, 0x99, 0x83]);
    let mut second = Vec::new();
    marker::emit(&[&send(2)], true, MarkerPhase::at(0x1ec), &mut second).unwrap();
    assert_eq!(second[0x14..0x18], [0, 0, 0, 0x14]);
    assert_eq!(second[0x30..], [0x84, 0x92, 0x58, 0x98]);
}

#[test]
fn phases() {
    assert_eq!(MarkerPhase::START.to_next(), 0);
    assert_eq!((MarkerPhase::at(1).to_next(), MarkerPhase::at(511).to_next()), (511, 1));
    assert_eq!(MarkerPhase::at(u64::MAX).advance(1), MarkerPhase::START);
    assert_eq!(MarkerPhase::at(508).advance(u32::MAX), MarkerPhase::at(507));
    assert_eq!(MarkerPhase::START.wire_len(0), 0);
    assert_eq!((MarkerPhase::START.wire_len(508), MarkerPhase::START.wire_len(509)), (512, 517));
    assert_eq!(MarkerPhase::START.wire_len(u32::MAX), u32::MAX);
    assert_eq!(Marker::from_bytes([1, 2, 3, 7]), Marker { reserved: 0x102, fpdu_ptr: 0x304 });
    assert_eq!(Marker { reserved: 0x102, fpdu_ptr: 0x307 }.to_bytes(), [1, 2, 3, 4]);
}

#[test]
fn wrong_markers_are_reported() {
    let mut sender = Sender::default();
    sender.fpdu(&pattern(1000));
    sender.fpdu(&pattern(100));
    let mut stream = sender.stream;
    // The pointer of the marker at 512 counts from the length field at 4; its low bits count as zero.
    stream[515] ^= 3;
    assert_eq!(Deframer::new(true, false).push(&stream)[0].marker_mismatch, None);
    stream[515] ^= 4;
    let fpdus = Deframer::new(true, false).push(&stream);
    let mismatch = MarkerMismatch { offset: 512, found: 508 ^ 4, expected: 508 };
    assert_eq!(fpdus[0].marker_mismatch, Some(mismatch));
    assert_eq!((fpdus[0].crc, fpdus[1].crc), (FpduCrc::None, FpduCrc::Good));
    assert_eq!(fpdus[1].marker_mismatch, None);
    // The reserved half is ignored, but the CRC covers it.
    stream[515] ^= 7;
    stream[512] = 1;
    let fpdu = &Deframer::new(true, true).push(&stream)[0];
    assert_eq!((fpdu.crc, fpdu.marker_mismatch), (FpduCrc::Bad, None));
}

#[test]
fn crc_classes() {
    let class = |use_crc, field: [u8; 4]| {
        let mut stream = Vec::new();
        fpdu::emit(&[b"abc"], true, &mut stream).unwrap();
        let at = stream.len() - 4;
        for (byte, flip) in stream[at..].iter_mut().zip(field) {
            *byte ^= flip;
        }
        Deframer::new(false, use_crc).push(&stream)[0].crc
    };
    assert_eq!((class(true, [0; 4]), class(false, [0; 4])), (FpduCrc::Good, FpduCrc::Good));
    assert_eq!((class(true, [0, 0, 0, 1]), class(false, [1, 0, 0, 0])), (FpduCrc::Bad, FpduCrc::None));
}

/// The stream of some ULPDUs.
fn stream(ulpdus: &[Vec<u8>], markers: bool, with_crc: bool) -> Vec<u8> {
    let (mut out, mut phase) = (Vec::new(), MarkerPhase::START);
    for ulpdu in ulpdus {
        if markers {
            phase = marker::emit(&[ulpdu], with_crc, phase, &mut out).unwrap();
        } else {
            fpdu::emit(&[ulpdu], with_crc, &mut out).unwrap();
        }
    }
    out
}

fn push_all<'a>(deframer: &mut Deframer, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Fpdu> {
    pieces.into_iter().flat_map(|piece| deframer.push(piece)).collect()
}

#[test]
fn every_cut() {
    let ulpdus: Vec<_> = [0, 1, 2, 3, 17, 46, 300, 480, 1442, 0, 700].map(pattern).to_vec();
    for markers in [false, true] {
        for with_crc in [false, true] {
            let stream = stream(&ulpdus, markers, with_crc);
            let whole = Deframer::new(markers, with_crc).push(&stream);
            assert!(whole.iter().map(|f| &f.ulpdu).eq(&ulpdus));
            assert!(whole.iter().all(|f| (f.crc == FpduCrc::Good) == with_crc && f.crc != FpduCrc::Bad));
            for cut in 0..=stream.len() {
                let mut deframer = Deframer::new(markers, with_crc);
                let (a, b) = stream.split_at(cut);
                assert_eq!(push_all(&mut deframer, [a, b]), whole, "cut at {cut}");
                assert_eq!((deframer.pending(), deframer.offset()), (0, stream.len() as u64));
            }
            for size in 1..40 {
                let pieces = stream.chunks(size);
                assert_eq!(push_all(&mut Deframer::new(markers, with_crc), pieces), whole);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_ulpdus_any_cuts(
        ulpdus in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1600), 0..8),
        sizes in prop::collection::vec(1usize..1500, 1..50),
        markers: bool,
        with_crc: bool,
    ) {
        let stream = stream(&ulpdus, markers, with_crc);
        if markers {
            prop_assert_eq!(&receive(&stream), &ulpdus);
        }
        let (mut rest, mut fpdus) = (&stream[..], Vec::new());
        let mut deframer = Deframer::new(markers, with_crc);
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, behind) = rest.split_at(rest.len().min(*size));
            fpdus.extend(deframer.push(piece));
            rest = behind;
        }
        prop_assert!(fpdus.iter().all(|f| f.marker_mismatch.is_none() && f.crc != FpduCrc::Bad));
        prop_assert!(fpdus.iter().map(|f| &f.ulpdu).eq(&ulpdus));
    }

    #[test]
    fn hostile_streams(bytes in prop::collection::vec(any::<u8>(), 0..4000), markers: bool, small: bool) {
        let mut bytes = bytes;
        if small {
            // Small lengths, so that FPDUs do complete.
            for at in (0..bytes.len()).step_by(2) { bytes[at] = 0 }
        }
        let mut deframer = Deframer::new(markers, true);
        let fpdus = push_all(&mut deframer, bytes.chunks(97));
        let framed: u64 = fpdus.iter().map(|f| u64::from(f.wire_len)).sum();
        prop_assert_eq!(framed, deframer.offset());
        prop_assert_eq!(framed + deframer.pending() as u64, bytes.len() as u64);
        prop_assert!(deframer.pending() < 66_064);
    }
}
