//! The established part of TCP (RFC 9293) without bytes: sequence numbers, windows, ACKs and timers.
//!
//! ```text
//! segment -> receive (acceptance, ACK field, window) -> Verdict: what to deliver, what to answer
//!            send (how much may leave, from where)    <- what is waiting
//!            timers (retransmission, persist, delayed ACK, keep-alive)
//! ```

mod congestion;
mod kept;
mod receive;
mod rtt;
mod send;
mod timers;

pub use receive::{Segment, Verdict};
pub use timers::Expired;

use congestion::Congestion;
use ironwarp_proto::abi::context::Context;
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::seq::Seq;
use kept::Kept;
use rtt::Rtt;

use super::config::Timing;

/// When an ACK must leave if no data carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AckDue {
    No,
    At(Nanos),
    Now,
}

/// The transmission control block of one established connection. Sizes in bytes, times in nanoseconds.
#[derive(Debug, Clone)]
pub struct Tcb {
    // Receiving.
    rcv_nxt: Seq,
    /// Right edge offered; it never moves left.
    rcv_adv: Seq,
    /// Window to offer from now on.
    rcv_wnd: u32,
    rcv_wscale: u8,
    fin_received: bool,
    /// What came behind a gap, in stream mode.
    kept: Kept,
    ack_due: AckDue,
    /// Data received since the last ACK: segments and bytes.
    unacked: (u32, u32),
    /// Of an RDMA connection: pushed segments are acknowledged at once instead of delaying, and nothing is kept behind a gap.
    rdma: bool,
    // Sending.
    una: Seq,
    /// Next to send; behind `max` while going back.
    nxt: Seq,
    /// Highest sent.
    max: Seq,
    snd_wnd: u32,
    max_wnd: u32,
    snd_wscale: u8,
    wl1: Seq,
    wl2: Seq,
    mss: u32,
    congestion: Congestion,
    rtt: Rtt,
    /// Retransmit one segment from `una`, wherever `nxt` stands.
    resend_one: bool,
    /// How far what was resent since the last loss reaches.
    resent: Option<Seq>,
    /// What is in flight is a window probe.
    probing: bool,
    /// The persist timer allows one probe.
    probe: bool,
    fin_at: Option<Seq>,
    fin_acked: bool,
    // Timers.
    retransmit: Option<Nanos>,
    persist: Option<Nanos>,
    persist_backoff: u32,
    retries: u32,
    last_sent: Nanos,
    last_heard: Nanos,
    keepalive: Option<Keepalive>,
    challenge: Challenges,
}

/// Keep-alive (RFC 9293 section 3.8.4), off by default.
#[derive(Debug, Clone, Copy)]
struct Keepalive {
    /// Idle time before a probe, and between probes.
    interval: Nanos,
    limit: u32,
    sent: u32,
    probe: bool,
}

/// Challenge ACK budget of one connection (RFC 5961 section 7): a common one would be a side channel.
#[derive(Debug, Clone, Copy)]
struct Challenges {
    left: u32,
    since: Nanos,
}

impl Challenges {
    const BUDGET: u32 = 10;
    const PERIOD: Nanos = 5_000_000_000;

    fn take(&mut self, now: Nanos) -> bool {
        if now.saturating_sub(self.since) >= Self::PERIOD {
            *self = Self { left: Self::BUDGET, since: now };
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

impl Tcb {
    /// A connection as software hands it over: everything sent so far is acknowledged.
    pub fn new(context: &Context, timing: &Timing, now: Nanos, rdma: bool) -> Self {
        let (start, rcv_nxt) = (Seq(context.snd_nxt), Seq(context.rcv_nxt));
        let mss = u32::from(context.mss);
        let keepalive = (context.keepalive > 0).then(|| Keepalive {
            interval: timing.tick * 64 * u64::from(context.keepalive),
            limit: u32::from(context.keepalive_probes),
            sent: 0,
            probe: false,
        });
        Self {
            rcv_nxt,
            rcv_adv: Seq(context.rcv_adv).max(rcv_nxt),
            rcv_wnd: context.rcv_wnd,
            rcv_wscale: context.rcv_wscale,
            fin_received: false,
            kept: Kept::default(),
            ack_due: AckDue::No,
            unacked: (0, 0),
            rdma,
            una: start,
            nxt: start,
            max: start,
            snd_wnd: context.snd_wnd,
            max_wnd: context.snd_wnd,
            snd_wscale: context.snd_wscale,
            wl1: rcv_nxt - 1,
            wl2: start,
            mss,
            congestion: Congestion::new(mss, timing.initial_window, start),
            rtt: Rtt::default(),
            resend_one: false,
            resent: None,
            probing: false,
            probe: false,
            fin_at: None,
            fin_acked: false,
            retransmit: None,
            persist: None,
            persist_backoff: 0,
            retries: 0,
            last_sent: now,
            last_heard: now,
            keepalive,
            challenge: Challenges { left: Challenges::BUDGET, since: now },
        }
    }

    /// Next sequence number expected.
    pub fn rcv_nxt(&self) -> Seq {
        self.rcv_nxt
    }
    /// Right edge of the window offered.
    pub fn rcv_adv(&self) -> Seq {
        self.rcv_adv
    }
    /// Oldest sequence number not acknowledged.
    pub fn una(&self) -> Seq {
        self.una
    }
    /// Highest sequence number sent + 1.
    pub fn max(&self) -> Seq {
        self.max
    }
    /// Largest payload of a segment.
    pub fn mss(&self) -> u32 {
        self.mss
    }
    /// Window offered by the peer.
    pub fn snd_wnd(&self) -> u32 {
        self.snd_wnd
    }
    /// Congestion window.
    pub fn cwnd(&self) -> u32 {
        self.congestion.cwnd()
    }
    /// Smoothed RTT.
    pub fn smoothed_rtt(&self) -> Nanos {
        self.rtt.smoothed()
    }
    /// Whether the peer's FIN was received in order.
    pub fn fin_received(&self) -> bool {
        self.fin_received
    }
    /// Whether our FIN was acknowledged.
    pub fn fin_acked(&self) -> bool {
        self.fin_acked
    }
    /// Whether our FIN has been sent.
    pub fn fin_sent(&self) -> bool {
        self.fin_at.is_some()
    }
    /// Sequence number of our FIN, if it has been sent.
    pub fn fin_at(&self) -> Option<Seq> {
        self.fin_at
    }
    /// A new MSS for what is sent from now on.
    pub fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.congestion.set_mss(mss);
    }
    fn flight(&self) -> u32 {
        self.max.diff(self.una).max(0) as u32
    }
}
