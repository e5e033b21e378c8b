//! What is left of a connection after both ends have closed (RFC 9293 section 3.6.1).

use super::{CHALLENGE_PAUSE, Segment};
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader};

/// A connection in TIME-WAIT.
#[derive(Debug)]
pub struct TimeWait {
    snd_nxt: Seq,
    rcv_nxt: Seq,
    lifetime: Nanos,
    until: Nanos,
    next_challenge: Nanos,
}

/// What a segment for it leads to.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing.
    Ignore,
    /// This answer.
    Answer(Segment),
    /// A new connection may begin here; its own numbers must start behind this one.
    Reopen(Seq),
}

impl TimeWait {
    /// From now on, for `lifetime` (2 MSL).
    pub fn new(now: Nanos, lifetime: Nanos, snd_nxt: Seq, rcv_nxt: Seq) -> Self {
        Self { snd_nxt, rcv_nxt, lifetime, until: now.saturating_add(lifetime), next_challenge: 0 }
    }

    /// When it is over.
    pub fn until(&self) -> Nanos {
        self.until
    }

    /// Judges a segment that carries `len` sequence numbers.
    pub fn receive(&mut self, now: Nanos, header: &TcpHeader, len: u32) -> Verdict {
        let has = |flag| header.flags.contains(flag);
        if has(TcpFlags::RST) {
            // An old RST must not end it early (RFC 1337 fix F1; RFC 9293 section 3.10.7.4).
            return Verdict::Ignore;
        }
        if has(TcpFlags::SYN) {
            // A SYN behind everything the old connection sent cannot be a duplicate of it (RFC 1122 section 4.2.2.13).
            if !has(TcpFlags::ACK) && header.seq.after(self.rcv_nxt) {
                return Verdict::Reopen(self.snd_nxt);
            }
            return self.challenge(now);
        }
        if has(TcpFlags::FIN) && header.seq + len == self.rcv_nxt {
            // Our last ACK was lost.
            self.until = now.saturating_add(self.lifetime);
            return Verdict::Answer(self.ack());
        }
        if len == 0 && header.seq == self.rcv_nxt { Verdict::Ignore } else { self.challenge(now) }
    }

    fn challenge(&mut self, now: Nanos) -> Verdict {
        if now < self.next_challenge {
            return Verdict::Ignore;
        }
        self.next_challenge = now.saturating_add(CHALLENGE_PAUSE);
        Verdict::Answer(self.ack())
    }

    fn ack(&self) -> Segment {
        Segment::bare(TcpFlags::ACK, self.snd_nxt, self.rcv_nxt)
    }
}
