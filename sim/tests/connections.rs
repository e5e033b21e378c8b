//! Connections over two golden models: the driver's slow path, MPA and the hand-over, on good and bad links.

use ironwarp_driver::Error;
use ironwarp_driver::cm::{AcceptParams, ConnectError, ConnectParams, Established, Revision, RtrSet};
use ironwarp_driver::stream::{TcpListener, TcpStream};
use ironwarp_driver::verbs::{
    Access, CompletionQueue, Data, MemoryRegion, QpConfig, QpEvent, QpState, QueuePair, ReceiveRequest,
    SendRequest, WcStatus,
};
use ironwarp_sim::engine::Engine;
use ironwarp_sim::lab::{Lab, LabConfig, address};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::size::Size;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddrV4;
use std::time::Duration;

const PORT: u16 = 7174;
const SECOND: u64 = 1_000_000_000;
/// Longer than a connection waits on a bad link: five losses in a row back the retransmission off to 32 s, and no sample need come between
/// (RFC 6298 section 5).
const PATIENCE: u64 = 600 * SECOND;

fn lab(seed: u64, loss: f64) -> Lab {
    lab_of(Engine::from_env().unwrap(), seed, loss)
}

fn lab_of(engine: Engine, seed: u64, loss: f64) -> Lab {
    let link = LinkConfig {
        rate_bps: Some(10_000_000_000),
        delay: 2_000,
        loss,
        duplicate: loss,
        reorder: loss,
        ..LinkConfig::default()
    };
    let device = Size::from_env().unwrap().device();
    Lab::new(&LabConfig { link, mtu: 1500, seed, engine, device, waves: None }, None).unwrap()
}

fn peer() -> SocketAddrV4 {
    SocketAddrV4::new(address(1), PORT)
}

/// A queue pair, its completion queue and a region.
struct End {
    qp: QueuePair,
    cq: CompletionQueue,
    region: MemoryRegion,
}

impl End {
    fn new(lab: &Lab, node: usize) -> Self {
        let pd = lab.hosts[node].alloc_pd().unwrap();
        let cq = lab.hosts[node].create_cq(64).unwrap();
        let region =
            pd.register(65536, Access::LOCAL_WRITE | Access::REMOTE_READ | Access::REMOTE_WRITE).unwrap();
        let qp = pd.create_qp(&QpConfig::new(&cq, &cq)).unwrap();
        Self { qp, cq, region }
    }
    fn post_receive(&self) {
        self.qp.post_receive(&ReceiveRequest::new(7, [self.region.sge(0, 1024).unwrap()])).unwrap();
    }
    fn send(&self, bytes: &[u8]) {
        self.qp.post_send(&SendRequest::send(8, Data::inline(bytes))).unwrap();
    }
    fn completes(&self, lab: &Lab, node: usize) -> u64 {
        let completion = self.cq.wait(Some(lab.hosts[node].now() + PATIENCE)).unwrap();
        assert_eq!(completion.status, WcStatus::Ok);
        completion.wr_id
    }
    fn hears(&self, lab: &Lab, node: usize, bytes: &[u8]) {
        assert_eq!(self.completes(lab, node), 7);
        let mut got = vec![0; bytes.len()];
        self.region.read(0, &mut got).unwrap();
        assert_eq!(got, bytes);
    }
}

type Ends = (End, End);

fn set_up(
    lab: &Lab,
    connect: ConnectParams,
    accept: AcceptParams,
) -> Result<(Ends, Established, Established), ConnectError> {
    let (client, server) = (End::new(lab, 0), End::new(lab, 1));
    let listener = lab.hosts[1].listen(PORT, 4)?;
    let connecting = client.qp.connect(peer(), connect)?;
    let deadline = Some(lab.hosts[0].now() + PATIENCE);
    let request = listener.wait(deadline)?;
    assert_eq!(request.private_data(), b"to you");
    let accepting = request.accept(&server.qp, accept)?;
    let ours = connecting.wait(deadline)?;
    let theirs = accepting.wait(deadline)?;
    for qp in [&client.qp, &server.qp] {
        assert_eq!((qp.poll_event(), qp.state()), (Some(QpEvent::Established), QpState::Rts));
    }
    Ok(((client, server), ours, theirs))
}

/// A Reject with what the responder would have given.
fn rejected(private_data: &[u8]) -> ConnectError {
    ConnectError::Rejected { private_data: private_data.to_vec(), depths: Some((0, 0)) }
}

fn connect_params() -> ConnectParams {
    ConnectParams { private_data: b"to you".to_vec(), ..ConnectParams::default() }
}
fn accept_params() -> AcceptParams {
    AcceptParams { private_data: b"and back".to_vec(), ..AcceptParams::default() }
}

