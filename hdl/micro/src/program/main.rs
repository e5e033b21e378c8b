//! Boot, dispatch, ready queue, alarm, and what every part uses.

use super::host::dev;
use crate::asm::{Asm, Label, bit, eq, ltu, nbit, ne, not_before};
use crate::isa::{Operand, Word};
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::port::{self, cond};
use crate::layout::{Sizes, fa, fb, q, t};
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::abi::regs::{self, Counter};

/// What main does before the next event: bits of H2.
pub(super) mod todo {
    /// The level of the interrupt line may have changed.
    pub const INTERRUPT: u8 = 1;
    /// A CQ broke, or a QP lost a frame or a write: stop QPs.
    pub const STOPS: u8 = 2;
}

/// What the transmitter has to do: bits of H3.
pub(super) mod tx {
    /// CTRL has transmit enable set.
    pub const ENABLED: u8 = 0;
    /// The header of a raw frame for the wire was read.
    pub const RAW: u8 = 1;
    /// The header of a raw frame to inject was read.
    pub const INJECT: u8 = 2;
    /// Raw frames have the next turn.
    pub const RAW_TURN: u8 = 3;
}

/// Tags of writes and frames that belong to no QP.
pub(super) mod tag {
    /// 0x80 | CQ.
    pub const CQ: u8 = 7;
    /// Nobody's: no QP has this number.
    pub const NONE: u32 = 0x7f;
    /// A frame that is injected.
    pub const INJECT: u32 = 0x7e;
}

/// Requests of the host that a pass serves: all that can have been waiting when the last frame was taken. What rang before a frame came is
/// thus known when the frame is looked at, and a host that never stops holds up a frame by so many requests, not for ever.
const HOST_TURN: u8 = 17;

/// Flags of `q::HOST`: what the QP lost.
mod lost {
    pub const WRITE: u8 = 1;
    pub const FRAME: u8 = 2;
}

/// Count one; changes T14.
pub(super) fn count(p: &mut Asm, counter: Counter) {
    p.ldt(T14, ZERO, t::COUNTERS + counter as u8);
    p.add(T14, T14, 1);
    p.stt(ZERO, t::COUNTERS + counter as u8, T14);
}

/// `count` of these objects as an operand of a comparison.
pub(super) fn limit(p: &Asm, log2: u8) -> Operand {
    let number = 1u32 << log2;
    u8::try_from(number).map_or_else(|_| p.k(number).into(), Into::into)
}

/// d = T address of the area of QP `number`; changes `scratch`.
pub(super) fn area(p: &mut Asm, sizes: &Sizes, d: Word, number: Word, scratch: Word) {
    // The size of an area times the number, bit by bit in non-adjacent form.
    let (mut size, mut shift) = (i32::from(sizes.qp_area()), 0);
    let mut digits = Vec::new();
    while size != 0 {
        if size & 1 != 0 {
            let digit = 2 - (size & 3);
            digits.push((shift, digit));
            size -= digit;
        }
        size >>= 1;
        shift += 1;
    }
    let mut high = digits.pop().map_or(0, |(shift, _)| shift);
    let mut value = number;
    for (shift, digit) in digits.into_iter().rev() {
        p.shl(scratch, value, (high - shift) as u8);
        if digit > 0 {
            p.add(scratch, scratch, number)
        } else {
            p.sub(scratch, scratch, number)
        }
        (value, high) = (scratch, shift);
    }
    p.shl(scratch, value, high as u8);
    p.ldi(d, sizes.qps().into());
    p.add(d, d, scratch);
}

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("main", |p| {
        let (boot, top) = (p.label(), p.label());
        p.bind(boot);
        p.load_constants(T0);
        p.mov(ZERO, 0);
        p.call("reset");
        p.bind(top);
        dispatch(p, sizes, top, boot);
    });
    reset(p, sizes);
    p.routine("select", |p| {
        p.if_(ne(A0, QPN), |p| {
            p.set_qp(A0);
            p.mov(QPN, A0);
            area(p, sizes, TQ, A0, T15);
        });
    });
    p.routine("wake", |p| p.if_(nbit(FB, fb::READY), |p| queue(p, sizes)));
    p.routine("arm", |p| {
        let set = p.label();
        p.goto_if(eq(ALARM_SET, 0), set);
        p.ret_if(not_before(A0, ALARM_AT));
        p.bind(set);
        p.mov(ALARM_SET, 1);
        p.mov(ALARM_AT, A0);
        p.mov(port::ALARM, A0);
    });
    p.routine("count", |p| {
        p.ldt(T14, ZERO, A0);
        p.add(T14, T14, 1);
        p.stt(A0, t::COUNTERS, T14);
    });
    p.routine("dma_fault", |p| {
        p.ldt(T15, ZERO, dev::STICKY);
        p.or(T15, T15, regs::status::DMA_FAULT as u8);
        p.stt(ZERO, dev::STICKY, T15);
        count(p, Counter::DmaFaults);
    });
    errors(p, sizes);
    housekeeping(p, sizes);
}

