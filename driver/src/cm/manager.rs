//! The connections of one device from the first SYN to the last ACK: what software does beside the device.

use super::carrier::{Carrier, Queue};
use super::connection::{Established, Ticket};
use super::error::ConnectError;
use super::negotiate::{self, Failure, Request, Revision, RtrSet, Terms};
use crate::hw::ConnectionNotice;
use crate::net::{ConnId, Ending, Net, NetConfig, NetError, OutFrame, Status};
use crate::verbs::QueuePair;
use ironwarp_proto::abi::raw::RawHeader;
use ironwarp_proto::ddp::{self, DdpHeader};
use ironwarp_proto::mpa::connect::{MpaFrame, MpaKind};
use ironwarp_proto::mpa::fpdu;
use ironwarp_proto::mpa::marker::{self, MarkerPhase};
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::rdmap::{self, Opcode};
use ironwarp_proto::terminate::{Terminate, TerminateError};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;

/// How long a peer may take for its MPA Request (RFC 5044 section 7.1.2 rule 10), and for the ACK of the Reply.
const STARTUP: Nanos = 10_000_000_000;
/// Pause before GO is tried again.
const AGAIN: Nanos = 10_000;

/// What a listener expects on its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An MPA Request.
    Mpa,
    /// Nothing: plain TCP.
    Stream,
}

struct Listening {
    kind: Kind,
    /// Connections that the application has to decide upon.
    ready: VecDeque<ConnId>,
    /// Connections that came to nothing before that, with their peers.
    failed: VecDeque<(SocketAddrV4, ConnectError)>,
}

/// Failures that a listener keeps for its application.
const FAILURES_MAX: usize = 32;

/// What an initiator asks for.
pub(super) struct Offer {
    pub(super) qp: QueuePair,
    pub(super) terms: Terms,
    pub(super) revision: Revision,
    pub(super) rtr: Option<RtrSet>,
}

enum Stage {
    /// Initiator: TCP opens, then the Reply is awaited.
    Initiator { offer: Box<Offer>, sent: bool },
    /// A stream opens.
    Opening(Box<dyn Carrier>),
    /// Responder: the Request is awaited.
    Responder,
    /// The application decides. No Request on a stream.
    Offered(Option<Request>),
    /// Everything is said; hand-off waits until the peer has acknowledged it.
    Ready { carrier: Box<dyn Carrier>, established: Established },
    /// Activated; GO is to be done.
    HandOver { carrier: Box<dyn Carrier>, established: Established },
    /// The device has it.
    Device,
    /// Its user is gone; it is kept until it has closed.
    Lingering(Box<dyn Carrier>),
}

struct Flow {
    stage: Stage,
    deadline: Option<Nanos>,
    /// Where the outcome goes, if somebody waits for it.
    ticket: Option<Ticket>,
    /// QP that is or will be its carrier.
    qp: Option<u16>,
}

/// The connections of one device.
pub(crate) struct Manager {
    net: Net,
    receive_window: u32,
    can_mark: bool,
    flows: BTreeMap<ConnId, Flow>,
    listeners: BTreeMap<u16, Listening>,
}

impl Manager {
    pub(super) fn new(config: NetConfig, can_mark: bool) -> Self {
        let receive_window = config.tcp.receive_window;
        let (flows, listeners) = (BTreeMap::new(), BTreeMap::new());
        Self { net: Net::new(config), receive_window, can_mark, flows, listeners }
    }

    /// Whether the device can send and receive markers.
    pub(super) fn can_mark(&self) -> bool {
        self.can_mark
    }

    /// Listen on a port; 0 picks one.
    pub(crate) fn listen(&mut self, port: u16, backlog: usize, kind: Kind) -> Result<SocketAddrV4, NetError> {
        let port = match port {
            0 => self.net.free_port().ok_or(NetError::NoPort(SocketAddrV4::new(self.net.ip(), 0)))?,
            port => port,
        };
        self.net.listen(port, backlog)?;
        self.listeners.insert(port, Listening { kind, ready: VecDeque::new(), failed: VecDeque::new() });
        Ok(SocketAddrV4::new(self.net.ip(), port))
    }

