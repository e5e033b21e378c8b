//! A connection in the device: TCP with either RDMAP or a byte stream on top.

use super::core::Core;
use super::frame::{FourTuple, HEADERS, Outgoing, Template};
use super::rdma::{Cut, Rdma, Stop};
use super::stream::Stream;
use super::tcp::{Segment, Tcb};
use ironwarp_proto::abi::context::{Context, Mode, QpState, SAVE_RECORD, StateWords};
use ironwarp_proto::abi::doorbell::qp as doorbell;
use ironwarp_proto::abi::event::{ErrorCause, EventKind, FlushCursors};
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::pins::{Frame, Nanos};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader};

/// What runs on top of TCP.
enum Upper {
    Rdma(Box<Rdma>),
    Stream(Box<Stream>),
}

/// An activated queue pair.
pub struct Qp {
    number: u16,
    save: u64,
    receive_window: u32,
    state: QpState,
    cause: u8,
    diverted: u16,
    retransmits: u32,
    template: Template,
    tcb: Tcb,
    upper: Upper,
    fin_wanted: bool,
    peer_closed: bool,
    /// Nothing is sent any more: reset, given up, or bytes lost.
    dead: bool,
}

impl Qp {
    /// Take over a connection.
    pub fn new(number: u16, context: &Context, headers: [u8; HEADERS], core: &Core) -> Self {
        let rdma = context.mode == Mode::Rdma;
        let upper = if rdma {
            Upper::Rdma(Box::new(Rdma::new(context, number)))
        } else {
            Upper::Stream(Box::new(Stream::new(context, number)))
        };
        let mut qp = Self {
            number,
            save: context.save,
            receive_window: context.rcv_wnd,
            state: QpState::Activated,
            cause: 0,
            diverted: 0,
            retransmits: 0,
            template: Template::new(headers),
            tcb: Tcb::new(context, &core.timing, core.host.now, rdma),
            upper,
            fin_wanted: false,
            peer_closed: false,
            dead: false,
        };
        qp.update_window();
        qp
    }

    /// Addresses of the connection.
    pub fn tuple(&self) -> FourTuple {
        self.template.tuple()
    }
    /// Where its state words go on QUIESCE.
    pub fn save_area(&self) -> u64 {
        self.save
    }
    /// Whether wire frames reach it.
    pub fn takes_wire_frames(&self) -> bool {
        self.state != QpState::Activated
    }
    /// Count a diverted frame; its number.
    pub fn divert(&mut self) -> u16 {
        self.diverted = self.diverted.wrapping_add(1);
        self.diverted
    }
    /// Wire frames hit from now on, if software has seen all diverted ones.
    pub fn go(&mut self, diverted: u16) -> bool {
        let ready = self.state == QpState::Activated && self.diverted == diverted;
        if ready {
            self.state = QpState::Running;
        }
        ready
    }
    /// State of the QP.
    pub fn state(&self) -> QpState {
        self.state
    }
    /// Whether it uses a completion queue.
    pub fn uses_cq(&self, cq: u16) -> bool {
        matches!(&self.upper, Upper::Rdma(rdma) if rdma.cqs().contains(&cq))
    }
    /// MODIFY.
    pub fn modify(&mut self, mss: u16, mulpdu: u16) {
        self.tcb.set_mss(u32::from(mss));
        if let Upper::Rdma(rdma) = &mut self.upper {
            rdma.set_mulpdu(u32::from(mulpdu));
        }
    }

    /// State words.
    pub fn words(&self) -> StateWords {
        StateWords {
            state: self.state,
            cause: self.cause,
            peer_closed: self.peer_closed,
            fin_acked: self.tcb.fin_acked(),
            diverted: self.diverted,
            flush: self.flush_cursors(),
            snd_una: self.tcb.una().0,
            snd_nxt: self.tcb.max().0,
            rcv_nxt: self.tcb.rcv_nxt().0,
            rcv_adv: self.tcb.rcv_adv().0,
            snd_wnd: self.tcb.snd_wnd(),
            cwnd: self.tcb.cwnd(),
            srtt: (self.tcb.smoothed_rtt() >> 10) as u32,
            retransmits: self.retransmits,
        }
    }

