//! Rules of RFC 5040, 5041, 5042, 5044 and 7306 at the device's pins, where no other test has them. Each test names the
//! requirements it holds, by their ids in `conformance.toml`.

use ironwarp_proto::abi::completion::{Completion, OPCODE_RECEIVE, Status};
use ironwarp_proto::abi::context::{Context, ErrorRecord};
use ironwarp_proto::abi::doorbell::{Page, qp as doorbell, srq as srq_doorbell};
use ironwarp_proto::abi::event::{ErrorCause, Event, EventKind};
use ironwarp_proto::abi::region::{Region, access};
use ironwarp_proto::abi::regs::{Command, CommandStatus};
use ironwarp_proto::abi::send_entry::{AtomicOperands, Opcode as Verb, Payload, SendEntry, Sge};
use ironwarp_proto::abi::window::Table;
use ironwarp_proto::crc;
use ironwarp_proto::ddp::{DdpHeader, QN_ATOMIC, QN_READ, QN_SEND, QN_TERMINATE};
use ironwarp_proto::mpa::stream::{Fpdu, FpduCrc};
use ironwarp_proto::pins::{Frame, Nanos};
use ironwarp_proto::rdmap::{AtomicRequest, AtomicResponse, Opcode, ReadRequest};
use ironwarp_proto::terminate::{Terminate, TerminateError};
use ironwarp_proto::wire::tcp::TcpFlags;
use ironwarp_testbench::rig::Rig;
use ironwarp_testbench::scene::{
    self, BASE, CQ, LEN, PD, PORT, Peer, QP, STAG, Scene, context, pattern, sge, tagged, template_for, ulpdu,
    untagged,
};

const ONE_SECOND: Nanos = 1_000_000_000;
/// MULPDU of [`context`].
const MULPDU: usize = 1454;

fn only<T: Copy + std::fmt::Debug>(items: &[T]) -> T {
    assert_eq!(items.len(), 1, "{items:?}");
    items[0]
}

/// The ULPDUs of FPDUs that must be good.
fn ulpdus(fpdus: Vec<Fpdu>) -> Vec<Vec<u8>> {
    let good = |fpdu: Fpdu| {
        assert_eq!((fpdu.crc, fpdu.marker_mismatch), (FpduCrc::Good, None));
        fpdu.ulpdu
    };
    fpdus.into_iter().map(good).collect()
}

fn split(ulpdu: &[u8]) -> (DdpHeader, Vec<u8>) {
    let (header, payload) = DdpHeader::parse(ulpdu).unwrap();
    (header, payload.to_vec())
}

fn opcode(ulpdu: &[u8]) -> u8 {
    ulpdu[1] & 0x0f
}

fn entry(verb: Verb, payload: Payload) -> SendEntry {
    SendEntry { signalled: true, payload, ..SendEntry::new(verb) }
}

fn inline(verb: Verb, bytes: &[u8]) -> SendEntry {
    entry(verb, Payload::Inline(bytes.to_vec()))
}

/// A Read of `length` bytes to `offset` of the region.
fn read(offset: u64, length: u32) -> SendEntry {
    SendEntry { stag: 0x77, to: 0x5000, ..entry(Verb::Read, Payload::Sges(vec![sge(offset, length)])) }
}

fn read_request(sink_stag: u32, sink_to: u64, size: u32, source: (u32, u64)) -> Vec<u8> {
    let mut bytes = Vec::new();
    ReadRequest { sink_stag, sink_to, size, source_stag: source.0, source_to: source.1 }.emit(&mut bytes);
    bytes
}

fn fetch_add(request_id: u32, stag: u32, to: u64, add: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    AtomicRequest {
        opcode: 0,
        request_id,
        stag,
        to,
        add_or_swap: add,
        add_or_swap_mask: 0,
        compare: 0,
        compare_mask: u64::MAX,
    }
    .emit(&mut bytes);
    bytes
}

fn atomic_response(request_id: u32, original: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    AtomicResponse { request_id, original }.emit(&mut bytes);
    bytes
}

fn completions(scene: &mut Scene) -> Vec<Completion> {
    scene.rig.completions(CQ, true)
}

/// Error numbers, DDP segment length and header, and RDMAP header of the one error the device reports now.
type Found = ((u8, u8, u8), Option<(u16, Vec<u8>)>, Option<Vec<u8>>);

fn detected(scene: &mut Scene) -> Found {
    let event: Event = only(&scene.rig.events());
    assert_eq!((event.kind, event.code), (EventKind::QpError, ErrorCause::Detected as u8));
    match scene.record() {
        Some(ErrorRecord::Detected { error, ddp, rdmap }) => (error, ddp, rdmap),
        other => panic!("{other:?}"),
    }
}

fn error(scene: &mut Scene) -> (u8, u8, u8) {
    detected(scene).0
}

/// A region entry over the memory of [`STAG`], with this STag.
fn alias(stag: u32, access: u8) -> Region {
    Region { valid: true, access, pd: PD, length: 0x1000, base: BASE, stag, ..Region::default() }
}

fn add_region(scene: &mut Scene, region: Region) {
    let host = scene.memory.addr();
    scene.rig.entry(&Region { host, ..region });
}

/// QP and CQ of a second connection.
const SECOND: (u16, u16) = (2, 3);

/// A second connection of the scene's device, with another port of the peer.
fn second(scene: &mut Scene) -> Peer {
    scene.rig.cq(SECOND.1, 8);
    let context = Context { scq: SECOND.1, rcq: SECOND.1, ird: 16, ..context() };
    Peer::connect(&mut scene.rig, SECOND.0, PORT + 1, context)
}

/// The bytes of a one-segment message in a tagged buffer, by RFC 5040 figures 3 and 4 and RFC 5041 figure 4.
fn tagged_bytes(opcode: u8, stag: u32, to: u64, payload: &[u8]) -> Vec<u8> {
    [&[0xc1, 0x40 | opcode][..], &stag.to_be_bytes(), &to.to_be_bytes(), payload].concat()
}

/// The bytes of a one-segment message of an untagged buffer, by RFC 5040 figures 3 and 4 and RFC 5041 figure 5.
fn untagged_bytes(opcode: u8, invalidate: u32, qn: u32, msn: u32, payload: &[u8]) -> Vec<u8> {
    let words = [invalidate, qn, msn, 0].map(u32::to_be_bytes).concat();
    [&[0x41, 0x40 | opcode], &words[..], payload].concat()
}

// ---- What leaves ----

/// RFC5040-s4.1-1 to -10, s4.2-1, s4.4-1, s5.1-1, -2, s5.2-1, s5.2.1-1, -2, -6, -7, s5.3-1, -2, -5, -8, -9, s6.1-1;
/// RFC5041-s4.1-8, -9, -10, s4.2-1, -2, -7, s4.3-1, -2, -9, -13, s4.4-1; RFC7306-s4.1-1, s5.2-1, s5.2.1-3, -4, -9, -10,
/// s6.3-1, -2, -5, -6: every message that work requests make, byte by byte.
#[test]
fn every_message_has_exactly_the_bytes_of_the_figures() {
    let mut scene = Scene::with(Context { ord: 16, ..context() });
    let (stag, to) = (0x1234_5678, 0x8000_0001_0000_0040);
    let be = |number: u64| number.to_be_bytes();
    let mut sends = 0;
    for (verb, number, invalidates) in [
        (Verb::Send, 3, false),
        (Verb::SendInvalidate, 4, true),
        (Verb::SendSolicited, 5, false),
        (Verb::SendSolicitedInvalidate, 6, true),
        (Verb::Immediate, 8, false),
        (Verb::ImmediateSolicited, 9, false),
    ] {
        sends += 1;
        let immediate = number >= 8;
        let message = if immediate {
            SendEntry { immediate: *b"01234567", ..SendEntry::new(verb) }
        } else {
            SendEntry { stag, to, ..inline(verb, b"abcd") }
        };
        scene.rig.post_send(QP, &message);
        let payload = if immediate { &b"01234567"[..] } else { b"abcd" };
        let expected = untagged_bytes(number, if invalidates { stag } else { 0 }, 0, sends, payload);
        assert_eq!(ulpdus(scene.pump().1), [expected], "{verb:?}");
    }
    scene.rig.post_send(QP, &SendEntry { stag, to, ..inline(Verb::Write, b"xyz") });
    assert_eq!(ulpdus(scene.pump().1), [tagged_bytes(0, stag, to, b"xyz")]);

    let sink = Payload::Sges(vec![sge(0x20, 8)]);
    scene.rig.post_send(QP, &SendEntry { stag, to, ..entry(Verb::Read, sink.clone()) });
    let [sink_stag, size, source] = [STAG, 8, stag].map(u32::to_be_bytes);
    let request = [&sink_stag[..], &be(BASE + 0x20), &size, &source, &be(to)].concat();
    assert_eq!(ulpdus(scene.pump().1), [untagged_bytes(1, 0, 1, 1, &request)]);

    let atomic = AtomicOperands { add_or_swap: 11, add_or_swap_mask: 12, compare: 13, compare_mask: 14 };
    for (verb, number, msn, compare) in
        [(Verb::FetchAdd, 0u32, 2, [0, u64::MAX]), (Verb::CompareSwap, 2, 3, [13, 14])]
    {
        scene.rig.post_send(QP, &SendEntry { stag, to, atomic, ..entry(verb, sink.clone()) });
        let ulpdu = ulpdus(scene.pump().1).remove(0);
        // The request identifier is the device's own choice.
        let id = &ulpdu[22..26];
        let operands = [11, 12, compare[0], compare[1]].map(be).concat();
        let request = [&number.to_be_bytes()[..], id, &stag.to_be_bytes(), &be(to), &operands].concat();
        assert_eq!(ulpdu, untagged_bytes(10, 0, 1, msn, &request), "{verb:?}");
    }
}

/// RFC5040-s4.1-8, s5.2.2-1, -2, -6, s5.2-1, s5.4-1, -2, -3; RFC5041-s4.3-9; RFC7306-s5-4, s5.2-2, s5.2.2-2, -3, -4: the
/// messages that answer others.
#[test]
fn responses_and_terminates_have_exactly_the_bytes_of_the_figures() {
    let mut scene = Scene::model();
    assert!(scene.memory.write(8, &0x0102_0304_0506_0708u64.to_le_bytes()));
    let request = read_request(0xaabb_ccdd, 0x99, 3, (STAG, BASE + 8));
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &request);
    assert_eq!(ulpdus(scene.pump().1), [tagged_bytes(2, 0xaabb_ccdd, 0x99, &[8, 7, 6])]);
    for msn in 1..3 {
        let request = fetch_add(0xfeed_0000 + msn, STAG, BASE + 8, 1);
        scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, 1 + msn, 0, true), &request);
        let id = (0xfeed_0000 + msn).to_be_bytes();
        let original = (0x0102_0304_0506_0707 + u64::from(msn)).to_be_bytes();
        let response = [&id[..], &original].concat();
        assert_eq!(ulpdus(scene.pump().1), [untagged_bytes(11, 0, 3, msn, &response)]);
    }
    scene.send_ddp(tagged(Opcode::Write, 1, 0, true), b"x");
    assert_eq!(error(&mut scene), (1, 1, 0));
    scene.terminate(&[0x11, 0, 0, 0]);
    assert_eq!(ulpdus(scene.pump().1), [untagged_bytes(7, 0, 2, 1, &[0x11, 0, 0, 0])]);
}

