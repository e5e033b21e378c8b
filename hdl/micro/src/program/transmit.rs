//! FPDUs out: cutting messages, and the journal of what was cut.

use super::runs::AROUND;
use super::work::{
    CACHED, DONE, SIGNALLED, TWO_SLOTS, advance_first, advance_second, filled, ring, second, work,
};
use crate::asm::{Asm, Label, after, bit, eq, geu, gtu, leu, ltu, nbit, ne, not_after};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fa, fb, fd, t};
use ironwarp_proto::abi::regs::{Counter, features};
use ironwarp_proto::ddp::{TAGGED_LEN, UNTAGGED_LEN};
use ironwarp_proto::rdmap::{ImmediateData, Opcode};

/// Bits of MSG and of word 3 of a journal entry; see `Sizes::journal`.
pub(super) const LAST: u8 = 1 << 4;
pub(super) const MSG_COMPLETES: u8 = 1 << 5;
pub(super) const MSG_RESPONSE: u8 = 1 << 6;
pub(super) const MSG_IMMEDIATE_FOLLOWS: u8 = 1 << 7;
/// Bit number: the payload of a Write or Send is inline.
pub(super) const MSG_INLINE: u8 = 24;

/// Bit number: its payload is one piece of host memory, known in the turn in which it was cut.
pub(super) const MSG_PLACED: u8 = 25;

/// In place of an opcode: a run of Writes; see `Sizes::journal`.
pub(super) const RUN: u8 = 12;

/// Journal index 7:0 of the segment's first FPDU, and which of a run it is 15:8.
pub(super) const FIRST: Word = TX4;
/// Bytes of the segment so far.
pub(super) const LEN: Word = TX5;
/// Bytes it may have.
pub(super) const ROOM: Word = TX6;
/// Bit 0 an FPDU may be cut; FPDUs of the segment that were cut from messages now 15:1, and that were in the journal already 31:16.
pub(super) const COUNTS: Word = TX7;

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("acknowledged", |p| acknowledged(p, sizes));
    p.routine("rdma_plan", |p| plan(p, sizes));
    p.routine("planned", planned);
    p.routine("sources", super::source::sources);
    p.routine("read_failed", |p| super::source::read_failed(p, sizes));
}

/// Where the host address of an FPDU's payload is.
pub(super) fn place(p: &mut Asm, sizes: &Sizes, d: Word, index: Word) {
    let places = p.k(sizes.places().into());
    p.and(d, index, (1u8 << sizes.log2_journal) - 1);
    p.shl(d, d, 1);
    p.add(d, d, places);
}

/// The journal entry of an FPDU.
pub(super) fn journal(p: &mut Asm, sizes: &Sizes, d: Word, index: Word) {
    ring(p, d, index, sizes.log2_journal, 2, sizes.journal());
}

/// TCP has acknowledged everything before SND_UNA.
fn acknowledged(p: &mut Asm, sizes: &Sizes) {
    let [next, done, finish, run] = [(); 4].map(|()| p.label());
    filled(p, T3, JOURNAL);
    p.mov(T5, JOURNAL);
    p.bind(next);
    p.goto_if(eq(T3, 0), done);
    p.rare(ne(SND_UNA, END), |p| {
        sequence_behind(p, sizes, T4, T5, T3);
        p.goto_if(after(T4, SND_UNA), done);
    });
    journal(p, sizes, T4, T5);
    p.ldt(T1, T4, 3);
    p.add(T5, T5, 1);
    p.sub(T3, T3, 1);
    p.goto_if(nbit(T1, 4), next);
    p.rare(bit(T1, 6), |p| advance_first(p, IRRQ, T4));
    p.goto_if(nbit(T1, 5), next);
    if_run(p, T1, |p| {
        // T2 and the T6 works up to it.
        p.ldt(T6, T4, 2);
        p.shr(T6, T6, 8);
        p.shr(T2, T1, 16);
        p.bind(run);
        p.sub(T6, T6, 1);
        p.sub(A0, T2, T6);
        p.and(A0, A0, 0xff);
        p.mov(A1, 0);
        p.call("finish_work");
        p.goto_if(ne(T6, 0), run);
        p.goto(next);
    });
    // Most often the work is the oldest and nobody wants to know.
    p.shr(A0, T1, 16);
    p.xor(T4, A0, WORKS);
    p.and(T4, T4, 0xff);
    p.goto_if(ne(T4, 0), finish);
    p.goto_if(bit(FD, fd::STOPPED), finish);
    work(p, sizes, T4, A0);
    p.ldt(T4, T4, 0);
    p.shr(T6, T4, SIGNALLED);
    p.and(T6, T6, 3);
    p.goto_if(ne(T6, 0), finish);
    p.add(SQ_DONE, T4, 1);
    p.rare(bit(T4, TWO_SLOTS), |p| p.add(SQ_DONE, SQ_DONE, 1));
    p.loh(SQ_DONE, SQ_DONE);
    advance_first(p, WORKS, T4);
    p.goto(next);
    p.bind(finish);
    p.and(A0, A0, 0xff);
    p.mov(A1, 0);
    p.call("finish_work");
    p.goto(next);
    p.bind(done);
    p.shr(T4, JOURNAL, 8);
    p.shl(T4, T4, 8);
    p.and(T5, T5, 0xff);
    p.or(JOURNAL, T4, T5);
    // A response may have come before the acknowledgment of what is older.
    filled(p, T4, WORKS);
    p.ret_if(eq(T4, 0));
    work(p, sizes, T4, WORKS);
    p.ldt(T4, T4, 0);
    p.rare(bit(T4, DONE), |p| {
        p.mov(A0, WORKS);
        p.mov(A1, 0);
        p.call("finish_work");
    });
}