    /// Stop listening; connections that nobody has taken are reset.
    pub(crate) fn unlisten(&mut self, now: Nanos, port: u16) {
        self.net.unlisten(port);
        let ready = self.listeners.remove(&port).map(|listening| listening.ready).unwrap_or_default();
        for id in ready {
            self.flows.remove(&id);
            self.net.abort(now, id);
        }
    }

    /// The next connection on `port` to decide upon.
    pub(crate) fn next_offered(&mut self, port: u16) -> Option<ConnId> {
        self.listeners.get_mut(&port)?.ready.pop_front()
    }

    /// Own and the peer's address.
    pub(crate) fn addresses(&self, id: ConnId) -> Option<(SocketAddrV4, SocketAddrV4)> {
        self.net.addresses(id)
    }

    /// The request of a connection to decide upon.
    pub(super) fn request(&self, id: ConnId) -> Option<&Request> {
        match &self.flows.get(&id)?.stage {
            Stage::Offered(request) => request.as_ref(),
            _ => None,
        }
    }

    /// Begin to connect a queue pair.
    pub(super) fn connect(
        &mut self,
        now: Nanos,
        remote: SocketAddrV4,
        offer: Offer,
        timeout: Nanos,
        ticket: Ticket,
    ) -> Result<(), ConnectError> {
        // Bad parameters are found before anything leaves.
        negotiate::request(&offer.terms, offer.revision, offer.rtr)?;
        let qp = self.claim(now, offer.qp.number() as u16)?;
        let stage = Stage::Initiator { offer: Box::new(offer), sent: false };
        self.begin(now, remote, stage, qp, timeout, ticket)
    }

    /// Begin to connect a stream.
    pub(crate) fn connect_stream(
        &mut self,
        now: Nanos,
        remote: SocketAddrV4,
        carrier: Box<dyn Carrier>,
        timeout: Nanos,
        ticket: Ticket,
    ) -> Result<(), ConnectError> {
        let qp = self.claim(now, carrier.number())?;
        self.begin(now, remote, Stage::Opening(carrier), qp, timeout, ticket)
    }

    fn begin(
        &mut self,
        now: Nanos,
        remote: SocketAddrV4,
        stage: Stage,
        qp: u16,
        timeout: Nanos,
        ticket: Ticket,
    ) -> Result<(), ConnectError> {
        let id = self.net.connect(now, remote)?;
        let deadline = Some(now.saturating_add(timeout));
        self.flows.insert(id, Flow { stage, deadline, ticket: Some(ticket), qp: Some(qp) });
        Ok(())
    }

    /// Send the Reply that takes a connection.
    pub(super) fn accept(
        &mut self,
        now: Nanos,
        id: ConnId,
        qp: &QueuePair,
        terms: &Terms,
        ticket: Ticket,
    ) -> Result<(), ConnectError> {
        let request = self.request(id).ok_or(ConnectError::RequestGone)?;
        let (frame, agreement) = request.accept(terms)?;
        let (needs_buffer, mut bytes) = (request.needs_send_rtr(terms), Vec::new());
        frame.emit(&mut bytes)?;
        let number = self.claim(now, qp.number() as u16)?;
        if needs_buffer {
            // For the initiator's first, empty, Send.
            qp.post_hidden_receive(&crate::verbs::ReceiveRequest::new(0, Vec::new()))?;
        }
        self.net.send(now, id, &bytes)?;
        let established = self.established(id, &agreement)?;
        let carrier = Box::new(Queue { qp: qp.clone(), agreement, responder: true });
        self.ready(now, id, carrier, number, established, ticket);
        Ok(())
    }

    /// Take a connection as a stream.
    pub(crate) fn accept_stream(
        &mut self,
        now: Nanos,
        id: ConnId,
        carrier: Box<dyn Carrier>,
        ticket: Ticket,
    ) -> Result<(), ConnectError> {
        if !self.flows.get(&id).is_some_and(|flow| matches!(flow.stage, Stage::Offered(None))) {
            return Err(ConnectError::RequestGone);
        }
        let number = self.claim(now, carrier.number())?;
        let established = Established::plain(self.addresses(id).ok_or(ConnectError::RequestGone)?);
        self.ready(now, id, carrier, number, established, ticket);
        Ok(())
    }

