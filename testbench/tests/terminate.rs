//! Every error that a device can find, what it records of it, and the Terminate that software makes of the record.

use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::context::{Context, ErrorRecord, QpState, SAVE_TERMINATE};
use ironwarp_proto::abi::doorbell::qp as doorbell;
use ironwarp_proto::abi::event::{ErrorCause, EventKind, FlushCursors};
use ironwarp_proto::abi::field::bytes_of;
use ironwarp_proto::abi::region::{Region, access};
use ironwarp_proto::abi::regs::{Command, CommandStatus, Counter};
use ironwarp_proto::abi::send_entry::{Opcode as Verb, Payload, SendEntry, Sge};
use ironwarp_proto::ddp::{DdpHeader, QN_ATOMIC, QN_READ, QN_SEND, QN_TERMINATE};
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::rdmap::{self, AtomicRequest, AtomicResponse, ImmediateData, Opcode};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::terminate::{Terminate, TerminateError as E};
use ironwarp_proto::wire::tcp::TcpFlags;
use ironwarp_testbench::scene::*;

const SECOND: Nanos = 1_000_000_000;
/// MSN of the next Send: the scene has taken one.
const NEXT: u32 = 2;
/// A region of [`PD`] that may only be read.
const READ_ONLY: u32 = 0x00aa_2011;
/// A region of another protection domain.
const OTHER_PD: u32 = 0x00aa_2122;
/// A window of another QP.
const OTHER_QP: u32 = 0x00aa_2233;
/// A region that was revoked.
const REVOKED: u32 = 0x00aa_2344;
/// A region that reaches the end of the tagged offsets.
const LAST_TO: u32 = 0x00aa_2455;
/// A region at [`BASE`] that may be written, not read.
const WRITE_ONLY: u32 = 0x00aa_2566;

/// Which headers a Terminate for the error carries (RFC 5040 figure 10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carries {
    Nothing,
    Ddp,
    ReadRequest,
}
use Carries::{Ddp, Nothing, ReadRequest as WithRead};

/// A connection that has sent and received a little, with something unacknowledged and a receive buffer left.
fn scene_with(context: Context) -> Scene {
    let mut scene = Scene::with(context);
    let every = access::LOCAL_WRITE | access::REMOTE;
    let plain = Region {
        valid: true,
        access: every,
        pd: PD,
        length: LEN as u64,
        base: BASE,
        host: scene.memory.addr(),
        ..Region::default()
    };
    for region in [
        Region { stag: READ_ONLY, access: access::REMOTE_READ, ..plain },
        Region { stag: WRITE_ONLY, access: access::LOCAL_WRITE | access::REMOTE_WRITE, ..plain },
        Region { stag: OTHER_PD, pd: PD + 1, ..plain },
        Region { stag: OTHER_QP, window: true, qp: QP + 1, ..plain },
        Region { stag: REVOKED, ..plain },
        Region { stag: LAST_TO, base: u64::MAX - 7, length: 8, ..plain },
    ] {
        scene.rig.entry(&region);
    }
    assert_eq!(scene.rig.command(Command::Invalidate, 0, REVOKED), CommandStatus::Ok);
    for _ in 0..2 {
        scene.post_receive(0, 64);
    }
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 0, true), b"first");
    scene.post(send_inline(b"acknowledged"));
    scene.pump();
    scene.post(send_inline(b"on its way"));
    scene.lose();
    assert_eq!(scene.rig.completions(CQ, true).len(), 2);
    assert_eq!(scene.errors(), []);
    scene
}

fn error_record(error: E, carries: Carries, ulpdu: &[u8]) -> ErrorRecord {
    let header_len = if ulpdu.first().is_some_and(|control| control & 0x80 != 0) { 14 } else { 18 };
    let ddp = (carries != Nothing).then(|| (ulpdu.len() as u16, ulpdu[..header_len].to_vec()));
    let rdmap = (carries == WithRead).then(|| ulpdu[18..46].to_vec());
    ErrorRecord::Detected { error: error.to_wire(), ddp, rdmap }
}

/// The Terminate Header that software makes of a record.
fn terminate_of(record: &ErrorRecord) -> Vec<u8> {
    let ErrorRecord::Detected { error: (layer, etype, code), ddp, rdmap } = record.clone() else {
        panic!("{record:?}");
    };
    let (segment_len, ddp_header) = ddp.map_or((None, Vec::new()), |(len, header)| (Some(len), header));
    let error = E::from_wire(layer, etype, code);
    let terminate = Terminate { error, segment_len, ddp_header, rdmap_header: rdmap.unwrap_or_default() };
    let mut bytes = Vec::new();
    terminate.emit(&mut bytes);
    bytes
}

