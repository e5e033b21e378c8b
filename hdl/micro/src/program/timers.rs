//! Timers of a connection: retransmission (RFC 6298), persist, delayed ACK, keep-alive (RFC 9293 section 3.8).

use crate::asm::{Asm, after, bit, eq, geu, gtu, ltu, nbit, ne, not_before};
use crate::layout::Sizes;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{fa, fb, fc, fd, port, q, t};

/// Words of a connection's TCP part in its T area, from TQ; times in units of 1024 ns.
pub(super) mod tcb {
    use crate::layout::q;
    /// Retransmission time-out, back-off included.
    pub const RTO: u8 = q::TCP;
    /// When the peer was heard last.
    pub const LAST_HEARD: u8 = q::TCP + 1;
    /// Challenge ACKs left (RFC 5961 section 7), and since when they are counted.
    pub const CHALLENGES: u8 = q::TCP + 2;
    pub const CHALLENGE_AT: u8 = q::TCP + 3;
    /// Keep-alive: its timer, which runs out every 64 ticks; LAST_HEARD as it was seen then; how often it must run out
    /// before a probe; probes not answered.
    pub const KEEP_AT: u8 = q::TCP + 4;
    pub const KEEP_HEARD: u8 = q::TCP + 5;
    pub const KEEP_LEFT: u8 = q::TCP + 6;
    pub const KEEP_SENT: u8 = q::TCP + 7;
    /// IPv4 word 0 as a number, total length of a segment without payload.
    pub const IP: u8 = q::TCP + 8;
}

/// Words at [`t::TIMING`].
pub(super) mod timing {
    use crate::layout::t;
    pub const MIN_RTO: u8 = t::TIMING;
    pub const MAX_RTO: u8 = t::TIMING + 1;
    pub const DELAYED_ACK: u8 = t::TIMING + 2;
    pub const INITIAL_WINDOW: u8 = t::TIMING + 3;
    pub const RETRIES: u8 = t::TIMING + 4;
    pub const TICK: u8 = t::TIMING + 5;
    pub const KEEP_PERIOD: u8 = t::TIMING + 6;
}

/// Context word of the keep-alive: idle time 15:0, probes 23:16.
pub(super) const KEEPALIVE: u8 = q::CONTEXT + 5;
/// RTO before the first sample, 1 s (RFC 6298 section 2.1).
const INITIAL_RTO: u32 = 976_563;

/// Count one; changes T15.
pub(super) fn count(p: &mut Asm, counter: u8) {
    p.ldt(T15, ZERO, t::COUNTERS + counter);
    p.add(T15, T15, 1);
    p.stt(ZERO, t::COUNTERS + counter, T15);
}

/// A bit as a mask.
pub(super) const fn mask(bit: u8) -> u8 {
    1 << bit
}

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("set_rto", set_rto);
    p.routine("rtt_sample", rtt_sample);
    p.routine("time_out", time_out);
    p.routine("keep_alive", keep_alive);
    p.routine("persist_from", persist_from);
    p.routine("on_time", on_time);
}

/// RTO from the estimator and the back-off (RFC 6298 sections 2 and 5.5). Changes T9..T11.
fn set_rto(p: &mut Asm) {
    let initial = p.k(INITIAL_RTO);
    p.mov(T9, initial);
    p.if_(bit(FD, fd::SAMPLED), |p| {
        p.shl(T9, RTTVAR, 2);
        p.ldt(T10, ZERO, timing::TICK);
        p.if_(ltu(T9, T10), |p| p.mov(T9, T10));
        p.add(T9, T9, SRTT);
    });
    p.ldt(T10, ZERO, timing::MIN_RTO);
    p.if_(ltu(T9, T10), |p| p.mov(T9, T10));
    p.and(T10, BACKOFF, 0xff);
    shifted(p);
    p.stt(TQ, tcb::RTO, T9);
}