    fn ready(
        &mut self,
        now: Nanos,
        id: ConnId,
        carrier: Box<dyn Carrier>,
        qp: u16,
        established: Established,
        ticket: Ticket,
    ) {
        let stage = Stage::Ready { carrier, established };
        let deadline = Some(now.saturating_add(STARTUP));
        self.flows.insert(id, Flow { stage, deadline, ticket: Some(ticket), qp: Some(qp) });
        self.advance(now, id);
    }

    /// Refuse a connection: with a Reply if there is a Request, and close.
    pub(crate) fn reject(&mut self, now: Nanos, id: ConnId, private_data: &[u8]) -> Result<(), ConnectError> {
        let mut bytes = Vec::new();
        if let Some(request) = self.request(id) {
            request.reject(private_data)?.emit(&mut bytes)?;
        }
        if self.flows.get(&id).is_some_and(|flow| matches!(flow.stage, Stage::Offered(_))) {
            self.flows.remove(&id);
            let sent = self.net.send(now, id, &bytes);
            self.net.close(now, id)?;
            sent?;
        }
        Ok(())
    }

    /// The user of a connection is gone: keep its carrier until it has closed, or `deadline`.
    pub(crate) fn linger(&mut self, carrier: Box<dyn Carrier>, deadline: Nanos) {
        let number = carrier.number();
        let on_device = |flow: &Flow| flow.qp == Some(number) && matches!(flow.stage, Stage::Device);
        if let Some(flow) = self.flows.values_mut().find(|flow| on_device(flow)) {
            (flow.stage, flow.deadline) = (Stage::Lingering(carrier), Some(deadline));
        }
    }

    /// The queue pair is to have a connection: it must have none. A flow that the device has forgotten without a notice
    /// is one of an earlier queue pair of that number.
    fn claim(&mut self, now: Nanos, qp: u16) -> Result<u16, ConnectError> {
        if let Some((id, flow)) = self.flows.iter().find(|(_, flow)| flow.qp == Some(qp)) {
            if !matches!(flow.stage, Stage::Device) {
                return Err(ConnectError::Busy(qp));
            }
            let id = *id;
            self.flows.remove(&id);
            self.net.release(now, id, Ending::Forget);
        }
        Ok(qp)
    }

    /// Take a raw frame.
    pub(super) fn receive(&mut self, now: Nanos, header: &RawHeader, frame: &[u8]) {
        self.net.receive(now, header, frame);
    }

    /// The next frame to send.
    pub(super) fn next_frame(&mut self) -> Option<OutFrame> {
        self.net.next_frame()
    }

    /// A connection came back from the device.
    pub(super) fn returned(&mut self, now: Nanos, notice: ConnectionNotice) {
        let (qp, ending) = match notice {
            ConnectionNotice::Closed { qp, snd_nxt, rcv_nxt } => (qp, Ending::TimeWait { snd_nxt, rcv_nxt }),
            ConnectionNotice::Aborted { qp, snd_nxt, rcv_nxt } => (qp, Ending::Reset { snd_nxt, rcv_nxt }),
            ConnectionNotice::Reset { qp } => (qp, Ending::Forget),
        };
        let on_device =
            |flow: &Flow| matches!(flow.stage, Stage::HandOver { .. } | Stage::Device | Stage::Lingering(_));
        let found = self.flows.iter().find(|(_, flow)| flow.qp == Some(qp) && on_device(flow));
        let Some(id) = found.map(|(id, _)| *id) else { return };
        self.net.release(now, id, ending);
        if let Some(ticket) = self.flows.remove(&id).and_then(|flow| flow.ticket) {
            ticket.set(Err(ConnectError::Ended));
        }
    }

