//! Stream mode: plain TCP between two byte rings in host memory. Offsets count bytes since the hand-over, modulo 2^32.

use super::receive::{DID, STREAM, did};
use super::send::engine;
use super::timers::mask;
use crate::asm::{Asm, Label, after, before, bit, eq, geu, gtu, leu, ltu, ne, not_before};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fb, port, q, t};

/// Context words that the RDMA part does not need on such a connection.
mod s {
    use crate::isa::Word;
    /// Sequence number of offset 0 of the send ring.
    pub const START: Word = Word::context(51);
    /// Bytes that software has written, bytes it has taken.
    pub const WRITTEN: Word = Word::context(52);
    pub const CONSUMED: Word = Word::context(53);
    /// The status block: bytes received, bytes acknowledged, the peer has closed, sequence.
    pub const RECEIVED: Word = Word::context(54);
    pub const ACKNOWLEDGED: Word = Word::context(55);
    pub const CLOSED: Word = Word::context(56);
    pub const SEQUENCE: Word = Word::context(57);
    /// What has changed since, and what software wants to hear of: `RX` and `TX`.
    pub const CHANGED: Word = Word::context(58);
    pub const ARMED: Word = Word::context(59);
    /// Not 0: bytes are kept behind a gap.
    pub const KEPT: Word = Word::context(38);
    /// Bytes of the send ring and of the receive ring.
    pub const SEND: Word = Word::context(60);
    pub const RECEIVE: Word = Word::context(45);
}

/// Runs of bytes kept behind gaps, from TQ: first sequence number and the one behind the last; equal: none. They do not touch
/// one another.
const RUNS: u8 = q::RUNS;
/// How many.
const RUN_COUNT: u8 = q::RUN_WORDS / 2;

/// Data or FIN came: bit 16 of `STREAM_ARM`.
const RX: u8 = 1;
/// Send ring space was freed: bit 17.
const TX: u8 = 2;

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    if !sizes.has(STREAM) {
        p.routine("update_window", |_| {});
        return;
    }
    p.routine("stream_activate", activate);
    p.routine("stream_post", |p| {
        p.sub(T1, s::WRITTEN, s::ACKNOWLEDGED);
        p.sub(T1, s::SEND, T1);
        move_offset(p, s::WRITTEN, s::SEND);
        p.if_(eq(R0, 1), |p| {
            // What is written behind FIN is never sent.
            p.ret_if(bit(FB, fb::FIN_SENT));
            p.add(END, s::START, s::WRITTEN);
        });
    });
    p.routine("stream_consume", |p| {
        p.sub(T1, s::RECEIVED, s::CONSUMED);
        move_offset(p, s::CONSUMED, s::RECEIVE);
    });
    p.routine("stream_arm", arm);
    p.routine("stream_fire", |p| {
        p.mov(s::ARMED, 0);
        p.pack(A0, QPN, 8);
        p.mov(A1, 0);
        p.mov(A2, 0);
        p.call("event");
    });
    p.routine("stream_plan", plan);
    p.routine("stream_build", build);
    p.routine("tx_read", |p| {
        p.pack(port::TX, T0, engine::READ);
        p.mov(port::TX, T6);
        p.mov(port::TX, T7);
    });
    p.routine("stream_acknowledged", |p| {
        // FIN is not a byte of the stream.
        p.mov(T7, SND_UNA);
        p.if_(before(END, T7), |p| p.mov(T7, END));
        p.sub(s::ACKNOWLEDGED, T7, s::START);
        p.or(s::CHANGED, s::CHANGED, TX);
    });
    p.routine("stream_deliver", |p| {
        p.mov(T1, s::RECEIVED);
        p.call("stream_put");
        p.add(s::RECEIVED, s::RECEIVED, A1);
        // What was kept and now follows.
        p.add(s::RECEIVED, s::RECEIVED, RX5);
        p.or(s::CHANGED, s::CHANGED, RX);
    });
    p.routine("stream_put", put);
    p.routine("stream_keep", keep);
    p.routine("stream_join", join);
    p.routine("stream_closed", |p| {
        p.mov(s::CLOSED, 1);
        p.or(s::CHANGED, s::CHANGED, RX);
        p.mov(RX1, 0);
        p.mov(A1, 0);
        p.mov(A2, 0);
    });
    p.routine("stream_publish", publish);
    p.routine("update_window", update_window);
}

/// A connection as software hands it over.
fn activate(p: &mut Asm) {
    for word in
        [s::WRITTEN, s::CONSUMED, s::RECEIVED, s::ACKNOWLEDGED, s::CLOSED, s::SEQUENCE, s::CHANGED, s::ARMED]
    {
        p.mov(word, 0);
    }
    p.mov(s::START, SND_UNA);
    p.mov(END, SND_UNA);
    p.ldt(T1, TQ, q::CONTEXT + 4);
    p.mov(s::SEND, 1);
    p.shl(s::SEND, s::SEND, T1);
    p.shr(T1, T1, 8);
    p.mov(s::RECEIVE, 1);
    p.shl(s::RECEIVE, s::RECEIVE, T1);
    p.call("update_window");
}

