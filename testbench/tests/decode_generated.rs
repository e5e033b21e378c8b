//! The decoder against captures made here: markers, losses of the capture, disorder, cuts and hostile bytes.

use ironwarp_proto::ddp::DdpHeader;
use ironwarp_proto::mpa::connect::{Enhanced, MpaFlags, MpaFrame, MpaKind};
use ironwarp_proto::mpa::fpdu;
use ironwarp_proto::mpa::marker::{self, MarkerPhase};
use ironwarp_proto::mpa::stream::FpduCrc;
use ironwarp_proto::rdmap::{self, AtomicRequest, AtomicResponse, ImmediateData, Opcode, ReadRequest};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::terminate::{Terminate, TerminateError};
use ironwarp_proto::wire::eth::{ETHERTYPE_IPV4, EthHeader, MacAddr};
use ironwarp_proto::wire::ipv4::{Ipv4Header, PROTOCOL_TCP};
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader, TcpOptions};
use ironwarp_sim::decode::{CaptureError, Decoder, Detail, Event, decode_file};
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

const PORTS: [u16; 2] = [40_000, 7001];
/// Close to the wrap, so that it is crossed.
const FIRST_SEQS: [u32; 2] = [0xffff_fc00, 77];

/// A segment from end 0 (the initiator) or 1, whose ports are `ports`.
fn segment(
    ports: [u16; 2],
    from: usize,
    seq: Seq,
    ack: Option<Seq>,
    flags: TcpFlags,
    payload: &[u8],
) -> Vec<u8> {
    let ips = [Ipv4Addr::new(10, 7, 0, 2), Ipv4Addr::new(10, 7, 0, 1)];
    let (src, dst) = (ips[from], ips[1 - from]);
    let header = TcpHeader {
        src_port: ports[from],
        dst_port: ports[1 - from],
        seq,
        ack: ack.unwrap_or_default(),
        flags: if ack.is_some() { flags | TcpFlags::ACK } else { flags },
        window: 1000,
        urgent: 0,
        options: TcpOptions::default(),
        header_len: 0,
    };
    let mut tcp = Vec::new();
    header.emit(src, dst, payload, &mut tcp);
    let mut frame = Vec::new();
    EthHeader { dst: MacAddr([2; 6]), src: MacAddr([4; 6]), ethertype: ETHERTYPE_IPV4 }.emit(&mut frame);
    let ip = Ipv4Header {
        src,
        dst,
        protocol: PROTOCOL_TCP,
        ttl: 64,
        id: 0,
        dscp_ecn: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        header_len: 0,
        total_len: 0,
    };
    ip.emit(tcp.len() as u16, &mut frame);
    frame.extend(tcp);
    frame
}

/// A connection as it is captured: frames, and who sends what next.
struct Connection {
    ports: [u16; 2],
    next: [Seq; 2],
    frames: Vec<Vec<u8>>,
}

impl Connection {
    fn open(ports: [u16; 2], first: [u32; 2]) -> Connection {
        let first = first.map(Seq);
        let mut connection = Connection { ports, next: first.map(|seq| seq + 1), frames: Vec::new() };
        connection.frame(0, first[0], None, TcpFlags::SYN, &[]);
        connection.frame(1, first[1], Some(first[0] + 1), TcpFlags::SYN, &[]);
        connection.frame(0, first[0] + 1, Some(first[1] + 1), TcpFlags::default(), &[]);
        connection
    }

    fn frame(&mut self, from: usize, seq: Seq, ack: Option<Seq>, flags: TcpFlags, payload: &[u8]) {
        self.frames.push(segment(self.ports, from, seq, ack, flags, payload));
    }

    /// Sends bytes in segments of at most `mss`.
    fn send(&mut self, from: usize, bytes: &[u8], mss: usize) {
        for piece in bytes.chunks(mss) {
            let (seq, ack) = (self.next[from], self.next[1 - from]);
            self.frame(from, seq, Some(ack), TcpFlags::PSH, piece);
            self.next[from] = seq + piece.len() as u32;
        }
    }
}