/// The connection has stopped with this record: nothing is placed or delivered any more, TCP goes on, the Terminate
/// leaves as software writes it, and FIN behind it.
fn check_stopped(mut scene: Scene, name: &str, expected: &ErrorRecord, cursors: FlushCursors) {
    assert_eq!(scene.errors(), [(ErrorCause::Detected, cursors)], "{name}");
    assert_eq!(scene.record().as_ref(), Some(expected), "{name}");
    assert_eq!(scene.rig.state(QP).state, QpState::Error, "{name}");
    let image = scene.image();
    // Good, and another error: neither is looked at.
    scene.send_ddp(tagged(Opcode::Write, STAG, BASE, true), &[0xee; 32]);
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, NEXT, 0, true), &[0xee; 32]);
    scene.send_ddp(tagged(Opcode::Write, STAG ^ 1, BASE, true), &[0xee; 32]);
    scene.post(send_inline(b"never sent"));
    let segments = scene.lose();
    assert_eq!(segments.last().map(|sent| sent.tcp.ack), Some(scene.peer.snd), "{name}: TCP acknowledges");
    assert!(segments.iter().all(|sent| sent.payload.is_empty()), "{name}: nothing new is started");
    assert_eq!(scene.image(), image, "{name}");
    assert_eq!((scene.errors(), scene.rig.completions(CQ, true)), (vec![], vec![]), "{name}");
    // The Terminate, lost once.
    let header = terminate_of(expected);
    scene.terminate(&header);
    scene.ring(doorbell::FIN, 0);
    assert!(!scene.lose().is_empty(), "{name}: a Terminate");
    assert_eq!(scene.rig.state(QP).state, QpState::Terminating, "{name}");
    let (sent, fpdus) = scene.pump_after(2 * SECOND);
    let got = segments_of(&fpdus);
    let last = got.last().expect("an FPDU");
    assert_eq!(*last, (untagged(Opcode::Terminate, QN_TERMINATE, 1, 0, true), header), "{name}");
    assert!(sent.iter().any(|sent| sent.tcp.flags.contains(TcpFlags::FIN)), "{name}: FIN follows");
    let events: Vec<EventKind> = scene.rig.events().iter().map(|event| event.kind).collect();
    assert_eq!(events, [EventKind::FinAcked], "{name}");
}

fn segments_of(fpdus: &[ironwarp_proto::mpa::stream::Fpdu]) -> Vec<(DdpHeader, Vec<u8>)> {
    ironwarp_testbench::scene::segments(fpdus)
}

/// Deliver one ULPDU and check everything about the error that it must cause.
fn check(mut scene: Scene, name: &str, ulpdu: &[u8], error: E, carries: Carries) {
    let image = scene.image();
    let receives = scene.rig.completions(CQ, true).len() as u16;
    scene.send_ulpdu(ulpdu);
    assert_eq!(scene.image(), image, "{name}: nothing is placed");
    assert_eq!(scene.rig.completions(CQ, true), [], "{name}: nothing is completed");
    let cursors = FlushCursors { sq_done: 1, rq_done: 1 + receives, srq_open: None };
    check_stopped(scene, name, &error_record(error, carries, ulpdu), cursors);
}

fn check_all(cases: &[(&str, Vec<u8>, E, Carries)]) {
    for (name, ulpdu, error, carries) in cases {
        check(scene_with(context()), name, ulpdu, *error, *carries);
    }
}

fn write(stag: u32, to: u64, len: usize) -> Vec<u8> {
    ulpdu(tagged(Opcode::Write, stag, to, true), &vec![0xdd; len])
}

#[test]
fn a_tagged_segment_must_name_a_valid_range_of_a_valid_stag() {
    let end = BASE + LEN as u64;
    check_all(&[
        ("wrong key", write(STAG ^ 1, BASE, 8), E::DdpInvalidStag, Ddp),
        ("wrong upper index bits", write(STAG ^ 1 << 31, BASE, 8), E::DdpInvalidStag, Ddp),
        ("index free", write(0x00aa_3000, BASE, 8), E::DdpInvalidStag, Ddp),
        ("STag 0", write(0, BASE, 8), E::DdpInvalidStag, Ddp),
        ("revoked", write(REVOKED, BASE, 8), E::DdpInvalidStag, Ddp),
        ("right missing", write(READ_ONLY, BASE, 8), E::DdpInvalidStag, Ddp),
        ("one byte before", write(STAG, BASE - 1, 8), E::DdpBounds, Ddp),
        ("one byte past", write(STAG, end - 7, 8), E::DdpBounds, Ddp),
        ("at the end", write(STAG, end, 1), E::DdpBounds, Ddp),
        ("far away", write(STAG, u64::MAX - 8, 8), E::DdpBounds, Ddp),
        ("other protection domain", write(OTHER_PD, BASE, 8), E::DdpStagNotAssociated, Ddp),
        ("window of another QP", write(OTHER_QP, BASE, 8), E::DdpStagNotAssociated, Ddp),
        ("TO wraps", write(LAST_TO, u64::MAX - 6, 8), E::DdpToWrap, Ddp),
    ]);
}

#[test]
fn the_last_byte_of_the_tagged_offsets_can_be_written() {
    let mut scene = scene_with(context());
    scene.send_ulpdu(&write(LAST_TO, u64::MAX - 7, 8));
    assert_eq!((scene.bytes(0, 8), scene.errors()), (vec![0xdd; 8], vec![]));
}

