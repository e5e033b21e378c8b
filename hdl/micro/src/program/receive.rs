//! Frames in: lookup, acceptance of a segment (RFC 9293 section 3.10.7.4 with the checks of RFC 5961), ACKs.
//!
//! Words of a segment: RX0 D0, then what the segment brought about (`did`), which lives until `rx_finish`; RX1 payload
//! offset 15:0, length 31:16; RX2 SEQ; RX3 ACK; RX4 flags 7:0, window 31:16; RX6, RX7 offset and length of the payload
//! that is new and in order. RX4 and up are the RDMA part's from `rdma_deliver` on.
//! While it is judged: T0 window offered, T1 payload, T2 payload and FIN, T3 window of the peer, T4 time, T5 bytes
//! acknowledged, T6 bytes in flight.

use super::congestion::{CLIP, DUPLICATE_ACKS};
use super::send::nothing_to_send;
use super::timers::{KEEPALIVE, count, mask, tcb, timing};
use crate::asm::{Asm, Label, after, before, bit, eq, geu, gtu, ltu, nbit, ne, not_before};
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fa, fb, fc, fd, port, q};

/// Bits of DID.
pub(super) mod did {
    /// The ACK field acknowledged something.
    pub const ACKED: u8 = 0;
    /// The peer's FIN was reached.
    pub const FIN: u8 = 1;
    /// Our FIN is acknowledged.
    pub const FIN_ACKED: u8 = 2;
    /// A receive was completed.
    pub const RECEIVED: u8 = 3;
}

/// What the segment brought about.
pub(super) const DID: crate::isa::Word = RX0;

/// TCP flags.
mod flag {
    pub const FIN: u8 = 0;
    pub const SYN: u8 = 1;
    pub const RST: u8 = 2;
    pub const PSH: u8 = 3;
    pub const ACK: u8 = 4;
}

/// `FEATURES` bit of stream mode.
pub(super) const STREAM: u32 = 1 << 3;
/// Challenge ACKs in a period (RFC 5961 section 7): each connection has its own, a common budget would be a side channel.
const CHALLENGES: u8 = 10;
/// 5 s.
const CHALLENGE_PERIOD: u32 = 4_882_813;

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("rx_frame", |p| rx_frame(p, sizes));
    p.routine("rx_finish", |p| rx_finish(p, sizes));
    p.routine("challenge", challenge);
    p.routine("tcp_activate", tcp_activate);
    p.routine("tcp_set_mss", |p| p.mov(MSS, A0));
    p.routine("ack_now", |p| {
        p.or(FB, FB, mask(fb::ACK_NOW));
        p.call("wake");
    });
    p.routine("retry_exceeded", |p| {
        p.mov(A0, 4);
        p.mov(A1, 0);
        p.call("stop");
        p.mov(R0, 0);
    });
}

