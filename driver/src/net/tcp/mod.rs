//! A TCP endpoint for the time before the device has the connection (RFC 9293): it opens, moves one small message each
//! way, closes or aborts.

mod inbox;
mod time_wait;
mod timer;

pub use inbox::Arrival;
pub use time_wait::{TimeWait, Verdict};

use super::{MS, TcpConfig};
use inbox::Inbox;
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader, TcpOptions};
use thiserror::Error;
use timer::Retransmit;

/// Least segment size that a peer can talk us into: the device takes no less.
pub const MIN_MSS: u16 = 64;
/// Segment size of a peer that names none (RFC 9293 section 3.7.1).
const DEFAULT_MSS: u16 = 536;
/// A connection sends at most one challenge ACK in this time (RFC 5961 section 7). The limit is one of each
/// connection: a common one would tell an attacker about other connections.
pub(crate) const CHALLENGE_PAUSE: Nanos = 100 * MS;
/// The most that may wait to be acknowledged, bytes.
pub const SEND_MAX: usize = 4096;

/// Why a connection is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// RST in answer to SYN.
    #[error("the peer refused the connection")]
    Refused,
    /// RST in the course of the connection.
    #[error("the peer reset the connection")]
    Reset,
    /// Too many retransmissions without an answer.
    #[error("the peer does not answer")]
    Timeout,
    /// Both ends have closed.
    #[error("the connection was closed")]
    Finished,
}

/// A segment to send; the addresses are those of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number; counts with the flag.
    pub ack: Seq,
    /// Flags.
    pub flags: TcpFlags,
    /// Window field.
    pub window: u16,
    /// Options.
    pub options: TcpOptions,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Segment {
    /// A segment without payload, options and window.
    pub fn bare(flags: TcpFlags, seq: Seq, ack: Seq) -> Self {
        Self { seq, ack, flags, window: 0, options: TcpOptions::default(), payload: Vec::new() }
    }

    /// The answer to a segment for which there is no connection (RFC 9293 section 3.10.7.1); none to a RST.
    pub fn refusal(header: &TcpHeader, len: u32) -> Option<Self> {
        if header.flags.contains(TcpFlags::RST) {
            None
        } else if header.flags.contains(TcpFlags::ACK) {
            Some(Self::bare(TcpFlags::RST, header.ack, Seq(0)))
        } else {
            let syn = u32::from(header.flags.contains(TcpFlags::SYN));
            Some(Self::bare(TcpFlags::RST | TcpFlags::ACK, Seq(0), header.seq + len + syn))
        }
    }
}

/// Where an endpoint is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// SYN sent.
    SynSent,
    /// SYN received and sent.
    SynReceived,
    /// ESTABLISHED, or CLOSE-WAIT once the peer's FIN is there.
    Open,
    /// Our FIN is sent or waits to be: FIN-WAIT-1 and -2 and CLOSING, or LAST-ACK if the peer's came first.
    Closing {
        /// Ours came first.
        first: bool,
    },
    /// Both FINs are acknowledged and ours came first.
    TimeWait,
    /// Nothing is left.
    Closed(CloseReason),
}

/// What a new endpoint is told.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// TCP's numbers.
    pub config: &'a TcpConfig,
    /// Initial sequence number.
    pub iss: Seq,
    /// Largest payload of a segment that we take.
    pub mss: u16,
}

/// What the device needs to go on.
#[derive(Debug)]
pub struct Numbers {
    /// First byte that is not acknowledged.
    pub rcv_nxt: Seq,
    /// Right edge of the window offered.
    pub rcv_adv: Seq,
    /// First byte that is not sent.
    pub snd_nxt: Seq,
    /// Window of the peer, bytes.
    pub snd_wnd: u32,
    /// Shift of windows received.
    pub snd_wscale: u8,
    /// Shift of windows sent.
    pub rcv_wscale: u8,
    /// Largest payload of a segment, both ways.
    pub mss: u16,
    /// Round-trip time of the handshake, if it went without retransmission.
    pub rtt: Option<Nanos>,
}