/// T9 << T10, at most the maximum RTO. Changes T10, T11.
fn shifted(p: &mut Asm) {
    p.ldt(T11, ZERO, timing::MAX_RTO);
    let (top, end) = (p.label(), p.label());
    p.bind(top);
    p.goto_if(eq(T10, 0), end);
    p.goto_if(geu(T9, T11), end);
    p.shl(T9, T9, 1);
    p.sub(T10, T10, 1);
    p.goto(top);
    p.bind(end);
    p.if_(gtu(T9, T11), |p| p.mov(T9, T11));
}

/// The segment being timed is acknowledged at T4 (RFC 6298 section 2). Changes T7..T11.
fn rtt_sample(p: &mut Asm) {
    p.andn(FC, FC, mask(fc::TIMED));
    p.andn(BACKOFF, BACKOFF, 0xff);
    p.sub(T7, T4, RTT_AT);
    p.if_else(
        nbit(FD, fd::SAMPLED),
        |p| {
            p.mov(SRTT, T7);
            p.shr(RTTVAR, T7, 1);
            p.or(FD, FD, mask(fd::SAMPLED));
        },
        |p| {
            p.sub(T8, SRTT, T7);
            p.if_(ltu(SRTT, T7), |p| p.sub(T8, T7, SRTT));
            p.shr(T8, T8, 2);
            p.add(T8, RTTVAR, T8);
            p.shr(T9, RTTVAR, 2);
            p.sub(RTTVAR, T8, T9);
            p.shr(T7, T7, 3);
            p.add(T7, SRTT, T7);
            p.shr(T8, SRTT, 3);
            p.sub(SRTT, T7, T8);
        },
    );
    p.call("set_rto");
}

/// The retransmission timer ran out at T0 with bytes in flight.
fn time_out(p: &mut Asm) {
    p.shr(T1, BACKOFF, 16);
    p.ldt(T2, ZERO, timing::RETRIES);
    p.if_(geu(T1, T2), |p| {
        p.call("retry_exceeded");
        p.ret();
    });
    // A refused window probe says nothing about congestion.
    p.if_(nbit(FC, fc::PROBING), |p| p.call("congestion_timeout"));
    // Karn: what is timed says nothing any more.
    p.andn(FC, FC, mask(fc::TIMED));
    p.ldi(T2, 0x1_0000);
    p.add(BACKOFF, BACKOFF, T2);
    p.and(T1, BACKOFF, 0xff);
    p.if_(ltu(T1, 32), |p| p.add(BACKOFF, BACKOFF, 1));
    p.call("set_rto");
    p.mov(SND_NXT, SND_UNA);
    // The first segment must leave whatever the window says (RFC 9293 section 3.8.6.1).
    p.add(REXMIT_AT, T0, T9);
    p.or(FC, FC, mask(fc::RESEND_ONE) | mask(fc::REXMIT));
    p.mov(A0, 11);
    p.call("count");
}

/// Data waits, nothing is in flight and the window does not allow it: start the persist timer, if it does not run.
fn persist_from(p: &mut Asm) {
    p.ret_if(ne(SND_UNA, SND_MAX));
    p.and(T9, FC, mask(fc::PERSIST) | mask(fc::PROBE));
    p.ret_if(ne(T9, 0));
    p.ldt(T9, TQ, tcb::RTO);
    p.shr(T10, BACKOFF, 8);
    p.and(T10, T10, 0xff);
    shifted(p);
    p.mov(T10, port::NOW);
    p.add(PERSIST_AT, T10, T9);
    p.or(FC, FC, mask(fc::PERSIST));
    p.mov(A0, PERSIST_AT);
    p.call("arm");
}

