//! Queue pairs: creation, posting and hand-over of a connection.

use super::close::Machine;
use super::cq::CqInner;
use super::device::{Device, EventSink, QpNumber};
use super::pd::PdInner;
use super::queues::{Queues, ReceiveQueue, Receives, SendQueue, Side};
use super::{
    CompletionQueue, ProtectionDomain, ReceiveRequest, SendRequest, SharedReceiveQueue, WcOpcode,
    WorkCompletion,
};
use crate::error::{Error, PartialPost};
use crate::sync::lock;
use crate::transport::DmaBuffer;
use ironwarp_proto::abi::context::{self, Mode, SAVE_BYTES, TEMPLATE_BYTES};
use ironwarp_proto::abi::doorbell::{Page, qp};
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::abi::regs::{Command, features};
use ironwarp_proto::abi::{receive_entry, send_entry};
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::terminate::Terminate;
use std::sync::{Arc, Mutex, Weak};

/// Bytes of a staging buffer: the largest FPDU with its markers (see `staging` of the QP context).
const STAGING_BYTES: usize = 66 * 1024;

/// Shape of a queue pair.
#[derive(Debug, Clone)]
pub struct QpConfig {
    /// Where send requests complete.
    pub send_cq: CompletionQueue,
    /// Where receive requests complete; may be the same.
    pub recv_cq: CompletionQueue,
    /// Take receive buffers from here instead of from an own queue.
    pub srq: Option<SharedReceiveQueue>,
    /// Slots of the send queue; the next power of two is used. A request with more than 2 SGEs, or an atomic, takes two.
    pub sq_depth: u32,
    /// Entries of the receive queue; the next power of two is used. Ignored with a shared one.
    pub rq_depth: u32,
    /// Treat every send request as signalled.
    pub sig_all: bool,
    /// Reads and atomics accepted from the peer at once; cut to the device's limit.
    pub ird: u8,
    /// Reads and atomics outstanding at once; cut to the device's limit. 0 forbids them.
    pub ord: u8,
}

impl QpConfig {
    /// 64 slots and entries, no shared receive queue, as much IRD and ORD as the device has.
    pub fn new(send_cq: &CompletionQueue, recv_cq: &CompletionQueue) -> Self {
        Self {
            send_cq: send_cq.clone(),
            recv_cq: recv_cq.clone(),
            srq: None,
            sq_depth: 64,
            rq_depth: 64,
            sig_all: false,
            ird: u8::MAX,
            ord: u8::MAX,
        }
    }
    /// With a shared receive queue.
    #[must_use]
    pub fn srq(mut self, srq: &SharedReceiveQueue) -> Self {
        self.srq = Some(srq.clone());
        self
    }
    /// With these depths.
    #[must_use]
    pub fn depths(mut self, sq_depth: u32, rq_depth: u32) -> Self {
        (self.sq_depth, self.rq_depth) = (sq_depth, rq_depth);
        self
    }
    /// With these numbers of Reads and atomics.
    #[must_use]
    pub fn reads(mut self, ird: u8, ord: u8) -> Self {
        (self.ird, self.ord) = (ird, ord);
        self
    }
}

/// State of a queue pair (RDMA verbs draft section 6). One queue pair carries one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QpState {
    /// Not connected. Receives may be posted.
    Idle,
    /// Connected.
    Rts,
    /// One side or both have said that nothing more comes; what is posted is still done.
    Closing,
    /// A Terminate was sent or received. Everything is flushed.
    Terminate,
    /// The connection was lost or given up. Everything is flushed.
    Error,
    /// Both sides have closed in order. Everything left is flushed.
    Closed,
}

impl QpState {
    /// Whether posted requests complete as flushed.
    pub(super) fn flushes(self) -> bool {
        matches!(self, Self::Terminate | Self::Error | Self::Closed)
    }
}

/// What happens to a queue pair beside its completions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QpEvent {
    /// The connection is up: sends may be posted.
    Established,
    /// The peer closes in order: nothing more comes from it. Our side closes behind what is posted.
    PeerClosed,
    /// The connection is gone from the device, in order or after a Terminate.
    Disconnected,
    /// We found an error and told the peer.
    TerminateSent(Terminate),
    /// The peer found an error.
    TerminateReceived(Terminate),
    /// The connection is lost without a Terminate.
    Fatal(ErrorCause),
    /// The peer closed while something was under way.
    PeerClosedEarly {
        /// In the middle of an FPDU.
        in_fpdu: bool,
        /// In the middle of a message.
        in_message: bool,
        /// Before it had answered all our Reads.
        reads_open: bool,
    },
    /// [`QueuePair::abort`] is done.
    Aborted,
    /// The queue pair takes no more buffers from its shared receive queue.
    LastReceive,
}