/// RFC5041-s4.1-3 to -6, s4.2-4, -5, -9, -10, s4.3-4, -6, -7, -11, -12, -13, s5.2-1, -3, -5, -7, s5.3-3; RFC5044-s3-3,
/// s3-5, s4.5-3: how messages are cut.
#[test]
fn a_long_message_is_cut_at_the_mulpdu_in_order_and_only_its_last_segment_says_so() {
    for mulpdu in [128, 131, 1000, 1454] {
        let mut scene = Scene::with(Context { mulpdu, mss: 1460, ..context() });
        let data = pattern(5000, 3);
        assert!(scene.memory.write(0, &data));
        let payload = || Payload::Sges(vec![sge(0, 1234), sge(1234, 3766)]);
        let to = u64::MAX - 2000;
        scene.rig.post_send(QP, &SendEntry { stag: 0x4321, ..entry(Verb::SendInvalidate, payload()) });
        scene.rig.post_send(QP, &SendEntry { stag: 0x4321, to, ..entry(Verb::Write, payload()) });
        let request = read_request(0x4321, to, 5000, (STAG, BASE));
        scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &request);
        let (_, fpdus) = scene.pump();
        let sent = ulpdus(fpdus);
        for (number, header_len) in
            [(Opcode::SendInvalidate, 18), (Opcode::Write, 14), (Opcode::ReadResponse, 14)]
        {
            let of_message: Vec<_> = sent.iter().filter(|ulpdu| opcode(ulpdu) == number as u8).collect();
            let room = usize::from(mulpdu) - header_len;
            assert_eq!(of_message.len(), 5000usize.div_ceil(room), "as few as possible");
            let mut got = Vec::new();
            for (at, ulpdu) in of_message.iter().enumerate() {
                let (header, payload) = split(ulpdu);
                let last = at + 1 == of_message.len();
                assert!(ulpdu.len() == usize::from(mulpdu) || (last && ulpdu.len() < usize::from(mulpdu)));
                let offset = got.len() as u32;
                let expected = match number {
                    Opcode::SendInvalidate => {
                        let header = untagged(number, QN_SEND, 1, offset, last);
                        let DdpHeader::Untagged { last, version, rdmap_control, qn, msn, mo, .. } = header
                        else {
                            unreachable!()
                        };
                        DdpHeader::Untagged { last, version, rdmap_control, inv_stag: 0x4321, qn, msn, mo }
                    }
                    _ => tagged(number, 0x4321, to.wrapping_add(offset.into()), last),
                };
                assert_eq!(header, expected);
                got.extend(payload);
            }
            assert_eq!(got, data);
        }
    }
}

/// RFC5041-s5.2-8; RFC5040-s5.2.1-14, -15: zero-length messages of each kind, those without valid buffers included.
#[test]
fn a_zero_length_message_takes_exactly_one_segment() {
    let mut scene = Scene::model();
    for (verb, expected) in [
        (Verb::Send, untagged(Opcode::Send, QN_SEND, 1, 0, true)),
        (Verb::Write, tagged(Opcode::Write, 9, 10, true)),
    ] {
        scene.rig.post_send(QP, &SendEntry { stag: 9, to: 10, ..entry(verb, Payload::Sges(vec![])) });
        let sent = ulpdus(scene.pump().1);
        assert_eq!(sent.len(), 1);
        assert_eq!(split(&sent[0]), (expected, vec![]));
    }
    let request = read_request(0xbad, u64::MAX, 0, (0xbad0, u64::MAX));
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &request);
    let sent = ulpdus(scene.pump().1);
    assert_eq!(sent.len(), 1);
    assert_eq!(split(&sent[0]), (tagged(Opcode::ReadResponse, 0xbad, u64::MAX, true), vec![]));
    assert!(scene.rig.events().is_empty());
}

/// RFC5041-s4.3-8; RFC5040-s5.3-5; RFC7306-s5.2-1: message sequence numbers count by one, each queue for itself.
#[test]
fn message_sequence_numbers_count_each_queue_for_itself() {
    let mut scene = Scene::with(Context { ord: 8, ird: 8, ..context() });
    let mut found = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for round in 1..4 {
        scene.rig.post_send(QP, &inline(Verb::Send, b"s"));
        scene.rig.post_send(QP, &read(0, 8));
        scene
            .rig
            .post_send(QP, &SendEntry { stag: 1, ..entry(Verb::FetchAdd, Payload::Sges(vec![sge(0, 8)])) });
        scene.rig.post_send(QP, &SendEntry { immediate: [7; 8], ..SendEntry::new(Verb::Immediate) });
        let request = fetch_add(round, STAG, BASE, 1);
        scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, round, 0, true), &request);
        for ulpdu in ulpdus(scene.pump().1) {
            if let (DdpHeader::Untagged { qn, msn, .. }, _) = split(&ulpdu) {
                found[qn as usize].push(msn);
            }
        }
    }
    assert_eq!(found, [vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 6], vec![], vec![1, 2, 3]]);
}

/// RFC5040-s5.1-4, s5.2.1-8, s5.3-6, s5.5-4; RFC5041-s5.3-2; RFC7306-s5.2.1-11, s6.3-7.
#[test]
fn messages_leave_in_the_order_they_were_posted() {
    let mut scene = Scene::with(Context { ord: 16, ..context() });
    let atomic = entry(Verb::CompareSwap, Payload::Sges(vec![sge(0, 8)]));
    let immediate = SendEntry { immediate: [7; 8], ..SendEntry::new(Verb::Immediate) };
    let long = |verb| entry(verb, Payload::Sges(vec![sge(0, 4000)]));
    let work = [
        (long(Verb::Write), 0),
        (inline(Verb::Send, b"s"), 3),
        (read(0, 100), 1),
        (atomic.clone(), 10),
        (immediate, 8),
        (long(Verb::Send), 3),
        (inline(Verb::Write, b"w"), 0),
        (atomic, 10),
        (read(8, 8), 1),
        (inline(Verb::SendSolicited, b"s"), 5),
    ];
    // Nothing can leave until all are posted.
    scene.peer.window = 0;
    scene.send_flags(TcpFlags::ACK);
    for (entry, _) in &work {
        scene.rig.post_send(QP, entry);
    }
    assert!(scene.pump().1.is_empty());
    scene.peer.window = 60_000;
    scene.send_flags(TcpFlags::ACK);
    let sent = ulpdus(scene.pump().1);
    let lasts: Vec<u8> =
        sent.iter().filter(|ulpdu| split(ulpdu).0.is_last()).map(|ulpdu| opcode(ulpdu)).collect();
    assert_eq!(lasts, work.iter().map(|(_, number)| *number).collect::<Vec<_>>());
    let mut all: Vec<u8> = sent.iter().map(|ulpdu| opcode(ulpdu)).collect();
    all.dedup();
    assert_eq!(all, lasts, "no segment stands among those of another message");
}

/// RFC5040-s5.2.1-9, -12, s5.2.2-5, s5.5-10; RFC7306-s5.2.1-12, -13, s5.2.2-8, s5.4-6, -7.
#[test]
fn responses_leave_in_the_order_of_the_requests() {
    let mut scene = Scene::with(Context { ird: 16, ..context() });
    assert!(scene.memory.write(0, &5u64.to_le_bytes()));
    let mut expected = Vec::new();
    for msn in 1..=8u32 {
        if msn % 3 == 0 {
            let request = fetch_add(msn, STAG, BASE, 10);
            scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, msn, 0, true), &request);
            expected.push((11, msn));
        } else {
            let request = read_request(msn, 0, 3000 * (msn % 2) + 1, (STAG, BASE + 64));
            scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, msn, 0, true), &request);
            expected.push((2, msn));
        }
    }
    // Sends of our own in between change nothing about it.
    for _ in 0..3 {
        scene.rig.post_send(QP, &inline(Verb::Send, b"own"));
    }
    let mut order = Vec::new();
    let mut originals = Vec::new();
    for ulpdu in ulpdus(scene.pump().1) {
        match split(&ulpdu) {
            (DdpHeader::Tagged { stag, last: true, .. }, _) => order.push((2, stag)),
            (DdpHeader::Untagged { qn: QN_ATOMIC, .. }, payload) => {
                let response = AtomicResponse::parse(&payload).unwrap();
                order.push((11, response.request_id));
                originals.push(response.original);
            }
            _ => {}
        }
    }
    assert_eq!(order, expected);
    assert_eq!(originals, [5, 15]);
}

/// RFC5040-s6.1-3, -4: with ORD n, n requests leave and the next waits for a response.
#[test]
fn as_many_reads_and_atomics_are_outstanding_as_ord_says_and_no_more() {
    for ord in [1, 2, 16] {
        let mut scene = Scene::with(Context { ord, ..context() });
        for at in 0..u64::from(ord) + 2 {
            if at % 2 == 0 {
                scene.rig.post_send(QP, &read(8 * at, 8));
            } else {
                let sink = Payload::Sges(vec![sge(8 * at, 8)]);
                scene.rig.post_send(QP, &SendEntry { stag: 1, ..entry(Verb::FetchAdd, sink) });
            }
        }
        let first = ulpdus(scene.pump().1);
        assert_eq!(first.len(), usize::from(ord));
        scene.send_ddp(tagged(Opcode::ReadResponse, STAG, BASE, true), &[9; 8]);
        assert_eq!(ulpdus(scene.pump().1).len(), 1);
    }
}

/// RFC5040-s5.2.2-3, s6.1-2, -5; RFC7306-s5.2.2-5: with IRD n, n requests are taken and the next is an error.
#[test]
fn as_many_requests_are_taken_as_ird_says_and_no_more() {
    for ird in [1, 2, 16] {
        let mut scene = Scene::with(Context { ird, ..context() });
        for msn in 1..=u32::from(ird) {
            let request = fetch_add(msn, STAG, BASE, 1);
            if msn % 2 == 0 {
                scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, msn, 0, true), &request);
            } else {
                let request = read_request(msn, 0, 8, (STAG, BASE));
                scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, msn, 0, true), &request);
            }
        }
        assert!(scene.rig.events().is_empty());
        let request = read_request(1, 0, 8, (STAG, BASE));
        let mut other = Scene::with(Context { ird, ..context() });
        scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, u32::from(ird) + 1, 0, true), &request);
        assert_eq!(error(&mut scene), (1, 2, 2));
        // Answered requests make room again.
        for msn in 1..=3 * u32::from(ird) {
            other.send_ddp(untagged(Opcode::ReadRequest, QN_READ, msn, 0, true), &request);
            assert_eq!(ulpdus(other.pump().1).len(), 1);
        }
        assert!(other.rig.events().is_empty());
    }
}

