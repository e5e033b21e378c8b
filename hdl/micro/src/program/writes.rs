//! Runs of Writes that are one FPDU each.

use super::message::SGE;
use super::transmit::*;
use super::work::{CACHED, filled, work};
use crate::asm::{Asm, Label, eq, geu, gtu, ltu, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fa, fd};
use ironwarp_proto::abi::send_entry::{INLINE_MAX, Opcode as Verb};
use ironwarp_proto::ddp::TAGGED_LEN;

/// What `open_message` and cutting come to for the most frequent entries, one after the other: a Write, inline or of one SGE, that is one
/// FPDU. For everything else it goes on behind.
pub(super) fn writes(p: &mut Asm, sizes: &Sizes, nothing: Label) {
    const HEAD: Word = T0;
    const LENGTH: Word = T1;
    // Entries that are there, and how many may be started.
    const THERE: Word = T2;
    const FAILED: u8 = 0xff;
    const MAY: Word = T6;
    // Free-running numbers of the FPDU and the work, index and place of the entry.
    const FPDU: Word = T3;
    const WORK: Word = T4;
    const INDEX: Word = T5;
    const ENTRY: Word = T7;
    let [top, fetch, sge, put, leave, open] = [(); 6].map(|()| p.label());
    let (inline, placed) = (p.k(1 << MSG_INLINE), p.k(1 << MSG_PLACED));
    let signalled = p.k(0x200);
    const { assert!(fd::RUNS == 9) };
    let by_inline = p.k(Verb::Write as u32 | 0x200 | 0x800);
    // Responses take turns, and a failed entry ends all.
    p.shr(T0, IRRQ, 8);
    p.xor(T0, T0, IRRQ);
    p.shr(T0, T0, 8);
    p.and(T1, FD, 1 << fd::POISONED | 1 << fd::STOPPED);
    p.or(T0, T0, T1);
    p.and(T1, FA, 1 << fa::MARKERS_TX);
    p.or(T0, T0, T1);
    p.and(T0, T0, 0xff);
    p.goto_if(ne(T0, 0), open);
    p.loh(INDEX, SQ);
    p.shr(MAY, SQ, 16);
    p.sub(MAY, MAY, INDEX);
    p.loh(MAY, MAY);
    for (words, log2) in [(JOURNAL, sizes.log2_journal), (WORKS, sizes.log2_works)] {
        filled(p, T0, words);
        p.mov(T1, 1 << log2);
        p.sub(T1, T1, T0);
        p.rare(ltu(T1, MAY), |p| p.mov(MAY, T1));
    }
    p.shr(FPDU, JOURNAL, 8);
    p.shr(WORK, WORKS, 8);
    p.mov(THERE, 0);
    p.bind(top);
    p.goto_if(eq(MAY, 0), leave);
    p.goto_if(eq(THERE, 0), fetch);
    let fetched = p.label();
    p.bind(fetched);
    p.ldt(HEAD, ENTRY, 0);
    p.ldt(LENGTH, ENTRY, 1);
    // One slot, no fence, signalled or not.
    p.or(T8, HEAD, signalled);
    p.pack(T9, INDEX, by_inline);
    p.mov(A5, inline);
    p.goto_if(ne(T8, T9), sge);
    p.goto_if(geu(LENGTH, INLINE_MAX as u8 + 1), leave);
    // More of them may follow.
    p.or(FD, FD, signalled);
    p.add(A4, LENGTH, TAGGED_LEN as u8 + 2 + 3 + 4);
    p.andn(A4, A4, 3);
    p.add(T10, LEN, A4);
    p.goto_if(gtu(T10, ROOM), leave);
    p.bind(put);
    p.mov(LEN, T10);
    work(p, sizes, T9, WORK);
    p.shr(T8, HEAD, 3);
    p.and(T8, T8, 0x40);
    p.or(T8, T8, Verb::Write as u8);
    p.pack(T8, T8, INDEX);
    p.stt(T9, 0, T8);
    p.stt(T9, 1, LENGTH);
    journal(p, sizes, T9, FPDU);
    p.stt(T9, 0, END);
    p.pack(T8, INDEX, LENGTH);
    p.stt(T9, 1, T8);
    p.stt(T9, 2, 0);
    p.and(T8, WORK, 0xff);
    p.shl(T8, T8, 16);
    p.or(T8, T8, A5);
    p.or(T8, T8, MSG_COMPLETES | LAST);
    p.stt(T9, 3, T8);
    p.add(END, END, A4);
    p.add(FPDU, FPDU, 1);
    p.add(WORK, WORK, 1);
    p.add(INDEX, INDEX, 1);
    p.add(ENTRY, ENTRY, 16);
    p.add(COUNTS, COUNTS, 2);
    p.sub(THERE, THERE, 1);
    p.sub(MAY, MAY, 1);
    p.goto(top);

    p.bind(fetch);
    p.loh(A0, INDEX);
    p.call("fetch_entry");
    p.mov(THERE, FAILED);
    p.goto_if(ne(R0, 0), leave);
    p.mov(ENTRY, R1);
    p.shr(THERE, CACHED, 16);
    p.add(THERE, THERE, CACHED);
    p.sub(THERE, THERE, INDEX);
    p.loh(THERE, THERE);
    p.goto(fetched);

    p.bind(sge);
    p.mov(A5, 0);
    p.ldi(T10, 0x840);
    p.xor(T9, T9, T10);
    p.goto_if(ne(T8, T9), leave);
    p.ldt(T8, ENTRY, SGE + 2);
    p.goto_if(ne(T8, LENGTH), leave);
    p.sub(T8, MULPDU, TAGGED_LEN as u8);
    p.goto_if(ltu(T8, LENGTH), leave);
    p.add(T9, LENGTH, TAGGED_LEN as u8 + 2 + 3 + 4);
    p.andn(T9, T9, 3);
    p.add(T10, LEN, T9);
    p.goto_if(gtu(T10, ROOM), leave);
    p.if_(ne(LENGTH, 0), |p| {
        p.ldt(A0, ENTRY, SGE + 3);
        p.ldt(A1, ENTRY, SGE);
        p.ldt(A2, ENTRY, SGE + 1);
        p.mov(A3, LENGTH);
        p.mov(A4, 0);
        p.mov(A5, ASKER);
        p.call("region_local");
        p.goto_if(ne(R0, 0), leave);
        place(p, sizes, T8, FPDU);
        p.stt(T8, 0, R1);
        p.stt(T8, 1, R2);
        p.mov(A5, placed);
    });
    p.add(A4, LENGTH, TAGGED_LEN as u8 + 2 + 3 + 4);
    p.andn(A4, A4, 3);
    p.add(T10, LEN, A4);
    p.goto(put);

    p.bind(leave);
    p.and(T8, JOURNAL, 0xff);
    p.shl(FPDU, FPDU, 24);
    p.shr(FPDU, FPDU, 16);
    p.or(JOURNAL, T8, FPDU);
    p.and(T8, WORKS, 0xff);
    p.shl(WORK, WORK, 24);
    p.shr(WORK, WORK, 16);
    p.or(WORKS, T8, WORK);
    p.mov(T9, SQ);
    p.shr(T8, SQ, 16);
    p.pack(SQ, T8, INDEX);
    // A response that is in the segment already was no turn of ours.
    p.if_(ne(SQ, T9), |p| p.or(FD, FD, 1 << fd::PREFER_RESPONSE));
    p.rare(eq(THERE, FAILED), |p| {
        p.call("bad_entry");
        p.goto(nothing);
    });
    p.bind(open);
}
