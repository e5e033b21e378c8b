//! Ironwarp userspace driver: transports to a device, slow path, connection manager and verbs.
#![forbid(unsafe_code)]

mod error;
pub mod hw;
mod sync;
pub mod transport;
pub mod verbs;

#[cfg(test)]
mod fake;

pub use error::{Error, PartialPost};
