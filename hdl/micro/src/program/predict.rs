//! Prediction: before the sequencer sleeps it says what it expects, and when it wakes up it catches up with what the gates have done
//! (docs/microarchitecture.md section 9).
//!
//! What is expected is the simplest: the current connection is at rest, and either software posts one inline Write or Send, or the peer sends one Send that
//! fills a segment; or all that is under way is one Write or Send, and the peer acknowledges it. All conditions that do not depend on what comes are looked at here; the gates look at the rest.

use super::buffer::RECEIVE;
use super::cq;
use super::event::phase;
use super::host::reg;
use super::send::{PSH_ACK, header_words, headers_said, offer, sent};
use super::timers::{count, mask};
use super::transmit::{LAST, MSG_COMPLETES, MSG_INLINE, journal};
use super::work::{SIGNALLED, advance_second, filled, second, work};
use crate::asm::{Asm, Label, bit, eq, geu, gtu, ltu, nbit, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::port::{self, already, cond, predicted};
use crate::layout::{Sizes, fa, fc, fd, q, t};
use ironwarp_proto::abi::regs::{self, Counter, ctrl};
use ironwarp_proto::abi::send_entry::{INLINE_MAX, Opcode as Verb};
use ironwarp_proto::ddp::UNTAGGED_LEN;
use ironwarp_proto::mpa::fpdu::LENGTH_LEN;
use ironwarp_proto::rdmap::Opcode;

/// Word 0 of a signalled inline Write, without its index.
const INLINE_WRITE: u32 = Verb::Write as u32 | 1 << 9 | 1 << 11;
/// Bytes of a segment and of a ULPDU that are enough for every inline entry.
const SEGMENT: u8 = 128;
const ULPDU: u8 = (INLINE_MAX + UNTAGGED_LEN) as u8;
/// Length field, pad and CRC at most.
const AROUND: u8 = LENGTH_LEN as u8 + 3 + 4;

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("expect", |p| expect(p, sizes));
}

/// The sequencer is about to sleep: say what is expected of the current QP, if that can be said.
fn expect(p: &mut Asm, sizes: &Sizes) {
    p.and(T0, port::COND, 1 << cond::RXD | 1 << cond::HOST);
    p.ret_if(ne(T0, 0));
    p.ret_if(ne(STATE, 2));
    const { assert!(ctrl::NO_PREDICTION == 1 << 3) };
    p.ldt(T0, ZERO, reg(regs::CTRL));
    p.ret_if(bit(T0, 3));
    // Nothing is begun in either direction, nothing waits.
    let unusual = [fa::STREAM, fa::MARKERS_TX, fa::MARKERS_RX, fa::HOLD, fa::KEEP_PROBE];
    p.and(T0, FA, unusual.into_iter().map(mask).sum::<u8>());
    p.or(T0, T0, FB);
    let losing = [fc::PERSIST, fc::RESEND_ONE, fc::RESENT, fc::PROBING, fc::PROBE];
    p.and(T1, FC, losing.into_iter().map(mask).sum::<u8>());
    p.or(T0, T0, T1);
    let stopping = [fd::RECOVERING, fd::STOPPED, fd::TERMINATING, fd::POISONED, fd::OPEN];
    p.and(T1, FD, stopping.into_iter().map(mask).sum::<u8>());
    p.or(T0, T0, T1);
    p.or(T0, T0, MSG);
    p.or(T0, T0, STAGED);
    for word in [SND_NXT, END] {
        p.xor(T1, word, SND_MAX);
        p.or(T0, T0, T1);
    }
    p.shr(T1, SQ, 16);
    p.xor(T1, T1, SQ);
    p.loh(T1, T1);
    p.or(T0, T0, T1);
    p.shr(T1, IRRQ, 8);
    p.shr(T2, IRRQ, 16);
    p.xor(T1, T1, T2);
    p.and(T1, T1, 0xff);
    p.or(T0, T0, T1);
    p.ret_if(ne(T0, 0));
    filled(p, T1, WORKS);
    p.if_(ne(SND_UNA, SND_MAX), |p| {
        p.ret_if(ne(T1, 1));
        ack_script(p, sizes);
        p.ret();
    });
    p.ret_if(ne(T1, 0));

    let receive = p.label();
    send_script(p, receive);
    p.bind(receive);
    // Something may have come meanwhile.
    p.and(T0, port::COND, 1 << cond::RXD | 1 << cond::HOST);
    p.ret_if(ne(T0, 0));
    receive_script(p, sizes);
}