#[test]
fn other_versions_are_refused_ddp_before_rdmap() {
    for version in [0, 2, 3] {
        let mut bytes = write(STAG, BASE, 8);
        bytes[0] = bytes[0] & !3 | version;
        check_all(&[("DDP tagged", bytes.clone(), E::DdpTaggedInvalidVersion, Ddp)]);
        bytes[1] = version << 6;
        check_all(&[("DDP before RDMAP", bytes.clone(), E::DdpTaggedInvalidVersion, Ddp)]);
        bytes[0] = bytes[0] & !3 | 1;
        check_all(&[("RDMAP tagged", bytes, E::RdmapInvalidVersion, Ddp)]);
        let mut bytes = ulpdu(untagged(Opcode::Send, QN_SEND, NEXT, 0, true), b"x");
        bytes[0] = bytes[0] & !3 | version;
        check_all(&[("DDP untagged", bytes.clone(), E::DdpUntaggedInvalidVersion, Ddp)]);
        bytes[0] = bytes[0] & !3 | 1;
        bytes[1] = version << 6 | Opcode::Send as u8;
        check_all(&[("RDMAP untagged", bytes, E::RdmapInvalidVersion, Ddp)]);
    }
}

#[test]
fn an_untagged_segment_must_be_the_next_of_an_existing_queue() {
    let send = |qn, msn, mo| ulpdu(untagged(Opcode::Send, qn, msn, mo, true), b"payload");
    check_all(&[
        ("queue 4", send(4, NEXT, 0), E::DdpInvalidQn, Ddp),
        ("queue 2^32 - 1", send(u32::MAX, NEXT, 0), E::DdpInvalidQn, Ddp),
        ("a duplicate", send(QN_SEND, 1, 0), E::DdpMsnRange, Ddp),
        ("MSN 0", send(QN_SEND, 0, 0), E::DdpMsnRange, Ddp),
        ("the one after", send(QN_SEND, NEXT + 1, 0), E::DdpMsnRange, Ddp),
        ("far in the future", send(QN_SEND, NEXT + 1000, 0), E::DdpMsnRange, Ddp),
        ("far in the past", send(QN_SEND, 1 << 31, 0), E::DdpMsnRange, Ddp),
        ("MO of a new message", send(QN_SEND, NEXT, 1), E::DdpInvalidMo, Ddp),
        ("MO beyond the buffer", send(QN_SEND, NEXT, u32::MAX), E::DdpInvalidMo, Ddp),
    ]);
    let request = ulpdu(untagged(Opcode::ReadRequest, QN_READ, 2, 0, true), &read_request(0, 8));
    check_all(&[("Read Request out of order", request, E::DdpMsnRange, Ddp)]);
}

#[test]
fn queue_3_exists_only_with_atomics() {
    let scene = scene_with(Context { atomics: false, ..context() });
    let bytes = ulpdu(untagged(Opcode::AtomicResponse, QN_ATOMIC, 1, 0, true), &[0; 12]);
    check(scene, "no atomics", &bytes, E::DdpInvalidQn, Ddp);
    let scene = scene_with(Context { atomics: false, ..context() });
    let mut request = Vec::new();
    fetch_add(1, 0, 1).emit(&mut request);
    let bytes = ulpdu(untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true), &request);
    check(scene, "no atomics", &bytes, E::RdmapUnexpectedOpcode, Ddp);
}

#[test]
fn a_gap_inside_a_message_is_an_invalid_offset() {
    for mo in [0, 3, 5, u32::MAX] {
        let mut scene = scene_with(context());
        scene.send_ddp(untagged(Opcode::Send, QN_SEND, NEXT, 0, false), b"four");
        let bytes = ulpdu(untagged(Opcode::Send, QN_SEND, NEXT, mo, true), b"more");
        check(scene, "MO", &bytes, E::DdpInvalidMo, Ddp);
    }
}

#[test]
fn another_message_inside_a_message_of_its_queue_is_an_error() {
    let arrange = || {
        let mut scene = scene_with(context());
        scene.send_ddp(untagged(Opcode::Send, QN_SEND, NEXT, 0, false), b"four");
        scene
    };
    let next = ulpdu(untagged(Opcode::Send, QN_SEND, NEXT + 1, 0, true), b"next");
    check(arrange(), "next Send", &next, E::DdpMsnRange, Ddp);
    let immediate = ulpdu(untagged(Opcode::ImmediateData, QN_SEND, NEXT, 4, true), &[1; 8]);
    check(arrange(), "Immediate Data", &immediate, E::RdmapUnexpectedOpcode, Ddp);
}

