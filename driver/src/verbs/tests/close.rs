//! How connections end.

use super::*;
use crate::hw::{ConnectionNotice, OutFrame, RawHandler};
use crate::sync::lock;
use crate::verbs::{ReceiveRequest, SendRequest};
use ironwarp_proto::abi::context::{
    Context as QpContext, ErrorRecord, QpState as HwState, SAVE_TERMINATE, StateWords,
};
use ironwarp_proto::abi::doorbell::{self, Page};
use ironwarp_proto::abi::raw::RawHeader;
use ironwarp_proto::abi::regs::CommandStatus;
use ironwarp_proto::abi::window::Table;
use ironwarp_proto::pins::{Dma, Nanos};
use ironwarp_proto::rdmap;
use ironwarp_proto::terminate::{Terminate, TerminateError};
use std::sync::Mutex;

#[derive(Clone, Default)]
struct Notices(Arc<Mutex<Vec<ConnectionNotice>>>);

impl RawHandler for Notices {
    fn receive(&mut self, _: Nanos, _: &RawHeader, _: &[u8]) {}
    fn connection(&mut self, _: Nanos, notice: ConnectionNotice) {
        lock(&self.0).push(notice);
    }
    fn poll(&mut self, _: Nanos) -> Option<Nanos> {
        None
    }
    fn next_frame(&mut self) -> Option<OutFrame> {
        None
    }
}

impl World {
    /// With three sends, the middle one unsignalled, and two receives posted.
    fn busy() -> (Self, Notices) {
        let world = Self::connected();
        let notices = Notices::default();
        world.context.set_raw_handler(Box::new(notices.clone()));
        let sge = world.region.sge(0, 10).unwrap();
        let send = |wr_id| SendRequest::send(wr_id, sge);
        world.qp.post_send_many(&[send(1), send(2).unsignalled(), send(3)]).unwrap();
        world
            .qp
            .post_receive_many(&[ReceiveRequest::new(11, [sge]), ReceiveRequest::new(12, [sge])])
            .unwrap();
        (world, notices)
    }
    fn save(&self) -> u64 {
        QpContext::decode(&self.fake.table(Table::Context, 0)).unwrap().save
    }
    fn rung(&self, doorbell: u32) -> usize {
        self.fake.rung(Page::Qp(0), doorbell).len()
    }
    fn resets(&self) -> usize {
        self.fake.commands(Command::Reset).len()
    }
    fn notices(&self, notices: &Notices) -> Vec<ConnectionNotice> {
        self.fake.serve();
        std::mem::take(&mut lock(&notices.0))
    }
}

const FLUSHED: WcStatus = WcStatus::Flushed;
const AT: StateWords = StateWords {
    state: HwState::Running,
    cause: 0,
    peer_closed: false,
    fin_acked: false,
    diverted: 0,
    flush: FlushCursors { sq_done: 0, rq_done: 0, srq_open: None },
    snd_una: 5,
    snd_nxt: 6,
    rcv_nxt: 7,
    rcv_adv: 8,
    snd_wnd: 9,
    cwnd: 10,
    srtt: 11,
    retransmits: 12,
};