/// One inline Write or Send is posted: the table in `hdl/src/predict/send.rs`.
fn send_script(p: &mut Asm, no: Label) {
    const TO: Word = port::EXPECT_SEND;
    p.goto_if(ltu(SND_WND, MSS), no);
    p.goto_if(ltu(CWND, MSS), no);
    p.goto_if(ltu(MSS, SEGMENT), no);
    p.goto_if(ltu(MULPDU, ULPDU), no);
    // The entry.
    p.ldt(T8, TQ, 4);
    p.mov(T10, 1);
    p.shl(T10, T10, T8);
    p.sub(T10, T10, 1);
    p.and(T10, T10, SQ);
    p.shl(T10, T10, 6);
    p.ldt(T8, TQ, 6);
    p.ldt(T9, TQ, 7);
    p.mov(TO, 16);
    p.add(TO, T8, T10);
    p.adc(TO, T9, 0);
    // BEGIN without markers; every byte counts.
    p.and(T8, FA, mask(fa::CRC));
    p.shl(T8, T8, 7 - fa::CRC);
    p.or(T8, T8, super::send::engine::BEGIN);
    p.pack(TO, QPN, T8);
    p.mov(TO, 0);
    p.ldi(TO, 0xffff_0000);
    p.mov(A0, SND_MAX);
    p.mov(A1, 0);
    p.mov(A2, PSH_ACK);
    header_words(p, TO);
    p.bswap(TO, TXMSN0);
    // The doorbell: the first word of the QP's page.
    p.add(T8, QPN, 1);
    p.shl(TO, T8, 12);
    p.ldi(T8, INLINE_WRITE);
    p.pack(TO, SQ, T8);
}

/// A Send of one segment comes: the table in `hdl/src/predict/receive.rs`.
fn receive_script(p: &mut Asm, sizes: &Sizes) {
    const TO: Word = port::EXPECT_RECEIVE;
    // The receive entry was read, is one piece, and its memory was looked at.
    p.ret_if(nbit(FD, fd::AHEAD));
    p.ret_if(bit(FA, fa::USE_SRQ));
    p.or(T8, QPN, 0x80);
    p.pack(T8, T8, OPEN_INDEX);
    p.ldt(T9, ZERO, t::SINK);
    p.ret_if(ne(T8, T9));
    // Neither longer than the window, nor than the buffer.
    p.sub(T0, RCV_ADV, RCV_NXT);
    p.ret_if(bit(T0, 31));
    p.ret_if(ltu(T0, SEGMENT));
    p.sub(T0, T0, AROUND);
    p.ldi(T1, 0xffff - u32::from(AROUND));
    p.if_(gtu(T0, T1), |p| p.mov(T0, T1));
    p.sub(T1, T0, UNTAGGED_LEN as u8);
    p.if_(ltu(OPEN_ROOM, T1), |p| p.add(T0, OPEN_ROOM, UNTAGGED_LEN as u8));
    p.ldt(A0, TQ, q::CONTEXT + 1);
    p.shr(A0, A0, 16);
    may_complete(p, sizes);

    addresses(p);
    p.bswap(TO, MSN0);
    p.and(T1, FA, mask(fa::CRC));
    p.shl(T1, T1, 16 - fa::CRC);
    p.or(TO, T0, T1);
    p.pack(TO, QPN, 5);
    p.mov(TO, 1);
    p.mov(TO, 0);
    p.ldt(TO, ZERO, t::SINK + 1);
    p.ldt(TO, ZERO, t::SINK + 2);
    p.mov(T2, RECEIVE as u8);
    p.mov(T3, 0);
    completion(p, OPEN_INDEX);
}

/// All that is under way is the oldest work, and an ACK comes for all of it.
fn ack_script(p: &mut Asm, sizes: &Sizes) {
    const TO: Word = port::EXPECT_RECEIVE;
    work(p, sizes, T4, WORKS);
    p.ldt(T0, T4, 0);
    p.ldt(T3, T4, 1);
    // A signalled Write or Send that has not failed.
    p.shr(T2, T0, 16);
    p.sub(T2, T2, 1 << (SIGNALLED - 16));
    let known = p.label();
    p.goto_if(eq(T2, Verb::Write as u8), known);
    p.ret_if(ne(T2, Verb::Send as u8));
    p.bind(known);
    p.ldt(A0, TQ, q::CONTEXT + 1);
    p.loh(A0, A0);
    may_complete(p, sizes);

    addresses(p);
    p.mov(TO, 0);
    p.ldi(TO, 1 << 17);
    for _ in 7..12 {
        p.mov(TO, 0);
    }
    p.loh(T0, T0);
    completion(p, T0);
}

/// CQ A0 has room: T8 its words, T9 its producer, T11 its size; else return. Changes T10, T12, T13.
fn may_complete(p: &mut Asm, sizes: &Sizes) {
    cq::find(p, sizes);
    p.ldt(T11, T8, cq::SIZE);
    p.ret_if(eq(T11, 0));
    p.ldt(T12, T8, cq::FLAGS);
    p.ret_if(bit(T12, cq::BROKEN));
    p.ldt(T9, T8, cq::PRODUCER);
    p.ldt(T10, T8, cq::CONSUMER);
    p.sub(T13, T9, T10);
    p.loh(T13, T13);
    p.ret_if(geu(T13, T11));
}