fn ping_pong(lab: &Lab, (client, server): &Ends, responder_first: bool) {
    let ends = if responder_first { [(server, 1), (client, 0)] } else { [(client, 0), (server, 1)] };
    for _ in 0..3 {
        for ((from, a), (to, b)) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            to.post_receive();
            from.send(b"hello there");
            to.hears(lab, b, b"hello there");
            assert_eq!(from.completes(lab, a), 8);
        }
    }
}

fn close(lab: &Lab, (client, server): &Ends) {
    client.qp.disconnect().unwrap();
    for (qp, node) in [(&client.qp, 0), (&server.qp, 1)] {
        let deadline = Some(lab.hosts[node].now() + PATIENCE);
        while qp.wait_event(deadline).unwrap() != QpEvent::Disconnected {}
        assert_eq!(qp.state(), QpState::Closed);
    }
}

#[test]
fn both_ends_learn_what_was_agreed() {
    let lab = lab(1, 0.0);
    let connect = ConnectParams { ird: Some(3), ord: Some(5), ..connect_params() };
    let accept = AcceptParams { ird: Some(4), ord: Some(9), ..accept_params() };
    let (ends, ours, theirs) = set_up(&lab, connect, accept).unwrap();
    assert_eq!(
        (ours.private_data.as_slice(), theirs.private_data.as_slice()),
        (&b"and back"[..], &b"to you"[..])
    );
    assert_eq!((ours.ird, ours.ord, theirs.ird, theirs.ord), (3, 4, 4, 3));
    assert_eq!(ours.peer_depths, Some((4, 3)), "as the responder gave them");
    assert_eq!((ours.peer, ours.local), (theirs.local, theirs.peer));
    assert!(ours.crc && theirs.crc && !ours.markers_tx && !ours.markers_rx);
    ping_pong(&lab, &ends, false);
    close(&lab, &ends);
}

#[test]
fn every_shape_of_mpa_carries_data() {
    for bits in 0u32..64 {
        let bit = |n: u32| bits >> n & 1 != 0;
        let lab = lab(u64::from(bits), 0.0);
        let revision = if bit(0) { Revision::One } else { Revision::Two };
        let connect = ConnectParams { revision, crc: bit(1), markers: bit(2), ..connect_params() };
        let accept = AcceptParams { crc: bit(3), markers: bit(4), ..accept_params() };
        let (ends, ours, theirs) = set_up(&lab, connect, accept).unwrap();
        assert_eq!((ours.crc, theirs.crc), (bit(1) || bit(3), bit(1) || bit(3)));
        assert_eq!((ours.markers_rx, theirs.markers_tx), (bit(2), bit(2)));
        assert_eq!((ours.markers_tx, theirs.markers_rx), (bit(4), bit(4)));
        ping_pong(&lab, &ends, false);
        close(&lab, &ends);
    }
}

/// With an RTR the responder may send first, and neither application sees the RTR.
#[test]
fn every_rtr_lets_the_responder_begin() {
    let none = RtrSet::default();
    let sets = [
        RtrSet::ALL,
        RtrSet { write: true, ..none },
        RtrSet { read: true, ..none },
        RtrSet { send: true, ..none },
        RtrSet { send: true, read: true, ..none },
    ];
    for rtr in sets {
        let lab = lab(2, 0.0);
        let connect = ConnectParams { rtr: Some(rtr), ..connect_params() };
        let (ends, ..) = set_up(&lab, connect, accept_params()).unwrap();
        ping_pong(&lab, &ends, true);
        close(&lab, &ends);
    }
}

#[test]
fn bad_links_only_delay() {
    for seed in 0..40 {
        let lab = lab(seed, 0.1);
        let rtr = (seed % 2 == 0).then_some(RtrSet::ALL);
        let connect = ConnectParams { rtr, markers: seed % 3 == 0, timeout: PATIENCE, ..connect_params() };
        let (ends, ..) =
            set_up(&lab, connect, accept_params()).unwrap_or_else(|error| panic!("{seed}: {error}"));
        ping_pong(&lab, &ends, seed % 2 == 0);
        close(&lab, &ends);
    }
}

