//! The sequencer, its memories, and arithmetic on TCP sequence numbers.

mod cache;
mod core;
mod store;
mod window;

pub use cache::Cache;
pub use core::Sequencer;
pub use store::{Operands, Table};
pub use window::SeqWindow;
