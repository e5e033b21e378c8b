//! The send queue: doorbell, completion of entries in order, and how it stops.

use crate::asm::{Asm, bit, eq, geu, ltu, nbit, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fa, fd, port, q};
use ironwarp_proto::abi::context::TERMINATE_MAX;

/// The send entries in T at `Sizes::entries()`: how many 31:16 from index 15:0 on. Only while the words there are this QP's.
pub(super) const CACHED: Word = MSG_MSN;

/// Bits of a work's first word.
pub(super) const TWO_SLOTS: u8 = 21;
pub(super) const SIGNALLED: u8 = 22;
pub(super) const DONE: u8 = 23;

/// The Terminate that is sent.
pub(super) const TERMINATE: u8 = q::RDMA_TX;

/// Address of ring entry `index` (modulo 2^log2) of 2^stride words each, `offset` into the QP area.
pub(super) fn ring(p: &mut Asm, d: Word, index: Word, log2: u8, stride: u8, offset: u16) {
    p.and(d, index, (1u8 << log2) - 1);
    p.shl(d, d, stride);
    p.add(d, d, TQ);
    match u8::try_from(offset) {
        Ok(offset) => p.add(d, d, offset),
        Err(_) => {
            let offset = p.k(offset.into());
            p.add(d, d, offset);
        }
    }
}

/// The entry of a work.
pub(super) fn work(p: &mut Asm, sizes: &Sizes, d: Word, index: Word) {
    ring(p, d, index, sizes.log2_works, 1, sizes.works());
}

/// An entry of the Read Request queue.
pub(super) fn request(p: &mut Asm, sizes: &Sizes, d: Word, index: Word) {
    ring(p, d, index, sizes.log2_irrq, 3, sizes.irrq());
}

/// Index 15:8 of a word of 8-bit indices.
pub(super) fn second(p: &mut Asm, d: Word, indices: Word) {
    p.shr(d, indices, 8);
    p.and(d, d, 0xff);
}

/// How many there are between index 7:0 and index 15:8.
pub(super) fn filled(p: &mut Asm, d: Word, indices: Word) {
    p.shr(d, indices, 8);
    p.sub(d, d, indices);
    p.and(d, d, 0xff);
}

/// The lowest index of a word of 8-bit indices moves on.
pub(super) fn advance_first(p: &mut Asm, indices: Word, scratch: Word) {
    p.add(scratch, indices, 1);
    p.and(scratch, scratch, 0xff);
    p.andn(indices, indices, 0xff);
    p.or(indices, indices, scratch);
}

/// Index 15:8, the highest of its word, moves on.
pub(super) fn advance_second(p: &mut Asm, indices: Word, scratch: Word) {
    p.ldi(scratch, 0x100);
    p.add(indices, indices, scratch);
    p.loh(indices, indices);
}

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("rdma_tx_activate", activate);
    p.routine("post_send", post_send);
    p.routine("finish_work", |p| finish_work(p, sizes));
    p.routine("check_failure", |p| check_failure(p, sizes));
    p.routine("rdma_stop", stop);
    p.routine("send_terminate", send_terminate);
    p.routine("is_drained", is_drained);
}

/// Model: `Rdma::new`.
fn activate(p: &mut Asm) {
    for word in [SQ, SQ_DONE, WORKS, JOURNAL, IRRQ, EXPECTED, MSG, CACHED, REQUEST_ID] {
        p.mov(word, 0);
    }
    for word in [TXMSN0, TXMSN1, TXMSN3] {
        p.mov(word, 1);
    }
    p.ldt(END, TQ, 16);
    p.mov(MARK_TX, END);
    p.ldt(T0, TQ, 3);
    p.shr(MULPDU, T0, 16);
    let runs = p.k(1 << fd::RUNS);
    p.andn(FD, FD, runs);
    let flags = 1u8 << fd::STOPPED | 1 << fd::TERMINATING | 1 << fd::POISONED | 1 << fd::PREFER_RESPONSE;
    p.andn(FD, FD, flags);
}

/// Doorbell of the send queue; entries before SQ_DONE may be filled again.
fn post_send(p: &mut Asm) {
    p.mov(A1, A0);
    p.shr(A0, SQ, 16);
    p.ldt(A2, TQ, 4);
    p.mov(A3, 1);
    p.shl(A3, A3, A2);
    p.sub(A2, A0, SQ_DONE);
    p.loh(A2, A2);
    p.sub(A2, A3, A2);
    p.sub(T0, A1, A0);
    p.loh(T0, T0);
    p.rare(ltu(A2, T0), |p| {
        // 1 is stale, 2 impossible.
        p.call("judge");
        p.and(R0, R0, 1);
        p.ret();
    });
    p.loh(T0, SQ);
    p.pack(SQ, A1, T0);
    p.mov(R0, 1);
}

