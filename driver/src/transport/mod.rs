//! What carries register accesses, DMA memory, interrupts and time between the driver and a device.
//!
//! Everything above this trait runs unchanged on a model in the same process, on RTL, or on a board.

mod in_process;
mod iova;
pub mod mapping;
mod memory;
mod name;
mod reactor;
pub mod serial;
mod vfio;
pub mod vfio_user;

pub use in_process::{Fabric, InProcess, Step};
pub use memory::{DmaBuffer, DmaMemory, HostMemory};
pub use name::{BadDeviceName, DEVICE_VARIABLE, DeviceName, PciAddress};
pub use serial::Serial;
pub use vfio::Vfio;
pub use vfio_user::VfioUser;

use ironwarp_proto::pins::Nanos;
use std::sync::Weak;
use thiserror::Error;

/// Why a transport could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransportError {
    /// The device cannot be opened.
    #[error("cannot open {device}: {reason}")]
    Open {
        /// Its name.
        device: String,
        /// What stands in the way, and what to do.
        reason: String,
    },
    /// The device, or who serves it, refused something; it can still be used.
    #[error("the device refused: {0}")]
    Refused(String),
    /// The device is gone or the path to it broke.
    #[error("the device is gone: {0}")]
    Gone(String),
    /// No memory that the device can reach is left, or the request makes no sense.
    #[error("cannot allocate {len} bytes of device-visible memory: {reason}")]
    NoMemory {
        /// Bytes asked for.
        len: usize,
        /// What stands in the way.
        reason: String,
    },
}

/// How a [`Transport::wait`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Something happened; look again at what you wait for.
    Progress,
    /// The deadline has come.
    Deadline,
    /// Nothing is pending anywhere: without new work, waiting would never end (simulated worlds only).
    Idle,
}

/// Software that must look at its device when it interrupts, or when a time has come.
pub trait Service: Send + Sync {
    /// Handle what the device has to say and run software timers;
    /// returns the time at which it must be called again even without an interrupt.
    fn service(&self) -> Option<Nanos>;
}

/// A way to one device.
///
/// Locking rule: [`wait`](Transport::wait) calls [`Service::service`] of any device in reach, so a caller must not hold a
/// lock that a service takes.
pub trait Transport: Send + Sync {
    /// Read the 32-bit register at byte `offset` of BAR 0.
    fn read32(&self, offset: u32) -> Result<u32, TransportError>;
    /// Write the 32-bit register or doorbell at byte `offset` of BAR 0. All DMA memory written before is visible to the
    /// device when it sees the write.
    fn write32(&self, offset: u32, value: u32) -> Result<(), TransportError>;
    /// Zeroed memory of `len` bytes (at least 1), 4 KiB aligned and contiguous in device addresses.
    fn alloc(&self, len: usize) -> Result<DmaBuffer, TransportError>;
    /// Monotonic time, nanoseconds; simulated time where the device is simulated in this process.
    fn now(&self) -> Nanos;
    /// Let time pass until something happened or `deadline` has come, and run the services that are due.
    fn wait(&self, deadline: Option<Nanos>) -> Result<Wait, TransportError>;
    /// Name the software behind this device. It is called from inside [`wait`](Transport::wait).
    fn attach(&self, service: Weak<dyn Service>);
    /// Tell that `at` is the next time the attached service wants to be called, as if it had returned it.
    fn schedule(&self, at: Nanos);
}
