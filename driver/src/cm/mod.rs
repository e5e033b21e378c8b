//! Connections: listening, connecting, the MPA exchange (RFC 5044 section 7, RFC 6581) and the hand-over to the device.
//!
//! ```
//! use ironwarp_driver::cm::{AcceptParams, ConnectError, ConnectParams};
//! use ironwarp_driver::verbs::{Context, QueuePair};
//! use std::net::SocketAddrV4;
//! fn serve(context: &Context, qp: &QueuePair) -> Result<(), ConnectError> {
//!     let listener = context.listen(7174, 8)?;
//!     let request = listener.wait(None)?;
//!     println!("{} says {:?}", request.peer(), request.private_data());
//!     request.accept(qp, AcceptParams::default())?.wait(None)?;
//!     Ok(())
//! }
//! fn connect(qp: &QueuePair, peer: SocketAddrV4) -> Result<(), ConnectError> {
//!     let established = qp.connect(peer, ConnectParams::default())?.wait(None)?;
//!     println!("{established:?}");
//!     Ok(())
//! }
//! ```
//!
//! Both ends are `Established` when the device runs the connection. A responder may post Sends from there on; the device
//! holds them until the initiator's first FPDU has come (RFC 5044 section 7.1.2 rule 4).

mod carrier;
mod connection;
mod error;
mod listener;
mod manager;
mod negotiate;

pub(crate) use carrier::Carrier;
pub use connection::{ConnectParams, Connecting, Established};
pub use error::ConnectError;
pub use listener::{AcceptParams, ConnectionRequest, Listener};
pub(crate) use manager::{Kind, Manager};
pub use negotiate::{Failure, Revision, Rtr, RtrSet};

use crate::hw::{ConnectionNotice, DeviceAttributes, OutFrame, RawHandler};
use crate::net::NetConfig;
use crate::sync::lock;
use crate::verbs::ContextConfig;
use ironwarp_proto::abi::raw::RawHeader;
use ironwarp_proto::abi::regs::features;
use ironwarp_proto::pins::Nanos;
use std::sync::{Arc, Mutex};

/// The manager as the users of connections and the service routine share it. Its lock comes behind that of the routine
/// and before those of queue pairs.
pub(crate) type Shared = Arc<Mutex<Manager>>;

/// The manager of a device that can do this.
pub(crate) fn start(config: &ContextConfig, device: &DeviceAttributes) -> Shared {
    let mut net = NetConfig::new(config.mac, config.ip);
    (net.mtu, net.seed) = (config.mtu, config.seed);
    // There is no routing table: every address is asked for on the link.
    net.prefix_len = 0;
    // What a small device cannot hold is better not asked for.
    net.tcp.max_mss = device.max_mss;
    net.tcp.receive_window = net.tcp.receive_window.min(device.max_window);
    Arc::new(Mutex::new(Manager::new(net, device.has(features::MARKERS))))
}

/// The manager as the service routine knows it.
pub(crate) struct Handler(pub(crate) Shared);

impl RawHandler for Handler {
    fn receive(&mut self, now: Nanos, header: &RawHeader, frame: &[u8]) {
        lock(&self.0).receive(now, header, frame);
    }
    fn connection(&mut self, now: Nanos, notice: ConnectionNotice) {
        lock(&self.0).returned(now, notice);
    }
    fn poll(&mut self, now: Nanos) -> Option<Nanos> {
        lock(&self.0).poll(now)
    }
    fn next_frame(&mut self) -> Option<OutFrame> {
        let frame = lock(&self.0).next_frame()?;
        Some(OutFrame { bytes: frame.bytes, inject: frame.inject })
    }
}
