//! Frames out: window, segments, headers.

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("transmit", |p| p.mov(R0, 0));
    p.routine("frame_headers", |p| p.mov(R0, 0));
}
