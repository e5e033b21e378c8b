//! What is at the other end of a board's pins, in plain Rust: for benches and simulations. Time is in picoseconds.

mod flash;
mod gmii;
mod rmii;
mod uart;

pub use flash::FlashChip;
pub use gmii::{GMII_GAP, GmiiPhy, Received};
pub use rmii::{GAP, Phy, Sent, Shape, fcs};
pub use uart::Line;