/// RFC5040-s4.4-2: sink STag and sink TO mean nothing to the responder, even where they name its own memory or wrap.
#[test]
fn the_sink_of_a_read_is_returned_as_it_came() {
    let mut scene = Scene::model();
    let sinks = [(0, 0), (STAG, BASE), (u32::MAX, u64::MAX - 10), (1, u64::MAX)];
    for (msn, (stag, to)) in sinks.into_iter().enumerate() {
        let request = read_request(stag, to, 2000, (STAG, BASE));
        scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, msn as u32 + 1, 0, true), &request);
        let headers: Vec<_> = ulpdus(scene.pump().1).iter().map(|ulpdu| split(ulpdu).0).collect();
        let second = to.wrapping_add(MULPDU as u64 - 14);
        let expected =
            [tagged(Opcode::ReadResponse, stag, to, false), tagged(Opcode::ReadResponse, stag, second, true)];
        assert_eq!(headers, expected);
    }
    assert!(scene.rig.events().is_empty());
}

// ---- What is complete when ----

/// RFC5040-s5.5-5: the completion waits for the acknowledgment of the very last byte.
#[test]
fn a_send_or_write_is_complete_only_when_all_of_it_is_acknowledged() {
    for verb in [Verb::Send, Verb::Write] {
        let mut scene = Scene::model();
        scene.rig.post_send(QP, &SendEntry { stag: 1, ..entry(verb, Payload::Sges(vec![sge(0, 4000)])) });
        let sent: u32 = scene.rig.frames().iter().map(|frame| scene::parse(frame).payload.len() as u32).sum();
        assert!(sent > 4000 && completions(&mut scene).is_empty());
        let start = scene.peer.rcv;
        scene.peer.rcv = start + (sent - 1);
        scene.send_flags(TcpFlags::ACK);
        assert!(completions(&mut scene).is_empty(), "{verb:?}: one byte is missing");
        scene.peer.rcv = start + sent;
        scene.send_flags(TcpFlags::ACK);
        assert_eq!(only(&completions(&mut scene)).opcode, verb as u8);
    }
}

/// RFC5040-s5.2.2-4, s5.5-2, -6, -9, -11; RFC7306-s5.2.2-7, s5.4-1, -5: Reads and atomics complete with their responses,
/// in the order they were posted, and what was acknowledged long ago waits for them.
#[test]
fn reads_and_atomics_are_complete_with_their_responses_and_in_order() {
    let mut scene = Scene::model();
    scene.rig.post_send(QP, &read(0, 2000));
    let sink = Payload::Sges(vec![sge(4096, 8)]);
    scene.rig.post_send(QP, &SendEntry { stag: 1, ..entry(Verb::FetchAdd, sink) });
    scene.rig.post_send(QP, &inline(Verb::Send, b"s"));
    let requests = ulpdus(scene.pump().1);
    assert_eq!(requests.iter().map(|ulpdu| opcode(ulpdu)).collect::<Vec<_>>(), [1, 10, 3]);
    let id = AtomicRequest::parse(&split(&requests[1]).1).unwrap().request_id;
    assert!(completions(&mut scene).is_empty());
    scene.send_ddp(tagged(Opcode::ReadResponse, STAG, BASE, false), &pattern(1440, 0));
    assert!(completions(&mut scene).is_empty(), "the response is not all there");
    scene.send_ddp(tagged(Opcode::ReadResponse, STAG, BASE + 1440, true), &pattern(560, 9));
    let done = only(&completions(&mut scene));
    assert_eq!((done.opcode, done.length, done.index), (Verb::Read as u8, 2000, 0));
    assert_eq!(scene.bytes(0, 2000), [pattern(1440, 0), pattern(560, 9)].concat());
    scene.send_ddp(untagged(Opcode::AtomicResponse, QN_ATOMIC, 1, 0, true), &atomic_response(id, 0x55));
    let done: Vec<_> = completions(&mut scene).iter().map(|done| done.opcode).collect();
    assert_eq!(done, [Verb::FetchAdd as u8, Verb::Send as u8]);
    assert_eq!(scene.bytes(4096, 8), 0x55u64.to_le_bytes());
}

/// RFC5041-s4.1-7, s5.2-4, s5.3-5, s5.4-1, -2; RFC5040-s5.3-4, s5.5-1, -7: a message of several segments is delivered when its
/// last segment has come, with its length, and messages in the order they were sent.
#[test]
fn a_message_is_delivered_when_its_last_segment_is_placed() {
    let mut scene = Scene::model();
    for at in 0..3 {
        scene.post_receive(4096 * at, 4096);
    }
    let data = pattern(3000, 5);
    for (msn, cut) in [(1, 1), (2, 1500), (3, 2999)] {
        scene.send_ddp(untagged(Opcode::Send, QN_SEND, msn, 0, false), &data[..cut]);
        assert!(completions(&mut scene).is_empty());
        scene.send_ddp(untagged(Opcode::Send, QN_SEND, msn, cut as u32, true), &data[cut..]);
        let done = only(&completions(&mut scene));
        assert_eq!((done.opcode, done.length, done.index), (OPCODE_RECEIVE, 3000, msn as u16 - 1));
        assert_eq!(scene.bytes(4096 * (msn as usize - 1), 3000), data);
    }
}

/// RFC5041-s3-4, -13, s5.3-4, -5; RFC5040-s5.3-4; RFC5044-s7.1.5-3: lost, repeated and late segments change nothing.
#[test]
fn each_message_is_delivered_once_and_in_order_whatever_tcp_goes_through() {
    let mut scene = Scene::model();
    for at in 0..4 {
        scene.post_receive(64 * at, 64);
    }
    let mut frames = Vec::new();
    for msn in 1..=3 {
        let ulpdu = ulpdu(untagged(Opcode::Send, QN_SEND, msn, 0, true), &[msn as u8]);
        let fpdu = scene.fpdu(&ulpdu);
        frames.push(scene.frame_at(scene.peer.snd, TcpFlags::ACK, &fpdu));
        scene.peer.snd += fpdu.len() as u32;
    }
    let mut seen = Vec::new();
    for at in [1, 2, 1, 0, 0, 2, 1, 0, 2, 2, 1] {
        scene.deliver(&frames[at]);
        scene.pump();
        seen.extend(
            completions(&mut scene).iter().map(|done| scene.bytes(64 * usize::from(done.index), 1)[0]),
        );
    }
    assert_eq!(seen, [1, 2, 3]);
    assert!(scene.rig.events().is_empty());
}

/// RFC5040-s5.5-3, -8; RFC7306-s5.4-3, -4: a request that arrives before what was sent in front of it is not executed.
#[test]
fn a_request_is_executed_only_after_what_was_sent_before_it() {
    let mut scene = Scene::with(Context { ird: 4, ..context() });
    let frame = |scene: &mut Scene, header: DdpHeader, payload: &[u8]| {
        let ulpdu = ulpdu(header, payload);
        let fpdu = scene.fpdu(&ulpdu);
        let frame = scene.frame_at(scene.peer.snd, TcpFlags::ACK, &fpdu);
        scene.peer.snd += fpdu.len() as u32;
        frame
    };
    let write = frame(&mut scene, tagged(Opcode::Write, STAG, BASE, true), &77u64.to_le_bytes());
    let request = read_request(1, 0, 8, (STAG, BASE));
    let read = frame(&mut scene, untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &request);
    let request = fetch_add(1, STAG, BASE, 3);
    let atomic = frame(&mut scene, untagged(Opcode::AtomicRequest, QN_READ, 2, 0, true), &request);
    let request = read_request(1, 0, 0, (0, 0));
    let empty = frame(&mut scene, untagged(Opcode::ReadRequest, QN_READ, 3, 0, true), &request);
    for frame in [&read, &atomic, &empty] {
        scene.deliver(frame);
    }
    assert!(scene.pump().1.is_empty());
    assert_eq!(scene.bytes(0, 8), [0; 8]);
    for frame in [&write, &read, &atomic, &empty] {
        scene.deliver(frame);
    }
    let sent: Vec<_> = ulpdus(scene.pump().1).iter().map(|ulpdu| split(ulpdu).1).collect();
    // The bytes may be fetched when the response leaves, behind the atomic operation.
    assert!([77, 80].map(u64::to_le_bytes).iter().any(|bytes| sent[0] == bytes));
    assert_eq!(sent[1..], [atomic_response(1, 77), vec![]]);
}

/// RFC5040-s5.3-3, -7; RFC7306-s6.3-3, -4: each Send and Immediate Data takes one entry, one without payload too.
#[test]
fn each_send_and_immediate_takes_one_receive_entry() {
    let mut scene = Scene::model();
    for at in 0..5 {
        scene.post_receive(64 * at, 64);
    }
    let messages = [
        (Opcode::Send, &b""[..]),
        (Opcode::ImmediateData, b"12345678"),
        (Opcode::SendSolicited, b"abc"),
        (Opcode::ImmediateDataSolicited, b"ABCDEFGH"),
        (Opcode::Send, b""),
    ];
    for (at, (opcode, payload)) in messages.into_iter().enumerate() {
        scene.send_ddp(untagged(opcode, QN_SEND, at as u32 + 1, 0, true), payload);
        let done = only(&completions(&mut scene));
        assert_eq!((usize::from(done.index), done.length as usize), (at, payload.len()));
        assert_eq!(
            done.immediate.map(|bytes| bytes.to_vec()),
            (payload.len() == 8).then(|| payload.to_vec())
        );
    }
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, 6, 0, true), b"");
    assert_eq!(error(&mut scene), (1, 2, 2), "none is left");
}

/// RFC5040-s5.1-3, s5.2.1-3, -4, -5; RFC7306-s5.2.1-5, -6, -7: they are worked off without the ULP and its buffers.
#[test]
fn writes_reads_and_atomics_of_the_peer_are_not_shown_to_the_ulp() {
    let mut scene = Scene::model();
    scene.post_receive(1024, 64);
    scene.send_ddp(tagged(Opcode::Write, STAG, BASE, true), &41u64.to_le_bytes());
    let request = fetch_add(1, STAG, BASE, 1);
    scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true), &request);
    let request = read_request(1, 0, 8, (STAG, BASE));
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 2, 0, true), &request);
    let answers = ulpdus(scene.pump().1);
    assert_eq!(split(&answers[0]).1, atomic_response(1, 41));
    assert_eq!(split(&answers[1]).1, 42u64.to_le_bytes());
    assert!(completions(&mut scene).is_empty() && scene.rig.events().is_empty());
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 0, true), b"for the ULP");
    assert_eq!(only(&completions(&mut scene)).index, 0, "the first receive entry is still there");
}

