//! The blocks joined.

mod core;
mod size;

pub use core::Core;
pub use size::{FULL_FRAME_MAX, FullCore, SMALL_FRAME_MAX, SmallCore, full_core, small_core};