#[test]
fn a_detected_error_becomes_a_terminate() {
    let (world, notices) = World::busy();
    // Bounds violation of a Read Request: length, DDP header and RDMAP header go back (RFC 5040 figure 10).
    let mut ddp = vec![0x41, rdmap::control(rdmap::Opcode::ReadRequest)];
    ddp.resize(18, 3);
    let rdmap = vec![4; 28];
    let record =
        ErrorRecord::Detected { error: (0, 1, 1), ddp: Some((46, ddp.clone())), rdmap: Some(rdmap.clone()) };
    world.fake.memory.write(world.save(), &record.encode()).unwrap();
    world.sent(0);
    world.error(ErrorCause::Detected);
    let terminate = Terminate {
        error: TerminateError::RdmapBounds,
        segment_len: Some(46),
        ddp_header: ddp,
        rdmap_header: rdmap,
    };
    assert_eq!(world.qp.state(), QpState::Terminate);
    assert_eq!(world.qp.poll_event(), Some(QpEvent::TerminateSent(terminate.clone())));
    let mut expected = Vec::new();
    terminate.emit(&mut expected);
    let mut bytes = vec![0; 4 + expected.len()];
    world.fake.memory.read(world.save() + SAVE_TERMINATE as u64, &mut bytes).unwrap();
    assert_eq!(bytes[..4], (expected.len() as u32).to_le_bytes());
    assert_eq!(bytes[4..], expected);
    let doorbells = world.fake.set(|state| state.doorbells.clone());
    let ends: Vec<u32> = doorbells.iter().rev().take(2).map(|rung| rung.1).collect();
    assert_eq!(ends, [doorbell::qp::FIN, doorbell::qp::TERMINATE], "FIN goes behind the Terminate");
    let ok = (1, WcStatus::Ok);
    assert_eq!(world.poll_all(), [ok, (2, FLUSHED), (3, FLUSHED), (11, FLUSHED), (12, FLUSHED)]);
    let ring = QpContext::decode(&world.fake.table(Table::Context, 0)).unwrap().sq_base;
    let contents = || {
        let mut bytes = [0; 512];
        world.fake.memory.read(ring, &mut bytes).unwrap();
        bytes
    };
    let before = contents();
    // What is posted now is flushed too, and its slots come back when that is polled.
    for wr_id in 0..8 {
        world.qp.post_send(&SendRequest::nop(wr_id)).unwrap();
    }
    assert!(world.qp.post_send(&SendRequest::nop(8)).is_err());
    assert_eq!(world.poll_all().len(), 8);
    assert_eq!(world.rung(doorbell::qp::SQ_PRODUCER), 1);
    assert!(contents() == before, "the ring may still be read for retransmission");
    // Told twice after lost events.
    world.error(ErrorCause::Detected);
    assert_eq!((world.rung(doorbell::qp::TERMINATE), world.resets()), (1, 0));

    world.event(EventKind::FinAcked, 0, [0; 2]);
    assert_eq!(world.resets(), 0);
    world.fake.set_qp_state(0, AT);
    world.event(EventKind::PeerClosed, 0, [0; 2]);
    assert_eq!((world.resets(), world.qp.state()), (1, QpState::Terminate));
    assert_eq!(world.qp.poll_event(), Some(QpEvent::Disconnected));
    assert_eq!(world.notices(&notices), [ConnectionNotice::Closed { qp: 0, snd_nxt: 6, rcv_nxt: 7 }]);
}

#[test]
fn headers_go_only_with_errors_that_have_them() {
    let (world, _) = World::busy();
    let error = (2, 0, 2);
    let record = ErrorRecord::Detected { error, ddp: Some((46, vec![0x41; 18])), rdmap: Some(vec![1; 28]) };
    world.fake.memory.write(world.save(), &record.encode()).unwrap();
    world.error(ErrorCause::Detected);
    let mut bytes = [0; 8];
    world.fake.memory.read(world.save() + SAVE_TERMINATE as u64, &mut bytes).unwrap();
    assert_eq!(bytes, [4, 0, 0, 0, 0x20, 2, 0, 0], "MPA CRC error, no headers");
}

#[test]
fn a_terminate_received_is_answered_by_fin_only() {
    let (world, _) = World::busy();
    let record = ErrorRecord::Received(vec![0x11, 0x01, 0, 0]);
    world.fake.memory.write(world.save(), &record.encode()).unwrap();
    world.error(ErrorCause::TerminateReceived);
    let event = world.qp.poll_event();
    let Some(QpEvent::TerminateReceived(terminate)) = event else { panic!("{event:?}") };
    assert_eq!(terminate.error, TerminateError::DdpBounds);
    assert_eq!((world.rung(doorbell::qp::TERMINATE), world.rung(doorbell::qp::FIN)), (0, 1));
    assert_eq!(world.poll_all().len(), 5);
    // The peer has no more to say than RST.
    world.error(ErrorCause::Reset);
    assert_eq!(world.qp.poll_event(), Some(QpEvent::Disconnected));
    assert_eq!((world.resets(), world.qp.state()), (1, QpState::Terminate));
}

#[test]
fn an_error_without_its_record_is_fatal() {
    for cause in [ErrorCause::Detected, ErrorCause::TerminateReceived] {
        let (world, _) = World::busy();
        world.fake.memory.write(world.save(), &[0xff; 128]).unwrap();
        world.error(cause);
        assert_eq!(world.qp.state(), QpState::Error);
        assert_eq!(world.qp.poll_event(), Some(QpEvent::Fatal(cause)));
    }
}

#[test]
fn other_errors_abort() {
    for cause in [ErrorCause::RetryExceeded, ErrorCause::CqBroken, ErrorCause::Doorbell, ErrorCause::Fatal] {
        let (world, notices) = World::busy();
        world.fake.set_qp_state(0, AT);
        world.error(cause);
        assert_eq!(world.qp.state(), QpState::Error);
        assert_eq!(world.qp.poll_event(), Some(QpEvent::Fatal(cause)));
        assert_eq!((world.fake.commands(Command::Quiesce).len(), world.resets()), (1, 1));
        assert_eq!(world.notices(&notices), [ConnectionNotice::Aborted { qp: 0, snd_nxt: 6, rcv_nxt: 7 }]);
        assert_eq!(world.poll_all().len(), 5);
        drop(world.qp);
        assert_eq!(world.fake.commands(Command::Reset).len(), 1, "the device has forgotten it already");
    }
}

