//! Verbs over two golden models: what an application sees of shared queues, channels, windows, errors and closing.

use ironwarp_driver::Error;
use ironwarp_driver::transport::Wait;
use ironwarp_driver::verbs::{
    Access, CompletionQueue, Data, MemoryRegion, Notify, ProtectionDomain, QpConfig, QpEvent, QpState,
    QueuePair, ReceiveRequest, RemoteAddress, SendRequest, SrqConfig, WcOpcode, WcStatus, WorkCompletion,
};
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::terminate::TerminateError;
use ironwarp_sim::engine::Engine;
use ironwarp_sim::lab::{Connection, Lab, LabConfig};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::size::Size;

const HOW: Connection = Connection { crc: true, markers: false };
const SECOND: u64 = 1_000_000_000;

fn all() -> Access {
    Access::LOCAL_WRITE | Access::REMOTE_READ | Access::REMOTE_WRITE | Access::REMOTE_ATOMIC | Access::BIND
}

/// One host's objects.
struct End {
    pd: ProtectionDomain,
    cq: CompletionQueue,
    qp: QueuePair,
    region: MemoryRegion,
}

struct Pair {
    lab: Lab,
    left: End,
    right: End,
}

fn new_lab() -> Lab {
    let config = LabConfig {
        link: LinkConfig::default(),
        mtu: 1500,
        seed: 11,
        engine: Engine::from_env().unwrap(),
        device: Size::from_env().unwrap().device(),
        waves: None,
    };
    Lab::new(&config, None).expect("hosts")
}

fn end(lab: &Lab, node: usize) -> End {
    let pd = lab.hosts[node].alloc_pd().unwrap();
    let cq = lab.hosts[node].create_cq(64).unwrap();
    let qp = pd.create_qp(&QpConfig::new(&cq, &cq)).unwrap();
    let region = pd.register(1 << 16, all()).unwrap();
    End { pd, cq, qp, region }
}

fn pair() -> Pair {
    let lab = new_lab();
    let (left, right) = (end(&lab, 0), end(&lab, 1));
    lab.connect([&left.qp, &right.qp], &HOW).unwrap();
    Pair { lab, left, right }
}

impl End {
    fn receive(&self, wr_id: u64, len: usize) {
        self.qp.post_receive(&ReceiveRequest::new(wr_id, [self.region.sge(0, len).unwrap()])).unwrap();
    }
    fn next(&self) -> WorkCompletion {
        self.cq.wait(Some(3600 * SECOND)).unwrap()
    }
    fn ok(&self, wr_id: u64) -> WorkCompletion {
        let completion = self.next();
        assert_eq!((completion.wr_id, completion.status), (wr_id, WcStatus::Ok), "{completion:?}");
        completion
    }
    fn event(&self) -> QpEvent {
        self.qp.wait_event(Some(3600 * SECOND)).unwrap()
    }
    /// The first event that is not about the connection being up.
    fn trouble(&self) -> QpEvent {
        loop {
            let event = self.event();
            if event != QpEvent::Established {
                return event;
            }
        }
    }
}

impl Pair {
    /// Let everything happen that is pending.
    fn settle(&self) {
        let until = self.lab.hosts[0].now() + SECOND;
        while !matches!(self.lab.hosts[0].wait(Some(until)).unwrap(), Wait::Deadline | Wait::Idle) {}
    }
}

