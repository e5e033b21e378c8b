//! Runs of small Writes on their way from the send queue to a frame, without a stop.
//!
//! The general way reads an entry, judges it, notes an FPDU and a work, and builds the FPDU from its copy in T. A run does it in one pass:
//! the words of the entries go from host memory through the sequencer to the transmit engine as they come. It holds whole inline Writes of the
//! same length, so that how many fit is known before the frame's headers are, and one journal entry describes all of them; the small reader keeps the
//! words that are not needed to itself. When an entry turns out to be something
//! else, the frame is dropped, and one with those in front of it takes its place; when the first is, the general way does everything. The
//! general way says when it is worth a try: it has just sent such a Write.
//!
//! Words: T0..T7, W0..W4, A3..A5, R0..R2 and TX4..TX7, as named below; T8..T15 are scratch.

use super::send::{ACK, PSH_ACK};
use super::transmit::{LAST, LEN, MSG_COMPLETES, MSG_INLINE, ROOM, RUN, journal};
use super::work::{advance_second, filled, second, work};
use crate::asm::{Asm, Label, eq, geu, gtu, ltu, ne};
use crate::isa::{Operand, Word};
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fa, fb, fd, port, t};
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::abi::send_entry::{INLINE_MAX, Opcode as Verb};
use ironwarp_proto::ddp::TAGGED_LEN;

/// Words of a reply kept for a slot, if its payload has up to [`FEW`] words, or more than that.
const SLOT_SMALL: u8 = 8;
const SLOT_LARGE: u8 = 16;
const FEW: u8 = 3;
/// Words of a slot that are needed besides the payload: 0 to 4.
const FIXED: u8 = 5;
/// Low half of the first word of a Write with inline payload that is not signalled.
const WHOLE: u32 = Verb::Write as u32 | 1 << 11;
/// Most FPDUs of a run.
const MOST: u8 = 63;
/// Length field, header, pad up to a word, CRC.
pub(super) const AROUND: u8 = TAGGED_LEN as u8 + 2 + 3 + 4;

/// Word 0 of the entry that must come, not signalled; its word 1.
const HEAD: Word = T0;
const LENGTH: Word = T1;
/// Entries to ask for, slots up to the end of the ring, address of the next.
const LEFT: Word = T2;
const TO_END: Word = T3;
const LOW: Word = T4;
const HIGH: Word = T5;
/// Entries of the reply being read, and of the one behind it.
const HERE: Word = T6;
const BEHIND: Word = T7;
/// Entries of the run.
const COUNT: Word = TX4;
/// Number of the next work.
const WORK: Word = TX7;
/// Slots that were read and do not fit the segment.
const SURPLUS: Word = W0;
/// Entries posted.
const POSTED: Word = W1;
/// Index behind the last work.
const NOTED: Word = W2;
/// Slots to ask for at once, and words of a reply for each.
const MANY: Word = W3;
const KEPT: Word = W4;
/// Words of each FPDU: the command with its payload, length and control fields.
const INLINE: Word = A3;
const CONTROL: Word = A4;
/// An index further, in an entry's word 0.
const STEP: Word = A5;
/// Where the words of the payload are copied.
const COPY: Word = R1;
/// What the last work is, as [`note`] takes it.
const LAST_WORK: Word = R0;
/// That of a signalled Write.
const SIGNALLED: u8 = 0x40 | Verb::Write as u8;
/// Mask of the words of a slot, as the small reader takes it.
const MASK: Word = R2;

/// Define the routine. `rdma_run`: a frame of the Writes at the head of the send queue, from sequence number A0 = END on, of at most A1
/// bytes; R0 = 0: there is none; else R1 is how many bytes it has; R0 = 2: nothing is left to be sent.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("rdma_run", |p| run(p, sizes));
}