#[test]
fn refusals_are_told_apart() {
    let lab = lab(3, 0.0);
    let client = End::new(&lab, 0);
    let refused = client.qp.connect(peer(), connect_params()).unwrap().wait(None).unwrap_err();
    assert_eq!(refused.to_string(), "TCP: the peer refused the connection");
    let listener = lab.hosts[1].listen(PORT, 4).unwrap();
    let connecting = client.qp.connect(peer(), connect_params()).unwrap();
    assert!(matches!(client.qp.connect(peer(), connect_params()), Err(ConnectError::Busy(_))));
    listener.wait(None).unwrap().reject(b"not today").unwrap();
    assert_eq!(connecting.wait(None), Err(rejected(b"not today")));
    let connecting = client.qp.connect(peer(), connect_params()).unwrap();
    drop(listener.wait(None).unwrap());
    assert_eq!(connecting.wait(None), Err(rejected(b"")));
    let rtr = ConnectParams { rtr: Some(RtrSet::ALL), ord: Some(0), ..connect_params() };
    let connecting = client.qp.connect(peer(), rtr).unwrap();
    let server = End::new(&lab, 1);
    let accepting = listener.wait(None).unwrap().accept(&server.qp, accept_params()).unwrap();
    assert_eq!(connecting.wait(None).unwrap().ord, 0);
    accepting.wait(None).unwrap();
    let timeout = ConnectParams { timeout: SECOND, ..connect_params() };
    let other = End::new(&lab, 0);
    let nobody = SocketAddrV4::new([10, 77, 0, 99].into(), 1);
    let before = lab.hosts[0].now();
    assert_eq!(other.qp.connect(nobody, timeout).unwrap().wait(None), Err(ConnectError::Timeout));
    assert_eq!(lab.hosts[0].now() - before, SECOND);
    assert!(listener.poll().is_none());
    let idle = listener.wait(Some(lab.hosts[1].now() + SECOND));
    assert_eq!(idle.unwrap_err(), ConnectError::Driver(Error::TimedOut));
}

/// No kind of RTR suits both: the responder gets a Terminate as the first FPDU.
#[test]
fn an_initiator_without_a_matching_rtr_terminates() {
    initiator_terminates(&lab(4, 0.0));
}

/// The Terminate stops the queue pair between the injection of what came early and GO, which is then refused before the event is here.
#[test]
fn a_terminate_before_go_is_told_by_a_device_that_takes_its_time() {
    initiator_terminates(&lab_of(Engine::Timed, 4, 0.0));
}

fn initiator_terminates(lab: &Lab) {
    let (client, server) = (End::new(lab, 0), End::new(lab, 1));
    let listener = lab.hosts[1].listen(PORT, 4).unwrap();
    let rtr = Some(RtrSet { read: true, ..RtrSet::default() });
    let connecting =
        client.qp.connect(peer(), ConnectParams { rtr, ord: Some(0), ..connect_params() }).unwrap();
    let accepting = listener.wait(None).unwrap().accept(&server.qp, accept_params()).unwrap();
    assert!(matches!(connecting.wait(None), Err(ConnectError::Negotiation(_))));
    // The Terminate comes before the device has the connection, or just after.
    assert!(matches!(accepting.wait(None), Ok(_) | Err(ConnectError::Ended)));
    loop {
        if let QpEvent::TerminateReceived(terminate) = server.qp.wait_event(None).unwrap() {
            assert_eq!(terminate.error.to_wire(), (2, 0, 7));
            break;
        }
    }
}

#[test]
fn aborts_reach_the_peer_and_ports_are_free_again() {
    let lab = lab(5, 0.0);
    for _ in 0..20 {
        let (ends, ..) = set_up(&lab, connect_params(), accept_params()).unwrap();
        ends.0.qp.abort().unwrap();
        let deadline = Some(lab.hosts[1].now() + SECOND);
        while !matches!(ends.1.qp.wait_event(deadline).unwrap(), QpEvent::Fatal(_)) {}
    }
}

