//! Where payload comes from: looked at before an FPDU exists, and each time it is built.

use super::message::SGE;
use super::render::read;
use super::transmit::{MSG_INLINE, MSG_PLACED, place};
use super::work::request;
use crate::asm::{Asm, Label, bit, eq, geu, ltu, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, t};
use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::region::access;
use ironwarp_proto::ddp::UNTAGGED_LEN;
use ironwarp_proto::rdmap::{Opcode, ReadRequest, control};

/// The source is looked at before the FPDU exists: a fault now can still be told to the peer. T1 = MSG, T3 offset, T4 bytes, T6 journal index:
/// kept with T0; T1 gets `MSG_PLACED`.
///
/// A message of one piece is looked at as a whole with its first FPDU. If all of it may be read, the others need no look, unless a region changes.
pub(super) fn check_source(p: &mut Asm, sizes: &Sizes, nothing: Label) {
    let [remote, checked, refused, good, first, known, whole] = [(); 7].map(|()| p.label());
    p.goto_if(bit(MSG, MSG_INLINE), good);
    p.goto_if(eq(T4, 0), good);
    p.and(T2, MSG, 0xf);
    p.goto_if(eq(T3, 0), first);
    key(p);
    p.ldt(T7, ZERO, t::SOURCE);
    p.goto_if(ne(T5, T7), first);
    p.ldt(T5, ZERO, t::SOURCE + 1);
    p.add(R1, T5, T3);
    p.ldt(T5, ZERO, t::SOURCE + 2);
    p.adc(R2, T5, 0);
    p.goto(known);
    p.bind(first);
    p.goto_if(eq(T2, Opcode::ReadResponse as u8), remote);
    // Write and the Sends have a source of their own.
    p.rare(ne(T2, 0), |p| {
        p.goto_if(ltu(T2, Opcode::Send as u8), good);
        p.goto_if(geu(T2, Opcode::Terminate as u8), good);
    });
    p.mov(A0, MSG_REF);
    p.call("fetch_entry");
    p.mov(A1, Status::Fatal as u8);
    let failed = p.label();
    p.goto_if(ne(R0, 0), failed);
    // One SGE is most frequent.
    p.ldt(T5, R1, 0);
    p.ldi(T7, 0x1c0);
    p.and(T5, T5, T7);
    p.if_(eq(T5, 0x40), |p| {
        p.ldt(T5, R1, SGE);
        p.add(A1, T5, T3);
        p.ldt(T5, R1, SGE + 1);
        p.adc(A2, T5, 0);
        p.ldt(A0, R1, SGE + 3);
        p.sub(A3, MSG_LENGTH, T3);
        p.mov(A4, 0);
        p.mov(A5, ASKER);
        p.call("region_local");
        p.goto_if(eq(R0, 0), whole);
        p.mov(A3, T4);
        p.call("region_local");
        p.stt(ZERO, t::SOURCE, 0);
        p.goto_if(eq(R0, 0), checked);
        p.goto(refused);
    });
    p.stt(ZERO, t::SOURCE, 0);
    p.mov(T5, R1);
    p.mov(T2, T4);
    p.mov(T7, 0);
    p.stt(ZERO, t::SAVED, T6);
    p.call("sources");
    p.ldt(T6, ZERO, t::SAVED);
    p.mov(T4, T2);
    p.rare(ne(R0, 0), |p| {
        p.bind(refused);
        p.mov(A1, Status::LocalProtection as u8);
        // Our own entry failed: it completes in its turn, and then the connection stops.
        p.bind(failed);
        p.shr(A0, MSG, 16);
        p.and(A0, A0, 0xff);
        p.mov(MSG, 0);
        p.call("finish_work");
        p.goto(nothing);
        p.bind(remote);
        request(p, sizes, T7, MSG_REF);
        p.sub(T5, MSG_LENGTH, T3);
        remote_source(p, T5);
        p.goto_if(eq(R0, 0), whole);
        p.stt(ZERO, t::SOURCE, 0);
        remote_source(p, T4);
        p.goto_if(eq(R0, 0), known);
        p.call("read_failed");
        p.goto(nothing);
    });
    p.goto(checked);
    p.bind(whole);
    p.goto_if(eq(A3, T4), known);
    key(p);
    p.stt(ZERO, t::SOURCE, T5);
    p.sub(T5, R1, T3);
    p.stt(ZERO, t::SOURCE + 1, T5);
    p.sbb(T5, R2, ZERO);
    p.stt(ZERO, t::SOURCE + 2, T5);
    p.goto(known);
    p.bind(checked);
    // One piece: the frame is built from it without another look.
    p.goto_if(ne(A3, T4), good);
    p.bind(known);
    place(p, sizes, T7, T6);
    p.stt(T7, 0, R1);
    p.stt(T7, 1, R2);
    let placed = p.k(1 << MSG_PLACED);
    p.or(T1, T1, placed);
    p.bind(good);
}

