//! Ethernet at the pins of a PHY, and the way to the core's clock.

mod cdc;
mod crc32;
mod crc32x8;
mod ethernet;
mod gigabit;
mod gmii;
mod rmii;
mod words;

pub use cdc::{CrossRam, Crossing};
pub use crc32::Crc32;
pub use crc32x8::Crc32x8;
pub use ethernet::Ethernet;
pub use gigabit::GigabitEthernet;
pub use gmii::{GmiiReceiver, GmiiSender};
pub use rmii::{RmiiReceiver, RmiiSender};
pub use words::{FromWords, ToWords};