// ---- What is ignored ----

/// RFC5040-s4.1-9, -10; RFC5041-s4.1-8, s4.3-5; RFC7306-s4.1-1: reserved bits and an STag to invalidate where none belongs.
#[test]
fn reserved_bits_and_stray_invalidate_stags_are_ignored_on_receipt() {
    let mut scene = Scene::with(Context { ird: 8, ..context() });
    let precious = 0x0044_2066;
    add_region(&mut scene, alias(precious, access::REMOTE_WRITE | access::INVALIDATE));
    let mut requests = 0;
    for (sends, opcode) in
        [Opcode::Send, Opcode::SendSolicited, Opcode::ImmediateData, Opcode::ImmediateDataSolicited]
            .into_iter()
            .enumerate()
    {
        scene.post_receive(2048, 64);
        let header = DdpHeader::Untagged {
            last: true,
            version: 1,
            rdmap_control: 0x70 | opcode as u8,
            inv_stag: precious,
            qn: QN_SEND,
            msn: sends as u32 + 1,
            mo: 0,
        };
        let mut ulpdu = Vec::new();
        header.emit(&mut ulpdu);
        ulpdu[0] |= 0x3c;
        ulpdu.extend(b"01234567");
        scene.send_ulpdu(&ulpdu);
        let done = only(&completions(&mut scene));
        assert_eq!((done.status, done.invalidated, done.length), (Status::Ok, None, 8));
    }
    for (opcode, payload) in [
        (Opcode::ReadRequest, read_request(1, 0, 8, (STAG, BASE))),
        (Opcode::AtomicRequest, fetch_add(1, STAG, BASE, 1)),
    ] {
        requests += 1;
        let control = 0x70 | opcode as u8;
        let fields = [precious, QN_READ, requests, 0].map(u32::to_be_bytes).concat();
        scene.send_ulpdu(&[&[0x7d, control], &fields[..], &payload].concat());
        assert_eq!(ulpdus(scene.pump().1).len(), 1, "{opcode:?}");
    }
    let to = (BASE + 8).to_be_bytes();
    scene.send_ulpdu(&[&[0xfd, 0x70], &precious.to_be_bytes()[..], &to, b"written"].concat());
    assert_eq!(scene.bytes(8, 7), *b"written", "and the STag is still valid");
    assert!(scene.rig.events().is_empty());
}

/// RFC5041-s5.2-9, -10: neither of a Write nor of a Read Response.
#[test]
fn stag_and_to_of_a_zero_length_tagged_segment_are_not_looked_at() {
    let mut scene = Scene::model();
    for (stag, to) in [(0, 0), (0xdead_beef, u64::MAX), (STAG, 0)] {
        scene.send_ddp(tagged(Opcode::Write, stag, to, true), &[]);
        scene.rig.post_send(QP, &read(0, 0));
        assert_eq!(ulpdus(scene.pump().1).len(), 1);
        scene.send_ddp(tagged(Opcode::ReadResponse, stag, to, true), &[]);
        assert_eq!(only(&completions(&mut scene)).status, Status::Ok);
    }
    assert!(scene.rig.events().is_empty());
}

// ---- Access to memory ----

/// Send `message` to a device prepared by `prepare`; the error and whether the bytes at `0x800` of the region changed.
fn attempt(prepare: impl Fn(&mut Scene), kind: Opcode, stag: u32, to: u64) -> Option<(u8, u8, u8)> {
    let mut scene = Scene::model();
    let before = pattern(0x2000, 0x5a);
    assert!(scene.memory.write(0, &before));
    scene.post_receive(0x3000, 64);
    prepare(&mut scene);
    match kind {
        Opcode::Write => scene.send_ddp(tagged(kind, stag, to, true), &[0xee; 8]),
        Opcode::ReadRequest => {
            scene.send_ddp(untagged(kind, QN_READ, 1, 0, true), &read_request(1, 0, 8, (stag, to)));
        }
        Opcode::AtomicRequest => {
            scene.send_ddp(
                untagged(kind, QN_READ, 1, 0, true),
                &fetch_add(1, stag, to, 0x0101_0101_0101_0101),
            );
        }
        _ => {
            let header = DdpHeader::Untagged {
                last: true,
                version: 1,
                rdmap_control: 0x40 | kind as u8,
                inv_stag: stag,
                qn: QN_SEND,
                msn: 1,
                mo: 0,
            };
            scene.send_ddp(header, b"x");
        }
    }
    let answers = ulpdus(scene.pump().1);
    if scene.rig.events().is_empty() {
        let expected = usize::from(matches!(kind, Opcode::ReadRequest | Opcode::AtomicRequest));
        assert_eq!(answers.len(), expected, "{kind:?}");
        return None;
    }
    assert!(answers.is_empty(), "no byte leaves");
    assert_eq!(scene.bytes(0, 0x2000), before, "no byte changes");
    match scene.record() {
        Some(ErrorRecord::Detected { error, .. }) => Some(error),
        other => panic!("{other:?}"),
    }
}

const ACCESSES: [Opcode; 3] = [Opcode::Write, Opcode::ReadRequest, Opcode::AtomicRequest];
const MINE: u32 = 0x0042_0077;

/// RFC5042-s6.1.1-2; RFC5040-s7.2-5, -10, s8.1.1-2; RFC5041-s8.2-1, -4, s8.3.1-2.
#[test]
fn a_stream_cannot_use_an_stag_of_another_protection_domain() {
    let rights = access::REMOTE | access::LOCAL_WRITE | access::INVALIDATE;
    for kind in ACCESSES.into_iter().chain([Opcode::SendInvalidate]) {
        let mine = |scene: &mut Scene| add_region(scene, alias(MINE, rights));
        assert_eq!(attempt(mine, kind, MINE, BASE + 0x800), None);
        let theirs = |scene: &mut Scene| add_region(scene, Region { pd: PD + 1, ..alias(MINE, rights) });
        let expected = match kind {
            Opcode::Write => (1, 1, 2),
            Opcode::SendInvalidate => (0, 1, 9),
            _ => (0, 1, 3),
        };
        assert_eq!(attempt(theirs, kind, MINE, BASE + 0x800), Some(expected), "{kind:?}");
    }
}

/// RFC5042-s6.1.1-1, -3; RFC5040-s8.1.1-3; RFC5041-s8.2-2, -4, s8.3-3, s8.3.1-3: a window belongs to one stream.
#[test]
fn a_window_cannot_be_used_by_another_stream_of_the_same_protection_domain() {
    let rights = access::REMOTE | access::INVALIDATE;
    for kind in ACCESSES.into_iter().chain([Opcode::SendInvalidate]) {
        let window = |qp| {
            move |scene: &mut Scene| {
                add_region(scene, Region { window: true, allocated: true, qp, ..alias(MINE, rights) });
            }
        };
        assert_eq!(attempt(window(QP), kind, MINE, BASE + 0x800), None);
        let expected = match kind {
            Opcode::Write => (1, 1, 2),
            Opcode::SendInvalidate => (0, 1, 9),
            _ => (0, 1, 3),
        };
        assert_eq!(attempt(window(QP + 1), kind, MINE, BASE + 0x800), Some(expected), "{kind:?}");
    }
}

/// RFC5042-s6.2.1-1; RFC5040-s5.2.1-13, s7.2-9, -11, -12, -13, s8.1.1-4; RFC5041-s4.2-6, s7.1-4, s8.3.1-4: a buffer of 4 KiB,
/// once at an ordinary TO and once at the end of the TO space.
#[test]
fn a_peer_reaches_exactly_the_bytes_of_the_buffer() {
    for base in [BASE, 0u64.wrapping_sub(0x1000)] {
        let region = |scene: &mut Scene| {
            let region = Region { base, ..alias(MINE, access::REMOTE) };
            let host = scene.memory.addr() + 0x800;
            scene.rig.entry(&Region { host, ..region });
        };
        for kind in ACCESSES {
            let layer = if kind == Opcode::Write { 1 } else { 0 };
            for inside in [base, base + 0xff8] {
                assert_eq!(attempt(region, kind, MINE, inside), None, "{kind:?} {inside:x}");
            }
            // Eight bytes that begin or end outside. Below 2^64 the name of the error is "bounds", across it "wrap".
            let wrap = if kind == Opcode::Write { (1, 1, 3) } else { (0, 1, 4) };
            for outside in [base - 1, base.wrapping_sub(8), base + 0xff9, base.wrapping_add(0x1000)] {
                let wraps = outside.checked_add(7).is_none();
                let expected = if wraps { wrap } else { (layer, 1, 1) };
                assert_eq!(attempt(region, kind, MINE, outside), Some(expected), "{kind:?} {outside:x}");
            }
            assert_eq!(attempt(region, kind, MINE ^ 1, base), Some((layer, 1, 0)), "another key");
        }
    }
}

/// RFC5040-s8.1.1-5, -6; RFC5041-s8.3-1, -2, s8.3.1-5, -6: each right is given and taken for itself, and the range too.
#[test]
fn rights_and_range_of_a_buffer_are_established_and_revoked() {
    let rights = [access::REMOTE_WRITE, access::REMOTE_READ, access::REMOTE_ATOMIC];
    for (kind, right) in ACCESSES.into_iter().zip(rights) {
        let refused = if kind == Opcode::Write { (1, 1, 0) } else { (0, 1, 2) };
        let only_it = |scene: &mut Scene| add_region(scene, alias(MINE, right));
        assert_eq!(attempt(only_it, kind, MINE, BASE), None);
        let all_but_it = |scene: &mut Scene| add_region(scene, alias(MINE, access::REMOTE & !right));
        assert_eq!(attempt(all_but_it, kind, MINE, BASE), Some(refused), "{kind:?}");
        let taken = |scene: &mut Scene| {
            only_it(scene);
            all_but_it(scene);
        };
        assert_eq!(attempt(taken, kind, MINE, BASE), Some(refused), "{kind:?}: taken back");
        let moved = |scene: &mut Scene| {
            only_it(scene);
            assert_eq!(scene.rig.command(Command::Invalidate, 0, MINE), CommandStatus::Ok);
            add_region(scene, Region { length: 0x10, ..alias(MINE, right) });
        };
        let layer = refused.0;
        assert_eq!(attempt(moved, kind, MINE, BASE + 0x10), Some((layer, 1, 1)), "{kind:?}: shorter now");
        let gone = |scene: &mut Scene| {
            only_it(scene);
            assert_eq!(scene.rig.command(Command::Invalidate, 0, MINE), CommandStatus::Ok);
        };
        assert_eq!(attempt(gone, kind, MINE, BASE), Some((layer, 1, 0)), "{kind:?}: revoked");
    }
}