/// How a conversation is held. `markers[end]`: that end wants them in what it receives.
#[derive(Debug, Clone, Copy)]
struct Manner {
    markers: [bool; 2],
    crc: bool,
    /// Segment size, and whether every FPDU begins a segment.
    mss: usize,
    aligned: bool,
}

const PLAIN: Manner = Manner { markers: [false; 2], crc: true, mss: 1448, aligned: true };

fn mpa(kind: MpaKind, manner: Manner, end: usize) -> Vec<u8> {
    let enhanced = Enhanced { ird: 4, ord: 5, ..Enhanced::default() };
    let frame = MpaFrame {
        kind,
        flags: MpaFlags {
            markers: manner.markers[end],
            // One of the two is enough.
            crc: manner.crc && end == 1,
            reject: false,
            enhanced: true,
        },
        reserved: 0,
        revision: 2,
        private_data: [&enhanced.to_bytes()[..], b"hello"].concat(),
    };
    let mut bytes = Vec::new();
    frame.emit(&mut bytes).unwrap();
    bytes
}

/// One ULPDU of every kind, some longer than a segment.
fn ulpdus() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for (opcode, msn) in Opcode::ALL.into_iter().zip(1..) {
        let mut payload = Vec::new();
        match opcode {
            Opcode::ReadRequest => {
                let read = ReadRequest {
                    sink_stag: 1,
                    sink_to: u64::MAX - 1,
                    size: 3,
                    source_stag: 4,
                    source_to: 1 << 63,
                };
                read.emit(&mut payload);
            }
            Opcode::AtomicRequest => AtomicRequest {
                opcode: 2,
                request_id: 9,
                stag: 8,
                to: 64,
                add_or_swap: u64::MAX,
                add_or_swap_mask: 2,
                compare: 3,
                compare_mask: 4,
            }
            .emit(&mut payload),
            Opcode::AtomicResponse => AtomicResponse { request_id: 9, original: 5 }.emit(&mut payload),
            Opcode::ImmediateData | Opcode::ImmediateDataSolicited => {
                ImmediateData(*b"immediat").emit(&mut payload);
            }
            Opcode::Terminate => {
                let terminate = Terminate {
                    error: TerminateError::DdpInvalidStag,
                    segment_len: Some(100),
                    ddp_header: vec![0x81; 14],
                    rdmap_header: Vec::new(),
                };
                terminate.emit(&mut payload);
            }
            _ => payload = (0..700 * usize::from(opcode as u8 % 4) + 5).map(|at| at as u8).collect(),
        }
        let rdmap_control = rdmap::control(opcode);
        let header = match opcode.queue_number() {
            None => {
                DdpHeader::Tagged { last: true, version: 1, rdmap_control, stag: 0xdead_beef, to: 1 << 40 }
            }
            Some(qn) => {
                let inv_stag = if opcode.invalidates() { 0xabcd } else { 0 };
                DdpHeader::Untagged { last: true, version: 1, rdmap_control, inv_stag, qn, msn, mo: 0 }
            }
        };
        let mut ulpdu = Vec::new();
        header.emit(&mut ulpdu);
        ulpdu.extend(payload);
        messages.push(ulpdu);
    }
    messages
}

/// A connection on which both ends send one message of every kind, in turn, `rounds` times.
fn conversation(manner: Manner, rounds: usize) -> Connection {
    let mut connection = Connection::open(PORTS, FIRST_SEQS);
    connection.send(0, &mpa(MpaKind::Request, manner, 0), manner.mss);
    connection.send(1, &mpa(MpaKind::Reply, manner, 1), manner.mss);
    let mut phases = [MarkerPhase::START; 2];
    let mut streams = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ulpdu in ulpdus() {
            for end in [0, 1] {
                let out = &mut streams[end];
                if manner.markers[1 - end] {
                    phases[end] = marker::emit(&[&ulpdu], manner.crc, phases[end], out).unwrap();
                } else {
                    fpdu::emit(&[&ulpdu], manner.crc, out).unwrap();
                }
                if manner.aligned {
                    connection.send(end, out, manner.mss);
                    out.clear();
                }
            }
        }
    }
    for end in [0, 1] {
        connection.send(end, &streams[end], manner.mss);
    }
    connection
}