#[test]
fn without_a_buffer_a_send_or_request_is_refused() {
    let mut scene = scene_with(context());
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, NEXT, 0, true), b"the last buffer");
    let bytes = ulpdu(untagged(Opcode::Send, QN_SEND, NEXT + 1, 0, true), b"one more");
    check(scene, "Send", &bytes, E::DdpNoBuffer, Ddp);
    let mut scene = scene_with(context());
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, NEXT, 0, true), b"the last buffer");
    let bytes = ulpdu(untagged(Opcode::ImmediateData, QN_SEND, NEXT + 1, 0, true), &[1; 8]);
    check(scene, "Immediate Data", &bytes, E::DdpNoBuffer, Ddp);
}

#[test]
fn more_reads_than_ird_are_refused() {
    // The responses cannot leave: the window is shut.
    let mut scene = scene_with(context());
    let acked = scene.peer.rcv;
    scene.ack(acked, 0);
    let request = |msn| ulpdu(untagged(Opcode::ReadRequest, QN_READ, msn, 0, true), &read_request(0, 8));
    scene.send_ulpdu(&request(1));
    scene.send_ulpdu(&request(2));
    let image = scene.image();
    scene.send_ulpdu(&request(3));
    assert_eq!(scene.image(), image);
    let cursors = FlushCursors { sq_done: 1, rq_done: 1, srq_open: None };
    assert_eq!(scene.errors(), [(ErrorCause::Detected, cursors)]);
    assert_eq!(scene.record(), Some(error_record(E::DdpNoBuffer, Ddp, &request(3))));
}

#[test]
fn a_message_longer_than_its_buffer_completes_it_with_an_error() {
    for (before, len) in [(0, 65), (0, 1000), (64, 1), (60, 5)] {
        let mut scene = scene_with(context());
        if before > 0 {
            scene.send_ddp(untagged(Opcode::Send, QN_SEND, NEXT, 0, false), &vec![1; before]);
        }
        let image = scene.image();
        let bytes = ulpdu(untagged(Opcode::Send, QN_SEND, NEXT, before as u32, true), &vec![2; len]);
        scene.send_ulpdu(&bytes);
        assert_eq!(scene.image(), image, "nothing of the segment is placed");
        let done = scene.rig.completions(CQ, true);
        assert_eq!(
            done.iter().map(|done| (done.status, done.index)).collect::<Vec<_>>(),
            [(Status::Length, 1)]
        );
        let cursors = FlushCursors { sq_done: 1, rq_done: 2, srq_open: None };
        check_stopped(scene, "too long", &error_record(E::DdpTooLong, Ddp, &bytes), cursors);
    }
}

#[test]
fn messages_of_fixed_size_must_have_it_in_one_segment() {
    let mut atomic = Vec::new();
    fetch_add(1, 0, 1).emit(&mut atomic);
    let read = read_request(0, 8);
    let fixed = [
        (Opcode::ReadRequest, QN_READ, 1, read),
        (Opcode::AtomicRequest, QN_READ, 1, atomic),
        (Opcode::ImmediateData, QN_SEND, NEXT, vec![7; ImmediateData::LEN]),
        (Opcode::ImmediateDataSolicited, QN_SEND, NEXT, vec![7; ImmediateData::LEN]),
        (Opcode::AtomicResponse, QN_ATOMIC, 1, vec![0; AtomicResponse::LEN]),
    ];
    for (opcode, qn, msn, payload) in fixed {
        let header = |mo, last| untagged(opcode, qn, msn, mo, last);
        let longer = [&payload[..], &[0]].concat();
        let shorter = &payload[..payload.len() - 1];
        check_all(&[
            ("longer", ulpdu(header(0, true), &longer), E::DdpTooLong, Ddp),
            ("shorter", ulpdu(header(0, true), shorter), E::RdmapOperationUnspecified, Ddp),
            ("empty", ulpdu(header(0, true), &[]), E::RdmapOperationUnspecified, Ddp),
            ("not the last", ulpdu(header(0, false), &payload), E::RdmapOperationUnspecified, Ddp),
            ("offset", ulpdu(header(4, true), &payload), E::DdpInvalidMo, Ddp),
        ]);
    }
}

#[test]
fn opcodes_belong_to_their_kind_of_segment_and_queue() {
    let mut cases = Vec::new();
    for code in 0..16 {
        let opcode = Opcode::try_from(code).ok();
        let control = rdmap::VERSION << 6 | code;
        if !opcode.is_some_and(Opcode::is_tagged) {
            let mut bytes = write(STAG, BASE, 8);
            bytes[1] = control;
            cases.push(("in a tagged segment", bytes, E::RdmapUnexpectedOpcode, Ddp));
        }
        for (qn, msn) in [(QN_SEND, NEXT), (QN_READ, 1), (QN_TERMINATE, 1), (QN_ATOMIC, 1)] {
            if opcode.and_then(Opcode::queue_number) != Some(qn) {
                let mut bytes = ulpdu(untagged(Opcode::Send, qn, msn, 0, true), &read_request(0, 8));
                bytes[1] = control;
                cases.push(("on a wrong queue", bytes, E::RdmapUnexpectedOpcode, Ddp));
            }
        }
    }
    check_all(&cases);
}

