//! What Linux siw said in the captures, said again to the device, which takes the place of the other end.

use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::context::ErrorRecord;
use ironwarp_proto::abi::event::{ErrorCause, EventKind};
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::abi::send_entry::Opcode as Verb;
use ironwarp_proto::ddp::{DdpHeader, QN_TERMINATE};
use ironwarp_proto::mpa::connect::{MpaFrame, MpaKind};
use ironwarp_proto::rdmap::Opcode;
use ironwarp_proto::terminate::{Terminate, TerminateError as E};
use ironwarp_proto::wire::tcp::TcpFlags;
use ironwarp_testbench::replay::{
    Connection, Cut, Message, Place, Replay, Setup, Side, captures, mpa_frames,
};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// A capture whose initiator does something wrong on purpose.
struct Fault {
    capture: &'static str,
    /// What RFC 5040, 5041 and 5044 call it.
    error: E,
    /// The FPDU at fault.
    fpdu: usize,
    /// Longest Send that the responder takes; 0: none.
    receive: Option<u32>,
    /// The responder's region has no rights for the peer.
    private: bool,
    /// What siw says: layer, type and code. `None`: it does not mind.
    siw: Option<(u8, u8, u8)>,
}

const FAULT: Fault =
    Fault { capture: "", error: E::MpaCrc, fpdu: 1, receive: None, private: false, siw: Some((2, 0, 2)) };
const FAULTS: [Fault; 10] = [
    Fault { capture: "crc-error-send", ..FAULT },
    Fault { capture: "term-write-bad-stag-stock", error: E::DdpInvalidStag, siw: Some((1, 1, 0)), ..FAULT },
    Fault { capture: "term-read-bad-stag-stock", error: E::RdmapInvalidStag, siw: Some((0, 1, 0)), ..FAULT },
    Fault { capture: "term-write-bounds-stock", error: E::DdpBounds, fpdu: 0, siw: Some((1, 1, 1)), ..FAULT },
    Fault {
        capture: "term-read-bounds-stock",
        error: E::RdmapBounds,
        fpdu: 0,
        siw: Some((0, 1, 1)),
        ..FAULT
    },
    // siw has one code for no buffer and for too small a buffer.
    Fault {
        capture: "term-send-too-long-stock",
        error: E::DdpTooLong,
        receive: Some(256),
        siw: Some((1, 2, 2)),
        ..FAULT
    },
    Fault {
        capture: "term-send-no-recv-stock",
        error: E::DdpNoBuffer,
        fpdu: 0,
        receive: Some(0),
        siw: Some((1, 2, 2)),
        ..FAULT
    },
    // DDP has no code for missing rights.
    Fault {
        capture: "term-write-no-access-stock",
        error: E::DdpInvalidStag,
        fpdu: 0,
        private: true,
        siw: Some((1, 1, 0)),
        ..FAULT
    },
    // siw serves the Read.
    Fault {
        capture: "read-no-access-stock",
        error: E::RdmapAccessRights,
        fpdu: 0,
        private: true,
        siw: None,
        ..FAULT
    },
    // siw goes on. The data of the message is delivered, but the message is not completed.
    Fault { capture: "sendinv-bad-stag-stock", error: E::RdmapCannotInvalidate, fpdu: 0, siw: None, ..FAULT },
];

fn stem(connection: &Connection) -> &str {
    connection.name.split(' ').next().expect("a name")
}

fn connections() -> Vec<Connection> {
    captures().iter().flat_map(|path| Connection::all(path)).collect()
}

/// Every connection with every end that the device can take without meeting an error.
fn good() -> Vec<(Connection, Side)> {
    let is_good = |connection: &Connection, side: Side| {
        side == Side::Initiator || FAULTS.iter().all(|fault| fault.capture != stem(connection))
    };
    let mut all = Vec::new();
    for side in Side::BOTH {
        all.extend(connections().into_iter().map(|connection| (connection, side)));
    }
    all.retain(|(connection, side)| is_good(connection, *side));
    assert!(all.len() >= 8, "captures are missing");
    all
}

fn of(messages: &[Message], opcode: Opcode) -> impl Iterator<Item = &Message> {
    messages.iter().filter(move |message| message.opcode == opcode)
}

fn verb_of(opcode: Opcode) -> Verb {
    match opcode {
        Opcode::Send => Verb::Send,
        Opcode::SendInvalidate => Verb::SendInvalidate,
        Opcode::SendSolicited => Verb::SendSolicited,
        Opcode::SendSolicitedInvalidate => Verb::SendSolicitedInvalidate,
        Opcode::Write => Verb::Write,
        Opcode::ReadRequest => Verb::Read,
        other => panic!("{other:?} is not posted"),
    }
}