    fn flush_cursors(&self) -> FlushCursors {
        match &self.upper {
            Upper::Rdma(rdma) => rdma.flush_cursors(),
            Upper::Stream(_) => FlushCursors::default(),
        }
    }

    /// Stop the connection: tell software, deliver and start nothing more. A stopped connection that is then lost before it
    /// is closed tells so once more.
    pub fn stop(&mut self, core: &mut Core, stop: Stop) {
        let first = matches!(self.state, QpState::Activated | QpState::Running);
        let lost = matches!(stop.cause, ErrorCause::Reset | ErrorCause::RetryExceeded | ErrorCause::Fatal);
        if !first && (self.dead || !lost) {
            return;
        }
        self.dead |= lost;
        self.cause = stop.cause as u8;
        let cursors = self.flush_cursors();
        if first {
            self.state = QpState::Error;
            if let Some(record) = &stop.record {
                // If the save area is gone too, the event alone must do.
                let _ = core.host.write(self.save.wrapping_add(SAVE_RECORD as u64), &record.encode());
            }
            if let Upper::Rdma(rdma) = &mut self.upper {
                rdma.stop();
            }
        }
        core.host.event(EventKind::QpError, self.cause, self.number, cursors.encode());
    }

    /// Stop without an error record.
    pub fn stop_for(&mut self, core: &mut Core, cause: ErrorCause) {
        self.stop(core, Stop { cause, record: None });
    }

    /// A doorbell of the QP's page.
    pub fn ring(&mut self, core: &mut Core, doorbell: u32, value: u32) {
        let possible = match (&mut self.upper, doorbell) {
            (Upper::Rdma(rdma), doorbell::SQ_PRODUCER) => rdma.post_send(value as u16),
            (Upper::Rdma(rdma), doorbell::RQ_PRODUCER) => rdma.post_receive(value as u16),
            (Upper::Rdma(rdma), doorbell::TERMINATE) => {
                if self.dead {
                    return;
                }
                let sent = rdma.send_terminate(core);
                if sent {
                    self.state = QpState::Terminating;
                }
                sent
            }
            (Upper::Stream(stream), doorbell::STREAM_SEND) => stream.post(value),
            (Upper::Stream(stream), doorbell::STREAM_CONSUMED) => stream.consume(value),
            (Upper::Stream(stream), doorbell::STREAM_ARM) => {
                stream.arm(core, value);
                true
            }
            (_, doorbell::FIN) => {
                self.fin_wanted = true;
                true
            }
            _ => true,
        };
        if !possible {
            self.stop_for(core, ErrorCause::Doorbell);
        }
        self.update_window();
    }

    /// A segment with good checksums for this connection.
    pub fn receive(&mut self, core: &mut Core, tcp: &TcpHeader, payload: &[u8]) {
        if self.dead {
            return;
        }
        let segment = Segment {
            seq: tcp.seq,
            ack: tcp.ack,
            flags: tcp.flags,
            window: tcp.window,
            len: payload.len() as u32,
        };
        let verdict = self.tcb.on_segment(core.host.now, &segment, &core.timing);
        for (happened, counter) in [
            (verdict.out_of_order, Counter::OutOfOrder),
            (verdict.duplicate, Counter::DuplicateAcks),
            (verdict.challenged, Counter::ChallengeAcks),
            (verdict.fast_retransmit, Counter::FastRetransmits),
        ] {
            if happened {
                core.host.count(counter);
            }
        }
        if verdict.reset {
            self.stop_for(core, ErrorCause::Reset);
            return;
        }
        if verdict.acked > 0 {
            self.acknowledged(core);
        }
        if !verdict.deliver.is_empty() {
            self.deliver(core, &payload[verdict.deliver.clone()]);
        }
        if let Upper::Stream(stream) = &mut self.upper {
            stream.join(verdict.joined);
            if let Some((behind, range)) = verdict.keep.clone()
                && stream.keep(core, behind, &payload[range]).is_err()
            {
                self.stop_for(core, ErrorCause::Fatal);
            }
        }
        if verdict.fin {
            self.peer_fin(core);
        }
        if verdict.fin_acked {
            core.host.event(EventKind::FinAcked, 0, self.number, [0; 2]);
        }
        if let Upper::Stream(stream) = &mut self.upper
            && stream.publish(core).is_err()
        {
            self.stop_for(core, ErrorCause::Fatal);
        }
        self.update_window();
    }

