//! Rings, slots and completions.

use super::*;
use crate::error::Error;
use crate::verbs::{Data, Notify, ReceiveRequest, RemoteAddress, SendRequest, SrqConfig, WcOpcode};
use ironwarp_proto::abi::context::Context as QpContext;
use ironwarp_proto::abi::doorbell::{self, Page};
use ironwarp_proto::abi::send_entry::SendEntry;
use ironwarp_proto::abi::window::Table;
use ironwarp_proto::pins::Dma;
use proptest::prelude::*;
use std::collections::VecDeque;

const REMOTE: RemoteAddress = RemoteAddress { to: 0x5000, stag: 0x77 };

fn send(world: &World, wr_id: u64) -> SendRequest {
    SendRequest::send(wr_id, world.region.sge(0, 10).unwrap())
}

/// The entry that the device would fetch from slot `index`.
fn fetch(world: &World, index: u16) -> SendEntry {
    let context = QpContext::decode(&world.fake.table(Table::Context, 0)).unwrap();
    let mut bytes = vec![0; 128];
    for (slot, chunk) in bytes.chunks_mut(64).enumerate() {
        let at = u64::from((index + slot as u16) & 7) * 64;
        world.fake.memory.read(context.sq_base + at, chunk).unwrap();
    }
    SendEntry::decode(&SendEntry::words(&bytes), index).unwrap()
}

#[test]
fn requests_reach_the_ring_with_one_doorbell_and_come_back() {
    let world = World::connected();
    let atomic = SendRequest::fetch_add(3, world.region.sge(8, 8).unwrap(), REMOTE, 5);
    let write = SendRequest::write(2, Data::inline(b"hello"), REMOTE).unsignalled().fenced();
    world.qp.post_send_many(&[send(&world, 1).solicited(), write, atomic]).unwrap();
    assert_eq!(world.fake.rung(Page::Qp(0), doorbell::qp::SQ_PRODUCER), [4]);
    let first = fetch(&world, 0);
    assert_eq!((first.opcode, first.signalled, first.length()), (Opcode::SendSolicited, true, Some(10)));
    let second = fetch(&world, 1);
    assert_eq!((second.opcode, second.signalled, second.fence), (Opcode::Write, false, true));
    assert_eq!((second.stag, second.to, second.length()), (0x77, 0x5000, Some(5)));
    let third = fetch(&world, 2);
    assert_eq!((third.opcode, third.slots(), third.atomic.add_or_swap), (Opcode::FetchAdd, 2, 5));
    world.sent(0);
    world.sent(2);
    let done = world.cq.poll_many(9);
    let seen: Vec<_> = done.iter().map(|completion| (completion.wr_id, completion.opcode)).collect();
    assert_eq!(seen, [(1, WcOpcode::Send), (3, WcOpcode::FetchAdd)]);
}

#[test]
fn unsignalled_entries_hold_their_slots_until_a_signalled_one_completes() {
    let world = World::connected();
    for wr_id in 0..8 {
        world.qp.post_send(&send(&world, wr_id).unsignalled()).unwrap();
    }
    let full = Error::QueueFull { queue: "send", slots: 8 };
    assert_eq!(world.qp.post_send(&send(&world, 8)), Err(full.clone()));
    // A failing entry completes all before it.
    world.fake.complete(0, Completion { status: WcStatus::LocalProtection, ..sent(6) });
    assert_eq!(world.poll_all(), [(6, WcStatus::LocalProtection)]);
    let six = vec![send(&world, 9); 8];
    let partial = world.qp.post_send_many(&six).unwrap_err();
    assert_eq!((partial.posted, partial.error), (7, full));
    assert_eq!(world.fake.rung(Page::Qp(0), doorbell::qp::SQ_PRODUCER).last(), Some(&15));
}

#[test]
fn limits_are_checked_before_posting() {
    let world = World::connected();
    let sge = world.region.sge(0, 8).unwrap();
    let post = |request: SendRequest| world.qp.post_send(&request).unwrap_err();
    assert_eq!(post(SendRequest::send(1, vec![sge; 7])), Error::TooManySges { count: 7, max: 6 });
    assert_eq!(
        post(SendRequest::send(1, Data::Inline(vec![0; 33]))),
        Error::InlineTooLong { len: 33, max: 32 }
    );
    let huge = super::super::Sge { length: u32::MAX, ..sge };
    assert_eq!(post(SendRequest::send(1, [huge, sge])), Error::TooLong);
    let short = super::super::Sge { length: 4, ..sge };
    assert!(matches!(post(SendRequest::fetch_add(1, short, REMOTE, 1)), Error::OutOfRange { .. }));
    let receive = ReceiveRequest::new(1, [sge; 4]);
    assert_eq!(world.qp.post_receive(&receive), Err(Error::TooManySges { count: 4, max: 3 }));
    assert!(world.fake.rung(Page::Qp(0), doorbell::qp::SQ_PRODUCER).is_empty());

    let qp = world.pd.create_qp(&QpConfig::new(&world.cq, &world.cq).reads(1, 0)).unwrap();
    assert!(matches!(qp.post_send(&send(&world, 1)), Err(Error::State { state: QpState::Idle, .. })));
    world.connect(&qp);
    assert_eq!(qp.post_send(&SendRequest::read(1, sge, REMOTE)), Err(Error::NoOrd));
}

