//! How a queue pair's connection ends: in order, by a Terminate, or by force.

use super::qp::QpInner;
use super::queues::Side;
use super::{QpEvent, QpState, QueuePair};
use crate::error::Error;
use crate::hw::{ConnectionNotice, Hw};
use crate::sync::lock;
use ironwarp_proto::abi::context::{
    self, ErrorRecord, RECORD_BYTES, SAVE_RECORD, SAVE_TERMINATE, StateWords, TERMINATE_MAX,
};
use ironwarp_proto::abi::doorbell::qp;
use ironwarp_proto::abi::event::{ErrorCause, Event, EventKind, FlushCursors};
use ironwarp_proto::rdmap::{self, Opcode};
use ironwarp_proto::terminate::{Terminate, TerminateError, headers_for};
use std::collections::VecDeque;

/// Where a queue pair stands.
pub(super) struct Machine {
    pub(super) state: QpState,
    /// The device has its context.
    pub(super) active: bool,
    /// ORD in force.
    pub(super) ord: u8,
    pub(super) events: VecDeque<QpEvent>,
    fin_rung: bool,
    fin_acked: bool,
    peer_closed: bool,
    /// QUIESCE was given; this is to be told when it is done.
    quiescing: Option<QpEvent>,
    /// The peer closed before GO; the code says what it has left undone.
    early_close: Option<u8>,
    /// What is posted from now on is flushed at once.
    pub(super) flushed: bool,
}

impl Machine {
    pub(super) fn new(ord: u8) -> Self {
        Self {
            state: QpState::Idle,
            active: false,
            ord,
            events: VecDeque::new(),
            fin_rung: false,
            fin_acked: false,
            peer_closed: false,
            quiescing: None,
            early_close: None,
            flushed: false,
        }
    }
}

/// The Terminate that tells the peer of an error found here, with the headers that RFC 5040 figure 10 asks for.
fn compose(error: (u8, u8, u8), ddp: Option<(u16, Vec<u8>)>, rdmap: Option<Vec<u8>>) -> Terminate {
    let error = TerminateError::from_wire(error.0, error.1, error.2);
    let control = ddp.as_ref().and_then(|(_, header)| header.get(1));
    let opcode = control.and_then(|control| Opcode::try_from(rdmap::opcode_of(*control)).ok());
    let mut headers = headers_for(error, opcode);
    // A message with an opcode that nobody knows is to blame all the same.
    headers.ddp |= ddp.is_some() && opcode.is_none() && matches!(error.to_wire(), (0 | 1, 1.., _));
    let (segment_len, ddp_header) = match ddp.filter(|_| headers.ddp) {
        Some((length, header)) => (Some(length), header),
        None => (None, Vec::new()),
    };
    let rdmap_header = rdmap.filter(|_| headers.rdmap).unwrap_or_default();
    Terminate { error, segment_len, ddp_header, rdmap_header }
}

impl QpInner {
    /// Handle an event of the device. Events of an earlier life of the number, and repeated ones, change nothing.
    pub(super) fn handle(&self, event: &Event) {
        let mut machine = lock(&self.machine);
        let machine = &mut *machine;
        if !machine.active {
            tracing::debug!(?event, "event of a queue pair without connection ignored");
            return;
        }
        let result = match event.kind {
            EventKind::QpError => {
                self.stopped(machine, ErrorCause::from_code(event.code), FlushCursors::decode(&event.params))
            }
            EventKind::PeerClosed => self.peer_closed(machine, event.code),
            EventKind::FinAcked => {
                machine.fin_acked |= machine.fin_rung;
                self.try_finish(machine)
            }
            EventKind::Quiesced => match machine.quiescing.take() {
                Some(told) => {
                    let saved = Hw::quiesced_state(&self.save);
                    saved
                        .map_or_else(|| self.hw_state(), Ok)
                        .and_then(|state| self.give_up(machine, &state, told))
                }
                None => Ok(()),
            },
            _ => Ok(()),
        };
        if let Err(error) = result {
            tracing::error!(qp = self.number.get(), %error, "event {event:?}");
            self.fail(machine);
        }
    }

    fn hw_state(&self) -> Result<StateWords, Error> {
        Ok(self.device().hw.qp_state(self.number.get())?)
    }

    /// The device no longer does what it should: everything is lost, and only dropping the queue pair is left.
    fn fail(&self, machine: &mut Machine) {
        machine.state = QpState::Error;
        machine.events.push_back(QpEvent::Fatal(ErrorCause::Fatal));
        self.flush(machine, None);
    }