#[test]
fn both_sides_close_in_order() {
    for peer_first in [false, true] {
        let (world, notices) = World::busy();
        if peer_first {
            world.event(EventKind::PeerClosed, 0, [0; 2]);
            assert_eq!(world.qp.poll_event(), Some(QpEvent::PeerClosed));
        } else {
            world.qp.disconnect().unwrap();
        }
        assert_eq!((world.qp.state(), world.rung(doorbell::qp::FIN)), (QpState::Closing, 1));
        world.qp.disconnect().unwrap();
        assert!(world.qp.post_send(&SendRequest::nop(9)).is_err(), "nothing goes behind FIN");
        world.sent(2);
        world.event(EventKind::FinAcked, 0, [0; 2]);
        if !peer_first {
            assert_eq!(world.resets(), 0);
            world.event(EventKind::PeerClosed, 0, [0; 2]);
            assert_eq!(world.qp.poll_event(), Some(QpEvent::PeerClosed));
        }
        assert_eq!((world.resets(), world.rung(doorbell::qp::FIN)), (1, 1));
        assert_eq!(world.qp.poll_event(), Some(QpEvent::Disconnected));
        assert_eq!(world.qp.state(), QpState::Closed);
        assert_eq!(world.poll_all(), [(3, WcStatus::Ok), (11, FLUSHED), (12, FLUSHED)]);
        assert!(matches!(world.notices(&notices)[..], [ConnectionNotice::Closed { qp: 0, .. }]));
    }
}

#[test]
fn events_out_of_place_change_nothing() {
    let (world, _) = World::busy();
    world.event(EventKind::FinAcked, 0, [0; 2]);
    world.event(EventKind::Quiesced, 0, [0; 2]);
    world.event(EventKind::Stream, 0, [0; 2]);
    assert_eq!(world.qp.state(), QpState::Rts);
    world.event(EventKind::PeerClosed, 0, [0; 2]);
    world.event(EventKind::PeerClosed, 7, [0; 2]);
    assert_eq!((world.qp.poll_event(), world.qp.poll_event()), (Some(QpEvent::PeerClosed), None));
    assert_eq!((world.qp.state(), world.resets()), (QpState::Closing, 0), "our FIN is not acknowledged");
}

#[test]
fn a_peer_that_closes_early_is_reset() {
    let (world, _) = World::busy();
    world.event(EventKind::PeerClosed, 5, [0; 2]);
    let event = QpEvent::PeerClosedEarly { in_fpdu: true, in_message: false, reads_open: true };
    assert_eq!((world.qp.poll_event(), world.qp.state()), (Some(event), QpState::Error));
    assert_eq!(world.poll_all().len(), 5);
}

#[test]
fn a_close_before_go_is_kept() {
    let world = World::idle();
    world.qp.hand_over(&handoff()).unwrap();
    world.event(EventKind::PeerClosed, 0, [0; 2]);
    assert_eq!((world.qp.state(), world.rung(doorbell::qp::FIN)), (QpState::Idle, 0));
    world.fake.set(|state| state.refuse = Some((Command::Go, CommandStatus::Again)));
    assert_eq!(world.qp.go(0), Ok(false));
    world.fake.set(|state| state.refuse = None);
    assert_eq!(world.qp.go(1), Ok(true));
    let events = [world.qp.poll_event(), world.qp.poll_event()];
    assert_eq!(events, [Some(QpEvent::Established), Some(QpEvent::PeerClosed)]);
    assert_eq!((world.qp.state(), world.rung(doorbell::qp::FIN)), (QpState::Closing, 1));
}

