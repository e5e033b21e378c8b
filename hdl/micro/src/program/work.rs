//! The send queue: entries become messages.

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("rdma_tx_activate", |p| p.mov(R0, 0));
    p.routine("post_send", |p| p.mov(R0, 0));
    p.routine("finish_work", |p| p.mov(R0, 0));
    p.routine("check_failure", |p| p.mov(R0, 0));
    p.routine("is_drained", |p| p.mov(R0, 0));
    p.routine("rdma_stop", |p| p.mov(R0, 0));
    p.routine("send_terminate", |p| p.mov(R0, 0));
}
