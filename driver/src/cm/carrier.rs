//! What carries a connection on in the device.

use super::negotiate::{Agreement, Rtr};
use crate::error::Error;
use crate::net::Handoff;
use crate::verbs::{self, Data, QpState, QueuePair, RemoteAddress, SendRequest, Sge};
use ironwarp_proto::mpa::fpdu;

/// STag of an RTR message without bytes. It is never looked up, but some peers refuse 0 (against RFC 5041).
const RTR_STAG: u32 = 1;

/// A QP of the device that is to take over a connection.
pub(crate) trait Carrier: Send {
    /// Its number.
    fn number(&self) -> u16;
    /// Take the connection: up to ACTIVATE.
    fn hand_over(&self, handoff: &Handoff, receive_window: u32) -> Result<(), Error>;
    /// GO; `false`: more frames were diverted.
    fn go(&self, diverted: u16) -> Result<bool, Error>;
    /// Give it up after [`hand_over`](Self::hand_over); a notice follows.
    fn abandon(&self) -> Result<(), Error>;
}

/// A queue pair and what MPA agreed upon for it.
pub(super) struct Queue {
    pub(super) qp: QueuePair,
    pub(super) agreement: Agreement,
    pub(super) responder: bool,
}

impl Queue {
    /// The first message of an initiator in the peer-to-peer model (RFC 6581 section 9.2).
    fn rtr(&self) -> Option<SendRequest> {
        let nowhere = RemoteAddress { stag: RTR_STAG, to: 0 };
        let nothing = || Data::inline(&[]);
        self.agreement.rtr.map(|rtr| match rtr {
            Rtr::Send => SendRequest::send(0, nothing()),
            Rtr::Write => SendRequest::write(0, nothing(), nowhere),
            Rtr::Read => SendRequest::read(0, Sge::default(), nowhere),
        })
    }
}

impl Carrier for Queue {
    fn number(&self) -> u16 {
        self.qp.number() as u16
    }

    fn hand_over(&self, handoff: &Handoff, receive_window: u32) -> Result<(), Error> {
        let agreed = &self.agreement;
        let depth = |depth: u16| depth.min(u8::MAX.into()) as u8;
        // RFC 5044 section 4.5 wants 128 at least; with a smaller MSS an FPDU goes in several segments.
        let mulpdu = fpdu::mulpdu(handoff.mss.into(), agreed.markers_tx).clamp(128, 64_768) as u16;
        self.qp.hand_over(&verbs::Handoff {
            headers: handoff.template,
            rcv_nxt: handoff.rcv_nxt,
            snd_nxt: handoff.snd_nxt,
            rcv_wnd: receive_window,
            rcv_adv: handoff.rcv_adv,
            snd_wnd: handoff.snd_wnd,
            snd_wscale: handoff.snd_wscale,
            rcv_wscale: handoff.rcv_wscale,
            mss: handoff.mss,
            mulpdu,
            markers_tx: agreed.markers_tx,
            markers_rx: agreed.markers_rx,
            crc: agreed.crc,
            hold: self.responder,
            ird: depth(agreed.ird),
            ord: depth(agreed.ord),
            keepalive: 0,
            keepalive_probes: 0,
        })?;
        // Before GO, so that nothing of the application can come first.
        self.rtr().map_or(Ok(()), |rtr| self.qp.post_hidden_send(rtr))
    }

    fn go(&self, diverted: u16) -> Result<bool, Error> {
        self.qp.go(diverted)
    }

    fn abandon(&self) -> Result<(), Error> {
        // A Terminate or an error that came with the frames injected: the queue pair closes by itself, now or when the event is here.
        if self.qp.state() == QpState::Terminate || self.qp.is_stopped() { Ok(()) } else { self.qp.abort() }
    }
}
