//! Retransmission, persist, delayed ACK and keep-alive.

use super::{AckDue, Tcb};
use crate::model::config::Timing;
use ironwarp_proto::pins::Nanos;

/// What a timer brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// The retransmission timer ran out: going back to SND.UNA.
    pub timeout: bool,
    /// The persist timer ran out: a probe may leave.
    pub probe: bool,
    /// The peer no longer answers.
    pub gone: bool,
}

impl Tcb {
    /// The next time at which a timer runs out.
    pub fn deadline(&self) -> Option<Nanos> {
        let delayed_ack = match self.ack_due {
            AckDue::At(at) => Some(at),
            AckDue::No | AckDue::Now => None,
        };
        [self.retransmit, self.persist, delayed_ack, self.keepalive_at()].into_iter().flatten().min()
    }

    fn keepalive_at(&self) -> Option<Nanos> {
        // A window probe asks the same question.
        let quiet = self.flight() == 0 && self.persist.is_none() && !self.probe;
        let keepalive = self.keepalive.as_ref().filter(|_| quiet)?;
        let wait = keepalive.interval.saturating_mul(u64::from(keepalive.sent) + 1);
        Some(self.last_heard.saturating_add(wait))
    }

    /// Act on the timers that have run out at `now`.
    pub fn on_time(&mut self, now: Nanos, timing: &Timing) -> Expired {
        let mut expired = Expired::default();
        let due = |at: Option<Nanos>| at.is_some_and(|at| at <= now);
        if let AckDue::At(at) = self.ack_due
            && at <= now
        {
            self.ack_due = AckDue::Now;
        }
        if due(self.retransmit) {
            self.retransmit = None;
            if self.flight() > 0 {
                self.time_out(now, timing, &mut expired);
            }
        }
        if due(self.persist) {
            self.persist = None;
            self.persist_backoff += 1;
            self.probe = true;
            expired.probe = true;
        }
        if due(self.keepalive_at())
            && let Some(keepalive) = &mut self.keepalive
        {
            keepalive.sent += 1;
            keepalive.probe = true;
            expired.gone |= keepalive.sent > keepalive.limit;
        }
        expired
    }

    fn time_out(&mut self, now: Nanos, timing: &Timing, expired: &mut Expired) {
        if self.retries >= timing.retries {
            expired.gone = true;
            return;
        }
        // A refused window probe says nothing about congestion.
        if !self.probing {
            self.congestion.on_timeout(self.retries == 0, self.max, self.flight());
        }
        self.retries += 1;
        self.rtt.cancel();
        self.rtt.back_off();
        self.nxt = self.una;
        // The first segment must leave whatever the window says (RFC 9293 section 3.8.6.1).
        self.resend_one = true;
        self.retransmit = Some(now + self.rtt.rto(timing));
        expired.timeout = true;
    }
}
