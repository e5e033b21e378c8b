//! Verbs over a scripted device.

mod close;
mod memory;
mod queues;
mod service;

use super::{Access, CompletionQueue, Context, ContextConfig, Handoff, MemoryRegion, ProtectionDomain};
use super::{QpConfig, QpEvent, QpState, QueuePair, WcStatus};
use crate::fake::Fake;
use crate::transport::Transport;
use ironwarp_proto::abi::completion::{Completion, OPCODE_RECEIVE};
use ironwarp_proto::abi::event::{ErrorCause, Event, EventKind, FlushCursors};
use ironwarp_proto::abi::regs::{self, Command};
use ironwarp_proto::abi::send_entry::Opcode;
use std::sync::Arc;

/// A context, one completion queue of 16 entries, one region and one queue pair with 8 slots each way.
struct World {
    qp: QueuePair,
    region: MemoryRegion,
    cq: CompletionQueue,
    pd: ProtectionDomain,
    context: Context,
    fake: Arc<Fake>,
}

fn open() -> (Arc<Fake>, Context) {
    let fake = Fake::new();
    let transport: Arc<dyn Transport> = fake.clone();
    let context = Context::open(transport, ContextConfig::default().seed(1)).unwrap();
    (fake, context)
}

fn handoff() -> Handoff {
    Handoff {
        headers: [7; 54],
        rcv_nxt: 1000,
        snd_nxt: 2000,
        rcv_wnd: 65_535,
        rcv_adv: 66_535,
        snd_wnd: 30_000,
        snd_wscale: 2,
        rcv_wscale: 3,
        mss: 1460,
        mulpdu: 1400,
        markers_tx: false,
        markers_rx: false,
        crc: true,
        hold: false,
        ird: 1,
        ord: 1,
        keepalive: 0,
        keepalive_probes: 0,
    }
}

impl World {
    fn idle() -> Self {
        let (fake, context) = open();
        let pd = context.alloc_pd().unwrap();
        let cq = context.create_cq(16).unwrap();
        let region = pd.register(4096, Access::LOCAL_WRITE | Access::REMOTE_WRITE).unwrap();
        let qp = pd.create_qp(&QpConfig::new(&cq, &cq).depths(8, 8)).unwrap();
        Self { qp, region, cq, pd, context, fake }
    }
    fn connected() -> Self {
        let world = Self::idle();
        world.connect(&world.qp);
        world
    }
    fn connect(&self, qp: &QueuePair) {
        qp.hand_over(&handoff()).unwrap();
        assert_eq!(qp.go(0), Ok(true));
        assert_eq!((qp.poll_event(), qp.state()), (Some(QpEvent::Established), QpState::Rts));
    }
    /// The device says that something happened to QP 0.
    fn event(&self, kind: EventKind, code: u8, params: [u32; 2]) {
        self.fake.event(Event { kind, code, object: 0, params });
        self.fake.serve();
    }
    fn error(&self, cause: ErrorCause) {
        self.event(EventKind::QpError, cause as u8, FlushCursors::default().encode());
    }
    fn sent(&self, index: u16) {
        self.fake.complete(0, sent(index));
    }
    fn received(&self, index: u16) {
        self.fake.complete(0, received(index));
    }
    /// `wr_id`s and statuses of all completions.
    fn poll_all(&self) -> Vec<(u64, WcStatus)> {
        self.poll_many(100)
    }
    fn poll_many(&self, max: usize) -> Vec<(u64, WcStatus)> {
        self.cq.poll_many(max).iter().map(|completion| (completion.wr_id, completion.status)).collect()
    }
}

fn sent(index: u16) -> Completion {
    Completion { opcode: Opcode::Send as u8, ..received(index) }
}

fn received(index: u16) -> Completion {
    Completion {
        qp: 0,
        opcode: OPCODE_RECEIVE,
        solicited: false,
        invalidated: None,
        immediate: None,
        srq: false,
        length: 10,
        index,
        status: WcStatus::Ok,
    }
}

#[test]
fn handles_go_to_other_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Context>();
    shared::<ProtectionDomain>();
    shared::<MemoryRegion>();
    shared::<super::MemoryWindow>();
    shared::<super::FastRegion>();
    shared::<CompletionQueue>();
    shared::<super::CompletionChannel>();
    shared::<super::SharedReceiveQueue>();
    shared::<QueuePair>();
    shared::<super::SendRequest>();
}

#[test]
fn objects_go_in_any_order_and_the_device_last() {
    let World { qp, region, cq, pd, context, fake } = World::connected();
    drop((context, pd, cq, region));
    assert_eq!(qp.state(), QpState::Rts);
    drop(qp);
    let commands = fake.set(|state| state.commands.clone());
    let last: Vec<_> = commands.iter().rev().take(2).map(|command| command.0).collect();
    assert_eq!(last, [Command::StopCq, Command::Reset]);
    assert_eq!(fake.set(|state| state.writes.last().copied()), Some((regs::CTRL, regs::ctrl::SOFT_RESET)));
}