    /// Do what has become possible or due; returns when to be called again.
    pub(super) fn poll(&mut self, now: Nanos) -> Option<Nanos> {
        self.start_handed_over();
        self.net.poll(now);
        while let Some(id) = self.net.next_changed() {
            self.advance(now, id);
        }
        let late = |flow: &Flow| flow.deadline.is_some_and(|at| at <= now);
        let expired: Vec<_> = self.flows.iter().filter(|(_, flow)| late(flow)).map(|(id, _)| *id).collect();
        for id in expired {
            if let Some(flow) = self.flows.remove(&id) {
                self.give_up(now, id, flow, ConnectError::Timeout);
            }
        }
        let going = self.flows.values().any(|flow| matches!(flow.stage, Stage::HandOver { .. }));
        let deadlines = self.flows.values().filter_map(|flow| flow.deadline);
        let again = going.then(|| now.saturating_add(AGAIN));
        deadlines.chain(self.net.poll(now)).chain(again).min()
    }

    /// GO for those whose frames have all been injected.
    fn start_handed_over(&mut self) {
        if self.net.has_frames() {
            return;
        }
        let Self { net, flows, .. } = self;
        for (id, flow) in flows {
            let Stage::HandOver { carrier, established } = &flow.stage else { continue };
            let Some(diverted) = net.diverted(*id) else { continue };
            match carrier.go(diverted) {
                Ok(true) => {
                    net.running(*id);
                    flow.deadline = None;
                    if let Some(ticket) = flow.ticket.take() {
                        ticket.set(Ok(established.clone()));
                    }
                    flow.stage = Stage::Device;
                }
                Ok(false) => {}
                Err(error) => {
                    // The device refuses what has ended with the frames injected; its events say how.
                    tracing::debug!(%error, "GO");
                    if let Some(ticket) = flow.ticket.take() {
                        ticket.set(Err(ConnectError::Ended));
                    }
                    if let Err(error) = carrier.abandon() {
                        tracing::warn!(%error, "abandon");
                    }
                    // The notice that follows ends the flow.
                    net.running(*id);
                    (flow.deadline, flow.stage) = (None, Stage::Device);
                }
            }
        }
    }

    /// Something has changed on a connection.
    fn advance(&mut self, now: Nanos, id: ConnId) {
        let status = self.net.status(id);
        let Some(mut flow) = self.flows.remove(&id).or_else(|| self.welcome(now, id)) else {
            // Nobody wants it: its listener is gone.
            return self.net.abort(now, id);
        };
        let (acknowledged, peer_closed) = match status {
            Status::Open { acknowledged, peer_closed } => (acknowledged, peer_closed),
            Status::Closed(reason) => return self.give_up(now, id, flow, reason.into()),
            _ => {
                self.flows.insert(id, flow);
                return;
            }
        };
        let next = match std::mem::replace(&mut flow.stage, Stage::Device) {
            Stage::Initiator { offer, sent: false } => self.send_request(now, id, offer),
            Stage::Initiator { offer, sent: true } => self.take_reply(now, id, offer, peer_closed),
            Stage::Opening(carrier) => {
                self.addresses(id).map_or(Err(ConnectError::RequestGone), |addresses| {
                    Ok(Stage::Ready { carrier, established: Established::plain(addresses) })
                })
            }
            Stage::Responder => self.take_request(now, id, peer_closed),
            Stage::Offered(_) if peer_closed => Err(ConnectError::RequestGone),
            stage => Ok(stage),
        };
        match next {
            Ok(Stage::Ready { carrier, established }) if self.acknowledged(id, acknowledged) => {
                self.hand_over(now, id, carrier, established, flow);
            }
            Ok(stage) => {
                if matches!(stage, Stage::Offered(_)) {
                    flow.deadline = None;
                    self.offer(id);
                }
                flow.stage = stage;
                self.flows.insert(id, flow);
            }
            Err(error) => self.give_up(now, id, flow, error),
        }
    }

    /// Everything sent is acknowledged, as far as is known now.
    fn acknowledged(&self, id: ConnId, before: bool) -> bool {
        before && matches!(self.net.status(id), Status::Open { acknowledged: true, .. })
    }

