//! FPDUs out: cutting messages, the journal, and building any part of the stream, again and again.

use super::work::{advance_first, entry, second};
use crate::asm::{Asm, after, before, bit, eq, geu, gtu, leu, ltu, nbit, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, port, q, t};

/// Bits of MSG and of word 3 of a journal entry; see `Sizes::journal`.
pub(super) const LAST: u8 = 1 << 4;
pub(super) const MSG_COMPLETES: u8 = 1 << 5;
pub(super) const MSG_RESPONSE: u8 = 1 << 6;
pub(super) const MSG_IMMEDIATE_FOLLOWS: u8 = 1 << 7;
/// Bit number: the payload of a Write or Send is inline.
pub(super) const MSG_INLINE: u8 = 24;

/// RDMAP opcodes.
const READ_REQUEST: u8 = 1;
const READ_RESPONSE: u8 = 2;
const TERMINATE: u8 = 7;
const IMMEDIATE_DATA: u8 = 8;
const ATOMIC_REQUEST: u8 = 10;
const ATOMIC_RESPONSE: u8 = 11;

const REMOTE_READ: u8 = 2;
const TX_FPDUS: u8 = 15;
const CAUSE_FATAL: u8 = 7;

/// Journal index of the segment's first FPDU.
const FIRST: Word = TX4;
/// Plan: bytes so far. Build: sequence number behind the segment.
const LEN: Word = TX5;
/// Plan: bytes the segment may have. Build: journal index of the FPDU being built.
const ROOM: Word = TX6;
const AT: Word = TX6;
/// Plan: bit 0 an FPDU may be cut, above it the FPDUs that were cut from messages.
const CUT: Word = TX7;

/// Bits of `FEATURES`.
const ATOMICS: u32 = 2;
const IMMEDIATE: u32 = 4;

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    acknowledged(p, sizes);
    sources(p);
    plan(p, sizes);
    build(p, sizes);
    render(p, sizes);
}

fn journal(p: &mut Asm, sizes: &Sizes, d: Word, index: Word) {
    entry(p, d, index, sizes.log2_journal, 2, sizes.journal(), d);
}

/// d = sequence number behind FPDU `index`; `scratch`.
fn end_of(p: &mut Asm, sizes: &Sizes, d: Word, index: Word, scratch: Word) {
    p.add(scratch, index, 1);
    p.shr(d, JOURNAL, 8);
    p.xor(d, d, scratch);
    p.and(d, d, 0xff);
    p.if_else(
        eq(d, 0),
        |p| p.mov(d, END),
        |p| {
            journal(p, sizes, d, scratch);
            p.ldt(d, d, 0);
        },
    );
}

/// TCP has acknowledged everything before SND_UNA.
fn acknowledged(p: &mut Asm, sizes: &Sizes) {
    p.routine("acknowledged", |p| {
        let next = p.label();
        p.bind(next);
        p.shr(T0, JOURNAL, 8);
        p.xor(T0, T0, JOURNAL);
        p.and(T0, T0, 0xff);
        p.ret_if(eq(T0, 0));
        end_of(p, sizes, T0, JOURNAL, T1);
        p.ret_if(after(T0, SND_UNA));
        journal(p, sizes, T0, JOURNAL);
        p.ldt(T1, T0, 3);
        advance_first(p, JOURNAL, T0);
        p.goto_if(nbit(T1, 4), next);
        p.if_(bit(T1, 5), |p| {
            p.shr(A0, T1, 16);
            p.and(A0, A0, 0xff);
            p.mov(A1, 0);
            p.call("finish_work");
            p.goto(next);
        });
        p.goto_if(nbit(T1, 6), next);
        advance_first(p, IRRQ, T0);
        p.goto(next);
    });
}