fn decode(frames: &[Vec<u8>]) -> Vec<Event> {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        events.extend(decoder.frame(Duration::from_micros(at as u64), frame));
    }
    events.extend(decoder.finish());
    events.sort_by_key(|event| event.stamp.frame);
    events
}

/// What an end says, without when.
fn said(events: &[Event], end: usize) -> Vec<Detail> {
    events.iter().filter(|e| e.src.port() == PORTS[end]).map(|e| e.detail.clone()).collect()
}

/// The ends say the same in both.
fn assert_same(events: &[Event], expected: &[Event], what: &str) {
    for end in [0, 1] {
        assert_eq!(said(events, end), said(expected, end), "{what}");
    }
}

#[test]
fn every_message_in_every_manner() {
    for markers in [[false, false], [true, false], [false, true], [true, true]] {
        for crc in [false, true] {
            for mss in [1448, 536, 13, 1] {
                for aligned in [false, true] {
                    let manner = Manner { markers, crc, mss, aligned };
                    let events = decode(&conversation(manner, 2).frames);
                    for end in [0, 1] {
                        let said = said(&events, end);
                        assert_eq!(said.len(), 1 + 2 * 12, "{manner:?}");
                        assert!(
                            matches!(&said[0], Detail::Mpa(frame) if frame.private_data.ends_with(b"hello"))
                        );
                        for (detail, ulpdu) in said[1..].iter().zip(ulpdus().iter().cycle()) {
                            let Detail::Segment(segment) = detail else { panic!("{detail:?}") };
                            assert_eq!(segment.ulpdu_len as usize, ulpdu.len());
                            assert!(ulpdu.ends_with(&segment.payload) && segment.is_regular());
                            assert_eq!(segment.crc, if crc { FpduCrc::Good } else { FpduCrc::None });
                            assert_eq!(segment.marker_mismatch, None);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn events_carry_the_frame_that_completes_them() {
    let events = decode(&conversation(PLAIN, 1).frames);
    assert_eq!((events[0].stamp.frame, events[0].stamp.time), (4, 3000));
    assert!(events.is_sorted_by_key(|event| event.stamp.frame));
    let value = serde_json::to_value(&events[2]).unwrap();
    assert_eq!(value["kind"], "Write");
    assert_eq!(value["stag"], 0xdead_beefu32);
    assert_eq!(value["to"], 1u64 << 40);
    let read = serde_json::to_value(&events[4]).unwrap();
    assert_eq!((read["sink_to"].as_u64(), read["src_to"].as_u64()), (Some(u64::MAX - 1), Some(1 << 63)));
    let terminate = events.iter().find(|event| event.kind() == "Terminate").unwrap();
    let value = serde_json::to_value(terminate).unwrap();
    assert_eq!(value["name"], "DDP tagged buffer error: invalid STag");
    assert_eq!((value["layer"].as_u64(), value["ddp_len"].as_u64()), (Some(1), Some(100)));
    for event in &events {
        assert!(event.to_string().contains(event.kind()));
    }
}

#[test]
fn retransmission_overlap_and_disorder() {
    for markers in [false, true] {
        let manner = Manner { markers: [markers; 2], mss: 700, ..PLAIN };
        let connection = conversation(manner, 3);
        let expected = decode(&connection.frames);
        let setup = 5;
        let mut rng = SmallRng::seed_from_u64(7);
        for round in 0..50 {
            let mut frames = connection.frames.clone();
            // Every frame perhaps twice, then all within a window of eight in any order.
            for at in (setup..frames.len()).rev() {
                if rng.random_bool(0.3) {
                    let copy = frames[at].clone();
                    frames.insert(rng.random_range(at..=frames.len().min(at + 10)), copy);
                }
            }
            for window in frames[setup..].chunks_mut(8) {
                window.shuffle(&mut rng);
            }
            assert_same(&decode(&frames), &expected, &format!("round {round}"));
        }
    }
    // The same stream cut in two ways: every byte comes twice, in overlapping segments.
    let mut thirds = conversation(Manner { mss: 300, aligned: false, ..PLAIN }, 2);
    let expected = decode(&thirds.frames);
    let other = conversation(Manner { mss: 479, aligned: false, ..PLAIN }, 2);
    let mut frames: Vec<_> = thirds.frames.drain(..5).collect();
    let (mut a, mut b) = (thirds.frames.into_iter(), other.frames.into_iter().skip(5));
    loop {
        let (first, second) = (a.next(), b.next());
        if first.is_none() && second.is_none() {
            break;
        }
        frames.extend(first.into_iter().chain(second));
    }
    assert_same(&decode(&frames), &expected, "overlap");
}

#[test]
fn a_corrupted_segment_is_not_believed() {
    let connection = conversation(PLAIN, 1);
    let expected = decode(&connection.frames);
    let mut frames = connection.frames;
    let mut bad = frames[6].clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    frames.insert(6, bad);
    assert_same(&decode(&frames), &expected, "a bit flipped on the way, then sent again");
}

#[test]
fn captures_that_begin_late() {
    for markers in [false, true] {
        for crc in [false, true] {
            for aligned in [false, true] {
                let manner = Manner { markers: [markers; 2], crc, aligned, mss: 1448 };
                let connection = conversation(manner, 4);
                let expected = decode(&connection.frames);
                for skip in 0..connection.frames.len() {
                    let events = decode(&connection.frames[skip..]);
                    for end in [0, 1] {
                        let (got, all) = (said(&events, end), said(&expected, end));
                        if markers {
                            // Without the MPA exchange markers are not known of; FPDUs without any are found all the
                            // same.
                            let mut rest = all.iter();
                            let right = got.iter().all(|detail| rest.any(|other| other == detail));
                            assert!(right, "{manner:?}, from frame {skip}");
                        } else {
                            assert!(all.ends_with(&got), "{manner:?}, from frame {skip}");
                        }
                        if aligned && !markers && skip + 20 < connection.frames.len() {
                            assert!(!got.is_empty(), "{manner:?}, from frame {skip}");
                        }
                    }
                    if skip <= 3 {
                        assert_same(&events, &expected, "before the MPA exchange");
                    }
                }
            }
        }
    }
}

#[test]
fn captures_that_miss_frames() {
    for markers in [false, true] {
        let manner = Manner { markers: [markers; 2], ..PLAIN };
        let connection = conversation(manner, 6);
        let expected = decode(&connection.frames);
        for missing in 5..connection.frames.len() {
            let mut frames = connection.frames.clone();
            frames.remove(missing);
            let events = decode(&frames);
            for end in [0, 1] {
                let (got, all) = (said(&events, end), said(&expected, end));
                // At most the two FPDUs next to the gap are lost, and nothing is made up.
                assert!(got.len() + 2 >= all.len(), "without {missing}: {} of {}", got.len(), all.len());
                let mut rest = all.iter();
                assert!(got.iter().all(|detail| rest.any(|other| other == detail)), "without {missing}");
            }
        }
        // The MPA Reply missed: markers are then not known of.
        let mut frames = connection.frames.clone();
        frames.remove(4);
        let events = decode(&frames);
        assert!(matches!(events[0].detail, Detail::Mpa(_)));
        if !markers {
            assert_eq!(events.len() + 1, expected.len());
        }
    }
}

#[test]
fn a_new_connection_on_the_same_ports() {
    let mut frames = conversation(PLAIN, 1).frames;
    let once = decode(&frames);
    let mut again = conversation(Manner { crc: false, ..PLAIN }, 1);
    let mut other = Connection::open(PORTS, [5, 0xffff_0000]);
    other.send(0, b"GET / HTTP/1.0\r\n\r\n", 1448);
    frames.extend(other.frames);
    frames.append(&mut again.frames);
    assert_eq!(decode(&frames).len(), 2 * once.len());
}

#[test]
fn a_rejected_connection() {
    let mut connection = Connection::open(PORTS, FIRST_SEQS);
    connection.send(0, &mpa(MpaKind::Request, PLAIN, 0), 1448);
    let mut reply = mpa(MpaKind::Reply, PLAIN, 1);
    reply[16] |= 0x20;
    connection.send(1, &reply, 1448);
    connection.send(0, b"\0\x0e\xc1\x40 and then something that is not MPA at all, for long enough", 1448);
    let events = decode(&connection.frames);
    assert_eq!(events.iter().map(Event::kind).collect::<Vec<_>>(), ["MpaRequest", "MpaReply"]);
}

#[test]
fn other_traffic_is_left_alone() {
    let mut rng = SmallRng::seed_from_u64(3);
    let http = b"GET /index.html HTTP/1.1\r\nHost: example\r\nAccept: */*\r\n\r\n".repeat(400);
    let mut noise = vec![0; 200_000];
    rng.fill(&mut noise[..]);
    // Length, zero, the control bytes of a Send: what looks most like an FPDU, but for its CRC.
    let look_alike: Vec<u8> = (0..2000u32).flat_map(|n| [0, 20, 0x41, 0x43, n as u8, 1, 2, 3]).collect();
    let zeros = vec![0; 50_000];
    for payload in [&http[..], &noise, &look_alike, &zeros, b"SSH-2.0-OpenSSH_9.2\r\n", b"MPA ID Req Fran"] {
        for syn in [false, true] {
            let mut connection = Connection::open([50_000, 80], [1, 2]);
            for end in [0, 1] {
                connection.send(end, payload, 1448);
                connection.send(end, payload, 57);
            }
            let frames = if syn { &connection.frames[..] } else { &connection.frames[3..] };
            assert_eq!(decode(frames), [], "{:?}", &payload[..4]);
        }
    }
    // Mixed with iWARP, frame by frame.
    let mut other = Connection::open([50_000, 80], [1, 2]);
    other.send(0, &http, 100);
    let iwarp = conversation(PLAIN, 2).frames;
    let mixed: Vec<_> = iwarp.iter().zip(&other.frames).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    let events = decode(&mixed);
    assert_same(&events, &decode(&iwarp[..mixed.len() / 2]), "mixed");
    assert!(events.iter().all(|event| event.src.port() != 80 && event.dst.port() != 80));
}

/// A classic pcap file. Times are a microsecond apart.
fn pcap(frames: &[Vec<u8>], big: bool, nanoseconds: bool) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = word(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
    file.extend(if big { [0, 2, 0, 4] } else { [2, 0, 4, 0] });
    file.extend([0, 0, 65_535, 1].map(word).concat());
    for (at, frame) in frames.iter().enumerate() {
        let time = at as u32 * if nanoseconds { 1000 } else { 1 };
        let length = frame.len() as u32;
        file.extend([1_700_000_000, time, length, length].map(word).concat());
        file.extend(frame);
    }
    file
}

/// A pcapng file, the frames on the second of two interfaces, whose times are in units of 10^-`digits` s.
fn pcapng(frames: &[Vec<u8>], big: bool, digits: u8) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let length = word(12 + body.len() as u32);
        file.extend([&word(kind)[..], &length, body, &length].concat());
    };
    let version = [half(1), half(0)].concat();
    block(0x0a0d_0d0a, &[&word(0x1a2b_3c4d)[..], &version, &[0xff; 8]].concat());
    let interface = |link: u16, options: &[u8]| [&half(link)[..], &[0; 2], &word(0), options].concat();
    block(1, &interface(147, &[]));
    let resolution = [&half(9)[..], &half(1), &[digits, 0, 0, 0], &half(0), &half(0)].concat();
    block(1, &interface(1, &resolution));
    for (at, frame) in frames.iter().enumerate() {
        let time = (1_700_000_000_000_000 + at as u64) * 10u64.pow(u32::from(digits) - 6);
        let length = frame.len() as u32;
        let words = [1, (time >> 32) as u32, time as u32, length, length].map(word).concat();
        let mut body = [&words[..], frame].concat();
        body.resize(body.len().next_multiple_of(4), 0);
        block(6, &body);
        // A kind of block nobody knows.
        block(0x0bad, &[1, 2, 3, 4]);
    }
    file
}

/// A file that is gone after the test.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str) -> TestFile {
        TestFile(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id())))
    }

    fn decode(&self, bytes: &[u8]) -> Result<(Vec<Event>, Option<String>), CaptureError> {
        fs::write(&self.0, bytes).unwrap();
        decode_file(&self.0).map(|decoded| (decoded.events, decoded.warning))
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn every_file_format() {
    let frames = conversation(PLAIN, 1).frames;
    let expected = decode(&frames);
    let file = TestFile::new("formats");
    for big in [false, true] {
        for bytes in [
            pcap(&frames, big, false),
            pcap(&frames, big, true),
            pcapng(&frames, big, 6),
            pcapng(&frames, big, 9),
        ] {
            assert_eq!(file.decode(&bytes).unwrap(), (expected.clone(), None));
        }
    }
}

#[test]
fn files_cut_anywhere_and_garbage() {
    let frames = conversation(PLAIN, 1).frames;
    let expected = decode(&frames);
    let file = TestFile::new("cut");
    for bytes in [pcap(&frames, false, false), pcapng(&frames, true, 9)] {
        let header = if bytes[0] == 0x0a { 28 } else { 24 };
        let mut whole_files = 0;
        for cut in (0..bytes.len()).step_by(7) {
            match file.decode(&bytes[..cut]) {
                Err(error) => {
                    assert!(cut < header && matches!(error, CaptureError::NotACapture), "{error}");
                }
                Ok((events, warning)) => {
                    assert!(cut >= header && expected.starts_with(&events));
                    // Between two frames a cut cannot be seen.
                    whole_files += usize::from(warning.is_none());
                    assert!(warning.is_none_or(|text| text.contains("cut off")));
                }
            }
        }
        assert!(whole_files < 40);
    }
    let mut noise = vec![0; 5000];
    SmallRng::seed_from_u64(1).fill(&mut noise[..]);
    for garbage in [&noise[..], b"", b"no", b"hello, this is not a capture at all"] {
        assert!(matches!(file.decode(garbage), Err(CaptureError::NotACapture)));
    }
    assert!(matches!(decode_file(&file.0.join("absent")), Err(CaptureError::Io(_))));
}

proptest! {
    #[test]
    fn hostile_frames(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        prop_assert_eq!(decode(&frames), []);
    }

    /// Frames of a conversation with bytes changed, checksums and all.
    #[test]
    fn damaged_conversations(
        markers: bool,
        crc: bool,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..30),
        drop in any::<prop::sample::Index>(),
    ) {
        let manner = Manner { markers: [markers; 2], crc, mss: 400, aligned: false };
        let mut frames = conversation(manner, 1).frames;
        for (frame, byte, value) in hits {
            let frame = frame.get_mut(&mut frames);
            *byte.get_mut(frame) = value;
        }
        frames.remove(drop.index(frames.len()));
        for event in decode(&frames) {
            let _ = (event.to_string(), serde_json::to_string(&event).unwrap());
        }
    }

    /// A peer that follows the MPA exchange with anything.
    #[test]
    fn hostile_streams(
        markers: bool,
        crc: bool,
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        mss in 1usize..1448,
    ) {
        let manner = Manner { markers: [markers; 2], crc, mss: 1448, aligned: true };
        let mut connection = conversation(manner, 0);
        let mut short = bytes.clone();
        for at in (0..short.len()).step_by(4) { short[at] = 0 }
        connection.send(0, &bytes, mss);
        connection.send(1, &short, mss);
        for event in decode(&connection.frames) {
            let _ = (event.to_string(), serde_json::to_string(&event).unwrap());
        }
    }

    #[test]
    fn hostile_files(mut tail: Vec<u8>, kind in 0usize..3, hits: [(prop::sample::Index, u8); 8]) {
        let frames = conversation(PLAIN, 1).frames;
        let file = TestFile::new("hostile");
        let mut bytes = match kind {
            0 => pcap(&frames[..9], false, true),
            1 => pcapng(&frames[..9], true, 9),
            _ => pcapng(&frames[..9], false, 6),
        };
        bytes.append(&mut tail);
        for (at, value) in hits {
            *at.get_mut(&mut bytes) = value;
        }
        let _ = file.decode(&bytes);
    }
}