/// RFC5042-s6.2.2-2; RFC5040-s8.1.1-7; RFC5041-s8.3.1-7: by each of the four ways, in the middle of a message.
#[test]
fn a_revoked_buffer_is_not_written_any_more_not_even_by_the_rest_of_a_message() {
    let ways: [fn(&mut Scene); 4] = [
        |scene| assert_eq!(scene.rig.command(Command::Invalidate, 0, MINE), CommandStatus::Ok),
        |scene| {
            scene.rig.post_send(QP, &SendEntry { stag: MINE, ..SendEntry::new(Verb::LocalInvalidate) });
            scene.pump();
        },
        |scene| {
            let index = (MINE >> 8 & 0xff) as u16;
            scene.rig.window(Table::Region, index, 0, &[0]);
        },
        |scene| {
            scene.post_receive(0x3000, 64);
            let fields = [MINE, QN_SEND, 1, 0].map(u32::to_be_bytes).concat();
            scene.send_ulpdu(&[&[0x41, 0x44], &fields[..]].concat());
            assert_eq!(only(&completions(scene)).invalidated, Some(MINE));
        },
    ];
    for (at, way) in ways.into_iter().enumerate() {
        let mut scene = Scene::model();
        add_region(&mut scene, alias(MINE, access::REMOTE_WRITE | access::INVALIDATE));
        scene.send_ddp(tagged(Opcode::Write, MINE, BASE, false), &[1; 100]);
        assert_eq!(scene.bytes(0, 100), [1; 100]);
        way(&mut scene);
        scene.send_ddp(tagged(Opcode::Write, MINE, BASE + 100, true), &[2; 100]);
        assert_eq!(scene.bytes(100, 100), [0; 100], "way {at}");
        assert_eq!(error(&mut scene), (1, 1, 0), "way {at}");
    }
}

/// RFC5042-s6.2.2-2: no byte is read for a response either once the source is revoked.
#[test]
fn a_revoked_buffer_is_not_read_any_more_not_even_for_a_response_under_way() {
    let mut scene = Scene::model();
    assert!(scene.memory.write(0, &[1; 0x1000]));
    add_region(&mut scene, alias(MINE, access::REMOTE_READ));
    scene.peer.window = 1460;
    scene.send_flags(TcpFlags::ACK);
    let request = read_request(1, 0, 0x1000, (MINE, BASE));
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &request);
    // Only the first segment fits the window; it is not acknowledged.
    assert_eq!(scene.rig.frames().iter().filter(|frame| !scene::parse(frame).payload.is_empty()).count(), 1);
    assert_eq!(scene.rig.command(Command::Invalidate, 0, MINE), CommandStatus::Ok);
    assert!(scene.memory.write(0, &[2; 0x1000]));
    scene.peer.rcv += 1460;
    scene.peer.window = 60_000;
    scene.send_flags(TcpFlags::ACK);
    let (segments, _) = scene.pump();
    assert!(segments.iter().all(|sent| sent.payload.is_empty()), "{segments:?}");
    let events = scene.rig.events();
    assert_eq!(only(&events).kind, EventKind::QpError);
}

/// RFC5040-s5.3-10, s7.2-4: what a peer can invalidate, and what it cannot.
#[test]
fn a_send_with_invalidate_invalidates_what_it_may_and_nothing_else() {
    let window = Region { window: true, qp: QP, ..alias(MINE, access::REMOTE_WRITE | access::INVALIDATE) };
    for (opcode, solicited) in [(Opcode::SendInvalidate, false), (Opcode::SendSolicitedInvalidate, true)] {
        let header = |stag| DdpHeader::Untagged {
            last: true,
            version: 1,
            rdmap_control: 0x40 | opcode as u8,
            inv_stag: stag,
            qn: QN_SEND,
            msn: 1,
            mo: 0,
        };
        let mut scene = Scene::model();
        add_region(&mut scene, window);
        scene.post_receive(0x3000, 64);
        scene.send_ddp(header(MINE), b"x");
        let done = only(&completions(&mut scene));
        assert_eq!((done.status, done.invalidated, done.solicited), (Status::Ok, Some(MINE), solicited));
        scene.send_ddp(tagged(Opcode::Write, MINE, BASE, true), b"x");
        assert_eq!(error(&mut scene), (1, 1, 0));
        // Unknown, already invalid, not invalidatable: the STag stays as it is and the peer is told.
        let plain = Region { access: access::REMOTE_WRITE, ..alias(MINE, 0) };
        let invalid = Region { valid: false, ..window };
        for (region, stag) in [(plain, MINE), (invalid, MINE), (window, MINE ^ 1), (window, 0)] {
            let mut scene = Scene::model();
            add_region(&mut scene, region);
            scene.post_receive(0x3000, 64);
            scene.send_ddp(header(stag), b"x");
            assert!(completions(&mut scene).is_empty());
            let (error, ddp, _) = detected(&mut scene);
            assert_eq!(error, (0, 1, 9));
            let mut bytes = Vec::new();
            header(stag).emit(&mut bytes);
            assert_eq!(ddp, Some((19, bytes)));
        }
    }
}

/// RFC5042-s6.4.6-1; RFC5040-s8.1.1-12.
#[test]
fn an_overflow_of_one_completion_queue_leaves_other_streams_alone() {
    let mut scene = Scene::model();
    let mut second = second(&mut scene);
    scene.swap(&mut second);
    scene.post_receive(0, 64);
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 0, true), b"before");
    assert_eq!(only(&scene.rig.completions(SECOND.1, true)).length, 6);
    scene.swap(&mut second);
    // 256 completions that nobody takes, and one more.
    for at in 0..257u32 {
        scene.post_receive(64, 64);
        scene.send_ddp(untagged(Opcode::Send, QN_SEND, at + 1, 0, true), b"flood");
    }
    let events: Vec<_> = scene.rig.events().iter().map(|event| (event.kind, event.object)).collect();
    assert_eq!(events, [(EventKind::CqOverflow, CQ), (EventKind::QpError, QP)]);
    scene.swap(&mut second);
    scene.post_receive(0, 64);
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, 2, 0, true), b"after it");
    assert_eq!(only(&scene.rig.completions(SECOND.1, true)).length, 8);
    let request = read_request(1, 0, 8, (STAG, BASE));
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &request);
    assert_eq!(ulpdus(scene.pump().1), [tagged_bytes(2, 1, 0, b"after it")]);
    assert!(scene.rig.events().is_empty());
}

/// RFC7306-s5-1, s5.3-1, s5.4-2: interleaved operations of two streams on one word, each value is seen once.
#[test]
fn atomics_of_two_streams_on_one_word_do_not_disturb_each_other() {
    let mut scene = Scene::with(Context { ird: 16, ..context() });
    let mut second = second(&mut scene);
    let mut originals = Vec::new();
    for msn in 1..=40 {
        for _ in 0..2 {
            let request = fetch_add(msn, STAG, BASE, 1);
            scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, msn, 0, true), &request);
            scene.swap(&mut second);
        }
        if msn % 4 != 0 {
            continue;
        }
        for _ in 0..2 {
            for ulpdu in ulpdus(scene.pump().1) {
                originals.push(AtomicResponse::parse(&split(&ulpdu).1).unwrap().original);
            }
            scene.swap(&mut second);
        }
    }
    originals.sort_unstable();
    assert_eq!(originals, (0..80).collect::<Vec<_>>());
    assert_eq!(scene.bytes(0, 8), 80u64.to_le_bytes());
}

/// RFC7306-s5-2, s5.1.2-1, s5.2.1-1: both operations, with masks, at the pins.
#[test]
fn masked_atomics_change_exactly_the_masked_bits() {
    let cases = [
        // FetchAdd of two 32-bit fields: the carry out of the lower is dropped.
        (0, 0x0000_0001_ffff_ffff, (2, 0x8000_0000_8000_0000), (0, u64::MAX), 0x0000_0001_0000_0001),
        (0, u64::MAX, (1, 0), (0, u64::MAX), 0),
        // CmpSwap: the low byte is compared, the byte above it replaced.
        (2, 0x1111_2222_3333_4455, (0xaa00, 0xff00), (0x55, 0xff), 0x1111_2222_3333_aa55),
        (2, 0x1111_2222_3333_4455, (0xaa00, 0xff00), (0x54, 0xff), 0x1111_2222_3333_4455),
        (2, 9, (7, u64::MAX), (9, u64::MAX), 7),
    ];
    for (opcode, before, (value, mask), (compare, compare_mask), after) in cases {
        let mut scene = Scene::model();
        assert!(scene.memory.write(16, &u64::to_le_bytes(before)));
        let mut request = Vec::new();
        AtomicRequest {
            opcode,
            request_id: 1,
            stag: STAG,
            to: BASE + 16,
            add_or_swap: value,
            add_or_swap_mask: mask,
            compare,
            compare_mask,
        }
        .emit(&mut request);
        scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true), &request);
        assert_eq!(split(&ulpdus(scene.pump().1)[0]).1, atomic_response(1, before));
        assert_eq!(scene.bytes(16, 8), u64::to_le_bytes(after));
    }
}

/// RFC7306-s5.2.2-6: the responses of all requests that may be outstanding are taken, and each goes where it belongs.
#[test]
fn every_atomic_that_is_outstanding_has_room_for_its_response() {
    let mut scene = Scene::with(Context { ord: 16, ..context() });
    for at in 0..16 {
        let sink = Payload::Sges(vec![sge(8 * at, 8)]);
        scene.rig.post_send(QP, &SendEntry { stag: 1, ..entry(Verb::CompareSwap, sink) });
    }
    let requests = ulpdus(scene.pump().1);
    let mut ids: Vec<u32> =
        requests.iter().map(|ulpdu| AtomicRequest::parse(&ulpdu[18..]).unwrap().request_id).collect();
    for (at, id) in (0..16).zip(&ids) {
        let header = untagged(Opcode::AtomicResponse, QN_ATOMIC, at as u32 + 1, 0, true);
        scene.send_ddp(header, &atomic_response(*id, 1000 + at));
    }
    assert_eq!(completions(&mut scene).len(), 16);
    let expected: Vec<u8> = (1000..1016u64).flat_map(u64::to_le_bytes).collect();
    assert_eq!(scene.bytes(0, 128), expected);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 16, "no two have the same identifier");
}

/// RFC5040-s8.1.2-7; RFC5042-s6.4.3.3-1: a peer that uses up the requests of its stream takes nothing from another.
#[test]
fn each_stream_has_read_requests_of_its_own() {
    let mut scene = Scene::with(Context { ird: 16, ..context() });
    let mut second = second(&mut scene);
    let request = read_request(1, 0, 8, (STAG, BASE));
    for msn in 1..=17 {
        scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, msn, 0, true), &request);
    }
    assert_eq!(error(&mut scene), (1, 2, 2));
    scene.swap(&mut second);
    for msn in 1..=16 {
        scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, msn, 0, true), &request);
    }
    assert_eq!(ulpdus(scene.pump().1).len(), 16);
    assert!(scene.rig.events().is_empty());
}

