//! The transmit engine: commands of the sequencer in, frames out (docs/microarchitecture.md section 6).
//!
//! ```text
//!  commands -> Fifo -> Fetch -> Framer -> Cut -> TxRing -> MAC, inject
//!                        ^ DMA \-> Serial -------^
//! ```

mod cut;
mod engine;
mod fetch;
mod framer;
mod item;
mod ring;
mod serial;

pub use cut::Cut;
pub use engine::TxEngine;
pub use fetch::Fetch;
pub use framer::Framer;
pub use item::{ItemIn, ItemOut};
pub use ring::TxRing;
pub use serial::Serial;