/// A connection in software.
#[derive(Debug)]
pub struct Endpoint {
    config: TcpConfig,
    state: State,
    iss: Seq,
    /// SND.UNA, SND.NXT, and the highest SND.NXT ever: a retransmission moves the second back.
    una: Seq,
    nxt: Seq,
    max: Seq,
    wnd: u32,
    max_wnd: u32,
    wl1: Seq,
    wl2: Seq,
    /// Bytes from UNA on that are not acknowledged.
    data: Vec<u8>,
    /// Sequence number of our FIN, once it is decided.
    fin: Option<Seq>,
    inbox: Inbox,
    own_mss: u16,
    mss: u16,
    rcv_wscale: u8,
    snd_wscale: u8,
    /// The peer's SYN allowed window scaling.
    scaled: bool,
    timer: Retransmit,
    syn_at: Nanos,
    rtt: Option<Nanos>,
    linger: Option<Nanos>,
    next_challenge: Nanos,
}

/// The shift that lets 16 bits tell this window.
fn shift_for(window: u32) -> u8 {
    (0..14).find(|shift| window >> shift <= 0xffff).unwrap_or(14)
}

impl Endpoint {
    /// Sends SYN.
    pub fn connect(now: Nanos, opening: Opening<'_>, out: &mut Vec<Segment>) -> Self {
        let mut endpoint = Self::new(now, opening, State::SynSent, Seq(0));
        endpoint.send_syn(out);
        endpoint.timer.start(now);
        endpoint
    }

    /// Answers a SYN. Bytes in it are left to come again.
    pub fn accept(now: Nanos, opening: Opening<'_>, syn: &TcpHeader, out: &mut Vec<Segment>) -> Self {
        let mut endpoint = Self::new(now, opening, State::SynReceived, syn.seq);
        endpoint.take_syn(syn);
        endpoint.send_syn(out);
        endpoint.timer.start(now);
        endpoint
    }

    fn new(now: Nanos, opening: Opening<'_>, state: State, irs: Seq) -> Self {
        let Opening { config, iss, mss } = opening;
        let rcv_wscale = shift_for(config.receive_window);
        Self {
            config: config.clone(),
            state,
            iss,
            una: iss,
            nxt: iss + 1,
            max: iss + 1,
            wnd: 0,
            max_wnd: 0,
            wl1: irs,
            wl2: iss,
            data: Vec::new(),
            fin: None,
            inbox: Inbox::new(irs, 0, config.receive_window),
            own_mss: mss,
            mss,
            rcv_wscale,
            snd_wscale: 0,
            scaled: true,
            timer: Retransmit::new(config),
            syn_at: now,
            rtt: None,
            linger: None,
            next_challenge: 0,
        }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }
    /// The first bytes received, in order, acknowledged or not.
    pub fn received(&self) -> &[u8] {
        self.inbox.shown()
    }
    /// The peer's FIN has come in order.
    pub fn peer_closed(&self) -> bool {
        self.inbox.finished()
    }
    /// All that was sent is acknowledged.
    pub fn all_acknowledged(&self) -> bool {
        self.una == self.stream_end()
    }
    /// SND.NXT and RCV.NXT.
    pub fn cursors(&self) -> (Seq, Seq) {
        (self.max, self.inbox.nxt())
    }
    /// When [`poll`](Self::poll) has something to do.
    pub fn next_timer(&self) -> Option<Nanos> {
        [self.timer.at(), self.linger].into_iter().flatten().min()
    }

    /// Sends `bytes`; `false`, and nothing is sent, if they are too many or the connection is not open.
    pub fn send(&mut self, now: Nanos, bytes: &[u8], out: &mut Vec<Segment>) -> bool {
        let fits = self.state == State::Open && self.data.len() + bytes.len() <= SEND_MAX;
        if fits {
            self.data.extend(bytes);
            self.push(now, out);
        }
        fits
    }