/// Ask for more entries, `d` at once.
fn ask(p: &mut Asm, d: Word) {
    let nothing = p.label();
    p.mov(d, MANY);
    p.rare(ltu(LEFT, d), |p| p.mov(d, LEFT));
    p.rare(ltu(TO_END, d), |p| p.mov(d, TO_END));
    p.goto_if(eq(d, 0), nothing);
    p.shl(T8, d, 4);
    p.or(port::DMAC, T8, MASK);
    p.mov(port::DMAC, LOW);
    p.mov(port::DMAC, HIGH);
    p.sub(LEFT, LEFT, d);
    p.sub(TO_END, TO_END, d);
    p.shl(T8, d, 6);
    p.add(LOW, LOW, T8);
    p.adc(HIGH, HIGH, 0);
    p.rare(eq(TO_END, 0), ring_start);
    p.bind(nothing);
}

/// TO_END, LOW, HIGH of the first slot. Changes T9.
fn ring_start(p: &mut Asm) {
    p.ldt(T9, TQ, 4);
    p.mov(TO_END, 1);
    p.shl(TO_END, TO_END, T9);
    p.ldt(LOW, TQ, 6);
    p.ldt(HIGH, TQ, 7);
}

/// Drop what is left of the replies for T8 entries, of which `taken` words were read. Changes T9.
fn drop_entries(p: &mut Asm, taken: u8) {
    p.mov(T9, 0);
    p.while_(ne(T8, 0), |p| {
        p.add(T9, T9, KEPT);
        p.sub(T8, T8, 1);
    });
    p.sub(T9, T9, taken);
    p.while_(ne(T9, 0), |p| {
        p.mov(T8, port::DMA);
        p.sub(T9, T9, 1);
    });
}

/// What to read of each slot, if it has T10 words of payload. Changes T8.
fn shape(p: &mut Asm, sizes: &Sizes) {
    p.add(KEPT, T10, FIXED);
    p.mov(T8, 1);
    p.shl(T8, T8, T10);
    p.sub(T8, T8, 1);
    p.shl(T8, T8, 8);
    p.or(T8, T8, (1 << FIXED) - 1);
    p.shl(MASK, T8, 16);
    p.mov(MANY, sizes.reply() / SLOT_SMALL);
    p.rare(geu(T10, FEW + 1), |p| p.mov(MANY, sizes.reply() / SLOT_LARGE));
    const { assert!(FIXED + FEW <= SLOT_SMALL && FIXED as usize + INLINE_MAX / 4 <= SLOT_LARGE as usize) };
}

/// A work that ends with the entry before index `behind`; `flags` from bit 16 on. Changes T9..T12.
fn note(p: &mut Asm, sizes: &Sizes, behind: Word, flags: impl Into<Operand>) {
    work(p, sizes, T9, WORK);
    p.sub(T11, behind, 1);
    p.mov(T12, flags);
    p.pack(T11, T12, T11);
    p.stt(T9, 0, T11);
    p.stt(T9, 1, LENGTH);
    p.add(WORK, WORK, 1);
}