/// The current QP to the end of the ready queue; changes T14, T15.
fn queue(p: &mut Asm, sizes: &Sizes) {
    p.or(FB, FB, 1 << fb::READY);
    p.add(T15, READY_HEAD, READY_COUNT);
    p.and(T15, T15, mask(sizes));
    p.ldi(T14, sizes.ready().into());
    p.add(T15, T15, T14);
    p.stt(T15, 0, QPN);
    p.add(READY_COUNT, READY_COUNT, 1);
}

/// Ready queue index mask.
fn mask(sizes: &Sizes) -> u8 {
    ((1u32 << sizes.log2_qps) - 1) as u8
}

/// One pass over the sources of work: each is served, so nothing can keep the others waiting for ever.
fn dispatch(p: &mut Asm, sizes: &Sizes, top: Label, boot: Label) {
    let on = |sources: &[u8]| sources.iter().fold(0u8, |mask, source| mask | 1 << source);
    let seldom = on(&[cond::HOST, cond::ALARM, cond::TXERR, cond::WERR]);
    p.and(T0, port::COND, seldom);
    p.rare(ne(T0, 0), |p| sources(p, boot));

    let (idle, delivered) = (p.label(), p.label());
    p.goto_if(eq(RX_BUSY, 0), idle);
    p.goto_if(nbit(port::COND, cond::WALK), delivered);
    p.call("walk_packet");
    // The next frame at once, unless the host waits: while it is walked, one is sent.
    p.goto_if(ne(RX_BUSY, 0), delivered);
    p.goto_if(bit(port::COND, cond::HOST), delivered);
    p.bind(idle);
    p.if_(bit(port::COND, cond::RXD), |p| p.call("rx_frame"));
    p.bind(delivered);

    let (qps, sent) = (p.label(), p.label());
    p.rare(ne(H3, 1 << tx::ENABLED), |p| unusual_transmit(p, qps, sent));
    p.goto_if(eq(READY_COUNT, 0), sent);
    p.goto_if(nbit(port::COND, cond::TX_ROOM), sent);
    p.bind(qps);
    transmit(p, sizes, sent);
    p.bind(sent);

    // Interrupts and stops are the rest of what was just done. Housekeeping is one thing at a time.
    p.rare(ne(H2, 0), |p| {
        p.call("housekeeping");
        p.goto(top);
    });
    // Sleep until there is something that can be done.
    let (busy, wait_tx) = (p.label(), p.label());
    let wait = |p: &mut Asm, more: u8| {
        p.wait(seldom | more);
        p.goto(top);
    };
    p.goto_if(ne(RX_BUSY, 0), busy);
    p.rare(ne(H3, 1 << tx::ENABLED), |p| {
        wants_room(p, wait_tx);
        wait(p, on(&[cond::RXD]));
    });
    p.goto_if(ne(READY_COUNT, 0), wait_tx);
    if sizes.predicts {
        p.call("expect");
        p.wait(seldom | on(&[cond::RXD]));
        p.mov(T0, port::PREDICTED);
        p.rare(ne(T0, 0), |p| super::predict::catch_up(p, sizes));
        p.goto(top);
    } else {
        wait(p, on(&[cond::RXD]));
    }
    p.bind(wait_tx);
    wait(p, on(&[cond::RXD, cond::TX_ROOM]));
    p.bind(busy);
    let busy_tx = p.label();
    p.rare(ne(H3, 1 << tx::ENABLED), |p| {
        wants_room(p, busy_tx);
        wait(p, on(&[cond::WALK]));
    });
    p.goto_if(ne(READY_COUNT, 0), busy_tx);
    wait(p, on(&[cond::WALK]));
    p.bind(busy_tx);
    wait(p, on(&[cond::WALK, cond::TX_ROOM]));
}