/// Length of an operation as its completion tells it.
fn length_of(message: &Message) -> u32 {
    message.read_request().map_or(message.payload.len() as u32, |read| read.size)
}

/// Replay a good connection and check all that the device did; what its counters say of the order of segments.
fn accept(connection: &Connection, side: Side, deliver: &mut dyn FnMut(&[Cut]) -> Vec<Cut>) -> (u32, u32) {
    let name = format!("{} at the {side:?}", connection.name);
    let (own, peer) = (connection.end(side), connection.end(side.other()));
    let mut replay = Replay::new(connection, side, Setup::default());
    replay.run(deliver);

    // Nothing stops it but a Terminate, which it reports as it came.
    let terminate = of(&peer.messages, Opcode::Terminate).next();
    assert_eq!(replay.stopped(), terminate.map(|_| ErrorCause::TerminateReceived), "{name}");
    let told = terminate.map(|terminate| ErrorRecord::Received(terminate.payload.clone()));
    assert_eq!(replay.record, told, "{name}");

    // Each Send completes a receive.
    let sends: Vec<_> = peer.messages.iter().filter(|message| message.opcode.is_send()).collect();
    assert_eq!(replay.received.len(), sends.len(), "{name}");
    for (index, (done, send)) in replay.received.iter().zip(sends).enumerate() {
        assert!(send.whole, "{name}: siw finishes its Sends");
        let Place::Untagged { inv_stag, .. } = send.place else { panic!("{name}: tagged Send") };
        assert_eq!(done.status, Status::Ok, "{name}");
        assert_eq!((done.index, done.length as usize), (index as u16, send.payload.len()), "{name}");
        assert_eq!(done.solicited, send.opcode.is_solicited(), "{name}");
        assert_eq!(done.invalidated, send.opcode.invalidates().then_some(inv_stag), "{name}");
    }

    // The device sent what siw sent in its place: its own work in order, and an answer to each Read Request.
    let is_own = |message: &&Message| {
        message.whole && !matches!(message.opcode, Opcode::ReadResponse | Opcode::Terminate)
    };
    let work: Vec<_> = own.messages.iter().filter(is_own).collect();
    assert_eq!(replay.posted.iter().collect::<Vec<_>>(), work, "{name}");
    let sent: Vec<_> = replay.sent.iter().filter(|message| message.opcode != Opcode::ReadResponse).collect();
    assert_eq!(sent, work, "{name}");
    let answers: Vec<_> = of(&replay.sent, Opcode::ReadResponse).cloned().collect();
    assert_eq!(answers, replay.owed, "{name}");
    assert_eq!(answers.len(), of(&peer.messages, Opcode::ReadRequest).count(), "{name}");
    for (answer, captured) in answers.iter().zip(of(&own.messages, Opcode::ReadResponse)) {
        assert_eq!(answer.place, captured.place, "{name}");
        assert!(answer.payload.starts_with(&captured.payload), "{name}");
        assert_eq!(answer.payload.len() == captured.payload.len(), captured.whole, "{name}");
    }

    // Its work completes in order, up to the first Read without response.
    let answered = of(&peer.messages, Opcode::ReadResponse).filter(|message| message.whole).count();
    let reads_open = of(&own.messages, Opcode::ReadRequest).count() > answered;
    let mut reads = 0;
    let complete = work.iter().take_while(|message| {
        reads += usize::from(message.opcode == Opcode::ReadRequest);
        reads <= answered
    });
    let complete: Vec<_> =
        complete.map(|message| (verb_of(message.opcode) as u8, length_of(message), Status::Ok)).collect();
    let done: Vec<_> = replay.done.iter().map(|done| (done.opcode, done.length, done.status)).collect();
    assert_eq!(done, complete, "{name}");

    // Both streams end as captured; with Reads open ours has no good end.
    let closed: Vec<_> = replay.events.iter().filter(|event| event.kind == EventKind::PeerClosed).collect();
    assert_eq!(closed.len(), usize::from(peer.fin), "{name}");
    let cut_fpdu = peer.fpdus.last().map_or(0, |(behind, _)| *behind) != peer.stream.len();
    for closed in closed {
        // A Write that is cut has no state at its target: it does not count as a message.
        let code = u8::from(cut_fpdu) | u8::from(reads_open) << 2;
        assert_eq!(closed.code, code, "{name}: bits of PeerClosed");
    }
    let fin_leaves = own.fin && (!reads_open || terminate.is_some());
    assert_eq!(replay.fin, fin_leaves, "{name}");
    let acked = replay.events.iter().filter(|event| event.kind == EventKind::FinAcked).count();
    assert_eq!(acked, usize::from(fin_leaves), "{name}");
    let rig = &mut replay.scene.rig;
    assert_eq!(rig.counter(Counter::CrcErrors), 0, "{name}");
    (rig.counter(Counter::UnalignedFpdus), rig.counter(Counter::OutOfOrder))
}

