//! Errors of a QP.

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("stop", |p| p.mov(R0, 0));
    p.routine("flush_cursors", |p| p.mov(R0, 0));
}