fn run(p: &mut Asm, sizes: &Sizes) {
    let [again, several, miss, full, none] = [(); 5].map(|()| p.label());
    let [head, emit, copy, stop, failed] = [(); 5].map(|()| p.label());
    let (whole, signalled) = (p.k(WHOLE), p.k(1 << 9));
    may_begin(p, sizes, none);
    // Likely they are as long as the last ones.
    p.ldt(LENGTH, ZERO, t::RUN_LENGTH);
    p.add(T10, LENGTH, 3);
    p.shr(T10, T10, 2);
    p.mov(SURPLUS, 0);
    p.bind(again);
    shape(p, sizes);
    p.goto_if(eq(COUNT, 0), none);
    ring_start(p);
    p.loh(T8, SQ);
    p.sub(T9, TO_END, 1);
    p.and(T9, T9, T8);
    p.sub(TO_END, TO_END, T9);
    p.shl(T9, T9, 6);
    p.add(LOW, LOW, T9);
    p.adc(HIGH, HIGH, 0);
    p.mov(LEFT, COUNT);
    ask(p, HERE);
    // What is in front of the only one goes ahead while it comes.
    p.goto_if(ne(COUNT, 1), several);
    p.goto_if(eq(LENGTH, 0), several);
    p.add(LEN, LENGTH, AROUND);
    p.andn(LEN, LEN, 3);
    p.goto_if(gtu(LEN, ROOM), several);
    p.mov(BEHIND, 0);
    p.mov(SURPLUS, 0);
    p.loh(T8, SQ);
    p.pack(HEAD, T8, whole);
    headers(p);
    prepare(p, copy);
    p.goto_if(ne(port::DMA, 0), failed);
    p.mov(T8, port::DMA);
    p.goto_if(ne(port::DMA, LENGTH), stop);
    p.goto_if(eq(T8, HEAD), emit);
    p.xor(T8, T8, HEAD);
    p.goto_if(ne(T8, signalled), stop);
    p.mov(LAST_WORK, SIGNALLED);
    p.goto(emit);

    p.bind(several);
    // The general way looks at it again, and counts the fault.
    p.goto_if(ne(port::DMA, 0), none);
    p.mov(R0, port::DMA);
    p.mov(LENGTH, port::DMA);
    first_entry(p, miss);
    p.add(T8, LENGTH, 3);
    p.shr(T10, T8, 2);
    p.add(T8, T10, FIXED);
    p.rare(ne(T8, KEPT), |p| {
        // Once: it may be another each time.
        p.goto_if(ne(SURPLUS, 0), miss);
        p.mov(SURPLUS, 1);
        p.stt(ZERO, t::RUN_LENGTH, LENGTH);
        p.mov(T8, HERE);
        drop_entries(p, 2);
        p.goto(again);
    });
    p.stt(ZERO, t::RUN_LENGTH, LENGTH);
    how_many(p);
    p.goto_if(eq(COUNT, 0), full);
    p.mov(SURPLUS, 0);
    p.rare(ltu(COUNT, HERE), |p| {
        p.sub(SURPLUS, HERE, COUNT);
        p.mov(HERE, COUNT);
    });
    p.sub(LEFT, COUNT, HERE);
    ask(p, BEHIND);
    headers(p);
    prepare(p, copy);
    p.goto(head);
    entries(p, sizes, [head, emit, copy, stop, failed, again]);
    close_run(p, sizes);
    p.ret();

    p.bind(miss);
    let runs = p.k(1 << fd::RUNS);
    p.andn(FD, FD, runs);
    p.bind(full);
    p.mov(T8, HERE);
    drop_entries(p, 2);
    p.bind(none);
    p.mov(R0, 0);
}

/// POSTED, and COUNT that the journal has room for; on at `no` unless own entries are next and nothing stands in front of them.
fn may_begin(p: &mut Asm, sizes: &Sizes, no: Label) {
    p.mov(ROOM, A1);
    p.goto_if(ltu(ROOM, (AROUND + 1) & !3), no);
    p.and(T0, FB, 1 << fb::FIN_WANTED | 1 << fb::FIN_SENT);
    p.and(T1, FA, 1 << fa::MARKERS_TX | 1 << fa::HOLD);
    p.or(T0, T0, T1);
    p.and(T1, FD, 1 << fd::STOPPED | 1 << fd::POISONED);
    p.or(T0, T0, T1);
    p.or(T0, T0, MSG);
    // Responses take turns.
    p.shr(T1, IRRQ, 8);
    p.xor(T1, T1, IRRQ);
    p.shr(T1, T1, 8);
    p.and(T1, T1, 0xff);
    p.or(T0, T0, T1);
    p.goto_if(ne(T0, 0), no);
    filled(p, T0, JOURNAL);
    p.goto_if(geu(T0, 1 << sizes.log2_journal), no);
    p.shr(POSTED, SQ, 16);
    p.sub(POSTED, POSTED, SQ);
    p.loh(POSTED, POSTED);
    // Each may be signalled and then is a work of its own.
    filled(p, T0, WORKS);
    p.mov(COUNT, (1u8 << sizes.log2_works).min(MOST));
    p.mov(T1, 1 << sizes.log2_works);
    p.sub(T1, T1, T0);
    p.rare(ltu(T1, COUNT), |p| p.mov(COUNT, T1));
    p.if_(ltu(POSTED, COUNT), |p| p.mov(COUNT, POSTED));
}