#[test]
fn a_shared_receive_queue_serves_two_connections_and_tells_its_limit() {
    let lab = new_lab();
    let right_pd = lab.hosts[1].alloc_pd().unwrap();
    let cq = lab.hosts[1].create_cq(64).unwrap();
    let srq = right_pd.create_srq(SrqConfig { depth: 16, limit: 0 }).unwrap();
    let region = right_pd.register(4096, Access::LOCAL_WRITE).unwrap();
    let qps = [0, 1].map(|_| right_pd.create_qp(&QpConfig::new(&cq, &cq).srq(&srq)).unwrap());
    for entry in 0..4 {
        let sge = region.sge(256 * entry, 256).unwrap();
        srq.post_receive(&ReceiveRequest::new(entry as u64, [sge])).unwrap();
    }
    srq.set_limit(3).unwrap();
    let senders = [end(&lab, 0), end(&lab, 0)];
    for (sender, qp) in senders.iter().zip(&qps) {
        lab.connect([&sender.qp, qp], &HOW).unwrap();
    }
    for (turn, sender) in [&senders[0], &senders[1]].into_iter().enumerate() {
        assert!(!srq.take_limit_event(), "the limit is not reached yet");
        sender.qp.post_send(&SendRequest::send(5, Data::inline(&[turn as u8; 20]))).unwrap();
        sender.ok(5);
        let completion = cq.wait(None).unwrap();
        assert_eq!((completion.wr_id, completion.byte_len), (turn as u64, 20));
        assert_eq!(completion.qp, qps[turn].number());
        let mut byte = [9];
        region.read(256 * turn, &mut byte).unwrap();
        assert_eq!(byte, [turn as u8]);
    }
    assert!(srq.take_limit_event() && !srq.take_limit_event(), "fewer than 3 entries are left, told once");
}

#[test]
fn channels_tell_of_solicited_messages_only_when_asked() {
    let lab = new_lab();
    let left = end(&lab, 0);
    let pd = lab.hosts[1].alloc_pd().unwrap();
    let channel = lab.hosts[1].create_channel();
    let cq = lab.hosts[1].create_cq_on(16, &channel).unwrap();
    let qp = pd.create_qp(&QpConfig::new(&cq, &cq)).unwrap();
    let region = pd.register(4096, Access::LOCAL_WRITE).unwrap();
    for wr_id in 0..3 {
        qp.post_receive(&ReceiveRequest::new(wr_id, [region.sge(0, 64).unwrap()])).unwrap();
    }
    lab.connect([&left.qp, &qp], &HOW).unwrap();
    cq.arm(Notify::Solicited).unwrap();
    left.qp.post_send(&SendRequest::send(1, Data::inline(b"plain"))).unwrap();
    left.ok(1);
    assert!(channel.try_next().is_none(), "not solicited");
    left.qp.post_send(&SendRequest::send(2, Data::inline(b"event")).solicited()).unwrap();
    let ready = channel.wait(None).unwrap();
    assert_eq!(ready.number(), cq.number());
    let found = cq.poll_many(8);
    assert_eq!(found.iter().map(|c| (c.wr_id, c.solicited)).collect::<Vec<_>>(), [(0, false), (1, true)]);
    left.ok(2);
    cq.arm(Notify::Any).unwrap();
    left.qp.post_send(&SendRequest::send(3, Data::inline(b"any"))).unwrap();
    channel.wait(None).unwrap();
    assert_eq!(cq.poll().map(|c| c.wr_id), Some(2));
}

#[test]
fn a_wrong_stag_ends_the_connection_on_both_sides_and_flushes_in_order() {
    let Pair { left, right, .. } = pair();
    right.receive(70, 64);
    left.receive(60, 64);
    let wrong = RemoteAddress { stag: right.region.rkey() ^ 1, to: right.region.addr() };
    left.qp.post_send(&SendRequest::write(1, left.region.sge(0, 100).unwrap(), wrong)).unwrap();
    left.qp.post_send(&SendRequest::read(2, left.region.sge(0, 10).unwrap(), wrong)).unwrap();
    let QpEvent::TerminateSent(sent) = right.trouble() else { panic!("a Terminate was sent") };
    assert_eq!((sent.error, sent.segment_len), (TerminateError::DdpInvalidStag, Some(114)));
    let QpEvent::TerminateReceived(received) = left.trouble() else { panic!("a Terminate was received") };
    assert_eq!(received, sent, "it arrives as it was sent");
    // The Write may have been acknowledged before the Terminate came; nothing else can succeed.
    let first = left.next();
    assert_eq!(first.wr_id, 1);
    let flushed = [left.next(), left.next()];
    assert!(flushed.iter().all(|c| c.status == WcStatus::Flushed));
    let mut ids = flushed.map(|c| c.wr_id);
    ids.sort_unstable();
    assert_eq!(ids, [2, 60]);
    assert_eq!((right.next().wr_id, right.cq.poll()), (70, None));
    for end in [&left, &right] {
        assert_eq!(end.trouble(), QpEvent::Disconnected);
        assert_eq!(end.qp.state(), QpState::Terminate);
        end.qp.post_send(&SendRequest::nop(9)).unwrap();
        assert_eq!(end.next().status, WcStatus::Flushed, "posting goes on, nothing is done");
    }
}

