//! A QP in stream mode: two byte rings, a status block and doorbells.

use crate::cm::Carrier;
use crate::error::Error;
use crate::hw::{ConnectionNotice, Hw};
use crate::net::Handoff;
use crate::sync::lock;
use crate::transport::DmaBuffer;
use crate::verbs::{Device, EventSink, QpNumber};
use ironwarp_proto::abi::context::{self, Context, Mode, SAVE_BYTES, StateWords, StreamStatus};
use ironwarp_proto::abi::doorbell::{self, Page, qp};
use ironwarp_proto::abi::event::{ErrorCause, Event, EventKind};
use ironwarp_proto::abi::field::load;
use ironwarp_proto::abi::regs::features;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, Weak};

/// log2 of the bytes of each ring.
const RING_LOG2: u8 = 18;
const RING: u32 = 1 << RING_LOG2;

#[derive(Debug, Default)]
struct State {
    /// The device has the context.
    active: bool,
    /// Bytes written to the send ring, and taken from the receive ring, modulo 2^32.
    sent: u32,
    consumed: u32,
    fin_rung: bool,
    fin_acked: bool,
    peer_closed: bool,
    quiescing: bool,
    /// Status sequence seen when an event was asked for: received, sent.
    armed: [Option<u32>; 2],
    /// Why there is no connection any more.
    lost: Option<ErrorKind>,
}

/// The number is free again, and the rings are freed, after RESET.
pub(super) struct Pipe {
    number: QpNumber,
    device: Arc<Device>,
    send: DmaBuffer,
    receive: DmaBuffer,
    status: DmaBuffer,
    save: DmaBuffer,
    state: Mutex<State>,
}

impl Pipe {
    pub(super) fn create(device: &Arc<Device>) -> Result<Arc<Self>, Error> {
        if !device.hw.attributes().has(features::STREAM) {
            return Err(Error::Unsupported("stream mode"));
        }
        let alloc = |len| device.hw.transport().alloc(len);
        let pipe = Arc::new(Self {
            number: QpNumber::take(device)?,
            device: Arc::clone(device),
            send: alloc(RING as usize)?,
            receive: alloc(RING as usize)?,
            status: alloc(StreamStatus::SIZE)?,
            save: alloc(SAVE_BYTES)?,
            state: Mutex::default(),
        });
        let sink: Weak<Self> = Arc::downgrade(&pipe);
        pipe.number.deliver_to(sink);
        Ok(pipe)
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    fn ring(&self, doorbell: u32, value: u32) -> Result<(), Error> {
        Ok(self.device.hw.ring(Page::Qp(self.number.get()), doorbell, value)?)
    }

    /// What the device has told last. It writes all words at once.
    fn told(&self) -> StreamStatus {
        let mut bytes = [0; StreamStatus::SIZE];
        if self.status.read(0, &mut bytes) {
            StreamStatus::decode(&load(&bytes))
        } else {
            StreamStatus::default()
        }
    }

    /// Ask for an event when there is more than `seen`. Once is enough: a doorbell rung in every round of a wait would
    /// keep a simulated world busy for ever.
    fn arm(&self, state: &mut State, seen: &StreamStatus, what: u32) -> io::Result<()> {
        let armed = &mut state.armed[usize::from(what == doorbell::STREAM_ARM_TX)];
        if state.active && *armed != Some(seen.sequence) {
            *armed = Some(seen.sequence);
            self.ring(qp::STREAM_ARM, seen.sequence & 0xffff | what).map_err(super::io_error)?;
        }
        Ok(())
    }

    /// Takes bytes received; `Some(0)` at the end, `None` if none are there yet.
    pub(super) fn read(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let mut state = lock(&self.state);
        let told = self.told();
        let there = told.received.wrapping_sub(state.consumed);
        if there > RING {
            return Err(io::Error::other("the device claims more bytes than the receive ring holds"));
        }
        if there == 0 {
            return match state.lost {
                _ if told.closed => Ok(Some(0)),
                Some(kind) => Err(kind.into()),
                None => self.arm(&mut state, &told, doorbell::STREAM_ARM_RX).map(|()| None),
            };
        }
        let count = buf.len().min(there as usize);
        let (first, second) = buf[..count].split_at_mut(count.min(to_end(state.consumed)));
        let copied = self.receive.read(offset(state.consumed), first) && self.receive.read(0, second);
        debug_assert!(copied);
        state.consumed = state.consumed.wrapping_add(count as u32);
        if state.active {
            self.ring(qp::STREAM_CONSUMED, state.consumed).map_err(super::io_error)?;
        }
        Ok(Some(count))
    }

    /// Puts bytes into the send ring; `None` if it is full.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let mut state = lock(&self.state);
        if state.fin_rung {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if let Some(kind) = state.lost {
            return Err(kind.into());
        }
        let told = self.told();
        let free = RING.saturating_sub(state.sent.wrapping_sub(told.acked));
        if free == 0 {
            return self.arm(&mut state, &told, doorbell::STREAM_ARM_TX).map(|()| None);
        }
        let count = bytes.len().min(free as usize);
        let (first, second) = bytes[..count].split_at(count.min(to_end(state.sent)));
        let copied = self.send.write(offset(state.sent), first) && self.send.write(0, second);
        debug_assert!(copied);
        state.sent = state.sent.wrapping_add(count as u32);
        self.ring(qp::STREAM_SEND, state.sent).map_err(super::io_error)?;
        Ok(Some(count))
    }

    /// Whether something was received that nobody has read.
    pub(super) fn has_unread(&self) -> bool {
        self.told().received != lock(&self.state).consumed
    }

    /// FIN behind everything written.
    pub(super) fn finish(&self) -> Result<(), Error> {
        let mut state = lock(&self.state);
        if state.active && !state.fin_rung && !state.quiescing {
            self.ring(qp::FIN, 1)?;
            state.fin_rung = true;
        }
        Ok(())
    }

    /// Give the connection up, with RST.
    pub(super) fn reset(&self) -> Result<(), Error> {
        self.quiesce(&mut lock(&self.state), ErrorKind::ConnectionAborted)
    }

    fn quiesce(&self, state: &mut State, why: ErrorKind) -> Result<(), Error> {
        if !state.active || state.quiescing {
            return Ok(());
        }
        state.lost = state.lost.or(Some(why));
        state.quiescing = true;
        let words = self.device.hw.quiesce(self.number.get())?;
        let words = Hw::quiesced_state(&self.save).unwrap_or(words);
        if words.state == context::QpState::Quiesced { self.aborted(state, &words) } else { Ok(()) }
    }

    /// The device stands still: forget the connection, and let software reset it.
    fn aborted(&self, state: &mut State, words: &StateWords) -> Result<(), Error> {
        let (qp, snd_nxt, rcv_nxt) = (self.number.get(), words.snd_nxt, words.rcv_nxt);
        self.release(state, ConnectionNotice::Aborted { qp, snd_nxt, rcv_nxt })
    }

    fn release(&self, state: &mut State, notice: ConnectionNotice) -> Result<(), Error> {
        self.device.hw.reset(self.number.get())?;
        state.active = false;
        self.device.notify(notice);
        Ok(())
    }

    fn handle(&self, state: &mut State, event: &Event) -> Result<(), Error> {
        match event.kind {
            EventKind::PeerClosed => state.peer_closed = true,
            EventKind::FinAcked => state.fin_acked |= state.fin_rung,
            EventKind::Quiesced if state.quiescing => {
                return match Hw::quiesced_state(&self.save) {
                    Some(words) => self.aborted(state, &words),
                    None => self.release(state, ConnectionNotice::Reset { qp: self.number.get() }),
                };
            }
            EventKind::QpError => {
                return match ErrorCause::from_code(event.code) {
                    ErrorCause::Reset => {
                        state.lost = state.lost.or(Some(ErrorKind::ConnectionReset));
                        self.release(state, ConnectionNotice::Reset { qp: self.number.get() })
                    }
                    ErrorCause::RetryExceeded => self.quiesce(state, ErrorKind::TimedOut),
                    _ => self.quiesce(state, ErrorKind::Other),
                };
            }
            _ => {}
        }
        if state.peer_closed && state.fin_acked && !state.quiescing {
            let words = self.device.hw.qp_state(self.number.get())?;
            let (qp, snd_nxt, rcv_nxt) = (self.number.get(), words.snd_nxt, words.rcv_nxt);
            state.lost = state.lost.or(Some(ErrorKind::NotConnected));
            return self.release(state, ConnectionNotice::Closed { qp, snd_nxt, rcv_nxt });
        }
        Ok(())
    }
}

/// Where in a ring a count of bytes stands.
fn offset(count: u32) -> usize {
    (count & (RING - 1)) as usize
}

/// Bytes from there to the ring's end.
fn to_end(count: u32) -> usize {
    RING as usize - offset(count)
}

impl EventSink for Pipe {
    fn event(&self, event: &Event) {
        let mut state = lock(&self.state);
        if !state.active {
            return;
        }
        if let Err(error) = self.handle(&mut state, event) {
            tracing::error!(qp = self.number.get(), %error, "event {event:?} of a stream");
            state.lost = state.lost.or(Some(ErrorKind::Other));
        }
    }
}

impl Carrier for Arc<Pipe> {
    fn number(&self) -> u16 {
        self.number.get()
    }

