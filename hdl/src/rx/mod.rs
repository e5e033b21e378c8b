//! The receive path in front of the sequencer: frames into the ring, descriptors about them.

mod parse;
mod receive;
mod ring;
mod sum;

pub use parse::Parse;
pub use receive::Receive;
pub use ring::Ring;
pub use sum::Sum;