/// RFC5040-s8.1.2-8; RFC5041-s8.3.2-7; RFC5042-s6.4.3.1-1: software hears when buffers that streams share run low, and
/// which stream took them.
#[test]
fn a_shared_receive_queue_tells_when_it_runs_low_and_who_took_from_it() {
    let mut rig = Rig::device();
    rig.srq(1, PD);
    let mut scene = Scene::new(rig, Context { srq: Some(1), ..context() });
    let other = Context { srq: Some(1), ..context() };
    let mut modest = Peer::connect(&mut scene.rig, SECOND.0, PORT + 1, other);
    for slot in 0..10 {
        scene.rig.post_shared(1, slot, vec![sge(u64::from(slot) * 64, 64)]);
    }
    scene.rig.ring(Page::Srq(1), srq_doorbell::LIMIT, 3);
    scene.swap(&mut modest);
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 0, true), b"one");
    scene.swap(&mut modest);
    for msn in 1..=6 {
        assert!(scene.rig.events().is_empty());
        scene.send_ddp(untagged(Opcode::Send, QN_SEND, msn, 0, true), b"many");
    }
    assert!(scene.rig.events().is_empty(), "three are left");
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, 7, 0, false), b"half a message takes one, too");
    let event = only(&scene.rig.events());
    assert_eq!((event.kind, event.object), (EventKind::SrqLimit, 1));
    let mut taken = [0; 3];
    for done in completions(&mut scene) {
        taken[usize::from(done.qp)] += 1;
    }
    assert_eq!(taken, [0, 6, 1]);
}

// ---- MPA ----

/// RFC5044-s4.2-1 to -3, s4.3-1 to -5, -7, -8, -9, s7.1.1-9: the device's stream, read byte by byte, over the wrap of the
/// sequence numbers.
#[test]
fn markers_stand_at_every_512th_byte_and_point_at_their_fpdu() {
    let mut scene = Scene::with(Context { markers_tx: true, mulpdu: 1442, ..context() });
    assert!(scene.memory.write(0, &pattern(6000, 0)));
    let lengths: Vec<u32> = (0..300).map(|at| at * 37 % 1500).chain([6000]).collect();
    let start = scene.peer.rcv;
    let mut stream = Vec::new();
    for length in &lengths {
        scene.rig.post_send(QP, &entry(Verb::Send, Payload::Sges(vec![sge(0, *length)])));
        completions(&mut scene);
        for sent in scene.pump().0 {
            stream.extend(sent.payload);
        }
    }
    assert!(scene.peer.rcv.0 < start.0, "the sequence numbers wrapped");
    let (mut at, mut messages, mut between) = (0, 0, 0);
    while at < stream.len() {
        // An FPDU, read octet by octet with the markers taken out.
        let (first, mut length_at, mut body) = (at, None, Vec::new());
        let mut need = usize::MAX;
        while body.len() < need {
            if at % 512 == 0 {
                let pointer = length_at.map_or(0, |length_at| at - length_at) as u16;
                assert_eq!(stream[at..at + 4], [0, 0, (pointer >> 8) as u8, pointer as u8], "at {at}");
                between += usize::from(length_at.is_none());
                at += 4;
                continue;
            }
            length_at.get_or_insert(at);
            body.push(stream[at]);
            at += 1;
            if body.len() == 2 {
                need = (2 + usize::from(u16::from_be_bytes([body[0], body[1]]))).next_multiple_of(4);
            }
        }
        if at % 512 == 0 {
            let pointer = (at - length_at.unwrap()) as u16;
            assert_eq!(stream[at + 2..at + 4], pointer.to_be_bytes());
            at += 4;
        }
        assert_eq!(stream[at..at + 4], crc::to_wire(crc::fpdu_crc(&stream[first..at])));
        at += 4;
        messages += usize::from(body[2] & 0x40 != 0);
    }
    assert_eq!((at, messages), (stream.len(), lengths.len()));
    assert!(between > 1, "some markers stand between FPDUs");
}

/// RFC5044-s7.1.1-8: not asked for, not sent.
#[test]
fn without_a_request_for_markers_there_are_none() {
    let mut scene = Scene::model();
    scene.rig.post_send(QP, &entry(Verb::Send, Payload::Sges(vec![sge(0, 1436)])));
    let (segments, _) = scene.pump();
    assert_eq!(
        segments[0].payload.len(),
        2 + 18 + 1436 + 4,
        "length, headers, payload, CRC and nothing else"
    );
}

/// RFC5044-s3-1, s4.1-1, -2, s4.4-8, -9, -10, s5.1-3: length, ULPDU, zero pad, CRC; one FPDU after the other, and segments
/// begin and end with them.
#[test]
fn fpdus_are_padded_with_zeros_and_segments_hold_whole_ones() {
    let mut scene = Scene::model();
    assert!(scene.memory.write(0, &[0xff; 4000]));
    let lengths = [0, 1, 2, 3, 4, 5, 6, 7, 100, 1436, 3999];
    for length in lengths {
        scene.rig.post_send(QP, &entry(Verb::Send, Payload::Sges(vec![sge(0, length)])));
    }
    let mut lasts = 0;
    for sent in scene.pump().0 {
        let mut rest = &sent.payload[..];
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            let end = (2 + length).next_multiple_of(4);
            assert!(rest[2 + length..end].iter().all(|byte| *byte == 0), "pad");
            assert_eq!(rest[end..end + 4], crc::to_wire(crc::fpdu_crc(&rest[..end])));
            lasts += usize::from(rest[2] & 0x40 != 0);
            rest = &rest[end + 4..];
        }
    }
    assert_eq!(lasts, lengths.len());
}

/// RFC5044-s4.1-2, -3, s7.1.1-10, -12, s4.4-7: the pad may hold anything, and without CRCs the CRC field too.
#[test]
fn pad_and_unused_crc_are_not_looked_at() {
    for with_crc in [true, false] {
        let mut scene = Scene::with(Context { crc: with_crc, ..context() });
        let ulpdu = ulpdu(tagged(Opcode::Write, STAG, BASE, true), &[7]);
        let mut fpdu = scene.fpdu(&ulpdu);
        let end = fpdu.len() - 4;
        fpdu[end - 3..end].copy_from_slice(&[1, 2, 3]);
        let field =
            if with_crc { crc::to_wire(crc::fpdu_crc(&fpdu[..end])) } else { [0xde, 0xad, 0xbe, 0xef] };
        fpdu[end..].copy_from_slice(&field);
        scene.send(&fpdu);
        assert_eq!(scene.bytes(0, 1), [7]);
        assert!(scene.rig.events().is_empty());
    }
}

/// RFC5044-s7.1.2-10: not after an ACK, not after half an FPDU; after the first whole one, whatever it carries.
#[test]
fn a_responder_sends_nothing_before_it_has_received_an_fpdu() {
    for (markers_tx, markers_rx) in [(false, false), (true, true)] {
        let context = Context { hold: true, markers_tx, markers_rx, mulpdu: 1442, ..context() };
        let mut scene = Scene::with(context);
        scene.rig.post_send(QP, &inline(Verb::Send, b"first"));
        assert!(scene.pump().1.is_empty());
        scene.send_flags(TcpFlags::ACK);
        let (segments, _) = scene.pump_after(ONE_SECOND);
        assert!(segments.iter().all(|sent| sent.payload.is_empty()));
        let ulpdu = ulpdu(tagged(Opcode::Write, 0, 0, true), &[]);
        let fpdu = scene.fpdu(&ulpdu);
        let (head, tail) = fpdu.split_at(fpdu.len() - 1);
        scene.send(head);
        assert!(scene.pump().0.iter().all(|sent| sent.payload.is_empty()));
        scene.send(tail);
        assert_eq!(ulpdus(scene.pump().1).len(), 1);
    }
    // A bad one does not count.
    let mut scene = Scene::with(Context { hold: true, ..context() });
    scene.rig.post_send(QP, &inline(Verb::Send, b"first"));
    let ulpdu = ulpdu(tagged(Opcode::Write, 0, 0, true), &[]);
    let mut fpdu = scene.fpdu(&ulpdu);
    *fpdu.last_mut().unwrap() ^= 1;
    scene.send(&fpdu);
    assert!(scene.pump().0.iter().all(|sent| sent.payload.is_empty()));
    assert_eq!(error(&mut scene), (2, 0, 2));
}

/// RFC5044-s3-4, -5: at ACTIVATE and at MODIFY.
#[test]
fn a_mulpdu_outside_of_128_to_64768_is_refused() {
    for (mulpdu, expected) in [
        (127, CommandStatus::BadContent),
        (128, CommandStatus::Ok),
        (64_768, CommandStatus::Ok),
        (64_769, CommandStatus::BadContent),
    ] {
        let mut rig = Rig::device();
        rig.cq(CQ, 4);
        let context = Context { mulpdu, sq_log2: 4, rq_log2: 4, ..context() };
        rig.window(Table::Context, QP, 0, &context.encode());
        let words = ironwarp_proto::abi::context::encode_template(&template_for(PORT));
        rig.window(Table::Template, QP, 0, &words);
        assert_eq!(rig.command(Command::Activate, QP, 0), expected, "{mulpdu}");
        let mut scene = Scene::model();
        let modified = scene.rig.command(Command::Modify, QP, u32::from(mulpdu) << 16 | 1460);
        assert_eq!(modified, expected, "{mulpdu}");
    }
}

/// RFC5041-s3-2, -3: a new MULPDU counts for what is cut from then on; what was sent is sent again as it was.
#[test]
fn a_new_mulpdu_is_for_new_segments_and_old_ones_are_repeated_unchanged() {
    let mut scene = Scene::model();
    let payload = || Payload::Sges(vec![sge(0, 4000)]);
    scene.rig.post_send(QP, &entry(Verb::Send, payload()));
    let bytes =
        |frames: &[Frame]| frames.iter().flat_map(|frame| scene::parse(frame).payload).collect::<Vec<_>>();
    let first = bytes(&scene.rig.frames());
    assert_eq!(scene.rig.command(Command::Modify, QP, 506 << 16 | 512), CommandStatus::Ok);
    // The peer acknowledges nothing: all of it comes again at the time-out.
    let mut again = Vec::new();
    let mut acknowledged = scene.peer.rcv;
    while again.len() < first.len() {
        let frames = scene.rig.elapse(ONE_SECOND);
        for sent in frames.iter().map(|frame| scene::parse(frame)).filter(|sent| !sent.payload.is_empty()) {
            assert!(sent.payload.len() <= 512);
            if sent.tcp.seq == acknowledged {
                acknowledged += sent.payload.len() as u32;
                again.extend(sent.payload);
            }
        }
        scene.ack(acknowledged, scene.peer.window);
    }
    assert_eq!(again, first);
    scene.peer.rcv = acknowledged;
    scene.rig.post_send(QP, &entry(Verb::Send, payload()));
    let new = ulpdus(scene.pump().1);
    assert!(new.iter().all(|ulpdu| ulpdu.len() <= 506));
    assert_eq!(new[0].len(), 506);
}