    /// The device has stopped the queue pair.
    fn stopped(&self, machine: &mut Machine, cause: ErrorCause, cursors: FlushCursors) -> Result<(), Error> {
        if cause == ErrorCause::Reset {
            return self.reset_by_peer(machine, cursors.srq_open);
        }
        let told_before = matches!(cause, ErrorCause::Detected | ErrorCause::TerminateReceived);
        let known = machine.state == QpState::Terminate && told_before;
        if known || machine.state == QpState::Error || machine.quiescing.is_some() {
            return Ok(());
        }
        let record = match cause {
            ErrorCause::Detected | ErrorCause::TerminateReceived => {
                let mut bytes = [0; RECORD_BYTES];
                let read = self.save.read(SAVE_RECORD, &mut bytes);
                if read { ErrorRecord::decode(&bytes) } else { None }
            }
            _ => None,
        };
        match (cause, record) {
            (ErrorCause::Detected, Some(ErrorRecord::Detected { error, ddp, rdmap })) => {
                let terminate = compose(error, ddp, rdmap);
                machine.state = QpState::Terminate;
                self.flush(machine, cursors.srq_open);
                self.send_terminate(&terminate)?;
                machine.events.push_back(QpEvent::TerminateSent(terminate));
                // RFC 5040 section 6.2.2: the stream is closed behind the Terminate.
                self.ring_fin(machine)?;
            }
            (ErrorCause::TerminateReceived, Some(ErrorRecord::Received(bytes))) => {
                machine.state = QpState::Terminate;
                self.flush(machine, cursors.srq_open);
                // Even what is not a Terminate Header ends the stream.
                let unknown = Terminate {
                    error: TerminateError::RdmapOperationUnspecified,
                    segment_len: None,
                    ddp_header: Vec::new(),
                    rdmap_header: Vec::new(),
                };
                let terminate = Terminate::parse(&bytes).unwrap_or(unknown);
                machine.events.push_back(QpEvent::TerminateReceived(terminate));
                self.ring_fin(machine)?;
            }
            _ => {
                machine.state = QpState::Error;
                self.flush(machine, cursors.srq_open);
                return self.abort(machine, QpEvent::Fatal(cause));
            }
        }
        self.try_finish(machine)
    }

    /// The peer has sent RST: nothing is left to do for the device.
    fn reset_by_peer(&self, machine: &mut Machine, srq_open: Option<u16>) -> Result<(), Error> {
        let told = match machine.quiescing.take() {
            Some(told) => told,
            None if machine.state == QpState::Terminate => QpEvent::Disconnected,
            None => QpEvent::Fatal(ErrorCause::Reset),
        };
        if machine.state != QpState::Terminate {
            machine.state = QpState::Error;
        }
        self.release(machine, srq_open, told, ConnectionNotice::Reset { qp: self.number.get() })
    }

    /// Make the device forget the connection, flush what is left, tell the application and the raw handler.
    fn release(
        &self,
        machine: &mut Machine,
        srq_open: Option<u16>,
        told: QpEvent,
        notice: ConnectionNotice,
    ) -> Result<(), Error> {
        self.device().hw.reset(self.number.get())?;
        machine.active = false;
        self.flush(machine, srq_open);
        machine.events.push_back(told);
        self.device().notify(notice);
        Ok(())
    }

    /// Write the Terminate where the device finds it, and have it sent.
    fn send_terminate(&self, terminate: &Terminate) -> Result<(), Error> {
        let mut header = Vec::new();
        terminate.emit(&mut header);
        header.truncate(TERMINATE_MAX);
        let mut bytes = (header.len() as u32).to_le_bytes().to_vec();
        bytes.extend(header);
        let stored = self.save.write(SAVE_TERMINATE, &bytes);
        debug_assert!(stored && SAVE_TERMINATE + 4 + TERMINATE_MAX <= context::SAVE_STATE);
        self.ring(qp::TERMINATE, 1)
    }

    fn ring_fin(&self, machine: &mut Machine) -> Result<(), Error> {
        if !machine.fin_rung {
            self.ring(qp::FIN, 1)?;
            machine.fin_rung = true;
        }
        Ok(())
    }

    /// Close our side.
    pub(super) fn close(&self, machine: &mut Machine) -> Result<(), Error> {
        machine.state = QpState::Closing;
        self.ring_fin(machine)
    }