    /// A connection that has just come by a listener.
    fn welcome(&self, now: Nanos, id: ConnId) -> Option<Flow> {
        let listening = self.listeners.get(&self.net.listener(id)?)?;
        let stage = match listening.kind {
            Kind::Mpa => Stage::Responder,
            Kind::Stream => Stage::Offered(None),
        };
        Some(Flow { stage, deadline: Some(now.saturating_add(STARTUP)), ticket: None, qp: None })
    }

    /// Let the listener's owner see a connection, once.
    fn offer(&mut self, id: ConnId) {
        if let Some(listening) = self.net.listener(id).and_then(|port| self.listeners.get_mut(&port))
            && !self.flows.contains_key(&id)
            && !listening.ready.contains(&id)
        {
            listening.ready.push_back(id);
        }
    }

    fn send_request(&mut self, now: Nanos, id: ConnId, offer: Box<Offer>) -> Result<Stage, ConnectError> {
        let mut bytes = Vec::new();
        negotiate::request(&offer.terms, offer.revision, offer.rtr)?.emit(&mut bytes)?;
        self.net.send(now, id, &bytes)?;
        Ok(Stage::Initiator { offer, sent: true })
    }

    /// The MPA frame received, once it is complete. What belongs to it is acknowledged, and nothing else.
    fn take_frame(
        &mut self,
        now: Nanos,
        id: ConnId,
        kind: MpaKind,
        peer_closed: bool,
    ) -> Result<Option<MpaFrame>, ConnectError> {
        let bytes = self.net.received(id);
        match MpaFrame::parse(bytes)? {
            Some((frame, length)) => {
                self.net.acknowledge(now, id, length)?;
                Ok(Some(frame))
            }
            None if peer_closed => Err(ConnectError::ClosedByPeer),
            None => {
                // The ninth byte tells the two frames apart: no need to wait for the rest of a wrong one.
                let other = if kind == MpaKind::Request { b'p' } else { b'q' };
                if bytes.get(9) == Some(&other) {
                    let found = if kind == MpaKind::Request { MpaKind::Reply } else { MpaKind::Request };
                    return Err(Failure::WrongKind(found).into());
                }
                let count = bytes.len();
                self.net.acknowledge(now, id, count)?;
                Ok(None)
            }
        }
    }

    fn take_request(&mut self, now: Nanos, id: ConnId, peer_closed: bool) -> Result<Stage, ConnectError> {
        match self.take_frame(now, id, MpaKind::Request, peer_closed)? {
            Some(frame) => Ok(Stage::Offered(Some(Request::read(&frame)?))),
            None => Ok(Stage::Responder),
        }
    }

    fn take_reply(
        &mut self,
        now: Nanos,
        id: ConnId,
        offer: Box<Offer>,
        peer_closed: bool,
    ) -> Result<Stage, ConnectError> {
        let Some(frame) = self.take_frame(now, id, MpaKind::Reply, peer_closed)? else {
            return Ok(Stage::Initiator { offer, sent: true });
        };
        match negotiate::conclude(&offer.terms, offer.revision, offer.rtr, &frame) {
            Ok(agreement) => {
                let established = self.established(id, &agreement)?;
                let carrier = Box::new(Queue { qp: offer.qp, agreement, responder: false });
                Ok(Stage::Ready { carrier, established })
            }
            Err(failure) => {
                if let Some(error) = failure.terminate() {
                    let crc = offer.terms.crc || frame.flags.crc;
                    // The peer takes it as the first FPDU (RFC 6581 section 8).
                    let fpdu = terminate(error, crc, frame.flags.markers && self.can_mark);
                    self.net.send(now, id, &fpdu)?;
                }
                Err(failure.into())
            }
        }
    }

    fn established(&self, id: ConnId, agreement: &negotiate::Agreement) -> Result<Established, ConnectError> {
        let addresses = self.addresses(id).ok_or(ConnectError::RequestGone)?;
        Ok(Established::agreed(addresses, agreement))
    }

