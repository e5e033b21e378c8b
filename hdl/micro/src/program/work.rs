//! The send queue: entries become messages, in order.

use super::transmit::{MSG_COMPLETES, MSG_IMMEDIATE_FOLLOWS, MSG_INLINE, MSG_RESPONSE};
use crate::asm::{Asm, bit, bit_of, eq, geu, ltu, nbit, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, port, q, t};

/// Which send entry is in T `q::RDMA_TX`: index 15:0, bit 16 that there is one.
pub(super) const CACHED: Word = MSG_MSN;

/// Bits of a work's first word.
const TWO_SLOTS: u8 = 21;
const SIGNALLED: u8 = 22;
const DONE: u8 = 23;

/// Statuses of completions.
const LOCAL_PROTECTION: u8 = 2;
const FATAL: u8 = 9;
const BIND: u8 = 10;

/// Right needed of a Read's sink.
const LOCAL_WRITE: u8 = 1;

/// Bits of `FEATURES`.
const ATOMICS: u32 = 2;
const IMMEDIATE: u32 = 4;
const WINDOWS: u32 = 32;

/// Address of ring entry `index` (modulo 2^log2) of 2^stride words each, `offset` into the QP area. Uses `d` and `scratch`.
pub(super) fn entry(p: &mut Asm, d: Word, index: Word, log2: u8, stride: u8, offset: u16, scratch: Word) {
    p.and(d, index, (1u8 << log2) - 1);
    p.shl(d, d, stride);
    p.add(d, d, TQ);
    match u8::try_from(offset) {
        Ok(offset) => p.add(d, d, offset),
        Err(_) => {
            p.ldi(scratch, offset.into());
            p.add(d, d, scratch);
        }
    }
}

/// Index 15:8 of a word of 8-bit indices.
pub(super) fn second(p: &mut Asm, d: Word, indices: Word) {
    p.shr(d, indices, 8);
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
fn advance_second(p: &mut Asm, indices: Word, scratch: Word) {
    p.ldi(scratch, 0x100);
    p.add(indices, indices, scratch);
    p.loh(indices, indices);
}

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    activate(p);
    stop_and_terminate(p);
    queue(p);
    fetch(p);
    finish(p, sizes);
    open_response(p, sizes);
    open_message(p, sizes);
    p.routine("start_local", |p| start_local(p, sizes));
    p.routine("start_read", |p| start_read(p, sizes));
}

fn activate(p: &mut Asm) {
    // Model: `Rdma::new`.
    p.routine("rdma_tx_activate", |p| {
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
        let flags = 1u8 << fd::STOPPED | 1 << fd::TERMINATING | 1 << fd::POISONED | 1 << fd::PREFER_RESPONSE;
        p.andn(FD, FD, flags);
    });
}

fn stop_and_terminate(p: &mut Asm) {
    // Stop delivering and starting; what is in the journal still goes out. A message under way is cut at the FPDU boundary.
    p.routine("rdma_stop", |p| {
        p.or(FD, FD, 1 << fd::STOPPED);
        p.mov(MSG, 0);
        // Responses not begun are forgotten; entries of those that were stay for retransmission.
        p.shr(A0, IRRQ, 8);
        p.ldi(A1, 0xff00);
        p.and(A0, A0, A1);
        p.andn(IRRQ, IRRQ, A1);
        p.or(IRRQ, IRRQ, A0);
    });
    p.routine("send_terminate", |p| {
        p.mov(R0, 1);
        p.ret_if(bit(FD, fd::TERMINATING));
        p.ldt(T0, TQ, 12);
        p.ldt(T1, TQ, 13);
        p.add(T0, T0, 128);
        p.adc(T1, T1, 0);
        p.mov(port::DMAC, 1);
        p.mov(port::DMAC, T0);
        p.mov(port::DMAC, T1);
        p.if_(ne(port::DMA, 0), |p| {
            p.call("dma_fault");
            p.mov(R0, 0);
            p.ret();
        });
        p.mov(T0, port::DMA);
        p.mov(T1, 76);
        p.if_(ltu(T1, T0), |p| p.mov(T0, T1));
        p.call("rdma_stop");
        p.or(FD, FD, 1 << fd::TERMINATING);
        // RFC 5040 section 4.8: one message on queue 2, MSN 1.
        p.mov(MSG_LENGTH, T0);
        p.mov(MSG_OFFSET, 0);
        p.mov(MSG_REF, 0);
        p.ldi(MSG, 0x107);
        p.mov(R0, 1);
    });
    // Nothing is left that FIN would have to wait for.
    p.routine("is_drained", |p| {
        p.mov(R0, 0);
        let open = p.label();
        p.goto_if(ne(MSG, 0), open);
        p.if_(nbit(FD, fd::STOPPED), |p| {
            p.shr(R1, SQ, 16);
            p.xor(R1, R1, SQ);
            p.loh(R1, R1);
            p.ret_if(ne(R1, 0));
            p.shr(R1, IRRQ, 8);
            p.xor(R1, R1, IRRQ);
            p.shr(R1, R1, 8);
            p.and(R1, R1, 0xff);
            p.ret_if(ne(R1, 0));
            p.shr(R1, EXPECTED, 8);
            p.xor(R1, R1, EXPECTED);
            p.and(R1, R1, 0xff);
            p.ret_if(ne(R1, 0));
        });
        p.mov(R0, 1);
        p.ret();
        // On hold there never is a Terminate: no FPDU may leave before one has come.
        p.bind(open);
        p.ret_if(nbit(FD, fd::STOPPED));
        p.ret_if(nbit(FA, fa::HOLD));
        p.mov(R0, 1);
    });
}