/// An established connection for the device to carry on: what MPA and TCP have agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handoff {
    /// Ethernet, IPv4 and TCP headers as [`context::encode_template`] wants them.
    pub headers: [u8; TEMPLATE_BYTES],
    /// First sequence number behind the MPA frame received.
    pub rcv_nxt: u32,
    /// First sequence number behind the MPA frame sent; everything before is acknowledged.
    pub snd_nxt: u32,
    /// Receive window to offer, bytes.
    pub rcv_wnd: u32,
    /// Right edge of the window offered so far.
    pub rcv_adv: u32,
    /// Window that the peer offered last, bytes.
    pub snd_wnd: u32,
    /// Shift of windows received, 0..=14 (RFC 7323).
    pub snd_wscale: u8,
    /// Shift of windows sent, 0..=14.
    pub rcv_wscale: u8,
    /// Largest TCP payload of a segment, bytes.
    pub mss: u16,
    /// Largest ULPDU, bytes (RFC 5044 section 4.5).
    pub mulpdu: u16,
    /// Insert markers: the peer asked for them.
    pub markers_tx: bool,
    /// Expect markers: we asked for them.
    pub markers_rx: bool,
    /// Generate and check CRCs.
    pub crc: bool,
    /// MPA responder: send no FPDU before one was received.
    pub hold: bool,
    /// IRD agreed upon; cut to that of the queue pair.
    pub ird: u8,
    /// ORD agreed upon; cut to that of the queue pair.
    pub ord: u8,
    /// Idle time before a keep-alive probe, in units of 64 ticks; 0: off.
    pub keepalive: u16,
    /// Unanswered probes before the connection is given up.
    pub keepalive_probes: u8,
}

/// Fields are dropped in order: the number is free again, and the rings are freed, after RESET.
pub(super) struct QpInner {
    pub(super) number: QpNumber,
    pub(super) queues: Arc<Queues>,
    pub(super) send_cq: Arc<CqInner>,
    pub(super) recv_cq: Arc<CqInner>,
    /// Bases and log2 of the rings as the device gets them.
    rings: context::Context,
    staging: DmaBuffer,
    pub(super) save: DmaBuffer,
    memory: [DmaBuffer; 2],
    sig_all: bool,
    pub(super) machine: Mutex<Machine>,
    pub(super) pd: Arc<PdInner>,
}

impl QpInner {
    pub(super) fn create(pd: &Arc<PdInner>, config: &QpConfig) -> Result<Arc<Self>, Error> {
        let device = &pd.device;
        let limits = device.hw.attributes();
        let (send_cq, recv_cq) = (&config.send_cq.0, &config.recv_cq.0);
        if !Arc::ptr_eq(send_cq.device(), device) || !Arc::ptr_eq(recv_cq.device(), device) {
            return Err(Error::Mismatch("completion queue and protection domain are of different contexts"));
        }
        if config.send_cq.is_broken() || config.recv_cq.is_broken() {
            return Err(Error::Mismatch("the completion queue has overflowed; create another"));
        }
        // An entry may take two slots.
        let sq_log2 = device.ring_log2("send queue depth", config.sq_depth, 1)?;
        let sq = device.hw.transport().alloc(send_entry::SLOT << sq_log2)?;
        let (rq_log2, rq, receive, srq) = match &config.srq {
            None => {
                let log2 = device.ring_log2("receive queue depth", config.rq_depth, 0)?;
                let ring = device.hw.transport().alloc(receive_entry::SIZE << log2)?;
                let queue = ReceiveQueue::new(ring.clone(), log2);
                (log2, ring, Receives::Own(Mutex::new(queue)), None)
            }
            Some(srq) if Arc::ptr_eq(&srq.0.pd, pd) => {
                // The ring is not used, but its address is one of ours.
                (0, sq.clone(), Receives::Shared(Arc::clone(&srq.0)), Some(srq.0.number()))
            }
            Some(_) => {
                return Err(Error::Mismatch("the shared receive queue is of another protection domain"));
            }
        };
        let staging = device.hw.transport().alloc(STAGING_BYTES)?;
        let save = device.hw.transport().alloc(SAVE_BYTES)?;
        let number = QpNumber::take(device)?;
        let rings = context::Context {
            mode: Mode::Rdma,
            atomics: limits.has(features::ATOMICS),
            pd: pd.id,
            scq: send_cq.number(),
            rcq: recv_cq.number(),
            srq,
            ird: config.ird.min(limits.max_ird),
            ord: config.ord.min(limits.max_ord),
            sq_log2,
            rq_log2,
            sq_base: sq.addr(),
            rq_base: rq.addr(),
            staging: staging.addr(),
            save: save.addr(),
            ..context::Context::default()
        };
        let send = Mutex::new(SendQueue::new(sq.clone(), sq_log2));
        let queues = Arc::new(Queues { qp: number.get(), send, receive });
        send_cq.attach(&queues);
        recv_cq.attach(&queues);
        let inner = Arc::new(Self {
            number,
            queues,
            send_cq: Arc::clone(send_cq),
            recv_cq: Arc::clone(recv_cq),
            rings,
            staging,
            save,
            memory: [sq, rq],
            sig_all: config.sig_all,
            machine: Mutex::new(Machine::new(rings.ord)),
            pd: Arc::clone(pd),
        });
        let sink: Weak<Self> = Arc::downgrade(&inner);
        inner.number.deliver_to(sink);
        Ok(inner)
    }