#[test]
fn own_mistakes_complete_with_an_error_and_end_the_connection() {
    let Pair { left, right, .. } = pair();
    let other = left.pd.register(64, Access::LOCAL_READ).unwrap();
    // A sink without local write.
    let remote = right.region.remote(0).unwrap();
    left.qp.post_send(&SendRequest::write(1, left.region.sge(0, 5000).unwrap(), remote)).unwrap();
    left.qp.post_send(&SendRequest::read(2, other.sge(0, 8).unwrap(), remote)).unwrap();
    left.qp.post_send(&SendRequest::nop(3)).unwrap();
    left.ok(1);
    assert_eq!((left.next().status, left.next().status), (WcStatus::LocalProtection, WcStatus::Flushed));
    let QpEvent::TerminateReceived(terminate) = right.trouble() else { panic!("the peer is told") };
    assert_eq!(terminate.error, TerminateError::RdmapLocalCatastrophic);
}

#[test]
fn memory_that_is_gone_is_out_of_reach_for_the_peer() {
    let Pair { left, right, .. } = pair();
    let region = right.pd.register(4096, all()).unwrap();
    let remote = region.remote(0).unwrap();
    left.qp.post_send(&SendRequest::write(1, Data::inline(b"there"), remote)).unwrap();
    left.ok(1);
    drop(region);
    left.qp.post_send(&SendRequest::read(2, left.region.sge(0, 8).unwrap(), remote)).unwrap();
    let QpEvent::TerminateReceived(terminate) = left.trouble() else { panic!("access is refused") };
    assert_eq!(terminate.error, TerminateError::RdmapInvalidStag);
    assert_eq!(left.next().status, WcStatus::Flushed);
}

#[test]
fn a_window_ends_with_its_invalidation_and_works_again_with_a_new_stag() {
    let Pair { left, right, .. } = pair();
    let window = right.pd.alloc_window().unwrap();
    for round in 0..3u8 {
        let bind = window.bind(&right.region, 100, 50, Access::REMOTE_WRITE).unwrap().with_base(0);
        let (remote, rkey) = (bind.remote(10), bind.rkey());
        right.qp.post_send(&SendRequest::bind(1, bind)).unwrap();
        assert_eq!(right.ok(1).opcode, WcOpcode::Bind);
        right.receive(2, 64);
        left.qp.post_send(&SendRequest::write(3, Data::inline(&[round; 8]), remote).unsignalled()).unwrap();
        left.qp.post_send(&SendRequest::send(4, Data::inline(b"done")).invalidating(rkey)).unwrap();
        left.ok(4);
        assert_eq!(right.ok(2).invalidated, Some(rkey));
        let mut bytes = [0xff; 8];
        right.region.read(110, &mut bytes).unwrap();
        assert_eq!(bytes, [round; 8]);
        if round == 2 {
            left.qp.post_send(&SendRequest::write(5, Data::inline(b"late"), remote)).unwrap();
            let QpEvent::TerminateReceived(terminate) = left.trouble() else { panic!("the window is gone") };
            assert_eq!(terminate.error, TerminateError::DdpInvalidStag);
        }
    }
}

#[test]
fn an_overflowing_completion_queue_takes_only_its_own_connections_down() {
    let lab = new_lab();
    let pd = lab.hosts[0].alloc_pd().unwrap();
    let small = lab.hosts[0].create_cq(4).unwrap();
    let careless = pd.create_qp(&QpConfig::new(&small, &small)).unwrap();
    let healthy = end(&lab, 0);
    let peers = [end(&lab, 1), end(&lab, 1)];
    lab.connect([&careless, &peers[0].qp], &HOW).unwrap();
    lab.connect([&healthy.qp, &peers[1].qp], &HOW).unwrap();
    for wr_id in 0..=small.depth() as u64 {
        careless.post_send(&SendRequest::nop(wr_id)).unwrap();
    }
    let event = std::iter::from_fn(|| careless.wait_event(Some(SECOND)).ok())
        .find(|event| matches!(event, QpEvent::Fatal(_)));
    assert_eq!(event, Some(QpEvent::Fatal(ErrorCause::CqBroken)));
    assert!(small.is_broken());
    peers[1].receive(1, 64);
    healthy.qp.post_send(&SendRequest::send(2, Data::inline(b"alive"))).unwrap();
    healthy.ok(2);
    peers[1].ok(1);
}