/// The entry with R0 and LENGTH must be a whole inline Write.
fn first_entry(p: &mut Asm, miss: Label) {
    let signalled = p.k(1 << 9);
    let whole = p.k(WHOLE);
    p.loh(T8, SQ);
    p.pack(HEAD, T8, whole);
    p.xor(T8, R0, HEAD);
    p.andn(T8, T8, signalled);
    p.goto_if(ne(T8, 0), miss);
    p.sub(T8, LENGTH, 1);
    p.goto_if(geu(T8, INLINE_MAX as u8), miss);
}

/// COUNT as many as fit ROOM, LEN their bytes on the wire: bit by bit.
fn how_many(p: &mut Asm) {
    let (next, over) = (p.label(), p.label());
    p.add(T12, LENGTH, AROUND);
    p.andn(T12, T12, 3);
    p.shl(T12, T12, 5);
    p.mov(T13, 1 << 5);
    p.mov(T10, 0);
    p.mov(LEN, 0);
    p.bind(next);
    p.add(T11, T10, T13);
    p.goto_if(gtu(T11, COUNT), over);
    p.add(T14, LEN, T12);
    p.goto_if(gtu(T14, ROOM), over);
    p.mov(T10, T11);
    p.mov(LEN, T14);
    p.bind(over);
    p.shr(T12, T12, 1);
    p.shr(T13, T13, 1);
    p.goto_if(ne(T13, 0), next);
    p.mov(COUNT, T10);
    const { assert!(MOST < 1 << 6) };
}

/// BEGIN and HEADER.
fn headers(p: &mut Asm) {
    p.and(T8, FA, 1 << fa::CRC);
    p.shl(T8, T8, 7 - fa::CRC);
    p.or(T8, T8, super::send::engine::BEGIN);
    p.pack(port::TX, QPN, T8);
    p.mov(port::TX, 0);
    p.shl(port::TX, LEN, 16);
    p.mov(A1, LEN);
    p.mov(A2, ACK);
    p.if_(eq(COUNT, POSTED), |p| p.mov(A2, PSH_ACK));
    p.call("frame_headers");
}

/// What all FPDUs have in common. T8 = R0.
fn prepare(p: &mut Asm, copy: Label) {
    let whole_write = p.k(0x40c1);
    p.add(T8, LENGTH, TAGGED_LEN as u8);
    p.shl(T8, T8, 8);
    p.pack(CONTROL, whole_write, T8);
    p.shl(INLINE, LENGTH, 8);
    p.or(INLINE, INLINE, 4);
    p.address(COPY, copy);
    p.add(COPY, COPY, (INLINE_MAX / 4) as u8 + FIXED);
    p.sub(COPY, COPY, KEPT);
    p.ldi(STEP, 1 << 16);
    second(p, WORK, WORKS);
    p.loh(NOTED, SQ);
    p.mov(T8, R0);
    p.mov(LAST_WORK, Verb::Write as u8);
}