#[test]
fn streams_echo() {
    for (seed, loss) in [(6, 0.0), (7, 0.02), (8, 0.05)] {
        let lab = lab(seed, loss);
        let listener = TcpListener::bind(&lab.hosts[1], PORT, 4).unwrap();
        let mut client = TcpStream::connect(&lab.hosts[0], peer()).unwrap();
        let (mut server, from) = listener.accept().unwrap();
        assert_eq!((from, server.local_addr()), (client.local_addr(), client.peer_addr()));
        let data: Vec<u8> = (0..600_000u32).map(|n| (n * 7 / 8) as u8).collect();
        client.set_nonblocking(true);
        server.set_nonblocking(true);
        let (mut sent, mut echoed, mut back) = (0, 0, Vec::<u8>::new());
        let mut held = Vec::new();
        while back.len() < data.len() {
            let mut moved = false;
            if let Ok(n) = client.write(&data[sent..]) {
                (sent, moved) = (sent + n, moved || n > 0)
            }
            let mut buf = [0; 9000];
            if let Ok(n) = server.read(&mut buf) {
                held.extend(&buf[..n]);
                moved |= n > 0
            }
            if let Ok(n) = server.write(&held[echoed..]) {
                (echoed, moved) = (echoed + n, moved || n > 0)
            }
            if let Ok(n) = client.read(&mut buf) {
                back.extend(&buf[..n]);
                moved |= n > 0
            }
            if !moved {
                lab.hosts[0].wait(None).unwrap();
            }
        }
        assert!(back == data);
        client.set_nonblocking(false);
        client.shutdown_write().unwrap();
        server.set_nonblocking(false);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        server.write_all(b"bye").unwrap();
        drop(server);
        let mut last = Vec::new();
        client.read_to_end(&mut last).unwrap();
        assert_eq!(last, b"bye");
        assert_eq!(client.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn streams_time_out_and_tell_of_deadlocks() {
    let lab = lab(9, 0.0);
    let refused = TcpStream::connect(&lab.hosts[0], peer()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let listener = TcpListener::bind(&lab.hosts[1], PORT, 4).unwrap();
    listener.set_nonblocking(true);
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    listener.set_nonblocking(false);
    let mut client = TcpStream::connect(&lab.hosts[0], peer()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let before = lab.hosts[0].now();
    client.set_read_timeout(Some(Duration::from_millis(5)));
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(lab.hosts[0].now() - before, 5_000_000);
    client.set_read_timeout(None);
    let stuck = client.read(&mut [0]).unwrap_err();
    assert_eq!((stuck.kind(), lab.hosts[0].now() - before < 60 * SECOND), (ErrorKind::Deadlock, true));
    // Something unread: RST.
    client.write_all(b"unread").unwrap();
    lab.hosts[0].wait(Some(lab.hosts[0].now() + 100_000)).unwrap();
    while lab.hosts[0].now() < before + 10_000_000 {
        lab.hosts[0].wait(Some(before + 10_000_000)).unwrap();
    }
    drop(server);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Plain TCP at an MPA port: nonsense, a frame of the wrong kind or revision, too much private data, half a frame and
/// silence all end in RST. None is offered to the application, which hears why (RFC 5044 sections 7.1.1 and 7.1.2).
#[test]
fn what_is_not_mpa_is_reset() {
    let mut reply = b"MPA ID Rep Frame".to_vec();
    reply.extend([0x10, 2, 0, 4, 0, 1, 0, 1]);
    let mut odd = b"MPA ID Req Frame".to_vec();
    odd.extend([0x10, 9, 0, 4, 0, 1, 0, 1]);
    let mut long = b"MPA ID Req Frame".to_vec();
    long.extend([0x00, 1, 2, 1]);
    let cases: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\n", "not MPA: "),
        (&reply, "MPA"),
        (&odd, "MPA"),
        (&long, "not MPA: "),
        (b"MPA ID Req", "the connection was not set up in time"),
        (b"", "the connection was not set up in time"),
    ];
    for (bytes, why) in cases {
        let lab = lab(10, 0.0);
        let listener = lab.hosts[1].listen(PORT, 1).unwrap();
        let mut client = TcpStream::connect(&lab.hosts[0], peer()).unwrap();
        client.write_all(bytes).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{bytes:?}");
        let limit = if bytes.len() < 16 { 11 * SECOND } else { SECOND };
        assert!(lab.hosts[0].now() < limit);
        assert!(listener.poll().is_none());
        let (peer_of, error) = listener.next_failure().expect("the application is told");
        assert_eq!(peer_of, client.local_addr());
        assert!(error.to_string().contains(why), "{bytes:?}: {error}");
        assert!(listener.next_failure().is_none(), "once");
        // The one place of the backlog is free again.
        assert!(TcpStream::connect(&lab.hosts[0], peer()).is_ok());
    }
}

/// A request by hand, with an FPDU right behind it in the same segment and more while the reply is under way: the device gets
/// all of it.
#[test]
fn an_eager_initiator_loses_nothing() {
    let lab = lab(11, 0.0);
    let server = End::new(&lab, 1);
    server.post_receive();
    let listener = lab.hosts[1].listen(PORT, 1).unwrap();
    let mut client = TcpStream::connect(&lab.hosts[0], peer()).unwrap();
    let mut bytes = b"MPA ID Req Frame\0\x01\0\0".to_vec();
    // Send of 5 bytes, MSN 1, without CRC.
    let ulpdu = [&[0x41, 0x43, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0][..], b"eager"].concat();
    ironwarp_proto::mpa::fpdu::emit(&[&ulpdu], false, &mut bytes).unwrap();
    client.write_all(&bytes).unwrap();
    let accept = AcceptParams { crc: false, ..AcceptParams::default() };
    let accepting = listener.wait(None).unwrap().accept(&server.qp, accept).unwrap();
    accepting.wait(None).unwrap();
    server.hears(&lab, 1, b"eager");
    let mut answer = [0; 20];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[..], b"MPA ID Rep Frame\0\x01\0\0");
}
