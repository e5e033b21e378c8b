//! What is delivered, where it goes, in which order it completes, and what the queues promise.

use ironwarp_proto::abi::completion::{Completion, OPCODE_RECEIVE, Status};
use ironwarp_proto::abi::context::{Context, ErrorRecord, QpState};
use ironwarp_proto::abi::doorbell::{self, Page};
use ironwarp_proto::abi::event::{ErrorCause, EventKind, FlushCursors};
use ironwarp_proto::abi::receive_entry::ReceiveEntry;
use ironwarp_proto::abi::region::{Region, access};
use ironwarp_proto::abi::regs::{Command, CommandStatus, Counter};
use ironwarp_proto::abi::send_entry::{Opcode as Verb, Payload, SendEntry, Sge};
use ironwarp_proto::ddp::{DdpHeader, QN_ATOMIC, QN_READ, QN_SEND};
use ironwarp_proto::mpa::stream::FpduCrc;
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::rdmap::{AtomicResponse, Opcode, ReadRequest};
use ironwarp_proto::terminate::TerminateError as E;
use ironwarp_proto::wire::tcp::TcpFlags;
use ironwarp_testbench::scene::*;

const SECOND: Nanos = 1_000_000_000;

fn read_response(to: u64, last: bool) -> DdpHeader {
    tagged(Opcode::ReadResponse, STAG, BASE + to, last)
}

fn send_header(msn: u32, mo: u32, last: bool) -> DdpHeader {
    untagged(Opcode::Send, QN_SEND, msn, mo, last)
}

fn invalidating(msn: u32, stag: u32) -> DdpHeader {
    match untagged(Opcode::SendInvalidate, QN_SEND, msn, 0, true) {
        DdpHeader::Untagged { last, version, rdmap_control, qn, msn, mo, .. } => {
            DdpHeader::Untagged { last, version, rdmap_control, qn, msn, mo, inv_stag: stag }
        }
        tagged => tagged,
    }
}

fn statuses(completions: &[Completion]) -> Vec<(u16, Status)> {
    completions.iter().map(|done| (done.index, done.status)).collect()
}

fn completed(scene: &mut Scene) -> Vec<(u16, Status)> {
    statuses(&scene.rig.completions(CQ, true))
}

fn detected(scene: &mut Scene) -> (u8, u8, u8) {
    let causes: Vec<_> = scene.errors().into_iter().map(|error| error.0).collect();
    assert_eq!(causes, [ErrorCause::Detected]);
    match scene.record() {
        Some(ErrorRecord::Detected { error, .. }) => error,
        record => panic!("{record:?}"),
    }
}

fn requests(scene: &mut Scene) -> usize {
    let sent = segments(&scene.pump().1);
    sent.iter().filter(|(header, _)| header.rdmap_control() & 15 == Opcode::ReadRequest as u8).count()
}