/// d = sequence number behind FPDU `index`, of the last `left` in the journal.
fn sequence_behind(p: &mut Asm, sizes: &Sizes, d: Word, index: Word, left: Word) {
    p.add(d, index, 1);
    journal(p, sizes, d, d);
    p.ldt(d, d, 0);
    p.rare(eq(left, 1), |p| p.mov(d, END));
}

/// If word 3 of a journal entry is that of a run. Nothing else has both bits 2 and 3 set.
pub(super) fn if_run(p: &mut Asm, word: Word, then: impl FnOnce(&mut Asm)) {
    const { assert!(RUN == 1 << 3 | 1 << 2) };
    p.rare(bit(word, 3), |p| p.if_(bit(word, 2), then));
}

/// d = bytes on the wire of each FPDU of the run at `entry` of the journal.
pub(super) fn run_step(p: &mut Asm, d: Word, entry: Word) {
    p.ldt(d, entry, 1);
    p.loh(d, d);
    p.add(d, d, AROUND);
    p.andn(d, d, 3);
}

/// How much of the stream from A0 on makes a segment of at most A1 bytes: whole FPDUs, as many as fit. What was never sent is cut
/// into FPDUs here; with A2 an FPDU that does not fit is cut anywhere. R0 = 0 nothing to send; else R1 bytes (0: something waits that does not fit),
/// R2 nothing waits behind it.
fn plan(p: &mut Asm, sizes: &Sizes) {
    let [fresh, next, more, counted] = [(); 4].map(|()| p.label());
    let [nothing, waits, over] = [(); 3].map(|()| p.label());
    p.mov(ROOM, A1);
    p.mov(COUNTS, A2);
    p.mov(LEN, 0);
    second(p, FIRST, JOURNAL);
    p.ldt(T0, ZERO, t::OWNER);
    p.rare(ne(T0, QPN), |p| {
        p.stt(ZERO, t::OWNER, QPN);
        p.mov(CACHED, 0);
    });
    p.rare(ne(A0, END), |p| resend(p, sizes, fresh, waits, over));
    p.bind(fresh);
    p.goto_if(bit(FA, fa::HOLD), nothing);
    // FIN ends the stream.
    p.goto_if(bit(FB, fb::FIN_SENT), nothing);
    p.bind(next);
    filled(p, T0, JOURNAL);
    p.goto_if(geu(T0, 1 << sizes.log2_journal), nothing);
    p.if_(eq(MSG, 0), |p| {
        // Often there is no other.
        p.shr(T0, SQ, 16);
        p.xor(T0, T0, SQ);
        p.loh(T0, T0);
        p.shr(T1, IRRQ, 8);
        p.xor(T1, T1, IRRQ);
        p.shr(T1, T1, 8);
        p.and(T1, T1, 0xff);
        p.or(T0, T0, T1);
        p.goto_if(eq(T0, 0), nothing);
        super::writes::writes(p, sizes, nothing);
        filled(p, T0, JOURNAL);
        p.goto_if(geu(T0, 1 << sizes.log2_journal), nothing);
        p.goto_if(bit(FD, fd::STOPPED), nothing);
        p.call("open_message");
        p.goto_if(eq(R0, 0), nothing);
    });
    // T1 opcode, T3 offset, T4 payload, T0 bytes on the wire.
    p.and(T1, MSG, 0xf);
    p.mov(T2, TAGGED_LEN as u8);
    p.and(T3, T1, 0xd);
    p.rare(ne(T3, 0), |p| p.mov(T2, UNTAGGED_LEN as u8));
    p.mov(T3, MSG_OFFSET);
    p.sub(T4, MSG_LENGTH, T3);
    p.sub(T5, MULPDU, T2);
    p.rare(ltu(T5, T4), |p| p.mov(T4, T5));
    // RFC 5044 section 4.1: length, ULPDU, pad, CRC.
    p.add(T0, T4, T2);
    p.add(T0, T0, 2 + 3 + 4);
    p.andn(T0, T0, 3);
    p.rare(bit(FA, fa::MARKERS_TX), markers);
    p.sub(T5, ROOM, LEN);
    p.rare(gtu(T0, T5), |p| {
        p.goto_if(nbit(COUNTS, 0), waits);
        p.goto_if(ne(LEN, 0), waits);
    });
    second(p, T6, JOURNAL);
    p.mov(T1, MSG);
    super::source::check_source(p, sizes, nothing);
    journal(p, sizes, T6, T6);
    p.stt(T6, 0, END);
    p.pack(T7, MSG_REF, T4);
    p.stt(T6, 1, T7);
    p.stt(T6, 2, MSG_OFFSET);
    advance_second(p, JOURNAL, T7);
    p.add(END, END, T0);
    p.add(LEN, LEN, T0);
    p.add(COUNTS, COUNTS, 2);
    p.add(MSG_OFFSET, MSG_OFFSET, T4);
    p.goto_if(ne(MSG_OFFSET, MSG_LENGTH), more);
    p.or(T1, T1, LAST);
    p.stt(T6, 3, T1);
    message_ends(p, sizes);
    p.bind(counted);
    p.goto_if(leu(LEN, ROOM), next);
    p.bind(over);
    p.mov(LEN, ROOM);
    p.bind(waits);
    p.call("planned");
    p.mov(R2, 0);
    p.ret();
    p.bind(more);
    p.stt(T6, 3, T1);
    // The rest waits; often there is no room for another header.
    p.sub(T5, ROOM, LEN);
    p.goto_if(ltu(ROOM, LEN), over);
    p.goto_if(ltu(T5, TAGGED_LEN as u8 + 6), waits);
    p.goto(next);

    p.bind(nothing);
    p.call("planned");
    p.mov(R2, 1);
    p.if_(eq(LEN, 0), |p| p.mov(R0, 0));
}