#[test]
fn abort_may_take_its_time() {
    let (world, notices) = World::busy();
    world.fake.set(|state| state.quiesce_at_once = false);
    world.qp.abort().unwrap();
    assert_eq!((world.qp.state(), world.qp.poll_event()), (QpState::Error, None));
    // The device may still complete what was under way; what is posted meanwhile is flushed in its turn.
    world.qp.post_send(&SendRequest::nop(4)).unwrap();
    assert_eq!(world.poll_all(), []);
    world.sent(0);
    assert_eq!(world.poll_all(), [(1, WcStatus::Ok)]);
    world.fake.set_qp_state(0, StateWords { state: HwState::Quiesced, ..AT });
    world.event(EventKind::Quiesced, 0, [0; 2]);
    assert_eq!(world.qp.poll_event(), Some(QpEvent::Aborted));
    assert_eq!(world.notices(&notices), [ConnectionNotice::Aborted { qp: 0, snd_nxt: 6, rcv_nxt: 7 }]);
    let ids: Vec<u64> = world.poll_all().iter().map(|done| done.0).collect();
    assert_eq!(ids, [2, 3, 4, 11, 12]);
    world.qp.abort().unwrap();
    world.event(EventKind::Quiesced, 0, [0; 2]);
    assert_eq!((world.resets(), world.qp.poll_event()), (1, None));
}

#[test]
fn a_reset_during_an_abort_ends_it() {
    let (world, notices) = World::busy();
    world.fake.set(|state| state.quiesce_at_once = false);
    world.qp.abort().unwrap();
    world.error(ErrorCause::Reset);
    assert_eq!(world.qp.poll_event(), Some(QpEvent::Aborted));
    assert_eq!(world.notices(&notices), [ConnectionNotice::Reset { qp: 0 }]);
}

#[test]
fn the_last_handle_resets_before_memory_goes() {
    let (world, notices) = World::busy();
    let save = world.save();
    world.sent(0);
    let World { qp, cq, fake, region, pd, context } = world;
    let other = qp.clone();
    drop(qp);
    assert_eq!(fake.commands(Command::Reset), []);
    drop(other);
    assert_eq!(fake.commands(Command::Reset), [(0, 0)]);
    assert!(fake.memory.read(save, &mut [0]).is_err(), "freed");
    assert_eq!(cq.poll(), None, "its completions are gone");
    fake.serve();
    assert!(matches!(lock(&notices.0)[..], [ConnectionNotice::Aborted { qp: 0, .. }]));
    let last = [fake.set(|state| state.commands.last().copied()).map(|command| command.0)];
    assert_eq!(last, [Some(Command::Reset)]);
    drop((cq, region, pd, context));
}

#[test]
fn a_number_used_again_has_no_old_completions() {
    let world = World::connected();
    world.qp.post_send(&SendRequest::nop(1)).unwrap();
    world.sent(0);
    let World { qp, cq, fake: _fake, region: _region, pd, context: _context } = world;
    drop(qp);
    let config = QpConfig::new(&cq, &cq);
    let others: Vec<_> = (0..4).map(|_| pd.create_qp(&config).unwrap()).collect();
    let again = others.last().unwrap();
    assert_eq!(again.number(), 0);
    again.hand_over(&handoff()).unwrap();
    again.go(0).unwrap();
    again.post_send(&SendRequest::nop(2)).unwrap();
    assert_eq!(cq.poll(), None);
}

#[test]
fn memory_is_kept_when_reset_fails() {
    let (world, _) = World::busy();
    let save = world.save();
    world.fake.set(|state| state.refuse = Some((Command::Reset, CommandStatus::BadState)));
    drop(world.qp);
    assert!(world.fake.memory.read(save, &mut [0]).is_ok());
    world.fake.set(|state| state.refuse = None);
    let next = world.pd.create_qp(&QpConfig::new(&world.cq, &world.cq)).unwrap();
    assert_eq!(next.number(), 1);
}

#[test]
fn refused_commands_are_reported() {
    let world = World::idle();
    world.fake.set(|state| state.refuse = Some((Command::Activate, CommandStatus::BadContent)));
    let error = world.qp.hand_over(&handoff()).unwrap_err().to_string();
    assert_eq!(error, "command Activate of object 0 ended with BadContent");
    assert_eq!(world.qp.state(), QpState::Idle);
    assert!(world.qp.go(0).is_err());
    world.fake.set(|state| state.refuse = Some((Command::StartCq, CommandStatus::BadContent)));
    assert!(world.context.create_cq(4).is_err());
}

#[test]
fn lost_events_are_found_in_the_state() {
    let (world, _) = World::busy();
    let ready = Event { kind: EventKind::CqReady, code: 0, object: 3, params: [0; 2] };
    for _ in 0..256 {
        world.fake.event(ready);
    }
    use ironwarp_proto::abi::regs::{STATUS, status};
    world.fake.set(|state| state.registers.insert(STATUS, status::EQ_OVERFLOW));
    let cause = ErrorCause::RetryExceeded as u8;
    world.fake.set_qp_state(0, StateWords { state: HwState::Error, cause, ..AT });
    world.fake.serve();
    assert_eq!(world.qp.poll_event(), Some(QpEvent::Fatal(ErrorCause::RetryExceeded)));
}