#[test]
fn a_read_response_is_held_to_what_the_read_asked_for() {
    // The right answer to a Read of 2000 bytes into 1000..3000: (offset, length, last).
    let right = [(1000, 1440, false), (2440, 560, true)];
    type Mutation = (&'static str, fn(&mut DdpHeader, &mut Vec<u8>), E);
    let mutations: [Mutation; 9] = [
        ("wrong key", |header, _| set_stag(header, STAG ^ 1), E::DdpInvalidStag),
        ("another region that may be written", |header, _| set_stag(header, 0x00c0_2077), E::DdpInvalidStag),
        ("one byte early", |header, _| move_to(header, -1), E::DdpBounds),
        ("one byte late", |header, _| move_to(header, 1), E::DdpBounds),
        ("far away", |header, _| move_to(header, i64::MIN), E::DdpBounds),
        ("Last inverted", |header, _| invert_last(header), E::RdmapOperationUnspecified),
        ("too much data", |_, payload| payload.resize(2001, 7), E::DdpBounds),
        (
            "a byte less with Last",
            |header, payload| {
                payload.pop();
                set_last(header)
            },
            E::RdmapOperationUnspecified,
        ),
        (
            "Last never set and more data",
            |header, payload| {
                clear_last(header);
                payload.resize(2001, 7)
            },
            E::DdpBounds,
        ),
    ];
    for bad in 0..right.len() {
        for (name, mutate, error) in &mutations {
            let mut scene = Scene::model();
            scene.rig.region(0x00c0_2077, Some(BASE), LEN, access::LOCAL_WRITE | access::REMOTE, PD);
            scene.post(read_into(1000, 2000));
            scene.pump();
            for (n, (at, len, last)) in right.into_iter().enumerate() {
                let (mut header, mut payload) = (read_response(at, last), pattern(len, 1));
                if n == bad {
                    mutate(&mut header, &mut payload);
                }
                // In two segments of TCP, if need be.
                let bytes = scene.fpdu(&ulpdu(header, &payload));
                for part in bytes.chunks(1460) {
                    scene.send(part);
                }
            }
            assert_eq!(detected(&mut scene), error.to_wire(), "{name} in segment {bad}");
            let image = scene.image();
            let placed = if bad == 0 { 0 } else { 1440 };
            assert!(
                image[1000..][..placed] == pattern(1440, 1)[..placed],
                "{name}: good segments are placed"
            );
            let rest = image[..1000].iter().chain(&image[1000 + placed..]);
            assert!(rest.copied().all(|byte| byte == 0), "{name} in segment {bad}: not a byte beside it");
            assert_eq!(completed(&mut scene), [], "{name}");
        }
    }
}

fn set_stag(header: &mut DdpHeader, value: u32) {
    if let DdpHeader::Tagged { stag, .. } = header {
        *stag = value;
    }
}

fn move_to(header: &mut DdpHeader, by: i64) {
    if let DdpHeader::Tagged { to, .. } = header {
        *to = to.wrapping_add_signed(by);
    }
}

fn invert_last(header: &mut DdpHeader) {
    if let DdpHeader::Tagged { last, .. } = header {
        *last = !*last;
    }
}

fn set_last(header: &mut DdpHeader) {
    if !header.is_last() {
        invert_last(header);
    }
}

fn clear_last(header: &mut DdpHeader) {
    if header.is_last() {
        invert_last(header);
    }
}

#[test]
fn nothing_may_follow_a_complete_read_response() {
    let mut scene = Scene::model();
    scene.post(read_into(0, 8));
    scene.pump();
    scene.send_ddp(read_response(0, true), &[1; 8]);
    assert_eq!(completed(&mut scene), [(0, Status::Ok)]);
    scene.send_ddp(read_response(8, true), &[2; 8]);
    assert_eq!(detected(&mut scene), E::RdmapUnexpectedOpcode.to_wire());
    assert_eq!(scene.bytes(0, 16), [[1; 8], [0; 8]].concat());
}

#[test]
fn a_sink_that_was_revoked_gets_nothing() {
    let mut scene = Scene::model();
    let sink = scene.rig.region(0x00c0_2077, Some(0), 64, access::LOCAL_WRITE, PD);
    let payload = Payload::Sges(vec![Sge { to: 0, length: 8, lkey: 0x00c0_2077 }]);
    scene.post(SendEntry { payload, ..read_into(0, 0) });
    scene.pump();
    assert_eq!(scene.rig.command(Command::Invalidate, 0, 0x00c0_2077), CommandStatus::Ok);
    scene.send_ddp(tagged(Opcode::ReadResponse, 0x00c0_2077, 0, true), &[1; 8]);
    assert_eq!(detected(&mut scene), E::DdpInvalidStag.to_wire());
    let mut bytes = [0; 8];
    assert!(sink.read(0, &mut bytes) && bytes == [0; 8]);
}

/// A device may send the headers of a Write that is alone ahead of it, for what it expects. Each is on the wire as it was posted.
#[test]
fn inline_writes_one_by_one_are_what_was_posted() {
    let mut scene = Scene::model();
    let lens = [8, 8, 8, 7, 7, 32, 32, 32, 0, 8, 8];
    for (n, len) in lens.into_iter().enumerate() {
        let (bytes, signalled) = (pattern(len, n as u8), n % 3 != 1);
        let to = 0x9_0000_0001 + n as u64;
        let write = SendEntry { signalled, stag: 0x1234, to, ..SendEntry::new(Verb::Write) };
        let index = scene.rig.post_send(QP, &SendEntry { payload: Payload::Inline(bytes.clone()), ..write });
        let sent = segments(&scene.pump().1);
        assert_eq!(sent, [(tagged(Opcode::Write, 0x1234, to, true), bytes)], "{n}");
        let done: &[_] = if signalled { &[(index, Status::Ok)] } else { &[] };
        assert_eq!(completed(&mut scene), done, "{n}");
    }
    assert_eq!(scene.errors(), []);
}

/// A device may read receive entries ahead and look at their memory; what counts is what is allowed when the message comes.
#[test]
fn a_receive_buffer_that_is_revoked_before_its_message_gets_nothing() {
    for opened in [false, true] {
        let mut scene = Scene::model();
        let stag = 0x00c0_2077;
        let sink = scene.rig.region(stag, Some(0), 64, access::LOCAL_WRITE, PD);
        let entry = |to| ReceiveEntry { index: 0, sges: vec![Sge { to, length: 32, lkey: stag }] };
        let first = scene.rig.post_receive(QP, &entry(0));
        let second = scene.rig.post_receive(QP, &entry(32));
        scene.send_ddp(send_header(1, 0, true), &[1; 8]);
        assert_eq!(completed(&mut scene), [(first, Status::Ok)]);
        if opened {
            scene.send_ddp(send_header(2, 0, false), &[2; 8]);
        }
        assert_eq!(scene.rig.command(Command::Invalidate, 0, stag), CommandStatus::Ok);
        let at = if opened { 8 } else { 0 };
        scene.send_ddp(send_header(2, at, true), &[3; 8]);
        assert_eq!(completed(&mut scene), [(second, Status::LocalProtection)], "opened: {opened}");
        let mut bytes = [0; 64];
        let expected =
            [[1; 8], [0; 8], [0; 8], [0; 8], if opened { [2; 8] } else { [0; 8] }, [0; 8], [0; 8], [0; 8]];
        assert!(sink.read(0, &mut bytes) && bytes[..] == expected.concat()[..], "{bytes:?}");
    }
}

/// The entry is good when it was posted, and what it says is what it said then; each message has its own, in order, round the ring.
#[test]
fn receives_come_in_order_whatever_was_read_ahead() {
    let mut scene = Scene::model();
    let mut msn = 0;
    for waiting in [1, 2, 3, 1, 7, 1, 2].repeat(5) {
        let posted: Vec<u16> = (0..waiting).map(|n| scene.post_receive(64 * n, 64)).collect();
        for (n, index) in posted.into_iter().enumerate() {
            msn += 1;
            let bytes = pattern(1 + (7 * msn as usize) % 64, msn as u8);
            scene.send_ddp(send_header(msn, 0, true), &bytes);
            assert_eq!(completed(&mut scene), [(index, Status::Ok)], "message {msn}");
            assert_eq!(scene.bytes(64 * n, bytes.len()), bytes, "message {msn}");
        }
    }
    assert_eq!(scene.errors(), []);
}

#[test]
fn messages_without_bytes_look_at_no_stag() {
    let mut scene = Scene::model();
    // RFC 5041 5.2: neither STag nor TO of a zero-length tagged message.
    scene.send_ddp(tagged(Opcode::Write, 0xdead_beef, u64::MAX, true), &[]);
    // RFC 5040 5.2.1: an empty Read is answered by an empty Read Response.
    let request = ReadRequest { sink_stag: 1, sink_to: 2, size: 0, source_stag: 3, source_to: u64::MAX };
    let mut bytes = Vec::new();
    request.emit(&mut bytes);
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &bytes);
    let sent = segments(&scene.pump().1);
    assert_eq!(sent, [(tagged(Opcode::ReadResponse, 1, 2, true), vec![])]);
    // An empty Send takes a buffer.
    let index = scene.rig.post_receive(QP, &ReceiveEntry::default());
    scene.send_ddp(send_header(1, 0, true), &[]);
    let done = scene.rig.completions(CQ, true);
    assert_eq!((statuses(&done), done[0].length), (vec![(index, Status::Ok)], 0));
    // Our own, with an STag that does not exist here.
    let nowhere = Payload::Sges(vec![Sge { to: u64::MAX, length: 0, lkey: 0xdead }]);
    for verb in [Verb::Write, Verb::Send, Verb::Read] {
        let index = scene.post(SendEntry { payload: nowhere.clone(), ..SendEntry::new(verb) });
        let sent = segments(&scene.pump().1);
        assert_eq!((sent.len(), sent[0].0.is_last()), (1, true), "{verb:?}");
        if verb == Verb::Read {
            scene.send_ddp(tagged(Opcode::ReadResponse, 0, 0, true), &[]);
        }
        assert_eq!(completed(&mut scene), [(index, Status::Ok)], "{verb:?}");
    }
    assert_eq!(scene.errors(), []);
}