/// Move `current` forward to A0, by at most T1; stale values are ignored, others refused (R0 = 0).
fn move_offset(p: &mut Asm, current: Word, size: Word) {
    p.mov(R0, 1);
    p.sub(T2, A0, current);
    p.if_else(
        leu(T2, T1),
        |p| p.mov(current, A0),
        |p| {
            p.sub(T2, current, A0);
            p.if_(gtu(T2, size), |p| p.mov(R0, 0));
        },
    );
}

/// `STREAM_ARM` A0: at once if the status is newer than what software has seen.
fn arm(p: &mut Asm) {
    p.shr(T1, A0, 16);
    p.and(T1, T1, RX | TX);
    p.or(s::ARMED, s::ARMED, T1);
    p.ret_if(eq(s::ARMED, 0));
    p.xor(T1, A0, s::SEQUENCE);
    p.loh(T1, T1);
    p.if_(ne(T1, 0), |p| p.call("stream_fire"));
}

/// As `rdma_plan`: A0 from, A1 room, A2 may cut.
fn plan(p: &mut Asm) {
    p.mov(R0, 0);
    p.mov(R1, 0);
    p.ret_if(not_before(A0, END));
    p.mov(R0, 1);
    p.mov(R2, 0);
    p.sub(T1, END, A0);
    p.if_(leu(T1, A1), |p| {
        p.mov(R1, T1);
        p.mov(R2, 1);
        p.ret();
    });
    // Silly window avoidance: less than a segment although more waits.
    p.if_(ltu(A1, MSS), |p| p.ret_if(eq(A2, 0)));
    p.mov(R1, A1);
}

/// The frame with A1 bytes from A0 on, flags A2.
fn build(p: &mut Asm) {
    p.mov(T0, A1);
    p.call("tx_begin");
    p.sub(T1, A0, s::START);
    p.mov(T3, s::SEND);
    p.ldt(T4, TQ, q::CONTEXT + 6);
    p.ldt(T5, TQ, q::CONTEXT + 7);
    part(p);
    p.call("tx_read");
    p.if_(ne(T2, 0), |p| {
        p.mov(T0, T2);
        p.mov(T6, T4);
        p.mov(T7, T5);
        p.call("tx_read");
    });
    p.mov(port::TX, engine::END);
}

/// T0 bytes at offset T1 of the ring of T3 bytes at T4, T5: the first T0 of them stand at T6, T7, the T2 others at its start.
fn part(p: &mut Asm) {
    p.sub(T2, T3, 1);
    p.and(T1, T1, T2);
    p.add(T6, T4, T1);
    p.adc(T7, T5, 0);
    p.sub(T3, T3, T1);
    p.mov(T2, 0);
    p.rare(gtu(T0, T3), |p| {
        p.sub(T2, T0, T3);
        p.mov(T0, T3);
    });
}

/// A1 bytes at ring byte address A0 go to offset T1 of the stream in the receive ring. Changes T0..T7.
fn put(p: &mut Asm) {
    p.pack(port::WRITER, QPN, 5);
    p.mov(T0, A1);
    p.mov(T3, s::RECEIVE);
    p.ldt(T4, TQ, q::CONTEXT + 8);
    p.ldt(T5, TQ, q::CONTEXT + 9);
    part(p);
    place(p);
    p.if_(ne(T2, 0), |p| {
        p.add(A0, A0, T0);
        p.mov(T0, T2);
        p.mov(T6, T4);
        p.mov(T7, T5);
        place(p);
    });
    p.ldt(T0, ZERO, t::COUNTERS + 19);
    p.add(T0, T0, A1);
    p.stt(ZERO, t::COUNTERS + 19, T0);
}

/// For each run kept: T6 its address, T9 first, T11 last.
fn each_run(p: &mut Asm, body: impl FnOnce(&mut Asm, Label)) {
    let (top, next) = (p.label(), p.label());
    p.add(T6, TQ, RUNS);
    p.add(T7, T6, 2 * RUN_COUNT);
    p.bind(top);
    p.ldt(T9, T6, 0);
    p.ldt(T11, T6, 1);
    body(p, next);
    p.bind(next);
    p.add(T6, T6, 2);
    p.goto_if(ne(T6, T7), top);
}

