//! Connection set-up by RFC 5044 section 7.1 and RFC 6581, and what a connection says when something goes wrong, byte by
//! byte: driver and device on one host, a scripted peer on the other. Each test names the requirements it holds, by their ids
//! in `conformance.toml`.

use ironwarp_driver::cm::{AcceptParams, ConnectError, ConnectParams, Established, Revision, RtrSet};
use ironwarp_driver::stream::{TcpListener, TcpStream};
use ironwarp_driver::verbs::{
    Access, CompletionQueue, Data, MemoryRegion, QpConfig, QpEvent, QpState, QueuePair, ReceiveRequest,
    RemoteAddress, SendRequest, Sge, WcStatus,
};
use ironwarp_proto::mpa::fpdu;
use ironwarp_proto::mpa::marker::{self, MarkerPhase};
use ironwarp_proto::mpa::stream::{Deframer, Fpdu, FpduCrc};
use ironwarp_sim::engine::Engine;
use ironwarp_sim::lab::{Lab, LabConfig, address};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::size::Size;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddrV4;
use std::time::Duration;

const PORT: u16 = 7174;
const ONE_SECOND: u64 = 1_000_000_000;
const REQUEST: &[u8; 16] = b"MPA ID Req Frame";
const REPLY: &[u8; 16] = b"MPA ID Rep Frame";

fn lab() -> Lab {
    let config = LabConfig {
        link: LinkConfig::default(),
        mtu: 1500,
        seed: 1,
        engine: Engine::from_env().unwrap(),
        device: Size::from_env().unwrap().device(),
        waves: None,
    };
    Lab::new(&config, None).unwrap()
}

fn at(node: usize) -> SocketAddrV4 {
    SocketAddrV4::new(address(node), PORT)
}

/// A queue pair with a region; the script is on host 0, this on host 1.
struct End {
    qp: QueuePair,
    cq: CompletionQueue,
    region: MemoryRegion,
}

impl End {
    fn new(lab: &Lab) -> Self {
        let pd = lab.hosts[1].alloc_pd().unwrap();
        let cq = lab.hosts[1].create_cq(64).unwrap();
        let rights = Access::LOCAL_WRITE | Access::REMOTE_READ | Access::REMOTE_ATOMIC;
        let region = pd.register(0x10000, rights).unwrap();
        let qp = pd.create_qp(&QpConfig::new(&cq, &cq).reads(16, 16)).unwrap();
        Self { qp, cq, region }
    }

    fn send(&self, bytes: &[u8]) {
        self.qp.post_send(&SendRequest::send(8, Data::inline(bytes))).unwrap();
    }
}

fn mpa(key: &[u8; 16], flags: u8, revision: u8, data: &[u8]) -> Vec<u8> {
    [&key[..], &[flags, revision], &(data.len() as u16).to_be_bytes(), data].concat()
}

fn read_mpa(stream: &mut TcpStream) -> Vec<u8> {
    let mut frame = vec![0; 20];
    stream.read_exact(&mut frame).unwrap();
    let mut data = vec![0; usize::from(u16::from_be_bytes([frame[18], frame[19]]))];
    stream.read_exact(&mut data).unwrap();
    frame.extend(data);
    frame
}

