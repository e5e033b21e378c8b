use super::{Crossing, FromWords, RmiiReceiver, RmiiSender, ToWords};
use crate::fb::FB;
use crate::stream::{StreamIn, StreamOut};
use rust_hdl::prelude::*;

/// The core's Ethernet on an RMII PHY.
///
/// ```text
///            50 MHz                    clock
///  rxd, crs_dv --> RmiiReceiver --> Crossing --> ToWords --> downstream
///  txd, tx_en <--- RmiiSender <---- Crossing <-- FromWords <-- upstream
/// ```
///
/// **Interface.** `phy_clock`: the PHY's 50 MHz. `clock`: the core's. `reset`: the core is in reset. `downstream`: received frames with two pad bytes in front, `err` with those to be dropped; `upstream`: frames to
/// send, likewise. `lost`, `spoiled`, `taken`, `sent`: counters of the 50 MHz side.
///
/// **Theory of operation.** What the core does not take in time is not received: the receiver drops that frame whole and counts it (`lost`). The receive queue has 64 bytes, 5 us of the wire.
///
/// **Area** docs/area.md; two block RAMs.
#[derive(LogicBlock, Default)]
pub struct Ethernet {
    /// 50 MHz from the PHY, rising edge.
    pub phy_clock: Signal<In, Clock>,
    /// Receive di-bit.
    pub rxd: Signal<In, FB<2>>,
    /// Carrier or data.
    pub crs_dv: Signal<In, Bit>,
    /// Transmit di-bit.
    pub txd: Signal<Out, FB<2>>,
    /// It is one.
    pub tx_en: Signal<Out, Bit>,
    /// The core's, rising edge.
    pub clock: Signal<In, Clock>,
    /// The core is in reset.
    pub reset: Signal<In, Bit>,
    /// Received frames.
    pub downstream: StreamOut,
    /// Frames to send.
    pub upstream: StreamIn,
    /// Good frames received, modulo 256. Of the 50 MHz side, as the next three.
    pub taken: Signal<Out, FB<8>>,
    /// Frames for which there was no room.
    pub lost: Signal<Out, FB<8>>,
    /// Frames sent.
    pub sent: Signal<Out, FB<8>>,
    /// Frames that the core did not give in time.
    pub spoiled: Signal<Out, FB<8>>,
    receiver: RmiiReceiver,
    sender: RmiiSender,
    incoming: Crossing<6, 7, 10>,
    outgoing: Crossing<5, 6, 10>,
    to_words: ToWords,
    from_words: FromWords,
}

impl Logic for Ethernet {
    #[hdl_gen]
    fn update(&mut self) {
        self.receiver.clock.next = self.phy_clock.val();
        self.sender.clock.next = self.phy_clock.val();
        self.to_words.clock.next = self.clock.val();
        self.from_words.clock.next = self.clock.val();
        self.incoming.write_clock.next = self.phy_clock.val();
        self.incoming.read_clock.next = self.clock.val();
        self.outgoing.write_clock.next = self.clock.val();
        self.outgoing.read_clock.next = self.phy_clock.val();
        StreamOut::link(&mut self.downstream, &mut self.to_words.downstream);
        StreamIn::link(&mut self.upstream, &mut self.from_words.upstream);

        self.receiver.rxd.next = self.rxd.val();
        self.receiver.crs_dv.next = self.crs_dv.val();
        self.receiver.full.next = self.incoming.full.val();
        self.incoming.data_in.next = self.receiver.value.val();
        self.incoming.write.next = self.receiver.write.val();
        self.incoming.publish.next = self.receiver.publish.val();
        self.incoming.close.next = self.receiver.close.val();
        self.incoming.discard.next = self.receiver.discard.val();
        self.to_words.reset.next = self.reset.val();
        self.to_words.value.next = self.incoming.data_out.val();
        self.to_words.empty.next = self.incoming.empty.val();
        self.incoming.read.next = self.to_words.read.val();

        self.from_words.reset.next = self.reset.val();
        self.from_words.full.next = self.outgoing.full.val();
        self.outgoing.data_in.next = self.from_words.value.val();
        self.outgoing.write.next = self.from_words.write.val();
        self.outgoing.publish.next = self.from_words.write.val();
        self.outgoing.close.next = false;
        self.outgoing.discard.next = false;
        self.sender.value.next = self.outgoing.data_out.val();
        self.sender.empty.next = self.outgoing.empty.val();
        self.outgoing.read.next = self.sender.read.val();
        self.txd.next = self.sender.txd.val();
        self.tx_en.next = self.sender.tx_en.val();

        self.taken.next = self.receiver.taken.val();
        self.lost.next = self.receiver.lost.val();
        self.sent.next = self.sender.sent.val();
        self.spoiled.next = self.sender.spoiled.val();
    }
}
