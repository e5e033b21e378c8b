//! FPDUs in: walker, staging of partial ones (RFC 5044).

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("rdma_deliver", |p| p.mov(R0, 0));
    p.routine("walk_packet", |p| p.mov(R0, 0));
    p.routine("rdma_rx_activate", |p| p.mov(R0, 0));
    p.routine("cut_at_fin", |p| p.mov(R0, 0));
}