#[test]
fn a_message_is_scattered_at_every_boundary() {
    let entries = [
        vec![(0, 1), (100, 1), (200, 62)],
        vec![(0, 20), (100, 0), (200, 44)],
        vec![(300, 64)],
        vec![(0, 63), (100, 1)],
    ];
    for parts in entries {
        for first in 0..=64 {
            for len in [first, 63, 64].into_iter().filter(|len| *len >= first) {
                let mut scene = Scene::model();
                let sges: Vec<Sge> = parts.iter().map(|(at, len)| sge(*at, *len)).collect();
                scene.rig.post_receive(QP, &ReceiveEntry { index: 0, sges });
                let data = pattern(len, 1);
                scene.send_ddp(send_header(1, 0, false), &data[..first]);
                scene.send_ddp(send_header(1, first as u32, true), &data[first..]);
                let got: Vec<u8> =
                    parts.iter().flat_map(|(at, len)| scene.bytes(*at as usize, *len as usize)).collect();
                assert!(
                    got[..len] == data && got[len..].iter().all(|byte| *byte == 0),
                    "{parts:?} {first} {len}"
                );
                let done = scene.rig.completions(CQ, true);
                assert_eq!((done.len(), done[0].length as usize), (1, len));
            }
        }
    }
}

#[test]
fn a_message_is_gathered_from_up_to_six_elements() {
    for count in 1..=6 {
        for unit in [0, 1, 3, 700] {
            let mut scene = Scene::model();
            let data = pattern(8000, 3);
            assert!(scene.memory.write(0, &data));
            let parts: Vec<(usize, usize)> = (0..count).map(|n| (1000 * n + n, unit + n)).collect();
            let sges = parts.iter().map(|(at, len)| sge(*at as u64, *len as u32)).collect();
            // Behind an entry that makes the two slots wrap around the ring's end.
            for _ in 0..63 {
                scene.rig.post_send(QP, &SendEntry::new(Verb::Nop));
            }
            scene.pump();
            let index = scene.post(SendEntry { payload: Payload::Sges(sges), ..SendEntry::new(Verb::Send) });
            let expected: Vec<u8> = parts.iter().flat_map(|(at, len)| data[*at..at + len].to_vec()).collect();
            let got: Vec<u8> =
                segments(&scene.pump().1).into_iter().flat_map(|(_, payload)| payload).collect();
            assert_eq!(
                (got == expected, completed(&mut scene)),
                (true, vec![(index, Status::Ok)]),
                "{count} {unit}"
            );
        }
    }
}

#[test]
fn a_send_with_invalidate_places_completes_and_revokes() {
    let mut scene = Scene::model();
    let stag = 0x00c0_2077;
    scene.rig.region(stag, Some(0), 64, access::REMOTE_WRITE | access::INVALIDATE, PD);
    scene.send_ddp(tagged(Opcode::Write, stag, 0, true), b"before");
    scene.post_receive(0, 64);
    scene.send_ddp(invalidating(1, stag), b"data");
    let done = scene.rig.completions(CQ, true);
    assert_eq!(
        (statuses(&done), done[0].invalidated, done[0].length),
        (vec![(0, Status::Ok)], Some(stag), 4)
    );
    assert_eq!(scene.bytes(0, 4), b"data");
    assert_eq!(scene.errors(), []);
    scene.send_ddp(tagged(Opcode::Write, stag, 0, true), b"after");
    assert_eq!(detected(&mut scene), E::DdpInvalidStag.to_wire());
}

/// Writes of one region, one behind the other in a segment, may be handled as a run; what takes the region away in the middle of them ends it.
#[test]
fn a_run_of_writes_ends_where_its_region_is_invalidated() {
    const SLOT: u64 = 8;
    let stag = 0x00c0_2077;
    let writes = |from: u64, to: u64| {
        (from..to).map(|at| ulpdu(tagged(Opcode::Write, stag, SLOT * at, true), &[at as u8 | 0x40; 8]))
    };
    // In one segment, and the same with the invalidation's own segment between two.
    for split in [false, true] {
        let mut scene = Scene::model();
        let region = scene.rig.region(stag, Some(0), 256, access::REMOTE_WRITE | access::INVALIDATE, PD);
        scene.post_receive(512, 64);
        let revoke = ulpdu(invalidating(1, stag), b"data");
        let ulpdus: Vec<_> = writes(0, 8).chain([revoke]).chain(writes(8, 16)).collect();
        let mut stream = vec![];
        for (at, ulpdu) in ulpdus.iter().enumerate() {
            let fpdu = scene.peer.fpdu_ahead(stream.len() as u32, ulpdu);
            stream.extend(fpdu);
            if split && (at == 7 || at == 8) {
                scene.send(&std::mem::take(&mut stream));
            }
        }
        scene.send(&stream);
        let expected: Vec<u8> = (0..8u8).flat_map(|at| [at | 0x40; 8]).chain([0; 64]).collect();
        let mut placed = vec![0; 128];
        assert!(region.read(0, &mut placed));
        assert_eq!(placed, expected, "what is behind it is not placed");
        let done = scene.rig.completions(CQ, true);
        assert_eq!((done[0].status, done[0].invalidated, done[0].length), (Status::Ok, Some(stag), 4));
        assert_eq!(scene.bytes(512, 4), b"data");
        assert_eq!(detected(&mut scene), E::DdpInvalidStag.to_wire());
    }
}

