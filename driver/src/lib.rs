//! Ironwarp userspace driver: transports to a device, slow path, connection manager and verbs.
#![forbid(unsafe_code)]

pub mod net;
pub mod transport;
