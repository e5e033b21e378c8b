use super::{Crossing, GmiiReceiver, GmiiSender};
use crate::fb::{FB, bit_cast};
use crate::stream::{StreamIn, StreamOut};
use rust_hdl::prelude::*;

/// The core's Ethernet on a GMII PHY.
///
/// ```text
///                  rx_clock                    clock
///  rxd, rx_dv, rx_er --> GmiiReceiver --> Crossing --> downstream
///  txd, tx_en, tx_er <-- GmiiSender <---- Crossing <-- upstream
///                  tx_clock
/// ```
///
/// **Interface.** `rx_clock`: the PHY's RX_CLK, `tx_clock`: 125 MHz, which also goes to the PHY as GTX_CLK. `clock`: the core's, at least 31.25 MHz. `reset`: the core is in reset. `downstream`: received frames with two pad bytes in front, `err` with those to be
/// dropped; `upstream`: frames to send, likewise. `taken` and `lost` count on the side of `rx_clock`, `sent` and `spoiled` on that of `tx_clock`.
///
/// **Theory of operation.** Words cross, so that a core of 62.5 MHz is twice as fast as the wire. What it does not take in time is not received: the receiver drops that frame whole and counts it (`lost`).
/// The receive queue has 256 bytes, 2 us of the wire. A reset ends the frame that the core is sending, as one to be spoiled; the rest of one that it is receiving vanishes.
///
/// **Area** docs/area.md; six block RAMs of the HX8K.
#[derive(LogicBlock)]
pub struct GigabitEthernet {
    /// 125 MHz from the PHY, rising edge.
    pub rx_clock: Signal<In, Clock>,
    /// Received byte.
    pub rxd: Signal<In, FB<8>>,
    /// It is one.
    pub rx_dv: Signal<In, Bit>,
    /// It is wrong.
    pub rx_er: Signal<In, Bit>,
    /// 125 MHz, rising edge.
    pub tx_clock: Signal<In, Clock>,
    /// Byte to send.
    pub txd: Signal<Out, FB<8>>,
    /// It is one.
    pub tx_en: Signal<Out, Bit>,
    /// It is wrong.
    pub tx_er: Signal<Out, Bit>,
    /// The core's, rising edge.
    pub clock: Signal<In, Clock>,
    /// The core is in reset.
    pub reset: Signal<In, Bit>,
    /// Received frames.
    pub downstream: StreamOut,
    /// Frames to send.
    pub upstream: StreamIn,
    /// Good frames received, modulo 256.
    pub taken: Signal<Out, FB<8>>,
    /// Frames for which there was no room.
    pub lost: Signal<Out, FB<8>>,
    /// Frames sent.
    pub sent: Signal<Out, FB<8>>,
    /// Frames that the core did not give in time.
    pub spoiled: Signal<Out, FB<8>>,
    receiver: GmiiReceiver,
    sender: GmiiSender,
    incoming: Crossing<6, 7, 36>,
    outgoing: Crossing<6, 7, 36>,
    // An end that spoils its frame.
    cut: Constant<FB<36>>,
    // A word of the frame has passed, and not the last.
    receiving: DFF<Bit>,
    sending: DFF<Bit>,
    // The received frame vanishes.
    skip: DFF<Bit>,
    here: Signal<Local, FB<36>>,
    offers: Signal<Local, Bit>,
    reads: Signal<Local, Bit>,
    passes: Signal<Local, Bit>,
    writes: Signal<Local, Bit>,
}

impl GigabitEthernet {
    /// For frames of up to so many bytes, FCS included: 64 to 16,383.
    ///
    /// # Panics
    /// If `longest` is not in that range.
    pub fn new(longest: u16) -> Self {
        GigabitEthernet {
            rx_clock: Signal::default(),
            rxd: Signal::default(),
            rx_dv: Signal::default(),
            rx_er: Signal::default(),
            tx_clock: Signal::default(),
            txd: Signal::default(),
            tx_en: Signal::default(),
            tx_er: Signal::default(),
            clock: Signal::default(),
            reset: Signal::default(),
            downstream: StreamOut::default(),
            upstream: StreamIn::default(),
            taken: Signal::default(),
            lost: Signal::default(),
            sent: Signal::default(),
            spoiled: Signal::default(),
            receiver: GmiiReceiver::new(longest),
            sender: GmiiSender::default(),
            incoming: Crossing::default(),
            outgoing: Crossing::default(),
            cut: Constant::new(FB::new(3 << 34)),
            receiving: DFF::default(),
            sending: DFF::default(),
            skip: DFF::default(),
            here: Signal::default(),
            offers: Signal::default(),
            reads: Signal::default(),
            passes: Signal::default(),
            writes: Signal::default(),
        }
    }
}