/// The keep-alive timer of a connection that has one: T13 = its context word; T0 = now.
fn keep_alive(p: &mut Asm) {
    p.ldt(T1, TQ, tcb::KEEP_AT);
    p.if_(not_before(T0, T1), |p| {
        p.ldt(T3, ZERO, timing::KEEP_PERIOD);
        p.ldt(T4, TQ, tcb::LAST_HEARD);
        p.ldt(T5, TQ, tcb::KEEP_HEARD);
        let (start, end) = (p.label(), p.label());
        p.goto_if(ne(T4, T5), start);
        p.add(T1, T1, T3);
        p.ldt(T2, TQ, tcb::KEEP_LEFT);
        p.if_(ne(T2, 1), |p| {
            p.sub(T2, T2, 1);
            p.stt(TQ, tcb::KEEP_LEFT, T2);
            p.goto(end);
        });
        // With bytes in flight or a shut window other timers find out.
        p.goto_if(ne(SND_UNA, SND_MAX), end);
        p.goto_if(bit(FC, fc::PERSIST), end);
        p.goto_if(bit(FC, fc::PROBE), end);
        p.or(FA, FA, mask(fa::KEEP_PROBE));
        p.call("wake");
        p.ldt(T2, TQ, tcb::KEEP_SENT);
        p.add(T2, T2, 1);
        p.stt(TQ, tcb::KEEP_SENT, T2);
        p.loh(T4, T13);
        p.stt(TQ, tcb::KEEP_LEFT, T4);
        p.shr(T4, T13, 16);
        p.and(T4, T4, 0xff);
        p.goto_if(geu(T4, T2), end);
        p.call("retry_exceeded");
        p.ret();
        p.bind(start);
        p.stt(TQ, tcb::KEEP_HEARD, T4);
        p.stt(TQ, tcb::KEEP_SENT, 0);
        p.loh(T2, T13);
        p.stt(TQ, tcb::KEEP_LEFT, T2);
        p.add(T1, T4, T3);
        p.bind(end);
        p.stt(TQ, tcb::KEEP_AT, T1);
    });
    earliest(p, T1);
}

/// R0, R1: the earlier of the deadline there and `at`.
fn earliest(p: &mut Asm, at: crate::isa::Word) {
    let (take, end) = (p.label(), p.label());
    p.goto_if(nbit(R0, 0), take);
    p.goto_if(not_before(at, R1), end);
    p.bind(take);
    p.mov(R1, at);
    p.mov(R0, 1);
    p.bind(end);
}

/// Timers of the current QP that are due; arms the alarm for its next deadline.
fn on_time(p: &mut Asm) {
    p.mov(R0, 0);
    p.ret_if(bit(FB, fb::DEAD));
    p.mov(T0, port::NOW);
    p.if_(bit(FC, fc::ACK_DELAYED), |p| {
        p.rare(not_before(T0, ACK_AT), |p| {
            p.andn(FC, FC, mask(fc::ACK_DELAYED));
            p.or(FB, FB, mask(fb::ACK_NOW));
            p.call("wake");
        });
    });
    p.if_(bit(FC, fc::REXMIT), |p| {
        p.rare(not_before(T0, REXMIT_AT), |p| {
            p.andn(FC, FC, mask(fc::REXMIT));
            p.if_(after(SND_MAX, SND_UNA), |p| {
                p.call("time_out");
                p.call("wake");
            });
        });
    });
    p.if_(bit(FC, fc::PERSIST), |p| {
        p.rare(not_before(T0, PERSIST_AT), |p| {
            p.andn(FC, FC, mask(fc::PERSIST));
            p.or(FC, FC, mask(fc::PROBE));
            // At most 32 times twice as long.
            p.if_(nbit(BACKOFF, 13), |p| {
                p.ldi(T1, 0x100);
                p.add(BACKOFF, BACKOFF, T1);
            });
            p.mov(A0, 12);
            p.call("count");
            p.call("wake");
        });
    });
    p.mov(R0, 0);
    p.ret_if(bit(FB, fb::DEAD));
    p.if_(bit(FC, fc::ACK_DELAYED), |p| earliest(p, ACK_AT));
    p.if_(bit(FC, fc::REXMIT), |p| earliest(p, REXMIT_AT));
    p.if_(bit(FC, fc::PERSIST), |p| earliest(p, PERSIST_AT));
    p.ldt(T13, TQ, KEEPALIVE);
    p.loh(T1, T13);
    p.if_(ne(T1, 0), |p| p.call("keep_alive"));
    p.ret_if(eq(R0, 0));
    p.mov(A0, R1);
    p.call("arm");
}
