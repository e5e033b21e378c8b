//! Frames out: how much may leave and from where (RFC 9293 sections 3.8.4 and 3.8.6), headers, what is remembered.
//!
//! Words of a turn: TX0 SEQ, TX1 room and then payload, TX2 `turn`.

use super::receive::STREAM;
use super::timers::{count, mask, tcb};
use super::work::filled;
use crate::asm::{Asm, Label, after, before, bit, eq, geu, gtu, leu, ltu, nbit, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fa, fb, fc, fd, port, q};

/// Bits of TX2.
mod turn {
    /// A unit that does not fit may be cut.
    pub const MAY_CUT: u8 = 0;
    /// The windows allow something.
    pub const GRANTED: u8 = 1;
    /// FIN goes with it.
    pub const FIN: u8 = 2;
    /// Something waits.
    pub const CUT: u8 = 3;
    /// Nothing is left for another turn.
    pub const LAST: u8 = 4;
}
const FREELY: u8 = 1 << turn::MAY_CUT | 1 << turn::GRANTED;

/// TCP flags.
pub(super) const ACK: u8 = 0x10;
pub(super) const PSH_ACK: u8 = 0x18;

/// Commands of the transmit engine.
pub(super) mod engine {
    pub const BEGIN: u8 = 1;
    /// 14 words.
    pub const HEADER: u32 = 2 | 14 << 8;
    pub const READ: u8 = 5;
    pub const END: u8 = 7;
}

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("transmit", |p| transmit(p, sizes));
    p.routine("frame_headers", frame_headers);
    p.routine("tx_begin", tx_begin);
    p.routine("set_window", set_window);
    p.routine("tx_idle", tx_idle);
}

/// A turn of the current QP: one frame, or none.
fn transmit(p: &mut Asm, sizes: &Sizes) {
    let [data, ack, none] = [(); 3].map(|()| p.label());
    p.goto_if(bit(FB, fb::DEAD), none);
    p.goto_if(eq(STATE, 1), none);
    p.rare(bit(FB, fb::FIN_SENT), |p| {
        // Behind a FIN there are only retransmissions.
        p.goto_if(bit(FC, fc::RESEND_ONE), data);
        p.goto_if(before(SND_NXT, SND_MAX), data);
        p.goto(ack);
    });
    p.rare(bit(FB, fb::ACK_NOW), |p| {
        nothing_to_send(p, sizes, data);
        p.goto(ack);
    });
    p.bind(data);
    grant(p);
    send_data(p, sizes, ack, none);
    p.mov(R0, 1);
    p.rare(bit(TX2, turn::LAST), |p| p.mov(R0, 2));
    p.ret();

    p.bind(ack);
    p.if_(nbit(FB, fb::ACK_NOW), |p| p.goto_if(nbit(FA, fa::KEEP_PROBE), none));
    count(p, 24);
    p.mov(TX0, SND_MAX);
    p.if_(bit(FA, fa::KEEP_PROBE), |p| {
        p.andn(FA, FA, mask(fa::KEEP_PROBE));
        p.sub(TX0, TX0, 1);
    });
    p.mov(A0, TX0);
    p.mov(A1, 0);
    p.mov(A2, ACK);
    p.call("tx_begin");
    p.mov(port::TX, engine::END);
    // There is nothing else.
    p.mov(R0, 2);
    p.ret();
    p.bind(none);
    p.mov(R0, 0);
}

/// Go to `something` if the current QP may have a segment with payload or FIN to send; an ACK is not asked about.
/// Changes T0, T1.
pub(super) fn nothing_to_send(p: &mut Asm, sizes: &Sizes, something: Label) {
    if sizes.has(STREAM) {
        p.goto_if(bit(FA, fa::STREAM), something);
    }
    // Bytes in the stream, an open message, entries not started, Reads not answered, FIN.
    p.goto_if(ne(SND_NXT, END), something);
    p.goto_if(ne(MSG, 0), something);
    p.shr(T0, SQ, 16);
    p.loh(T1, SQ);
    p.goto_if(ne(T0, T1), something);
    p.shr(T0, IRRQ, 8);
    p.shr(T1, IRRQ, 16);
    p.xor(T0, T0, T1);
    p.and(T0, T0, 0xff);
    p.goto_if(ne(T0, 0), something);
    p.and(T0, FB, mask(fb::FIN_WANTED));
    p.and(T1, FC, mask(fc::RESEND_ONE) | mask(fc::PROBE));
    p.or(T0, T0, T1);
    p.and(T1, FD, mask(fd::TERMINATING));
    p.or(T0, T0, T1);
    p.goto_if(ne(T0, 0), something);
}