    fn acknowledged(&mut self, core: &mut Core) {
        let una = self.tcb.una();
        match &mut self.upper {
            Upper::Rdma(rdma) => rdma.acknowledged(core, una),
            Upper::Stream(stream) => stream.acknowledged(una),
        }
        self.check_failure(core);
    }

    fn deliver(&mut self, core: &mut Core, bytes: &[u8]) {
        let stop = match &mut self.upper {
            // A stopped connection goes on acknowledging, and looks at nothing.
            Upper::Rdma(rdma) if !rdma.is_running() => None,
            Upper::Rdma(rdma) => rdma.receive(core, bytes).err(),
            Upper::Stream(stream) => {
                let stored = stream.receive(core, bytes);
                stored.err().map(|_| Stop { cause: ErrorCause::Fatal, record: None })
            }
        };
        if let Some(stop) = stop {
            self.stop(core, stop);
        }
        self.check_failure(core);
    }

    fn check_failure(&mut self, core: &mut Core) {
        if let Upper::Rdma(rdma) = &mut self.upper
            && let Some(stop) = rdma.failure()
        {
            self.stop(core, stop);
        }
    }

    fn peer_fin(&mut self, core: &mut Core) {
        self.peer_closed = true;
        let code = match &mut self.upper {
            Upper::Rdma(rdma) => {
                let (fpdu, message) = rdma.cut_at_fin();
                u8::from(fpdu) | u8::from(message) << 1 | u8::from(rdma.reads_open()) << 2
            }
            Upper::Stream(stream) => {
                stream.closed();
                0
            }
        };
        core.host.event(EventKind::PeerClosed, code, self.number, self.flush_cursors().encode());
    }

    /// In stream mode the window follows the ring; it opens in worthwhile steps (RFC 9293 section 3.8.6.2.2).
    fn update_window(&mut self) {
        let Upper::Stream(stream) = &self.upper else { return };
        let (free, mss) = (stream.window().min(self.receive_window), self.tcb.mss());
        let step = mss.min(stream.receive_size() / 2);
        let open = self.tcb.rcv_adv().diff(self.tcb.rcv_nxt()).max(0) as u32;
        self.tcb.set_receive_window(if free >= open + step { free } else { open });
        // Software made room: tell a sender that may be waiting for it.
        if self.tcb.window_opens_by() >= (2 * mss).min(stream.receive_size() / 2)
            || (open < mss && free >= open + step)
        {
            self.tcb.ack_now();
        }
    }

    /// The next time at which [`on_time`](Self::on_time) has something to do.
    pub fn deadline(&self) -> Option<Nanos> {
        self.tcb.deadline().filter(|_| !self.dead)
    }

    /// Timers that have run out.
    pub fn on_time(&mut self, core: &mut Core) {
        if self.dead {
            return;
        }
        let expired = self.tcb.on_time(core.host.now, &core.timing);
        if expired.timeout {
            core.host.count(Counter::Timeouts);
        }
        if expired.probe {
            core.host.count(Counter::WindowProbes);
        }
        if expired.gone {
            self.stop_for(core, ErrorCause::RetryExceeded);
        }
    }