/// The same by the host's command between two segments of a run.
#[test]
fn a_run_of_writes_ends_where_the_host_invalidates_its_region() {
    let mut scene = Scene::model();
    let write = |at: u64| tagged(Opcode::Write, STAG, BASE + 8 * at, true);
    (0..8).for_each(|at| scene.send_ddp(write(at), &[at as u8 | 0x40; 8]));
    assert_eq!(scene.rig.command(Command::Invalidate, 0, STAG), CommandStatus::Ok);
    (8..12).for_each(|at| scene.send_ddp(write(at), &[0xff; 8]));
    let expected: Vec<u8> = (0..8u8).flat_map(|at| [at | 0x40; 8]).chain([0; 32]).collect();
    assert_eq!(scene.bytes(0, 96), expected);
    assert_eq!(detected(&mut scene), E::DdpInvalidStag.to_wire());
}

/// An allocated window and the entry that binds it with this key to 16 bytes at 0x100 of [`STAG`].
fn bind(scene: &mut Scene, key: u32, rights: u8) -> u32 {
    let window = 0x0055_4400 | key;
    let payload = Payload::Sges(vec![sge(0x100, 16)]);
    scene.post(SendEntry {
        stag: window,
        to: 0x40,
        access: rights,
        payload,
        ..SendEntry::new(Verb::BindWindow)
    });
    scene.pump();
    window
}

fn allocate_window(scene: &mut Scene) {
    scene.rig.entry(&Region {
        allocated: true,
        window: true,
        pd: PD,
        stag: 0x0055_4400,
        ..Region::default()
    });
}

#[test]
fn a_window_is_bound_used_invalidated_and_bound_again_with_another_key() {
    let mut scene = Scene::model();
    allocate_window(&mut scene);
    let first = bind(&mut scene, 1, access::REMOTE_WRITE);
    scene.send_ddp(tagged(Opcode::Write, first, 0x44, true), b"through");
    assert_eq!(scene.bytes(0x104, 7), b"through");
    scene.post(SendEntry { stag: first, ..SendEntry::new(Verb::LocalInvalidate) });
    scene.pump();
    let second = bind(&mut scene, 2, access::REMOTE_WRITE);
    scene.send_ddp(tagged(Opcode::Write, second, 0x4f, true), b"x");
    assert_eq!(scene.bytes(0x10f, 1), b"x");
    scene.post_receive(0, 64);
    scene.send_ddp(invalidating(1, second), b"");
    let third = bind(&mut scene, 3, access::REMOTE_READ);
    assert!(completed(&mut scene).iter().all(|(_, status)| *status == Status::Ok));
    assert_eq!(scene.errors(), []);
    scene.send_ddp(tagged(Opcode::Write, second, 0x44, true), b"old");
    assert_eq!((detected(&mut scene), third & 0xff), (E::DdpInvalidStag.to_wire(), 3));
}

#[test]
fn a_window_gives_its_own_range_and_rights_to_its_own_queue_pair() {
    for (to, len, rights, error) in [
        (0x3f, 1, access::REMOTE_WRITE, E::DdpBounds),
        (0x50, 1, access::REMOTE_WRITE, E::DdpBounds),
        (0x40, 17, access::REMOTE_WRITE, E::DdpBounds),
        (0x40, 1, access::REMOTE_READ, E::DdpInvalidStag),
    ] {
        let mut scene = Scene::model();
        allocate_window(&mut scene);
        let window = bind(&mut scene, 1, rights);
        scene.send_ddp(tagged(Opcode::Write, window, to, true), &vec![1; len]);
        assert_eq!(detected(&mut scene), error.to_wire());
    }
    let mut scene = Scene::model();
    let mut other = Peer::connect(&mut scene.rig, QP + 1, PORT + 1, context());
    allocate_window(&mut scene);
    let window = bind(&mut scene, 1, access::REMOTE_WRITE);
    scene.swap(&mut other);
    scene.send_ddp(tagged(Opcode::Write, window, 0x40, true), b"x");
    assert_eq!(detected(&mut scene), E::DdpStagNotAssociated.to_wire());
}

#[test]
fn a_bind_needs_a_parent_that_allows_it() {
    let other_pd = Region {
        valid: true,
        access: 0x1f,
        pd: PD + 1,
        length: 64,
        base: BASE,
        host: 1,
        stag: 0x6611,
        ..Region::default()
    };
    let plain = Region { pd: PD, stag: 0x6722, access: access::LOCAL_WRITE, ..other_pd };
    let read_only = Region { pd: PD, stag: 0x6833, access: access::BIND, ..other_pd };
    let sge = |lkey, to, length| Payload::Sges(vec![Sge { to, length, lkey }]);
    let cases = [
        ("no parent", sge(0x9999, BASE, 16), access::REMOTE_READ),
        ("other PD", sge(0x6611, BASE, 16), access::REMOTE_READ),
        ("no right to bind", sge(0x6722, BASE, 16), access::REMOTE_READ),
        ("remote write without local write", sge(0x6833, BASE, 16), access::REMOTE_WRITE),
        ("atomics without local write", sge(0x6833, BASE, 16), access::REMOTE_ATOMIC),
        ("beyond the parent", sge(STAG, BASE + LEN as u64 - 15, 16), access::REMOTE_READ),
        ("before the parent", sge(STAG, BASE - 1, 16), access::REMOTE_READ),
    ];
    for (name, payload, access) in cases {
        let mut scene = Scene::model();
        allocate_window(&mut scene);
        for region in [other_pd, plain, read_only] {
            scene.rig.entry(&region);
        }
        scene.post(SendEntry { stag: 0x0055_4401, access, payload, ..SendEntry::new(Verb::BindWindow) });
        scene.pump();
        assert_eq!(completed(&mut scene), [(0, Status::Bind)], "{name}");
    }
}