/// What comes within 100 ms; whether the stream has ended then.
fn listen(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    stream.set_read_timeout(Some(Duration::from_millis(100)));
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (all, true),
            Ok(count) => all.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (all, true),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Deadlock) => {
                return (all, false);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A responder on host 1 whose Request was scripted, and its answer.
struct Responder {
    script: TcpStream,
    end: End,
    reply: Vec<u8>,
    established: Established,
    /// IRD and ORD of the initiator as the application saw them.
    seen: (Option<u16>, Option<u16>),
    lab: Lab,
}

fn responder(request: &[u8], accept: AcceptParams) -> Responder {
    let lab = lab();
    let end = End::new(&lab);
    let listener = lab.hosts[1].listen(PORT, 1).unwrap();
    let mut script = TcpStream::connect(&lab.hosts[0], at(1)).unwrap();
    script.write_all(request).unwrap();
    let incoming = listener.wait(None).unwrap();
    let seen = (incoming.ird(), incoming.ord());
    let accepting = incoming.accept(&end.qp, accept).unwrap();
    let established = accepting.wait(None).unwrap();
    let reply = read_mpa(&mut script);
    Responder { script, end, reply, established, seen, lab }
}

/// An initiator on host 1 whose Reply was scripted, and its Request.
struct Initiator {
    script: TcpStream,
    end: End,
    request: Vec<u8>,
    outcome: Result<Established, ConnectError>,
    lab: Lab,
}

fn initiator(connect: ConnectParams, reply: &[u8]) -> Initiator {
    let lab = lab();
    let end = End::new(&lab);
    let listener = TcpListener::bind(&lab.hosts[0], PORT, 1).unwrap();
    let connecting = end.qp.connect(at(0), connect).unwrap();
    let (mut script, _) = listener.accept().unwrap();
    let request = read_mpa(&mut script);
    assert_eq!(listen(&mut script), (vec![], false), "nothing follows before the Reply");
    assert!(connecting.status().is_none());
    script.write_all(reply).unwrap();
    let outcome = connecting.wait(None);
    Initiator { script, end, request, outcome, lab }
}

fn depths(ird: u16, ord: u16) -> ConnectParams {
    ConnectParams { ird: Some(ird), ord: Some(ord), ..ConnectParams::default() }
}

fn rtr(send: bool, write: bool, read: bool) -> Option<RtrSet> {
    Some(RtrSet { send, write, read })
}

/// The ULPDUs that the script receives in some time, by a deframer that keeps its state.
fn ulpdus(deframer: &mut Deframer, stream: &mut TcpStream) -> Vec<Vec<u8>> {
    let (bytes, _) = listen(stream);
    let good = |fpdu: Fpdu| {
        assert!(fpdu.crc != FpduCrc::Bad && fpdu.marker_mismatch.is_none());
        fpdu.ulpdu
    };
    deframer.push(&bytes).into_iter().map(good).collect()
}

fn untagged(opcode: u8, qn: u32, msn: u32, payload: &[u8]) -> Vec<u8> {
    let words = [0, qn, msn, 0].map(u32::to_be_bytes).concat();
    [&[0x41, 0x40 | opcode], &words[..], payload].concat()
}

fn tagged(opcode: u8, stag: u32, to: u64, payload: &[u8]) -> Vec<u8> {
    [&[0xc1, 0x40 | opcode][..], &stag.to_be_bytes(), &to.to_be_bytes(), payload].concat()
}

fn send_fpdu(stream: &mut TcpStream, ulpdu: &[u8]) {
    let mut bytes = Vec::new();
    fpdu::emit(&[ulpdu], true, &mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
}

// ---- Request and Reply ----

/// RFC5044-s1.2-2, s4.4-1, -3, s7.1.1-1, -5, -6, -13, -14, -17, s7.1.2-1, -6; RFC6581-s6-1, -2, -4, s9-1, s9.2-1, -2, -11, -13,
/// s10-3: the first bytes of an initiator.
#[test]
fn an_initiator_begins_with_exactly_a_request() {
    let plain = || ConnectParams { private_data: b"hello".to_vec(), ..depths(3, 0x105) };
    let old = || ConnectParams { revision: Revision::One, ..plain() };
    let cases = [
        (plain(), mpa(REQUEST, 0x50, 2, b"\x00\x03\x01\x05hello")),
        (ConnectParams { crc: false, ..plain() }, mpa(REQUEST, 0x10, 2, b"\x00\x03\x00\x10hello")),
        (ConnectParams { markers: true, ..plain() }, mpa(REQUEST, 0xd0, 2, b"\x00\x03\x00\x10hello")),
        (
            ConnectParams { rtr: Some(RtrSet::ALL), ..plain() },
            mpa(REQUEST, 0x50, 2, b"\xc0\x03\xc0\x10hello"),
        ),
        (
            ConnectParams { rtr: rtr(true, false, false), ..plain() },
            mpa(REQUEST, 0x50, 2, b"\xc0\x03\x00\x10hello"),
        ),
        (
            ConnectParams { rtr: rtr(false, true, false), ..plain() },
            mpa(REQUEST, 0x50, 2, b"\x80\x03\x80\x10hello"),
        ),
        (
            ConnectParams { rtr: rtr(false, false, true), ..plain() },
            mpa(REQUEST, 0x50, 2, b"\x80\x03\x40\x10hello"),
        ),
        (old(), mpa(REQUEST, 0x40, 1, b"hello")),
        (ConnectParams { crc: false, markers: true, ..old() }, mpa(REQUEST, 0x80, 1, b"hello")),
        (ConnectParams { private_data: vec![7; 512], ..old() }, mpa(REQUEST, 0x40, 1, &[7; 512])),
    ];
    for (at, (connect, mut expected)) in cases.into_iter().enumerate() {
        if at == 0 {
            // Cut to what the queue pair can do.
            expected[22..24].copy_from_slice(&16u16.to_be_bytes());
        }
        let begun = initiator(connect, &mpa(REPLY, 0x60, 1, b""));
        assert_eq!(begun.request, expected, "case {at}");
    }
}

/// RFC5044-s4.4-3, s7.1.1-3, -5, -7, -13, s7.1.2-5; RFC6581-s6-1, -3, -4, s9.1-1, -2, -3, -9, -11, s9.2-3, -4, -6, -7, -12 to
/// -14, s10-1, -2, -4, -5, -6: the answer to each kind of Request.
#[test]
fn a_responder_answers_with_exactly_a_reply_of_the_same_kind() {
    let four = || AcceptParams { ird: Some(4), ord: Some(9), ..AcceptParams::default() };
    let bare = || AcceptParams { crc: false, ..four() };
    let cases: Vec<(Vec<u8>, AcceptParams, Vec<u8>)> = vec![
        // Revision 1, without and with what we want; reserved bits say nothing.
        (mpa(REQUEST, 0, 1, b""), bare(), mpa(REPLY, 0, 1, b"")),
        (mpa(REQUEST, 0x40, 1, b"abc"), bare(), mpa(REPLY, 0x40, 1, b"")),
        (mpa(REQUEST, 0, 1, b""), four(), mpa(REPLY, 0x40, 1, b"")),
        (mpa(REQUEST, 0x1f, 1, b"abc"), bare(), mpa(REPLY, 0, 1, b"")),
        (mpa(REQUEST, 0, 1, b""), AcceptParams { markers: true, ..bare() }, mpa(REPLY, 0x80, 1, b"")),
        (
            mpa(REQUEST, 0, 1, b""),
            AcceptParams { private_data: b"xyz".to_vec(), ..bare() },
            mpa(REPLY, 0, 1, b"xyz"),
        ),
        // Revision 2 without S.
        (mpa(REQUEST, 0, 2, b"abcdef"), bare(), mpa(REPLY, 0, 2, b"")),
        // Enhanced: our ORD is at most the initiator's IRD.
        (mpa(REQUEST, 0x1f, 2, &[0, 3, 0, 2]), bare(), mpa(REPLY, 0x10, 2, &[0, 4, 0, 3])),
        (mpa(REQUEST, 0x10, 2, &[0, 0, 0, 2]), bare(), mpa(REPLY, 0x10, 2, &[0, 4, 0, 0])),
        (mpa(REQUEST, 0x10, 2, &[0x01, 0, 0, 2]), bare(), mpa(REPLY, 0x10, 2, &[0, 4, 0, 9])),
        // Left to the ULP.
        (mpa(REQUEST, 0x10, 2, &[0x3f, 0xff, 0, 2]), bare(), mpa(REPLY, 0x10, 2, &[0, 4, 0x3f, 0xff])),
        (mpa(REQUEST, 0x10, 2, &[0, 3, 0x3f, 0xff]), bare(), mpa(REPLY, 0x10, 2, &[0x3f, 0xff, 0, 3])),
        // Without A the bits B, C and D are nothing.
        (mpa(REQUEST, 0x10, 2, &[0x40, 3, 0xc0, 2]), bare(), mpa(REPLY, 0x10, 2, &[0, 4, 0, 3])),
        // With A each kind alone, and none.
        (mpa(REQUEST, 0x10, 2, &[0xc0, 3, 0, 2]), bare(), mpa(REPLY, 0x10, 2, &[0xc0, 4, 0, 3])),
        (mpa(REQUEST, 0x10, 2, &[0x80, 3, 0x80, 2]), bare(), mpa(REPLY, 0x10, 2, &[0x80, 4, 0x80, 3])),
        (mpa(REQUEST, 0x10, 2, &[0x80, 3, 0x40, 2]), bare(), mpa(REPLY, 0x10, 2, &[0x80, 4, 0x40, 3])),
        (mpa(REQUEST, 0x10, 2, &[0xc0, 3, 0xc0, 2]), bare(), mpa(REPLY, 0x10, 2, &[0x80, 4, 0xc0, 3])),
        (mpa(REQUEST, 0x10, 2, &[0x80, 3, 0, 2]), bare(), mpa(REPLY, 0x10, 2, &[0x80, 4, 0x80, 3])),
    ];
    for (request, accept, expected) in cases {
        let answered = responder(&request, accept);
        assert_eq!(answered.reply, expected, "{request:?}");
        // The application hears what the peer said, and what counts.
        if request[16] & 0x10 != 0 && request[17] == 2 {
            let depth = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]) & 0x3fff;
            let said = |depth: u16| (depth != 0x3fff).then_some(depth);
            assert_eq!(answered.seen, (said(depth(20)), said(depth(22))));
            assert_eq!(answered.established.peer_depths, Some((depth(20), depth(22))));
            assert_eq!((answered.established.ird, answered.established.ord), (4, depth(20).min(9)));
        } else {
            assert_eq!(answered.seen, (None, None));
            assert_eq!((answered.established.ird, answered.established.ord), (4, 9));
        }
    }
}