/// What is in the journal already, from A0 on.
fn resend(p: &mut Asm, sizes: &Sizes, fresh: Label, waits: Label, over: Label) {
    let [walk, found, longer] = [(); 3].map(|()| p.label());
    let placed = p.k(1 << MSG_PLACED);
    filled(p, T4, JOURNAL);
    p.mov(T3, JOURNAL);
    p.ldi(T2, 0x1_0000);
    p.bind(walk);
    p.goto_if(eq(T4, 0), fresh);
    sequence_behind(p, sizes, T0, T3, T4);
    p.goto_if(after(T0, A0), found);
    p.add(T3, T3, 1);
    p.sub(T4, T4, 1);
    p.goto(walk);
    // T0 = sequence number behind the FPDU, T1 which of a run it is.
    p.bind(found);
    p.and(FIRST, T3, 0xff);
    p.mov(T1, 0);
    journal(p, sizes, T5, T3);
    p.ldt(T6, T5, 3);
    if_run(p, T6, |p| {
        run_step(p, T7, T5);
        p.ldt(T0, T5, 0);
        p.add(T0, T0, T7);
        p.while_(not_after(T0, A0), |p| {
            p.add(T0, T0, T7);
            p.add(T1, T1, 1);
        });
        p.shl(T7, T1, 8);
        p.or(FIRST, FIRST, T7);
    });
    p.bind(longer);
    // What was true when it was cut is looked at again.
    p.and(T7, T6, 0xf);
    p.if_(ltu(T7, Opcode::Terminate as u8), |p| {
        p.andn(T6, T6, placed);
        p.stt(T5, 3, T6);
    });
    p.sub(T0, T0, A0);
    p.if_(gtu(T0, ROOM), |p| {
        p.goto_if(nbit(COUNTS, 0), waits);
        p.goto_if(ne(LEN, 0), waits);
        p.add(COUNTS, COUNTS, T2);
        p.goto(over);
    });
    p.add(COUNTS, COUNTS, T2);
    p.mov(LEN, T0);
    let step = p.label();
    if_run(p, T6, |p| {
        p.add(T1, T1, 1);
        p.ldt(T7, T5, 2);
        p.and(T7, T7, 0xff);
        p.if_(ltu(T1, T7), |p| {
            p.add(T0, A0, LEN);
            p.bind(step);
            run_step(p, T7, T5);
            p.add(T0, T0, T7);
            p.goto(longer);
        });
    });
    p.add(T3, T3, 1);
    p.sub(T4, T4, 1);
    p.goto_if(eq(T4, 0), fresh);
    journal(p, sizes, T5, T3);
    p.ldt(T6, T5, 3);
    if_run(p, T6, |p| {
        p.mov(T1, 0);
        p.ldt(T0, T5, 0);
        p.goto(step);
    });
    sequence_behind(p, sizes, T0, T3, T4);
    p.goto(longer);
}

