//! Acceptance of a segment: RFC 9293 section 3.10.7.4 with the checks of RFC 5961.

use super::congestion::Reaction;
use super::{AckDue, Tcb};
use crate::model::config::Timing;
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::tcp::TcpFlags;
use std::ops::Range;

/// The header fields of a segment that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first byte.
    pub seq: Seq,
    /// Acknowledgment field.
    pub ack: Seq,
    /// Flags.
    pub flags: TcpFlags,
    /// Window field, not scaled.
    pub window: u16,
    /// Payload, bytes.
    pub len: u32,
}

/// What a segment means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The connection is reset.
    pub reset: bool,
    /// Payload bytes that are new and in order.
    pub deliver: Range<usize>,
    /// Payload bytes to be kept behind a gap, and how far behind the next byte expected they belong.
    pub keep: Option<(u32, Range<usize>)>,
    /// Bytes kept before that now follow what is delivered.
    pub joined: u32,
    /// FIN was reached in order.
    pub fin: bool,
    /// Our FIN is now acknowledged.
    pub fin_acked: bool,
    /// Bytes newly acknowledged (our FIN counts as one).
    pub acked: u32,
    /// Payload was dropped because something before it is missing.
    pub out_of_order: bool,
    /// It was a duplicate ACK (RFC 5681).
    pub duplicate: bool,
    /// A challenge ACK was provoked.
    pub challenged: bool,
    /// Fast retransmit begins.
    pub fast_retransmit: bool,
}

impl Tcb {
    /// Take a segment whose checksums are right and which is for this connection.
    pub fn on_segment(&mut self, now: Nanos, segment: &Segment, timing: &Timing) -> Verdict {
        let mut verdict = Verdict::default();
        let has = |flag| segment.flags.contains(flag);
        let window = self.rcv_adv.diff(self.rcv_nxt).max(0) as u32;
        if has(TcpFlags::RST) {
            // RFC 5961 section 3.2: exact, in window, outside.
            if segment.seq == self.rcv_nxt {
                verdict.reset = true;
            } else if within(segment.seq, self.rcv_nxt, window) {
                self.challenge(now, &mut verdict);
            }
            return verdict;
        }
        if has(TcpFlags::SYN) {
            // RFC 5961 section 4.2: whatever its sequence number.
            self.challenge(now, &mut verdict);
            return verdict;
        }
        let occupied = segment.len + u32::from(has(TcpFlags::FIN));
        if !acceptable(segment.seq, occupied, self.rcv_nxt, window) {
            self.ack_due = AckDue::Now;
            // With a zero window nothing is acceptable, but ACKs must still count (RFC 9293 section 3.10.7.4).
            let zero_window = window == 0 && segment.seq == self.rcv_nxt;
            // A keep-alive or window probe just left of the window is alive too; its ACK field is old news at worst.
            if !zero_window {
                if has(TcpFlags::ACK) && segment.ack == self.una {
                    self.heard(now);
                }
                return verdict;
            }
        }
        if !has(TcpFlags::ACK) || !self.take_ack(now, segment, timing, &mut verdict) {
            return verdict;
        }
        if window > 0 || occupied == 0 {
            self.take_payload(now, segment, window, timing, &mut verdict);
        }
        verdict
    }

    fn challenge(&mut self, now: Nanos, verdict: &mut Verdict) {
        if self.challenge.take(now) {
            verdict.challenged = true;
            self.ack_due = AckDue::Now;
        }
    }