/// RFC5044-s7.1.2-12: R, and the private data of the application.
#[test]
fn a_request_that_the_application_refuses_is_answered_with_a_reject() {
    for (request, expected) in [
        (mpa(REQUEST, 0x40, 1, b"abc"), mpa(REPLY, 0x60, 1, b"sorry")),
        (mpa(REQUEST, 0x10, 2, &[0, 3, 0, 2]), mpa(REPLY, 0x30, 2, b"\0\0\0\0sorry")),
    ] {
        let lab = lab();
        let listener = lab.hosts[1].listen(PORT, 1).unwrap();
        let mut script = TcpStream::connect(&lab.hosts[0], at(1)).unwrap();
        script.write_all(&request).unwrap();
        listener.wait(None).unwrap().reject(b"sorry").unwrap();
        assert_eq!(read_mpa(&mut script), expected);
    }
}

/// RFC5044-s7.1.1-15, s7.1.2-2, -3, -13, -15, -17, s8-4: what a responder gets that is no Request ends the connection at
/// once, and the application is not asked.
#[test]
fn a_responder_closes_on_what_is_not_a_request() {
    let mut late = mpa(REQUEST, 0x40, 1, b"");
    late[15] = b'f';
    let mut long = mpa(REQUEST, 0x40, 1, b"");
    long[18..20].copy_from_slice(&513u16.to_be_bytes());
    let cases = [
        b"GET / HTTP/1.1\r\n".to_vec(),
        b"X".to_vec(),
        late,
        mpa(REPLY, 0x40, 1, b""),
        mpa(REQUEST, 0x40, 0, b""),
        mpa(REQUEST, 0x40, 3, b""),
        long,
        mpa(REQUEST, 0x50, 2, b"abc"),
    ];
    for bytes in cases {
        let lab = lab();
        let listener = lab.hosts[1].listen(PORT, 1).unwrap();
        let mut script = TcpStream::connect(&lab.hosts[0], at(1)).unwrap();
        script.write_all(&bytes).unwrap();
        assert_eq!(listen(&mut script), (vec![], true), "{bytes:?}");
        assert!(listener.poll().is_none());
    }
}

