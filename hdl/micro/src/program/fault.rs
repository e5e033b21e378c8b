//! What is wrong with an FPDU, as the error record says it (RFC 5040 section 4.8).

use crate::asm::*;
use crate::isa::Word;
use crate::layout::g::*;
use crate::layout::t;
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::rdmap::{Opcode, ReadRequest};
use ironwarp_proto::terminate::TerminateError;

/// Bit of W0: T, a tagged segment.
pub(super) const TAGGED: u8 = 23;

/// An error as `detected` takes it: code 15:8, type 7:4, layer 3:0.
pub(super) fn number(error: TerminateError) -> u32 {
    let (layer, etype, code) = error.to_wire();
    u32::from(code) << 8 | u32::from(etype) << 4 | u32::from(layer)
}

/// Define the routines.
pub fn define(p: &mut Asm) {
    p.routine("detected", detected);
    p.routine("own_error", |p| {
        p.mov(A0, 0);
        p.mov(A1, 0);
        p.call("detected");
    });
    p.routine("rdmap_refusal", rdmap_refusal);
}

/// Stop the current QP for error A0 in the segment of A1 bytes whose header is in W0..W4 and t::FPDU (0: in none that can be named).
/// Model: `Rdma::error`.
fn detected(p: &mut Asm) {
    let store = p.label();
    // Kind 1, then layer, type and code from bit 8 on.
    p.shl(T8, A0, 8);
    p.or(T8, T8, 1);
    p.mov(T9, 13);
    let zero = p.label();
    p.bind(zero);
    p.add(T10, T9, t::RECORD);
    p.stt(T10, 0, 0);
    p.sub(T9, T9, 1);
    p.goto_if(ne(T9, 0), zero);
    // RFC 5040 section 4.8: no header with a local catastrophic error; the errors of MPA that are found here are of type 0 too.
    p.shr(T9, A0, 4);
    p.and(T9, T9, 15);
    p.goto_if(eq(T9, 0), store);
    p.goto_if(eq(A1, 0), store);
    p.ldi(T9, 1 << 24);
    p.or(T8, T8, T9);
    p.stt(ZERO, t::RECORD + 1, A1);
    // The DDP header begins two bytes behind the FPDU: words shift by half.
    p.shr(T10, W0, 16);
    let shifted = |p: &mut Asm, n: u8, number: Word| {
        p.bswap(T11, number);
        p.pack(T10, T11, T10);
        p.stt(ZERO, t::RECORD + 2 + n, T10);
        p.shr(T10, T11, 16);
    };
    shifted(p, 0, W1);
    shifted(p, 1, W2);
    shifted(p, 2, W3);
    p.if_(nbit(W0, TAGGED), |p| shifted(p, 3, W4));
    // A tagged header ends in word 5, an untagged one in word 6.
    p.if_else(bit(W0, TAGGED), |p| p.stt(ZERO, t::RECORD + 5, T10), |p| p.stt(ZERO, t::RECORD + 6, T10));
    // A Read Request that RDMAP refuses for protection goes back whole (figure 10).
    p.loh(T9, A0);
    p.and(T9, T9, 255);
    p.goto_if(ne(T9, 1 << 4), store);
    p.shr(T9, W0, 24);
    p.and(T9, T9, 15);
    p.goto_if(ne(T9, Opcode::ReadRequest as u8), store);
    p.ldi(T9, 1 << 25);
    p.or(T8, T8, T9);
    p.mov(T9, ReadRequest::LEN as u8 / 4);
    let copy = p.label();
    p.bind(copy);
    p.sub(T9, T9, 1);
    p.ldt(T10, T9, t::FPDU);
    p.add(T11, T9, t::RECORD + 7);
    p.stt(T11, 0, T10);
    p.goto_if(ne(T9, 0), copy);
    p.bind(store);
    p.stt(ZERO, t::RECORD, T8);
    p.mov(A0, ErrorCause::Detected as u8);
    p.mov(A1, 14);
    p.call("stop");
}

/// A0 = RDMAP's name for refusal R0 - 1 of a Read or Atomic Request (RFC 5040 section 4.8). Changes T8, T9.
fn rdmap_refusal(p: &mut Asm) {
    use TerminateError as E;
    let errors = [
        E::RdmapInvalidStag,
        E::RdmapStagNotAssociated,
        E::RdmapAccessRights,
        E::RdmapToWrap,
        E::RdmapBounds,
    ];
    refusal(p, errors);
}

/// A0 = the error for refusal R0 - 1; they differ in the code only, which is below 8. Changes T8, T9.
pub(super) fn refusal(p: &mut Asm, errors: [TerminateError; 5]) {
    let packed = errors.iter().rev().fold(0, |packed, error| packed << 3 | number(*error) >> 8);
    p.sub(T8, R0, 1);
    p.add(T9, T8, T8);
    p.add(T8, T8, T9);
    p.ldi(T9, packed);
    p.shr(T8, T9, T8);
    p.and(T8, T8, 7);
    p.shl(A0, T8, 8);
    p.or(A0, A0, number(errors[0]) as u8);
}
