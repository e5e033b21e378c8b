//! Registers, window and doorbells.

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("host_request", |p| p.mov(R0, 0));
}