fn queue(p: &mut Asm) {
    // Doorbell of the send queue; entries before SQ_DONE may be filled again.
    p.routine("post_send", |p| {
        p.mov(A1, A0);
        p.shr(A0, SQ, 16);
        p.ldt(A2, TQ, 4);
        p.mov(A3, 1);
        p.shl(A3, A3, A2);
        p.sub(A2, A0, SQ_DONE);
        p.loh(A2, A2);
        p.sub(A2, A3, A2);
        p.call("judge");
        p.rare(ne(R0, 0), |p| {
            // Impossible is 2.
            p.shr(R0, R0, 1);
            p.xor(R0, R0, 1);
            p.ret();
        });
        p.loh(T0, SQ);
        p.pack(SQ, R1, T0);
        p.mov(R0, 1);
    });
}

/// `fetch_entry`: A0 = index of a send entry that was posted; it will be in T at TQ + `q::RDMA_TX`; R0 = 0, or 1 if it cannot be read
/// or is another. Keeps T0..T7.
fn fetch(p: &mut Asm) {
    p.routine("fetch_entry", |p| {
        p.mov(R0, 0);
        p.mov(T8, 1);
        p.pack(T8, T8, A0);
        p.ret_if(eq(T8, CACHED));
        p.mov(CACHED, 0);
        p.loh(T10, A0);
        p.add(T9, TQ, q::RDMA_TX);
        p.call("fetch_slot");
        p.ret_if(ne(R0, 0));
        p.ldt(T11, TQ, q::RDMA_TX);
        p.if_(bit(T11, 5), |p| {
            // Both slots must be behind the doorbell.
            p.shr(T12, SQ, 16);
            p.sub(T12, T12, A0);
            p.loh(T12, T12);
            p.mov(R0, 1);
            p.ret_if(ltu(T12, 2));
            p.add(T9, T9, 16);
            p.add(T10, A0, 1);
            p.call("fetch_slot");
            p.ret_if(ne(R0, 0));
            p.ldt(T11, TQ, q::RDMA_TX);
        });
        p.shr(T11, T11, 16);
        p.loh(T12, A0);
        p.mov(R0, 1);
        p.ret_if(ne(T11, T12));
        p.mov(CACHED, T8);
        p.mov(R0, 0);
    });
    // T10 = index of a slot, T9 = where in T it goes; R0. Changes T11..T15.
    p.routine("fetch_slot", |p| {
        p.ldt(T11, TQ, 4);
        p.mov(T12, 1);
        p.shl(T12, T12, T11);
        p.sub(T12, T12, 1);
        p.and(T12, T12, T10);
        p.shl(T12, T12, 6);
        p.ldt(T11, TQ, 6);
        p.add(T12, T12, T11);
        p.ldt(T11, TQ, 7);
        p.mov(port::DMAC, 16);
        p.mov(port::DMAC, T12);
        p.adc(port::DMAC, T11, 0);
        let failed = p.label();
        p.goto_if(ne(port::DMA, 0), failed);
        for word in 0..16 {
            p.stt(T9, word, port::DMA);
        }
        p.mov(R0, 0);
        p.ret();
        p.bind(failed);
        p.call("dma_fault");
        p.mov(R0, 1);
    });
}