#[test]
fn fences_and_unsignalled_requests_keep_their_promises() {
    let Pair { left, right, .. } = pair();
    right.region.write(0, &[1; 4096]).unwrap();
    // A Read into the source of a later Send: the fence makes the Send wait for it.
    right.receive(9, 64);
    let sink = left.region.sge(0, 32).unwrap();
    left.qp.post_send(&SendRequest::read(1, sink, right.region.remote(1000).unwrap()).unsignalled()).unwrap();
    left.qp.post_send(&SendRequest::send(2, sink).fenced()).unwrap();
    assert_eq!(left.ok(2).opcode, WcOpcode::Send);
    assert_eq!(right.ok(9).byte_len, 32);
    let mut bytes = [0; 32];
    right.region.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1; 32]);
    assert_eq!(left.cq.poll(), None, "the unsignalled Read says nothing");
    // Unsignalled requests keep their slots until a later one is signalled.
    let full = (0..1000).find_map(|n| left.qp.post_send(&SendRequest::nop(n).unsignalled()).err());
    assert!(matches!(full, Some(Error::QueueFull { .. })), "{full:?}");
}

#[test]
fn closing_in_order_finishes_what_is_posted() {
    let pair = pair();
    let Pair { left, right, .. } = &pair;
    let remote = right.region.remote(0).unwrap();
    left.region.write(0, &[7; 60_000]).unwrap();
    left.qp.post_send(&SendRequest::write(1, left.region.sge(0, 60_000).unwrap(), remote)).unwrap();
    left.receive(2, 64);
    left.qp.disconnect().unwrap();
    assert_eq!(left.qp.state(), QpState::Closing);
    left.ok(1);
    assert_eq!(left.next().status, WcStatus::Flushed, "the receive that nothing came for");
    assert_eq!(right.trouble(), QpEvent::PeerClosed);
    pair.settle();
    assert_eq!((left.qp.state(), right.qp.state()), (QpState::Closed, QpState::Closed));
    let mut bytes = vec![0; 60_000];
    right.region.read(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7));
    let again = left.qp.disconnect();
    assert!(again.is_ok(), "closing twice does nothing");
}

#[test]
fn a_peer_that_vanishes_is_given_up_after_the_retries() {
    let pair = pair();
    // Everything the left says is lost from now on, both ways.
    pair.lab.world().connect(LinkConfig { loss: 1.0, ..LinkConfig::default() }).unwrap();
    pair.left
        .qp
        .post_send(&SendRequest::write(1, Data::inline(b"x"), pair.right.region.remote(0).unwrap()))
        .unwrap();
    assert_eq!(pair.left.trouble(), QpEvent::Fatal(ErrorCause::RetryExceeded));
    assert_eq!(pair.left.next().status, WcStatus::Flushed);
    assert_eq!(pair.left.qp.state(), QpState::Error);
}

#[test]
fn a_terminate_that_nobody_answers_ends_all_the_same() {
    let pair = pair();
    let wrong = RemoteAddress { stag: pair.right.region.rkey() ^ 1, to: 0 };
    pair.left.qp.post_send(&SendRequest::write(1, Data::inline(b"x"), wrong)).unwrap();
    // The Write arrives; then the link is cut.
    while pair.right.qp.state() == QpState::Rts {
        pair.lab.hosts[0].wait(None).unwrap();
    }
    pair.lab.world().connect(LinkConfig { loss: 1.0, ..LinkConfig::default() }).unwrap();
    assert!(matches!(pair.right.trouble(), QpEvent::TerminateSent(_)));
    let ended = pair.right.trouble();
    assert!(matches!(ended, QpEvent::Fatal(_) | QpEvent::Disconnected), "{ended:?}");
}