/// TX0..TX2: where the next segment begins and how long it may be. Retransmission comes first: one segment from SND.UNA,
/// then everything from SND.NXT.
fn grant(p: &mut Asm) {
    let granted = p.label();
    p.mov(TX2, FREELY);
    p.rare(bit(FC, fc::RESEND_ONE), |p| {
        p.mov(TX0, SND_UNA);
        p.mov(TX1, SND_WND);
        p.if_(eq(TX1, 0), |p| p.mov(TX1, 1));
        p.if_(gtu(TX1, MSS), |p| p.mov(TX1, MSS));
        p.goto(granted);
    });
    p.mov(TX0, SND_NXT);
    p.sub(T0, SND_NXT, SND_UNA);
    p.mov(T1, CWND);
    // Limited transmit (RFC 5681 section 3.2 step 1): new data on the first two duplicates.
    p.rare(ne(DUPLICATES, 0), |p| {
        p.if_(nbit(FD, fd::RECOVERING), |p| {
            p.if_(eq(THRESHOLD, 3), |p| {
                p.add(T1, T1, MSS);
                p.if_(ne(DUPLICATES, 1), |p| p.add(T1, T1, MSS));
            });
        });
    });
    p.rare(ltu(SND_WND, T1), |p| p.mov(T1, SND_WND));
    p.rare(leu(T1, T0), |p| {
        p.mov(TX1, 1);
        p.goto_if(bit(FC, fc::PROBE), granted);
        // Only ask whether something waits.
        p.mov(TX0, SND_MAX);
        p.mov(TX1, 0);
        p.mov(TX2, 0);
        p.goto(granted);
    });
    p.sub(T1, T1, T0);
    p.mov(TX1, MSS);
    p.rare(ltu(T1, MSS), |p| {
        p.mov(TX1, T1);
        // Sender's silly window avoidance (RFC 9293 section 3.8.6.2.1): cut what will never fit a segment, or, with
        // nothing in flight to wait for, for a probe, half of the largest window, or bytes sent before.
        p.goto_if(bit(FC, fc::PROBE), granted);
        p.if_(eq(T0, 0), |p| {
            p.shr(T0, MAX_WND, 1);
            p.goto_if(geu(T1, T0), granted);
            p.goto_if(before(SND_NXT, SND_MAX), granted);
        });
        p.mov(TX2, mask(turn::GRANTED));
    });
    p.bind(granted);
}