/// `sources`: the parts of the cached entry's SGEs that hold T4 bytes from T3 on are checked, and with T7 != 0 read into the frame; R0 = 0
/// if they may all be. Keeps T0..T2.
fn sources(p: &mut Asm) {
    p.routine("sources", |p| {
        p.ldt(T6, TQ, q::RDMA_TX);
        p.shr(T6, T6, 6);
        p.and(T6, T6, 7);
        p.mov(T5, TQ);
        p.mov(A5, ASKER);
        p.mov(A4, 0);
        let (next, skip, uncovered) = (p.label(), p.label(), p.label());
        p.bind(next);
        p.goto_if(eq(T6, 0), uncovered);
        p.ldt(A3, T5, q::RDMA_TX + 10);
        p.goto_if(geu(T3, A3), skip);
        p.sub(A3, A3, T3);
        p.if_(ltu(T4, A3), |p| p.mov(A3, T4));
        p.ldt(A0, T5, q::RDMA_TX + 8);
        p.add(A1, A0, T3);
        p.ldt(A0, T5, q::RDMA_TX + 9);
        p.adc(A2, A0, 0);
        p.ldt(A0, T5, q::RDMA_TX + 11);
        p.call("region_local");
        p.ret_if(ne(R0, 0));
        p.if_(ne(T7, 0), |p| read_host(p, A3));
        p.mov(T3, 0);
        p.sub(T4, T4, A3);
        p.ret_if(eq(T4, 0));
        p.add(T5, T5, 4);
        p.sub(T6, T6, 1);
        p.goto(next);
        p.bind(skip);
        p.sub(T3, T3, A3);
        p.add(T5, T5, 4);
        p.sub(T6, T6, 1);
        p.goto(next);
        p.bind(uncovered);
        p.mov(R0, 1);
    });
}

/// READ of `len` bytes at R1, R2. Changes T8.
fn read_host(p: &mut Asm, len: Word) {
    p.shl(T8, len, 16);
    p.or(port::TX, T8, 5);
    p.mov(port::TX, R1);
    p.mov(port::TX, R2);
}

/// A range of a region that the peer reads: the entry of the Read Request queue at T7, T3 bytes on, T4 bytes; R0..R2 as `region_remote`.
fn remote_source(p: &mut Asm) {
    p.ldt(A0, T7, 6);
    p.add(A1, A0, T3);
    p.ldt(A0, T7, 7);
    p.adc(A2, A0, 0);
    p.ldt(A0, T7, 5);
    p.mov(A3, T4);
    p.mov(A4, REMOTE_READ);
    p.mov(A5, ASKER);
    p.call("region_remote");
}

