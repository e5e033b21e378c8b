//! Receive entries and the bytes that go into them.

use super::deliver::{PAYLOAD, add_placed};
use super::mpa::{AT, BASE, HEAD, HOST, MARK, MARKERS, MODE, STAGING};
use crate::asm::*;
use crate::isa::Word;
use crate::layout::Sizes;
use crate::layout::c::{self, fa, fd};
use crate::layout::g::*;
use crate::layout::port::*;
use crate::layout::{q, t};
use ironwarp_proto::abi::completion::OPCODE_RECEIVE;
use ironwarp_proto::abi::region::access;
use ironwarp_proto::abi::regs::features;
use ironwarp_proto::ddp::UNTAGGED_LEN;
use ironwarp_proto::mpa::fpdu::LENGTH_LEN;

/// T, QP area: SGEs of the open entry, 3 of 4 words; those that it lacks have length 0.
const SGES: u8 = q::RDMA_RX;
/// T, QP area: in whose name they are written, PD 31:16, QP 15:0: an SRQ has a protection domain of its own.
const OWNER: u8 = q::RDMA_RX + 12;

/// The bits of a receive completion's word 0 from 16 up.
pub(super) const RECEIVE: u32 = OPCODE_RECEIVE as u32;
pub(super) const SOLICITED: u32 = 1 << 8;
pub(super) const INVALIDATED: u32 = 1 << 9;
pub(super) const IMMEDIATE: u32 = 1 << 10;
const SRQ: u32 = 1 << 11;

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("place", place);
    p.routine("scatter", scatter);
    p.routine("take_receive", |p| take_receive(p, sizes));
    p.routine("read_receive", read_receive);
    p.routine("look_ahead", look_ahead);
    p.routine("complete_receive", |p| complete_receive(p, sizes));
    p.routine("fail_receive", fail_receive);
    p.routine("post_receive", post_receive);
}

/// A3 > 0 bytes of the FPDU's payload, which begins T6 bytes behind the FPDU's start (0: from where the last PLACE ended), go to host
/// address R1, R2. Changes T8..T12 only.
fn place(p: &mut Asm) {
    p.add(T9, BASE, AT);
    p.add(T9, T9, T6);
    p.rare(bit(MODE, MARKERS), |p| {
        // One marker may stand before the payload, in front of the FPDU or inside its header; the next is 508 bytes of FPDU later.
        p.sub(T10, MARK, T6);
        p.if_(ltu(MARK, T6), |p| {
            p.add(T9, T9, 4);
            p.ldi(T11, 508);
            p.add(T10, T10, T11);
        });
    });
    p.and(T8, MODE, 1 << MARKERS | 1 << HOST);
    p.or(T8, T8, 1);
    p.rare(eq(T6, 0), |p| p.or(T8, T8, 1 << 5));
    p.pack(WRITER, A3, T8);
    p.pack(WRITER, T10, T9);
    p.mov(WRITER, R1);
    p.mov(WRITER, R2);
    p.ret_if(nbit(MODE, HOST));
    p.ldt(T11, TQ, STAGING);
    p.ldt(T12, TQ, STAGING + 1);
    p.add(WRITER, T11, T9);
    p.adc(WRITER, T12, 0);
}

/// T8 = what `t::SINK` calls the open receive entry; never 0, nor what it calls a Read.
fn key(p: &mut Asm) {
    p.or(T8, QPN, 0x80);
    p.pack(T8, T8, c::OPEN_INDEX);
}

/// If the receive entry whose SGEs are at T5 has one piece that A5 may write, it is remembered, and R1, R2 is its host address; on at `no` if not.
fn look(p: &mut Asm, no: Label) {
    p.ldt(A3, T5, 2);
    p.goto_if(ne(A3, c::OPEN_ROOM), no);
    p.goto_if(eq(A3, 0), no);
    p.ldt(A1, T5, 0);
    p.ldt(A2, T5, 1);
    p.ldt(A0, T5, 3);
    p.call("region_local");
    p.goto_if(ne(R0, 0), no);
    key(p);
    p.stt(ZERO, t::SINK, T8);
    p.stt(ZERO, t::SINK + 1, R1);
    p.stt(ZERO, t::SINK + 2, R2);
}

