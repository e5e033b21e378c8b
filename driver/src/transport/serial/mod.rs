//! A device on a board, reached over a serial line (docs/bridge.md).

mod link;

pub use link::{Link, LinkCounters, Patience, SerialError};