#[test]
fn good_connections_are_accepted_as_captured() {
    let mut options = 0;
    for (connection, side) in good() {
        let mut as_captured = |burst: &[Cut]| {
            options += burst.iter().filter(|cut| cut.options.len() == 12).count();
            burst.to_vec()
        };
        accept(&connection, side, &mut as_captured);
    }
    assert!(options > 0, "segments came with timestamps");
}

/// The bytes of a run of segments, cut at random.
fn cut_anew(burst: &[Cut], rng: &mut SmallRng) -> Vec<Cut> {
    let parts = || burst.iter().filter(|cut| cut.occupies()).map(|cut| &cut.bytes);
    let mut start = parts().map(|bytes| bytes.start).min().expect("a run of segments");
    let end = parts().map(|bytes| bytes.end).max().expect("a run of segments");
    let fin = burst.iter().any(Cut::fin);
    let mut cuts = Vec::new();
    while start < end {
        let longest = if rng.random_bool(0.3) { 8 } else { 1460 };
        let behind = end.min(start + rng.random_range(1..=longest));
        let push = if rng.random() { TcpFlags::PSH } else { TcpFlags(0) };
        cuts.push(Cut { bytes: start..behind, flags: TcpFlags::ACK | push, options: Vec::new() });
        start = behind;
    }
    if fin {
        cuts.push(Cut { bytes: end..end, flags: TcpFlags::ACK | TcpFlags::FIN, options: Vec::new() });
    }
    cuts
}

#[test]
fn good_connections_are_accepted_however_they_are_cut() {
    let mut unaligned = 0;
    for (seed, (connection, side)) in (1..).zip(good()) {
        eprintln!("{} at the {side:?}: seed {seed}", connection.name);
        let mut rng = SmallRng::seed_from_u64(seed);
        unaligned += accept(&connection, side, &mut |burst| cut_anew(burst, &mut rng)).0;
    }
    assert!(unaligned > 0, "segments ended inside FPDUs");
}

#[test]
fn good_connections_are_accepted_with_segments_doubled_lost_and_out_of_order() {
    let mut out_of_order = 0;
    for (seed, (connection, side)) in (1000..).zip(good()) {
        eprintln!("{} at the {side:?}: seed {seed}", connection.name);
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut disturb = |burst: &[Cut]| {
            let mut cuts = if rng.random() { burst.to_vec() } else { cut_anew(burst, &mut rng) };
            let doubled: Vec<_> = cuts.iter().filter(|_| rng.random_bool(0.3)).cloned().collect();
            cuts.retain(|_| rng.random_bool(0.9));
            cuts.extend(doubled);
            if rng.random() {
                cuts.shuffle(&mut rng);
            } else {
                cuts.chunks_mut(3).for_each(|few| few.shuffle(&mut rng));
            }
            cuts
        };
        out_of_order += accept(&connection, side, &mut disturb).1;
    }
    assert!(out_of_order > 0, "segments came out of order");
}