    fn heard(&mut self, now: Nanos) {
        self.last_heard = now;
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.sent = 0;
        }
        if self.snd_wnd == 0 || self.probing {
            // A peer that answers probes is alive, however long its window stays shut (RFC 1122 section 4.2.2.17).
            self.retries = 0;
        }
    }

    /// The ACK field; `false` if it is not acceptable (RFC 5961 section 5.2).
    fn take_ack(&mut self, now: Nanos, segment: &Segment, timing: &Timing, verdict: &mut Verdict) -> bool {
        let oldest = self.una - self.max_wnd;
        if segment.ack.before(oldest) || segment.ack.after(self.max) {
            self.challenge(now, verdict);
            return false;
        }
        self.heard(now);
        let window = u32::from(segment.window) << self.snd_wscale;
        let same_window = window == self.snd_wnd;
        if segment.ack.after(self.una) {
            self.advance(now, segment.ack, timing, verdict);
        } else if segment.ack == self.una
            && self.flight() > 0
            && !self.probing
            && segment.len == 0
            && same_window
            && !segment.flags.contains(TcpFlags::FIN)
        {
            verdict.duplicate = true;
            let reaction = self.congestion.on_duplicate(self.una, self.max, self.flight());
            verdict.fast_retransmit = reaction != Reaction::None;
            self.react(reaction);
        }
        let newer =
            self.wl1.before(segment.seq) || (self.wl1 == segment.seq && !segment.ack.before(self.wl2));
        if newer && !segment.ack.before(self.una) {
            self.take_window(segment, window);
        }
        true
    }

    fn advance(&mut self, now: Nanos, ack: Seq, timing: &Timing, verdict: &mut Verdict) {
        verdict.acked = ack.diff(self.una) as u32;
        self.una = ack;
        self.nxt = self.nxt.max(ack);
        self.retries = 0;
        self.probing = false;
        self.resend_one = false;
        if self.snd_wnd > 0 {
            self.persist_backoff = 0;
        }
        self.rtt.acked(ack, now);
        let reaction = self.congestion.on_ack(verdict.acked, ack, self.flight(), self.resent);
        if self.resent.is_some_and(|resent| !ack.before(resent)) {
            self.resent = None;
        }
        self.react(reaction);
        if let Some(fin_at) = self.fin_at
            && ack.after(fin_at)
            && !self.fin_acked
        {
            self.fin_acked = true;
            verdict.fin_acked = true;
        }
        // RFC 6298 5.2 and 5.3.
        self.retransmit = (self.flight() > 0).then(|| now + self.rtt.rto(timing));
    }

    fn react(&mut self, reaction: Reaction) {
        match reaction {
            Reaction::None => {}
            Reaction::FastRetransmit | Reaction::PartialAck => self.resend_one = true,
            Reaction::GoBack => self.nxt = self.una,
        }
    }

    fn take_window(&mut self, segment: &Segment, window: u32) {
        let opened = window > self.snd_wnd;
        self.snd_wnd = window;
        self.max_wnd = self.max_wnd.max(window);
        self.wl1 = segment.seq;
        self.wl2 = segment.ack;
        if opened {
            self.persist = None;
            self.persist_backoff = 0;
            if self.probing {
                // The probe was refused, and what it held waits for room: send it again now, not at the RTO.
                self.probing = false;
                self.nxt = self.una;
            }
        }
    }

    fn take_payload(
        &mut self,
        now: Nanos,
        segment: &Segment,
        window: u32,
        timing: &Timing,
        verdict: &mut Verdict,
    ) {
        let fin = segment.flags.contains(TcpFlags::FIN);
        if segment.len == 0 && !fin {
            return;
        }
        if self.fin_received {
            // Nothing can follow a FIN; what comes is its retransmission.
            self.ack_due = AckDue::Now;
            return;
        }
        let offset = segment.seq.diff(self.rcv_nxt);
        if offset > 0 {
            // RFC 5681 section 4.2: the duplicate ACK leaves at once, kept or not.
            self.ack_due = AckDue::Now;
            let behind = offset.unsigned_abs();
            let taken = segment.len.min(window.saturating_sub(behind));
            if !self.rdma && taken > 0 && self.kept.keep(segment.seq, taken) {
                verdict.keep = Some((behind, 0..taken as usize));
            } else {
                verdict.out_of_order = true;
            }
            return;
        }
        let skip = offset.unsigned_abs();
        if skip > segment.len {
            self.ack_due = AckDue::Now;
            return;
        }
        let fresh = segment.len - skip;
        let taken = fresh.min(window);
        verdict.deliver = skip as usize..(skip + taken) as usize;
        self.rcv_nxt += taken;
        verdict.fin = fin && taken == fresh;
        if verdict.fin {
            self.rcv_nxt += 1;
            self.fin_received = true;
        } else {
            verdict.joined = self.kept.join(self.rcv_nxt);
            self.rcv_nxt += verdict.joined;
        }
        self.unacked = (self.unacked.0 + 1, self.unacked.1 + taken);
        // What fills a gap is acknowledged at once too.
        let trimmed = skip > 0 || taken < fresh || verdict.joined > 0;
        let pushed = self.rdma && segment.flags.contains(TcpFlags::PSH);
        let enough = self.unacked.0 >= 2 || self.unacked.1 >= 2 * self.mss;
        if trimmed || pushed || enough || verdict.fin {
            self.ack_due = AckDue::Now;
        } else if self.ack_due == AckDue::No {
            self.ack_due = AckDue::At(now + timing.delayed_ack);
        }
    }
}

/// Whether `seq` is one of the `window` numbers from `start`.
fn within(seq: Seq, start: Seq, window: u32) -> bool {
    seq.0.wrapping_sub(start.0) < window
}

/// The four cases of RFC 9293 table 6.
fn acceptable(seq: Seq, len: u32, start: Seq, window: u32) -> bool {
    match (len, window) {
        (0, 0) => seq == start,
        (0, _) => within(seq, start, window),
        (_, 0) => false,
        (_, _) => within(seq, start, window) || within(seq + (len - 1), start, window),
    }
}