/// Go to `yes` if room in the transmitter is of use, while it is disabled or there are raw frames.
fn wants_room(p: &mut Asm, yes: Label) {
    let no = p.label();
    p.goto_if(bit(H3, tx::INJECT), yes);
    p.goto_if(nbit(H3, tx::ENABLED), no);
    p.goto_if(bit(H3, tx::RAW), yes);
    p.goto_if(ne(READY_COUNT, 0), yes);
    p.bind(no);
}

/// What comes less often than frames.
fn sources(p: &mut Asm, boot: Label) {
    p.if_(bit(T0, cond::HOST), |p| {
        let (next, end) = (p.label(), p.label());
        p.mov(H4, HOST_TURN);
        p.bind(next);
        host(p, boot);
        p.goto_if(nbit(port::COND, cond::HOST), end);
        p.sub(H4, H4, 1);
        p.goto_if(ne(H4, 0), next);
        p.bind(end);
    });
    p.and(T0, port::COND, 1 << cond::ALARM | 1 << cond::TXERR | 1 << cond::WERR);
    p.if_(ne(T0, 0), |p| {
        p.if_(bit(port::COND, cond::ALARM), |p| p.call("alarm"));
        p.if_(bit(port::COND, cond::WERR), |p| {
            p.mov(A0, port::WERR);
            p.call("write_failed");
        });
        p.if_(bit(port::COND, cond::TXERR), |p| {
            p.mov(A0, port::TXERR);
            p.call("frame_failed");
        });
    });
}

/// The transmitter is disabled, or there is a raw frame: connections and raw frames alternate, what is injected goes at any time.
fn unusual_transmit(p: &mut Asm, qps: Label, sent: Label) {
    let (raw, wire) = (p.label(), p.label());
    p.goto_if(nbit(H3, tx::INJECT), wire);
    p.goto_if(bit(port::COND, cond::INJECT_ROOM), raw);
    p.bind(wire);
    p.goto_if(nbit(H3, tx::ENABLED), sent);
    p.goto_if(nbit(port::COND, cond::TX_ROOM), sent);
    p.if_(bit(H3, tx::RAW), |p| {
        p.goto_if(eq(READY_COUNT, 0), raw);
        p.xor(H3, H3, 1 << tx::RAW_TURN);
        p.goto_if(bit(H3, tx::RAW_TURN), raw);
    });
    p.goto_if(ne(READY_COUNT, 0), qps);
    p.goto(sent);
    p.bind(raw);
    p.call("raw_send");
    p.goto(sent);
}

/// A request of the host.
fn host(p: &mut Asm, boot: Label) {
    let (end, settle, write) = (p.label(), p.label(), p.label());
    p.mov(H0, port::HOST);
    p.mov(H1, port::HOST);
    // Byte offset << 8, doorbell page + 1.
    p.shl(T0, H0, 8);
    p.shr(A0, T0, 20);
    let read = p.label();
    p.goto_if(nbit(H0, 31), read);
    p.goto_if(eq(A0, 0), write);
    p.call("doorbell");
    p.goto(end);
    p.bind(read);
    p.shr(T0, T0, 10);
    p.call("host_read");
    p.goto(end);
    p.bind(write);
    p.shr(T0, T0, 10);
    p.goto_if(eq(T0, (regs::CMD / 4) as u8), settle);
    p.goto_if(eq(T0, (regs::CTRL / 4) as u8), settle);
    p.call("host_write");
    p.goto(end);
    // What takes a QP away, or its queues, waits for the frame that is being delivered.
    p.bind(settle);
    p.while_(ne(RX_BUSY, 0), |p| p.call("walk_packet"));
    p.shl(T0, H0, 8);
    p.shr(T0, T0, 10);
    let control = p.label();
    p.goto_if(eq(T0, (regs::CTRL / 4) as u8), control);
    p.call("command");
    p.goto(end);
    p.bind(control);
    p.goto_if(bit(H1, 31), boot);
    p.call("write_ctrl");
    p.bind(end);
}