/// A segment with payload or FIN; ends at `ack` if there is none, at `none` if the connection was lost.
fn send_data(p: &mut Asm, sizes: &Sizes, ack: Label, none: Label) {
    let [planned, stalled, build, built] = [(); 4].map(|()| p.label());
    p.mov(A0, TX0);
    p.mov(A1, TX1);
    p.and(A2, TX2, mask(turn::MAY_CUT));
    if sizes.has(STREAM) {
        p.rare(bit(FA, fa::STREAM), |p| {
            p.call("stream_plan");
            p.goto(planned);
        });
    }
    let general = p.label();
    p.if_(bit(FD, fd::RUNS), |p| {
        p.goto_if(ne(TX0, END), general);
        p.call("rdma_run");
        let nothing = p.label();
        p.goto_if(eq(R0, 0), nothing);
        p.mov(TX1, R1);
        // All that was posted has gone.
        p.if_(bit(R0, 1), |p| p.or(TX2, TX2, mask(turn::LAST)));
        p.goto(built);
        p.bind(nothing);
        p.mov(A0, TX0);
        p.mov(A1, TX1);
        p.and(A2, TX2, mask(turn::MAY_CUT));
    });
    p.bind(general);
    p.call("rdma_plan");
    p.bind(planned);
    // R0: something waits; R1: the bytes that go now; R2: nothing waits behind them.
    p.mov(TX1, R1);
    p.mov(TX3, R2);
    p.and(T1, FB, mask(fb::FIN_WANTED) | mask(fb::FIN_SENT));
    p.rare(ne(T1, 0), |p| {
        // FIN goes behind everything: software asked for it, and all is in the stream.
        let (due, not) = (p.label(), p.label());
        p.if_else(eq(R0, 0), |p| p.mov(TX1, 0), |p| p.or(TX2, TX2, mask(turn::CUT)));
        p.add(T6, TX0, TX1);
        p.if_(bit(FB, fb::FIN_SENT), |p| {
            p.goto_if(eq(T6, FIN_AT), due);
            p.goto(not);
        });
        p.goto_if(ne(T6, END), not);
        let drained = p.label();
        if sizes.has(STREAM) {
            p.goto_if(bit(FA, fa::STREAM), drained);
        }
        p.call("is_drained");
        p.goto_if(eq(R0, 0), not);
        p.bind(drained);
        p.bind(due);
        p.or(TX2, TX2, mask(turn::FIN));
        p.mov(TX3, 1);
        p.bind(not);
        // A cut without bytes waits for room; so does a FIN without a grant.
        p.goto_if(ne(TX1, 0), build);
        p.goto_if(bit(TX2, turn::CUT), stalled);
        p.goto_if(nbit(TX2, turn::FIN), ack);
        p.goto_if(nbit(TX2, turn::GRANTED), stalled);
        p.goto(build);
    });
    p.goto_if(eq(R0, 0), ack);
    p.rare(eq(TX1, 0), |p| {
        p.bind(stalled);
        p.call("persist_from");
        p.goto(ack);
    });
    p.bind(build);
    p.mov(A0, TX0);
    p.mov(A1, TX1);
    p.mov(A2, ACK);
    p.if_(ne(TX3, 0), |p| p.mov(A2, PSH_ACK));
    p.rare(bit(TX2, turn::FIN), |p| p.or(A2, A2, 1));
    p.rare(eq(TX1, 0), |p| {
        p.call("tx_begin");
        p.mov(port::TX, engine::END);
        p.goto(built);
    });
    if sizes.has(STREAM) {
        p.rare(bit(FA, fa::STREAM), |p| {
            p.call("stream_build");
            p.goto(built);
        });
    }
    p.call("rdma_build");
    p.goto_if(eq(R0, 0), none);
    // A full journal waits for an ACK, which wakes the connection.
    filled(p, T0, JOURNAL);
    p.rare(geu(T0, 1 << sizes.log2_journal), |p| {
        p.add(T0, TX0, TX1);
        p.if_(eq(T0, END), |p| p.or(TX2, TX2, mask(turn::LAST)));
    });
    p.bind(built);
    sent(p);
}

/// TX1 bytes from TX0 have left, and FIN behind them.
pub(super) fn sent(p: &mut Asm) {
    p.mov(T0, port::NOW);
    p.rare(eq(SND_MAX, SND_UNA), |p| p.call("tx_idle"));
    p.add(T1, TX0, TX1);
    p.rare(bit(TX2, turn::FIN), |p| {
        p.mov(FIN_AT, T1);
        p.or(FB, FB, mask(fb::FIN_SENT));
        p.add(T1, T1, 1);
    });
    let moved = p.label();
    p.rare(bit(FC, fc::RESEND_ONE), |p| {
        p.if_(eq(TX0, SND_UNA), |p| {
            p.andn(FC, FC, mask(fc::RESEND_ONE));
            p.goto_if(before(T1, SND_NXT), moved);
        });
    });
    p.mov(SND_NXT, T1);
    p.bind(moved);
    let counted = p.label();
    p.rare(before(TX0, SND_MAX), |p| {
        // Karn: what is timed says nothing any more.
        p.andn(FC, FC, mask(fc::TIMED));
        let farther = p.label();
        p.if_(bit(FC, fc::RESENT), |p| p.goto_if(before(T1, RESENT), farther));
        p.mov(RESENT, T1);
        p.bind(farther);
        p.or(FC, FC, mask(fc::RESENT));
        p.ldt(T2, TQ, q::RETRANSMITS);
        p.add(T2, T2, 1);
        p.stt(TQ, q::RETRANSMITS, T2);
        count(p, 9);
        p.if_(after(T1, SND_MAX), |p| p.mov(SND_MAX, T1));
        p.goto(counted);
    });
    p.rare(nbit(FC, fc::TIMED), |p| {
        p.or(FC, FC, mask(fc::TIMED));
        p.mov(RTT_END, T1);
        p.mov(RTT_AT, T0);
    });
    p.mov(SND_MAX, T1);
    count(p, 25);
    p.bind(counted);
    p.rare(bit(FC, fc::PROBE), |p| {
        p.andn(FC, FC, mask(fc::PROBE));
        p.or(FC, FC, mask(fc::PROBING));
    });
    p.andn(FC, FC, mask(fc::PERSIST));
    p.mov(LAST_SENT, T0);
    p.rare(nbit(FC, fc::REXMIT), |p| {
        p.or(FC, FC, mask(fc::REXMIT));
        p.ldt(T1, TQ, tcb::RTO);
        p.add(REXMIT_AT, T0, T1);
        p.mov(A0, REXMIT_AT);
        p.call("arm");
    });
}

