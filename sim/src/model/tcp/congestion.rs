//! Congestion control: slow start and congestion avoidance (RFC 5681), NewReno fast recovery (RFC 6582).
//!
//! NewReno resends one segment a round trip, which suits a receiver that keeps what came out of order. A receiver that keeps
//! nothing (small RNICs, this one) would make it crawl. It gives itself away: the ACK that ends a loss covers just the segment
//! resent although later ones had arrived. From then on a loss means going back to SND.UNA with the halved window, until an ACK
//! covers more than was resent.

use ironwarp_proto::seq::Seq;

/// Windows above this are pointless and would overflow sums.
const CLIP: u32 = 1 << 30;
/// Duplicate ACKs that mean loss.
const DUPLICATES: u32 = 3;

/// What an ACK asks the sender to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing special.
    None,
    /// Retransmit one segment at SND.UNA now: fast retransmit begins.
    FastRetransmit,
    /// Retransmit one segment at SND.UNA now: a partial ACK in fast recovery.
    PartialAck,
    /// Send everything from SND.UNA on again, as the window allows.
    GoBack,
}

/// Congestion state of one connection; all sizes in bytes.
#[derive(Debug, Clone)]
pub struct Congestion {
    mss: u32,
    cwnd: u32,
    ssthresh: u32,
    /// Bytes acknowledged since cwnd last grew in congestion avoidance (RFC 5681, equation 2 without division).
    acked: u32,
    duplicates: u32,
    recovering: bool,
    recover: Seq,
    previous_ack: Seq,
    /// Duplicate ACKs that now mean loss: more than three while segments sent before going back still cause some.
    threshold: u32,
    /// The receiver keeps nothing that comes out of order.
    discards: bool,
}

impl Congestion {
    /// At the start of a connection whose first byte is `start`.
    pub fn new(mss: u32, initial_window: u32, start: Seq) -> Self {
        Self {
            mss,
            cwnd: mss.saturating_mul(initial_window).min(CLIP),
            ssthresh: CLIP,
            acked: 0,
            duplicates: 0,
            recovering: false,
            recover: start - 1,
            previous_ack: start,
            threshold: DUPLICATES,
            discards: false,
        }
    }

    /// The congestion window.
    pub fn window(&self) -> u32 {
        // Limited transmit (RFC 5681 section 3.2 step 1): new data on the first two duplicates.
        let fresh = !self.recovering && self.threshold == DUPLICATES;
        let limited = if fresh { self.duplicates.min(DUPLICATES - 1) * self.mss } else { 0 };
        self.cwnd.saturating_add(limited)
    }