/// A descriptor is there (docs/microarchitecture.md section 2).
fn rx_frame(p: &mut Asm, sizes: &Sizes) {
    let [odd, miss, raw, dropped, found, other] = [(); 6].map(|()| p.label());
    p.mov(RX0, port::RXD);
    p.mov(RX_D1, port::RXD);
    p.rare(bit(RX0, 4), |p| p.call("injected"));
    p.and(T0, RX0, 15);
    p.goto_if(ne(T0, 0), odd);
    count(p, 0);
    for word in [RX1, RX5, RX6, RX7, RX2, RX3, RX4] {
        p.mov(word, port::RXD);
    }
    // Likely it is for the current QP.
    p.goto_if(eq(STATE, 0), other);
    is_tuple(p, other);
    p.bind(found);
    // Until GO, only what software injects reaches the connection.
    p.rare(eq(STATE, 1), |p| {
        p.rare(nbit(RX0, 4), |p| {
            p.ldt(T0, TQ, q::DIVERTED);
            p.add(T0, T0, 1);
            p.loh(T0, T0);
            p.stt(TQ, q::DIVERTED, T0);
            p.pack(A3, T0, QPN);
            p.mov(A2, 3);
            p.goto(raw);
        });
    });
    p.mov(RX_BUSY, 1);
    p.mov(RX_QP, QPN);
    p.mov(DID, 0);
    p.mov(RX7, 0);
    let judged = p.label();
    p.goto_if(bit(FB, fb::DEAD), judged);
    segment(p, sizes, judged);
    p.bind(judged);
    p.if_(bit(DID, did::ACKED), |p| acknowledged(p, sizes));
    let finish = p.label();
    p.goto_if(eq(RX7, 0), finish);
    p.shl(A0, RX_D1, 2);
    p.add(A0, A0, RX1);
    p.add(A0, A0, RX6);
    p.loh(A0, A0);
    p.mov(A1, RX7);
    if sizes.has(STREAM) {
        p.rare(bit(FA, fa::STREAM), |p| {
            p.call("stream_deliver");
            p.goto(finish);
        });
    }
    // A stopped connection goes on acknowledging, and looks at nothing.
    p.goto_if(bit(FD, fd::STOPPED), finish);
    p.add(A2, RX2, RX6);
    // A large segment is acknowledged while it is delivered. Behind a small one an answer may take the ACK along.
    p.if_(bit(FB, fb::ACK_NOW), |p| {
        p.shr(T8, A1, 8);
        p.if_(ne(T8, 0), |p| p.call("wake"));
    });
    p.call("rdma_deliver");
    p.ret();
    p.bind(finish);
    p.call("rx_finish");
    p.ret();

    let (next, top) = (p.label(), p.label());
    p.bind(other);
    p.shr(T0, RX0, 8);
    p.and(T0, T0, ((1u16 << sizes.log2_buckets()) - 1) as u8);
    p.ldi(T1, sizes.hash().into());
    p.ldt(A0, T0, T1);
    p.bind(top);
    p.goto_if(eq(A0, 0), miss);
    p.sub(A0, A0, 1);
    p.call("select");
    is_tuple(p, next);
    p.goto(found);
    p.bind(next);
    p.ldt(A0, TQ, q::HASH_NEXT);
    p.goto(top);
    p.bind(odd);
    // Raw, other, malformed, bad IPv4 checksum, bad TCP checksum: counters 0 and 2 to 5.
    p.if_(ne(T0, 2), |p| count(p, 0));
    p.if_(ne(T0, 1), |p| {
        p.mov(A0, T0);
        p.call("count");
        p.ret();
    });
    p.mov(A2, 0);
    p.goto(raw);
    p.bind(miss);
    // An injected frame that no connection wants would come back for ever.
    p.goto_if(bit(RX0, 4), dropped);
    p.mov(A2, 1);
    p.bind(raw);
    p.mov(A0, RX0);
    p.mov(A1, RX_D1);
    p.call("raw_frame");
    p.bind(dropped);
    free(p);
}

/// Whether the current QP has the addresses of the frame.
fn is_tuple(p: &mut Asm, no: Label) {
    for (offset, word) in [(2, RX7), (0, RX5), (1, RX6)] {
        p.ldt(T0, TQ, q::TUPLE + offset);
        p.goto_if(ne(T0, word), no);
    }
}

/// The frame's part of the ring may be overwritten.
fn free(p: &mut Asm) {
    p.shr(T0, RX_D1, 16);
    p.pack(port::WRITER, T0, 3);
}

/// SND.UNA has moved.
fn acknowledged(p: &mut Asm, sizes: &Sizes) {
    let end = p.label();
    if sizes.has(STREAM) {
        p.rare(bit(FA, fa::STREAM), |p| {
            p.call("stream_acknowledged");
            p.goto(end);
        });
    }
    p.call("acknowledged");
    p.rare(bit(FD, fd::POISONED), |p| p.call("check_failure"));
    p.bind(end);
}

