//! Round-trip time and retransmission time-out (RFC 6298).

use crate::model::config::Timing;
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::seq::Seq;

/// RTO before the first sample (RFC 6298 section 2.1).
const INITIAL_RTO: Nanos = 1_000_000_000;

/// The estimator of one connection.
#[derive(Debug, Clone, Default)]
pub struct Rtt {
    /// Smoothed RTT and its variation, nanoseconds.
    smoothed: Option<(Nanos, Nanos)>,
    backoff: u32,
    /// End of the segment being timed and when it left. One at a time, never a retransmitted one (Karn).
    timed: Option<(Seq, Nanos)>,
}

impl Rtt {
    /// A new segment that ends at `end` leaves at `now`.
    pub fn sent(&mut self, end: Seq, now: Nanos) {
        self.timed.get_or_insert((end, now));
    }

    /// Something is retransmitted: what is timed now says nothing any more.
    pub fn cancel(&mut self) {
        self.timed = None;
    }

    /// Everything before `una` is acknowledged at `now`.
    pub fn acked(&mut self, una: Seq, now: Nanos) {
        if let Some((end, start)) = self.timed
            && !una.before(end)
        {
            self.timed = None;
            self.sample(now.saturating_sub(start));
            self.backoff = 0;
        }
    }

    fn sample(&mut self, rtt: Nanos) {
        self.smoothed = Some(match self.smoothed {
            None => (rtt, rtt / 2),
            Some((srtt, rttvar)) => (srtt - srtt / 8 + rtt / 8, rttvar - rttvar / 4 + srtt.abs_diff(rtt) / 4),
        });
    }

    /// The time-out was reached: wait twice as long next time (5.5).
    pub fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(32);
    }

    /// Current time-out.
    pub fn rto(&self, timing: &Timing) -> Nanos {
        let base = match self.smoothed {
            None => INITIAL_RTO,
            Some((srtt, rttvar)) => srtt + timing.tick.max(4 * rttvar),
        };
        let base = base.clamp(timing.min_rto, timing.max_rto.max(timing.min_rto));
        base.saturating_mul(1 << self.backoff).min(timing.max_rto.max(timing.min_rto))
    }

    /// Smoothed RTT, nanoseconds; 0 before the first sample.
    pub fn smoothed(&self) -> Nanos {
        self.smoothed.map_or(0, |(srtt, _)| srtt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_rfc_6298() {
        let timing = Timing::from_registers(62_500, 62_500, crate::model::config::TCPCFG_RESET);
        let ms = 1_000_000;
        let mut rtt = Rtt::default();
        assert_eq!(rtt.rto(&timing), 1000 * ms);
        rtt.sent(Seq(10), 0);
        rtt.sent(Seq(20), 5);
        rtt.acked(Seq(9), 50 * ms);
        assert_eq!(rtt.smoothed(), 0, "the timed segment is not acknowledged yet");
        rtt.acked(Seq(10), 100 * ms);
        assert_eq!((rtt.smoothed(), rtt.rto(&timing)), (100 * ms, 300 * ms), "srtt + 4 * rtt / 2");
        rtt.back_off();
        rtt.back_off();
        assert_eq!(rtt.rto(&timing), 1200 * ms);
        rtt.acked(Seq(10), 100 * ms);
        assert_eq!(rtt.rto(&timing), 1200 * ms, "backed off until there is a new sample");
        rtt.sent(Seq(25), 200 * ms);
        rtt.acked(Seq(25), 300 * ms);
        assert_eq!((rtt.smoothed(), rtt.rto(&timing)), (100 * ms, 250 * ms));
        for _ in 0..20 {
            rtt.back_off();
        }
        assert_eq!(rtt.rto(&timing), 51_200 * ms, "capped");
        rtt.sent(Seq(30), 0);
        rtt.cancel();
        rtt.acked(Seq(30), 1);
        assert_eq!(rtt.smoothed(), 100 * ms, "Karn: no sample from a retransmitted segment");
    }
}