/// T0 = bytes on the wire of an FPDU of T0 bytes at END with markers: one at each 512th byte, 508 bytes between them (RFC 5044 section 4.3).
fn markers(p: &mut Asm) {
    let end = p.label();
    p.sub(T5, MARK_TX, END);
    p.shl(T5, T5, 32 - 9);
    p.shr(T5, T5, 32 - 9);
    p.mov(T6, T0);
    p.ldi(T7, 508);
    let next = p.label();
    p.bind(next);
    p.goto_if(geu(T5, T6), end);
    p.add(T0, T0, 4);
    p.add(T5, T5, T7);
    p.goto(next);
    p.bind(end);
}

/// A turn of cutting is over: counts, a failure that is complete now, R0 = 1 and R1.
fn planned(p: &mut Asm) {
    p.loh(A1, COUNTS);
    p.shr(A1, A1, 1);
    p.if_(ne(A1, 0), |p| {
        p.ldt(T14, ZERO, t::COUNTERS + Counter::TxFpdus as u8);
        p.add(T14, T14, A1);
        p.stt(ZERO, t::COUNTERS + Counter::TxFpdus as u8, T14);
    });
    p.rare(bit(FD, fd::POISONED), |p| p.call("check_failure"));
    p.mov(R0, 1);
    p.mov(R1, LEN);
}

/// Book-keeping behind the last FPDU of a message; Immediate Data may follow a Write.
fn message_ends(p: &mut Asm, sizes: &Sizes) {
    let done = p.label();
    p.and(T5, MSG, MSG_RESPONSE | MSG_IMMEDIATE_FOLLOWS);
    p.rare(ne(T5, 0), |p| {
        if sizes.has(features::IMMEDIATE) {
            p.if_(bit(MSG, 7), |p| {
                p.shr(MSG, MSG, 8);
                p.andn(MSG, MSG, 0xff);
                p.and(T5, TXMSN0, 0xff);
                p.or(MSG, MSG, T5);
                p.shl(MSG, MSG, 8);
                p.or(MSG, MSG, Opcode::ImmediateData as u8 | MSG_COMPLETES);
                p.add(TXMSN0, TXMSN0, 1);
                p.mov(MSG_OFFSET, 0);
                p.mov(MSG_LENGTH, ImmediateData::LEN as u8);
                p.goto(done);
            });
        }
        // The entry is answered: 15:8 moves on, between two others.
        second(p, T7, IRRQ);
        p.shl(T5, T7, 8);
        p.xor(IRRQ, IRRQ, T5);
        p.add(T7, T7, 1);
        p.and(T7, T7, 0xff);
        p.shl(T7, T7, 8);
        p.or(IRRQ, IRRQ, T7);
    });
    p.mov(MSG, 0);
    p.bind(done);
}