/// Take a segment; ends at `done`.
fn segment(p: &mut Asm, sizes: &Sizes, done: Label) {
    let [unusual, accepted, same_ack, windowed, payload] = [(); 5].map(|()| p.label());
    p.sub(T0, RCV_ADV, RCV_NXT);
    p.rare(bit(T0, 31), |p| p.mov(T0, 0));
    p.rare(bit(RX4, flag::RST), |p| {
        // RFC 5961 section 3.2: exact, in the window, outside.
        p.if_(eq(RX2, RCV_NXT), |p| {
            p.mov(A0, 3);
            p.mov(A1, 0);
            p.call("stop");
            p.goto(done);
        });
        p.sub(T5, RX2, RCV_NXT);
        p.if_(ltu(T5, T0), |p| p.call("challenge"));
        p.goto(done);
    });
    p.rare(bit(RX4, flag::SYN), |p| {
        // RFC 5961 section 4.2: whatever its sequence number.
        p.call("challenge");
        p.goto(done);
    });
    p.shr(T1, RX1, 16);
    p.and(T2, RX4, 1);
    p.add(T2, T2, T1);
    p.rare(ne(RX2, RCV_NXT), |p| {
        // RFC 9293 table 6.
        p.goto_if(eq(T0, 0), unusual);
        p.sub(T5, RX2, RCV_NXT);
        p.goto_if(ltu(T5, T0), accepted);
        p.goto_if(eq(T2, 0), unusual);
        p.add(T5, T5, T2);
        p.sub(T5, T5, 1);
        p.goto_if(ltu(T5, T0), accepted);
        p.bind(unusual);
        p.or(FB, FB, mask(fb::ACK_NOW));
        // A keep-alive or window probe just left of the window is alive too; its ACK field is old news at worst.
        p.goto_if(nbit(RX4, flag::ACK), done);
        p.goto_if(ne(RX3, SND_UNA), done);
        heard(p);
        p.goto(done);
    });
    p.rare(eq(T0, 0), |p| {
        // With a zero window no payload is acceptable, but ACKs must still count (RFC 9293 section 3.10.7.4).
        p.if_(ne(T2, 0), |p| p.or(FB, FB, mask(fb::ACK_NOW)));
    });
    p.bind(accepted);
    p.goto_if(nbit(RX4, flag::ACK), done);
    // The ACK field (RFC 5961 section 5.2).
    p.sub(T5, SND_UNA, MAX_WND);
    let bad_ack = p.label();
    p.goto_if(before(RX3, T5), bad_ack);
    p.rare(after(RX3, SND_MAX), |p| {
        p.bind(bad_ack);
        p.call("challenge");
        p.goto(done);
    });
    heard(p);
    p.shr(T3, RX4, 16);
    p.shl(T3, T3, WSCALE);
    p.goto_if(eq(RX3, SND_UNA), same_ack);
    p.goto_if(before(RX3, SND_UNA), payload);
    advance(p);
    p.bind(windowed);
    // SND.WND from a newer segment only (RFC 9293 section 3.10.7.4).
    let take = p.label();
    p.goto_if(before(WL1, RX2), take);
    p.goto_if(ne(WL1, RX2), payload);
    p.goto_if(before(RX3, WL2), payload);
    p.bind(take);
    p.mov(WL1, RX2);
    p.mov(WL2, RX3);
    p.rare(ne(T3, SND_WND), take_window);
    p.bind(payload);
    p.goto_if(eq(T2, 0), done);
    p.goto_if(eq(T0, 0), done);
    take_payload(p, sizes, done);
    p.goto(done);

    p.bind(same_ack);
    p.goto_if(ne(T2, 0), windowed);
    p.goto_if(eq(SND_UNA, SND_MAX), windowed);
    p.goto_if(ne(T3, SND_WND), windowed);
    p.goto_if(bit(FC, fc::PROBING), windowed);
    p.call("duplicate_ack");
    p.goto(windowed);
}

/// The peer lives.
fn heard(p: &mut Asm) {
    p.mov(T4, port::NOW);
    p.stt(TQ, tcb::LAST_HEARD, T4);
    // A peer that answers probes is alive, however long its window stays shut (RFC 1122 section 4.2.2.17).
    p.rare(bit(FC, fc::PROBING), |p| p.loh(BACKOFF, BACKOFF));
    p.rare(eq(SND_WND, 0), |p| p.loh(BACKOFF, BACKOFF));
}