    /// The next frame of this connection, if it has one.
    pub fn transmit(&mut self, core: &mut Core) -> Option<Frame> {
        if self.dead || self.state == QpState::Activated {
            return None;
        }
        if !self.tcb.fin_sent() || self.tcb.resending() {
            let frame = self.transmit_data(core);
            if frame.is_some() || self.dead {
                return frame;
            }
        }
        if !self.tcb.ack_is_due() {
            return None;
        }
        core.host.count(Counter::PureAcks);
        let (seq, ack, window) = self.tcb.pure_ack();
        let mut frame = self.template.begin(0);
        self.template.finish(&mut frame, &Outgoing { seq, ack, window, flags: TcpFlags::ACK });
        Some(frame)
    }

    fn transmit_data(&mut self, core: &mut Core) -> Option<Frame> {
        let grant = self.tcb.grant();
        // Without a grant, only ask whether something waits.
        let (from, room, may_cut) =
            grant.map_or((self.tcb.max(), 0, false), |grant| (grant.from, grant.room, grant.may_cut));
        let cut = self.plan(core, from, room, may_cut);
        let len = cut.map_or(0, |cut| cut.len);
        let fin = self.fin_due(from + len);
        if cut.is_some_and(|cut| cut.len == 0) || (grant.is_none() && fin) {
            self.tcb.stalled(core.host.now, &core.timing);
            return None;
        }
        if grant.is_none() || (len == 0 && !fin) {
            return None;
        }
        let mut frame = self.template.begin(len as usize);
        if let Err(stop) = self.build(core, from, len, &mut frame) {
            self.stop(core, stop);
            return None;
        }
        if fin {
            match &mut self.upper {
                Upper::Rdma(rdma) => rdma.close(),
                Upper::Stream(stream) => stream.close(),
            }
        }
        let again = self.tcb.sent(core.host.now, from, len, fin, &core.timing);
        if again {
            self.retransmits = self.retransmits.wrapping_add(1);
        }
        core.host.count(if again { Counter::Retransmits } else { Counter::DataSegments });
        let mut flags = TcpFlags::ACK;
        if cut.is_some_and(|cut| cut.push) || fin {
            flags = flags | TcpFlags::PSH;
        }
        if fin {
            flags = flags | TcpFlags::FIN;
        }
        let (ack, window) = self.tcb.ack_fields();
        self.template.finish(&mut frame, &Outgoing { seq: from, ack, window, flags });
        Some(frame)
    }

    /// Plan a segment; errors of the send queue stop the connection, and what is in the journal still goes out.
    fn plan(&mut self, core: &mut Core, from: Seq, room: u32, may_cut: bool) -> Option<Cut> {
        for _ in 0..2 {
            let planned = match &mut self.upper {
                Upper::Rdma(rdma) => rdma.plan(core, from, room, may_cut),
                Upper::Stream(stream) => Ok(stream.plan(from, room, may_cut, self.tcb.mss())),
            };
            match planned {
                Ok(cut) => {
                    self.check_failure(core);
                    return cut;
                }
                Err(stop) => self.stop(core, stop),
            }
        }
        None
    }

    fn build(&mut self, core: &mut Core, from: Seq, len: u32, frame: &mut Frame) -> Result<(), Stop> {
        let lost = Stop { cause: ErrorCause::Fatal, record: None };
        match &mut self.upper {
            Upper::Rdma(rdma) => rdma.build(core, from, len, frame).map_err(|_| lost),
            Upper::Stream(stream) => stream.build(core, from, len, frame).map_err(|_| lost),
        }
    }

    /// Whether FIN goes at `at`: software asked for it, and everything before it is in the stream.
    fn fin_due(&self, at: Seq) -> bool {
        if let Some(fin_at) = self.tcb.fin_at() {
            return at == fin_at;
        }
        let (end, drained) = match &self.upper {
            Upper::Rdma(rdma) => (rdma.end(), rdma.is_drained()),
            Upper::Stream(stream) => (stream.end(), true),
        };
        self.fin_wanted && drained && at == end
    }
}
