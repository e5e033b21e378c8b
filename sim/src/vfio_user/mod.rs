//! A simulated RNIC as a PCI device on a vfio-user socket, for QEMU, or for the driver in another process.
//!
//! ```text
//! client (driver, QEMU)                                   this process
//!   | messages: registers, mappings, interrupts, reset      server.rs    the socket, one client at a time
//!   +----------------- Unix stream ----------------------->  function.rs  what a message does to the PCI function
//!   |                                                         config.rs   configuration space
//!   +------- memory, by shared file descriptors ----------->  memory.rs   what the device may reach, by IOVA
//!   <--------------- eventfd (MSI-X) ----------------------   host.rs     devices and links paced by the clock
//! ```
//!
//! Doorbells are not mapped into the client: the device would have to poll the page. They are posted writes instead, which cost
//! the client one `sendmsg`. The messages DMA_READ and DMA_WRITE are not used: all memory comes as sealed memfds.

mod config;
mod function;
mod host;
mod memory;
mod server;

pub use config::{DEVICE, VENDOR};
pub use function::PciFunction;
pub use host::Host;
pub use memory::{DmaSpace, MapError};
pub use server::{Server, ServerError};