/// D3 to D7 of the segment that is expected.
fn addresses(p: &mut Asm) {
    for word in 0..3 {
        p.ldt(port::EXPECT_RECEIVE, TQ, q::TUPLE + word);
    }
    p.mov(port::EXPECT_RECEIVE, RCV_NXT);
    p.mov(port::EXPECT_RECEIVE, SND_MAX);
}

/// The completion for CQ A0 as [`may_complete`] has found it: opcode T2, length T3, entry `index`. Changes T10, T13..T15.
fn completion(p: &mut Asm, index: Word) {
    const TO: Word = port::EXPECT_RECEIVE;
    cq::begin_entry(p, TO);
    p.pack(TO, T2, QPN);
    p.mov(TO, T3);
    p.mov(TO, index);
    for _ in 3..7 {
        p.mov(TO, 0);
    }
    p.mov(T13, 0);
    phase(p, T13, T9, T11);
    p.mov(TO, T13);
}

/// What was expected has come, and the gates have done it: T0 = what PREDICTED says, not 0. Nothing else has happened to the QP since.
pub(super) fn catch_up(p: &mut Asm, sizes: &Sizes) {
    let (placed, end) = (p.label(), p.label());
    p.goto_if(nbit(T0, predicted::SENT), placed);
    message_sent(p, sizes);
    // The doorbell is the first that waits. Meanwhile more may have been posted.
    p.mov(T0, port::HOST);
    p.mov(H1, port::HOST);
    p.shr(T1, SQ, 16);
    p.loh(T2, H1);
    p.if_(ne(T1, T2), |p| {
        p.shl(T0, T0, 8);
        p.shr(A0, T0, 20);
        p.call("doorbell");
    });
    p.goto(end);

    // The program does it all once more; what it tells the writer is not heard.
    p.bind(placed);
    p.mov(port::ALREADY, already::WRITTEN);
    p.call("rx_frame");
    p.if_(ne(RX_BUSY, 0), |p| p.call("walk_packet"));
    p.mov(port::ALREADY, already::NOTHING);
    p.bind(end);
    const { assert!(predicted::PLACED == 1 && predicted::COMPLETED == 2) };
}

/// An entry was posted, and the frame with its message has left: work, journal, headers, TCP. T0 = what PREDICTED says.
fn message_sent(p: &mut Asm, sizes: &Sizes) {
    const INDEX: Word = T2;
    const PAYLOAD: Word = T3;
    const WORK: Word = T4;
    const FPDU: Word = T5;
    const OPCODE: Word = T6;
    p.shr(TX1, T0, 8);
    p.and(TX1, TX1, 0xff);
    p.shr(PAYLOAD, T0, 16);
    p.loh(INDEX, SQ);
    p.add(T8, INDEX, 1);
    p.pack(SQ, T8, T8);
    // A Write of the journal has opcode 0, and others like it may follow.
    p.mov(T8, Verb::Write as u8);
    p.mov(OPCODE, MSG_COMPLETES | LAST);
    let runs = p.k(1 << fd::RUNS);
    p.if_else(
        bit(T0, predicted::IS_SEND),
        |p| {
            p.mov(T8, Verb::Send as u8);
            p.and(OPCODE, TXMSN0, 0xff);
            p.shl(OPCODE, OPCODE, 8);
            p.or(OPCODE, OPCODE, MSG_COMPLETES | LAST | Opcode::Send as u8);
            p.add(TXMSN0, TXMSN0, 1);
        },
        |p| p.or(FD, FD, runs),
    );
    p.or(FD, FD, mask(fd::PREFER_RESPONSE));
    second(p, WORK, WORKS);
    work(p, sizes, T9, WORK);
    p.shl(T10, T0, 6 - predicted::SIGNALLED);
    p.and(T10, T10, 0x40);
    p.or(T8, T8, T10);
    p.pack(T8, T8, INDEX);
    p.stt(T9, 0, T8);
    p.stt(T9, 1, PAYLOAD);
    advance_second(p, WORKS, T8);
    second(p, FPDU, JOURNAL);
    journal(p, sizes, T9, FPDU);
    p.stt(T9, 0, END);
    p.pack(T8, INDEX, PAYLOAD);
    p.stt(T9, 1, T8);
    p.stt(T9, 2, 0);
    p.shl(T8, WORK, 16);
    p.or(OPCODE, OPCODE, T8);
    let inline = p.k(1 << MSG_INLINE);
    p.or(OPCODE, OPCODE, inline);
    p.stt(T9, 3, OPCODE);
    advance_second(p, JOURNAL, T8);
    p.add(END, END, TX1);
    count(p, Counter::TxFpdus as u8);
    count(p, Counter::TxFrames as u8);
    offer(p);
    p.ldt(T11, TQ, q::IDENT);
    headers_said(p);
    p.mov(TX0, SND_NXT);
    p.mov(TX2, 0);
    sent(p);
}