#[test]
fn a_fast_registration_makes_an_allocated_region_valid_until_it_is_invalidated() {
    let mut scene = Scene::model();
    scene.rig.entry(&Region { allocated: true, pd: PD, stag: 0x0055_4400, ..Region::default() });
    let host = scene.memory.addr();
    for key in 1..4u32 {
        let stag = 0x0055_4400 | key;
        let payload = Payload::Sges(vec![Sge { to: host + 32, length: 8, lkey: 0 }]);
        let register = SendEntry {
            stag,
            to: 0x7000,
            access: access::REMOTE_WRITE,
            payload,
            ..SendEntry::new(Verb::FastRegister)
        };
        scene.post(register);
        scene.pump();
        scene.send_ddp(tagged(Opcode::Write, stag, 0x7000, true), &[key as u8; 8]);
        assert_eq!(scene.bytes(32, 8), [key as u8; 8]);
        scene.post(SendEntry { stag, ..SendEntry::new(Verb::LocalInvalidate) });
        scene.pump();
    }
    assert_eq!((scene.errors(), completed(&mut scene).len()), (vec![], 6));
    scene.send_ddp(tagged(Opcode::Write, 0x0055_4403, 0x7000, true), &[9; 8]);
    assert_eq!((detected(&mut scene), scene.bytes(32, 8)), (E::DdpInvalidStag.to_wire(), vec![3; 8]));
}

#[test]
fn a_local_invalidate_waits_for_all_before_it_and_holds_all_behind() {
    let mut scene = Scene::model();
    let stag = 0x00c0_2077;
    let memory = scene.rig.region(stag, Some(0), 64, access::INVALIDATE, PD);
    assert!(memory.write(0, &[4; 64]));
    let payload = Payload::Sges(vec![Sge { to: 0, length: 64, lkey: stag }]);
    scene.post(SendEntry { payload, ..SendEntry::new(Verb::Send) });
    scene.post(SendEntry { stag, ..SendEntry::new(Verb::LocalInvalidate) });
    scene.post(send_inline(b"behind"));
    assert_eq!(scene.lose().len(), 1, "the Send only");
    // The retransmission still needs the region.
    let (_, fpdus) = scene.pump_after(2 * SECOND);
    let sent = segments(&fpdus);
    assert_eq!(sent.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>(), [64, 6]);
    assert_eq!(completed(&mut scene), [(0, Status::Ok), (1, Status::Ok), (2, Status::Ok)]);
}

#[test]
fn a_fence_waits_for_reads_and_an_unfenced_entry_does_not() {
    let mut scene = Scene::model();
    scene.post(read_into(0, 8));
    scene.post(send_inline(b"free"));
    scene.post(SendEntry { fence: true, ..send_inline(b"fenced") });
    scene.post(send_inline(b"behind"));
    let sent = segments(&scene.pump().1);
    assert_eq!(sent.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>(), [28, 4]);
    scene.send_ddp(read_response(0, true), &[1; 8]);
    let sent = segments(&scene.pump().1);
    assert_eq!(sent.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>(), [b"fenced", b"behind"]);
}

#[test]
fn no_more_reads_are_outstanding_than_ord() {
    for ord in 1..=4 {
        let mut scene = Scene::with(Context { ord, ..context() });
        for n in 0..8 {
            scene.post(read_into(8 * n, 8));
        }
        assert_eq!(requests(&mut scene), usize::from(ord));
        for n in 0..8 {
            scene.send_ddp(read_response(8 * n, true), &[n as u8; 8]);
            assert_eq!(completed(&mut scene), [(n as u16, Status::Ok)]);
            assert_eq!(requests(&mut scene), usize::from(n + u64::from(ord) < 8));
        }
    }
}

#[test]
fn ird_is_free_again_when_the_response_has_left() {
    let mut scene = Scene::with(Context { ird: 1, ..context() });
    for msn in 1..20 {
        // The request carries the ACK of the response before it.
        scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, msn, 0, true), &read_request(0, 3000));
        let sent = scene.hear();
        assert_eq!(sent.iter().map(|sent| sent.payload.len()).sum::<usize>(), 3000 + 3 * 20, "{msn}");
    }
    assert_eq!(scene.errors(), []);
}

/// The source of a Read is memory that its owner may change while a response is repeated: the peer then holds the beginning of
/// one FPDU and the end of another, and the CRC says so.
#[test]
fn a_source_that_changes_between_transmissions_does_not_pass_the_crc() {
    let (old, new) = (pattern(1000, 1), pattern(1000, 77));
    for keep in [0, 1, 15, 16, 17, 500, 1015, 1016, 1019] {
        for changes in [false, true] {
            let mut scene = Scene::model();
            assert!(scene.memory.write(0, &old));
            scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &read_request(0, 1000));
            let frames = scene.rig.frames();
            let sent = frames.iter().map(|frame| parse(frame)).find(|sent| !sent.payload.is_empty());
            let sent = sent.expect("a response");
            assert_eq!(sent.payload.len(), 1020);
            // The link has left the beginning of it.
            let mut fpdus = Vec::new();
            scene.receive_part(&Sent { payload: sent.payload[..keep].to_vec(), ..sent }, &mut fpdus);
            scene.ack(scene.peer.rcv, scene.peer.window);
            if changes {
                assert!(scene.memory.write(0, &new));
            }
            fpdus.extend(scene.pump_after(2 * SECOND).1);
            let [fpdu] = &fpdus[..] else { panic!("{} FPDUs with {keep} bytes kept", fpdus.len()) };
            // The first 16 bytes, length and DDP header, are the same in both; of the old source nothing was kept then.
            let mixed = changes && keep > 16;
            assert_eq!(fpdu.crc == FpduCrc::Bad, mixed, "{keep} bytes kept, changed: {changes}");
            if !mixed {
                assert!(&fpdu.ulpdu[14..] == if changes { &new[..] } else { &old[..] }, "{keep}, {changes}");
            }
        }
    }
}

#[test]
fn a_read_sees_the_writes_in_front_of_it() {
    let mut scene = Scene::model();
    let write = ulpdu(tagged(Opcode::Write, STAG, BASE, true), b"written!");
    let first = scene.fpdu(&write);
    let request = ulpdu(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &read_request(0, 8));
    let second = scene.peer.fpdu_ahead(first.len() as u32, &request);
    scene.send(&[first, second].concat());
    assert_eq!(segments(&scene.pump().1)[0].1, b"written!");
}