    pub(super) fn device(&self) -> &Device {
        &self.pd.device
    }
    pub(super) fn ring(&self, doorbell: u32, value: u32) -> Result<(), Error> {
        Ok(self.device().hw.ring(Page::Qp(self.number.get()), doorbell, value)?)
    }
    fn ring_send(&self) -> Result<(), Error> {
        let producer = lock(&self.queues.send).producer();
        self.ring(qp::SQ_PRODUCER, producer.into())
    }
    fn ring_receive(&self) -> Result<(), Error> {
        match &self.queues.receive {
            Receives::Own(queue) => {
                let producer = lock(queue).producer();
                self.ring(qp::RQ_PRODUCER, producer.into())
            }
            Receives::Shared(_) => Ok(()),
        }
    }

    fn post_send(&self, machine: &Machine, request: &SendRequest, wr_id: Option<u64>) -> Result<(), Error> {
        let (mut entry, opcode) = request.entry(self.device().hw.attributes(), machine.ord)?;
        entry.signalled |= self.sig_all && wr_id.is_some();
        let flushes = machine.state.flushes();
        lock(&self.queues.send).post(entry, wr_id, opcode, !flushes)?;
        if machine.flushed {
            self.send_cq.flush_posted(&self.queues, Side::Send);
        }
        Ok(())
    }

    fn post_receive(
        &self,
        machine: &Machine,
        request: &ReceiveRequest,
        wr_id: Option<u64>,
    ) -> Result<(), Error> {
        let entry = request.entry(self.device().hw.attributes())?;
        let Receives::Own(queue) = &self.queues.receive else {
            return Err(Error::Mismatch("the queue pair has a shared receive queue: post there"));
        };
        let flushes = machine.state.flushes();
        lock(queue).post(entry, wr_id, !flushes)?;
        if machine.flushed {
            self.recv_cq.flush_posted(&self.queues, Side::Receive);
        }
        Ok(())
    }
}

impl Drop for QpInner {
    fn drop(&mut self) {
        let machine = self.machine.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let active = machine.active;
        if active && !self.forget() {
            // The device may still use the memory: it is never freed then, and the number never used again.
            self.number.lose();
            std::mem::forget((self.staging.clone(), self.save.clone(), self.memory.clone()));
        }
        self.send_cq.detach(self.number.get());
        self.recv_cq.detach(self.number.get());
    }
}

impl EventSink for QpInner {
    fn event(&self, event: &ironwarp_proto::abi::event::Event) {
        self.handle(event);
    }
}

/// A queue pair. When the last handle goes, the connection, if any, is aborted and everything posted is forgotten without
/// completion.
#[derive(Clone)]
pub struct QueuePair(pub(super) Arc<QpInner>);

