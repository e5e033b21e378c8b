//! The side of the initiator, and what both sides wait for.

use super::error::ConnectError;
use super::manager::Offer;
use super::negotiate::{Agreement, Revision, RtrSet, Terms};
use crate::error::Error;
use crate::sync::lock;
use crate::verbs::{Device, QpState, QueuePair};
use ironwarp_proto::pins::Nanos;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex};

/// What to ask a responder for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectParams {
    /// For the application at the other end: at most 512 bytes, 508 with revision 2.
    pub private_data: Vec<u8>,
    /// Reads to serve at once; at most, and by default, what the queue pair was created with.
    pub ird: Option<u16>,
    /// Reads to have outstanding at once; likewise.
    pub ord: Option<u16>,
    /// MPA revision.
    pub revision: Revision,
    /// Use CRC. Without, the peer may still want it.
    pub crc: bool,
    /// Receive markers.
    pub markers: bool,
    /// Peer-to-peer model (RFC 6581 section 9.2): send one of these messages first, so that the peer may send before
    /// this application does.
    pub rtr: Option<RtrSet>,
    /// Give up after this time, ns.
    pub timeout: Nanos,
}

impl Default for ConnectParams {
    /// Revision 2 with CRC, without markers, private data and RTR; 30 s.
    fn default() -> Self {
        Self {
            private_data: Vec::new(),
            ird: None,
            ord: None,
            revision: Revision::Two,
            crc: true,
            markers: false,
            rtr: None,
            timeout: 30_000_000_000,
        }
    }
}

/// A connection that is up, and what was agreed upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// Own address.
    pub local: SocketAddrV4,
    /// The peer's.
    pub peer: SocketAddrV4,
    /// The peer's private data.
    pub private_data: Vec<u8>,
    /// Reads served at once.
    pub ird: u16,
    /// Reads outstanding at once.
    pub ord: u16,
    /// IRD and ORD as the peer named them, if it did; 0x3FFF: left to the application.
    pub peer_depths: Option<(u16, u16)>,
    /// CRC is used.
    pub crc: bool,
    /// Markers are sent.
    pub markers_tx: bool,
    /// Markers are received.
    pub markers_rx: bool,
}

impl Established {
    /// Without MPA.
    pub(super) fn plain((local, peer): (SocketAddrV4, SocketAddrV4)) -> Self {
        Self {
            local,
            peer,
            private_data: Vec::new(),
            ird: 0,
            ord: 0,
            peer_depths: None,
            crc: false,
            markers_tx: false,
            markers_rx: false,
        }
    }
    /// As MPA agreed.
    pub(super) fn agreed(addresses: (SocketAddrV4, SocketAddrV4), agreement: &Agreement) -> Self {
        Self {
            private_data: agreement.private_data.clone(),
            ird: agreement.ird,
            ord: agreement.ord,
            peer_depths: agreement.peer_depths,
            crc: agreement.crc,
            markers_tx: agreement.markers_tx,
            markers_rx: agreement.markers_rx,
            ..Self::plain(addresses)
        }
    }
}

/// Where the outcome of a connection attempt appears.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticket(Arc<Mutex<Option<Result<Established, ConnectError>>>>);

impl Ticket {
    /// The outcome; a later one changes nothing.
    pub(super) fn set(&self, outcome: Result<Established, ConnectError>) {
        lock(&self.0).get_or_insert(outcome);
    }
    fn get(&self) -> Option<Result<Established, ConnectError>> {
        lock(&self.0).clone()
    }
}

/// A connection that is being set up. It goes on if this is dropped.
#[derive(Clone)]
#[must_use = "the outcome is known here"]
pub struct Connecting {
    device: Arc<Device>,
    ticket: Ticket,
}

impl Connecting {
    pub(crate) fn new(device: &Arc<Device>) -> (Self, Ticket) {
        let ticket = Ticket::default();
        (Self { device: Arc::clone(device), ticket: ticket.clone() }, ticket)
    }

    /// The outcome, if there is one yet.
    pub fn status(&self) -> Option<Result<Established, ConnectError>> {
        self.ticket.get()
    }

    /// Waits for the outcome until `deadline`.
    pub fn wait(&self, deadline: Option<Nanos>) -> Result<Established, ConnectError> {
        self.device.wait_for(deadline, || Ok(self.status()))?
    }
}

impl std::fmt::Debug for Connecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connecting({:?})", self.status())
    }
}

/// A queue pair that may get a connection.
pub(super) fn check_idle(qp: &QueuePair, verb: &'static str) -> Result<(), Error> {
    let state = qp.state();
    if state == QpState::Idle { Ok(()) } else { Err(Error::State { verb, state, needs: "Idle" }) }
}

/// What this end wants, within what the queue pair has.
pub(super) fn terms(
    qp: &QueuePair,
    depths: (Option<u16>, Option<u16>),
    (crc, markers): (bool, bool),
    can_mark: bool,
    private_data: Vec<u8>,
) -> Result<Terms, Error> {
    if markers && !can_mark {
        return Err(Error::Unsupported("MPA markers"));
    }
    let cut = |wish: Option<u16>, limit: u8| wish.map_or(limit.into(), |wish| wish.min(limit.into()));
    let (ird, ord) = (cut(depths.0, qp.ird()), cut(depths.1, qp.ord()));
    Ok(Terms { ird, ord, crc, markers, can_mark, private_data })
}

impl QueuePair {
    /// Begin to connect to a responder. The queue pair must be idle, and stays so until the connection is up.
    pub fn connect(&self, peer: SocketAddrV4, params: ConnectParams) -> Result<Connecting, ConnectError> {
        check_idle(self, "connecting")?;
        let device = self.device();
        let (connecting, ticket) = Connecting::new(device);
        {
            let mut manager = lock(device.manager());
            let ConnectParams { private_data, ird, ord, revision, crc, markers, rtr, timeout } = params;
            let terms = terms(self, (ird, ord), (crc, markers), manager.can_mark(), private_data)?;
            let offer = Offer { qp: self.clone(), terms, revision, rtr };
            manager.connect(device.now(), peer, offer, timeout, ticket)?;
        }
        device.kick();
        Ok(connecting)
    }
}
