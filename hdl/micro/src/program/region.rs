//! The region (STag) table.

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("region_remote", |p| p.mov(R0, 0));
    p.routine("region_local", |p| p.mov(R0, 0));
    p.routine("region_invalidate", |p| p.mov(R0, 0));
    p.routine("region_bind", |p| p.mov(R0, 0));
    p.routine("region_fast_register", |p| p.mov(R0, 0));
}