impl QueuePair {
    /// Number of the queue pair in the device; completions name it.
    pub fn number(&self) -> u32 {
        self.0.number.get().into()
    }
    /// The device that it is of.
    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.0.pd.device
    }
    /// Its protection domain.
    pub fn pd(&self) -> ProtectionDomain {
        ProtectionDomain(Arc::clone(&self.0.pd))
    }
    /// Its state.
    pub fn state(&self) -> QpState {
        lock(&self.0.machine).state
    }
    /// IRD that it was created with, cut to the device's limit.
    pub fn ird(&self) -> u8 {
        self.0.rings.ird
    }
    /// ORD: before a connection what it was created with, then what was agreed upon.
    pub fn ord(&self) -> u8 {
        lock(&self.0.machine).ord
    }
    /// The next event, if any.
    pub fn poll_event(&self) -> Option<QpEvent> {
        lock(&self.0.machine).events.pop_front()
    }
    /// The next event, waiting for it until `deadline`.
    pub fn wait_event(&self, deadline: Option<Nanos>) -> Result<QpEvent, Error> {
        self.0.device().wait_for(deadline, || Ok(self.poll_event()))
    }

    /// Post a send request. After the connection has ended it completes as [`Flushed`](super::WcStatus::Flushed).
    ///
    /// Errors: not connected yet or closing, queue full, a limit exceeded.
    pub fn post_send(&self, request: &SendRequest) -> Result<(), Error> {
        self.post_send_many(std::slice::from_ref(request)).map_err(|partial| partial.error)
    }

    /// Post send requests with one doorbell.
    pub fn post_send_many(&self, requests: &[SendRequest]) -> Result<(), PartialPost> {
        let machine = lock(&self.0.machine);
        let state = machine.state;
        if state != QpState::Rts && !state.flushes() {
            let error = Error::State { verb: "posting a send request", state, needs: "Rts" };
            return Err(PartialPost { posted: 0, error });
        }
        let post = |request: &SendRequest| self.0.post_send(&machine, request, Some(request.wr_id));
        let (posted, result) = post_all(requests, post);
        let rung = if posted > 0 && !state.flushes() { self.0.ring_send() } else { Ok(()) };
        result.and(rung).map_err(|error| PartialPost { posted, error })
    }

    /// Post a receive request; possible before the connection too. After it has ended it completes as
    /// [`Flushed`](super::WcStatus::Flushed).
    ///
    /// Errors: queue full, a limit exceeded, the queue pair has a shared receive queue.
    pub fn post_receive(&self, request: &ReceiveRequest) -> Result<(), Error> {
        self.post_receive_many(std::slice::from_ref(request)).map_err(|partial| partial.error)
    }

    /// Post receive requests with one doorbell.
    pub fn post_receive_many(&self, requests: &[ReceiveRequest]) -> Result<(), PartialPost> {
        let machine = lock(&self.0.machine);
        let post = |request: &ReceiveRequest| self.0.post_receive(&machine, request, Some(request.wr_id));
        let (posted, result) = post_all(requests, post);
        let rung = if posted > 0 && machine.active && !machine.state.flushes() {
            self.0.ring_receive()
        } else {
            Ok(())
        };
        result.and(rung).map_err(|error| PartialPost { posted, error })
    }

    /// Post an unsignalled send request of the driver itself, such as the RTR message of an MPA initiator (RFC 6581 section 9),
    /// from [`hand_over`](Self::hand_over) on. The application hears nothing of it.
    pub fn post_hidden_send(&self, request: SendRequest) -> Result<(), Error> {
        let machine = lock(&self.0.machine);
        if !machine.active || machine.state.flushes() {
            let verb = "posting the driver's own request";
            return Err(Error::State { verb, state: machine.state, needs: "a connection handed over" });
        }
        self.0.post_send(&machine, &request.unsignalled(), None)?;
        self.0.ring_send()
    }

    /// Post a receive buffer of the driver itself, for an RTR Send of the peer. The application hears nothing of it.
    /// It must be the first one: buffers are used in order.
    pub fn post_hidden_receive(&self, request: &ReceiveRequest) -> Result<(), Error> {
        let machine = lock(&self.0.machine);
        if machine.active || self.0.queues.len(Side::Receive) > 0 {
            let verb = "posting the driver's own receive";
            return Err(Error::State {
                verb,
                state: machine.state,
                needs: "an empty receive queue before hand-over",
            });
        }
        self.0.post_receive(&machine, request, None)
    }

    /// Give an established connection to the device (`docs/host-abi.md`, Connections, steps 1 and 2): write template and
    /// context, ACTIVATE, ring the producers. Then inject the frames kept and [`go`](Self::go).
    ///
    /// Errors: not in Idle, or handed over already; the device refuses the context.
    pub fn hand_over(&self, handoff: &Handoff) -> Result<(), Error> {
        let mut machine = lock(&self.0.machine);
        if machine.state != QpState::Idle || machine.active {
            let state = machine.state;
            return Err(Error::State { verb: "handing over a connection", state, needs: "Idle" });
        }
        let context = self.0.context(handoff);
        self.0.device().hw.activate(self.0.number.get(), &handoff.headers, &context)?;
        machine.active = true;
        machine.ord = context.ord;
        if self.0.queues.len(Side::Receive) > 0 {
            self.0.ring_receive()?;
        }
        Ok(())
    }

    /// Let the frames of the connection reach the device, if it has diverted no more than `diverted` so far; `false`: it has,
    /// inject them and try again. On `true` the connection is up.
    pub fn go(&self, diverted: u16) -> Result<bool, Error> {
        let mut machine = lock(&self.0.machine);
        if !machine.active {
            let state = machine.state;
            return Err(Error::State { verb: "starting a connection", state, needs: "handed over" });
        }
        let running = self.0.device().hw.go(self.0.number.get(), diverted)?;
        if running {
            self.0.started(&mut machine);
        }
        Ok(running)
    }

    /// Change the largest TCP payload and the largest ULPDU, bytes, of what is sent from now on (RFC 5044 section 4.5).
    pub fn modify(&self, mss: u16, mulpdu: u16) -> Result<(), Error> {
        let machine = lock(&self.0.machine);
        if !machine.active {
            return Err(Error::State {
                verb: "changing the MSS",
                state: machine.state,
                needs: "a connection",
            });
        }
        let argument = u32::from(mss) | u32::from(mulpdu) << 16;
        Ok(self.0.device().hw.command(Command::Modify, self.0.number.get(), argument)?)
    }

    /// Close in order: FIN behind everything posted. The queue pair goes to Closing and, when the peer has closed too, to Closed
    /// with [`QpEvent::Disconnected`]. Nothing happens if it is closing already.
    pub fn disconnect(&self) -> Result<(), Error> {
        let mut machine = lock(&self.0.machine);
        match machine.state {
            QpState::Rts => self.0.close(&mut machine),
            QpState::Idle => {
                Err(Error::State { verb: "disconnecting", state: machine.state, needs: "a connection" })
            }
            _ => Ok(()),
        }
    }

    /// Give the connection up: RST, state Error, everything flushed, [`QpEvent::Aborted`]. Nothing happens if there is none.
    pub fn abort(&self) -> Result<(), Error> {
        self.0.abort(&mut lock(&self.0.machine), QpEvent::Aborted)
    }
}

