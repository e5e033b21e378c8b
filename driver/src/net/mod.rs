//! The slow path: ARP, ICMP echo and a small TCP, as pure state machines.
//!
//! Frames and the time go in, frames come out; nothing here does I/O or reads a clock. TCP here carries only what
//! comes before the device takes a connection over: the handshake and one MPA frame each way, and, afterwards,
//! TIME-WAIT. All that a peer can make it remember has a limit.

mod arp;
mod config;
mod icmp;
mod isn;
mod ports;
mod stack;
mod tcp;
#[cfg(test)]
mod tests;

pub use config::{NetConfig, TcpConfig};
pub use stack::{ConnId, Ending, Handoff, Net, NetError, OutFrame, Status};
pub use tcp::CloseReason;

/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;
/// Nanoseconds in a second.
const SECOND: u64 = 1000 * MS;