/// RFC5044-s7.1.1-4, -15, s7.1.2-6, -7, -13, -15, -17, s8-4: and what an initiator gets that is no Reply, with an
/// error for the application.
#[test]
fn an_initiator_closes_on_what_is_not_a_reply_and_says_so() {
    let mut late = mpa(REPLY, 0x40, 2, b"");
    late[15] = b'f';
    let mut long = mpa(REPLY, 0x40, 2, b"");
    long[18..20].copy_from_slice(&513u16.to_be_bytes());
    let cases = [
        b"HTTP/1.1 400 Bad\r\n".to_vec(),
        late,
        mpa(REQUEST, 0x40, 2, b""),
        mpa(REPLY, 0x40, 0, b""),
        mpa(REPLY, 0x40, 3, b""),
        long,
        mpa(REPLY, 0x50, 2, b"abc"),
    ];
    for bytes in cases {
        let mut failed = initiator(ConnectParams::default(), &bytes);
        let outcome = failed.outcome;
        let expected = matches!(outcome, Err(ConnectError::BadMpa(_) | ConnectError::Negotiation(_)));
        assert!(expected, "{bytes:?}: {outcome:?}");
        let (said, ended) = listen(&mut failed.script);
        assert!(said.is_empty() && ended, "{bytes:?}");
        assert_eq!(failed.end.qp.state(), QpState::Idle);
    }
}

