//! The retransmission timer (RFC 6298).

use crate::net::TcpConfig;
use ironwarp_proto::pins::Nanos;

/// When to send again, and how often that was done.
#[derive(Debug)]
pub struct Retransmit {
    rto: Nanos,
    max: Nanos,
    at: Option<Nanos>,
    tries: u8,
}

impl Retransmit {
    /// Stopped, with the initial time-out.
    pub fn new(config: &TcpConfig) -> Self {
        Self { rto: config.initial_rto, max: config.max_rto, at: None, tries: 0 }
    }

    /// Something is outstanding: run, if not yet running (5.1).
    pub fn start(&mut self, now: Nanos) {
        self.at = self.at.or(Some(now.saturating_add(self.rto)));
    }

    /// Nothing is outstanding (5.2).
    pub fn stop(&mut self) {
        (self.at, self.tries) = (None, 0);
    }

    /// Something new was acknowledged, more is outstanding (5.3).
    pub fn restart(&mut self, now: Nanos) {
        self.stop();
        self.start(now);
    }

    /// A round trip was measured: the first one (2.2), without a variance of its own.
    pub fn measured(&mut self, rtt: Nanos, config: &TcpConfig) {
        self.rto = rtt.saturating_mul(3).max(config.min_rto).min(config.max_rto);
    }

    /// The handshake needed a retransmission: 3 s at least from here (5.7), as nothing was measured.
    pub fn unmeasured(&mut self, config: &TcpConfig) {
        self.rto = config.initial_rto.saturating_mul(3).min(config.max_rto);
    }

    /// Whether it is due; then it runs again, twice as long (5.5, 5.6), and the number of expiries is returned.
    pub fn expired(&mut self, now: Nanos) -> Option<u8> {
        if self.at.is_none_or(|at| at > now) {
            return None;
        }
        self.tries = self.tries.saturating_add(1);
        let back_off = self.rto.saturating_mul(1 << self.tries.min(32)).min(self.max);
        self.at = Some(now.saturating_add(back_off));
        Some(self.tries)
    }

    /// Expiries since something new was acknowledged.
    pub fn tries(&self) -> u8 {
        self.tries
    }

    /// When it is due.
    pub fn at(&self) -> Option<Nanos> {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_limit() {
        let config = TcpConfig { initial_rto: 10, min_rto: 4, max_rto: 60, ..TcpConfig::default() };
        let mut timer = Retransmit::new(&config);
        timer.start(0);
        timer.start(5);
        let mut ats = Vec::new();
        for _ in 0..5 {
            let at = timer.at().unwrap();
            assert_eq!(timer.expired(at - 1), None);
            assert!(timer.expired(at).is_some());
            ats.push(at);
        }
        assert_eq!((ats, timer.tries()), (vec![10, 30, 70, 130, 190], 5));
        timer.measured(1, &config);
        timer.restart(200);
        assert_eq!(timer.at(), Some(204));
    }
}