#[test]
fn receives_wait_for_the_connection() {
    let world = World::idle();
    let receive = |wr_id| ReceiveRequest::new(wr_id, [world.region.sge(0, 100).unwrap()]);
    world.qp.post_receive_many(&[receive(1), receive(2)]).unwrap();
    assert!(world.fake.rung(Page::Qp(0), doorbell::qp::RQ_PRODUCER).is_empty());
    world.connect(&world.qp);
    world.qp.post_receive(&receive(3)).unwrap();
    assert_eq!(world.fake.rung(Page::Qp(0), doorbell::qp::RQ_PRODUCER), [2, 3]);
    let context = QpContext::decode(&world.fake.table(Table::Context, 0)).unwrap();
    assert_eq!((context.rcv_nxt, context.snd_nxt, context.mss), (1000, 2000, 1460));
    assert_eq!((context.ird, context.ord, context.sq_log2, context.rq_log2), (1, 1, 3, 3));

    let immediate = Some([1, 2, 3, 4, 5, 6, 7, 8]);
    world.fake.complete(0, Completion { solicited: true, invalidated: Some(9), ..received(0) });
    world.fake.complete(0, Completion { immediate, ..received(1) });
    let done = world.cq.poll().unwrap();
    assert_eq!((done.wr_id, done.opcode, done.byte_len), (1, WcOpcode::Receive, 10));
    assert_eq!((done.solicited, done.invalidated), (true, Some(9)));
    let done = world.cq.poll().unwrap();
    assert_eq!((done.wr_id, done.opcode, done.immediate), (2, WcOpcode::ReceiveImmediate, immediate));
    assert_eq!(world.cq.poll(), None);
}

#[test]
fn hidden_requests_complete_unseen() {
    let world = World::idle();
    let receive = ReceiveRequest::new(0, []);
    world.qp.post_hidden_receive(&receive).unwrap();
    assert!(world.qp.post_hidden_receive(&receive).is_err(), "it must be the first");
    world.qp.hand_over(&handoff()).unwrap();
    let rtr = SendRequest::write(0, Data::inline(b""), REMOTE);
    world.qp.post_hidden_send(rtr).unwrap();
    assert_eq!(world.qp.go(0), Ok(true));
    world.qp.post_send(&send(&world, 5)).unwrap();
    world.received(0);
    world.sent(0);
    world.sent(1);
    assert_eq!(world.poll_all(), [(5, WcStatus::Ok)]);
}

#[test]
fn the_consumer_doorbell_is_rung_by_the_quarter_and_when_empty() {
    let world = World::connected();
    let rung = || world.fake.rung(Page::Cq(0), doorbell::cq::CONSUMER);
    for round in 0..5u16 {
        for index in 0..6 {
            world.qp.post_send(&send(&world, index.into())).unwrap();
            world.sent(round * 6 + index);
        }
        for _ in 0..5 {
            world.cq.poll().unwrap();
        }
        assert_eq!(rung().last(), Some(&u32::from(round * 6 + 4)), "a quarter of 16 at once");
        world.cq.poll().unwrap();
        assert_eq!(world.cq.poll(), None);
        assert_eq!(rung().last(), Some(&u32::from(round * 6 + 6)));
        assert_eq!(rung().len(), usize::from(round + 1) * 2);
    }
}

#[test]
fn garbage_from_the_device_is_ignored() {
    let world = World::connected();
    world.qp.post_send(&SendRequest::send(1, vec![world.region.sge(0, 1).unwrap(); 3])).unwrap();
    for garbage in [
        sent(1),
        sent(2),
        sent(u16::MAX),
        received(0),
        Completion { srq: true, ..received(0) },
        Completion { qp: 3, ..sent(0) },
        Completion { qp: 9999, ..sent(0) },
    ] {
        world.fake.complete(0, garbage);
    }
    // An event of nobody, and one of a type that nobody knows.
    for object in [1, 9, u16::MAX] {
        world.fake.event(Event { kind: EventKind::CqReady, code: 255, object, params: [7; 2] });
        world.fake.event(Event { kind: EventKind::SrqLimit, code: 255, object, params: [7; 2] });
        world.fake.event(Event { kind: EventKind::QpError, code: 255, object, params: [7; 2] });
    }
    world.fake.serve();
    world.sent(0);
    assert_eq!(world.poll_all(), [(1, WcStatus::Ok)]);
    assert_eq!(world.qp.state(), QpState::Rts);
}