/// The ACK field is behind SND.UNA.
fn advance(p: &mut Asm) {
    let (recovering, grown) = (p.label(), p.label());
    p.mov(PREVIOUS_ACK, SND_UNA);
    p.sub(T5, RX3, SND_UNA);
    p.mov(SND_UNA, RX3);
    p.sub(T6, SND_MAX, RX3);
    p.rare(before(SND_NXT, RX3), |p| p.mov(SND_NXT, RX3));
    p.if_(ne(SND_WND, 0), |p| p.and(BACKOFF, BACKOFF, 0xff));
    p.andn(FC, FC, mask(fc::RESEND_ONE) | mask(fc::PROBING));
    p.mov(DID, mask(did::ACKED));
    p.rare(bit(FC, fc::TIMED), |p| p.if_(not_before(RX3, RTT_END), |p| p.call("rtt_sample")));
    p.mov(DUPLICATES, 0);
    p.mov(THRESHOLD, DUPLICATE_ACKS);
    p.rare(bit(FC, fc::RESENT), |p| {
        p.if_(after(RX3, RESENT), |p| p.andn(FD, FD, mask(fd::GO_BACK)));
    });
    p.goto_if(bit(FD, fd::RECOVERING), recovering);
    p.rare(geu(CWND, SSTHRESH), |p| {
        // Congestion avoidance: one MSS a window (RFC 5681 equation 2 without division).
        p.add(ACKED, ACKED, T5);
        p.goto_if(ltu(ACKED, CWND), grown);
        p.sub(ACKED, ACKED, CWND);
        p.ldi(T7, CLIP);
        p.add(CWND, CWND, MSS);
        p.if_(gtu(CWND, T7), |p| p.mov(CWND, T7));
        p.goto(grown);
    });
    p.rare(gtu(T5, MSS), |p| {
        p.add(CWND, CWND, MSS);
        p.goto(grown);
    });
    p.add(CWND, CWND, T5);
    p.rare(bit(FD, fd::RECOVERING), |p| {
        p.bind(recovering);
        p.call("recovery_ack");
    });
    p.bind(grown);
    p.rare(bit(FC, fc::RESENT), |p| {
        p.if_(not_before(RX3, RESENT), |p| p.andn(FC, FC, mask(fc::RESENT)));
    });
    p.rare(bit(FB, fb::FIN_SENT), |p| {
        p.if_(after(RX3, FIN_AT), |p| {
            p.if_(nbit(FB, fb::FIN_ACKED), |p| {
                p.or(FB, FB, mask(fb::FIN_ACKED));
                p.or(DID, DID, mask(did::FIN_ACKED));
            });
        });
    });
    // RFC 6298 5.2 and 5.3.
    let end = p.label();
    p.rare(eq(T6, 0), |p| {
        p.andn(FC, FC, mask(fc::REXMIT));
        p.goto(end);
    });
    p.ldt(T7, TQ, tcb::RTO);
    p.add(T7, T4, T7);
    let arm = p.label();
    p.goto_if(before(T7, REXMIT_AT), arm);
    // The alarm is no later than the deadline that stood here.
    p.rare(nbit(FC, fc::REXMIT), |p| {
        p.bind(arm);
        p.or(FC, FC, mask(fc::REXMIT));
        p.mov(A0, T7);
        p.call("arm");
    });
    p.mov(REXMIT_AT, T7);
    p.bind(end);
}

/// The window is now T3, another one.
fn take_window(p: &mut Asm) {
    p.if_(ltu(SND_WND, T3), |p| {
        p.andn(FC, FC, mask(fc::PERSIST));
        p.ldi(T7, 0xff00);
        p.andn(BACKOFF, BACKOFF, T7);
        p.rare(bit(FC, fc::PROBING), |p| {
            // The probe was refused, and what it held waits for room: send it again now, not at the RTO.
            p.andn(FC, FC, mask(fc::PROBING));
            p.mov(SND_NXT, SND_UNA);
        });
    });
    p.mov(SND_WND, T3);
    p.if_(ltu(MAX_WND, T3), |p| p.mov(MAX_WND, T3));
}

