//! What is at the other end of a board's pins, in plain Rust: for benches and simulations. Time is in picoseconds.

mod uart;

pub use uart::Line;