/// Mark work A0 as done with status A1; completions follow in order. None is written once the connection has stopped: software then
/// completes the rest. Keeps T0..T7. Model: `finish_work`.
fn finish_work(p: &mut Asm, sizes: &Sizes) {
    let (head, quiet) = (p.label(), p.label());
    p.rare(bit(FD, fd::STOPPED), |p| p.ret());
    p.rare(ne(A1, 0), |p| p.or(FD, FD, 1 << fd::POISONED));
    p.sub(T10, A0, WORKS);
    p.and(T10, T10, 0xff);
    filled(p, T9, WORKS);
    p.rare(geu(T10, T9), |p| p.ret());
    work(p, sizes, T8, A0);
    p.ldt(T9, T8, 0);
    // The first status stays.
    let marked = p.label();
    p.goto_if(bit(T9, DONE), marked);
    p.shl(T11, A1, 24 - DONE);
    p.or(T11, T11, 1);
    p.shl(T11, T11, DONE);
    p.or(T9, T9, T11);
    p.stt(T8, 0, T9);
    p.bind(marked);
    p.rare(ne(T10, 0), |p| p.ret());
    p.bind(head);
    p.shr(T10, T9, 24);
    p.if_(nbit(T9, SIGNALLED), |p| p.goto_if(eq(T10, 0), quiet));
    p.ldt(E1, T8, 1);
    p.loh(E2, T9);
    p.mov(E7, T10);
    p.shr(T9, T9, 16);
    p.and(T9, T9, 0x1f);
    p.pack(E0, T9, QPN);
    for word in [E3, E4, E5, E6] {
        p.mov(word, 0);
    }
    p.ldt(A0, TQ, 1);
    p.loh(A0, A0);
    p.call("cq_complete");
    p.rare(eq(R0, 0), |p| p.ret());
    work(p, sizes, T8, WORKS);
    p.ldt(T9, T8, 0);
    p.bind(quiet);
    p.add(SQ_DONE, T9, 1);
    p.rare(bit(T9, TWO_SLOTS), |p| p.add(SQ_DONE, SQ_DONE, 1));
    p.loh(SQ_DONE, SQ_DONE);
    advance_first(p, WORKS, T8);
    p.shr(T9, T9, 24);
    p.rare(ne(T9, 0), |p| p.ret());
    filled(p, T8, WORKS);
    p.if_(ne(T8, 0), |p| {
        work(p, sizes, T8, WORKS);
        p.ldt(T9, T8, 0);
        p.goto_if(bit(T9, DONE), head);
    });
}

/// The stop that is due because a failed entry is complete and everything before it too. Model: `failure`.
fn check_failure(p: &mut Asm, sizes: &Sizes) {
    p.rare(bit(FD, fd::POISONED), |p| {
        let next = p.label();
        p.if_(bit(FD, fd::STOPPED), |p| p.ret());
        filled(p, T1, WORKS);
        p.mov(T0, WORKS);
        p.bind(next);
        p.if_(eq(T1, 0), |p| {
            p.call("own_error");
            p.ret();
        });
        work(p, sizes, T2, T0);
        p.ldt(T2, T2, 0);
        p.shr(T2, T2, 24);
        p.ret_if(ne(T2, 0));
        p.add(T0, T0, 1);
        p.sub(T1, T1, 1);
        p.goto(next);
    });
}

/// Stop delivering and starting; what is in the journal still goes out. A message under way is cut at the FPDU boundary.
fn stop(p: &mut Asm) {
    p.or(FD, FD, 1 << fd::STOPPED);
    p.mov(MSG, 0);
    // Responses not begun are forgotten; entries of those that were stay for retransmission.
    p.shr(A0, IRRQ, 8);
    p.ldi(A1, 0xff00);
    p.and(A0, A0, A1);
    p.andn(IRRQ, IRRQ, A1);
    p.or(IRRQ, IRRQ, A0);
}

/// Software has written a Terminate Header to the save area: a length, then the bytes. R0 = 1 if it goes.
fn send_terminate(p: &mut Asm) {
    p.mov(R0, 1);
    p.ret_if(bit(FD, fd::TERMINATING));
    p.ldt(T0, TQ, 12);
    p.ldt(T1, TQ, 13);
    p.add(T0, T0, 128);
    p.mov(port::DMAC, 1 + TERMINATE_MAX as u8 / 4);
    p.mov(port::DMAC, T0);
    p.adc(port::DMAC, T1, 0);
    p.if_(ne(port::DMA, 0), |p| {
        p.call("dma_fault");
        p.mov(R0, 0);
        p.ret();
    });
    p.call("rdma_stop");
    p.or(FD, FD, 1 << fd::TERMINATING);
    p.mov(MSG_LENGTH, port::DMA);
    p.if_(geu(MSG_LENGTH, TERMINATE_MAX as u8), |p| p.mov(MSG_LENGTH, TERMINATE_MAX as u8));
    // Software may use the save area again.
    p.mov(T0, TQ);
    p.add(T1, TQ, TERMINATE_MAX as u8 / 4);
    let word = p.label();
    p.bind(word);
    p.stt(T0, TERMINATE, port::DMA);
    p.add(T0, T0, 1);
    p.goto_if(ne(T0, T1), word);
    // RFC 5040 section 4.8: one message on queue 2, MSN 1.
    p.mov(MSG_OFFSET, 0);
    p.mov(MSG_REF, 0);
    p.ldi(MSG, 0x107);
    p.mov(R0, 1);
}

/// R0 = 1: nothing is left that FIN would have to wait for.
fn is_drained(p: &mut Asm) {
    let open = p.label();
    p.mov(R0, 0);
    p.goto_if(ne(MSG, 0), open);
    p.if_(nbit(FD, fd::STOPPED), |p| {
        p.shr(R1, SQ, 16);
        p.xor(R1, R1, SQ);
        p.loh(R1, R1);
        p.ret_if(ne(R1, 0));
        p.shr(R1, IRRQ, 8);
        filled(p, R1, R1);
        p.ret_if(ne(R1, 0));
        filled(p, R1, EXPECTED);
        p.ret_if(ne(R1, 0));
    });
    p.mov(R0, 1);
    p.ret();
    // On hold there never is a Terminate: no FPDU may leave before one has come.
    p.bind(open);
    p.ret_if(nbit(FD, fd::STOPPED));
    p.ret_if(nbit(FA, fa::HOLD));
    p.mov(R0, 1);
}
