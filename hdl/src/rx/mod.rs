//! The receive path in front of the sequencer: frames into the ring, descriptors about them.

mod arbiter;
mod classify;
mod options;
mod parse;
mod receive;
mod ring;
mod sum;

pub use arbiter::Arbiter;
pub use classify::Classify;
pub use options::Options;
pub use parse::Parse;
pub use receive::Receive;
pub use ring::Ring;
pub use sum::Sum;
