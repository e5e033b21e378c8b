//! FPDUs out: cutting messages, the journal, building.

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("acknowledged", |p| p.mov(R0, 0));
    p.routine("rdma_plan", |p| p.mov(R0, 0));
    p.routine("rdma_build", |p| p.mov(R0, 0));
}