/// Payload and FIN, of which at least one is there; the window is open. T8 taken, T9 new, T10 an ACK is due at once.
fn take_payload(p: &mut Asm, sizes: &Sizes, done: Label) {
    let (cut, late) = (p.label(), p.label());
    p.mov(RX6, 0);
    p.mov(T8, T1);
    p.mov(T10, 0);
    p.rare(bit(FB, fb::FIN_RECEIVED), |p| {
        // Nothing can follow a FIN; what comes is its retransmission.
        p.bind(late);
        p.or(FB, FB, mask(fb::ACK_NOW));
        p.goto(done);
    });
    p.rare(ne(RX2, RCV_NXT), |p| {
        p.if_(after(RX2, RCV_NXT), |p| {
            // RFC 5681 section 4.2: the duplicate ACK leaves at once, kept or not.
            if sizes.has(STREAM) {
                p.if_(bit(FA, fa::STREAM), |p| {
                    p.call("stream_keep");
                    p.goto_if(ne(R0, 0), late);
                });
            }
            count(p, 7);
            p.goto(late);
        });
        p.sub(RX6, RCV_NXT, RX2);
        p.goto_if(gtu(RX6, T1), late);
        p.sub(T8, T1, RX6);
        p.mov(T10, 1);
        p.goto(cut);
    });
    p.bind(cut);
    p.mov(T9, T8);
    p.rare(gtu(T8, T0), |p| {
        p.mov(T8, T0);
        p.mov(T10, 1);
    });
    p.mov(RX7, T8);
    p.add(RCV_NXT, RCV_NXT, T8);
    p.rare(bit(RX4, flag::FIN), |p| {
        p.if_(eq(T8, T9), |p| {
            p.add(RCV_NXT, RCV_NXT, 1);
            p.or(FB, FB, mask(fb::FIN_RECEIVED));
            p.or(DID, DID, mask(did::FIN));
            p.mov(T10, 1);
        });
    });
    // Every second segment, or two of full size, or the last of a burst is acknowledged at once (RFC 9293 section 3.8.6.3).
    let now = p.label();
    p.and(T12, RX4, mask(flag::PSH));
    if sizes.has(STREAM) {
        p.rare(bit(FA, fa::STREAM), |p| {
            p.mov(T12, 0);
            p.call("stream_join");
        });
    }
    p.or(T10, T10, T12);
    p.ldi(T11, 1 << 24);
    p.add(UNACKED, UNACKED, T8);
    p.add(UNACKED, UNACKED, T11);
    p.add(T11, T11, T11);
    p.goto_if(geu(UNACKED, T11), now);
    p.add(T12, MSS, MSS);
    p.goto_if(geu(T8, T12), now);
    p.if_(eq(T10, 0), |p| {
        p.goto_if(bit(FB, fb::ACK_NOW), done);
        p.goto_if(bit(FC, fc::ACK_DELAYED), done);
        p.or(FC, FC, mask(fc::ACK_DELAYED));
        p.ldt(T11, ZERO, timing::DELAYED_ACK);
        p.add(ACK_AT, T4, T11);
        let arm = p.label();
        p.goto_if(before(ACK_AT, ALARM_AT), arm);
        p.rare(eq(ALARM_SET, 0), |p| {
            p.bind(arm);
            p.mov(A0, ACK_AT);
            p.call("arm");
        });
        p.goto(done);
    });
    p.bind(now);
    p.or(FB, FB, mask(fb::ACK_NOW));
}

/// The payload of the current frame is delivered: its FIN, events, and the end of it.
fn rx_finish(p: &mut Asm, sizes: &Sizes) {
    p.rare(bit(FD, fd::POISONED), |p| p.call("check_failure"));
    p.rare(bit(DID, did::FIN), |p| {
        p.or(FB, FB, mask(fb::PEER_CLOSED));
        let tell = p.label();
        if sizes.has(STREAM) {
            p.rare(bit(FA, fa::STREAM), |p| {
                p.call("stream_closed");
                p.goto(tell);
            });
        }
        p.call("cut_at_fin");
        p.mov(RX1, R0);
        p.call("flush_cursors");
        p.mov(A1, R0);
        p.mov(A2, R1);
        p.bind(tell);
        p.shl(RX1, RX1, 8);
        p.add(RX1, RX1, 3);
        p.pack(A0, QPN, RX1);
        p.call("event");
    });
    p.rare(bit(DID, did::FIN_ACKED), |p| {
        p.pack(A0, QPN, 4);
        p.mov(A1, 0);
        p.mov(A2, 0);
        p.call("event");
    });
    if sizes.has(STREAM) {
        p.rare(bit(FA, fa::STREAM), |p| {
            p.call("stream_publish");
            p.call("update_window");
        });
    }
    let (turn, end) = (p.label(), p.label());
    p.goto_if(bit(FB, fb::READY), end);
    p.goto_if(bit(FB, fb::ACK_NOW), turn);
    nothing_to_send(p, sizes, turn);
    p.rare(bit(FA, fa::KEEP_PROBE), |p| {
        p.bind(turn);
        p.call("wake");
    });
    p.bind(end);
    p.mov(RX_BUSY, 0);
    free(p);
    p.rare(bit(DID, did::RECEIVED), |p| p.call("look_ahead"));
}