#[test]
fn responses_nobody_asked_for_are_unexpected() {
    let response = tagged(Opcode::ReadResponse, STAG, BASE, true);
    let atomic = untagged(Opcode::AtomicResponse, QN_ATOMIC, 1, 0, true);
    check_all(&[
        ("Read Response", ulpdu(response, &[1; 8]), E::RdmapUnexpectedOpcode, Ddp),
        ("empty Read Response", ulpdu(response, &[]), E::RdmapUnexpectedOpcode, Ddp),
        ("Atomic Response", ulpdu(atomic, &[0; 12]), E::RdmapUnexpectedOpcode, Ddp),
    ]);
}

#[test]
fn the_source_of_a_read_or_atomic_is_checked_by_rdmap() {
    let end = BASE + LEN as u64;
    let cases = [
        ("wrong key", STAG ^ 1, BASE, E::RdmapInvalidStag),
        ("wrong upper index bits", STAG ^ 1 << 31, BASE, E::RdmapInvalidStag),
        ("revoked", REVOKED, BASE, E::RdmapInvalidStag),
        ("before", STAG, BASE - 8, E::RdmapBounds),
        ("past", STAG, end, E::RdmapBounds),
        ("end + 1", STAG, end - 7, E::RdmapBounds),
        ("right missing", WRITE_ONLY, BASE, E::RdmapAccessRights),
        ("other protection domain", OTHER_PD, BASE, E::RdmapStagNotAssociated),
        ("window of another QP", OTHER_QP, BASE, E::RdmapStagNotAssociated),
        ("TO wraps", LAST_TO, u64::MAX - 6, E::RdmapToWrap),
    ];
    for (name, stag, to, error) in cases {
        let mut request = read_request(0, 8);
        request[16..20].copy_from_slice(&stag.to_be_bytes());
        request[20..28].copy_from_slice(&to.to_be_bytes());
        let read = ulpdu(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &request);
        let mut request = Vec::new();
        AtomicRequest { stag, to, ..fetch_add(1, 0, 1) }.emit(&mut request);
        let atomic = ulpdu(untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true), &request);
        check_all(&[(name, read, error, WithRead), (name, atomic, error, Ddp)]);
    }
    let mut request = Vec::new();
    AtomicRequest { stag: READ_ONLY, ..fetch_add(1, 0, 1) }.emit(&mut request);
    let atomic = ulpdu(untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true), &request);
    check_all(&[("no right for atomics", atomic, E::RdmapAccessRights, Ddp)]);
}

#[test]
fn an_atomic_must_be_aligned_and_of_a_known_kind() {
    let atomic = |request: AtomicRequest| {
        let mut bytes = Vec::new();
        request.emit(&mut bytes);
        ulpdu(untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true), &bytes)
    };
    for offset in 1..8 {
        let bytes = atomic(fetch_add(1, offset, 1));
        check_all(&[("misaligned", bytes, E::RdmapStreamCatastrophic, Ddp)]);
    }
    for opcode in (0..16).filter(|code| ![0, 2].contains(code)) {
        let bytes = atomic(AtomicRequest { opcode, ..fetch_add(1, 0, 1) });
        check_all(&[("reserved operation", bytes, E::RdmapUnexpectedOpcode, Ddp)]);
    }
}

#[test]
fn a_send_that_may_not_invalidate_is_placed_and_not_completed() {
    for inv_stag in [STAG, STAG ^ 1, REVOKED, OTHER_PD, OTHER_QP, 0] {
        for opcode in [Opcode::SendInvalidate, Opcode::SendSolicitedInvalidate] {
            let mut scene = scene_with(context());
            let DdpHeader::Untagged { last, version, rdmap_control, qn, msn, mo, .. } =
                untagged(opcode, QN_SEND, NEXT, 0, true)
            else {
                unreachable!()
            };
            let header = DdpHeader::Untagged { last, version, rdmap_control, qn, msn, mo, inv_stag };
            let bytes = ulpdu(header, b"placed");
            scene.send_ulpdu(&bytes);
            assert_eq!((scene.bytes(0, 6), scene.rig.completions(CQ, true)), (b"placed".to_vec(), vec![]));
            let cursors = FlushCursors { sq_done: 1, rq_done: 1, srq_open: None };
            let record = error_record(E::RdmapCannotInvalidate, Ddp, &bytes);
            check_stopped(scene, "cannot invalidate", &record, cursors);
        }
    }
}

#[test]
fn a_bad_crc_is_an_mpa_error_without_headers() {
    for markers_rx in [false, true] {
        let mut scene = scene_with(Context { markers_rx, ..context() });
        let image = scene.image();
        let mut fpdu = scene.fpdu(&write(STAG, BASE, 500));
        let last = fpdu.len() - 1;
        fpdu[last] ^= 0x10;
        scene.send(&fpdu);
        assert_eq!((scene.image(), scene.rig.counter(Counter::CrcErrors)), (image, 1));
        let cursors = FlushCursors { sq_done: 1, rq_done: 1, srq_open: None };
        check_stopped(scene, "CRC", &error_record(E::MpaCrc, Nothing, &[]), cursors);
    }
}