/// RFC5041-s3-10, -11, s6.2.1-3, -4, -5; RFC5044-s7.2-1: the peer's FIN is told and our half goes on; ours leaves behind all
/// that was posted, and the peer's half goes on.
#[test]
fn each_half_of_the_stream_ends_by_itself() {
    let mut scene = Scene::model();
    scene.send_flags(TcpFlags::FIN);
    let event = only(&scene.rig.events());
    assert_eq!((event.kind, event.code), (EventKind::PeerClosed, 0));
    scene.rig.post_send(QP, &entry(Verb::Send, Payload::Sges(vec![sge(0, 4000)])));
    scene.ring(doorbell::FIN, 0);
    let (segments, fpdus) = scene.pump();
    assert_eq!(ulpdus(fpdus).len(), 3, "sent before the FIN");
    assert!(segments.last().unwrap().tcp.flags.contains(TcpFlags::FIN));
    assert_eq!(only(&completions(&mut scene)).status, Status::Ok);
    assert_eq!(only(&scene.rig.events()).kind, EventKind::FinAcked);

    let mut scene = Scene::model();
    scene.ring(doorbell::FIN, 0);
    assert!(scene.pump().0.iter().any(|sent| sent.tcp.flags.contains(TcpFlags::FIN)));
    assert_eq!(only(&scene.rig.events()).kind, EventKind::FinAcked);
    scene.post_receive(0, 64);
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 0, true), b"still heard");
    assert_eq!(only(&completions(&mut scene)).length, 11);
    assert_eq!(scene.bytes(0, 11), *b"still heard");
}

/// RFC5041-s3-4, s6.2.2-1, s7-1; RFC5044-s8-1 code 1: RST, and a peer that is silent for too long.
#[test]
fn a_lost_connection_is_told() {
    let mut scene = Scene::model();
    scene.send_flags(TcpFlags::RST);
    let event = only(&scene.rig.events());
    assert_eq!((event.kind, event.code), (EventKind::QpError, ErrorCause::Reset as u8));

    let mut scene = Scene::model();
    scene.rig.post_send(QP, &inline(Verb::Send, b"anybody?"));
    let sent = scene.hear_after(1000 * ONE_SECOND);
    assert!(sent.len() > 3);
    let event = only(&scene.rig.events());
    assert_eq!((event.kind, event.code), (EventKind::QpError, ErrorCause::RetryExceeded as u8));
    assert!(completions(&mut scene).is_empty());
}

/// RFC5041-sA-1: in rdma mode payload never waits in the device, so the window is open again with each ACK.
#[test]
fn the_receive_window_stays_open() {
    let mut scene = Scene::model();
    let context = context();
    for _ in 0..300 {
        scene.send_ddp(tagged(Opcode::Write, STAG, BASE, true), &[1; 1400]);
        for sent in scene.pump().0 {
            assert!(u32::from(sent.tcp.window) << context.rcv_wscale >= context.rcv_wnd - 2 * 1460);
        }
    }
}

/// RFC5041-s4.2-8; RFC5040-s7.2-2: STag, offset, length and end of a response are those of the request.
#[test]
fn a_read_response_must_be_the_one_that_was_asked_for() {
    let answer = |stag, to, last, length| {
        let mut scene = Scene::model();
        scene.rig.post_send(QP, &read(64, 100));
        scene.pump();
        scene.send_ddp(tagged(Opcode::ReadResponse, stag, to, last), &vec![1; length]);
        let done = completions(&mut scene);
        if done.is_empty() {
            assert_eq!(scene.bytes(0, 256), [0; 256]);
            Err(error(&mut scene))
        } else {
            Ok(only(&done).length)
        }
    };
    assert_eq!(answer(STAG, BASE + 64, true, 100), Ok(100));
    assert_eq!(answer(STAG + 1, BASE + 64, true, 100), Err((1, 1, 0)));
    assert_eq!(answer(STAG, BASE + 63, true, 100), Err((1, 1, 1)));
    assert_eq!(answer(STAG, BASE + 64, true, 101), Err((1, 1, 1)));
    assert_eq!(answer(STAG, BASE + 64, true, 99), Err((0, 2, 0xff)));
    assert_eq!(answer(STAG, BASE + 64, false, 100), Err((0, 2, 0xff)));
}

// ---- Errors ----

/// RFC5040-s5.4-5, -8, s6.2.1-3; RFC5041-s6.2.2-3, s7.1-8: one Terminate, then retransmissions of what was sent, then FIN.
#[test]
fn after_a_terminate_no_other_message_leaves() {
    let mut scene = Scene::model();
    scene.send_ddp(tagged(Opcode::Write, 1, 0, true), b"x");
    assert_eq!(error(&mut scene), (1, 1, 0));
    scene.terminate(&[0x11, 0, 0, 0]);
    let frames: Vec<_> = scene.rig.frames().iter().map(|frame| scene::parse(frame)).collect();
    let sent: Vec<_> = frames.iter().filter(|sent| !sent.payload.is_empty()).collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].payload[2..6], [0x41, 0x47, 0, 0]);
    // Work, a request of the peer and another Terminate come too late.
    scene.rig.post_send(QP, &inline(Verb::Send, b"late"));
    let request = read_request(1, 0, 8, (STAG, BASE));
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &request);
    scene.ring(doorbell::TERMINATE, 0);
    for frame in scene.rig.elapse(3 * ONE_SECOND) {
        let again = scene::parse(&frame);
        assert!(again.payload.is_empty() || again.payload == sent[0].payload);
    }
    assert_eq!(scene.pump_after(60 * ONE_SECOND).1.len(), 1, "the peer gets it once");
    scene.ring(doorbell::FIN, 0);
    let (segments, fpdus) = scene.pump();
    assert!(fpdus.is_empty() && segments.iter().any(|sent| sent.tcp.flags.contains(TcpFlags::FIN)));
    assert!(scene.pump_after(60 * ONE_SECOND).1.is_empty());
}

/// RFC5040-s7.1-1, -3; RFC5041-s6.2-1, s6.2.2-1, -4, s7.1-5, -6, -7; RFC5044-s8-5, -6: what follows an error is dropped, the
/// first error is the one that is told, with length and header, and the connection stays until software ends it.
#[test]
fn after_an_error_nothing_is_placed_and_the_first_error_is_told() {
    // All in one segment, cut anywhere, and each FPDU in a segment of its own.
    for manner in 0..3 {
        let mut scene = Scene::model();
        scene.post_receive(0x3000, 64);
        let ulpdus = [
            (tagged(Opcode::Write, 0x999, 5, true), &b"first"[..]),
            (tagged(Opcode::Write, STAG, BASE, true), b"good"),
            (untagged(Opcode::Send, QN_SEND, 1, 0, true), b"good"),
            (untagged(Opcode::Send, QN_SEND, 9, 9, true), b"bad"),
        ];
        let fpdus = ulpdus.map(|(header, payload)| scene.fpdu(&ulpdu(header, payload)));
        match manner {
            0 => scene.send(&fpdus.concat()),
            1 => fpdus.concat().chunks(50).for_each(|piece| scene.send(piece)),
            _ => fpdus.iter().for_each(|fpdu| scene.send(fpdu)),
        }
        let (error, ddp, rdmap) = detected(&mut scene);
        let mut header = Vec::new();
        ulpdus[0].0.emit(&mut header);
        assert_eq!((error, ddp, rdmap), ((1, 1, 0), Some((19, header)), None));
        assert_eq!(scene.bytes(0, 4), [0; 4]);
        assert!(completions(&mut scene).is_empty());
        // The stream is not torn down: the peer's bytes are acknowledged, no FIN and no RST leaves.
        let (segments, _) = scene.pump_after(10 * ONE_SECOND);
        assert_eq!(segments.last().unwrap().tcp.ack, scene.peer.snd);
        let end = |flags: TcpFlags| flags.contains(TcpFlags::FIN) || flags.contains(TcpFlags::RST);
        assert!(!segments.iter().any(|sent| end(sent.tcp.flags)));
        assert!(scene.rig.events().is_empty());
    }
}

