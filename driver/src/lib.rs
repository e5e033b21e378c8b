//! Ironwarp userspace driver: transports to a device, slow path, connection manager and verbs.

pub mod transport;