    /// The first `count` bytes received are understood and may be acknowledged.
    pub fn acknowledge(&mut self, count: usize, out: &mut Vec<Segment>) {
        if self.inbox.acknowledge(count) && !matches!(self.state, State::Closed(_)) {
            out.push(self.ack());
        }
    }

    /// Sends FIN behind everything. What still comes is acknowledged and thrown away. Without a peer yet, the same as
    /// [`abort`](Self::abort).
    pub fn close(&mut self, now: Nanos, out: &mut Vec<Segment>) {
        match self.state {
            State::SynSent | State::SynReceived => self.abort(out),
            State::Open => {
                self.state = State::Closing { first: !self.inbox.finished() };
                self.fin = Some(self.stream_end());
                self.inbox.close();
                self.push(now, out);
            }
            _ => {}
        }
    }

    /// Ends at once; RST tells the peer, if there is one.
    pub fn abort(&mut self, out: &mut Vec<Segment>) {
        if matches!(self.state, State::SynReceived | State::Open | State::Closing { .. }) {
            let (nxt, ack) = self.cursors();
            out.push(Segment::bare(TcpFlags::RST | TcpFlags::ACK, nxt, ack));
        }
        self.end(CloseReason::Finished);
    }

    /// The numbers for the device and the frames to inject, if everything sent is acknowledged (docs/host-abi.md,
    /// "Connections"); otherwise the endpoint as it was.
    pub fn hand_off(self) -> Result<(Numbers, Vec<Vec<u8>>), Box<Self>> {
        if self.state != State::Open || !self.all_acknowledged() {
            return Err(Box::new(self));
        }
        let numbers = Numbers {
            rcv_nxt: self.inbox.nxt(),
            rcv_adv: self.inbox.adv(),
            snd_nxt: self.max,
            snd_wnd: self.wnd,
            snd_wscale: self.snd_wscale,
            rcv_wscale: if self.scaled { self.rcv_wscale } else { 0 },
            mss: self.mss,
            rtt: self.rtt,
        };
        Ok((numbers, self.inbox.into_frames()))
    }

    /// Runs the timers.
    pub fn poll(&mut self, now: Nanos, out: &mut Vec<Segment>) {
        // FIN-WAIT-2 has no limit of its own: a peer that never closes would keep it for ever.
        if self.linger.is_some_and(|at| at <= now) {
            self.end(CloseReason::Finished);
        }
        let Some(tries) = self.timer.expired(now) else { return };
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        if tries > if opening { self.config.syn_retries } else { self.config.retries } {
            self.end(CloseReason::Timeout);
        } else if opening {
            self.send_syn(out);
        } else {
            self.nxt = self.una;
            // A window of 0 is probed with a byte (RFC 9293 section 3.8.6.1).
            self.push_within(self.wnd.max(1), out);
        }
    }

    /// Takes a segment.
    pub fn receive(&mut self, now: Nanos, header: &TcpHeader, arrival: Arrival<'_>, out: &mut Vec<Segment>) {
        match self.state {
            State::SynSent => self.receive_in_syn_sent(now, header, out),
            State::TimeWait | State::Closed(_) => {}
            _ => self.receive_synchronized(now, header, arrival, out),
        }
    }

    /// RFC 9293 section 3.10.7.3.
    fn receive_in_syn_sent(&mut self, now: Nanos, header: &TcpHeader, out: &mut Vec<Segment>) {
        let has = |flag| header.flags.contains(flag);
        let acknowledged = has(TcpFlags::ACK) && header.ack == self.nxt;
        if has(TcpFlags::ACK) && !acknowledged {
            out.extend(Segment::refusal(header, 0));
        } else if has(TcpFlags::RST) {
            if acknowledged {
                self.end(CloseReason::Refused);
            }
        } else if has(TcpFlags::SYN) {
            self.take_syn(header);
            if acknowledged {
                self.established(now, header);
                out.push(self.ack());
            } else {
                // Both ends open at once (section 3.5, figure 8).
                self.state = State::SynReceived;
                self.send_syn(out);
            }
        }
    }