#[test]
fn a_marker_that_does_not_match_is_an_mpa_error() {
    let mut scene = scene_with(Context { markers_rx: true, ..context() });
    let image = scene.image();
    let mut fpdu = scene.fpdu(&write(STAG, BASE, 1000));
    // The first marker in it, wrong by four, with the CRC made good again.
    let start = scene.peer.snd.diff(Seq(context().rcv_nxt)) as usize;
    let at = start.next_multiple_of(512) - start;
    fpdu[at + 3] ^= 4;
    let covered = fpdu.len() - 4;
    let crc = ironwarp_proto::crc::to_wire(ironwarp_proto::crc::fpdu_crc(&fpdu[..covered]));
    fpdu[covered..].copy_from_slice(&crc);
    scene.send(&fpdu);
    assert_eq!((scene.image(), scene.rig.counter(Counter::MarkerErrors)), (image, 1));
    let cursors = FlushCursors { sq_done: 1, rq_done: 1, srq_open: None };
    check_stopped(scene, "marker", &error_record(E::MpaMarkerMismatch, Nothing, &[]), cursors);
}

#[test]
fn a_ulpdu_shorter_than_its_header_is_an_mpa_error() {
    let tagged = write(STAG, BASE, 0);
    let untagged = ulpdu(untagged(Opcode::Send, QN_SEND, NEXT, 0, true), &[]);
    let cases = [&tagged, &untagged].map(|whole| (0..whole.len()).map(|len| whole[..len].to_vec()));
    for bytes in cases.into_iter().flatten() {
        check(scene_with(context()), "short", &bytes, E::MpaMarkerMismatch, Nothing);
    }
}

#[test]
fn bad_work_requests_complete_and_stop_with_a_local_catastrophic_error() {
    let one = |lkey, to, length| Payload::Sges(vec![Sge { to, length, lkey }]);
    let end = BASE + LEN as u64;
    let cases = [
        ("lkey", SendEntry { payload: one(STAG ^ 1, BASE, 8), ..write_from(0, 8) }, Status::LocalProtection),
        (
            "other PD",
            SendEntry { payload: one(OTHER_PD, BASE, 8), ..write_from(0, 8) },
            Status::LocalProtection,
        ),
        (
            "window as lkey",
            SendEntry { payload: one(OTHER_QP, BASE, 8), ..write_from(0, 8) },
            Status::LocalProtection,
        ),
        ("bounds", SendEntry { payload: one(STAG, end - 7, 8), ..write_from(0, 8) }, Status::LocalProtection),
        (
            "wrap",
            SendEntry { payload: one(LAST_TO, u64::MAX - 6, 8), ..write_from(0, 8) },
            Status::LocalProtection,
        ),
        (
            "sink right",
            SendEntry { payload: one(READ_ONLY, BASE, 8), ..read_into(0, 8) },
            Status::LocalProtection,
        ),
        (
            "sink bounds",
            SendEntry { payload: one(STAG, end - 7, 8), ..read_into(0, 8) },
            Status::LocalProtection,
        ),
        (
            "atomic result of 4 bytes",
            SendEntry { payload: one(STAG, BASE, 4), ..SendEntry::new(Verb::FetchAdd) },
            Status::LocalProtection,
        ),
        ("invalidate", SendEntry { stag: STAG, ..SendEntry::new(Verb::LocalInvalidate) }, Status::Bind),
        (
            "bind to a window",
            SendEntry { stag: 0x1234, payload: one(OTHER_QP, BASE, 8), ..SendEntry::new(Verb::BindWindow) },
            Status::Bind,
        ),
        (
            "register what is valid",
            SendEntry { stag: STAG, payload: one(0, 0, 8), ..SendEntry::new(Verb::FastRegister) },
            Status::Bind,
        ),
    ];
    for (name, entry, status) in cases {
        let mut scene = scene_with(context());
        let image = scene.image();
        // Unsignalled: a failure is told all the same.
        let index = scene.rig.post_send(QP, &entry);
        let (_, fpdus) = scene.pump_after(2 * SECOND);
        assert!(fpdus.len() <= 1, "{name}: nothing but what was on its way");
        let done: Vec<_> =
            scene.rig.completions(CQ, true).iter().map(|done| (done.status, done.index)).collect();
        assert_eq!(done, [(Status::Ok, 1), (status, index)], "{name}");
        assert_eq!(scene.image(), image, "{name}");
        let cursors = FlushCursors { sq_done: index + entry.slots(), rq_done: 1, srq_open: None };
        let record = error_record(E::RdmapLocalCatastrophic, Nothing, &[]);
        check_stopped(scene, name, &record, cursors);
    }
}