#[test]
fn responses_and_own_work_take_turns_by_message() {
    let mut scene = Scene::model();
    assert!(scene.memory.write(0, &pattern(5000, 1)));
    scene.ack(scene.peer.rcv, 0);
    for msn in 1..=2 {
        scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, msn, 0, true), &read_request(0, 5000));
    }
    for _ in 0..4 {
        scene.post(write_from(0, 3000));
    }
    scene.ack(scene.peer.rcv, 60_000);
    let sent = segments(&scene.pump().1);
    let (mut messages, mut open) = (Vec::new(), None);
    for (header, _) in sent {
        let opcode = header.rdmap_control() & 15;
        assert!(open.is_none_or(|open| open == opcode), "messages of one stream are not interleaved");
        open = (!header.is_last()).then_some(opcode);
        if header.is_last() {
            messages.push(opcode);
        }
    }
    let (read, write) = (Opcode::ReadResponse as u8, Opcode::Write as u8);
    assert_eq!(messages.iter().filter(|opcode| **opcode == read).count(), 2);
    assert_eq!(messages.len(), 6);
    assert!(
        messages.windows(3).all(|three| three != [write; 3] || !messages[3..].contains(&read)),
        "{messages:?}"
    );
}

#[test]
fn completions_come_in_order_and_only_the_signalled_ones() {
    let mut scene = Scene::model();
    scene.rig.post_send(QP, &read_into(0, 8));
    for n in 1..8 {
        let entry = SendEntry { signalled: n % 3 == 0, ..send_inline(b"x") };
        scene.rig.post_send(QP, &entry);
    }
    scene.pump();
    assert_eq!(completed(&mut scene), [], "all wait for the Read");
    assert_eq!(scene.rig.state(QP).flush.sq_done, 0);
    scene.send_ddp(read_response(0, true), &[1; 8]);
    assert_eq!(completed(&mut scene), [(3, Status::Ok), (6, Status::Ok)]);
    assert_eq!(scene.rig.state(QP).flush.sq_done, 8);
}

#[test]
fn an_atomic_is_executed_once_and_its_response_repeated_as_it_was() {
    let mut scene = Scene::model();
    let mut bytes = Vec::new();
    fetch_add(7, 64, 5).emit(&mut bytes);
    let fpdu = scene.fpdu(&ulpdu(untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true), &bytes));
    let start = scene.peer.snd;
    scene.send(&fpdu);
    let first = scene.lose();
    for _ in 0..3 {
        scene.segment(start, scene.peer.rcv, TcpFlags::ACK, &fpdu);
        scene.lose();
    }
    assert_eq!(scene.bytes(64, 8), 5u64.to_le_bytes());
    assert!(scene.memory.write(64, &[0xff; 8]));
    let (again, fpdus) = scene.pump_after(2 * SECOND);
    assert_eq!(again[0].payload, first[0].payload);
    let response = AtomicResponse::parse(&segments(&fpdus)[0].1).unwrap();
    assert_eq!(response, AtomicResponse { request_id: 7, original: 0 });
}

#[test]
fn atomics_follow_rfc_7306_with_masks() {
    // (operation, memory, data, mask, compare, compare mask, result)
    let cases = [
        (0, 40, 2, 0, 0, u64::MAX, 42),
        (0, u64::MAX, 1, 0, 0, u64::MAX, 0),
        (0, 0x0000_00ff_0000_00ff, 1 | 1 << 32, 1 << 31 | 1 << 63, 0, u64::MAX, 0x0000_0100_0000_0100),
        (0, 0xffff_ffff, 1, 1 << 31, 0, u64::MAX, 0),
        (2, 5, 9, u64::MAX, 5, u64::MAX, 9),
        (2, 5, 9, u64::MAX, 6, u64::MAX, 5),
        (2, 0x1234, 0xff, 0x0f, 0x1200, 0xff00, 0x123f),
        (2, 0x1234, 0xabcd, u64::MAX, 0, 0, 0xabcd),
    ];
    for (opcode, memory, data, mask, compare, compare_mask, result) in cases {
        let mut scene = Scene::model();
        assert!(scene.memory.write(64, &u64::to_le_bytes(memory)));
        let mut request = fetch_add(1, 64, data);
        (request.opcode, request.add_or_swap_mask) = (opcode, mask);
        (request.compare, request.compare_mask) = (compare, compare_mask);
        let mut bytes = Vec::new();
        request.emit(&mut bytes);
        scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true), &bytes);
        let response = AtomicResponse::parse(&segments(&scene.pump().1)[0].1).unwrap();
        assert_eq!(response.original, memory);
        assert_eq!(scene.bytes(64, 8), u64::to_le_bytes(result), "{opcode} {memory:#x} {data:#x} {mask:#x}");
    }
}

#[test]
fn an_atomic_response_must_be_the_oldest_request_s() {
    for (first, id) in [(Verb::FetchAdd, 1), (Verb::Read, 0)] {
        let mut scene = Scene::model();
        let payload = Payload::Sges(vec![sge(0, 8)]);
        scene.post(SendEntry { payload: payload.clone(), ..SendEntry::new(first) });
        scene.post(SendEntry { payload, ..SendEntry::new(Verb::FetchAdd) });
        scene.pump();
        let mut bytes = Vec::new();
        AtomicResponse { request_id: id, original: 3 }.emit(&mut bytes);
        scene.send_ddp(untagged(Opcode::AtomicResponse, QN_ATOMIC, 1, 0, true), &bytes);
        assert_eq!(detected(&mut scene), E::RdmapUnexpectedOpcode.to_wire());
        assert_eq!((completed(&mut scene), scene.bytes(0, 8)), (vec![], vec![0; 8]));
    }
}

/// Two connections that share SRQ 3 and the CQ.
fn sharing() -> (Scene, Peer) {
    let mut rig = ironwarp_testbench::rig::Rig::device();
    rig.srq(3, PD);
    let context = Context { srq: Some(3), ..context() };
    let mut scene = Scene::new(rig, context);
    let other = Peer::connect(&mut scene.rig, QP + 1, PORT + 1, context);
    (scene, other)
}