    /// RFC 9293 section 3.10.7.4 with RFC 5961.
    fn receive_synchronized(
        &mut self,
        now: Nanos,
        header: &TcpHeader,
        arrival: Arrival<'_>,
        out: &mut Vec<Segment>,
    ) {
        let has = |flag| header.flags.contains(flag);
        let acceptable = self.inbox.acceptable(header.seq, arrival.len());
        if has(TcpFlags::RST) {
            // RFC 5961 section 3.2: only the very next number resets.
            if header.seq == self.inbox.nxt() {
                self.end(CloseReason::Reset);
            } else if acceptable {
                self.challenge(now, out);
            }
            return;
        }
        if has(TcpFlags::SYN) {
            let again = self.state == State::SynReceived && header.seq + 1 == self.inbox.nxt();
            if again && has(TcpFlags::ACK) && header.ack == self.max {
                self.established(now, header);
                out.push(self.ack());
            } else if again {
                self.send_syn(out);
            } else {
                // RFC 5961 section 4.2.
                self.challenge(now, out);
            }
            return;
        }
        if !acceptable {
            // A duplicate wants its ACK; an answer to an ACK could go back and forth for ever.
            if arrival.len() > 0 {
                out.push(self.ack());
            } else {
                self.challenge(now, out);
            }
            return;
        }
        if !has(TcpFlags::ACK) {
            return;
        }
        if self.state == State::SynReceived {
            if header.ack != self.max {
                out.extend(Segment::refusal(header, 0));
                return;
            }
            self.established(now, header);
        } else if !self.take_ack(now, header, out) {
            return;
        }
        if arrival.len() > 0 {
            self.take_data(arrival, out);
        }
        self.finish(now);
    }

    /// Our SYN is acknowledged.
    fn established(&mut self, now: Nanos, header: &TcpHeader) {
        self.una = header.ack;
        self.set_window(header);
        // Karn: a handshake with retransmissions measures nothing.
        if self.timer.tries() == 0 {
            let rtt = now.saturating_sub(self.syn_at);
            self.rtt = Some(rtt);
            self.timer.measured(rtt, &self.config);
        } else {
            self.timer.unmeasured(&self.config);
        }
        self.timer.stop();
        self.state = State::Open;
    }

    /// Judges the acknowledgment (RFC 5961 section 5.2); `false` if the segment is to be dropped.
    fn take_ack(&mut self, now: Nanos, header: &TcpHeader, out: &mut Vec<Segment>) -> bool {
        let ack = header.ack;
        if ack.after(self.max) || ack.before(self.una - self.max_wnd) {
            self.challenge(now, out);
            return false;
        }
        let advanced = ack.diff(self.una);
        if advanced > 0 {
            // FIN counts one without a byte.
            let bytes = (advanced as usize).min(self.data.len());
            self.data.drain(..bytes);
            self.una = ack;
            self.nxt = self.nxt.max(ack);
            if self.all_acknowledged() { self.timer.stop() } else { self.timer.restart(now) }
        }
        if !ack.before(self.una) {
            self.set_window(header);
        }
        self.push(now, out);
        true
    }

    /// Takes over the peer's window from the newest segment only (RFC 9293 section 3.10.7.4).
    fn set_window(&mut self, header: &TcpHeader) {
        let newer = self.wl1.before(header.seq) || self.wl1 == header.seq && !self.wl2.after(header.ack);
        if newer {
            let syn = header.flags.contains(TcpFlags::SYN);
            self.wnd = u32::from(header.window) << if syn { 0 } else { self.snd_wscale };
            self.max_wnd = self.max_wnd.max(self.wnd);
            (self.wl1, self.wl2) = (header.seq, header.ack);
        }
    }

    fn take_data(&mut self, arrival: Arrival<'_>, out: &mut Vec<Segment>) {
        if self.state == State::Open {
            // A gap: the duplicate ACK makes the peer fill it soon. Otherwise the owner decides what is acknowledged.
            if self.inbox.keep(arrival) {
                out.push(self.ack());
            }
        } else {
            self.inbox.discard(arrival);
            out.push(self.ack());
        }
    }