fn finish(p: &mut Asm, sizes: &Sizes) {
    let work = |p: &mut Asm, d: Word, index: Word, scratch: Word| {
        entry(p, d, index, sizes.log2_works, 1, sizes.works(), scratch);
    };
    // Mark a started entry as done; completions follow in order. None is written once the connection has stopped: software then
    // completes the rest. Keeps T0..T7. Model: `finish_work`.
    p.routine("finish_work", |p| {
        p.ret_if(bit(FD, fd::STOPPED));
        p.if_(ne(A1, 0), |p| p.or(FD, FD, 1 << fd::POISONED));
        p.sub(T8, A0, WORKS);
        p.and(T8, T8, 0xff);
        p.shr(T9, WORKS, 8);
        p.sub(T9, T9, WORKS);
        p.and(T9, T9, 0xff);
        p.ret_if(geu(T8, T9));
        work(p, T8, A0, T9);
        p.ldt(T9, T8, 0);
        p.if_(nbit(T9, DONE), |p| {
            p.shl(T10, A1, 24 - DONE);
            p.or(T10, T10, 1);
            p.shl(T10, T10, DONE);
            p.or(T9, T9, T10);
            p.stt(T8, 0, T9);
        });
        let (next, done) = (p.label(), p.label());
        p.bind(next);
        p.shr(T8, WORKS, 8);
        p.xor(T8, T8, WORKS);
        p.and(T8, T8, 0xff);
        p.goto_if(eq(T8, 0), done);
        work(p, T8, WORKS, T9);
        p.ldt(T9, T8, 0);
        p.goto_if(nbit(T9, DONE), done);
        let quiet = p.label();
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
        p.goto_if(eq(R0, 0), done);
        work(p, T8, WORKS, T9);
        p.ldt(T9, T8, 0);
        p.bind(quiet);
        p.add(SQ_DONE, T9, 1);
        p.if_(bit(T9, TWO_SLOTS), |p| p.add(SQ_DONE, SQ_DONE, 1));
        p.loh(SQ_DONE, SQ_DONE);
        advance_first(p, WORKS, T8);
        p.shr(T9, T9, 24);
        p.goto_if(eq(T9, 0), next);
        p.bind(done);
    });
    // The stop that is due because a failed entry is complete and everything before it too. Model: `failure`.
    p.routine("check_failure", |p| {
        p.ret_if(nbit(FD, fd::POISONED));
        p.ret_if(bit(FD, fd::STOPPED));
        p.mov(T0, WORKS);
        p.shr(T1, WORKS, 8);
        let (next, all) = (p.label(), p.label());
        p.bind(next);
        p.xor(T2, T0, T1);
        p.and(T2, T2, 0xff);
        p.goto_if(eq(T2, 0), all);
        work(p, T2, T0, T3);
        p.ldt(T2, T2, 0);
        p.shr(T2, T2, 24);
        p.ret_if(ne(T2, 0));
        p.add(T0, T0, 1);
        p.goto(next);
        p.bind(all);
        p.call("own_error");
    });
}

/// `open_response`: R0 = 1 if there is one to open. The entry leaves the queue when its last byte is sent: only then can the peer know
/// that it may send another.
fn open_response(p: &mut Asm, sizes: &Sizes) {
    p.routine("open_response", |p| {
        p.mov(R0, 0);
        second(p, T0, IRRQ);
        p.shr(T1, IRRQ, 16);
        p.ret_if(eq(T0, T1));
        // Entries stay until acknowledged; those not yet answered need the other half.
        p.sub(T1, T0, IRRQ);
        p.and(T1, T1, 0xff);
        p.ret_if(geu(T1, 1 << (sizes.log2_irrq - 1)));
        entry(p, T2, T0, sizes.log2_irrq, 3, sizes.irrq(), T3);
        p.ldt(T1, T2, 0);
        p.if_else(
            eq(T1, 0),
            |p| {
                // RFC 5040 section 5.5: what was written before is there to be read.
                p.call("drain");
                p.rare(ne(R0, 0), |p| {
                    p.mov(R0, 0);
                    p.ret();
                });
                p.ldt(MSG_LENGTH, T2, 4);
                p.mov(MSG, 2 | MSG_RESPONSE);
            },
            |p| {
                p.mov(MSG_LENGTH, 12);
                p.and(MSG, TXMSN3, 0xff);
                p.shl(MSG, MSG, 8);
                p.or(MSG, MSG, 11 | MSG_RESPONSE);
                p.add(TXMSN3, TXMSN3, 1);
            },
        );
        p.mov(MSG_OFFSET, 0);
        p.mov(MSG_REF, T0);
        p.mov(R0, 1);
    });
}