/// The payload goes to the buffer of the open receive entry, behind what it holds. R0 = 0, or a region refused.
///
/// A buffer of one piece is looked at as a whole with the first segment. If all of it may be written, the others need no look, unless a region changes.
fn scatter(p: &mut Asm) {
    let [top, skip, first, put] = [(); 4].map(|()| p.label());
    p.mov(T3, c::OPEN_RECEIVED);
    p.mov(T4, PAYLOAD);
    p.mov(T6, (LENGTH_LEN + UNTAGGED_LEN) as u8);
    p.add(T5, TQ, SGES);
    p.ldt(A5, TQ, OWNER);
    p.mov(A4, access::LOCAL_WRITE);
    key(p);
    p.ldt(T9, ZERO, t::SINK);
    p.goto_if(ne(T8, T9), first);
    p.ldt(T8, ZERO, t::SINK + 1);
    p.add(R1, T8, T3);
    p.ldt(T8, ZERO, t::SINK + 2);
    p.adc(R2, T8, 0);
    p.mov(A3, T4);
    p.mov(R0, 0);
    p.goto(put);
    p.bind(first);
    p.goto_if(ne(T3, 0), top);
    p.stt(ZERO, t::SINK, 0);
    p.goto_if(geu(T4, c::OPEN_ROOM), top);
    look(p, top);
    p.mov(A3, T4);
    p.goto(put);
    p.bind(top);
    p.ldt(A3, T5, 2);
    p.goto_if(geu(T3, A3), skip);
    p.sub(A3, A3, T3);
    p.rare(ltu(T4, A3), |p| p.mov(A3, T4));
    p.ldt(T8, T5, 0);
    p.ldt(T9, T5, 1);
    p.add(A1, T8, T3);
    p.adc(A2, T9, 0);
    p.ldt(A0, T5, 3);
    p.call("region_local");
    p.ret_if(ne(R0, 0));
    p.bind(put);
    p.pack(WRITER, QPN, 5);
    p.call("place");
    add_placed(p, A3);
    p.sub(T4, T4, A3);
    p.ret_if(eq(T4, 0));
    p.mov(T6, 0);
    p.mov(A3, 0);
    p.mov(T3, 0);
    p.bind(skip);
    p.sub(T3, T3, A3);
    p.add(T5, T5, 4);
    p.goto(top);
}

/// Open the next receive entry: R0 = 0, 1 there is none, 2 what stands there is none. Keeps T0..T2.
fn take_receive(p: &mut Asm, sizes: &Sizes) {
    let (entry, bad) = (p.label(), p.label());
    if sizes.has(features::SRQ) {
        p.rare(bit(c::FA, fa::USE_SRQ), |p| {
            p.ldt(A0, TQ, q::CONTEXT + 2);
            p.loh(A0, A0);
            p.call("srq_take");
            // What may have been lost in the call.
            p.shr(T2, W0, 24);
            p.and(T2, T2, 15);
            p.shr(PAYLOAD, HEAD, 16);
            p.sub(PAYLOAD, PAYLOAD, UNTAGGED_LEN as u8);
            p.ret_if(ne(R0, 0));
            p.mov(T9, R1);
            p.ldt(T8, TQ, q::CONTEXT + 2);
            p.loh(T8, T8);
            p.shl(T8, T8, 4);
            p.ldi(T10, u32::from(sizes.srqs()) + 4);
            p.ldt(T10, T8, T10);
            p.shr(T10, T10, 16);
            p.pack(T10, T10, QPN);
            p.goto(entry);
        });
    }
    let ahead = p.k(1 << fd::AHEAD);
    p.if_(bit(c::FD, fd::AHEAD), |p| {
        p.andn(c::FD, c::FD, ahead);
        p.or(c::FD, c::FD, 1 << fd::OPEN);
        p.mov(R0, 0);
        p.ret();
    });
    p.shr(T8, c::RQ, 16);
    p.loh(T9, c::RQ);
    p.rare(eq(T8, T9), |p| {
        p.mov(R0, 1);
        p.ret();
    });
    p.call("read_receive");
    p.rare(ne(R0, 0), |p| {
        p.call("dma_fault");
        p.goto(bad);
    });
    p.mov(T10, c::ASKER);

    // The entry with index T9 of owner T10 is in the port.
    p.bind(entry);
    p.stt(ZERO, t::SINK, 0);
    parse_receive(p, bad);
    p.or(c::FD, c::FD, 1 << fd::OPEN);
    p.mov(R0, 0);
    p.ret();
    p.bind(bad);
    p.mov(R0, 2);
}

/// Ask for entry T9 of the receive queue; R0 = 0: it is in the port. Changes T10..T13.
fn read_receive(p: &mut Asm) {
    p.ldt(T10, TQ, q::CONTEXT + 4);
    p.shr(T10, T10, 8);
    p.mov(T11, 1);
    p.shl(T11, T11, T10);
    p.sub(T11, T11, 1);
    p.and(T11, T11, T9);
    p.shl(T11, T11, 6);
    p.ldt(T12, TQ, q::CONTEXT + 8);
    p.ldt(T13, TQ, q::CONTEXT + 9);
    p.mov(DMAC, 16);
    p.add(DMAC, T12, T11);
    p.adc(DMAC, T13, 0);
    p.mov(R0, DMA);
}