    /// Ends when both FINs are acknowledged; does not wait for the peer's for ever.
    fn finish(&mut self, now: Nanos) {
        let State::Closing { first } = self.state else { return };
        if !self.all_acknowledged() {
            return;
        }
        if !self.inbox.finished() {
            let limit = now.saturating_add(self.config.msl.saturating_mul(2));
            self.linger = self.linger.or(Some(limit));
        } else if first {
            self.linger = None;
            self.state = State::TimeWait;
        } else {
            self.end(CloseReason::Finished);
        }
    }

    fn end(&mut self, reason: CloseReason) {
        self.timer.stop();
        self.linger = None;
        self.state = State::Closed(reason);
    }

    /// The peer's SYN: where its stream begins and what it can do.
    fn take_syn(&mut self, syn: &TcpHeader) {
        let theirs = syn.options.mss.unwrap_or(DEFAULT_MSS);
        self.mss = self.own_mss.min(theirs).max(MIN_MSS);
        self.scaled = syn.options.window_scale.is_some();
        self.snd_wscale = syn.options.window_scale.map_or(0, |shift| shift.min(14));
        let shift = if self.scaled { self.rcv_wscale } else { 0 };
        self.inbox = Inbox::new(syn.seq, shift, self.config.receive_window);
        self.wnd = u32::from(syn.window);
        self.max_wnd = self.wnd;
        (self.wl1, self.wl2) = (syn.seq, self.iss);
    }

    fn send_syn(&mut self, out: &mut Vec<Segment>) {
        let answer = self.state != State::SynSent;
        let (flags, ack) =
            if answer { (TcpFlags::SYN | TcpFlags::ACK, self.inbox.nxt()) } else { (TcpFlags::SYN, Seq(0)) };
        let options = TcpOptions {
            mss: Some(self.own_mss),
            window_scale: self.scaled.then_some(self.rcv_wscale),
            ..TcpOptions::default()
        };
        let window = self.inbox.first_window();
        out.push(Segment { options, window, ..Segment::bare(flags, self.iss, ack) });
    }

    /// Behind everything that was ever to be sent.
    fn stream_end(&self) -> Seq {
        self.fin.map_or(self.una + self.data.len() as u32, |fin| fin + 1)
    }

    fn push(&mut self, now: Nanos, out: &mut Vec<Segment>) {
        self.push_within(self.wnd, out);
        if !self.all_acknowledged() {
            self.timer.start(now);
        }
    }

    /// Sends from NXT on what a window of this size lets out.
    fn push_within(&mut self, window: u32, out: &mut Vec<Segment>) {
        while self.nxt.before(self.stream_end()) {
            let behind = self.data.get(self.nxt.diff(self.una) as usize..).unwrap_or_default();
            let room = (self.una + window).diff(self.nxt).max(0) as usize;
            let len = behind.len().min(room).min(self.mss.into());
            let payload = behind[..len].to_vec();
            let fin = self.fin == Some(self.nxt + len as u32);
            if len == 0 && !fin {
                break;
            }
            let more = if fin { TcpFlags::FIN } else { TcpFlags::default() };
            let flags = TcpFlags::ACK | TcpFlags::PSH | more;
            let window = self.inbox.window_field();
            out.push(Segment { payload, window, ..Segment::bare(flags, self.nxt, self.inbox.nxt()) });
            self.nxt += len as u32 + u32::from(fin);
            self.max = self.max.max(self.nxt);
        }
    }

    fn challenge(&mut self, now: Nanos, out: &mut Vec<Segment>) {
        if now >= self.next_challenge {
            self.next_challenge = now.saturating_add(CHALLENGE_PAUSE);
            out.push(self.ack());
        }
    }

    fn ack(&mut self) -> Segment {
        let window = self.inbox.window_field();
        Segment { window, ..Segment::bare(TcpFlags::ACK, self.max, self.inbox.nxt()) }
    }
}