/// A challenge ACK (RFC 5961), if the connection has one left.
fn challenge(p: &mut Asm) {
    p.mov(T9, port::NOW);
    p.ldt(T10, TQ, tcb::CHALLENGE_AT);
    p.sub(T10, T9, T10);
    let period = p.k(CHALLENGE_PERIOD);
    p.if_(geu(T10, period), |p| {
        p.stt(TQ, tcb::CHALLENGE_AT, T9);
        p.stt(TQ, tcb::CHALLENGES, CHALLENGES);
    });
    p.ldt(T10, TQ, tcb::CHALLENGES);
    p.ret_if(eq(T10, 0));
    p.sub(T10, T10, 1);
    p.stt(TQ, tcb::CHALLENGES, T10);
    p.or(FB, FB, mask(fb::ACK_NOW));
    count(p, 13);
}

/// The TCB of a connection that software hands over: everything sent so far is acknowledged.
fn tcp_activate(p: &mut Asm) {
    p.and(FB, FB, mask(fb::READY));
    p.mov(FC, 0);
    p.andn(FD, FD, mask(fd::SAMPLED) | mask(fd::RECOVERING) | mask(fd::GO_BACK));
    p.andn(FA, FA, mask(fa::KEEP_PROBE));
    p.ldt(T0, TQ, q::CONTEXT);
    p.shr(WSCALE, T0, 8);
    // snd_wscale 3:0, rcv_wscale 7:4, PD above.
    p.and(T0, WSCALE, 15);
    p.and(T1, WSCALE, 0xf0);
    p.shl(T1, T1, 4);
    p.or(WSCALE, T0, T1);
    p.ldt(RCV_NXT, TQ, q::CONTEXT + 14);
    p.ldt(RCV_ADV, TQ, q::CONTEXT + 18);
    p.if_(before(RCV_ADV, RCV_NXT), |p| p.mov(RCV_ADV, RCV_NXT));
    p.ldt(T0, TQ, q::CONTEXT + 15);
    p.call("set_window");
    p.sub(WL1, RCV_NXT, 1);
    p.ldt(SND_UNA, TQ, q::CONTEXT + 16);
    for word in [SND_NXT, SND_MAX, WL2, PREVIOUS_ACK] {
        p.mov(word, SND_UNA);
    }
    p.sub(RECOVER, SND_UNA, 1);
    p.ldt(SND_WND, TQ, q::CONTEXT + 17);
    p.mov(MAX_WND, SND_WND);
    p.ldt(MSS, TQ, q::CONTEXT + 3);
    p.loh(MSS, MSS);
    p.call("initial_window");
    p.mov(CWND, T7);
    p.ldi(SSTHRESH, CLIP);
    p.mov(THRESHOLD, DUPLICATE_ACKS);
    for word in [ACKED, DUPLICATES, UNACKED, BACKOFF, SRTT, RTTVAR] {
        p.mov(word, 0);
    }
    p.call("set_rto");
    p.mov(T0, port::NOW);
    p.mov(LAST_SENT, T0);
    p.stt(TQ, tcb::LAST_HEARD, T0);
    p.stt(TQ, tcb::CHALLENGE_AT, T0);
    p.stt(TQ, tcb::CHALLENGES, CHALLENGES);
    // The variable parts of the IPv4 header, as numbers: the length of a segment without payload, identification 0.
    p.ldt(T1, TQ, q::TEMPLATE + 4);
    p.bswap(T1, T1);
    p.shr(T1, T1, 16);
    p.pack(T1, T1, 40);
    p.stt(TQ, tcb::IP, T1);
    p.ldt(T1, TQ, q::TEMPLATE + 5);
    p.bswap(T1, T1);
    p.loh(T1, T1);
    p.stt(TQ, q::IDENT, T1);
    p.ldt(T1, TQ, KEEPALIVE);
    p.loh(T1, T1);
    p.if_(ne(T1, 0), |p| {
        p.stt(TQ, tcb::KEEP_HEARD, T0);
        p.stt(TQ, tcb::KEEP_LEFT, T1);
        p.stt(TQ, tcb::KEEP_SENT, 0);
        p.ldt(A0, ZERO, timing::KEEP_PERIOD);
        p.add(A0, T0, A0);
        p.stt(TQ, tcb::KEEP_AT, A0);
        p.call("arm");
    });
}