/// The FPDUs: from `head` with the first word in T8, or from `emit` with one that is as it must be. An entry that does not go with the others brings
/// the run to an end in front of it: `stop` behind its two words, `failed` without.
fn entries(p: &mut Asm, sizes: &Sizes, [head, emit, copy, stop, failed, again]: [Label; 6]) {
    const TAGGED: u32 = 3 | 4 << 8;
    const CLOSE: u8 = 6;
    const DROPPED: u8 = 0x17;
    let [entry, odd, done] = [(); 3].map(|()| p.label());
    let signalled = p.k(1 << 9);
    p.bind(entry);
    p.mov(T8, port::DMA);
    p.goto_if(ne(port::DMA, LENGTH), stop);
    p.bind(head);
    p.goto_if(ne(T8, HEAD), odd);
    p.bind(emit);
    p.ldi(port::TX, TAGGED);
    p.mov(port::TX, CONTROL);
    p.bswap(port::TX, port::DMA);
    p.mov(T9, port::DMA);
    p.bswap(port::TX, port::DMA);
    p.bswap(port::TX, T9);
    p.mov(port::TX, INLINE);
    p.jump(COPY);
    p.bind(copy);
    for _ in 0..INLINE_MAX / 4 {
        p.mov(port::TX, port::DMA);
    }
    p.mov(port::TX, CLOSE);
    p.add(HEAD, HEAD, STEP);
    p.sub(HERE, HERE, 1);
    p.goto_if(ne(HERE, 0), entry);
    p.mov(HERE, BEHIND);
    p.goto_if(eq(HERE, 0), done);
    p.goto_if(ne(port::DMA, 0), failed);
    ask(p, BEHIND);
    p.goto(entry);

    p.bind(odd);
    p.xor(T9, T8, HEAD);
    p.goto_if(ne(T9, signalled), stop);
    p.shr(NOTED, HEAD, 16);
    p.add(NOTED, NOTED, 1);
    p.loh(NOTED, NOTED);
    note(p, sizes, NOTED, SIGNALLED);
    p.goto(emit);

    p.bind(stop);
    p.add(T8, HERE, SURPLUS);
    drop_entries(p, 2);
    p.goto_if(eq(BEHIND, 0), failed);
    p.goto_if(ne(port::DMA, 0), failed);
    p.mov(T8, BEHIND);
    drop_entries(p, 0);
    p.bind(failed);
    p.mov(port::TX, DROPPED);
    // The frame that was dropped had the ACK.
    p.or(FB, FB, 1 << fb::ACK_NOW);
    p.shr(COUNT, HEAD, 16);
    p.sub(COUNT, COUNT, SQ);
    p.loh(COUNT, COUNT);
    // If it was the first, it was taken for another; the next is not.
    p.stt(ZERO, t::RUN_LENGTH, 0);
    p.mov(LENGTH, 0);
    p.sub(T10, KEPT, FIXED);
    p.goto(again);
    p.bind(done);
}

/// The frame ends; what was sent is noted.
fn close_run(p: &mut Asm, sizes: &Sizes) {
    p.mov(port::TX, super::send::engine::END);
    p.rare(ne(SURPLUS, 0), |p| {
        p.mov(T8, SURPLUS);
        drop_entries(p, 0);
    });
    p.shr(T10, HEAD, 16);
    p.if_(ne(T10, NOTED), |p| note(p, sizes, T10, LAST_WORK));
    second(p, T9, JOURNAL);
    journal(p, sizes, T9, T9);
    p.stt(T9, 0, END);
    p.loh(T8, SQ);
    p.pack(T8, T8, LENGTH);
    p.stt(T9, 1, T8);
    second(p, T8, WORKS);
    p.sub(T8, WORK, T8);
    p.shl(T8, T8, 8);
    p.or(T8, T8, COUNT);
    p.stt(T9, 2, T8);
    p.sub(T8, WORK, 1);
    p.and(T8, T8, 0xff);
    p.shl(T8, T8, 16);
    p.ldi(T11, 1 << MSG_INLINE);
    p.or(T8, T8, T11);
    p.or(T8, T8, MSG_COMPLETES | LAST | RUN);
    p.stt(T9, 3, T8);
    advance_second(p, JOURNAL, T8);
    p.and(T8, WORKS, 0xff);
    p.shl(WORK, WORK, 24);
    p.shr(WORK, WORK, 16);
    p.or(WORKS, T8, WORK);
    p.shr(T8, SQ, 16);
    p.pack(SQ, T8, T10);
    p.add(END, END, LEN);
    p.or(FD, FD, 1 << fd::PREFER_RESPONSE);
    p.ldt(T8, ZERO, t::COUNTERS + Counter::TxFpdus as u8);
    p.add(T8, T8, COUNT);
    p.stt(ZERO, t::COUNTERS + Counter::TxFpdus as u8, T8);
    p.mov(R1, LEN);
    p.mov(R0, 1);
    p.if_(eq(COUNT, POSTED), |p| p.mov(R0, 2));
}
