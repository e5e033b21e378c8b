//! Arithmetic on TCP sequence numbers.

mod core;
mod rom;
mod store;
mod window;

pub use core::Sequencer;
pub use rom::Rom;
pub use store::{Operands, Table};
pub use window::SeqWindow;
