//! The blocks joined.

mod core;
mod cu;
mod size;

pub use core::Core;
pub use cu::{CU_CLOCK_HZ, CU_PHASE, Cu};
pub use size::{FULL_FRAME_MAX, FullCore, SMALL_FRAME_MAX, SMALL_LINE, SmallCore, full_core, small_core};
