//! How much may leave, from where, and what is remembered of it.

use super::{AckDue, Tcb};
use crate::model::config::Timing;
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::seq::Seq;

/// Permission to send one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Sequence number of its first byte.
    pub from: Seq,
    /// Most payload it may carry, at least 1 byte.
    pub room: u32,
    /// A unit that does not fit `room` may be cut.
    pub may_cut: bool,
}

impl Tcb {
    /// Where the next segment begins and how long it may be; `None` if windows do not allow any byte.
    ///
    /// Retransmission comes first: one segment from SND.UNA, then everything from SND.NXT.
    pub fn grant(&self) -> Option<Grant> {
        if self.resend_one {
            let room = self.mss.min(self.snd_wnd.max(1));
            return Some(Grant { from: self.una, room, may_cut: true });
        }
        let in_flight = self.nxt.diff(self.una).max(0) as u32;
        let usable = self.snd_wnd.min(self.congestion.window()).saturating_sub(in_flight);
        if usable == 0 {
            return self.probe.then_some(Grant { from: self.nxt, room: 1, may_cut: true });
        }
        // Sender's silly window avoidance (RFC 9293 section 3.8.6.2.1): cut what will never fit a segment, or, with
        // nothing in flight to wait for, for a probe, half of the largest window, or bytes sent before.
        let alone = in_flight == 0 && (usable >= self.max_wnd / 2 || self.nxt.before(self.max));
        let may_cut = self.probe || alone || usable >= self.mss;
        Some(Grant { from: self.nxt, room: usable.min(self.mss), may_cut })
    }

    /// Whether something was sent before and must be sent again.
    pub fn resending(&self) -> bool {
        self.resend_one || self.nxt.before(self.max)
    }

    /// `len` bytes from `from` leave now, and FIN behind them.
    /// Returns whether any of it was sent before.
    pub fn sent(&mut self, now: Nanos, from: Seq, len: u32, fin: bool, timing: &Timing) -> bool {
        if self.flight() == 0 && now.saturating_sub(self.last_sent) > self.rtt.rto(timing) {
            self.congestion.on_idle(timing.initial_window);
        }
        let data_end = from + len;
        if fin {
            self.fin_at = Some(data_end);
        }
        let end = data_end + u32::from(fin);
        let again = from.before(self.max);
        if self.resend_one && from == self.una {
            self.resend_one = false;
            self.nxt = self.nxt.max(end);
        } else {
            self.nxt = end;
        }
        if again {
            self.rtt.cancel();
            self.resent = Some(self.resent.map_or(end, |resent| resent.max(end)));
        } else {
            self.rtt.sent(end, now);
        }
        self.max = self.max.max(end);
        if self.probe {
            self.probe = false;
            self.probing = true;
        }
        self.persist = None;
        self.last_sent = now;
        if end != from {
            self.retransmit.get_or_insert(now + self.rtt.rto(timing));
        }
        again
    }

    /// Data waits, nothing is in flight, and the window does not allow it: start the persist timer.
    pub fn stalled(&mut self, now: Nanos, timing: &Timing) {
        if self.flight() == 0 && self.persist.is_none() && !self.probe {
            let wait = self.rtt.rto(timing) << self.persist_backoff.min(16);
            self.persist = Some(now + wait.min(timing.max_rto.max(timing.min_rto)));
        }
    }

    /// The window to offer, bytes; a smaller one than before takes effect as the peer uses up what it was offered.
    pub fn set_receive_window(&mut self, window: u32) {
        self.rcv_wnd = window;
    }

    /// How far the right edge would move if an ACK left now.
    pub fn window_opens_by(&self) -> u32 {
        (self.rcv_nxt + self.rcv_wnd).diff(self.rcv_adv).max(0) as u32
    }

    /// An ACK must leave now even without data.
    pub fn ack_now(&mut self) {
        self.ack_due = AckDue::Now;
    }

    /// Whether an ACK is due now.
    pub fn ack_is_due(&self) -> bool {
        self.ack_due == AckDue::Now || self.keepalive.is_some_and(|keepalive| keepalive.probe)
    }

    /// Sequence number, acknowledgment number and window field of a segment that carries no data.
    pub fn pure_ack(&mut self) -> (Seq, Seq, u16) {
        let (ack, window) = self.ack_fields();
        match &mut self.keepalive {
            Some(keepalive) if keepalive.probe => {
                keepalive.probe = false;
                (self.max - 1, ack, window)
            }
            _ => (self.max, ack, window),
        }
    }

    /// Acknowledgment number and window field, sampled as a segment leaves: no other ACK is due then.
    pub fn ack_fields(&mut self) -> (Seq, u16) {
        let room = self.rcv_wnd.min(u32::from(u16::MAX) << self.rcv_wscale);
        let edge = self.rcv_adv.max(self.rcv_nxt + room);
        let open = edge.diff(self.rcv_nxt).max(0) as u32;
        let field = (open >> self.rcv_wscale).min(u32::from(u16::MAX));
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt + (field << self.rcv_wscale));
        self.ack_due = AckDue::No;
        self.unacked = (0, 0);
        (self.rcv_nxt, field as u16)
    }
}