/// A segment behind a gap, T1 bytes, T0 window: as much of it as is offered is kept in its place in the ring. R0 = 0: there is no
/// place for another run.
fn keep(p: &mut Asm) {
    p.mov(R0, 0);
    // A1 bytes, T5 behind the next one expected.
    p.sub(T5, RX2, RCV_NXT);
    p.ret_if(geu(T5, T0));
    p.sub(A1, T0, T5);
    p.if_(gtu(A1, T1), |p| p.mov(A1, T1));
    p.ret_if(eq(A1, 0));
    p.mov(T12, RX2);
    p.add(T13, RX2, A1);
    p.mov(T10, 0);
    each_run(p, |p, next| {
        let free = p.label();
        p.goto_if(eq(T9, T11), free);
        // What touches it becomes one with it.
        p.goto_if(after(T12, T11), next);
        p.goto_if(before(T13, T9), next);
        p.if_(before(T9, T12), |p| p.mov(T12, T9));
        p.if_(after(T11, T13), |p| p.mov(T13, T11));
        p.stt(T6, 0, 0);
        p.stt(T6, 1, 0);
        p.bind(free);
        p.mov(T10, T6);
    });
    p.ret_if(eq(T10, 0));
    p.stt(T10, 0, T12);
    p.stt(T10, 1, T13);
    p.mov(s::KEPT, 1);
    p.add(T1, s::RECEIVED, T5);
    p.shl(A0, RX_D1, 2);
    p.add(A0, A0, RX1);
    p.loh(A0, A0);
    p.call("stream_put");
    p.mov(R0, 1);
}

/// Everything before RCV_NXT has come in order: RX5 = bytes kept that now follow without a gap. They are acknowledged at once
/// (T10). Changes T5..T7, T9, T11.
fn join(p: &mut Asm) {
    p.mov(RX5, 0);
    p.ret_if(eq(s::KEPT, 0));
    p.ret_if(bit(DID, did::FIN));
    p.mov(s::KEPT, 0);
    each_run(p, |p, next| {
        p.goto_if(eq(T9, T11), next);
        p.if_(after(T9, RCV_NXT), |p| {
            p.mov(s::KEPT, 1);
            p.goto(next);
        });
        p.stt(T6, 0, 0);
        p.stt(T6, 1, 0);
        p.sub(T9, T11, RCV_NXT);
        p.goto_if(bit(T9, 31), next);
        p.if_(gtu(T9, RX5), |p| p.mov(RX5, T9));
    });
    p.add(RCV_NXT, RCV_NXT, RX5);
    p.if_(ne(RX5, 0), |p| p.mov(T10, 1));
}

/// PLACE T0 bytes from ring byte address A0 to T6, T7.
fn place(p: &mut Asm) {
    p.pack(port::WRITER, T0, 1);
    p.loh(port::WRITER, A0);
    p.mov(port::WRITER, T6);
    p.mov(port::WRITER, T7);
}

/// Tell software what has changed, behind the data.
fn publish(p: &mut Asm) {
    p.ret_if(eq(s::CHANGED, 0));
    p.add(s::SEQUENCE, s::SEQUENCE, 1);
    p.pack(port::WRITER, QPN, 5);
    p.ldi(port::WRITER, 2 | 4 << 8);
    p.ldt(port::WRITER, TQ, q::CONTEXT + 10);
    p.ldt(port::WRITER, TQ, q::CONTEXT + 11);
    for word in [s::RECEIVED, s::ACKNOWLEDGED, s::CLOSED, s::SEQUENCE] {
        p.mov(port::WRITER, word);
    }
    p.and(T0, s::ARMED, s::CHANGED);
    p.mov(s::CHANGED, 0);
    p.if_(ne(T0, 0), |p| p.call("stream_fire"));
}

/// The window follows the ring; it opens in worthwhile steps (RFC 9293 section 3.8.6.2.2).
fn update_window(p: &mut Asm) {
    // T3 free, T4 step, T5 open, T6 half of the ring.
    p.sub(T3, s::RECEIVED, s::CONSUMED);
    p.sub(T3, s::RECEIVE, T3);
    p.ldt(T4, TQ, q::CONTEXT + 15);
    p.if_(gtu(T3, T4), |p| p.mov(T3, T4));
    p.shr(T6, s::RECEIVE, 1);
    p.mov(T4, MSS);
    p.if_(gtu(T4, T6), |p| p.mov(T4, T6));
    p.sub(T5, RCV_ADV, RCV_NXT);
    p.if_(bit(T5, 31), |p| p.mov(T5, 0));
    p.mov(T0, T5);
    p.add(T7, T5, T4);
    p.if_(geu(T3, T7), |p| p.mov(T0, T3));
    p.call("set_window");
    // Software made room: tell a sender that may be waiting for it.
    let tell = p.label();
    p.if_(ltu(T5, MSS), |p| p.goto_if(geu(T3, T7), tell));
    p.add(T1, RCV_NXT, RCV_WND);
    p.sub(T1, T1, RCV_ADV);
    p.ret_if(bit(T1, 31));
    p.add(T2, MSS, MSS);
    p.if_(gtu(T2, T6), |p| p.mov(T2, T6));
    p.ret_if(ltu(T1, T2));
    p.bind(tell);
    p.or(FB, FB, mask(fb::ACK_NOW));
}