/// The next connection has a turn: one frame, then to the back of the queue.
fn transmit(p: &mut Asm, sizes: &Sizes, end: Label) {
    p.ldi(T14, sizes.ready().into());
    p.ldt(A0, T14, READY_HEAD);
    p.add(READY_HEAD, READY_HEAD, 1);
    p.and(READY_HEAD, READY_HEAD, mask(sizes));
    p.sub(READY_COUNT, READY_COUNT, 1);
    p.rare(ne(A0, QPN), |p| p.call("select"));
    p.andn(FB, FB, 1 << fb::READY);
    p.goto_if(eq(STATE, 0), end);
    p.call("transmit");
    p.goto_if(eq(R0, 0), end);
    count(p, Counter::TxFrames);
    p.goto_if(bit(R0, 1), end);
    p.goto_if(bit(FB, fb::READY), end);
    queue(p, sizes);
}

/// Power-up state. Time goes on.
fn reset(p: &mut Asm, sizes: &Sizes) {
    p.routine("reset", |p| {
        p.mov(port::MAC1, 0);
        p.mov(port::MAC0, 0);
        p.stt(ZERO, t::SOURCE, 0);
        p.mov(port::ALARM_OFF, 0);
        p.mov(T0, port::TXDRAIN);
        p.while_(bit(port::COND, cond::TXERR), |p| p.mov(T0, port::TXERR));
        let failed = p.label();
        p.bind(failed);
        p.mov(T0, port::DRAIN);
        p.goto_if(bit(T0, 0), failed);
        for word in [ALARM_SET, READY_HEAD, READY_COUNT, RX_BUSY, H2, H3, KNOWN_LENGTH] {
            p.mov(word, 0);
        }
        clear(p, T1, 0, sizes.qps().into());
        p.mov(T2, 0);
        p.ldi(TQ, sizes.qps().into());
        let next = p.label();
        p.bind(next);
        p.set_qp(T2);
        p.mov(STATE, 0);
        p.mov(FB, 0);
        // What the window shows.
        p.mov(T1, TQ);
        p.add(T3, T1, q::TCP);
        clear_to(p, T1, T3);
        p.ldi(T3, sizes.qp_area().into());
        p.add(TQ, TQ, T3);
        p.add(T2, T2, 1);
        p.goto_if(ltu(T2, limit(p, sizes.log2_qps)), next);
        p.mov(A0, 0);
        p.mov(QPN, 0xff);
        p.call("select");
        p.call("registers");
        // Frames that came before are of nobody now.
        p.while_(bit(port::COND, cond::RXD), |p| {
            p.call("rx_frame");
            p.mov(T0, port::DRAIN);
        });
        clear(p, T1, t::COUNTERS.into(), 32);
        p.mov(port::WRITER, 4);
    });
}

/// T[from..to] = 0; changes `at`, T4.
fn clear(p: &mut Asm, at: Word, from: u32, to: u32) {
    p.ldi(at, from);
    p.ldi(T4, to);
    clear_to(p, at, T4);
}

/// T[at..to] = 0 and up to three words more are never touched: lengths here are multiples of 2.
fn clear_to(p: &mut Asm, at: Word, to: Word) {
    let top = p.label();
    p.bind(top);
    p.stt(at, 0, 0);
    p.stt(at, 1, 0);
    p.add(at, at, 2);
    p.goto_if(ltu(at, to), top);
}