/// RFC5044-s7.1.2-14, -18: neither side waits for ever.
#[test]
fn who_says_nothing_at_start_up_is_given_up() {
    for begun in [&b""[..], &REQUEST[..10], &mpa(REQUEST, 0x40, 1, b"abc")[..22]] {
        let lab = lab();
        let listener = lab.hosts[1].listen(PORT, 1).unwrap();
        let mut script = TcpStream::connect(&lab.hosts[0], at(1)).unwrap();
        script.write_all(begun).unwrap();
        assert_eq!(script.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(lab.hosts[0].now() < 60 * ONE_SECOND && listener.poll().is_none());
    }
    for begun in [&b""[..], &REPLY[..12]] {
        let lab = lab();
        let end = End::new(&lab);
        let listener = TcpListener::bind(&lab.hosts[0], PORT, 1).unwrap();
        let connect = ConnectParams { timeout: 5 * ONE_SECOND, ..ConnectParams::default() };
        let connecting = end.qp.connect(at(0), connect).unwrap();
        let (mut script, _) = listener.accept().unwrap();
        script.write_all(begun).unwrap();
        assert_eq!(connecting.wait(None), Err(ConnectError::Timeout));
        assert!(lab.hosts[1].now() < 6 * ONE_SECOND);
    }
}

/// The half of RFC5044-s7.1.2-8 and RFC6581-s9.1-8 that is done: the application of the initiator hears it, no FPDU leaves.
#[test]
fn a_reject_is_told_and_nothing_is_sent() {
    for (reply, private_data) in
        [(mpa(REPLY, 0x20, 1, b"no"), b"no"), (mpa(REPLY, 0x30, 2, b"\0\x01\0\x02no"), b"no")]
    {
        let connect = ConnectParams { rtr: Some(RtrSet::ALL), ..ConnectParams::default() };
        let mut refused = initiator(connect, &reply);
        let Err(ConnectError::Rejected { private_data: told, .. }) = &refused.outcome else {
            panic!("{:?}", refused.outcome)
        };
        assert_eq!(told, private_data);
        assert!(listen(&mut refused.script).0.is_empty());
    }
}

// ---- What was agreed counts ----

/// RFC5044-s7.1.1-6 to -9, s4.3-1, -7, s4.5-1, -2, s5.1-1: markers if and only if the peer asked for them, from the first byte, and
/// FPDUs as long as its segments allow.
#[test]
fn markers_are_sent_as_the_peer_asked_and_fpdus_fill_the_segments() {
    for asked in [false, true] {
        let flags = if asked { 0xc0 } else { 0x40 };
        let old = ConnectParams { revision: Revision::One, ..ConnectParams::default() };
        let begun = initiator(old, &mpa(REPLY, flags, 1, b""));
        let asks = mpa(REQUEST, flags, 1, b"");
        let answered = responder(&asks, AcceptParams::default());
        let mut release = Vec::new();
        fpdu::emit(&[&tagged(0, 0, 0, b"")], true, &mut release).unwrap();
        let sides = [
            (begun.script, begun.end, begun.lab, None),
            (answered.script, answered.end, answered.lab, Some(release)),
        ];
        for (mut script, end, _lab, release) in sides {
            if let Some(release) = release {
                script.write_all(&release).unwrap();
            }
            let long = end.region.sge(0, 4000).unwrap();
            end.qp.post_send(&SendRequest::send(1, long)).unwrap();
            let (bytes, _) = listen(&mut script);
            // Without TCP options a segment has 1460 bytes of payload.
            assert_eq!(bytes[..4] == [0; 4], asked);
            let found = Deframer::new(asked, true).push(&bytes);
            assert!(found.iter().all(|fpdu| fpdu.crc == FpduCrc::Good && fpdu.marker_mismatch.is_none()));
            assert_eq!(found[0].ulpdu.len(), if asked { 1442 } else { 1454 });
            assert_eq!(found.len(), 3);
        }
    }
}

/// RFC5044-s4.4-6, -7, s7.1.1-10, -11, -12: an FPDU with a wrong CRC is an error if either side wanted CRCs.
#[test]
fn crcs_are_checked_if_either_frame_asks_for_them() {
    for (ours, theirs) in [(false, false), (false, true), (true, false), (true, true)] {
        let flags = if theirs { 0x40 } else { 0 };
        let connect = ConnectParams { revision: Revision::One, crc: ours, ..ConnectParams::default() };
        let mut begun = initiator(connect, &mpa(REPLY, flags, 1, b""));
        let accept = AcceptParams { crc: ours, ..AcceptParams::default() };
        let mut answered = responder(&mpa(REQUEST, flags, 1, b""), accept);
        let used = ours || theirs;
        assert_eq!(begun.outcome.as_ref().unwrap().crc, used);
        assert_eq!(answered.established.crc, used);
        for (script, end) in [(&mut begun.script, &begun.end), (&mut answered.script, &answered.end)] {
            end.qp.post_receive(&ReceiveRequest::new(1, [end.region.sge(0, 64).unwrap()])).unwrap();
            let mut bytes = Vec::new();
            fpdu::emit(&[&untagged(3, 0, 1, b"hello")], true, &mut bytes).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            script.write_all(&bytes).unwrap();
            listen(script);
            let done = end.cq.poll().expect("delivered or flushed");
            assert_eq!(done.status == WcStatus::Ok, !used, "{ours} {theirs}: {done:?}");
        }
    }
}

/// RFC6581-s5-1, s9.2-8: an empty message of a kind that both named, before any of the application.
#[test]
fn the_first_fpdu_of_a_peer_to_peer_initiator_is_the_rtr() {
    let cases = [
        (Some(RtrSet::ALL), [0xc0, 4, 0, 4], untagged(3, 0, 1, b"")),
        (Some(RtrSet::ALL), [0x80, 4, 0x80, 4], tagged(0, 1, 0, b"")),
        (Some(RtrSet::ALL), [0x80, 4, 0x40, 4], untagged(1, 1, 1, &[0; 28])),
        (rtr(true, false, false), [0xc0, 4, 0xc0, 4], untagged(3, 0, 1, b"")),
        (rtr(false, true, false), [0xc0, 4, 0xc0, 4], tagged(0, 1, 0, b"")),
        (rtr(false, false, true), [0xc0, 4, 0xc0, 4], untagged(1, 1, 1, &[0; 28])),
    ];
    for (rtr, data, expected) in cases {
        let connect = ConnectParams { rtr, ..depths(4, 4) };
        let mut begun = initiator(connect, &mpa(REPLY, 0x50, 2, &data));
        begun.outcome.unwrap();
        begun.end.send(b"application");
        let sent = ulpdus(&mut Deframer::new(false, true), &mut begun.script);
        assert_eq!(sent[0].len(), expected.len());
        assert_eq!(sent[0][..6.min(expected.len())].to_vec()[..2], expected[..2], "{data:?}");
        // STags and offsets of an empty Write or Read mean nothing; sizes do.
        if expected[1] == 0x41 {
            assert_eq!((&sent[0][6..18], &sent[0][30..34]), (&expected[6..18], &[0; 4][..]));
        } else if expected[0] == 0x41 {
            assert_eq!(sent[0], expected);
        }
        assert_eq!(sent[1][18..], *b"application");
        assert_eq!(sent.len(), 2);
    }
}

/// RFC6581-s9.1-5, -6, -7, -10, -12, s9.2-9, -10; RFC6581-s9.2-14.
#[test]
fn an_initiator_takes_what_the_reply_allows_or_terminates() {
    // IRD and ORD of ours, the Reply's data, and what holds then.
    let good = [
        ((8, 8), [0, 3, 0, 5], (8, 3)),
        ((8, 8), [0, 16, 0, 8], (8, 8)),
        ((8, 2), [0, 16, 0, 0], (8, 2)),
        ((8, 6), [0x3f, 0xff, 0, 1], (8, 6)),
        ((7, 6), [0, 2, 0x3f, 0xff], (7, 2)),
        // Without A, B to D are nothing to one that did not ask either.
        ((8, 8), [0x40, 3, 0xc0, 5], (8, 3)),
    ];
    for ((ird, ord), data, expected) in good {
        let mut begun = initiator(depths(ird, ord), &mpa(REPLY, 0x50, 2, &data));
        let established = begun.outcome.unwrap();
        assert_eq!((established.ird, established.ord), expected, "{data:?}");
        let depth = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]) & 0x3fff;
        assert_eq!(established.peer_depths, Some((depth(0), depth(2))));
        // It is what the device does: so many Reads leave, and no more.
        let nowhere = RemoteAddress { stag: 1, to: 0 };
        for at in 0..10 {
            let sink = begun.end.region.sge(8 * at, 8).unwrap();
            begun.end.qp.post_send(&SendRequest::read(at as u64, sink, nowhere)).unwrap();
        }
        let sent = ulpdus(&mut Deframer::new(false, true), &mut begun.script);
        assert_eq!(sent.len(), usize::from(expected.1), "{data:?}");
    }
    let all = Some(RtrSet::ALL);
    let bad = [
        ((4, 4), None, [0, 4, 0, 5], 6),
        ((4, 4), rtr(false, true, false), [0x80, 4, 0x40, 4], 7),
        ((4, 4), rtr(true, false, false), [0x80, 4, 0xc0, 4], 7),
        ((4, 4), rtr(false, false, true), [0xc0, 4, 0x80, 4], 7),
        ((4, 4), all, [0x80, 4, 0, 4], 7),
        ((4, 4), all, [0x40, 4, 0xc0, 4], 7),
    ];
    for ((ird, ord), rtr, data, code) in bad {
        let connect = ConnectParams { rtr, ..depths(ird, ord) };
        let mut failed = initiator(connect, &mpa(REPLY, 0x50, 2, &data));
        assert!(matches!(failed.outcome, Err(ConnectError::Negotiation(_))), "{:?}", failed.outcome);
        let (bytes, ended) = listen(&mut failed.script);
        let found = Deframer::new(false, true).push(&bytes);
        let sent: Vec<_> = found.into_iter().map(|fpdu| (fpdu.crc, fpdu.ulpdu)).collect();
        let expected = untagged(7, 2, 1, &[0x20, code, 0, 0]);
        assert_eq!((sent, ended), (vec![(FpduCrc::Good, expected)], true), "{data:?}");
    }
}