impl std::fmt::Debug for QueuePair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueuePair({}, {:?})", self.number(), self.state())
    }
}

/// Post until one is refused; returns how many were posted and what was wrong with the next.
fn post_all<T>(requests: &[T], post: impl Fn(&T) -> Result<(), Error>) -> (usize, Result<(), Error>) {
    for (posted, request) in requests.iter().enumerate() {
        if let Err(error) = post(request) {
            return (posted, Err(error));
        }
    }
    (requests.len(), Ok(()))
}

impl QpInner {
    /// The device's context: our rings and the connection.
    fn context(&self, handoff: &Handoff) -> context::Context {
        context::Context {
            markers_tx: handoff.markers_tx,
            markers_rx: handoff.markers_rx,
            crc: handoff.crc,
            hold: handoff.hold,
            snd_wscale: handoff.snd_wscale,
            rcv_wscale: handoff.rcv_wscale,
            ird: self.rings.ird.min(handoff.ird),
            ord: self.rings.ord.min(handoff.ord),
            mss: handoff.mss,
            mulpdu: handoff.mulpdu,
            keepalive: handoff.keepalive,
            keepalive_probes: handoff.keepalive_probes,
            rcv_nxt: handoff.rcv_nxt,
            rcv_wnd: handoff.rcv_wnd,
            snd_nxt: handoff.snd_nxt,
            snd_wnd: handoff.snd_wnd,
            rcv_adv: handoff.rcv_adv,
            ..self.rings
        }
    }

    /// The buffer `index` that a shared receive queue gave to the stopped device, as a flushed completion.
    pub(super) fn take_shared(&self, index: Option<u16>) -> Option<WorkCompletion> {
        let Receives::Shared(srq) = &self.queues.receive else { return None };
        let wr_id = srq.complete(index?)?;
        Some(WorkCompletion::flushed(wr_id, WcOpcode::Receive, self.number.get()))
    }
    /// Whether receive buffers come from a shared queue.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.queues.receive, Receives::Shared(_))
    }
}