/// `open_message`: open the next message if none is open; R0 = 0: nothing to send. Responses and own work take turns.
fn open_message(p: &mut Asm, sizes: &Sizes) {
    p.routine("open_message", |p| {
        p.if_(bit(FD, fd::PREFER_RESPONSE), |p| {
            p.call("open_response");
            p.if_(ne(R0, 0), |p| {
                p.andn(FD, FD, 1 << fd::PREFER_RESPONSE);
                p.ret();
            });
        });
        let (next, respond) = (p.label(), p.label());
        // Start send entries until one opens a message.
        p.bind(next);
        p.loh(A0, SQ);
        p.shr(T0, SQ, 16);
        p.goto_if(eq(A0, T0), respond);
        p.goto_if(bit(FD, fd::POISONED), respond);
        p.goto_if(bit(FD, fd::STOPPED), respond);
        p.shr(T0, WORKS, 8);
        p.sub(T0, T0, WORKS);
        p.and(T0, T0, 0xff);
        p.goto_if(geu(T0, 1 << sizes.log2_works), respond);
        p.call("fetch_entry");
        let bad = p.label();
        p.goto_if(ne(R0, 0), bad);
        p.ldt(T0, TQ, q::RDMA_TX);
        p.ldt(T1, TQ, q::RDMA_TX + 1);
        p.and(T2, T0, 0x1f);
        check_shape(p, sizes, bad);
        may_start(p, sizes, respond);
        start(p, sizes);
        // Local operations and requests are rarer.
        let (rare, opened) = (p.label(), p.label());
        p.ldi(T4, if sizes.has(IMMEDIATE) { 0x187e } else { 0x7e });
        p.goto_if(bit_of(T4, T2).not(), rare);
        p.shl(MSG, T3, 16);
        p.mov(MSG_LENGTH, T1);
        p.if_(bit(T0, 11), |p| {
            p.mov(T4, 1);
            p.shl(T4, T4, MSG_INLINE);
            p.or(MSG, MSG, T4);
        });
        let untagged = p.label();
        p.sub(T4, T2, 5);
        p.goto_if(geu(T4, 2), untagged);
        p.if_else(eq(T4, 0), |p| p.or(MSG, MSG, MSG_COMPLETES), |p| p.or(MSG, MSG, MSG_IMMEDIATE_FOLLOWS));
        p.bind(opened);
        p.mov(MSG_OFFSET, 0);
        p.loh(MSG_REF, A0);
        p.or(FD, FD, 1 << fd::PREFER_RESPONSE);
        p.mov(R0, 1);
        p.ret();

        // A Send is RDMAP opcode 3 and up, Immediate Data 8 and 9.
        p.bind(untagged);
        p.or(MSG, MSG, MSG_COMPLETES);
        p.add(T4, T2, 2);
        if sizes.has(IMMEDIATE) {
            p.if_(geu(T2, 11), |p| {
                p.sub(T4, T2, 3);
                p.mov(MSG_LENGTH, 8);
            });
        }
        p.or(MSG, MSG, T4);
        p.and(T4, TXMSN0, 0xff);
        p.shl(T4, T4, 8);
        p.or(MSG, MSG, T4);
        p.add(TXMSN0, TXMSN0, 1);
        p.goto(opened);

        p.bind(rare);
        p.sub(T4, T2, 7);
        p.if_(ltu(T4, 4), |p| {
            p.call("start_read");
            p.goto_if(eq(R0, 0), respond);
            p.goto(opened);
        });
        p.call("start_local");
        p.goto(next);

        // No entry that makes sense: it completes when its turn comes, and then the connection stops.
        p.bind(bad);
        second(p, T3, WORKS);
        entry(p, T4, T3, sizes.log2_works, 1, sizes.works(), T5);
        p.loh(T5, SQ);
        p.stt(T4, 0, T5);
        p.stt(T4, 1, 0);
        advance_second(p, WORKS, T5);
        p.mov(A0, T3);
        p.mov(A1, FATAL);
        p.call("finish_work");
        p.bind(respond);
        p.call("open_response");
    });
}