/// RFC5044-s7.1-2, s7.1.5-3, s4.3-7: FPDUs right behind the Request, and more while it is being answered.
#[test]
fn fpdus_behind_the_request_are_not_lost() {
    for markers in [false, true] {
        let lab = lab();
        let end = End::new(&lab);
        let listener = lab.hosts[1].listen(PORT, 1).unwrap();
        let mut script = TcpStream::connect(&lab.hosts[0], at(1)).unwrap();
        let mut stream = mpa(REQUEST, 0x40, 1, b"");
        let mut phase = MarkerPhase::START;
        for msn in 1..=40 {
            end.qp.post_receive(&ReceiveRequest::new(msn, [end.region.sge(0, 64).unwrap()])).unwrap();
            let ulpdu = untagged(3, 0, msn as u32, &[msn as u8; 50]);
            if markers {
                phase = marker::emit(&[&ulpdu], true, phase, &mut stream).unwrap();
            } else {
                fpdu::emit(&[&ulpdu], true, &mut stream).unwrap();
            }
        }
        let (early, late) = stream.split_at(700);
        script.write_all(early).unwrap();
        let accept = AcceptParams { markers, ..AcceptParams::default() };
        let accepting = listener.wait(None).unwrap().accept(&end.qp, accept).unwrap();
        script.write_all(late).unwrap();
        accepting.wait(None).unwrap();
        for msn in 1..=40 {
            let done = end.cq.wait(Some(lab.hosts[1].now() + ONE_SECOND)).unwrap();
            assert_eq!((done.wr_id, done.status, done.byte_len), (msn, WcStatus::Ok, 50));
        }
    }
}

