//! Congestion control: slow start and avoidance (RFC 5681), NewReno (RFC 6582), and going back for a peer that keeps
//! nothing out of order. The growth of the window on an ordinary ACK stands in `receive`.

use super::timers::{count, mask, timing};
use crate::asm::{Asm, after, bit, eq, geu, gtu, leu, ltu, nbit, ne, not_before};
use crate::layout::Sizes;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{fc, fd};

/// Windows above this are pointless and would overflow sums.
pub(super) const CLIP: u32 = 1 << 30;
/// Duplicate ACKs that mean loss.
pub(super) const DUPLICATE_ACKS: u8 = 3;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("initial_window", initial_window);
    p.routine("segments_of", segments_of);
    p.routine("halve", halve);
    p.routine("recovery_ack", recovery_ack);
    p.routine("duplicate_ack", duplicate_ack);
    p.routine("congestion_timeout", congestion_timeout);
}

/// T7 = MSS times the initial window. Changes T8.
fn initial_window(p: &mut Asm) {
    p.mov(T7, 0);
    p.ldt(T8, ZERO, timing::INITIAL_WINDOW);
    p.while_(ne(T8, 0), |p| {
        p.add(T7, T7, MSS);
        p.sub(T8, T8, 1);
    });
}

/// T8 = segments that T7 bytes make. Changes T7.
fn segments_of(p: &mut Asm) {
    p.mov(T8, 0);
    let (top, end) = (p.label(), p.label());
    p.goto_if(eq(T7, 0), end);
    p.bind(top);
    p.add(T8, T8, 1);
    p.goto_if(leu(T7, MSS), end);
    p.sub(T7, T7, MSS);
    p.goto(top);
    p.bind(end);
}

/// SSTHRESH from the T6 bytes in flight (RFC 5681 equation 4). Changes T7.
fn halve(p: &mut Asm) {
    p.shr(SSTHRESH, T6, 1);
    p.add(T7, MSS, MSS);
    p.if_(ltu(SSTHRESH, T7), |p| p.mov(SSTHRESH, T7));
}

/// CWND grows by the MSS. Changes T7.
fn grow(p: &mut Asm) {
    p.ldi(T7, CLIP);
    p.add(CWND, CWND, MSS);
    p.if_(gtu(CWND, T7), |p| p.mov(CWND, T7));
}

/// An ACK of T5 bytes during fast recovery, T6 in flight. Changes T7..T9.
fn recovery_ack(p: &mut Asm) {
    let full = p.label();
    p.goto_if(nbit(FC, fc::RESENT), full);
    p.goto_if(ne(RESENT, SND_UNA), full);
    p.goto_if(eq(T6, 0), full);
    // The ACK covers just what was resent although later segments had arrived: the peer discards them. Go back.
    p.andn(FD, FD, mask(fd::RECOVERING));
    p.or(FD, FD, mask(fd::GO_BACK));
    p.mov(CWND, SSTHRESH);
    // What was sent before the segment resent has arrived before it; what was sent since may come.
    p.mov(T7, 0);
    p.if_(after(SND_MAX, RECOVER), |p| p.sub(T7, SND_MAX, RECOVER));
    p.mov(RECOVER, SND_MAX);
    p.call("segments_of");
    p.add(THRESHOLD, T8, DUPLICATE_ACKS);
    p.mov(SND_NXT, SND_UNA);
    p.ret();
    p.bind(full);
    p.if_(not_before(SND_UNA, RECOVER), |p| {
        // RFC 6582 section 3.2 step 3, option 1, which avoids a burst.
        p.andn(FD, FD, mask(fd::RECOVERING));
        p.mov(T7, T6);
        p.if_(ltu(T7, MSS), |p| p.mov(T7, MSS));
        p.add(T7, T7, MSS);
        p.mov(CWND, SSTHRESH);
        p.if_(gtu(CWND, T7), |p| p.mov(CWND, T7));
        p.ret();
    });
    p.mov(T7, 0);
    p.if_(gtu(CWND, T5), |p| p.sub(T7, CWND, T5));
    p.mov(CWND, T7);
    p.if_(ltu(CWND, MSS), |p| p.mov(CWND, MSS));
    p.if_(geu(T5, MSS), |p| p.add(CWND, CWND, MSS));
    p.or(FC, FC, mask(fc::RESEND_ONE));
}

/// A duplicate ACK. Changes T5..T9.
fn duplicate_ack(p: &mut Asm) {
    count(p, 8);
    p.sub(T6, SND_MAX, SND_UNA);
    p.add(DUPLICATES, DUPLICATES, 1);
    p.if_(bit(FD, fd::RECOVERING), |p| {
        grow(p);
        p.ret();
    });
    p.ret_if(ne(DUPLICATES, THRESHOLD));
    // T5: one loss a window halves it.
    p.mov(T5, 0);
    p.if_(after(SND_UNA, RECOVER), |p| p.mov(T5, 1));
    p.if_(bit(FD, fd::GO_BACK), |p| {
        p.if_(ne(T5, 0), |p| {
            p.call("halve");
            p.mov(RECOVER, SND_MAX);
        });
        p.mov(CWND, SSTHRESH);
        // Each segment in flight may still cause a duplicate ACK that says nothing new.
        p.mov(T7, T6);
        p.call("segments_of");
        p.add(T9, DUPLICATES, 1);
        p.mov(THRESHOLD, DUPLICATE_ACKS);
        p.if_(ltu(T9, T8), |p| {
            p.sub(T8, T8, T9);
            p.add(THRESHOLD, THRESHOLD, T8);
        });
        p.mov(DUPLICATES, 0);
        p.mov(SND_NXT, SND_UNA);
        count(p, 10);
        p.ret();
    });
    // RFC 6582 section 3.2 step 1, with the ACK heuristic of section 4.1.
    p.if_(eq(T5, 0), |p| {
        p.ret_if(leu(CWND, MSS));
        p.sub(T7, SND_UNA, PREVIOUS_ACK);
        p.shl(T8, MSS, 2);
        p.ret_if(ltu(T8, T7));
    });
    p.call("halve");
    p.mov(RECOVER, SND_MAX);
    p.or(FD, FD, mask(fd::RECOVERING));
    p.add(CWND, MSS, MSS);
    p.add(CWND, CWND, MSS);
    p.add(CWND, CWND, SSTHRESH);
    p.or(FC, FC, mask(fc::RESEND_ONE));
    count(p, 10);
}

/// The retransmission timer ran out (RFC 5681 section 3.1), for the first time if T1 is 0. Changes T6, T7.
fn congestion_timeout(p: &mut Asm) {
    p.if_(eq(T1, 0), |p| {
        p.sub(T6, SND_MAX, SND_UNA);
        p.call("halve");
    });
    p.mov(CWND, MSS);
    p.mov(ACKED, 0);
    // What was in flight has long arrived or gone.
    p.mov(DUPLICATES, 0);
    p.mov(THRESHOLD, DUPLICATE_ACKS);
    p.andn(FD, FD, mask(fd::RECOVERING));
    p.mov(RECOVER, SND_MAX);
}
