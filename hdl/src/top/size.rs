//! The two sizes in which the core is built.

use super::Core;
use rust_hdl::prelude::*;

/// The core of a `full` device: 64 QPs, jumbo frames.
pub type FullCore = Core<13, 13, 16, 13, 13, 9, 13, 1>;

/// Largest frame of a `full` device, bytes.
pub const FULL_FRAME_MAX: usize = 9018;

/// The core of a `small` device: 4 QPs, frames of Ethernet's usual size.
pub type SmallCore = Core<13, 9, 10, 9, 9, 7, 9, 7>;

/// Words of a line of its program.
pub const SMALL_LINE: usize = 4;

/// Largest frame of a `small` device, bytes.
pub const SMALL_FRAME_MAX: usize = 1518;

/// Bytes of a doorbell page, log2.
const PAGE: u8 = 12;

/// The core of a `full` device with this program.
pub fn full_core(program: &[u32]) -> FullCore {
    let mut core = FullCore::new(program, FULL_FRAME_MAX, 3, PAGE);
    core.connect_all();
    core
}

/// The core of a `small` device. Its program is elsewhere: see `fill_*` of [`Core`]. Host addresses have 32 bits.
pub fn small_core() -> SmallCore {
    let mut core = SmallCore::small(SMALL_FRAME_MAX, 3, PAGE).narrow();
    core.connect_all();
    core
}