// ---- Terminate ----

/// RFC5040-s5.4-8, s6.2.1-1, -2, -3, s7-2, s7.1-1, -2; RFC5041-s3-12; RFC7306-s5.1.1-3, s5.1.2-6, s8.1-1, s8.2-7; RFC5044-s8-6:
/// what the peer and the application hear of an error, from the device through the driver.
#[test]
fn an_error_is_answered_with_a_terminate_then_fin_and_everything_is_flushed() {
    let request = |size: u32, stag: u32, to: u64| {
        [
            &7u32.to_be_bytes()[..],
            &8u64.to_be_bytes(),
            &size.to_be_bytes(),
            &stag.to_be_bytes(),
            &to.to_be_bytes(),
        ]
        .concat()
    };
    let atomic = |code: u32, stag: u32, to: u64| {
        let words = [code, 99, stag].map(u32::to_be_bytes).concat();
        let operands = [to, 1, 0, 0, u64::MAX].map(u64::to_be_bytes).concat();
        [words, operands].concat()
    };
    // What is sent for a region with this STag and TO, and the Terminate's control, with what else it carries.
    type Ulpdu = Box<dyn Fn(u32, u64) -> Vec<u8>>;
    let cases: Vec<(Ulpdu, [u8; 4], usize)> = vec![
        // Tagged: the DDP header. (The region does not allow Writes.)
        (Box::new(|stag, to| tagged(0, stag, to, b"x")), [0x11, 0x00, 0xc0, 0], 14),
        (Box::new(|stag, to| tagged(2, stag, to, b"x")), [0x02, 0x06, 0xc0, 0], 14),
        // Untagged: the DDP header.
        (Box::new(|_, _| untagged(3, 0, 9, b"x")), [0x12, 0x03, 0xc0, 0], 18),
        (Box::new(|_, _| untagged(8, 0, 1, b"1234567")), [0x02, 0xff, 0xc0, 0], 18),
        (Box::new(|_, _| untagged(12, 0, 1, b"x")), [0x02, 0x06, 0xc0, 0], 18),
        (
            Box::new(|stag, _| {
                [&[0x41, 0x44][..], &(stag ^ 1).to_be_bytes(), &[0; 7], &[1, 0, 0, 0, 0]].concat()
            }),
            [0x01, 0x09, 0xc0, 0],
            18,
        ),
        // A Read: the Read Request, too.
        (Box::new(move |stag, to| untagged(1, 1, 1, &request(9, stag ^ 1, to))), [0x01, 0x00, 0xe0, 0], 46),
        (Box::new(move |stag, to| untagged(1, 1, 1, &request(0x10001, stag, to))), [0x01, 0x01, 0xe0, 0], 46),
        // Atomics: misaligned, of an unknown kind, outside.
        (Box::new(move |stag, to| untagged(10, 1, 1, &atomic(0, stag, to + 4))), [0x02, 0x07, 0xc0, 0], 18),
        (Box::new(move |stag, to| untagged(10, 1, 1, &atomic(2, stag, to + 1))), [0x02, 0x07, 0xc0, 0], 18),
        (Box::new(move |stag, to| untagged(10, 1, 1, &atomic(1, stag, to))), [0x02, 0x06, 0xc0, 0], 18),
        (Box::new(move |stag, to| untagged(10, 1, 1, &atomic(0, stag, to - 8))), [0x01, 0x01, 0xc0, 0], 18),
        (Box::new(|_, _| untagged(11, 3, 1, &[0; 12])), [0x02, 0x06, 0xc0, 0], 18),
    ];
    for (at, (make, control, header)) in cases.into_iter().enumerate() {
        let mut begun = initiator(depths(4, 4), &mpa(REPLY, 0x50, 2, &[0, 4, 0, 4]));
        begun.outcome.unwrap();
        let end = &begun.end;
        // A Read that is never answered, except in the case of an unexpected response, and a receive.
        if at != 1 {
            let (sink, source) = (end.region.sge(0, 8).unwrap(), RemoteAddress { stag: 1, to: 0 });
            end.qp.post_send(&SendRequest::read(5, sink, source)).unwrap();
        }
        end.qp.post_receive(&ReceiveRequest::new(6, [end.region.sge(0, 64).unwrap()])).unwrap();
        let mut deframer = Deframer::new(false, true);
        ulpdus(&mut deframer, &mut begun.script);
        let bad = make(end.region.rkey(), end.region.addr());
        send_fpdu(&mut begun.script, &bad);
        let (bytes, ended) = listen(&mut begun.script);
        let sent: Vec<_> = deframer.push(&bytes).into_iter().map(|fpdu| fpdu.ulpdu).collect();
        let length = (bad.len() as u16).to_be_bytes();
        let expected = untagged(7, 2, 1, &[&control[..], &length, &bad[..header]].concat());
        assert_eq!((sent, ended), (vec![expected], true), "case {at}");
        let mut statuses = Vec::new();
        while let Some(done) = end.cq.poll() {
            statuses.push((done.wr_id, done.status));
        }
        let flushed: &[_] = if at == 1 {
            &[(6, WcStatus::Flushed)]
        } else {
            &[(5, WcStatus::Flushed), (6, WcStatus::Flushed)]
        };
        assert_eq!(statuses, flushed, "case {at}");
        assert!(matches!(end.qp.poll_event(), Some(QpEvent::Established)));
        assert!(matches!(end.qp.poll_event(), Some(QpEvent::TerminateSent(_))), "case {at}");
        assert_eq!(end.qp.state(), QpState::Terminate);
        // The peer closes as well: the connection is gone.
        begun.script.shutdown_write().unwrap();
        let deadline = Some(begun.lab.hosts[1].now() + ONE_SECOND);
        assert_eq!(end.qp.wait_event(deadline), Ok(QpEvent::Disconnected), "case {at}");
    }
}

