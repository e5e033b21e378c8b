//! The side of the responder.

use super::connection::{Connecting, check_idle, terms};
use super::error::ConnectError;
use super::manager::Kind;
use crate::net::ConnId;
use crate::sync::lock;
use crate::verbs::{Context, Device, QueuePair};
use ironwarp_proto::pins::Nanos;
use std::net::SocketAddrV4;
use std::sync::Arc;

/// What to answer an initiator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptParams {
    /// For the application at the other end: at most 512 bytes, 508 with revision 2.
    pub private_data: Vec<u8>,
    /// Reads to serve at once; at most, and by default, what the queue pair was created with.
    pub ird: Option<u16>,
    /// Reads to have outstanding at once; likewise, and at most what the initiator serves.
    pub ord: Option<u16>,
    /// Use CRC. Without, the initiator may still want it.
    pub crc: bool,
    /// Receive markers.
    pub markers: bool,
}

impl Default for AcceptParams {
    /// With CRC, without markers and private data.
    fn default() -> Self {
        Self { private_data: Vec::new(), ird: None, ord: None, crc: true, markers: false }
    }
}

/// A port that initiators connect to.
pub struct Listener {
    device: Arc<Device>,
    local: SocketAddrV4,
}

impl Context {
    /// Listen on `port`; 0 picks a free one. At most `backlog` connections may be under way there at once: beyond, SYNs stay
    /// without an answer.
    pub fn listen(&self, port: u16, backlog: usize) -> Result<Listener, ConnectError> {
        let device = Arc::clone(&self.device);
        let local = lock(device.manager()).listen(port, backlog, Kind::Mpa)?;
        Ok(Listener { device, local })
    }
}

impl Listener {
    /// Where it listens.
    pub fn local(&self) -> SocketAddrV4 {
        self.local
    }

    /// The next request, if there is one.
    pub fn poll(&self) -> Option<ConnectionRequest> {
        let mut manager = lock(self.device.manager());
        // One whose peer has gone meanwhile is skipped.
        while let Some(id) = manager.next_offered(self.local.port()) {
            if let (Some(request), Some((local, peer))) = (manager.request(id), manager.addresses(id)) {
                let (private_data, ird, ord) =
                    (request.private_data().to_vec(), request.ird(), request.ord());
                let device = Arc::clone(&self.device);
                return Some(ConnectionRequest { device, id: Some(id), local, peer, private_data, ird, ord });
            }
        }
        None
    }

    /// The next connection that came to nothing before it was a request, with its peer: no MPA Request, one that makes no
    /// sense, or none in time (RFC 5044 section 7.1.1: "report an error locally"). Only the last few are kept.
    pub fn next_failure(&self) -> Option<(SocketAddrV4, ConnectError)> {
        lock(self.device.manager()).next_failed(self.local.port())
    }

    /// The next request, waiting for it until `deadline`.
    pub fn wait(&self, deadline: Option<Nanos>) -> Result<ConnectionRequest, ConnectError> {
        Ok(self.device.wait_for(deadline, || Ok(self.poll()))?)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(self.device.manager()).unlisten(self.device.now(), self.local.port());
        self.device.kick();
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({})", self.local)
    }
}

/// An initiator's MPA Request that waits for an answer. Dropped, it is rejected.
#[must_use = "a request that is dropped is rejected"]
pub struct ConnectionRequest {
    device: Arc<Device>,
    /// Until it is answered.
    id: Option<ConnId>,
    local: SocketAddrV4,
    peer: SocketAddrV4,
    private_data: Vec<u8>,
    ird: Option<u16>,
    ord: Option<u16>,
}

impl ConnectionRequest {
    /// Private data of the initiator's application.
    pub fn private_data(&self) -> &[u8] {
        &self.private_data
    }
    /// Address of the initiator.
    pub fn peer(&self) -> SocketAddrV4 {
        self.peer
    }
    /// Own address.
    pub fn local(&self) -> SocketAddrV4 {
        self.local
    }
    /// Reads that the initiator serves at once, if it says.
    pub fn ird(&self) -> Option<u16> {
        self.ird
    }
    /// Reads that the initiator wants outstanding at once, if it says.
    pub fn ord(&self) -> Option<u16> {
        self.ord
    }

    /// Take the connection with an idle queue pair. On an error the request is rejected.
    pub fn accept(mut self, qp: &QueuePair, params: AcceptParams) -> Result<Connecting, ConnectError> {
        check_idle(qp, "accepting a connection")?;
        if !Arc::ptr_eq(qp.device(), &self.device) {
            return Err(crate::Error::Mismatch("the queue pair is of another context").into());
        }
        let (connecting, ticket) = Connecting::new(&self.device);
        let id = self.id.ok_or(ConnectError::RequestGone)?;
        {
            let mut manager = lock(self.device.manager());
            let AcceptParams { private_data, ird, ord, crc, markers } = params;
            let terms = terms(qp, (ird, ord), (crc, markers), manager.can_mark(), private_data)?;
            manager.accept(self.device.now(), id, qp, &terms, ticket)?;
        }
        self.id = None;
        self.device.kick();
        Ok(connecting)
    }

    /// Refuse the connection; the initiator's application gets `private_data`.
    pub fn reject(mut self, private_data: &[u8]) -> Result<(), ConnectError> {
        self.refuse(private_data)
    }

    fn refuse(&mut self, private_data: &[u8]) -> Result<(), ConnectError> {
        let Some(id) = self.id else { return Ok(()) };
        lock(self.device.manager()).reject(self.device.now(), id, private_data)?;
        self.id = None;
        self.device.kick();
        Ok(())
    }
}

impl Drop for ConnectionRequest {
    fn drop(&mut self) {
        if let Err(error) = self.refuse(&[]) {
            tracing::debug!(%error, "reject");
        }
    }
}

impl std::fmt::Debug for ConnectionRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectionRequest({} from {})", self.local, self.peer)
    }
}