    /// Steps 1 and 2 of docs/host-abi.md, "Connections"; the kept frames follow, and GO when they are out.
    fn hand_over(
        &mut self,
        now: Nanos,
        id: ConnId,
        carrier: Box<dyn Carrier>,
        established: Established,
        mut flow: Flow,
    ) {
        let handed = self.net.hand_off(id).map_err(ConnectError::from).and_then(|handoff| {
            carrier.hand_over(&handoff, self.receive_window).map_err(ConnectError::from)?;
            Ok(handoff)
        });
        match handed {
            Ok(handoff) => {
                tracing::debug!(?handoff, qp = carrier.number(), "hand-over");
                self.net.activated(id);
                flow.stage = Stage::HandOver { carrier, established };
                self.flows.insert(id, flow);
            }
            Err(error) => {
                if let Err(error) = carrier.abandon() {
                    tracing::debug!(%error, "abandon");
                }
                if let Some(ticket) = flow.ticket {
                    ticket.set(Err(error));
                }
                self.net.release(now, id, Ending::Forget);
            }
        }
    }

    /// A connection that somebody began and that came to nothing before the application knew of it.
    fn tell_listener(&mut self, id: ConnId, flow: &Flow, error: &ConnectError) {
        let Some((local, peer)) = self.net.addresses(id).filter(|_| flow.ticket.is_none()) else { return };
        if let Some(listening) = self.listeners.get_mut(&local.port()) {
            if listening.failed.len() == FAILURES_MAX {
                listening.failed.pop_front();
            }
            listening.failed.push_back((peer, error.clone()));
        }
    }

    /// The next connection on `port` that came to nothing.
    pub(super) fn next_failed(&mut self, port: u16) -> Option<(SocketAddrV4, ConnectError)> {
        self.listeners.get_mut(&port)?.failed.pop_front()
    }

    /// End a flow that comes to nothing, and tell who waits.
    fn give_up(&mut self, now: Nanos, id: ConnId, flow: Flow, error: ConnectError) {
        tracing::debug!(%error, "connection given up");
        self.tell_listener(id, &flow, &error);
        for listening in self.listeners.values_mut() {
            listening.ready.retain(|ready| *ready != id);
        }
        match flow.stage {
            Stage::HandOver { carrier, .. } | Stage::Lingering(carrier) => {
                // RST goes out with the notice, if there is one.
                if let Err(error) = carrier.abandon() {
                    tracing::warn!(%error, "abandon");
                }
                let flow = Flow { stage: Stage::Device, deadline: None, ticket: None, qp: flow.qp };
                self.flows.insert(id, flow);
            }
            _ => {
                // A Terminate is to arrive, and a Reject leaves nothing to reset: FIN. Otherwise RST.
                let orderly = match &error {
                    ConnectError::Rejected { .. } => true,
                    ConnectError::Negotiation(failure) => failure.terminate().is_some(),
                    _ => false,
                };
                if !orderly || self.net.close(now, id).is_err() {
                    self.net.release(now, id, Ending::Forget);
                }
            }
        }
        if let Some(ticket) = flow.ticket {
            ticket.set(Err(error));
        }
    }
}

/// A Terminate as the first FPDU of a stream.
fn terminate(error: TerminateError, crc: bool, markers: bool) -> Vec<u8> {
    let header = DdpHeader::Untagged {
        last: true,
        version: ddp::VERSION,
        rdmap_control: rdmap::control(Opcode::Terminate),
        inv_stag: 0,
        qn: ddp::QN_TERMINATE,
        msn: 1,
        mo: 0,
    };
    let (mut ulpdu, mut bytes) = (Vec::new(), Vec::new());
    header.emit(&mut ulpdu);
    Terminate { error, segment_len: None, ddp_header: vec![], rdmap_header: vec![] }.emit(&mut ulpdu);
    // At most a hundred bytes, so no FPDU is too long.
    let emitted = if markers {
        marker::emit(&[&ulpdu], crc, MarkerPhase::START, &mut bytes).map(drop)
    } else {
        fpdu::emit(&[&ulpdu], crc, &mut bytes)
    };
    debug_assert!(emitted.is_ok());
    bytes
}
