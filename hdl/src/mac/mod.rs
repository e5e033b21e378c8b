//! Ethernet at the pins of a PHY, and the way to the core's clock.

mod cdc;
mod crc32;
mod ethernet;
mod rmii;
mod words;

pub use cdc::{CrossRam, Crossing};
pub use crc32::Crc32;
pub use ethernet::Ethernet;
pub use rmii::{RmiiReceiver, RmiiSender};
pub use words::{FromWords, ToWords};