/// Nothing is in flight: after a pause longer than the RTO the congestion window starts again (RFC 5681 section 4.1).
/// T0 = now. Changes T1, T2, T7, T8.
fn tx_idle(p: &mut Asm) {
    p.sub(T1, T0, LAST_SENT);
    p.ldt(T2, TQ, tcb::RTO);
    p.ret_if(leu(T1, T2));
    p.call("initial_window");
    p.if_(gtu(CWND, T7), |p| p.mov(CWND, T7));
}

/// BEGIN of a frame without FPDUs, and its headers: arguments as `frame_headers`.
fn tx_begin(p: &mut Asm) {
    p.pack(port::TX, QPN, engine::BEGIN);
    p.mov(port::TX, 0);
    p.mov(port::TX, 0);
    p.call("frame_headers");
}

/// The window to offer from now on: T0, as much of it as the window field can say. Changes T1, T2.
fn set_window(p: &mut Asm) {
    p.ldi(T1, 0xffff);
    p.shr(T2, WSCALE, 8);
    p.shl(T1, T1, T2);
    p.mov(RCV_WND, T0);
    p.if_(gtu(RCV_WND, T1), |p| p.mov(RCV_WND, T1));
}

/// HEADER: A0 SEQ, A1 payload bytes, A2 flags. The acknowledgment number and the window are those of this moment: no other
/// ACK is due then. Changes T8..T15.
fn frame_headers(p: &mut Asm) {
    header_words(p, port::TX);
    headers_said(p);
}

/// Book-keeping of headers that were just said: T9, T11 as [`header_words`] leaves them.
pub(super) fn headers_said(p: &mut Asm) {
    p.add(T9, RCV_NXT, T9);
    p.if_(after(T9, RCV_ADV), |p| p.mov(RCV_ADV, T9));
    p.ldi(T9, 1 << 16);
    p.add(T9, T11, T9);
    p.stt(TQ, q::IDENT, T9);
    p.andn(FB, FB, mask(fb::ACK_NOW));
    p.andn(FC, FC, mask(fc::ACK_DELAYED));
    p.mov(UNACKED, 0);
}

/// HEADER and its words to port `to`, arguments as [`frame_headers`]; T9 = the window that they offer, bytes, T11 = IPv4 identification 31:16. Changes T8..T11.
pub(super) fn header_words(p: &mut Asm, to: Word) {
    p.ldi(to, engine::HEADER);
    for word in 0..4 {
        p.ldt(to, TQ, q::TEMPLATE + word);
    }
    p.ldt(T8, TQ, tcb::IP);
    p.add(T8, T8, A1);
    p.bswap(to, T8);
    p.ldt(T11, TQ, q::IDENT);
    p.bswap(to, T11);
    for word in 6..10 {
        p.ldt(to, TQ, q::TEMPLATE + word);
    }
    p.bswap(to, A0);
    p.bswap(to, RCV_NXT);
    offer(p);
    p.ldi(T10, 0x5000);
    p.or(T10, T10, A2);
    p.pack(T8, T10, T8);
    p.bswap(to, T8);
    p.mov(to, 0);
}

/// T8 = the window field to send now, T9 = what it says in bytes. Changes T10.
pub(super) fn offer(p: &mut Asm) {
    // The right edge offered never moves left (RFC 9293 section 3.8.6).
    p.mov(T8, RCV_WND);
    p.add(T9, RCV_NXT, T8);
    p.rare(before(T9, RCV_ADV), |p| {
        p.sub(T8, RCV_ADV, RCV_NXT);
    });
    p.shr(T10, WSCALE, 8);
    p.shr(T8, T8, T10);
    p.shr(T9, T8, 16);
    p.rare(ne(T9, 0), |p| p.ldi(T8, 0xffff));
    p.shl(T9, T8, T10);
}