/// `SendEntry::decode`: T0 = word 0, T1 = length, T2 = verb. Changes T3..T7.
fn check_shape(p: &mut Asm, sizes: &Sizes, bad: crate::asm::Label) {
    let mut verbs = 0x01ff;
    let mut one_sge = 1 << 7 | 1 << 8;
    let mut no_sge = 1;
    if sizes.has(ATOMICS) {
        verbs |= 1 << 9 | 1 << 10;
        one_sge |= 1 << 9 | 1 << 10;
    }
    if sizes.has(IMMEDIATE) {
        verbs |= 1 << 11 | 1 << 12;
        no_sge |= 1 << 11 | 1 << 12;
    } else {
        verbs &= !(1 << 6);
    }
    if sizes.has(WINDOWS) {
        verbs |= 1 << 13;
        one_sge |= 1 << 13;
    }
    verbs |= 1 << 14 | 1 << 15;
    one_sge |= 1 << 15;
    no_sge |= 1 << 14;
    let (gathered, good) = (p.label(), p.label());
    p.shr(T3, T0, 6);
    p.and(T3, T3, 7);
    p.goto_if(nbit(T0, 11), gathered);
    // Inline: words 8..16 of one slot, and only what carries payload.
    p.goto_if(geu(T1, 33), bad);
    p.and(T4, T0, 0xe0);
    p.ldi(T5, 0x01c0);
    p.and(T5, T5, T0);
    p.or(T4, T4, T5);
    p.goto_if(ne(T4, 0), bad);
    p.sub(T4, T2, 1);
    p.goto_if(geu(T4, if sizes.has(IMMEDIATE) { 6 } else { 5 }), bad);
    p.goto(good);

    p.bind(gathered);
    p.goto_if(geu(T2, 16), bad);
    p.ldi(T4, verbs);
    p.goto_if(bit_of(T4, T2).not(), bad);
    p.ldi(T4, one_sge);
    p.if_(bit_of(T4, T2), |p| p.goto_if(ne(T3, 1), bad));
    p.ldi(T4, no_sge);
    p.if_(bit_of(T4, T2), |p| p.goto_if(ne(T3, 0), bad));
    // The second slot is there for atomics and for more than two SGEs, and not otherwise.
    p.mov(T4, 0);
    p.if_(geu(T3, 3), |p| p.mov(T4, 0x20));
    p.goto_if(geu(T3, 7), bad);
    if sizes.has(ATOMICS) {
        p.sub(T5, T2, 9);
        p.if_(ltu(T5, 2), |p| p.mov(T4, 0x20));
    }
    p.and(T5, T0, 0x20);
    p.goto_if(ne(T4, T5), bad);
    // The length is the sum of the SGEs.
    p.mov(T4, TQ);
    p.mov(T5, 0);
    p.while_(ne(T3, 0), |p| {
        p.ldt(T6, T4, q::RDMA_TX + 10);
        p.add(T5, T5, T6);
        p.adc(T6, ZERO, 0);
        p.goto_if(ne(T6, 0), bad);
        p.add(T4, T4, 4);
        p.sub(T3, T3, 1);
    });
    p.goto_if(ne(T5, T1), bad);
    p.bind(good);
}

/// Order rules of the queue: fences, ORD, and local operations that wait for all before them. Model: `may_start`.
fn may_start(p: &mut Asm, sizes: &Sizes, not_now: crate::asm::Label) {
    let (check, may) = (p.label(), p.label());
    p.goto_if(geu(T2, 7), check);
    p.goto_if(nbit(T0, 10), may);
    p.bind(check);
    p.shr(T3, EXPECTED, 8);
    p.sub(T3, T3, EXPECTED);
    p.and(T3, T3, 0xff);
    p.if_(geu(T2, 13), |p| {
        p.shr(T4, WORKS, 8);
        p.xor(T4, T4, WORKS);
        p.and(T4, T4, 0xff);
        p.goto_if(ne(T4, 0), not_now);
        p.goto(may);
    });
    p.if_(bit(T0, 10), |p| p.goto_if(ne(T3, 0), not_now));
    p.sub(T4, T2, 7);
    p.goto_if(geu(T4, 4), may);
    p.ldt(T4, TQ, 2);
    p.shr(T4, T4, 24);
    p.goto_if(geu(T3, T4), not_now);
    p.goto_if(geu(T3, 1 << sizes.log2_expected), not_now);
    p.bind(may);
}

