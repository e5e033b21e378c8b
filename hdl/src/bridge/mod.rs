//! The device's end of the serial bridge (docs/bridge.md).

mod crc16;
mod engine;
mod listen;
mod speak;
mod uart;

pub use crc16::Crc16;
pub use engine::Bridge;
pub use listen::Listen;
pub use speak::Speak;
pub use uart::{Baud, UartReceiver, UartSender};
