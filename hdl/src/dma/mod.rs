//! Host memory: channels, and the engines that use them.

mod bursts;
mod channel;
mod failures;
mod fetch;
mod reader;
mod tags;
mod writer;

pub use bursts::Bursts;
pub use channel::{ReadMaster, ReadSlave, WriteMaster, WriteSlave};
pub use failures::Failures;
pub use fetch::Fetch;
pub use reader::Reader;
pub use writer::Writer;