    /// The congestion window itself.
    pub fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// A change of MSS.
    pub fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
    }

    /// SND.UNA moved by `acked` bytes to `una`; `flight` bytes are still outstanding. `resent` tells how far what was resent
    /// since the loss reaches.
    pub fn on_ack(&mut self, acked: u32, una: Seq, flight: u32, resent: Option<Seq>) -> Reaction {
        self.previous_ack = una - acked;
        self.duplicates = 0;
        self.threshold = DUPLICATES;
        if resent.is_some_and(|resent| una.after(resent)) {
            self.discards = false;
        }
        if self.recovering {
            if flight > 0 && resent == Some(una) {
                self.discards = true;
                self.recovering = false;
                self.cwnd = self.ssthresh;
                // What was sent before the segment resent has arrived before it; what was sent since may come.
                let since = (una + flight).diff(self.recover).max(0) as u32;
                self.recover = una + flight;
                self.expect_stale(since);
                return Reaction::GoBack;
            }
            if !una.before(self.recover) {
                // Full acknowledgment (RFC 6582 section 3.2 step 3): option 1, which avoids a burst.
                self.cwnd = self.ssthresh.min(flight.max(self.mss) + self.mss);
                self.recovering = false;
                return Reaction::None;
            }
            self.cwnd = self.cwnd.saturating_sub(acked).max(self.mss);
            if acked >= self.mss {
                self.cwnd += self.mss;
            }
            return Reaction::PartialAck;
        }
        if self.cwnd < self.ssthresh {
            self.cwnd = (self.cwnd + acked.min(self.mss)).min(CLIP);
        } else {
            self.acked = self.acked.saturating_add(acked);
            if self.acked >= self.cwnd {
                self.acked -= self.cwnd;
                self.cwnd = (self.cwnd + self.mss).min(CLIP);
            }
        }
        Reaction::None
    }

    /// A duplicate ACK arrived with `flight` bytes outstanding up to `max`.
    pub fn on_duplicate(&mut self, una: Seq, max: Seq, flight: u32) -> Reaction {
        self.duplicates += 1;
        if self.recovering {
            self.cwnd = (self.cwnd + self.mss).min(CLIP);
            return Reaction::None;
        }
        if self.duplicates != self.threshold {
            return Reaction::None;
        }
        let fresh = una.after(self.recover);
        if self.discards {
            // One loss a window halves it, as in NewReno.
            if fresh {
                self.ssthresh = (flight / 2).max(2 * self.mss);
                self.recover = max;
            }
            self.cwnd = self.ssthresh;
            self.expect_stale(flight.saturating_sub((self.duplicates + 1) * self.mss));
            return Reaction::GoBack;
        }
        // RFC 6582 section 3.2 step 1, with the ACK heuristic of section 4.1.
        let heuristic = self.cwnd > self.mss && una.diff(self.previous_ack) <= 4 * self.mss as i32;
        if !fresh && !heuristic {
            return Reaction::None;
        }
        self.ssthresh = (flight / 2).max(2 * self.mss);
        self.recover = max;
        self.recovering = true;
        self.cwnd = self.ssthresh + DUPLICATES * self.mss;
        Reaction::FastRetransmit
    }

    /// Each segment of these `bytes` in flight may still cause a duplicate ACK that says nothing new.
    fn expect_stale(&mut self, bytes: u32) {
        self.duplicates = 0;
        self.threshold = DUPLICATES + bytes.div_ceil(self.mss);
    }

    /// The retransmission timer ran out (RFC 5681 section 3.1); `first` for the first time of this segment.
    pub fn on_timeout(&mut self, first: bool, max: Seq, flight: u32) {
        if first {
            self.ssthresh = (flight / 2).max(2 * self.mss);
        }
        self.cwnd = self.mss;
        self.acked = 0;
        // What was in flight has long arrived or gone.
        self.duplicates = 0;
        self.threshold = DUPLICATES;
        self.recovering = false;
        self.recover = max;
    }

    /// Nothing was sent for longer than the RTO (RFC 5681 section 4.1).
    pub fn on_idle(&mut self, initial_window: u32) {
        self.cwnd = self.cwnd.min(self.mss.saturating_mul(initial_window));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    #[test]
    fn slow_start_doubles_then_avoidance_adds_one_mss_a_window() {
        let mut c = Congestion::new(MSS, 2, Seq(0));
        let mut una = 0;
        for _ in 0..6 {
            una += MSS;
            c.on_ack(MSS, Seq(una), 0, None);
        }
        assert_eq!(c.cwnd(), 8 * MSS);
        c.on_timeout(true, Seq(una), 8 * MSS);
        assert_eq!(c.cwnd(), MSS);
        for _ in 0..3 {
            una += MSS;
            c.on_ack(MSS, Seq(una), 0, None);
        }
        assert_eq!(c.cwnd(), 4 * MSS, "slow start up to half of the old flight");
        for _ in 0..4 {
            una += MSS;
            c.on_ack(MSS, Seq(una), 0, None);
        }
        assert_eq!(c.cwnd(), 5 * MSS, "one MSS a window");
    }

    #[test]
    fn newreno_stays_in_recovery_until_everything_is_acknowledged() {
        let mut c = Congestion::new(MSS, 10, Seq(0));
        let max = Seq(10 * MSS);
        assert_eq!(c.on_duplicate(Seq(0), max, 10 * MSS), Reaction::None);
        assert_eq!(c.window(), 11 * MSS, "limited transmit");
        assert_eq!(c.on_duplicate(Seq(0), max, 10 * MSS), Reaction::None);
        assert_eq!(c.on_duplicate(Seq(0), max, 10 * MSS), Reaction::FastRetransmit);
        assert_eq!(c.cwnd(), 8 * MSS);
        assert_eq!(c.on_duplicate(Seq(0), max, 10 * MSS), Reaction::None);
        assert_eq!(c.cwnd(), 9 * MSS);
        assert_eq!(c.on_ack(3 * MSS, Seq(3 * MSS), 7 * MSS, Some(Seq(MSS))), Reaction::PartialAck);
        assert_eq!(c.cwnd(), 7 * MSS);
        assert_eq!(c.on_ack(7 * MSS, max, 0, None), Reaction::None);
        assert_eq!(c.cwnd(), 2 * MSS, "deflated");
        for _ in 0..3 {
            assert_ne!(c.on_duplicate(max, max, 0), Reaction::PartialAck);
        }
    }

    #[test]
    fn a_receiver_that_keeps_nothing_is_recognised_and_gone_back_for() {
        let mut c = Congestion::new(MSS, 10, Seq(0));
        let max = Seq(10 * MSS);
        for _ in 0..DUPLICATES {
            c.on_duplicate(Seq(0), max, 10 * MSS);
        }
        // Nine segments behind the lost one arrived; the ACK covers only the one resent.
        assert_eq!(c.on_ack(MSS, Seq(MSS), 9 * MSS, Some(Seq(MSS))), Reaction::GoBack);
        assert_eq!(c.cwnd(), 5 * MSS);
        for _ in 0..DUPLICATES - 1 {
            assert_eq!(c.on_duplicate(Seq(MSS), max, 9 * MSS), Reaction::None);
        }
        assert_eq!(c.on_duplicate(Seq(MSS), max, 9 * MSS), Reaction::GoBack, "what was resent is lost too");
        assert_eq!(c.cwnd(), 5 * MSS, "the same window is halved once");
        for _ in 0..5 + DUPLICATES - 1 {
            assert_eq!(c.on_duplicate(Seq(MSS), max, 9 * MSS), Reaction::None, "stale duplicates");
        }
        c.on_ack(9 * MSS, max, 0, None);
        for _ in 0..DUPLICATES - 1 {
            c.on_duplicate(Seq(20 * MSS), Seq(30 * MSS), 10 * MSS);
        }
        assert_eq!(c.on_duplicate(Seq(20 * MSS), Seq(30 * MSS), 10 * MSS), Reaction::GoBack, "learnt");
        // An ACK beyond what was resent: this receiver does keep segments.
        c.on_ack(5 * MSS, Seq(25 * MSS), 5 * MSS, Some(Seq(21 * MSS)));
        for _ in 0..DUPLICATES - 1 {
            c.on_duplicate(Seq(40 * MSS), Seq(50 * MSS), 10 * MSS);
        }
        assert_eq!(c.on_duplicate(Seq(40 * MSS), Seq(50 * MSS), 10 * MSS), Reaction::FastRetransmit);
    }

    #[test]
    fn duplicates_after_a_timeout_do_not_start_recovery_again() {
        let mut c = Congestion::new(MSS, 10, Seq(0));
        c.on_timeout(true, Seq(10 * MSS), 10 * MSS);
        for _ in 0..5 {
            assert_eq!(c.on_duplicate(Seq(0), Seq(10 * MSS), 10 * MSS), Reaction::None);
        }
        let ssthresh = c.ssthresh;
        c.on_timeout(false, Seq(10 * MSS), MSS);
        assert_eq!(c.ssthresh, ssthresh, "kept on a repeated time-out");
    }
}