#[test]
fn shared_entries_are_free_when_their_completions_are_taken() {
    let world = World::idle();
    let srq = world.pd.create_srq(SrqConfig { depth: 3, limit: 2 }).unwrap();
    assert_eq!(world.fake.rung(Page::Srq(0), doorbell::srq::LIMIT), [2]);
    let qp = world.pd.create_qp(&QpConfig::new(&world.cq, &world.cq).srq(&srq)).unwrap();
    world.connect(&qp);
    let receive = |wr_id| ReceiveRequest::new(wr_id, [world.region.sge(0, 100).unwrap()]);
    assert!(qp.post_receive(&receive(0)).is_err());
    srq.post_receive_many(&[receive(10), receive(11), receive(12), receive(13)]).unwrap();
    let full = Error::QueueFull { queue: "shared receive", slots: 4 };
    assert_eq!(srq.post_receive(&receive(14)), Err(full));
    assert_eq!(world.fake.rung(Page::Srq(0), doorbell::srq::PRODUCER), [4]);
    // Completed out of order, never before, twice, and beyond the table.
    for index in [2, 0, 2, 4, 999] {
        world.fake.complete(0, Completion { qp: 1, srq: true, ..received(index) });
    }
    assert_eq!(world.poll_all(), [(12, WcStatus::Ok), (10, WcStatus::Ok)]);
    srq.post_receive_many(&[receive(20), receive(21)]).unwrap();
    world.fake.complete(0, Completion { qp: 1, srq: true, ..received(2) });
    assert_eq!(world.poll_all(), [(20, WcStatus::Ok)]);

    assert!(!srq.take_limit_event());
    world.fake.event(Event { kind: EventKind::SrqLimit, code: 0, object: 0, params: [0; 2] });
    world.fake.serve();
    assert!(srq.take_limit_event() && !srq.take_limit_event());
    // The buffer that the device had taken when it stopped comes back as flushed.
    let cursors = FlushCursors { srq_open: Some(0), ..FlushCursors::default() };
    let error = Event { kind: EventKind::QpError, code: 3, object: 1, params: cursors.encode() };
    world.fake.event(error);
    world.fake.serve();
    assert_eq!(world.poll_all(), [(21, WcStatus::Flushed)]);
    let events = [qp.poll_event(), qp.poll_event()];
    assert_eq!(events, [Some(QpEvent::LastReceive), Some(QpEvent::Fatal(ErrorCause::Reset))]);
}

#[test]
fn channels_collect_the_events_of_armed_queues() {
    let world = World::connected();
    let channel = world.context.create_channel();
    let cq = world.context.create_cq_on(4, &channel).unwrap();
    let ready = Event { kind: EventKind::CqReady, code: 0, object: 1, params: [0; 2] };
    world.fake.event(ready);
    world.fake.serve();
    assert_eq!(channel.try_next(), None, "it was not armed");
    cq.arm(Notify::Solicited).unwrap();
    assert_eq!(world.fake.rung(Page::Cq(1), doorbell::cq::ARM), [1 << 17]);
    cq.arm(Notify::Solicited).unwrap();
    assert_eq!(world.fake.rung(Page::Cq(1), doorbell::cq::ARM), [1 << 17], "it is armed");
    world.fake.event(ready);
    world.fake.event(ready);
    world.fake.serve();
    assert_eq!(channel.try_next(), Some(cq.clone()));
    assert_eq!(channel.try_next(), None, "one event for one arm");
    cq.arm(Notify::Solicited).unwrap();
    cq.arm(Notify::Any).unwrap();
    let rung = [1 << 17, 1 << 17, 1 << 16];
    assert_eq!(world.fake.rung(Page::Cq(1), doorbell::cq::ARM), rung, "it has fired; it asks for more");
    assert_eq!(channel.wait(Some(5)).unwrap_err(), Error::TimedOut);
    assert_eq!(channel.wait(None).unwrap_err(), Error::Idle);
    assert_eq!(cq.wait(Some(9)).unwrap_err(), Error::TimedOut);
    world.event(EventKind::CqOverflow, 0, [0; 2]);
    assert!(world.cq.is_broken() && !cq.is_broken());
    assert!(world.pd.create_qp(&QpConfig::new(&cq, &world.cq)).is_err());
}

