//! Boot, dispatch, ready queue, alarm, and what every part uses.

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("main", |p| {
        p.load_constants(T0);
        p.wait(1);
    });
    p.routine("select", |p| p.mov(R0, 0));
    p.routine("wake", |p| p.mov(R0, 0));
    p.routine("arm", |p| p.mov(R0, 0));
    p.routine("count", |p| p.mov(R0, 0));
    p.routine("count_add", |p| p.mov(R0, 0));
}