/// Reads and writes of host memory that failed.
fn errors(p: &mut Asm, sizes: &Sizes) {
    // R0 = 1: a write of the current QP failed.
    p.routine("drain", |p| {
        let next = p.label();
        p.mov(R0, 0);
        p.bind(next);
        p.mov(A0, port::DRAIN);
        p.ret_if(nbit(A0, 0));
        p.call("write_failed");
        p.goto(next);
    });
    // A0 = what DRAIN or WERR says; R0 = 1 if it is the current QP's, else as it was.
    p.routine("write_failed", |p| {
        let (none, cq) = (p.label(), p.label());
        p.call("dma_fault");
        p.shl(A0, A0, 8);
        p.shr(A0, A0, 24);
        p.ldi(T15, tag::NONE);
        p.goto_if(eq(A0, T15), none);
        p.or(H2, H2, todo::STOPS);
        p.goto_if(bit(A0, tag::CQ), cq);
        lose(p, sizes, lost::WRITE);
        p.if_(eq(A0, QPN), |p| p.mov(R0, 1));
        p.ret();
        // The completion never came: nobody may rely on this queue.
        p.bind(cq);
        p.and(A0, A0, (1 << tag::CQ) - 1);
        p.shl(A0, A0, 3);
        p.ldi(T15, sizes.cqs().into());
        p.add(A0, A0, T15);
        p.ldt(T15, A0, super::cq::FLAGS);
        p.or(T15, T15, 1 << super::cq::BROKEN);
        p.stt(A0, super::cq::FLAGS, T15);
        p.bind(none);
    });
    p.routine("frame_failed", |p| {
        p.call("dma_fault");
        p.loh(A0, A0);
        p.ldi(T15, tag::INJECT);
        p.rare(eq(A0, T15), |p| {
            p.call("injected");
            p.ret();
        });
        // It was counted when it was built.
        p.ldt(T14, ZERO, t::COUNTERS + Counter::TxFrames as u8);
        p.sub(T14, T14, 1);
        p.stt(ZERO, t::COUNTERS + Counter::TxFrames as u8, T14);
        p.add(T15, T15, 1);
        p.ret_if(eq(A0, T15));
        p.or(H2, H2, todo::STOPS);
        lose(p, sizes, lost::FRAME);
    });
}

/// Remember that QP A0 lost something, without leaving the current one.
fn lose(p: &mut Asm, sizes: &Sizes, what: u8) {
    area(p, sizes, T14, A0, T15);
    p.ldt(T15, T14, q::HOST);
    p.or(T15, T15, what);
    p.stt(T14, q::HOST, T15);
}

/// The interrupt, and QPs to stop.
fn housekeeping(p: &mut Asm, sizes: &Sizes) {
    p.routine("housekeeping", |p| {
        p.if_(nbit(H2, 1), |p| {
            p.mov(H2, 0);
            p.call("interrupt");
            p.ret();
        });
        p.andn(H2, H2, todo::STOPS);
        p.mov(H0, 0);
        let (top, next) = (p.label(), p.label());
        p.bind(top);
        p.mov(A0, H0);
        p.call("select");
        p.goto_if(eq(STATE, 0), next);
        p.ldt(T0, TQ, q::HOST);
        p.if_(ne(T0, 0), |p| {
            p.stt(TQ, q::HOST, 0);
            let fatal = p.label();
            p.goto_if(bit(T0, 1), fatal);
            p.goto_if(bit(FA, fa::STREAM), fatal);
            p.call("own_error");
            p.goto(next);
            p.bind(fatal);
            stop(p, ErrorCause::Fatal);
            p.goto(next);
        });
        p.goto_if(bit(FA, fa::STREAM), next);
        p.ldt(T0, TQ, q::CONTEXT + 1);
        let broken = p.label();
        for high in [false, true] {
            if high {
                p.shr(T1, T0, 16)
            } else {
                p.loh(T1, T0)
            }
            p.shl(T1, T1, 3);
            p.ldi(T2, sizes.cqs().into());
            p.add(T1, T1, T2);
            p.ldt(T1, T1, super::cq::FLAGS);
            p.goto_if(bit(T1, super::cq::BROKEN), broken);
        }
        p.goto(next);
        p.bind(broken);
        stop(p, ErrorCause::CqBroken);
        p.bind(next);
        p.add(H0, H0, 1);
        p.goto_if(ltu(H0, limit(p, sizes.log2_qps)), top);
    });
    p.routine("alarm", |p| {
        p.mov(port::ALARM_OFF, 0);
        p.mov(ALARM_SET, 0);
        // Events may have waited long enough for company.
        p.or(H2, H2, todo::INTERRUPT);
        p.mov(H0, 0);
        let (top, next) = (p.label(), p.label());
        p.bind(top);
        p.set_qp(H0);
        p.goto_if(eq(STATE, 0), next);
        p.mov(A0, H0);
        p.call("select");
        p.call("on_time");
        p.bind(next);
        p.add(H0, H0, 1);
        p.goto_if(ltu(H0, limit(p, sizes.log2_qps)), top);
        // The last one looked at need not be active.
        p.set_qp(QPN);
    });
}

/// Stop the current QP without a record.
pub(super) fn stop(p: &mut Asm, cause: ErrorCause) {
    p.mov(A0, cause as u8);
    p.mov(A1, 0);
    p.call("stop");
}