#[test]
fn a_wrong_message_is_answered_as_the_rfcs_say() {
    let mut played = 0;
    for connection in connections() {
        let Some(fault) = FAULTS.iter().find(|fault| fault.capture == stem(&connection)) else { continue };
        played += 1;
        let (name, siw, peer) =
            (&connection.name, connection.end(Side::Responder), connection.end(Side::Initiator));
        let setup = Setup {
            receive: fault.receive,
            private: fault.private,
            // Here the data is placed before the STag is looked at.
            fault: Some(fault.fpdu + usize::from(fault.error == E::RdmapCannotInvalidate)),
            hold: false,
        };
        let mut replay = Replay::new(&connection, Side::Responder, setup);
        replay.run(&mut |burst| burst.to_vec());
        assert_eq!(replay.stopped(), Some(ErrorCause::Detected), "{name}");

        // The Terminate is the last thing the device says, and names the segment.
        let (last, before) = replay.sent.split_last().expect("a Terminate");
        assert_eq!(last.opcode, Opcode::Terminate, "{name}");
        assert_eq!(last.place, Place::Untagged { qn: QN_TERMINATE, msn: 1, inv_stag: 0 }, "{name}");
        assert_eq!(before, replay.owed, "{name}: only what came before is answered");
        let terminate = Terminate::parse(&last.payload).expect("a Terminate");
        assert_eq!(terminate.error, fault.error, "{name}");
        let segment = &peer.fpdus[fault.fpdu].1;
        let header = segment.header.expect("a header");
        let mut header_bytes = Vec::new();
        header.emit(&mut header_bytes);
        if fault.error == E::MpaCrc {
            let nothing = (terminate.segment_len, terminate.ddp_header.len(), terminate.rdmap_header.len());
            assert_eq!(nothing, (None, 0, 0), "{name}: a broken segment is not to be quoted");
        } else {
            assert_eq!(terminate.segment_len.map(u32::from), Some(segment.ulpdu_len), "{name}");
            assert_eq!(terminate.ddp_header, header_bytes, "{name}");
            let is_read = segment.opcode == Some(Opcode::ReadRequest);
            let rdmap_header = if is_read { &segment.payload[..] } else { &[] };
            assert_eq!(terminate.rdmap_header, rdmap_header, "{name}");
        }

        // siw means the same where it says something, in its own byte order.
        let said = of(&siw.messages, Opcode::Terminate).next().map(|message| {
            let [first, code, ..] = message.payload[..] else { panic!("{name}: a short Terminate") };
            (first & 0x0f, first >> 4, code)
        });
        assert_eq!(said, fault.siw, "{name}");
        let same = said.is_some_and(|said| said == fault.error.to_wire());
        assert_eq!(same, fault.siw.is_some() && fault.error != E::DdpTooLong, "{name}");

        // The Sends before are complete, the one at fault is not.
        let good: Vec<_> = replay.received.iter().filter(|done| done.status == Status::Ok).collect();
        let is_end_of_send = |header: &DdpHeader, opcode: Option<Opcode>| {
            header.is_last() && opcode.is_some_and(Opcode::is_send)
        };
        let before = peer.fpdus[..fault.fpdu].iter();
        let expected =
            before.filter(|(_, s)| s.header.is_some_and(|header| is_end_of_send(&header, s.opcode)));
        assert_eq!(good.len(), expected.count(), "{name}");
        let failed: Vec<_> = replay.received.iter().map(|done| done.status).skip(good.len()).collect();
        let too_long = if fault.error == E::DdpTooLong { vec![Status::Length] } else { vec![] };
        assert_eq!(failed, too_long, "{name}");
        assert_eq!(
            replay.scene.rig.counter(Counter::CrcErrors),
            u32::from(fault.error == E::MpaCrc),
            "{name}"
        );

        // The connection still ends in good order.
        let closed = replay.events.iter().filter(|event| event.kind == EventKind::PeerClosed).count();
        assert_eq!((closed, replay.fin), (1, true), "{name}");
    }
    assert!(played >= 3, "captures are missing");
}

#[test]
fn a_responder_on_hold_does_not_speak_first_as_siw_does() {
    let mut played = 0;
    for connection in connections() {
        if connection.first_speaker() != Some(Side::Responder) {
            continue;
        }
        played += 1;
        for hold in [true, false] {
            let mut replay = Replay::new(&connection, Side::Responder, Setup { hold, ..Setup::default() });
            replay.speak();
            assert_eq!(replay.sent.is_empty(), hold, "{}", connection.name);
            assert!(!hold || replay.done.is_empty(), "{}", connection.name);
        }
    }
    // Only in the full set of captures.
    assert!(played > 0 || captures().len() < 30, "responder-ops is missing");
}

#[test]
fn the_mpa_frames_of_siw_parse() {
    let mut frames = 0;
    for path in captures() {
        for (_, _, frame) in mpa_frames(&path) {
            frames += 1;
            let mut bytes = Vec::new();
            frame.emit(&mut bytes).unwrap();
            assert_eq!(MpaFrame::parse(&bytes), Ok(Some((frame.clone(), bytes.len()))), "{path:?}");
            let (enhanced, data) = frame.enhanced().unwrap();
            assert_eq!(enhanced.is_some(), frame.revision == 2, "{path:?}");
            assert!(!frame.flags.markers, "{path:?}: siw never uses markers");
            assert!(frame.kind == MpaKind::Reply || !frame.flags.reject, "{path:?}");
            if frame.flags.reject && !data.is_empty() {
                assert_eq!(data, b"iwt-reject-reason", "{path:?}");
            }
        }
    }
    assert!(frames >= 12, "captures are missing");
}
