//! Frames in: lookup, acceptance of a segment (RFC 9293 3.10.7.4, RFC 5961), ACKs.

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("rx_frame", |p| p.mov(R0, 0));
    p.routine("rx_finish", |p| p.mov(R0, 0));
    p.routine("tcp_activate", |p| p.mov(R0, 0));
    p.routine("tcp_set_mss", |p| p.mov(R0, 0));
    p.routine("ack_now", |p| p.mov(R0, 0));
}