#[test]
fn ring_slots_that_hold_no_entry_stop_with_a_local_catastrophic_error() {
    let good = SendEntry { index: 2, ..write_from(0, 8) }.encode();
    let broken = |word: usize, value: u32| {
        let mut words = good.clone();
        words[word] = value;
        words
    };
    let cases = [
        ("opcode", broken(0, good[0] | 0x1f)),
        ("stale", broken(0, good[0] & 0xffff | 1 << 16)),
        ("length", broken(1, 9)),
        ("seven SGEs", broken(0, good[0] | 7 << 6)),
        ("second slot not posted", broken(0, good[0] | 1 << 5)),
        ("inline of a Read", SendEntry { index: 2, opcode: Verb::Read, ..send_inline(b"x") }.encode()),
    ];
    for (name, words) in cases {
        let mut scene = scene_with(context());
        assert!(scene.rig.qp_memory(QP).sq.write(2 * 64, &bytes_of(&words)));
        scene.ring(doorbell::SQ_PRODUCER, 3);
        scene.pump_after(2 * SECOND);
        let done: Vec<_> =
            scene.rig.completions(CQ, true).iter().map(|done| (done.status, done.index)).collect();
        assert_eq!(done, [(Status::Ok, 1), (Status::Fatal, 2)], "{name}");
        let errors = scene.errors();
        assert_eq!(errors, [(ErrorCause::Detected, FlushCursors { sq_done: 3, rq_done: 1, srq_open: None })]);
        assert_eq!(scene.record(), Some(error_record(E::RdmapLocalCatastrophic, Nothing, &[])), "{name}");
    }
}

#[test]
fn a_failed_entry_waits_for_those_in_front_of_it() {
    let mut scene = Scene::model();
    scene.post(read_into(0, 8));
    scene.post(SendEntry {
        payload: Payload::Sges(vec![Sge { lkey: 1, length: 8, to: 0 }]),
        ..write_from(0, 8)
    });
    scene.pump();
    assert_eq!((scene.errors(), scene.rig.completions(CQ, true)), (vec![], vec![]));
    scene.send_ddp(tagged(Opcode::ReadResponse, STAG, BASE, true), &[5; 8]);
    let done: Vec<_> = scene.rig.completions(CQ, true).iter().map(|done| done.status).collect();
    assert_eq!(done, [Status::Ok, Status::LocalProtection]);
    assert_eq!(
        scene.errors(),
        [(ErrorCause::Detected, FlushCursors { sq_done: 2, rq_done: 0, srq_open: None })]
    );
}

#[test]
fn a_receive_entry_that_is_none_stops_the_connection() {
    let mut scene = Scene::model();
    let bytes = 7u32 << 16;
    assert!(scene.rig.qp_memory(QP).rq.write(0, &bytes.to_le_bytes()));
    // A device may read what was posted from now on.
    scene.ring(doorbell::RQ_PRODUCER, 1);
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 0, true), b"");
    assert_eq!(scene.errors(), [(ErrorCause::Detected, FlushCursors::default())]);
    assert_eq!(scene.record(), Some(error_record(E::RdmapLocalCatastrophic, Nothing, &[])));
}

#[test]
fn the_terminate_stands_behind_the_fpdu_in_progress() {
    // A window that cuts the FPDU under way; the error comes before the rest of it may leave.
    let mut scene = Scene::model();
    scene.peer.window = 500;
    scene.ack(scene.peer.rcv, 500);
    scene.post(write_from(0, 4000));
    let start = scene.peer.rcv;
    scene.hear_after(3 * SECOND / 2);
    assert_eq!(scene.peer.rcv.diff(start), 500, "cut by the window");
    assert!(scene.peer.deframer.pending() > 0);
    scene.send_ulpdu(&write(STAG ^ 1, BASE, 8));
    assert_eq!(scene.errors().len(), 1);
    scene.peer.window = 60_000;
    scene.terminate(&[0x11, 0, 0, 0]);
    let (_, fpdus) = scene.pump();
    let (sent, fpdus) = (scene.pump_after(2 * SECOND), fpdus);
    let all = segments_of(&[fpdus, sent.1].concat());
    assert_eq!(all.last().unwrap().0, untagged(Opcode::Terminate, QN_TERMINATE, 1, 0, true));
    assert_eq!(scene.peer.deframer.pending(), 0, "whole FPDUs only");
    assert!(scene.rig.counter(Counter::TxFpdus) <= 3, "the Write ends where it was stopped");
}

#[test]
fn terminates_of_any_length_are_recorded_and_never_answered() {
    for len in 0..=100 {
        let mut scene = scene_with(context());
        scene.pump_after(2 * SECOND);
        scene.rig.completions(CQ, true);
        let header = pattern(len, 3);
        scene.send_ddp(untagged(Opcode::Terminate, QN_TERMINATE, 1, 0, true), &header);
        let cursors = FlushCursors { sq_done: 2, rq_done: 1, srq_open: None };
        assert_eq!(scene.errors(), [(ErrorCause::TerminateReceived, cursors)], "{len}");
        assert_eq!(scene.record(), Some(ErrorRecord::Received(header[..len.min(76)].to_vec())), "{len}");
        scene.post(send_inline(b"never sent"));
        let (sent, _) = scene.pump_after(SECOND);
        assert!(sent.iter().all(|sent| sent.payload.is_empty()), "{len}: nothing is answered");
        assert!(sent.iter().any(|sent| sent.tcp.ack == scene.peer.snd), "{len}: TCP acknowledges");
        scene.ring(doorbell::FIN, 0);
        assert!(
            scene.pump().0.iter().any(|sent| sent.tcp.flags.contains(TcpFlags::FIN)),
            "{len}: FIN follows"
        );
    }
}