    fn hand_over(&self, handoff: &Handoff, receive_window: u32) -> Result<(), Error> {
        let context = Context {
            mode: Mode::Stream,
            snd_wscale: handoff.snd_wscale,
            rcv_wscale: handoff.rcv_wscale,
            mss: handoff.mss,
            sq_log2: RING_LOG2,
            rq_log2: RING_LOG2,
            sq_base: self.send.addr(),
            rq_base: self.receive.addr(),
            staging: self.status.addr(),
            save: self.save.addr(),
            rcv_nxt: handoff.rcv_nxt,
            rcv_wnd: receive_window.min(RING),
            snd_nxt: handoff.snd_nxt,
            snd_wnd: handoff.snd_wnd,
            rcv_adv: handoff.rcv_adv,
            ..Context::default()
        };
        let mut state = lock(&self.state);
        self.device.hw.activate(self.number.get(), &handoff.template, &context)?;
        state.active = true;
        Ok(())
    }

    fn go(&self, diverted: u16) -> Result<bool, Error> {
        // RST may have come with the frames injected: there is nothing left to start then.
        if !lock(&self.state).active {
            return Ok(false);
        }
        Ok(self.device.hw.go(self.number.get(), diverted)?)
    }

    fn abandon(&self) -> Result<(), Error> {
        self.reset()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !state.active {
            return;
        }
        let number = self.number.get();
        let words = self.device.hw.quiesce(number);
        if let Err(error) = self.device.hw.reset(number) {
            tracing::error!(qp = number, %error, "not reset: its memory is not freed");
            self.number.lose();
            let memory = [&self.send, &self.receive, &self.status, &self.save];
            std::mem::forget(memory.map(DmaBuffer::clone));
            return;
        }
        let words = words.map(|words| Hw::quiesced_state(&self.save).unwrap_or(words));
        if let Ok(StateWords { snd_nxt, rcv_nxt, .. }) = words {
            self.device.notify(ConnectionNotice::Aborted { qp: number, snd_nxt, rcv_nxt });
        }
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pipe({}, {:?})", self.number.get(), lock(&self.state))
    }
}
