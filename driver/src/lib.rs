//! Ironwarp userspace driver: transports to a device, slow path, connection manager and verbs.
#![forbid(unsafe_code)]

pub mod cm;
mod error;
pub mod hw;
pub mod net;
pub mod stream;
mod sync;
pub mod transport;
pub mod verbs;

#[cfg(test)]
mod fake;

pub use error::{Error, PartialPost};