/// The entry becomes a work: T3 is its number; the queue moves on.
fn start(p: &mut Asm, sizes: &Sizes) {
    second(p, T3, WORKS);
    entry(p, T4, T3, sizes.log2_works, 1, sizes.works(), T5);
    p.shr(T5, T0, 3);
    p.and(T5, T5, 0x40);
    p.and(T6, T0, 0x3f);
    p.or(T5, T5, T6);
    p.pack(T5, T5, A0);
    p.stt(T4, 0, T5);
    p.stt(T4, 1, T1);
    advance_second(p, WORKS, T5);
    p.add(T5, SQ, 1);
    p.if_(bit(T0, 5), |p| p.add(T5, T5, 1));
    p.shr(T6, SQ, 16);
    p.pack(SQ, T6, T5);
}

/// A verb that sends nothing: T2 as in `open_message`.
fn start_local(p: &mut Asm, sizes: &Sizes) {
    let done = p.label();
    p.mov(R0, 1);
    p.goto_if(eq(T2, 0), done);
    p.mov(A5, ASKER);
    p.if_(eq(T2, 14), |p| {
        p.ldt(A0, TQ, q::RDMA_TX + 2);
        p.call("region_invalidate");
        p.goto(done);
    });
    for word in 0..12 {
        p.ldt(T4, TQ, q::RDMA_TX + word);
        p.stt(ZERO, t::ENTRY + word, T4);
    }
    if sizes.has(WINDOWS) {
        p.if_else(eq(T2, 13), |p| p.call("region_bind"), |p| p.call("region_fast_register"));
    } else {
        p.call("region_fast_register");
    }
    p.bind(done);
    p.mov(A1, 0);
    p.if_(eq(R0, 0), |p| p.mov(A1, BIND));
    second(p, A0, WORKS);
    p.sub(A0, A0, 1);
    p.call("finish_work");
}

/// A Read or atomic: T0..T2 as in `open_message`, T3 = work. Its sink is checked, the expected response is noted, and MSG is the request;
/// R0 = 0 if its sink is wrong.
fn start_read(p: &mut Asm, sizes: &Sizes) {
    let (sink, wrong, expect) = (p.label(), p.label(), p.label());
    p.sub(T4, T2, 9);
    p.mov(A3, T1);
    if sizes.has(ATOMICS) {
        p.if_(ltu(T4, 2), |p| {
            p.goto_if(ne(T1, 8), wrong);
            p.goto(sink);
        });
    }
    p.goto_if(eq(T1, 0), expect);
    p.bind(sink);
    p.ldt(A0, TQ, q::RDMA_TX + 11);
    p.ldt(A1, TQ, q::RDMA_TX + 8);
    p.ldt(A2, TQ, q::RDMA_TX + 9);
    p.mov(A4, LOCAL_WRITE);
    p.mov(A5, ASKER);
    p.call("region_local");
    p.goto_if(ne(R0, 0), wrong);
    p.bind(expect);
    second(p, T5, EXPECTED);
    entry(p, T6, T5, sizes.log2_expected, 3, sizes.expected(), T7);
    advance_second(p, EXPECTED, T5);
    // Word 0: work, Read and invalidate by the verb.
    p.shl(T5, T3, 8);
    p.if_(eq(T2, 8), |p| p.or(T5, T5, 2));
    p.ldt(T7, TQ, q::RDMA_TX + 11);
    p.stt(T6, 1, T7);
    p.ldt(T7, TQ, q::RDMA_TX + 8);
    p.stt(T6, 2, T7);
    p.ldt(T7, TQ, q::RDMA_TX + 9);
    p.stt(T6, 3, T7);
    p.stt(T6, 4, T1);
    p.and(T7, TXMSN1, 0xff);
    p.add(TXMSN1, TXMSN1, 1);
    if sizes.has(ATOMICS) {
        p.if_else(
            ltu(T4, 2),
            |p| {
                p.or(T5, T5, 1);
                p.stt(T6, 5, REQUEST_ID);
                p.shl(T4, REQUEST_ID, 24);
                p.add(REQUEST_ID, REQUEST_ID, 1);
                p.or(MSG, T4, 10);
                p.mov(MSG_LENGTH, 52);
            },
            |p| {
                p.mov(MSG, 1);
                p.mov(MSG_LENGTH, 28);
            },
        );
    } else {
        p.mov(MSG, 1);
        p.mov(MSG_LENGTH, 28);
    }
    p.stt(T6, 0, T5);
    p.shl(T7, T7, 8);
    p.or(MSG, MSG, T7);
    p.loh(A0, CACHED);
    p.mov(R0, 1);
    p.ret();
    p.bind(wrong);
    p.mov(A0, T3);
    p.mov(A1, LOCAL_PROTECTION);
    p.call("finish_work");
    p.mov(R0, 0);
}