/// T5 = what `t::SOURCE` calls the open message: opcode, QP, entry; never 0. T2 = opcode.
fn key(p: &mut Asm) {
    p.shl(T5, T2, 8);
    p.or(T5, T5, 0x80);
    p.add(T5, T5, QPN);
    p.pack(T5, T5, MSG_REF);
}

/// The parts of the SGEs of the entry at T5 that hold T4 > 0 bytes from T3 on are checked, and with T7 != 0 read into the frame; R0 = 0
/// if they may all be. Keeps T0..T2.
pub(super) fn sources(p: &mut Asm) {
    let [next, over, behind] = [(); 3].map(|()| p.label());
    p.ldt(T6, T5, 0);
    p.shr(T6, T6, 6);
    p.and(T6, T6, 7);
    p.mov(A5, ASKER);
    p.mov(A4, 0);
    p.bind(next);
    // The entry in host memory is another one now.
    p.rare(eq(T6, 0), |p| {
        p.mov(R0, 1);
        p.ret();
    });
    p.ldt(A3, T5, SGE + 2);
    p.rare(geu(T3, A3), |p| {
        p.bind(over);
        p.sub(T3, T3, A3);
        p.bind(behind);
        p.add(T5, T5, 4);
        p.sub(T6, T6, 1);
        p.goto(next);
    });
    p.sub(A3, A3, T3);
    p.rare(ltu(T4, A3), |p| p.mov(A3, T4));
    p.ldt(A0, T5, SGE);
    p.add(A1, A0, T3);
    p.ldt(A0, T5, SGE + 1);
    p.adc(A2, A0, 0);
    p.ldt(A0, T5, SGE + 3);
    p.call("region_local");
    p.rare(ne(R0, 0), |p| p.ret());
    p.if_(ne(T7, 0), |p| read(p, A3));
    p.mov(T3, 0);
    p.sub(T4, T4, A3);
    p.goto_if(ne(T4, 0), behind);
}

/// A range of a region that the peer reads: the entry of the Read Request queue at T7, T3 bytes on, so many bytes; R0..R2 as `region_remote`.
pub(super) fn remote_source(p: &mut Asm, bytes: Word) {
    p.ldt(A0, T7, 6);
    p.add(A1, A0, T3);
    p.ldt(A0, T7, 7);
    p.adc(A2, A0, 0);
    p.ldt(A0, T7, 5);
    p.mov(A3, bytes);
    p.mov(A4, access::REMOTE_READ);
    p.mov(A5, ASKER);
    p.call("region_remote");
}

/// A source that the peer was reading was revoked meanwhile: R0 = refusal. The Terminate brings back the Read Request as it stands after
/// MSG_OFFSET bytes (RFC 5040 section 4.8).
pub(super) fn read_failed(p: &mut Asm, sizes: &Sizes) {
    request(p, sizes, T7, MSG_REF);
    p.ldi(W0, u32::from(control(Opcode::ReadRequest)) << 8 | 0x41);
    p.shl(W0, W0, 16);
    p.mov(W1, 0);
    p.mov(W2, 1);
    // The MSN follows from how many came behind it.
    p.shr(T8, IRRQ, 16);
    p.sub(T8, T8, MSG_REF);
    p.and(T8, T8, 0xff);
    p.sub(W3, MSN1, T8);
    p.mov(W4, 0);
    // Words of the entry as numbers of the request: both TOs move on, the size shrinks.
    let number = |p: &mut Asm, to: u8| {
        p.bswap(T8, T8);
        p.stt(ZERO, t::FPDU + to, T8);
    };
    for (low, to) in [(2, 1), (6, 5)] {
        p.ldt(T8, T7, low);
        p.add(T9, T8, MSG_OFFSET);
        p.ldt(T8, T7, low + 1);
        p.adc(T8, T8, 0);
        number(p, to);
        p.mov(T8, T9);
        number(p, to + 1);
    }
    for (from, to) in [(1, 0), (5, 4)] {
        p.ldt(T8, T7, from);
        number(p, to);
    }
    p.ldt(T8, T7, 4);
    p.sub(T8, T8, MSG_OFFSET);
    number(p, 3);
    p.call("rdmap_refusal");
    p.mov(A1, (UNTAGGED_LEN + ReadRequest::LEN) as u8);
    p.call("detected");
}
