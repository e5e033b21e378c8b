//! Host memory: channels, and the engines that use them.

mod bursts;
mod channel;
mod fetch;
mod reader;
mod tags;
mod writer;

pub use bursts::Bursts;
pub use channel::{ReadMaster, ReadSlave, WriteMaster, WriteSlave};
pub use fetch::Fetch;
pub use reader::Reader;
pub use writer::Writer;
