//! The blocks joined.

mod alchitry;
mod core;
mod cu;
mod pads;
mod size;

pub use alchitry::{AlchitryCu, Pin, cu_constraints, cu_pins};
pub use core::Core;
pub use cu::{CU_CLOCK_HZ, CU_PHASE, Cu};
pub use pads::{FlashPads, OSCILLATOR_HZ, PhyPads, Pll};
pub use size::{FULL_FRAME_MAX, FullCore, SMALL_FRAME_MAX, SMALL_LINE, SmallCore, full_core, small_core};