impl Logic for GigabitEthernet {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, receiving, sending, skip);
        self.receiver.clock.next = self.rx_clock.val();
        self.sender.clock.next = self.tx_clock.val();
        self.incoming.write_clock.next = self.rx_clock.val();
        self.incoming.read_clock.next = self.clock.val();
        self.outgoing.write_clock.next = self.clock.val();
        self.outgoing.read_clock.next = self.tx_clock.val();

        self.receiver.rxd.next = self.rxd.val();
        self.receiver.rx_dv.next = self.rx_dv.val();
        self.receiver.rx_er.next = self.rx_er.val();
        self.receiver.full.next = self.incoming.full.val();
        self.incoming.data_in.next = self.receiver.value.val();
        self.incoming.write.next = self.receiver.write.val();
        self.incoming.publish.next = self.receiver.publish.val();
        self.incoming.close.next = self.receiver.close.val();
        self.incoming.discard.next = false;
        self.here.next = self.incoming.data_out.val();
        self.offers.next = !self.incoming.empty.val() && !self.skip.q.val();
        self.downstream.valid.next = self.offers.val();
        self.downstream.data.next = self.here.val().get_bits::<32>(0);
        self.downstream.first.next = !self.receiving.q.val();
        self.downstream.last.next = self.here.val().get_bit(34);
        self.downstream.empty.next = self.here.val().get_bits::<2>(32);
        self.downstream.err.next = self.here.val().get_bit(35);
        self.reads.next = !self.incoming.empty.val() && (self.skip.q.val() || self.downstream.ready.val());
        self.incoming.read.next = self.reads.val();
        if self.reads.val() {
            self.receiving.d.next = !self.here.val().get_bit(34);
        }
        // Only the rest of a frame vanishes.
        if !self.receiving.q.val() || (self.reads.val() && self.here.val().get_bit(34)) {
            self.skip.d.next = false;
        }
        if self.reset.val() {
            self.skip.d.next = true;
        }

        self.passes.next = self.upstream.valid.val() && !self.outgoing.full.val() && !self.reset.val();
        self.upstream.ready.next = !self.outgoing.full.val() && !self.reset.val();
        self.writes.next = self.passes.val();
        self.outgoing.data_in.next = bit_cast::<36, 32>(self.upstream.data.val())
            | (bit_cast::<36, 2>(self.upstream.empty.val()) << 32)
            | (bit_cast::<36, 1>(self.upstream.last.val().into()) << 34)
            | (bit_cast::<36, 1>(self.upstream.err.val().into()) << 35);
        if self.passes.val() {
            self.sending.d.next = !self.upstream.last.val();
        }
        if self.reset.val() && self.sending.q.val() && !self.outgoing.full.val() {
            self.writes.next = true;
            self.outgoing.data_in.next = self.cut.val();
            self.sending.d.next = false;
        }
        self.outgoing.write.next = self.writes.val();
        self.outgoing.publish.next = self.writes.val();
        self.outgoing.close.next = false;
        self.outgoing.discard.next = false;
        self.sender.value.next = self.outgoing.data_out.val();
        self.sender.empty.next = self.outgoing.empty.val();
        self.outgoing.read.next = self.sender.read.val();
        self.txd.next = self.sender.txd.val();
        self.tx_en.next = self.sender.tx_en.val();
        self.tx_er.next = self.sender.tx_er.val();

        self.taken.next = self.receiver.taken.val();
        self.lost.next = self.receiver.lost.val();
        self.sent.next = self.sender.sent.val();
        self.spoiled.next = self.sender.spoiled.val();
    }
}