#[test]
fn a_shared_receive_queue_is_used_in_order_of_arrival() {
    let (mut scene, mut other) = sharing();
    for slot in [9, 4, 30] {
        scene.rig.post_shared(3, slot, vec![sge(u64::from(slot) * 100, 50)]);
    }
    // A long message of the first, one of the second in the middle of it.
    scene.send_ddp(send_header(1, 0, false), b"abc");
    scene.swap(&mut other);
    scene.send_ddp(send_header(1, 0, true), b"second");
    scene.swap(&mut other);
    scene.send_ddp(send_header(1, 3, true), b"def");
    scene.swap(&mut other);
    scene.send_ddp(send_header(2, 0, true), b"third");
    let done = scene.rig.completions(CQ, true);
    let got: Vec<_> = done.iter().map(|done| (done.qp, done.index, done.srq, done.opcode)).collect();
    assert_eq!(
        got,
        [(2, 4, true, OPCODE_RECEIVE), (1, 9, true, OPCODE_RECEIVE), (2, 30, true, OPCODE_RECEIVE)]
    );
    assert_eq!([scene.bytes(900, 6), scene.bytes(400, 6)], [b"abcdef", b"second"]);
    scene.send_ddp(send_header(3, 0, true), b"no buffer");
    assert_eq!(detected(&mut scene), E::DdpNoBuffer.to_wire());
    scene.swap(&mut other);
    assert_eq!(scene.rig.state(QP).state, QpState::Running, "the other one goes on");
    scene.rig.post_shared(3, 9, vec![sge(0, 50)]);
    scene.send_ddp(send_header(2, 0, true), b"fourth");
    assert_eq!(completed(&mut scene), [(9, Status::Ok)]);
}

#[test]
fn the_limit_of_a_shared_receive_queue_is_told_once() {
    let (mut scene, _) = sharing();
    for slot in 0..4 {
        scene.rig.post_shared(3, slot, vec![sge(0, 50)]);
    }
    scene.rig.ring(Page::Srq(3), doorbell::srq::LIMIT, 3);
    let mut told = Vec::new();
    for msn in 1..=4 {
        scene.send_ddp(send_header(msn, 0, true), b"x");
        told.push(scene.rig.events().iter().filter(|event| event.kind == EventKind::SrqLimit).count());
    }
    assert_eq!(told, [0, 1, 0, 0], "when fewer than three are left");
    scene.rig.ring(Page::Srq(3), doorbell::srq::LIMIT, 1);
    let events: Vec<_> = scene.rig.events().iter().map(|event| (event.kind, event.object)).collect();
    assert_eq!(events, [(EventKind::SrqLimit, 3)], "at once");
}

#[test]
fn an_open_message_of_a_stopped_connection_names_its_shared_entry() {
    let (mut scene, _) = sharing();
    scene.rig.post_shared(3, 17, vec![sge(0, 50)]);
    scene.send_ddp(send_header(1, 0, false), b"abc");
    scene.send_ddp(tagged(Opcode::Write, STAG ^ 1, BASE, true), b"x");
    let cursors = FlushCursors { sq_done: 0, rq_done: 0, srq_open: Some(17) };
    assert_eq!(scene.errors(), [(ErrorCause::Detected, cursors)]);
}

#[test]
fn buffers_of_a_shared_receive_queue_are_of_its_protection_domain() {
    for (srq_pd, allowed) in [(PD + 1, true), (PD, false)] {
        let mut rig = ironwarp_testbench::rig::Rig::device();
        rig.srq(3, srq_pd);
        let mut scene = Scene::new(rig, Context { srq: Some(3), ..context() });
        let memory = scene.rig.region(0x00c0_2077, Some(0), 64, access::LOCAL_WRITE, PD + 1);
        scene.rig.post_shared(3, 0, vec![Sge { to: 0, length: 64, lkey: 0x00c0_2077 }]);
        scene.send_ddp(send_header(1, 0, true), b"mine?");
        let mut bytes = [0; 5];
        assert!(memory.read(0, &mut bytes));
        assert_eq!(bytes == *b"mine?", allowed);
        let status = if allowed { Status::Ok } else { Status::LocalProtection };
        assert_eq!(completed(&mut scene), [(0, status)]);
    }
}

#[test]
fn an_overflowing_completion_queue_stops_its_own_queue_pairs_only() {
    const SMALL: u16 = CQ + 1;
    let mut rig = ironwarp_testbench::rig::Rig::device();
    rig.cq(SMALL, 1);
    let mut scene = Scene::new(rig, Context { rcq: SMALL, ..context() });
    let mut other = Peer::connect(&mut scene.rig, QP + 1, PORT + 1, context());
    for _ in 0..4 {
        scene.post_receive(0, 64);
    }
    for msn in 1..=4 {
        scene.send_ddp(send_header(msn, 0, true), &[msn as u8; 4]);
    }
    let events: Vec<_> =
        scene.rig.events().iter().map(|event| (event.kind, event.object, event.code)).collect();
    let broken = ErrorCause::CqBroken as u8;
    assert_eq!(events, [(EventKind::CqOverflow, SMALL, 0), (EventKind::QpError, QP, broken)]);
    assert_eq!(scene.rig.completions(SMALL, true).len(), 2);
    assert_eq!(scene.rig.state(QP).flush.rq_done, 2, "what was dropped is for software to complete");
    assert_eq!(scene.bytes(0, 4), [3; 4], "nothing is delivered any more");
    scene.swap(&mut other);
    scene.post(send_inline(b"alive"));
    assert_eq!(scene.pump().1.len(), 1);
    assert_eq!(completed(&mut scene), [(0, Status::Ok)]);
}

#[test]
fn a_send_completion_that_is_dropped_is_for_software_to_write() {
    const SMALL: u16 = CQ + 1;
    let mut rig = ironwarp_testbench::rig::Rig::device();
    rig.cq(SMALL, 1);
    let mut scene = Scene::new(rig, Context { scq: SMALL, ..context() });
    for n in 0..5 {
        scene.rig.post_send(QP, &SendEntry { signalled: n != 3, ..send_inline(b"x") });
    }
    scene.pump();
    assert_eq!(scene.rig.completions(SMALL, true).len(), 2);
    let cursors = FlushCursors { sq_done: 2, rq_done: 0, srq_open: None };
    assert_eq!(scene.errors(), [(ErrorCause::CqBroken, cursors)]);
}