/// How much of the stream from A0 on makes a segment of at most A1 bytes: whole FPDUs, as many as fit. What was never sent is cut
/// into FPDUs here; with A2 an FPDU that does not fit is cut anywhere. R0 = 0 nothing to send; else R1 bytes (0: something waits that does not fit),
/// R2 nothing waits behind it.
fn plan(p: &mut Asm, sizes: &Sizes) {
    p.routine("rdma_plan", |p| {
        p.mov(ROOM, A1);
        p.mov(CUT, A2);
        p.mov(LEN, 0);
        second(p, FIRST, JOURNAL);
        let (sent, fresh, next) = (p.label(), p.label(), p.label());
        let (nothing, waits, over) = (p.label(), p.label(), p.label());
        p.goto_if(ne(A0, END), sent);
        p.bind(fresh);

        p.goto_if(bit(FA, fa::HOLD), nothing);
        p.goto_if(bit(FB, fb::FIN_SENT), nothing);
        p.bind(next);
        p.shr(T0, JOURNAL, 8);
        p.sub(T0, T0, JOURNAL);
        p.and(T0, T0, 0xff);
        p.goto_if(geu(T0, 1 << sizes.log2_journal), nothing);
        p.if_(eq(MSG, 0), |p| {
            p.goto_if(bit(FD, fd::STOPPED), nothing);
            p.call("open_message");
            p.goto_if(eq(R0, 0), nothing);
        });
        // T1 = opcode, T2 = header bytes, T4 = payload, T0 = bytes on the wire.
        p.and(T1, MSG, 0xf);
        p.mov(T2, 14);
        p.if_(ne(T1, 0), |p| p.if_(ne(T1, READ_RESPONSE), |p| p.mov(T2, 18)));
        p.mov(T3, MSG_OFFSET);
        p.sub(T4, MSG_LENGTH, T3);
        p.sub(T5, MULPDU, T2);
        p.if_(ltu(T5, T4), |p| p.mov(T4, T5));
        // RFC 5044 section 4.1: length, ULPDU, pad, CRC.
        p.add(T0, T4, T2);
        p.add(T0, T0, 9);
        p.andn(T0, T0, 3);
        p.if_(bit(FA, fa::MARKERS_TX), |p| {
            // RFC 5044 section 4.3: one at each 512th byte, 508 bytes between them.
            p.sub(T5, MARK_TX, END);
            p.ldi(T6, 511);
            p.and(T5, T5, T6);
            p.mov(T6, T0);
            p.while_(ltu(T5, T6), |p| {
                p.add(T0, T0, 4);
                p.ldi(T7, 508);
                p.add(T5, T5, T7);
            });
        });
        p.sub(T5, ROOM, LEN);
        p.if_(gtu(T0, T5), |p| {
            p.goto_if(nbit(CUT, 0), waits);
            p.goto_if(ne(LEN, 0), waits);
        });
        check_source(p, sizes, nothing);

        // The journal.
        second(p, T5, JOURNAL);
        journal(p, sizes, T6, T5);
        p.stt(T6, 0, END);
        p.pack(T7, MSG_REF, T4);
        p.stt(T6, 1, T7);
        p.stt(T6, 2, MSG_OFFSET);
        p.ldi(T7, 0x100);
        p.add(JOURNAL, JOURNAL, T7);
        p.loh(JOURNAL, JOURNAL);
        p.add(END, END, T0);
        p.add(LEN, LEN, T0);
        p.add(CUT, CUT, 2);
        p.add(MSG_OFFSET, MSG_OFFSET, T4);
        let more = p.label();
        p.goto_if(ne(MSG_OFFSET, MSG_LENGTH), more);
        p.or(T7, MSG, LAST);
        p.stt(T6, 3, T7);
        message_ends(p, sizes);
        p.goto_if(leu(LEN, ROOM), next);
        p.goto(over);
        p.bind(more);
        p.stt(T6, 3, MSG);
        p.goto_if(leu(LEN, ROOM), next);
        p.bind(over);
        p.mov(LEN, ROOM);

        p.bind(waits);
        p.call("count_fpdus");
        p.call("check_failure");
        p.mov(R0, 1);
        p.mov(R1, LEN);
        p.mov(R2, 0);
        p.ret();

        p.bind(nothing);
        p.call("count_fpdus");
        p.call("check_failure");
        p.mov(R0, 0);
        p.ret_if(eq(LEN, 0));
        p.mov(R0, 1);
        p.mov(R1, LEN);
        p.mov(R2, 1);
        p.ret();

        // What is in the journal already.
        p.bind(sent);
        p.shr(T4, JOURNAL, 8);
        p.mov(T3, JOURNAL);
        let (walk, found, longer) = (p.label(), p.label(), p.label());
        p.bind(walk);
        p.xor(T0, T3, T4);
        p.and(T0, T0, 0xff);
        p.goto_if(eq(T0, 0), fresh);
        end_of(p, sizes, T0, T3, T1);
        p.goto_if(after(T0, A0), found);
        p.add(T3, T3, 1);
        p.goto(walk);
        p.bind(found);
        p.and(FIRST, T3, 0xff);
        p.bind(longer);
        p.sub(T0, T0, A0);
        p.if_(gtu(T0, ROOM), |p| {
            p.goto_if(nbit(CUT, 0), waits);
            p.goto_if(ne(LEN, 0), waits);
            p.goto(over);
        });
        p.mov(LEN, T0);
        p.add(T3, T3, 1);
        p.xor(T0, T3, T4);
        p.and(T0, T0, 0xff);
        p.goto_if(eq(T0, 0), fresh);
        end_of(p, sizes, T0, T3, T1);
        p.goto(longer);
    });
    p.routine("count_fpdus", |p| {
        p.shr(A1, CUT, 1);
        p.ret_if(eq(A1, 0));
        p.mov(A0, TX_FPDUS);
        p.call("count_add");
    });
    // A source that the peer was reading was revoked meanwhile: R0 = refusal. The Terminate brings back the Read Request as it stands after
    // MSG_OFFSET bytes (RFC 5040 section 4.8).
    p.routine("read_failed", |p| {
        entry(p, T7, MSG_REF, sizes.log2_irrq, 3, sizes.irrq(), T8);
        p.ldi(W0, 0x4141);
        p.shl(W0, W0, 16);
        p.mov(W1, 0);
        p.mov(W2, 1);
        // The MSN follows from how many came behind it.
        p.shr(T8, IRRQ, 16);
        p.sub(T8, T8, MSG_REF);
        p.and(T8, T8, 0xff);
        p.sub(W3, MSN1, T8);
        p.mov(W4, 0);
        let number = |p: &mut Asm, to: u8| {
            p.bswap(T8, T8);
            p.stt(ZERO, t::FPDU + to, T8);
        };
        for (high, to) in [(3, 1), (7, 5)] {
            p.ldt(T8, T7, high - 1);
            p.add(T9, T8, MSG_OFFSET);
            p.ldt(T8, T7, high);
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
        p.mov(A1, 18 + 28);
        p.call("detected");
    });
}

/// The source is looked at before the FPDU exists: a fault now can still be told to the peer. T1 opcode, T3 offset, T4 bytes; keeps T0, T4.
fn check_source(p: &mut Asm, sizes: &Sizes, nothing: crate::asm::Label) {
    let (remote, own, good) = (p.label(), p.label(), p.label());
    p.goto_if(eq(T4, 0), good);
    p.goto_if(eq(T1, READ_RESPONSE), remote);
    // Write and the Sends have a source of their own; what is inline needs no look.
    p.if_(ne(T1, 0), |p| {
        p.goto_if(ltu(T1, 3), good);
        p.goto_if(geu(T1, TERMINATE), good);
    });
    p.goto_if(bit(MSG, MSG_INLINE), good);
    p.mov(A0, MSG_REF);
    p.call("fetch_entry");
    p.mov(A1, 9);
    p.goto_if(ne(R0, 0), own);
    p.mov(T2, T4);
    p.mov(T7, 0);
    p.call("sources");
    p.mov(T4, T2);
    p.goto_if(eq(R0, 0), good);
    p.mov(A1, 2);
    // Our own entry failed: it completes in its turn, and then the connection stops.
    p.bind(own);
    p.shr(A0, MSG, 16);
    p.and(A0, A0, 0xff);
    p.mov(MSG, 0);
    p.call("finish_work");
    p.goto(nothing);
    p.bind(remote);
    entry(p, T7, MSG_REF, sizes.log2_irrq, 3, sizes.irrq(), T8);
    remote_source(p);
    p.goto_if(eq(R0, 0), good);
    p.call("read_failed");
    p.goto(nothing);
    p.bind(good);
}

/// Book-keeping behind the last FPDU of a message; Immediate Data may follow a Write.
fn message_ends(p: &mut Asm, sizes: &Sizes) {
    let done = p.label();
    p.and(T7, MSG, MSG_RESPONSE | MSG_IMMEDIATE_FOLLOWS);
    p.mov(T5, MSG);
    p.mov(MSG, 0);
    p.goto_if(eq(T7, 0), done);
    if sizes.has(IMMEDIATE) {
        p.if_(bit(T5, 7), |p| {
            p.shr(MSG, T5, 16);
            p.and(MSG, MSG, 0xff);
            p.shl(MSG, MSG, 8);
            p.and(T7, TXMSN0, 0xff);
            p.or(MSG, MSG, T7);
            p.shl(MSG, MSG, 8);
            p.or(MSG, MSG, IMMEDIATE_DATA | MSG_COMPLETES);
            p.add(TXMSN0, TXMSN0, 1);
            p.mov(MSG_OFFSET, 0);
            p.mov(MSG_LENGTH, 8);
            p.goto(done);
        });
    }
    // The entry is answered: 15:8 moves on, between two others.
    p.shr(T7, IRRQ, 8);
    p.add(T7, T7, 1);
    p.and(T7, T7, 0xff);
    p.shl(T7, T7, 8);
    p.ldi(T5, 0xff00);
    p.andn(IRRQ, IRRQ, T5);
    p.or(IRRQ, IRRQ, T7);
    p.bind(done);
}

/// `rdma_build`: a frame of the A1 bytes from A0 on, as `rdma_plan` has just found them, A2 = TCP flags. If they are lost there is no frame and the QP
/// has stopped.
fn build(p: &mut Asm, sizes: &Sizes) {
    p.routine("rdma_build", |p| {
        p.add(LEN, A0, A1);
        p.mov(T1, A0);
        p.if_(ne(A1, 0), |p| {
            journal(p, sizes, T1, FIRST);
            p.ldt(T1, T1, 0);
        });
        p.and(T2, FA, 1 << fa::MARKERS_TX);
        p.shl(T2, T2, 6 - fa::MARKERS_TX);
        p.and(T3, FA, 1 << fa::CRC);
        p.shl(T3, T3, 7 - fa::CRC);
        p.or(T2, T2, T3);
        p.or(T2, T2, 1);
        p.pack(port::TX, QPN, T2);
        p.sub(T2, MARK_TX, T1);
        p.ldi(T3, 511);
        p.and(port::TX, T2, T3);
        p.sub(T2, A0, T1);
        p.pack(port::TX, A1, T2);
        p.call("frame_headers");
        p.mov(AT, FIRST);
        let (next, end, lost) = (p.label(), p.label(), p.label());
        p.bind(next);
        p.shr(T0, JOURNAL, 8);
        p.xor(T0, T0, AT);
        p.and(T0, T0, 0xff);
        p.goto_if(eq(T0, 0), end);
        journal(p, sizes, T0, AT);
        p.ldt(T1, T0, 0);
        p.goto_if(before(T1, LEN).not(), end);
        p.call("render");
        p.goto_if(ne(R0, 0), lost);
        p.add(AT, AT, 1);
        p.goto(next);
        p.bind(end);
        p.mov(port::TX, 7);
        p.mov(R0, 1);
        p.ret();
        // Bytes that the peer may have seen can no longer be built: only RST is left.
        p.bind(lost);
        p.mov(port::TX, 0x17);
        p.mov(A0, CAUSE_FATAL);
        p.mov(A1, 0);
        p.call("stop");
        p.mov(R0, 0);
    });
}

/// INLINE with words of T at `base`, byte-swapped: numbers become what is sent.
fn inline_numbers(p: &mut Asm, base: Word, words: &[u8]) {
    for word in words {
        p.ldt(T8, base, *word);
        p.bswap(port::TX, T8);
    }
}

/// `render`: the FPDU of the journal entry at T0: length, header, payload; the engine adds pad, CRC and markers. R0 = 0 good.
fn render(p: &mut Asm, sizes: &Sizes) {
    p.routine("render", |p| {
        // T1 = opcode, T2 = word 3, T3 = offset, T4 = payload bytes, T7 = entry of the Read Request queue.
        let (untagged, response, payload, close) = (p.label(), p.label(), p.label(), p.label());
        let own = p.label();
        p.ldt(T2, T0, 3);
        p.ldt(T4, T0, 1);
        p.ldt(T3, T0, 2);
        p.shr(A0, T4, 16);
        p.loh(T4, T4);
        p.and(T1, T2, 0xf);
        // Length field first on the wire, then DDP control, then RDMAP control: version 1 of both.
        p.and(T5, T2, LAST);
        p.shl(T5, T5, 2);
        p.shl(T6, T1, 8);
        p.or(T5, T5, T6);
        p.ldi(T6, 0x4081);
        p.or(T5, T5, T6);
        p.if_(ne(T1, 0), |p| p.goto_if(ne(T1, READ_RESPONSE), untagged));
        p.add(T6, T4, 14);
        p.shl(T6, T6, 16);
        p.bswap(T6, T6);
        p.goto_if(ne(T1, 0), response);
        p.call("fetch_entry");
        p.ret_if(ne(R0, 0));
        p.ldi(port::TX, 0x0403);
        p.pack(port::TX, T5, T6);
        p.ldt(T8, TQ, q::RDMA_TX + 2);
        p.bswap(port::TX, T8);
        p.ldt(T8, TQ, q::RDMA_TX + 3);
        p.add(T9, T8, T3);
        p.ldt(T8, TQ, q::RDMA_TX + 4);
        p.adc(T8, T8, 0);
        p.bswap(port::TX, T8);
        p.bswap(port::TX, T9);
        p.bind(payload);
        p.goto_if(eq(T4, 0), close);
        p.goto_if(nbit(T2, MSG_INLINE), own);
        p.shl(T8, T4, 8);
        p.or(port::TX, T8, 4);
        p.mov(T9, TQ);
        let word = p.label();
        p.bind(word);
        p.ldt(port::TX, T9, q::RDMA_TX + 8);
        p.if_(geu(T4, 5), |p| {
            p.sub(T4, T4, 4);
            p.add(T9, T9, 1);
            p.goto(word);
        });
        p.bind(close);
        p.mov(port::TX, 6);
        p.mov(R0, 0);
        p.ret();
        p.bind(own);
        p.mov(T7, 1);
        p.call("sources");
        p.ret_if(ne(R0, 0));
        p.goto(close);

        // Read Response: the sink that the request named.
        p.bind(response);
        entry(p, T7, A0, sizes.log2_irrq, 3, sizes.irrq(), T8);
        p.ldi(port::TX, 0x0403);
        p.pack(port::TX, T5, T6);
        inline_numbers(p, T7, &[1]);
        p.ldt(T8, T7, 2);
        p.add(T9, T8, T3);
        p.ldt(T8, T7, 3);
        p.adc(T8, T8, 0);
        p.bswap(port::TX, T8);
        p.bswap(port::TX, T9);
        p.goto_if(eq(T4, 0), close);
        remote_source(p);
        p.ret_if(ne(R0, 0));
        read_host(p, T4);
        p.goto(close);

        // STag to invalidate, QN, MSN, MO.
        p.bind(untagged);
        p.xor(T5, T5, 0x80);
        p.add(T6, T4, 18);
        p.shl(T6, T6, 16);
        p.bswap(T6, T6);
        p.mov(T8, 0);
        let (header, read, terminate) = (p.label(), p.label(), p.label());
        if sizes.has(ATOMICS) {
            p.if_(eq(T1, ATOMIC_RESPONSE), |p| {
                entry(p, T7, A0, sizes.log2_irrq, 3, sizes.irrq(), T9);
                p.mov(T9, 3);
                p.mov(T10, TXMSN3);
                p.goto(header);
            });
        }
        p.if_(eq(T1, TERMINATE), |p| {
            p.mov(T9, 2);
            p.mov(T10, 2);
            p.goto(header);
        });
        p.call("fetch_entry");
        p.ret_if(ne(R0, 0));
        // Sends that invalidate have even opcodes.
        p.mov(T8, 0);
        p.mov(T9, 1);
        p.mov(T10, TXMSN1);
        p.goto_if(eq(T1, READ_REQUEST), header);
        if sizes.has(ATOMICS) {
            p.goto_if(eq(T1, ATOMIC_REQUEST), header);
        }
        p.mov(T9, 0);
        p.mov(T10, TXMSN0);
        p.if_(ltu(T1, TERMINATE), |p| {
            p.if_(nbit(T1, 0), |p| p.ldt(T8, TQ, q::RDMA_TX + 2));
        });
        p.bind(header);
        p.ldi(port::TX, 0x0503);
        p.pack(port::TX, T5, T6);
        p.bswap(port::TX, T8);
        p.shl(port::TX, T9, 24);
        // The MSN is the latest that has these low bits.
        p.shr(T8, T2, 8);
        p.sub(T8, T10, T8);
        p.and(T8, T8, 0xff);
        p.sub(T8, T10, T8);
        p.bswap(port::TX, T8);
        p.bswap(port::TX, T3);
        p.goto_if(eq(T1, TERMINATE), terminate);
        p.goto_if(ltu(T1, READ_RESPONSE), read);
        p.goto_if(ltu(T1, TERMINATE), payload);
        p.mov(T9, TQ);
        if sizes.has(IMMEDIATE) {
            p.if_(ltu(T1, ATOMIC_REQUEST), |p| {
                p.ldi(port::TX, 8 << 8 | 4);
                p.ldt(port::TX, TQ, q::RDMA_TX + 6);
                p.ldt(port::TX, TQ, q::RDMA_TX + 7);
                p.goto(close);
            });
        }
        if sizes.has(ATOMICS) {
            p.if_(eq(T1, ATOMIC_RESPONSE), |p| {
                p.ldi(port::TX, 12 << 8 | 4);
                inline_numbers(p, T7, &[1, 3, 2]);
                p.goto(close);
            });
            atomic_request(p);
            p.goto(close);
        }
        p.bind(read);
        p.ldi(port::TX, 28 << 8 | 4);
        p.add(T9, TQ, q::RDMA_TX);
        inline_numbers(p, T9, &[11, 9, 8, 1, 2, 4, 3]);
        p.goto(close);
        p.bind(terminate);
        p.goto_if(eq(T4, 0), close);
        p.ldt(R1, TQ, 12);
        p.ldt(R2, TQ, 13);
        p.add(R1, R1, 132);
        p.adc(R2, R2, 0);
        read_host(p, T4);
        p.goto(close);
    });
}

/// RFC 7306 section 5.2.1; what FetchAdd does not use has fixed values.
fn atomic_request(p: &mut Asm) {
    p.ldi(port::TX, 52 << 8 | 4);
    p.add(T9, TQ, q::RDMA_TX);
    p.ldt(T10, T9, 0);
    // FetchAdd is verb 9 and operation 0, CmpSwap verb 10 and operation 2.
    p.and(T10, T10, 2);
    p.shl(port::TX, T10, 24);
    p.shr(T8, T2, 24);
    p.sub(T8, REQUEST_ID, T8);
    p.and(T8, T8, 0xff);
    p.sub(T8, REQUEST_ID, T8);
    p.bswap(port::TX, T8);
    inline_numbers(p, T9, &[2, 4, 3, 17, 16, 19, 18]);
    p.if_else(
        ne(T10, 0),
        |p| inline_numbers(p, T9, &[21, 20, 23, 22]),
        |p| {
            p.mov(port::TX, 0);
            p.mov(port::TX, 0);
            p.sub(T8, ZERO, 1);
            p.mov(port::TX, T8);
            p.mov(port::TX, T8);
        },
    );
}
