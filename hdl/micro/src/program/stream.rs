//! Stream mode: plain TCP between byte rings in host memory.

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("stream_activate", |p| p.mov(R0, 0));
    p.routine("stream_post", |p| p.mov(R0, 0));
    p.routine("stream_consume", |p| p.mov(R0, 0));
    p.routine("stream_arm", |p| p.mov(R0, 0));
    p.routine("update_window", |p| p.mov(R0, 0));
}