/// RFC5040-s7.1-2 case 1; RFC5044-s8-1 code 2: errors that belong to no message of the peer, without headers.
#[test]
fn errors_of_our_own_and_of_mpa_are_told_without_headers() {
    for local in [true, false] {
        let mut begun = initiator(depths(4, 4), &mpa(REPLY, 0x50, 2, &[0, 4, 0, 4]));
        begun.outcome.unwrap();
        let end = &begun.end;
        let error = if local {
            let sge = Sge { to: end.region.addr(), length: 8, lkey: end.region.lkey() ^ 1 };
            end.qp.post_send(&SendRequest::send(5, sge)).unwrap();
            [0x00, 0x00]
        } else {
            let mut bytes = Vec::new();
            fpdu::emit(&[&untagged(3, 0, 1, b"x")], true, &mut bytes).unwrap();
            bytes[4] ^= 8;
            begun.script.write_all(&bytes).unwrap();
            [0x20, 0x02]
        };
        let (bytes, ended) = listen(&mut begun.script);
        let sent: Vec<_> =
            Deframer::new(false, true).push(&bytes).into_iter().map(|fpdu| fpdu.ulpdu).collect();
        let mut expected = untagged(7, 2, 1, &[error[0], error[1], 0, 0]);
        if local {
            // A local catastrophic error has no code: any value will do.
            expected[19] = sent[0][19];
        }
        assert_eq!((sent, ended), (vec![expected], true));
        if local {
            let done = end.cq.poll().unwrap();
            assert_eq!((done.wr_id, done.status), (5, WcStatus::LocalProtection));
        }
    }
}

/// RFC5040-s5.4-7: a Terminate of the peer reaches the application, what is posted is flushed, and FIN is all that is answered.
#[test]
fn a_terminate_of_the_peer_reaches_the_application() {
    let mut begun = initiator(depths(4, 4), &mpa(REPLY, 0x50, 2, &[0, 4, 0, 4]));
    begun.outcome.unwrap();
    let end = &begun.end;
    end.qp.post_receive(&ReceiveRequest::new(6, [end.region.sge(0, 64).unwrap()])).unwrap();
    let header = [&[0x11, 0x01, 0xc0, 0, 0, 99][..], &tagged(0, 5, 6, b"")].concat();
    send_fpdu(&mut begun.script, &untagged(7, 2, 1, &header));
    assert_eq!(listen(&mut begun.script), (vec![], true));
    assert_eq!(end.qp.poll_event(), Some(QpEvent::Established));
    let Some(QpEvent::TerminateReceived(terminate)) = end.qp.poll_event() else { panic!("not told") };
    assert_eq!(terminate.error.to_wire(), (1, 1, 1));
    assert_eq!((terminate.segment_len, terminate.ddp_header), (Some(99), tagged(0, 5, 6, b"")));
    assert_eq!(end.cq.poll().map(|done| (done.wr_id, done.status)), Some((6, WcStatus::Flushed)));
}

// ---- STags ----

/// RFC5040-s8.1.1-10: each bit that is not of the index takes both values, whatever was there before.
#[test]
fn stags_are_spread_over_the_full_range() {
    let lab = lab();
    let pd = lab.hosts[0].alloc_pd().unwrap();
    let stags: Vec<u32> = (0..200).map(|_| pd.register(64, Access::REMOTE_READ).unwrap().rkey()).collect();
    let index_bits = 0xff00;
    for bit in (0..32).filter(|bit| index_bits >> bit & 1 == 0) {
        let ones = stags.iter().filter(|stag| **stag >> bit & 1 == 1).count();
        assert!((50..=150).contains(&ones), "bit {bit}: {ones} of 200");
    }
    let mut steps: Vec<u32> = stags.windows(2).map(|pair| (pair[1] ^ pair[0]) & !index_bits).collect();
    steps.sort_unstable();
    steps.dedup();
    assert!(steps.len() > 190, "no pattern from one to the next");
}