#[test]
fn doorbells_that_are_stale_are_ignored_and_impossible_ones_stop() {
    for (doorbell, posted) in [(doorbell::qp::SQ_PRODUCER, 5), (doorbell::qp::RQ_PRODUCER, 5)] {
        for (value, stops) in [(0, false), (5, false), (0xffff, false), (5 + 65, true), (0x8000, true)] {
            let mut scene = Scene::model();
            for _ in 0..posted {
                scene.post_receive(0, 64);
                scene.post(send_inline(b"x"));
            }
            scene.pump();
            scene.ring(doorbell, value);
            let errors: Vec<_> = scene.errors().into_iter().map(|error| error.0).collect();
            assert_eq!(errors, if stops { vec![ErrorCause::Doorbell] } else { vec![] }, "{doorbell} {value}");
        }
    }
    // The consumer of a CQ cannot be ahead of its producer.
    for (value, breaks) in [(0, false), (1, false), (0xffff, false), (2, true), (0x8000, true)] {
        let mut scene = Scene::model();
        scene.post(send_inline(b"x"));
        scene.pump();
        scene.rig.ring(Page::Cq(CQ), doorbell::cq::CONSUMER, value);
        let errors: Vec<_> = scene.errors().into_iter().map(|error| error.0).collect();
        assert_eq!(errors, if breaks { vec![ErrorCause::CqBroken] } else { vec![] }, "{value}");
    }
}

#[test]
fn an_armed_completion_queue_tells_once() {
    let mut scene = Scene::model();
    let ready = |scene: &mut Scene| {
        scene.rig.events().iter().filter(|event| event.kind == EventKind::CqReady).count()
    };
    for _ in 0..8 {
        scene.post_receive(0, 64);
    }
    let arm = |scene: &mut Scene, value| scene.rig.ring(Page::Cq(CQ), doorbell::cq::ARM, value);
    arm(&mut scene, doorbell::ARM_ANY);
    assert_eq!(ready(&mut scene), 0);
    scene.send_ddp(send_header(1, 0, true), b"x");
    scene.send_ddp(send_header(2, 0, true), b"x");
    assert_eq!(ready(&mut scene), 1);
    arm(&mut scene, doorbell::ARM_ANY | 1);
    assert_eq!(ready(&mut scene), 1, "at once: one was not seen");
    arm(&mut scene, doorbell::ARM_SOLICITED | 2);
    scene.send_ddp(send_header(3, 0, true), b"x");
    assert_eq!(ready(&mut scene), 0);
    scene.send_ddp(untagged(Opcode::SendSolicited, QN_SEND, 4, 0, true), b"x");
    assert_eq!(ready(&mut scene), 1);
    arm(&mut scene, doorbell::ARM_SOLICITED | 4);
    scene.send_ddp(send_header(5, 0, true), &[0; 65]);
    assert_eq!(ready(&mut scene), 1, "an error counts as solicited");
}

#[test]
fn a_dma_fault_at_any_access_stops_the_connection_with_an_event() {
    let mut faults = 0;
    loop {
        let mut scene = Scene::model();
        scene.post_receive(0, 64);
        scene.post_receive(0, 64);
        let act = |scene: &mut Scene| {
            scene.post(write_from(0, 100));
            scene.post(read_into(200, 8));
            scene.pump();
            scene.send_ddp(tagged(Opcode::Write, STAG, BASE, true), b"write");
            scene.send_ddp(send_header(1, 0, true), b"send");
            scene.send_ddp(read_response(200, true), b"response");
            scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &read_request(0, 8));
            let mut bytes = Vec::new();
            fetch_add(1, 64, 1).emit(&mut bytes);
            scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, 2, 0, true), &bytes);
            scene.pump();
        };
        scene.rig.dma.refuse_after(faults);
        act(&mut scene);
        if !scene.rig.dma.has_refused() {
            break;
        }
        let causes: Vec<_> = scene.errors().into_iter().map(|error| error.0).collect();
        assert!(
            matches!(causes[..], [ErrorCause::Detected | ErrorCause::CqBroken | ErrorCause::Fatal]),
            "access {faults}: {causes:?}"
        );
        assert_eq!(scene.rig.state(QP).state, QpState::Error, "access {faults}");
        assert_eq!(scene.rig.counter(Counter::DmaFaults), 1);
        let (image, done) = (scene.image(), completed(&mut scene).len());
        scene.send_ddp(tagged(Opcode::Write, STAG, BASE, true), b"later");
        scene.send_ddp(send_header(2, 0, true), b"later");
        assert!(scene.image() == image && done <= 3, "access {faults}: nothing is delivered");
        assert_eq!(completed(&mut scene), [], "access {faults}");
        faults += 1;
    }
    // A device that reads several entries at once has fewer.
    assert!(faults > 10, "{faults} accesses were tried");
}

#[test]
fn a_source_that_is_revoked_while_it_is_read_stops_the_response() {
    let mut scene = Scene::model();
    let stag = 0x00c0_2077;
    scene.rig.region(stag, Some(0), 20_000, access::REMOTE_READ, PD);
    let request = ReadRequest { sink_stag: 1, sink_to: 2, size: 20_000, source_stag: stag, source_to: 0 };
    let mut bytes = Vec::new();
    request.emit(&mut bytes);
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &bytes);
    assert_eq!(scene.hear().len(), 10);
    assert_eq!(scene.rig.command(Command::Invalidate, 0, stag), CommandStatus::Ok);
    scene.rig.dma.log();
    scene.ack(scene.peer.rcv, 60_000);
    assert!(scene.hear().is_empty());
    assert_eq!(detected(&mut scene), E::RdmapInvalidStag.to_wire());
    let memory = scene.rig.dma.log();
    assert!(
        memory.iter().all(|access| access.write),
        "RFC 5042 6.2.2: not a byte is read any more: {memory:?}"
    );
    // What is in flight can no longer be rebuilt: only RST is left.
    let mut scene = Scene::model();
    scene.rig.region(stag, Some(0), 20_000, access::REMOTE_READ, PD);
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &bytes);
    scene.lose();
    assert_eq!(scene.rig.command(Command::Invalidate, 0, stag), CommandStatus::Ok);
    assert!(scene.lose_after(5 * SECOND).is_empty());
    assert_eq!(scene.errors().into_iter().map(|error| error.0).collect::<Vec<_>>(), [ErrorCause::Fatal]);
}