#[test]
fn software_may_terminate_a_connection_that_runs() {
    let mut scene = scene_with(context());
    scene.terminate(&[0, 0, 0, 0]);
    let (_, fpdus) = scene.pump_after(2 * SECOND);
    let last = segments_of(&fpdus).pop().unwrap();
    assert_eq!(last, (untagged(Opcode::Terminate, QN_TERMINATE, 1, 0, true), vec![0; 4]));
    scene.ring(doorbell::TERMINATE, 0);
    scene.post(send_inline(b"never sent"));
    assert_eq!(scene.pump_after(2 * SECOND).1, [], "one Terminate, and nothing behind it");
}

#[test]
fn a_terminate_header_is_at_most_as_long_as_there_is_room_for() {
    let mut scene = Scene::model();
    let save = &scene.rig.qp_memory(QP).save;
    assert!(save.write(SAVE_TERMINATE, &u32::MAX.to_le_bytes()));
    scene.ring(doorbell::TERMINATE, 0);
    let (_, fpdus) = scene.pump();
    assert_eq!(segments_of(&fpdus)[0].1.len(), 76);
}

#[test]
fn the_peer_of_a_responder_on_hold_gets_no_terminate_for_a_bad_crc_and_still_fin() {
    // RFC 5044 7.1.2: no FPDU before one was received with a good CRC.
    let mut scene = Scene::with(Context { hold: true, ..context() });
    let mut fpdu = scene.fpdu(&write(STAG, BASE, 8));
    fpdu[20] ^= 1;
    scene.send(&fpdu);
    assert_eq!(scene.errors(), [(ErrorCause::Detected, FlushCursors::default())]);
    scene.terminate(&[0x20, 2, 0, 0]);
    scene.ring(doorbell::FIN, 0);
    let (sent, fpdus) = scene.pump_after(2 * SECOND);
    assert_eq!(fpdus, []);
    assert!(sent.iter().any(|sent| sent.tcp.flags.contains(TcpFlags::FIN)));
}

/// RFC 5040 section 4.8: the Read Request comes back as it stands after the bytes already sent.
#[test]
fn a_source_revoked_during_a_read_response_is_told_with_the_updated_request() {
    let mut scene = scene_with(context());
    let request = rdmap::ReadRequest {
        sink_stag: 0x55,
        sink_to: 0x8000,
        size: 4000,
        source_stag: READ_ONLY,
        source_to: BASE + 16,
    };
    let mut bytes = Vec::new();
    request.emit(&mut bytes);
    // Room for one FPDU of the response only, behind what is already on its way.
    scene.peer.window = 1500;
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &bytes);
    let sent: usize = scene.hear().iter().map(|sent| sent.payload.len()).sum();
    assert_eq!(sent, 1460, "one FPDU of the response");
    let done = 1440;
    assert_eq!(scene.rig.command(Command::Invalidate, 0, READ_ONLY), CommandStatus::Ok);
    scene.peer.window = 60_000;
    scene.send_flags(TcpFlags::ACK);
    scene.hear();
    assert_eq!(scene.errors().len(), 1);
    let (record, expected) = (
        scene.record(),
        rdmap::ReadRequest {
            sink_to: request.sink_to + done,
            size: request.size - done as u32,
            source_to: request.source_to + done,
            ..request
        },
    );
    let Some(ErrorRecord::Detected { error, ddp, rdmap: Some(header) }) = record else {
        panic!("{record:?}")
    };
    assert_eq!(error, E::RdmapInvalidStag.to_wire());
    assert_eq!(rdmap::ReadRequest::parse(&header), Ok(expected));
    let (length, ddp) = ddp.expect("the header of the request");
    let parsed = DdpHeader::parse(&ddp).map(|(header, _)| header);
    assert_eq!((length, parsed), (46, Ok(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true))));
}

#[test]
fn a_stopped_connection_that_is_lost_is_told_once_more() {
    let mut scene = scene_with(context());
    scene.send_ddp(tagged(Opcode::Write, STAG ^ 1, BASE, true), &[1; 8]);
    assert_eq!(scene.errors().len(), 1);
    let seq = scene.peer.snd;
    let reset = scene.frame_at(seq, TcpFlags::RST, &[]);
    for _ in 0..2 {
        scene.deliver(&reset);
    }
    let errors = scene.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].0, ErrorCause::Reset);
    assert!(scene.rig.frames().is_empty(), "nothing is sent to who has reset");
}
