//! Ironwarp userspace driver: transports to a device, slow path, connection manager and verbs.
//!
//! Unsafe code is in two modules only, those that map memory: `transport::mapping` and `transport::vfio`.
#![deny(unsafe_code)]

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