/// The receive entry with index T9 of owner T10 is in the port: it becomes the one at hand. Keeps T0..T2.
fn parse_receive(p: &mut Asm, bad: Label) {
    // T12 its length, T8 and T15 the sum of its SGEs.
    p.mov(T11, DMA);
    p.mov(T12, DMA);
    p.mov(T13, DMA);
    p.mov(T13, DMA);
    p.shr(T13, T11, 16);
    p.xor(T15, T13, T9);
    p.and(T11, T11, 3);
    p.mov(T8, 0);
    p.mov(T3, 0);
    p.add(T4, TQ, SGES);
    let next = p.label();
    p.bind(next);
    p.stt(T4, 0, DMA);
    p.stt(T4, 1, DMA);
    p.mov(T13, DMA);
    p.if_(geu(T3, T11), |p| p.mov(T13, 0));
    p.stt(T4, 2, T13);
    p.add(T8, T8, T13);
    p.adc(T15, T15, 0);
    p.stt(T4, 3, DMA);
    p.add(T4, T4, 4);
    p.add(T3, T3, 1);
    p.goto_if(ltu(T3, 3), next);
    // Another index is a stale fetch, another length a torn one; more than 2^32 - 1 bytes make no sense.
    p.goto_if(ne(T15, 0), bad);
    p.goto_if(ne(T8, T12), bad);
    p.stt(TQ, OWNER, T10);
    p.mov(c::OPEN_INDEX, T9);
    p.mov(c::OPEN_ROOM, T8);
    p.mov(c::OPEN_RECEIVED, 0);
}

/// Nothing is open: read the next entry and look at its memory now, not when its message has come. What is wrong in it is said then; that
/// it cannot be read is.
fn look_ahead(p: &mut Asm) {
    let end = p.label();
    let ahead = p.k(1 << fd::AHEAD);
    p.ldi(T8, 1 << fd::AHEAD | 1 << fd::OPEN | 1 << fd::STOPPED | 1 << fd::TERMINATING);
    p.and(T8, T8, c::FD);
    p.goto_if(ne(T8, 0), end);
    p.goto_if(bit(c::FA, fa::USE_SRQ), end);
    p.shr(T8, c::RQ, 16);
    p.loh(T9, c::RQ);
    p.goto_if(eq(T8, T9), end);
    p.call("read_receive");
    p.rare(ne(R0, 0), |p| {
        p.call("dma_fault");
        p.call("own_error");
        p.ret();
    });
    p.mov(T10, c::ASKER);
    parse_receive(p, end);
    p.or(c::FD, c::FD, ahead);
    p.stt(ZERO, t::SINK, 0);
    p.mov(A5, c::ASKER);
    p.mov(A4, access::LOCAL_WRITE);
    p.add(T5, TQ, SGES);
    look(p, end);
    p.bind(end);
}

/// Complete the open receive entry with E1, E3..E5, status E7 and the bits T5 of word 0 from 16 up: R0 = 1, or 0: dropped, and the entry
/// stays for software to flush. Keeps T0..T4.
fn complete_receive(p: &mut Asm, sizes: &Sizes) {
    let own = p.label();
    if sizes.has(features::SRQ) {
        p.rare(bit(c::FA, fa::USE_SRQ), |p| {
            p.ldi(T8, SRQ);
            p.or(T5, T5, T8);
        });
    }
    p.pack(E0, T5, QPN);
    p.mov(E2, c::OPEN_INDEX);
    p.mov(E6, 0);
    p.ldt(A0, TQ, q::CONTEXT + 1);
    p.shr(A0, A0, 16);
    p.call("cq_complete");
    p.ret_if(eq(R0, 0));
    p.andn(c::FD, c::FD, 1 << fd::OPEN);
    p.mov(c::OPEN_RECEIVED, 0);
    if sizes.has(features::SRQ) {
        p.goto_if(nbit(c::FA, fa::USE_SRQ), own);
        p.ret();
        p.bind(own);
    }
    p.shr(T8, c::RQ, 16);
    p.add(T9, c::RQ, 1);
    p.pack(c::RQ, T8, T9);
}

/// Complete the open receive entry with error status A0. The connection stops for that error, whether or not there is room to tell.
fn fail_receive(p: &mut Asm) {
    p.mov(E7, A0);
    for word in [E1, E3, E4, E5] as [Word; 4] {
        p.mov(word, 0);
    }
    p.mov(T5, RECEIVE as u8);
    p.call("complete_receive");
}

/// Doorbell of the receive queue, index A0: R0 = 1, or 0: impossible.
fn post_receive(p: &mut Asm) {
    p.mov(A1, A0);
    p.shr(A0, c::RQ, 16);
    p.ldt(T8, TQ, q::CONTEXT + 4);
    p.shr(T8, T8, 8);
    p.mov(A3, 1);
    p.shl(A3, A3, T8);
    p.sub(T8, A0, c::RQ);
    p.loh(T8, T8);
    p.sub(A2, A3, T8);
    p.call("judge");
    p.rare(eq(R0, 2), |p| {
        p.mov(R0, 0);
        p.ret();
    });
    p.if_(eq(R0, 0), |p| p.pack(c::RQ, R1, c::RQ));
    p.mov(R0, 1);
}