/// RFC5040-s7.1-2, s7.2-1 to -3, -6 to -8, s4.8-3; RFC5041-s7.1-1, s7.2-1; RFC7306-s8.1-1, s8.2-1 to -4, s5.2.1-8, s6.3-8: one
/// thing wrong in a message that is right otherwise.
#[test]
fn each_wrong_field_has_its_error_and_places_nothing() {
    let send = || untagged(Opcode::Send, QN_SEND, 1, 0, true);
    let request = || untagged(Opcode::ReadRequest, QN_READ, 1, 0, true);
    let atomic = || untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true);
    let immediate = || untagged(Opcode::ImmediateData, QN_SEND, 1, 0, true);
    let write = || tagged(Opcode::Write, STAG, BASE, true);
    let reading = read_request(1, 0, 8, (STAG, BASE));
    let adding = fetch_add(1, STAG, BASE, 1);
    let swapping = |opcode: u8| {
        let mut bytes = fetch_add(1, STAG, BASE, 1);
        bytes[3] = opcode;
        bytes
    };
    /// Header, payload, a byte to change in the ULPDU and its new value, error numbers.
    type Case = (DdpHeader, Vec<u8>, (usize, u8), (u8, u8, u8));
    let cases: Vec<Case> = vec![
        // DDP version.
        (write(), vec![1; 8], (0, 0xc0), (1, 1, 4)),
        (send(), vec![1; 8], (0, 0x42), (1, 2, 6)),
        (request(), reading.clone(), (0, 0x43), (1, 2, 6)),
        (atomic(), adding.clone(), (0, 0x40), (1, 2, 6)),
        (immediate(), vec![1; 8], (0, 0x40), (1, 2, 6)),
        // RDMAP version.
        (write(), vec![1; 8], (1, 0x80), (0, 2, 5)),
        (send(), vec![1; 8], (1, 0xc3), (0, 2, 5)),
        (request(), reading.clone(), (1, 0x81), (0, 2, 5)),
        (atomic(), adding.clone(), (1, 0x8a), (0, 2, 5)),
        (immediate(), vec![1; 8], (1, 0x88), (0, 2, 5)),
        // Opcode: unknown, of the other buffer model, of another queue.
        (write(), vec![1; 8], (1, 0x4c), (0, 2, 6)),
        (write(), vec![1; 8], (1, 0x43), (0, 2, 6)),
        (send(), vec![1; 8], (1, 0x4f), (0, 2, 6)),
        (send(), vec![1; 8], (1, 0x40), (0, 2, 6)),
        (send(), reading.clone(), (1, 0x41), (0, 2, 6)),
        (request(), reading.clone(), (1, 0x43), (0, 2, 6)),
        (atomic(), adding.clone(), (1, 0x48), (0, 2, 6)),
        (immediate(), vec![1; 8], (1, 0x4b), (0, 2, 6)),
        (untagged(Opcode::AtomicResponse, QN_ATOMIC, 1, 0, true), vec![0; 12], (1, 0x43), (0, 2, 6)),
        // A response that nobody waits for.
        (tagged(Opcode::ReadResponse, STAG, BASE, true), vec![1; 8], (1, 0x42), (0, 2, 6)),
        (untagged(Opcode::AtomicResponse, QN_ATOMIC, 1, 0, true), vec![0; 12], (1, 0x4b), (0, 2, 6)),
        // Queue number.
        (send(), vec![1; 8], (9, 4), (1, 2, 1)),
        (send(), vec![1; 8], (6, 0x80), (1, 2, 1)),
        // Message sequence number.
        (send(), vec![1; 8], (13, 0), (1, 2, 3)),
        (send(), vec![1; 8], (13, 2), (1, 2, 3)),
        (request(), reading.clone(), (10, 1), (1, 2, 3)),
        (atomic(), adding.clone(), (13, 0), (1, 2, 3)),
        (immediate(), vec![1; 8], (13, 2), (1, 2, 3)),
        // Message offset.
        (send(), vec![1; 8], (17, 4), (1, 2, 4)),
        (send(), vec![1; 8], (14, 0xff), (1, 2, 4)),
        (request(), reading.clone(), (17, 1), (1, 2, 4)),
        (atomic(), adding.clone(), (17, 1), (1, 2, 4)),
        (immediate(), vec![1; 8], (17, 8), (1, 2, 4)),
        // Too long for its buffer. (Byte 0 is what it was.)
        (send(), vec![1; 65], (0, 0x41), (1, 2, 5)),
        (request(), [&reading[..], &[0]].concat(), (0, 0x41), (1, 2, 5)),
        (atomic(), [&adding[..], &[0]].concat(), (0, 0x41), (1, 2, 5)),
        (immediate(), vec![1; 9], (0, 0x41), (1, 2, 5)),
        // Too short for what it is.
        (request(), reading[..27].to_vec(), (0, 0x41), (0, 2, 0xff)),
        (atomic(), adding[..51].to_vec(), (0, 0x41), (0, 2, 0xff)),
        (immediate(), vec![1; 7], (0, 0x41), (0, 2, 0xff)),
        // Atomic operations that do not exist.
        (atomic(), swapping(1), (0, 0x41), (0, 2, 6)),
        (atomic(), swapping(15), (0, 0x41), (0, 2, 6)),
    ];
    for (at, (header, payload, (byte, value), expected)) in cases.into_iter().enumerate() {
        let mut scene = Scene::model();
        scene.post_receive(0, 64);
        let mut ulpdu = ulpdu(header, &payload);
        ulpdu[byte] = value;
        scene.send_ulpdu(&ulpdu);
        let (found, ddp, rdmap) = detected(&mut scene);
        assert_eq!(found, expected, "case {at}: {header:?}");
        let header_len = if ulpdu[0] & 0x80 != 0 { 14 } else { 18 };
        assert_eq!(ddp, Some((ulpdu.len() as u16, ulpdu[..header_len].to_vec())), "case {at}");
        assert_eq!(rdmap, None, "only a refused Read returns it");
        assert_eq!(scene.bytes(0, 128), [0; 128], "case {at}");
        assert!(ulpdus(scene.pump().1).is_empty());
    }
}

/// RFC7306-s5.1.1-1 to -3, s5.1.2-2 to -6, s5.2.1-2, s8.2-5 to -7: what counts is the address in memory, not the TO.
#[test]
fn a_misaligned_atomic_is_refused_and_changes_nothing() {
    for opcode in [0, 2] {
        for (base, to, good) in
            [(0, 0, true), (3, 0x13, true), (3, 0x10, false), (0, 4, false), (0, 1, false)]
        {
            let mut scene = Scene::model();
            let before = pattern(64, 1);
            assert!(scene.memory.write(0, &before));
            add_region(&mut scene, Region { base, ..alias(MINE, access::REMOTE_ATOMIC) });
            let mut request = fetch_add(1, MINE, to, 0x0101);
            request[3] = opcode;
            // CmpSwap that compares nothing swaps all.
            request[28..36].fill(0xff);
            request[44..52].fill(0);
            scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true), &request);
            let sent = ulpdus(scene.pump().1);
            assert_eq!((sent.len(), scene.bytes(0, 64) != before), (usize::from(good), good));
            if !good {
                let (error, ddp, _) = detected(&mut scene);
                assert_eq!(error, (0, 2, 7));
                assert_eq!(ddp.unwrap().0, 18 + 52);
            }
        }
    }
}

/// RFC5040-s7.1-2 case 3, s4.8-4 to -6, -8 to -11: a refused Read is returned with length, DDP header and Read Request.
#[test]
fn a_refused_read_is_reported_with_both_headers() {
    let mut scene = Scene::model();
    let request = read_request(7, 8, 9, (0x999, 5));
    let header = untagged(Opcode::ReadRequest, QN_READ, 1, 0, true);
    scene.send_ddp(header, &request);
    let mut bytes = Vec::new();
    header.emit(&mut bytes);
    assert_eq!(detected(&mut scene), ((0, 1, 0), Some((46, bytes)), Some(request)));
}

/// RFC5040-s4.1-9, -10, s5.4-4, -6, -7: a Terminate reaches software with all its bytes; nothing is answered.
#[test]
fn a_terminate_is_delivered_whatever_its_reserved_fields_hold() {
    for (control, invalidate) in [([0x41, 0x47], 0), ([0x7d, 0x77], STAG)] {
        let mut scene = Scene::model();
        let header: Vec<u8> = (0..46).collect();
        let fields = [invalidate, QN_TERMINATE, 1, 0].map(u32::to_be_bytes).concat();
        scene.send_ulpdu(&[&control[..], &fields, &header].concat());
        let event = only(&scene.rig.events());
        assert_eq!((event.kind, event.code), (EventKind::QpError, ErrorCause::TerminateReceived as u8));
        assert_eq!(scene.record(), Some(ErrorRecord::Received(header)));
        scene.rig.post_send(QP, &inline(Verb::Send, b"late"));
        assert!(scene.pump().1.is_empty());
    }
}

/// RFC5040-s4.8-1, -2, -4 to -11: what software sends, by figures 7, 8 and 10, and what it reads.
#[test]
fn a_terminate_header_has_the_bytes_of_figures_7_and_8() {
    let (tagged, untagged, read) = ([0x80; 14], [0x41; 18], [7; 28]);
    let cases = [
        (TerminateError::MpaCrc, None, &[][..], &[][..], [0x20, 0x02, 0x00, 0], &[][..]),
        (TerminateError::DdpToWrap, Some(0x1234), &tagged[..], &[], [0x11, 0x03, 0xc0, 0], &[0x12, 0x34]),
        (TerminateError::DdpMsnRange, Some(20), &untagged, &[], [0x12, 0x03, 0xc0, 0], &[0, 20]),
        (TerminateError::RdmapAccessRights, Some(46), &untagged, &read, [0x01, 0x02, 0xe0, 0], &[0, 46]),
        // The length is there, if not valid, when a DDP header is.
        (TerminateError::RdmapUnexpectedOpcode, None, &untagged, &[], [0x02, 0x06, 0x40, 0], &[0, 0]),
    ];
    for (error, segment_len, ddp, rdmap, control, length) in cases {
        let terminate =
            Terminate { error, segment_len, ddp_header: ddp.to_vec(), rdmap_header: rdmap.to_vec() };
        let mut bytes = Vec::new();
        terminate.emit(&mut bytes);
        assert_eq!(bytes, [&control[..], length, ddp, rdmap].concat());
        bytes[2] |= 0x1f;
        bytes[3] = 0xff;
        assert_eq!(Terminate::parse(&bytes), Ok(terminate), "reserved bits are ignored");
    }
}

/// RFC5040-s7.1-2 case 1: an entry of our own that is wrong stops the stream with a local error and sends nothing of itself.
#[test]
fn a_wrong_work_request_is_reported_and_sends_nothing() {
    let mut scene = Scene::model();
    let outside = Payload::Sges(vec![Sge { to: BASE + LEN as u64 - 1, length: 2, lkey: STAG }]);
    scene.rig.post_send(QP, &entry(Verb::Send, outside));
    assert!(scene.pump().1.is_empty());
    let done = only(&completions(&mut scene));
    assert_eq!((done.status, done.opcode), (Status::LocalProtection, Verb::Send as u8));
    let (error, ddp, rdmap) = detected(&mut scene);
    assert_eq!(((error.0, error.1), ddp, rdmap), ((0, 0), None, None));
}

/// RFC5044-s3-7, s4.3-10, -11, s5.1-4, s5.2-1, s6-1 to -4, sA.4-1: any cut of the stream gives the same ULPDUs, with and without
/// markers, and a byte changed anywhere gives none.
#[test]
fn ulpdus_are_found_by_their_lengths_however_the_stream_is_cut() {
    for markers_rx in [false, true] {
        let context = Context { markers_rx, ..context() };
        for size in [1, 3, 7, 64, 511, 512, 1460] {
            let mut scene = Scene::with(context);
            let mut stream = Vec::new();
            let (start, mut at) = (scene.peer.snd, 0u64);
            for length in [1usize, 700, 2, 3, 1400] {
                let ulpdu = ulpdu(tagged(Opcode::Write, STAG, BASE + at, true), &pattern(length, at as u8));
                let fpdu = scene.fpdu(&ulpdu);
                scene.peer.snd += fpdu.len() as u32;
                stream.extend(fpdu);
                at += length as u64;
            }
            scene.peer.snd = start;
            stream.chunks(size).for_each(|piece| {
                scene.send(piece);
                scene.pump();
            });
            let expected = [(1, 0), (700, 1), (2, 701u64 as u8), (3, 703u64 as u8), (1400, 706u64 as u8)];
            let expected: Vec<u8> = expected.into_iter().flat_map(|(len, seed)| pattern(len, seed)).collect();
            assert_eq!(scene.bytes(0, expected.len()), expected, "pieces of {size}, markers {markers_rx}");
            assert!(scene.rig.events().is_empty());
        }
        // One FPDU with one bit wrong, anywhere behind the length field.
        for byte in [2, 5, 15, 20, 40, 55] {
            let mut scene = Scene::with(context);
            let ulpdu = ulpdu(tagged(Opcode::Write, STAG, BASE, true), &[9; 37]);
            let mut fpdu = scene.fpdu(&ulpdu);
            let lead = if markers_rx { 4 } else { 0 };
            fpdu[lead + byte] ^= 0x10;
            scene.send(&fpdu);
            assert_eq!(scene.bytes(0, 64), [0; 64]);
            assert_eq!(error(&mut scene), (2, 0, 2), "byte {byte}");
        }
    }
}
