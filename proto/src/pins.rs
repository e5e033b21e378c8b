//! The device at its pins: what an engine (golden model, RTL) and the world around it agree on.
//!
//! A device has four kinds of pin: a register and doorbell window, direct memory access to the host,
//! one interrupt line, and Ethernet frames. Time is an input like any other; a device never reads a clock.

use thiserror::Error;

/// Time since power-up in nanoseconds.
pub type Nanos = u64;

/// An Ethernet frame from the destination address to the end of the payload, without FCS.
pub type Frame = Vec<u8>;

/// The host refused a memory access: no mapping covers all of it, or it is not mapped for that direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("DMA fault: {len} bytes at {addr:#x} are not mapped for the device")]
pub struct DmaFault {
    /// First device address of the access.
    pub addr: u64,
    /// Length of the access, bytes.
    pub len: usize,
}

/// Host memory as the device sees it. An access succeeds or fails as a whole.
///
/// A device may read the whole aligned 32-bit words in which the bytes that it needs are, so memory begins and ends with a word. It
/// writes single bytes.
///
/// Writes of one device become visible in the order in which they are made.
pub trait Dma: Send + Sync {
    /// Fill `buf` from device address `addr`.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaFault>;
    /// Store `data` at device address `addr`.
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaFault>;
}

/// An engine: anything that behaves like an Ironwarp device at its pins.
///
/// The caller drives it with explicit, never decreasing time:
/// it delivers received frames, takes frames to send whenever the wire is free, and calls
/// [`advance`](Device::advance) when the time named by [`next_event`](Device::next_event) has come.
pub trait Device: Send {
    /// Read a 32-bit register at a byte offset of BAR 0. Undefined offsets read 0.
    fn read32(&mut self, now: Nanos, offset: u32) -> u32;
    /// Write a 32-bit register or doorbell at a byte offset of BAR 0. Undefined offsets are ignored.
    fn write32(&mut self, now: Nanos, offset: u32, value: u32);
    /// A frame with a good FCS has arrived from the wire.
    fn receive(&mut self, now: Nanos, frame: &[u8]);
    /// The wire is free: the next frame to send, if the device has one.
    fn transmit(&mut self, now: Nanos) -> Option<Frame>;
    /// Let timers that are due at `now` act.
    fn advance(&mut self, now: Nanos);
    /// The next time at which [`advance`](Device::advance) has something to do, if any.
    fn next_event(&self) -> Option<Nanos>;
    /// Level of the interrupt line.
    fn interrupt(&self) -> bool;
}