#[test]
fn indices_wrap() {
    let world = World::connected();
    let sge = world.region.sge(0, 1).unwrap();
    let mut index = 0u16;
    for round in 0..25_000u64 {
        world.qp.post_send(&SendRequest::send(round, vec![sge; 3])).unwrap();
        world.qp.post_send(&SendRequest::nop(round).unsignalled()).unwrap();
        world.qp.post_receive(&ReceiveRequest::new(round, [sge])).unwrap();
        world.sent(index);
        world.received(round as u16);
        assert_eq!(world.poll_all(), [(round, WcStatus::Ok); 2]);
        index = index.wrapping_add(3);
    }
    assert!(index < 25_000, "it has wrapped");
}

/// What a queue pair with 8 slots must do, in the plainest way.
#[derive(Default)]
struct Reference {
    /// Index, slots, `wr_id`, signalled; complete ones hold their slots until they are polled.
    posted: VecDeque<(u16, u16, u64, bool)>,
    /// How many of them are complete.
    complete: usize,
    producer: u16,
}

impl Reference {
    fn post(&mut self, slots: u16, wr_id: u64, signalled: bool) -> bool {
        let used: u16 = self.posted.iter().map(|entry| entry.1).sum();
        let fits = used + slots <= 8;
        if fits {
            self.posted.push_back((self.producer, slots, wr_id, signalled));
            self.producer = self.producer.wrapping_add(slots);
        }
        fits
    }
    /// Complete entries up to the next signalled one; returns its index.
    fn complete(&mut self) -> Option<u16> {
        let at = self.posted.iter().skip(self.complete).position(|entry| entry.3)?;
        self.complete += at + 1;
        Some(self.posted[self.complete - 1].0)
    }
    /// Completions to be polled.
    fn poll(&mut self, stopped: bool) -> Vec<(u64, WcStatus)> {
        let complete = std::mem::take(&mut self.complete);
        let done = self.posted.drain(..complete).filter(|entry| entry.3).map(|entry| (entry.2, WcStatus::Ok));
        let mut done: Vec<_> = done.collect();
        if stopped {
            done.extend(self.posted.drain(..).map(|entry| (entry.2, WcStatus::Flushed)));
        }
        done
    }
}

#[derive(Debug, Clone)]
enum Action {
    Post {
        sges: usize,
        signalled: bool,
    },
    Complete,
    /// A completion this far before the producer, where no entry begins.
    Garbage(u16),
    Poll,
    Stop,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        80 => (0usize..=6, any::<bool>()).prop_map(|(sges, signalled)| Action::Post { sges, signalled }),
        50 => Just(Action::Complete),
        10 => (0u16..20).prop_map(Action::Garbage),
        40 => Just(Action::Poll),
        1 => Just(Action::Stop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Every request completes exactly once or by a later one, in order, whatever the wraps; flushed ones come last.
    #[test]
    fn sends_complete_as_the_reference_says(actions in prop::collection::vec(action(), 1..600)) {
        let world = World::connected();
        let sge = world.region.sge(0, 1).unwrap();
        let mut reference = Reference::default();
        // Entries of the completion ring in use: the device would not overflow it.
        let mut in_ring = 0;
        let mut stopped = false;
        for (wr_id, action) in (0..).zip(actions) {
            match action {
                Action::Post { sges, signalled } => {
                    let request = SendRequest::send(wr_id, vec![sge; sges]);
                    let request = if signalled { request } else { request.unsignalled() };
                    let posted = world.qp.post_send(&request).is_ok();
                    prop_assert_eq!(posted, reference.post(if sges > 2 { 2 } else { 1 }, wr_id, signalled));
                }
                Action::Complete if !stopped && in_ring < 16 => {
                    if let Some(index) = reference.complete() {
                        world.sent(index);
                        in_ring += 1;
                    }
                }
                Action::Garbage(back) if !stopped && in_ring < 16 => {
                    let index = reference.producer.wrapping_sub(1 + back);
                    if !reference.posted.iter().any(|entry| entry.0 == index) {
                        world.sent(index);
                        in_ring += 1;
                    }
                }
                Action::Poll => {
                    prop_assert_eq!(world.poll_all(), reference.poll(stopped));
                    in_ring = 0;
                }
                Action::Stop if !stopped => {
                    stopped = true;
                    world.error(ErrorCause::Reset);
                    // What the device had completed is taken from its ring, which frees its slots.
                    let done = reference.poll(false);
                    let early: Vec<_> = world.poll_many(done.len());
                    prop_assert_eq!(early, done);
                }
                _ => {}
            }
        }
    }
}
