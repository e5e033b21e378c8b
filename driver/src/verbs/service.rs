//! The service routine: what software does when the device interrupts or a software timer is due.

use super::cq::CqInner;
use super::device::{Device, EventSink};
use super::srq::SrqInner;
use crate::hw::{EventQueue, Hw, HwError, OutFrame, RawHandler, RawReceiver, RawTransmitter};
use crate::sync::lock;
use crate::transport::Service;
use ironwarp_proto::abi::context::{QpState, StateWords};
use ironwarp_proto::abi::event::{Event, EventKind};
use ironwarp_proto::pins::Nanos;
use std::sync::{Arc, Weak};

/// Frames taken from the raw receive ring before its slots are given back.
const BATCH: usize = 16;
/// Frames taken before everything else has its turn; the interrupt stays while there are more.
const FRAMES_MAX: usize = 256;
/// How soon to look again when the raw transmit ring is full: the device tells nobody when a slot is free.
const RETRY: Nanos = 20_000;

/// The rings that only the service routine touches, and the handler of raw frames.
pub(super) struct Routine {
    events: EventQueue,
    receiver: RawReceiver,
    transmitter: RawTransmitter,
    /// Taken from the handler, and not yet in the ring.
    held: Option<OutFrame>,
    pub(super) handler: Option<Box<dyn RawHandler>>,
}

impl Routine {
    /// Start the rings.
    pub(super) fn start(
        hw: &Hw,
        event_log2: u8,
        receive_log2: u8,
        transmit_log2: u8,
    ) -> Result<Self, HwError> {
        Ok(Self {
            events: EventQueue::start(hw, event_log2)?,
            receiver: RawReceiver::start(hw, receive_log2)?,
            transmitter: RawTransmitter::start(hw, transmit_log2)?,
            held: None,
            handler: None,
        })
    }

    /// Handle everything that is there; returns when to be called again.
    fn run(&mut self, device: &Device) -> Result<Option<Nanos>, HwError> {
        while let Some(event) = self.events.take() {
            device.dispatch(&event);
        }
        if self.events.acknowledge(&device.hw)? {
            device.rescan()?;
        }
        let mut deadline = None;
        // What the handler does may end connections, which it then has to be told.
        loop {
            let now = device.hw.transport().now();
            let notices = std::mem::take(&mut *lock(&device.notices));
            if let Some(handler) = &mut self.handler {
                notices.into_iter().for_each(|notice| handler.connection(now, notice));
            }
            self.receive(device, now)?;
            deadline = match &mut self.handler {
                Some(handler) => handler.poll(now),
                None => deadline,
            };
            if self.transmit(&device.hw)? {
                let retry = now + RETRY;
                deadline = Some(deadline.map_or(retry, |at| at.min(retry)));
            }
            if lock(&device.notices).is_empty() {
                return Ok(deadline);
            }
        }
    }

    /// Hand all raw frames to the handler. Without one they are dropped.
    fn receive(&mut self, device: &Device, now: Nanos) -> Result<(), HwError> {
        for taken in 1..=FRAMES_MAX {
            let Some((header, frame)) = self.receiver.take() else { break };
            if let Some(handler) = &mut self.handler {
                handler.receive(now, &header, &frame);
            }
            if taken % BATCH == 0 {
                self.receiver.acknowledge(&device.hw)?;
            }
        }
        self.receiver.acknowledge(&device.hw)
    }

    /// Send what the handler has; `true` if some of it does not fit yet.
    fn transmit(&mut self, hw: &Hw) -> Result<bool, HwError> {
        loop {
            let next = || self.handler.as_mut().and_then(|handler| handler.next_frame());
            let Some(frame) = self.held.take().or_else(next) else { break };
            if !self.transmitter.push(hw, &frame)? {
                self.held = Some(frame);
                break;
            }
        }
        self.transmitter.flush(hw)?;
        Ok(self.held.is_some())
    }
}

impl Device {
    fn qp_sink(&self, number: u16) -> Option<Arc<dyn EventSink>> {
        lock(&self.objects).qps.get(&number).and_then(Weak::upgrade)
    }
    fn cq(&self, number: u16) -> Option<Arc<CqInner>> {
        lock(&self.objects).cqs.get(&number).and_then(Weak::upgrade)
    }
    fn srq(&self, number: u16) -> Option<Arc<SrqInner>> {
        lock(&self.objects).srqs.get(&number).and_then(Weak::upgrade)
    }

    /// Give an event to its object. An object that is gone needs no events.
    fn dispatch(&self, event: &Event) {
        tracing::trace!(?event, "event");
        let found = match event.kind {
            EventKind::CqReady => self.cq(event.object).map(|cq| cq.ready()),
            EventKind::CqOverflow => self.cq(event.object).map(|cq| cq.overflowed()),
            EventKind::SrqLimit => self.srq(event.object).map(|srq| srq.limit_reached()),
            EventKind::DmaFault => {
                tracing::error!(?event, "DMA fault outside of any queue pair's work");
                return;
            }
            EventKind::QpError
            | EventKind::PeerClosed
            | EventKind::FinAcked
            | EventKind::Quiesced
            | EventKind::Stream => self.qp_sink(event.object).map(|sink| sink.event(event)),
        };
        if found.is_none() {
            tracing::debug!(?event, "event of an object that does not exist ignored");
        }
    }

    /// Events were lost: ask every object for its state instead.
    fn rescan(&self) -> Result<(), HwError> {
        tracing::warn!("event queue overflow: looking at every object");
        let (cqs, qps): (Vec<_>, Vec<_>) = {
            let objects = lock(&self.objects);
            let cqs = objects.cqs.values().filter_map(Weak::upgrade).collect();
            (cqs, objects.qps.iter().filter_map(|(n, sink)| Some((*n, sink.upgrade()?))).collect())
        };
        cqs.iter().for_each(CqInner::ready);
        for (number, sink) in qps {
            let state = self.hw.qp_state(number)?;
            events_of(number, &state).iter().for_each(|event| sink.event(event));
        }
        Ok(())
    }
}

/// The events that would have told of this state.
fn events_of(object: u16, state: &StateWords) -> Vec<Event> {
    let event = |kind, code, params| Event { kind, code, object, params };
    let mut events = vec![event(EventKind::Stream, 0, [0; 2])];
    if matches!(state.state, QpState::Error | QpState::Terminating) {
        events.push(event(EventKind::QpError, state.cause, state.flush.encode()));
    }
    if state.peer_closed {
        events.push(event(EventKind::PeerClosed, 0, [0; 2]));
    }
    if state.fin_acked {
        events.push(event(EventKind::FinAcked, 0, [0; 2]));
    }
    if state.state == QpState::Quiesced {
        events.push(event(EventKind::Quiesced, 0, [0; 2]));
    }
    events
}

impl Service for Device {
    fn service(&self) -> Option<Nanos> {
        match lock(&self.routine).run(self) {
            Ok(deadline) => deadline,
            Err(error) => {
                tracing::error!(%error, "service routine");
                None
            }
        }
    }
}