    /// The peer has closed its side. `code` says what it has left undone.
    fn peer_closed(&self, machine: &mut Machine, code: u8) -> Result<(), Error> {
        if machine.peer_closed {
            return Ok(());
        }
        if machine.state == QpState::Idle {
            machine.early_close = Some(code);
            return Ok(());
        }
        machine.peer_closed = true;
        if !machine.state.flushes() {
            let has = |bit: u8| code >> bit & 1 != 0;
            let (in_fpdu, in_message, reads_open) = (has(0), has(1), has(2));
            if in_fpdu || in_message || reads_open {
                return self.abort(machine, QpEvent::PeerClosedEarly { in_fpdu, in_message, reads_open });
            }
            machine.events.push_back(QpEvent::PeerClosed);
            self.close(machine)?;
        }
        self.try_finish(machine)
    }

    /// When both sides have closed, the device can forget the connection.
    fn try_finish(&self, machine: &mut Machine) -> Result<(), Error> {
        if !(machine.fin_acked && machine.peer_closed) || machine.quiescing.is_some() {
            return Ok(());
        }
        let state = self.hw_state()?;
        if machine.state == QpState::Closing {
            machine.state = QpState::Closed;
        }
        let (qp, snd_nxt, rcv_nxt) = (self.number.get(), state.snd_nxt, state.rcv_nxt);
        let notice = ConnectionNotice::Closed { qp, snd_nxt, rcv_nxt };
        self.release(machine, state.flush.srq_open, QpEvent::Disconnected, notice)
    }

    /// The device runs the connection (GO).
    pub(super) fn started(&self, machine: &mut Machine) {
        if machine.state != QpState::Idle {
            return;
        }
        machine.state = QpState::Rts;
        machine.events.push_back(QpEvent::Established);
        if let Some(code) = machine.early_close.take()
            && let Err(error) = self.peer_closed(machine, code)
        {
            tracing::error!(qp = self.number.get(), %error, "the peer closed before GO");
            self.fail(machine);
        }
    }

    /// Give the connection up; `told` is the event when that is done.
    pub(super) fn abort(&self, machine: &mut Machine, told: QpEvent) -> Result<(), Error> {
        if !machine.active || machine.quiescing.is_some() {
            return Ok(());
        }
        machine.state = QpState::Error;
        let quiesced = self.device().hw.quiesce(self.number.get());
        match quiesced.map(|state| Hw::quiesced_state(&self.save).unwrap_or(state)) {
            Ok(state) if state.state == context::QpState::Quiesced => self.give_up(machine, &state, told),
            Ok(_) => {
                machine.quiescing = Some(told);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(qp = self.number.get(), %error, "not quiesced: no RST for the peer");
                self.release(machine, None, told, ConnectionNotice::Reset { qp: self.number.get() })
            }
        }
    }

    /// The device stands still: forget the connection, and let software reset it.
    fn give_up(&self, machine: &mut Machine, state: &StateWords, told: QpEvent) -> Result<(), Error> {
        self.release(machine, state.flush.srq_open, told, self.aborted(state))
    }

    fn aborted(&self, state: &StateWords) -> ConnectionNotice {
        let (qp, snd_nxt, rcv_nxt) = (self.number.get(), state.snd_nxt, state.rcv_nxt);
        ConnectionNotice::Aborted { qp, snd_nxt, rcv_nxt }
    }

    /// Complete everything left as flushed. The device completes nothing more: it has stopped the queue pair or
    /// forgotten it.
    fn flush(&self, machine: &mut Machine, srq_open: Option<u16>) {
        if std::mem::replace(&mut machine.flushed, true) {
            return;
        }
        self.send_cq.flush(&self.queues, Side::Send, None);
        self.recv_cq.flush(&self.queues, Side::Receive, self.take_shared(srq_open));
        if self.is_shared() {
            machine.events.push_back(QpEvent::LastReceive);
        }
    }

    /// For the last handle of a connected queue pair: make the device forget it. `false` if it does not.
    pub(super) fn forget(&self) -> bool {
        let hw = &self.device().hw;
        let state = hw.quiesce(self.number.get());
        if let Err(error) = hw.reset(self.number.get()) {
            tracing::error!(qp = self.number.get(), %error, "not reset: its memory is not freed");
            return false;
        }
        match state.map(|state| Hw::quiesced_state(&self.save).unwrap_or(state)) {
            Ok(state) => {
                // Nobody will hear of the buffer, but others can use its entry again.
                self.take_shared(state.flush.srq_open);
                self.device().notify(self.aborted(&state));
            }
            Err(error) => tracing::warn!(qp = self.number.get(), %error, "no RST for the peer"),
        }
        true
    }
}

impl QueuePair {
    /// Whether the device has stopped the connection: its event says why, or is on the way.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.hw_state().is_ok_and(|state| state.state == context::QpState::Error)
    }
}
