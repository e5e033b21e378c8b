//! Arithmetic on TCP sequence numbers.

mod window;

pub use window::SeqWindow;
